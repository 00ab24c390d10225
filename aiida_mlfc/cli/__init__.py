"""The ``aiida-mlfc`` command."""
