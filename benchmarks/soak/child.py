"""What the soak test runs in processes of their own: an ensemble that may be killed, and a resident that may not grow.

python -m benchmarks.soak.child run FOLDER SEED MEMBERS threads|processes
python -m benchmarks.soak.child resident FOLDER
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import xarray

from dynsys import RK4, Ensemble, TangentSystem
from dynsys.models.classics import Duffing, Henon, HenonHeiles, Lorenz63, Roessler, StandardMap

Array = np.ndarray

BLOCK, WORKERS = 4, 2
PLAIN_EVERY = 4  # of so many blocks the last is computed by NumPy
PAUSE = 2.0  # seconds between two ensembles of the resident

Make = Callable[[str], TangentSystem]
SYSTEMS: tuple[tuple[str, Make, tuple[float, ...]], ...] = (
    ("Lorenz 1963", lambda backend: Lorenz63().tangent(RK4(0.01), backend=backend), (1.0, 1.0, 20.0)),
    ("Henon", lambda backend: Henon().tangent(backend=backend), (0.1, 0.1)),
    ("Roessler", lambda backend: Roessler().tangent(RK4(0.05), backend=backend), (1.0, 1.0, 0.0)),
    ("Henon-Heiles", lambda backend: HenonHeiles().tangent(RK4(0.05), backend=backend), (0.0, 0.1, 0.3, 0.0)),
    ("standard map", lambda backend: StandardMap().tangent(backend=backend), (0.5, 0.5)),
    ("Duffing", lambda backend: Duffing().tangent(RK4(0.05), backend=backend), (0.5, 0.0)),
)


@attrs.frozen(eq=False)
class Mixed:
    """Most members by compiled kernels, some by NumPy; a few raise an error."""

    compiled: Callable[[Array], xarray.Dataset]
    plain: Callable[[Array], xarray.Dataset]
    failing: list[int]

    def __call__(self, members: Array) -> xarray.Dataset:
        """What is computed for some members, in whatever blocks they come."""
        bad = [m for m in members.tolist() if m in self.failing]
        if bad:
            raise ArithmeticError(f"member {bad[0]} was told to fail")
        by_numpy = members // BLOCK % PLAIN_EVERY == PLAIN_EVERY - 1
        places = [np.flatnonzero(~by_numpy), np.flatnonzero(by_numpy)]
        computes = (self.compiled, self.plain)
        parts = [part(members[where]) for part, where in zip(computes, places, strict=True) if where.size]
        if len(parts) == 1:
            return parts[0]
        both = xarray.concat(parts, "member", data_vars="minimal", coords="minimal", compat="identical", join="exact")
        return both.isel(member=np.argsort(np.concatenate(places)))


def study(seed: int, members: int) -> Ensemble:
    """An ensemble that a seed defines: system, initial states, members that fail."""
    rng = np.random.default_rng(seed)
    _, make, x = SYSTEMS[seed % len(SYSTEMS)]
    x0 = np.array(x) + 0.01 * rng.normal(size=(members, len(x)))
    parts = [
        Ensemble.of(make(backend).benettin, x0, intervals=20, steps_per_interval=5, warmup=4, seed=seed).compute
        for backend in ("numba", "numpy")
    ]
    return Ensemble(Mixed(*parts, rng.integers(members, size=2).tolist()), members)


def run(folder: Path, seed: int, members: int, executor: str) -> dict[str, Any]:
    """Run an ensemble; say how it ended, and of what it warned."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what runs in the background
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with ExitStack() as stack:
                pool = stack.enter_context(ProcessPoolExecutor(WORKERS)) if executor == "processes" else None
                study(seed, members).run(folder, block=BLOCK, executor=pool, workers=WORKERS)
            end = {"end": "returned", "text": ""}
        except BaseException as problem:
            end = {"end": type(problem).__name__, "text": str(problem), "trace": traceback.format_exc()[-3000:]}
    return end | {"warnings": [f"{each.category.__name__}: {each.message}" for each in caught]}


def resident(folder: Path) -> None:
    """Run small ensembles for ever in one process: a line about its size, and about their bits, after each."""
    first: dict[str, bytes] = {}
    path, done = folder / "resident.zarr", 0
    while True:
        with warnings.catch_warnings(), ExitStack() as stack:
            warnings.simplefilter("ignore")
            pool = stack.enter_context(ProcessPoolExecutor(WORKERS)) if done % 8 == 7 else None
            data = study(0, 64).run(None if done % 4 == 0 else path, block=8, executor=pool, workers=WORKERS).load()
        if done % 4 == 2:
            shutil.rmtree(path)  # at done % 4 == 2 a finished store was continued
        found = {
            str(name): np.ascontiguousarray(variable.values).tobytes() for name, variable in data.variables.items()
        }
        first = first or found
        del data
        gc.collect()
        done += 1
        status = Path("/proc/self/status").read_text()
        size = int(status.partition("RssAnon:")[2].split()[0]) * 2**10  # pages of files come and go as others need them
        line = {
            "done": done,
            "rss": size,
            "descriptors": len(os.listdir("/proc/self/fd")) - 1,
            "threads": threading.active_count(),
            "tasks": len(os.listdir("/proc/self/task")),
            "same": found == first,
        }
        print(json.dumps(line), flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    what, place, *rest = sys.argv[1:]
    if what == "resident":
        resident(Path(place))
    else:
        print("begins", flush=True)
        print(json.dumps(run(Path(place), int(rest[0]), int(rest[1]), rest[2])), flush=True)
