"""The potential that ships: what its card says is so, it gives the same numbers everywhere, and it knows its limits."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc import compute_force_constants, load_potential, relax
from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.potentials.training.references import load_reference
from aiida_mlfc.core.potentials.validity import OutsideTrainingError
from aiida_mlfc.core.structures.checks import UnknownSpeciesError
from aiida_mlfc.runner.evaluation import evaluate
from aiida_mlfc.runner.training import VOLUME_LEARNED
from aiida_mlfc.runner.uncertainty import frequency_spread

REFERENCES = Path(__file__).parents[4] / 'shared' / 'data' / 'dft_references'
GOLDEN = Path(__file__).parent / 'golden' / 'dx_demo_force_constants.npz'
MEGABYTE = 1_000_000


@pytest.fixture(scope='module')
def potential():
    return load_potential('dx-demo')


@pytest.fixture(scope='module')
def card():
    return read_header(resolve('dx-demo')).card


def test_file_is_small():
    assert resolve('dx-demo').stat().st_size < 3 * MEGABYTE


def test_card_says_what_a_user_must_know(card):
    assert card['licence'] == 'MIT'
    errors = card['errors on configurations never seen']
    assert len(errors) == len(card['training data']) == 8
    for row in errors:
        assert row['relative_frobenius_percent'] < 2.5, row
        assert row['max_stress_GPa'] < 0.1, row
        assert row['force_rmse_meV_per_A'] < 0.05 * row['force_predict_zero_meV_per_A'], row
        assert row['frequency_mae_THz'] < 0.08, row
        assert row['frequency_max_error_THz'] < 0.5, row
        assert row['lowest_elastic_constant_GPa'] > 10, row
    assert 'known problems' not in card or not card['known problems']
    for entry in card['training data']:
        assert entry['licence'] in ('BSD-3-Clause', 'MIT')
        assert all(len(digest) == 64 for digest in entry['sha256'].values())
    assert all(recipe['seed'] is not None for recipe in card['recipe'])


@pytest.mark.parametrize(
    ('name', 'crystal', 'supercell'),
    [
        ('si', bulk('Si', 'diamond', 5.4336), [2, 2, 2]),
        ('nacl', bulk('NaCl', 'rocksalt', 5.6406), [2, 2, 2]),
        ('gan', bulk('GaN', 'wurtzite', 3.181, c=5.183, u=0.377), [2, 2, 1]),
    ],
)
def test_force_constants_are_those_of_the_day_it_shipped(potential, name, crystal, supercell):
    found = compute_force_constants(crystal, supercell, potential, primitive_matrix='P')
    expected = np.load(GOLDEN)[name]
    assert np.abs(found.array - expected).max() < 1e-6
    assert np.abs(expected).max() > 1.0


def test_unknown_element(potential):
    with pytest.raises(UnknownSpeciesError, match='does not know Cu'):
        compute_force_constants(bulk('Cu'), [2, 2, 2], potential)


@pytest.mark.parametrize('crystal', [bulk('MgSi', 'rocksalt', 5.0), bulk('Al', 'fcc', 4.05)], ids=['MgSi', 'Al'])
def test_elements_of_none_of_its_crystals(potential, crystal):
    with pytest.raises(OutsideTrainingError, match='no crystal of just these elements'):
        compute_force_constants(crystal, [2, 2, 2], potential)


@pytest.mark.parametrize(
    ('crystal', 'learned', 'elsewhere'),
    [
        (bulk('Si', 'diamond', 5.4336), 'Si_PBEsol_fc3', bulk('Si', 'diamond', 5.2)),
        (bulk('NaCl', 'rocksalt', 5.6406), 'NaCl222_alm_fc3', bulk('NaCl', 'rocksalt', 5.4)),
    ],
    ids=['Si', 'NaCl'],
)
def test_it_knows_how_unsure_it_is(potential, card, crystal, learned, elsewhere):
    """As large as its error on held-back configurations, and many times that where it never was."""
    here, there = (
        frequency_spread(compute_force_constants(atoms, [2, 2, 2], potential, primitive_matrix='P'), potential)
        for atoms in (crystal, elsewhere)
    )
    spread, error = card['uncertainty']['rms spread and error in THz'][learned]
    assert spread == pytest.approx(error, rel=0.1)
    assert here == pytest.approx(error, rel=0.6)
    assert there > 5 * here


def test_lattice_it_never_saw(potential):
    with pytest.raises(OutsideTrainingError, match='shortest O-Mg distance'):
        compute_force_constants(bulk('MgO', 'rocksalt', 5.2), [2, 2, 2], potential)


def test_displacement_it_never_saw(potential):
    with pytest.raises(OutsideTrainingError, match='finite-difference step'):
        compute_force_constants(
            bulk('Si', 'diamond', 5.43), [1, 1, 1], potential, method='finite_difference', distance=0.1
        )


@pytest.mark.parametrize(
    ('crystal', 'lattice'), [(bulk('Si', 'diamond', 5.40), 5.4336), (bulk('MgO', 'rocksalt', 4.25), 4.2177)]
)
def test_lattice_means_something(potential, crystal, lattice):
    """It was trained on zero stress at the DFT lattice: relaxing the cell finds that lattice, to 0.5 %."""
    relaxed = relax(crystal, potential, relax_cell=True, smax=0.05)
    assert (4 * relaxed.atoms.get_volume()) ** (1 / 3) == pytest.approx(lattice, rel=5e-3)
    assert relaxed.spacegroup_after == relaxed.spacegroup_before


@pytest.mark.skipif(not REFERENCES.is_dir(), reason='no DFT references beside the checkout (../shared/data)')
@pytest.mark.parametrize(
    ('larger', 'smaller', 'most'),
    [('Si_gruneisen_plus', 'Si_gruneisen_minus', 0.11), ('NaCl_vol1005_vasp', 'NaCl_vol0995_vasp', 0.07)],
    ids=['Si', 'NaCl'],
)
def test_force_constants_change_with_volume_as_in_dft(potential, larger, smaller, most):
    """It learned forces at one volume, whose third order says how the second changes. 1 would be no change at all."""
    found, expected = [], []
    for name in (larger, smaller):
        reference = load_reference(REFERENCES / name)
        given = compute_force_constants(reference.supercell, np.eye(3, dtype=int), potential, primitive_matrix='P')
        found.append(given.array)
        expected.append(reference.force_constants())
    error = np.linalg.norm(found[0] - found[1] - expected[0] + expected[1])
    assert error < most * np.linalg.norm(expected[0] - expected[1])


def test_card_names_what_changes_with_volume(card):
    named = card['cluster expansion'][VOLUME_LEARNED]
    assert set(named) == {
        'Si_PBEsol_fc3', 'NaCl222_alm_fc3', 'MgO_222rd', 'AlN_rd_442_pbesol', 'ZnTe_zb_pbesol'
    }  # fmt: skip


@pytest.mark.skipif(not REFERENCES.is_dir(), reason='no DFT references beside the checkout (../shared/data)')
@pytest.mark.parametrize('name', ['NaCl222_alm_fc3', 'GaN_222_rd'])
def test_card_agrees_with_a_new_evaluation(potential, card, name):
    """On the half of the configurations that was held back."""
    claimed = next(row for row in card['errors on configurations never seen'] if row['material'] == name)
    measured = evaluate(potential, load_reference(REFERENCES / name).part(1))
    for key, value in claimed.items():
        if isinstance(value, float):
            assert measured[key] == pytest.approx(value, rel=1e-2, abs=1e-3), key
