"""Training on force constants alone: labels without a fit, a card that says what was not held back."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aiida_mlfc.cli.training import force_set_arrays, prepare_job
from aiida_mlfc.core.checkpoint_files import read_header
from aiida_mlfc.core.potentials.training.batches import draw_batch, prepare
from aiida_mlfc.core.potentials.training.defaults import default_recipe
from aiida_mlfc.core.potentials.training.harmonic_labels import harmonic_cells
from aiida_mlfc.core.potentials.training.references import STEP_OF_CONSTANTS, Reference
from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.exchange.names import TRAINED_FILE
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.exchange.training_inputs import TAKEN_OFF
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner.run import run_job
from aiida_mlfc.runner.training_constants import check_learnable
from aiida_mlfc.runner.training_data import check_copies, check_known_answers, read_force_set, split
from aiida_mlfc.runner.training_start import starting_model

from ..spring_sets import write_spring_constants, write_springs
from .test_training import MODEL, OPTIONS

SPECIES = (11, 17)
CUTOFF = 3.2
#: solved for, no steps
SOLVED = {**OPTIONS, 'steps': 0}


def arrays_of(folder):
    (reference,) = read_configurations([folder])
    return force_set_arrays(reference)


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """``constants`` beside ``salt``, the same springs as forces, and MgO of other springs."""
    folder = tmp_path_factory.mktemp('sets')
    write_spring_constants(folder / 'constants')
    write_springs(folder / 'salt')
    write_springs(folder / 'magnesia', formula='MgO', lattice=4.2)
    return folder


@pytest.fixture(scope='module')
def arrays(sets):
    return arrays_of(sets / 'constants')


@pytest.fixture(scope='module')
def constants(arrays) -> Reference:
    return read_force_set(arrays)


@pytest.mark.parametrize('form', ['compact', 'hdf5', 'compact hdf5', 'params'])
def test_every_form_gives_the_same_labels(constants, tmp_path, form):
    write_spring_constants(tmp_path / 'constants', form)
    found = read_force_set(arrays_of(tmp_path / 'constants'))
    cells, expected = (harmonic_cells(reference, CUTOFF, SPECIES) for reference in (found, constants))
    assert len(cells) == len(expected) == 3
    for one, other in zip(cells, expected, strict=True):
        np.testing.assert_allclose(one.hessian, other.hessian, rtol=0, atol=1e-10)


def test_labels_are_the_springs(constants, sets):
    """At Γ sodium hangs on chlorine by six springs of 1 eV/Å²; a fit to forces of the same springs says the same."""
    cells = harmonic_cells(constants, CUTOFF, SPECIES)
    assert [cell.graph.n_atoms for cell in cells] == [2, 4, 4]
    np.testing.assert_allclose(cells[0].hessian, np.kron([[6, -6], [-6, 6]], np.eye(3)), rtol=0, atol=1e-10)
    fitted = harmonic_cells(read_force_set(arrays_of(sets / 'salt')), CUTOFF, SPECIES)
    for one, other in zip(cells, fitted, strict=True):
        np.testing.assert_allclose(np.linalg.eigvalsh(one.hessian), np.linalg.eigvalsh(other.hessian), atol=1e-6)


def test_nothing_is_held_back(constants):
    parts = split(constants, TrainOptions(valid_fraction=0.3))
    assert (parts.learned, parts.held_back, parts.valid) == (constants, None, None)
    assert constants.largest_displacement == STEP_OF_CONSTANTS
    assert constants.displacements.shape == constants.forces.shape == (0, 16, 3)


@pytest.fixture(scope='module')
def trained(sets, tmp_path_factory):
    """An expansion on force constants alone."""
    folder = tmp_path_factory.mktemp('job')
    assert prepare_job([sets / 'constants'], folder, SOLVED) == []
    assert run_job(folder) == 0
    return folder


def test_card_says_so(trained):
    card = read_header(trained / TRAINED_FILE).card
    assert card['errors on configurations never seen'] == []
    assert 'errors on the configurations learned, none held back' not in card
    (row,) = card['errors on the force constants learned']
    assert row['n_configurations'] == 0
    assert 'force_rmse_meV_per_A' not in row
    # pair terms describe springs
    assert row['relative_frobenius_percent'] < 1
    assert row['frequency_mae_THz'] < 0.01 * row['frequency_predict_zero_THz']
    said = card['learned from force constants alone']
    assert said['materials'] == ['constants']
    assert 'nothing of them is held back' in said['means']
    assert card['validity']['max_displacement'] == STEP_OF_CONSTANTS
    (entry,) = card['training data']
    assert (entry['configurations learned'], entry['functional']) == (0, 'springs')
    assert entry[TAKEN_OFF] < 1e-10
    data = read_result(trained, 'r00000')['data']
    assert (data['held_back'], data['n_configurations_learned']) == (False, 0)


def test_steps_of_a_network_and_uncertainty_beside_force_sets(sets, tmp_path):
    """What only configurations can give comes from the set that has them."""
    options = {**OPTIONS, 'steps': 4, 'uncertainty_members': 2, 'recipe': {'supercell_share': 1.0}}
    prepare_job([sets / 'constants', sets / 'magnesia'], tmp_path, options)
    assert run_job(tmp_path) == 0
    card = read_header(tmp_path / TRAINED_FILE).card
    assert [row['material'] for row in card['errors on configurations never seen']] == ['magnesia']
    assert [row['material'] for row in card['errors on the force constants learned']] == ['constants']
    entry = card['uncertainty']
    learned = 'force constants that were learned, a lower bound: constants'
    assert entry['calibrated on'] == f'held back: magnesia; {learned}'
    # each chemical system has the scale of its own errors
    assert set(entry['rms spread and error in THz']) == {'magnesia', 'constants'}
    assert card['validity']['max_displacement'] > STEP_OF_CONSTANTS


def test_real_supercells_are_drawn_where_there_are_any(constants, sets, tmp_path):
    forces = read_force_set(arrays_of(sets / 'salt'))
    model, _ = starting_model([constants], TrainOptions(model=MODEL), tmp_path)
    recipe = default_recipe(0, 1, supercell_share=1.0)
    materials = [prepare(reference, model) for reference in (constants, forces)]
    for some, n_systems in ((materials, 4), (materials[:1], 2)):
        for seed in range(5):
            batch = draw_batch(some, recipe, np.random.default_rng(seed), model)
            # one at rest, a folded cell of each, perhaps a supercell
            assert batch.graph.n_systems == n_systems


def test_a_state_knows_its_force_constants_again(constants, tmp_path):
    model, _ = starting_model([constants], TrainOptions(model=MODEL), tmp_path)
    other, rounded = (replace(constants, constants=scale * constants.constants) for scale in (1.001, 1 + 1e-13))
    digests = [prepare(reference, model).digest for reference in (constants, other, rounded)]
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_held_back_as_a_material(sets, tmp_path):
    options = {**SOLVED, 'held_back_materials': ['constants'], 'model': MODEL}
    write_springs(tmp_path / 'strained', lattice=5.70)
    prepare_job([sets / 'constants', sets / 'magnesia', tmp_path / 'strained'], tmp_path / 'job', options)
    assert run_job(tmp_path / 'job') == 4
    # the other sodium chloride is the same crystal, so nothing knows sodium
    assert 'nothing that is learned holds Na, Cl' in read_result(tmp_path / 'job', 'r00000')['error']['message']


def test_same_crystal_with_configurations_held_back(constants, sets):
    forces = read_force_set(arrays_of(sets / 'salt'))
    splits = [split(one, TrainOptions()) for one in (constants, forces)]
    with pytest.raises(ReferenceError, match='what salt holds back would not be unseen'):
        check_known_answers(splits)
    check_known_answers([split(one, TrainOptions(hold_back=False)) for one in (constants, forces)])
    with pytest.raises(ReferenceError, match='again and constants hold the same force constants'):
        check_copies([constants, replace(constants, name='again')])


@pytest.mark.parametrize(
    ('changes', 'valid_fraction', 'said'),
    [({'folded': False}, 0.0, 'recipe.folded false'), ({}, 0.2, 'valid_fraction 0.2: constants holds')],
)
def test_settings_that_need_configurations(constants, changes, valid_fraction, said):
    with pytest.raises(ReferenceError, match=said):
        check_learnable([constants], default_recipe(0, 1, **changes), valid_fraction)
    check_learnable([constants], default_recipe(0, 1), 0.0)


def test_mixed_functionals_and_volumes_are_refused_alike(sets, tmp_path):
    write_spring_constants(tmp_path / 'pbe', functional='PBE', formula='MgO', lattice=4.2)
    write_spring_constants(tmp_path / 'strained', lattice=5.70)
    for other, said in (('pbe', 'different functionals'), ('strained', 'at volumes that differ by')):
        prepare_job([sets / 'constants', tmp_path / other], tmp_path / f'job-{other}', SOLVED)
        assert run_job(tmp_path / f'job-{other}') == 4
        assert said in read_result(tmp_path / f'job-{other}', 'r00000')['error']['message']


def test_job_checks_what_no_reader_did(arrays, capsys):
    """A node of another program comes to the job as it is."""
    spoiled = arrays['force_constants'].copy()
    spoiled[0, 3, 0, 0] = np.inf
    with pytest.raises(ReferenceError, match='constants holds force constants that are not finite'):
        read_force_set({**arrays, 'force_constants': spoiled})
    with pytest.raises(ReferenceError, match='are of the atoms \\[8, 0\\] of the supercell, wanted \\[0, 8\\]'):
        read_force_set({**arrays, 'rows': arrays['rows'][::-1]})
    source = {**json.loads(arrays['source']), TAKEN_OFF: 0.05}
    found = read_force_set({**arrays, 'source': json.dumps(source)})
    assert found.source[TAKEN_OFF] == 0.05
    assert '5.0 % of the force constants broke space group' in capsys.readouterr().err


def no_force(k, atoms, forces):
    forces[:] = 0


def the_same_on_all(k, atoms, forces):
    forces[:] = 0.01


@pytest.mark.parametrize('change', [no_force, the_same_on_all])
def test_forces_of_zero_are_no_data(sets, tmp_path, change):
    write_springs(tmp_path / 'silent', change)
    refused = prepare_job([sets / 'magnesia', tmp_path / 'silent'], tmp_path / 'job', SOLVED)
    assert [row['name'] for row in refused] == ['silent']
    assert 'all forces of the 12 configurations are zero, wanted those of a crystal' in refused[0]['error']


def test_zero_labels_are_named(constants):
    with pytest.raises(ValueError, match='constants: all force constants are zero'):
        harmonic_cells(replace(constants, constants=0 * constants.constants), CUTOFF, SPECIES)
