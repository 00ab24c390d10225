"""The golden values of the official package, and its three-body sum written as it writes it."""

import json
from functools import cache
from pathlib import Path

import torch
from ase import Atoms

from aiida_mlfc.core.potentials.graphs.triplets import find_triplets
from aiida_mlfc.core.potentials.mattersim.basis import LEGENDRE_FACTORS, MAX_N, envelope
from aiida_mlfc.core.potentials.mattersim.weights import load_mattersim

GOLDEN = Path(__file__).parent / 'golden'
TINY, TOY = GOLDEN / 'tiny-random.pth', GOLDEN / 'toy-si-1M.pth'
MODELS = ('tiny-random', 'toy-si-1M')


@cache
def golden(name='golden'):
    return json.loads((GOLDEN / f'{name}.json').read_text(encoding='utf-8'))


@cache
def model_of(name, dtype=torch.float64):
    return load_mattersim(GOLDEN / f'{name}.pth', dtype)


def crystal(name, source='golden'):
    values = golden(source)['structures'][name]
    return Atoms(numbers=values['numbers'], positions=values['positions'], cell=values['cell'], pbc=True)


def official_three_body_sums(model, clamp):
    """The sum over pairs of edges, triplet by triplet; with ``clamp`` through the official clamp, arccos and cos."""

    def sums(directions, distances, graph):
        triplets = find_triplets(graph.edge_index[0], distances, model.config.threebody_cutoff)
        first, second = triplets.T
        cosine = (directions[first] * directions[second]).sum(1)
        if clamp:
            cosine = torch.cos(torch.acos(torch.clamp(cosine, -1 + 1e-7, 1 - 1e-7)))
        legendre = torch.stack(
            (torch.ones_like(cosine), cosine, (3 * cosine**2 - 1) / 2, cosine * (5 * cosine**2 - 3) / 2), dim=1
        )
        # The radial functions of the model carry the factors of Y_l0 already.
        basis = model.sbf(distances)[second] * legendre[:, :, None]
        f = envelope(distances, model.config.threebody_cutoff)
        terms = basis.flatten(1) * (f[first] * f[second])[:, None]
        return terms.new_zeros(len(distances), len(LEGENDRE_FACTORS) * MAX_N).index_add(0, first, terms)

    return sums
