"""From references to a training job and back: what ``aiida-mlfc potential train`` does without AiiDA."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiida_mlfc.core.checkpoint_files import read_header, resolve
from aiida_mlfc.core.comparison.card_metrics import REFERENCE_CONSTANTS
from aiida_mlfc.core.references.configurations import read_configurations
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.references.settings import Settings
from aiida_mlfc.core.structures.cells import to_ase
from aiida_mlfc.exchange.job import Job, structure_arrays, write_job
from aiida_mlfc.exchange.names import TRAINED_FILES, TRAINING, TRAINING_LOG
from aiida_mlfc.exchange.results import ResultError, read_result
from aiida_mlfc.exchange.training_inputs import TAKEN_OFF, constants_arrays
from aiida_mlfc.exchange.training_options import START_FOLDER
from aiida_mlfc.reports.learning_curve import read_log, save_learning_curve

#: exit codes of mlfc-run: done; done, but some force sets were refused; stopped, the state is kept
DONE, SOME_REFUSED, STOPPED = 0, 4, 143
#: of the learning curve, beside the log
CURVE = 'learning_curve.png'


class TrainingError(RuntimeError):
    """Nothing was trained; the message says why."""


@dataclass
class Trained:
    """What came out.

    :param rows: one a force set, as :func:`aiida_mlfc.reports.evaluation_table.print_evaluations` takes them.
    :param code: of ``mlfc-run``.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    code: int = DONE


def force_set_arrays(reference: Reference) -> dict[str, Any]:
    """The input of a training job for one reference: its configurations, or force constants that it holds instead."""
    phonon = reference.force_constants.to_phonopy()
    more = reference.source.more
    source = {
        **{key: more[key] for key in ('code', 'repo', 'commit') if key in more},
        'name': more.get('name', reference.name),
        'functional': reference.source.functional,
        'licence': reference.source.licence,
        'sha256': reference.source.sha256,
    }
    if reference.sets is None:
        return constants_arrays(phonon, {**source, TAKEN_OFF: reference.checks.relative_residual})
    nac = reference.force_constants.nac_params
    return {
        'supercell': structure_arrays(to_ase(phonon.supercell)),
        'primitive': structure_arrays(to_ase(phonon.primitive)),
        'displacements': reference.sets.displacements,
        'forces': reference.sets.forces,
        'energies': reference.sets.energies,
        'source': json.dumps(source),
        'nac_params': None if nac is None else {key: nac[key] for key in ('born', 'dielectric', 'factor')},
    }


def prepare_job(
    paths: Sequence[Path], folder: Path, options: Mapping[str, Any], settings: Settings | None = None
) -> list[dict[str, Any]]:
    """Read references and write the job folder.

    :return: a row for each reference that cannot be learned from.
    :raises FileNotFoundError: for a path that does not exist.
    :raises TrainingError: if none is left.
    """
    inputs: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    refused = []
    for item in read_configurations(paths, settings):
        error = item.error if isinstance(item, Refusal) else None
        if isinstance(item, Reference):
            key = f'r{len(inputs):05d}'
            inputs[key], names[key] = force_set_arrays(item), item.name
        if error is not None:
            refused.append({'name': item.name, 'status': 'error', 'error': error})
            print(f'{item.name} is left out: {error}', file=sys.stderr, flush=True)
    if not inputs:
        raise TrainingError(f'there is nothing to learn from in {", ".join(map(str, paths))}')
    write_job(folder, Job('train', _with_foundation(dict(options), folder), names), inputs)
    for left in (folder / 'inputs').glob('*.hdf5'):
        # of an earlier training in the same folder, from more force sets
        if left.stem not in inputs:
            left.unlink()
    return refused


def output_suffix(options: Mapping[str, Any]) -> str:
    """Of the file that training will make: that of the architecture it starts from.

    :raises CheckpointError: if there is no such potential.
    """
    start = options.get('foundation_model')
    return Path(TRAINED_FILES['dx' if start is None else read_header(resolve(start)).architecture]).suffix


def _with_foundation(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The potential to start from, if any, as a file in the job folder."""
    if options.get('foundation_model') is not None:
        path = resolve(options['foundation_model'])
        target = folder / START_FOLDER / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        options['foundation_model'] = f'{START_FOLDER}/{path.name}'
    return options


def run(folder: Path, output: Path) -> Trained:
    """Train in a job folder, put the potential to ``output``.

    :raises TrainingError: if there is none.
    """
    beside = Path(sys.executable).with_name('mlfc-run')
    program = str(beside) if beside.exists() else shutil.which('mlfc-run')
    if program is None:
        raise TrainingError('mlfc-run is not on the PATH; is the package installed in this environment?')
    for name in TRAINED_FILES.values():
        (folder / name).unlink(missing_ok=True)
    code = _wait(subprocess.Popen([program, str(folder)], stdout=sys.stderr))
    if code == STOPPED:
        return Trained(code=code)
    if code not in (DONE, SOME_REFUSED):
        raise TrainingError(f'mlfc-run ended with exit code {code}; what it said stands above')
    keys = sorted(path.stem for path in (folder / 'inputs').glob('*.hdf5'))
    rows = [_row(folder, key) for key in keys if (folder / 'results' / key).is_dir()]
    made = next((folder / name for name in TRAINED_FILES.values() if (folder / name).exists()), None)
    if made is None:
        raise TrainingError('nothing was trained: ' + '; '.join(dict.fromkeys(str(row['error']) for row in rows)))
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix('.partial')
    shutil.copyfile(made, partial)
    os.replace(partial, output)
    log = folder / TRAINING / TRAINING_LOG
    if log.exists():
        save_learning_curve(log.with_name(CURVE), read_log(log), output.stem)
    return Trained(rows, code)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Hand on SIGTERM and Ctrl-C, so that the state is saved; wait for the end."""

    def hand_on(signum: int, frame: Any) -> None:
        process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def has_state(folder: Path) -> bool:
    """Whether an earlier run left something to continue from."""
    return (folder / TRAINING / 'training_state.pt').exists()


def _row(folder: Path, key: str) -> dict[str, Any]:
    """The result of one force set under the keys of the table; per cent as fractions."""
    try:
        content = read_result(folder, key)
    except ResultError as error:
        return {'name': key, 'status': 'error', 'error': str(error)}
    if content['status'] == 'failed':
        return {'name': content['name'], 'status': 'error', 'error': content['error']['message']}
    data = content['data']
    return {
        'name': content['name'],
        'part': 'held-back' if data['held_back'] else 'learned',
        'n_configurations': data['n_configurations'],
        'n_configurations_learned': data['n_configurations_learned'],
        'reference_force_constants': data.get(REFERENCE_CONSTANTS),
        'relative_frobenius': data['relative_frobenius_percent'] / 100,
        'predict_zero': data['relative_frobenius_predict_zero_percent'] / 100,
        'frequency_mae': data['frequency_mae_THz'],
        'frequency_predict_zero': data['frequency_predict_zero_THz'],
        'frequency_max_error': data['frequency_max_error_THz'],
        # force constants alone have no forces to be wrong about
        'force_rmse': data.get('force_rmse_meV_per_A'),
        'force_predict_zero': data.get('force_predict_zero_meV_per_A'),
        'min_frequency': data['min_frequency_THz'],
        'min_frequency_reference': data['min_frequency_DFT_THz'],
        'lowest_elastic_constant': data['lowest_elastic_constant_GPa'],
        'max_stress': data['max_stress_GPa'],
        'max_force_at_rest': data['max_force_at_rest_meV_per_A'],
        'status': 'ok',
        'error': None,
    }
