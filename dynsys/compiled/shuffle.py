"""Random permutations by Fisher and Yates, many at once; compiled if Numba is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import numpy as np

from dynsys.compiled.build import HEADER, load

Array = np.ndarray

SHUFFLE = '''

@_kernel
def shuffle(orders, numbers):
    """Permute every row of `orders` as a row of random numbers in [0, 1) says."""
    for e in range(orders.shape[0]):
        for i in range(orders.shape[1] - 1, 0, -1):
            j = int(numbers[e, i] * (i + 1))
            orders[e, i], orders[e, j] = orders[e, j], orders[e, i]
'''


def permutations(rng: np.random.Generator, count: int, samples: int) -> Array:
    """Independent random orders of 0, ..., samples - 1, shape (count, samples), int32.

    numpy's `Generator.permuted` takes three times as long, longer than a step of a small network over all samples.
    """
    orders = np.tile(np.arange(samples, dtype=np.int32), (count, 1))
    _shuffle()(orders, rng.random((count, samples)))
    return orders


@cache
def _shuffle() -> Callable[[Array, Array], None]:
    compiler = importlib.util.find_spec("numba") is not None
    return load(HEADER + SHUFFLE).shuffle if compiler else shuffle_by_numpy


def shuffle_by_numpy(orders: Array, numbers: Array) -> None:
    """The same swaps, in all rows at once."""
    every = np.arange(len(orders))
    for i in range(orders.shape[1] - 1, 0, -1):
        j = (numbers[:, i] * (i + 1)).astype(int)
        orders[every, i], orders[every, j] = orders[every, j], orders[every, i]
