"""What the database knows of many screens at once: a handful of queries whatever their number, and no node is loaded.

Every query starts from the primary keys of the screens, follows links (indexed on both ends) and projects only what is
asked for. That is the index-friendly form: filters on attributes and extras read every node of a type, links do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiida.common.links import LinkType
from aiida.orm import Data, Dict, Group, QueryBuilder, StructureData, WorkChainNode
from aiida.orm.nodes.process.calculation.calcjob import CalcJobNode

from aiida_mlfc.data.crystals import EXTRA_SOURCE, EXTRA_SUMMARY
from aiida_mlfc.data.phonons import BANDS, STABILITY

#: process type of a screen, from its entry point
SCREEN_TYPE = 'aiida.workflows:mlfc.screen'
FORCE_CONSTANTS = 'output_force_constants'
#: what is read of each node: AiiDA converts every value of a projection, and that takes longer than the query
_STABILITY = (
    'min_frequency', 'max_frequency', 'verdicts', 'noise_floor', 'free_energy_300K', 'zero_point_energy', 'with_nac',
    'warnings',
)  # fmt: skip
_QUALITY = ('max_residual_force', 'acoustic_sum_residual', 'truncation_error', 'uncertainty')
_SUMMARY = ('uuid', 'formula', 'n_atoms', 'spacegroup')
#: keys of one ``in`` filter; both databases bound the number of parameters of a statement
_CHUNK = 500


@dataclass
class Facts:
    """One screen.

    :param structures: by key of the crystal: ``pk``, ``uuid``, ``label``, ``source`` and ``summary`` (or None).
    :param parameters: by key, its entry in ``output_parameters`` of each job that worked on it, oldest first.
    :param finished: UUID of the bands of each crystal that has them.
    """

    structures: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)


def screen_pks(group: str | None = None) -> list[int]:
    """Every screen of the profile, newest first, whoever launched it.

    :param group: only those in the group with this label.
    """
    query = QueryBuilder()
    joined = {}
    if group is not None:
        query.append(Group, filters={'label': group}, tag='group')
        joined = {'with_group': 'group'}
    query.append(WorkChainNode, filters={'process_type': SCREEN_TYPE}, tag='screen', project='id', **joined)
    query.order_by({'screen': {'ctime': 'desc'}})
    return query.all(flat=True)


def facts_of(pks: Sequence[int]) -> dict[int, Facts]:
    """By primary key of ``mlfc.screen`` or ``mlfc.phonon`` processes."""
    found = {pk: Facts() for pk in pks}
    for pk, key, uuid, number, label, source, *values in _linked(
        pks, StructureData, 'structures', LinkType.INPUT_WORK,
        ['uuid', 'id', 'label', f'extras.{EXTRA_SOURCE}', *[f'extras.{EXTRA_SUMMARY}.{name}' for name in _SUMMARY]],
    ):  # fmt: skip
        summary = dict(zip(_SUMMARY, values, strict=True))
        found[pk].structures[key] = {
            'pk': number, 'uuid': uuid, 'label': label, 'source': source,
            'summary': summary if summary['uuid'] == uuid else None,
        }  # fmt: skip
    for pk, key, uuid in _linked(pks, Data, BANDS, LinkType.RETURN, ['uuid']):
        found[pk].finished[key] = uuid
    for pk, rows in sorted(_job_rows(pks), key=lambda entry: entry[0]):
        for key, row in rows.items():
            steps = found[pk].parameters.setdefault(key, [])
            # A job that continues another one reports again what it found done, to the last digit.
            if not steps or steps[-1] != row:
                steps.append(row)
    return found


def stabilities(pks: Sequence[int]) -> dict[int, dict[str, dict[str, Any]]]:
    """What tables say of the ``stability`` nodes, by process and key."""
    found: dict[int, dict[str, dict[str, Any]]] = {pk: {} for pk in pks}
    wanted = [f'attributes.{name}' for name in _STABILITY]
    for pk, key, *values in _linked(pks, Dict, STABILITY, LinkType.RETURN, wanted):
        found[pk][key] = dict(zip(_STABILITY, values, strict=True))
        # sqlite knows no booleans
        found[pk][key]['with_nac'] = bool(found[pk][key]['with_nac'])
    return found


def force_constants(pks: Sequence[int]) -> dict[int, dict[str, dict[str, Any]]]:
    """``uuid``, ``supercell_matrix`` and what tables say of the ``quality`` of the force constants, by process and key;
    arrays stay where they are."""
    found: dict[int, dict[str, dict[str, Any]]] = {pk: {} for pk in pks}
    wanted = ['uuid', 'attributes.supercell_matrix', *[f'attributes.quality.{name}' for name in _QUALITY]]
    for pk, key, uuid, matrix, *values in _linked(pks, Data, FORCE_CONSTANTS, LinkType.RETURN, wanted):
        quality = dict(zip(_QUALITY, values, strict=True))
        found[pk][key] = {'uuid': uuid, 'supercell_matrix': matrix, 'quality': quality}
    return found


def chunks(pks: Sequence[int]) -> Iterator[list[int]]:
    """As many primary keys at a time as one statement takes."""
    for start in range(0, len(pks), _CHUNK):
        yield list(pks[start : start + _CHUNK])


def _linked(
    pks: Sequence[int], kind: type, namespace: str, link: LinkType, project: list[str]
) -> Iterator[tuple[Any, ...]]:
    """Process, key and projections of the nodes in one namespace of inputs or outputs."""
    outgoing = 'with_outgoing' if link is LinkType.INPUT_WORK else 'with_incoming'
    for some in chunks(pks):
        query = QueryBuilder()
        query.append(WorkChainNode, filters={'id': {'in': some}}, tag='process', project='id')
        query.append(
            kind,
            edge_filters={'type': link.value, 'label': {'like': f'{namespace}\\_\\_%'}},
            edge_project='label',
            project=project,
            **{outgoing: 'process'},
        )
        for row in query.iterall(batch_size=2000):
            pk, values, label = row[0], row[1:-1], row[-1]
            yield pk, label.removeprefix(f'{namespace}__'), *values


def _job_rows(pks: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Process and ``output_parameters`` of each of its jobs: called by a work chain of a work chain of a screen, one
    level less for a single ``mlfc.phonon``, one more for a second look; in the order in which the jobs were made."""
    rows = []
    for some in chunks(pks):
        for levels in (1, 2, 3):
            query = QueryBuilder()
            query.append(WorkChainNode, filters={'id': {'in': some}}, tag='process', project='id')
            above = 'process'
            for level in range(levels):
                query.append(WorkChainNode, with_incoming=above, tag=f'level{level}')
                above = f'level{level}'
            query.append(CalcJobNode, with_incoming=above, tag='job', project='id')
            query.append(
                Dict,
                with_incoming='job',
                edge_filters={'type': LinkType.CREATE.value, 'label': 'output_parameters'},
                project='attributes',
            )
            rows += query.all()
    for pk, _, attributes in sorted(rows, key=lambda row: row[1]):
        yield pk, attributes
