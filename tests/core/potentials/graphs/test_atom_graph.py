"""AtomGraph: its doors, its strain, its batches."""

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph

from ...small_systems import SPECIES, small_crystals


@pytest.fixture
def graphs():
    cells = small_crystals()
    return [build_graph(cells[name], 4.4, SPECIES) for name in ('rocksalt-rattled', 'fcc', 'diamond-rattled')]


def test_doors_between_atoms(graphs):
    graph = graphs[0]
    x = torch.arange(2.0 * graph.n_atoms).view(-1, 2)
    centre, neighbour = graph.edge_index
    assert torch.equal(graph.centres(x), x[centre])
    assert torch.equal(graph.neighbours(x), x[neighbour])
    ones = torch.ones(graph.n_edges)
    assert torch.equal(graph.sum_to_centres(ones), torch.bincount(centre, minlength=graph.n_atoms).float())


def test_edge_vectors_follow_strain(graphs):
    """x -> x (1 + ε), the edges too."""
    strain = torch.tensor(0.1 * np.random.default_rng(0).standard_normal((3, 3, 3)))
    together = concatenate(graphs)
    strained = together.strained(strain)
    deformation = (torch.eye(3) + strain)[together.batch[together.edge_index[0]]]
    expected = (together.edge_vectors()[:, None] @ deformation)[:, 0]
    torch.testing.assert_close(strained.edge_vectors(), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(strained.volumes(), together.volumes() * torch.linalg.det(torch.eye(3) + strain))


def test_volumes():
    cells = [small_crystals()[name] for name in ('fcc', 'rocksalt-rattled')]
    together = concatenate([build_graph(atoms, 4.4, SPECIES) for atoms in cells])
    np.testing.assert_allclose(together.volumes(), [atoms.get_volume() for atoms in cells], rtol=1e-12)


def test_concatenation(graphs):
    together = concatenate(graphs)
    assert together.n_systems == 3
    assert together.n_atoms == sum(g.n_atoms for g in graphs)
    assert together.sum_to_systems(torch.ones(together.n_atoms)).tolist() == [g.n_atoms for g in graphs]
    singly = torch.cat([g.edge_vectors() for g in graphs])
    torch.testing.assert_close(together.edge_vectors(), singly, rtol=0, atol=1e-12)
    assert torch.equal(together.batch[together.edge_index[0]], together.batch[together.edge_index[1]])


def test_concatenation_of_batches(graphs):
    nested, flat = concatenate([concatenate(graphs[:2]), graphs[2]]), concatenate(graphs)
    assert torch.equal(nested.batch, flat.batch)
    assert torch.equal(nested.edge_index, flat.edge_index)


def test_nothing_to_concatenate():
    with pytest.raises(ValueError, match='no graph'):
        concatenate([])


def test_cast(graphs):
    cast = graphs[0].to(torch.float32)
    assert cast.positions.dtype == cast.cell.dtype == cast.edge_cell_shifts.dtype == torch.float32
    assert cast.edge_index.dtype == torch.int64
    assert graphs[0].positions.dtype == torch.float64


def test_only_the_graph_reads_edge_index():
    """Whatever an atom learns from another crosses through ``neighbours``: models do not index edges themselves."""
    from pathlib import Path

    import aiida_mlfc.core.potentials.dx.model as model

    sources = list(Path(model.__file__).parent.glob('*.py'))
    assert len(sources) > 4
    assert not [s.name for s in sources if 'edge_index' in s.read_text()]
