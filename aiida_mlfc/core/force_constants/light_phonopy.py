"""phonopy without the search for the symmetry of the supercell, which takes longer than exact force constants do."""

from __future__ import annotations

import warnings

import numpy as np
from phonopy import Phonopy
from phonopy.structure.symmetry import Symmetry


class LightPhonopy(Phonopy):
    """A ``Phonopy`` for what needs the symmetry of the primitive cell only: frequencies, meshes, thermal properties.

    Displaced supercells and symmetrised force constants need more: of the supercell's operations it knows only the
    translations. Should a later phonopy search elsewhere than in the two methods below, it would do so in full, as its
    parent does.
    """

    def _search_symmetry(self) -> None:
        self._symmetry = Symmetry(
            self._supercell, self._symprec, is_symmetry=False, s2p_map=self._primitive.s2p_map, lang=self._lang
        )

    def _search_primitive_symmetry(self) -> None:
        self._primitive_symmetry = Symmetry(self._primitive, self._symprec, lang=self._lang)
        # Supercell vectors are the columns of A N, the rotation of A's columns is A W: N^-1 W N must be whole.
        repeats = np.rint(self._supercell.cell @ np.linalg.inv(self._primitive.cell)).T
        turned = np.linalg.solve(repeats, self._primitive_symmetry.pointgroup_operations @ repeats)
        if np.abs(turned - np.rint(turned)).max() > 1e-5:
            warnings.warn(
                'Warning: Point group symmetries of supercell and primitive cell are different: give the supercell the '
                'shape of the crystal, or frequencies at equivalent q-points will differ',
                UserWarning,
                stacklevel=2,
            )
