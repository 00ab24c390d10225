"""Files that others wrote: each a clear error for itself, nothing executed, nothing written outside."""
