"""Calcfunctions of active learning: candidates from seeds, and what happened in the rounds."""

from __future__ import annotations

from aiida.engine import calcfunction
from aiida.orm import Dict, StructureData

from aiida_mlfc.core.structures.candidates import THRESHOLD, distinct, substituted


@calcfunction
def substitution_candidates(settings: Dict, **seeds: StructureData) -> dict[str, StructureData]:
    """Crystals made of seeds by substitution, most probable first, none twice and none that is a seed.

    :param settings: ``elements`` (symbols), and perhaps ``threshold`` and ``per_seed``.
    :return: by the seed's key and a number, ``nacl_001``.
    """
    given = settings.get_dict()
    if unknown := set(given) - {'elements', 'threshold', 'per_seed'}:
        raise ValueError(f'candidates: got {", ".join(sorted(unknown))}, wanted elements, threshold, per_seed')
    made = {}
    for key, node in seeds.items():
        found = substituted(node.get_ase(), given['elements'], given.get('threshold', THRESHOLD))
        for number, (_, atoms) in enumerate(found[: given.get('per_seed')], start=1):
            made[f'{key}_{number:03d}'] = atoms
    kept = distinct(made, [node.get_ase() for node in seeds.values()])
    nodes = {}
    for key, atoms in kept.items():
        nodes[key] = StructureData(ase=atoms)
        nodes[key].label = f'{atoms.get_chemical_formula(empirical=True)} from {key.rpartition("_")[0]}'
    return nodes


@calcfunction
def active_learning_summary(content: Dict) -> Dict:
    """The record of a loop as a node of its own: ``rounds`` and ``stopped``."""
    return Dict(content.get_dict())
