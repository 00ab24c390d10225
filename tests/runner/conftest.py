"""Crystals for jobs."""

import pytest


@pytest.fixture
def crystals(silicon, rocksalt):
    return {'Si': silicon, 'NaCl': rocksalt}
