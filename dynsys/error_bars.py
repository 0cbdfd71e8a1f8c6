"""The standard error of a mean over time, and whether its rates drift."""

from __future__ import annotations

from functools import lru_cache

import attrs
import numpy as np

from dynsys.errors import real_series

Array = np.ndarray

LEAST_RATES = 32
BINS = 1024  # of a long record: the slow cosines need no more
BATCHES = 32  # whose skewness widens the error
WIDENING = 3.0  # Edgeworth's series says 7/6 for the true skewness; that of so few batches is too small
WIDEST = 1.0  # at most twice the error: this series has only one term


@attrs.frozen(eq=False)
class Rung:
    """A number K of cosines, and when their powers look alike: quantiles for white noise.

    Attributes
    ----------
    terms : int
        K.
    rates : int
        Shortest record for it: some 0.3 or 0.4 n^(2/3) cosines, so that the bias falls with the variance.
    widening : float
        Student's factor: two errors cover with K degrees of freedom as often as with 32. For K = 2 it is 2^(1/2) times
        that: a drift is then likely, from which the ends may take away.
    lowest : dict, K' -> float
        The mean square of the first K' < K falls below this share of that of all with probability 0.003.
    steepest : float
        That of the first two steps exceeds this multiple of that of all K with probability 0.0015.
    """

    terms: int
    rates: int
    widening: float
    lowest: dict[int, float]
    steepest: float


FEWEST, *HIGHER = (  # tests/test_error_bars.py finds these numbers again
    Rung(2, 0, 3.076, {}, 2.0),
    Rung(8, 0, 1.137, {2: 0.004}, 3.486),
    Rung(16, 253, 1.042, {2: 0.003, 8: 0.205}, 4.83),
    Rung(32, 1100, 1.0, {2: 0.003, 8: 0.169, 16: 0.379}, 5.652),
)


def batch_means_error(rates: Array) -> Array:
    """Standard error of the mean over time, by means weighted with slow cosines.

    With c_k = sqrt(2/n) sum_j r_j cos(pi k (j + 1/2) / n) and their steps s_k = c_k - c_{k+2}, the error e of the mean
    over n rates is

        e^2 = 1/n  mean of (c_k^2 + s_k^2 / 2) / 2 over k = 1..K,     K = 32 (16 for n < 1100, 8 for n < 253).

    Of a correlated series c_k^2 and s_k^2 / 2 have the expectation D, n times the variance of the mean (all
    autocorrelations, of either sign). Where the growth is L(t) = lambda t + h(t) with a bounded h about zero, as in
    periodic or quasi-periodic motion, c_k = sqrt(2/n) [(-1)^k h(n) - h(0)] and s_k = 0: then
    e^2 = [h(0)^2 + h(n)^2]/n^2, while the mean is off by [h(n) - h(0)]/n, at most 1.4 e.

    Fewer cosines count where their powers are not alike: if those of the slower ones are far too small (an oscillation
    within the record is not noise), or if the steps, free of the ends, fall with k (a drift or a transient, the growth
    ln t of integrable motion). The error is then wider by Student's factor, 3.1 at the end for K = 2; and by
    1 + 3 g^2/b, at most 2, if means over b = 32 batches have the skewness g (rare events). It is never below the
    rounding of the mean. docs/benettin.md derives all this; `python -m benchmarks --only coverage` shows how often it
    is right.

    What the record does not show is not in its error: a laminar phase longer than it, a drift that goes on beyond it.

    Parameters
    ----------
    rates : ndarray, shape (..., n, k)

    Returns
    -------
    ndarray, shape (..., k)
        NaN for n < 32.

    References
    ----------
    E. Lazarus, D. J. Lewis, J. H. Stock, M. W. Watson, J. Bus. Econ. Stat. 36, 541 (2018): equal weights for cosines;
    P. Heidelberger, P. D. Welch, Commun. ACM 24, 233 (1981): the spectrum at zero, from the slowest terms;
    N. J. Johnson, J. Am. Stat. Assoc. 73, 536 (1978): means of skew samples.
    """
    rates = real_series("rates", rates, "n, k")
    *lead, n, k = rates.shape
    if n < LEAST_RATES:
        return np.full((*lead, k), np.nan)
    rungs = [rung for rung in HIGHER if rung.rates <= n]
    c, sums, mean = _slow_cosines(rates, rungs[-1].terms + 2)
    levels, steps = _running_mean(c**2), _running_mean((c[..., :-2] - c[..., 2:]) ** 2)

    power, steady = np.full(mean.shape, np.nan), np.ones(mean.shape, dtype=bool)
    for rung in (FEWEST, *rungs):
        level, step = levels[..., rung.terms - 1], steps[..., rung.terms - 1]
        steady &= steps[..., 1] <= rung.steepest * step  # on every rung: an oscillation may hide a drift from some
        alike = [levels[..., j - 1] >= share * level for j, share in rung.lowest.items()]
        np.copyto(power, rung.widening**2 * (level + step / 2) / 2, where=np.all([steady, *alike], axis=0))
    return np.maximum(np.sqrt(power / n) * _rare_events(sums), np.finfo(float).eps * np.abs(mean))


def drift(rates: Array) -> tuple[Array, Array]:
    """How far the rates drift along the record: in standard errors, and as it is.

    From c_1 - c_3 of the cosines of `batch_means_error`, a mean with the smooth weight 2 sin(pi s) sin(2 pi s) for s
    from 0 to 1: ends and oscillations hardly touch it. Its error is that of the steps c_k - c_{k+2} with k > 3.

    Parameters
    ----------
    rates : ndarray, shape (..., n, k)

    Returns
    -------
    in_errors : ndarray, shape (..., k)
        For stationary rates it has Student's distribution, of some 20 degrees of freedom (8 for n < 253). NaN for n
        < 32.
    change : ndarray, shape (..., k)
        Mean rate of the second half minus that of the first, if the rates change evenly.
    """
    rates = real_series("rates", rates, "n, k")
    *lead, n, k = rates.shape
    if n < LEAST_RATES:
        return np.full((*lead, k), np.nan), np.zeros((*lead, k))
    terms = HIGHER[-1].terms if n >= HIGHER[1].rates else HIGHER[1].terms  # more than for the error: it is a test
    c, _, _ = _slow_cosines(rates, terms + 2)
    steps = c[..., 2:] - c[..., :-2]
    with np.errstate(invalid="ignore", divide="ignore"):  # rates that do not change at all
        in_errors = steps[..., 0] / np.sqrt(np.mean(steps[..., 3:] ** 2, axis=-1))
    return in_errors, 9 * np.pi**2 / 32 / np.sqrt(2 * n) * steps[..., 0]


def _slow_cosines(rates: Array, count: int) -> tuple[Array, Array, Array]:
    """c_k = sqrt(2/n) sum_j r_j cos(pi k (j + 1/2) / n) for k = 1..count, (..., k, count); sums over bins; the mean.

    Over a bin of a long record the cosine is its Taylor polynomial: exact to (pi k / 2 bins)^4 / 24, some 1e-7.
    """
    *lead, n, k = rates.shape
    length = -(-n // BINS) if n > 2 * BINS else 1
    bins = -(-n // length)
    series = np.zeros((*lead, k, bins * length))  # zeros beyond the record weigh nothing
    series[..., :n] = np.swapaxes(rates, -1, -2)
    mean = series[..., :n].mean(axis=-1)
    series[..., :n] -= mean[..., None]
    wave, cosine, sine = _waves(n, length, bins, count)
    if length == 1:
        return np.sqrt(2.0 / n) * (series @ cosine), series, mean
    binned = series.reshape(*lead, k, bins, length)
    inside = np.pi / n * (np.arange(length) - (length - 1) / 2)
    moments = [np.einsum("...i,i->...", binned, inside**p) for p in range(4)]
    c = moments[0] @ cosine - moments[1] @ (wave * sine)
    c += moments[3] @ (wave**3 / 6 * sine) - moments[2] @ (wave**2 / 2 * cosine)
    return np.sqrt(2.0 / n) * c, moments[0], mean


@lru_cache(maxsize=4)  # both halves of a record, and runs of the same length, ask for the same
def _waves(n: int, length: int, bins: int, count: int) -> tuple[Array, Array, Array]:
    """1..count, and cosines and sines, (bins, count), of pi k (j + 1/2) length / n; no sines for bins of one rate."""
    wave = np.arange(1, count + 1)
    phase = np.pi / n * length * (np.arange(bins) + 0.5)[:, None] * wave
    return wave, np.cos(phase), np.sin(phase) if length > 1 else np.empty((0, 0))


def _running_mean(values: Array) -> Array:
    return np.cumsum(values, axis=-1) / np.arange(1, values.shape[-1] + 1)


def _rare_events(sums: Array) -> Array:
    """The factor 1 + 3 g^2/b for means over b batches with the skewness g, at most 2."""
    *lead, n = sums.shape
    batches = min(BATCHES, n // 8)
    length = n // batches
    means = sums[..., n - batches * length :].reshape(*lead, batches, length).sum(axis=-1)
    means -= means.mean(axis=-1, keepdims=True)
    scale = np.sqrt(np.mean(means**2, axis=-1, keepdims=True))
    skewness = np.mean((means / np.where(scale > 0.0, scale, 1.0)) ** 3, axis=-1)
    return 1.0 + np.minimum(WIDENING / batches * skewness**2, WIDEST)
