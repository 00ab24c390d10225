"""DFT references: perfect supercell with displacements and forces, or with force constants; force sets on disk."""

from __future__ import annotations

import io
import json
import lzma
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import phonopy
from ase import Atoms
from ase.io import read
from phonopy import Phonopy
from phonopy.harmonic.force_constants import compact_fc_to_full_fc
from symfc import Symfc

from aiida_mlfc.core.structures.averaging import perfect_supercell, primitive_of
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.core.structures.mirrors import HARMONIC_DISPLACEMENT, are_biased

#: Å; how far force constants that are given as they are count as shown to hold: the step of finite differences, from
#: which most of them are. They themselves do not say
STEP_OF_CONSTANTS = 0.01


@dataclass(frozen=True)
class Reference:
    """A perfect supercell with displaced configurations and their DFT forces, or with force constants alone.

    :param supercell: perfect supercell, ``n_super`` atoms.
    :param primitive: its primitive cell.
    :param displacements: shape ``(n_configs, n_super, 3)``, Å; no configurations where force constants are given.
    :param forces: shape ``(n_configs, n_super, 3)``, eV/Å.
    :param born: phonopy's ``nac_params`` where the source has them.
    :param source: provenance: name, licence, repository, commit, sha256 of the source files.
    :param energies: of the configurations, shape ``(n_configs,)``, eV; None where the source has none.
    :param constants: force constants given as they are, of the atoms of phonopy's primitive cell of ``supercell``,
        symmetrised, shape ``(n_prim, n_super, 3, 3)``, eV/Å²; None where they are fitted to forces.
    :param whole: the set that these configurations are a part of, where force constants are fitted to all of it; None
        where they are fitted to these alone. See :meth:`held_back`.
    :param one_sided: these are a part of a set that holds mirrors (-u) of them in another part: their force constants
        have third order in them.
    """

    name: str
    supercell: Atoms
    primitive: Atoms
    displacements: np.ndarray
    forces: np.ndarray
    born: dict[str, Any] | None
    source: dict[str, Any]
    energies: np.ndarray | None = None
    constants: np.ndarray | None = None
    whole: Reference | None = None
    one_sided: bool = False

    @classmethod
    def of_constants(
        cls,
        name: str,
        supercell: Atoms,
        primitive: Atoms,
        constants: np.ndarray,
        born: dict[str, Any] | None,
        source: dict[str, Any],
    ) -> Reference:
        """Force constants alone: they are the labels, there is nothing to fit and no configuration."""
        none = np.zeros((0, len(supercell), 3))
        return cls(name, supercell, primitive, none, none, born, source, None, constants)

    @property
    def largest_displacement(self) -> float:
        """How far atoms are known to have been displaced, Å; :data:`STEP_OF_CONSTANTS` of force constants alone."""
        if self.constants is not None:
            return STEP_OF_CONSTANTS
        return float(np.linalg.norm(self.displacements, axis=2).max())

    def part(self, start: int, step: int = 2) -> Reference:
        """Every ``step``-th configuration from ``start`` on, on its own: 0 is learned from, 1 is held back."""
        return self.chosen(np.arange(start, len(self.forces), step))

    def chosen(self, numbers: np.ndarray) -> Reference:
        """The configurations of these numbers, from 0, on their own."""
        u, forces = self.displacements[numbers], self.forces[numbers]
        energies = None if self.energies is None else self.energies[numbers]
        others = self.displacements[np.setdiff1d(np.arange(len(self.forces)), numbers)]
        one_sided = self.one_sided or are_biased(u, others)
        return replace(self, displacements=u, forces=forces, energies=energies, whole=None, one_sided=one_sided)

    def held_back(self, numbers: np.ndarray | None = None) -> Reference:
        """Configurations to measure errors on, all others being learned from.

        Where they are mirrors (-u) of those, force constants are those of all configurations: fitted to one side alone
        they have third order in them (the even powers of u in forces), which is no error of a potential. Where it is
        fitted along it is not. What is learned stays one-sided: its labels have third order in them, with the other
        sign, unless nothing is held back.

        :param numbers: from 0; by default every second, as ``part(1)``.
        """
        n = len(self.forces)
        numbers = np.arange(1, n, 2) if numbers is None else numbers
        part = self.chosen(numbers)
        return replace(part, whole=self) if part.one_sided and not self.one_sided else part

    def force_constants(self) -> np.ndarray:
        """Those given, or least squares with symmetry and sum rules imposed by symfc; of ``whole`` where there is one.

        :return: shape ``(n_super, n_super, 3, 3)``, eV/Å².
        """
        if self.constants is not None:
            matrix = (np.array(self.primitive.cell) @ np.linalg.inv(np.array(self.supercell.cell))).T
            cells = Phonopy(to_phonopy(self.supercell), np.eye(3, dtype=int), matrix, is_symmetry=False, log_level=0)
            return np.asarray(compact_fc_to_full_fc(cells.primitive, np.array(self.constants, order='C')))
        if self.whole is not None:
            return self.whole.force_constants()
        order = 3 if self.largest_displacement > HARMONIC_DISPLACEMENT else 2
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            fit = Symfc(to_phonopy(self.supercell), displacements=self.displacements, forces=self.forces)
            fit.run(max_order=order, is_compact_fc=False)
        return np.asarray(fit.force_constants[2])


def load_reference(folder: Path | str) -> Reference:
    """Read ``configs.extxyz.xz``, ``meta.json`` and, where there is one, ``phonopy_params.yaml[.xz]``.

    Without phonopy's file the perfect supercell is found by averaging over the configurations and snapping the mean
    to its symmetry.

    :raises FileNotFoundError: if configurations or metadata are missing.
    :raises ValueError: if a configuration does not hold the atoms of the perfect supercell, in the same order.
    """
    folder = Path(folder)
    meta = json.loads((folder / 'meta.json').read_text())
    with lzma.open(folder / 'configs.extxyz.xz', 'rt') as handle:
        configurations = read(io.StringIO(handle.read()), ':', format='extxyz')
    stored = sorted(folder.glob('phonopy_params.yaml*'))
    if stored:
        loaded = phonopy.load(stored[0], produce_fc=False, symprec=meta.get('symprec', 1e-5), log_level=0)
        supercell, born = to_ase(loaded.supercell), loaded.nac_params
        primitive = to_ase(loaded.primitive)
    else:
        supercell, born = perfect_supercell(configurations), None
        primitive = primitive_of(supercell)
    for k, configuration in enumerate(configurations):
        if not np.array_equal(configuration.numbers, supercell.numbers):
            raise ValueError(
                f'{folder}: configuration {k} holds {configuration.symbols}, wanted the atoms of the perfect supercell '
                f'in their order, {supercell.symbols}: split the folder into one for each supercell'
            )
    inverse = np.linalg.inv(np.array(supercell.cell))
    shifts = np.array([(c.positions - supercell.positions) @ inverse for c in configurations])
    displacements = (shifts - np.rint(shifts)) @ np.array(supercell.cell)
    forces = np.array([c.get_forces() for c in configurations])
    source = {
        key: meta[key]
        for key in ('name', 'formula', 'sg', 'code', 'functional', 'licence', 'repo', 'commit', 'paths', 'sha256')
        if key in meta
    }
    return Reference(meta['name'], supercell, primitive, displacements, forces, born, source)
