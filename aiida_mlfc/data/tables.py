"""The rows of every screen of a profile, for tables of thousands: kept rows are read as they are, no node is loaded.

What has no kept rows (a screen that runs, that was killed, that another release has made) is read from provenance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiida.orm import QueryBuilder, WorkChainNode

from aiida_mlfc.data.facts import chunks, screen_pks
from aiida_mlfc.data.kept_rows import kept
from aiida_mlfc.reports.rows import Row


def rows_of_all(group: str | None = None) -> Iterator[tuple[Row, int, str]]:
    """Row, primary key of the screen and key of the crystal in it, newest screens first.

    :param group: only screens of the AiiDA group with this label.
    """
    pks = screen_pks(group)
    known = kept(pks)
    if missing := [pk for pk in pks if pk not in known]:
        known |= _from_provenance(missing)
    for pk in pks:
        for key, row in known[pk].items():
            yield row, pk, key


def _from_provenance(pks: Sequence[int]) -> dict[int, dict[str, Row]]:
    """Rows by primary key and key of the crystal; those of screens that have ended are kept from now on."""
    # Here and not above: most tables need nothing of it.
    from aiida_mlfc.data.outcomes import ScreenOutcome, rows_of

    screens = []
    for some in chunks(pks):
        screens += QueryBuilder().append(WorkChainNode, filters={'id': {'in': some}}).all(flat=True)
    found: dict[int, dict[str, Row]] = {pk: {} for pk in pks}
    for row, outcome, key in rows_of(ScreenOutcome.of(screens)):
        found[outcome.process.pk][key] = row
    return found
