"""Steppers: one step of a flow, and the exact derivative of that step.

A stepper turns dx/dt = f(t, x) into the map x -> x'. Its tangent is the derivative of *that map*, stage by
stage: every stage has its own Jacobian, evaluated where the stage is. (A Jacobian frozen over the step would
make the tangent first-order accurate, whatever the order of the stepper.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, real_array

Array = np.ndarray


class VectorField(Protocol):
    """What a stepper needs of a flow."""

    def vector_field(self, t: float, x: Array) -> Array: ...  # noqa: D102

    def jvp(self, t: float, x: Array, V: Array) -> Array: ...  # noqa: D102


def _step_length(value: Any) -> float:
    dt = real_array("dt", value)
    if not (dt.shape == () and np.isfinite(dt) and dt > 0):
        raise InvalidInputError(f"dt must be a positive finite number, got {value!r}")
    return float(dt)


@attrs.frozen(eq=False)
class Stepper(ABC):
    """A one-step method with step length `dt`, in the units of the model's time."""

    dt: float = attrs.field(converter=_step_length)

    @property
    @abstractmethod
    def order(self) -> int:
        """Order p of accuracy: the error at a fixed time is O(dt^p), for state and tangent alike."""

    @abstractmethod
    def step(self, flow: VectorField, t: float, x: Array) -> Array:
        """State one step after time t; x has shape (..., dim)."""

    @abstractmethod
    def push(self, flow: VectorField, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k), both one step after time t."""


@attrs.frozen(eq=False)
class ExplicitRungeKutta(Stepper):
    """Explicit Runge-Kutta method, given by its Butcher tableau.

    Stage s of S evaluates k_s = f(t + c_s dt, x + dt sum_{r<s} a_{sr} k_r); the step is x' = x + dt sum_s b_s k_s.
    The tangent obeys the same formulas with K_s = J(t + c_s dt, X_s) (V + dt sum_{r<s} a_{sr} K_r).

        c | a
        --+---
          | b
    """

    a: ClassVar[tuple[tuple[float, ...], ...]]
    b: ClassVar[tuple[float, ...]]

    @property
    def c(self) -> tuple[float, ...]:
        """Nodes of the stages: the row sums of a."""
        return tuple(sum(row) for row in self.a)

    def step(self, flow: VectorField, t: float, x: Array) -> Array:
        """State one step after time t; x has shape (..., dim)."""
        slopes: list[Array] = []
        for weights, node in zip(self.a, self.c, strict=True):
            slopes.append(flow.vector_field(t + node * self.dt, self._advance(x, weights, slopes)))
        return self._advance(x, self.b, slopes)

    def push(self, flow: VectorField, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k), both one step after time t."""
        slopes: list[Array] = []
        tangent_slopes: list[Array] = []
        for weights, node in zip(self.a, self.c, strict=True):
            stage, tangent_stage = (
                self._advance(x, weights, slopes),
                self._advance(V, weights, tangent_slopes),
            )
            slopes.append(flow.vector_field(t + node * self.dt, stage))
            tangent_slopes.append(flow.jvp(t + node * self.dt, stage, tangent_stage))
        return self._advance(x, self.b, slopes), self._advance(V, self.b, tangent_slopes)

    def _advance(self, x: Array, weights: tuple[float, ...], slopes: list[Array]) -> Array:
        """X + dt sum_r weights_r slopes_r, without the terms whose weight is zero."""
        for weight, slope in zip(weights, slopes, strict=True):
            if weight:
                x = x + (self.dt * weight) * slope
        return x


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
class RK4(ExplicitRungeKutta):
    """The classical fourth-order Runge-Kutta method.

    >>> RK4(dt=0.01).c
    (0, 0.5, 0.5, 1.0)

    References
    ----------
    W. Kutta, Z. Math. Phys. 46, 435 (1901).
    """

    order = 4
    a = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    b = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
