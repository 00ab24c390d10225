"""Follow the imaginary modes of a crystal to stable ones: displace, relax, symmetrise, compute again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from ase import Atoms
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc.core.phonons.following.displacing import MOST_DIRECTIONS, summary
from aiida_mlfc.core.phonons.following.growing import Relaxed, grown, rooted
from aiida_mlfc.core.phonons.following.modes import THRESHOLD, ImaginaryMode
from aiida_mlfc.core.phonons.following.tree import Budget, TreeNode, confirmed, examined, outcome
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.registry import as_potential
from aiida_mlfc.core.potentials.relaxation.relax import relax, relax_many
from aiida_mlfc.core.structures.cells import as_ase
from aiida_mlfc.core.structures.symmetry import primitive_cell, symmetrized
from aiida_mlfc.runner.displacing import Displaced, displaced, instabilities

#: Å, for the symmetry of the crystal as it was given
GIVEN_SYMPREC = 1e-4


@dataclass(frozen=True)
class Followed:
    """The tree.

    :param nodes: crystals in the order in which they were found; the root first.
    :param cells: their primitive cells.
    :param outcome: see :func:`aiida_mlfc.core.phonons.following.tree.outcome`.
    """

    nodes: list[TreeNode]
    cells: Mapping[int, Atoms]
    outcome: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, cells left out."""
        return {'nodes': [node.to_dict() for node in self.nodes], 'outcome': self.outcome}


def follow_modes(
    structure: Atoms | PhonopyAtoms,
    potential: EnergyModel | str | PathLike[str],
    generations: int = 3,
    children: int = 4,
    max_atoms: int = 80,
    mesh: Sequence[int] = (2, 2, 2),
    threshold: float = THRESHOLD,
    directions: int = MOST_DIRECTIONS,
    relax_cell: bool = True,
    fmax: float = 1e-6,
    smax: float = 1e-3,
    steps: int = 500,
    confirm_mesh: Sequence[int] | None = (4, 4, 4),
    progress: Callable[[str], None] | None = None,
) -> Followed:
    """From an unstable crystal downhill to stable ones.

    Every generation: exact dynamical matrices at the wave vectors of ``mesh``; along each direction that symmetry
    singles out in each degenerate imaginary set, the smallest commensurate supercell is displaced to the lowest energy
    on that line and relaxed within the symmetry that is left; what comes out is put on its symmetry, compared with all
    crystals found before, and is followed in turn if it has imaginary modes itself.

    :param structure: the crystal; it is reduced to its primitive cell and relaxed first.
    :param potential: a loaded model, or what :func:`~aiida_mlfc.core.potentials.registry.load_potential` takes.
    :param generations: steps from the root at most.
    :param children: crystals of a generation that are followed, those of lowest energy.
    :param max_atoms: in a displaced supercell.
    :param mesh: cells along each primitive vector: which wave vectors are searched.
    :param threshold: THz; modes above minus this one count as stable.
    :param directions: of each degenerate set.
    :param relax_cell: cells too; needs a potential trained on stress.
    :param fmax: largest force component after a relaxation, eV/Å.
    :param smax: largest stress component, GPa.
    :param confirm_mesh: denser mesh on which a crystal without imaginary modes is looked at once more, exactly too:
        what a supercell interpolates may be imaginary where the crystal is stable. None for no such look.
    :param progress: is told what happens.
    :raises ~aiida_mlfc.core.potentials.validity.OutsideTrainingError: if the root lies outside the training set, or the
        cell may not be relaxed.
    :raises ~aiida_mlfc.core.potentials.relaxation.goal.NotConvergedError: if the root does not relax.
    """
    say = progress or (lambda text: None)
    budget = Budget(generations, children, max_atoms)
    model = as_potential(potential)
    start = primitive_cell(symmetrized(as_ase(structure), GIVEN_SYMPREC), GIVEN_SYMPREC)
    relaxation = relax(start, model, relax_cell, fmax, smax, steps)
    family = rooted(relaxation.atoms, relaxation.energy)
    frontier = [0]
    while frontier:
        found = {k: _modes(family.cells[k], model, mesh, threshold) for k in frontier}
        family = replace(family, nodes=examined(family.nodes, {k: seen for k, (seen, _) in found.items()}, budget))
        distorted, too_large, nodes = [], {}, list(family.nodes)
        for node in (family.nodes[k] for k in frontier):
            say(_line(node))
            if node.verdict == 'open':
                moved = _displaced(family.cells[node.identifier], found[node.identifier][1], model, budget, directions)
                if isinstance(moved, str):
                    nodes[node.identifier] = replace(node, verdict='failed', reason=moved)
                    continue
                too_large[node.identifier] = moved.too_large
                distorted += [(node.identifier, moved.via[key], moved.crystals[key]) for key in moved.crystals]
        family = replace(family, nodes=nodes)
        ends = relax_many([atoms for _, _, atoms in distorted], model, relax_cell, fmax, smax, steps)
        relaxed = [
            Relaxed(k, via, None, error=f'{type(end).__name__}: {end}')
            if isinstance(end, Exception)
            else Relaxed(k, via, end.atoms, end.energy)
            for (k, via, _), end in zip(distorted, ends, strict=True)
        ]
        before = len(family.nodes)
        family = grown(family, relaxed, too_large)
        frontier = [node.identifier for node in family.nodes[before:]]
    nodes = family.nodes
    if confirm_mesh is not None:
        nodes = [_confirmed(n, family.cells[n.identifier], model, confirm_mesh, threshold) for n in nodes]
    return Followed(nodes, family.cells, outcome(nodes))


def _modes(
    cell: Atoms, model: EnergyModel, mesh: Sequence[int], threshold: float
) -> tuple[dict[str, Any], list[ImaginaryMode]]:
    """What :func:`examined` wants of a crystal, and its modes."""
    try:
        found = instabilities(cell, model, mesh, threshold)
    except (ValueError, RuntimeError, MemoryError) as error:
        return {'error': f'{type(error).__name__}: {error}'}, []
    return {'modes': summary(found.modes), 'lowest_frequency': found.lowest}, found.modes


def _displaced(
    cell: Atoms, modes: Sequence[ImaginaryMode], model: EnergyModel, budget: Budget, directions: int
) -> Displaced | str:
    """The distortions of a crystal, or why there are none: one crystal must not take the tree with it."""
    try:
        return displaced(cell, modes, model, budget.atoms, directions)
    except (ValueError, RuntimeError, MemoryError) as error:
        return f'not displaced: {type(error).__name__}: {error}'


def _confirmed(node: TreeNode, cell: Atoms, model: EnergyModel, mesh: Sequence[int], threshold: float) -> TreeNode:
    """A denser look at a crystal that has no imaginary mode where modes can be followed."""
    if node.verdict != 'stable':
        return node
    try:
        found = instabilities(cell, model, mesh, threshold)
    except (ValueError, RuntimeError, MemoryError) as error:
        return replace(node, verdict='failed', reason=f'{type(error).__name__}: {error}')
    return confirmed(node, found.lowest, [float(x) for x in found.lowest_qpoint], threshold)


def _line(node: TreeNode) -> str:
    lowest = '' if node.lowest_frequency is None else f', lowest {node.lowest_frequency:.3f} THz'
    return (
        f'crystal {node.identifier}: {node.spacegroup}, {node.n_atoms} atoms, {node.energy:+.3f} meV/atom{lowest}'
        + (f', {len(node.modes)} imaginary sets' if node.modes else '')
        + (f': {node.verdict}' if node.verdict != 'open' else '')
    )
