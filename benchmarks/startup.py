"""What a fresh process waits for: the import, the first result without and with kernels on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import seconds, table

ROOT = Path(__file__).parents[1]
HEAVY = ("numba", "scipy", "sympy", "matplotlib", "xarray", "sklearn")

IMPORT = """
import json, sys, time
before = set(sys.modules)
begin = time.perf_counter()
import dynsys
taken = time.perf_counter() - begin
print(json.dumps([taken, sorted(set(sys.modules) - before)]))
"""
LORENZ = """
from dynsys import RK4
from dynsys.models.classics import Lorenz63
Lorenz63().tangent(RK4(dt=0.01)).benettin([1.0, 1.0, 20.0], intervals=1000, steps_per_interval=10)
"""
NETWORK = """
from dynsys import Euler
from dynsys.models.activations import Tanh
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
flow = ThreeLayerGradientFlow(*regression_task(), hidden={hidden}, activation=Tanh())
sgd = flow.minibatches(32).tangent(Euler(3e-5))
sgd.benettin(flow.initial(members=64), intervals=10, steps_per_interval=20, warmup=0)
"""
LORENZ_LOOP = """
import numpy as np
from benchmarks.handwritten import lorenz63_slope, rk4_loop
rk4_loop(lorenz63_slope, 3, 3)(np.array([1.0, 1.0, 20.0]), np.eye(3), 1000, 10, 0.01)
"""
NETWORK_LOOP = """
import numpy as np
from benchmarks.handwritten import tanh, three_layer_loops
X = np.random.default_rng(0).normal(size=(1000, 2))
w, V = X[: 4 * {hidden} + 1, 0].copy(), np.eye(4 * {hidden} + 1)
three_layer_loops(tanh, {hidden})[1](w, V, X, X[:, 0].copy(), 32, 200, 3e-5, 20, 0)
"""


def startup(rounds: int, quick: bool) -> None:
    """Fresh processes, interleaved; wall-clock time, the interpreter's start included."""
    print("## Fresh processes\n")
    imports = [json.loads(_process(IMPORT)) for _ in range(rounds)]
    modules = imports[0][1]
    loaded = sorted({name.partition(".")[0] for name in modules} & set(HEAVY))
    assert not loaded, f"import dynsys loads {', '.join(loaded)}"
    own = sum(name.partition(".")[0] == "dynsys" for name in modules)
    bare = [seconds(lambda: _process("import numpy"))[0] for _ in range(rounds)]
    whole = [seconds(lambda: _process("import dynsys"))[0] for _ in range(rounds)]
    print(
        f"`import dynsys` takes {np.median([taken for taken, _ in imports]):.2f} s and loads {len(modules)} modules, "
        f"{own} of them its own, and none of {', '.join(HEAVY)}. A process that imports it takes "
        f"{np.median(np.array(whole) / bare):.2f} times as long as one that imports NumPy.\n",
        flush=True,
    )
    rows = []
    jobs = {
        "Lorenz 1963": (LORENZ, LORENZ_LOOP),
        "2-2-1 tanh network, 64 members": (NETWORK.format(hidden=2), NETWORK_LOOP.format(hidden=2)),
        "2-16-1 tanh network, 64 members": (NETWORK.format(hidden=16), NETWORK_LOOP.format(hidden=16)),
    }
    for name, (job, loop) in list(jobs.items())[: 1 if quick else None]:
        cold, warm, loops, numba = [], [], [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(seconds(lambda: _process(job, folder))[0])  # noqa: B023
                warm.append(seconds(lambda: _process(job, folder))[0])  # noqa: B023
            loops.append(seconds(lambda: _process(loop))[0])  # noqa: B023
            numba.append(seconds(lambda: _process("import numba"))[0])
        rows.append(
            [
                name,
                *(float(np.median(times)) for times in (cold, warm, loops, numba)),
                float(np.median(np.array(loops) / cold)),
                float(np.median(np.array(loops) / warm)),
            ]
        )
    header = ["first result", "cold, s", "warm, s", "hand-written loop, s", "`import numba` alone, s"]
    table([*header, "loop / cold", "loop / warm"], rows)


def _process(code: str, cache: str | None = None) -> str:
    """What a new process prints."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment["PYTHONPATH"] = str(ROOT)
    if cache is not None:
        environment["DYNSYS_CACHE"] = cache
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout
