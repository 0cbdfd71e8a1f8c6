"""Gradient descent of a classifier: what a step costs with and without tangent vectors, and how far from the limit."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.measure import Contestant, Timing, race, table
from dynsys import Euler, FlowStep, NumbaTangent, NumpyTangent, RunState
from dynsys.models.activations import Sigmoid, Tanh
from dynsys.models.networks import CrossEntropy, DeepNetworkFlow
from dynsys.models.training_chaos import digits, iris

Array = np.ndarray


def descent(rounds: int, quick: bool) -> None:
    """The small network of the paper, and that of its sequel."""
    print(
        "## Gradient descent of a classifier\n\nFull batches, one thread. The share is the time that the matrix "
        "products of a step would take at the rate of a product of two 512 x 512 matrices, measured alongside.\n"
    )
    classifier = partial(DeepNetworkFlow, loss=CrossEntropy, biases=True)
    small = classifier(*iris(), (10,), activation=Sigmoid())
    _network("4-10-3, sigmoid, 120 flowers", small, 16, rounds, quick)
    large = classifier(*digits(100 if quick else 1000), (64,), activation=Tanh())
    _network("64-64-10, tanh, 1000 digits", large, 2, rounds, quick)


def _network(name: str, flow: DeepNetworkFlow, members: int, rounds: int, quick: bool) -> None:
    theta, step = flow.initial(scheme="normal", members=members, seed=0), FlowStep(flow, Euler(dt=1.0))
    steps = 2 if quick else max(2, 4000 // flow.samples) * 4
    matrix = np.random.default_rng(0).normal(size=(512, 512))
    products = Contestant("a product", lambda: matrix @ matrix, 512**3)  # ns per multiply-add
    work, compiled = steps * members, NumbaTangent(step, threads=1)
    entrants = {
        ("state, NumPy, all members at once", 0): (lambda: _by_numpy(step, theta, steps), work),
        ("state, compiled", 0): (_pass(compiled, theta, steps, 0), work),
        ("with 1 tangent vector, compiled", 1): (_pass(compiled, theta, steps, 1), work),
        ("with 3 tangent vectors, compiled", 3): (_pass(compiled, theta, steps, 3), work),
        ("with 3 tangent vectors, NumPy", 3): (_pass(NumpyTangent(step), theta[:1], steps, 3), steps),
    }
    limit, *timings = race([products, *(Contestant(what, *run) for (what, _), run in entrants.items())], rounds)
    rows = [
        (one.name, one.median / 1e3, f"{_share(flow, k, one, limit):.0%}")
        for (_, k), one in zip(entrants, timings, strict=True)
    ]
    table((name, "µs per step", "share of the rate of a product"), rows)


def _by_numpy(step: FlowStep, theta: Array, steps: int) -> Array:
    for n in range(steps):
        theta = step.step(n, theta)
    return theta


def _pass(tangent: Any, theta: Array, steps: int, k: int) -> Any:
    start = RunState.start(theta, tangent.dimension, k, 0)
    return lambda: tangent.forward(start, intervals=steps, steps_per_interval=1, record="growth")


def _share(flow: DeepNetworkFlow, k: int, timing: Timing, product: Timing) -> float:
    """Time of the matrix products at the full rate, as a share of the time of a step.

    Forward, and twice backward but for the first layer, whose inputs need no error.
    """
    sizes = [inputs * outputs for inputs, outputs in flow.network.layers]
    flops = flow.samples * (3 * sum(sizes) - sizes[0]) + k * flow.samples * (6 * sum(sizes) - 3 * sizes[0])
    return flops * product.median / timing.median
