"""What phonopy has to be told beside a cell: supercell and primitive matrix, tolerance, the units of a calculator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from phonopy.interface.calculator import get_calculator_physical_units, get_force_constant_conversion_factor
from phonopy.structure.atoms import PhonopyAtoms

from aiida_mlfc.core.references.files import text_of
from aiida_mlfc.core.references.force_sets import ReferenceError
from aiida_mlfc.core.units import COULOMB_EV_ANGSTROM

#: atoms; a larger supercell is a typing error, or nothing that can be fitted here
LARGEST_SUPERCELL = 5000
DEFAULT_SYMPREC = 1e-5
_SUPERCELL_TAGS = ('DIM', 'SUPERCELL_MATRIX')
_PRIMITIVE_TAGS = ('PRIMITIVE_AXES', 'PRIMITIVE_AXIS', 'PRIMITIVE_MATRIX', 'PA')


@dataclass(frozen=True)
class Settings:
    """What a user says about references that their files do not say; None leaves it to the files.

    :param supercell_matrix: three or nine integers, phonopy's convention.
    :param primitive_matrix: shape ``(3, 3)``, or phonopy's ``auto``, ``P``, ``F``...
    :param symprec: Å.
    :param functional: exchange and correlation.
    :param licence: of the data.
    """

    supercell_matrix: Sequence[int] | None = None
    primitive_matrix: Any = None
    symprec: float | None = None
    functional: str | None = None
    licence: str | None = None


def matrices_of_conf(path: Path) -> tuple[np.ndarray | None, Any]:
    """``DIM`` and ``PRIMITIVE_AXES`` of a phonopy.conf.

    :raises ReferenceError: if they are no matrices.
    """
    tags = {}
    for line in text_of(path).splitlines():
        key, equals, value = line.partition('#')[0].partition('=')
        if equals:
            tags[key.strip().upper()] = value.strip()
    supercell = next((tags[tag] for tag in _SUPERCELL_TAGS if tag in tags), None)
    primitive = next((tags[tag] for tag in _PRIMITIVE_TAGS if tag in tags), None)
    try:
        matrix = None if supercell is None else square([int(word) for word in supercell.split()])
        if primitive is None:
            return matrix, None
        if primitive.replace(' ', '').isalpha():
            return matrix, 'auto' if primitive.upper() == 'AUTO' else primitive.upper()
        return matrix, square([float(Fraction(word)) for word in primitive.split()])
    except (ValueError, ZeroDivisionError) as error:
        raise ReferenceError(f'{path.name}: DIM or PRIMITIVE_AXES cannot be read ({error})') from error


def square(numbers: Sequence[float] | np.ndarray) -> np.ndarray:
    """Three numbers as a diagonal matrix, nine as rows.

    :raises ReferenceError: for any other number of them.
    """
    flat = np.asarray(numbers).ravel()
    if flat.size == 3:
        return np.diag(flat)
    if flat.size == 9:
        return flat.reshape(3, 3)
    raise ReferenceError(f'a matrix has {flat.size} numbers, wanted 3 or 9')


def checked_supercell(matrix: np.ndarray, n_unit: int) -> np.ndarray:
    """An integer matrix that makes a supercell of a size that can be handled.

    :raises ReferenceError: if it does not.
    """
    whole = np.rint(np.asarray(matrix, dtype=float))
    size = abs(float(np.linalg.det(whole)))
    if not np.allclose(whole, matrix) or size < 0.5:
        raise ReferenceError(f'supercell matrix {np.asarray(matrix).tolist()}: wanted integers and a volume')
    if size * n_unit > LARGEST_SUPERCELL:
        raise ReferenceError(f'the supercell would have {size * n_unit:.0f} atoms, wanted at most {LARGEST_SUPERCELL}')
    return whole.astype(int)


@dataclass(frozen=True)
class Units:
    """Factors from a calculator's units in phonopy's files to eV and Å.

    :param length: to Å.
    :param force: to eV/Å.
    :param force_constants: to eV/Å².
    :param coulomb: of the same charges, from the calculator's factor of the non-analytical term to eV Å.
    """

    length: float
    force: float
    force_constants: float
    coulomb: float

    @classmethod
    def of(cls, calculator: str | None) -> Units:
        """Those of a calculator by phonopy's name; VASP's are eV and Å already.

        :raises ReferenceError: for a calculator that phonopy does not know.
        """
        try:
            units = get_calculator_physical_units(calculator)
            to_default = get_force_constant_conversion_factor('eV/angstrom^2', calculator)
        except (KeyError, NotImplementedError, ValueError, RuntimeError) as error:
            raise ReferenceError(f'phonopy does not know the units of {calculator!r} ({error})') from error
        return cls(units.distance_to_A, units.force_to_eVperA, 1 / to_default, COULOMB_EV_ANGSTROM / units.nac_factor)

    def cell(self, cell: PhonopyAtoms) -> PhonopyAtoms:
        """The same cell in Å."""
        return PhonopyAtoms(
            numbers=cell.numbers,
            cell=np.array(cell.cell) * self.length,
            scaled_positions=cell.scaled_positions,
            masses=cell.masses,
        )

    def dataset(self, dataset: dict[str, Any] | None) -> dict[str, Any] | None:
        """The same displacements and forces in Å and eV/Å."""
        if not dataset or self.length == self.force == 1:
            return dataset
        if 'first_atoms' in dataset:
            return {'natom': dataset['natom'], 'first_atoms': [self._entry(entry) for entry in dataset['first_atoms']]}
        return self._entry(dataset, 'displacements')

    def _entry(self, entry: dict[str, Any], displacement: str = 'displacement') -> dict[str, Any]:
        factors = {displacement: self.length, 'forces': self.force}
        return {k: np.asarray(v) * factors[k] if k in factors else v for k, v in entry.items()}
