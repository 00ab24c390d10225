"""References from files into the profile: each once, broken ones named, interrupted imports continued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiida.orm import Group, Node, QueryBuilder, load_node
from aiida_phonopy.data import ForceConstantsData, PhonopyData
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from aiida_mlfc.core.references.finding import Candidate, find
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.references.reading import read_reference, read_references
from aiida_mlfc.core.references.record import Reference, Refusal
from aiida_mlfc.core.structures.formula import reduced_formula
from aiida_mlfc.data.references import (
    EXTRA_CONTENT,
    EXTRA_SHA256,
    GROUP,
    add_to_group,
    candidate_sha256,
    content_sha256,
    imported_sha256s,
    reference_node,
)

#: nodes that are put into the group together
BATCH = 50


@dataclass(frozen=True)
class Imported:
    """What became of one reference.

    :param status: ``imported``, ``known`` (same content as one before) or ``failed``.
    :param error: why it failed; empty if it did not.
    """

    name: str
    status: str
    path: str
    formula: str = ''
    uuid: str = ''
    functional: str = ''
    licence: str = ''
    nac: bool = False
    error: str = ''


def import_references(paths: Sequence[Path]) -> Iterator[Imported]:
    """Import everything in files, folders and archives; progress on stderr.

    :raises FileNotFoundError: for a path that does not exist.
    """
    candidates = [candidate for path in paths for candidate in find(path)]
    known = imported_sha256s(EXTRA_SHA256) | imported_sha256s(EXTRA_CONTENT)
    waiting = not_in_group()
    columns = (
        TextColumn('{task.description:24.24}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    pending: list[Any] = []
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task('references', total=len(candidates))
        try:
            for candidate in candidates:
                bar.update(task, description=candidate.name)
                yield from _import(candidate, known, waiting, pending)
                if len(pending) >= BATCH:
                    add_to_group(pending)
                    pending.clear()
                bar.advance(task)
        finally:
            if pending:
                add_to_group(pending)


def not_in_group() -> dict[str, list[Any]]:
    """Nodes that an import stored, and was killed before it put them into the group; by each of their checksums."""
    members = QueryBuilder().append(Group, filters={'label': GROUP}, tag='group')
    there = set(members.append(Node, with_group='group', project='id').all(flat=True))
    query = QueryBuilder()
    query.append(
        (ForceConstantsData, PhonopyData),
        filters={'extras': {'has_key': EXTRA_CONTENT}},
        project=['id', f'extras.{EXTRA_SHA256}', f'extras.{EXTRA_CONTENT}'],
    )
    found: dict[str, list[Any]] = {}
    for pk, *checksums in query.all():
        if pk not in there:
            for sha256 in filter(None, checksums):
                found.setdefault(sha256, []).append(load_node(pk))
    return found


def _import(
    candidate: Candidate, known: set[str], waiting: dict[str, list[Any]], pending: list[Any]
) -> Iterator[Imported]:
    """The references of one candidate; an archive may hold several.

    :param waiting: nodes of an import that was killed; those that the candidate leads to become pending.
    """
    path = str(candidate.path)
    try:
        sha256 = candidate_sha256(candidate)
    except OSError as error:
        yield Imported(candidate.name, 'failed', path, error=f'cannot be read ({error})')
        return
    if sha256 in known and not candidate.error:
        pending += waiting.pop(sha256, [])
        yield Imported(candidate.name, 'known', path)
        return
    nodes, complete = [], True
    for item in _items(candidate):
        if isinstance(item, Refusal):
            complete = False
            yield Imported(item.name, 'failed', path, error=item.error)
            continue
        if content_sha256(item) in known:
            pending += waiting.pop(content_sha256(item), [])
            yield Imported(item.name, 'known', path)
            continue
        try:
            node = reference_node(item).store()
        except ValueError as error:
            complete = False
            yield Imported(item.name, 'failed', path, error=str(error))
            continue
        nodes.append(node)
        known.add(content_sha256(item))
        yield Imported(
            item.name,
            'imported',
            path,
            reduced_formula(item.force_constants.unitcell),
            node.uuid,
            item.source.functional,
            item.source.licence,
            item.force_constants.nac_params is not None,
        )
    if complete:
        # Last, and only if all of an archive is in: one that was interrupted is opened again.
        for node in nodes:
            node.base.extras.set(EXTRA_SHA256, sha256)
        known.add(sha256)
    pending += nodes


def _items(candidate: Candidate) -> Iterator[Reference | Refusal]:
    if candidate.archive:
        for item in read_references([candidate.path]):
            inner = item.name.partition('/')[2]
            yield replace(item, name=f'{candidate.name}/{inner}' if inner else candidate.name)
        return
    try:
        yield read_reference(candidate)
    except ReferenceError as error:
        yield Refusal(candidate.name, candidate.path, str(error))
