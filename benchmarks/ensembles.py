"""Ensembles: what the store costs, and how the work of one worker spreads over two, on every kind of executor."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.measure import Contestant, products_on_two_threads, race, table
from dynsys import Ensemble
from dynsys.ensembles.blocks import Job
from dynsys.models.weight_dynamics import regression_task
from dynsys.models.weight_dynamics.runs import TrainingRuns
from dynsys.models.weight_dynamics.study import Study

BLOCK, WORKERS = 16, 2  # members of a block, workers
SECOND, LONG = 50_000, 150_000  # steps of a member for blocks of about a second, and of some seconds


def training_runs(steps: int, blocks: int) -> Ensemble:
    """The main job, shorter: both activations, all nine exponents and the loss at up to 200 times."""
    study = Study(members=BLOCK * blocks, steps=steps)
    return TrainingRuns(study, *regression_task(seed=study.seeds["data"])).ensemble()


def ensembles(rounds: int, quick: bool) -> None:
    """The cost of the store, and one worker against two."""
    with tempfile.TemporaryDirectory() as folder:
        store_cost(rounds, quick, Path(folder) / "runs.zarr")
        scaling(rounds, quick, Path(folder) / "runs.zarr")


def stored(name: str, ensemble: Ensemble, path: Path, executor: Executor, workers: int) -> Contestant:
    """A whole run into a new store; its answer is what stands there."""

    def run() -> np.ndarray:
        shutil.rmtree(path, ignore_errors=True)
        runs = ensemble.run(path, block=BLOCK, executor=executor, workers=workers)
        return runs.exponent.values

    return Contestant(name, run, ensemble.members)


def store_cost(rounds: int, quick: bool, path: Path) -> None:
    """The same blocks on the same threads, kept in memory or written; and the writing alone."""
    count = 4 if quick else 16
    ensemble = training_runs(20 if quick else SECOND, count)
    blocks = np.split(np.arange(ensemble.members), count)
    print(
        f"## Ensembles\n\n{count} blocks of {BLOCK} members of the main job (two activations, nine exponents and the "
        f"loss at 200 times, {SECOND} steps) on {WORKERS} threads, kept in memory, or written to a store and read from "
        "it. Beside them 100 blocks that cost nothing to compute: what saving one takes.\n"
    )
    ready = ensemble.compute(blocks[0])
    with pool_of_threads(1) as pool:
        (alone,) = race([stored("", Ensemble(lambda _: ready, 100 * BLOCK), path, pool, 1)], rounds, time.perf_counter)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 100 / 2**10
    with pool_of_threads(WORKERS) as pool:

        def in_memory() -> np.ndarray:
            done = [block.data.exponent.values for block in pool.map(Job(ensemble.compute), blocks) if block.data]
            return np.concatenate(done, axis=1)

        memory = Contestant("in memory", in_memory, ensemble.members)
        kept, written = race([memory, stored("store", ensemble, path, pool, WORKERS)], rounds, time.perf_counter)
    times = [timing.median * ensemble.members / 1e9 for timing in (kept, written)]
    share = f"{100 * (written.over(kept) - 1):.1f} %"
    row = [times[0] * WORKERS / count, *times, share, alone.median * BLOCK / 1e6, size]
    header = ["a block, s", "in memory, s", "store, s", "the store costs", "saving a block, ms", "KiB", "results"]
    table(header, [[*row, _same(kept.answer, written.answer)]])


def scaling(rounds: int, quick: bool, path: Path) -> None:
    """One worker and two of every kind; workers are started, and their kernels compiled, before the clock runs."""
    count = 4 if quick else 6
    print(
        f"{count} blocks of {LONG} steps, written to a store, on one worker and on two; matrix products for "
        "comparison, since cores may share their multipliers and their clock.\n"
    )
    ensemble = training_runs(20 if quick else LONG, count)
    rows = [["matrix products", "", "", products_on_two_threads(rounds, quick), ""]]
    first = None
    for kind in (pool_of_threads, pool_of_processes, local_cluster):
        with kind(1) as one, kind(2) as two:
            contestants = [stored("one", ensemble, path, one, 1), stored("two", ensemble, path, two, 2)]
            alone, both = race(contestants, rounds, time.perf_counter)
        first = alone.answer if first is None else first
        same = _same(first, alone.answer, both.answer)
        times = [timing.median * ensemble.members / 1e9 for timing in (alone, both)]
        rows.append([kind.__name__.replace("_", " "), *times, alone.over(both), same])
    table(["executor", "one worker, s", "two workers, s", "one / two", "results"], rows)


def _same(*answers: np.ndarray) -> str:
    return "the same bits" if all(np.array_equal(a, answers[0]) for a in answers) else "OTHER NUMBERS"


@contextmanager
def pool_of_threads(workers: int) -> Iterator[Executor]:
    """Threads of this process."""
    with ThreadPoolExecutor(workers) as pool:
        yield pool


@contextmanager
def pool_of_processes(workers: int) -> Iterator[Executor]:
    """Fresh processes."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool


@contextmanager
def local_cluster(workers: int) -> Iterator[Executor]:
    """Dask's scheduler and its worker processes, one thread each."""
    from distributed import Client, LocalCluster

    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client.get_executor(pure=False)
