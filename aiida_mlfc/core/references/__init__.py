"""Reference force constants on disk: found, read, fitted, checked; one broken file is one refusal."""
