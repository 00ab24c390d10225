"""SrTiO3 followed: the example, the claims on the card of its potential, and the last two steps of its tree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import phonopy
import pytest

from aiida_mlfc.core.phonons.following.displacing import distortions
from aiida_mlfc.core.potentials.registry import load_potential
from aiida_mlfc.runner.bloch_phases import frequencies
from aiida_mlfc.runner.dynamical_matrices import dynamical_matrices
from aiida_mlfc.runner.follow import follow_modes
from tests.core.phonons.following.perovskite import cubic, masses, tilts

ROOT = Path(__file__).parents[2]
KEPT = ROOT / 'tests' / 'core' / 'phonons' / 'following' / 'dx-srtio3.safetensors'
REFERENCES = ROOT.parent / 'shared' / 'data' / 'dft_references'
POINTS = {'Γ': (0, 0, 0), 'X': (0.5, 0, 0), 'M': (0.5, 0.5, 0), 'R': (0.5, 0.5, 0.5)}
#: Å, of the snapshots that the potential learned from
LATTICE = 3.896331805


@pytest.fixture(scope='module')
def potential():
    return load_potential(KEPT)


def at_lattice(length):
    atoms = cubic()
    atoms.set_cell([length] * 3, scale_atoms=True)
    return atoms


def test_card_says_what_the_potential_does(potential):
    (row,) = potential.metadata['errors on configurations never seen']
    found = frequencies(dynamical_matrices(at_lattice(LATTICE), np.array(list(POINTS.values())), potential))[:, 0]
    for name, frequency in zip(POINTS, found, strict=True):
        assert frequency == pytest.approx(row['lowest_frequency_THz'][name], abs=2e-3)
    # ten times better than no forces at all, on snapshots with forces of volts per Å
    assert row['force_rmse_meV_per_A'] < 0.1 * row['force_predict_zero_meV_per_A']
    names = {source['name']: source for source in potential.metadata['training data']}
    assert set(names) == {'SrTiO3_cubic_alamode_aimd', 'SrTiO3_333_phonopytest'}
    assert all(source['licence'] and source['sha256'] for source in names.values())


def test_polar_mode_is_that_of_dft(potential):
    """At Γ, the one wave vector that the 3x3x3 supercell of the reference holds; NAC is off on both sides."""
    folder = REFERENCES / 'SrTiO3_333_phonopytest'
    if not folder.is_dir():
        pytest.skip(f'{folder} is absent')
    reference = phonopy.load(folder / 'phonopy_params.yaml.xz', is_nac=False, log_level=0)
    theirs = reference.run_qpoints([[0, 0, 0]]).frequencies[0]
    ours = frequencies(dynamical_matrices(at_lattice(LATTICE), np.zeros((1, 3)), potential))[0]
    assert theirs[0] < -2
    np.testing.assert_allclose(ours[:3], theirs[:3], atol=0.2)


def test_tilted_crystal_is_followed_to_a_stable_one(potential):
    """a-a-a-, then polar: the end of the tree, R3c."""
    tilted = {d.direction.label: d for d in distortions(cubic(), tilts((0.5, 0.5, 0.5), (0, 1, 2)), masses(), 1e-5)}
    start = tilted['[1 1 1]'].at(0.15)
    start.set_cell(np.array(start.cell) * LATTICE / 3.9, scale_atoms=True)
    found = follow_modes(
        start, potential, generations=1, mesh=(1, 1, 1), directions=1, relax_cell=False, confirm_mesh=(2, 2, 2)
    )
    root = found.nodes[0]
    best = found.nodes[found.outcome['lowest']]
    assert (root.spacegroup, best.spacegroup) == ('R-3c (167)', 'R3c (161)')
    assert found.outcome['state'] == 'stable'
    assert best.energy < -0.1


def test_example(tmp_path):
    script = ROOT / 'examples' / '22_follow_srtio3.py'
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, 'CI': '1', 'COLUMNS': '200'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'Pm-3m (221)' in done.stdout
    assert 'P4mm (99)' in done.stdout
    assert '22_follow_srtio3.html' in done.stdout
    page = (tmp_path / '22_follow_srtio3.html').read_text()
    block = page.partition('id="overview">')[2].partition('</script>')[0]
    assert [node['spacegroup'] for node in json.loads(block)['nodes']] == ['Pm-3m (221)', 'P4mm (99)']
    assert (tmp_path / '22_srtio3_1.cif').exists()
