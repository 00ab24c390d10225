"""What is assumed of expansions before data: small and smooth, decaying, in units of the force constants."""

import numpy as np
import pytest
import torch

from aiida_mlfc.core.potentials.dx.expansion import DEGREES, ClusterExpansion, Splines
from aiida_mlfc.core.potentials.training.expansion_prior import DECAY, PRIOR, SMOOTH, TYPICAL, prior_blocks, smooth
from aiida_mlfc.core.potentials.training.expansion_rows import terms_among


def grid(splines):
    """Where splines are largest, Å, and their weights."""
    at = splines.first + splines.spacing * torch.arange(splines.n, dtype=torch.float64)
    return at, torch.tensor([max(1.0, float(r) / TYPICAL) ** DECAY for r in at], dtype=torch.float64)


@pytest.mark.parametrize('spacing', [0.6, 0.45, 0.2])
@pytest.mark.parametrize('power', [0, 1, 2])
def test_powers_of_the_distance(spacing, power):
    """Second differences of a square are twice the spacing squared, of what is less bent they are nothing."""
    splines = Splines(7.0, spacing).double()
    at, weights = grid(splines)
    assert at[0] < TYPICAL < at[-1]
    coefficients = at**power / weights
    found = coefficients @ smooth(splines) @ coefficients
    bent = 4 * SMOOTH**4 * (splines.n - 2) if power == 2 else 0.0
    expected = spacing / SMOOTH * (float((at ** (2 * power)).sum()) + bent)
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_a_triplet_term_is_a_product_of_two_and_counts_beside_the_stiffness():
    expansion = ClusterExpansion(1, [(0,)], 9.0, 6.0, 0.3, 0.6)
    terms = terms_among(expansion, (0,))
    uses = torch.ones(expansion.n_coefficients)
    blocks = prior_blocks(expansion, terms, PRIOR, uses, 5.0)
    assert len(blocks) == 1 + len(DEGREES)
    along = smooth(expansion.triplet_splines)
    rng = np.random.default_rng(0)
    one, other = (torch.as_tensor(rng.standard_normal(len(along))) for _ in range(2))
    product = torch.outer(one, other).reshape(-1)
    expected = PRIOR['triplet_size'] / 25 * (one @ along @ one) * (other @ along @ other)
    for block in blocks[1:]:
        assert float(product @ block @ product) == pytest.approx(float(expected), rel=1e-9)
    # what two systems share has half of its prior in each
    halves = prior_blocks(expansion, terms, PRIOR, 2 * uses, 5.0)
    assert all(torch.allclose(2 * half, block) for half, block in zip(halves, blocks, strict=True))
