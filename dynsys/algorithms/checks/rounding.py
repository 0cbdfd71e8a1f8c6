"""What rounding within an interval leaves of growth: pushed vectors turn towards the first, and lose the rest.

Vector j is pushed over an interval as a whole, and rounded as a whole, with a relative error of about eps. What is left
of it orthogonal to the vectors before, R_jj, is smaller by the factor |R_:j| / R_jj, one over the sine of the angle
between it and their span. The error of log R_jj is thus about

    e_j = eps |R_:j| / R_jj  ~  eps exp((lambda_1 - lambda_j) tau)

for an interval tau; eps is that of the numbers of the pass. Nothing that is computed from the same R shows it: not the
scatter of the rates, as the error is the same whenever the orbit is; and the determinant check has to allow for it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from dynsys.algorithms.checks.rest import CHECKED_MEMBERS
from dynsys.error_bars import batch_means_error
from dynsys.passes.orthonormal import packed_diagonal, unpacked
from dynsys.passes.run_state import RunState, Tangent

Array = np.ndarray

EPS = float(np.finfo(float).eps)
GUARD = 4.0  # errors of as many last bits, in each of the steps in which a vector turns
HARMLESS = 1e4 * EPS  # errors that are not worth a closer look
LEAST_MAGNIFIED = 10.0  # the same where numbers have fewer digits: errors that are not magnified at all
LEAST = 1e-8  # share of the largest exponent that is not worth a word
SHARE = 1e-4  # the same where no error bar is known that says what is
SAMPLED = 100  # intervals whose factors show the angles
SHORT, LOST = 1e-7, 1e3 * np.finfo(float).eps  # steps that are asked, and how far one has to move something

Angles = Callable[[], Array]


def lost_digits(R: Array) -> Array:
    """|R_:j| / R_jj of packed factors, (..., k (k + 1) / 2) -> (..., k): by how much rounding errors are magnified.

    Examples
    --------
    >>> lost_digits(np.array([2.0, 3.0, 0.5])).round(3)
    array([1.   , 6.083])
    """
    full = unpacked(R)
    largest = np.max(np.abs(full), axis=-2, keepdims=True)  # scaled by it, a norm does not overflow
    return np.linalg.norm(full / largest, axis=-2) * (largest[..., 0, :] / np.diagonal(full, axis1=-2, axis2=-1))


def rounding_of_growth(growth: Array, steps: int, length: float, angles: Angles, eps: float = EPS) -> Array:
    """What rounding may have added to exponents, (members, k), 1/time.

    By growth alone, errors are magnified by exp(max_{i <= j} log R_ii - log R_jj), times a number of order one that
    depends on the angles between the directions, and is 0 where these are orthogonal.

    Where growth differs from interval to interval, so do the errors, and their mean is the smaller; where it is the
    same, as at a fixed point, so are they. Their second order is left in any case, as log (1 + e) has the mean -e^2/2.

    Parameters
    ----------
    growth : ndarray, shape (members, m, k)
        log R_jj of intervals.
    steps, length : int, float
        Of an interval.
    angles : callable
        That number of order one, (members, 1, k); asked for where it matters.
    eps : float
        Of the numbers of the pass.
    """
    members, _, k = growth.shape
    found, harmless = np.zeros((members, k)), max(HARMLESS / eps, LEAST_MAGNIFIED)
    with np.errstate(invalid="ignore"):
        suspects = np.flatnonzero(growth.max(axis=(1, 2)) - growth.min(axis=(1, 2)) > np.log(harmless))
        suspects = suspects[np.ptp(growth[suspects], axis=2).max(axis=1, initial=0.0) > np.log(harmless)]
    if not len(suspects):
        return found
    numbers = angles()
    for m in suspects:
        turned = np.maximum.accumulate(growth[m], axis=1) - growth[m]
        magnified = np.exp(np.minimum(turned, 100.0)) * numbers[m]
        roundings = 1.0 + steps / np.maximum(1.0, turned)
        errors = np.minimum(1.0, GUARD * np.sqrt(roundings) * eps * magnified)
        errors = np.where(magnified > harmless, errors, 0.0)
        mean = errors.mean(axis=0)
        for j in np.flatnonzero(mean > 0.0):
            different = len(np.unique(np.floor(growth[m, :, j] / mean[j])))
            found[m, j] = (mean[j] / np.sqrt(different) + 0.5 * np.mean(errors[:, j] ** 2)) / length
    return found


def angles_of(R: Array) -> Array:
    """How much more errors are magnified than growth says, at most: factors (members, m, ...) -> (members, 1, k).

    0 where a member stopped.
    """
    growth = np.log(packed_diagonal(R))
    by_growth = np.exp(np.maximum.accumulate(growth, axis=-1) - growth)
    return np.max(np.nan_to_num(lost_digits(R) / by_growth), axis=1, keepdims=True)


def angles_at(tangent: Tangent, start: RunState, end: RunState, steps: int) -> Angles:
    """Those of an interval at the start of a run, and of one at its end, with steps that were taken: data may end."""

    def angles() -> Array:
        places = start, attrs.evolve(end, n=max(start.n, end.n - steps))
        factors = [
            tangent.forward(place.without_records(), intervals=1, steps_per_interval=steps, record="R").R
            for place in places
        ]
        return angles_of(np.concatenate(factors, axis=1))

    return angles


def rounding_check(
    exponents: Array, error: Array, growth: Array, steps: int, length: float, angles: Angles, eps: float = EPS
) -> tuple[Array, str]:
    """The check of a result: members that lose more than two standard errors, or a share of the largest exponent.

    Exponents and errors, which may be NaN, are (members, k); the rest is as in `rounding_of_growth`.
    """
    rounding = rounding_of_growth(growth, steps, length, angles, eps)
    share = np.where(np.isnan(error), SHARE, LEAST)
    negligible = np.fmax(2.0 * error, share * np.max(np.abs(exponents), axis=1, keepdims=True))
    lost = (rounding > negligible).any(axis=1)
    largest = np.max(rounding[lost], initial=0.0)
    remedy = (
        "orthonormalise more often (fewer steps_per_interval)"
        if steps > 1
        else "follow fewer vectors (k), or shorten dt"
    )
    return lost, (
        "columns became parallel to rounding within an interval, which may have moved exponents by "
        f"{largest:.1g}: {remedy}"
    )


def check_of_factors(tangent: Tangent, R: Array, finished: Array, steps: int) -> tuple[Array, str]:
    """The same check from the packed factors of a run, (members, m, ...), of which members finished so many."""
    done = int(np.min(finished, initial=R.shape[1], where=finished > 0))
    growth = np.log(packed_diagonal(R[:, :done]))
    some = np.unique(np.linspace(0, done - 1, SAMPLED).round().astype(int))
    length = steps * tangent.dt
    mean, error = (growth / length).mean(axis=1), batch_means_error(growth / length)
    return rounding_check(mean, error, growth, steps, length, lambda: angles_of(R[:, some]), tangent.rounding)


def lost_steps(tangent: Tangent, start: RunState) -> tuple[Array, str]:
    """The check of a result: members of which a short step moves neither state nor vectors by more than last bits.

    Rounding errors of log R_jj, about eps in a step, are rates of eps / dt then, whatever the system does.
    """
    lost = np.zeros(len(start.x), dtype=bool)
    if tangent.dt < SHORT and start.k:
        for m in np.flatnonzero(np.isfinite(start.x).all(axis=1) & (start.members < CHECKED_MEMBERS)):
            x, v = start.x[m], start.Q[m, :, :1]
            moved, pushed = tangent.step(start.n, x, v, member=int(start.members[m]))
            still = np.max(np.abs(moved - x)) <= LOST * np.max(np.abs(x))
            lost[m] = still and np.max(np.abs(pushed - v)) <= LOST
    return lost, (
        f"a step of dt = {tangent.dt:g} is lost in rounding: it moves neither state nor vectors by more than some last "
        f"bits, and rates are wrong by about {np.finfo(float).eps / tangent.dt:.1g}: lengthen dt"
    )


def last_growth(R: Array, finished: Array, most: int) -> Array:
    """Log R_jj of the last intervals that all members finished, at most so many, (members, m, k)."""
    done = int(np.min(finished, initial=R.shape[1], where=finished > 0))
    return np.log(packed_diagonal(R[:, max(0, done - most) : done]))


def check_of_means(tangent: Tangent, exponents: Array, start: RunState, end: RunState, steps: int) -> tuple[Array, str]:
    """The same check where growth is known as exponents alone, (members, k), of a run from `start` to `end`."""
    length = steps * tangent.dt
    growth, unknown = length * exponents[:, None], np.full_like(exponents, np.nan)
    return rounding_check(
        exponents, unknown, growth, steps, length, angles_at(tangent, start, end, steps=steps), tangent.rounding
    )
