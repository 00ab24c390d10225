"""Exact force constants against phonopy's finite displacements and PhononWorkflow of the official package.

Same weights, crystal, supercell and run. Both sides search symmetry with phonopy; time is shown with and without that.
The reference of accuracy is our float64 by the *other* engine where that costs seconds, else by the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from crystals import Crystal
from row import Curve, Findings, Row
from sides import TOY, Side, official, ours

from aiida_mlfc.core.force_constants.irreducible import set_up

OFFICIAL = 'official MatterSim, phonopy finite displacements'
WORKFLOW = 'official PhononWorkflow, bands and DOS left out'
OWN = 'phonopy finite displacements, our MatterSim in float32'
ALONE = 'force constants, symmetry known before, CPU s'
WHOLE = 'force constants from the unit cell on, symmetry search included where there is one, CPU s'
MEMORY = 'peak memory of force constants, MiB'
FIGURE, AXES = 'Accuracy against time', ('CPU s, symmetry known before', 'relative error of the force constants')
CAPTION = 'Each point is a crystal (hover for its name); the error is that of the Frobenius norm, from our float64.'
#: ratio of time that is wanted, by crystal
TARGETS = {'si216': 1.0, 'triclinic160': 0.3, 'triclinic160-p1': 0.3}
Q_POINTS = [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.5]]


class Judge:
    """Distance of force constants from exact ones of the same supercell."""

    def __init__(self, crystal: Crystal, exact: np.ndarray) -> None:
        self.exact = exact
        self._phonon = set_up(crystal.atoms, np.diag(crystal.supercell)).phonon
        self._wanted = self._frequencies(exact)

    def _frequencies(self, array: np.ndarray) -> np.ndarray:
        self._phonon.force_constants = array
        self._phonon.run_qpoints(Q_POINTS)
        return np.array(self._phonon.qpoints.frequencies)

    def error(self, array: np.ndarray) -> float:
        """Relative to the exact, Frobenius norm."""
        return float(np.linalg.norm(array - self.exact) / np.linalg.norm(self.exact))

    def shift(self, array: np.ndarray) -> float:
        """Largest difference of a frequency, Γ's three acoustic modes left out, THz."""
        difference = np.abs(self._frequencies(array) - self._wanted)
        acoustic = np.argsort(np.abs(self._wanted[0]))[:3]
        difference[0, acoustic] = 0.0
        return float(difference.max())

    def words(self, array: np.ndarray) -> str:
        """Both."""
        return f'{self.error(array):.0e} ({self.shift(array):.0e} THz)'


def best(side: Side, repeats: int, crystal: Crystal, task: str, **arguments: Any) -> dict[str, Any]:
    """A measurement with its arrays."""
    return side.ask(task, crystal, repeats=repeats, arrays=True, **arguments)


def measure(crystal: Crystal, name: str = TOY, repeats: int = 2) -> Findings:
    """All rows of one crystal."""
    found = Findings()
    peer = official(name)
    with ours('float64', name) as double, ours('float32', name) as single:
        is_long = not crystal.is_symmetric
        repeats = 1 if is_long else repeats
        theirs = best(peer, repeats, crystal, 'finite_displacements') if peer else None
        sides = {'float32': single, 'float64': double}
        whole = {k: best(side, repeats, crystal, 'force_constants') for k, side in sides.items()}
        if not is_long:
            own = best(single, repeats, crystal, 'finite_displacements')
        taken = whole['float64']['facts']['engine']
        other = taken if is_long else {'rows': 'qspace', 'qspace': 'rows'}[taken]
        exact = whole['float64'] if is_long else best(double, 1, crystal, 'force_constants', engine=other)
        judge = Judge(crystal, exact['arrays']['force_constants'])
        accuracy = {
            k: f'{k} by {whole[k]["facts"]["engine"]}: {judge.words(whole[k]["arrays"]["force_constants"])}'
            for k in sides
        }
        if is_long:
            accuracy['float64'] = f'float64 by {taken} is the reference'

        def add(quantity: str, part: str, peer_name: str, values: dict[str, Any], result: dict[str, Any]) -> None:
            for dtype, value in values.items():
                words = f'{accuracy[dtype]}; peer: {judge.words(result["arrays"]["force_constants"])}'
                target = TARGETS.get(crystal.name) if peer_name is OFFICIAL and dtype == 'float32' else None
                found.rows.append(Row(
                    crystal.name, f'{quantity} in {dtype}', value, peer_name, pick(result, part), words,
                    target if quantity in (ALONE, WHOLE) else None,
                ))  # fmt: skip

        seconds_alone = {k: pick(result, 'alone') for k, result in whole.items()}
        seconds_whole = {k: pick(result, 'all') for k, result in whole.items()}

        def point(way: str, result: dict[str, Any], part: str = 'alone') -> None:
            error = judge.error(result['arrays']['force_constants'])
            # the reference itself has no place on a logarithmic axis
            if error > 0:
                seconds = [pick(result, part)]
                found.curves.append(Curve(FIGURE, way, *AXES, seconds, [error], [crystal.name], CAPTION))

        for dtype, result in whole.items():
            point(f'exact, {dtype}', result)
        if not is_long:
            point('finite displacements, our MatterSim, float32', own)
            add(ALONE, 'alone', OWN, seconds_alone, own)
        if peer is None:
            found.skipped.append(f'{crystal.name}: the official package is absent')
            return found
        with peer:
            point('finite displacements, official, float32', theirs)
            add(ALONE, 'alone', OFFICIAL, seconds_alone, theirs)
            add(WHOLE, 'all', OFFICIAL, seconds_whole, theirs)
            add(MEMORY, 'memory', OFFICIAL, {k: result['memory'] for k, result in whole.items()}, theirs)
            if is_long:
                found.skipped.append(f'{crystal.name}: PhononWorkflow, whose displacements are the same and take long')
            else:
                add(WHOLE, 'all', WORKFLOW, seconds_whole, best(peer, repeats, crystal, 'workflow'))
    return found


def pick(result: dict[str, Any], part: str) -> float:
    """Seconds of a part, or MiB."""
    return result['memory'] if part == 'memory' else result['seconds'][part]
