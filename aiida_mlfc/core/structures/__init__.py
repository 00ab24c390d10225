"""Crystals: reading, checks, symmetry, supercells."""
