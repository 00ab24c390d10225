"""References: force constants that potentials are measured against, and what is kept about where they come from.

The attribute ``reference`` of such a ``ForceConstantsData`` or ``PhonopyData`` is a dictionary with ``source`` (a file
or a work chain), ``functional``, ``licence``, ``code``, and for computed ones ``pseudos``, ``cutoffs``, ``kpoints``.
"""

from __future__ import annotations

import re
from typing import Any

from aiida.orm import Group, Node, QueryBuilder
from aiida_phonopy.data import ForceConstantsData, PhonopyData

#: attribute that says where a reference comes from
KEY_REFERENCE = 'reference'
#: group that references are found in, whether imported or computed
GROUP = 'mlfc/references'
#: extra: sha256 over the files a reference was imported from
EXTRA_SHA256 = 'mlfc_reference_sha256'
NOT_STATED = 'not stated'

#: pw.x names exchange, correlation and their gradient corrections one by one; what people call the common ones
_FUNCTIONALS = {
    ('SLA', 'PZ', 'NOGX', 'NOGC'): 'LDA (PZ)',
    ('SLA', 'PW', 'NOGX', 'NOGC'): 'LDA (PW)',
    ('SLA', 'PW', 'PBX', 'PBC'): 'PBE',
    ('SLA', 'PW', 'PSX', 'PSC'): 'PBEsol',
    ('SLA', 'PW', 'REVX', 'PBC'): 'revPBE',
    ('SLA', 'LYP', 'B88', 'BLYP'): 'BLYP',
}
_SHORT = {'PZ': 'LDA (PZ)', 'LDA': 'LDA (PZ)', 'PW': 'LDA (PW)', 'PBE': 'PBE', 'PBESOL': 'PBEsol', 'BLYP': 'BLYP'}


def functional_of_upf(content: str) -> str:
    """What a UPF file says it was made for, in the field's word; ``not stated`` if it does not.

    :param content: of the file, version 1 or 2 of the format.
    """
    found = re.search(r'functional\s*=\s*"([^"]*)"', content) or re.search(
        r'^(.*?)\s+Exchange-Correlation functional', content, re.MULTILINE
    )
    words = tuple(found.group(1).upper().split()) if found else ()
    if not words:
        return NOT_STATED
    if len(words) == 1:
        return _SHORT.get(words[0], words[0])
    # Some files leave out what they have none of.
    full = (*words, *('NOGX', 'NOGC')[len(words) - 2 :]) if len(words) < 4 else words[:4]
    return _FUNCTIONALS.get(full, ' '.join(words))


def common_functional(pseudos: dict[str, Any]) -> str:
    """The functional of a set of pseudopotentials.

    :param pseudos: ``UpfData`` by kind.
    :raises ValueError: if they were made for different functionals.
    """
    found = {kind: functional_of_upf(upf.get_content()) for kind, upf in pseudos.items()}
    if len(set(found.values())) != 1:
        listed = ', '.join(f'{kind}: {name} ({pseudos[kind].filename})' for kind, name in found.items())
        raise ValueError(f'pseudopotentials of different functionals: {listed}; wanted one for all')
    return next(iter(found.values()))


def add_to_group(node: Node) -> None:
    """Put a reference where ``aiida-mlfc reference list`` and comparisons find it."""
    group, _ = Group.collection.get_or_create(label=GROUP)
    group.add_nodes(node)


def all_references() -> list[ForceConstantsData | PhonopyData]:
    """Every reference of the profile, oldest first."""
    query = QueryBuilder()
    query.append(Group, filters={'label': GROUP}, tag='group')
    query.append((ForceConstantsData, PhonopyData), with_group='group', tag='reference', project='*')
    query.order_by({'reference': {'ctime': 'asc'}})
    return query.all(flat=True)


def imported_sha256s() -> set[str]:
    """sha256 of all references that were imported, to import none twice."""
    query = QueryBuilder()
    query.append(Group, filters={'label': GROUP}, tag='group')
    query.append(
        (ForceConstantsData, PhonopyData),
        with_group='group',
        filters={f'extras.{EXTRA_SHA256}': {'like': '%'}},
        project=f'extras.{EXTRA_SHA256}',
    )
    return set(query.all(flat=True))
