"""References, labels, losses and the loop."""
