"""Fixtures of the science tests."""

from collections.abc import Callable

import pytest
from ase import Atoms

from aiida_mlfc.core.potentials.dx.model import DXModel

from .small_systems import small_crystals, small_dx


@pytest.fixture
def make_dx() -> Callable[..., DXModel]:
    """See :func:`small_dx`."""
    return small_dx


@pytest.fixture
def crystals() -> dict[str, Atoms]:
    """See :func:`small_crystals`."""
    return small_crystals()
