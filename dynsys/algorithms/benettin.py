"""Benettin's algorithm: Lyapunov exponents from the growth of an orthonormal frame, with error bars."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from dynsys.algorithms.checks.exponents import Run, examine
from dynsys.algorithms.checks.representation import marks
from dynsys.error_bars import batch_means_error
from dynsys.errors import warn_of, whole_number, whole_stride
from dynsys.passes.clock import in_step
from dynsys.passes.plan import FEWER, plan_run
from dynsys.passes.run_state import RunState, Tangent, begin, record_run, warm_up
from dynsys.passes.status import RUNNING
from dynsys.passes.stopped import raise_if_stopped
from dynsys.results.spectrum import LyapunovSpectrum

Array = np.ndarray


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
    begun, warmup, m = begin(tangent, x0, k, seed), whole_number("warmup", warmup, 0), intervals // stride
    pace = plan_run(
        tangent, begun, warmup + intervals, steps_per_interval, progress,
        needed=8 * m * (3 * len(begun.x) * begun.k + 2), remedy=f"sum over strides (stride), {FEWER}",
    )  # fmt: skip
    start = warm_up(tangent, begun, warmup, steps_per_interval, pace.during())
    raise_if_stopped(tangent, start)
    begun = begun.with_frames(0, 0)  # the frames are not needed any more, and may be large
    looks = marks(intervals, stride, start)
    tell = pace.during(progress, warmup)
    end, growth, seen = record_run(tangent, start, intervals, steps_per_interval, "growth", tell, stride, looks)
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
    error = np.maximum(batch_means_error(rates), tangent.rounding / tangent.dt)  # every step rounds
    run = Run(tangent, begun, start, end, seen, growth, exponents, error, steps_per_interval, stride, transient)
    diagnostics, checks = examine(run)
    spectrum = LyapunovSpectrum(
        exponents=end.as_given(exponents),
        standard_error=end.as_given(error),
        rates=end.as_given(rates),
        times=tangent.time(start.n + length * np.arange(1, rates.shape[1] + 1)),
        dt=tangent.dt,
        steps_per_interval=steps_per_interval,
        stride=stride,
        end=end.without_records(),
        diagnostics=diagnostics,
    )
    if end.single and end.status[0] != RUNNING:
        raise_if_stopped(tangent, end, _finished(spectrum))
    warn_of(checks, stacklevel=3)
    return spectrum
