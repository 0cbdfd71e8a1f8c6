"""V = QR of frames alone, as passes do it for frames in tiles, against LAPACK and against the processor."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from benchmarks.measure import Contestant, race, table
from dynsys.compiled.llvm.machine import compiled
from dynsys.compiled.tile_factor import FACTORISE, work_length
from dynsys.passes.orthonormal import SINGULAR_RATIO

Array = np.ndarray

SIZES = ((10, 10), (40, 10), (40, 40), (90, 90), (200, 200), (1000, 20))
_CHAINS = range(16)  # of multiply-adds: more than are under way at once
_SOURCE = f"""SINGULAR_RATIO = {float(SINGULAR_RATIO)!r}
{FACTORISE}
def several(V: frame, R: floats, T: floats, dim: int, k: int, A: frame, collapsed: floats, repeats: int):
    for r in range(repeats):
        for i in range((k + 7) // 8 * dim):
            V[i] = A[i]
        collapsed[0] += factorise(V, R, T, dim, k)

def multiply_adds(S: frame, count: int):
    a, b = S[0], S[1]
    {"; ".join(f"s{i} = S[{i}]" for i in _CHAINS)}
    for r in range(count):
        {"; ".join(f"s{i} = b + a * s{i}" for i in _CHAINS)}
    {"; ".join(f"S[{i}] = s{i}" for i in _CHAINS)}
"""


def factorisation(rounds: int, quick: bool) -> None:
    """A table of sizes."""
    print("## Factorisation of frames\n")
    print(
        "V = QR of one frame, the copy of it included, CPU time of the thread. Nearly orthonormal frames are what a "
        "pass has after a few steps; of random ones the last columns lose much of their length, and tiles of 8 are "
        "projected twice. The minimum is n k^2 multiply-adds at the rate of "
        f"{len(_CHAINS)} chains of them in registers; the error is the greatest entry of Q^T Q - 1.\n"
    )
    header = ["n, k", "frame", "dynsys, us", "LAPACK, us", "LAPACK / dynsys", "minimum, us", "error", "of LAPACK"]
    rows = []
    for dim, k in SIZES[:2] if quick else SIZES:
        for kind in ("nearly orthonormal", "random"):
            rows.append([f"{dim}, {k}", kind, *_row(_frame(dim, k, kind), rounds, quick)])
    table(header, rows)


def _frame(dim: int, k: int, kind: str) -> Array:
    random = np.random.default_rng(0).normal(size=(dim, k))
    if kind == "random":
        return random
    return np.linalg.qr(random)[0] + 0.3 / np.sqrt(dim) * np.random.default_rng(1).normal(size=(dim, k))


@attrs.frozen(eq=False)
class InTiles:
    """A frame as passes hold it, to be factorised again and again."""

    V: Array
    function: Callable[..., None]
    frame: Array
    given: Array
    R: Array
    work: Array

    @classmethod
    def of(cls, V: Array) -> InTiles:
        """Tiles of 8 columns, the last one filled with zeros."""
        dim, k = V.shape
        tiles = -(-k // 8)
        given, frame = _room(tiles * dim * 8), _room(tiles * dim * 8)
        for c in range(k):
            given.reshape(tiles, dim, 8)[c // 8, :, c % 8] = V[:, c]
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        kinds = [pointer, pointer, pointer, count, count, pointer, pointer, count]
        return cls(V, _compiled("several", kinds), frame, given, _room(k * (k + 1) // 2), _room(work_length(k)))

    def run(self, repeats: int) -> Array:
        """Q of the last time."""
        (dim, k), collapsed = self.V.shape, np.zeros(1)
        places = [array.ctypes.data for array in (self.frame, self.R, self.work)]
        self.function(*places, dim, k, self.given.ctypes.data, collapsed.ctypes.data, repeats)
        assert collapsed[0] == 0.0
        return self.frame.reshape(-1, dim, 8).swapaxes(0, 1).reshape(dim, -1)[:, :k]


def _row(V: Array, rounds: int, quick: bool) -> list[Any]:
    dim, k = V.shape
    ours, chains = InTiles.of(V), np.ones((len(_CHAINS), 8))
    repeats = 2 if quick else max(2, int(2e7 / (dim * k * k + 2000)))
    batch = np.repeat(V[None], min(repeats, 50), axis=0)  # LAPACK is called in a loop of compiled code too
    counts = dim * k * k * repeats
    registers = _compiled("multiply_adds", [ctypes.c_void_p, ctypes.c_int64])
    mine, lapack, least = race(
        [
            Contestant("dynsys", lambda: ours.run(repeats), repeats),
            Contestant("LAPACK", lambda: np.linalg.qr(batch)[0][0], len(batch)),
            Contestant("minimum", lambda: registers(chains.ctypes.data, counts // chains.size + 1), repeats),
        ],
        rounds,
        time.thread_time,
    )
    errors = [float(np.abs(Q.T @ Q - np.eye(k)).max()) for Q in (mine.answer, lapack.answer)]
    times = [one.median / 1000 for one in (mine, lapack, least)]
    return [*times[:2], lapack.over(mine), times[2], *errors]


def _compiled(name: str, kinds: list[Any]) -> Callable[..., None]:
    address = compiled(_SOURCE, ("several", "multiply_adds"), 8, ("frame",))[name]
    return ctypes.CFUNCTYPE(None, *kinds)(address)


def _room(length: int) -> Array:
    """Numbers that begin at a whole cache line."""
    room = np.zeros(length + 8)
    return room[-room.ctypes.data % 64 // 8 :][:length]
