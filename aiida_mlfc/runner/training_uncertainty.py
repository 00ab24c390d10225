"""The ensemble that a trained potential takes along, calibrated on configurations that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida_mlfc.core.potentials.ensemble import UNCERTAINTY
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.harmonic_labels import HarmonicCell, harmonic_cells
from aiida_mlfc.core.potentials.training.uncertainty import uncertainty_entry
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner.training_data import Split

#: folded cells of each force set, Γ among them
CELLS = 3


def calibrated_ensemble(model: EnergyModel, splits: Sequence[Split], options: TrainOptions) -> dict[str, Any]:
    """What is added to the card: the ensemble, or nothing where none is asked for.

    Validated configurations are taken where there are any; else those held back, whose errors stand on the card. Where
    no set has either, as force sets of one displacement each, what was learned is all there is: errors elsewhere are
    larger, and the card says so.

    :param model: trained, in float64.
    """
    if not options.uncertainty_members:
        return {}
    choices = (
        ('validation', [s.valid for s in splits]),
        ('held back', [s.held_back for s in splits]),
        ('what was learned, a lower bound', [s.learned for s in splits]),
    )
    for name, parts in choices:
        references = [part for part in parts if part is not None]
        if not references:
            continue
        cells = [cell for r in references for cell in smallest(harmonic_cells(r, model.cutoff, model.species))]
        learned = [prepare(s.learned, model) for s in splits]
        said = f'{name}: ' + ', '.join(r.name for r in references)
        found = uncertainty_entry(model, learned, cells, options.uncertainty_members, options.seed, said)
        return {UNCERTAINTY: found}
    return {}


def smallest(cells: list[HarmonicCell]) -> list[HarmonicCell]:
    """Those that are calibrated on: a Hessian of each member is computed for every one of them."""
    return sorted(cells, key=lambda cell: cell.graph.n_atoms)[:CELLS]
