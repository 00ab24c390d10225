"""``task: train``: force sets in, a potential with its card out; killed at any time, run again, the same weights."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aiida_mlfc.core.checkpoint_header import sha256_of
from aiida_mlfc.core.potentials.checkpoints import save_potential
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.core.potentials.training.batches import Material, prepare
from aiida_mlfc.core.potentials.training.defaults import default_recipe, default_steps, repeated
from aiida_mlfc.core.potentials.training.expansion_fit import fit_expansion
from aiida_mlfc.core.potentials.training.loop import STATE_FILE, Trainer
from aiida_mlfc.core.potentials.training.ranks import Ranks
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.reference_energies import correct
from aiida_mlfc.core.potentials.training.references import Reference
from aiida_mlfc.core.potentials.training.validation import Validation
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.exchange.names import TRAINED_FILES, TRAINING
from aiida_mlfc.exchange.training_options import TrainOptions
from aiida_mlfc.runner.asked import Asked
from aiida_mlfc.runner.card import make_card
from aiida_mlfc.runner.evaluation import evaluate
from aiida_mlfc.runner.outcome import Interrupted, Outcome
from aiida_mlfc.runner.training_budget import steps_in
from aiida_mlfc.runner.training_constants import check_learnable
from aiida_mlfc.runner.training_data import (
    Split,
    check_elements,
    check_together,
    materials_held_back,
    read_force_set,
    split,
)
from aiida_mlfc.runner.training_log import TrainingLog
from aiida_mlfc.runner.training_start import starting_model
from aiida_mlfc.runner.training_together import Together
from aiida_mlfc.runner.training_uncertainty import Draws, calibrated_ensemble

#: key of the card under which it stands why there is no ensemble although one was asked for
NO_UNCERTAINTY = 'uncertainty could not be calibrated'
#: key, beside the expansion, of the force sets that told how force constants change with volume
VOLUME_LEARNED = 'change with volume learned of'


def run_train(
    folder: Path, keys: Mapping[str, str], read: Callable[[str], dict[str, Any]], options: TrainOptions
) -> Iterator[tuple[str, Outcome | Exception, float]]:
    """Learn from all force sets of the job together; the result of each is how well it came out.

    :param keys: names by key.
    :raises Interrupted: after a SIGTERM; the state is saved.
    """
    started = time.perf_counter()
    if options.threads:
        torch.set_num_threads(options.threads)
    found: dict[str, Reference] = {}
    refused: dict[str, Exception] = {}
    for key in keys:
        try:
            found[key] = read_force_set(read(key))
        except Exception as error:  # noqa: BLE001 (one bad force set must not take the others with it; it is named)
            refused[key] = error
            print(f'{keys[key]} is left out: {error}', file=sys.stderr, flush=True)
    rows: dict[str, dict[str, Any]] = {}
    splits: dict[str, Split] = {}
    unseen: dict[str, Reference] = {}
    path = folder
    try:
        unseen = materials_held_back(found, options.held_back_materials or [])
        splits = {key: split(found[key], options) for key in found if key not in unseen}
        if not splits:
            raise ReferenceError('no force set is left to learn from')
        check_together([found[key] for key in splits], list(splits.values()))
        model, stage, start, draws = _train(folder, splits, list(unseen.values()), options)
        left_out = {keys[key]: str(error) for key, error in refused.items()}
        # From here on there is a potential. What goes wrong with its errors is said, and costs no training.
        parts = {key: s.held_back or s.learned for key, s in splits.items()} | unseen
        for key, part in parts.items():
            rows[key] = measured = _measured(model, part)
            if 'error' in measured:
                refused[key] = RuntimeError(f'its errors could not be measured: {measured["error"]}')
        model.metadata = make_card(
            options.name,
            model,
            [s.learned for s in splits.values()],
            [rows[key] for key in splits],
            [0 if s.held_back is None else len(s.held_back.forces) for s in splits.values()],
            [stage],
            left_out=left_out,
            unseen=[rows[key] for key in unseen],
            start=start,
            # an expansion is solved for in float64, whatever the network would be trained in
            dtype=options.default_dtype if stage['steps'] else 'float64',
        )
        model.metadata |= _ensemble(model, list(splits.values()), options, draws)
        path = folder / TRAINED_FILES[model.metadata['architecture']]
        save_potential(model, path)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 (it is the error of every force set of the job)
        rows = {}
        refused |= dict.fromkeys(found, error)
    spent = (time.perf_counter() - started) / len(keys)
    digest = sha256_of(path) if rows else None
    for key in keys:
        if key in refused:
            yield key, refused[key], spent
            continue
        data = {
            **rows[key],
            'held_back': key in unseen or splits[key].held_back is not None,
            'n_configurations_learned': 0 if key in unseen else len(splits[key].learned.forces),
            'potential_sha256': digest,
        }
        yield key, (data, lambda path: None), spent


def _measured(model: EnergyModel, part: Reference) -> dict[str, Any]:
    """Errors of a trained potential on configurations; ``material`` and ``error`` where they cannot be measured."""
    try:
        row = evaluate(model, part)
        if wrong := [name for name, value in row.items() if not isinstance(value, str) and not np.isfinite(value)]:
            raise ValueError(f'got NaN or infinity for {", ".join(wrong)}, wanted numbers')
        return row
    except Exception as error:  # noqa: BLE001 (the potential is there, whatever one force set does to its evaluation)
        said = f'{type(error).__name__}: {error}'
        print(f'{part.name}: errors could not be measured: {said}', file=sys.stderr, flush=True)
        return {'material': part.name, 'error': said}


def _ensemble(
    model: EnergyModel, splits: Sequence[Split], options: TrainOptions, draws: Draws | None
) -> dict[str, Any]:
    """What the card says of the uncertainty, or why it says nothing."""
    started = time.perf_counter()
    try:
        entry = calibrated_ensemble(model, splits, options, draws)
        if entry:
            said = f'uncertainty: {options.uncertainty_members} members, {time.perf_counter() - started:.0f} s'
            print(f'mlfc-run: train: {said}', file=sys.stderr, flush=True)
        return entry
    except Exception as error:  # noqa: BLE001 (a potential without uncertainty is one)
        said = f'{type(error).__name__}: {error}'
        print(f'mlfc-run: train: no uncertainty: {said}', file=sys.stderr, flush=True)
        return {NO_UNCERTAINTY: said}


def _train(
    job_folder: Path, splits: Mapping[str, Split], unseen: Sequence[Reference], options: TrainOptions
) -> tuple[EnergyModel, dict[str, Any], dict[str, Any], Draws | None]:
    """Train, or continue.

    :param unseen: what errors will be measured on, too: refused at once if it cannot be.
    :return: the model in float64; ``recipe``, ``seconds`` and ``steps`` for the card; what it started from; draws from
        the posterior of its expansion, if that was fitted.
    """
    folder = job_folder / TRAINING
    folder.mkdir(parents=True, exist_ok=True)
    if options.device != 'cpu':
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    references = [s.learned for s in splits.values()]
    model, start = starting_model(references, options, job_folder)
    for reference in unseen:
        check_elements(model, reference)
    prepared = [prepare(reference, model) for reference in references]
    materials = repeated(prepared, options.edges_per_step)
    recipe = default_recipe(options.seed, options.steps, **options.recipe_changes())
    check_learnable(references, recipe, options.valid_fraction)
    is_fitted = _has_expansion(model) and options.foundation_model is None
    fits: list[dict[str, Any]] = []
    draws: Draws | None = None
    if is_fitted and not (folder / STATE_FILE).exists():
        said, draws = _fit(model, prepared, recipe, options.uncertainty_members)
        fits.append(said)
    if options.minutes:
        # fitted once more at the end
        spent = 2 * sum(fit['seconds'] for fit in fits)
        recipe = replace(recipe, n_steps=steps_in(folder, model, materials, recipe, options.minutes, spent))
    elif not options.steps and not _is_enough(model, options):
        recipe = replace(recipe, n_steps=default_steps(materials, recipe))
    set_aside = [s.valid for s in splits.values() if s.valid is not None]
    validation = Validation(set_aside, model) if set_aside else None
    note, n_processes = json.dumps(start) if start else '', options.nproc_per_node

    def trainer_here() -> Trainer:
        return Trainer(model, materials, recipe, folder, validation, note, Ranks(0, n_processes))

    trainer = trainer_here()
    log = TrainingLog(folder, trainer.step)
    n_parameters = sum(p.numel() for p in model.parameters())
    doing = f'{len(references)} force sets, {n_parameters} parameters, step {trainer.step} of {trainer.last_step}'
    if not trainer.last_step:
        doing = f'{len(references)} force sets; the network is not trained, no steps were asked for'
    elif n_processes > 1:
        doing += f', {n_processes} processes'
    print(f'mlfc-run: train: {doing}', file=sys.stderr, flush=True)
    with Asked() as stop:
        if n_processes > 1 and not trainer.stages.at.is_over:
            start_weights = deepcopy(model).cpu()
            work = (folder, start_weights, references, set_aside, recipe, options.edges_per_step, note, options.device)
            Together(*work, max(1, torch.get_num_threads() // n_processes)).run(n_processes, stop.is_asked)
            # What they left is read here; there is no step left to do, unless they were stopped.
            trainer = trainer_here()
        ended = trainer.stages.at.is_over or n_processes == 1
        if not ended or not trainer.run(lambda row: log.write(row, trainer.last_step), stop.is_asked):
            raise Interrupted(f'the state of step {trainer.step} is kept')
    stage: dict[str, Any] = {'recipe': recipe, 'seconds': trainer.seconds, 'steps': trainer.step}
    stage['processes'] = n_processes
    if validation is not None:
        stage['validation'] = {
            'frequency_mae_THz': trainer.stages.at.best,
            'of step': trainer.stages.at.best_step,
            'configurations': {part.name: len(part.forces) for part in set_aside},
        }
    # frozen: a network that was never trained is then not computed
    model = model.to(torch.float64).requires_grad_(False).eval()
    if is_fitted and (trainer.step or not fits):
        # what the network has learned since then need not be said twice
        said, draws = _fit(model, prepared, recipe, options.uncertainty_members)
        fits.append(said)
    if fits:
        stage['expansion'] = fits[-1]
        stage['seconds'] += sum(fit['seconds'] for fit in fits)
    if options.foundation_model is None and options.E0s == 'average':
        correct(model, references)
    return model, stage, start, draws


def _has_expansion(model: EnergyModel) -> bool:
    return isinstance(model, DXModel) and model.expansion is not None


def _is_enough(model: EnergyModel, options: TrainOptions) -> bool:
    """Whether the expansion is all that is asked for."""
    if not _has_expansion(model) or options.foundation_model or options.stage_two or options.valid_fraction:
        return False
    # charges that nobody knows are learned by the same steps as the network
    return model.long_range is None or not model.long_range.charges.requires_grad


def _fit(
    model: EnergyModel, materials: Sequence[Material], recipe: Recipe, n_draws: int
) -> tuple[dict[str, Any], Draws]:
    """Solve for the expansion; what the card says of it, and draws from its posterior."""
    assert isinstance(model, DXModel)
    assert model.expansion is not None
    started = time.perf_counter()
    left, draws, third = fit_expansion(model, materials, recipe, n_draws=n_draws, progress=_tell)
    n, seconds = model.expansion.n_coefficients, time.perf_counter() - started
    _tell(f'{n} coefficients, {100 * left:.2f} % of the forces learned are left, {seconds:.0f} s')
    if third:
        _tell(f'change with volume learned of {", ".join(third)}')
    card: dict[str, Any] = {'coefficients': n, 'relative error of forces learned': left, 'seconds': seconds}
    return card | {VOLUME_LEARNED: list(third)}, draws


def _tell(said: str) -> None:
    print(f'mlfc-run: train: expansion: {said}', file=sys.stderr, flush=True)
