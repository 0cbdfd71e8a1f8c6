"""A run of the state alone: what is left of a pass when nobody asks for tangent vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dynsys.errors import whole_number
from dynsys.passes import RUNNING, Pass, Tangent, raise_if_stopped, record_run, state_alone, warm_up
from dynsys.results import Trajectory

Array = np.ndarray


def trajectory(
    tangent: Tangent,
    x0: Array | Pass,
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
    x0 : array_like, shape (dim,) or (members, dim), or Pass
        Initial states; or the `end` of an earlier run: its tangent vectors stop there and its states run on.
    intervals, steps_per_interval : int
        As for `dynsys.benettin.benettin`; a state is recorded at the end of every interval.
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
        As for `dynsys.benettin.benettin`.

    Notes
    -----
    Memory O(intervals dim) for each member. Ctrl-C: as for `dynsys.benettin.benettin`.

    Examples
    --------
    >>> from models.classics import LinearMap
    >>> LinearMap([[0.5]]).tangent().trajectory([8.0], intervals=3).states
    array([[4.],
           [2.],
           [1.]])
    """
    intervals = whole_number("intervals", intervals, 1)
    steps_per_interval = whole_number("steps_per_interval", steps_per_interval, 1)
    start = warm_up(tangent, state_alone(tangent, x0), whole_number("warmup", warmup, 0), steps_per_interval)
    raise_if_stopped(tangent, start)
    end, states = record_run(tangent, start, intervals, steps_per_interval, "states", progress)

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
