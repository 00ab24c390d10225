"""Derivatives of an energy model; they know no model."""
