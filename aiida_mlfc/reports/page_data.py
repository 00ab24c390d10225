"""What the page knows: the rows, and one parcel of figures for each crystal, opened when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from aiida_mlfc.core.phonons.record import Phonons
from aiida_mlfc.core.phonons.stability import COMMUNITY_THRESHOLDS
from aiida_mlfc.reports.figures import bands_and_dos, stability_curve, thermal_curves
from aiida_mlfc.reports.plain_json import plain
from aiida_mlfc.reports.rows import Row, describe_supercell
from aiida_mlfc.reports.table import summarise_verdicts

Found = TypeVar('Found')

#: who uses a threshold
THRESHOLD_MEANINGS = {
    'zero': 'no imaginary mode at all, beyond the noise floor',
    'strict_0.05THz': 'forgives what interpolation between the q-points of the supercell may cause near Γ',
    'mp_5cm-1': '5 cm⁻¹, the phonon workflow of the Materials Project',
    'mattersim_0.3THz': 'the phonon workflow of MatterSim',
}
#: lists shorter than this are not worth sharing
SHORT_LIST = 8


def entry_of(row: Row, entries: Mapping[str, Found], names: Counter[str]) -> Found | None:
    """What belongs to a row: found by the uuid of its force constants, else of its structure, else by its name.

    :param names: how many finished rows have each name.
    :raises ValueError: if only a name leads to it, and two finished crystals have that name.
    """
    for key in (row['force_constants_uuid'], row['structure_uuid']):
        if key is not None and key in entries:
            return entries[key]
    if row['name'] not in entries:
        return None
    if row['status'] == 'ok' and names[row['name']] > 1:
        raise ValueError(
            f'got {names[row["name"]]} finished crystals called {row["name"]!r} and one entry under that name; '
            'give the entries under structure_uuid or force_constants_uuid'
        )
    return entries[row['name']]


def shared_arrays(figures: dict[str, Any]) -> dict[str, Any]:
    """The same figures with each long list written once: curves over the same axis share it.

    :return: ``arrays``, and the figures with ``{"array": k}`` in place of list number k.
    """
    arrays: list[Any] = []
    numbers: dict[tuple[Any, ...], int] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        if not isinstance(value, list):
            return value
        if len(value) < SHORT_LIST or isinstance(value[0], (dict, list)):
            return [walk(item) for item in value]
        key = tuple(value)
        if key not in numbers:
            numbers[key] = len(arrays)
            arrays.append(value)
        return {'array': numbers[key]}

    return {'figures': walk(figures), 'arrays': arrays}


def crystal_parcel(phonons: Phonons | None, provenance: Mapping[str, Any] | None) -> dict[str, Any]:
    """Figures and provenance of one crystal, as its panel shows them."""
    parcel: dict[str, Any] = {'figures': {}, 'arrays': [], 'provenance': plain(dict(provenance or {}))}
    if phonons is not None:
        parcel.update(shared_arrays({
            'bands': bands_and_dos(phonons),
            'thermal': thermal_curves(phonons.thermal, phonons.bands.frequencies.shape[1]),
            'stability': stability_curve(phonons.stability),
        }))
        parcel['facts'] = plain({
            'mesh': '×'.join(str(m) for m in phonons.dos.mesh),
            'at_300K': phonons.thermal.at(300.0),
            'lowest_at': [round(float(q), 4) for q in phonons.stability.min_frequency_qpoint],
            'gamma_frequencies': [round(float(f), 3) for f in phonons.gamma_frequencies],
        })
    return parcel


def overview(rows: Sequence[Row], cards: Sequence[Mapping[str, Any]], title: str, note: str) -> dict[str, Any]:
    """Everything that is seen before a crystal is opened."""
    return plain({
        'title': title,
        'note': note,
        'rows': [{**row, 'supercell': describe_supercell(row['supercell_matrix']),
                  'verdict': summarise_verdicts(row['verdicts'])} for row in rows],
        'cards': [dict(card) for card in cards],
        'thresholds': [{'name': name, 'frequency': frequency, 'meaning': THRESHOLD_MEANINGS.get(name, '')}
                       for name, frequency in COMMUNITY_THRESHOLDS.items()],
    })
