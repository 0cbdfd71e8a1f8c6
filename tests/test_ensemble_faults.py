"""What happens to the processes of long runs: they are killed, workers die, two want one store, Ctrl-C."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import numpy as np
import pytest
import xarray
from ensemble_stores import assert_readable, committed, content

from dynsys import (
    Ensemble,
    Euler,
    StoreError,
)

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
    [
        pytest.param("quick", 0.15, marks=pytest.mark.slow),
        pytest.param("lorenz", 1.0, marks=[pytest.mark.slow, pytest.mark.numba]),
    ],
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
    from dynsys.models.activations import Tanh
    from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task

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
        pytest.param(lambda study: networks("numpy"), marks=pytest.mark.slow),
        pytest.param(lambda study: networks("numba"), marks=[pytest.mark.numba, pytest.mark.slow]),
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


@pytest.mark.slow
def test_a_dask_worker_that_dies_changes_nothing(study, client, tmp_path):
    whole = Ensemble(study.values, 16).run()
    flag, path = tmp_path / "flag", tmp_path / "runs.zarr"
    found = Ensemble(study.Deadly(flag), 16).run(path, block=2, executor=client.get_executor(), workers=2)
    assert flag.exists()
    xarray.testing.assert_equal(found.load(), whole)


@pytest.mark.slow
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


@pytest.mark.parametrize("pool", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
@pytest.mark.parametrize("saved", [0, pytest.param(8, marks=pytest.mark.slow)])
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


@pytest.mark.parametrize("pool", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
@pytest.mark.slow
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
