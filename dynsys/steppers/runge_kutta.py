"""Explicit Runge-Kutta methods, each given by its Butcher tableau."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import attrs
import numpy as np

from dynsys.errors import real_or_complex
from dynsys.steppers.stages import tableau_written
from dynsys.steppers.stepper import Stepper, Tableau, VectorField, Written

Array = np.ndarray


@attrs.frozen(eq=False)
class ExplicitRungeKutta(Stepper):
    """Explicit Runge-Kutta method, given by its Butcher tableau.

    Stage s of S evaluates k_s = f(t + c_s dt, x + dt sum_{r<s} a_{sr} k_r); the step is x' = x + dt sum_s b_s k_s.
    The tangent obeys the same formulas with K_s = J(t + c_s dt, X_s) (V + dt sum_{r<s} a_{sr} K_r).

        c | a
        --+---
          | b
    """

    a: ClassVar[Sequence[Sequence[float]]]
    b: ClassVar[Sequence[float]]

    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State after step n, which begins at time t; x has shape (..., dim)."""
        x = real_or_complex("x", x)
        return self.advance(x, self.b, self.slopes(flow, t, x))

    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which begins at time t."""
        x, V = real_or_complex("x", x), real_or_complex("V", V)
        slopes, tangent_slopes = self.tangent_slopes(flow, t, x, V)
        return self.advance(x, self.b, slopes), self.advance(V, self.b, tangent_slopes)

    def __attrs_post_init__(self) -> None:
        """Refuse a class whose tableau is none."""
        assert _tableau(type(self))

    @property
    def c(self) -> Sequence[float]:
        """Nodes of the stages: the row sums of a. A subclass may have others, as a class attribute."""
        return _tableau(type(self)).c

    @property
    def tableau(self) -> Tableau | None:
        """The Butcher tableau, unless a subclass steps in another way."""
        own = type(self).step is ExplicitRungeKutta.step and type(self).step_tangent is ExplicitRungeKutta.step_tangent
        return _tableau(type(self)) if own else None

    @property
    def source(self) -> str | None:
        """The same step as source for Numba."""
        return None if self.tableau is None else step_source(self.tableau.reduced)

    @property
    def written(self) -> Written | None:
        """The same steps, for equations that are written out."""
        return None if self.tableau is None else tableau_written(self.tableau.reduced)

    def slopes(self, flow: VectorField, t: float, x: Array) -> list[Array]:
        """The slopes k_s of the stages."""
        slopes: list[Array] = []
        for weights, node in zip(self.a, self.c, strict=True):
            slopes.append(flow.vector_field(t + node * self.dt, self.advance(x, weights, slopes)))
        return slopes

    def tangent_slopes(self, flow: VectorField, t: float, x: Array, V: Array) -> tuple[list[Array], list[Array]]:
        """The slopes k_s and K_s of the stages."""
        slopes: list[Array] = []
        tangent_slopes: list[Array] = []
        for weights, node in zip(self.a, self.c, strict=True):
            stage, tangent_stage = self.advance(x, weights, slopes), self.advance(V, weights, tangent_slopes)
            slopes.append(flow.vector_field(t + node * self.dt, stage))
            tangent_slopes.append(flow.jvp(t + node * self.dt, stage, tangent_stage))
        return slopes, tangent_slopes

    def advance(self, x: Array, weights: Sequence[float], slopes: Sequence[Array]) -> Array:
        """X + dt sum_r weights_r slopes_r, without the terms whose weight is zero."""
        for weight, slope in zip(weights, slopes, strict=True):
            if weight:
                x = x + (self.dt * weight) * slope
        return x


@cache  # every step asks
def _tableau(kind: type[ExplicitRungeKutta]) -> Tableau:
    c: Any = kind.c
    return Tableau(kind.a, kind.b, [sum(row) for row in kind.a] if isinstance(c, property) else c)


@cache  # every call of a pass asks
def step_source(tableau: Tableau) -> str:
    """A step as source for Numba."""
    if len(tableau.b) == 1:
        return ONE_STAGE.format(b=tableau.b[0])
    return stage_source(tableau) + SOURCE.format(b=list(tableau.b))


@cache
def stage_source(tableau: Tableau) -> str:
    """The stages of a step as source for Numba: the function `stage`, and the tableau."""
    stages = len(tableau.b)
    a = [list(row) + [0.0] * (stages - len(row)) for row in tableau.a]
    return STAGE.format(a=a, c=[float(c) for c in tableau.c], stages=stages)


STAGE = '''
A = np.array({a})
C = np.array({c})
STAGES = {stages}


@njit
def stage(s, t, h, x, V, X, W, f, F, parameters, data, rows, scratch):
    """Stage s of a step of length h: its state X with the vectors W, and its slopes f[s] and F[s].T."""
    dim, k = V.shape
    copy(X, x)
    copy_matrix(W, V)
    for r in range(s):
        weight = h * A[s, r]
        if weight != 0.0:
            for i in range(dim):
                X[i] += weight * f[r, i]
            for c in range(k):
                for i in range(dim):
                    W[i, c] += weight * F[r, c, i]
    linearise(t + C[s] * h, X, W, f[s], F[s].T, parameters, data, rows, scratch)

'''

SOURCE = '''
B = np.array({b})


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """One Runge-Kutta step of a flow."""
    dim, k = V.shape
    for s in range(STAGES):
        stage(s, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch)
    for s in range(STAGES):
        weight = dt * B[s]
        for i in range(dim):
            x[i] += weight * f[s, i]
        for c in range(k):
            for i in range(dim):
                V[i, c] += weight * F[s, c, i]

'''

ONE_STAGE = '''
STAGES = 1


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """One step of a flow by the slope where it begins: nothing is copied."""
    dim, k = V.shape
    linearise(t, x, V, f[0], F[0].T, parameters, data, rows, scratch)
    weight = dt * {b!r}
    for i in range(dim):
        x[i] += weight * f[0, i]
    for c in range(k):
        for i in range(dim):
            V[i, c] += weight * F[0, c, i]

'''


@attrs.frozen(eq=False)
class Euler(ExplicitRungeKutta):
    """Explicit Euler, x' = x + dt f(t, x). On a gradient flow this is gradient descent with learning rate dt.

    >>> Euler(dt=0.1).order
    1
    """

    order = 1
    a = ((),)
    b = (1.0,)


@attrs.frozen(eq=False)
class Midpoint(ExplicitRungeKutta):
    """The explicit midpoint method, x' = x + dt f(t + dt/2, x + dt/2 f(t, x)).

    >>> Midpoint(dt=0.1).order
    2

    References
    ----------
    C. Runge, Math. Ann. 46, 167 (1895).
    """

    order = 2
    a = ((), (0.5,))
    b = (0.0, 1.0)


@attrs.frozen(eq=False)
class RK4(ExplicitRungeKutta):
    """The classical fourth-order Runge-Kutta method.

    >>> RK4(dt=0.01).c
    (0.0, 0.5, 0.5, 1.0)

    References
    ----------
    W. Kutta, Z. Math. Phys. 46, 435 (1901).
    """

    order = 4
    a = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    b = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
