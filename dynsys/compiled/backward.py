"""Backward sweeps through triangular factors, the second half of Ginelli's algorithm; compiled if llvmlite is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from dynsys.compiled.llvm.machine import exported, is_there
from dynsys.passes.orthonormal import solve_upper, unpacked

Array = np.ndarray

# C is walked by columns, and R is packed by columns: all inner loops run over neighbours in memory.
SWEEP = '''
def back_substitute(R, C, lengths, inverse, k):
    """C = R^{-1} C with unit columns, which stand in the rows of C; `lengths` are what they had."""
    for i in range(k):
        inverse[i] = 1.0 / R[i * (i + 3) // 2]
    for c in range(k):
        x = C[c * k :]
        square, largest = 0.0, 1.0
        for q in range(c + 1):
            i = c - q
            r, y = R[i * (i + 1) // 2 :], x[i] * inverse[i]
            x[i] = y
            for p in range(i):
                x[p] -= y * r[p]
            square += y * y
        if not 1e-200 < square < 1e200:  # divided by its largest entry, a column's square neither over- nor underflows
            square, largest = 0.0, 0.0
            for i in range(c + 1):
                largest = max(largest, abs(x[i]))
            for i in range(c + 1):
                x[i] /= largest
                square += x[i] * x[i]
        norm = sqrt(square)
        scale = 1.0 / norm
        for i in range(c + 1):
            x[i] *= scale
        lengths[c] = norm * largest


def rotate(Q, C, upper, row, dim, k):
    """Q = Q C in place; the columns of C stand in its rows."""
    if k < 16:
        for i in range(dim):
            q = Q[i * k :]
            for d in range(k):
                c = k - 1 - d  # what stands left of c is still needed, c itself is not
                total = 0.0
                for p in range(c + 1):
                    total += q[p] * C[c * k + p]
                q[c] = total
        return
    for p in range(k):  # long rows: all columns side by side
        for c in range(p, k):
            upper[p * k + c] = C[c * k + p]
    for i in range(dim):
        for c in range(k):
            row[c] = 0.0
        for p in range(k):
            one = Q[i * k + p]
            for c in range(p, k):
                row[c] += one * upper[p * k + c]
        for c in range(k):
            Q[i * k + c] = row[c]


def sweep(
    R: floats, of_member: int, of_interval: int, member: ints, first: ints, last: ints, C: floats, tasks: int, k: int,
    total: floats, stride: int, Q: floats, of_frames: int, of_frame: int, dim: int, growth: floats, of_rates: int,
    of_rate: int, work: floats,
):
    """See `sweep_by_numpy`; null where nothing is asked for, and `of_...` is how far two of something are apart."""
    columns, upper, lengths, row = work, work[k * k :], work[2 * k * k :], work[2 * k * k + k :]
    for t in range(tasks):
        m, own = member[t], C[t * k * k :]
        for i in range(k):
            for c in range(k):
                columns[c * k + i] = own[i * k + c]
        for back in range(last[t] - first[t]):
            i = last[t] - 1 - back
            if given(Q):
                if (i + 1) % stride == 0:
                    rotate(Q[m * of_frames + i // stride * of_frame :], columns, upper, row, dim, k)
            back_substitute(R[m * of_member + i * of_interval :], columns, lengths, row, k)
            for c in range(k):
                grown = -log(lengths[c])
                if given(growth):
                    growth[m * of_rates + i // stride * of_rate + c] += grown
                if given(total):
                    total[t * k + c] += grown
        for i in range(k):
            for c in range(k):
                own[i * k + c] = columns[c * k + i]
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
    if R.strides[-1] != R.itemsize:
        R = np.ascontiguousarray(R)
    arrays = [np.ascontiguousarray(array, dtype=np.int64) for array in (member, first, last)]
    C, total = np.array(C, dtype=float, order="C"), np.zeros((len(C) * totals, C.shape[-1]))
    _sweep()(R, *arrays, C, total, stride, Q, growth)
    return C, total


@cache
def _sweep() -> Callable[..., Any]:
    if not is_there():
        return sweep_by_numpy
    sweep = exported(SWEEP, "sweep")

    def run(
        R: Array, member: Array, first: Array, last: Array, C: Array, total: Array, stride: int, Q: Array, growth: Array
    ) -> None:
        k = C.shape[-1]
        sweep(
            R, *_apart(R), member, first, last, C, len(C), k, total if total.size else None, stride,
            Q if Q.size else None, *_apart(Q), Q.shape[2], growth if growth.size else None, *_apart(growth),
            np.empty(2 * k * (k + 1)),
        )  # fmt: skip

    return run


def _apart(array: Array) -> tuple[int, int]:
    """How far two members, and two of a member, are apart; all else stands side by side."""
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


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
