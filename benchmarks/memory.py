"""Peak memory: of an ensemble whose exponents and losses are recorded now and then, and of covariant vectors."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import table

ROOT = Path(__file__).parents[1]
MEMBERS, STEPS, TIMES = 4_000, 733_333, 10  # networks, the paper's 22 units of time at 3e-5, output times
DT, SIZE, EVERY = 3e-5, 32, 20
SITES, WINDOW, SETTLE = 40, 100_000, 1_000  # of Lorenz 1996; intervals of five steps, and those before and after them


def run(members: int, steps: int) -> dict[str, float]:
    """All nine finite-time exponents and the losses over all data of 2-2-1 tanh networks, at ten times of a run."""
    from dynsys import Euler
    from dynsys.models.activations import Tanh
    from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task

    flow = ThreeLayerGradientFlow(*regression_task(), hidden=2, activation=Tanh())
    tangent = flow.minibatches(SIZE, seed=2).tangent(Euler(DT))
    stride = -(-steps // (TIMES * EVERY))  # intervals, rounded up
    end = flow.initial(members=members, seed=1)
    begin, exponents, losses = time.perf_counter(), [], []
    for part in range(1, TIMES + 1):
        spectrum = tangent.benettin(
            end, intervals=stride, steps_per_interval=EVERY, warmup=0 if part == 1 else None, stride=stride
        )
        end = spectrum.end
        exponents.append(((part - 1) * exponents[-1] + spectrum.exponents) / part if exponents else spectrum.exponents)
        losses.append(flow.loss(end.x))
    recorded = np.array(exponents), np.array(losses)
    assert recorded[0].shape == (TIMES, members, flow.dimension)
    assert recorded[1].shape == (TIMES, members)
    return {
        "steps": end.n,
        "seconds": time.perf_counter() - begin,
        "peak": peak_memory(),
        "finished": int(np.isfinite(recorded[0][-1]).all(axis=1).sum()),
        "members": members,
    }


def peak_memory() -> float:
    """Peak of the resident memory of this process, GiB."""
    if sys.platform == "linux":  # where `getrusage` begins with what the parent had
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def memory(rounds: int, quick: bool) -> None:
    """Fresh processes: a hundredth and a tenth of the full length, and what they say of all of it."""
    members, parts = (16, (100_000, 50_000)) if quick else (MEMBERS, (100, 10))
    print(
        f"## Memory\n\n{members} networks 2-2-1 tanh, minibatches of {SIZE}, Euler {DT:g}, all nine vectors, "
        f"re-orthonormalised every {EVERY} steps; finite-time exponents and losses over all data at {TIMES} times of "
        "the run. A fresh process each, kernels on disk; peak of resident memory, interpreter and libraries included.\n"
    )
    _process(run, members, TIMES * EVERY)  # compiles
    done = [_process(run, members, -(-STEPS // part)) for part in parts]
    rows = [
        [f"1/{part}", d["steps"], d["finished"], d["seconds"], d["peak"]] for part, d in zip(parts, done, strict=True)
    ]
    last = done[-1]
    rows.append(["all (projected)", STEPS, "", last["seconds"] * STEPS / last["steps"], last["peak"]])
    table(["part of the run", "steps", "members finished", "time, s", "peak memory, GiB"], rows)
    print(
        f"Ten times the length took {done[1]['peak'] - done[0]['peak']:+.3f} GiB: memory is that of the states, the "
        "ten records and one call. The time is projected in proportion to the steps.\n",
        flush=True,
    )


def run_vectors(intervals: int) -> dict[str, float]:
    """All covariant vectors of Lorenz 1996."""
    from benchmarks.flows import lorenz96
    from dynsys import RK4

    tangent = lorenz96(SITES).tangent(RK4(0.02))
    x0 = 8.0 + 0.01 * np.sin(1.0 + np.arange(SITES))
    begin = time.perf_counter()
    clvs = tangent.ginelli(x0, intervals=intervals, steps_per_interval=5, warmup=SETTLE, tail=SETTLE)
    assert clvs.vectors.shape == (intervals, SITES, SITES)
    return {"seconds": time.perf_counter() - begin, "peak": peak_memory()}


def vectors_formula(window: int, tail: int, dim: int, k: int) -> int:
    """Bytes of what covariant vectors cannot do without: a frame for each interval, and triangles packed."""
    triangle = k * (k + 1) // 2
    return 8 * (window * (dim * k + triangle) + tail * triangle)


def vectors_memory(rounds: int, quick: bool) -> None:
    """Fresh processes: a tenth of the window, and all of it."""
    windows = (100, 200) if quick else (WINDOW // 10, WINDOW)
    print(
        f"## Memory of covariant vectors\n\nLorenz 1996, n = {SITES}, forcing 8, RK4, dt = 0.02, all {SITES} vectors "
        f"after every interval of five steps; {SETTLE} intervals of warm-up, and as many of the backward transient. A "
        "fresh process each, kernels on disk; peak of resident memory, interpreter and libraries included. The formula "
        "counts the frames and triangles of the window, and the triangles of the backward transient.\n"
    )
    _process(run_vectors, 2)  # compiles
    done = [_process(run_vectors, window) for window in windows]
    formula = [vectors_formula(window, SETTLE, SITES, SITES) / 2**30 for window in windows]
    rows = [[window, d["seconds"], d["peak"], f] for window, d, f in zip(windows, done, formula, strict=True)]
    table(["intervals", "time, s", "peak memory, GiB", "formula, GiB"], rows)
    taken, needed = done[1]["peak"] - done[0]["peak"], formula[1] - formula[0]
    print(
        f"The additional {windows[1] - windows[0]} intervals took {taken:+.3f} GiB, {taken / needed:.2f} times what "
        "the formula says.\n",
        flush=True,
    )


def _process(work: Callable[..., dict[str, float]], *arguments: int) -> dict[str, float]:
    """A function of this file in a new process."""
    name = work.__name__
    code = f"import json\nfrom benchmarks.memory import {name}\nprint(json.dumps({name}(*{arguments})))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)
