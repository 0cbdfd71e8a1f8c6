"""Studies that other processes can import, and what is done to them there."""
# ruff: noqa: T201  what is printed is read by the test

import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import xarray
import zarr  # noqa: F401  before children are forked: in each of them the import would take longer than a study

from dynsys.ensembles.ensemble import Ensemble

TIMES = np.linspace(0, 1, 5)


def values(members):
    """Numbers of several types, one row a member."""
    k = np.asarray(members)
    return xarray.Dataset(
        {
            "wave": (("member", "time"), np.sin(k[:, None] + TIMES)),
            "square": ("member", k * k, {"units": "1"}),
            "pair": (("side", "member"), np.array([k, -k], dtype="f4")),
            "even": ("member", k % 2 == 0),
        },
        {"time": TIMES, "name": ("time", [*"abcd", "η"])},
    )


def quick(members):
    time.sleep(0.002)
    return values(members)


def slow(members):
    time.sleep(0.2)
    return values(members)


def very_slow(members):
    time.sleep(20.0)
    return values(members)


def failing(members):
    if 7 in members:
        raise ArithmeticError("seven")
    return values(members)[["wave"]]


class Deadly:
    """Kills its process at member 5 until the flag is there."""

    def __init__(self, flag):
        self.flag = str(flag)

    def __call__(self, members):
        time.sleep(0.05)
        if 5 in members and not os.path.exists(self.flag):
            time.sleep(0.3)  # others have finished a block by now
            Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return values(members)


def lorenz():
    from dynsys import RK4
    from dynsys.models.classics import Lorenz63

    x0 = np.random.default_rng(0).normal(size=(1000, 3)) + 20
    return Ensemble.of(Lorenz63().tangent(RK4(0.01)).benettin, x0, intervals=100, warmup=10)


STUDIES = {
    "quick": (lambda: Ensemble(quick, 120), 4),
    "lorenz": (lorenz, 16),
    "failing": (lambda: Ensemble(failing, 8), 4),
}


def run(name, path, most=0):
    """A study; at the change of a file number `most` the process is killed."""
    changes = 0

    def kill(event, arguments):
        nonlocal changes
        if event in ("os.rename", "os.remove", "os.mkdir") and str(path) in str(arguments[0]):
            changes += 1
            if changes == most:
                os.kill(os.getpid(), signal.SIGKILL)

    if most:
        sys.addaudithook(kill)
    make, block = STUDIES[name]
    for expected in (".* members failed", "the rates drift"):  # all others are errors
        warnings.filterwarnings("ignore", expected)
    make().run(path, block=block, workers=2)


def serve():
    """Fork a child for every line, before there is any thread; say its number, and how it ended."""
    xarray.concat([values([0]), values([1])], "member")  # imports what is imported when it is needed
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            name, path, most = line.split()
            try:
                run(name, path, int(most))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _say(now):
    print("saved", now.done, flush=True)


def interrupted(name, path, pool, second):
    """Say what Ctrl-C does, as a script sees it."""
    from concurrent.futures import ProcessPoolExecutor

    signal.signal(signal.SIGINT, signal.default_int_handler)
    executor = ProcessPoolExecutor(2) if pool == "processes" else None
    print("begins", flush=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            study = Ensemble(globals()[name], 48)
            study.run(path, block=4, workers=2, executor=executor, progress=_say)
            print("returned", time.monotonic(), *(w.category.__name__ for w in caught), flush=True)
        except KeyboardInterrupt:
            print("KeyboardInterrupt", time.monotonic(), flush=True)
    if name == "very_slow":
        os._exit(0)  # rather than wait for the threads


if __name__ == "__main__":
    if sys.argv[1:]:
        interrupted(*sys.argv[1:])
    else:
        serve()
