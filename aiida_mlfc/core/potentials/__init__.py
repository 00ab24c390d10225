"""Energy models and their derivatives: torch, and torch nowhere else in core."""
