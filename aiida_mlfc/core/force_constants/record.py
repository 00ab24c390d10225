"""ForceConstants: the array, the cells it belongs to, and how good it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from ase import Atoms
from phonopy import Phonopy

from aiida_mlfc.core.force_constants.light_phonopy import LightPhonopy
from aiida_mlfc.core.structures.cells import to_phonopy

Method = Literal['autograd', 'finite_difference', 'gauss_newton', 'unknown']


@dataclass(frozen=True)
class Quality:
    """What was measured about a set of force constants, before any correction.

    :param method: ``autograd``, ``finite_difference``, ``gauss_newton``, or ``unknown`` if another program did.
    :param permutation_asymmetry: max |Φ_ij,αβ - Φ_ji,βα| after symmetry expansion, eV/Å².
    :param acoustic_sum_residual: max over i, α, β of |Σ_j Φ_ij,αβ|, eV/Å².
    :param max_residual_force: largest force component on the undisplaced crystal, eV/Å.
    :param n_directions: products or pairs of displaced supercells that were computed.
    :param seconds: wall time of the derivatives.
    :param peak_memory: largest resident set of the process while the derivatives were computed, MiB; since the process
        started, where the system does not tell them apart.
    :param distance: step of finite differences, Å.
    :param engine: ``rows`` of the supercell's Hessian, or ``qspace``: its commensurate q-points in the primitive cell.
    :param n_batches: into how many batches memory made the q-space engine split its products.
    :param truncation_error: largest difference between frequencies interpolated from these force constants and exact
        ones at q-points between those of the supercell, THz; None if it was not measured.
    :param truncation_mean_error: mean of the same, THz.
    :param truncation_qpoints: number of q-points, stars counted once.
    :param uncertainty: root mean square spread of frequencies over the ensemble of the potential, THz; None if it has
        none.
    :param supercell_search: what was tried where the supercell was found and not given: ``repeats``, ``n_atoms``,
        ``truncation_error`` of each.
    """

    method: Method
    dtype: str
    permutation_asymmetry: float
    acoustic_sum_residual: float
    max_residual_force: float
    n_directions: int
    seconds: float
    peak_memory: float
    distance: float | None = None
    engine: Literal['rows', 'qspace'] | None = None
    n_batches: int | None = None
    truncation_error: float | None = None
    truncation_mean_error: float | None = None
    truncation_qpoints: int | None = None
    uncertainty: float | None = None
    supercell_search: list[dict[str, Any]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class ForceConstants:
    """Second derivatives of the energy of a supercell, compact.

    :param array: Φ[i, j, α, β] = d²E/(dx_iα dx_jβ), i over primitive atoms, j over supercell atoms, shape
        ``(n_prim, n_super, 3, 3)``, eV/Å²; phonopy's order of atoms.
    :param unitcell: the cell that was given.
    :param supercell_matrix: shape ``(3, 3)``, integers, phonopy's convention.
    :param primitive_matrix: shape ``(3, 3)``, phonopy's convention.
    :param nac_params: Born charges and dielectric tensor, as phonopy takes them, or None.
    """

    array: np.ndarray
    unitcell: Atoms
    supercell_matrix: np.ndarray
    primitive_matrix: np.ndarray
    quality: Quality
    nac_params: dict[str, Any] | None = None
    symprec: float = 1e-5
    _phonopy: list[Phonopy] = field(default_factory=list, repr=False, compare=False)
    _light: list[Phonopy] = field(default_factory=list, repr=False, compare=False)

    def to_phonopy(self) -> Phonopy:
        """A ``Phonopy`` holding these force constants as they are, not symmetrised; built once."""
        return self._built(Phonopy, self._phonopy)

    def for_frequencies(self) -> Phonopy:
        """The same without the symmetry of the supercell, see :class:`LightPhonopy`; built once, and much faster."""
        return self._built(LightPhonopy, self._light)

    def _built(self, kind: type[Phonopy], kept: list[Phonopy]) -> Phonopy:
        if not kept:
            kept.append(
                kind(
                    to_phonopy(self.unitcell),
                    supercell_matrix=self.supercell_matrix,
                    primitive_matrix=self.primitive_matrix,
                    symprec=self.symprec,
                    log_level=0,
                )
            )
        phonon = kept[0]
        phonon.force_constants = self.array
        phonon.nac_params = self.nac_params
        return phonon
