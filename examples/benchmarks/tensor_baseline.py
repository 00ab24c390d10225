"""dx, an energy differentiated twice, against a network that predicts the blocks of the force constants directly.

    python examples/benchmarks/tensor_baseline.py --reference FOLDER [--also FOLDER ...] --seconds 120 --output FOLDER

Both have the same trunk, crystals, half of the configurations and CPU seconds on one thread. dx learns forces of
displaced cells (without an expansion; also with Hessian products at the end; and the expansion alone, which is solved
for and takes what it takes), the baseline the whole force constants
fitted to the same configurations. Errors are those against the other half, and on crystals that ``--also`` names:
another supercell, functional or volume, of which neither has seen anything. Nothing is symmetrised before it is
compared. The range of the energy model is not bounded by its cutoff, the baseline has blocks up to its reach and none
beyond.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hessian_training import POINTS, WARM_UP, seconds_of_a_step
from phonopy import Phonopy
from tensor_baseline_training import force_constants, train

from aiida_mlfc.core.comparison.card_metrics import card_frequencies
from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual, permutation_asymmetry
from aiida_mlfc.core.potentials.derivatives.rows import directional_responses
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.batches import prepare
from aiida_mlfc.core.potentials.training.defaults import (
    crystal_systems,
    default_config,
    default_recipe,
    repeated,
    triplet_lengths,
)
from aiida_mlfc.core.potentials.training.expansion_fit import fit_expansion
from aiida_mlfc.core.potentials.training.loop import Trainer
from aiida_mlfc.core.potentials.training.references import Reference, load_reference
from aiida_mlfc.core.structures.cells import to_phonopy

#: changes of dx's default recipe
DX: dict[str, dict[str, Any]] = {
    'dx, forces': {},
    'dx, forces of supercells': {'folded': False},
    'dx, then Hessian products': {'start_stage_two': 0.8},
    'dx, expansion alone': {'expansion': True},
}
#: settings of :class:`~tensor_baseline_network.TensorNetwork`
TENSORS: dict[str, dict[str, Any]] = {
    'tensors, self-term predicted': {'self_term': 'predicted'},
    'tensors, self-term by sum rule': {'self_term': 'sum rule'},
    'tensors, pair alone, sum rule': {'self_term': 'sum rule', 'surroundings': False},
}
#: scaled positions
SAME_SITE = 1e-3
COLUMNS = ('error %', 'MAE THz', 'worst THz', 'lowest THz', 'sum eV/Å²', 'perm. eV/Å²')


def phonopy_of(reference: Reference) -> Phonopy:
    """The supercell of a reference with its primitive cell."""
    matrix = (np.array(reference.primitive.cell) @ np.linalg.inv(np.array(reference.supercell.cell))).T
    return Phonopy(to_phonopy(reference.supercell), np.eye(3, dtype=int), primitive_matrix=matrix, log_level=0)


def errors(found: np.ndarray, reference: Reference) -> dict[str, float]:
    """What is wrong with force constants of a supercell, against those of the reference, nothing symmetrised.

    :param found: compact, shape ``(n_prim, n_super, 3, 3)``, eV/Å².
    """
    ours, theirs = phonopy_of(reference), phonopy_of(reference)
    expected = reference.force_constants()[ours.primitive.p2s_map]
    ours.force_constants, theirs.force_constants = found.copy(), expected
    frequencies = card_frequencies(ours, theirs)
    return {
        'relative_frobenius': float(np.linalg.norm(found - expected) / np.linalg.norm(expected)),
        'frequency_mae_THz': frequencies.mae,
        'frequency_max_THz': frequencies.max,
        'frequency_predict_zero_THz': frequencies.predict_zero,
        'lowest_frequency_THz': frequencies.lowest,
        'lowest_frequency_DFT_THz': frequencies.lowest_reference,
        'acoustic_sum_residual_eV_per_A2': acoustic_sum_residual(found),
        'permutation_asymmetry_eV_per_A2': permutation_asymmetry(found, ours.primitive),
    }


def dx_force_constants(model: DXModel, reference: Reference) -> np.ndarray:
    """Rows of the exact Hessian of the supercell, float64, compact; the symmetry of the crystal is not made use of."""
    supercell, rows = reference.supercell, np.array(phonopy_of(reference).primitive.p2s_map)
    graph = build_graph(supercell, model.cutoff, model.species)
    responses, _ = directional_responses(model.double(), graph, np.repeat(rows, 3), np.tile(np.eye(3), (len(rows), 1)))
    model.float()
    return -responses.reshape(len(rows), 3, len(supercell), 3).transpose(0, 2, 1, 3)


def train_dx(reference: Reference, changes: dict[str, Any], seconds: float, seed: int, model: dict[str, Any]) -> Any:
    """dx through its own Trainer: the network with averaged weights, steps, CPU seconds."""
    torch.manual_seed(seed)
    if changes.get('expansion'):
        return fit_dx(reference, seed, model)
    network = DXModel(default_config([reference], **model)).float()
    materials = repeated([prepare(reference, network)])
    recipe = default_recipe(seed, 1, checkpoint_interval=1e9, **changes)
    n_steps = max(POINTS, int(seconds / seconds_of_a_step(network, materials, recipe)))
    recipe = replace(recipe, n_steps=n_steps, warm_up=max(1, n_steps // WARM_UP))
    started = time.process_time()
    with tempfile.TemporaryDirectory(prefix='mlfc-bench-') as folder:
        Trainer(network, materials, recipe, Path(folder)).run()
    return network, n_steps, time.process_time() - started


def fit_dx(reference: Reference, seed: int, model: dict[str, Any]) -> Any:
    """The expansion of a dx whose network says nothing; as :func:`train_dx`."""
    systems = crystal_systems([reference])
    changes = {'expansion_systems': systems, **triplet_lengths(systems, **model), **model}
    network = DXModel(default_config([reference], **changes))
    network.silence()
    started = time.process_time()
    fit_expansion(network, [prepare(reference, network)], default_recipe(seed, 1))
    return network, 0, time.process_time() - started


def compare(reference: Reference, others: Sequence[Reference], given: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each way of learning and each crystal it is measured on."""
    learned = reference.part(0)
    measured_on = [replace(reference.part(1), name=f'{reference.name}, other half'), *others]
    rows: list[dict[str, Any]] = []

    def note(way: str, steps: int, seconds: float, n_parameters: int, arrays: list[np.ndarray]) -> None:
        for other, array in zip(measured_on, arrays, strict=True):
            row = {'learned': reference.name, 'way': way, 'measured_on': other.name, 'steps': steps,
                   'cpu_seconds': seconds, 'parameters': n_parameters, **errors(array, other)}  # fmt: skip
            rows.append(row)
            print(line_of(row), flush=True)

    for way, changes in DX.items():
        model, steps, spent = train_dx(learned, changes, given.seconds, given.seed, given.model)
        note(way, steps, spent, _size(model), [dx_force_constants(model, other) for other in measured_on])
    recipe = default_recipe(given.seed, 1, **({'learning_rate': given.tensor_rate} if given.tensor_rate else {}))
    config = default_config([learned], **given.model)
    for way, settings in TENSORS.items():
        network, curve = train(learned, config, given.seconds, given.seed, recipe, **settings)
        last = curve[-1]
        arrays = [force_constants(network, other)[phonopy_of(other).primitive.p2s_map] for other in measured_on]
        note(way, int(last['step']), last['seconds'], _size(network), arrays)
    # what was learned from, unchanged: against the other half, what the two halves of the data disagree by
    same = [other for other in measured_on if _is_same_supercell(learned, other)]
    array = learned.force_constants()[phonopy_of(learned).primitive.p2s_map]
    measured_on = same
    note('DFT, learned from, unchanged', 0, 0.0, 0, [array] * len(same))
    return rows


def _is_same_supercell(one: Reference, other: Reference) -> bool:
    """Atom by atom in the same order, whatever the lattice constant."""
    if not np.array_equal(one.supercell.numbers, other.supercell.numbers):
        return False
    shifts = one.supercell.get_scaled_positions() - other.supercell.get_scaled_positions()
    return bool(np.abs(shifts - np.rint(shifts)).max() < SAME_SITE)


def _size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def line_of(row: dict[str, Any]) -> str:
    """One line of the table."""
    return (
        f'{row["measured_on"]:30} {row["way"]:32} {row["cpu_seconds"]:6.0f} s {row["steps"]:6d} steps '
        f'{100 * row["relative_frobenius"]:8.2f} {row["frequency_mae_THz"]:8.3f} {row["frequency_max_THz"]:9.3f} '
        f'{row["lowest_frequency_THz"]:10.3f} {row["acoustic_sum_residual_eV_per_A2"]:10.1e} '
        f'{row["permutation_asymmetry_eV_per_A2"]:11.1e}'
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write ``tensor_baseline.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--reference', type=Path, required=True, help='configs.extxyz.xz, meta.json: learned from')
    parser.add_argument('--also', type=Path, action='append', default=[], help='another one, only measured on')
    parser.add_argument('--seconds', type=float, default=120.0, help='CPU time of each training')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--model', type=json.loads, default={}, help='JSON: fields of DXConfig')
    parser.add_argument('--tensor-rate', type=float, default=0.0, help="learning rate of the baseline, else dx's")
    parser.add_argument('--output', type=Path, required=True)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    print(f'{"":78}' + ' '.join(f'{name:>10}' for name in COLUMNS))
    rows = compare(load_reference(given.reference), [load_reference(folder) for folder in given.also], given)
    (given.output / 'tensor_baseline.json').write_text(json.dumps(rows, indent=1))


if __name__ == '__main__':
    main()
