"""The Dormand-Prince method: as many substeps as the tolerance on state and tangent vectors requires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, positive, real
from dynsys.steppers.runge_kutta import ExplicitRungeKutta, stage_source
from dynsys.steppers.stepper import Stepper, Tableau, VectorField

Array = np.ndarray

# the weights of the fifth-order step minus those of the embedded fourth-order one
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
SAFETY, SHRINK, GROW = 0.9, 0.1, 5.0  # of the next length: a share of what the error allows, within these factors
SHORTEST = 16 * np.finfo(float).eps  # of a substep, as a share of dt: below it dt is lost in rounding
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
class FifthOrder(ExplicitRungeKutta):
    """The fifth-order method of Dormand and Prince with a fixed step: a substep of `DormandPrince`.

    Its seventh stage is the first of the next step.
    """

    order = 5
    a = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    )
    b = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0)

    c = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)


TABLEAU = Tableau(FifthOrder.a, FifthOrder.b, FifthOrder.c)


@attrs.frozen(eq=False)
class Substeps(Stepper):
    """The substeps of one step of `DormandPrince`, held fixed."""

    lengths: tuple[float, ...] = ()
    order = 5

    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State after step n, which begins at time t; x has shape (..., dim)."""
        for h in self.lengths:
            x, t = FifthOrder(h).step(flow, n, t, x), t + h
        return x

    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which begins at time t."""
        for h in self.lengths:
            (x, V), t = FifthOrder(h).step_tangent(flow, n, t, x, V), t + h
        return x, V


@attrs.frozen(eq=False)
class DormandPrince(Stepper):
    """The explicit Runge-Kutta method of orders 5(4) of Dormand and Prince, with substeps of adapted length.

    One step of length dt is divided into substeps h_1 + h_2 + ... = dt, so short that the estimated error of each is
    within the tolerance, for the state and for every tangent vector:

        |error of x_i| <= atol + rtol |x_i|  (root mean square over i),     |error of v| <= rtol |v|.

    The error estimated is that of the fourth-order step; the fifth-order one is taken, whose own error is smaller: that
    of a whole step of dt is of the order of the tolerance, and proportional to it. The tangent is the exact derivative
    of the substeps taken, their lengths held fixed (`held`). A step has no memory: every one begins with the trial
    h = dt. Choose dt as long as the intervals between two records, or two times of interest. Runs with other tangent
    vectors, or another number of them, agree to the tolerance, not to rounding.

    A state whose next substep would be lost in the rounding of dt has blown up, and becomes NaN, which ends the run.
    So does one for which 100,000 substeps are not enough: the flow is too stiff, or slides along a jump of f. A kink or
    jump that the flow passes is crossed by short substeps. The tangent is that of the numerical step: beyond a *jump*
    of f, that of the flow has another term (the saltation matrix), which no derivative of f contains.

    Attributes
    ----------
    dt : float
        Length of a step, in the units of the model's time.
    rtol, atol : float
        Relative and absolute tolerance of a step.

    References
    ----------
    J. R. Dormand, P. J. Prince, J. Comput. Appl. Math. 6, 19 (1980); E. Hairer, S. P. Norsett, G. Wanner, Solving
    Ordinary Differential Equations I, 2nd ed., Springer (1993), Sec. II.4.

    Examples
    --------
    >>> from dynsys.models.classics import LinearFlow
    >>> x, V = DormandPrince(dt=1.0, rtol=1e-10).step_tangent(LinearFlow([[-1.0]]), 0, 0.0, np.ones(1), np.ones((1, 1)))
    >>> bool(abs(V[0, 0] - np.exp(-1.0)) < 1e-10)
    True
    """

    rtol: float = attrs.field(default=1e-9, converter=_relative)
    atol: float = attrs.field(default=1e-12, converter=_absolute)
    order = 5

    @property
    def failure_hint(self) -> str:
        """Why a step has no result, and what to do."""
        return (
            f"a step of DormandPrince has no result where the flow blows up, as x' = x^2 does, slides along a jump of "
            f"the vector field, or needs more than {MOST} substeps: check x0, smooth the jump, shorten dt, "
            "or allow larger errors (rtol, atol)"
        )

    @property
    def tolerance(self) -> float:
        """Relative error of a step."""
        return self.rtol

    def finer(self) -> tuple[Stepper, int]:
        """The same step within a thirty-second of the tolerance."""
        return attrs.evolve(self, rtol=max(self.rtol / 32, LEAST), atol=self.atol / 32), 1

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
        return Substeps(self.dt, tuple(self._advance(flow, t, x, V)[2]))

    @property
    def source(self) -> str:
        """The same step, as source for Numba."""
        return stage_source(TABLEAU) + SOURCE.format(
            e=list(ERROR), shrink=SHRINK, grow=GROW, safety=SAFETY, shortest=float(SHORTEST), most=MOST
        )

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
            x_new, V_new, error = self._try(FifthOrder(h), flow, t, x, V)
            if error <= 1.0 and tried <= MOST:
                x, V, t = x_new, V_new, t + h
                remaining = 0.0 if h == remaining else remaining - h
                lengths.append(h)
            elif h < SHORTEST * self.dt or tried > MOST:
                return np.full_like(x, np.nan), np.full_like(V, np.nan), lengths
            h *= min(GROW, max(SHRINK, SAFETY * max(error, 1e-9) ** -0.2)) if np.isfinite(error) else SHRINK
        return x, V, lengths

    def _try(self, substep: FifthOrder, flow: VectorField, t: float, x: Array, V: Array) -> tuple[Array, Array, float]:
        """State and vectors after a substep, and its estimated error as a multiple of the tolerance."""
        with np.errstate(over="ignore", invalid="ignore"):
            if not V.size:
                slopes, tangent_slopes = substep.slopes(flow, t, x), [V] * len(ERROR)
            else:
                slopes, tangent_slopes = substep.tangent_slopes(flow, t, x, V)
            x_new, V_new = substep.advance(x, substep.b, slopes), substep.advance(V, substep.b, tangent_slopes)
            allowed = self.atol + self.rtol * np.maximum(np.abs(x), np.abs(x_new))
            error = np.sqrt(np.mean((_difference(substep.dt, slopes) / allowed) ** 2))
            wrong = np.linalg.norm(_difference(substep.dt, tangent_slopes), axis=0)
            allowed = self.rtol * np.maximum(np.linalg.norm(V, axis=0), np.linalg.norm(V_new, axis=0))
            for defect, limit in zip(wrong, allowed, strict=True):
                error = max(error, defect / limit if limit > 0.0 else 0.0)
        return x_new, V_new, float(error)


def _difference(h: float, slopes: Sequence[Array]) -> Array:
    """The fifth-order step minus the fourth-order one."""
    total = np.zeros_like(slopes[0])
    for weight, slope in zip(ERROR, slopes, strict=True):
        if weight:
            total = total + (h * weight) * slope
    return total


SOURCE = '''
E = np.array({e})


@njit
def difference(h, i, f):
    """Component i of the fifth-order step minus the fourth-order one."""
    total = 0.0
    for s in range(STAGES):
        total += (h * E[s]) * f[s, i]
    return total


@njit
def defect(h, x, V, X, W, f, F, rtol, atol):
    """The estimated error of a substep as a multiple of the tolerance."""
    dim, k = V.shape
    square = 0.0
    for i in range(dim):
        square += (difference(h, i, f) / (atol + rtol * max(abs(x[i]), abs(X[i])))) ** 2
    largest = math.sqrt(square / dim)
    for c in range(k):
        wrong = before = after = 0.0
        for i in range(dim):
            wrong += difference(h, i, F[:, c]) ** 2
            before += V[i, c] ** 2
            after += W[i, c] ** 2
        allowed = rtol * math.sqrt(max(before, after))
        if allowed > 0.0 and not math.sqrt(wrong) / allowed <= largest:
            largest = math.sqrt(wrong) / allowed
    return largest


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """Substeps of adapted length; the seventh slope of one is the first of the next."""
    rtol, atol = parameters[parameters.size - 2], parameters[parameters.size - 1]
    first, tried, remaining, h = 0, 0, dt, dt
    while remaining > 0.0:
        h = min(h, remaining)
        tried += 1
        if h < remaining and remaining < 2.0 * h:
            h = 0.5 * remaining
        for s in range(first, STAGES):  # the last stage is the new state X, with its vectors W
            stage(s, t, h, x, V, X, W, f, F, parameters, data, rows, scratch)
        error = defect(h, x, V, X, W, f, F, rtol, atol)
        first = 1
        if error <= 1.0 and tried <= {most}:
            copy(x, X)
            copy_matrix(V, W)
            copy(f[0], f[STAGES - 1])
            copy_matrix(F[0].T, F[STAGES - 1].T)
            t += h
            remaining = 0.0 if h == remaining else remaining - h
        elif h < {shortest!r} * dt or tried > {most}:
            x[:] = np.nan
            V[:] = np.nan
            return
        if error < math.inf:
            h *= min({grow!r}, max({shrink!r}, {safety!r} * max(error, 1e-9) ** -0.2))
        else:
            h *= {shrink!r}

'''
