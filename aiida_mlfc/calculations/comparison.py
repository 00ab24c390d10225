"""Calcfunctions of a comparison: geometry of a reference, one compact node for each crystal, one summary for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import Dict, Str, StructureData
from aiida_phonopy.data import ForceConstantsData

from aiida_mlfc.core.comparison.aggregate import aggregate
from aiida_mlfc.core.comparison.matching import ComparisonError
from aiida_mlfc.core.comparison.metrics import ForceConstantErrors, FrequencyErrors, Shell
from aiida_mlfc.core.comparison.record import Comparison, Geometry, Side, refused_row
from aiida_mlfc.core.comparison.split import split
from aiida_mlfc.core.force_constants.record import ForceConstants, Quality
from aiida_mlfc.data.force_constants import phonon_inputs
from aiida_mlfc.data.references import KEY_REFERENCE
from aiida_mlfc.exchange.job import structure_from_arrays


def force_constants_record(node: ForceConstantsData) -> ForceConstants:
    """The record that core works with, from a node of ours or of aiida-phonopy."""
    values = phonon_inputs(node)
    given = values['force_constants']
    # NaN, not known, is stored as None
    known = {k: float('nan') if v is None and k == 'max_residual_force' else v for k, v in given['quality'].items()}
    return ForceConstants(
        array=np.asarray(given['array']),
        unitcell=structure_from_arrays(values['structure']),
        supercell_matrix=np.rint(given['supercell_matrix']).astype(int),
        primitive_matrix=np.asarray(given['primitive_matrix']),
        quality=Quality(**known),
        nac_params=values.get('nac_params'),
        symprec=given['symprec'],
    )


def names_of(references: Mapping[str, ForceConstantsData]) -> dict[str, str]:
    """What people call references: their labels, with the key where several have the same.

    :param references: by key.
    """
    labels = {key: node.label or key for key, node in references.items()}
    count = Counter(labels.values())
    return {key: label if count[label] == 1 else f'{label} ({key})' for key, label in labels.items()}


@calcfunction
def reference_structure(reference: ForceConstantsData) -> StructureData:
    """The unit cell in which a reference was computed."""
    structure = reference.get_unitcell()
    structure.label = reference.label
    return structure


@calcfunction
def compare_force_constants(
    reference: ForceConstantsData, autograd: ForceConstantsData, nac: Str, name: Str, **others: ForceConstantsData
) -> Dict:
    """Errors of a potential against a reference, taken apart; see :mod:`aiida_mlfc.core.comparison.split`.

    :param autograd: of the potential, at the reference's geometry.
    :param nac: ``shared``, ``both`` or ``off``.
    :param others: ``own_geometry``: autograd at the potential's own geometry; all further ones are finite differences,
        whose step is in their quality record.
    :return: ``row``, and unless it says why not: ``split``, ``comparison``, ``cost``, ``reference``.
    """
    steps = {
        node.base.attributes.get('quality')['distance']: force_constants_record(node)
        for key, node in others.items()
        if key != 'own_geometry'
    }
    own = force_constants_record(others['own_geometry']) if 'own_geometry' in others else None
    try:
        parts, compared = split(
            force_constants_record(reference), force_constants_record(autograd), steps, own, nac.value, name.value
        )
    except (ComparisonError, ValueError) as error:
        return Dict({'row': refused_row(name.value, str(error))})
    seconds = [node.base.attributes.get('quality', {}).get('seconds') for node in (reference, autograd)]
    return Dict(
        {
            'row': compared.summary.row(),
            'split': parts.to_dict(),
            'comparison': compared.summary.to_dict(),
            # wall time of all runs of the DFT program, and of the derivatives
            'cost': dict(zip(('reference_seconds', 'potential_seconds'), seconds, strict=True)),
            'reference': reference.base.attributes.get(KEY_REFERENCE, {}),
        }
    )


def comparison_from_dict(content: dict[str, Any]) -> Comparison:
    """The inverse of :meth:`Comparison.to_dict`."""
    errors = content['force_constants']
    if errors is not None:
        errors = ForceConstantErrors(**{**errors, 'shells': [Shell(**shell) for shell in errors['shells']]})
    return Comparison(
        **{
            **content,
            'geometry': Geometry(**content['geometry']),
            'a': Side(**content['a']),
            'b': Side(**content['b']),
            'force_constants': errors,
            **{key: FrequencyErrors(**content[key]) for key in ('mesh', 'commensurate', 'path')},
        }
    )


@calcfunction
def summarise(potential_name: Str, failures: Dict, **comparisons: Dict) -> Dict:
    """One row for each crystal and the aggregate with bootstrap intervals.

    :param failures: by name, why there is nothing to compare.
    :param comparisons: of :func:`compare_force_constants`.
    """
    contents = [node.get_dict() for node in comparisons.values()]
    rows = [content['row'] for content in contents]
    rows += [refused_row(name, error) for name, error in failures.get_dict().items()]
    compared = [comparison_from_dict(content['comparison']) for content in contents if 'comparison' in content]
    found: dict[str, Any] = {'rows': rows, 'aggregate': None}
    if compared:
        seconds = [content['cost']['potential_seconds'] for content in contents if 'cost' in content]
        total = aggregate(potential_name.value, compared, len(rows) - len(compared), sum(s or 0.0 for s in seconds))
        found['aggregate'] = total.to_dict()
    return Dict(found)
