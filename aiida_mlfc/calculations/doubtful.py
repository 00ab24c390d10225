"""Verdicts that a number smaller than its own error decides."""

from __future__ import annotations

from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Data, Dict

from aiida_mlfc.data.force_constants import KEY_QUALITY

#: the noise floor bounds what rounding does to a zero mode; within so many of them nothing is decided
NOISE_MARGIN = 10.0

#: names of inputs begin with these
_STABILITY, _FORCE_CONSTANTS = 'stability_', 'force_constants_'


def doubt(stability: dict[str, Any], quality: dict[str, Any]) -> dict[str, Any] | None:
    """What an imaginary mode is compared with, if it lies within the errors of its own computation.

    :param stability: of the crystal, THz.
    :param quality: record of its force constants.
    :return: ``min_frequency`` and ``margin`` (noise floor and truncation error together), THz; None without doubt.
    """
    lowest = stability['min_frequency']
    margin = NOISE_MARGIN * stability['noise_floor'] + (quality.get('truncation_error') or 0.0)
    return {'min_frequency': lowest, 'margin': margin} if -margin <= lowest < 0 else None


@calcfunction
def doubtful_verdicts(**nodes: Data) -> dict[str, Dict]:
    """The crystals whose imaginary modes lie within noise floor and truncation error.

    :param nodes: ``stability_KEY`` and ``force_constants_KEY``.
    """
    found = {}
    for name, node in nodes.items():
        if name.startswith(_STABILITY):
            key = name.removeprefix(_STABILITY)
            quality = nodes[f'{_FORCE_CONSTANTS}{key}'].base.attributes.get(KEY_QUALITY)
            if reason := doubt(node.get_dict(), quality):
                found[key] = Dict(reason)
    return found
