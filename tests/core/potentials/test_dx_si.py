"""The specialised potential: one material, one functional, errors far below those of the general one."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlfc import compute_force_constants, dynamical_matrices, load_potential
from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.potentials.training.references import load_reference
from aiida_mlfc.core.structures.checks import UnknownSpeciesError
from aiida_mlfc.runner.bloch_phases import frequencies
from aiida_mlfc.runner.evaluation import evaluate
from aiida_mlfc.runner.uncertainty import frequency_spread

REFERENCE = Path(__file__).parents[4] / 'shared' / 'data' / 'dft_references' / 'Si_PBEsol_fc3'
#: lattice parameter of the reference, Å
LATTICE = 5.4336


@pytest.fixture(scope='module')
def potential():
    return load_potential('dx-si')


def test_card_holds_what_was_asked():
    card = read_header(resolve('dx-si')).card
    (errors,) = card['errors on configurations never seen']
    assert errors['relative_frobenius_percent'] < 1.0
    assert errors['frequency_mae_THz'] < 0.04
    assert errors['max_stress_GPa'] < 0.1
    assert card['known problems'] == {}
    assert [entry['functional'] for entry in card['training data']] == ['PBEsol']


@pytest.mark.skipif(not REFERENCE.exists(), reason=f'DFT references are not there: {REFERENCE}')
def test_card_is_what_the_potential_does(potential):
    (claimed,) = potential.metadata['errors on configurations never seen']
    found = evaluate(potential, load_reference(REFERENCE).part(1))
    for key in ('relative_frobenius_percent', 'frequency_mae_THz', 'frequency_max_error_THz'):
        assert found[key] == pytest.approx(claimed[key], rel=1e-3), key


def test_it_knows_how_unsure_it_is(potential):
    """The spread of its ensemble is of the size of its error on configurations it never saw, in another mesh of q."""
    (claimed,) = potential.metadata['errors on configurations never seen']
    found = compute_force_constants(bulk('Si', 'diamond', LATTICE), [1, 1, 1], potential, truncation_qpoints=0)
    spread = frequency_spread(found, potential)
    assert 0.5 * claimed['frequency_mae_THz'] < spread < 3 * claimed['frequency_mae_THz']


def test_silicon_as_it_is_known(potential):
    """PBEsol, and experiment within a few per cent: Γ 15.5 THz; acoustic modes vanish, all others are real."""
    atoms = bulk('Si', 'diamond', LATTICE)
    special = np.array([[0, 0, 0], [0.5, 0, 0.5], [0.5, 0.5, 0.5]])
    gamma, x, ell = frequencies(dynamical_matrices(atoms, special, potential))
    assert np.abs(gamma[:3]).max() < 1e-5
    assert gamma[3:] == pytest.approx(15.27, abs=0.15)
    assert x[0] == pytest.approx(4.3, abs=0.4)
    assert ell[0] > 2.5
    quality = compute_force_constants(atoms, [4, 4, 4], potential).quality
    assert quality.acoustic_sum_residual < 1e-12
    assert quality.truncation_error < 0.5


def test_other_elements_are_refused(potential):
    with pytest.raises(UnknownSpeciesError):
        compute_force_constants(bulk('Ge', 'diamond', 5.66), [2, 2, 2], potential)
