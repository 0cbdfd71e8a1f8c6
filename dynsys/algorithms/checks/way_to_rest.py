"""How a run came to rest: what its exponents are then, and whether it would have got there by a finer step, too."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from dynsys.algorithms.checks.representation import LARGEST_REMAINDER, PER_MEMBER, Motion
from dynsys.algorithms.checks.rest import CHECKED_MEMBERS
from dynsys.passes.run_state import RunState, Tangent

Array = np.ndarray

FIRST = 30  # intervals of the way that are looked at
LEAST = 1e-3  # of the state: less is nothing to be thrown by
LARGEST_ERROR = 0.1  # of the state, as a share of the way so far: by then a step has nothing to do with the flow


def rest_check(exponents: Array, moved: Motion, coarse: Array) -> tuple[Any, str]:
    """Whether the means over the way to a state of rest are not its exponents, where the step is not the cause."""
    off = np.abs(-np.sort(-exponents) - moved.rest[:, : exponents.shape[1]])
    with np.errstate(invalid="ignore"):
        off = (off > 1e-3 * np.abs(moved.rest[:, : exponents.shape[1]])) & (off * moved.time > LARGEST_REMAINDER)
    return off.any(axis=1) & ~coarse, (
        "the run comes to rest at a fixed point: its exponents are the rates at which small displacements grow "
        "there, in diagnostics.rest, and the means over the way to it are not"
    )


def way_check(tangent: Tangent, begun: RunState, moved: Motion, steps: int) -> tuple[Any, str]:
    """Whether a step threw the state to where it rests: no look at a state of rest shows that.

    From where the run began, each of the first intervals is taken again by a finer step, from the same state. In an
    interval that is resolved at all both end at about the same state.
    """
    lost, text = np.zeros(len(moved.rest), dtype=bool), ""
    finer = tangent.finer()
    of = np.flatnonzero(np.isfinite(moved.rest).any(axis=1) & (begun.members < CHECKED_MEMBERS))
    if finer is None or not len(of):
        return lost, text
    fine, ratio = finer
    state = begun.with_frames(0, 0)
    state = attrs.evolve(state, **{name: getattr(state, name)[of] for name in PER_MEMBER})
    way, worst = np.zeros(len(of)), 0.0
    for _ in range(FIRST):
        doubled = attrs.evolve(state, n=state.n * ratio)
        by = fine.forward(doubled, intervals=1, steps_per_interval=steps * ratio, record="nothing")
        after = tangent.forward(state, intervals=1, steps_per_interval=steps, record="nothing")
        with np.errstate(invalid="ignore"):
            way = np.maximum(way, np.abs(by.x - state.x).max(axis=1))
            off = np.abs(after.x - by.x).max(axis=1)
            found = off > np.maximum(LARGEST_ERROR * way, LEAST * np.abs(state.x).max(axis=1))
        if found.any() and not worst:
            worst = tangent.time(state.n)
            text = (
                f"the step is too coarse: between t = {tangent.time(state.n):.6g} and {tangent.time(after.n):.6g} it "
                f"moves the state by {off[found][0]:.2g} more than half of it does, to where it then comes to rest; "
                f"shorten dt"
            )
        lost[of[found]] = True
        state = after
    return lost, text
