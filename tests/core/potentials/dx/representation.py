"""How features turn with the crystal."""

import torch
from e3nn import o3
from torch import Tensor


def representation(rotation: Tensor) -> Tensor:
    """D with Y(R u) = D Y(u) for 0e + 1o + 2e, shape ``(9, 9)``, float64.

    Solved from e3nn's harmonics, because e3nn's own ``D_from_matrix`` is good to float32 only.
    """
    units = torch.randn(40, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    blocks = []
    for degree in range(3):
        before, after = (o3.spherical_harmonics(degree, u, normalize=True) for u in (units, units @ rotation.T))
        blocks.append(torch.linalg.lstsq(before, after).solution.T)
    return torch.block_diag(*blocks)
