"""The face that ASE sees: energy, forces and stress of an Atoms, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA


class AseFace(Calculator):
    """ASE's contract; a subclass provides :meth:`in_float64`.

    Energies in eV, forces in eV/Å, stress in eV/Å³, ASE's sign and Voigt order; float64 whatever torch's default dtype.
    """

    implemented_properties = ['energy', 'free_energy', 'forces', 'stress']

    def in_float64(self, atoms: Atoms, forces: bool, stress: bool) -> dict[str, torch.Tensor]:
        """``total_energy`` (eV), and if asked for ``forces`` (eV/Å) and ``stresses`` (1, 3, 3) (GPa) of a structure."""
        raise NotImplementedError

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ('energy',),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """ASE's entry: fills ``results``."""
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise ValueError('atoms: got None, wanted a structure')
        stress = 'stress' in properties
        result = self.in_float64(self.atoms, stress or 'forces' in properties, stress)
        energy = float(result['total_energy'])
        self.results = {'energy': energy, 'free_energy': energy}
        if 'forces' in result:
            self.results['forces'] = result['forces'].detach().cpu().numpy()
        if 'stresses' in result:
            full = result['stresses'][0].detach().cpu().numpy() / EV_PER_CUBIC_ANGSTROM_IN_GPA
            self.results['stress'] = full_3x3_to_voigt_6_stress(full)
