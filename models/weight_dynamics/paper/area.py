"""The area under a ROC curve: how well one number ranks those with an outcome above the others, with its interval."""

from __future__ import annotations

import attrs
import numpy as np

Array = np.ndarray

RESAMPLES = 1000
GROUPS = 200  # of neighbouring values, drawn together where there are more values
PRIOR = 0.5  # observations of each class spread over all values: coverage near AUC = 1 is right with it, see `Area`


@attrs.frozen
class Area:
    """Area under a ROC curve, the probability that a positive ranks above a negative, ties counted half.

    The 95 % interval, low to high, is of the test half given what was trained: quantiles of a stratified bootstrap in
    which each class has half an observation more than its own, spread over the values of both. Without it a resample
    knows of no positive worse than those seen: for 50 normal positives at an area of 0.99 the interval misses in 18 %
    of cases; with it in 2 %, at 0.95 in 6 %, at 0.8 in 8 %. NaN: fewer than two members of a class in a half.

    References
    ----------
    J. A. Hanley, B. J. McNeil, Radiology 143, 29 (1982); D. B. Rubin, Ann. Statist. 9, 130 (1981): the weights of the
    members are drawn from a Dirichlet distribution.
    """

    training: float = np.nan
    test: float = np.nan
    low: float = np.nan
    high: float = np.nan

    def __str__(self) -> str:
        return f"{self.test:.4f} ({self.low:.4f} to {self.high:.4f})"

    @property
    def error(self) -> float:
        """Standard error, from the width of the interval."""
        return (self.high - self.low) / (2 * 1.96)

    def exceeds(self, other: Area) -> bool | None:
        """Whether it is larger than another one; None if the difference is within its error (as if independent)."""
        gap = self.test - other.test
        if np.isnan(gap) or abs(gap) <= 1.96 * float(np.hypot(self.error, other.error)):
            return None
        return gap > 0


def rank_area(values: Array, outcome: Array) -> float:
    """Probability that a member with the outcome has the larger value, ties counted half: the area under the ROC curve.

    NaN if all or none have the outcome, or a value is NaN.

    Parameters
    ----------
    values : ndarray, shape (n,)
    outcome : ndarray of bool, shape (n,)

    Examples
    --------
    >>> rank_area(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, True, False, True]))
    0.875
    """
    if outcome.all() or not outcome.any() or np.isnan(values).any():
        return np.nan
    return float(_area(*_counts(values, outcome)))


def area_of_halves(values: Array, outcome: Array, training: Array, seed: int) -> Area:
    """Areas of training and test half, with the interval of the test half; `training` is bool, shape (n,)."""
    learned = rank_area(values[training], outcome[training])
    values, outcome = values[~training], outcome[~training]
    counts = _counts(values, outcome)
    area = _area(*counts)
    if len(counts[0]) > GROUPS:
        counts = _counts(np.searchsorted(balanced_edges(values, outcome, GROUPS), values), outcome)
    shares = sum(of_class / of_class.sum() for of_class in counts) / 2
    rng = np.random.default_rng(seed)
    drawn = _area(*(rng.standard_gamma(of_class + PRIOR * shares, (RESAMPLES, len(shares))) for of_class in counts))
    low, high = np.quantile(drawn, [0.025, 0.975]) + (area - _area(*counts))  # grouping moves the area a little
    return Area(learned, float(area), float(max(0.0, min(low, area))), float(min(1.0, max(high, area))))


def _counts(values: Array, outcome: Array) -> tuple[Array, Array]:
    """Positives and negatives at each distinct value, ascending."""
    distinct, place = np.unique(values, return_inverse=True)
    positive, both = (np.bincount(place[chosen], minlength=len(distinct)) for chosen in (outcome, slice(None)))
    return positive, both - positive


def _area(positive: Array, negative: Array) -> Array:
    """Share of pairs with the positive above the negative, ties half, from weights at ascending values: (..., K)."""
    below = np.cumsum(negative, axis=-1) - negative / 2
    return np.sum(positive * below, axis=-1) / (positive.sum(axis=-1) * negative.sum(axis=-1))


def balanced_edges(values: Array, outcome: Array, bins: int) -> Array:
    """Upper edges of bins, but for the last, with equal shares of all weight, half of it of each class; none empty."""
    order = np.argsort(values)
    positives = np.count_nonzero(outcome)
    weight = np.cumsum(np.where(outcome[order], len(outcome) - positives, positives))  # whole numbers: no rounding
    edges = np.unique(values[order[np.searchsorted(weight * bins, np.arange(1, bins) * weight[-1])]])
    return edges[edges < values[order[-1]]]
