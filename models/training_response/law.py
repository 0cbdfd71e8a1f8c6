"""How a response ages: constant, or a power law of time."""

from __future__ import annotations

import attrs
import numpy as np

from dynsys import InvalidInputError

Array = np.ndarray


@attrs.frozen
class Law:
    """alpha(t) = a (1 + t / t0)^(-gamma), fitted to the logarithm.

    Attributes
    ----------
    gamma, gamma_error : float
        The power, and its standard error.
    t0 : float
    change : float
        Mean of ln(alpha(T) / alpha(0)).
    preferred : str
        "power law" or "constant": the one with the smaller Bayesian information criterion; "neither" where the power
        law is better only as another law, with a t0 beyond all times.
    difference : float
        BIC of the constant minus that of the power law.
    """

    gamma: float
    gamma_error: float
    t0: float
    change: float
    preferred: str
    difference: float

    @property
    def ages(self) -> bool:
        """Whether the amplitude falls by a tenth at least, by a power law whose power is clear of 0."""
        return self.preferred == "power law" and self.gamma > 3.0 * self.gamma_error and self.change < np.log(0.9)


def fit_law(time: Array, alpha: Array) -> Law:
    """Fit both laws to the mean logarithm of amplitudes of several networks, each relative to its first.

    Points of one network are not independent, and networks differ: the error of gamma is that of the jackknife over
    networks, of fits that leave out one of them.

    Parameters
    ----------
    time : ndarray, shape (times,)
    alpha : ndarray, shape (networks, times)
        Positive, of three networks at least.

    Examples
    --------
    >>> time = np.geomspace(1, 1000, 30)
    >>> noise = np.random.default_rng(0).normal(scale=0.02, size=(10, 30))
    >>> law = fit_law(time, (1 + time / 20) ** -0.5 * np.exp(noise))
    >>> law.preferred, abs(law.gamma - 0.5) < 4 * law.gamma_error + 0.02
    ('power law', True)
    """
    from scipy.optimize import curve_fit

    if alpha.ndim != 2 or alpha.shape[1] != len(time) or len(time) < 5 or len(alpha) < 3 or not (alpha > 0).all():
        raise InvalidInputError(
            f"alpha must be positive, of shape (networks, {len(time)}) with three networks at least, got {alpha.shape}"
        )
    y = np.log(alpha / alpha[:, :1])
    start = (0.0, 0.1, np.log(np.median(time)))
    bounds = ([-np.inf, -5.0, np.log(time[time > 0].min()) - 3.0], [np.inf, 5.0, np.log(time.max()) + 3.0])

    def power(t: Array, a: float, gamma: float, log_t0: float) -> Array:
        return a - gamma * np.log1p(t / np.exp(log_t0))

    def fit(rows: Array) -> Array:
        found: Array = curve_fit(power, time, rows.mean(axis=0), start, bounds=bounds, max_nfev=20_000)[0]
        return found

    n, m, mean = len(y), len(time), y.mean(axis=0)
    found = fit(y)
    left_out = np.array([fit(np.delete(y, network, axis=0))[1] for network in range(n)])
    error = np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))
    misfits = [np.sum((mean - mean.mean()) ** 2), np.sum((mean - power(time, *found)) ** 2)]
    bic = [m * np.log(max(q, 1e-30) / m) + p * np.log(m) for q, p in zip(misfits, (1, 3), strict=True)]
    difference = float(bic[0] - bic[1])
    better = "power law" if np.exp(found[2]) < time.max() else "neither"
    return Law(
        float(found[1]), float(error), float(np.exp(found[2])), float(y[:, -1].mean()),
        better if difference > 2.0 else "constant", difference,
    )  # fmt: skip
