"""A run that goes on does so at the time at which it stopped, whatever the step."""

from __future__ import annotations

from typing import Any

from dynsys.passes.run_state import RunState, same_clock


def in_step(tangent: Any, x0: Any) -> Any:
    """The tangent with its clock set to a run that it goes on with; itself for initial states, and where they agree.

    Steps go on being counted, n = 0, 1, ..., and step n begins at t0 + n dt. After a run with another dt that would be
    another time, and another phase of whatever depends on time: t0 is shifted so that the run goes on when it stopped.

    Raises
    ------
    InvalidInputError
        If the step has no clock that can be set: a map whose drive is counted in steps.
    """
    if not isinstance(x0, RunState) or same_clock(tangent, x0):
        return tangent
    return tangent.starting_at(x0.time - x0.n * tangent.clock[1])
