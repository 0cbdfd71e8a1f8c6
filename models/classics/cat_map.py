"""Arnold's cat map."""

from __future__ import annotations

import math

import attrs
import numpy as np

from dynsys import Map
from dynsys.compiled.kernel import Kernel
from dynsys.errors import real
from dynsys.models.classics.reference import Known, Reference

Array = np.ndarray
MATRIX = np.array([[2.0, 1.0], [1.0, 1.0]])
MATRIX.flags.writeable = False

KERNEL = '''

@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = A x modulo 1, F = A V."""
    f[0] = (2.0 * x[0] + x[1]) % 1.0
    f[1] = (x[0] + x[1]) % 1.0
    for c in range(V.shape[1]):
        F[0, c] = 2.0 * V[0, c] + V[1, c]
        F[1, c] = V[0, c] + V[1, c]


'''


@attrs.frozen(eq=False)
class CatMap(Map):
    """The hyperbolic automorphism x' = 2 x + y, y' = x + y of the torus, both modulo 1.

    Its exponents are +-ln((3 + 5^(1/2)) / 2) = +-0.9624, exactly and for every orbit; the covariant vectors are the
    eigenvectors of the matrix, at right angles to each other. Coordinates are taken modulo 1 in every step, a shift
    whose derivative is 1. Without it they would grow like exp(0.96 n): after 38 steps not a digit of the orbit would be
    left, after 740 it would overflow.

    References
    ----------
    V. I. Arnold, A. Avez, Problèmes ergodiques de la mécanique classique (Gauthier-Villars, 1967).
    """

    dimension = 2

    def step(self, n: int, x: Array) -> Array:
        """State (x, y) after step n; x has shape (..., 2)."""
        return np.mod(real("x", x) @ MATRIX.T, 1.0)

    def jacobian(self, t: float, x: Array) -> Array:
        """The matrix, everywhere."""
        return MATRIX.copy()

    def kernel(self) -> Kernel:
        """The same, as source for Numba."""
        return Kernel(KERNEL)

    reference = Reference(
        start=(0.1, 1.0 / math.sqrt(2.0)),
        intervals=1_000_000,
        warmup=100,
        axes=(0, 1),
        volume_rate=lambda system, x: 0.0 * x[..., 0],
        symplectic=True,
        names=("x", "y"),
        latex=(r"x' &= 2 x + y \pmod 1", r"y' &= x + y \pmod 1"),
        known=(
            Known(
                exponents=(math.log((3 + math.sqrt(5)) / 2), -math.log((3 + math.sqrt(5)) / 2)),
                error=(0.0, 0.0),
                source="exact",
            ),
        ),
    )
