"""The face that ASE sees: energy, forces and stress of an Atoms, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA


class AseFace(Calculator):
    """ASE's contract on top of ``forward``; a subclass provides :meth:`forward`.

    Energies in eV, forces in eV/Å, stress in eV/Å³, ASE's sign and Voigt order. float64 whatever torch's default dtype.
    """

    implemented_properties = ['energy', 'free_energy', 'forces', 'stress']

    def forward(self, atoms: Atoms, **options: Any) -> dict[str, torch.Tensor]:
        """Energy (eV), forces (eV/Å) and stresses (GPa) of a structure."""
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
        options = {'dtype': torch.float64}
        # Tensors fix the dtype; the smallest of them is enough.
        lattice = torch.as_tensor(self.atoms.cell.array, **options)
        stress = 'stress' in properties
        result = self.forward(self.atoms, lattice=lattice, return_forces=stress or 'forces' in properties,
                              return_stress=stress)
        energy = float(result['total_energy'])
        self.results = {'energy': energy, 'free_energy': energy}
        if 'forces' in result:
            self.results['forces'] = result['forces'].detach().cpu().numpy()
        if 'stresses' in result:
            full = result['stresses'][0].detach().cpu().numpy() / EV_PER_CUBIC_ANGSTROM_IN_GPA
            self.results['stress'] = full_3x3_to_voigt_6_stress(full)
