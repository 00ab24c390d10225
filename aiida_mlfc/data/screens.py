"""Which screens exist, and what of a new one is already done: settings are compared by hash, crystals by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from aiida.common.timezone import now
from aiida.orm import Group, QueryBuilder, StructureData, WorkChainNode

from aiida_mlfc.data.crystals import EXTRA_SHA256
from aiida_mlfc.data.facts import SCREEN_TYPE
from aiida_mlfc.data.outcomes import ScreenOutcome

#: extras of a screen: hash of everything but the crystals, and what its jobs took for a unit of estimated cost, s
EXTRA_SETTINGS, EXTRA_PACE = 'mlfc_settings', 'mlfc_seconds_per_cost'
#: s; a screen without a checkpoint that is older than this was lost while it was submitted, for no daemon can load it
PATIENCE = 60.0


def settings_sha256(potential_sha256: str, inputs: dict[str, Any], nac: dict[str, Any]) -> str:
    """sha256 over potential, resolved protocol and overrides.

    :param nac: anything else that changes results, such as whether Born charges are used.
    """
    text = json.dumps([potential_sha256, inputs, nac], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def earlier_outcomes(
    settings: str, sha256s: Iterable[str]
) -> tuple[dict[str, tuple[ScreenOutcome, str]], list[WorkChainNode]]:
    """What earlier screens with the same settings know of these crystals.

    :param settings: from :func:`settings_sha256`.
    :param sha256s: content hashes of the crystals.
    :return: by content hash the outcome and its key, newest first; and the screens that still run.
    """
    wanted = set(sha256s)
    if not wanted:
        return {}, []
    query = QueryBuilder()
    query.append(WorkChainNode, filters={f'extras.{EXTRA_SETTINGS}': settings}, tag='screen', project='*')
    query.order_by({'screen': {'ctime': 'desc'}})
    screens = query.all(flat=True)
    if not screens:
        return {}, []
    keys: dict[int, dict[str, str]] = {}
    inputs = QueryBuilder()
    inputs.append(WorkChainNode, filters={'id': {'in': [screen.pk for screen in screens]}}, tag='screen', project='id')
    inputs.append(StructureData, with_outgoing='screen', project=[f'extras.{EXTRA_SHA256}'], edge_project=['label'])
    for pk, sha, label in inputs.all():
        if sha in wanted:
            keys.setdefault(pk, {})[sha] = label.removeprefix('structures__')
    screens = [screen for screen in screens if screen.pk in keys]
    running = [screen for screen in screens if not (screen.is_terminated or never_began(screen))]
    found: dict[str, tuple[ScreenOutcome, str]] = {}
    for outcome in ScreenOutcome.of([screen for screen in screens if screen.is_terminated]):
        for sha, key in keys[outcome.process.pk].items():
            if sha not in found and outcome.is_done(key):
                found[sha] = (outcome, key)
    return found, running


def is_being_submitted(screen: WorkChainNode) -> bool:
    """Whether it is stored, but nothing of it that a daemon could take up."""
    return not screen.is_terminated and screen.checkpoint is None


def never_began(screen: WorkChainNode) -> bool:
    """Whether it lost its command while it was submitted."""
    return is_being_submitted(screen) and (now() - screen.ctime).total_seconds() > PATIENCE


def newest_outcomes(settings: str, pks: Iterable[int]) -> dict[int, tuple[ScreenOutcome, str]]:
    """The newest screen with these settings of each structure, and the key that it has there.

    :param pks: of the structures.
    """
    wanted = list(pks)
    if not wanted:
        return {}
    query = QueryBuilder()
    query.append(StructureData, filters={'id': {'in': wanted}}, tag='structure', project='id')
    query.append(
        WorkChainNode,
        with_incoming='structure',
        filters={f'extras.{EXTRA_SETTINGS}': settings, 'process_type': SCREEN_TYPE},
        edge_project=['label'],
        project='*',
        tag='screen',
    )
    query.order_by({'screen': {'ctime': 'asc'}})
    newest = {pk: (process, label.removeprefix('structures__')) for pk, process, label in query.all()}
    screens = {process.pk: process for process, _ in newest.values()}
    outcomes = {outcome.process.pk: outcome for outcome in ScreenOutcome.of(screens.values())}
    return {pk: (outcomes[process.pk], key) for pk, (process, key) in newest.items()}


def all_screens(group: str | None = None) -> list[WorkChainNode]:
    """Every screen of the profile, newest first, whoever launched it.

    :param group: only those in the group with this label.
    """
    query = QueryBuilder()
    if group is not None:
        query.append(Group, filters={'label': group}, tag='group')
    query.append(
        WorkChainNode,
        filters={'process_type': SCREEN_TYPE},
        tag='screen',
        project='*',
        **({'with_group': 'group'} if group is not None else {}),
    )
    query.order_by({'screen': {'ctime': 'desc'}})
    return query.all(flat=True)


def measured_pace(settings: str) -> float | None:
    """Seconds for a unit of estimated cost in the newest screen with these settings that measured it."""
    query = QueryBuilder()
    query.append(
        WorkChainNode,
        filters={'and': [{f'extras.{EXTRA_SETTINGS}': settings}, {'extras': {'has_key': EXTRA_PACE}}]},
        tag='screen',
        project=f'extras.{EXTRA_PACE}',
    )
    query.order_by({'screen': {'ctime': 'desc'}})
    return query.first(flat=True)
