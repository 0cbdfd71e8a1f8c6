"""Lorenz 1996 with a thousand sites: what its leading exponents cost, in evaluations of the velocity and in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from benchmarks.handwritten import lorenz96_slope, lorenz96_velocity, rk4_loop
from benchmarks.measure import Contestant, race, table
from dynsys import RK4, FlowStep, NumbaTangent, RunState

Array = np.ndarray

ROOT = Path(__file__).parents[1]
DT, EVERY = 0.02, 10
# multiply-adds: of a column under the Jacobian, and of the stages and the sum of a Runge-Kutta step
PRODUCT, COMBINE = 4, 3 + 4


def first_pass(dim: int, k: int) -> dict[str, float]:
    """CPU seconds of equations and first pass; memory in MiB: resident before, at its peak, and of NumPy's arrays."""
    from benchmarks.flows import lorenz96
    from benchmarks.memory import peak_memory

    begin = time.process_time()
    flow = lorenz96(dim)
    defined = time.process_time()
    tangent = NumbaTangent(FlowStep(flow, RK4(DT)), threads=1)
    start = RunState.start(_state(dim), dim, k, seed=0)
    tangent.forward(start, intervals=1, steps_per_interval=1, record="growth")
    compiled, before = time.process_time(), peak_memory()
    tracemalloc.start()
    tangent.forward(start, intervals=50, steps_per_interval=EVERY, record="growth")
    arrays = tracemalloc.get_traced_memory()[1]
    return {
        "definition": defined - begin,
        "first": compiled - defined,
        "before": 1024 * before,
        "peak": 1024 * peak_memory(),
        "arrays": arrays / 2**20,
    }


def lorenz96_wide(rounds: int, quick: bool) -> None:
    """Twenty vectors on a ring of a thousand sites, RK4 with dt = 0.02."""
    dim, k = (40, 3) if quick else (1000, 20)
    print(
        f"## Lorenz 1996, {dim} sites\n\nThe {k} leading exponents, RK4, dt = {DT}, forcing 8, one trajectory. "
        f"A frame takes {8 * dim * k / 1024:.0f} KiB, a dense Jacobian would take {8 * dim**2 / 2**20:.2g} MiB.\n"
    )
    _first(dim, k)
    _steps(dim, k, rounds, quick)


def _first(dim: int, k: int) -> None:
    """Fresh processes: without kernels on disk, and with them."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            found = _process(dim, k, folder)
            rows.append([name, *(found[key] for key in ("definition", "first", "before", "peak", "arrays"))])
    table(
        ["fresh process", "equations, s", "first pass, s", "memory then, MiB", "at its peak, MiB", "arrays, MiB"], rows
    )
    print(
        "Memory is the peak of resident memory, interpreter and libraries included: after the first pass, which "
        "compiles or loads the kernel, and after another 50 intervals. The arrays are the most that NumPy held during "
        "these.\n"
    )


def _steps(dim: int, k: int, rounds: int, quick: bool) -> None:
    """Steps in evaluations of the velocity."""
    from benchmarks.flows import lorenz96

    count = 20 if quick else 2000
    tangent = NumbaTangent(FlowStep(lorenz96(dim), RK4(DT)), threads=1)
    start = tangent.forward(
        RunState.start(_state(dim), dim, k, seed=0), intervals=100, steps_per_interval=EVERY, record="nothing"
    )
    alone = tangent.forward(
        RunState.start(start.x[0], dim, 0, seed=0), intervals=1, steps_per_interval=1, record="nothing"
    )
    loop, x, f = rk4_loop(lorenz96_slope, dim, k), start.x[0].copy(), np.empty(dim)
    matrix = np.random.default_rng(0).normal(size=(200, 200) if quick else (1000, 1000))

    def dynsys(end: RunState, every: int) -> Contestant:
        def run() -> RunState:
            return tangent.forward(end, intervals=count // every, steps_per_interval=every, record="nothing")

        return Contestant("", run, count // every * every)

    evaluation, with_numpy, state, pushed, whole, looped, product = race(
        [
            Contestant("", lambda: lorenz96_velocity(x, f, 100 * count), 100 * count),
            Contestant("", lambda: [velocity(x) for _ in range(count)], count),
            dynsys(alone, EVERY),
            dynsys(start, min(count, 200)),
            dynsys(start, EVERY),
            Contestant("", lambda: loop(start.x[0], start.Q[0], count // EVERY // 2, EVERY, DT), count // 2),
            Contestant("", lambda: matrix @ matrix, matrix.shape[0] ** 3),
        ],
        rounds,
    )
    ideal = 4 * (1 + k * PRODUCT / 3)
    rows = [
        ["one evaluation of the velocity, compiled", evaluation, ""],
        ["the same, NumPy", with_numpy, ""],
        ["step of the state alone", state, ""],
        [f"step with {k} vectors, not re-orthonormalised", pushed, f"by arithmetic: {ideal:.0f} evaluations"],
        [f"step with {k} vectors, re-orthonormalised every {EVERY} steps", whole, ""],
        ["hand-written loop, the same", looped, "Gram-Schmidt"],
    ]
    table(
        ["", "ns", "evaluations", "evaluations by NumPy", ""],
        [[name, one.median, one.over(evaluation), one.over(with_numpy), note] for name, one, note in rows],
    )
    multiply_adds = dim * k * (4 * PRODUCT + COMBINE)
    share = 100 * (1 - 1 / whole.over(pushed))
    print(
        f"The factorisation takes {share:.0f} % of a step when it comes every "
        f"{EVERY} steps. The vectors of a step are {multiply_adds} multiply-adds: {multiply_adds / pushed.median:.1f} "
        f"per nanosecond, {100 * multiply_adds * product.over(pushed):.0f} % of the rate of a matrix product.\n",
        flush=True,
    )


def velocity(x: Array) -> Array:
    """What one writes with NumPy."""
    return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8.0


def _state(dim: int) -> Array:
    return 8.0 + 0.01 * np.sin(1.0 + np.arange(dim))


def _process(dim: int, k: int, folder: str) -> dict[str, float]:
    """`first_pass` in a new process, with kernels kept in some folder."""
    code = f"import json\nfrom benchmarks.wide import first_pass\nprint(json.dumps(first_pass({dim}, {k})))"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DYNSYS_CACHE": folder}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)
