"""One generation from the one before: relaxed distortions in, new crystals out, each known one named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ase import Atoms

from aiida_mlfc.core.phonons.following.children import energy_per_atom, known_as, symmetrised, volume_per_atom
from aiida_mlfc.core.phonons.following.displacing import moved_from
from aiida_mlfc.core.phonons.following.tree import TreeNode, judged
from aiida_mlfc.core.structures.formula import reduced_formula

#: meV/atom; a distortion that ends lower than its parent by less has gained nothing that a relaxation can tell
SMALLEST_GAIN = 1e-3


@dataclass(frozen=True)
class Relaxed:
    """A distortion of a crystal after its relaxation.

    :param parent: identifier.
    :param via: see :class:`TreeNode`.
    :param atoms: relaxed; None if that failed.
    :param energy: of ``atoms``, eV.
    :param error: why there are none.
    """

    parent: int
    via: dict[str, Any]
    atoms: Atoms | None
    energy: float = float('nan')
    error: str = ''


@dataclass(frozen=True)
class Family:
    """All crystals of a search, and their cells.

    :param zero: energy of the root, meV/atom.
    :param nodes: in order of their identifiers.
    :param cells: primitive cells by identifier.
    """

    zero: float
    nodes: list[TreeNode]
    cells: Mapping[int, Atoms]


def rooted(atoms: Atoms, energy: float) -> Family:
    """A family of one.

    :param atoms: relaxed.
    :param energy: eV.
    """
    found = symmetrised(atoms)
    root = TreeNode(0, None, 0, reduced_formula(atoms), found.spacegroup, len(found.atoms), 0.0, volume_per_atom(atoms))
    return Family(energy_per_atom(energy, atoms), [root], {0: found.atoms})


def grown(family: Family, distorted: Sequence[Relaxed], too_large: Mapping[int, int]) -> Family:
    """The family with one more generation; distortions that are nobody new are written down with their parents.

    :param too_large: by identifier of every crystal that was followed, its modes whose supercell is beyond the budget.
    """
    nodes = {node.identifier: node for node in family.nodes}
    cells = dict(family.cells)

    def dropped(one: Relaxed, reason: str, crystal: int | None = None, failed: bool = False) -> None:
        parent = nodes[one.parent]
        entry = {key: one.via[key] for key in ('key', 'qpoint', 'frequency', 'direction', 'amplitude', 'spacegroup')}
        entry |= {'reason': reason, 'crystal': crystal, 'failed': failed}
        nodes[one.parent] = replace(parent, dropped=[*parent.dropped, entry])

    good = [one for one in distorted if one.atoms is not None]
    for one in distorted:
        if one.atoms is None:
            dropped(one, f'not relaxed: {one.error}', failed=True)

    def order(one: Relaxed) -> tuple[float, float]:
        """The lowest first; of distortions that end in one crystal the one of the parent that lies lower."""
        return round(energy_per_atom(one.energy, one.atoms) - family.zero, 3), nodes[one.parent].energy

    for one in sorted(good, key=order):
        parent = nodes[one.parent]
        if beyond := _beyond_training(one, cells[one.parent]):
            dropped(one, beyond, failed=True)
            continue
        energy = energy_per_atom(one.energy, one.atoms) - family.zero
        try:
            found = symmetrised(one.atoms)
        except ValueError as error:
            dropped(one, str(error), failed=True)
            continue
        others = [(k, cells[k], nodes[k].spacegroup, nodes[k].energy) for k in nodes]
        same = known_as(found, energy, others)
        if same is not None:
            if same == one.parent:
                dropped(one, 'fell back to its parent')
            else:
                dropped(one, f'is crystal {same}', same)
        elif energy > parent.energy - SMALLEST_GAIN:
            gain = parent.energy - energy
            dropped(one, f'gains nothing: {gain:.4f} meV/atom, in {found.spacegroup}')
        else:
            number = len(nodes)
            cells[number] = found.atoms
            nodes[number] = TreeNode(
                number,
                one.parent,
                parent.generation + 1,
                parent.formula,
                found.spacegroup,
                len(found.atoms),
                energy,
                volume_per_atom(found.atoms),
                {**one.via, 'symmetry_ladder': found.ladder},
            )
    for k, count in too_large.items():
        nodes[k] = judged(nodes[k], [node for node in nodes.values() if node.parent == k], count)
    return Family(family.zero, [nodes[k] for k in sorted(nodes)], cells)


def _beyond_training(one: Relaxed, parent: Atoms) -> str:
    """Why a distortion is nothing that the potential can know; empty if it is.

    Its relaxation counted displacements from the displaced crystal, the training set from the crystal at rest.
    """
    limit = one.via.get('max_displacement')
    if limit is None or one.atoms is None:
        return ''
    moved = moved_from(parent, one.via['qpoint'], one.via['supercell'], one.atoms)
    if moved <= limit:
        return ''
    return (
        f'outside the training set: an atom moved {moved:.3f} Å from its place in crystal {one.parent}, the potential '
        f'was trained on displacements up to {limit:.3f} Å'
    )
