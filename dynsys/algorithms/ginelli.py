"""Ginelli's algorithm: covariant Lyapunov vectors from a forward and a backward pass over one trajectory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import numpy as np

from dynsys.algorithms.checks.covariance import (
    covariance_residual,
    determined_subspaces,
    joined,
    smallest_gap,
)
from dynsys.algorithms.checks.neutral import neutral_angle
from dynsys.algorithms.checks.representation import represent, step_checks
from dynsys.algorithms.checks.vector_errors import errors_inside, frame_shares, pair_shares, start_shares
from dynsys.algorithms.checks.vector_warnings import LARGEST_DISAGREEMENT, LARGEST_ERROR, failed_checks
from dynsys.algorithms.window import Window, pass_window
from dynsys.compiled.backward import sweep_back
from dynsys.error_bars import batch_means_error
from dynsys.errors import warn_of
from dynsys.indicators import line_distance, subspace_distance
from dynsys.passes.clock import in_step
from dynsys.passes.orthonormal import packed_diagonal
from dynsys.passes.run_state import RunState, Tangent
from dynsys.passes.stopped import raise_if_stopped
from dynsys.results.covariant_angles import CovariantAngles
from dynsys.results.result import MEMORY_LIMIT, handed_over
from dynsys.results.vectors import CovariantVectors, VectorDiagnostics

Array = np.ndarray


@overload
def ginelli(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    tail: int | None = None,
    k: int | None = None,
    seed: int = 0,
    stride: int = 1,
    memory_limit: float = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
    vectors: Literal[True] = True,
) -> CovariantVectors: ...


@overload
def ginelli(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    tail: int | None = None,
    k: int | None = None,
    seed: int = 0,
    stride: int = 1,
    memory_limit: float = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
    vectors: Literal[False],
) -> CovariantAngles: ...


def ginelli(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    tail: int | None = None,
    k: int | None = None,
    seed: int = 0,
    stride: int = 1,
    memory_limit: float = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
    vectors: bool = True,
) -> CovariantVectors | CovariantAngles:
    """Covariant Lyapunov vectors (CLVs) at the ends of `intervals` intervals.

    Forward, M_n Q_{n-1} = Q_n R_n. Backward, from a random upper-triangular C at the end of the run,

        C_{n-1} = R_n^{-1} C_n D_n,     D_n: unit columns,

    and the CLVs are the columns of Q_n C_n. Both passes converge exponentially: the warm-up aligns Q, the backward
    transient (`tail`) aligns C. R_n is the factor that leads from n - 1 to n (the next or the previous one gives wrong
    vectors).

    Parameters
    ----------
    tangent, x0, steps_per_interval, k, seed
        As for `dynsys.algorithms.benettin.benettin`.
    intervals : int
        Length of the window in which vectors are returned.
    warmup, tail : int, optional
        Intervals of the forward transient before the window, in which the frame converges, and of the backward
        transient after it, in which the backward pass converges. Default: as many as `intervals`, at most 1000.
        `diagnostics.tail_needed` is the number of intervals that the gaps of the spectrum require.
    stride : int
        Vectors are returned at the end of every stride of so many intervals; `intervals` must be a multiple of it.
    memory_limit : float
        Bytes beyond which vectors and factors are kept in temporary files (memory-mapped, with a warning).
    progress : callable, optional
        Called as progress(done, intervals + tail) now and then.
    vectors : bool
        Whether vectors and states are kept. Without them memory does not grow with dim: angles, rates and exponents
        follow from the factors R alone, as v_i . v_j = C_i . C_j.

    Returns
    -------
    CovariantVectors, or CovariantAngles without vectors

    Raises
    ------
    InvalidInputError, DivergenceError, SingularTangentError
        As for `dynsys.algorithms.benettin.benettin`. If a run or a member of an ensemble stops, `partial` or the
        member's vectors hold those that are followed by a whole backward transient before the stop.

    Notes
    -----
    Memory: `dynsys.algorithms.window.planned_bytes`, 8 members (intervals / stride (dim k + dim + k) + (intervals +
    tail) k (k + 1) / 2) bytes and one chunk of the pass: the vectors overwrite the frames. `diagnostics.planned_bytes`
    is the number. Without vectors it is 8 members (intervals / stride (k^2 + k) + (intervals + tail) k (k + 1) / 2)
    bytes, and a few frames of the pass. Cost of the backward pass: k^3 / 3 flops per interval, and dim k^2 for each
    frame of vectors that is returned.

    Ctrl-C returns the vectors of that part of the window which is followed by a whole backward transient, if there is
    one, with an `InterruptedWarning`.

    References
    ----------
    F. Ginelli et al., Phys. Rev. Lett. 99, 130601 (2007); J. Phys. A 46, 254005 (2013).

    Examples
    --------
    >>> from dynsys.models.classics import LinearMap
    >>> clvs = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent().ginelli([0.0, 0.0], intervals=1, warmup=60, tail=60)
    >>> abs(clvs.vectors[0]).round(6)  # the eigenvectors (1, 0) and (2, -3) / 13^(1/2)
    array([[1.     , 0.5547 ],
           [0.     , 0.83205]])
    """
    tangent = in_step(tangent, x0)
    window = pass_window(
        tangent, x0, intervals=intervals, steps_per_interval=steps_per_interval, warmup=warmup, tail=tail, k=k,
        seed=seed, stride=stride, memory_limit=memory_limit, progress=progress, vectors=vectors, compare=True,
    )  # fmt: skip
    members, end = np.arange(len(window.R)), window.end
    triangles = [random_triangles(end, seed, key) for key in (0, 1)]
    (C, grown), (other, _) = (
        sweep_back(window.R, members, window.converged, window.finished, start) for start in triangles
    )
    last = window.last
    ending, another = (np.where(last[:, None, None] < 0, np.nan, window.frames[members, last] @ c) for c in (C, other))

    columns = window.frames  # overwritten
    growth = np.zeros((*columns.shape[:2], columns.shape[3]))
    first = sweep_back(
        window.R, members, np.zeros_like(members), window.converged, C,
        stride=window.stride, Q=columns, growth=growth, totals=False,
    )[0]  # fmt: skip
    for m in members:
        columns[m, last[m] + 1 :] = growth[m, last[m] + 1 :] = np.nan
    columns, growth = columns[:, : window.strides], growth[:, : window.strides]

    agreement = np.full(ending.shape[::2], np.nan)
    behind = np.zeros((len(members), C.shape[-1] + 1, C.shape[-1]))
    if window.pair:  # else aligned by an earlier run
        frame, another_one = window.pair
        agreement = subspace_distance(another_one, frame)
        behind = frame_shares(first, frame, another_one, window.before)
    ahead = np.maximum(pair_shares(C, other), start_shares(triangles[0], columns, last, grown))
    clvs, failed = _record(tangent, window, vectors, columns, growth, ending, another, agreement, ahead, behind)
    raise_if_stopped(tangent, end, clvs)
    warn_of(failed, stacklevel=2)
    return clvs


def random_triangles(end: RunState, seed: int, key: int) -> Array:
    """Random upper-triangular starts of the backward pass, (members, k, k), keyed by (seed, member), by column."""
    k = end.Q.shape[2]
    C = np.zeros((len(end.x), k, k))
    for m, member in enumerate(end.members):
        rng = np.random.default_rng([seed, member, 1 + key])
        for j in range(k):
            C[m, : j + 1, j] = rng.normal(size=j + 1)
    return C / np.linalg.norm(C, axis=1, keepdims=True)


def _record(
    tangent: Tangent,
    window: Window,
    vectors: bool,
    columns: Array,
    growth: Array,
    ending: Array,
    another: Array,
    frames: Array,
    ahead: Array,
    behind: Array,
) -> tuple[CovariantVectors | CovariantAngles, list[tuple[Array, str]]]:
    """The record with its checks, and those that failed.

    `columns` are the vectors, or without `vectors` their coefficients: what needs the vectors is not checked then.

    `ending` and `another` are the last vectors from two starts, `ahead` and `behind` the shares of others there and
    before the first.
    """
    end, ends, interval = window.end, window.ends, window.steps * tangent.dt
    growth_rates = np.log(packed_diagonal(window.R[:, : window.strides * window.stride])) / interval
    exponents = _mean(growth_rates)
    looked = represent(tangent, window.looks or [window.start], window.steps, growth_rates.shape[1], exponents)
    gap, tail_needed = smallest_gap(exponents, interval)
    rates = growth / (window.stride * interval)
    states = window.states[:, : window.strides]
    last = window.last
    pushed = last if vectors else np.full_like(last, -1)
    residual, spread, inexact = covariance_residual(tangent, end.members, ends, pushed, states, columns)
    seen = np.fmax.reduce(inexact)  # of those that were pushed, for those that were not
    inexact = np.where(np.isnan(inexact), tangent.tolerance if np.isnan(seen) else seen, inexact)
    inexact = np.maximum(tangent.rounding, inexact)
    inside = errors_inside(columns, growth, last, ahead, behind, inexact, window.stride, tangent.dimension)
    starts = line_distance(another, ending)
    agree, dim = ~(frames > LARGEST_DISAGREEMENT), tangent.dimension
    at_ends = determined_subspaces(ending, another, agree, LARGEST_DISAGREEMENT, dim)
    labels = joined(at_ends, inside.turned, dim, LARGEST_ERROR)
    neutral, which = neutral_angle(tangent, end.members, ends, pushed, states, columns, growth, labels)
    given = end.as_given
    given_columns = handed_over(given(columns))
    kept = {"states": given(states), "vectors": given_columns} if vectors else {"coefficients": given_columns}
    clvs = (CovariantVectors if vectors else CovariantAngles)(
        method="ginelli" if vectors else "ginelli, angles alone",
        times=tangent.time(ends),
        available=tangent.time(ends + window.tail * window.steps),
        **kept,
        rates=given(rates),
        exponents=given(exponents),
        dt=tangent.dt,
        steps_per_interval=window.steps,
        stride=window.stride,
        end=end.without_records(),
        diagnostics=VectorDiagnostics(
            derivative=tangent.derivative,
            covariance_residual=given(residual),
            start_agreement=given(starts),
            frame_agreement=given(frames),
            error=given(np.minimum(1.0, inside.turned.sum(axis=1))),
            subspaces=given(labels),
            smallest_angle=given(inside.angle),
            closest_pair=given(inside.pair),
            closest_time=given(np.where(inside.time < 0, np.nan, tangent.time(ends)[inside.time])),
            near_tangencies=given(inside.near),
            neutral_angle=given(neutral),
            neutral_vector=given(which),
            smallest_gap=given(gap),
            tail_needed=given(tail_needed),
            growth_defect=given(_mean(rates) - exponents),
            planned_bytes=window.planned,
            step_error=given(looked.step_error),
        ),
    )
    coarse = step_checks(tangent, exponents, batch_means_error(growth_rates), looked, growth_rates.shape[1] * interval)
    return clvs, [*failed_checks(tangent, window, clvs, spread, inside, at_ends), *coarse]


def _mean(series: Array) -> Array:
    """Mean over time, (members, n, k) -> (members, k), as a product: `mean` is slow along an axis of long strides."""
    return np.full(series.shape[1], 1.0 / series.shape[1]) @ series
