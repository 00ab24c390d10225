"""The quadratic model of a trust region, known on a growing subspace, and its exact minimiser.

SciPy's ``trust-exact`` and ``trust-krylov`` solve the same problem, but call the Hessian from inside; here the products
of many crystals are computed together, so that whoever asks for one waits for the others (``lockstep.py``). And they
compare energies to the end, where at 1e-6 eV/Å differences of energy are rounding.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

#: eigenvalues are zero below this fraction of the largest
NULL = 1e-12


def minimise_in_ball(gradient: np.ndarray, hessian: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """The global minimum of g·s + ½ s·H·s in |s| <= radius, H indefinite or not.

    J. Nocedal and S. J. Wright, Numerical Optimization (2006), theorem 4.1: (H + λ) s = -g with H + λ positive.

    :return: s, and the Lagrange parameter λ >= 0.
    """
    values, vectors = np.linalg.eigh(hessian)
    along = vectors.T @ gradient
    small = NULL * max(float(np.abs(values).max()), NULL)

    def step(shift: float) -> np.ndarray:
        return np.asarray(-along / (values + shift))

    if values[0] > small and np.linalg.norm(step(0.0)) <= radius:
        return vectors @ step(0.0), 0.0
    # H + λ must stay positive
    lower = max(0.0, 2 * small - values[0])
    if (length := float(np.linalg.norm(step(lower)))) <= radius:
        # The hard case: nothing pushes along the softest direction. Either sign goes down; the choice is fixed.
        softest = vectors[:, 0] * np.sign(vectors[np.abs(vectors[:, 0]).argmax(), 0])
        if values[0] >= -small:
            return vectors @ step(lower), lower
        s = vectors @ step(lower)
        forward = softest * (np.sign(s @ softest) or 1.0)
        overlap = float(s @ forward)
        return s + forward * (np.sqrt(overlap**2 + radius**2 - length**2) - overlap), lower
    # at the upper end |s| <= radius; a little more, for with one coordinate it is the root itself
    upper = lower + np.linalg.norm(gradient) / radius * (1 + 1e-6)
    shift = brentq(lambda x: 1 / radius - 1 / np.linalg.norm(step(x)), lower, upper, xtol=small, rtol=1e-12)
    return vectors @ step(shift), float(shift)


class QuadraticModel:
    """Energy about a point: the gradient, and the Hessian on the span of the vectors that were multiplied so far.

    :param gradient: shape ``(n,)``.
    """

    def __init__(self, gradient: np.ndarray) -> None:
        self.gradient = gradient
        self.basis = np.zeros((0, len(gradient)))
        self.products = np.zeros((0, len(gradient)))

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the Hessian is left to ask for."""
        return len(self.basis) == len(self.gradient)

    def add(self, vector: np.ndarray, product: np.ndarray) -> None:
        """One more direction.

        :param vector: normal to those before, as :meth:`orthonormal` gives it.
        :param product: the Hessian times ``vector``.
        """
        self.basis = np.vstack([self.basis, vector])
        self.products = np.vstack([self.products, product])

    def orthonormal(self, vector: np.ndarray) -> np.ndarray | None:
        """What is new in ``vector``, of length 1; None if nothing is."""
        new = vector / np.linalg.norm(vector)
        # twice is enough, W. Kahan and B. N. Parlett
        for _ in range(2):
            new = new - self.basis.T @ (self.basis @ new)
        length = np.linalg.norm(new)
        return new / length if length > 1e-8 else None

    def hessian(self) -> np.ndarray:
        """The Hessian projected on the basis, shape ``(k, k)``."""
        projected = self.basis @ self.products.T
        return np.asarray(projected + projected.T) / 2

    def corrected(self, hessian: np.ndarray) -> np.ndarray:
        """The symmetric matrix next to ``hessian``, shape ``(n, n)``, that has the products of this model.

        Powell's symmetric Broyden update, for all products at once.
        """
        missing = self.basis.T @ (self.products - self.basis @ hessian)
        return np.asarray(hessian + missing + missing.T - missing @ self.basis.T @ self.basis)

    def lowest_eigenvalue(self) -> float:
        """Of the projected Hessian: an upper bound of the true one."""
        return float(np.linalg.eigvalsh(self.hessian())[0])

    def step(self, radius: float) -> tuple[np.ndarray, float, np.ndarray]:
        """The minimiser within ``radius``.

        :return: the step, the decrease of the model, and what of the gradient the step leaves unsolved, shape ``(n,)``.
        """
        inside, shift = minimise_in_ball(self.basis @ self.gradient, self.hessian(), radius)
        s = inside @ self.basis
        along = inside @ self.products
        return s, float(-(self.gradient @ s) - s @ along / 2), self.gradient + along + shift * s
