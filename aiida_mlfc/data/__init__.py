"""AiiDA nodes, and every conversion between nodes and records."""
