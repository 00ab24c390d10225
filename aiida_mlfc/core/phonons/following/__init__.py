"""Following imaginary modes downhill: from unstable crystals to their children, and on to stable ones."""
