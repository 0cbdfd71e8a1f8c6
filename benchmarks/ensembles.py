"""Ensembles: what the store costs, and how the work of one worker spreads over two, on every kind of executor."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.measure import Contestant, race, table
from dynsys import Ensemble
from dynsys.blocks import Job
from models.weight_dynamics import regression_task
from models.weight_dynamics.study import Study

BLOCK, BLOCKS, WORKERS = 16, 8, 2
STEPS = {"1 s": 100_000, "0.1 s": 10_000, "0.01 s": 1_000}  # that make a block take so long on one worker, about


def training_runs(steps: int, blocks: int = BLOCKS) -> Ensemble:
    """The main job, shorter: both activations, all nine exponents and the loss at up to 200 times."""
    study = Study(members=BLOCK * blocks, steps=steps)
    return study.ensemble(*regression_task(seed=study.seeds["data"]))


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
    """The same blocks on the same threads, kept in memory or written."""
    print(
        f"## Ensembles\n\n{BLOCKS} blocks of {BLOCK} members of the main job (two activations, nine exponents, loss) "
        f"on {WORKERS} threads, kept in memory or written to a store: checked, committed, opened and read.\n"
    )
    rows = []
    for length, steps in STEPS.items():
        ensemble = training_runs(20 if quick else steps)
        blocks = np.split(np.arange(ensemble.members), BLOCKS)
        with ThreadPoolExecutor(WORKERS) as pool:

            def in_memory(pool: Executor = pool, ensemble: Ensemble = ensemble, blocks: list = blocks) -> np.ndarray:
                done = pool.map(Job(ensemble.compute), blocks)
                return np.concatenate([block.data.exponent.values for block in done if block.data is not None], axis=1)

            memory = Contestant("in memory", in_memory, ensemble.members)
            kept, written = race([memory, stored("store", ensemble, path, pool, WORKERS)], rounds)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 2**20
        share = f"{100 * (written.over(kept) - 1):.1f} %"
        each = (written.median - kept.median) * ensemble.members / BLOCKS / 1e6
        rows.append(
            [length, kept.median * ensemble.members / 1e9, written.median * ensemble.members / 1e9, share, each]
        )
        rows[-1] += [size, _same(kept.answer, written.answer)]
    header = ["a block takes about", "in memory, s", "store, s", "the store costs", "ms a block", "MiB", "results"]
    table(header, rows)


def scaling(rounds: int, quick: bool, path: Path) -> None:
    """One worker and two of every kind; workers are started, and their kernels compiled, before the clock runs."""
    print(
        f"The same {BLOCKS} blocks of about a second, written to a store, on one worker and on two; matrix products "
        "for comparison, since cores may share their multipliers and their clock.\n"
    )
    ensemble = training_runs(20 if quick else STEPS["1 s"])
    matrix = np.random.default_rng(0).normal(size=(1000, 1000))

    def products(workers: int) -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda _: matrix @ matrix, range(2 if quick else 8)))

    alone, both = race([Contestant("", lambda: products(1), 1), Contestant("", lambda: products(2), 1)], rounds)
    rows = [["matrix products", "", "", alone.over(both), ""]]
    first = None
    for kind in (pool_of_threads, pool_of_processes, local_cluster):
        with kind(1) as one, kind(2) as two:
            contestants = [stored("one", ensemble, path, one, 1), stored("two", ensemble, path, two, 2)]
            alone, both = race(contestants, rounds)
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
