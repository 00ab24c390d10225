"""The non-analytical term on both sides of a comparison or on neither: one side alone would compare LO with TO."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from aiida_mlfc.core.comparison.alignment import Aligned, Canonical
from aiida_mlfc.core.comparison.matching import ComparisonError

#: ``both``: as given, refused if only one side has Born charges; ``shared``: the charges of a, or else of b, for both;
#: ``off``: for neither
NacPolicy = Literal['both', 'shared', 'off']
#: what was done: no side has charges, each its own, one side's for both, charges left out
NacUsed = Literal['none', 'own', 'shared', 'off']


def same_nac(aligned: Aligned, policy: NacPolicy) -> tuple[Aligned, NacUsed]:
    """Both sides with or without the non-analytical term.

    :raises ComparisonError: if only one side has Born charges and the policy does not say what to do.
    """
    a, b = (side.force_constants.nac_params for side in (aligned.a, aligned.b))
    if policy not in ('both', 'shared', 'off'):
        raise ComparisonError(f"nac: got {policy!r}, wanted 'both', 'shared' or 'off'")
    if a is None and b is None:
        return aligned, 'none'
    if policy == 'off':
        return _with(aligned, None, None), 'off'
    if policy == 'shared':
        charges = a if a is not None else b
        return _with(aligned, charges, charges), 'shared'
    if a is None or b is None:
        has, lacks = ('the first', 'the second') if b is None else ('the second', 'the first')
        raise ComparisonError(
            f'{has} has Born charges and {lacks} has none: LO would be compared with TO. '
            "Take nac 'shared' (the same charges for both) or 'off' (for neither)"
        )
    return aligned, 'own'


def _with(aligned: Aligned, a: dict[str, Any] | None, b: dict[str, Any] | None) -> Aligned:
    return replace(aligned, a=_given(aligned.a, a), b=_given(aligned.b, b))


def _given(side: Canonical, nac_params: dict[str, Any] | None) -> Canonical:
    return replace(side, force_constants=replace(side.force_constants, nac_params=nac_params))
