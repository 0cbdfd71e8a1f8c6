"""Random permutations by Fisher and Yates, many at once; compiled where llvmlite is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from dynsys.compiled.llvm.machine import exported, is_there

Array = np.ndarray

SHUFFLE = '''
def shuffle(orders: ints32, numbers: floats, count: int, samples: int):
    """Permute every row of `orders` as a row of random numbers in [0, 1) says."""
    for e in range(count):
        order, number = orders[e * samples :], numbers[e * samples :]
        for back in range(samples - 1):
            i = samples - 1 - back
            j = int(number[i] * (i + 1))
            order[i], order[j] = order[j], order[i]
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
    if not is_there():
        return shuffle_by_numpy
    shuffle = exported(SHUFFLE, "shuffle")
    return lambda orders, numbers: shuffle(orders, numbers, *orders.shape)


def shuffle_by_numpy(orders: Array, numbers: Array) -> None:
    """The same swaps, in all rows at once."""
    every = np.arange(len(orders))
    for i in range(orders.shape[1] - 1, 0, -1):
        j = (numbers[:, i] * (i + 1)).astype(int)
        orders[every, i], orders[every, j] = orders[every, j], orders[every, i]
