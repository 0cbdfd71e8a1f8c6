"""Hand-written Numba loops for systems of medium size, and for maps, as plain as those of `handwritten`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchmarks.handwritten import fast, gram_schmidt


@fast
def roessler_ring_slope(x, V, f, F):
    """Velocity f and J(x) V of a ring of Roessler systems, a = b = 0.2, c = 5.7, coupled by x with strength 0.1.

    The state is (x_0, y_0, z_0, x_1, ...); dx_i/dt = -y_i - z_i + 0.1 (x_{i-1} + x_{i+1} - 2 x_i).
    """
    dim, k = V.shape
    for i in range(0, dim, 3):
        after, before = (i + 3) % dim, (i - 3) % dim
        f[i] = -x[i + 1] - x[i + 2] + 0.1 * (x[before] + x[after] - 2.0 * x[i])
        f[i + 1] = x[i] + 0.2 * x[i + 1]
        f[i + 2] = 0.2 + x[i + 2] * (x[i] - 5.7)
        for c in range(k):
            F[i, c] = -V[i + 1, c] - V[i + 2, c] + 0.1 * (V[before, c] + V[after, c] - 2.0 * V[i, c])
            F[i + 1, c] = V[i, c] + 0.2 * V[i + 1, c]
            F[i + 2, c] = x[i + 2] * V[i, c] + (x[i] - 5.7) * V[i + 2, c]


@fast
def kuramoto_slope(x, V, f, F):
    """Velocity f and J(x) V of n phase oscillators, all coupled: x_i' = i / n + (2 / n) sum_j sin(x_j - x_i)."""
    dim, k = V.shape
    strength = 2.0 / dim
    for i in range(dim):
        f[i] = i / dim
        for c in range(k):
            F[i, c] = 0.0
        for j in range(dim):
            f[i] += strength * math.sin(x[j] - x[i])
            pull = strength * math.cos(x[j] - x[i])
            for c in range(k):
                F[i, c] += pull * (V[j, c] - V[i, c])


@cache
def graph_slope(neighbours: tuple[tuple[int, ...], ...]) -> Callable[..., None]:
    """Phase oscillators on a graph of n vertices: x_i' = i / n + sum_j sin(x_j - x_i) over the neighbours of i."""
    ends, dim = np.array(neighbours), len(neighbours)

    @fast
    def slope(x, V, f, F):
        for i in range(dim):
            f[i] = i / dim
            for c in range(V.shape[1]):
                F[i, c] = 0.0
            for j in ends[i]:
                f[i] += math.sin(x[j] - x[i])
                pull = math.cos(x[j] - x[i])
                for c in range(V.shape[1]):
                    F[i, c] += pull * (V[j, c] - V[i, c])

    return slope


def recurrent_slope(W: np.ndarray) -> Callable[..., None]:
    """A recurrent network, x' = -x + W tanh(x)."""
    dim = len(W)

    @fast
    def slope(x, V, f, F):
        s = np.tanh(x)
        for i in range(dim):
            f[i] = -x[i]
            for c in range(V.shape[1]):
                F[i, c] = -V[i, c]
            for j in range(dim):
                f[i] += W[i, j] * s[j]
                pull = W[i, j] * (1.0 - s[j] * s[j])
                for c in range(V.shape[1]):
                    F[i, c] += pull * V[j, c]

    return slope


@fast
def hindmarsh_rose_slope(x, V, f, F):
    """Velocity f and J(x) V of the Hindmarsh-Rose neuron, current 3.25."""
    f[0] = x[1] - x[0] * x[0] * x[0] + 3.0 * x[0] * x[0] - x[2] + 3.25
    f[1] = 1.0 - 5.0 * x[0] * x[0] - x[1]
    f[2] = 0.006 * (4.0 * (x[0] + 1.6) - x[2])
    slope, pull = 6.0 * x[0] - 3.0 * x[0] * x[0], -10.0 * x[0]
    for c in range(V.shape[1]):
        F[0, c] = slope * V[0, c] + V[1, c] - V[2, c]
        F[1, c] = pull * V[0, c] - V[1, c]
        F[2, c] = 0.006 * (4.0 * V[0, c] - V[2, c])


@fast
def henon_image(x, V, f, F):
    """Image f and J(x) V of the Henon map, a = 1.4, b = 0.3."""
    f[0], f[1] = 1.0 - 1.4 * x[0] * x[0] + x[1], 0.3 * x[0]
    slope = -2.8 * x[0]
    for c in range(V.shape[1]):
        F[0, c] = slope * V[0, c] + V[1, c]
        F[1, c] = 0.3 * V[0, c]


@fast
def coupled_maps_image(x, V, f, F):
    """Image f and J(x) V of a ring of logistic maps, r = 4, coupling 0.1."""
    dim, k = V.shape
    for i in range(dim):
        after, before = (i + 1) % dim, (i - 1) % dim
        f[i] = 3.6 * x[i] * (1.0 - x[i]) + 0.2 * (x[before] * (1.0 - x[before]) + x[after] * (1.0 - x[after]))
        own, left, right = 3.6 * (1.0 - 2.0 * x[i]), 0.2 * (1.0 - 2.0 * x[before]), 0.2 * (1.0 - 2.0 * x[after])
        for c in range(k):
            F[i, c] = own * V[i, c] + left * V[before, c] + right * V[after, c]


@cache
def map_loop(image: Callable[..., None], dim: int, k: int) -> Callable[..., Any]:
    """A loop (x, V, intervals, steps) -> (x, growth) of a map."""

    @fast
    def loop(x, V, intervals, steps):
        x, V = x.copy(), V.copy()
        growth = np.empty((intervals, k))
        f, F = np.empty(dim), np.empty((dim, k))
        for n in range(intervals):
            for _ in range(steps):
                image(x, V, f, F)
                for i in range(dim):
                    x[i] = f[i]
                    for c in range(k):
                        V[i, c] = F[i, c]
            gram_schmidt(V, growth[n])
        return x, growth

    return loop
