"""A loss of many weights, its gradient, and products with its Hessian, with NumPy: the walk of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import attrs
import numpy as np

from dynsys.compiled.graph import ELEMENTARY, POWER, POWER_OF, SELECT, SIGMA, SUM, LossGraph
from dynsys.equations.definition import run_source

Array = np.ndarray


@cache
def _elementary() -> Callable[[int, Array], tuple[Any, Any, Any]]:
    """The kernel's functions, as NumPy's."""
    found: Callable[[int, Array], tuple[Any, Any, Any]] = run_source(ELEMENTARY.replace("@njit", ""))["elementary"]
    return found


@attrs.frozen(eq=False)
class LossAlongGraph:
    """The loss of some samples, summed over them, at one state.

    Attributes
    ----------
    graph : LossGraph
    x : ndarray, shape (dim,)
    data : ndarray, shape (samples, columns)
    parameters : sequence of float
    sigma : callable, d -> (s, s', s''), or None
    """

    graph: LossGraph
    x: Array
    data: Array
    parameters: Sequence[float]
    sigma: Callable[[Array], tuple[Array, Array, Array]] | None

    @cached_property
    def _values(self) -> tuple[Array, dict[int, Sequence[Array]]]:
        """Rows of all operations, and the derivatives of the functions by their rows."""
        graph = self.graph
        Z = np.zeros((graph.inputs + len(graph.kinds), len(self.data)), np.result_type(self.x, float))
        Z[0] = 1.0
        Z[1 : 1 + graph.columns] = self.data.T
        Z[1 + graph.columns : graph.inputs] = np.array(self.parameters, float)[:, None]
        slopes: dict[int, Sequence[Array]] = {}
        with np.errstate(all="ignore"):
            for r, (kind, factors, left, right) in enumerate(self.graph.operations, graph.inputs):
                if kind == SUM:
                    Z[r] = (factors[:, None] * self._left(Z, left, self.x) * Z[right]).sum(axis=0)
                elif kind == SELECT:
                    Z[r] = np.where(Z[left[0]] != 0.0, Z[right[0]], Z[right[1]])
                elif kind == SIGMA:
                    assert self.sigma is not None
                    Z[r], *slopes[r] = self.sigma(Z[right[0]])
                elif kind in (POWER, POWER_OF):
                    Z[r], *slopes[r] = _power(factors[0] if kind == POWER else Z[left[0]], Z[right[0]])
                else:
                    Z[r], *slopes[r] = _elementary()(kind, Z[right[0]])
        return Z, slopes

    @staticmethod
    def _left(Z: Array, left: Array, x: Array) -> Array:
        """Rows, or components of the state in their places."""
        found = Z[np.maximum(left, 0)]
        found[left < 0] = x[-1 - left[left < 0], None]
        return found

    @property
    def loss(self) -> Any:
        """The loss."""
        return self._values[0][-1].sum()

    @cached_property
    def _backward(self) -> tuple[Array, Array]:
        """The gradient, and the derivatives of the loss by all rows."""
        Z, slopes = self._values
        A, f = np.zeros_like(Z), np.zeros(len(self.x), Z.dtype)
        A[-1] = 1.0
        with np.errstate(all="ignore"):
            for n, (kind, factors, left, right) in reversed(list(enumerate(self.graph.operations))):
                r = self.graph.inputs + n
                if kind == SUM:
                    e, state = factors[:, None] * A[r], left < 0
                    np.add.at(f, -1 - left[state], (e * Z[right])[state].sum(axis=1))
                    np.add.at(A, left[~state], (e * Z[right])[~state])
                    np.add.at(A, right, e * self._left(Z, left, self.x))
                elif kind == SELECT:
                    yes = Z[left[0]] != 0.0
                    A[right[0]] += np.where(yes, A[r], 0.0)
                    A[right[1]] += np.where(yes, 0.0, A[r])
                else:
                    A[right[0]] += slopes[r][0] * A[r]
        return f, A

    @property
    def gradient(self) -> Array:
        """Shape (dim,)."""
        return self._backward[0]

    def hessian_product(self, v: Array) -> Array:
        """The Hessian times one vector, shape (dim,)."""
        (Z, slopes), A = self._values, self._backward[1]
        D, B, F = np.zeros_like(Z), np.zeros_like(Z), np.zeros(len(self.x), Z.dtype)
        with np.errstate(all="ignore"):
            for r, (kind, factors, left, right) in enumerate(self.graph.operations, self.graph.inputs):
                if kind == SUM:
                    change = self._left(D, left, v) * Z[right] + self._left(Z, left, self.x) * D[right]
                    D[r] = (factors[:, None] * change).sum(axis=0)
                elif kind == SELECT:
                    D[r] = np.where(Z[left[0]] != 0.0, D[right[0]], D[right[1]])
                else:
                    D[r] = slopes[r][0] * D[right[0]]
            for n, (kind, factors, left, right) in reversed(list(enumerate(self.graph.operations))):
                r = self.graph.inputs + n
                if kind == SUM:
                    c, state = factors[:, None], left < 0
                    change = c * (B[r] * Z[right] + A[r] * D[right])
                    np.add.at(F, -1 - left[state], change[state].sum(axis=1))
                    np.add.at(B, left[~state], change[~state])
                    np.add.at(B, right, c * (B[r] * self._left(Z, left, self.x) + A[r] * self._left(D, left, v)))
                elif kind == SELECT:
                    yes = Z[left[0]] != 0.0
                    B[right[0]] += np.where(yes, B[r], 0.0)
                    B[right[1]] += np.where(yes, 0.0, B[r])
                else:
                    B[right[0]] += slopes[r][1] * D[right[0]] * A[r] + slopes[r][0] * B[r]
        return F


def _power(p: Any, d: Array) -> tuple[Array, Array, Array]:
    zero, one = p == 0.0, p == 1.0
    first = np.where(zero, 0.0, p * d ** (p - 1.0))
    return d**p, first, np.where(zero | one, 0.0, p * (p - 1.0) * d ** (p - 2.0))
