"""The files of one reference put together: cell, supercell, forces or force constants, Born charges, source."""

from __future__ import annotations

import json
import resource
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from phonopy import Phonopy
from phonopy.interface.calculator import get_force_constant_conversion_factor
from phonopy.interface.phonopy_yaml import load_phonopy_yaml
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import guess_primitive_matrix

from aiida_mlfc.core import bounded_json
from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.core.force_constants.sum_rules import acoustic_sum_residual, permutation_asymmetry
from aiida_mlfc.core.references.consistency import check_forces, check_on_site
from aiida_mlfc.core.references.files import sha256_of, text_of, yaml_of
from aiida_mlfc.core.references.finding import PHONO3PY, Candidate
from aiida_mlfc.core.references.fitting import fit
from aiida_mlfc.core.references.force_sets import ForceSets, ReferenceError, from_dataset, has_forces
from aiida_mlfc.core.references.given_constants import check_shape, symmetrised
from aiida_mlfc.core.references.parsing import array_of_force_constants, born_of, cell_of_poscar, dataset_of_force_sets
from aiida_mlfc.core.references.phono3py_sets import as_phonopy, dataset_of
from aiida_mlfc.core.references.record import NOT_STATED, Checks, Reference, Source
from aiida_mlfc.core.references.settings import (
    DEFAULT_SYMPREC,
    Settings,
    Units,
    checked_supercell,
    matrices_of_conf,
    square,
)
from aiida_mlfc.core.structures.cells import to_ase
from aiida_mlfc.core.structures.checks import check_structure
from aiida_mlfc.core.units import COULOMB_EV_ANGSTROM

#: relative; masses of files that differ by less from phonopy's are phonopy's, printed
PRINTED_MASS = 1e-4
#: keys of meta.json that are kept with the source
_KEPT = ('name', 'code', 'repo', 'commit', 'paths', 'url', 'doi', 'notes')


@dataclass
class _Parts:
    """What was found in the files, in their units until ``Units`` is applied."""

    unitcell: PhonopyAtoms
    supercell_matrix: np.ndarray
    primitive_matrix: Any
    units: Units
    calculator: str | None = None
    dataset: dict[str, Any] | None = None
    array: np.ndarray | None = None
    array_name: str = ''
    nac_params: dict[str, Any] | None = None


def assemble(candidate: Candidate, settings: Settings, started: float) -> Reference:
    """One reference from its files.

    :param started: ``time.perf_counter()`` when reading began.
    :raises ReferenceError: saying what does not fit.
    """
    files = candidate.files
    meta = metadata(candidate)
    content_of_yaml = yaml_of(candidate.yaml) if candidate.yaml is not None else {}
    of_phonopy = as_phonopy(content_of_yaml, candidate.order) if candidate.order else content_of_yaml
    data = load_phonopy_yaml(of_phonopy) if of_phonopy else None
    symprec = settings.symprec or _symprec(of_phonopy, meta)
    parts = _parts(candidate, data, settings)
    phonon = _phonopy(parts, symprec)
    check_structure(to_ase(phonon.unitcell))
    if candidate.order:
        parts.dataset = dataset_of(candidate, content_of_yaml, parts.dataset, len(phonon.supercell))
    _take_forces(candidate, parts, phonon)
    sets: ForceSets | None = None
    if parts.dataset is not None and has_forces(parts.dataset):
        sets = from_dataset(parts.dataset, len(phonon.supercell))
        array, quality, checks, content = fitted(phonon, sets, started)
    elif parts.array is not None:
        array, quality, checks, content = _read(phonon, parts, started)
    else:
        raise ReferenceError('there are displacements without forces, and no force constants')
    nac_params = _nac_params(candidate, parts, phonon, symprec)
    phonon.nac_params = nac_params
    force_constants = ForceConstants(
        array=array,
        unitcell=to_ase(phonon.unitcell, PRINTED_MASS),
        supercell_matrix=np.array(phonon.supercell_matrix),
        primitive_matrix=np.array(phonon.primitive_matrix),
        quality=quality,
        nac_params=nac_params,
        symprec=symprec,
        _phonopy=[phonon],
    )
    return Reference(
        candidate.name, force_constants, source_of(candidate.path, files, meta, settings, content), checks, sets
    )


def source_of(path: Path, files: dict[str, Path], meta: dict[str, Any], settings: Settings, content: str) -> Source:
    """Where files come from, by what ``meta.json`` says and the checksums of the others."""
    more = {key: meta[key] for key in _KEPT if meta.get(key)}
    order = next((order for order, (role, _) in PHONO3PY.items() if role in files), 0)
    if order:
        # one YAML of phono3py can hold two sets: what tells them apart
        more['phono3py'] = f'set of order {order}'
    if order == 2 and 'name' in more:
        more['name'] = f'{more["name"]}-fc2'
    return Source(
        path=str(path),
        sha256={path.name: sha256_of(path) for role, path in sorted(files.items()) if role != 'meta'},
        content=content,
        functional=settings.functional or str(meta.get('functional') or NOT_STATED),
        licence=settings.licence or str(meta.get('licence') or NOT_STATED),
        more=more,
    )


def metadata(candidate: Candidate) -> dict[str, Any]:
    """What ``meta.json`` says; nothing where there is none."""
    if 'meta' not in candidate.files:
        return {}
    try:
        content = bounded_json.loads(text_of(candidate.files['meta']))
    except (ValueError, json.JSONDecodeError) as error:
        raise ReferenceError(f'meta.json is broken ({error})') from error
    return content if isinstance(content, dict) else {}


def _symprec(content_of_yaml: dict[str, Any], meta: dict[str, Any]) -> float:
    """The tolerance the displacements were made with, where somebody wrote it down."""
    header = content_of_yaml.get('phonopy')
    for stated in (meta.get('symprec'), header.get('symmetry_tolerance') if isinstance(header, dict) else None):
        if isinstance(stated, (int, float)) and stated > 0:
            return float(stated)
    return DEFAULT_SYMPREC


def _parts(candidate: Candidate, data: Any, settings: Settings) -> _Parts:
    """Cell and matrices: from the settings, phonopy's YAML, phonopy.conf, or a supercell file, in this order."""
    files = candidate.files
    conf = matrices_of_conf(files['conf']) if 'conf' in files else (None, None)
    if data is not None and data.unitcell is not None:
        unitcell, calculator = data.unitcell, data.calculator
    elif 'cell' in files:
        unitcell, calculator = cell_of_poscar(files['cell']), None
    else:
        raise ReferenceError(
            'there is no cell: wanted phonopy.yaml, phonopy_disp.yaml or POSCAR-unitcell beside the forces'
        )
    units = Units.of(calculator)
    matrix: Any = settings.supercell_matrix
    if matrix is None and data is not None:
        matrix = data.supercell_matrix
    if matrix is None:
        matrix = conf[0]
    if matrix is None and 'supercell' in files:
        supercell = cell_of_poscar(files['supercell'])
        matrix = np.array(supercell.cell @ np.linalg.inv(unitcell.cell)).T
        if not np.allclose(matrix, np.rint(matrix), atol=1e-3):
            raise ReferenceError(f'{files["supercell"].name} is no supercell of {files["cell"].name}')
        matrix = np.rint(matrix)
    if matrix is None:
        raise ReferenceError(
            'there is no supercell matrix: wanted phonopy_disp.yaml, DIM in phonopy.conf, or --supercell'
        )
    primitive = settings.primitive_matrix
    if primitive is None and data is not None:
        primitive = data.primitive_matrix
    if primitive is None:
        primitive = conf[1]
    return _Parts(
        unitcell=units.cell(unitcell),
        supercell_matrix=checked_supercell(square(np.asarray(matrix)), len(unitcell)),
        primitive_matrix='auto' if primitive is None else primitive,
        units=units,
        calculator=calculator,
        dataset=None if data is None or data.dataset is None else dict(data.dataset),
        array=None if data is None else data.force_constants,
        nac_params=None if data is None or data.nac_params is None else dict(data.nac_params),
    )


def _phonopy(parts: _Parts, symprec: float) -> Phonopy:
    matrix = parts.primitive_matrix
    if isinstance(matrix, str) and matrix == 'auto':
        matrix = guess_primitive_matrix(parts.unitcell, symprec=symprec)
    with warnings.catch_warnings():
        # that a supercell has not all the symmetry of the crystal: fits use that of the supercell
        warnings.simplefilter('ignore', UserWarning)
        return Phonopy(
            parts.unitcell,
            supercell_matrix=parts.supercell_matrix,
            primitive_matrix=matrix,
            symprec=symprec,
            log_level=0,
        )


def _take_forces(candidate: Candidate, parts: _Parts, phonon: Phonopy) -> None:
    """Forces of FORCE_SETS, force constants of their files; what phonopy's YAML holds stays."""
    files = candidate.files
    n_super, n_prim = len(phonon.supercell), len(phonon.primitive)
    if candidate.asked_for in ('forces', 'force_constants'):
        parts.dataset = parts.array = None
    if 'forces' in files and not (parts.dataset and has_forces(parts.dataset)):
        parts.dataset = dataset_of_force_sets(files['forces'], n_super)
    if parts.array is not None and candidate.yaml is not None:
        parts.array_name = candidate.yaml.name
        check_shape(parts.array, parts.array_name, n_prim, n_super)
        parts.array = parts.array * parts.units.force_constants
    elif 'force_constants' in files:
        parts.array_name = files['force_constants'].name
        array, unit = array_of_force_constants(
            files['force_constants'], n_prim, n_super, np.array(phonon.primitive.p2s_map)
        )
        to_calculator = 1.0 if unit is None else get_force_constant_conversion_factor(unit, parts.calculator)
        parts.array = array * to_calculator * parts.units.force_constants
    parts.dataset = parts.units.dataset(parts.dataset)


def _quality(array: np.ndarray, phonon: Phonopy, at_rest: float, n: int, started: float) -> Quality:
    return Quality(
        method='unknown',
        dtype='float64',
        permutation_asymmetry=permutation_asymmetry(array, phonon.primitive),
        acoustic_sum_residual=acoustic_sum_residual(array),
        max_residual_force=at_rest,
        n_directions=n,
        seconds=time.perf_counter() - started,
        # ru_maxrss is in KiB on Linux
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def fitted(phonon: Phonopy, sets: ForceSets, started: float) -> tuple[np.ndarray, Quality, Checks, str]:
    """Force constants of force sets, what they are worth, and what they are from.

    :raises ReferenceError: if forces do not belong to the crystal.
    """
    found = fit(phonon, sets)
    evidence = check_forces(found)
    _check_sites(phonon, found.array)
    lengths = np.linalg.norm(sets.displacements, axis=2)
    at_rest = float(np.abs(found.at_rest).max())
    checks = Checks(len(sets.forces), found.relative_residual, evidence, float(lengths.max()), at_rest, sets.drift)
    return found.array, _quality(found.array, phonon, at_rest, len(sets.forces), started), checks, 'force sets'


def _read(phonon: Phonopy, parts: _Parts, started: float) -> tuple[np.ndarray, Quality, Checks, str]:
    found = symmetrised(phonon, np.asarray(parts.array), parts.array_name)
    # residuals of what was read, before it was symmetrised; forces at rest are not known
    quality = _quality(found.as_given, phonon, float('nan'), 0, started)
    return found.array, quality, Checks(0, found.removed), 'force constants'


def _check_sites(phonon: Phonopy, array: np.ndarray) -> None:
    primitive = phonon.primitive
    s2pp = np.array([primitive.p2p_map[atom] for atom in primitive.s2p_map])
    check_on_site(array, np.array(primitive.p2s_map), s2pp)


def _nac_params(candidate: Candidate, parts: _Parts, phonon: Phonopy, symprec: float) -> dict[str, Any] | None:
    """Born charges and dielectric tensor in phonopy's form, with the factor in eV Å."""
    found = parts.nac_params
    if found is None and 'born' in candidate.files:
        found = born_of(candidate.files['born'], phonon.primitive, symprec)
    if found is None:
        return None
    born, dielectric = np.asarray(found['born'], float), np.asarray(found['dielectric'], float)
    wanted = (len(phonon.primitive), 3, 3)
    if born.shape != wanted or dielectric.shape != (3, 3):
        raise ReferenceError(f'Born charges have shape {born.shape}, wanted {wanted}: of another primitive cell')
    if not (np.isfinite(born).all() and np.isfinite(dielectric).all() and np.linalg.eigvalsh(dielectric).min() > 0):
        raise ReferenceError('Born charges or dielectric tensor are not finite, or the tensor is not positive')
    given = found.get('factor')
    factor = COULOMB_EV_ANGSTROM if given is None else float(given) * parts.units.coulomb
    return {'born': born, 'dielectric': dielectric, 'factor': factor}
