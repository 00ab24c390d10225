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

from aiida_mlfc.core.comparison.card_metrics import MESH
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.references import load_reference
from aiida_mlfc.runner.training_constants import phonon_of

from ...small_systems import SPECIES, EmbeddedAtoms
from ...toy_mirrors import DISPLACEMENT, crystal, exact_force_constants, labelled, mirrored_reference

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


def relative(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def test_halves_of_mirrored_pairs_are_compared_with_the_whole():
    """+u is learned and -u held back: third order, that each side has in its force constants, is no error."""
    reference = mirrored_reference()
    exact = exact_force_constants(reference.supercell)
    learned, rest, part = reference.part(0), reference.part(1), reference.held_back()
    off = [relative(one.force_constants(), exact) for one in (learned, rest)]
    assert min(off) > 1e-2
    # as far as each other, to opposite sides
    assert relative(learned.force_constants(), rest.force_constants()) == pytest.approx(sum(off), rel=0.05)
    # what is left is fourth order
    assert relative(part.force_constants(), exact) < 1e-3
    assert np.array_equal(part.force_constants(), reference.force_constants())
    # forces are still of those held back alone, and what is chosen of them stands on its own
    assert np.array_equal(part.forces, rest.forces)
    assert np.array_equal(part.chosen(np.arange(2)).force_constants(), rest.force_constants())


def test_other_sets_are_compared_as_ever(reference):
    """Random displacements; pairs of which each half has whole ones; large ones, where third order is fitted along."""
    pairs = np.concatenate([reference.displacements[:4], -reference.displacements[:4]])
    large = 3 * DISPLACEMENT * np.random.default_rng(1).standard_normal((7, 16, 3))
    sets = {
        'random': reference,
        'whole pairs': labelled('pairs', reference.primitive, reference.supercell, pairs),
        'large': labelled('large', *crystal(), np.concatenate([large, -large])),
    }
    for what, one in sets.items():
        part = one.held_back()
        assert part.whole is None, what
        assert np.array_equal(part.force_constants(), one.part(1).force_constants()), what
    assert sets['random'].held_back(np.array([0, 3])).whole is None


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
def test_mode_that_only_half_of_dft_has():
    """Al2S3 in P6, plus-minus pairs: each side has an imaginary mode, and DFT has none."""
    reference = load_reference(REAL / 'Al2S3_P6')
    lowest = []
    for one in (reference.part(1), reference.held_back()):
        phonon = phonon_of(one.supercell, one.primitive)
        phonon.force_constants = one.force_constants()
        phonon.run_mesh(MESH, is_gamma_center=True)
        lowest.append(phonon.mesh.frequencies.min())
    assert lowest[0] < -1
    assert lowest[1] > -0.1


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
