"""Units: eV, Å, amu, THz, GPa everywhere; the conversions are phonopy's and ASE's (CODATA)."""

from ase import units as _ase
from phonopy.physical_units import get_physical_units as _phonopy_units

#: 1 eV/Å³ in GPa.
EV_PER_CUBIC_ANGSTROM_IN_GPA = 1.0 / _ase.GPa

#: sqrt(eV/(Å² amu)) as an ordinary frequency in THz, phonopy's default ``factor``.
FREQUENCY_FACTOR_THZ = _phonopy_units().DefaultToTHz

#: Prefactor of the dipole-dipole part, e²/(4 π ε0) in eV Å, phonopy's ``nac_params['factor']`` for VASP units.
COULOMB_EV_ANGSTROM = _phonopy_units().Hartree * _phonopy_units().Bohr
