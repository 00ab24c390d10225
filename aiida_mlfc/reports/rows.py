"""One row of the screen table: what is said about one crystal in the terminal, in JSON and on the page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from aiida_mlfc.reports.plain_json import json_text, plain, write_atomically

if TYPE_CHECKING:
    from aiida_mlfc.core.force_constants.record import Quality
    from aiida_mlfc.core.phonons.record import Phonons

#: K, where the table quotes the free energy
REFERENCE_TEMPERATURE = 300.0


class Row(TypedDict):
    """One crystal. What is not known is None, in a failed row most of it.

    Frequencies in THz, imaginary ones negative; energies in kJ per mole of primitive cells; forces in eV/Å;
    ``acoustic_sum_residual`` in eV/Å² before any correction; ``n_atoms`` of the cell that was given;
    ``truncation_error`` of the supercell in THz, None where it was not measured; ``uncertainty`` of the frequencies in
    THz, None where the potential has no ensemble.
    """

    name: str
    status: Literal['ok', 'failed']
    error: str | None
    formula: str | None
    spacegroup: str | None
    n_atoms: int | None
    supercell_matrix: list[list[int]] | None
    min_frequency: float | None
    max_frequency: float | None
    verdicts: dict[str, str]
    noise_floor: float | None
    free_energy_300K: float | None
    zero_point_energy: float | None
    max_residual_force: float | None
    acoustic_sum_residual: float | None
    truncation_error: float | None
    uncertainty: float | None
    seconds: float | None
    with_nac: bool | None
    warnings: list[str]
    potential: str | None
    potential_sha256: str | None
    structure_uuid: str | None
    force_constants_uuid: str | None


#: the keys, in the order in which they are written
KEYS: tuple[str, ...] = tuple(Row.__annotations__)
_FROM_STABILITY = (
    'min_frequency', 'max_frequency', 'verdicts', 'noise_floor', 'free_energy_300K', 'zero_point_energy', 'with_nac',
)  # fmt: skip
_FROM_QUALITY = ('max_residual_force', 'acoustic_sum_residual')


def failed_row(name: str, error: str, **known: object) -> Row:
    """A row that says what went wrong, and whatever else is known.

    :param known: any other keys of :class:`Row`, for example the formula of a crystal whose relaxation failed.
    :raises ValueError: for a key that a row does not have, or an empty error.
    """
    unknown = sorted(set(known) - set(KEYS))
    if unknown:
        raise ValueError(f'row: got the keys {unknown}, wanted some of {list(KEYS)}')
    if not error.strip():
        raise ValueError('error: got an empty text; a failed row must say what is wrong')
    row: dict[str, object] = dict.fromkeys(KEYS)
    row.update(verdicts={}, warnings=[])
    row.update({key: plain(value) for key, value in known.items()})
    row.update(name=str(name), status='failed', error=str(error))
    return row  # type: ignore[return-value]  # every key of KEYS is there


def finished_row(
    name: str,
    phonons: Phonons,
    quality: Quality,
    *,
    formula: str,
    spacegroup: str,
    n_atoms: int,
    supercell_matrix: Sequence[Sequence[int]],
    potential: str,
    potential_sha256: str | None,
    seconds: float | None = None,
    structure_uuid: str | None = None,
    force_constants_uuid: str | None = None,
) -> Row:
    """The row of a crystal whose phonons are there.

    :param supercell_matrix: shape ``(3, 3)``, phonopy's convention.
    :param seconds: wall time spent on this crystal; that of the derivatives alone where it is not given.
    """
    stability = phonons.stability
    values = {
        'min_frequency': stability.min_frequency, 'max_frequency': stability.max_frequency,
        'verdicts': stability.verdicts, 'noise_floor': stability.noise_floor,
        'free_energy_300K': phonons.thermal.at(REFERENCE_TEMPERATURE)['free_energy'],
        'zero_point_energy': phonons.thermal.zero_point_energy, 'with_nac': phonons.with_nac,
    }  # fmt: skip
    return row_from_values(
        name, values, quality.to_dict(), formula=formula, spacegroup=spacegroup, n_atoms=n_atoms,
        supercell_matrix=supercell_matrix, potential=potential, potential_sha256=potential_sha256,
        seconds=quality.seconds if seconds is None else seconds, warnings=phonons.warnings,
        structure_uuid=structure_uuid, force_constants_uuid=force_constants_uuid,
    )  # fmt: skip


def row_from_values(name: str, stability: Mapping[str, Any], quality: Mapping[str, Any], **known: object) -> Row:
    """The row of a crystal from plain numbers, as a database gives them for thousands at once.

    :param stability: ``min_frequency``, ``max_frequency``, ``verdicts``, ``noise_floor``, ``free_energy_300K``,
        ``zero_point_energy`` and ``with_nac``, and what else there is.
    :param quality: the quality record of the force constants as a mapping.
    :param known: all other keys of :class:`Row`.
    :raises KeyError: if something is missing.
    """
    row = {
        'name': str(name), 'status': 'ok', 'error': None,
        **{key: stability[key] for key in _FROM_STABILITY}, **{key: quality[key] for key in _FROM_QUALITY},
        # not measured in every job
        'truncation_error': quality.get('truncation_error'), 'uncertainty': quality.get('uncertainty'), **known,
    }  # fmt: skip
    return plain({key: row[key] for key in KEYS})


def rows_to_json(rows: Sequence[Row]) -> str:
    """The rows as a JSON list, one a line, keys in the order of ``KEYS``."""
    lines = [f'  {_line({key: row[key] for key in KEYS})}' for row in rows]  # type: ignore[literal-required]
    return '[\n' + ',\n'.join(lines) + '\n]\n' if lines else '[]\n'


def _line(row: Mapping[str, Any]) -> str:
    """One row as JSON. Most are plain already: to make them plain again takes longer than to write them."""
    try:
        return json.dumps(row, allow_nan=False)
    except (TypeError, ValueError):
        return json_text(row)


def write_rows(path: str | os.PathLike[str], rows: Sequence[Row]) -> Path:
    """The same in a file, written atomically."""
    return write_atomically(path, [rows_to_json(rows)])


def describe_supercell(matrix: Sequence[Sequence[int]] | None) -> str:
    """``2×2×2`` for a diagonal matrix, its rows otherwise, empty where there is none."""
    if matrix is None:
        return ''
    if all(matrix[i][j] == 0 for i in range(3) for j in range(3) if i != j):
        return '×'.join(str(matrix[i][i]) for i in range(3))
    return ' / '.join(' '.join(str(x) for x in line) for line in matrix)
