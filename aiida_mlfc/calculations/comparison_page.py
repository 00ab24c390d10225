"""The page of a comparison as a node, so that it too can be asked where it comes from."""

from __future__ import annotations

import tempfile
from pathlib import Path

from aiida.engine import calcfunction
from aiida.orm import Dict, SinglefileData, Str
from aiida_phonopy.data import ForceConstantsData

from aiida_mlfc.calculations.comparison import force_constants_record, names_of
from aiida_mlfc.core.comparison.aggregate import aggregate
from aiida_mlfc.core.comparison.compare import compare
from aiida_mlfc.data.references import KEY_REFERENCE, NOT_STATED
from aiida_mlfc.reports.comparison_figures import comparison_parcel
from aiida_mlfc.reports.comparison_page import write_comparison_page

FILENAME = 'comparison.html'
#: of the keys of force constants
REFERENCE, POTENTIAL = 'reference_', 'potential_'


@calcfunction
def comparison_page(
    summary: Dict, nac: Str, potential_name: Str, **force_constants: ForceConstantsData
) -> SinglefileData:
    """One self-contained HTML page: table with the worst first, bands, DOS, thermal curves, shells, parity.

    :param summary: of :func:`~aiida_mlfc.calculations.comparison.summarise`; its refused rows appear too.
    :param force_constants: by ``reference_KEY`` and ``potential_KEY``.
    """
    rows, summaries, parcels = [], [], []
    references = {k.removeprefix(REFERENCE): node for k, node in force_constants.items() if k.startswith(REFERENCE)}
    names = names_of(references)
    for key, reference in references.items():
        known = reference.base.attributes.get(KEY_REFERENCE, {})
        compared = compare(
            force_constants_record(reference),
            force_constants_record(force_constants[f'{POTENTIAL}{key}']),
            names[key],
            nac.value,
        )
        sides = {'a': known.get('functional', NOT_STATED), 'b': potential_name.value}
        rows.append({**compared.summary.row(), **sides})
        summaries.append(compared.summary)
        parcels.append(comparison_parcel(compared))
    refused = [row for row in summary.get_dict()['rows'] if row['status'] != 'ok']
    sides = {'a': NOT_STATED, 'b': potential_name.value}
    scores = [aggregate(potential_name.value, summaries, len(refused))] if summaries else []
    with tempfile.TemporaryDirectory(prefix='mlfc-page-') as folder:
        path = write_comparison_page(
            Path(folder) / FILENAME,
            [*rows, *({**row, **sides} for row in refused)],
            [*summaries, *(None for _ in refused)],
            [*parcels, *(None for _ in refused)],
            scores,
            title=f'{potential_name.value} against references',
            note=f'summary {summary.uuid}',
        )
        return SinglefileData(file=path.absolute(), filename=FILENAME)
