"""Ginelli's algorithm: covariant Lyapunov vectors from a forward and a backward pass over one trajectory."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from dynsys.errors import warn_of, whole_number
from dynsys.indicators import line_distance, subspace_distance
from dynsys.orthonormal import random_frames, solve_upper
from dynsys.passes import Pass, Tangent, begin, forward_in_chunks, raise_if_stopped, warm_up
from dynsys.results import CovariantVectors, VectorDiagnostics

Array = np.ndarray

CHECKED_MEMBERS, CHECKED_TIMES = 4, 16  # where the covariance residual is measured
LARGEST_RESIDUAL = 1e-6
LARGEST_DISAGREEMENT = 1e-4


def ginelli(
    tangent: Tangent,
    x0: Array | Pass,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    tail: int | None = None,
    k: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CovariantVectors:
    """Covariant Lyapunov vectors (CLVs) at the ends of `intervals` intervals.

    Forward, M_n Q_{n-1} = Q_n R_n. Backward, from a random upper-triangular C after the tail,

        C_{n-1} = R_n^{-1} C_n D_n,     D_n: unit columns,

    and the CLVs are the columns of Q_n C_n. Both passes converge exponentially: the warm-up aligns Q, the tail C.
    R_n is the factor that leads from n - 1 to n (the next one, or the one before, gives wrong vectors).

    Parameters
    ----------
    tangent, x0, steps_per_interval, k, seed, progress
        As for `dynsys.benettin.benettin`.
    intervals : int
        Length of the window in which vectors are returned.
    warmup, tail : int, optional
        Intervals before and after it, for the frame and for the backward pass to converge. Default: as many as
        `intervals`, at most 1000. `diagnostics.tail_needed` tells what the gaps of the spectrum ask for.

    Returns
    -------
    CovariantVectors

    Raises
    ------
    InvalidInputError, DivergenceError, SingularTangentError
        As for `dynsys.benettin.benettin`.

    Notes
    -----
    Memory: 8 members (intervals (dim + dim k + k^2) + tail k^2) bytes.

    References
    ----------
    F. Ginelli et al., Phys. Rev. Lett. 99, 130601 (2007); J. Phys. A 46, 254005 (2013).

    Examples
    --------
    >>> from models.classics import LinearMap
    >>> clvs = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent().ginelli([0.0, 0.0], intervals=1, warmup=60, tail=60)
    >>> abs(clvs.vectors[0]).round(6)  # the eigenvectors (1, 0) and (2, -3) / 13^(1/2)
    array([[1.     , 0.5547 ],
           [0.     , 0.83205]])
    """
    intervals = whole_number("intervals", intervals, 1)
    steps_per_interval = whole_number("steps_per_interval", steps_per_interval, 1)
    warmup = whole_number("warmup", min(intervals, 1000) if warmup is None else warmup, 0)
    tail = whole_number("tail", min(intervals, 1000) if tail is None else tail, 0)
    first = begin(tangent, x0, k, seed)
    start = warm_up(tangent, first, warmup, steps_per_interval)
    raise_if_stopped(tangent, start)
    window = tangent.forward(start, intervals=intervals, steps_per_interval=steps_per_interval, record="frames")
    raise_if_stopped(tangent, window, window)
    end, later = window, []
    for end in forward_in_chunks(tangent, window.without_records(), tail, steps_per_interval, "R", progress):
        later.append(end.R)
    raise_if_stopped(tangent, end, window)

    C, other = (random_triangles(window, seed, key) for key in (0, 1))
    for chunk in reversed(later):
        for i in reversed(range(chunk.shape[1])):
            C, other = backward(chunk[:, i], C)[0], backward(chunk[:, i], other)[0]
    vectors, growth = window.Qs, np.empty(window.Qs.shape[:2] + C.shape[-1:])
    start_agreement = line_distance(vectors[:, -1] @ other, vectors[:, -1] @ C)
    for i in reversed(range(intervals)):
        vectors[:, i] = vectors[:, i] @ C  # Q is not needed any more
        C, growth[:, i] = backward(window.R[:, i], C)

    clvs = collect(tangent, window, end, growth, steps_per_interval, tail, start_agreement)
    if isinstance(x0, Pass) and x0.k and warmup == 0:  # the frame was aligned by the run that is continued
        agreement = np.full(window.x.shape[:1] + C.shape[-1:], np.nan)
    else:
        agreement = _frame_agreement(tangent, first, start, seed, steps_per_interval)
    diagnostics = attrs.evolve(clvs.diagnostics, frame_agreement=end.as_given(agreement))
    needed = np.max(diagnostics.tail_needed, initial=0.0, where=np.isfinite(diagnostics.tail_needed))
    checks = [
        (
            diagnostics.covariance_residual > LARGEST_RESIDUAL,
            "vectors are not covariant: compare the derivatives with dynsys.testing.check_tangent",
        ),
        (
            (diagnostics.start_agreement > LARGEST_DISAGREEMENT).any(axis=-1),
            f"two starts of the backward pass disagree: the tail of {tail} intervals is too short (the gaps ask for "
            f"about {needed:.0f}), or exponents coincide and only their common subspace is determined",
        ),
        (
            (diagnostics.frame_agreement > LARGEST_DISAGREEMENT).any(axis=-1),
            "two forward frames disagree: lengthen the warm-up, or exponents coincide and only their common subspace "
            "is determined",
        ),
    ]
    warn_of(checks, stacklevel=2)
    return attrs.evolve(clvs, diagnostics=diagnostics)


def random_triangles(end: Pass, seed: int, key: int) -> Array:
    """Random upper-triangular starts of the backward pass, (members, k, k), keyed by (seed, member), by column."""
    k = end.Q.shape[2]
    C = np.zeros((len(end.x), k, k))
    for m, member in enumerate(end.members):
        rng = np.random.default_rng([seed, member, 1 + key])
        for j in range(k):
            C[m, : j + 1, j] = rng.normal(size=j + 1)
    return C / np.linalg.norm(C, axis=1, keepdims=True)


def backward(R: Array, C: Array) -> tuple[Array, Array]:
    """One backward step: R^{-1} C with unit columns, and log growth of each column in the forward direction."""
    C = solve_upper(R, C)
    norms = np.linalg.norm(C, axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return C / norms[..., None, :], -np.log(norms)


def collect(
    tangent: Tangent,
    window: Pass,
    end: Pass,
    growth: Array,
    steps: int,
    delay: int,
    start_agreement: Array,
) -> CovariantVectors:
    """The record of vectors that stand in window.Qs, available `delay` intervals after they are valid."""
    vectors, xs = window.Qs, window.xs
    intervals, k = vectors.shape[1], vectors.shape[3]
    interval = steps * tangent.dt
    ends = window.n - steps * np.arange(intervals)[::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        exponents = np.log(np.diagonal(window.R, axis1=2, axis2=3)).mean(axis=1) / interval
        gap = np.min(-np.diff(exponents, axis=1), axis=1, initial=np.inf)
        tail_needed = np.where(gap > 0, np.ceil(np.log(1e10) / (gap * interval)), np.inf)

    return CovariantVectors(
        times=tangent.time(ends),
        available=tangent.time(ends + delay * steps),
        states=end.as_given(xs),
        vectors=end.as_given(vectors),
        rates=end.as_given(growth / interval),
        exponents=end.as_given(exponents),
        dt=tangent.dt,
        steps_per_interval=steps,
        end=end.without_records(),
        diagnostics=VectorDiagnostics(
            derivative=tangent.system.derivative,
            covariance_residual=end.as_given(_covariance_residual(tangent, window, ends, steps)),
            start_agreement=end.as_given(start_agreement),
            frame_agreement=end.as_given(np.full((len(window.x), k), np.nan)),
            smallest_gap=end.as_given(gap),
            tail_needed=end.as_given(tail_needed),
            growth_defect=end.as_given(growth.mean(axis=1) / interval - exponents),
        ),
    )


def _covariance_residual(tangent: Tangent, window: Pass, ends: Array, steps: int) -> Array:
    """Largest sine of the angle between a vector pushed over an interval and the next, for a sample of times."""
    residual = np.full(len(window.x), np.nan)
    if len(ends) < 2:
        return residual
    sample = np.unique(np.linspace(0, len(ends) - 2, CHECKED_TIMES).round().astype(int))
    for m in np.flatnonzero(np.isfinite(window.Qs).all(axis=(1, 2, 3)))[:CHECKED_MEMBERS]:
        worst = 0.0
        for i in sample:
            x, V = window.xs[m, i], window.Qs[m, i]
            for n in range(ends[i], ends[i + 1]):
                x, V = tangent.step(n, x, V, member=int(window.members[m]))
            worst = max(worst, float(line_distance(V, window.Qs[m, i + 1]).max()))
        residual[m] = worst
    return residual


def _frame_agreement(tangent: Tangent, first: Pass, start: Pass, seed: int, steps: int) -> Array:
    """Distance between the leading subspaces after the warm-up from two different frames."""
    _, dim, k = first.Q.shape
    warmup = (start.n - first.n) // steps
    another = attrs.evolve(first, Q=random_frames(dim, k, seed + 1, first.members))
    return subspace_distance(warm_up(tangent, another, warmup, steps).Q, start.Q)
