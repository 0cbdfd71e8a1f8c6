"""What a run will take: its steps and its memory are known before it begins, its time soon after."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys.errors import LARGEST_COUNT, InvalidInputError, LongRunWarning, a_function, levels_up
from dynsys.passes.memory import ask_for_memory

if TYPE_CHECKING:
    from dynsys.passes.run_state import RunState, Tangent

Report = Callable[[int, int], None]

DAY = 86_400.0  # seconds; a run that takes longer is announced
SURE = 10.0  # seconds after which a speed is known; before, the run must be as many times longer to be announced
LONG_INTERVAL, LONG_RUN = 10**6, 10**12  # members x steps, beyond which the speed is measured before the run begins
MEASURED = 0.05  # seconds, for which it is
FEWER = "record fewer intervals, or in several runs that go on from the `end` of the last"


def plan_run(
    tangent: Tangent,
    start: RunState,
    intervals: int,
    steps_per_interval: int,
    progress: Report | None,
    *,
    needed: float = 0.0,
    remedy: str = FEWER,
) -> Pace:
    """A run of so many intervals, warm-up and transients included, if it can be: its pace.

    Parameters
    ----------
    tangent, start
        Of the run.
    intervals, steps_per_interval : int
    progress : callable or None
        Of the user, `progress(done, total)`.
    needed : float
        Bytes that the run will hold at one time, at least.
    remedy : str
        What to do where these are too many.

    Raises
    ------
    InvalidInputError
        If steps can no longer be counted, times no longer told apart, the memory is more than there can be, or
        `progress` cannot be called.

    Warns
    -----
    LongRunWarning
        If the run is so long that its speed is measured at once, and will take more than a day.
    """
    if progress is not None:
        a_function("progress", progress, "progress(done, total)")
    last = start.n + intervals * steps_per_interval
    if last > LARGEST_COUNT:
        raise InvalidInputError(
            f"the run must end by step 2^53 = {LARGEST_COUNT:.2g}, beyond which times are not told apart, got "
            f"{intervals:.3g} intervals of {steps_per_interval:.3g} steps, warm-up included, from step {start.n} on: "
            "take fewer"
        )
    far, dt = max(abs(float(tangent.time(n))) for n in (start.n, last)), tangent.dt
    if np.spacing(np.nextafter(far, 0.0)) > dt:
        raise InvalidInputError(
            f"the run must stay where floating-point times t and t + dt differ, got |t| up to {far:.10g} and dt = "
            f"{dt:.3g}: begin nearer to 0, lengthen dt, or take fewer steps"
        )
    ask_for_memory("the run", needed, remedy)
    members = len(start.x)
    pace = Pace(intervals, steps_per_interval, members)
    if members * steps_per_interval > LONG_INTERVAL or members * intervals * steps_per_interval > LONG_RUN:
        pace.announce(_seconds_per_step(tangent, start) * steps_per_interval, intervals)
    return pace


def _seconds_per_step(tangent: Tangent, start: RunState) -> float:
    """Of all members, from passes over a few steps of which nothing is kept."""
    steps, took = 1, 0.0
    for count in (1, 1, 4, 16, 64, 256, 1024, 4096, 16384):  # a compiler may run in the first
        begun = time.monotonic()
        tangent.forward(start, intervals=1, steps_per_interval=count, record="nothing")
        first, steps, took = took == 0.0, count, time.monotonic() - begun
        if took > MEASURED and not first:
            break
    return took / steps


@attrs.define(eq=False)
class Pace:
    """How fast a run goes; one warning if it will take days."""

    intervals: int
    steps_per_interval: int
    members: int
    since: float = 0.0  # when the first call of the run had ended, in which a compiler may have run
    at: int = -1  # intervals that were done then
    announced: bool = False

    def for_blocks(self, blocks: int, members: int) -> Pace:
        """That of as many runs, one after the other, each with so many members."""
        return attrs.evolve(self, intervals=self.intervals * blocks, members=members)

    def during(self, progress: Report | None = None, before: int = 0) -> Report:
        """What a part of the run that begins after so many intervals calls after each of its calls."""

        def tell(done: int, total: int) -> None:
            self._see(before + done)
            if progress is not None:
                progress(done, total)

        return tell

    def _see(self, done: int) -> None:
        if self.announced:
            return
        now = time.monotonic()
        if self.at < 0:
            self.since, self.at = now, done
        elif now > self.since and done > self.at:
            self.announce((now - self.since) / (done - self.at), self.intervals - done, now - self.since)

    def announce(self, seconds: float, intervals: int, known_for: float = SURE) -> None:
        """Warn if so many intervals, which take so many seconds each, take more than a day."""
        rest = seconds * intervals
        if rest <= DAY * max(1.0, SURE / max(known_for, 1e-3)):
            return
        self.announced = True
        of_members = f" of {self.members} members" if self.members > 1 else ""
        warnings.warn(
            f"{intervals * self.steps_per_interval:.3g} steps{of_members} at {self.steps_per_interval / seconds:.3g} "
            f"steps per second will take {duration(rest)}{until(rest)}: Ctrl-C keeps what is finished of the record, "
            "and nothing of a warm-up; take fewer intervals, or fewer steps_per_interval",
            LongRunWarning,
            stacklevel=levels_up(),
        )


def duration(seconds: float) -> str:
    """In words.

    >>> duration(2.5 * DAY), duration(1e12)
    ('2.5 days', '3.17e+04 years')
    """
    days = seconds / DAY
    return f"{days:.3g} days" if days < 1000 else f"{days / 365.25:.3g} years"


def until(seconds: float) -> str:
    """The day on which it is over, if calendars have it."""
    try:
        return f", until {datetime.now() + timedelta(seconds=seconds):%Y-%m-%d}"
    except OverflowError:  # after the year 9999
        return ""
