"""Pairs of embedded Runge-Kutta methods: as many substeps as the tolerance on state and tangent vectors requires."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, positive, real
from dynsys.steppers.embedded_source import (
    GROW,
    SAFETY,
    SHORTEST,
    SHRINK,
    SMALLEST,
    pair_source,
    pair_written,
)
from dynsys.steppers.runge_kutta import ExplicitRungeKutta
from dynsys.steppers.stepper import Stepper, VectorField, Written

Array = np.ndarray

LEAST = 1e-14  # rtol: rounding
MOST = 100_000  # substeps that are tried in a step


def _relative(value: Any) -> float:
    number = positive("rtol", value)
    if not LEAST <= number < 1.0:
        raise InvalidInputError(f"rtol must lie between 1e-14 (rounding) and 1, got {value!r}")
    return number


def _absolute(value: Any) -> float:
    return positive("atol", value)


@attrs.frozen(eq=False)
class Substeps(Stepper):
    """The substeps of one step of an `EmbeddedPair`, held fixed."""

    method: type[ExplicitRungeKutta]
    lengths: tuple[float, ...] = ()

    @property
    def order(self) -> int:
        """That of the method."""
        return self.method(self.dt).order

    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State after step n, which begins at time t; x has shape (..., dim)."""
        for h in self.lengths:
            x, t = self.method(h).step(flow, n, t, x), t + h
        return x

    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which begins at time t."""
        for h in self.lengths:
            (x, V), t = self.method(h).step_tangent(flow, n, t, x, V), t + h
        return x, V


@attrs.frozen(eq=False)
class EmbeddedPair(Stepper, ABC):
    """A Runge-Kutta method with substeps of adapted length, by estimates of its error from the same stages.

    One step of length dt is divided into substeps h_1 + h_2 + ... = dt, so short that the estimated error of each is
    within the tolerance, for the state and for every tangent vector:

        |error of x_i| <= atol + rtol |x_i|  (root mean square over i),     |error of v| <= rtol |v|.

    With the norms e_1 and e_2 of two estimates h sum_s E_s k_s, of a higher and a lower order, the error is taken to be
    e_1^2 / sqrt(e_1^2 + 0.01 e_2^2), whose order is higher than either; with one, it is e_1. It falls as h^order.
    A subclass gives `method`, its `order`, and `errors`, the weights E of one estimate or two.

    Attributes
    ----------
    dt : float
        Length of a step, in the units of the model's time.
    rtol, atol : float
        Relative and absolute tolerance of a step.

    References
    ----------
    E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd ed., Springer (1993),
    Secs. II.4, II.5, II.10.
    """

    rtol: float = attrs.field(default=1e-9, converter=_relative)
    atol: float = attrs.field(default=1e-12, converter=_absolute)

    @property
    @abstractmethod
    def method(self) -> type[ExplicitRungeKutta]:
        """The method whose steps the substeps are."""

    @property
    @abstractmethod
    def errors(self) -> Sequence[Sequence[float]]:
        """Weights E of one estimate or two, a number for each stage.

        No attribute of the class: stores of DormandPrince, whose definitions list these, were written without.
        """

    @property
    def failure_hint(self) -> str:
        """Why a step has no result, and what to do."""
        return (
            f"a step of {type(self).__name__} has no result where the flow blows up, as x' = x^2 does, slides along a "
            f"jump of the vector field, or needs more than {MOST} substeps: check x0, smooth the jump, shorten dt, "
            "or allow larger errors (rtol, atol)"
        )

    @property
    def tolerance(self) -> float:
        """Relative error of a step."""
        return self.rtol

    def finer(self) -> tuple[Stepper, int]:
        """The same step within 2^-order of the tolerance, as its error would be at half the length."""
        factor = 2.0**self.order
        return attrs.evolve(self, rtol=max(self.rtol / factor, LEAST), atol=self.atol / factor), 1

    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State after step n, which begins at time t; x has shape (..., dim)."""
        x = real("x", x)
        moved = np.empty(x.shape)
        for index in np.ndindex(x.shape[:-1]):
            moved[index] = self._advance(flow, t, x[index], np.empty((x.shape[-1], 0)))[0]
        return moved

    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which begins at time t."""
        return self._advance(flow, t, real("x", x), real("V", V))[:2]

    def held(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> Stepper:
        """The substeps that it takes at x and V, held fixed."""
        return Substeps(self.dt, self.method, tuple(self._advance(flow, t, x, V)[2]))

    @property
    def source(self) -> str:
        """The same step, as source for Numba."""
        tableau = self.method(self.dt).tableau
        assert tableau is not None
        return pair_source(tableau, tuple(map(tuple, self.errors)), self.order, MOST)

    @property
    def written(self) -> Written:
        """The same steps, for equations that are written out."""
        tableau = self.method(self.dt).tableau
        assert tableau is not None
        return pair_written(tableau, tuple(map(tuple, self.errors)), self.order, MOST)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The tolerances."""
        return self.rtol, self.atol

    def _advance(self, flow: VectorField, t: float, x: Array, V: Array) -> tuple[Array, Array, list[float]]:
        """State and tangent vectors one step after time t, and the lengths of the substeps."""
        lengths: list[float] = []
        remaining = h = self.dt
        tried = 0
        while remaining > 0.0:
            h, tried = min(h, remaining), tried + 1
            if h < remaining < 2.0 * h:
                h = 0.5 * remaining  # two of one length, not a long one and a tiny one
            x_new, V_new, error = self._try(self.method(h), flow, t, x, V)
            if error <= 1.0 and tried <= MOST:
                x, V, t = x_new, V_new, t + h
                remaining = 0.0 if h == remaining else remaining - h
                lengths.append(h)
            elif h < SHORTEST * self.dt or tried > MOST:
                return np.full_like(x, np.nan), np.full_like(V, np.nan), lengths
            allowed = SAFETY * max(error, SMALLEST) ** (-1.0 / self.order)
            h *= min(GROW, max(SHRINK, allowed)) if np.isfinite(error) else SHRINK
        return x, V, lengths

    def _try(
        self, substep: ExplicitRungeKutta, flow: VectorField, t: float, x: Array, V: Array
    ) -> tuple[Array, Array, float]:
        """State and vectors after a substep, and its estimated error as a multiple of the tolerance."""
        with np.errstate(over="ignore", invalid="ignore"):
            if not V.size:
                slopes = substep.slopes(flow, t, x)
                tangent_slopes = [V] * len(slopes)
            else:
                slopes, tangent_slopes = substep.tangent_slopes(flow, t, x, V)
            x_new, V_new = substep.advance(x, substep.b, slopes), substep.advance(V, substep.b, tangent_slopes)
            allowed = self.atol + self.rtol * np.maximum(np.abs(x), np.abs(x_new))
            lengths = self.rtol * np.maximum(np.linalg.norm(V, axis=0), np.linalg.norm(V_new, axis=0))
            sizes = [np.empty(1 + V.shape[1]) for _ in self.errors]  # of the state, and of every vector
            for size, weights in zip(sizes, self.errors, strict=True):
                size[0] = np.sqrt(np.mean((substep.advance(np.zeros_like(x), weights, slopes) / allowed) ** 2))
                wrong = np.linalg.norm(substep.advance(np.zeros_like(V), weights, tangent_slopes), axis=0)
                size[1:] = _share(wrong, lengths)
            error = sizes[0] if len(sizes) == 1 else sizes[0] * _share(sizes[0], np.hypot(sizes[0], 0.1 * sizes[1]))
        return x_new, V_new, float(error.max())


def _share(part: Array, whole: Array) -> Array:
    """The quotient; 0 where there is nothing to share."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0.0)
