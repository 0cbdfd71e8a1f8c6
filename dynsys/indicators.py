"""What is read from growth rates and vectors: finite-time exponents, standard errors, angles."""

from __future__ import annotations

import numpy as np

from dynsys.errors import whole_number

Array = np.ndarray

MOST_BATCHES = 16


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
    """Standard error of the mean over time, by tapered, half-overlapping batch means.

    For n correlated rates with variance of the mean D/n + B/n^2, D is the long-run variance (all autocorrelations,
    of either sign) and B comes from the ends of the record: it is all there is for a rate that is a total derivative,
    such as that of the neutral direction of a flow. Means over batches of length n/16, overlapping by half and weighted
    by w = sin^2, give D without the ends; plain means over batches of length L = n/32 have the variance D/L + B/L^2
    and give B. The error is known to about 13 %.

    For a transient the number says nothing: repeat the run instead.

    Parameters
    ----------
    rates : ndarray, shape (..., n, k)

    Returns
    -------
    ndarray, shape (..., k)
        NaN for n < 32; up to n = 128 the batches are fewer, of length 8.

    References
    ----------
    P. D. Welch, IEEE Trans. Audio Electroacoust. 15, 70 (1967): tapered overlapping segments;
    J. M. Flegal, G. L. Jones, Ann. Statist. 38, 1034 (2010): overlapping batch means.
    """
    *lead, n, k = rates.shape
    batches = min(MOST_BATCHES, n // 8)
    if batches < 4:
        return np.full((*lead, k), np.nan)
    centred = rates - rates.mean(axis=-2, keepdims=True)

    length = n // batches
    taper = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    windows = np.lib.stride_tricks.sliding_window_view(centred, length, axis=-2)[..., :: length // 2, :, :]
    means = windows @ (taper / taper.sum())
    # a batch mean varies by D sum(w^2)/sum(w)^2 about the true mean, by D/n less about the mean of the record
    D = np.mean(means**2, axis=-2) / (np.sum(taper**2) / np.sum(taper) ** 2 - 1 / n)

    length = n // (2 * batches)
    plain = centred[..., n - 2 * batches * length :, :].reshape(*lead, 2 * batches, length, k).mean(axis=-2)
    B = np.maximum(0.0, (plain.var(axis=-2, ddof=1) * length - D) * length)
    return np.sqrt(D / n + B / n**2)


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
        NaN where a frame has NaN.
    """
    distances = []
    for j in range(1, U.shape[-1] + 1):
        outside = U[..., :j] - V[..., :j] @ (np.swapaxes(V[..., :j], -1, -2) @ U[..., :j])
        known = np.isfinite(outside).all(axis=(-2, -1))  # LAPACK refuses NaN
        norms = np.linalg.norm(np.where(known[..., None, None], outside, 0.0), ord=2, axis=(-2, -1))
        distances.append(np.where(known, norms, np.nan))
    return np.stack(distances, axis=-1)
