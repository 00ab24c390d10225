"""Sizes and batch indices."""

import pytest
import torch

from aiida_mlfc.core.potentials.mattersim.calculator import batch_index_to_sizes, sizes_to_batch_index


@pytest.mark.parametrize('sizes', [[2, 3, 1], [1], [4, 0, 2]])
def test_there_and_back(sizes):
    index = sizes_to_batch_index(torch.tensor(sizes))
    assert index.dtype == torch.int64
    assert len(index) == sum(sizes)
    assert batch_index_to_sizes(index).tolist() == sizes
    assert torch.equal(sizes_to_batch_index(sizes, device='cpu'), index)


def test_example():
    assert sizes_to_batch_index(torch.tensor([2, 3, 1])).tolist() == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize('sizes', [[-1, 2], [[1, 2]], [1.0, 2.0]])
def test_bad_sizes(sizes):
    with pytest.raises(ValueError, match='sizes: got'):
        sizes_to_batch_index(torch.tensor(sizes))


@pytest.mark.parametrize('index', [[-1, 0], [1, 0], [[0, 1]], [0.0, 1.0]])
def test_bad_batch_index(index):
    with pytest.raises(ValueError, match='batch_index: got'):
        batch_index_to_sizes(torch.tensor(index))
