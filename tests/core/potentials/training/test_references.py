"""DFT force sets: read, checked, split, fitted; the real ones where they are at hand."""

import io
import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.references import load_reference

from ...small_systems import SPECIES, EmbeddedAtoms

REAL = Path(__file__).parents[5] / 'shared' / 'data' / 'dft_references'
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f'DFT force sets are not at {REAL}')


def stored(reference, folder, permutation=None):
    """The reference as files, without phonopy's."""
    configurations = []
    for u, forces in zip(reference.displacements, reference.forces, strict=True):
        atoms = reference.supercell.copy()
        atoms.positions += u
        atoms.calc = SinglePointCalculator(atoms, forces=forces)
        configurations.append(atoms if permutation is None else atoms[permutation])
    text = io.StringIO()
    write(text, configurations, format='extxyz')
    folder.mkdir(exist_ok=True)
    (folder / 'configs.extxyz.xz').write_bytes(lzma.compress(text.getvalue().encode()))
    (folder / 'meta.json').write_text(json.dumps({'name': 'toy', 'licence': 'MIT', 'unrelated': 1}))
    return folder


def rigid_shift(one, other):
    """The translation that carries one crystal onto the other, atom by atom, up to lattice vectors; in Å."""
    scaled = (one.positions - other.positions) @ np.linalg.inv(np.array(other.cell))
    shifts = (scaled - np.rint(scaled)) @ np.array(other.cell)
    assert np.ptp(shifts, axis=0).max() < 1e-5, 'atoms do not stand on their sites'
    return shifts[0]


def test_perfect_supercell_is_found_from_displaced_ones(reference, tmp_path):
    loaded = load_reference(stored(reference, tmp_path))
    shift = rigid_shift(loaded.supercell, reference.supercell)
    assert len(loaded.primitive) == 2
    relative = loaded.displacements + shift
    np.testing.assert_allclose(relative, reference.displacements, rtol=0, atol=1e-6)
    np.testing.assert_allclose(loaded.forces, reference.forces, rtol=0, atol=1e-7)
    assert loaded.source == {'name': 'toy', 'licence': 'MIT'}
    assert loaded.born is None


def test_force_constants_are_those_of_the_source(reference):
    fitted = reference.force_constants()
    model, n = EmbeddedAtoms(), len(reference.supercell)
    graph = build_graph(reference.supercell, model.cutoff, SPECIES)
    exact = -directional_responses(model, graph, np.zeros(3, int), np.eye(3))[0]
    assert fitted.shape == (n, n, 3, 3)
    np.testing.assert_allclose(fitted[0].transpose(1, 0, 2), exact, rtol=0, atol=5e-3 * np.abs(exact).max())


def test_parts_share_nothing(reference):
    learned, held_back = reference.part(0), reference.part(1)
    assert len(learned.forces) == len(held_back.forces) == 4
    for whole, first, second in (
        (reference.forces, learned.forces, held_back.forces),
        (reference.displacements, learned.displacements, held_back.displacements),
    ):
        assert np.array_equal(whole, np.stack([first, second], axis=1).reshape(whole.shape))


@pytest.mark.parametrize('missing', ['configs.extxyz.xz', 'meta.json'])
def test_missing_file(reference, tmp_path, missing):
    (stored(reference, tmp_path) / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load_reference(tmp_path)


@needs_real_data
@pytest.mark.parametrize(('name', 'n_atoms', 'n_configurations', 'n_primitive'), [
    ('SnO2_222_rd_symfc', 48, 40, 6), ('MgO_vasp', 64, 2, 2), ('GaN_222_rd', 32, 40, 4),
])
def test_real_references(name, n_atoms, n_configurations, n_primitive):
    reference = load_reference(REAL / name)
    assert reference.displacements.shape == reference.forces.shape == (n_configurations, n_atoms, 3)
    assert (len(reference.supercell), len(reference.primitive)) == (n_atoms, n_primitive)
    assert 0.005 < np.linalg.norm(reference.displacements, axis=2).max() < 0.02
    assert np.abs(reference.forces.sum(axis=1)).max() < 0.05
    assert reference.source['licence']
    # Atoms are pulled back: forces and displacements belong together.
    assert (reference.displacements * reference.forces).sum() < 0


@needs_real_data
def test_guessed_supercell_is_phonopys(tmp_path):
    """With and without phonopy's file: the same sites, up to a rigid shift."""
    for name in ('configs.extxyz.xz', 'meta.json'):
        shutil.copy(REAL / 'MgO_222rd' / name, tmp_path)
    guessed, given = load_reference(tmp_path), load_reference(REAL / 'MgO_222rd')
    shift = rigid_shift(guessed.supercell, given.supercell)
    np.testing.assert_allclose(guessed.displacements + shift, given.displacements, rtol=0, atol=1e-5)


@needs_real_data
def test_mixed_supercells_are_refused():
    with pytest.raises(ValueError, match='split the folder'):
        load_reference(REAL / 'Si_111_222_rd')
