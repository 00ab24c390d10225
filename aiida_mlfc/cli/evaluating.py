"""References against a potential, one row each: force constants, frequencies, forces, thermal properties, stability.

Errors of force constants, frequencies and forces are those of model cards (``card_metrics``); free energy, entropy and
stability are those of ``aiida-mlfc compare``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from aiida_mlfc.cli.potential_jobs import PotentialFile, force_constants_of, result_of_this_job, run_mlfc
from aiida_mlfc.core.checkpoint_files import read_header
from aiida_mlfc.core.comparison.card_metrics import NONE_HELD_BACK, OF_ALL, card_frequencies, compared_configurations
from aiida_mlfc.core.comparison.compare import compare
from aiida_mlfc.core.comparison.matching import ComparisonError
from aiida_mlfc.core.comparison.pair_springs import pair_springs
from aiida_mlfc.core.comparison.record import STABILITY_THRESHOLD
from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.references.configurations import held_back, read_configurations
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.references.settings import Settings
from aiida_mlfc.core.structures.cells import to_ase
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.job import Job, read_job, structure_arrays, write_job
from aiida_mlfc.exchange.names import ARRAYS_FILE, OTHER_POTENTIAL_FILES, POTENTIAL_FILE, RESULTS
from aiida_mlfc.exchange.results import ResultError

#: references that share a job and are held in memory together
PORTION = 20
#: ``auto``: held-back configurations of references that the card names among its training data, or all of them where
#: it says that none was held back; all of others
Part = Literal['auto', 'held-back', 'all']
#: the part of a row of force constants that the potential has learned: its errors are no test
LEARNED = 'learned'
#: keys of a row, in the order in which they are written; the units are in the help of the command
ROW_KEYS = (
    'name',
    'part',
    'n_configurations',
    'reference_force_constants',
    'relative_frobenius',
    'predict_zero',
    'pair_springs',
    'frequency_mae',
    'frequency_predict_zero',
    'frequency_pair_springs',
    'frequency_max_error',
    'force_rmse',
    'force_predict_zero',
    'min_frequency',
    'min_frequency_reference',
    'stability',
    'free_energy_error',
    'entropy_error',
    'max_stress',
    'max_force_at_rest',
    'lowest_elastic_constant',
    'shells',
    'status',
    'error',
)
_TO_MEV = 1000.0
#: key of the undisplaced unit cell among the structures of a reference
_AT_REST = 'rest'


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, and how.

    :param folder: for job folders.
    """

    potential: PotentialFile
    folder: Path
    part: Part = 'auto'
    settings: Settings | None = None
    device: str = 'cpu'

    def rows(self, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """One row a reference, keys of :data:`ROW_KEYS`; a bad reference is a row with an error.

        :raises FileNotFoundError: for a path that does not exist.
        :raises RuntimeError: if ``mlfc-run`` cannot load the potential.
        """
        card = read_header(self.potential.path).card
        learned = {entry.get('name'): 'held-back' for entry in card.get('training data', [])}
        learned |= {row.get('material'): LEARNED for row in card.get(NONE_HELD_BACK, [])}
        items = read_configurations(paths, self.settings)
        n_portions = 0
        while portion := list(islice(items, PORTION)):
            yield from self._portion(portion, learned, self.folder / f'portion-{n_portions}')
            n_portions += 1

    def _portion(
        self, items: list[Reference | Refusal], learned: Mapping[str, str], folder: Path
    ) -> Iterator[dict[str, Any]]:
        """Rows of some references.

        :param learned: by name of a set on the card, what of it is looked at: see :data:`Part`, and :data:`LEARNED`.
        """
        good: dict[str, Reference] = {}
        parts: dict[str, str] = {}
        errors: dict[int, str] = {}
        for k, item in enumerate(items):
            if isinstance(item, Refusal):
                errors[k] = item.error
                continue
            known = [learned[name] for name in (item.name, item.source.more.get('name')) if name in learned]
            part: str = self.part
            if part == 'auto':
                part = known[0] if known else 'all'
                # of force constants alone nothing was held back: what the card names was learned
                part = LEARNED if known and item.sets is None else part
            try:
                good[f'r{k:05d}'] = held_back(item) if part == 'held-back' else item
                parts[f'r{k:05d}'] = part
            except ReferenceError as error:
                errors[k] = str(error)
        constants = {key: reference.force_constants for key, reference in good.items()}
        found = dict(force_constants_of(self.potential, constants, folder / 'force_constants', self.device))
        evaluated = {key: good[key] for key, result in found.items() if not isinstance(result, str)}
        forces = self._forces(evaluated, folder / 'forces') if evaluated else {}
        for k, item in enumerate(items):
            key = f'r{k:05d}'
            if k in errors:
                yield error_row(item.name, errors[k])
            else:
                yield _row(good[key], parts[key], found[key], forces.get(key, {}))

    def _forces(self, references: Mapping[str, Reference], folder: Path) -> dict[str, dict[str, Any]]:
        """By reference: the evaluation of each displaced supercell by its number, and of the cell at rest."""
        at_rest = {f'{key}_{_AT_REST}': reference.force_constants.unitcell for key, reference in references.items()}
        moved = _displaced(references)
        found: dict[str, dict[str, Any]] = {key: {} for key in references}
        for what, structures, options in (('rest', at_rest, {'elastic': True}), ('moved', moved, {})):
            for name, arrays in self._evaluate(structures, options, folder / what):
                key, _, which = name.partition('_')
                found[key][which] = arrays
        return found

    def _evaluate(
        self, structures: Mapping[str, Atoms], options: Mapping[str, Any], folder: Path
    ) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Arrays of each structure, or why there are none."""
        if not structures:
            return
        potential = OTHER_POTENTIAL_FILES.get(self.potential.architecture, POTENTIAL_FILE)
        job = Job('evaluate', {'device': self.device, **options}, {key: key for key in structures}, potential)
        write_job(folder, job, {key: {'structure': structure_arrays(atoms)} for key, atoms in structures.items()})
        shutil.copyfile(self.potential.path, folder / potential)
        code = run_mlfc(folder)
        written = read_job(folder)
        for key in structures:
            yield key, _evaluated(folder, written, key, self.potential.sha256, code)


def _evaluated(folder: Path, job: Job, key: str, potential_sha256: str, code: int) -> dict[str, Any] | str:
    """Arrays of one structure, or why there are none."""
    try:
        content = result_of_this_job(folder, job, key, potential_sha256)
        if content['status'] == 'failed':
            return str(content['error']['message'])
        return read_arrays(folder / RESULTS / key / ARRAYS_FILE)
    except (ResultError, OSError, KeyError) as error:
        return f'mlfc-run ended with exit code {code}: {error}'


def _displaced(references: Mapping[str, Reference]) -> dict[str, Atoms]:
    """The supercells of all configurations that are compared, by reference and number."""
    structures: dict[str, Atoms] = {}
    for key, reference in references.items():
        if reference.sets is None:
            continue
        supercell = to_ase(reference.force_constants.to_phonopy().supercell)
        for k in compared_configurations(len(reference.sets.forces)):
            moved = supercell.copy()
            moved.positions += reference.sets.displacements[k]
            structures[f'{key}_{k}'] = moved
    return structures


def error_row(name: str, error: str) -> dict[str, Any]:
    """The row of a reference that could not be evaluated."""
    return {**dict.fromkeys(ROW_KEYS), 'name': name, 'status': 'error', 'error': error}


def _row(reference: Reference, part: str, found: ForceConstants | str, forces: dict[str, Any]) -> dict[str, Any]:
    if isinstance(found, str):
        return error_row(reference.name, found)
    if wrong := [f'{which}: {value}' for which, value in forces.items() if isinstance(value, str)]:
        return error_row(reference.name, f'configuration {wrong[0]}')
    try:
        return {
            **dict.fromkeys(ROW_KEYS),
            'name': reference.name,
            'part': part,
            'n_configurations': 0 if reference.sets is None else len(reference.sets.forces),
            'reference_force_constants': OF_ALL if reference.is_of_more else None,
            **_constants(reference, found),
            **_force_errors(reference, forces),
            'status': 'ok',
        }
    except ComparisonError as error:
        return error_row(reference.name, str(error))
    except Exception as error:  # noqa: BLE001 (one reference must not take the others with it)
        return error_row(reference.name, f'{type(error).__name__}: {" ".join(str(error).split())[:200]}')


def _constants(reference: Reference, found: ForceConstants) -> dict[str, Any]:
    """Errors of force constants and of what follows from them."""
    compared = compare(reference.force_constants, found, reference.name, 'shared')
    a, b = (
        replace(side.force_constants, nac_params=None, _phonopy=[]) for side in (compared.aligned.a, compared.aligned.b)
    )
    one, other = a.to_phonopy(), b.to_phonopy()
    of_pairs = pair_springs(one)
    springs = replace(a, array=of_pairs, _phonopy=[]).to_phonopy()
    frequencies, summary = card_frequencies(other, one), compared.summary
    stable = [side.min_frequency >= STABILITY_THRESHOLD for side in (summary.a, summary.b)]
    errors = summary.force_constants
    return {
        'relative_frobenius': None if errors is None else errors.relative_frobenius,
        'predict_zero': 1.0,
        'pair_springs': float(np.linalg.norm(of_pairs - a.array) / np.linalg.norm(a.array)),
        'frequency_mae': frequencies.mae,
        'frequency_predict_zero': frequencies.predict_zero,
        'frequency_pair_springs': card_frequencies(springs, one).mae,
        'frequency_max_error': frequencies.max,
        'min_frequency': summary.b.min_frequency,
        'min_frequency_reference': summary.a.min_frequency,
        'stability': _confusion(*stable),
        'free_energy_error': summary.free_energy_error,
        'entropy_error': summary.entropy_error,
        'shells': [] if errors is None else errors.to_dict()['shells'],
    }


def _confusion(expected: bool, found: bool) -> str:
    """``true stable``, ``false stable``, ``true unstable`` or ``false unstable``: the verdict of the potential."""
    return f'{"true" if expected == found else "false"} {"stable" if found else "unstable"}'


def _force_errors(reference: Reference, forces: dict[str, Any]) -> dict[str, Any]:
    """Errors of the forces on displaced atoms, and what is left at the reference's geometry; eV to meV."""
    rest = forces[_AT_REST]
    result = {
        'max_stress': float(np.abs(rest['stress']).max()),
        'max_force_at_rest': _TO_MEV * float(np.abs(rest['forces']).max()),
        'lowest_elastic_constant': float(np.linalg.eigvalsh(rest['elastic_constants'])[0]),
    }
    if reference.sets is None:
        return result
    chosen = compared_configurations(len(reference.sets.forces))
    right = reference.sets.forces[chosen]
    ours = np.array([forces[str(k)]['forces'] for k in chosen])
    return result | {
        'force_rmse': _TO_MEV * float(np.sqrt(np.mean((ours - right) ** 2))),
        'force_predict_zero': _TO_MEV * float(np.sqrt(np.mean(right**2))),
    }
