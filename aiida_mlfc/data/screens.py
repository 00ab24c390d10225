"""Which screens exist, and what of a new one is already done: settings are compared by hash, crystals by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from aiida.orm import QueryBuilder, StructureData, WorkChainNode

from aiida_mlfc.data.crystals import EXTRA_SHA256
from aiida_mlfc.data.outcomes import ScreenOutcome

#: extra of a screen: hash of everything but the crystals
EXTRA_SETTINGS = 'mlfc_settings'
#: process type of a screen, from its entry point
SCREEN_TYPE = 'aiida.workflows:mlfc.screen'


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
    found: dict[str, tuple[ScreenOutcome, str]] = {}
    running: list[WorkChainNode] = []
    for process in query.all(flat=True):
        inputs = QueryBuilder()
        inputs.append(WorkChainNode, filters={'id': process.pk}, tag='screen')
        inputs.append(
            StructureData,
            with_outgoing='screen',
            project=[f'extras.{EXTRA_SHA256}'],
            edge_project=['label'],
            filters={f'extras.{EXTRA_SHA256}': {'in': list(wanted)}},
        )
        keys = {sha: label.removeprefix('structures__') for sha, label in inputs.all()}
        if not keys:
            continue
        if not process.is_terminated:
            running.append(process)
            continue
        outcome = ScreenOutcome(process)
        for sha, key in keys.items():
            if sha not in found and outcome.is_done(key):
                found[sha] = (outcome, key)
    return found, running


def all_screens() -> list[WorkChainNode]:
    """Every screen of the profile, newest first, whoever launched it."""
    query = QueryBuilder()
    query.append(WorkChainNode, filters={'process_type': SCREEN_TYPE}, tag='screen', project='*')
    query.order_by({'screen': {'ctime': 'desc'}})
    return query.all(flat=True)
