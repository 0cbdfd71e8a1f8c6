"""States that rest, and orbits that rounding made rest where no orbit can stay.

A fixed point is where a flow has no velocity, or which a map sends to itself. Where it is stable, orbits end there, and
the exponents of the point are those of the orbit: a plain fact. Where it is unstable only a few orbits end there, in
exact arithmetic: floating-point numbers do so by themselves. 2x mod 1 shifts the binary digits of x to the left, and
zeros in from the right; after some 53 steps x = 0, a fixed point with the multiplier 2, whatever the orbit was.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dynsys.passes.run_state import RunState, Tangent
from dynsys.passes.status import RUNNING

Array = np.ndarray

NEAR = 1e-10  # share of the size of states within which a flow has arrived at its fixed point
LAST_BITS = 4 * np.finfo(float).eps  # share of a state, by which a map may move it where it rests
REPEATS = 3  # steps of which each leaves the state in place

LONGEST_CYCLE = 64  # steps
CHECKED_MEMBERS = 8  # the first ones: such checks step one member after the other, by NumPy
GROWN = np.log(2.0)  # by how much vectors have to grow in the last intervals of an orbit that should have left
FROZEN = 1.0 - 1e-6  # share of the first vector in components that recur to the last bit
SHOWN = 4  # components of a state in a message


class Steps(Protocol):
    """What is asked of a step; `dynsys.systems.time_step.TimeStep` is one."""

    @property
    def dt(self) -> float: ...  # noqa: D102
    def step(self, n: int, x: Array) -> Array: ...  # noqa: D102
    def step_tangent(self, n: int, x: Array, V: Array) -> tuple[Array, Array]: ...  # noqa: D102
    def velocity(self, n: int, x: Array) -> Array | None: ...  # noqa: D102


def rests(time_step: Steps, n: int, x: Array, scale: float = 0.0) -> bool:
    """Whether a state (dim,) is at rest from step n on.

    A flow: its velocity f would be gone within a distance of 1e-10 of the size of the state,

        |f| / |J u| <= 1e-10 max(|x|, scale),     u = f / |f|.

    A map, and a flow that depends on time: three steps move the state by no more than its last bits.

    Parameters
    ----------
    time_step : TimeStep
    n : int
    x : ndarray, shape (dim,)
    scale : float
        Size of the states of the run, where these go to 0: |x| is no measure of distances then.
    """
    x = np.asarray(x, dtype=float)
    size = max(float(np.max(np.abs(x))), scale)
    with np.errstate(all="ignore"):
        velocity = time_step.velocity(n, x)
        if velocity is None:
            state = x
            for i in range(REPEATS):
                before, state = state, np.asarray(time_step.step(n + i, state))
                if not np.max(np.abs(state - before)) <= LAST_BITS * size:
                    return False
            return True
        speed = float(np.linalg.norm(velocity))
        if speed == 0.0:
            return True
        direction = (velocity / speed)[:, None]
        pushed = time_step.step_tangent(n, x, direction)[1]
        rate = float(np.linalg.norm(pushed - direction)) / time_step.dt
        return bool(speed <= rate * NEAR * size)


def collapse_check(tangent: Tangent, begun: RunState, end: RunState, growth: Array) -> tuple[Any, str]:
    """The check of a result: members whose orbits rounding let fall on an unstable point or a short unstable cycle.

    The first vector grows, and the components of the state in which it lies recur to the last bit: then the orbit does
    not follow the tangent. An orbit that began there, to its last bits, is no case of it, and neither are transversal
    directions of a manifold that the orbit never left.

    Parameters
    ----------
    begun, end : RunState
        Beginning of the run, and its end with frames.
    growth : ndarray, shape (members, m, k)
        log R_jj of its intervals; the last ones tell whether a closer look is needed.
    """
    fallen, text = np.zeros(len(end.x), dtype=bool), ""
    running = (end.status == RUNNING) & (end.members < CHECKED_MEMBERS)
    for m in np.flatnonzero(running):
        if not _recurs(growth[m, -LONGEST_CYCLE - 2 :, 0]):
            continue
        # steps that were taken: a drive by data may know no others
        n = max(begun.n, end.n - LONGEST_CYCLE)
        period, factor, same = _cycle(tangent, n, end.n, end.x[m], end.Q[m, :, :1], int(end.members[m]))
        began = np.abs(begun.x[m, same] - end.x[m, same]) <= LAST_BITS * np.max(np.abs(end.x[m]))
        if period and factor > 1.0 and not began.all():
            fallen[m] = True
            text = text or _text(end.x[m], period, factor)
    return fallen, text


def _recurs(growth: Array) -> bool:
    """Whether growth in the last two intervals was that of two before, and vectors grow in earnest: a cheap test."""
    if len(growth) < 3 or not growth.sum() > GROWN:  # where weights of a network die, vectors still turn
        return False
    alike = np.isclose(growth[:-1], growth[-1], rtol=1e-9, atol=1e-12)
    return bool((alike[1:] & np.isclose(growth[:-2], growth[-2], rtol=1e-9, atol=1e-12)).any())


def _cycle(tangent: Tangent, n: int, until: int, x: Array, v: Array, member: int) -> tuple[int, float, Array]:
    """After how many steps the components in which the vector (dim, 1) lies recur, its growth by then, and which.

    0 steps: not soon.
    """
    state, pushed, growth = x, v, 0.0
    with np.errstate(all="ignore"):
        for period in range(1, until - n + 1):
            state, pushed = tangent.step(n + period - 1, state, pushed, member=member)
            length = float(np.linalg.norm(pushed))
            if not 0.0 < length < np.inf:
                break
            pushed, growth = pushed / length, growth + np.log(length)
            same = state == x
            if np.linalg.norm(v[same]) >= FROZEN:
                return period, float(np.exp(growth)), same
    return 0, 0.0, np.zeros(len(x), dtype=bool)


def _text(x: Array, period: int, factor: float) -> str:
    shown = ", ".join(f"{value:.6g}" for value in x[:SHOWN]) + ", ..." * (len(x) > SHOWN)
    where = f"the fixed point x = ({shown})" if period == 1 else f"a cycle of {period} steps through x = ({shown})"
    return (
        f"the orbit fell on {where}, which is unstable: vectors there grow by the factor {factor:.6g}"
        f"{'' if period == 1 else ' in a cycle'}, and almost no orbit ends there. Rounding collapsed it, as 2x mod 1 "
        "shifts all binary digits out of x, and the exponents are those of the point. Begin elsewhere; if all orbits "
        "end there, add noise of the size of the last digits to the step, or write it in other coordinates"
    )
