"""Which combinations of degenerate modes to follow: the directions that symmetry singles out.

A distortion c of a degenerate set keeps the operations that leave c as it is, its isotropy subgroup. Directions that
are fixed, up to their length, by the operations they keep are where extrema of the energy must lie (H. T. Stokes and
D. M. Hatch, Isotropy Subgroups of the 230 Crystallographic Space Groups, 1988): [1 0 0], [1 1 0] and [1 1 1] of a
threefold mode in a cubic crystal. They are found here as the one-dimensional spaces that one or two operations fix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_mlfc.core.structures.operations import Operations

#: entries of representation matrices and coefficients closer than this are the same
SAME = 1e-5
#: an operation maps the modes among themselves, or away from themselves, up to this
CLOSED = 1e-3


@dataclass(frozen=True)
class Direction:
    """A combination of degenerate modes.

    :param coefficients: of the basis, a unit vector, shape ``(n_basis,)``.
    :param label: ``[1 1 0]``, coefficients in axes that are equivalent by symmetry, where there are such.
    :param n_operations: that it keeps, those that act alike on the modes counted once.
    """

    coefficients: np.ndarray
    label: str
    n_operations: int


def representation(basis: np.ndarray, operations: Operations) -> np.ndarray:
    """How the operations turn the modes into each other, shape ``(n_ops, n_basis, n_basis)``.

    Operations that carry the wave vector elsewhere are left out.

    :param basis: orthonormal mass-weighted displacements of the supercell, shape ``(n_basis, 3 n_atoms)``.
    :param operations: of the supercell without distortion.
    :raises RuntimeError: if the modes are no complete set: an operation maps them partly onto others.
    """
    fields = basis.reshape(len(basis), -1, 3)
    found = []
    for permutation, rotation in zip(operations.permutations, operations.cartesian, strict=True):
        moved = np.empty_like(fields)
        moved[:, permutation] = fields @ rotation.T
        matrix = basis @ moved.reshape(len(basis), -1).T
        kept = np.linalg.norm(matrix) ** 2 / len(basis)
        if kept < CLOSED:
            continue
        if np.abs(matrix @ matrix.T - np.eye(len(basis))).max() > CLOSED:
            raise RuntimeError(
                'the degenerate modes are not closed under the space group: got a part of a set, wanted all of it; '
                'is the crystal symmetric to rounding, and relaxed?'
            )
        found.append(matrix)
    return np.array(found)


def special_directions(matrices: np.ndarray, most: int) -> list[Direction]:
    """Directions that symmetry singles out, one of each class of equivalent ones, the most symmetric first.

    A direction and its opposite are both given where no operation joins them. Where symmetry singles none out, the
    basis itself is returned.

    :param matrices: of :func:`representation`.
    :param most: keep so many, a direction and its opposite counted once.
    """
    size = matrices.shape[1]
    _, first = np.unique(np.round(matrices, 4), axis=0, return_index=True)
    group = matrices[np.sort(first)]
    defects = group - np.eye(size)
    grams = np.einsum('gab,gac->gbc', defects, defects)
    rows, columns = np.triu_indices(len(group))
    values, vectors = np.linalg.eigh(grams[rows] + grams[columns])
    single = (values < SAME).sum(axis=1) == 1
    found: list[np.ndarray] = []
    for line in list(vectors[single][:, :, 0]) or list(np.eye(size)):
        if not any(_are_joined(group, sign * line, other) for other in found for sign in (1, -1)):
            found.append(line)
    axes = next((a for line in found if (a := _axes(group @ line)) is not None), np.eye(size))
    chosen = [_written(group, line, axes) for line in found]
    # the order must not depend on rounding: of equally symmetric ones those of few components first
    chosen.sort(key=lambda d: (-d.n_operations, np.abs(np.round(axes @ d.coefficients, 3)).sum()))
    both = []
    for direction in chosen[:most]:
        both.append(direction)
        if not _are_joined(group, -direction.coefficients, direction.coefficients):
            both.append(_written(group, -direction.coefficients, axes))
    return both


def _are_joined(group: np.ndarray, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether an operation carries a direction onto another."""
    return bool(np.abs(group @ one - other).max(axis=1).min() < 100 * SAME)


def _written(group: np.ndarray, coefficients: np.ndarray, axes: np.ndarray) -> Direction:
    """Of all equivalent directions the one that is written with positive numbers, large ones first."""
    images = group @ coefficients
    n_kept = int((np.abs(images - coefficients).max(axis=1) < 100 * SAME).sum())
    along = np.round(images @ axes.T, 3) + 0.0
    best = images[max(range(len(images)), key=lambda k: tuple(along[k]))]
    return Direction(best, _label(best, axes), n_kept)


def _axes(images: np.ndarray) -> np.ndarray | None:
    """Orthogonal ones among the images of a direction, the axes in which all others are written; None if too few."""
    chosen: list[np.ndarray] = []
    for image in images:
        if all(abs(image @ other) < 100 * SAME for other in chosen):
            chosen.append(image)
    return np.array(chosen) if len(chosen) == images.shape[1] else None


def _label(coefficients: np.ndarray, axes: np.ndarray) -> str:
    along = axes @ coefficients
    along = along / np.abs(along).max()
    return '[' + ' '.join(f'{round(float(x), 2) + 0.0:g}' for x in along) + ']'
