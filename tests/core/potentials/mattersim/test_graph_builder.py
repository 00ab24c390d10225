"""DifferentiableGraphBuilder: MatterSim's names and signs, a topology found once."""

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.mattersim.calculator import DifferentiableGraphBuilder

from .reference_values import crystal, golden

NAMES = ('si_rattled_8', 'fe_fcc_1', 'triclinic_6')


def tensors(atoms):
    return torch.tensor(atoms.positions), torch.tensor(atoms.cell.array)


@pytest.mark.parametrize('name', NAMES)
def test_single(name):
    atoms = crystal(name)
    expected = golden()['models']['tiny-random']['float64'][name]
    builder = DifferentiableGraphBuilder(atoms)
    positions, cell = tensors(atoms)
    graph = builder.forward(positions, cell, num_atoms=len(atoms))
    assert graph['num_bonds'] == expected['n_edges']
    assert graph['num_three_body'] == expected['n_triples']
    assert graph['num_triple_ij'].shape == (expected['n_edges'], 1)
    assert graph['num_triple_ij'].sum() == expected['n_triples']
    i, j = graph['edge_index']
    vectors = positions[i] - (positions[j] + graph['pbc_offsets'] @ cell)
    torch.testing.assert_close(graph['edge_vector'], vectors)
    torch.testing.assert_close(graph['edge_length'], vectors.norm(dim=1))
    first, second = graph['three_body_indices'].T
    assert torch.equal(i[first], i[second])
    assert (first != second).all()
    assert (first.diff() >= 0).all()
    assert graph['edge_length'][first].max() <= 4.0


def test_batch_is_the_structures_one_after_the_other():
    structures = [crystal(name) for name in NAMES]
    builder = DifferentiableGraphBuilder(structures)
    positions = torch.cat([tensors(a)[0] for a in structures])
    cells = torch.stack([tensors(a)[1] for a in structures])
    together = builder(positions, cells, batch_index=torch.tensor([0] * 8 + [1] + [2] * 6))
    singles = [DifferentiableGraphBuilder(a).forward(*tensors(a)) for a in structures]
    for key in ('edge_vector', 'edge_length', 'pbc_offsets', 'num_triple_ij'):
        torch.testing.assert_close(together[key], torch.cat([s[key] for s in singles]))
    edges = np.cumsum([0, *(s['num_bonds'] for s in singles)])
    triplets = torch.cat([s['three_body_indices'] + int(start) for s, start in zip(singles, edges, strict=False)])
    assert torch.equal(together['three_body_indices'], triplets)


def test_gradient_with_a_kept_topology():
    atoms = crystal('nacl_sheared_2')
    builder = DifferentiableGraphBuilder(atoms)
    positions, cell = (t.requires_grad_(True) for t in tensors(atoms))
    assert torch.autograd.gradcheck(lambda x, c: builder.forward(x, c)['edge_length'], (positions, cell))
    stretched = builder.forward(2 * positions, 2 * cell)
    assert stretched['num_bonds'] == builder.num_bonds
    assert stretched['edge_length'].max() > 9


def test_bad_input():
    atoms = crystal('nacl_sheared_2')
    positions, cell = tensors(atoms)
    builder = DifferentiableGraphBuilder(atoms)
    with pytest.raises(ValueError, match=r'atom_pos: got shape \(1, 3\)'):
        builder.forward(positions[:1], cell)
    with pytest.raises(ValueError, match=r'cell: got shape \(2, 3, 3\), wanted \(1, 3, 3\)'):
        builder.forward(positions, torch.stack([cell, cell]))
    with pytest.raises(ValueError, match='initial_atoms: got an empty list'):
        DifferentiableGraphBuilder([])
    with pytest.raises(ValueError, match='threebody_cutoff: got 6'):
        DifferentiableGraphBuilder(atoms, threebody_cutoff=6.0)
