"""Lorenz 1963 against a loop and packages; the equations of Lorenz 1996."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks.handwritten import lorenz63_slope, rk4_loop
from benchmarks.measure import Contestant, Timing, exponents, race, table
from benchmarks.peers import installed
from dynsys import RK4, FlowStep, NumbaTangent, RunState, SymbolicFlow
from dynsys.models.classics import Lorenz63

Array = np.ndarray


def lorenz63(rounds: int, quick: bool) -> None:
    """One trajectory and 64 of them, all exponents, RK4 with dt = 0.01, re-orthonormalised every 10 steps."""
    dt, every, intervals = 0.01, 10, 200 if quick else 20_000
    few = max(1, intervals // 20)
    tangent = NumbaTangent(FlowStep(Lorenz63(), RK4(dt)), threads=1)
    peers = [peer for peer in installed() if peer.run]
    loop = rk4_loop(lorenz63_slope, 3, 3)
    print("## Lorenz 1963\n\nRK4, dt = 0.01, three vectors, re-orthonormalised every 10 steps unless said otherwise.\n")
    for members in (1, 64):
        count = intervals if members == 1 else few
        x0 = np.array([1.0, 1.0, 20.0]) + 0.01 * np.arange(members)[:, None]
        start = tangent.forward(
            RunState.start(x0[0] if members == 1 else x0, 3, 3, seed=0),
            intervals=100,
            steps_per_interval=every,
            record="nothing",
        )
        entrants = [
            _project(tangent, start, count, every),
            _handwritten(loop, start, count, every, dt),
        ]
        notes = ["compiled beforehand", "one member at a time"]
        for peer in peers:
            steps = max(every, int(peer.share * count * every) // every * every)
            if members == 1:
                entrants.append(_peer(peer.name, peer.run, start.x[0], steps, dt, every, 1))
            elif peer.together is not None:
                entrants.append(_peer(peer.name, peer.together, start.x, steps, dt, every, members))
            else:
                continue
            notes.append(f"{peer.how}; {steps} steps")
        _show("one trajectory" if members == 1 else "64 members", race(entrants, rounds, time.perf_counter), notes)


def lorenz96(dim: int) -> SymbolicFlow:
    """x_i' = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + 8 on a ring (E. N. Lorenz, 1996)."""
    return SymbolicFlow.of(
        {f"x{i}": f"(x{(i + 1) % dim} - x{(i - 2) % dim}) * x{(i - 1) % dim} - x{i} + 8" for i in range(dim)}
    )


def _project(tangent: NumbaTangent, start: RunState, intervals: int, every: int) -> Contestant:
    time = intervals * every * tangent.dt

    def run() -> Array:
        end = tangent.forward(start, intervals=intervals, steps_per_interval=every, record="growth")
        return end.growth.sum(axis=1).mean(axis=0) / time

    return Contestant("dynsys", run, len(start.x) * intervals * every)


def _handwritten(loop: Callable[..., Array], start: RunState, intervals: int, every: int, dt: float) -> Contestant:
    def run() -> Array:
        growth = [loop(x, V, intervals, every, dt)[1].sum(axis=0) for x, V in zip(start.x, start.Q, strict=True)]
        return np.mean(growth, axis=0) / (intervals * every * dt)

    return Contestant("hand-written loop", run, len(start.x) * intervals * every)


def _peer(
    name: str, run: Callable[..., Array], x0: Array, steps: int, dt: float, every: int, members: int
) -> Contestant:
    return Contestant(name, lambda: np.atleast_2d(run(x0, steps, dt, every)).mean(axis=0), members * steps)


def _show(case: str, timings: list[Timing], notes: list[str]) -> None:
    table(
        [case, "ns per step", "time / dynsys", "first call, s", "leading exponents", ""],
        [
            [one.name, one.median, one.over(timings[0]), one.first, exponents(one.answer), note]
            for one, note in zip(timings, notes, strict=True)
        ],
    )
