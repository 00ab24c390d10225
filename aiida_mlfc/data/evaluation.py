"""What ``mlfc.evaluate`` leaves of one structure: arrays with fixed names, shapes and units."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.orm import ArrayData

#: unit and axes of each array; atoms in the order of the sites of the structure, species in that of ``species``
ARRAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    'species': ('atomic number', ('species',)),
    'energy': ('eV', ()),
    'forces': ('eV/Å', ('atom', 'xyz')),
    'stress': ('GPa', ('xyz', 'xyz')),
    'gradient_positions': ('eV/Å', ('atom', 'xyz')),
    'gradient_lattice': ('eV/Å', ('lattice vector', 'xyz')),
    'gradient_atom_types': ('eV', ('atom', 'species')),
}
#: further ones, where they were asked for
ON_REQUEST: dict[str, tuple[str, tuple[str, ...]]] = {'elastic_constants': ('GPa', ('voigt', 'voigt'))}
#: attribute of the node in which the units are kept
KEY_UNITS = 'units'


def evaluation_node(arrays: dict[str, Any], n_atoms: int) -> ArrayData:
    """An unstored ArrayData.

    ``stress`` is (1/V) dE/dε, tensile positive; ``forces`` are minus ``gradient_positions``; ``gradient_lattice`` is
    taken at fixed Cartesian positions of the given images, ``gradient_atom_types`` in the soft species weights of the
    model, not normalised. MatterSim has a species 0, which stands for no element. ``elastic_constants`` are those with
    relaxed ions, in Voigt's order (xx, yy, zz, yz, xz, xy), of a crystal without forces and stress.

    :param arrays: all of :data:`ARRAYS`, perhaps with some of :data:`ON_REQUEST`.
    :param n_atoms: of the structure.
    :raises ValueError: if one has another shape, or holds what is not a finite number.
    :raises KeyError: if one is missing.
    """
    n_species = len(np.atleast_1d(arrays['species']))
    sizes = {'atom': n_atoms, 'xyz': 3, 'voigt': 6, 'lattice vector': 3, 'species': n_species}
    node = ArrayData()
    wanted = ARRAYS | {name: what for name, what in ON_REQUEST.items() if name in arrays}
    for name, (_, axes) in wanted.items():
        array = np.asarray(arrays[name])
        shape = tuple(sizes[axis] for axis in axes)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f'{name}: got shape {array.shape}, wanted {shape} and finite numbers')
        node.set_array(name, array)
    node.base.attributes.set(KEY_UNITS, {name: unit for name, (unit, _) in wanted.items()})
    return node
