"""Times taken side by side, and the tables that show them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np


@attrs.frozen(eq=False)
class Contestant:
    """A program that does a piece of work.

    Attributes
    ----------
    name : str
    run : callable () -> Any
        Does the work once; what it returns last is kept beside the times.
    work : int
        Steps that one run takes, of all members together.
    clock : callable () -> float, optional
        What it is timed by, if not by the clock of the race.
    """

    name: str
    run: Callable[[], Any]
    work: int
    clock: Callable[[], float] | None = None


@attrs.frozen(eq=False)
class Timing:
    """Times of a contestant, in ns per step, one for each round, of its first call in s, and its last answer."""

    name: str
    times: np.ndarray
    first: float
    answer: Any

    @property
    def median(self) -> float:
        """Median over the rounds, ns per step."""
        return float(np.median(self.times))

    def over(self, other: Timing) -> float:
        """How many times as long as another one took: median of the ratios within rounds."""
        return float(np.median(self.times / other.times))


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    """Time of some work by a clock, that on the wall unless another is given, and what it returns."""
    begin = clock()
    answer = work()
    return clock() - begin, answer


def family_time() -> float:
    """CPU time of this process and of its workers that are alive, where the system tells; else the time on the wall."""
    if not Path("/proc/self/stat").exists():
        return time.perf_counter()
    taken = time.process_time()
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        taken += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system
    return taken


def race(contestants: Sequence[Contestant], rounds: int, clock: Callable[[], float] = time.thread_time) -> list[Timing]:
    """Times of all contestants, interleaved: in every round each one runs once. A first call of each warms it up.

    The clock is the CPU time of this thread: what else the machine does is not counted. Programs that work in several
    threads or processes need that of all of them.
    """
    first = [seconds(one.run, one.clock or clock)[0] for one in contestants]
    times = np.empty((len(contestants), rounds))
    answers: list[Any] = [None] * len(contestants)
    for r in range(rounds):
        for i, one in enumerate(contestants):
            taken, answers[i] = seconds(one.run, one.clock or clock)
            times[i, r] = 1e9 * taken / one.work
    return [Timing(one.name, *result) for one, *result in zip(contestants, times, first, answers, strict=True)]


def products_on_two_threads(rounds: int, quick: bool) -> float:
    """How many times as long matrix products take on one thread as on two: what two cores are worth here and now."""
    matrix = np.random.default_rng(0).normal(size=(1000, 1000))

    def products(workers: int) -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda _: matrix @ matrix, range(2 if quick else 8)))

    alone, both = race(
        [Contestant("", lambda: products(1), 1), Contestant("", lambda: products(2), 1)], rounds, time.perf_counter
    )
    return alone.over(both)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a Markdown table, numbers to three digits."""
    lines = [header, ["---"] * len(header), *rows]
    print("\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines), end="\n\n", flush=True)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def exponents(values: np.ndarray) -> str:
    """The three leading exponents, for a table."""
    return ", ".join(f"{value:.3f}" for value in np.asarray(values)[:3])


def over(timing: Timing, unit: Timing) -> float:
    """How many plain steps a step takes beyond one; median of the rounds."""
    return float(np.median(timing.times / unit.times - 1.0))
