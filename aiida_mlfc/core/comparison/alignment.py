"""Two sets of force constants on one footing: primitive cell, order of atoms, orientation, symmetrisation.

Force constants of a supercell depend on two sites and on the lattice vector between their cells, modulo the supercell.
That is the form in which they are carried over; whoever wrote them may have chosen any cell, order or orientation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from phonopy.structure.cells import guess_primitive_matrix

from aiida_mlfc.core.comparison.matching import ComparisonError, Match, matches
from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.force_constants.symmetrising import projected
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy


@dataclass(frozen=True)
class Canonical:
    """Symmetrised force constants whose unit cell is the primitive cell.

    :param force_constants: primitive matrix the identity.
    :param projection_change: share of the given force constants that symmetrisation took away.
    """

    force_constants: ForceConstants
    projection_change: float


@dataclass(frozen=True)
class Aligned:
    """Two canonical sets of one crystal.

    :param a: the first as it is.
    :param b: the second in the cell basis, orientation and atom order of the first, with its own lattice and positions.
    :param same_supercell: whether both have the same supercell; then the arrays compare element by element.
    """

    a: Canonical
    b: Canonical
    match: Match
    same_supercell: bool


def canonical(given: ForceConstants) -> Canonical:
    """The primitive cell as unit cell, symmetrised: the one policy for both sides of a comparison.

    :raises ComparisonError: if the force constants are not finite or of another shape than their cells say.
    """
    phonon = given.to_phonopy()
    wanted = (len(phonon.primitive), len(phonon.supercell), 3, 3)
    if given.array.shape != wanted or not np.isfinite(given.array).all():
        raise ComparisonError(f'force constants have shape {given.array.shape}, wanted {wanted}, all finite')
    reduced = _reduced(phonon, given)
    full = compact_fc_to_full_fc(phonon.primitive, np.array(given.array, order='C'))
    array = projected(reduced, full)
    before = full[reduced.primitive.p2s_map]
    change = float(np.linalg.norm(before - array) / np.linalg.norm(before))
    nac_params = given.nac_params
    if nac_params is not None:
        # Atoms of either primitive cell are atoms of the supercell: charges go by where their images stand.
        image = [phonon.primitive.p2p_map[phonon.primitive.s2p_map[atom]] for atom in reduced.primitive.p2s_map]
        nac_params = {**nac_params, 'born': np.asarray(nac_params['born'])[image]}
    primitive = to_ase(reduced.primitive)
    sites_at = np.array(primitive.positions)
    # phonopy's Ewald sums want a right-handed cell
    basis = np.eye(3, dtype=int) * (1 if np.linalg.det(primitive.cell) > 0 else -1)
    primitive.set_cell(basis @ np.array(primitive.cell))
    if given.unitcell.has('masses'):
        primitive.set_masses(reduced.primitive.masses)
    multiple = np.rint(np.array(reduced.supercell.cell) @ np.linalg.inv(np.array(primitive.cell))).astype(int)
    multiple = multiple * round(np.sign(np.linalg.det(multiple)))
    plain = _carried(
        _Layout.of(reduced, sites_at),
        array,
        (primitive, multiple, given.symprec),
        basis,
        np.arange(len(primitive)),
        np.zeros((len(primitive), 3), dtype=int),
        np.eye(3),
    )
    result = ForceConstants(
        plain.array, primitive, multiple.T, np.eye(3), given.quality, nac_params, given.symprec, plain.phonopy
    )
    return Canonical(result, change)


def _reduced(phonon: Phonopy, given: ForceConstants) -> Phonopy:
    """A ``Phonopy`` with the smallest primitive cell; the given one if it has it, for the search takes time."""
    cell = to_phonopy(given.unitcell)
    matrix = guess_primitive_matrix(cell, symprec=given.symprec)
    if np.isclose(abs(np.linalg.det(matrix)), abs(np.linalg.det(given.primitive_matrix))):
        return phonon
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        return Phonopy(
            cell, supercell_matrix=given.supercell_matrix, primitive_matrix=matrix, symprec=given.symprec, log_level=0
        )


def align(a: ForceConstants | Canonical, b: ForceConstants | Canonical) -> Aligned:
    """Bring b into the cell, order and orientation of a.

    :raises ComparisonError: if they are not the same crystal.
    """
    first = a if isinstance(a, Canonical) else canonical(a)
    second = b if isinstance(b, Canonical) else canonical(b)
    one, other = first.force_constants, second.force_constants
    found = matches(one.unitcell, other.unitcell)
    supercell_a, supercell_b = one.supercell_matrix.T, other.supercell_matrix.T
    # Of ways that are equally good (the symmetry of the crystal) one that lays the supercells on each other too.
    chosen = next((m for m in found if _same_lattice(supercell_a, _in_basis(supercell_b, m.basis))), found[0])
    mapped = _in_basis(supercell_b, chosen.basis)
    # phonopy wants a positive determinant; vectors turned round span the same lattice
    mapped = mapped * round(np.sign(np.linalg.det(mapped)))
    same = _same_lattice(supercell_a, mapped)
    if chosen.is_identity and same and np.array_equal(supercell_a, mapped):
        carried = _with_masses_of(one.unitcell, other)
    else:
        carried = _laid_on(one, other, chosen, supercell_a if same else mapped)
    return Aligned(first, Canonical(carried, second.projection_change), chosen, same)


def _with_masses_of(unitcell: Atoms, other: ForceConstants) -> ForceConstants:
    """Masses are no property of force constants: both sides get those of the first."""
    atoms = other.unitcell.copy()
    if not unitcell.has('masses') and not atoms.has('masses'):
        return other
    atoms.set_masses(unitcell.get_masses() if unitcell.has('masses') else to_phonopy(unitcell).masses)
    return replace(other, unitcell=atoms, _phonopy=[])


def _in_basis(supercell: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Rows of a supercell in the basis vectors that ``basis`` makes of the old ones."""
    return np.rint(supercell @ np.linalg.inv(basis)).astype(int)


def _same_lattice(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two supercells, rows in the same basis, span the same lattice."""
    change = one @ np.linalg.inv(other)
    return bool(np.allclose(change, np.rint(change), atol=1e-6) and abs(abs(np.linalg.det(change)) - 1) < 1e-6)


def _laid_on(one: ForceConstants, other: ForceConstants, match: Match, supercell: np.ndarray) -> ForceConstants:
    """The second set as seen from the first."""
    cell = match.basis @ np.array(other.unitcell.cell) @ match.rotation.T
    scaled = other.unitcell.get_scaled_positions(wrap=False) @ np.linalg.inv(match.basis)
    atoms = Atoms(
        numbers=one.unitcell.numbers,
        cell=cell,
        scaled_positions=scaled[match.atoms] + match.shift - match.cells,
        pbc=True,
    )
    atoms = _with_masses_of(one.unitcell, replace(other, unitcell=atoms)).unitcell
    carried = _carried(
        _Layout.of(other.to_phonopy(), other.unitcell.positions),
        other.array,
        (atoms, supercell, other.symprec),
        match.basis,
        match.atoms,
        match.cells,
        match.rotation,
    )
    nac_params = other.nac_params
    if nac_params is not None:
        turn = match.rotation
        born = np.asarray(nac_params['born'])[match.atoms]
        nac_params = {
            **nac_params,
            'born': turn @ born @ turn.T,
            'dielectric': turn @ nac_params['dielectric'] @ turn.T,
        }
    return ForceConstants(
        carried.array, atoms, supercell.T, np.eye(3), other.quality, nac_params, other.symprec, carried.phonopy
    )


@dataclass(frozen=True)
class _Carried:
    array: np.ndarray
    phonopy: list[Phonopy]


@dataclass(frozen=True)
class _Layout:
    """Supercell atoms as sites of the primitive cell and lattice vectors.

    :param sites: primitive atom of each supercell atom, shape ``(n_super,)``.
    :param cells: its lattice vector in primitive vectors, integers, shape ``(n_super, 3)``.
    :param rows: supercell index of each primitive atom, shape ``(n_prim,)``.
    :param supercell: rows in primitive vectors, integers, shape ``(3, 3)``.
    """

    sites: np.ndarray
    cells: np.ndarray
    rows: np.ndarray
    supercell: np.ndarray

    @classmethod
    def of(cls, phonon: Phonopy, sites_at: np.ndarray) -> _Layout:
        """Read off phonopy's cells.

        :param sites_at: positions that cells are counted from, for phonopy moves atoms of a cell by lattice vectors.
        """
        primitive, supercell = phonon.primitive, phonon.supercell
        inverse = np.linalg.inv(np.array(primitive.cell))
        sites = np.array([primitive.p2p_map[atom] for atom in primitive.s2p_map])
        exact = (supercell.positions - sites_at[sites]) @ inverse
        cells = np.rint(exact).astype(int)
        # phonopy allows as much as its tolerance
        if np.abs(exact - cells).max() > 0.01:
            raise ComparisonError('the atoms of the supercell do not repeat those of the primitive cell')
        multiple = np.rint(np.array(supercell.cell) @ inverse).astype(int)
        return cls(sites, cells, np.array(primitive.p2s_map), multiple)

    def keys(self, vectors: np.ndarray) -> np.ndarray:
        """Lattice vectors modulo the supercell, as integers in a form that is unique."""
        size = round(np.linalg.det(self.supercell))
        adjugate = np.rint(np.linalg.inv(self.supercell) * size).astype(int)
        return (vectors @ adjugate) % abs(size)


def _carried(
    old: _Layout,
    array: np.ndarray,
    crystal: tuple[Atoms, np.ndarray, float],
    basis: np.ndarray,
    partners: np.ndarray,
    wraps: np.ndarray,
    rotation: np.ndarray,
) -> _Carried:
    """Force constants in phonopy's order for another description of the same supercell.

    :param crystal: the primitive cell as it will be, the supercell (rows in its vectors), and the tolerance (Å).
    :param basis: its vectors in those of ``old``, rows.
    :param partners: site of ``old`` for each of its sites.
    :param wraps: cell in which the partner stands, in its vectors.
    """
    atoms, supercell, symprec = crystal
    with warnings.catch_warnings():
        # that a supercell has not all the symmetry of the crystal, which is taken into account where it matters
        warnings.simplefilter('ignore', UserWarning)
        phonon = Phonopy(
            to_phonopy(atoms), supercell_matrix=supercell.T, primitive_matrix=np.eye(3), symprec=symprec, log_level=0
        )
    new = _Layout.of(phonon, atoms.positions)
    where: list[dict[tuple[int, ...], int]] = []
    for row in old.rows:
        keys = old.keys(old.cells - old.cells[row])
        where.append({(int(s), *map(int, k)): j for j, (s, k) in enumerate(zip(old.sites, keys, strict=True))})
    result = np.empty((len(atoms), len(new.sites), 3, 3))
    for i, row in enumerate(new.rows):
        apart = (new.cells - wraps[new.sites]) - (new.cells[row] - wraps[i])
        keys = old.keys(apart @ basis)
        columns = [where[partners[i]][(int(partners[s]), *map(int, k))] for s, k in zip(new.sites, keys, strict=True)]
        result[i] = array[partners[i]][columns]
    if not np.array_equal(rotation, np.eye(3)):
        result = np.einsum('ac,ijcd,bd->ijab', rotation, result, rotation)
    return _Carried(np.ascontiguousarray(result), [phonon])
