"""What is assumed of expansions before data: the same of the same functions on any grid, and enough to go further."""

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.dx.expansion import Splines
from aiida_mlfc.core.potentials.training.expansion_prior import SMOOTH, TYPICAL, smooth


@pytest.mark.parametrize('spacing', [0.6, 0.45, 0.2])
def test_the_prior_of_smooth_functions_is_an_integral_on_every_grid(spacing):
    """Of a bump 4 Å wide, against ∫ (w f)² / L + L³ ((w f)″)² dr by numbers."""
    length = SMOOTH
    splines = Splines(7.0, spacing).double()

    def bump(x):
        return torch.cos((x - 4.6) / 4.0 * np.pi).clamp(min=0.0) ** 4

    r = torch.linspace(2.6, 6.6, 4001, dtype=torch.float64)
    weighted, step = bump(r) * r / TYPICAL, r[1] - r[0]
    bent = torch.diff(weighted, n=2) / step**2
    integral = (weighted.square().sum() / length + length**3 * bent.square().sum()) * step
    coefficients = bump(splines.first + spacing * torch.arange(splines.n, dtype=torch.float64))
    found = coefficients @ smooth(splines) @ coefficients
    # differences on a coarse grid see less of what is bent
    assert float(found) == pytest.approx(float(integral), rel=spacing)
