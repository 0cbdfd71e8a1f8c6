"""What a series of losses says of itself: where it stays, its autocorrelation, and how fast similar values part."""

from __future__ import annotations

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import positive, real, whole_number, whole_seed
from dynsys.models.training_chaos.growth import fit_line

Array = np.ndarray


def autocorrelation(series: Array, lags: int) -> Array:
    """Autocorrelation r(1), ..., r(lags) of series (..., n), shape (..., lags).

        r(l) = sum_t (z_t - m)(z_{t+l} - m) / sum_t (z_t - m)^2,     m: the mean

    Of independent values the standard error is n^(-1/2). NaN for a constant series.

    Examples
    --------
    >>> autocorrelation(np.tile([1.0, -1.0], 50), lags=2)
    array([-0.99,  0.98])
    """
    lags, n = whole_number("lags", lags, 1), np.shape(series)[-1]
    if lags >= n:
        raise InvalidInputError(f"lags must be fewer than the {n} values, got {lags}")
    z = series - np.mean(series, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([np.sum(z[..., :-lag] * z[..., lag:], axis=-1) for lag in range(1, lags + 1)], -1) / np.sum(
            z**2, axis=-1, keepdims=True
        )


def stays(inside: Array) -> Array:
    """Where a series enters and leaves a set, (stays, 2): it is `inside`, bool (n,), from the first to before the last.

    Examples
    --------
    >>> stays(np.array([False, True, True, False, True])).tolist()
    [[1, 3], [4, 5]]
    """
    moves = np.diff(np.concatenate([[0], np.asarray(inside, dtype=int), [0]]))
    return np.column_stack([np.flatnonzero(moves > 0), np.flatnonzero(moves < 0)])


@attrs.frozen(eq=False)
class LocalExpansion:
    """How fast values that are close to each other part, at reference points of a series.

    Attributes
    ----------
    value : ndarray, shape (points,)
        Where in the series.
    rate : ndarray, shape (points,)
        Slope of the logarithm of the distance, 1/step.
    significant : ndarray of bool, shape (points,)
        Whether a slope over ten steps differs from 0 at the level 0.05.
    neighbours : ndarray of int, shape (points,)
    """

    value: Array
    rate: Array
    significant: Array
    neighbours: Array


def local_expansion(
    series: Array,
    *,
    points: int = 1000,
    radius: float = 5e-5,
    longest: int = 25,
    apart: int = 25,
    seed: int = 0,
) -> LocalExpansion:
    """Local rates of expansion of a scalar series (n,), as the paper estimates them.

    Around each of some reference points, the values within `radius` of it, at least `apart` steps away in time, are
    followed: the logarithm of their mean distance from its successors is fitted by a line over steps 1, ..., m for m =
    5, ..., longest, of which the one with the largest R^2 counts. Points without a neighbour are left out.

    A value of the loss is not a state: neighbours in value may be far apart in weights, and part at once.

    References
    ----------
    arXiv:2404.05782; after H. Kantz, Phys. Lett. A 185, 77 (1994).

    Examples
    --------
    >>> x = [0.3]
    >>> for _ in range(20_000):
    ...     x.append(4 * x[-1] * (1 - x[-1]))  # ln 2 = 0.69 on average
    >>> found = local_expansion(np.array(x), longest=8)
    >>> float(np.median(found.rate).round(1))
    0.7
    """
    from scipy.stats import t as student

    z = real("series", series)
    radius, longest = positive("radius", radius), whole_number("longest", longest, 6)
    last = len(z) - max(longest, 10)
    if z.ndim != 1 or last < 2 or not np.isfinite(z).all():
        raise InvalidInputError(f"series must be finite, of shape (n,) with n > {longest + 1}, got shape {z.shape}")
    order = np.argsort(z[:last], kind="stable")
    ordered = z[order]
    chosen = np.random.default_rng(whole_seed(seed)).permutation(last)[: whole_number("points", points, 1)]
    ahead = np.arange(max(longest, 10) + 1)
    rows, counts, values = [], [], []
    for i in np.sort(chosen):
        near = order[slice(*np.searchsorted(ordered, [z[i] - radius, z[i] + radius]))]
        near = near[np.abs(near - i) >= apart]
        if len(near):
            rows.append(np.abs(z[near[:, None] + ahead] - z[i + ahead]).mean(axis=0))
            counts.append(len(near))
            values.append(z[i])
    if not rows:
        return LocalExpansion(np.empty(0), np.empty(0), np.empty(0, bool), np.empty(0, int))
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(np.array(rows))
        fits = np.array([fit_line(y[:, 1 : m + 1]) for m in range(5, longest + 1)])
        best = np.argmax(np.where(np.isnan(fits[:, 1]), -np.inf, fits[:, 1]), axis=0)
        r2 = fit_line(y[:, 1:11])[1]
        critical = student.ppf(0.975, 8) ** 2
        significant = r2 * 8 > critical * (1 - r2)
    rate = np.take_along_axis(fits[:, 0], best[None], axis=0)[0]
    return LocalExpansion(np.array(values), rate, significant, np.array(counts))
