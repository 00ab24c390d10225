"""The model card of a trained potential: everything a user should know before trusting it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ase.data import chemical_symbols

from aiida_mlfc.core.comparison.card_metrics import NONE_HELD_BACK
from aiida_mlfc.core.potentials.checkpoints import ARCHITECTURES
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.references import STEP_OF_CONSTANTS, Reference
from aiida_mlfc.core.potentials.validity import (
    ELEMENTS_TOGETHER,
    HAS_STRESS,
    MAX_DISPLACEMENT,
    SHORTEST_DISTANCES,
    shortest_distances,
)
from aiida_mlfc.core.structures.formula import reduced_formula
from aiida_mlfc.core.structures.symmetry import spacegroup
from aiida_mlfc.exchange.training_inputs import TAKEN_OFF

#: THz; a mean error above this is said whenever the material is computed
FREQUENCY_TARGET = 0.2
#: THz; a mode this much below zero and below DFT is spurious
SPURIOUS = 0.05
#: Å, in which the space group of a training crystal is found
SYMPREC = 1e-4
#: what the card says of force constants that came without forces, beside their names
NOTHING_HELD_BACK = (
    'there are no configurations, so nothing of them is held back and their errors are on what was learned. How far '
    f'the force constants hold nobody has said: in validity they count {STEP_OF_CONSTANTS} Å'
)
_OF_SOURCE = ('name', 'formula', 'sg', 'code', 'functional', 'licence', 'repo', 'commit')


def described(reference: Reference) -> dict[str, Any]:
    """The source of a reference, with formula and space group where the source does not state them."""
    source = {**reference.source, 'name': reference.source.get('name', reference.name)}
    source.setdefault('formula', reduced_formula(reference.primitive))
    source.setdefault('sg', spacegroup(reference.primitive, SYMPREC))
    return source


def known_problems(errors: Sequence[Mapping[str, Any]], references: Sequence[Reference]) -> dict[str, str]:
    """By formula, what a user of that material must be told whenever it is computed."""
    problems = {}
    for row, reference in zip(errors, references, strict=True):
        said = []
        if 'error' in row:
            problems[reduced_formula(reference.primitive)] = 'its errors could not be measured'
            continue
        if row['frequency_mae_THz'] > FREQUENCY_TARGET:
            said.append(f'frequencies are off by {row["frequency_mae_THz"]:.2f} THz on average')
        lowest, expected = row['min_frequency_THz'], row['min_frequency_DFT_THz']
        # where DFT is unstable, too, "unstable" is right, and how much is an error like that of other modes
        if lowest < min(0.0, expected) - (SPURIOUS if expected > -SPURIOUS else FREQUENCY_TARGET):
            said.append(f'its lowest mode is {lowest:.2f} THz where DFT has {expected:.2f}: do not trust "unstable"')
        lowest, expected = row['min_frequency_between_THz'], row['min_frequency_between_DFT_THz']
        if lowest < min(0.0, expected) - SPURIOUS:
            said.append(
                f'between the wave vectors of its training supercell its lowest mode is {lowest:.2f} THz where DFT '
                f'interpolates {expected:.2f}: do not trust larger supercells'
            )
        lowest, expected = row['min_frequency_THz'], row['min_frequency_DFT_THz']
        if expected < -SPURIOUS and lowest > expected + FREQUENCY_TARGET:
            said.append(f'its lowest mode is {lowest:.2f} THz where DFT has {expected:.2f}: do not trust "stable"')
        if (softest := row['lowest_elastic_constant_GPa']) < 0:
            said.append(f'it gives way to strain (lowest elastic constant {softest:.0f} GPa): do not relax its cell')
        if said:
            problems[reduced_formula(reference.primitive)] = '; '.join(said)
    return problems


def _kind(model: EnergyModel, start: Mapping[str, Any] | None) -> str:
    if not start:
        silent = isinstance(model, DXModel) and model.expansion is not None and model.is_silent
        return 'Cluster expansion to three bodies (dx without its network)' if silent else 'Small dx potential'
    return f'{start["foundation model"]["name"]} ({ARCHITECTURES[type(model)]}), trained further'


def make_card(
    name: str,
    model: EnergyModel,
    learned: Sequence[Reference],
    errors: Sequence[Mapping[str, Any]],
    n_held_back: Sequence[int],
    stages: Sequence[Mapping[str, Any]],
    extra_qpoints: Sequence[Mapping[str, Any]] = (),
    left_out: Mapping[str, str] | None = None,
    unseen: Sequence[Mapping[str, Any]] = (),
    start: Mapping[str, Any] | None = None,
    dtype: str = 'float32',
) -> dict[str, Any]:
    """The card.

    :param learned: the configurations that were learned from.
    :param errors: of :func:`~aiida_mlfc.runner.evaluation.evaluate`, for each reference on what was held back; on what
        was learned where nothing was; ``material`` and ``error`` where they could not be measured.
    :param n_held_back: configurations of each reference that were held back.
    :param stages: for each, ``recipe`` (a :class:`Recipe`), ``seconds`` and ``steps``, perhaps ``validation``
        and ``expansion``.
    :param left_out: references that were refused, and why.
    :param unseen: errors on materials of which nothing was learned.
    :param start: what training started from, where that was not random weights.
    :param dtype: that it was trained in.
    """
    distances: dict[str, list[float]] = {}
    for reference in learned:
        for pair, d in shortest_distances(reference.primitive, model.cutoff).items():
            low, high = distances.get(pair, (d, d))
            distances[pair] = [min(low, d), max(high, d)]
    sources = [described(reference) for reference in learned]
    recipes: list[Recipe] = [stage['recipe'] for stage in stages]
    not_learned = [dict(row) for row, n in zip(errors, n_held_back, strict=True) if n]
    seen = [
        dict(row) for row, n, part in zip(errors, n_held_back, learned, strict=True) if not n and part.constants is None
    ]
    of_constants = [dict(row) for row, part in zip(errors, learned, strict=True) if part.constants is not None]
    card: dict[str, Any] = {
        'name': name,
        'architecture': ARCHITECTURES[type(model)],
        'description': f'{_kind(model, start)} for phonons near the relaxed crystals it was trained on: '
        + ', '.join(f'{source["formula"]} {source["sg"]}' for source in sources),
        'licence': 'MIT',
        'limits': 'Total forces (dipole-dipole part included). No molecular dynamics, no free relaxation from far, no '
        'polymorphs: other structures of the same elements are extrapolation. Energies of different '
        'compositions do not compare.',
        'known problems': known_problems(errors, learned),
        'errors on configurations never seen': not_learned,
    }
    if model.long_range is not None:
        charges = model.long_range.charges
        card['latent charges'] = {
            'elementary charges, Z*/√ε∞': {
                chemical_symbols[z]: round(q, 4) for z, q in zip(model.species, charges.tolist(), strict=True)
            },
            'from': model.long_range.origin,
        }
    if seen:
        card[NONE_HELD_BACK] = seen
    if of_constants:
        names = [part.name for part in learned if part.constants is not None]
        card['errors on the force constants learned'] = of_constants
        card['learned from force constants alone'] = {'materials': names, 'means': NOTHING_HELD_BACK}
    if unseen:
        card['errors on materials never seen'] = [dict(row) for row in unseen]
    if left_out:
        card['references left out'] = dict(left_out)
    expansions = [stage['expansion'] for stage in stages if 'expansion' in stage]
    if expansions:
        card['cluster expansion'] = expansions[-1]
    validated = [stage['validation'] for stage in stages if 'validation' in stage]
    if validated:
        card['validation'] = validated
    card |= start or {}
    validity: dict[str, Any] = {
        MAX_DISPLACEMENT: max(part.largest_displacement for part in learned),
        SHORTEST_DISTANCES: distances,
        HAS_STRESS: all(recipe.stress_weight > 0 and recipe.n_undisplaced > 0 for recipe in recipes),
    }
    if expansions:
        # of other crystals an expansion has no terms, and a network that learned beside it knows less than that
        validity[ELEMENTS_TOGETHER] = [
            list(symbols) for symbols in sorted({tuple(sorted(set(part.primitive.symbols))) for part in learned})
        ]
    return card | {
        'training data': [
            {
                **{key: source.get(key) for key in _OF_SOURCE},
                'sha256': source.get('sha256'),
                'configurations learned': len(part.forces),
                **({} if part.constants is None else {TAKEN_OFF: source.get(TAKEN_OFF)}),
            }
            for source, part in zip(sources, learned, strict=True)
        ],
        'recipe': [recipe.to_dict() for recipe in recipes],
        'q-points with interpolated labels': list(extra_qpoints),
        'wall time of each stage in s': [round(stage['seconds']) for stage in stages],
        'steps of each stage': [stage['steps'] for stage in stages],
        'processes of each stage': [stage.get('processes', 1) for stage in stages],
        'trained on': f'{torch.get_num_threads()} CPU thread(s), {dtype}'
        if model.device.type == 'cpu'
        else f'{torch.cuda.get_device_name(model.device)}, {dtype}',
        'validity': validity,
    }
