"""The ensemble that a trained potential takes along, calibrated on configurations that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.ensemble import UNCERTAINTY
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.expansion_uncertainty import METHOD, System, calibrated_members
from aiida_mlfc.core.potentials.training.harmonic_labels import HarmonicCell, harmonic_cells
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.potentials.training.uncertainty import uncertainty_entry
from aiida_mlfc.core.structures.choosing import LEARNED
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner.training_data import Split

#: folded cells of each force set, Γ among them
CELLS = 3
#: from the posterior of a cluster expansion, by chemical system
Draws = Mapping[System, Tensor]


def calibrated_ensemble(
    model: EnergyModel, splits: Sequence[Split], options: TrainOptions, draws: Draws | None = None
) -> dict[str, Any]:
    """What is added to the card: the ensemble, or nothing where none is asked for.

    Validated configurations are taken where there are any; else those held back, whose errors stand on the card. Where
    no set has either, as force sets of one displacement each, what was learned is all there is: errors elsewhere are
    larger, and the card says so. Beside them stand force constants alone, of chemical systems that the others do not
    have: an expansion has a scale for each system, and that of another one says nothing of this.

    :param model: trained, in float64.
    :param draws: of its expansion; they become its members. Without them those of the last layer stand on the card.
    """
    if not options.uncertainty_members:
        return {}
    choices = (
        ('validation', [s.valid for s in splits]),
        ('held back', [s.held_back for s in splits]),
        (LEARNED, [s.learned for s in splits]),
    )
    for name, parts in choices:
        references = [part for part in parts if part is not None]
        if not references:
            continue
        said = f'{name}: ' + ', '.join(r.name for r in references)
        if draws is not None:
            assert isinstance(model, DXModel)
            known = {_elements(r) for r in references}
            alone = [s.learned for s in splits if s.learned.constants is not None and _elements(s.learned) not in known]
            if alone:
                said += '; force constants that were learned, a lower bound: ' + ', '.join(r.name for r in alone)
            return {UNCERTAINTY: _of_expansion(model, [*references, *alone], draws, said)}
        cells = [cell for r in references for cell in smallest(harmonic_cells(r, model.cutoff, model.species))]
        learned = [prepare(s.learned, model) for s in splits]
        found = uncertainty_entry(model, learned, cells, options.uncertainty_members, options.seed, said)
        return {UNCERTAINTY: found}
    return {}


def _of_expansion(model: DXModel, references: Sequence[Reference], draws: Draws, said: str) -> dict[str, Any]:
    """The entry of the card; the members go into the model."""
    cells: dict[System, list[HarmonicCell]] = {}
    names: dict[System, list[str]] = {}
    for reference in references:
        system = tuple(sorted({model.species.index(z) for z in reference.supercell.numbers}))
        cells.setdefault(system, []).extend(smallest(harmonic_cells(reference, model.cutoff, model.species)))
        names.setdefault(system, []).append(reference.name)
    members, found = calibrated_members(model, draws, cells)
    model.set_members(members)
    # every number of modes counts once
    sizes = [sum(3 * cell.graph.n_atoms for cell in cells[system]) for system in found]
    spread, error = np.sqrt(np.average(np.square(list(found.values())), axis=0, weights=sizes))
    return {
        'method': METHOD,
        'n_members': len(members),
        'calibrated on': said,
        'rms error there in THz': float(error),
        'rms spread there in THz': float(spread),
        'rms spread and error in THz': {', '.join(names[system]): list(both) for system, both in found.items()},
    }


def _elements(reference: Reference) -> frozenset[int]:
    """Atomic numbers of a reference: its chemical system."""
    return frozenset(int(z) for z in reference.supercell.numbers)


def smallest(cells: list[HarmonicCell]) -> list[HarmonicCell]:
    """Those that are calibrated on: a Hessian of each member is computed for every one of them."""
    return sorted(cells, key=lambda cell: cell.graph.n_atoms)[:CELLS]
