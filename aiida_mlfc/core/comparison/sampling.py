"""Frequencies of both sides at the same wave vectors, each star of them once and with its weight."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from phonopy import Phonopy
from phonopy.phonon.band_structure import get_band_qpoints
from phonopy.phonon.grid import length2mesh

from aiida_mlfc.core.comparison.alignment import Aligned
from aiida_mlfc.core.phonons.analysis import seekpath_path
from aiida_mlfc.core.phonons.record import Bands
from aiida_mlfc.core.structures.sublattices import commensurate_qpoints

#: Å; Γ-centred mesh, a length L gives round(L |b*|) points along a reciprocal vector b*
MESH_LENGTH = 45.0
POINTS_PER_SEGMENT = 31
#: reduced coordinates; files and rotations leave rounding, meshes are never so dense
SAME_QPOINT = 1e-6


@dataclass(frozen=True)
class Sampled:
    """Frequencies of two sets of force constants at common wave vectors.

    :param qpoints: one of each star, reduced coordinates of a's primitive cell, shape ``(n_qpoints, 3)``.
    :param weights: size of its star, shape ``(n_qpoints,)``.
    :param a: ascending, imaginary ones negative, shape ``(n_qpoints, n_bands)``, THz.
    :param b: likewise.
    """

    qpoints: np.ndarray
    weights: np.ndarray
    a: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class Sampling:
    """All wave vectors of a comparison.

    :param mesh_numbers: points along each reciprocal vector of the mesh.
    :param mesh: interpolated by both sides alike.
    :param commensurate: those of a's supercell, where a is interpolated by nothing.
    :param bands_a: on seekpath's path of a.
    :param bands_b: at the same reduced coordinates.
    """

    mesh_numbers: tuple[int, int, int]
    mesh: Sampled
    commensurate: Sampled
    bands_a: Bands
    bands_b: Bands


def sample(aligned: Aligned, mesh_length: float = MESH_LENGTH, points: int = POINTS_PER_SEGMENT) -> Sampling:
    """Run phonopy on both sides.

    :param mesh_length: Å, see ``MESH_LENGTH``.
    :param points: on each segment of the path.
    """
    a, b = (side.force_constants.to_phonopy() for side in (aligned.a, aligned.b))
    rotations = _common_rotations(a, b)
    numbers = length2mesh(mesh_length, a.primitive.cell, rotations=rotations)
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in numbers], indexing='ij'), axis=-1).reshape(-1, 3)
    supercell = aligned.a.force_constants.supercell_matrix.T
    bands_a, bands_b = _bands(a, b, aligned.a.force_constants.symprec, points)
    return Sampling(
        (int(numbers[0]), int(numbers[1]), int(numbers[2])),
        _sampled(a, b, *stars(grid, rotations)),
        _sampled(a, b, *stars(commensurate_qpoints(supercell), rotations)),
        bands_a,
        bands_b,
    )


def _common_rotations(a: Phonopy, b: Phonopy) -> np.ndarray:
    """Rotations that both supercells have: at its own geometry, or in a supercell of its own, one may have fewer."""
    one, other = _rotations(a), _rotations(b)
    return np.array(sorted(one & other)).reshape(-1, 3, 3)


def _rotations(phonon: Phonopy) -> set[tuple[int, ...]]:
    """Point group of the supercell in the basis of the primitive cell.

    That of the primitive cell may be larger: 3 x 2 x 2 cubic cells are not cubic, and their force constants are not.
    """
    change = np.array(phonon.supercell.cell) @ np.linalg.inv(np.array(phonon.primitive.cell))
    inner = change.T @ np.asarray(phonon.symmetry.pointgroup_operations) @ np.linalg.inv(change.T)
    whole = np.rint(inner)
    return {
        tuple(r.astype(int).ravel()) for r, exact in zip(whole, inner, strict=True) if np.allclose(r, exact, atol=1e-4)
    }


def stars(qpoints: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One wave vector of each star and how many of ``qpoints`` belong to it; q and -q are one by time reversal.

    :param qpoints: reduced coordinates, all different modulo 1, shape ``(n, 3)``.
    :param rotations: of the crystal in reduced coordinates, integers, shape ``(n_rotations, 3, 3)``.
    """
    digits = round(-np.log10(SAME_QPOINT))
    keys = np.round(np.round(qpoints, digits) % 1, digits) % 1
    place = {tuple(key): k for k, key in enumerate(keys)}
    owner = np.full(len(qpoints), -1)
    for k in range(len(qpoints)):
        if owner[k] >= 0:
            continue
        images = np.concatenate(
            [rotations.transpose(0, 2, 1) @ qpoints[k], -(rotations.transpose(0, 2, 1) @ qpoints[k])]
        )
        for image in np.round(np.round(images, digits) % 1, digits) % 1:
            # a mesh that lacks a symmetry of the crystal has incomplete stars
            if (found := place.get(tuple(image))) is not None:
                owner[found] = k
    chosen, counts = np.unique(owner, return_counts=True)
    return qpoints[chosen], counts


def _sampled(a: Phonopy, b: Phonopy, qpoints: np.ndarray, weights: np.ndarray) -> Sampled:
    found = []
    for phonon in (a, b):
        phonon.run_qpoints(qpoints)
        found.append(_exact_at_gamma(qpoints, np.array(phonon.qpoints.frequencies)))
    return Sampled(qpoints, weights, *found)


def _exact_at_gamma(qpoints: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """At Γ three modes are zero by translation, which symmetrisation made exact: their rounding is no frequency."""
    for k in np.flatnonzero(np.abs(qpoints - np.rint(qpoints)).max(axis=1) < SAME_QPOINT):
        frequencies[k, np.argsort(np.abs(frequencies[k]))[:3]] = 0.0
        frequencies[k].sort()
    return frequencies


def _bands(a: Phonopy, b: Phonopy, symprec: float, points: int) -> tuple[Bands, Bands]:
    """Both on the path of a; distances along the path are those of a."""
    with warnings.catch_warnings():
        # seekpath reads spglib's answer in the old way
        warnings.simplefilter('ignore', DeprecationWarning)
        segments, labels = seekpath_path(a, symprec)
    paths = get_band_qpoints([np.array(segment) for segment in segments], npoints=points)
    found = []
    for phonon in (a, b):
        phonon.run_band_structure(paths)
        found.append(phonon.band_structure)
    stops = np.cumsum([len(path) for path in found[0].qpoints])
    ends = np.stack((np.concatenate(([0], stops[:-1])), stops), axis=1)
    distances, qpoints = np.concatenate(found[0].distances), np.concatenate(found[0].qpoints)
    one, other = (
        Bands(qpoints, distances, _exact_at_gamma(qpoints, np.concatenate(x.frequencies)), ends, labels) for x in found
    )
    return one, other
