"""Backward sweeps through triangular factors, the second half of Ginelli's algorithm; compiled where Numba is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from dynsys.compiled.build import HEADER, load
from dynsys.passes.orthonormal import solve_upper, unpacked

Array = np.ndarray

# C is walked by columns, and R is packed by columns: all inner loops run over neighbours in memory.
SWEEP = '''

@njit
def back_substitute(R, C, lengths, inverse):
    """C = R^{-1} C with unit columns, which stand in the rows of C; `lengths` are what they had."""
    k = C.shape[0]
    for i in range(k):
        inverse[i] = 1.0 / R[i * (i + 3) // 2]
    for c in range(k):
        x = C[c]
        square, largest = 0.0, 1.0
        for i in range(c, -1, -1):
            at = i * (i + 1) // 2
            x[i] *= inverse[i]
            for p in range(i):
                x[p] -= x[i] * R[at + p]
            square += x[i] * x[i]
        if not 1e-200 < square < 1e200:  # divided by its largest entry, a column's square neither over- nor underflows
            square, largest = 0.0, 0.0
            for i in range(c + 1):
                largest = max(largest, abs(x[i]))
            for i in range(c + 1):
                x[i] /= largest
                square += x[i] * x[i]
        norm = math.sqrt(square)
        scale = 1.0 / norm
        for i in range(c + 1):
            x[i] *= scale
        lengths[c] = norm * largest


@njit
def rotate(Q, C, upper, row):
    """Q = Q C in place; the columns of C stand in its rows."""
    dim, k = Q.shape
    if k < 16:
        for i in range(dim):
            for c in range(k - 1, -1, -1):  # what stands left of c is still needed, c itself is not
                total = 0.0
                for p in range(c + 1):
                    total += Q[i, p] * C[c, p]
                Q[i, c] = total
        return
    for p in range(k):  # long rows: all columns side by side
        for c in range(p, k):
            upper[p, c] = C[c, p]
    for i in range(dim):
        for c in range(k):
            row[c] = 0.0
        for p in range(k):
            q = Q[i, p]
            for c in range(p, k):
                row[c] += q * upper[p, c]
        for c in range(k):
            Q[i, c] = row[c]


@_kernel
def sweep(R, member, first, last, C, total, stride, Q, growth):
    """See `sweep_by_numpy`."""
    k = C.shape[1]
    columns, upper = np.empty((k, k)), np.empty((k, k))
    lengths, row = np.empty(k), np.empty(k)
    for t in range(member.size):
        m = member[t]
        for i in range(k):
            for c in range(k):
                columns[c, i] = C[t, i, c]
        for i in range(last[t] - 1, first[t] - 1, -1):
            if Q.size and (i + 1) % stride == 0:
                rotate(Q[m, i // stride], columns, upper, row)
            back_substitute(R[m, i], columns, lengths, row)
            if growth.size:
                for c in range(k):
                    growth[m, i // stride, c] -= math.log(lengths[c])
            if total.size:
                for c in range(k):
                    total[t, c] -= math.log(lengths[c])
        for i in range(k):
            for c in range(k):
                C[t, i, c] = columns[c, i]
'''

NOTHING = np.empty((0, 0, 0))


def sweep_back(
    R: Array,
    member: Array,
    first: Array,
    last: Array,
    C: Array,
    *,
    stride: int = 1,
    Q: Array = NOTHING[None],
    growth: Array = NOTHING,
    totals: bool = True,
) -> tuple[Array, Array]:
    """C_{i-1} = R_i^{-1} C_i D_i with unit columns, through the intervals i = last - 1, ..., first of every task.

    Parameters
    ----------
    R : ndarray, shape (members, intervals, k (k + 1) / 2)
        Packed triangular factors.
    member, first, last : ndarray of int, shape (tasks,)
        Whose factors a task takes, and which.
    C : ndarray, shape (tasks, k, k)
        Upper-triangular starts, at the ends of the intervals last - 1. Not changed.
    stride, Q, growth : int, ndarray (members, intervals // stride, dim, k), ndarray (members, intervals // stride, k)
        If given, the frame at the end of every stride is overwritten by the covariant vectors Q C there, and the log
        growth along each of them over every interval is added to that of its stride.

    Returns
    -------
    C : ndarray, shape (tasks, k, k)
        At the starts of the intervals `first`.
    total : ndarray, shape (tasks, k), or (0, k) if no `totals` are asked for
        Log growth along each vector from there to the end.
    """
    arrays = [np.ascontiguousarray(array, dtype=np.int64) for array in (member, first, last)]
    C, total = np.array(C, dtype=float, order="C"), np.zeros((len(C) * totals, C.shape[-1]))
    # plain arrays to Numba, also where they are memory-mapped
    _sweep()(np.asarray(R), *arrays, C, total, stride, np.asarray(Q), np.asarray(growth))
    return C, total


@cache
def _sweep() -> Callable[..., Any]:
    compiler = importlib.util.find_spec("numba") is not None
    return load(HEADER + SWEEP).sweep if compiler else sweep_by_numpy


def sweep_by_numpy(
    R: Array, member: Array, first: Array, last: Array, C: Array, total: Array, stride: int, Q: Array, growth: Array
) -> None:
    """The same, all tasks in step, each through its own intervals: C and Q are overwritten, growth added."""
    for back in range(int(np.max(last - first, initial=0))):
        running = last - 1 - back >= first
        m, i = member[running], (last - 1 - back)[running]
        if Q.size:
            due = (i + 1) % stride == 0
            Q[m[due], i[due] // stride] = Q[m[due], i[due] // stride] @ C[running][due]
        solved = solve_upper(unpacked(R[m, i]), C[running])
        with np.errstate(invalid="ignore", divide="ignore"):
            largest = np.max(np.abs(solved), axis=1, keepdims=True)
            norms = largest * np.linalg.norm(solved / largest, axis=1, keepdims=True)
            C[running] = solved / norms
            grown = -np.log(norms[:, 0])
        if total.size:
            total[running] += grown
        if growth.size:
            np.add.at(growth, (m, i // stride), grown)
