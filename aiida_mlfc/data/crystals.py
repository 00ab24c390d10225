"""Structures as nodes that are found again: the same crystal is stored once, with its name and where it came from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from aiida.orm import QueryBuilder, StructureData
from ase import Atoms

from aiida_mlfc.core.structures.formula import reduced_formula

#: extras of an input structure: content hash, and the file it was read from
EXTRA_SHA256, EXTRA_SOURCE = 'mlfc_sha256', 'mlfc_source'


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
    for sha256, (name, atoms, source) in wanted.items():
        if sha256 not in nodes:
            node = StructureData(ase=atoms)
            node.label = name[:255]
            node.base.extras.set_many({EXTRA_SHA256: sha256, EXTRA_SOURCE: source})
            nodes[sha256] = node.store()
    return nodes
