"""A small dx potential of SrTiO3 that knows its double wells, from DFT forces of large and small displacements.

python examples/21_srtio3_potential.py --references FOLDER --output FOLDER [--steps N]

FOLDER holds ``SrTiO3_cubic_alamode_aimd`` (snapshots of molecular dynamics with random displacements up to 0.55 Å in a
2x2x2 supercell, PBEsol) and ``SrTiO3_333_phonopytest`` (displacements of 0.01 Å in 3x3x3, functional not stated, a
lattice 0.07 % longer). Harmonic fits to the first are effective ones, in which the soft modes are stable; so its forces
are learned as they are, and harmonic labels come from the second. Every fifth snapshot is held back. A crystal at rest
has no stress: that fixes the lattice; no stress of a distorted crystal was learned, so its card allows no relaxation of
cells.

No AiiDA. Stop it at any time: the same command continues. ``22_follow_srtio3.py`` follows the soft modes with it.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from aiida_mlfc import dynamical_matrices
from aiida_mlfc.core.potentials.checkpoints import save_dx
from aiida_mlfc.core.potentials.derivatives.energy_derivatives import energy_forces, energy_forces_stress
from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.graphs.batching import concatenate
from aiida_mlfc.core.potentials.graphs.neighbours import build_graph
from aiida_mlfc.core.potentials.training.defaults import default_config
from aiida_mlfc.core.potentials.training.harmonic_labels import harmonic_cells
from aiida_mlfc.core.potentials.training.interpolation import interpolating_phonopy
from aiida_mlfc.core.potentials.training.references import Reference, load_reference
from aiida_mlfc.core.potentials.validity import HAS_STRESS, MAX_DISPLACEMENT, SHORTEST_DISTANCES, shortest_distances
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ
from aiida_mlfc.runner.bloch_phases import frequencies

LARGE, SMALL = 'SrTiO3_cubic_alamode_aimd', 'SrTiO3_333_phonopytest'
HELD_BACK_EVERY = 5
LEARNING_RATE, WARM_UP, CLIP, EMA, WEIGHT_DECAY = 5e-3, 50, 5.0, 0.99, 1e-4
#: on the squared residuals: harmonic labels, crystal at rest (per GPa²)
HARMONIC_WEIGHT, STRESS_WEIGHT = 1.0, 2e-2
#: shares of the kinds of harmonic displacements, see HarmonicCell.draw
KINDS = {'white': 0.3, 'half': 0.4, 'full': 0.3}
#: THz; softer modes of the effective force constants are not weighted more than this one
FLOOR = 1.5
#: s between states
BETWEEN_STATES = 60.0
POINTS = {'Γ': (0, 0, 0), 'X': (0.5, 0, 0), 'M': (0.5, 0.5, 0), 'R': (0.5, 0.5, 0.5)}


def whitening(reference: Reference) -> np.ndarray:
    """The matrix W in which forces of all modes are alike: rows e_ν M^(-1/2) / ω_ν, scaled so that <|W F|²> = 1.

    In a thermal ensemble the force of a mode grows as its frequency; without W the fit would see hard modes only.
    Frequencies and modes are those of the effective harmonic fit.

    :return: shape ``(3 n_super, 3 n_super)``.
    """
    n = 3 * len(reference.supercell)
    hessian = reference.force_constants().transpose(0, 2, 1, 3).reshape(n, n)
    roots = np.repeat(np.sqrt(reference.supercell.get_masses()), 3)
    values, modes = np.linalg.eigh((hessian + hessian.T) / 2 / np.outer(roots, roots))
    stiffness = np.maximum(np.abs(values), (FLOOR / FREQUENCY_FACTOR_THZ) ** 2)
    matrix = (modes / np.sqrt(stiffness)).T / roots
    forces = reference.forces.reshape(len(reference.forces), -1)
    return matrix / np.sqrt(np.mean((forces @ matrix.T) ** 2))


class Training:
    """Model, data, optimiser and averaged weights, with a state on disk."""

    def __init__(self, large: Reference, small: Reference, folder: Path, n_steps: int, seed: int = 0) -> None:
        self.folder, self.n_steps, self.step, self.seconds = folder, n_steps, 0, 0.0
        torch.manual_seed(seed)
        self.model = DXModel(default_config([large, small])).to(torch.float32)
        self.rng = np.random.default_rng(seed)
        species, cutoff = self.model.species, self.model.cutoff
        self.cells = harmonic_cells(small, cutoff, species)
        self.at_rest = build_graph(large.primitive, cutoff, species, torch.float32)
        self.snapshots = []
        for u, force in zip(large.displacements, large.forces, strict=True):
            moved = large.supercell.copy()
            moved.positions += u
            graph = build_graph(moved, cutoff, species, torch.float32)
            self.snapshots.append((graph, torch.as_tensor(force, dtype=torch.float32)))
        self.rms = float(np.sqrt(np.mean(large.forces**2)))
        self.whitening = torch.as_tensor(whitening(large), dtype=torch.float32)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY
        )
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        if self.state.exists():
            kept = torch.load(self.state, weights_only=True)
            self.model.load_state_dict(kept['model'])
            self.optimiser.load_state_dict(kept['optimiser'])
            self.average, self.step, self.seconds = kept['average'], kept['step'], kept['seconds']
            self.rng.bit_generator.state = json.loads(kept['rng'])

    @property
    def state(self) -> Path:
        return self.folder / f'state_{self.n_steps}.pt'

    def save(self) -> None:
        kept = {
            'model': self.model.state_dict(),
            'optimiser': self.optimiser.state_dict(),
            'average': self.average,
            'step': self.step,
            'seconds': self.seconds,
            'rng': json.dumps(self.rng.bit_generator.state),
        }
        partial = self.state.with_suffix('.partial')
        torch.save(kept, partial)
        partial.replace(self.state)

    def losses(self) -> tuple[torch.Tensor, ...]:
        """Squared residuals of a snapshot, of the same in modes, of a harmonic cell; stress at rest."""
        snapshot, wanted = self.snapshots[self.rng.integers(len(self.snapshots))]
        cell = self.cells[self.rng.integers(len(self.cells))]
        kind = self.rng.choice(list(KINDS), p=list(KINDS.values()))
        u, harmonic, factor = (torch.as_tensor(x, dtype=torch.float32) for x in cell.draw(kind, self.rng))
        moved = cell.graph.to(torch.float32, self.model.device)
        moved = moved.with_positions(moved.positions + u)
        graph = concatenate([self.at_rest, moved, snapshot])
        _, forces, stress = energy_forces_stress(self.model, graph, create_graph=True)
        _, of_cell, of_snapshot = torch.split(forces, [self.at_rest.n_atoms, moved.n_atoms, snapshot.n_atoms])
        residual = of_snapshot - wanted
        return (
            (residual / self.rms).square().mean(),
            (self.whitening @ residual.reshape(-1)).square().mean(),
            HARMONIC_WEIGHT * ((of_cell - harmonic) * factor).square().mean(),
            STRESS_WEIGHT * stress[0].square().sum(),
        )

    def run(self) -> None:
        """To the last step; then the model holds the averaged weights."""
        started = saved = time.monotonic()
        before, sums = self.seconds, np.zeros(4)
        while self.step < self.n_steps:
            fraction = max(0.0, (self.step - WARM_UP) / max(1, self.n_steps - WARM_UP))
            rate = LEARNING_RATE * min((self.step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * fraction)))
            for group in self.optimiser.param_groups:
                group['lr'] = rate
            terms = self.losses()
            self.optimiser.zero_grad(set_to_none=True)
            torch.stack(terms).sum().backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimiser.step()
            self.step += 1
            decay = min(EMA, (1 + self.step) / (10 + self.step))
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
            self.seconds = before + time.monotonic() - started
            sums += [float(term.detach()) for term in terms]
            if self.step % 50 == 0 or self.step == self.n_steps:
                forces, modes, harmonic, stress = sums / (self.step % 50 or 50)
                sums[:] = 0
                print(
                    f'step {self.step}/{self.n_steps} {self.seconds:6.0f} s  forces {forces:.4f}  in modes {modes:.4f}'
                    f'  harmonic {harmonic:.4f}  stress {stress:.4f}',
                    flush=True,
                )
            if time.monotonic() - saved > BETWEEN_STATES:
                self.save()
                saved = time.monotonic()
        self.save()
        self.model.load_state_dict(self.average)


def measured(model: DXModel, large: Reference, held_back: Reference, small: Reference) -> dict:
    """Errors on the snapshots that were held back, and the lowest frequencies at the corners of the zone.

    At X, M and R those of DFT are phonopy's interpolation of a 3x3x3 supercell, which holds only Γ of them.
    """
    errors = []
    for u, wanted in zip(held_back.displacements, held_back.forces, strict=True):
        moved = held_back.supercell.copy()
        moved.positions += u
        forces = energy_forces(model, build_graph(moved, model.cutoff, model.species, model.dtype))[1].numpy()
        errors.append(forces - wanted)
    qpoints = np.array(list(POINTS.values()), dtype=float)
    ours = frequencies(dynamical_matrices(large.primitive, qpoints, model))
    phonon = interpolating_phonopy(small, small.force_constants())
    theirs = phonon.run_qpoints(qpoints).frequencies
    rest = build_graph(large.primitive, model.cutoff, model.species, model.dtype)
    rms = [1000 * float(np.sqrt(np.mean(np.square(x)))) for x in (errors, held_back.forces)]
    return {
        'material': 'SrTiO3',
        'n_configurations': len(held_back.forces),
        'force_rmse_meV_per_A': rms[0],
        'force_predict_zero_meV_per_A': rms[1],
        'lowest_frequency_THz': {name: round(float(f[0]), 3) for name, f in zip(POINTS, ours, strict=True)},
        'lowest_frequency_DFT_THz': {name: round(float(f[0]), 3) for name, f in zip(POINTS, theirs, strict=True)},
        'max_stress_GPa': float(energy_forces_stress(model, rest)[2].abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--references', type=Path, required=True)
    parser.add_argument('--output', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=1800)
    parser.add_argument('--threads', type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    everything, small = (load_reference(arguments.references / name) for name in (LARGE, SMALL))
    of_all = np.arange(len(everything.forces))
    parts = []
    for chosen in (of_all % HELD_BACK_EVERY != HELD_BACK_EVERY - 1, of_all % HELD_BACK_EVERY == HELD_BACK_EVERY - 1):
        part = everything.displacements[chosen], everything.forces[chosen]
        parts.append(
            Reference(everything.name, everything.supercell, everything.primitive, *part, None, everything.source)
        )
    large, held_back = parts
    training = Training(large, small, arguments.output, arguments.steps)
    training.run()
    model = training.model.to(torch.float64).eval()
    distances = {pair: [d, d] for pair, d in shortest_distances(large.primitive, model.cutoff).items()}
    for u in large.displacements:
        moved = large.supercell.copy()
        moved.positions += u
        for pair, d in shortest_distances(moved, model.cutoff).items():
            distances[pair][0] = min(distances[pair][0], d)
    errors = measured(model, large, held_back, small)
    model.metadata = {
        'name': 'dx-srtio3',
        'description': 'Small dx potential of cubic SrTiO3 and its small distortions; made to follow soft modes',
        'licence': 'MIT',
        'limits': 'Total forces (dipole-dipole part included). No stress of a distorted crystal was learned: '
        'distortions at the cubic lattice only, no relaxation of cells. No molecular dynamics, no other phases than '
        'tilted and polar ones within 2x2x2 cells. Energies of children differ by less than it is good for.',
        'errors on configurations never seen': [errors],
        'training data': [
            {**reference.source, 'configurations learned': len(reference.forces)} for reference in (large, small)
        ],
        'wall time of each stage in s': [round(training.seconds)],
        'steps of each stage': [training.step],
        'trained on': f'{torch.get_num_threads()} CPU thread(s), float32',
        'validity': {
            MAX_DISPLACEMENT: float(np.linalg.norm(large.displacements, axis=2).max()),
            SHORTEST_DISTANCES: distances,
            # of the cubic crystal at rest only: tilts make the cell swell by 0.7 %, where rigid octahedra shrink it
            HAS_STRESS: False,
        },
    }
    save_dx(model, arguments.output / 'dx-srtio3.safetensors')
    print(json.dumps(errors, indent=1, ensure_ascii=False))


if __name__ == '__main__':
    main()
