"""Linear systems: the reference models with exact answers."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from dynsys import Flow, InvalidInputError, Map
from dynsys.compiled.kernel import Kernel
from dynsys.errors import real_array, real_or_complex

Array = np.ndarray


def _square(value: Any) -> Array:
    matrix = real_array("matrix", value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0 or not np.isfinite(matrix).all():
        raise InvalidInputError(f"matrix must be square, not empty, and finite, got {value!r:.200}")
    matrix.flags.writeable = False
    return matrix


KERNEL = '''

@njit
def linearise(t, x, V, f, F, matrix, data, rows, scratch):
    """f = A x and F = A V, with A stored by rows in `matrix`."""
    dim, k = V.shape
    for i in range(dim):
        f[i] = 0.0
        F[i, :] = 0.0
        for j in range(dim):
            f[i] += matrix[i * dim + j] * x[j]
            for c in range(k):
                F[i, c] += matrix[i * dim + j] * V[j, c]


'''


@attrs.frozen(eq=False)
class LinearMap(Map):
    """x' = A x. Exponents: ln|eigenvalues of A|; covariant vectors: its eigenvectors (where moduli differ)."""

    matrix: Array = attrs.field(converter=_square)

    @property
    def dimension(self) -> int:
        """Size of the matrix."""
        return len(self.matrix)

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        return real_or_complex("x", x) @ self.matrix.T

    def jacobian(self, t: float, x: Array) -> Array:
        """The matrix itself."""
        return self.matrix

    def kernel(self) -> Kernel:
        """The same, as source for Numba."""
        return Kernel(KERNEL, self.matrix.ravel())


@attrs.frozen(eq=False)
class LinearFlow(Flow):
    """dx/dt = A x. Exponents: real parts of the eigenvalues of A.

    A stepper changes them: under Euler they are ln|1 + dt mu| / dt, under RK4 ln|p(dt mu)| / dt with p the Taylor
    polynomial of exp of degree 4.
    """

    matrix: Array = attrs.field(converter=_square)

    @property
    def dimension(self) -> int:
        """Size of the matrix."""
        return len(self.matrix)

    def vector_field(self, t: float, x: Array) -> Array:
        """Velocity A x; x has shape (..., dim)."""
        return real_or_complex("x", x) @ self.matrix.T

    def jacobian(self, t: float, x: Array) -> Array:
        """The matrix itself."""
        return self.matrix

    def kernel(self) -> Kernel:
        """The same, as source for Numba."""
        return Kernel(KERNEL, self.matrix.ravel())
