"""Which displacement fields must be computed at which wave vectors; all else follows by symmetry.

The force constants Φ(q) of Bloch fields commute with the little group: Φ(q) Γ v = Γ Φ(q) v, and Φ(q) (Γ v)* =
(Γ Φ(q) v)* for an operation that carries q to -q, by time reversal. So products with a few fields whose images span all
3 n directions give all of Φ(q), and those at one arm of a star give all arms. spglib finds the operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_mlfc.core.structures.operations import Operations

#: reduced coordinates closer than this are one wave vector
SAME_QPOINT = 1e-10
#: largest ratio of singular values of the images of the chosen fields: the factor by which rounding may grow
LARGEST_CONDITION = 20.0
#: one that ends the search for a better set
GOOD_CONDITION = 5.0
#: ratio of singular values that is zero
SINGULAR = 1e-10
#: random sets of fields that are tried for each number of fields
N_TRIALS = 24
#: coordinates above which fields of different orbits of atoms are not merged: the search would cost more than it saves
MERGE_UP_TO = 120
#: relative residual of the expansion above which the crystal does not have the symmetry it is said to have
LARGEST_RESIDUAL = 1e-3


def same_qpoint(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether wave vectors agree up to reciprocal lattice vectors; broadcasts over leading axes."""
    difference = one - other
    return (np.abs(difference - np.rint(difference)) < SAME_QPOINT).all(axis=-1)


@dataclass(frozen=True)
class Arm:
    """One wave vector for which products are computed.

    :param qpoint: reduced coordinates, shape ``(3,)``.
    :param members: operations of the little group, and those that carry q to -q with True beside them.
    :param fields: to be multiplied by Φ(q), shape ``(n_fields, 3 n_atoms)``; real where q equals -q.
    """

    qpoint: np.ndarray
    operations: Operations
    members: list[tuple[int, bool]]
    fields: np.ndarray

    def images(self, fields: np.ndarray) -> np.ndarray:
        """All images of fields under the little group, shape ``(3 n_atoms, n_members * n_fields)``."""
        numbers, are_antiunitary = (np.array(column) for column in zip(*self.members, strict=True))
        moved = self.operations.moved_by(numbers, self.qpoint, fields)
        moved[are_antiunitary] = moved[are_antiunitary].conj()
        return moved.reshape(-1, fields.shape[1]).T

    def expanded(self, products: np.ndarray) -> np.ndarray:
        """Φ(q) from its products with the fields.

        :param products: shape ``(n_fields, 3 n_atoms)``, eV/Å².
        :return: shape ``(3 n_atoms, 3 n_atoms)``, complex, eV/Å².
        :raises ValueError: if the products contradict the symmetry by more than rounding and ``symprec`` explain.
        """
        if len(self.members) == 1 and len(self.fields) == self.fields.shape[1]:
            return np.linalg.solve(self.fields, products).T.astype(complex)
        fields, responses = self.images(self.fields), self.images(products)
        # least squares: the images overlap, and how far they contradict each other says how good the symmetry is
        phi = np.linalg.solve((fields @ fields.conj().T).T, (responses @ fields.conj().T).T).T
        residual = np.abs(phi @ fields - responses).max() / max(np.abs(responses).max(), np.finfo(float).tiny)
        if not residual <= LARGEST_RESIDUAL:
            raise ValueError(
                f'force constants at q = {np.round(self.qpoint, 4)} contradict the symmetry of the crystal by '
                f'{residual:.1e} relative: symmetrise the structure, or use a smaller symprec'
            )
        return phi


@dataclass(frozen=True)
class Stars:
    """The wave vectors asked for, and the arms that stand for them.

    :param source: for each wave vector, the arm, the operation that carries the arm to it, and whether to its negative.
    """

    arms: list[Arm]
    operations: Operations
    source: list[tuple[int, int, bool]]

    @property
    def n_products(self) -> int:
        """Products of Φ with a field, over all arms."""
        return sum(len(arm.fields) for arm in self.arms)

    @property
    def n_lanes(self) -> int:
        """Real fields behind these products: complex ones are two."""
        return sum(len(arm.fields) * (2 if np.iscomplexobj(arm.fields) else 1) for arm in self.arms)

    def carried(self, matrices: list[np.ndarray]) -> np.ndarray:
        """Φ at every wave vector asked for, from Φ at the arms; shape ``(n_q, 3 n_atoms, 3 n_atoms)``, complex."""
        n = 3 * self.operations.permutations.shape[1]
        found = np.empty((len(self.source), n, n), dtype=complex)
        for k, (a, operation, is_opposite) in enumerate(self.source):
            matrix, arm = matrices[a], self.arms[a]
            if operation:
                # Γ Φ Γ†, both factors applied to rows
                half = self.operations.moved(operation, arm.qpoint, matrix.T).T
                matrix = self.operations.moved(operation, arm.qpoint, half.conj()).conj()
            found[k] = matrix.conj() if is_opposite else matrix
        return found


def find_stars(qpoints: np.ndarray, operations: Operations) -> Stars:
    """Group wave vectors into stars, time reversal included, and choose the fields for one arm of each.

    :param qpoints: reduced coordinates, shape ``(n_q, 3)``.
    :param operations: the identity first, as spglib lists it.
    """
    arms: list[Arm] = []
    images = np.empty((0, len(operations), 3))
    source = []
    for q in qpoints:
        plain, opposite = same_qpoint(images, q), same_qpoint(images, -q)
        known = np.argwhere(plain | opposite)
        if not len(known):
            arms.append(_arm(q, operations))
            images = np.concatenate((images, operations.images(q)[None]))
            source.append((len(arms) - 1, 0, False))
        else:
            # plain before opposite, the identity before others: copies where copies do
            a, g = min(known, key=lambda pair: (pair[1] != 0, not plain[tuple(pair)]))
            source.append((int(a), int(g), not bool(plain[a, g])))
    return Stars(arms, operations, source)


def _arm(qpoint: np.ndarray, operations: Operations) -> Arm:
    images = operations.images(qpoint)
    stays, flips = same_qpoint(images, qpoint), same_qpoint(images, -qpoint)
    is_real = bool(same_qpoint(qpoint, -qpoint))
    members = [(int(g), False) for g in np.flatnonzero(stays)]
    if not is_real:
        members += [(int(g), True) for g in np.flatnonzero(flips)]
    empty = Arm(np.asarray(qpoint, dtype=float), operations, members, np.empty((0, 0)))
    n = 3 * operations.permutations.shape[1]
    if len(members) == 1:
        fields = np.eye(n, dtype=float if is_real else complex)
    else:
        fields = _generating_fields(empty, n, is_real)
    return Arm(empty.qpoint, operations, members, fields)


def _generating_fields(arm: Arm, n: int, is_real: bool) -> np.ndarray:
    """Few fields whose images span everything: displaced single atoms, merged where fewer do.

    The fewest are, over the irreducible representations, the largest ratio of multiplicity to dimension; the random
    search finds that number without a character table.
    """
    single = _displaced_atoms(arm, n, is_real)
    at_least = -(-n // len(arm.members))
    if n > MERGE_UP_TO:
        return single
    rng = np.random.default_rng(n)
    for size in range(at_least, len(single)):
        found = _best_fields(arm, lambda count=size: _random_fields(rng, count, n, is_real))
        if found is not None:
            return found
    return single


def _displaced_atoms(arm: Arm, n: int, is_real: bool) -> np.ndarray:
    """One atom of each orbit of the little group, along as many directions as its site leaves independent."""
    operations, rng = arm.operations, np.random.default_rng(n)
    group = [g for g, _ in arm.members]
    seen: set[int] = set()
    chosen = []
    for atom in range(n // 3):
        if atom in seen:
            continue
        orbit = operations.permutations[group, atom]
        seen.update(int(j) for j in orbit)
        site = [member for member, j in zip(arm.members, orbit, strict=True) if j == atom]
        at_site = Arm(arm.qpoint, operations, site, arm.fields)
        block = slice(3 * atom, 3 * atom + 3)

        def directions(count: int, block: slice = block) -> np.ndarray:
            fields = np.zeros((count, n), dtype=float if is_real else complex)
            fields[:, block] = _random_fields(rng, count, 3, is_real)
            return fields

        for count in (1, 2):
            found = _best_fields(at_site, lambda count=count, draw=directions: draw(count), block)
            if found is not None:
                break
        else:
            found = np.zeros((3, n), dtype=float if is_real else complex)
            found[:, block] = np.eye(3)
        chosen.append(found)
    return np.concatenate(chosen)


def _random_fields(rng: np.random.Generator, count: int, n: int, is_real: bool) -> np.ndarray:
    """Orthonormal rows."""
    columns = rng.standard_normal((n, count))
    if not is_real:
        columns = columns + 1j * rng.standard_normal((n, count))
    return np.linalg.qr(columns)[0].T


def _best_fields(arm: Arm, draw, among: slice = slice(None)) -> np.ndarray | None:  # type: ignore[no-untyped-def]
    """The draw whose images are best conditioned, if they span the coordinates ``among`` well enough."""
    best, smallest = None, LARGEST_CONDITION
    for _ in range(N_TRIALS):
        fields = draw()
        images = arm.images(fields)[among]
        if images.shape[0] > images.shape[1]:
            return None
        values = np.linalg.svd(images, compute_uv=False)
        if values[-1] < SINGULAR * values[0]:
            # random fields span all they ever can: no other draw will do better
            return None
        condition = values[0] / values[-1]
        if condition < smallest:
            best, smallest = fields, condition
        if condition < GOOD_CONDITION:
            break
    return best
