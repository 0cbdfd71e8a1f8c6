"""Sharafi's estimate: covariant Lyapunov vectors without the far future.

The published abstract promises CLVs "without knowledge of the future trajectory", and a later paper mentions "a
backward iteration interval"; we could not obtain the full recipe. There are therefore several variants, each with a
name: see `sharafi`. docs/sharafi.md shows what each of them is worth.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, get_args

import attrs
import numpy as np

from dynsys.algorithms.checks.covariance import covariance_residual, determined_subspaces, joined, smallest_gap
from dynsys.algorithms.checks.derivative import derivative_check, derivative_defect
from dynsys.algorithms.checks.representation import Representation, crossings, jump_check, marks, represent, step_checks
from dynsys.algorithms.checks.rounding import check_of_means
from dynsys.algorithms.checks.vector_errors import random_start_shares, turned_by
from dynsys.algorithms.checks.vector_warnings import LARGEST_DISAGREEMENT, LARGEST_ERROR
from dynsys.algorithms.ginelli import random_triangles
from dynsys.algorithms.window import allocator
from dynsys.compiled.backward import sweep_back
from dynsys.error_bars import batch_means_error
from dynsys.errors import InterruptedWarning, InvalidInputError, one_of, warn_of, whole_number, whole_stride
from dynsys.indicators import line_distance
from dynsys.passes.clock import in_step
from dynsys.passes.eigenvectors import eigenvectors
from dynsys.passes.orthonormal import packed_diagonal
from dynsys.passes.plan import FEWER, plan_run
from dynsys.passes.run_state import RunState, Tangent, begin, forward_in_chunks, look_at, warm_up
from dynsys.passes.status import RUNNING
from dynsys.passes.stopped import raise_if_stopped
from dynsys.results.result import MEMORY_LIMIT, handed_over
from dynsys.results.vectors import CovariantVectors, VectorDiagnostics

Array = np.ndarray

Variant = Literal["lagged", "near-future", "periodic window", "frozen"]
StartMatrix = Literal["identity", "random"]


def sharafi(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    window: int | None = None,
    variant: Variant = "lagged",
    start: StartMatrix = "identity",
    k: int | None = None,
    seed: int = 0,
    stride: int = 1,
    memory_limit: float = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
) -> CovariantVectors:
    """Estimates of the covariant Lyapunov vectors from the last `window` intervals of the trajectory.

    With M_n Q_{n-1} = Q_n R_n, and a backward pass over w = `window` intervals from a start matrix C_n,

        C_{m-1} = R_m^{-1} C_m D_m,     m = n, ..., n - w + 1,     D_m: unit columns,

    the variants are

    ================= ================================================= ============ ============
    variant           estimate                                          valid at     known at
    ================= ================================================= ============ ============
    "lagged"          Q_{n-w} C_{n-w}                                   n - w        n
    "near-future"     the same, listed by the time where it is valid    n            n + w
    "periodic window" Q_n times the eigenvectors of R_n ... R_{n-w+1}   n            n
    "frozen"          "periodic window" with w = 1                      n            n
    ================= ================================================= ============ ============

    n runs over the ends of the strides of the record. All but "near-future" are causal: the run ends where the record
    does, and what is known at n is not changed by anything later.

    Lagged: vector j is wrong in direction i < j by about exp(-(lambda_i - lambda_j) w dtau), so a short window in a
    system with small gaps gives little more than the backward vectors (start "identity") or a random mixture of them
    ("random"). Periodic window: as if the last w intervals had been repeated for ever; exact where the tangent map is
    constant, otherwise off by as much as the vectors turn within a window, however long it is. It needs no start
    matrix. Both are compared with Ginelli's vectors in docs/sharafi.md.

    Parameters
    ----------
    tangent, x0, steps_per_interval, k, seed, progress
        As for `dynsys.algorithms.benettin.benettin`.
    intervals : int
        Length of the record.
    warmup : int, optional
        Intervals before it. Default: as many as `intervals`, at most 1000, to align the frame, and one window more
        for the causal variants; none for a run that is continued. With a warm-up shorter than `window`, causal
        estimates whose window would begin before the run are left out.
    window : int, optional
        Intervals of the backward pass. Default: 10, as in the paper (1 for "frozen").
    variant, start : str
        See above.
    stride, memory_limit
        As for `dynsys.algorithms.ginelli.ginelli`.

    Returns
    -------
    CovariantVectors
        `times` are those for which the estimates are valid, `available` those at which they were known. `rates` are
        growth rates over the interval that ends at the time, however long the stride; NaN at the start of the run.
        In `diagnostics`, `start_agreement` and `subspaces` compare the backward pass with one from another start:
        for "periodic window" and "frozen", which have no start, they are NaN and -1. What works for all variants is
        `covariance_residual`: it pushes estimates over a stride and compares them with the next ones. It measures how
        covariant the estimates are, and no warning comes with it. Vectors that are pushed far turn towards the first
        one: with long strides the residual says nothing, and beyond some thousand steps it is NaN.

    Raises
    ------
    InvalidInputError, DivergenceError, SingularTangentError
        As for `dynsys.algorithms.benettin.benettin`; what was known before a run stopped is kept.

    Notes
    -----
    Memory: 8 members (m (dim k + dim + k) + (window + 1) k (k + 1)) bytes for m estimates, that is the result and
    twice a window of packed factors, and one chunk of the pass; `diagnostics.planned_bytes` is the number. Cost of an
    estimate: window k^3 / 3 flops, and dim k^2.

    If a member stops, what was known by then is kept; later vectors and rates are NaN. Ctrl-C returns the estimates
    known by then, with an `InterruptedWarning`; a run that is continued begins with a new window.

    References
    ----------
    N. Sharafi, M. Timme, S. Hallerberg, Phys. Rev. E 96, 032220 (2017) (abstract);
    N. Sharafi, C. Martin, S. Hallerberg, arXiv:2405.00743, Sec. V.

    Examples
    --------
    >>> from dynsys.models.classics import LinearMap
    >>> clvs = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent().sharafi([0.0, 0.0], intervals=1, warmup=70, window=20)
    >>> abs(clvs.vectors[0]).round(6)  # the eigenvectors (1, 0) and (2, -3) / 13^(1/2)
    array([[1.     , 0.5547 ],
           [0.     , 0.83205]])
    >>> clvs.times, clvs.available
    (array([51.]), array([71.]))
    """
    intervals = whole_number("intervals", intervals, 1)
    steps = whole_number("steps_per_interval", steps_per_interval, 1)
    stride = whole_stride(stride, intervals)
    for name, value, names in (("variant", variant, Variant), ("start", start, StartMatrix)):
        one_of(name, value, *get_args(names))
    if window is None:
        window = 1 if variant == "frozen" else 10
    window = whole_number("window", window, 1)
    if variant == "frozen" and window > 1:
        raise InvalidInputError(f"'frozen' is 'periodic window' with window=1, got window={window}: leave it out")
    ahead = window if variant == "near-future" else 0
    if warmup is None:
        continued = isinstance(x0, RunState) and x0.k
        warmup = 0 if continued else min(intervals, 1000) + window - ahead
    warmup = whole_number("warmup", warmup, 0)
    lead = 0 if ahead else min(window, warmup)  # intervals of the warm-up that the first windows reach back to
    if not ahead and lead + intervals < window:
        raise InvalidInputError(
            f"no estimate has a whole window of {window} intervals before it: the run has {warmup} + {intervals} "
            "intervals of warm-up and record; lengthen one of them, or shorten the window"
        )
    tangent = in_step(tangent, x0)
    first = begin(tangent, x0, k, seed)
    m = (intervals - max(0, window - lead - ahead)) // stride  # estimates, or one more
    pace = plan_run(
        tangent, first, warmup + intervals + ahead, steps, progress, remedy=f"thin the output by stride, {FEWER}",
        needed=(beside := 8 * (len(first.x) * (2 * m * first.k + window * first.k * (first.k + 1) // 2) + 3 * m)),
    )  # fmt: skip
    # boundaries are counted in intervals from `begun`; factor b leads from boundary b to b + 1
    ends = lead + stride * np.arange(1, intervals // stride + 1)
    valid, known = {"lagged": (ends - window, ends), "near-future": (ends, ends + window)}.get(variant, (ends, ends))
    valid, known = valid[known >= window], known[known >= window]
    members, dim, k = first.Q.shape
    planned = 8 * members * (len(valid) * (dim * k + dim + k) + (window + 1) * k * (k + 1))
    make = allocator(planned, memory_limit, beside, stacklevel=3)
    begun = warm_up(tangent, first, warmup - lead, steps, pace.during())
    raise_if_stopped(tangent, begun)
    one, another = (random_triangles(begun, seed, key) for key in (0, 1))
    if variant in ("periodic window", "frozen") or start == "identity":
        one = np.broadcast_to(np.eye(k), one.shape)
    estimates = _Estimates(
        variant=variant,
        window=window,
        first=lead,
        last=lead + intervals,
        starts=(one, another),
        valid=valid,
        known=known,
        states=make((members, len(valid), dim)),
        vectors=make((members, len(valid), dim, k)),
        growth=np.empty((members, len(valid), k)),
    )
    reached, total, looks = _Reached.start(begun), lead + intervals + ahead, list[RunState]()
    if valid[0] == 0:
        estimates.states[:, 0], estimates.vectors[:, 0] = begun.x, begun.Q
    with suppress(KeyboardInterrupt):
        at, tell = marks(total, 1, begun), pace.during(progress, warmup - lead)
        for part in forward_in_chunks(tangent, begun, total, steps, "frames", tell, marks=at):
            if (part.n - begun.n) // steps in at:
                looks.append(look_at(tangent, part))
            reached = estimates.after(reached, part)  # this one binding decides what is finished
    count = int(np.searchsorted(known, reached.done, side="right"))
    if begun.single:
        count = int(reached.latest[0]) + 1
    if count == 0:
        raise_if_stopped(tangent, reached.end)
        raise KeyboardInterrupt
    if reached.done < total:
        warnings.warn(
            f"interrupted after {reached.done} of {total} intervals; the result has the {count} estimates known by "
            "then. A run that goes on from its end begins with a new window",
            InterruptedWarning,
            stacklevel=2,
        )
    method = f"sharafi, {variant}, window {window}" + ("" if estimates.periodic else f", start {start}")
    looked = represent(tangent, looks or [begun], steps, total, reached.growth / (total * steps * tangent.dt))
    clvs = _record(tangent, begun, reached, estimates, count, method, steps, stride, planned, looked)
    raise_if_stopped(tangent, reached.end, clvs)
    exponents = clvs.exponents.reshape(len(begun.x), begun.k)
    rates = clvs.rates.reshape(len(begun.x), -1, begun.k)
    checks = [
        check_of_means(tangent, exponents, begun, reached.end, steps),
        derivative_check(tangent, derivative_defect(tangent, begun)),
        *step_checks(tangent, exponents, batch_means_error(rates), looked, intervals * steps * tangent.dt),
        jump_check(crossings(tangent, begun, total, steps), len(exponents)),
    ]
    warn_of(checks, stacklevel=2)
    return clvs


@attrs.frozen(eq=False)
class _Reached:
    """How far the pass has come, rebound as a whole after every part: Ctrl-C finds no half of it.

    Attributes
    ----------
    end : RunState
        End of the part.
    done : int
        The boundary there.
    R : ndarray, shape (members, factors, k (k + 1) / 2)
        The factors that lead to it.
    growth : ndarray, shape (members, k)
        Sum of log R_ii over what a member finished of the record.
    latest, another : ndarray, shapes (members,) and (members, dim, k)
        A member's last estimate (-1: none), and that from another start.
    turned : ndarray, shape (members, k, k)
        Largest sine by which vector i turns vector j in an estimate, had its pass begun elsewhere.
    """

    end: RunState
    done: int
    R: Array
    growth: Array
    latest: Array
    another: Array
    turned: Array

    @classmethod
    def start(cls, begun: RunState) -> _Reached:
        """Nothing yet."""
        members, dim, k = begun.Q.shape
        R = np.empty((members, 0, k * (k + 1) // 2))
        another = np.full((members, dim, k), np.nan)
        none = np.zeros((members, k, k))
        return cls(begun, 0, R, np.zeros((members, k)), np.full(members, -1), another, none)


@attrs.frozen(eq=False)
class _Estimates:
    """The estimates: which, how, and room for them. Frames stand in their place until the window behind is known.

    `first` and `last` are the boundaries of the record, `valid` and `known` those of the estimates, (m,); `starts` are
    those of two backward passes, (members, k, k). States, vectors and growth are (members, m, ...).
    """

    variant: Variant
    window: int
    first: int
    last: int
    starts: tuple[Array, Array]
    valid: Array
    known: Array
    states: Array
    vectors: Array
    growth: Array

    @property
    def periodic(self) -> bool:
        """Whether eigenvectors are taken: no start has an influence then."""
        return self.variant in ("periodic window", "frozen")

    def after(self, before: _Reached, part: RunState) -> _Reached:
        """Fill in what the next part of the pass makes known."""
        done = before.done + part.R.shape[1]
        # one interval more than a window: that which ends at the oldest frame
        spare = max(0, before.R.shape[1] - self.window - 1)
        R = np.concatenate([before.R[:, spare:], part.R], axis=1)
        new, due = (slice(*np.searchsorted(b, [before.done, done], side="right")) for b in (self.valid, self.known))
        at = self.valid[new] - before.done - 1
        self.states[:, new], self.vectors[:, new] = part.xs[:, at], part.Qs[:, at]
        latest, another, turned = before.latest, before.another, before.turned
        if due.start < due.stop:
            latest, another, more = self._estimate(due, R, done - R.shape[1], latest, another)
            turned = np.fmax(turned, more)
        inside = slice(max(0, self.first - before.done), max(0, self.last - before.done))
        recorded = packed_diagonal(part.R[:, inside])
        growth = np.concatenate([before.growth[:, None], np.where(np.isnan(recorded), 0.0, np.log(recorded))], axis=1)
        growth = np.add.accumulate(growth, axis=1)[:, -1].copy()  # in order: `sum` would depend on the parts
        return _Reached(part, done, R, growth, latest, another, turned)

    def _estimate(self, due: slice, R: Array, origin: int, latest: Array, another: Array) -> tuple[Array, Array, Array]:
        """The estimates that are due, from factors of which the first begins at `origin`.

        The last ones, those from another start, and what other starts would change in any of them.
        """
        frames = self.vectors[:, due].copy()
        members, count, _, k = frames.shape
        until, member = np.tile(self.known[due] - origin, members), np.repeat(np.arange(members), count)
        C, total = sweep_back(R, member, until - self.window, until, np.repeat(self.starts[0], count, axis=0))
        if self.periodic:
            C = eigenvectors(C, total)
        self.vectors[:, due] = frames @ C.reshape(members, count, k, k)
        there = np.tile(self.valid[due], members)
        growth = sweep_back(R, member, np.maximum(there - 1, 0) - origin, there - origin, C)[1]
        growth[there == 0] = np.nan  # no interval ends there
        self.growth[:, due] = growth.reshape(members, count, k)

        finished = np.isfinite(self.vectors[:, due, 0, 0]).sum(axis=1)
        fresh = np.flatnonzero(finished)
        latest, another, turned = latest.copy(), another.copy(), np.full((members, k, k), np.nan)
        latest[fresh] = due.start + finished[fresh] - 1
        if not self.periodic:
            until = self.known[latest[fresh]] - origin
            C, _ = sweep_back(R, fresh, until - self.window, until, self.starts[1][fresh])
            another[fresh] = frames[fresh, finished[fresh] - 1] @ C
            shares = np.repeat(random_start_shares(self.starts[0]), count, axis=0)
            every = turned_by(shares, total, self.vectors[:, due].reshape(members * count, -1, k))
            turned = np.fmax.reduce(every.reshape(members, count, k, k), axis=1)
        return latest, another, turned


def _record(
    tangent: Tangent,
    begun: RunState,
    reached: _Reached,
    estimates: _Estimates,
    count: int,
    method: str,
    steps: int,
    stride: int,
    planned: int,
    looked: Representation,
) -> CovariantVectors:
    """The first `count` estimates, with their checks."""
    end, latest, interval = reached.end, reached.latest, steps * tangent.dt
    ends, known = (begun.n + steps * b[:count] for b in (estimates.valid, estimates.known))
    states, vectors, rates = (a[:, :count] for a in (estimates.states, estimates.vectors, estimates.growth / interval))
    running = end.status == RUNNING
    finished = np.where(running, reached.done, (end.stopped - begun.n) // steps - 1)
    recorded = np.clip(finished, estimates.first, estimates.last) - estimates.first
    recorded = np.where(running | end.single, recorded, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        exponents = np.where(recorded > 0, reached.growth.T / (recorded * interval), np.nan).T
    gap, tail_needed = smallest_gap(exponents, interval)
    there = rates[:, int(estimates.valid[0] == 0) :]
    mean = there.mean(axis=1) if there.shape[1] else np.full_like(exponents, np.nan)
    one = vectors[np.arange(len(latest)), latest]
    none = np.full_like(exponents, np.nan)
    at_last = determined_subspaces(one, reached.another, np.ones(exponents.shape, bool), LARGEST_DISAGREEMENT)
    turned = np.pad(reached.turned, ((0, 0), (0, 1), (0, 0)))  # nothing is known of what is not followed
    error = none if estimates.periodic else np.minimum(1.0, turned.sum(axis=1))
    given = end.as_given
    return CovariantVectors(
        method=method,
        times=tangent.time(ends),
        available=tangent.time(known),
        states=handed_over(given(states)),
        vectors=handed_over(given(vectors)),
        rates=handed_over(given(rates)),
        exponents=given(exponents),
        dt=tangent.dt,
        steps_per_interval=steps,
        stride=stride,
        end=end.without_records(),
        diagnostics=VectorDiagnostics(
            derivative=tangent.derivative,
            covariance_residual=given(covariance_residual(tangent, end.members, ends, latest, states, vectors)[0]),
            start_agreement=given(line_distance(reached.another, one)),
            frame_agreement=given(none),
            error=given(error),
            subspaces=given(joined(at_last, turned, end.x.shape[1], LARGEST_ERROR)),
            smallest_gap=given(gap),
            tail_needed=given(tail_needed),
            growth_defect=given(mean - exponents),
            planned_bytes=planned,
            step_error=given(looked.step_error),
        ),
    )
