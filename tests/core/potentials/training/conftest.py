"""A toy reference for all tests of training."""

import pytest

from aiida_mlfc.core.potentials.training.references import Reference

from ...toy_reference import toy_reference


@pytest.fixture(scope='session')
def reference() -> Reference:
    """See :func:`toy_reference`."""
    return toy_reference()
