"""``task: displace``: imaginary modes of a crystal, and the crystal displaced along them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida_mlfc.core.structures.checks import check_cell
from aiida_mlfc.exchange.arrays import write_arrays
from aiida_mlfc.exchange.job import structure_arrays, structure_from_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE
from aiida_mlfc.runner.outcome import Outcome


@dataclass(frozen=True)
class DisplaceOptions:
    """Options of ``task: displace``; see :func:`aiida_mlfc.runner.follow.follow_modes`.

    :param mesh: cells along each primitive vector: which wave vectors are searched; three integers, by default 2 2 2.
    :param threshold: THz; modes above minus this one count as stable.
    :param max_atoms: modes that need a larger supercell are not followed.
    :param directions: of each degenerate set; 0 for modes alone.
    """

    mesh: Any = None
    threshold: float = 0.05
    max_atoms: int = 80
    directions: int = 3
    symprec: float = 1e-5
    device: str = 'cpu'
    dtype: str = 'float64'


def run_displace(inputs: dict[str, Any], options: DisplaceOptions, model: Any) -> Outcome:
    """One primitive cell, relaxed with the same potential; displaced supercells go into ``arrays.hdf5``."""
    from aiida_mlfc.core.phonons.following.displacing import summary
    from aiida_mlfc.runner.displacing import Displaced, displaced, instabilities

    atoms = structure_from_arrays(inputs['structure'])
    check_cell(atoms)
    mesh = (2, 2, 2) if options.mesh is None else options.mesh
    found = instabilities(atoms, model, mesh, options.threshold, options.symprec)
    moved = Displaced()
    if options.directions:
        moved = displaced(atoms, found.modes, model, options.max_atoms, options.directions, options.symprec)
    data = {
        'modes': summary(found.modes),
        'qpoints': found.qpoints,
        'lowest_frequency': found.lowest,
        'lowest_qpoint': found.lowest_qpoint,
        'via': moved.via,
        'too_large': moved.too_large,
    }
    arrays = {'structures': {key: structure_arrays(crystal) for key, crystal in moved.crystals.items()}}
    return data, lambda folder: _write(folder, arrays)


def _write(folder: Path, arrays: dict[str, Any]) -> None:
    write_arrays(folder / ARRAYS_FILE, arrays)
