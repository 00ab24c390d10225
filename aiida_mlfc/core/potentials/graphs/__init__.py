"""Neighbours, AtomGraph and batching."""
