"""Quantities from growth rates and vectors: finite-time exponents, angles, domination."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement

import numpy as np

from dynsys.error_bars import batch_means_error as batch_means_error
from dynsys.errors import InvalidInputError, real_array, real_series, whole_number

Array = np.ndarray


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

    Raises
    ------
    InvalidInputError
        For a window that is not a whole number from 1 to `intervals`.

    Examples
    --------
    >>> finite_time_exponents(np.array([[1.0], [3.0], [5.0]]))[:, 0]
    array([1., 2., 3.])
    >>> finite_time_exponents(np.array([[1.0], [3.0], [5.0]]), window=2)[:, 0]
    array([2., 4.])
    """
    rates = real_series("rates", rates, "intervals, k")
    if window is None:
        return np.cumsum(rates, axis=-2) / np.arange(1, rates.shape[-2] + 1)[:, None]
    window = whole_number("window", window, 1)
    if window > rates.shape[-2]:
        raise InvalidInputError(f"window must be at most the {rates.shape[-2]} intervals of the rates, got {window}")
    return np.lib.stride_tricks.sliding_window_view(rates, window, axis=-2).mean(axis=-1)


def angles(vectors: Array) -> Array:
    """Angles between all pairs of columns, as lines: radians in [0, pi/2].

    theta_ij = 2 atan2(min(d, s), max(d, s)), d = ||u_i - u_j||, s = ||u_i + u_j|| for unit u: to rounding (1e-15), also
    for small angles, while arccos |u_i . u_j| cannot resolve angles below 1e-8.

    Parameters
    ----------
    vectors : ndarray, shape (..., dim, k)
        Their length and sign do not matter.

    Returns
    -------
    ndarray, shape (..., k, k)
        Symmetric, with zeros on the diagonal; NaN for columns that are zero or have NaN.

    References
    ----------
    W. Kahan, How futile are mindless assessments of roundoff in floating-point computation? (2006), "Mangled angles".

    Examples
    --------
    >>> angles(np.array([[1.0, -1.0], [1e-12, 1e-12]]))
    array([[0.e+00, 2.e-12],
           [2.e-12, 0.e+00]])
    """
    units = _unit(vectors)
    k = units.shape[-1]
    found = np.empty((*units.shape[:-2], k, k))
    for i, j in combinations_with_replacement(range(k), 2):  # pair by pair, for memory
        d = np.linalg.norm(units[..., i] - units[..., j], axis=-1)
        s = np.linalg.norm(units[..., i] + units[..., j], axis=-1)
        found[..., i, j] = found[..., j, i] = 2.0 * np.arctan2(np.minimum(d, s), np.maximum(d, s))
    return found


def cosines(vectors: Array) -> Array:
    """|cos theta_ij| of the angles between all pairs of columns, as lines: in [0, 1].

    Parameters
    ----------
    vectors : ndarray, shape (..., dim, k)
        Their length and sign do not matter.

    Returns
    -------
    ndarray, shape (..., k, k)
        NaN for columns that are zero or have NaN. Near 1 the angle is lost in rounding: use `angles`.

    Examples
    --------
    >>> cosines(np.array([[1.0, -3.0], [0.0, 4.0]])).round(15)
    array([[1. , 0.6],
           [0.6, 1. ]])
    """
    units = _unit(vectors)
    return np.minimum(np.abs(np.swapaxes(units, -1, -2) @ units), 1.0)


def _unit(vectors: Array) -> Array:
    vectors = real_series("vectors", vectors, "dim, k")
    with np.errstate(invalid="ignore", divide="ignore"):  # a vector that vanished has no direction: NaN
        return vectors / np.linalg.norm(vectors, axis=-2, keepdims=True)


def principal_angles(U: Array, V: Array) -> Array:
    """Principal angles between the spans of two sets of columns: radians in [0, pi/2], in ascending order.

    For orthonormal bases P and Q, p >= q, the singular values of P^T Q are the cosines, those of Q - P P^T Q the sines,
    and theta = atan2(sin, cos), to rounding for small angles and for large ones. (`scipy.linalg.subspace_angles`, which
    orders them downwards, loses those below 1e-8 if another one is above pi/4.)

    Parameters
    ----------
    U, V : ndarray, shapes (..., dim, p) and (..., dim, q)
        Their leading axes are broadcast; p and q are at most dim.

    Returns
    -------
    ndarray, shape (..., min(p, q))
        NaN where columns of U or of V are dependent to rounding, or have NaN.

    Raises
    ------
    InvalidInputError
        For shapes that do not fit.

    References
    ----------
    A. Björck, G. H. Golub, Math. Comput. 27, 579 (1973); A. V. Knyazev, M. E. Argentati, SIAM J. Sci. Comput. 23, 2008
    (2002).

    Examples
    --------
    >>> plane, line = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), np.array([[1.0], [0.0], [1.0]])
    >>> principal_angles(plane, line).round(4)
    array([0.7854])
    """
    U, V = real_array("U", U), real_array("V", V)
    if (
        min(U.ndim, V.ndim) < 2
        or U.shape[-2] != V.shape[-2]
        or not all(1 <= W.shape[-1] <= W.shape[-2] for W in (U, V))
        or any(a != b and 1 not in (a, b) for a, b in zip(U.shape[-3::-1], V.shape[-3::-1], strict=False))
    ):
        raise InvalidInputError(
            "U and V must have shapes (..., dim, p) and (..., dim, q) with p and q from 1 to dim, and leading axes "
            f"that can be broadcast, got {U.shape} and {V.shape}"
        )
    if U.shape[-1] < V.shape[-1]:
        U, V = V, U
    (P, full), (Q, other) = _basis(U), _basis(V)
    inside = np.swapaxes(P, -1, -2) @ Q
    cosine = np.linalg.svd(inside, compute_uv=False)
    sine = np.linalg.svd(Q - P @ inside, compute_uv=False)[..., ::-1]
    return np.where((full & other)[..., None], np.arctan2(sine, cosine), np.nan)


def _basis(U: Array) -> tuple[Array, Array]:
    """An orthonormal basis of the span, and whether the columns are independent; zeros where they are not."""
    Q, R = np.linalg.qr(U)
    rounding = U.shape[-2] * np.finfo(float).eps * np.linalg.norm(U, axis=-2)
    full = (np.abs(np.diagonal(R, axis1=-2, axis2=-1)) > rounding).all(axis=-1)  # not so with NaN, which LAPACK refuses
    return np.where(full[..., None, None], Q, 0.0), full


def angle_density(angles: Array, bins: int = 90) -> tuple[Array, Array, Array]:
    """Probability density of a series of angles over [0, pi/2], bin by bin with its standard error.

    Parameters
    ----------
    angles : ndarray, shape (..., m)
        Radians, in the order of time: `clvs.angles[..., i, j]`.
    bins : int
        Number of bins, of equal width; 90 are of one degree each.

    Returns
    -------
    centres : ndarray, shape (bins,)
        Radians.
    density, standard_error : ndarray, shape (..., bins)
        1/radian: the share of times in the bin over its width, and its error by `batch_means_error` of the indicator
        series, which counts that angles stay for a while. An empty bin has the error 0; a series with NaN has NaN.

    Raises
    ------
    InvalidInputError
        For angles out of [0, pi/2] or bins < 1.

    Examples
    --------
    >>> centres, density, error = angle_density(np.tile([0.1, 0.2, 1.5], 20), bins=2)
    >>> density * np.pi / 4
    array([0.66666667, 0.33333333])
    """
    bins = whole_number("bins", bins, 1)
    series = real_array("angles", angles)
    if series.ndim < 1 or not series.shape[-1] or (series < 0.0).any() or (series > np.pi / 2).any():
        least, most = np.fmin.reduce(series, axis=None, initial=np.inf), np.fmax.reduce(series, axis=None, initial=0.0)
        raise InvalidInputError(
            "angles must be radians in [0, pi/2], times along the last axis, "
            f"got shape {series.shape}, from {least:g} to {most:g}"
        )
    width = np.pi / 2 / bins
    where = np.minimum(np.floor(series / width), bins - 1)  # pi/2 belongs to the last bin; NaN to none
    density, error = np.empty((2, *series.shape[:-1], bins))
    for b in range(bins):  # one by one, for memory
        inside = (where == b).astype(float)[..., None]
        density[..., b] = inside.mean(axis=-2)[..., 0]
        error[..., b] = batch_means_error(inside - inside[..., :1, :])[..., 0]  # zero if all are, or none: no rounding
    unknown = np.isnan(series).any(axis=-1)[..., None]
    centres = (np.arange(bins) + 0.5) * width
    return centres, np.where(unknown, np.nan, density / width), np.where(unknown, np.nan, error / width)


def domination_violations(rates: Array, window: int) -> Array:
    """How often the order of finite-time exponents is violated: the domination of the Oseledets splitting.

    For i < j the share of windows of length tau in which lambda_i^tau < lambda_j^tau. The splitting after vector j is
    dominated if from some tau on all shares across it, `[..., :j, j:]`, vanish: then the angle between the two spans is
    bounded away from zero. Shares that do not vanish belong to entangled vectors, with tangencies between them.

    Parameters
    ----------
    rates : ndarray, shape (..., m, k)
        Growth rates along *covariant* vectors (`clvs.rates`), 1/time.
    window : int
        Number of intervals, 1 to m; there are m - window + 1 windows, which overlap.

    Returns
    -------
    ndarray, shape (..., k, k)
        Zero on the diagonal and below; above it NaN for vectors whose rates have NaN.

    Raises
    ------
    InvalidInputError
        For a window that is not a whole number from 1 to m.

    References
    ----------
    H.-l. Yang, K. A. Takeuchi, F. Ginelli, H. Chaté, G. Radons, Phys. Rev. Lett. 102, 074102 (2009);
    K. A. Takeuchi, H.-l. Yang, F. Ginelli, G. Radons, H. Chaté, Phys. Rev. E 84, 046214 (2011).

    Examples
    --------
    >>> rates = np.array([[3.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    >>> domination_violations(rates, window=1)[0, 1].round(4), domination_violations(rates, window=2)[0, 1]
    (np.float64(0.3333), np.float64(0.0))
    """
    exponents = finite_time_exponents(rates, whole_number("window", window, 1))
    k = exponents.shape[-1]
    shares = np.zeros((*exponents.shape[:-2], k, k))
    for i, j in combinations(range(k), 2):
        ahead = exponents[..., i] - exponents[..., j]
        shares[..., i, j] = np.where(np.isnan(ahead).any(axis=-1), np.nan, np.mean(ahead < 0, axis=-1))
    return shares


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
    U, V = real_series("U", U, "dim, k"), real_series("V", V, "dim, k")
    with np.errstate(invalid="ignore", divide="ignore"):  # as for `_unit`
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
    U, V = real_series("U", U, "dim, k"), real_series("V", V, "dim, k")
    distances = []
    for j in range(1, U.shape[-1] + 1):
        outside = U[..., :j] - V[..., :j] @ (np.swapaxes(V[..., :j], -1, -2) @ U[..., :j])
        known = np.isfinite(outside).all(axis=(-2, -1))  # LAPACK refuses NaN
        norms = np.linalg.norm(np.where(known[..., None, None], outside, 0.0), ord=2, axis=(-2, -1))
        distances.append(np.where(known, norms, np.nan))
    return np.stack(distances, axis=-1)
