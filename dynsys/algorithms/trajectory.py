"""A run of the state alone, without tangent vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys.errors import whole_number
from dynsys.passes.clock import in_step
from dynsys.passes.plan import FEWER, plan_run
from dynsys.passes.run_state import RunState, Tangent, record_run, state_alone, warm_up
from dynsys.passes.status import RUNNING
from dynsys.passes.stopped import raise_if_stopped
from dynsys.results.result import Result, labelled, readonly

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


@attrs.frozen(eq=False, kw_only=True)
class Trajectory(Result):
    """States along a trajectory, or those of an ensemble, without tangent vectors.

    Attributes
    ----------
    times : ndarray, shape (intervals,)
        Absolute times at which the intervals end.
    states : ndarray, shape (..., intervals, dim)
        States at those times; NaN after a member stopped.
    dt : float
        Length of a step; an interval has `steps_per_interval` of them.
    end : RunState
        Last step, states and the status of every member: pass it as x0 to go on from here.
    """

    times: Array = readonly()
    states: Array = readonly()
    dt: float
    steps_per_interval: int
    end: RunState

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time and state."""
        return labelled(self, {"x": (("time", "state"), self.states)}, {"time": self.times})

    def __repr__(self) -> str:
        return f"Trajectory(states {self.states.shape})"


def trajectory(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """States at the ends of `intervals` intervals. Nothing is differentiated.

    Parameters
    ----------
    tangent : TangentSystem
    x0 : array_like, shape (dim,) or (members, dim), or RunState
        Initial states; or the `end` of an earlier run: its tangent vectors stop there and its states run on.
    intervals, steps_per_interval : int
        As for `dynsys.algorithms.benettin.benettin`; a state is recorded at the end of every interval.
    warmup : int
        Intervals before the record begins.
    progress : callable, optional
        Called as progress(done, intervals) now and then.

    Returns
    -------
    Trajectory

    Raises
    ------
    InvalidInputError, DivergenceError
        As for `dynsys.algorithms.benettin.benettin`.

    Notes
    -----
    Memory O(intervals dim) for each member. Ctrl-C: as for `dynsys.algorithms.benettin.benettin`.

    Examples
    --------
    >>> from dynsys.models.classics import LinearMap
    >>> LinearMap([[0.5]]).tangent().trajectory([8.0], intervals=3).states
    array([[4.],
           [2.],
           [1.]])
    """
    intervals = whole_number("intervals", intervals, 1)
    steps_per_interval = whole_number("steps_per_interval", steps_per_interval, 1)
    tangent = in_step(tangent, x0)
    warmup, begun = whole_number("warmup", warmup, 0), state_alone(tangent, x0)
    pace = plan_run(
        tangent, begun, warmup + intervals, steps_per_interval, progress,
        needed=8 * intervals * (2 * begun.x.size + 2), remedy=f"record rarer (steps_per_interval), {FEWER}",
    )  # fmt: skip
    start = warm_up(tangent, begun, warmup, steps_per_interval, pace.during())
    raise_if_stopped(tangent, start)
    end, states, _ = record_run(tangent, start, intervals, steps_per_interval, "states", pace.during(progress, warmup))

    def finished(part: slice) -> Trajectory:
        ends = start.n + steps_per_interval * np.arange(1, states.shape[1] + 1)
        return Trajectory(
            times=tangent.time(ends[part]),
            states=end.as_given(states[:, part]),
            dt=tangent.dt,
            steps_per_interval=steps_per_interval,
            end=end.without_records(),
        )

    if end.single and end.status[0] != RUNNING:
        count = int(np.isfinite(states[0]).all(axis=1).sum())
        raise_if_stopped(tangent, end, finished(slice(count)) if count else None)
    return finished(slice(None))
