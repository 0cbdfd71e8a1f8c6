"""Whether the cost of a step goes smoothly with the number of components, of vectors and of members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.measure import Contestant, race, table
from dynsys import RK4, RunState
from dynsys.models.classics import Lorenz63, Lorenz96
from dynsys.passes.status import RUNNING
from dynsys.systems.tangent import TangentSystem

Array = np.ndarray

DT, EVERY = 0.01, 10
COMPONENTS = (4, 6, 8, 9, 10, 12, 15, 16, 17, 20, 24, 25, 32, 33, 40, 64, 100, 128, 200, 256, 400, 512, 800, 1000, 2000)
VECTORS = (1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 17, 20, 24, 32, 33, 40, 64, 100, 128, 200)
MEMBERS = (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 25, 31, 32, 33, 64, 65, 1024)


def sizes(rounds: int, quick: bool) -> None:
    """Rings of any size with one, eight and all vectors; of 40 and 200 with any number; ensembles of any size."""
    print(
        f"## Cost against size\n\nLorenz 1996, RK4, dt = {DT}, re-orthonormalised every {EVERY} steps; CPU time of the "
        "thread in ns per step and entry of the frame.\n"
    )
    budget = 1 if quick else 30
    rows = []
    for dim in (4, 9, 16) if quick else COMPONENTS:
        numbers = [1, min(8, dim), *([dim] if dim <= 200 else [])]
        cost = _ring(dim, numbers, rounds, budget)
        rows.append([dim, *cost, *[""] * (3 - len(cost))])
    table(["n", "k = 1", "k = 8 (or n)", "k = n"], rows)
    dims = (6,) if quick else (40, 200)
    columns = [_ring(dim, [k for k in VECTORS if k <= dim], rounds, budget) for dim in dims]
    longest = max(map(len, columns))
    rows = [[k, *(column[i] if i < len(column) else "" for column in columns)] for i, k in enumerate(VECTORS[:longest])]
    table(["k", *(f"n = {dim}" for dim in dims)], rows)
    print("Members side by side, all vectors; CPU time in ns per step and member, and in units of that of one state:\n")
    members = (1, 3, 17) if quick else MEMBERS
    small = _members(Lorenz63().tangent(RK4(DT)), np.array([1.0, 1.0, 20.0]), members, rounds, budget)
    some = [m for m in members if m <= 65]
    dim = 5 if quick else 40
    ring = _members(Lorenz96(dim).tangent(RK4(DT)), _state(dim), some, rounds, budget)
    header = ["members", "Lorenz 1963, ns", "over one state", f"Lorenz 1996, {dim} sites, ns", "over one state"]
    table(header, [[m, *a, *b] for m, a, b in zip(members, small, [*ring, *[("", "")] * len(members)], strict=False)])

    _call(rounds, quick)


def _call(rounds: int, quick: bool) -> None:
    """What a call of a pass costs beside its steps."""
    tangent, times = Lorenz63().tangent(RK4(DT)).on_one_thread(), 10 if quick else 1000
    start = RunState.start(np.array([1.0, 1.0, 20.0]), 3, 3, seed=0)

    def run() -> None:
        for _ in range(times):
            tangent.forward(start, intervals=1, steps_per_interval=1, record="growth")

    (call,) = race([Contestant("", run, times)], rounds)
    print(f"A call for a single step of Lorenz 1963 takes {call.median / 1e3:.0f} µs.\n", flush=True)


def _ring(dim: int, numbers: Sequence[int], rounds: int, milliseconds: float) -> list[float]:
    """Time per entry of the frame, for each number of vectors."""
    tangent = Lorenz96(dim).tangent(RK4(DT))
    entrants = [_pass(tangent, _state(dim), k, milliseconds) for k in numbers]
    return [one.median / (dim * k) for one, k in zip(race(entrants, rounds), numbers, strict=True)]


def _members(
    tangent: TangentSystem, x0: Array, members: Sequence[int], rounds: int, milliseconds: float
) -> list[tuple[float, float]]:
    """Time per member, and the same in units of those of a single state, for each number of members."""
    states = [x0, *(x0 + 0.001 * np.arange(count)[:, None] for count in members)]
    timings = race([_pass(tangent, x, tangent.dimension, milliseconds) for x in states], rounds)
    return [(one.median, one.over(timings[0])) for one in timings[1:]]


def _pass(tangent: TangentSystem, x0: Array, k: int, milliseconds: float) -> Contestant:
    """Some milliseconds of a pass, by a rough guess of the cost of a step."""
    tangent, start = tangent.on_one_thread(), RunState.start(x0, tangent.dimension, k, seed=0)
    guess = 1e-6 * len(start.x) * max(20.0, 3.0 * tangent.dimension * (k + 1))
    intervals = max(1, int(milliseconds / (guess * EVERY)))

    def run() -> None:
        end = tangent.forward(start, intervals=intervals, steps_per_interval=EVERY, record="growth")
        assert (end.status == RUNNING).all()  # nothing is left out

    return Contestant("", run, len(start.x) * intervals * EVERY)


def _state(dim: int) -> Array:
    return 8.0 + 0.01 * np.sin(1.0 + np.arange(dim))
