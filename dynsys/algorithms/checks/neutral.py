"""The neutral covariant vector against the velocity of the flow: whether vectors are those of the flow.

All other checks hold vectors against the step. Where time does not stand in the equations the velocity is covariant
under the flow, whatever the step, and nobody told the algorithm.
"""

from __future__ import annotations

import numpy as np

from dynsys.algorithms.checks.covariance import CHECKED_MEMBERS
from dynsys.indicators import principal_angles
from dynsys.passes.run_state import Tangent

Array = np.ndarray

CHECKED_TIMES = 8  # at which it is held against the velocity
AT_REST = 1e-12  # of the state: a step moves it by less
SAME_SPEED = 2.0  # log of the ratio of the speeds in both halves: beyond, the velocity grows or decays
SAME_GROWTH = 5.0  # log of the ratio of two growths: within it may be the same, beyond it is another


def neutral_angle(
    tangent: Tangent, members: Array, ends: Array, last: Array, states: Array, V: Array, growth: Array, labels: Array
) -> tuple[Array, Array]:
    """Largest angle between the velocity of an autonomous flow and its neutral vector, radians, (members,); and which.

    The velocity is covariant under the flow, so that it grows by |f(x(T))| / |f(x(0))|; where the motion recurs, the
    vector of that growth is the velocity. Of a vector known only together with others the span is taken. For the first
    members, at a sample of times; NaN, and -1, at rest, where speed grows or decays, where there is no velocity, and
    where the growths of several vectors (members, m, k) do not tell which one it is.
    """
    found, which = np.full(len(states), np.nan), np.full(len(states), -1)
    for m in np.flatnonzero((last > 0) & (members < CHECKED_MEMBERS)):
        at = np.unique(np.linspace(0, last[m], CHECKED_TIMES).round().astype(int))
        step = tangent.of_member(int(members[m]))
        velocities = []
        for i in at:
            velocity = step.velocity(int(ends[i]), states[m, i])
            if velocity is None:
                return found, which
            velocities.append(velocity)
        speed = np.linalg.norm(velocities, axis=1)
        if not (speed * tangent.dt > AT_REST * np.linalg.norm(states[m, at], axis=1)).all():
            continue
        log_speed, half = np.log(speed), len(at) // 2
        if abs(np.median(log_speed[:half]) - np.median(log_speed[half:])) > SAME_SPEED:
            continue
        off = np.abs(growth[m, 1 : last[m] + 1].sum(axis=0) - (log_speed[-1] - log_speed[0]))
        j = off.argmin()
        span = np.flatnonzero(labels[m] == labels[m, j]) if labels[m, j] >= 0 else np.array([j])
        if off[j] > SAME_GROWTH or np.delete(off, span).min(initial=np.inf) < SAME_GROWTH:
            continue
        if V.shape[3] - 1 in span and V.shape[3] < V.shape[2]:  # the next one, not followed, may grow alike
            continue
        which[m] = j
        units = np.array(velocities) / speed[:, None]
        found[m] = principal_angles(V[m, at][:, :, span], units[:, :, None]).max()
    return found, which
