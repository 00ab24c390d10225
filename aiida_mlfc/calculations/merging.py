"""Results of several jobs as one, in provenance."""

from __future__ import annotations

from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict


@calcfunction
def merge_parameters(**rounds: Dict) -> Dict:
    """``output_parameters`` of jobs that followed on each other: of each crystal the last word, and how many said one.

    :param rounds: named so that alphabetical order is that of time.
    """
    merged: dict[str, Any] = {}
    for name in sorted(rounds):
        for key, row in rounds[name].get_dict().items():
            merged[key] = {**row, 'n_rounds': merged.get(key, {}).get('n_rounds', 0) + 1}
    return Dict(merged)
