"""Two sets of force constants of one crystal, brought onto the same footing and compared."""
