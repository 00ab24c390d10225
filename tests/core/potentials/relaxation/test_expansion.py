"""Derivatives in the symmetric coordinates against differences of energies, at a point where forces do not vanish."""

import numpy as np

from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.relaxation.expansion import Expansion
from aiida_mlfc.core.potentials.relaxation.symmetric_space import symmetric_space
from aiida_mlfc.core.structures.symmetry import symmetrized


def graph_of(model, atoms):
    return build_graph(atoms, model.cutoff, model.species)


def energy(model, atoms):
    return Expansion(model, [graph_of(model, atoms)], products=False).first_order()[0].energy


def product(model, space, atoms, q):
    """The Hessian in q times a vector."""
    expansion = Expansion(model, [graph_of(model, atoms)])
    fields = space.fields(q)
    of_positions, of_strain = expansion.products([fields])[0]
    virial = expansion.first_order()[0].of_strain
    return space.components(of_positions, of_strain + space.curvature_of_strain(virial, fields[1]))


def test_gradient_and_hessian_are_those_of_the_energy(model, triclinic, wurtzite):
    step = 1e-3
    for atoms in (triclinic, symmetrized(wurtzite, 1e-5)):
        space = symmetric_space(atoms, 1e-5, relax_cell=True)
        found = Expansion(model, [graph_of(model, atoms)]).first_order()[0]
        gradient = space.components(found.of_positions, found.of_strain)
        a, b = np.random.default_rng(1).standard_normal((2, space.size))
        # along the gradient too: a basis is free to turn, and a random direction may be normal to it
        a += 3 * gradient / np.linalg.norm(gradient)
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)

        def at(x, y, space=space, atoms=atoms, a=a, b=b):
            return energy(model, space.moved(atoms, x * a + y * b))

        slope = (8 * (at(step, 0) - at(-step, 0)) - (at(2 * step, 0) - at(-2 * step, 0))) / (12 * step)
        assert abs(gradient @ a) > 1e-2
        np.testing.assert_allclose(gradient @ a, slope, rtol=1e-7)
        mixed = (at(step, step) - at(step, -step) - at(-step, step) + at(-step, -step)) / (4 * step**2)
        wanted = product(model, space, atoms, a)
        np.testing.assert_allclose(b @ wanted, mixed, atol=2e-5 * np.linalg.norm(wanted))


def test_hessian_is_symmetric(model, triclinic):
    space = symmetric_space(triclinic, 1e-5, relax_cell=True)
    hessian = np.array([product(model, space, triclinic, unit) for unit in np.eye(space.size)])
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12 * np.abs(hessian).max())


def test_a_batch_is_its_members(model, triclinic, wurtzite, rutile):
    crystals = [triclinic, wurtzite, rutile]
    graphs = [graph_of(model, atoms) for atoms in crystals]
    together = Expansion(model, graphs)
    rng = np.random.default_rng(2)
    vectors = [(rng.standard_normal((len(atoms), 3)), rng.standard_normal((3, 3))) for atoms in crystals]
    vectors[1] = None
    products = together.products(vectors)
    for k, graph in enumerate(graphs):
        alone = Expansion(model, [graph])
        one, other = alone.first_order()[0], together.first_order()[k]
        assert one.energy == np.float64(other.energy)
        np.testing.assert_allclose(one.of_positions, other.of_positions, atol=1e-13)
        np.testing.assert_allclose(one.of_strain, other.of_strain, atol=1e-12)
        if vectors[k] is None:
            assert not products[k][0].any()
            continue
        for x, y in zip(alone.products([vectors[k]])[0], products[k], strict=True):
            np.testing.assert_allclose(x, y, atol=1e-11)
