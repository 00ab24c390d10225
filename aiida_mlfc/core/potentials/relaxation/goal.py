"""What a relaxation is after, and a crystal on the way there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms


class NotConvergedError(RuntimeError):
    """The optimiser stopped before forces and stress were small enough.

    :param atoms: where it stopped, if there is any use in going on from there.
    """

    def __init__(self, message: str, atoms: Atoms | None = None) -> None:
        super().__init__(message)
        self.atoms = atoms


@dataclass(frozen=True)
class State:
    """A crystal with its energy and what is left of forces and stress.

    :param energy: eV.
    :param max_force: largest force component, eV/Å.
    :param stress: shape ``(3, 3)``, GPa.
    """

    atoms: Atoms
    energy: float
    max_force: float
    stress: np.ndarray


@dataclass(frozen=True)
class Goal:
    """When to stop.

    :param fmax: largest force component, eV/Å.
    :param smax: largest stress component, GPa; None at fixed cell.
    :param steps: give up after so many.
    """

    fmax: float
    smax: float | None
    steps: int

    def is_reached(self, state: State) -> bool:
        """Whether forces, and at free cell stress, are small enough."""
        return state.max_force <= self.fmax and (self.smax is None or bool(np.abs(state.stress).max() <= self.smax))

    def check(self, state: State, n_steps: int) -> None:
        """Say how far away the goal still is.

        :raises NotConvergedError: if it is not reached.
        """
        if self.is_reached(state):
            return
        message = f'after {n_steps} steps the largest force is {state.max_force:.2e} eV/Å (wanted {self.fmax:.0e})'
        if self.smax is not None:
            message += f' and stress {np.abs(state.stress).max():.2e} GPa (wanted {self.smax:.0e})'
        raise NotConvergedError(message, state.atoms)
