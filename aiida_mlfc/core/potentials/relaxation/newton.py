"""Trust-region Newton method in symmetric coordinates, as a search that asks for what it needs.

:meth:`NewtonSearch.run` is a generator. It yields a crystal and wants its :class:`FirstOrder`; or it yields
displacements and a strain and wants the product of the Hessian at that crystal with them. Whoever drives many searches
can so compute their derivatives together (``lockstep.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from scipy.linalg import polar

from aiida_mlfc.core.potentials.relaxation.expansion import FirstOrder
from aiida_mlfc.core.potentials.relaxation.goal import Goal, NotConvergedError, State
from aiida_mlfc.core.potentials.relaxation.quadratic import QuadraticModel
from aiida_mlfc.core.potentials.relaxation.symmetric_space import SymmetricSpace
from aiida_mlfc.core.structures.checks import StructureError
from aiida_mlfc.core.units import EV_PER_CUBIC_ANGSTROM_IN_GPA

#: trust radius at the start and at most, Å for each sqrt(atom)
INITIAL_RADIUS, LARGEST_RADIUS = 0.3, 1.0
#: after so many refused steps in a row, each a quarter of the one before, energy and derivatives contradict each other
MOST_REFUSALS = 8
#: no atom moves farther (Å), no strain is larger, in one step
LARGEST_DISPLACEMENT, LARGEST_STRAIN = 0.3, 0.1
#: a step that leaves the training set is halved down to this length, Å
SHORTEST_STEP = 1e-3
#: up to here the Hessian of the first point is computed in full, and preconditions the later ones; with 57 coordinates
#: that takes 70 products where quartz without it takes 183, and 65 against 80 in silicon
FULL_HESSIAN_SIZE = 100
#: products that look for a direction downhill where all forces vanish, in larger spaces
CURVATURE_PRODUCTS = 20
#: a step is refused if the energy falls by less than this fraction of what was predicted
ACCEPTED = 0.1

Search = Generator[Any, Any, None]


class StalledError(RuntimeError):
    """No step goes down any more although forces are left."""


@dataclass(frozen=True)
class Point(State):
    """A crystal with its gradient.

    :param gradient: dE/dq of the symmetric coordinates, shape ``(size,)``, eV/Å.
    :param virial: dE/dε, shape ``(3, 3)``, eV.
    """

    gradient: np.ndarray
    virial: np.ndarray

    @property
    def is_finite(self) -> bool:
        """Whether all of it are numbers."""
        return bool(np.isfinite(self.energy) and np.isfinite(self.gradient).all() and np.isfinite(self.virial).all())


class NewtonSearch:
    """One crystal on its way down.

    :param atoms: exactly symmetric.
    :param watch: called with every crystal before its energy is asked for. A ``ValueError`` says that it lies too far
        away: shorter steps are tried, then it ends the search; any other exception ends it at once.
    :param rounding: decreases smaller than this fraction of the energy are taken from gradients instead.
    """

    def __init__(
        self, atoms: Atoms, space: SymmetricSpace, goal: Goal, watch: Callable[[Atoms], None], rounding: float = 1e-9
    ) -> None:
        self.space, self.goal, self.watch, self.rounding = space, goal, watch, rounding
        self.start = atoms
        self.point: Point | None = None
        self.n_steps = self.n_evaluations = self.n_products = 0
        #: last full Hessian
        self._reference: np.ndarray | None = None
        #: whether the last model curved upwards in every direction
        self._is_minimum = space.size == 0
        self._reference_is_positive = False

    @property
    def atoms(self) -> Atoms:
        """The best crystal so far."""
        return self.start if self.point is None else self.point.atoms

    def end(self) -> State:
        """Where the search ended, the lattice turned back: many symmetric strains in turn make a small rotation.

        :raises NotConvergedError: if there is no energy at all.
        """
        if self.point is None:
            raise NotConvergedError('the search ended before its first energy')
        point = self.point
        if not len(self.space.strains):
            return point
        deformation = np.linalg.solve(np.array(self.start.cell), np.array(point.atoms.cell))
        rotation, _ = polar(deformation, side='left')
        turned = point.atoms.copy()
        turned.set_cell(np.array(turned.cell) @ rotation.T)
        turned.positions = point.atoms.positions @ rotation.T
        return State(turned, point.energy, point.max_force, rotation @ point.stress @ rotation.T)

    def run(self) -> Search:
        """Search until the goal is reached or the steps are used up.

        :raises StalledError: if no step goes down.
        """
        self.watch(self.start)
        self.point = yield from self._evaluated(self.start)
        if not self.point.is_finite:
            raise NotConvergedError('energy or forces of the start are not finite numbers')
        size = np.sqrt(len(self.start))
        radius, before = INITIAL_RADIUS * size, np.inf
        while True:
            reached = self.goal.is_reached(self.point)
            if (reached and self._is_minimum) or self.n_steps >= self.goal.steps or not self.space.size:
                return
            model = yield from self._model(self.point, radius, before, reached)
            if reached and model.lowest_eigenvalue() > -self._flat(model):
                return
            before = float(np.linalg.norm(self.point.gradient))
            radius = yield from self._descend(self.point, model, radius, LARGEST_RADIUS * size)

    @staticmethod
    def _flat(model: QuadraticModel) -> float:
        """Curvatures below this are zero within rounding, eV/Å²."""
        return 1e-6 * max(1.0, float(np.abs(model.hessian()).max()))

    def _evaluated(self, atoms: Atoms) -> Generator[Any, Any, Point]:
        self.n_evaluations += 1
        found: FirstOrder = yield atoms
        stress = found.of_strain / atoms.get_volume() * EV_PER_CUBIC_ANGSTROM_IN_GPA
        gradient = self.space.components(found.of_positions, found.of_strain)
        max_force = float(np.abs(found.of_positions).max())
        return Point(atoms, found.energy, max_force, (stress + stress.T) / 2, gradient, found.of_strain)

    def _descend(
        self, point: Point, model: QuadraticModel, radius: float, largest: float
    ) -> Generator[Any, Any, float]:
        """Steps from ``point`` until one goes down.

        :return: the trust radius that goes with the new point.
        """
        refusals = 0
        while self.n_steps < self.goal.steps:
            s, predicted, radius = self._bounded(model, radius)
            if refusals > MOST_REFUSALS or predicted <= 0:
                raise StalledError(
                    f'no step goes down although the largest force is {point.max_force:.2e} eV/Å: energy and '
                    f'derivatives of the potential contradict each other, or {self.goal.fmax:.0e} eV/Å is below its '
                    'rounding'
                )
            self.n_steps += 1
            ratio = -np.inf
            try:
                trial = yield from self._evaluated(self.space.moved(point.atoms, s))
                ratio = self._decrease(point, trial, s, predicted) / predicted
            except StructureError:
                pass  # atoms on top of each other: too long a step
            length = float(np.linalg.norm(s))
            if not (ratio >= ACCEPTED and trial.is_finite):
                radius, refusals = length / 4, refusals + 1
                continue
            if ratio < 0.25:
                radius = length / 2
            elif ratio > 0.75 and length > 0.9 * radius:
                radius = min(2 * radius, largest)
            self.point = trial
            return radius
        return radius

    def _bounded(self, model: QuadraticModel, radius: float) -> tuple[np.ndarray, float, float]:
        """The step within ``radius``, within what one step may do to an atom and to the cell, and within ``watch``."""
        refused: ValueError | None = None
        while True:
            s, predicted, _ = model.step(radius)
            length = float(np.linalg.norm(s))
            displacements, strain = self.space.fields(s)
            moved = np.linalg.norm(displacements, axis=1).max(initial=0.0) / LARGEST_DISPLACEMENT
            excess = max(float(moved), float(np.abs(strain).max()) / LARGEST_STRAIN)
            if excess > 1 + 1e-9:
                radius = min(radius, length) / excess
                continue
            try:
                self.watch(self.space.moved(self.atoms, s))
                return s, predicted, radius
            except ValueError as error:
                # Too long a step leaves where the potential is known; if short ones do so too, the way leads outside,
                # and the first one said how far.
                refused = refused or error
                if length < SHORTEST_STEP:
                    raise refused from None
                radius = length / 2

    def _product(self, point: Point, vector: np.ndarray) -> Generator[Any, Any, np.ndarray]:
        self.n_products += 1
        displacements, strain = self.space.fields(vector)
        of_positions, of_strain = yield displacements, strain
        of_strain = of_strain + self.space.curvature_of_strain(point.virial, strain)
        return self.space.components(of_positions, of_strain)

    def _model(self, point: Point, radius: float, before: float, at_rest: bool) -> Generator[Any, Any, QuadraticModel]:
        """The quadratic model about ``point``: complete at the first point of a small space, as good as needed later.

        :param before: length of the gradient at the last point.
        :param at_rest: forces vanish, and the question is whether they do so at a minimum.
        """
        model, n = QuadraticModel(point.gradient), self.space.size
        small = n <= FULL_HESSIAN_SIZE
        if small and (self._reference is None or at_rest):
            for unit in np.eye(n):
                model.add(unit, (yield from self._product(point, unit)))
            self._reference = model.hessian()
            self._reference_is_positive = model.lowest_eigenvalue() > self._flat(model)
        elif at_rest:
            # The gradient is rounding; a fixed random vector reaches every direction.
            vector: np.ndarray | None = model.orthonormal(np.random.default_rng(0).standard_normal(n))
            while vector is not None and len(model.basis) < min(n, CURVATURE_PRODUCTS):
                model.add(vector, (yield from self._product(point, vector)))
                vector = model.orthonormal(model.products[-1])
        else:
            yield from self._approximate(point, model, radius, before)
        # A model of few directions counts beside a full one that was positive, or if there are many of them.
        seen = model.is_complete or len(model.basis) >= CURVATURE_PRODUCTS or (small and self._reference_is_positive)
        self._is_minimum = seen and model.lowest_eigenvalue() > self._flat(model)
        return model

    def _approximate(
        self, point: Point, model: QuadraticModel, radius: float, before: float
    ) -> Generator[Any, Any, None]:
        """Directions are added, the preconditioned rest of the equation each time, until the rest no longer matters."""
        now = float(np.linalg.norm(point.gradient))
        # What the third derivatives will leave, judged by the last step; solving better than that is wasted
        # (S. C. Eisenstat and H. F. Walker, SIAM J. Sci. Comput. 17, 16 (1996), choice 2).
        wanted = now * min(0.1, (now / before) ** 2)
        wanted = max(wanted, 0.1 * self._goal_gradient(point))
        rest = point.gradient
        while (vector := model.orthonormal(self._preconditioned(rest))) is not None:
            model.add(vector, (yield from self._product(point, vector)))
            rest = model.step(radius)[2]
            if np.linalg.norm(rest) <= wanted or model.is_complete:
                break
        if self._reference is not None:
            self._reference = model.corrected(self._reference)

    def _goal_gradient(self, point: Point) -> float:
        """Length of gradient at which the goal is certainly reached, eV/Å."""
        goals = [self.goal.fmax]
        if self.goal.smax is not None:
            n = len(self.space.displacements)
            per_strain = np.linalg.norm(self.space.strains[0]) if self.space.size > n else 1.0
            goals.append(self.goal.smax / EV_PER_CUBIC_ANGSTROM_IN_GPA * point.atoms.get_volume() * per_strain)
        return float(min(goals))

    def _preconditioned(self, rest: np.ndarray) -> np.ndarray:
        if self._reference is None:
            return rest
        values, vectors = np.linalg.eigh(self._reference)
        stiffness = np.maximum(np.abs(values), 1e-3 * np.abs(values).max())
        return np.asarray(vectors @ ((vectors.T @ rest) / stiffness))

    def _decrease(self, point: Point, trial: Point, step: np.ndarray, predicted: float) -> float:
        """By how much the energy fell, eV; from both gradients where a difference of energies is rounding."""
        if predicted < self.rounding * max(1.0, abs(point.energy)):
            return float(-(point.gradient + trial.gradient) @ step / 2)
        return point.energy - trial.energy
