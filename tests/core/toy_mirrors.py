"""Plus-minus pairs of a crystal without inversion: each side alone has third order in its force constants."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.neighborlist import neighbor_list
from phonopy import Phonopy

from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.structures.cells import to_phonopy

LATTICE = 5.43
#: Å; of the pairs displaced by one atom each
DISPLACEMENT = 0.01
#: by shell: largest distance in lattice constants, k in eV/Å², g in eV/Å³; E = k x²/2 + g x³/6 of each pair, x its
#: stretch. That of neighbours is as anharmonic as a Morse potential of 2 / Å
SHELLS = ((0.5, 6.0, -36.0), (0.75, 1.0, -3.0))


def crystal() -> tuple[Atoms, Atoms]:
    """Zincblende, primitive cell and 16 atoms at rest: no site has an inversion."""
    primitive = bulk('NaCl', 'zincblende', a=LATTICE)
    return primitive, make_supercell(primitive, 2 * np.eye(3, dtype=int))


def springs(supercell: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From and to which atom each spring goes, its vector at rest, k and g."""
    i, j, vectors = neighbor_list('ijD', supercell, LATTICE * SHELLS[-1][0])
    shell = np.searchsorted([LATTICE * largest for largest, _, _ in SHELLS], np.linalg.norm(vectors, axis=1))
    _, k, g = np.array(SHELLS).T
    return i, j, vectors, k[shell], g[shell]


def labelled(name: str, primitive: Atoms, supercell: Atoms, displacements: np.ndarray) -> Reference:
    """Displacements with the forces of the springs."""
    i, j, vectors, k, g = springs(supercell)
    rest, forces = np.linalg.norm(vectors, axis=1), np.zeros_like(displacements)
    for u, pulled in zip(displacements, forces, strict=True):
        moved = vectors + u[j] - u[i]
        lengths = np.linalg.norm(moved, axis=1)
        x = lengths - rest
        np.add.at(pulled, i, (k * x + g * x**2 / 2)[:, None] * moved / lengths[:, None])
    return Reference(name, supercell, primitive, displacements, forces, None, {'name': name})


def exact_force_constants(supercell: Atoms, moved: np.ndarray | None = None) -> np.ndarray:
    """Second derivatives, shape ``(n_super, n_super, 3, 3)``, eV/Å²: k along each spring, and what its tension adds.

    :param moved: vectors of the springs, shape ``(n_springs, 3)``, Å; at rest by default.
    """
    i, j, vectors, k, g = springs(supercell)
    moved = vectors if moved is None else moved
    lengths = np.linalg.norm(moved, axis=1)
    x = lengths - np.linalg.norm(vectors, axis=1)
    along = moved / lengths[:, None]
    projector = along[:, :, None] * along[:, None, :]
    across = ((k * x + g * x**2 / 2) / lengths)[:, None, None] * (np.eye(3) - projector)
    each = (k + g * x)[:, None, None] * projector + across
    found = np.zeros((len(supercell), len(supercell), 3, 3))
    np.add.at(found, (i, j), -each)
    np.add.at(found, (i, i), each)
    return found


def mirrored_reference() -> Reference:
    """One atom of each kind displaced along [1 1 1] and back: + in one half, - in the other, as phonopy sorts them."""
    primitive, supercell = crystal()
    displacements = np.zeros((4, len(supercell), 3))
    for k, atom in enumerate((0, 1)):
        displacements[2 * k, atom] = DISPLACEMENT / np.sqrt(3)
        displacements[2 * k + 1] = -displacements[2 * k]
    return labelled('mirrored', primitive, supercell, displacements)


def write_mirrors(folder: Path) -> Path:
    """The same pairs in phonopy's own file."""
    reference = mirrored_reference()
    matrix = (np.array(reference.primitive.cell) @ np.linalg.inv(np.array(reference.supercell.cell))).T
    phonon = Phonopy(to_phonopy(reference.supercell), np.eye(3, dtype=int), matrix, log_level=0)
    phonon.dataset = {'displacements': reference.displacements, 'forces': reference.forces}
    folder.mkdir(parents=True)
    phonon.save(folder / 'phonopy_params.yaml')
    return folder
