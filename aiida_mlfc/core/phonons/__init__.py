"""From force constants to phonons, on phonopy."""
