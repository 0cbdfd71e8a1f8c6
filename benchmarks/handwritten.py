"""Hand-written Numba loops: what a skilled user would write for one problem, without a framework.

Plain on purpose: one trajectory at a time, the analytic Jacobian, Gram-Schmidt, full fastmath, sizes known to the
compiler. Every loop returns its last state and the log growth of each interval, so that it can be held against the
project: same start, same batches, same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

fast = numba.njit(fastmath=True)


@fast
def gram_schmidt(V, growth):
    """Orthonormalise the columns of V in place, row by row through memory; logarithms of their lengths in growth."""
    dim, k = V.shape
    overlaps = np.empty(k)
    for c in range(k):
        overlaps[:] = 0.0
        square = 0.0
        for i in range(dim):
            square += V[i, c] * V[i, c]
        length = math.sqrt(square)
        growth[c] = math.log(length)
        for i in range(dim):
            V[i, c] /= length
            for p in range(c + 1, k):
                overlaps[p] += V[i, c] * V[i, p]
        for i in range(dim):
            for p in range(c + 1, k):
                V[i, p] -= overlaps[p] * V[i, c]


@fast
def lorenz63_slope(x, V, f, F):
    """Velocity f and J(x) V of Lorenz 1963, sigma = 10, rho = 28, beta = 8/3."""
    f[0] = 10.0 * (x[1] - x[0])
    f[1] = x[0] * (28.0 - x[2]) - x[1]
    f[2] = x[0] * x[1] - (8.0 / 3.0) * x[2]
    for c in range(3):
        F[0, c] = 10.0 * (V[1, c] - V[0, c])
        F[1, c] = (28.0 - x[2]) * V[0, c] - V[1, c] - x[0] * V[2, c]
        F[2, c] = x[1] * V[0, c] + x[0] * V[1, c] - (8.0 / 3.0) * V[2, c]


@fast
def lorenz96_slope(x, V, f, F):
    """Velocity f and J(x) V of Lorenz 1996 with forcing 8: x_i' = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + 8."""
    dim, k = V.shape
    for i in range(dim):
        after, before, second = (i + 1) % dim, i - 1, i - 2  # negative indices count from the end
        left, difference = x[before], x[after] - x[second]
        f[i] = difference * left - x[i] + 8.0
        for c in range(k):
            F[i, c] = left * (V[after, c] - V[second, c]) + difference * V[before, c] - V[i, c]


@fast
def lorenz96_velocity(x, f, times):
    """The velocity alone, evaluated over and over (x[0] moves by rounding errors: no evaluation can be left out)."""
    dim = x.size
    second, before, here, after, out = x[: dim - 3], x[1 : dim - 2], x[2 : dim - 1], x[3:], f[2 : dim - 1]
    for _ in range(times):
        for i in range(dim - 3):  # slices: Numba asks of other indices whether they count from the end
            out[i] = (after[i] - second[i]) * before[i] - here[i] + 8.0
        for i in (-1, 0, 1):
            f[i] = (x[i + 1] - x[i - 2]) * x[i - 1] - x[i] + 8.0
        x[0] += 1e-16 * f[0]


@cache
def rk4_loop(slope: Callable[..., None], dim: int, k: int) -> Callable[..., Any]:
    """A loop (x, V, intervals, steps, dt) -> (x, growth) with the classical Runge-Kutta method."""

    @fast
    def loop(x, V, intervals, steps, dt):
        x, V = x.copy(), V.copy()
        growth = np.empty((intervals, k))
        f, total, stage = np.empty(dim), np.empty(dim), np.empty(dim)
        F, Total, Stage = np.empty((dim, k)), np.empty((dim, k)), np.empty((dim, k))
        for n in range(intervals):
            for _ in range(steps):
                slope(x, V, f, F)
                for i in range(dim):
                    total[i], stage[i] = f[i], x[i] + 0.5 * dt * f[i]
                    for c in range(k):
                        Total[i, c], Stage[i, c] = F[i, c], V[i, c] + 0.5 * dt * F[i, c]
                for ahead in (0.5 * dt, dt):
                    slope(stage, Stage, f, F)
                    for i in range(dim):
                        total[i] += 2.0 * f[i]
                        stage[i] = x[i] + ahead * f[i]
                        for c in range(k):
                            Total[i, c] += 2.0 * F[i, c]
                            Stage[i, c] = V[i, c] + ahead * F[i, c]
                slope(stage, Stage, f, F)
                for i in range(dim):
                    x[i] += dt / 6.0 * (total[i] + f[i])
                    for c in range(k):
                        V[i, c] += dt / 6.0 * (Total[i, c] + F[i, c])
            gram_schmidt(V, growth[n])
        return x, growth

    return loop


@fast
def relu(d):
    """The activation max(0, d) and its derivatives."""
    return (d, 1.0, 0.0) if d > 0.0 else (0.0, 0.0, 0.0)


@fast
def tanh(d):
    """The activation tanh(d) and its derivatives."""
    s = math.tanh(d)
    slope = 1.0 - s * s
    return s, slope, -2.0 * s * slope


@cache
def three_layer_loops(activation: Callable[..., Any], hidden: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Gradient descent of a 2-hidden-1 network on minibatches, with its tangent vectors.

    State: input weights w1 and w2 of all hidden units, output weights v, biases b, output bias: 4 hidden + 1 numbers.
    Returns two loops, (w, V, X, y, rows, dt, every) -> (w, growth) on the batches rows, shape (steps, size), and
    (w, V, X, y, size, steps, dt, every, seed) -> (w, growth), which draws a permutation for each epoch itself.
    """
    H, Q = hidden, 4 * hidden + 1

    @fast
    def step(w, V, X, y, rows, dt, work):
        J, F, moved, g, second, cross = work
        J[:], F[:], g[4 * H] = 0.0, 0.0, 1.0
        for sample in rows:
            x1, x2, error = X[sample, 0], X[sample, 1], w[4 * H] - y[sample]
            for j in range(H):
                s, s1, s2 = activation(w[j] * x1 + w[H + j] * x2 + w[3 * H + j])
                v = w[2 * H + j]
                error += v * s
                g[j], g[H + j], g[2 * H + j], g[3 * H + j] = v * s1 * x1, v * s1 * x2, s, v * s1
                second[j], cross[j] = v * s2, s1
            for i in range(Q):
                F[i] += error * g[i]
                for j in range(i + 1):
                    J[i, j] += g[i] * g[j]
            for j in range(H):  # the lower triangle of error times the second derivatives of the output
                curved, mixed = error * second[j], error * cross[j]
                J[j, j] += curved * x1 * x1
                J[H + j, j] += curved * x1 * x2
                J[H + j, H + j] += curved * x2 * x2
                J[2 * H + j, j] += mixed * x1
                J[2 * H + j, H + j] += mixed * x2
                J[3 * H + j, j] += curved * x1
                J[3 * H + j, H + j] += curved * x2
                J[3 * H + j, 2 * H + j] += mixed
                J[3 * H + j, 3 * H + j] += curved
        rate = -2.0 * dt / len(rows)
        for i in range(Q):
            for j in range(i):
                J[j, i] = J[i, j]
        for i in range(Q):
            for c in range(Q):
                moved[i, c] = V[i, c]
            for j in range(Q):
                pull = rate * J[i, j]
                for c in range(Q):
                    moved[i, c] += pull * V[j, c]
        for i in range(Q):
            w[i] += rate * F[i]
            for c in range(Q):
                V[i, c] = moved[i, c]

    @fast
    def room():
        return np.empty((Q, Q)), np.empty(Q), np.empty((Q, Q)), np.empty(Q), np.empty(H), np.empty(H)

    @fast
    def given(w, V, X, y, rows, dt, every):
        w, V, work, growth = w.copy(), V.copy(), room(), np.empty((len(rows) // every, Q))
        for n in range(len(rows)):
            step(w, V, X, y, rows[n], dt, work)
            if (n + 1) % every == 0:
                gram_schmidt(V, growth[n // every])
        return w, growth

    @fast
    def drawing(w, V, X, y, size, steps, dt, every, seed):
        np.random.seed(seed)  # noqa: NPY002 (what Numba compiles)
        w, V, work, growth = w.copy(), V.copy(), room(), np.empty((steps // every, Q))
        rows, order, used = np.empty(size, np.int64), np.random.permutation(len(X)), 0  # noqa: NPY002
        for n in range(steps):
            for s in range(size):
                if used == len(X):
                    order, used = np.random.permutation(len(X)), 0  # noqa: NPY002
                rows[s] = order[used]
                used += 1
            step(w, V, X, y, rows, dt, work)
            if (n + 1) % every == 0:
                gram_schmidt(V, growth[n // every])
        return w, growth

    return given, drawing
