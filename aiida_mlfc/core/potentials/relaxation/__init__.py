"""Relaxation under symmetry."""
