"""Protocols: named sets of defaults in YAML, one file a work chain."""

from __future__ import annotations

import copy
from importlib import resources
from typing import Any

import yaml


def read_protocols(name: str) -> dict[str, Any]:
    """The protocol file of a work chain.

    :param name: of the file without ``.yaml``.
    """
    text = resources.files('aiida_mlfc.workchains').joinpath('protocols', f'{name}.yaml').read_text()
    return yaml.safe_load(text)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on top, dictionaries merged at every depth; both untouched."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def protocol_inputs(name: str, protocol: str | None = None, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Defaults, the protocol's differences and the user's overrides, in this order.

    :raises ValueError: for an unknown protocol or an override that no default knows.
    """
    content = read_protocols(name)
    protocol = protocol or content['default_protocol']
    if protocol not in content['protocols']:
        raise ValueError(f'protocol: got {protocol!r}, wanted one of {", ".join(content["protocols"])}')
    chosen = {key: value for key, value in content['protocols'][protocol].items() if key != 'description'}
    inputs = merged(content['default_inputs'], chosen)
    unknown = set(overrides or {}) - set(inputs)
    if unknown:
        raise ValueError(f'overrides: got {", ".join(sorted(unknown))}, wanted one of {", ".join(inputs)}')
    return merged(inputs, overrides or {})
