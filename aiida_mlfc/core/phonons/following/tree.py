"""The tree of a search: crystals, what they came from, and how each of them ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

#: stable: no imaginary mode at the wave vectors searched, nor on a denser mesh where that was looked at.
#: unstable: imaginary modes, followed to other crystals. budget: imaginary modes that were not followed; the reason
#: says what ended. elsewhere: imaginary only away from the wave vectors searched; a denser mesh would follow it. dead
#: end: followed, but no distortion of it became another crystal. failed: no phonons, or none of its distortions could
#: be brought to an end; the reason says why.
Verdict = Literal['open', 'stable', 'unstable', 'budget', 'elsewhere', 'dead end', 'failed']


@dataclass(frozen=True)
class TreeNode:
    """One crystal.

    :param identifier: number, in the order in which crystals were found; 0 is the root.
    :param generation: steps from the root.
    :param n_atoms: of the primitive cell.
    :param energy: per atom, relative to the root, meV.
    :param volume: per atom, Å³.
    :param via: the distortion of the parent that led here: ``key``, ``qpoint``, ``frequency`` (THz), ``degeneracy``,
        ``direction``, ``amplitude`` (Å), ``spacegroup``, ``n_atoms`` and ``supercell`` (integers, lattice vectors in
        rows) of the displaced supercell, ``gain`` (meV/atom, cell and all other modes frozen), ``max_displacement`` (Å)
        up to which the potential was trained, None for any; None for the root.
    :param modes: imaginary modes at the wave vectors searched, see :func:`displacing.summary`.
    :param lowest_frequency: THz, at the wave vectors searched, translations at Γ left out.
    :param confirmed_frequency: THz, lowest on a denser mesh; None where that was not looked at.
    :param dropped: distortions that led to no new crystal: ``key``, what of, and ``reason``; ``crystal`` is the known
        one that it became, None where it became none or its parent; ``failed`` where it is not known what it becomes.
    :param uuid: of its structure, where it is kept in a database.
    """

    identifier: int
    parent: int | None
    generation: int
    formula: str
    spacegroup: str
    n_atoms: int
    energy: float
    volume: float
    via: dict[str, Any] | None = None
    modes: list[dict[str, Any]] = field(default_factory=list)
    lowest_frequency: float | None = None
    confirmed_frequency: float | None = None
    verdict: Verdict = 'open'
    reason: str = ''
    dropped: list[dict[str, Any]] = field(default_factory=list)
    uuid: str = ''

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TreeNode:
        """The inverse of :meth:`to_dict`; what it does not know is left out."""
        return cls(**{key: values[key] for key in cls.__dataclass_fields__ if key in values})


@dataclass(frozen=True)
class Budget:
    """When a search ends.

    :param generations: steps from the root.
    :param children: crystals of a generation that are followed, those of lowest energy.
    :param atoms: in a displaced supercell.
    """

    generations: int = 3
    children: int = 4
    atoms: int = 80

    def __post_init__(self) -> None:
        if self.generations < 0 or self.children < 1 or self.atoms < 1:
            raise ValueError(
                f'budget: got {self.generations} generations, {self.children} children, {self.atoms} atoms; wanted at '
                'least 0, 1 and 1'
            )


def examined(nodes: Sequence[TreeNode], found: Mapping[int, Mapping[str, Any]], budget: Budget) -> list[TreeNode]:
    """Crystals after their modes became known: stable, ended by the budget, failed, or still open, to be followed.

    :param found: by identifier, ``modes`` and ``lowest_frequency``, or ``error``.
    """
    done = {node.identifier: node for node in nodes}
    n_followed = 0
    for node in sorted((done[k] for k in found), key=lambda n: n.energy):
        values = found[node.identifier]
        if 'error' in values:
            done[node.identifier] = replace(node, verdict='failed', reason=str(values['error']))
            continue
        node = replace(node, modes=list(values['modes']), lowest_frequency=float(values['lowest_frequency']))
        if not node.modes:
            node = replace(node, verdict='stable', reason='no imaginary mode at the wave vectors searched')
        elif node.generation >= budget.generations:
            node = replace(node, verdict='budget', reason=f'generation {node.generation} is the last one')
        elif n_followed >= budget.children:
            node = replace(node, verdict='budget', reason=f'{budget.children} crystals of its generation lie lower')
        else:
            n_followed += 1
        done[node.identifier] = node
    return [done[k] for k in sorted(done)]


def confirmed(node: TreeNode, lowest: float, qpoint: Sequence[float], threshold: float) -> TreeNode:
    """A crystal that is stable at the wave vectors searched, after a look at a denser mesh.

    :param lowest: frequency there, THz, at ``qpoint``.
    :param threshold: THz, positive.
    """
    if lowest < -threshold:
        where = ' '.join(f'{x:.3f}' for x in qpoint)
        reason = f'{lowest:.3f} THz at q = {where}, which a denser mesh of wave vectors would follow'
        return replace(node, confirmed_frequency=lowest, verdict='elsewhere', reason=reason)
    return replace(node, confirmed_frequency=lowest, verdict='stable', reason=f'{node.reason}, nor on a denser mesh')


def judged(node: TreeNode, children: Sequence[TreeNode], too_large: int) -> TreeNode:
    """The verdict on a crystal whose distortions were followed.

    :param too_large: imaginary modes whose supercell has more atoms than the budget.
    """
    if children or any(entry.get('crystal') is not None for entry in node.dropped):
        return replace(node, verdict='unstable')
    if too_large:
        # What was tried says nothing about the modes that were not.
        return replace(node, verdict='budget', reason=f'{too_large} modes need larger supercells')
    failed = [entry for entry in node.dropped if entry.get('failed')]
    if failed and len(failed) == len(node.dropped):
        return replace(node, verdict='failed', reason=f'no distortion ended in a crystal: {failed[0]["reason"]}')
    without = f'; {len(failed)} of {len(node.dropped)} failed' if failed else ''
    return replace(node, verdict='dead end', reason=f'no distortion became another crystal{without}')


def outcome(nodes: Sequence[TreeNode]) -> dict[str, Any]:
    """The search in one line: the stable crystal of lowest energy, and whether any other lies lower.

    :return: ``state``: ``stable`` (the lowest crystal of all is stable), ``budget`` (the lowest one still has imaginary
        modes), ``failed``; ``lowest`` and ``stable``, identifiers or None; ``n_crystals``.
    """
    lowest = min(nodes, key=lambda node: node.energy)
    stable = [node for node in nodes if node.verdict == 'stable']
    best = min(stable, key=lambda node: node.energy) if stable else None
    state = 'stable' if best is not None and best.energy <= lowest.energy else 'budget'
    if lowest.verdict == 'failed':
        state = 'failed'
    return {
        'state': state,
        'lowest': lowest.identifier,
        'stable': None if best is None else best.identifier,
        'n_crystals': len(nodes),
    }
