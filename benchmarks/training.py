"""Training with PyTorch: what a monitored step costs in units of a plain one, where that goes, and how much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import Contestant, over, race, table

if TYPE_CHECKING:
    from benchmarks.training_models import Case

ROOT = Path(__file__).parents[1]
EVERY = 10  # steps from one factorisation to the next


def training(rounds: int, quick: bool) -> None:
    """All tables."""
    try:
        import torch
    except ImportError as problem:
        print(f"Skipped training: {problem}.\n", flush=True)
        return
    from benchmarks import training_peers
    from benchmarks.training_models import cases

    torch.set_num_threads(1)
    every_case = {"MLP": cases(8)["MLP"]} if quick else cases()
    print(
        "## Training with PyTorch\n\nfloat32, one thread, PyTorch "
        f"{torch.__version__.partition('+')[0]}; CPU time of the process. The unit is one plain training step of the "
        "same network: forward, backward, optimiser. A monitored step pushes k tangent vectors as well, with a "
        f"factorisation every {EVERY} steps; the cost of a vector is (monitored - plain) / (k plain).\n"
    )
    costs(list(every_case.values()), rounds, quick)
    shares(list(every_case.values()), rounds, quick)
    memory(quick)
    training_peers.peers(every_case["MLP"], rounds, quick)


# time


def monitored(case: Case, optimiser: str, steps: int, k: int) -> Callable[[], None]:
    """The same with a monitor."""
    from benchmarks.training_models import OPTIMISERS
    from dynsys.torch import TrainingMonitor

    model = case.model()
    monitor = TrainingMonitor(model, OPTIMISERS[optimiser](model.parameters()), k=k, steps_per_interval=EVERY)

    def run() -> None:
        for _ in range(steps):
            monitor.step(case.loss(model))

    return run


def costs(every_case: list[Case], rounds: int, quick: bool) -> None:
    """A vector in plain steps: three optimisers, few and, for one of them, many vectors."""
    from benchmarks.training_models import plain

    counts, rows = (1, 2) if quick else (1, 5, 20), []
    for case in every_case:
        for optimiser in ("SGD", "momentum", "Adam"):
            asked = counts if optimiser == "momentum" else counts[:2]
            steps = case.intervals * EVERY
            entrants = [Contestant("plain", plain(case, optimiser, 2 * steps), 2 * steps)]
            entrants += [Contestant(f"k = {k}", monitored(case, optimiser, steps, k), steps) for k in asked]
            unit, *timings = race(entrants, rounds, time.process_time)
            cost = [over(timing, unit) / k for timing, k in zip(timings, asked, strict=True)]
            rows.append(
                [case.name, case.weights, optimiser, unit.median / 1e6, *cost, *[""] * (len(counts) - len(asked))]
            )
    header = ["network", "weights", "optimiser", "plain step, ms"]
    print("Cost of a tangent vector, in plain steps:\n")
    table([*header, *(f"k = {k}" for k in counts)], rows)


def shares(every_case: list[Case], rounds: int, quick: bool) -> None:
    """Where that goes, with momentum: Hessian products, their multiply-adds, the factorisation, the rest."""
    from benchmarks.training_models import gradients, plain, products, random_frame
    from dynsys.training.frames import orthonormalise_rows

    k, rows = 2 if quick else 5, []
    for case in every_case:
        steps, frame = case.intervals * EVERY, random_frame(k, 2 * case.weights)
        entrants = [
            Contestant("plain", plain(case, "momentum", 2 * steps), 2 * steps),
            Contestant("monitored", monitored(case, "momentum", steps, k), steps),
            Contestant("gradient", partial(gradients, case.model(), case, steps), steps),
            Contestant("products", partial(products, case.model(), case, k, steps), steps),
            Contestant("factorisation", partial(orthonormalise_rows, frame), EVERY),
        ]
        unit, *timings = race(entrants, rounds, time.process_time)
        ratios = [timing.times / unit.times for timing in timings]
        total, hessian = (ratios[0] - 1.0) / k, (ratios[2] - ratios[1]) / k
        factorised = ratios[3] / k
        parts = [np.median(part) for part in (total, hessian, factorised, total - hessian - factorised)]
        rows.append([case.name, *map(float, parts), f"{factorised_share(total, factorised):.1%}", multiply_adds(case)])
    print(
        f"Where it goes, momentum, k = {k}. The last column counts multiply-adds of matrix products and "
        "convolutions: a Hessian product has so many times those of a plain step.\n"
    )
    header = ["network", "a vector, steps", "Hessian product", "factorisation", "the rest", "share of factorisation"]
    table([*header, "multiply-adds"], rows)


def factorised_share(total: np.ndarray, factorised: np.ndarray) -> float:
    """Median over the rounds."""
    return float(np.median(factorised / total))


def multiply_adds(case: Case) -> float:
    """Multiply-adds of a Hessian product over those of forward and backward, of matrix products and convolutions."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.training_models import products
    from dynsys.training.second_derivatives.attention import differentiable_attention

    def counted(work: Callable[[], Any]) -> int:
        with FlopCounterMode(display=False) as counter, differentiable_attention():
            work()
        return counter.get_total_flops()

    model = case.model()
    once = counted(lambda: torch.autograd.grad(case.loss(model), list(model.parameters())))
    return (counted(partial(products, model, case, 1, 1)) - once) / once


# memory


def memory(quick: bool) -> None:
    """Peaks of fresh processes, over that of the plain training."""
    rows = []
    for name in ("MLP",) if quick else ("transformer", "million"):  # whose frames are larger than what else varies
        for optimiser, parts in (("momentum", 2),) if quick else (("momentum", 2), ("Adam", 3)):
            for k in (5,) if quick else (5, 20):
                peaks = {what: _peak(name, what, optimiser, k) for what in ("plain", "graph", "monitored")}
                weights = peaks["plain"]["weights"]
                frame = 4 * k * parts * weights / 2**20
                graph, added = (
                    1024 * (peaks[what]["peak"] - peaks["plain"]["peak"]) for what in ("graph", "monitored")
                )
                rows.append([name, optimiser, k, frame, graph, added, (added - graph) / frame])
    print(
        "Peak of resident memory over that of the plain training, fresh processes, MiB; a frame is k rows of weights "
        "and buffers, the graph that of a gradient that is differentiated again, with one product.\n"
    )
    header = ["network", "optimiser", "k", "a frame", "plain + graph", "monitored"]
    table([*header, "(monitored - graph) / frame"], rows)


def run(name: str, what: str, optimiser: str, k: int) -> dict[str, float]:
    """An interval of a training and a step more, and the peak of the memory of this process."""
    import torch

    import dynsys.torch  # noqa: F401  in all of them
    from benchmarks.memory import peak_memory
    from benchmarks.training_models import cases, plain

    torch.set_num_threads(1)
    case = cases()[name]
    ways = {"plain": plain, "graph": with_graph, "monitored": partial(monitored, k=k)}
    ways[what](case, optimiser, steps=EVERY + 1)()
    return {"peak": peak_memory(), "weights": case.weights}


def with_graph(case: Case, optimiser: str, steps: int) -> Callable[[], None]:
    """A training whose gradients have a graph, through which one product with the Hessian goes, without a frame."""
    from benchmarks.training_models import OPTIMISERS, random_frame
    from dynsys.training.curvature import gradient, hessian_products
    from dynsys.training.second_derivatives.attention import differentiable_attention

    model = case.model()
    weights = list(model.parameters())
    optimizer, v = OPTIMISERS[optimiser](weights), random_frame(1, case.weights)

    def run() -> None:
        for _ in range(steps):
            with differentiable_attention():
                slopes = gradient(case.loss(model), weights)
            for weight, slope in zip(weights, slopes, strict=True):
                weight.grad = None if slope is None else slope.detach()
            for _ in hessian_products(slopes, weights, v):
                pass
            optimizer.step()

    return run


def _peak(name: str, what: str, optimiser: str, k: int) -> dict[str, float]:
    code = f"import json\nfrom benchmarks.training import run\nprint(json.dumps(run{(name, what, optimiser, k)}))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)
