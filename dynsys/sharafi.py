"""Sharafi's estimate: covariant Lyapunov vectors without the far future.

The published abstract promises CLVs "without knowledge of the future trajectory", and a later paper names "a backward
iteration interval"; the recipe itself could not be had in full. So the estimator is a choice among readings of it,
each with a name: see `sharafi`. docs/sharafi.md compares them with Ginelli's vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from dynsys.compiled.sweep import sweep_back
from dynsys.convergence import covariance_residual, determined_subspaces, smallest_gap
from dynsys.errors import InvalidInputError, whole_number, whole_stride
from dynsys.ginelli import LARGEST_DISAGREEMENT, random_triangles
from dynsys.indicators import line_distance
from dynsys.passes import Pass, Tangent, begin, raise_if_stopped, run, warm_up, warn_if_interrupted
from dynsys.results import CovariantVectors, VectorDiagnostics
from dynsys.window import MEMORY_LIMIT, allocator

Array = np.ndarray

Reading = Literal["lagged", "near-future", "recycled", "frozen"]
StartMatrix = Literal["identity", "random"]


def sharafi(
    tangent: Tangent,
    x0: Array | Pass,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    window: int | None = None,
    reading: Reading = "lagged",
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

    the readings are

    ============= ================================================= ============ ============
    reading       estimate                                          valid at     known at
    ============= ================================================= ============ ============
    "lagged"      Q_{n-w} C_{n-w}                                   n - w        n
    "near-future" the same, listed by the time where it is valid    n            n + w
    "recycled"    Q_n times the eigenvectors of R_n ... R_{n-w+1}   n            n
    "frozen"      "recycled" with w = 1                             n            n
    ============= ================================================= ============ ============

    n runs over the ends of the strides of the record. All but "near-future" are causal: the run ends where the record
    does, and what is known at n is not changed by anything later.

    Lagged: vector j is wrong in direction i < j by about exp(-(lambda_i - lambda_j) w dtau), so a short window in a
    system with small gaps gives little more than the backward vectors (start "identity") or a random mixture of them
    ("random"). Recycled: as if the last w intervals had been repeated for ever; exact where the tangent map is
    constant, else wrong by what the vectors turn in a window, however long. It needs no start matrix.

    Parameters
    ----------
    tangent, x0, steps_per_interval, k, seed, progress
        As for `dynsys.benettin.benettin`.
    intervals : int
        Length of the record.
    warmup : int, optional
        Intervals before it. Default: as many as `intervals`, at most 1000; none for a run that is continued. Causal
        estimates of which the window would begin before the run are left out: with a warm-up of at least `window`
        there are none.
    window : int, optional
        Intervals of the backward pass. Default: 10, as in the paper (1 for "frozen").
    reading, start : str
        See above.
    stride, memory_limit
        As for `dynsys.ginelli.ginelli`.

    Returns
    -------
    CovariantVectors
        `times` are those for which the estimates are valid, `available` those at which they were known.

    Raises
    ------
    InvalidInputError, DivergenceError, SingularTangentError
        As for `dynsys.benettin.benettin`; what was known before a run stopped is kept.

    Notes
    -----
    Memory: the result, 8 members (intervals / stride) dim (k + 1) bytes, and two windows of frames. For an ensemble
    at a few chosen times continue from `end` with intervals = stride. Ctrl-C: as for `dynsys.benettin.benettin`.

    References
    ----------
    N. Sharafi, M. Timme, S. Hallerberg, Phys. Rev. E 96, 032220 (2017) (abstract);
    N. Sharafi, C. Martin, S. Hallerberg, arXiv:2405.00743, Sec. V.
    """
    intervals = whole_number("intervals", intervals, 1)
    steps = whole_number("steps_per_interval", steps_per_interval, 1)
    stride = whole_stride(stride, intervals)
    for name, value, names in (("reading", reading, Reading), ("start", start, StartMatrix)):
        if value not in get_args(names):
            raise InvalidInputError(f"{name} must be one of {', '.join(get_args(names))}, got {value!r}")
    if window is None:
        window = 1 if reading == "frozen" else 10
    window = whole_number("window", window, 1)
    if reading == "frozen" and window > 1:
        raise InvalidInputError(f'"frozen" is "recycled" with window=1, got window={window}: leave it out')
    if warmup is None:
        warmup = 0 if isinstance(x0, Pass) and x0.k else min(intervals, 1000)
    warmup = whole_number("warmup", warmup, 0)
    ahead = window if reading == "near-future" else 0
    lead = 0 if ahead else min(window, warmup)  # intervals of the warm-up that the first windows reach back to
    if not ahead and lead + intervals < window:
        raise InvalidInputError(
            f"no estimate has a whole window of {window} intervals before it: the run has {warmup} + {intervals} "
            "intervals of warm-up and record; lengthen one of them, or shorten the window"
        )
    begun = warm_up(tangent, begin(tangent, x0, k, seed), warmup - lead, steps)
    raise_if_stopped(tangent, begun)
    estimator = _Estimator(begun, intervals, lead, window, reading, start, seed, stride, memory_limit)
    end = run(tangent, begun, lead + intervals + ahead, steps, "frames", estimator.take, progress)
    if estimator.count(end) == 0:
        raise_if_stopped(tangent, end)
        raise KeyboardInterrupt
    warn_if_interrupted(begun, end, lead + intervals + ahead, steps)
    clvs = estimator.record(tangent, end, steps)
    raise_if_stopped(tangent, end, clvs)
    return clvs


class _Estimator:
    """Takes the parts of a pass as they come, keeps the last window of them, and estimates at the ends of strides.

    Boundaries are counted in intervals from the beginning of the recorded pass; the factor R[b] leads from b to b + 1.
    """

    def __init__(
        self,
        begun: Pass,
        intervals: int,
        lead: int,
        window: int,
        reading: Reading,
        start: StartMatrix,
        seed: int,
        stride: int,
        memory_limit: float,
    ) -> None:
        members, dim, k = begun.Q.shape
        self.begun, self.lead, self.window, self.reading, self.start = begun, lead, window, reading, start
        self.stride, self.recycled = stride, reading in ("recycled", "frozen")
        ends = lead + stride * np.arange(1, intervals // stride + 1)
        # boundaries where estimates are valid, and where they are known
        self.valid, self.known = {
            "lagged": (ends - window, ends),
            "near-future": (ends, ends + window),
        }.get(reading, (ends, ends))
        possible = self.known >= window
        self.valid, self.known = self.valid[possible], self.known[possible]
        self.planned = 8 * members * len(ends) * dim * (k + 1)
        make = allocator(self.planned, memory_limit)
        self.vectors, self.states = make((members, len(self.valid), dim, k)), make((members, len(self.valid), dim))
        self.growth = np.full((members, len(self.valid), k), np.nan)
        self.agreement = np.full((members, k), np.nan)
        self.labels = np.full((members, k), -1)
        self.total, self.done = np.zeros((members, k)), 0
        self.random = [random_triangles(begun, seed, key) for key in (0, 1)]
        # the ring: frames at the boundaries from `origin` on, and the factors between them
        self.origin = 0
        self.x, self.Q = begun.x[:, None], begun.Q[:, None]
        self.R = np.empty((members, 0, k * (k + 1) // 2))

    def take(self, done: int, part: Pass) -> None:
        """The next intervals."""
        self.x = np.concatenate([self.x, part.xs], axis=1)
        self.Q = np.concatenate([self.Q, part.Qs], axis=1)
        self.R = np.concatenate([self.R, part.R], axis=1)
        counted = part.R[:, max(0, self.lead - done) :, _diagonal(self.growth.shape[2])]
        self.total += np.log(counted).sum(axis=1)
        last = done + part.R.shape[1]
        due = np.flatnonzero((self.known > done) & (self.known <= last))
        if len(due):
            self._estimate(due)
        self.done = last
        spare = max(0, last - self.window - 1 - self.origin)  # one interval more: that which ends at the oldest frame
        self.origin += spare
        # copies, or the ring would keep whole parts alive
        self.x, self.Q, self.R = (a[:, spare:].copy() for a in (self.x, self.Q, self.R))

    def _estimate(self, due: Array) -> None:
        members, k = len(self.x), self.growth.shape[2]
        valid, known = self.valid[due] - self.origin, self.known[due] - self.origin
        member = np.repeat(np.arange(members), len(due))

        def backward(starts: Array, places: slice = slice(None)) -> Array:
            """Coefficients in the frames where estimates are valid, (members, estimates, k, k)."""
            count = len(known[places])
            tasks, until = np.repeat(np.arange(members), count), np.tile(known[places], members)
            C, total = sweep_back(self.R, tasks, until - self.window, until, np.repeat(starts, count, axis=0))
            return (eigenvectors(C, total) if self.recycled else C).reshape(members, count, k, k)

        plain = self.recycled or self.start == "identity"
        C = backward(np.broadcast_to(np.eye(k), (members, k, k)) if plain else self.random[0])
        self.vectors[:, due] = self.Q[:, valid] @ C
        self.states[:, due] = self.x[:, valid]
        before = np.tile(valid - 1, members)  # the interval that ends there; it may lie before the run
        there = before >= 0
        growth = np.full((len(member), k), np.nan)
        growth[there] = sweep_back(self.R, member[there], before[there], before[there] + 1, C.reshape(-1, k, k)[there])[
            1
        ]
        self.growth[:, due] = growth.reshape(members, len(due), k)
        if self.recycled:  # there is no start to compare with
            return
        one = self.vectors[:, due[-1]]
        another = self.Q[:, valid[-1]] @ backward(self.random[1], slice(-1, None))[:, 0]
        self.agreement = line_distance(another, one)
        self.labels = determined_subspaces(one, another, np.ones((members, k), bool), LARGEST_DISAGREEMENT)

    def count(self, end: Pass) -> int:
        """Number of estimates; for one state those before it stopped."""
        count = int(np.searchsorted(self.known, self.done, side="right"))
        return int(np.isfinite(self.vectors[0, :count, 0, 0]).sum()) if end.single else count

    def record(self, tangent: Tangent, end: Pass, steps: int) -> CovariantVectors:
        """What has been estimated."""
        done = self.count(end)
        vectors, interval = self.vectors[:, :done], steps * tangent.dt
        ends = self.begun.n + steps * self.valid[:done]
        rates = self.growth[:, :done] / interval
        exponents = self.total / ((self.done - self.lead) * interval)
        gap, tail_needed = smallest_gap(exponents, interval)
        last = np.isfinite(vectors[:, :, 0, 0]).sum(axis=1) - 1
        residual = covariance_residual(tangent, end.members, ends, last, self.states, vectors)
        given = end.as_given
        return CovariantVectors(
            method=f"sharafi, {self.reading}, window {self.window}"
            + ("" if self.recycled else f", start {self.start}"),
            times=tangent.time(ends),
            available=tangent.time(self.begun.n + steps * self.known[:done]),
            states=given(self.states[:, :done]),
            vectors=given(vectors),
            rates=given(rates),
            exponents=given(exponents),
            dt=tangent.dt,
            steps_per_interval=steps,
            stride=self.stride,
            end=end.without_records(),
            diagnostics=VectorDiagnostics(
                derivative=tangent.system.derivative,
                covariance_residual=given(residual),
                start_agreement=given(self.agreement),
                frame_agreement=given(np.full_like(self.agreement, np.nan)),
                subspaces=given(self.labels),
                smallest_gap=given(gap),
                tail_needed=given(tail_needed),
                growth_defect=given(rates.mean(axis=1) - exponents),
                planned_bytes=self.planned,
            ),
        )


def eigenvectors(C: Array, total: Array) -> Array:
    """Eigenvectors of the products P of triangular factors, from one backward pass through them, (tasks, k, k).

    A pass from the identity gives P^{-1} = C diag(exp(-total)), so with e_ij = exp(total_j - total_i) column j solves

        (C_jj - C_ii e_ij) v_i = sum_{i < m <= j} C_im e_mj v_m,     v_j = 1,

    which neither over- nor underflows for long windows. Unit columns, upper triangular, in the order of the frame.
    """
    k = C.shape[-1]
    V = np.zeros_like(C)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for j in range(k):
            scale = np.exp(total[:, j : j + 1] - total)
            V[:, j, j] = 1.0
            for i in reversed(range(j)):
                known = np.sum(C[:, i, i + 1 : j + 1] * scale[:, i + 1 : j + 1] * V[:, i + 1 : j + 1, j], axis=1)
                here, there = C[:, j, j], C[:, i, i] * scale[:, i]
                least = np.finfo(float).eps * (np.abs(here) + np.abs(there))  # equal eigenvalues: the limit
                gap = here - there
                V[:, i, j] = known / np.where(np.abs(gap) < least, least, gap)
    return V / np.linalg.norm(V, axis=1, keepdims=True)


def _diagonal(k: int) -> Array:
    """Places of R_ii in a packed factor."""
    return np.cumsum(np.arange(1, k + 1)) - 1
