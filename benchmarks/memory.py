"""Peak memory of an ensemble whose finite-time exponents and losses are recorded now and then."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import table

ROOT = Path(__file__).parents[1]
MEMBERS, STEPS, TIMES = 4_000, 733_333, 10  # networks, the paper's 22 units of time at 3e-5, output times
DT, SIZE, EVERY = 3e-5, 32, 20


def run(members: int, steps: int) -> dict[str, float]:
    """All nine finite-time exponents and the losses over all data of 2-2-1 tanh networks, at ten times of a run."""
    from dynsys import Euler
    from models.activations import Tanh
    from models.weight_dynamics import ThreeLayerGradientFlow, regression_task

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
        f"factorised every {EVERY} steps; finite-time exponents and losses over all data at {TIMES} times of the run. "
        "A fresh process each, kernels on disk; peak of the resident memory, interpreter and libraries included.\n"
    )
    _process(members, TIMES * EVERY)  # compiles
    done = [_process(members, -(-STEPS // part)) for part in parts]
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


def _process(members: int, steps: int) -> dict[str, float]:
    """`run` in a new process."""
    code = f"import json\nfrom benchmarks.memory import run\nprint(json.dumps(run({members}, {steps})))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)
