"""The equivariant graph-attention energy model."""
