"""The expansion by least squares: its design matrix against autograd, and coefficients that are known."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces, energy_forces_stress
from aiida_mlfc.core.potentials.dx.config import DXConfig
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training import expansion_changes, expansion_fit, expansion_prior
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.expansion_changes import far_forces
from aiida_mlfc.core.potentials.training.expansion_fit import fit_expansion, types_of
from aiida_mlfc.core.potentials.training.expansion_rows import force_rows, terms_among, virial_rows
from aiida_mlfc.core.potentials.training.interpolation import interpolating_phonopy
from aiida_mlfc.core.potentials.training.labels_between import qpoints_between
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA
from aiida_mlfc.runner.bloch_phases import frequencies
from aiida_mlfc.runner.dynamical_matrices import dynamical_matrices

from ...small_systems import SPECIES, small_dx, small_dx_with_expansion

WEIGHTS_BETWEEN = expansion_fit.BETWEEN
LENGTHS = {'pair_cutoff': 5.2, 'triplet_cutoff': 3.9, 'pair_spacing': 0.5, 'triplet_spacing': 0.8}
#: almost none
WEAK = {'pair_roughness': 1e-12, 'pair_size': 1e-12, 'triplet_size': 1e-12, 'distortion': 0.0, 'far': 0.0}


def silent(model):
    """Without what the network says."""
    with torch.no_grad():
        model.readout[2].weight.zero_()
        model.readout[2].bias.zero_()
    return model


def rock_salt():
    atoms = bulk('NaCl', 'rocksalt', 5.5, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize('atoms', [rock_salt(), bulk('Si', 'diamond', 5.43)], ids=['two species', 'one species'])
def test_rows_are_the_derivatives_of_forces_and_stress(atoms):
    model = silent(small_dx_with_expansion())
    graph = build_graph(atoms, model.cutoff, SPECIES)
    _, forces, stress = energy_forces_stress(model, graph)
    terms = terms_among(model.expansion, range(len(SPECIES)))
    rows, coefficients = force_rows(model.expansion, terms, graph), model.expansion.coefficients
    assert torch.allclose(rows @ coefficients, forces.detach().flatten(), rtol=0, atol=1e-11)
    virial = virial_rows(model.expansion, terms, graph) @ coefficients * EV_PER_CUBIC_ANGSTROM_IN_GPA / graph.volumes()
    assert torch.allclose(virial.view(3, 3), stress[0].detach(), rtol=0, atol=1e-9)
    assert stress.abs().max() > 1


def test_rows_of_many_displacements_at_once():
    model = silent(small_dx_with_expansion())
    graph = build_graph(bulk('NaCl', 'rocksalt', 5.5), model.cutoff, SPECIES)
    terms = terms_among(model.expansion, range(len(SPECIES)))
    random = torch.Generator().manual_seed(0)
    moved = graph.positions + 0.1 * torch.randn(3, 2, 3, dtype=torch.float64, generator=random)
    together = graph.copies(moved)
    expected = [force_rows(model.expansion, terms, graph.with_positions(x)) for x in moved]
    assert torch.allclose(force_rows(model.expansion, terms, together), torch.cat(expected), rtol=0, atol=1e-12)
    assert expected[0].abs().max() > 0.1
    energies = [energy_forces(model, graph.with_positions(x))[0] for x in moved]
    assert torch.allclose(energy_forces(model, together)[0], torch.cat(energies), rtol=0, atol=1e-10)


def made_by(model, primitive=None) -> Reference:
    """A reference as a model sees it: displaced supercells with its forces, of rock salt unless said otherwise."""
    primitive = primitive or bulk('NaCl', 'rocksalt', a=5.5)
    supercell = primitive * (2, 2, 2)
    displacements = 0.02 * np.random.default_rng(3).standard_normal((10, len(supercell), 3))
    forces = []
    for u in displacements:
        moved = supercell.copy()
        moved.positions += u
        forces.append(energy_forces(model, build_graph(moved, model.cutoff, model.species))[1].numpy())
    return Reference('made', supercell, primitive, displacements, np.array(forces), None, {'name': 'made'})


@pytest.fixture(scope='module')
def truth():
    """A smooth expansion without a network."""
    model = silent(DXModel(DXConfig(species=(11, 17), channels=8, expansion_systems=((11, 17),), **LENGTHS)).double())
    torch.manual_seed(2)
    model.expansion.pair_coefficients.copy_(torch.randn_like(model.expansion.pair_coefficients).cumsum(1))
    model.expansion.triplet_coefficients.normal_(std=0.05)
    return model


def learner(**changes):
    torch.manual_seed(5)
    systems = {'expansion_systems': ((11, 17),)}
    return DXModel(DXConfig(**{'species': (11, 17), 'channels': 8, **systems, **LENGTHS, **changes})).double()


# forces of supercells alone: labels of folded cells are harmonic, those of the truth are not, and it is not at rest
FORCES = Recipe(folded=False, stress_weight=0.0, n_undisplaced=0)


def test_what_an_expansion_made_is_found_again(truth):
    model = silent(learner())
    material = prepare(made_by(truth), model)
    left = fit_expansion(model, [material], FORCES, WEAK).left
    assert left < 1e-4
    # coefficients are not unique, forces near what was learned are
    moved = bulk('NaCl', 'rocksalt', a=5.5) * (2, 2, 2)
    moved.rattle(0.02, seed=9)
    expected = energy_forces(truth, build_graph(moved, truth.cutoff, (11, 17)))[1]
    found = energy_forces(model, build_graph(moved, model.cutoff, (11, 17)))[1]
    assert (found - expected).norm() < 1e-3 * expected.norm()


def test_it_learns_what_the_rest_of_the_model_leaves(truth):
    model = learner(energy_scale=100.0)
    material = prepare(made_by(truth), model)
    fit_expansion(model, [material], FORCES, WEAK)
    moved = bulk('NaCl', 'rocksalt', a=5.5) * (2, 2, 2)
    moved.rattle(0.02, seed=9)
    graph = build_graph(moved, model.cutoff, (11, 17))
    expected, found = energy_forces(truth, graph)[1], energy_forces(model, graph)[1]
    network = found - energy_forces(silent(model), graph)[1]
    assert network.norm() > 0.05 * expected.norm()
    assert (found - expected).norm() < 0.02 * expected.norm()


def test_it_says_how_much_is_left(reference):
    model = silent(learner())
    material = prepare(reference, model)
    left = fit_expansion(model, [material], Recipe()).left
    assert 0 < left < 0.1
    assert fit_expansion(model, [material], Recipe(), {'pair_size': 1e6, 'triplet_size': 1e6}).left > 5 * left


def test_far_from_rest_forces_stay_near_harmonic_ones(reference, monkeypatch):
    monkeypatch.setattr(expansion_fit, '_third_order', lambda *_: None)
    model = silent(learner())
    material = prepare(reference, model)
    u = 0.2 * torch.as_tensor(np.random.default_rng(7).standard_normal(material.supercell.positions.shape))
    harmonic = -np.einsum('ijab,jb->ia', reference.force_constants(), u.numpy())
    moved = build_graph(reference.supercell, model.cutoff + 1.0, model.species)
    moved = moved.with_positions(moved.positions + u)
    off, left = [], []
    for weight in (0.0, expansion_prior.PRIOR['far']):
        left.append(fit_expansion(model, [material], Recipe(), {'far': weight}).left)
        forces = energy_forces(model, moved)[1].detach().numpy()
        off.append(np.linalg.norm(forces - harmonic) / np.linalg.norm(harmonic))
    assert off[1] < 0.3
    assert off[1] < 0.6 * off[0]
    # so coarse an expansion cannot do both as well
    assert left[1] < 0.03


def test_forces_far_from_rest_are_as_many_as_determine_something(reference, monkeypatch):
    """With fewer rows than coefficients crystals fell farther than without any."""
    model = silent(learner())
    material = prepare(reference, model)
    terms = terms_among(model.expansion, types_of(material))
    n = len(terms.columns)
    found = [len(rows) for rows, _ in far_forces(model, terms, material, Recipe())]
    assert 1.5 * n <= sum(found) < 1.5 * n + sum(3 * cell.graph.n_atoms for cell in material.cells)
    monkeypatch.setattr(expansion_changes, 'FAR_COEFFICIENTS', n - 1)
    assert not list(far_forces(model, terms, material, Recipe()))


def test_a_repeated_material_counts_once(reference):
    one, other = silent(learner()), silent(learner())
    material = prepare(reference, one)
    fit_expansion(one, [material], Recipe())
    fit_expansion(other, [material] * 3, Recipe())
    assert torch.equal(one.expansion.coefficients, other.expansion.coefficients)


def test_the_floating_type_of_the_model_is_kept(reference):
    model, exact = silent(learner()).float(), silent(learner())
    material = prepare(reference, model)
    fit_expansion(model, [material], Recipe())
    fit_expansion(exact, [prepare(reference, exact)], Recipe())
    assert model.dtype == torch.float32
    assert torch.allclose(model.expansion.coefficients.double(), exact.expansion.coefficients, rtol=1e-2, atol=1e-3)


def test_more_coefficients_than_memory_holds(reference):
    model = learner(triplet_cutoff=8.0, triplet_spacing=0.2)
    material = prepare(reference, model)
    with pytest.raises(ValueError, match=r'got 2\d{4} coefficients .*wanted at most 20000 in one .*triplet_spacing'):
        fit_expansion(model, [material], Recipe())


def test_two_systems_are_those_of_each_where_they_share_nothing(reference):
    """Coefficients of rock salt do not change when silicon is learned beside it."""
    changes = {'species': (11, 14, 17), 'expansion_systems': ((11, 17), (14,))}
    both, alone = silent(learner(**changes)), silent(learner(**changes))
    springs = silent(learner(species=(14,), expansion_systems=((14,),)))
    springs.expansion.pair_coefficients.copy_(torch.linspace(2, 0, springs.expansion.pair_splines.n)[None])
    other = made_by(springs, bulk('Si', 'diamond', a=5.43))
    fit_expansion(both, [prepare(reference, both), prepare(other, both)], Recipe())
    fit_expansion(alone, [prepare(reference, alone)], Recipe())
    graph = build_graph(rock_salt(), both.cutoff, (11, 14, 17))
    found, expected = energy_forces(both, graph)[1], energy_forces(alone, graph)[1]
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)


def test_between_the_vectors_of_the_supercell_it_is_as_phonopy_interpolates(reference, monkeypatch):
    """What the supercell does not hold is anything at all where nobody says what it should be."""
    qpoints = qpoints_between(reference)
    phonon = interpolating_phonopy(reference, reference.force_constants())
    phonon.run_qpoints(qpoints)
    errors = []
    for share in (0.0, 1.0):
        weights = {kind: share * weight for kind, weight in WEIGHTS_BETWEEN.items()}
        monkeypatch.setattr(expansion_fit, 'BETWEEN', weights)
        # longer than half of the supercell, 4 Å
        model = silent(learner(pair_cutoff=8.0, triplet_cutoff=5.5))
        fit_expansion(model, [prepare(reference, model)], Recipe())
        found = frequencies(dynamical_matrices(reference.primitive, qpoints, model))
        errors.append(np.abs(found - phonon.qpoints.frequencies).mean())
    assert errors[1] < 0.5 * errors[0]


def test_a_model_without_one(reference):
    model = small_dx()
    with pytest.raises(ValueError, match='expansion: the model has none'):
        fit_expansion(model, [], Recipe())
