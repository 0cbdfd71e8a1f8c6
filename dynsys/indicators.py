"""What is read from growth rates and vectors: finite-time exponents, standard errors, angles."""

from __future__ import annotations

import math

import numpy as np

from dynsys.errors import whole_number

Array = np.ndarray

MOST_BATCHES = 32


def finite_time_exponents(rates: Array, window: int | None = None) -> Array:
    """Finite-time Lyapunov exponents from the rates of single intervals.

    lambda_q(t) = 1/t sum_{intervals up to t} log R_qq: from the start of the record to every t (`window` None), or
    over a moving window that ends at t.

    Parameters
    ----------
    rates : ndarray, shape (..., intervals, k)
        log R_qq of every interval over its length, 1/time.
    window : int, optional
        Number of intervals.

    Returns
    -------
    ndarray, shape (..., intervals, k) or (..., intervals - window + 1, k)

    Examples
    --------
    >>> finite_time_exponents(np.array([[1.0], [3.0], [5.0]]))[:, 0]
    array([1., 2., 3.])
    >>> finite_time_exponents(np.array([[1.0], [3.0], [5.0]]), window=2)[:, 0]
    array([2., 4.])
    """
    if window is None:
        return np.cumsum(rates, axis=-2) / np.arange(1, rates.shape[-2] + 1)[:, None]
    window = whole_number("window", window, 1)
    return np.lib.stride_tricks.sliding_window_view(rates, window, axis=-2).mean(axis=-1)


def batch_means_error(rates: Array) -> Array:
    """Standard error of the mean over time, by non-overlapping batch means.

    The series of n rates is cut into b = min(32, floor(sqrt(n))) batches of equal length; the error is the standard
    deviation of the batch means over sqrt(b). Batches much longer than the correlation time make the means
    independent, so autocorrelation of either sign is accounted for; the error itself is known to a relative
    1/sqrt(2 b - 2), 13 % for b = 32. Left-over rates at the start belong to no batch. For a transient the number
    says nothing: repeat the run instead.

    Parameters
    ----------
    rates : ndarray, shape (..., n, k)

    Returns
    -------
    ndarray, shape (..., k)
        NaN for n < 16.

    References
    ----------
    C. Geyer, Practical Markov chain Monte Carlo, Statist. Sci. 7, 473 (1992), Sec. 3.2.
    """
    *lead, n, k = rates.shape
    batches = min(MOST_BATCHES, math.isqrt(n))
    if batches < 4:
        return np.full((*lead, k), np.nan)
    length = n // batches
    means = rates[..., n - batches * length :, :].reshape(*lead, batches, length, k).mean(axis=-2)
    return means.std(axis=-2, ddof=1) / math.sqrt(batches)


def angles(vectors: Array) -> Array:
    """Angles between all pairs of unit columns, as lines: radians in [0, pi/2].

    Parameters
    ----------
    vectors : ndarray, shape (..., dim, k)

    Returns
    -------
    ndarray, shape (..., k, k)
        Angles below about 1e-8 are not resolved.

    Examples
    --------
    >>> round(float(angles(np.array([[1.0, -1.0], [0.0, 1.0]]) / [1.0, 2**0.5])[0, 1]), 4)
    0.7854
    """
    cosines = np.abs(np.swapaxes(vectors, -1, -2) @ vectors)
    return np.arccos(np.minimum(cosines, 1.0))


def line_distance(U: Array, V: Array) -> Array:
    """Sine of the angle between corresponding columns, as lines; exact to rounding for small angles.

    Parameters
    ----------
    U, V : ndarray, shape (..., dim, k)
        V has unit columns.

    Returns
    -------
    ndarray, shape (..., k)
    """
    U = U / np.linalg.norm(U, axis=-2, keepdims=True)
    return np.linalg.norm(U - V * np.sum(U * V, axis=-2, keepdims=True), axis=-2)


def subspace_distance(U: Array, V: Array) -> Array:
    """Sine of the largest angle between the spans of the first j columns, for every j.

    Parameters
    ----------
    U, V : ndarray, shape (..., dim, k)
        Orthonormal columns.

    Returns
    -------
    ndarray, shape (..., k)
    """
    distances = []
    for j in range(1, U.shape[-1] + 1):
        outside = U[..., :j] - V[..., :j] @ (np.swapaxes(V[..., :j], -1, -2) @ U[..., :j])
        distances.append(np.linalg.norm(np.where(np.isfinite(outside), outside, 0.0), ord=2, axis=(-2, -1)))
    return np.stack(distances, axis=-1)
