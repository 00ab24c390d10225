"""What the coefficients of a cluster expansion are before data: small, and of smooth functions.

Pair functions with small third differences, triplet terms that are smooth over ``SMOOTH``. Without it, functions that
are right at the distances of one crystal are wild between them: wrong at any other volume, and in any other structure.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from aiida_mlfc.core.potentials.dx.expansion import DEGREES, ClusterExpansion, Splines
from aiida_mlfc.core.potentials.training.expansion_rows import Terms

#: weights of the prior, beside mean squared relative errors of forces: third differences of pair coefficients at
#: ``TYPICAL`` and growing as r⁸, pair coefficients, triplet coefficients and their roughness, relative to what force
#: constants are; and the change of forces with random distortions of the crystal, relative to forces, in place of which
#: third order is learned where it is known (at 0 neither); and what is not harmonic of the forces of large
#: displacements. Learned from 0.01 Å, SnO2 and quartz had -0.2 and 2.3 of the harmonic forces at 0.2 Å in each
#: direction without the last one, and relaxation from there ended elsewhere. It costs little: force constants held
#: back were 0.20 and 0.76 % off without it, and are 0.26 and 0.78
PRIOR = {'pair_roughness': 3e-5, 'pair_size': 3e-4, 'triplet_size': 4e-6, 'distortion': 0.1, 'far': 1e-2}
#: Å, over which triplet terms are smooth, and the power of the distance with which they decay. Coefficients that are
#: all alike, on the same grid, are wrong in polytypes: what was learned of one displacement of cubic silicon by 43 % in
#: hexagonal silicon (12 with these); ZnTe, learned as zincblende, had forces of 0.7 eV/Å as wurtzite (0.02)
SMOOTH, DECAY = 2.0, 4
#: distance of neighbours, Å
TYPICAL = 2.5


def prior_blocks(
    expansion: ClusterExpansion, terms: Terms, weights: dict[str, float], uses: Tensor, stiffness: float
) -> list[Tensor]:
    """The quadratic form of the prior of one system: blocks along its diagonal.

    :param weights: as :data:`PRIOR`.
    :param uses: how many systems have each coefficient, and so a part of its prior.
    :param stiffness: rms force for each rms displacement, eV/Å²: the unit of coefficients is that times 1 Å².
    """
    splines = expansion.pair_splines
    eye = torch.eye(splines.n, dtype=torch.float64)
    third = torch.diff(eye, n=3, dim=0)
    # between the second and the third of four neighbouring splines
    at = splines.first + splines.spacing * (torch.arange(len(third), dtype=torch.float64) + 1.5)
    # What is left of an interaction at twice the distance is a small part of it, and so is its roughness.
    third = (at / TYPICAL)[:, None] ** 4 * third
    pair = weights['pair_roughness'] * third.T @ third + weights['pair_size'] * eye
    along = smooth(expansion.triplet_splines)
    triplet = weights['triplet_size'] * torch.kron(along, along)
    blocks = [pair] * len(terms.pairs) + [triplet] * (len(terms.triplets) * len(DEGREES))
    # a pair or a triplet is shared as a whole
    firsts = np.cumsum([0, *(len(block) for block in blocks[:-1])])
    return [block / uses[terms.columns[first]] / stiffness**2 for block, first in zip(blocks, firsts, strict=True)]


def smooth(splines: Splines) -> Tensor:
    """The quadratic form of functions that are small and smooth over ``SMOOTH``, and smaller farther away.

    ∫ (w f)² + SMOOTH⁴ ((w f)″)² dr / SMOOTH with f the coefficients, w = (r / TYPICAL)^DECAY beyond ``TYPICAL``. Second
    differences stand for the second derivative: of a bump 4 Å wide they see two thirds on a grid of 0.45 Å.
    """
    eye = torch.eye(splines.n, dtype=torch.float64)
    at = splines.first + splines.spacing * torch.arange(splines.n, dtype=torch.float64)
    weighted = ((at / TYPICAL).clamp(min=1.0) ** DECAY)[:, None] * eye
    bent = torch.diff(eye, n=2, dim=0) @ weighted
    per_length = splines.spacing / SMOOTH
    return per_length * (weighted.T @ weighted + per_length**-4 * bent.T @ bent)
