"""Force constants three ways: exact, by finite differences, by Gauss-Newton. What is each worth?

Silicon and rock salt, 64 atoms, ``dx-demo``, same supercell and symmetry for all. Errors are against the exact second
derivatives in float64; those have an error of their own, against central differences extrapolated to a vanishing step
(Richardson, from 0.01, 0.005 and 0.0025 Å), which know nothing of automatic differentiation.

    python examples/benchmarks/three_ways.py [--output FILE] [--figure FILE]

Of force constants the relative Frobenius norm of the error, and its largest component; of frequencies the mean and the
largest error on an 8x8x8 mesh, and the lowest frequency itself. Predict-zero stands beside them: it is what
Gauss-Newton with the energy of the crystal as the one residual comes to at rest, F Fᵀ. ``best scale`` multiplies
Gauss-Newton by the number that fits the exact result best, so that its unit cannot be blamed. It has no negative
eigenvalue at the q-points of the supercell; imaginary frequencies between them are made by interpolation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlfc import compute_force_constants, load_potential, relax
from aiida_mlfc.core.force_constants.irreducible import from_responses, set_up
from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.phonons.analysis import band_structure
from aiida_mlfc.core.potentials.derivatives.gauss_newton import gauss_newton_responses
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.interface import EnergyModel
from aiida_mlfc.reports.band_path import ticks

CRYSTALS: dict[str, Callable[[], Atoms]] = {
    'Si 64 atoms': lambda: bulk('Si', 'diamond', 5.4336, cubic=True),
    'NaCl 64 atoms': lambda: bulk('NaCl', 'rocksalt', 5.6406, cubic=True),
}
SUPERCELL, MESH = [2, 2, 2], [8, 8, 8]
#: Å; the potential was trained on displacements up to 0.0305 Å
STEPS = (0.03, 0.02, 0.01, 0.005, 0.0025, 1e-3, 1e-4, 1e-5)
#: the step that phonopy takes by default, Å
USUAL = 0.01
EXACT, GAUSS_NEWTON, SCALED, ZERO = 'exact', 'Gauss-Newton', 'Gauss-Newton, best scale', 'predict zero'


@dataclass(frozen=True)
class Way:
    """One set of force constants and how far it is from the exact one.

    :param step: Å, of finite differences.
    :param relative: of the force constants, Frobenius.
    :param largest: of the force constants, eV/Å².
    :param mean_frequency: THz; so is the largest.
    """

    name: str
    found: ForceConstants
    seconds: float
    step: float | None
    relative: float
    largest: float
    mean_frequency: float
    largest_frequency: float
    lowest: float


def frequencies(found: ForceConstants) -> np.ndarray:
    """On the mesh, THz."""
    phonon = found.to_phonopy()
    phonon.run_mesh(MESH, is_gamma_center=True)
    return np.array(phonon.mesh.frequencies)


def gauss_newton(crystal: Atoms, potential: EnergyModel) -> ForceConstants:
    """The baseline, expanded by the same symmetry."""
    setup = set_up(crystal, np.array(SUPERCELL))
    graph = build_graph(setup.supercell, potential.cutoff, potential.species, potential.dtype)
    responses, at_rest = gauss_newton_responses(potential, graph, setup.atoms, setup.directions)
    measured = {'method': 'gauss_newton', 'dtype': 'float64', 'seconds': 0.0, 'peak_memory': 0.0}
    return from_responses(setup, responses, at_rest, measured)


def with_array(found: ForceConstants, array: np.ndarray) -> ForceConstants:
    """The same crystal with other numbers."""
    return replace(found, array=array, _phonopy=[])


def ways(crystal: Atoms) -> Iterator[Way]:
    """All of them for one crystal, the exact one first."""
    double, single = load_potential('dx-demo'), load_potential('dx-demo', dtype='float32')
    crystal = relax(crystal, double, relax_cell=True).atoms

    def compute(potential: EnergyModel = double, **how: Any) -> tuple[ForceConstants, float]:
        started = time.process_time()
        found = compute_force_constants(crystal, SUPERCELL, potential, truncation_qpoints=0, **how)
        return found, time.process_time() - started

    exact, seconds = compute()
    reference, exact_frequencies = exact.array, frequencies(exact)

    def judged(name: str, found: ForceConstants, seconds: float, step: float | None = None) -> Way:
        error, shift = found.array - reference, np.abs(frequencies(found) - exact_frequencies)
        relative = float(np.linalg.norm(error) / np.linalg.norm(reference))
        lowest = float(frequencies(found).min())
        return Way(name, found, seconds, step, relative, float(np.abs(error).max()), float(shift.mean()),
                   float(shift.max()), lowest)  # fmt: skip

    differences = {step: compute(method='finite_difference', distance=step) for step in STEPS}
    coarse, middle, fine = (differences[step][0].array for step in (0.01, 0.005, 0.0025))
    first, second = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
    extrapolated = with_array(exact, (16 * second - first) / 15)
    own = judged(EXACT, extrapolated, seconds)
    yield replace(own, found=exact, lowest=float(exact_frequencies.min()))
    yield judged('exact, float32', *compute(single))
    for step in STEPS:
        yield judged('finite difference', *differences[step], step=step)
    yield judged('finite difference, float32', *compute(single, method='finite_difference', distance=USUAL), USUAL)
    started = time.process_time()
    baseline = gauss_newton(crystal, double)
    seconds = time.process_time() - started
    yield judged(GAUSS_NEWTON, baseline, seconds)
    scale = float((baseline.array * reference).sum() / (baseline.array**2).sum())
    yield judged(SCALED, with_array(baseline, scale * baseline.array), seconds)
    yield judged(ZERO, with_array(baseline, 0 * baseline.array), 0.0)


def table(case: str, found: list[Way]) -> str:
    """What a reader wants to see first."""
    columns = ('rel. FC', 'max eV/Å²', 'mean THz', 'max THz', 'lowest', 'CPU s')
    lines = [f'{case + ": errors":28}{"step, Å":>8}' + ''.join(f'{column:>10}' for column in columns)]
    for way in found:
        step = f'{way.step:g}' if way.step else ''
        lines.append(
            f'{way.name:28}{step:>8}{way.relative:10.1e}{way.largest:10.1e}{way.mean_frequency:10.1e}'
            f'{way.largest_frequency:10.1e}{way.lowest:10.4f}{way.seconds:10.2f}'
        )
    return '\n'.join(lines)


def rows(figure: Path | None = None) -> list[dict[str, Any]]:
    """Errors of the exact way over those of the others.

    :param figure: where to draw them.
    """
    every = {case: list(ways(make())) for case, make in CRYSTALS.items()}
    if figure is not None:
        draw(every, figure)
    found = []
    for case, (exact, *others) in every.items():
        print(table(case, [exact, *others]), flush=True)
        for way in others:
            for quantity, ours, theirs in (
                ('relative error of force constants', exact.relative, way.relative),
                ('mean error of frequencies, THz', exact.mean_frequency, way.mean_frequency),
            ):
                found.append(
                    {
                        'case': f'three ways, {case}',
                        'quantity': quantity,
                        'ours': ours,
                        'peer': way.name + (f' {way.step:g} Å' if way.step else ''),
                        'peer_value': theirs,
                        'ratio': ours / theirs,
                        'accuracy': f'largest errors {way.largest:.1e} eV/Å², {way.largest_frequency:.1e} THz',
                    }
                )
    return found


def draw(every: dict[str, list[Way]], path: Path) -> None:
    """Bands of each way above, errors against the step below, for each crystal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 7.6), layout='constrained')
    axes = figure.subplots(2, len(every), squeeze=False)
    for (case, found), above, below in zip(every.items(), axes[0], axes[1], strict=True):
        by_name = {way.name: way for way in found if way.step in (None, USUAL)}
        for name, style in ((EXACT, {'color': '#858c96', 'lw': 3.2}),
                            ('finite difference', {'color': '#2f7fc1', 'lw': 1.1}),
                            (SCALED, {'color': '#d5432e', 'lw': 1.1, 'ls': '--'})):  # fmt: skip
            bands = band_structure(by_name[name].found.to_phonopy(), 1e-5)
            for start, stop in bands.segments:
                above.plot(bands.distances[start:stop], bands.frequencies[start:stop], **style)
            above.plot([], [], label=name + (f', {USUAL} Å' if name == 'finite difference' else ''), **style)
        marks = ticks(bands)
        above.set_xticks(marks.distances, marks.labels)
        above.set_xlim(bands.distances[0], bands.distances[-1])
        above.set_ylim(None, 1.35 * float(frequencies(by_name[EXACT].found).max()))
        above.axhline(0, color='#59626e', lw=0.7, ls=':')
        above.set(title=case, ylabel='Frequency (THz), imaginary as negative')
        above.legend(fontsize='small', loc='upper center', ncols=3, frameon=False, handlelength=1.3, columnspacing=0.9)
        steps = [way for way in found if way.name == 'finite difference']
        below.loglog([w.step for w in steps], [w.mean_frequency for w in steps], 'o-', color='#2f7fc1',
                     label='finite difference')  # fmt: skip
        single = by_name['finite difference, float32']
        below.loglog(USUAL, single.mean_frequency, 's', color='#e69f00', label='finite difference, float32')
        for name, colour in ((EXACT, '#1f9a6d'), ('exact, float32', '#e69f00'), (SCALED, '#d5432e'), (ZERO, '#858c96')):
            label = 'exact (against extrapolation)' if name == EXACT else name
            below.axhline(by_name[name].mean_frequency, color=colour, ls='--', lw=1.1, label=label)
        below.set(xlabel='Step (Å)', ylabel='Mean error of frequencies (THz)')
        below.legend(fontsize='small', ncols=2, loc='upper center', bbox_to_anchor=(0.5, -0.18), frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, default=Path('.bench/three_ways.json'))
    parser.add_argument('--figure', type=Path, default=Path('.bench/three_ways.png'))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(rows(arguments.figure), indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
