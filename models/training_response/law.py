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
    preferred : str
        "power law" or "constant": the one with the smaller Bayesian information criterion; "neither" where the power
        law is better only as another law, with a t0 beyond all times.
    difference : float
        BIC of the constant minus that of the power law.
    """

    gamma: float
    gamma_error: float
    t0: float
    preferred: str
    difference: float


def fit_law(time: Array, alpha: Array) -> Law:
    """Fit both laws to the amplitudes of several networks, alpha (networks, times) > 0, each relative to its first.

    The points of one network are not independent: the error of gamma is that of the means of networks, with the spread
    between these.

    Examples
    --------
    >>> time = np.geomspace(1, 1000, 30)
    >>> noise = np.random.default_rng(0).normal(scale=0.02, size=(10, 30))
    >>> law = fit_law(time, (1 + time / 20) ** -0.5 * np.exp(noise))
    >>> law.preferred, abs(law.gamma - 0.5) < 4 * law.gamma_error + 0.02
    ('power law', True)
    """
    from scipy.optimize import curve_fit

    if alpha.ndim != 2 or alpha.shape[1] != len(time) or len(time) < 4 or not (alpha > 0).all():
        raise InvalidInputError(f"alpha must be positive, of shape (networks, {len(time)}), got shape {alpha.shape}")
    y = np.log(alpha / alpha[:, :1])
    mean, n = y.mean(axis=0), len(alpha)
    error = np.maximum(y.std(axis=0, ddof=1) / np.sqrt(n), 1e-6) if n > 1 else np.full(len(time), 1e-2)
    error[0] = error[1:].min()  # the first is 0 by definition

    def power(t: Array, a: float, gamma: float, log_t0: float) -> Array:
        return a - gamma * np.log1p(t / np.exp(log_t0))

    start = (0.0, 0.1, np.log(np.median(time)))
    bounds = ([-np.inf, -5.0, np.log(time[time > 0].min()) - 3.0], [np.inf, 5.0, np.log(time.max()) + 3.0])
    found, covariance = curve_fit(power, time, mean, start, sigma=error, bounds=bounds, max_nfev=20_000)
    constant = np.average(mean, weights=error**-2)
    misfits = [np.sum((mean - constant) ** 2), np.sum((mean - power(time, *found)) ** 2)]
    m = len(time)
    bic = [m * np.log(max(q, 1e-30) / m) + p * np.log(m) for q, p in zip(misfits, (1, 3), strict=True)]
    difference = float(bic[0] - bic[1])
    return Law(
        float(found[1]), float(np.sqrt(covariance[1, 1])), float(np.exp(found[2])),
        ("power law" if np.exp(found[2]) < time.max() else "neither") if difference > 2.0 else "constant", difference,
    )  # fmt: skip
