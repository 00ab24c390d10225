"""How a relaxation that did not converge goes on: from where it stopped, longer, then by the other optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

#: after the first one
MAX_ROUNDS = 2
#: options of ``task: relax`` where its parameters do not say
DEFAULT_STEPS = 500
DEFAULT_OPTIMIZER: Literal['newton', 'bfgs'] = 'newton'


def next_round(options: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Options of the next round.

    :param options: of the round that did not converge.
    :param number: of rounds that there were already.
    """
    steps, optimizer = options.get('steps', DEFAULT_STEPS), options.get('optimizer', DEFAULT_OPTIMIZER)
    if number > 1:
        optimizer = 'bfgs' if optimizer == 'newton' else 'newton'
    return {**options, 'steps': 2 * steps, 'optimizer': optimizer}
