"""What happens to long runs: kills, full disks, damaged files, dead workers, Ctrl-C, members that fail."""

import importlib.metadata
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import (
    DiagnosticWarning,
    Ensemble,
    Euler,
    InvalidInputError,
    StoreError,
    SymbolicMap,
    progress,
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
    from models.classics import Lorenz63

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
            say = lambda now: print("saved", now.done, flush=True)
            study.run(path, block=4, workers=2, executor=executor, progress=say)
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
    """The chunks of the blocks that are committed, by name, and those that all members share."""
    blocks = {file.name for file in path.glob("status/c/*") if file.name.isdigit()}
    found = {}
    for name, data in content(path).items() if blocks else ():
        variable, _, chunk = name.partition("/c/")
        if chunk and not chunk.endswith(".partial"):
            dims = json.loads((path / variable / "zarr.json").read_bytes())["dimension_names"]
            if "member" not in dims or chunk.split("/")[dims.index("member")] in blocks:
                found[name] = data
    return found


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
        assert mine.dtype == right.dtype or name == "name"  # text has another type in NumPy
        np.testing.assert_array_equal(mine.values, right.values)


def attempt(call, *errors):
    """A result, or what an error said."""
    try:
        return call(), ""
    except errors as problem:
        return None, str(problem)


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
    assert change > 20


# --- other executors, and workers that die ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(study):
    """A Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def networks(backend):
    """Networks that learn from batches of their own."""
    from models.activations import Tanh
    from models.weight_dynamics import ThreeLayerGradientFlow, regression_task

    flow = ThreeLayerGradientFlow(*regression_task(samples=20, seed=0), hidden=2, activation=Tanh())
    tangent = flow.minibatches(5, seed=1, shared=False).tangent(Euler(0.1), backend=backend)
    x0 = np.random.default_rng(2).normal(size=(10, flow.dimension))
    return Ensemble.of(tangent.benettin, x0, intervals=8, warmup=2, k=2)


def plain(study):
    return Ensemble(study.values, 10)


def lorenz(study):
    x0 = np.random.default_rng(0).normal(size=(10, 3)) + 20
    return Ensemble.of(study.lorenz().compute.tangent.benettin, x0, intervals=20, warmup=5)


@pytest.mark.parametrize(
    "make",
    [
        plain,
        lambda study: networks("numpy"),
        pytest.param(lambda study: networks("compiled"), marks=pytest.mark.numba),
        pytest.param(lorenz, marks=pytest.mark.numba),
    ],
    ids=["plain", "networks", "networks, compiled", "lorenz"],
)
def test_no_bit_depends_on_executor_or_block(make, study, client):
    study = make(study)
    expected = study.run(block=10, workers=1)
    with ThreadPoolExecutor(1) as thread, ProcessPoolExecutor(2) as processes:
        for executor in (None, thread, processes, client.get_executor()):
            for block in (3, 1, 64)[: 3 if executor in (None, thread) else 1]:
                found = study.run(block=block, executor=executor, workers=2)
                xarray.testing.assert_identical(found, expected)
                for name in expected.variables:
                    assert found[name].values.tobytes() == expected[name].values.tobytes()


def test_a_dask_worker_that_dies_changes_nothing(study, client, tmp_path):
    whole = Ensemble(study.values, 16).run()
    flag, path = tmp_path / "flag", tmp_path / "runs.zarr"
    found = Ensemble(study.Deadly(flag), 16).run(path, block=2, executor=client.get_executor(), workers=2)
    assert flag.exists()
    xarray.testing.assert_equal(found.load(), whole)


def test_a_pool_that_loses_a_worker_is_an_error_and_a_new_one_goes_on(study, tmp_path):
    path, deadly = tmp_path / "runs.zarr", Ensemble(study.Deadly(tmp_path / "flag"), 16)
    with ProcessPoolExecutor(2) as pool, pytest.raises(BrokenProcessPool, match="terminated abruptly") as caught:
        deadly.run(path, block=2, executor=pool, workers=2)
    expected = study.values(np.arange(16))
    assert_readable(path, expected)
    done = 2 * len(list(path.glob("status/c/*")))
    assert 2 <= done < 16
    assert caught.value.__notes__ == [f"{done} of 16 members are saved in {path}: the same call goes on"]
    with ProcessPoolExecutor(2) as pool:
        found = deadly.run(path, executor=pool, workers=2)
    xarray.testing.assert_equal(found.drop_vars("status").load(), expected)


# --- a full disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder, leave):
    """Fill a disk, but for some bytes."""
    free = shutil.disk_usage(folder).free
    (folder / "ballast").write_bytes(b"0" * max(0, free - leave))


def wide(members):
    return xarray.Dataset({"wide": (("member", "k"), np.sin(members[:, None] + np.arange(1000.0)))})


@pytest.mark.parametrize("leave", [0, 4096, 40_000, 80_000])
def test_a_disk_that_fills_up_keeps_what_is_finished(leave, small_disk):
    path, whole = small_disk / "runs.zarr", Ensemble(wide, 40).run().load()

    def progress(now):
        if now.done == 8:
            fill(small_disk, leave)

    with pytest.raises(OSError, match="No space left") as caught:
        Ensemble(wide, 40).run(path, block=4, workers=1, progress=progress)
    assert "of 40 members are saved" in caught.value.__notes__[0]
    assert_readable(path, whole)
    assert len(list(path.glob("status/c/*"))) == 2 + leave // 36_000
    with pytest.raises((OSError, InvalidInputError)):  # it is still full
        Ensemble(wide, 40).run(path, workers=1)
    assert_readable(path, whole)
    (small_disk / "ballast").unlink()
    found = Ensemble(wide, 40).run(path, workers=1)
    xarray.testing.assert_equal(found.load(), whole)
    assert not list(path.rglob("*.partial"))


def test_a_disk_that_is_full_while_a_store_is_made(small_disk, monkeypatch):
    monkeypatch.setattr(progress.Run, "_ask_for_room", lambda *_: None)
    path, whole = small_disk / "runs.zarr", Ensemble(wide, 8).run().load()
    for pages in range(16):
        shutil.rmtree(path, ignore_errors=True)
        fill(small_disk, 4096 * pages)
        with pytest.raises(OSError, match="No space left"):
            Ensemble(wide, 8).run(path, block=4, workers=1)
        (small_disk / "ballast").unlink()
        xarray.testing.assert_equal(Ensemble(wide, 8).run(path, block=4).load(), whole)


def test_a_disk_that_is_too_small_is_seen_after_the_first_block(small_disk, tmp_path):
    calls = []

    def huge(members):
        calls.append(members)
        time.sleep(0.05)
        return wide(members)

    with pytest.raises(InvalidInputError, match=r"needs 0.0032 GB for 100 blocks, and the disk has 0.00209 GB"):
        Ensemble(huge, 400).run(small_disk / "runs.zarr", block=4, workers=1)
    assert len(calls) <= 2  # the second was on its way


# --- damage ----------------------------------------------------------------------------------------------------------


def damage(file, kind):
    data = bytearray(file.read_bytes())
    if kind == "cut short":
        file.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "removed":
        file.unlink()
    else:
        place = next(i for i in range(len(data) // 2, len(data)) if file.suffix != ".json" or chr(data[i]).isalnum())
        data[place] ^= 1
        file.write_bytes(data)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """A finished store of two blocks, in which member 7 failed."""
    path = tmp_path_factory.mktemp("finished") / "runs.zarr"
    silent(lambda: fails_at_7(study).run(path, block=4), DiagnosticWarning)
    return path


def fails_at_7(study):
    values = study.values

    def compute(members):
        if 7 in members:
            raise ArithmeticError("seven")
        return values(members)

    return Ensemble(compute, 8)


@pytest.mark.parametrize("kind", ["cut short", "empty", "removed", "a byte"])
def test_any_damaged_file_is_named_and_mended(kind, study, finished, tmp_path):
    right, names = xarray.open_zarr(finished).load(), list(content(finished))
    assert len(names) == 4 * 2 + 2 + 2 + 7 + 1 + 2  # chunks by member, of the status, common; descriptions; failures
    path = tmp_path / "runs.zarr"
    for name in names:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(finished, path)
        damage(path / name, kind)
        store, said = attempt(lambda: Store.open(path), StoreError)
        assert (store is None) == (name in said)
        data, said = attempt(store.dataset, ValueError) if store else (None, "")
        assert "checksum" in said or data or not store
        assert not said or name == "time/c/0"  # an index is read at once
        for variable in data.variables if data else ():
            found, said = attempt(lambda: data[variable].values, ValueError)  # noqa: B023
            if said:
                assert "checksum" in said
                assert name.split("/c/")[0] == variable
            else:
                pending = variable == "status" and kind == "removed" and name.startswith("status/c/")
                np.testing.assert_array_equal(
                    found, np.where(found == -1, -1, right.status) if pending else right[variable]
                )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fails_at_7(study).run(path)
        messages = [str(warning.message) for warning in caught if warning.filename == __file__]
        assert messages.pop() == "1 members failed, the first is 7: ArithmeticError: seven"
        if kind == "removed" and name.startswith("status/c"):  # it has never been finished, as far as one can see
            assert messages == []
        else:
            assert len(messages) == 1, name
            assert name in messages[0]
        assert content(path) == content(finished)


def test_a_header_of_which_both_copies_are_damaged(study, finished, tmp_path):
    path = tmp_path / "runs.zarr"
    shutil.copytree(finished, path)
    root = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(root.replace('"members": 8', '"members": 7'))
    damage(path / "status" / "header.json", "cut short")
    before = content(path)
    with pytest.raises(StoreError, match=r"both copies .*zarr.json: .*checksum.*status/header.json"):
        fails_at_7(study).run(path)
    assert content(path) == before


texts = st.sampled_from([b"", b"[]", b"{}", b"null", b"1", b"[" * 100_000, b"9" * 5000, b"\xff", b'{"attributes": []}'])
harms = st.tuples(
    st.integers(0, 100),  # which file
    st.sampled_from(["over", "insert", "cut", "replace", "remove"]),
    st.floats(0, 1),  # where
    st.one_of(st.binary(min_size=1, max_size=8), texts),
)


@settings(max_examples=15)
@given(st.lists(harms, min_size=1, max_size=4))
def test_any_bytes_end_with_the_right_numbers_or_an_error(study, finished, tmp_path_factory, harms):
    path = tmp_path_factory.mktemp("harmed") / "runs.zarr"
    shutil.copytree(finished, path)
    names = list(content(path))
    for number, kind, place, new in harms:
        file = path / names[number % len(names)]
        old = file.read_bytes() if file.exists() else b""
        at = int(place * len(old))
        if kind == "remove":
            file.unlink(missing_ok=True)
        else:
            head, tail = old[:at], {"over": old[at + len(new) :], "insert": old[at:]}.get(kind, b"")
            file.write_bytes({"cut": head, "replace": new}.get(kind, head + new + tail))
    began = time.monotonic()
    found, said = attempt(lambda: silent(lambda: fails_at_7(study).run(path), DiagnosticWarning), StoreError)
    if found is None:
        assert any(name in said for name in names)
    else:
        changed = {name for name, data in content(finished).items() if content(path)[name] != data}
        assert all(name.endswith(".json") for name in changed)  # spaces, for instance
        assert_readable(path, xarray.open_zarr(finished).load())
    assert time.monotonic() - began < 10


# --- two processes ---------------------------------------------------------------------------------------------------


def start(study, *arguments):
    """A script that runs a study, in a process group of its own."""
    command = [sys.executable, study.__file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_second_process_is_refused_until_the_first_is_gone(pool, study, tmp_path):
    path, again = tmp_path / "runs.zarr", Ensemble(study.values, 48)
    with start(study, "very_slow", path, pool, "") as first:
        assert first.stdout.readline() == "begins\n"
        while not (path / "status" / "lock").exists() or not (path / "status" / "lock").read_text():
            time.sleep(0.01)
        time.sleep(0.3)  # workers are forked, too
        with pytest.raises(StoreError, match=f"is being written by process {first.pid} on "):
            again.run(path, block=4)
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
        assert again.run(path, block=4).sizes["member"] == 48
        with suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)  # workers that nobody told


def test_a_run_inside_a_run_is_refused_and_the_lock_is_let_go(study, tmp_path):
    path = tmp_path / "runs.zarr"

    def progress(_):
        with pytest.raises(StoreError, match=f"process {os.getpid()} on"):
            Ensemble(study.values, 48).run(path)

    Ensemble(study.values, 48).run(path, progress=progress)
    (path / "status" / "lock").unlink()  # as in a copy
    Ensemble(study.values, 48).run(path)


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["threads", "processes"])
@pytest.mark.parametrize("saved", [0, 8])
def test_one_interrupt_saves_the_blocks_that_have_begun(saved, pool, study, tmp_path):
    path, expected = tmp_path / "runs.zarr", study.values(np.arange(48))
    with start(study, "slow", path, pool, "") as process:
        assert process.stdout.readline() == "begins\n"
        if saved:
            while process.stdout.readline() != f"saved {saved}\n":
                pass
        else:
            while not (path / "status" / "lock").exists():
                time.sleep(0.01)
        time.sleep(0.2)
        before = 4 * len(list(path.glob("status/c/*")))
        os.killpg(process.pid, signal.SIGINT)
        sent = time.monotonic()
        *_, last = process.stdout
    word, moment, *categories = last.split()
    assert (word, categories) == ("returned", ["InterruptedWarning"])
    assert 0 < float(moment) - sent < 4
    done = 4 * len(list(path.glob("status/c/*")))
    assert saved < done <= before + 16  # two blocks to a worker are under way
    assert_readable(path, expected)
    if not saved:
        return
    with start(study, "slow", path, pool, "") as process:
        *_, last = process.stdout
    assert last.startswith("returned")
    assert "Warning" not in last
    assert_readable(path, expected)
    assert (xarray.open_zarr(path).status == 0).all()


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_second_interrupt_ends_at_once(pool, study, tmp_path):
    path = tmp_path / "runs.zarr"
    with start(study, "very_slow", path, pool, "") as process:
        assert process.stdout.readline() == "begins\n"
        while not (path / "status" / "lock").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        sent = time.monotonic()
        *_, last = process.stdout if pool == "threads" else [process.stdout.readline()]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    word, moment = last.split()
    assert word == "KeyboardInterrupt"
    assert float(moment) - sent < 1
    assert Ensemble(study.values, 48).run(path, block=4).sizes["member"] == 48


# --- members that fail -----------------------------------------------------------------------------------------------

DOUBLE = SymbolicMap.of({"x": "2*x**2"})  # away from 1/2, to 0 or to infinity


@pytest.mark.parametrize("backend", ["numpy", "compiled"])
def test_members_that_diverge_are_marked_and_leave_the_others_alone(backend):
    x0 = np.full((20, 1), 0.45)
    x0[[0, 7, 8, 9, 19]] = [[1.5], [2.0], [3.0], [4.0], [1e300]]
    good = np.setdiff1d(np.arange(20), [0, 7, 8, 9, 19])
    tangent, seen = DOUBLE.tangent(backend=backend), []
    options = {"intervals": 5, "steps_per_interval": 2, "warmup": 0}
    whole = None
    for block in (1, 3, 20):
        study = Ensemble.of(tangent.benettin, x0, **options, stride=1)
        found = silent(lambda: study.run(block=block, workers=2, progress=seen.append), DiagnosticWarning)  # noqa: B023
        assert [*found.status.values] == [int(m not in good) for m in range(20)]
        assert seen[-1].statuses == {"finished": 15, "diverged": 5}
        assert seen[-1].done == 20
        whole = found if whole is None else whole
        xarray.testing.assert_identical(found, whole)
    alone = silent(lambda: Ensemble.of(tangent.benettin, x0[good], **options).run(), DiagnosticWarning)
    for name in ("rate", "exponent_mean"):
        assert whole[name].values[good].tobytes() == alone[name].values.tobytes()


ALL = {
    "f8": np.float64(0.5), "f4": np.float32(0.5), "i8": np.int64(5), "i2": np.int16(5), "i1": np.int8(5),
    "u8": np.uint64(5), "u1": np.uint8(5), "b1": np.bool_(True),
}  # fmt: skip


def of_all_types(members, bad=()):
    """Variables of all types; NaN for members that are divisible by 5, an error for the bad ones."""
    wrong = [m for m in members if m in bad]
    if wrong:
        raise ArithmeticError(f"{'seven' if len(members) > 1 else wrong[0]} is bad")
    size = len(members)
    data = {name: ("member", np.full(size, value)) for name, value in ALL.items()}
    data["x"] = (("side", "member"), np.where(members % 5 == 0, np.nan, members + np.array([[0.5], [0.25]])))
    return xarray.Dataset(data, {"sigma": ("member", members * 0.5), "side": [0, 1]}, {"title": "types", "n": (1, 2)})


@pytest.mark.parametrize("bad", [(7,), (18, 19), (0, 1, 2, 9, 19), tuple(range(19))])
def test_members_that_raise_are_named_and_the_others_do_not_notice(bad, tmp_path):
    clean = Ensemble(of_all_types, 20).run(block=20)
    good, seen, whole = np.setdiff1d(np.arange(20), bad), [], None
    for block in (3, 1, 20):
        path = tmp_path / f"{block}.zarr"
        study = Ensemble(partial(of_all_types, bad=bad), 20)
        with pytest.warns(DiagnosticWarning, match=f"{len(bad)} members failed, the first is {bad[0]}: Ari") as caught:
            found = study.run(path, block=block, workers=2, progress=seen.append)
        assert caught[0].filename == __file__
        with pytest.warns(DiagnosticWarning, match="members failed"):
            xarray.testing.assert_identical(study.run(path), found)  # a finished one is read
        assert found.attrs.pop("definition") != clean.attrs.get("definition")
        assert Store.open(path).failures() == {m: f"ArithmeticError: {m} is bad" for m in bad}
        assert (found.status.values[list(bad)] == FAILED).all()
        assert [STATUSES[int(s)] for s in found.status[good]] == ["finished" if m % 5 else "not finite" for m in good]
        assert seen[-1].statuses == {name: n for name, n in Counter(map(STATUSES.get, found.status.values)).items()}
        for name in clean.variables:
            assert found[name].dtype == clean[name].dtype
            mine, right = found[name], clean[name]
            if "member" in right.dims:
                mine, right = mine.isel(member=good), right.isel(member=good)
            assert name == "status" or mine.values.tobytes() == right.values.tobytes()
        assert np.isnan(found.x.values[:, list(bad)]).all()
        assert (found.i2.values[list(bad)] == -1).all()
        assert set(found.coords) == {"sigma", "side"}
        whole = found.load() if whole is None else whole
        xarray.testing.assert_identical(found, whole)


@pytest.mark.parametrize(("members", "computed"), [(10, 10), (1000, 80)])
def test_what_always_fails_raises_its_own_error_and_a_corrected_call_can_use_the_folder(members, computed, tmp_path):
    calls = []

    def compute(members):
        calls.append(members)
        raise KeyError("wrong name")

    path = tmp_path / "runs.zarr"
    with pytest.raises(KeyError, match="wrong name"):
        Ensemble(compute, members).run(path, block=4, workers=1)
    assert sum(len(m) for m in calls if len(m) == 1) <= computed  # it is not tried for all of many
    assert [file for file in content(path) if not file.endswith("lock")] == []
    assert Ensemble(wide, 10).run(path, block=5).sizes == {"member": 10, "k": 1000}


def test_where_warnings_are_errors_they_are_not_those_of_a_member():
    def compute(members):
        warnings.warn("odd", UserWarning, stacklevel=2)
        return wide(members)

    with pytest.raises(UserWarning, match="odd"):
        Ensemble(compute, 3).run()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of the compute above
        assert (Ensemble(compute, 3).run().status == 0).all()


def changed_at_5(change):
    """A study whose member 5 gives something else."""

    def compute(members):
        data = xarray.Dataset({"x": (("member", "time"), members[:, None] + np.arange(3.0))}, {"time": np.arange(3.0)})
        return change(data, members) if 5 in members else data

    return Ensemble(compute, 10)


WRONG = {
    "an xarray.Dataset, got a dict": lambda data, members: data.to_dict(),
    r"given 2 members .* got {'member': 0": lambda data, members: data.isel(member=[]),
    r"given 2 members .* got {'time'": lambda data, members: data.isel(member=0),
    r"block 2 is not like .* x.dtype: 'float64' there, 'float32' here": lambda data, members: data.astype("f4"),
    r"block 2 is not like .* x.shape": lambda data, members: data.isel(time=[0, 1]),
    r"block 2 is not like .* y: only here": lambda data, members: data.assign(y=data.x),
    r"block 2 is not like .* time\b": lambda data, members: data.assign_coords(time=[0.0, 1.0, 2.5]),
    r"block 2 is not like .* x.attributes.units: only here": lambda data, members: data.assign(
        x=data.x.assign_attrs(units="m")
    ),
    "status must hold one code": lambda data, members: data.assign(status=("member", 0 * members + 4)),
    "status must hold one code .*": lambda data, members: data.assign(status=0),
    "y: a value of type complex128 cannot": lambda data, members: data.assign(y=data.x * 1j),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_block_is_an_error_and_is_not_saved(text, tmp_path):
    path = tmp_path / "runs.zarr"
    study = changed_at_5(WRONG[text])
    with pytest.raises(InvalidInputError, match=text):
        study.run(path, block=2, workers=1)
    assert sorted(file.name for file in path.glob("status/c/*")) in (["0", "1"], ["0", "1", "3"])
    with pytest.raises(InvalidInputError):  # and so it is again
        study.run(path, workers=1)
    for block in (1, 5, 10):
        if block < 10 or "block 2" not in text:  # one block is like itself
            with pytest.raises(InvalidInputError):
                study.run(tmp_path / f"{block}.zarr", block=block, workers=1)


@pytest.mark.parametrize("shared", ["time", "kind"])
@pytest.mark.parametrize("block", [1, 4, 12])
def test_what_is_shared_must_be_the_same_beside_a_member_that_fails(shared, block):
    def compute(members):
        if 2 in members:
            raise ArithmeticError
        late = members.max() > 6
        data = {"x": (("member", "time"), np.zeros((len(members), 2))), "kind": ((), float(late and shared == "kind"))}
        return xarray.Dataset(data, {"time": [0.0, 1.0 + (late and shared == "time")]})

    with pytest.raises(InvalidInputError, match="no dimension 'member'"):
        Ensemble(compute, 12).run(block=block)


def test_a_wrong_initial_state_is_refused_at_the_door():
    x0 = np.full((5, 1), 0.3)
    x0[[1, 3], 0] = np.nan, np.inf
    with pytest.raises(InvalidInputError, match=r"finite, got NaN or infinity for the members \[1, 3\]"):
        Ensemble.of(DOUBLE.tangent(backend="numpy").benettin, x0, intervals=1)


# --- another definition ----------------------------------------------------------------------------------------------


def test_another_definition_is_refused_and_named(tmp_path):
    path = tmp_path / "runs.zarr"
    x0 = np.full((6, 1), 0.3)

    def study(intervals=4, x0=x0, **options):
        return Ensemble.of(DOUBLE.tangent(backend="numpy").trajectory, x0, intervals=intervals, **options)

    study().run(path, block=2)
    before = content(path)
    for other, text in [
        (study(5), r"compute.options.intervals: 4 there, 5 here"),
        (study(warmup=1), r"compute.options.warmup: only here"),
        (study(x0=x0[:5]), r"compute.x0.array: 'float64 \(6, 1\)' there, .*members: 6 there, 5 here"),
        (study(x0=x0 + 1e-16), r"compute.x0.sha256"),
        (Ensemble(wide, 6), r"compute"),
    ]:
        with pytest.raises(StoreError, match=rf"is of another definition \(.*{text}"):
            other.run(path)
    with pytest.raises(InvalidInputError, match="has blocks of 2 members, got block = 3: leave block out"):
        study().run(path, block=3)
    assert content(path) == before
    xarray.testing.assert_identical(study().run(path, block=2), study().run(path))


def test_other_versions_are_a_warning(tmp_path, monkeypatch):
    path = tmp_path / "runs.zarr"
    Ensemble(wide, 4).run(path)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99")
    with pytest.warns(DiagnosticWarning, match=r"other versions \(.*numpy: '.*' there, '99' here") as caught:
        Ensemble(wide, 4).run(path)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("inside", ["notes.txt", "zarr.json", "status/notes.txt", None])
def test_a_folder_that_is_no_store_is_not_touched(inside, tmp_path):
    path = tmp_path / "mine"
    if inside:
        (path / inside).parent.mkdir(parents=True)
        (path / inside).write_text("mine")
    else:
        path.write_text("mine")
    with pytest.raises(StoreError, match="is no store"):
        Ensemble(wide, 4).run(path)
    assert sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()) == [inside] * bool(
        inside
    )
