"""What a fresh process waits for: the import, the first result without and with compiled code on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
import numpy as np

from benchmarks.measure import table

ROOT = Path(__file__).parents[1]
HEAVY = ("numba", "scipy", "sympy", "matplotlib", "xarray", "sklearn")

IMPORT = """
import json, sys, time
before = set(sys.modules)
begin = time.process_time()
import dynsys
taken = time.process_time() - begin
print(json.dumps([taken, sorted(set(sys.modules) - before)]))
"""
LORENZ = """
from dynsys import RK4, SymbolicFlow
flow = SymbolicFlow.of(
    {"x": "sigma*(y - x)", "y": "x*(rho - z) - y", "z": "x*y - beta*z"}, {"sigma": 10.0, "rho": 28.0, "beta": 8/3}
)
flow.tangent(RK4(dt=0.01)).benettin([1.0, 1.0, 20.0], intervals=1000, steps_per_interval=10)
"""
RING = """
import numpy as np
from dynsys import RK4
from dynsys.models.classics import Lorenz96
x0 = 8 + 0.01 * np.sin(np.arange(40))
Lorenz96(40).tangent(RK4(dt=0.01)).benettin(x0, intervals=100, steps_per_interval=10)
"""
NETWORK = """
from dynsys import Euler
from dynsys.models.activations import Tanh
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
flow = ThreeLayerGradientFlow(*regression_task(), hidden={hidden}, activation=Tanh())
sgd = flow.minibatches(32).tangent(Euler(3e-5))
sgd.benettin(flow.initial(members=64), intervals=10, steps_per_interval=20, warmup=0)
"""
OSCILLATORS = """
import numpy as np
from benchmarks.medium import kuramoto
from dynsys import RK4
kuramoto(100).tangent(RK4(dt=0.01)).benettin(np.linspace(0, 3, 100), intervals=2, steps_per_interval=10, warmup=0)
"""
VECTORS = LORENZ.replace("benettin", "ginelli").replace("intervals=1000", "intervals=200")
LORENZ_LOOP = """
import numpy as np
from benchmarks.handwritten import lorenz63_slope, rk4_loop
rk4_loop(lorenz63_slope, 3, 3)(np.array([1.0, 1.0, 20.0]), np.eye(3), 1000, 10, 0.01)
"""
RING_LOOP = """
import numpy as np
from benchmarks.handwritten import lorenz96_slope, rk4_loop
rk4_loop(lorenz96_slope, 40, 40)(8 + 0.01 * np.sin(np.arange(40)), np.eye(40), 100, 10, 0.01)
"""
OSCILLATORS_LOOP = """
import numpy as np
from benchmarks.handwritten import rk4_loop
from benchmarks.handwritten_medium import kuramoto_slope
rk4_loop(kuramoto_slope, 100, 100)(np.linspace(0, 3, 100), np.eye(100), 2, 10, 0.01)
"""
NETWORK_LOOP = """
import numpy as np
from benchmarks.handwritten import tanh, three_layer_loops
X = np.random.default_rng(0).normal(size=(1000, 2))
w, V = X[: 4 * {hidden} + 1, 0].copy(), np.eye(4 * {hidden} + 1)
three_layer_loops(tanh, {hidden})[1](w, V, X, X[:, 0].copy(), 32, 200, 3e-5, 20, 0)
"""
# what was there before a system that nobody has seen: others, with as many vectors or members side by side
OTHER_FLOW = """
from dynsys import RK4, SymbolicFlow
flow = SymbolicFlow.of({"u": "v - u", "v": "u - v*w", "w": "u*v - w", "q": "v - q"})
flow.tangent(RK4(dt=0.01)).benettin([1.0, 1.0, 2.0, 0.3], intervals=100, steps_per_interval=10)
flow.tangent(RK4(dt=0.01)).ginelli([1.0, 1.0, 2.0, 0.3], intervals=20, steps_per_interval=10, warmup=100, tail=100)
"""
AGAIN = """
import time
begin = time.process_time()
flow = SymbolicFlow.of({"x": "-y - z", "y": "x + a*y", "z": "b + z*(x - c)"}, {"a": 0.2, "b": 0.2, "c": 5.7})
flow.tangent(RK4(dt=0.01)).benettin([-9.0, 0.0, 0.0], intervals=1000, steps_per_interval=10)
print(time.process_time() - begin)
"""


@attrs.frozen
class First:
    """A first result: the program, another of its kind that compiles what all share, and the loop if there is one."""

    name: str
    program: str
    other: str
    loop: str = ""


JOBS = (
    First("Lorenz 1963, as text", LORENZ, OTHER_FLOW, LORENZ_LOOP),
    First("covariant vectors of Lorenz 1963, as text", VECTORS, OTHER_FLOW),
    First("Lorenz 1996, 40 sites", RING, RING.replace("(40)", "(41)"), RING_LOOP),
    First("Kuramoto, 100 phases, as text", OSCILLATORS, OTHER_FLOW, OSCILLATORS_LOOP),
    First(
        "2-2-1 tanh network, 64 members",
        NETWORK.format(hidden=2),
        NETWORK.format(hidden=3),
        NETWORK_LOOP.format(hidden=2),
    ),
    First(
        "2-16-1 tanh network, 64 members",
        NETWORK.format(hidden=16),
        NETWORK.format(hidden=15),
        NETWORK_LOOP.format(hidden=16),
    ),
)


def startup(rounds: int, quick: bool) -> None:
    """Fresh processes, interleaved; CPU time, the interpreter's start included."""
    print("## Fresh processes\n\nCPU time of whole processes, interpreter and imports included.\n")
    imports = [json.loads(_process(IMPORT)[1]) for _ in range(rounds)]
    modules = imports[0][1]
    loaded = sorted({name.partition(".")[0] for name in modules} & set(HEAVY))
    assert not loaded, f"import dynsys loads {', '.join(loaded)}"
    own = sum(name.partition(".")[0] == "dynsys" for name in modules)
    bare = [_process("import numpy")[0] for _ in range(rounds)]
    whole = [_process("import dynsys")[0] for _ in range(rounds)]
    print(
        f"`import dynsys` takes {np.median([taken for taken, _ in imports]):.2f} s and loads {len(modules)} modules, "
        f"{own} of them its own, and none of {', '.join(HEAVY)}. A process that imports it takes "
        f"{np.median(np.array(whole) / bare):.2f} times as long as one that imports NumPy.\n",
        flush=True,
    )
    rows = []
    for job in JOBS[: 1 if quick else None]:
        times: dict[str, list[float]] = {"empty": [], "new": [], "warm": [], "loop": []}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                times["empty"].append(_process(job.program, folder)[0])
                times["warm"].append(_process(job.program, folder)[0])
            with tempfile.TemporaryDirectory() as folder:
                _process(job.other, folder)
                times["new"].append(_process(job.program, folder)[0])
            if job.loop:
                times["loop"].append(_process(job.loop)[0])
        rows.append([job.name, *(float(np.median(taken)) if taken else "" for taken in times.values())])
    header = ["first result", "nothing on disk, s", "another system's code on disk, s", "its own, s"]
    table([*header, "hand-written loop, s"], rows)
    again = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            again.append(float(_process(LORENZ + AGAIN, folder)[1]))
    print(
        "A second system of three components, as text, defined and run in the process of the first one, with nothing "
        f"on disk: {np.median(again):.2f} s.\n",
        flush=True,
    )


def _process(code: str, cache: str | None = None) -> tuple[float, str]:
    """CPU seconds of a new process, and what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment["PYTHONPATH"] = str(ROOT)
    if cache is not None:
        environment["DYNSYS_CACHE"] = cache
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    after = os.times()
    taken = after.children_user - before.children_user + after.children_system - before.children_system
    return taken, done.stdout
