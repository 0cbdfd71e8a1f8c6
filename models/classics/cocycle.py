"""A linear map that differs from step to step: exact covariant vectors that move."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from dynsys import InvalidInputError, Map
from dynsys.errors import real_array, real_or_complex, whole_number, whole_seed

Array = np.ndarray


def _stack(value: Any) -> Array:
    matrices = real_array("matrices", value)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or not np.isfinite(matrices).all():
        raise InvalidInputError(f"matrices must be finite, of shape (steps, dim, dim), got shape {matrices.shape}")
    matrices.flags.writeable = False
    return matrices


@attrs.frozen(eq=False)
class LinearCocycle(Map):
    """x' = A_n x in step n, for as many steps as there are matrices (steps, dim, dim).

    If A_n = S_{n+1} D S_n^{-1} with a constant D = diag(d_1 > d_2 > ... > 0), the exponents are ln d_j and the
    covariant vectors at time n are the columns of S_n: exact answers that move with time. `random` makes one.
    """

    matrices: Array = attrs.field(converter=_stack)

    @classmethod
    def random(cls, dimension: int, steps: int, seed: int = 0) -> tuple[LinearCocycle, Array]:
        """A cocycle with D = diag(dim, ..., 1), S_n = 1 + 0.1 U(0, 1), and its covariant vectors at all times.

        Examples
        --------
        >>> cocycle, vectors = LinearCocycle.random(3, steps=100)
        >>> clvs = cocycle.tangent().ginelli(np.zeros(3), intervals=20, warmup=40, tail=40)
        >>> bool(np.allclose(abs(clvs.vectors), abs(vectors[clvs.times.astype(int)])))
        True
        """
        dimension, steps = whole_number("dimension", dimension, 1), whole_number("steps", steps, 1)
        rng = np.random.default_rng(whole_seed(seed))
        S = np.eye(dimension) + 0.1 * rng.uniform(size=(steps + 1, dimension, dimension))
        D = np.diag(np.arange(dimension, 0.0, -1.0))
        return cls(S[1:] @ D @ np.linalg.inv(S[:-1])), S / np.linalg.norm(S, axis=1, keepdims=True)

    @property
    def dimension(self) -> int:
        """Size of the matrices."""
        return self.matrices.shape[-1]

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        return real_or_complex("x", x) @ self.matrices[n].T

    def jacobian(self, t: float, x: Array) -> Array:
        """The matrix of the step."""
        return self.matrices[int(t)]
