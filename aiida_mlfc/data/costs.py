"""What crystals will cost and what they did cost, from nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida.orm import StructureData

from aiida_mlfc.core.structures.cost import estimated_cost
from aiida_mlfc.data.facts import facts_of


def structure_costs(
    structures: Mapping[str, StructureData], cutoff: float, parameters: Mapping[str, Any]
) -> dict[str, float]:
    """Estimated cost by key, see :func:`aiida_mlfc.core.structures.cost.estimated_cost`.

    :param cutoff: of the potential, Å.
    :param parameters: of ``mlfc.force_constants``.
    """
    choice = {key: parameters.get(key) for key in ('supercell_matrix', 'supercell_length')}
    return {key: estimated_cost(node.get_ase(), cutoff, **choice) for key, node in structures.items()}


def seconds_by_crystal(pks: Sequence[int]) -> dict[str, float]:
    """Seconds that all jobs of some processes spent on each crystal that they finished.

    :param pks: of ``mlfc.phonon`` processes.
    """
    seconds: dict[str, float] = {}
    for facts in facts_of(pks).values():
        for key in facts.finished:
            seconds[key] = sum(row['seconds'] for row in facts.parameters.get(key, []))
    return seconds
