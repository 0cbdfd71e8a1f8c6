"""Random recurrent networks of infinitely many units: how large their activity is, and how fast it forgets.

h' = tanh(g J h + eta), with independent J_ij of variance 1/N, and white noise eta of variance `drive` at every unit and
step. For N -> infinity the arguments x of tanh are Gaussian, with the variance

    Delta = g^2 <tanh^2(sqrt(Delta) z)> + drive,                    z standard normal,

and a small displacement grows, per step, at the rate

    lambda_1 = 1/2 ln(g^2 <sech^4(sqrt(Delta) z)>).

Without noise activity dies out for g <= 1: Delta = 0, lambda_1 = ln g; above, it is chaotic. Noise makes x large, where
tanh is flat: it suppresses chaos.

References
----------
H. Sompolinsky, A. Crisanti, H. J. Sommers, Phys. Rev. Lett. 61, 259 (1988); L. Molgedey, J. Schuchhardt, H. G.
Schuster, Phys. Rev. Lett. 69, 3717 (1992); R. Engelken, F. Wolf, L. F. Abbott, Phys. Rev. Research 5, 043044 (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import finite, positive

Array = np.ndarray


def mean_field_variance(gain: float, drive: float = 0.0) -> float:
    """Delta, the variance of the arguments of tanh: see `dynsys.models.networks.recurrent.mean_field`.

    Parameters
    ----------
    gain : float
        g > 0.
    drive : float
        Variance of the noise at every unit, >= 0.

    Raises
    ------
    InvalidInputError
        For values outside of these ranges.

    Examples
    --------
    >>> round(mean_field_variance(2.0), 4), mean_field_variance(0.9)
    (2.1215, 0.0)
    """
    from scipy.optimize import brentq

    gain, drive = positive("gain", gain), finite("drive", drive)
    if drive < 0.0:
        raise InvalidInputError(f"drive must be a variance >= 0, got {drive!r}")
    if drive == 0.0 and gain <= 1.0:
        return 0.0

    def excess(variance: float) -> float:
        return gain**2 * _mean(lambda x: np.tanh(x) ** 2, variance) + drive - variance

    # tanh^2 x lies between x^2 - 2/3 x^4 and 1
    least = drive or (gain**2 - 1.0) / (2.0 * gain**2)
    found: float = brentq(excess, least, gain**2 + drive, xtol=1e-14 * least, rtol=1e-14)
    return found


def mean_field_exponent(gain: float, drive: float = 0.0) -> float:
    """The largest Lyapunov exponent of the step, 1/step: see `dynsys.models.networks.recurrent.mean_field`.

    Parameters and errors are those of `mean_field_variance`.

    Examples
    --------
    >>> [round(mean_field_exponent(g), 3) for g in (1.5, 2.0, 10.0)]
    [0.065, 0.155, 0.856]
    >>> round(mean_field_exponent(2.0, drive=4.0), 3)
    -0.115
    """
    variance = mean_field_variance(gain, drive)
    return math.log(gain) + 0.5 * math.log(_mean(lambda x: (1.0 - np.tanh(x) ** 2) ** 2, variance))


def _mean(function: Callable[[Array], Array], variance: float) -> float:
    """Mean of a function of a Gaussian: the rule of equal steps, exact to rounding for what is smooth on that scale."""
    z = np.linspace(-9.0, 9.0, 2 * math.ceil(2_000 + 200 * math.sqrt(variance)) + 1)
    density = np.exp(-0.5 * z * z)
    return float(density @ function(math.sqrt(variance) * z) / density.sum())
