"""Whether covariant vectors are right: the checks that every result makes on itself.

Two are needed. The covariance residual finds wrong factors and wrong derivatives, and is blind to convergence: any
start that is pushed correctly passes. Two starts of the backward pass, and two forward frames, find what has not
converged, and are blind to everything that both share.
"""

from __future__ import annotations

import attrs
import numpy as np

from dynsys.indicators import line_distance, principal_angles
from dynsys.passes.run_state import RunState, Tangent, forward_in_chunks, warm_up

Array = np.ndarray

CHECKED_MEMBERS, CHECKED_TIMES = 4, 4  # where the covariance residual is measured: the first members, some times
CHECKED_STEPS = 2_000  # at most so many steps of each: they are NumPy's, and take some tenths of a second
SHRUNK = 1e-10  # share to which a wrong start shrinks in the backward transient that the gaps need


def covariance_residual(
    tangent: Tangent, members: Array, ends: Array, last: Array, states: Array, V: Array
) -> tuple[Array, Array, Array]:
    """Largest sine of the angle between a vector pushed to the next time and the one there, (members,).

    With it, the largest log of the ratio of two vectors' growth on the way, by which errors grow, and what remains of
    the residual without that: a relative error of the tangent.

    For the first of all members and a sample of times up to their `last`, step by step with `TangentSystem.step`; of
    fewer times where these lie far apart, and NaN where even one is too many. `ends` are the steps of the times;
    states are (members, m, dim), vectors (members, m, dim, k).
    """
    residual, spread, inexact = np.full((3, len(states)), np.nan)
    times = min(CHECKED_TIMES, CHECKED_STEPS // int(ends[1] - ends[0])) if len(ends) > 1 else 0
    for m in np.flatnonzero((last > 0) & (members < CHECKED_MEMBERS) & (times > 0)):
        residual[m] = spread[m] = inexact[m] = 0.0
        for i in np.unique(np.linspace(0, last[m] - 1, times).round().astype(int)):
            x, pushed = states[m, i], V[m, i]
            for n in range(ends[i], ends[i + 1]):
                x, pushed = tangent.step(n, x, pushed, member=int(members[m]))
            off, grown = line_distance(pushed, V[m, i + 1]), np.linalg.norm(pushed, axis=0)
            residual[m] = max(residual[m], off.max())
            spread[m] = max(spread[m], np.ptp(np.log(grown)))
            inexact[m] = max(inexact[m], np.max(off * (grown / grown.max())))
    return residual, spread, inexact


def another_frame(tangent: Tangent, first: RunState, start: RunState, steps: int, seed: int) -> tuple[Array, Array]:
    """The frame after the warm-up from another first one, (members, dim, k), and its log R_ii on the way.

    The warm-up led from `first` to `start`, with so many steps in an interval. Where steps adapt to the vectors, two
    frames would soon be at two states: both begin every interval at the same.
    """
    _, dim, k = start.Q.shape
    another = attrs.evolve(first, Q=tangent.random_frames(dim, k, seed + 1, first.members))
    growth = np.zeros((first.Q.shape[0], k))
    intervals = (start.n - first.n) // steps
    if tangent.tolerance == 0.0:
        for part in forward_in_chunks(tangent, another, intervals, steps, "growth"):
            another = part
            growth += part.growth.sum(axis=1)
        return another.Q, growth
    for _ in range(intervals):
        begun = attrs.evolve(another, x=first.x)
        another = tangent.forward(begun, intervals=1, steps_per_interval=steps, record="growth")
        growth += another.growth[:, 0]
        first = warm_up(tangent, first, 1, steps)
    return another.Q, growth


def smallest_gap(exponents: Array, interval: float) -> tuple[Array, Array]:
    """Smallest difference of successive exponents (members, k), and the backward transient (intervals) that it needs.

    Vector j is wrong in direction i < j by exp(-(lambda_i - lambda_j) t) a time t from the start of the backward
    pass. Infinite where exponents coincide or are out of order.
    """
    gap = np.min(-np.diff(exponents, axis=1), axis=1, initial=np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        return gap, np.where(gap > 0, np.ceil(-np.log(SHRUNK) / (gap * interval)), np.where(gap <= 0, np.inf, np.nan))


def determined_subspaces(
    one: Array, other: Array, frames_agree: Array, tolerance: float, dim: int | None = None
) -> Array:
    """Which vectors are determined singly, which only together, and which not at all: labels (members, k).

    1, ..., k are cut into runs a, ..., b such that the forward frames agree on the spans of their first a - 1 and first
    b vectors, and the vectors a, ..., b of two backward starts, (members, dim, k), span the same space. A run whose
    last boundary the frames do not know is extended; one which a start still contaminates with directions before it is
    joined to the run before. The members of a run bear the number of its first vector, counted from 0: a vector alone
    in its run is determined. -1: not determined; that a run spans the whole of R^dim says nothing (`dim` where vectors
    are given by coefficients).
    """
    members, given, k = one.shape
    dim = given if dim is None else dim
    alone = line_distance(one, other) <= tolerance
    labels = np.tile(np.arange(k), (members, 1))
    known = np.isfinite(one).all(axis=(1, 2)) & np.isfinite(other).all(axis=(1, 2))
    labels[~known] = -1
    for m in np.flatnonzero(known & ~(alone & frames_agree).all(axis=1)):
        firsts: list[int] = []  # of the runs so far
        a = 0  # that of the present one
        for b in range(1, k + 1):
            if not frames_agree[m, b - 1]:
                continue
            while a > 0 and not (
                alone[m, a]
                if b - a == 1
                else principal_angles(one[m, :, a:b], other[m, :, a:b])[-1] <= np.arcsin(tolerance)
            ):
                a = firsts.pop()
            firsts.append(a)
            labels[m, a:b] = a if b - a < max(dim, 2) else -1
            a = b
        labels[m, a:] = -1
    return labels


def joined(labels: Array, turned: Array, dim: int, tolerance: float) -> Array:
    """Labels (members, k) where others turn vectors by `turned`, (members, k + 1, k): runs so coupled are joined.

    A vector that vector i of another run turns by more than the tolerance is known only together with it, and with all
    between them; but where of determined vectors only one is turned, it alone is not known. What a direction that is
    not followed turns (row k) is not known, nor is what comes after it.
    """
    labels, k = labels.copy(), labels.shape[1]
    for m in np.flatnonzero((turned > tolerance).any(axis=(1, 2))):
        coupled = turned[m] > tolerance
        cut = np.append(np.diff(labels[m]) != 0, True)  # after a vector
        kept = np.array([np.count_nonzero(labels[m] == j) == 1 for j in range(k)]) & ~coupled.any(axis=0)
        lost = (labels[m] < 0) | coupled[k]
        for i, j in np.argwhere(coupled):
            cut[min(i, j) : min(max(i, j), k - 1)] = False
        a = 0
        for b in (np.flatnonzero(cut) + 1).tolist():
            if np.count_nonzero(kept[a:b]) == b - a - 1:
                labels[m, a:b][~kept[a:b]] = -1
            elif not kept[a:b].all():
                labels[m, a:b] = -1 if lost[a:b].any() or b - a >= max(dim, 2) else a
            a = b
    return labels


def verdict(labels: Array) -> str:
    """The labels of one member in words."""
    runs = [np.flatnonzero(labels == label) + 1 for label in np.unique(labels[labels >= 0])]
    single = [str(run[0]) for run in runs if len(run) == 1]
    joint = [f"{run[0]}-{run[-1]}" for run in runs if len(run) > 1]
    told = [f"vector(s) {', '.join(single)}"] * bool(single) + [f"the common span of {', '.join(joint)}"] * bool(joint)
    return f"reliable: {' and '.join(told) or 'none'}"


def reliable(end: RunState, labels: Array) -> str:
    """Where to read which vectors are reliable; in words for a run of one state."""
    return verdict(labels[0]) if end.single else "which are reliable is in diagnostics.subspaces"
