"""From result folders to nodes."""
