"""Structures as nodes that are found again: the same crystal is stored once, with its name and where it came from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from aiida.orm import QueryBuilder, StructureData

from aiida_mlfc.data.bulk import store_many

if TYPE_CHECKING:
    from ase import Atoms

#: extras of an input structure: content hash, the file it was read from, and what tables say about it
EXTRA_SHA256, EXTRA_SOURCE, EXTRA_SUMMARY = 'mlfc_sha256', 'mlfc_source', 'mlfc_summary'
#: tolerance at which the space group of an input structure is quoted, Å
SYMPREC = 1e-4


def content_sha256(atoms: Atoms, name: str) -> str:
    """sha256 over elements, positions, cell and name; the name belongs to it because the node carries it."""
    digest = hashlib.sha256(name.encode())
    for array in (
        np.array(atoms.numbers, dtype='<i8'),
        np.array(atoms.positions, dtype='<f8'),
        np.array(atoms.cell, dtype='<f8'),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def crystal_key(atoms: Atoms, sha256: str) -> str:
    """Key of a crystal in namespaces and job folders: its formula for people, its hash for uniqueness."""
    from aiida_mlfc.core.structures.formula import reduced_formula

    letters = re.sub(r'[^A-Za-z0-9]', '', reduced_formula(atoms))
    return f'{letters[:40]}_{sha256[:12]}'


def structure_nodes(crystals: Sequence[tuple[str, Atoms, str]]) -> dict[str, StructureData]:
    """Stored nodes by content hash, made where there are none.

    :param crystals: name, crystal and source of each.
    """
    wanted: dict[str, tuple[str, Atoms, str]] = {}
    for name, atoms, source in crystals:
        wanted.setdefault(content_sha256(atoms, name), (name, atoms, source))
    nodes: dict[str, StructureData] = {}
    if wanted:
        # Newest first, so that the oldest stays: some plugins copy the extras of a structure to its relaxed successor.
        query = QueryBuilder()
        query.append(StructureData, filters={f'extras.{EXTRA_SHA256}': {'in': list(wanted)}}, tag='here', project='*')
        query.order_by({'here': {'ctime': 'desc'}})
        nodes = {node.base.extras.get(EXTRA_SHA256): node for node in query.all(flat=True)}
    new = {}
    for sha256, (name, atoms, source) in wanted.items():
        if sha256 not in nodes:
            node = StructureData(ase=atoms)
            node.label = name[:255]
            summary = crystal_summary(node, atoms)
            node.base.extras.set_many({EXTRA_SHA256: sha256, EXTRA_SOURCE: source, EXTRA_SUMMARY: summary})
            new[sha256] = node
    store_many(list(new.values()))
    return nodes | new


def crystal_summary(node: StructureData, atoms: Atoms | None = None) -> dict[str, Any]:
    """Formula, number of atoms and space group of a structure: a millisecond each, too long for a table of thousands.

    Kept as an extra of input structures. The UUID belongs to it: some plugins copy extras to relaxed successors.

    :param atoms: the same structure, where it is at hand.
    :return: ``spacegroup`` is None where spglib finds none.
    """
    # Here and not above: they bring phonopy and (with vesin) torch along, which take longer than a table of thousands.
    from aiida_mlfc.core.structures.checks import StructureError
    from aiida_mlfc.core.structures.formula import reduced_formula
    from aiida_mlfc.core.structures.symmetry import spacegroup

    atoms = node.get_ase() if atoms is None else atoms
    try:
        group = spacegroup(atoms, SYMPREC)
    except StructureError:
        group = None
    return {'uuid': node.uuid, 'formula': reduced_formula(atoms), 'n_atoms': len(atoms), 'spacegroup': group}
