"""Forces of many cells by one ASE calculator in one process, with provenance."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import ArrayData, Dict, StructureData


def ase_calculator(specification: dict[str, Any]) -> Any:
    """The calculator that a dictionary names.

    :param specification: ``module``, ``name`` and ``arguments``, such as ``ase.calculators.emt``, ``EMT``, ``{}``.
    :raises ValueError: if there is no such calculator.
    """
    from ase.calculators.abc import GetPropertiesMixin
    from ase.calculators.calculator import BaseCalculator

    unknown = set(specification) - {'module', 'name', 'arguments'}
    if unknown or not {'module', 'name'} <= set(specification):
        raise ValueError(f'calculator: got {", ".join(sorted(specification))}, wanted module, name and arguments')
    where, name = specification['module'], specification['name']
    try:
        kind = getattr(import_module(where), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f'calculator: {where}.{name} cannot be imported: {error}') from error
    if not (isinstance(kind, type) and issubclass(kind, BaseCalculator | GetPropertiesMixin)):
        raise ValueError(f'calculator: {where}.{name} is no ASE calculator')
    return kind(**specification.get('arguments', {}))


@calcfunction
def ase_forces(calculator: Dict, **cells: StructureData) -> dict[str, ArrayData]:
    """Forces of every cell.

    :param calculator: see :func:`ase_calculator`.
    :param cells: by ``supercell_N``; the result is by ``forces_N``: array ``forces`` (n_atoms, 3), eV/Å, and attribute
        ``seconds``.
    """
    engine = ase_calculator(calculator.get_dict())
    results = {}
    for key, cell in cells.items():
        started = time.perf_counter()
        atoms = cell.get_ase()
        atoms.calc = engine
        node = ArrayData()
        node.set_array('forces', atoms.get_forces())
        node.base.attributes.set('seconds', time.perf_counter() - started)
        results[key.replace('supercell', 'forces')] = node
    return results
