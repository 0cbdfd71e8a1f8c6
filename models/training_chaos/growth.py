"""The paper's estimate of the largest Lyapunov exponent of a network, from the growth of a distance."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from dynsys import InvalidInputError

Array = np.ndarray

FIRST, LENGTHS = range(0, 101, 5), range(30, 101, 5)  # where windows begin, and how long they are, in steps
LEAST_R2, LEAST_RATE = 0.9, 0.05  # what the paper accepts


@attrs.frozen(eq=False)
class GrowthFit:
    """Straight lines through the logarithm of distances, one for each run, through the window that it suits best.

    Attributes
    ----------
    rate : ndarray, shape (...)
        Slope, 1/step.
    r2 : ndarray, shape (...)
        Share of the variance in the window that the line explains.
    first, length : ndarray of int, shape (...)
        The window: steps first, ..., first + length.
    """

    rate: Array
    r2: Array
    first: Array
    length: Array

    @property
    def accepted(self) -> Array:
        """Which runs the paper takes: R^2 > 0.9 and rate > 0.05, shape (...)."""
        return (self.r2 > LEAST_R2) & (self.rate > LEAST_RATE)


def fit_growth(
    distance: Array, first: Sequence[int] = FIRST, lengths: Sequence[int] = LENGTHS, *, windows: GrowthFit | None = None
) -> GrowthFit:
    """Fit the growth of distances as the paper does: of all windows, the one with the largest R^2.

    Parameters
    ----------
    distance : ndarray, shape (..., 1 + steps)
        From step 0 on.
    first, lengths : sequence of int
        Where windows may begin, and how long they may be; those that end after the last step are left out.
    windows : GrowthFit, optional
        Take the windows of another fit instead, run by run.

    Returns
    -------
    GrowthFit
        NaN for a distance that vanishes or is not finite in every window.

    Examples
    --------
    >>> fit = fit_growth(1e-8 * np.exp(0.2 * np.arange(201.0)))
    >>> fit.rate.round(3), bool(fit.accepted)
    (np.float64(0.2), True)
    """
    steps = distance.shape[-1] - 1
    pairs = [(f, n) for f in first for n in lengths if f + n <= steps]
    if not pairs:
        raise InvalidInputError(
            f"no window of {min(lengths)} steps from step {min(first)} fits into {steps} steps: follow more of them"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(distance)
        fits = np.array([fit_line(y[..., f : f + n + 1]) for f, n in pairs])  # (windows, 2, ...)
    rates, r2 = fits[:, 0], fits[:, 1]
    if windows is None:
        best = np.argmax(np.where(np.isnan(r2), -np.inf, r2), axis=0)
    else:
        best = np.argmax([(windows.first == f) & (windows.length == n) for f, n in pairs], axis=0)
    chosen = np.array(pairs)[best]
    take = lambda values: np.take_along_axis(values, best[None], axis=0)[0]  # noqa: E731
    return GrowthFit(take(rates), take(r2), chosen[..., 0], chosen[..., 1])


def fit_line(y: Array) -> tuple[Array, Array]:
    """Slope and R^2 of the least-squares line through (..., n) equidistant points."""
    t = np.arange(y.shape[-1]) - (y.shape[-1] - 1) / 2
    centred = y - y.mean(axis=-1, keepdims=True)
    slope = centred @ t / (t @ t)
    return slope, slope**2 * (t @ t) / np.sum(centred**2, axis=-1)
