"""Force constants that obey every symmetry, of several kinds of crystals, and the same written down in another way."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.build import bulk
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.structure.cells import guess_primitive_matrix
from scipy.stats import special_ortho_group

from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.force_constants.symmetrising import projected
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy

QUALITY = Quality('unknown', 'float64', 0.0, 0.0, 0.0, 1, 0.0, 0.0)


def quiet(*arguments, **keywords) -> Phonopy:
    """Without the warning that a supercell has not all the symmetry of the crystal: here it is meant."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        return Phonopy(*arguments, **keywords, log_level=0)


def force_constants_of(
    atoms: Atoms, multiples: tuple[int, int, int], seed: int = 0, stretch: float = 1.0, polar: bool = False
) -> ForceConstants:
    """Springs that decay with distance, with random parts, symmetrised: stable, and nothing but symmetric.

    :param stretch: factor on all springs.
    """
    cell = to_phonopy(atoms)
    phonon = quiet(cell, np.diag(multiples), primitive_matrix=guess_primitive_matrix(cell))
    supercell, n = phonon.supercell, len(phonon.supercell)
    rng = np.random.default_rng(seed)
    scaled = supercell.scaled_positions
    apart = scaled[None] - scaled[:, None]
    vectors = (apart - np.rint(apart)) @ supercell.cell
    lengths = np.linalg.norm(vectors, axis=2) + np.eye(n)
    units = vectors / lengths[..., None]
    decay = np.where(np.eye(n, dtype=bool), 0.0, np.exp(-1.5 * (lengths - 2.0)))
    full = -stretch * decay[..., None, None] * (
        units[..., :, None] * units[..., None, :] + 0.15 * np.eye(3) + 0.03 * rng.standard_normal((n, n, 3, 3))
    )
    full[np.arange(n), np.arange(n)] = -full.sum(axis=1)
    array = projected(phonon, full)
    nac_params = None
    if polar:
        charge = np.array([1.0 if z == phonon.primitive.numbers[0] else -1.0 for z in phonon.primitive.numbers])
        nac_params = {
            'born': charge[:, None, None] * np.diag([1.1, 1.1, 1.3]),
            'dielectric': np.diag([2.5, 2.5, 2.9]),
            'factor': 14.399652,
        }
    return ForceConstants(
        array, atoms, np.diag(multiples), np.array(phonon.primitive_matrix), QUALITY, nac_params, 1e-5, [phonon]
    )


def wurtzite() -> Atoms:
    """Polar, hexagonal, four atoms."""
    return bulk('ZnO', 'wurtzite', a=3.25, c=5.21, u=0.382)


def low_symmetry() -> Atoms:
    """Three atoms in a triclinic cell: no symmetry but translations."""
    cell = [[4.1, 0.1, 0.2], [0.5, 4.6, -0.3], [0.2, 0.7, 5.3]]
    scaled = [[0.02, 0.03, 0.05], [0.47, 0.51, 0.43], [0.71, 0.13, 0.83]]
    return Atoms('NaClF', scaled_positions=scaled, cell=cell, pbc=True)


def rewritten(given: ForceConstants, unit: np.ndarray, seed: int, mirror: bool = False) -> ForceConstants:
    """The same crystal and supercell with another unit cell, orientation, order of atoms and origin.

    Done by positions alone, so that it shares nothing with what it tests.

    :param unit: rows of the new unit cell in the old primitive vectors, integers; the supercell must be a multiple.
    """
    rng = np.random.default_rng(seed)
    old = given.to_phonopy()
    primitive, supercell = old.primitive, old.supercell
    full = compact_fc_to_full_fc(primitive, np.array(given.array))
    turn = special_ortho_group.rvs(3, random_state=seed) * (-1 if mirror else 1)
    lattice = unit @ primitive.cell
    size = abs(round(np.linalg.det(unit)))
    sites = []
    for cell in np.stack(np.meshgrid(*[range(-4, 5)] * 3), axis=-1).reshape(-1, 3):
        scaled = (primitive.positions + cell @ primitive.cell) @ np.linalg.inv(lattice)
        inside = ((scaled > -1e-8) & (scaled < 1 - 1e-8)).all(axis=1)
        sites += [(primitive.numbers[k], scaled[k]) for k in np.flatnonzero(inside)]
    assert len(sites) == size * len(primitive)
    order = rng.permutation(len(sites))
    shift = rng.random(3)
    atoms = Atoms(
        numbers=[sites[k][0] for k in order],
        scaled_positions=[sites[k][1] + shift for k in order],
        cell=lattice @ turn.T,
        pbc=True,
    )
    matrix = np.rint(supercell.cell @ np.linalg.inv(lattice)).astype(int)
    new = quiet(to_phonopy(atoms), matrix.T, primitive_matrix=np.eye(3))
    back = (new.supercell.positions - shift @ (lattice @ turn.T)) @ turn
    apart = (back[:, None] - supercell.positions[None]) @ np.linalg.inv(supercell.cell)
    distances = np.linalg.norm((apart - np.rint(apart)) @ supercell.cell, axis=2)
    where = distances.argmin(axis=1)
    assert distances.min(axis=1).max() < 1e-6
    assert len(set(where)) == len(where)
    array = np.einsum('ac,ijcd,bd->ijab', turn, full[np.ix_(where[new.primitive.p2s_map], where)], turn)
    nac_params = given.nac_params
    if nac_params is not None:
        image = [primitive.p2p_map[primitive.s2p_map[k]] for k in where[new.primitive.p2s_map]]
        born = turn @ np.asarray(nac_params['born'])[image] @ turn.T
        nac_params = {**nac_params, 'born': born, 'dielectric': turn @ nac_params['dielectric'] @ turn.T}
    return replace(
        given, array=array, unitcell=to_ase(new.unitcell), supercell_matrix=matrix.T, primitive_matrix=np.eye(3),
        nac_params=nac_params, _phonopy=[new],
    )
