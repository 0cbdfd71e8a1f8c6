"""What the experiments say, as numbers: pure functions of their datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys.models.training_chaos.experiments import SMALL
from dynsys.models.training_chaos.growth import LEAST_RATE, GrowthFit, fit_growth
from dynsys.models.training_chaos.series import local_expansion

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

WEIGHTS = 70  # of the 4-10-3 network: distances are shown as d / (N eps)
LEARNED = 0.9  # accuracy from which a network has learned the flowers
LEARNED_DIGITS = 0.8  # the sequel's network the digits, which a part of its learning rates reach in its 200 steps
EDGE = 0.95  # of 2 / eta, from which the largest curvature is at the edge of stability
LINEAR = 1e-5  # distance up to which a pair is compared with the tangent
SUSTAINED = 0.05  # exponent of the last half of a run from which chaos is called sustained, 1/step


@attrs.frozen
class Estimate:
    """A mean over networks, with its standard error and the deviation of single ones."""

    mean: float
    error: float
    deviation: float

    @classmethod
    def of(cls, values: Array) -> Estimate:
        """Of some values; NaN if there are none, no error of one."""
        n = len(values)
        if n == 0:
            return cls(np.nan, np.nan, np.nan)
        deviation = float(np.std(values, ddof=1)) if n > 1 else np.nan
        return cls(float(np.mean(values)), deviation / np.sqrt(n), deviation)


@attrs.frozen
class Nmle:
    """The network maximum Lyapunov exponent: the mean rate of the runs that the paper accepts, and their share."""

    size: float
    rate: Estimate
    accepted: int
    runs: int

    @classmethod
    def of(cls, size: float, fit: GrowthFit) -> Nmle:
        """Of the fits of some runs."""
        taken = fit.accepted
        return cls(size, Estimate.of(fit.rate[taken]), int(taken.sum()), taken.size)


def nmle(edge: xarray.Dataset) -> list[Nmle]:
    """The paper's estimate for every size of the perturbation."""
    return [Nmle.of(float(size), fit_growth(edge.distance.sel(size=size).values)) for size in edge["size"].values]


def saturated(edge: xarray.Dataset) -> list[Nmle]:
    """The same of distances that grow as tangent vectors do until they saturate: 1/d = 1/(eps d_tangent) + 1/d_end.

    d_end is the median distance at the end of the pairs at the smallest size. Nothing else depends on eps here.
    """
    smallest = edge.distance.isel(size=0)
    saturation = float(np.median(smallest.isel(step=-1)))
    grown = edge.tangent_distance.values
    return [
        Nmle.of(float(size), fit_growth(1.0 / (1.0 / (size * grown) + 1.0 / saturation)))
        for size in edge["size"].values
    ]


@attrs.frozen
class Comparison:
    """Ways to an exponent from the same runs, of perturbations of size 1e-8.

    Attributes
    ----------
    pairs : Estimate
        The paper's: pairs, best windows, accepted runs.
    tangent : Estimate
        The exact tangent in the same windows of the same runs.
    whole : Estimate
        The tangent over all steps, of the same runs.
    everyone : Estimate
        The same of all runs.
    disagreement : ndarray, shape (runs,)
        Largest |ln(d / d_tangent)| while the distance of a pair is below `LINEAR`.
    unscaled : ndarray, shape (runs,)
        Distance at that step over the one of perturbations that are 1e-4 times as large: 1e4 if it is theirs, 1 if it
        is that of rounding.
    """

    pairs: Estimate
    tangent: Estimate
    whole: Estimate
    everyone: Estimate
    disagreement: Array
    unscaled: Array


def comparison(edge: xarray.Dataset) -> Comparison:
    """Pairs against the tangent."""
    distance, grown = edge.distance.sel(size=SMALL).values, SMALL * edge.tangent_distance.values
    fit = fit_growth(distance)
    same, taken = fit_growth(grown, windows=fit), fit.accepted
    whole = np.log(grown[:, -1] / grown[:, 0]) / (grown.shape[1] - 1)
    linear = np.maximum.accumulate(distance, axis=1) < LINEAR
    apart = np.where(linear, np.abs(np.log(distance / grown)), 0.0)
    runs, where = np.arange(len(apart)), apart.argmax(axis=1)
    smaller = edge.distance.sel(size=1e-4 * SMALL, method="nearest").values
    return Comparison(
        pairs=Estimate.of(fit.rate[taken]),
        tangent=Estimate.of(same.rate[taken]),
        whole=Estimate.of(whole[taken]),
        everyone=Estimate.of(whole),
        disagreement=apart[runs, where],
        unscaled=distance[runs, where] / smaller[runs, where],
    )


@attrs.frozen
class Boundary:
    """A learning rate from which something holds: geometric mean over networks, with the factor of its error.

    The factor is that of the standard error and of half a step of the grid together. `networks` have it, of `runs`.
    """

    name: str
    rate: float
    factor: float
    networks: int
    runs: int


def boundaries(rates: xarray.Dataset) -> list[Boundary]:
    """Where regimes begin: for each network the first learning rate of the grid."""
    sharp = rates.sharpness.median("curvature") * rates.rate / 2
    learned = rates.accuracy.isel(step=-1) >= LEARNED
    onset = {
        "the curvature has reached 2/eta": sharp >= EDGE,
        "transient growth: first exponent of 200 steps above 0.05": rates.early.isel(k=0) > LEAST_RATE,
        "nothing is learned from here on": rates.rate > rates.rate.where(learned).max("rate"),
        "the first sustained chaos: first exponent of the last half above 0.05": rates.late.isel(k=0) > SUSTAINED,
    }
    quiet = (rates.late.isel(k=0) <= SUSTAINED).isel(rate=slice(None, None, -1))
    onset["chaos that is sustained at this rate and all larger ones"] = (quiet.cumsum("rate") == 0).sortby("rate")
    return [
        _boundary(name, holds.transpose("member", "rate").values, rates.rate.values) for name, holds in onset.items()
    ]


def _boundary(name: str, holds: Array, grid: Array) -> Boundary:
    some: Array = np.asarray(holds.any(axis=1))
    logs = np.log(grid[holds[some].argmax(axis=1)])
    step = np.log(grid[1] / grid[0])
    estimate = Estimate.of(logs - step / 2)  # between the last rate at which it does not hold and the first
    return Boundary(
        name, float(np.exp(estimate.mean)), float(np.exp(np.hypot(np.nan_to_num(estimate.error), step / np.sqrt(12)))),
        int(some.sum()), len(some),
    )  # fmt: skip


def expansion_of_losses(rates: xarray.Dataset, points: int = 200) -> Array:
    """Median local expansion of the last losses of every run, (member, rate), where it is significant; else NaN.

    Neighbours are within a hundredth of the deviation. NaN also for losses that do not vary.
    """
    found = np.full(rates.end_loss.shape[:2], np.nan)
    for index in np.ndindex(found.shape):
        losses = rates.end_loss.values[index]
        if np.std(losses) > 1e-6 * np.mean(losses):
            here = local_expansion(losses, points=points, radius=0.01 * float(np.std(losses)))
            if here.significant.any():
                found[index] = np.median(here.rate[here.significant])
    return found


def training_time(times: xarray.Dataset) -> Array:
    """Steps until the accuracy of digits is 0.8, (member, rate); NaN where it never is."""
    reached = times.accuracy.values >= LEARNED_DIGITS
    return np.where(reached.any(axis=-1), reached.argmax(axis=-1), np.nan)
