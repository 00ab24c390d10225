"""References: force constants that potentials are measured against, and what is kept about where they come from.

The attribute ``reference`` of such a ``ForceConstantsData`` or ``PhonopyData`` is a dictionary with ``source`` (a file
or a work chain), ``functional``, ``licence``, ``code``, and for computed ones ``pseudos``, ``cutoffs``, ``kpoints``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from aiida.orm import Group, Node, QueryBuilder, StructureData
from aiida_phonopy.data import ForceConstantsData, PhonopyData

from aiida_mlfc.core.references.files import sha256_of
from aiida_mlfc.core.references.finding import Candidate
from aiida_mlfc.core.references.record import NOT_STATED, Reference
from aiida_mlfc.data.force_constants import force_constants_node
from aiida_mlfc.data.nac import nac_params_node

#: attribute that says where a reference comes from
KEY_REFERENCE = 'reference'
#: group that references are found in, whether imported or computed
GROUP = 'mlfc/references'
#: extra: sha256 over the files a reference was imported from; of an archive only if all of it was
EXTRA_SHA256 = 'mlfc_reference_sha256'
#: extra: sha256 over the files of this one reference, for archives with several
EXTRA_CONTENT = 'mlfc_reference_content'

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


def reference_node(reference: Reference) -> ForceConstantsData:
    """An unstored node of a reference that was read from files."""
    found = reference.force_constants
    nac = found.nac_params
    node = force_constants_node(
        StructureData(ase=found.unitcell),
        found.array,
        {
            'supercell_matrix': found.supercell_matrix,
            'primitive_matrix': found.primitive_matrix,
            'symprec': found.symprec,
            # NaN stands for not known; AiiDA stores none
            'quality': {k: None if v != v else v for k, v in found.quality.to_dict().items()},
        },
        None if nac is None else nac_params_node(nac['born'], nac['dielectric']),
    )
    say_origin(node, reference)
    return node


def say_origin(node: Any, reference: Reference) -> None:
    """Name, source and checks of a reference on its node, not stored yet."""
    source = reference.source.to_dict()
    node.base.attributes.set(
        KEY_REFERENCE,
        {'name': reference.name, **source, 'source': source['path'], 'checks': reference.checks.to_dict()},
    )
    node.base.extras.set(EXTRA_CONTENT, content_sha256(reference))
    node.label = reference.name[:255]


def content_sha256(reference: Reference) -> str:
    """sha256 over the checksums of the files that a reference was made of, and which set of phono3py's it is."""
    which = [reference.source.more['phono3py']] if 'phono3py' in reference.source.more else []
    return hashlib.sha256('\n'.join(sorted(reference.source.sha256.values()) + which).encode()).hexdigest()


def candidate_sha256(candidate: Candidate) -> str:
    """sha256 over the files of a reference, cheap beside reading them: the same content is imported once.

    :raises OSError: if a file cannot be read.
    """
    if candidate.archive:
        return sha256_of(candidate.path)
    digest = hashlib.sha256()
    for role, path in sorted(candidate.files.items()):
        digest.update(f'{role} {sha256_of(path)}\n'.encode())
    return digest.hexdigest()


def add_to_group(nodes: list[Node]) -> None:
    """Put references into the group that people find them in."""
    group, _ = Group.collection.get_or_create(label=GROUP)
    group.add_nodes(nodes)


def all_references() -> list[ForceConstantsData | PhonopyData]:
    """Every reference of the profile, imported or computed, oldest first.

    Of a computed one that is the force constants; the forces that these came from are no second reference, and unlike
    imported ones they hold no ``checks``.
    """
    query = QueryBuilder()
    query.append(
        (ForceConstantsData, PhonopyData), filters={'attributes': {'has_key': KEY_REFERENCE}}, tag='here', project='*'
    )
    query.order_by({'here': {'ctime': 'asc'}})
    return [
        node
        for node in query.all(flat=True)
        if isinstance(node, ForceConstantsData) or 'checks' in node.base.attributes.get(KEY_REFERENCE)
    ]


def imported_sha256s(extra: str) -> set[str]:
    """What was imported before, by :data:`EXTRA_SHA256` or :data:`EXTRA_CONTENT`."""
    query = QueryBuilder()
    query.append((ForceConstantsData, PhonopyData), filters={'extras': {'has_key': extra}}, project=f'extras.{extra}')
    return set(query.all(flat=True))
