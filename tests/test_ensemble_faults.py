"""What happens to long runs: kills, full disks, damaged files, dead workers, members that fail, Ctrl-C, other versions."""

import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import (
    DiagnosticWarning,
    Ensemble,
    Euler,
    InterruptedWarning,
    InvalidInputError,
    RK4,
    StoreError,
    SymbolicMap,
    ensemble,
)
from dynsys.blocks import FAILED, STATUSES
from dynsys.store import Store

STUDY = '''
"""Studies that other processes can import, and what is done to them."""
import os, signal, sys, threading, time, warnings
from pathlib import Path

import numpy as np
import xarray
import zarr

from dynsys.ensemble import Ensemble

TIMES = np.linspace(0, 1, 5)


def values(members):
    """Numbers of several types, one row a member."""
    k = np.asarray(members)
    return xarray.Dataset(
        {"wave": (("member", "time"), np.sin(k[:, None] + TIMES)), "square": ("member", k * k, {"units": "1"}),
         "pair": (("side", "member"), np.array([k, -k], dtype="f4")), "even": ("member", k % 2 == 0)},
        {"time": TIMES, "name": ("time", [*"abcd", "η"])},
    )


def quick(members):
    time.sleep(0.002)
    return values(members)


def slow(members):
    time.sleep(1.0)
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
    from models.classics import Lorenz63

    x0 = np.random.default_rng(0).normal(size=(1000, 3)) + 20
    return Ensemble.of(Lorenz63().tangent(RK4(0.01)).benettin, x0, intervals=100, warmup=10)


STUDIES = {"quick": (lambda: Ensemble(quick, 400), 4), "lorenz": (lorenz, 16), "failing": (lambda: Ensemble(failing, 10), 4)}


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
    warnings.filterwarnings("ignore", ".* members failed")
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


def interrupted(name, path, pool, second):
    """Say what Ctrl-C does, as a script sees it."""
    from concurrent.futures import ProcessPoolExecutor

    signal.signal(signal.SIGINT, signal.default_int_handler)
    executor = ProcessPoolExecutor(2) if pool == "processes" else None
    print("begins", flush=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            Ensemble(globals()[name], 40).run(path, block=4, workers=2, executor=executor, progress=lambda p: print("saved", p.done, flush=True))
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
'''


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The module above, as other processes import it."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study_of_faults.py").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
        yield importlib.import_module("study_of_faults")
    del sys.modules["study_of_faults"]


def content(path):
    """All files of a store but its lock."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.name != "lock"}


def committed(path):
    """The chunks of the blocks that are committed, by name."""
    blocks = {file.name for file in path.glob("status/c/*") if file.name.isdigit()}
    return {name: data for name, data in content(path).items() if "/c/" in name and name.split("/")[-1] in blocks}


def assert_readable(path, expected):
    """A reader finds all values of whoever is committed, and what members share."""
    if not (path / "zarr.json").exists():
        assert not list(path.glob("status/c/*"))
        return
    data = xarray.open_zarr(path).load()
    done = np.flatnonzero(data.status.values != -1)
    for name in expected.variables:
        mine, right = data[name].variable, expected[name].variable
        if "member" in right.dims:
            mine, right = mine.isel(member=done), right.isel(member=done)
        elif not len(done):
            continue
        assert mine.dtype == right.dtype
        np.testing.assert_array_equal(mine.values, right.values)


def silent(call, *categories):
    """A result, without warnings of these kinds."""
    with warnings.catch_warnings():
        for category in categories:
            warnings.simplefilter("ignore", category)
        return call()


# --- killed ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_child(study):
    """Run a study in a process, which is killed after a delay, or at the change of a file, or not at all: exit code."""
    command = [sys.executable, "-W", "error", study.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:

        def run(name, path, delay=None, change=0):
            print(name, path, change, file=parent.stdin, flush=True)
            pid = int(parent.stdout.readline())
            if delay is not None:
                time.sleep(delay)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return int(parent.stdout.readline())

        yield run


@pytest.mark.parametrize(
    ("name", "longest"),
    [("quick", 0.15), pytest.param("lorenz", 1.0, marks=[pytest.mark.slow, pytest.mark.numba])],
)
def test_twenty_kills_at_random_lose_nothing(name, longest, run_child, tmp_path):
    whole, path = tmp_path / "whole.zarr", tmp_path / "killed.zarr"
    assert run_child(name, whole) == 0
    expected = xarray.open_zarr(whole).load()
    rng, before, kills = random.Random(1), {}, 0
    while kills < 20:
        code = run_child(name, path, delay=rng.uniform(0, longest))
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        now = committed(path)
        assert before.items() <= now.items()
        assert_readable(path, expected)
        before = now
        if code == 0:  # it was finished: another one
            assert content(path) == content(whole)
            shutil.rmtree(path)
            before = {}
    assert run_child(name, path) == 0
    assert content(path) == content(whole)


def test_a_kill_at_any_change_of_a_file_loses_nothing(run_child, tmp_path):
    whole, path = tmp_path / "whole.zarr", tmp_path / "killed.zarr"
    assert run_child("failing", whole) == 0
    expected = xarray.open_zarr(whole).load()
    change, code = 0, -signal.SIGKILL
    while code:
        change += 1
        shutil.rmtree(path, ignore_errors=True)
        code = run_child("failing", path, change=change)
        assert code in (0, -signal.SIGKILL)
        assert_readable(path, expected)
        before = committed(path)
        assert run_child("failing", path) == 0, change
        assert before.items() <= committed(path).items()
        assert content(path) == content(whole), change
    assert change > 30
