"""Permutations by Fisher and Yates, of many decks at once; compiled where Numba is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import numpy as np

from dynsys.compiled.build import load
from dynsys.compiled.driver import HEADER

Array = np.ndarray

SHUFFLE = '''

@numba.njit(cache=True, nogil=True)
def shuffle(decks, numbers):
    """Put every row of `decks` in the order that a row of random numbers in [0, 1) tells."""
    for e in range(decks.shape[0]):
        for i in range(decks.shape[1] - 1, 0, -1):
            j = int(numbers[e, i] * (i + 1))
            decks[e, i], decks[e, j] = decks[e, j], decks[e, i]
'''


def permutations(rng: np.random.Generator, decks: int, cards: int) -> Array:
    """Independent random orders of 0, ..., cards - 1, shape (decks, cards), int32.

    numpy's `Generator.permuted` takes three times as long, longer than a step of a small network on all the samples.
    """
    orders = np.tile(np.arange(cards, dtype=np.int32), (decks, 1))
    _shuffle()(orders, rng.random((decks, cards)))
    return orders


@cache
def _shuffle() -> Callable[[Array, Array], None]:
    compiler = importlib.util.find_spec("numba") is not None
    return load(HEADER + SHUFFLE).shuffle if compiler else shuffle_by_numpy


def shuffle_by_numpy(decks: Array, numbers: Array) -> None:
    """The same swaps, in all decks at once."""
    every = np.arange(len(decks))
    for i in range(decks.shape[1] - 1, 0, -1):
        j = (numbers[:, i] * (i + 1)).astype(int)
        decks[every, i], decks[every, j] = decks[every, j], decks[every, i]
