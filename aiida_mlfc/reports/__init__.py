"""Tables, figures and one self-contained page from the results of a screen."""
