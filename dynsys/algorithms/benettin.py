"""Benettin's algorithm: Lyapunov exponents from the growth of an orthonormal frame, with error bars."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import attrs
import numpy as np

from dynsys.algorithms.checks.derivative import derivative_check, derivative_defect
from dynsys.algorithms.checks.representation import (
    LARGEST_REMAINDER,
    LEAST_GROWTH,
    crossings,
    jump_check,
    marks,
    motion,
    represent,
    step_checks,
)
from dynsys.algorithms.checks.rest import collapse_check
from dynsys.algorithms.checks.rounding import angles_at, lost_steps, rounding_check
from dynsys.algorithms.checks.way_to_rest import rest_check, way_check
from dynsys.compiled.blas import one_blas_thread
from dynsys.error_bars import batch_means_error, drift
from dynsys.errors import warn_of, whole_number, whole_stride
from dynsys.passes.clock import in_step
from dynsys.passes.orthonormal import LONG_COLUMN
from dynsys.passes.run_state import RunState, Tangent, begin, raise_if_stopped, record_run, warm_up
from dynsys.passes.status import RUNNING
from dynsys.results.spectrum import LyapunovSpectrum, SpectrumDiagnostics

Array = np.ndarray

CHECKED_MEMBERS = 8  # the first ones' determinants are checked: the check steps through an interval with NumPy
LARGEST_DETERMINANT_DEFECT = 1e-8
LARGEST_ERRORS = 6.0  # standard errors that a drift, or an exponent declared to vanish, may have
LEAST_SPOILING = (0.8, 1.25)  # errors of the exponent: of a steady drift 1.1, where growth is ln t about 0.6
MOST_LOOKED_AT = 8192  # means of rates; a drift is slow


def benettin(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    k: int | None = None,
    seed: int = 0,
    stride: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> LyapunovSpectrum:
    """Estimate the k leading Lyapunov exponents along a trajectory.

    An orthonormal frame is pushed and re-orthonormalised, V_n = M_n Q_{n-1} = Q_n R_n, and

        lambda_i = 1/T sum_n log (R_n)_ii.

    Parameters
    ----------
    tangent : TangentSystem
    x0 : array_like, shape (dim,) or (members, dim), or RunState
        Initial states; or `spectrum.end` of an earlier run, to continue it (with its frames and its clock); or
        `trajectory.end`, which has no frames: new ones begin there.
    intervals : int
        Number of recorded intervals; the frame is re-orthonormalised at the end of each.
    steps_per_interval : int
        Steps of the system in an interval.
    warmup : int, optional
        Intervals before the record begins, to align the frame (an arbitrary frame biases the exponents). Default: a
        tenth of `intervals`, none for a continued frame. For a transient such as the training of a network choose 0.
    k : int, optional
        Number of exponents, all by default; k of them are the first k of all.
    seed : int
        Determines the first frames, each keyed by (seed, member).
    stride : int
        Intervals over which growth is summed before it is recorded; `intervals` must be a multiple of it. Only the sums
        take memory.
    progress : callable, optional
        Called as progress(done, intervals) now and then.

    Returns
    -------
    LyapunovSpectrum

    Raises
    ------
    InvalidInputError
        For wrong shapes, non-finite states, or counts out of range.
    DivergenceError, SingularTangentError
        If a run of one state stops; `.partial` holds what was finished. Members of an ensemble are marked instead.

    Notes
    -----
    Cost O(intervals (steps + dim k^2)); memory O(intervals k / stride) for each member.

    Ctrl-C during the record returns the result of the finished part, with an `InterruptedWarning` that says how to go
    on; before any of the record is finished it raises the usual KeyboardInterrupt.

    References
    ----------
    G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, Meccanica 15, 9-20 and 21-30 (1980).

    Examples
    --------
    >>> from dynsys.models.classics import LinearMap
    >>> LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent().benettin([1.0, 1.0], intervals=50, warmup=50).exponents
    array([ 0.69314718, -0.69314718])
    """
    intervals = whole_number("intervals", intervals, 1)
    steps_per_interval = whole_number("steps_per_interval", steps_per_interval, 1)
    stride = whole_stride(stride, intervals)
    if warmup is None:
        warmup = 0 if isinstance(x0, RunState) and x0.k else max(1, intervals // 10)
    tangent = in_step(tangent, x0)
    begun = begin(tangent, x0, k, seed)
    start = warm_up(tangent, begun, whole_number("warmup", warmup, 0), steps_per_interval)
    raise_if_stopped(tangent, start)
    looks = marks(intervals, stride, start)
    end, growth, seen = record_run(tangent, start, intervals, steps_per_interval, "growth", progress, stride, looks)
    return _spectrum(tangent, begun, start, end, growth, seen, steps_per_interval, stride, transient=warmup == 0)


def _finished(result: LyapunovSpectrum) -> LyapunovSpectrum | None:
    """The finished intervals of a result of one state that stopped; None if there are none."""
    finished = int(np.isfinite(result.rates[:, 0]).sum())
    if finished == 0:
        return None
    rates = result.rates[:finished]
    return attrs.evolve(
        result,
        rates=rates,
        times=result.times[:finished],
        exponents=rates.mean(axis=0),
        standard_error=batch_means_error(rates),
    )


def _spectrum(
    tangent: Tangent,
    begun: RunState,
    start: RunState,
    end: RunState,
    growth: Array,
    seen: list[RunState],
    steps_per_interval: int,
    stride: int,
    transient: bool,
) -> LyapunovSpectrum:
    """The record of a run, with its checks; a transient that was asked for may drift."""
    length = stride * steps_per_interval
    rates = growth / (length * tangent.dt)
    exponents = rates.mean(axis=1)
    error = np.maximum(batch_means_error(rates), np.finfo(float).eps / tangent.dt)  # every step rounds
    times = tangent.time(start.n + length * np.arange(1, rates.shape[1] + 1))
    drifted, drifts = _drift(rates, exponents, error, rates.shape[1] * length * tangent.dt)
    first = growth[:, 0]
    if stride > 1:  # the first interval is not in the record
        first = tangent.forward(start, intervals=1, steps_per_interval=steps_per_interval, record="growth").growth[:, 0]
    defect = _determinant_defect(tangent, start, first, steps_per_interval)
    looked = represent(tangent, seen or [start], steps_per_interval, stride * rates.shape[1], exponents)
    moved = motion(tangent, start, end, seen)
    zeros, in_errors, in_bars = _declared_zeros(tangent, exponents, error, looked.step_error, moved.speed)
    untrue = derivative_defect(tangent, start)
    spectrum = LyapunovSpectrum(
        exponents=end.as_given(exponents),
        standard_error=end.as_given(error),
        rates=end.as_given(rates),
        times=times,
        dt=tangent.dt,
        steps_per_interval=steps_per_interval,
        stride=stride,
        end=end.without_records(),
        diagnostics=SpectrumDiagnostics(
            derivative=tangent.derivative,
            drift=end.as_given(drifted),
            determinant_defect=end.as_given(defect),
            vanishing=end.as_given(in_errors),
            kind=moved.kind,
            step_error=end.as_given(looked.step_error),
            divergence_defect=end.as_given(looked.divergence_defect),
            speed=end.as_given(moved.speed),
            rest=end.as_given(moved.rest),
            crossed=crossings(tangent, start, stride * rates.shape[1], steps_per_interval),
            derivative_defect=end.as_given(untrue),
        ),
    )
    if end.single and end.status[0] != RUNNING:
        raise_if_stopped(tangent, end, _finished(spectrum))
    remainder = zeros * (times[-1] - tangent.time(start.n))
    with np.errstate(over="ignore", invalid="ignore"):  # rounding of the long columns of V, as a share of the short one
        rounding = 10 * np.finfo(float).eps * np.exp(np.ptp(first, axis=1))
    resting = np.isfinite(moved.rest).any(axis=1)
    wrong, jumps = derivative_check(tangent, untrue), jump_check(spectrum.diagnostics.crossed, len(exponents))
    coarse = step_checks(tangent, exponents, error, looked, moved.time)
    coarse += [way_check(tangent, begun, moved, steps_per_interval)]
    explained = np.any([marked for marked, _ in coarse], axis=0) | jumps[0] | wrong[0]
    far = (remainder > LARGEST_REMAINDER) & ~(resting | explained)[:, None]
    missed = (far & (in_errors > LARGEST_ERRORS)).any(axis=1)
    hidden = (far & (in_bars > LARGEST_ERRORS)).any(axis=1) & ~missed  # the step error, if uncertain, is large enough
    checks = [
        (
            drifts & (not transient) & ~resting,
            "the rates drift between the halves of the record: lengthen the warm-up; if the run is a transient, use "
            "warmup=0 and its finite-time exponents, not the standard error",
        ),
        (
            defect
            > LARGEST_DETERMINANT_DEFECT + rounding + 10 * tangent.dimension * steps_per_interval * tangent.tolerance,
            "the sum of log R_ii is not log|det|: compare the derivatives with dynsys.testing.check_tangent",
        ),
        (
            missed,
            f"{zeros.shape[1]} exponent(s) should vanish and do not: dt is too long, the velocity jumps, the "
            "derivative is not that of the system (dynsys.testing.check_system), or it has fewer of them "
            "(vanishing_exponents)",
        ),
        (
            hidden,
            f"an exponent that should vanish is {np.max(zeros[hidden], initial=0.0):.2g}, far beyond its standard "
            "error: the step is too coarse (step_error), shorten dt",
        ),
        *coarse,
        rest_check(exponents, moved, explained),
        jumps,
        collapse_check(tangent, begun, end, growth),
        lost_steps(tangent, start),
        rounding_check(
            exponents,
            error,
            growth if stride == 1 else growth / stride,
            steps_per_interval,
            steps_per_interval * tangent.dt,
            angles_at(tangent, start, end, steps=steps_per_interval),
        ),
        wrong,
    ]
    warn_of(checks, stacklevel=3)
    return spectrum


def _drift(rates: Array, exponents: Array, error: Array, time: float = np.inf) -> tuple[Array, Array]:
    """Difference of the mean rates of the halves in standard errors, (members, k); whether a drift spoils the result.

    A drift is found where it is far beyond noise, and spoils the result where it is not covered by the standard error,
    which counts it: that of a growth like ln t is, as in integrable motion, and no warm-up would make an end of it.
    Nor does one that dies away where next to nothing has grown in all the time.
    """
    together = max(
        1, rates.shape[1] // MOST_LOOKED_AT
    )  # a long record as if its frame had been made orthonormal rarely
    groups = rates.shape[1] // together
    rates = np.einsum("mgik->mgk", rates[:, : groups * together].reshape(len(rates), groups, together, -1)) / together
    halves = np.array_split(rates, [max(1, groups // 2)], axis=1)
    if not halves[1].size:  # a record of one interval has no halves
        return np.full(exponents.shape, np.nan), np.zeros(len(exponents), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = (halves[1].mean(axis=1) - halves[0].mean(axis=1)) / np.hypot(*map(batch_means_error, halves))
    in_errors, change = drift(rates)
    found = (np.abs(in_errors) > LARGEST_ERRORS) & np.isfinite(moved)  # the halves need 32 rates too
    if not found.any():
        return moved, found.any(axis=1)
    (_, first), (_, second) = map(drift, halves)
    goes_on = second * np.sign(first) > 0.5 * np.abs(first)
    largest = np.max(np.abs(exponents), axis=1, keepdims=True)
    spoils = np.abs(change) > np.maximum(np.where(goes_on, *LEAST_SPOILING) * error, 1e-6 * largest)
    nothing = (change * exponents < 0.0) & (np.abs(exponents) < LEAST_GROWTH / time)
    return moved, (found & spoils & ~nothing).any(axis=1)


def _declared_zeros(
    tangent: Tangent, exponents: Array, error: Array, step: Array, speed: Array
) -> tuple[Array, Array, Array]:
    """The exponents closest to zero, as many as the system declares to vanish: sizes, in whole and in standard errors.

    That of the flow itself is not 0 but, over a finite time, the rate at which the speed changes.
    """
    declared = tangent.vanishing_exponents if exponents.shape[1] == tangent.dimension else 0
    shifted = np.abs(exponents - np.nan_to_num(speed)[:, None])
    sizes = np.minimum(np.abs(exponents), shifted)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = sizes, sizes / (error + np.nan_to_num(np.abs(step))), sizes / error
    zeros, in_errors, in_bars = (np.sort(values, axis=1)[:, :declared] for values in found)
    return zeros, in_errors, in_bars


def _determinant_defect(tangent: Tangent, start: RunState, growth: Array, steps: int) -> Array:
    """Sum of log R_ii of the first interval against log|det| of the same steps, found step by step.

    Every step is that of an orthonormal frame, whose determinant is 1, and the first one that of the run: steps that
    adapt to their vectors are then the same.
    """
    defect = np.full(len(growth), np.nan)
    if start.Q.shape[2] < tangent.dimension:
        return defect
    # threads of BLAS wait for one another, and longer where others work too
    with one_blas_thread() if tangent.dimension >= LONG_COLUMN else nullcontext():
        for m in np.flatnonzero(np.isfinite(growth).all(axis=1) & (start.members < CHECKED_MEMBERS)):
            x, Q, total = start.x[m], start.Q[m], 0.0
            for n in range(start.n, start.n + steps):
                x, V = tangent.step(n, x, Q, member=int(start.members[m]))
                total += np.linalg.slogdet(V).logabsdet
                Q = np.linalg.qr(V)[0]
            defect[m] = abs(growth[m].sum() - total) / (1.0 + abs(total))
    return defect
