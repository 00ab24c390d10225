"""The science. No AiiDA, no click, no fixed paths."""
