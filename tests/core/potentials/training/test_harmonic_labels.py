"""Labels of the training loop: exact forces, and residuals that stand in units of 'predict zero'."""

import numpy as np
import pytest
from ase.build import bulk, make_supercell

from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.harmonic_labels import DISPLACEMENT, SKIN, harmonic_cells
from aiida_mlfc.core.potentials.training.references import Reference

from ...small_systems import SPECIES, EmbeddedAtoms


@pytest.fixture(scope='module')
def cells(reference):
    return harmonic_cells(reference, 4.4, SPECIES)


def test_one_cell_for_each_star(cells):
    """Γ, L and X of fcc: cells of one, two and two primitive cells; the first is the primitive cell itself."""
    assert [cell.graph.n_atoms for cell in cells] == [2, 4, 4]


def test_hessians_are_those_of_the_source(cells):
    model = EmbeddedAtoms()
    for cell in cells:
        n = cell.graph.n_atoms
        rows = directional_responses(model, cell.graph, np.repeat(np.arange(n), 3), np.tile(np.eye(3), (n, 1)))[0]
        exact = -rows.reshape(3 * n, 3 * n)
        # Third and fourth order leak into a fit to finite displacements.
        assert np.abs(cell.hessian - exact).max() < 5e-3 * np.abs(exact).max()
        assert np.abs(cell.hessian - cell.hessian.T).max() == 0
        assert np.abs(cell.hessian.reshape(3 * n, n, 3).sum(axis=1)).max() < 1e-8


@pytest.mark.parametrize('kind', ['white', 'half', 'full'])
def test_draws(cells, kind):
    rng = np.random.default_rng(1)
    for cell in cells:
        squares = []
        for _ in range(400):
            u, forces, factors = cell.draw(kind, rng)
            np.testing.assert_allclose(forces.ravel(), -cell.hessian @ u.ravel(), rtol=0, atol=1e-14)
            assert np.isclose(np.sqrt(np.mean(u**2)), DISPLACEMENT)
            squares.append(np.mean((forces * factors) ** 2))
        # A model that predicts no force at all has a loss of about one.
        assert 0.7 < np.mean(squares) < 1.4
        if kind != 'white':
            centre = (u * cell.root_masses.reshape(-1, 3) ** 2).sum(axis=0)
            assert np.abs(centre).max() < 1e-10, 'a rigid translation was drawn'


def test_graphs_keep_their_neighbours_when_displaced(cells, reference):
    """The skin is wide enough: no edge of a displaced cell is missing, not even in the tail of the distribution."""
    rng = np.random.default_rng(2)
    for cell in cells:
        largest = max(np.linalg.norm(u[:, None] - u[None], axis=2).max()
                      for u in (cell.draw('full', rng)[0] for _ in range(300)))
        assert largest < SKIN
    primitive = build_graph(reference.primitive, 4.4 + SKIN, SPECIES)
    assert cells[0].graph.n_edges == primitive.n_edges
    assert cells[0].graph.positions.dtype == primitive.positions.dtype


def test_an_element_with_one_atom_in_its_cell():
    """Copper: Γ of the primitive cell has neither force nor mode, and is no cell to learn from."""
    copper = bulk('Cu', 'fcc', a=3.6)
    supercell = make_supercell(copper, 2 * np.eye(3, dtype=int))
    u = 0.01 * np.random.default_rng(0).standard_normal((3, len(supercell), 3))
    bonds = supercell.get_all_distances(mic=True)
    bonds = (bonds > 0.1) & (bonds < 2.6)
    springs = np.diag(bonds.sum(axis=1)) - 1.0 * bonds
    reference = Reference('Cu', supercell, copper, u, -np.einsum('ij,kja->kia', springs, u), None, {})
    cells = harmonic_cells(reference, 4.0, (29,))
    assert [cell.graph.n_atoms for cell in cells] == [2, 2]
    for cell in cells:
        for draw in (lambda rng: cell.draw('full', rng), cell.draw_column, cell.draw_mode):  # noqa: B023
            assert all(np.isfinite(values).all() for values in draw(np.random.default_rng(1)))
    with pytest.raises(ValueError, match='a supercell of one atom'):
        harmonic_cells(Reference('Cu', copper, copper, u[:, :1], 0 * u[:, :1], None, {}), 4.0, (29,))
