"""From a crystal and a potential to its imaginary modes, and to crystals displaced along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ase import Atoms

from aiida_mlfc.core.phonons.following.amplitude import LONGEST, line_minimum
from aiida_mlfc.core.phonons.following.displacing import (
    MOST_DIRECTIONS,
    Distortion,
    distortions,
    n_cells,
    summary,
    supercell_matrix,
)
from aiida_mlfc.core.phonons.following.modes import (
    THRESHOLD,
    ImaginaryMode,
    imaginary_modes,
    lowest_mode,
    searched_qpoints,
)
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.validity import MAX_DISPLACEMENT
from aiida_mlfc.core.structures.cells import to_phonopy
from aiida_mlfc.core.structures.symmetry import spacegroup
from aiida_mlfc.runner.dynamical_matrices import dynamical_matrices

#: Å; displaced crystals are exact to rounding
SYMPREC = 1e-5


@dataclass(frozen=True)
class Instabilities:
    """What a crystal has of imaginary modes.

    :param lowest: lowest frequency at any of the wave vectors, translations at Γ left out, THz.
    :param lowest_qpoint: where that is, shape ``(3,)``.
    """

    modes: list[ImaginaryMode]
    qpoints: np.ndarray
    lowest: float
    lowest_qpoint: np.ndarray


@dataclass(frozen=True)
class Displaced:
    """Crystals displaced along imaginary modes.

    :param crystals: supercells at the lowest energy along each direction, by key.
    :param via: of each, see :class:`aiida_mlfc.core.phonons.following.tree.TreeNode`.
    :param too_large: modes whose supercell has more atoms than allowed.
    """

    crystals: dict[str, Atoms] = field(default_factory=dict)
    via: dict[str, dict[str, Any]] = field(default_factory=dict)
    too_large: int = 0


def instabilities(
    atoms: Atoms,
    model: EnergyModel,
    mesh: Sequence[int] = (2, 2, 2),
    threshold: float = THRESHOLD,
    symprec: float = SYMPREC,
) -> Instabilities:
    """Imaginary modes at every wave vector that fits into ``mesh`` cells, from exact dynamical matrices.

    :param atoms: the primitive cell, relaxed with the same potential.
    :param threshold: THz; modes above minus this one count as stable.
    """
    qpoints = searched_qpoints(atoms, mesh, symprec)
    matrices = dynamical_matrices(atoms, qpoints, model, symprec=symprec)
    masses = to_phonopy(atoms).masses
    found = imaginary_modes(matrices, qpoints, masses, threshold)
    return Instabilities(found, qpoints, *lowest_mode(matrices, qpoints, masses))


def energy_of(atoms: Atoms, model: EnergyModel) -> float:
    """eV."""
    with torch.no_grad():
        graph = build_graph(atoms, model.cutoff, model.species, model.dtype, model.device)
        return float(model(graph)[0])


def displaced(
    atoms: Atoms,
    modes: Sequence[ImaginaryMode],
    model: EnergyModel,
    max_atoms: int,
    directions: int = MOST_DIRECTIONS,
    symprec: float = SYMPREC,
) -> Displaced:
    """The smallest commensurate supercell of each mode, displaced to the lowest energy along each direction.

    :param atoms: as in :func:`instabilities`.
    :param max_atoms: in a supercell.
    :param directions: of each degenerate set, see :func:`special_directions`.
    """
    found = Displaced()
    too_large = 0
    # Never farther than the potential was shown.
    limit = model.metadata.get('validity', {}).get(MAX_DISPLACEMENT)
    longest = LONGEST if limit is None else min(LONGEST, limit)
    masses = to_phonopy(atoms).masses
    for number, mode in enumerate(modes):
        if len(atoms) * n_cells(mode.qpoint) > max_atoms:
            too_large += 1
            continue
        for letter, distortion in enumerate(distortions(atoms, mode, masses, symprec, directions)):
            key = f'm{number}d{letter}'
            crystal, via = _at_minimum(distortion, model, longest, symprec)
            matrix = supercell_matrix(atoms, distortion.supercell).tolist()
            found.crystals[key] = crystal
            found.via[key] = {'key': key, **via, 'supercell': matrix, 'max_displacement': limit}
    return Displaced(found.crystals, found.via, too_large)


def _at_minimum(
    distortion: Distortion, model: EnergyModel, longest: float, symprec: float
) -> tuple[Atoms, dict[str, Any]]:
    low = line_minimum(lambda amplitude: energy_of(distortion.at(amplitude), model), longest)
    crystal = distortion.at(low.amplitude)
    (described,) = summary([distortion.mode])
    return crystal, {
        **described,
        'direction': distortion.direction.label,
        'amplitude': low.amplitude,
        'gain': 1000 * low.gain / len(crystal),
        'is_bounded': low.is_bounded,
        'spacegroup': spacegroup(crystal, symprec),
        'n_atoms': len(crystal),
    }
