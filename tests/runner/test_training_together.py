"""Several processes train one model: the step is the mean of theirs, the state is one, and nobody is left behind."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import load_file
from torch.multiprocessing.spawn import ProcessRaisedException

from aiida_mlfc.cli.training import prepare_job
from aiida_mlfc.core.checkpoint_files import read_header
from aiida_mlfc.core.potentials.training.batches import draw_batch, prepare
from aiida_mlfc.core.potentials.training.loop import STATE_FILE, Trainer
from aiida_mlfc.core.potentials.training.ranks import Ranks
from aiida_mlfc.core.potentials.training.recipe import Recipe
from aiida_mlfc.core.potentials.training.terms import loss_terms
from aiida_mlfc.core.potentials.training.validation import Validation
from aiida_mlfc.exchange.job import read_job
from aiida_mlfc.exchange.names import TRAINED_FILE, TRAINING
from aiida_mlfc.exchange.results import read_result
from aiida_mlfc.runner.run import run_job
from aiida_mlfc.runner.training_together import MEETING, Together

from ..core.small_systems import small_dx
from ..core.toy_reference import toy_reference
from ..spring_sets import write_springs
from .killing import wait_for_step

OPTIONS = {
    'name': 'toy', 'steps': 60, 'nproc_per_node': 2, 'expansion': False, 'checkpoint_minutes': 0.0, 'edges_per_step': 1,
    'uncertainty_members': 0,
    'model': {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4},
}  # fmt: skip
RECIPE = Recipe(
    n_steps=12, warm_up=2, learning_rate=1e-2, n_undisplaced=1, supercell_share=0.5, checkpoint_interval=1e9,
    eval_interval=6,
)  # fmt: skip


@pytest.fixture(scope='module')
def references():
    """Configurations of rock salt to learn from, and others to validate on."""
    whole = toy_reference()
    return [whole.chosen(np.arange(0, 4)), whole.chosen(np.arange(4, 8))]


@pytest.fixture
def together(references, tmp_path):
    """Everything that two processes need, in a folder of their own."""

    def _together(folder='training', **changes):
        recipe = replace(RECIPE, **changes)
        (tmp_path / folder).mkdir(exist_ok=True)
        return Together(tmp_path / folder, untrained(), references[:1], references[1:], recipe, 1, '', 'cpu', 1)

    return _together


def untrained():
    return small_dx(n_layers=1).float().train()


def weights(work, n_processes):
    """Of the averaged model, as the process that asked reads them; it does no step of its own."""
    model = untrained()
    (reference,), (aside,) = work.references, work.set_aside
    trainer = Trainer(
        model, [prepare(reference, model)], work.recipe, work.folder, Validation([aside], model), work.note,
        Ranks(0, n_processes),
    )  # fmt: skip
    step = trainer.step
    return step, trainer, {name: value.clone() for name, value in trainer.average.items()}


class TwoStreams(Trainer):
    """What two processes do, in one: the mean of the gradients of two batches, one from each stream."""

    def _take_step(self):
        if not hasattr(self, 'streams'):
            self.streams = [Ranks(k, 2).generator(self.recipe.seed) for k in range(2)]
        for group in self.optimiser.param_groups:
            group['lr'] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        for stream in self.streams:
            batch = draw_batch(self.materials, self.recipe, stream, self.model, self.stages.at.stage)
            terms = loss_terms(self.model, batch, self.recipe)
            (sum(terms) / 2).backward()
        for p in self.model.parameters():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        return terms


def test_a_step_is_the_mean_of_both(together, tmp_path):
    work = together()
    work.run(2, lambda: False)
    step, trainer, found = weights(work, 2)
    assert step == 12
    assert trainer.stages.at.is_over
    model = untrained()
    alone = TwoStreams(
        model, [prepare(work.references[0], model)], work.recipe, tmp_path / 'alone',
        Validation(work.set_aside, model),
    )  # fmt: skip
    alone.run()
    for name, value in alone.average.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    before = untrained().state_dict()
    assert max(float((found[name] - before[name]).abs().max()) for name in found) > 1e-2
    assert trainer.stages.at.best == pytest.approx(alone.stages.at.best, rel=1e-3)
    assert not (work.folder / MEETING).exists()
    rows = (work.folder / 'log.jsonl').read_text().splitlines()
    assert len(rows) == 3, 'two validations and the end, of the first process alone'
    with pytest.raises(ValueError, match='another number of processes'):
        weights(work, 1)


def test_killed_stopped_and_continued(tmp_path):
    """A whole job: SIGKILL, then SIGTERM, then to the end; nobody goes on for the dead."""
    write_springs(tmp_path / 'springs')
    found = {}
    for name in ('whole', 'parts'):
        folder = tmp_path / name
        prepare_job([tmp_path / 'springs'], folder, OPTIONS)
        done = 0
        for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)) if name == 'parts' else ():
            program = [sys.executable, '-c', 'from aiida_mlfc.runner.run import main; main()', str(folder)]
            process = subprocess.Popen(program, stderr=subprocess.PIPE)
            wait_for_step(folder, done, process)
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            process.communicate(timeout=120)
            assert process.returncode == code
            assert psutil.wait_procs(children, timeout=60)[1] == []
            done = torch.load(folder / TRAINING / STATE_FILE, weights_only=True)['step']
            assert 0 < done < OPTIONS['steps']
        assert run_job(folder) == 0
        (result,) = (read_result(folder, key) for key in read_job(folder).structures)
        assert result['status'] == 'ok'
        assert read_header(folder / TRAINED_FILE).card['processes of each stage'] == [2]
        found[name] = load_file(folder / TRAINED_FILE)
    for name, value in found['whole'].items():
        np.testing.assert_allclose(found['parts'][name], value, rtol=0, atol=1e-6, err_msg=name)


def test_one_that_fails_takes_the_others_along(together):
    started = time.monotonic()
    with pytest.raises(ProcessRaisedException, match='lower the learning rate'):
        together(learning_rate=1e30, warm_up=0).run(2, lambda: False)
    assert time.monotonic() - started < 300, 'nobody waits for the dead'


def test_nobody_trains_alone_by_mistake():
    parameter = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(RuntimeError, match='one of 3 processes, and the others are not connected'):
        Ranks(1, 3).average_gradients([parameter])
    assert Ranks(1, 3).of_the_first(2.0, 3.0) == (2.0, 3.0)
    Ranks().average_gradients([parameter])
    assert parameter.grad is None
