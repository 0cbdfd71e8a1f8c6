"""What the paper and its sequel say, beside what we find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from dynsys.models.reporting.report import FAILS, HOLDS, OPEN, UNDER, Claim, judged, listed, number
from dynsys.models.training_chaos.experiment import Experiment, seeds
from dynsys.models.training_chaos.experiments import SMALL, Edge
from dynsys.models.training_chaos.findings import (
    LEARNED,
    LEARNED_DIGITS,
    WEIGHTS,
    Estimate,
    Nmle,
    boundaries,
    comparison,
    nmle,
    saturated,
    training_time,
)
from dynsys.models.training_chaos.growth import fit_growth
from dynsys.models.training_chaos.series import autocorrelation, local_expansion, stays

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

RATE_READ = 0.01  # by which a rate read from a figure by eye may be off
PAPER_NMLE = {  # size -> rate, deviation, accepted of 500; read from the figures of the paper's notebook
    1e-14: (0.335, 0.13, 450),
    1e-10: (0.31, 0.12, 450),
    1e-8: (0.285, 0.10, 450),
    1e-6: (0.25, 0.09, None),
    1e-4: (0.175, 0.06, 310),
    1e-3: (0.12, 0.04, 190),
    1e-2: (0.075, 0.02, 48),
}
PAPER_ACF = {1: -0.28, 2: -0.32, 3: 0.17, 6: 0.11, 7: -0.19}
TRANSIENT = 2700  # steps of a series that are left out, as in the paper
LN3 = np.log(3.0)  # loss of three equal probabilities
PLATEAU = 20  # steps in a row
LEAST_SHARE = 0.05  # of the points of a series at which its expansion is significant: so many are by chance


def spread(values: Array) -> str:
    """From the smallest to the largest."""
    return f"{number(float(np.nanmin(values)))} to {number(float(np.nanmax(values)))}"


def with_error(estimate: Estimate) -> str:
    """Mean, standard error, deviation."""
    return f"{number(estimate.mean)} ± {estimate.error:.2g} (deviation {estimate.deviation:.2g})"


def agrees(ours: Nmle, rate: float, deviation: float, accepted: int | None) -> bool:
    """Within four standard errors of both, and what a reading by eye may be off."""
    error = np.hypot(ours.rate.error, deviation / np.sqrt(accepted or 450))
    return bool(abs(ours.rate.mean - rate) < 4 * error + RATE_READ)


def small_rate(runs: xarray.Dataset, experiment: Experiment) -> Iterator[Claim]:
    """Claims 1 to 7."""
    network = experiment.flow.network
    found = f"{network.dimension} = {int(network.weights.sum())} + {int((~network.weights).sum())}"
    yield Claim(1, "code", "parameters: weights and biases of the 4-10-3 network", "83 = 70 + 13", found,
                judged(found == "83 = 70 + 13"))  # fmt: skip
    ratio = (runs.distance.isel(step=-1) / runs.distance.isel(step=0)).sel(size=SMALL).values
    exponents = runs.exponent.isel(k=0).values
    yield Claim(
        2,
        "thesis; figures",
        "small learning rate (0.01): the distance does not grow exponentially",
        "d(5000)/d(0) from 1 to 2.2",
        f"{spread(ratio)}, median {number(float(np.median(ratio)))}; first exponent of the run, per step: "
        f"{spread(exponents)}",
        judged(np.median(ratio) < 4 and ratio.max() < 20 and exponents.max() < 1e-3),
    )
    scaled = (runs.distance / runs["size"]).isel(step=-1)
    linear = scaled.sel(size=[size for size in scaled["size"].values if 1e-15 <= size <= 1e-2])
    off = np.abs(linear / scaled.sel(size=SMALL) - 1).max("size").values
    yield Claim(
        3,
        "figures",
        "d / (N eps) does not depend on eps from 1e-15 to 1e-2",
        "within about 15 %",
        f"largest difference from eps = 1e-8, per network: {listed(np.sort(off))}",
        judged(np.median(off) < 0.15),
    )
    late = (runs.late_distance / (WEIGHTS * runs["size"])).sel(size=SMALL).values
    yield Claim(
        4,
        "figures",
        "perturbed after learning: d / (N eps) contracts slightly, then stays",
        "0.5 to 0.48",
        f"{number(late[:, 0].mean())} to {number(late[:, -1].mean())}; over its last half by "
        f"{spread(late[:, -1] / late[:, late.shape[1] // 2] - 1)}",
        judged(abs(late[:, -1].mean() - 0.48) < 0.03 and late[:, -1].mean() < late[:, 0].mean()),
    )
    first, last = runs.norm.values[:, 0], runs.norm.values[:, -1]
    yield Claim(5, "figures", "norm of the weights grows, and still does at step 5000", "52-63 to 66-78",
                f"from {spread(first)} to {spread(last)}",
                judged((last > first).all() and (last > runs.norm.values[:, -50]).all()))  # fmt: skip
    moved = runs.displacement.sel(size=SMALL).values
    small = runs.displacement.where(runs["size"] <= 1e-2, drop=True)
    differs = float((small.max("size") / small.min("size") - 1).max())
    yield Claim(6, "figures", "displacement |W_T - W_0| / |W_0|, independent of eps", "0.30 to 0.59",
                f"{spread(moved)}; differs by {differs:.1%} at most between eps = 1e-15 and 1e-2",
                judged(moved.min() > 0.25 and moved.max() < 0.65 and differs < 0.15))  # fmt: skip
    start, end = runs.loss.values[:, 0], runs.loss.values[:, -1]
    slow = int((end > 0.32).sum())
    yield Claim(7, "figures", "loss at the start and after 5000 steps", "1.5-2.2 to 0.20-0.30",
                f"medians {number(float(np.median(start)))} to {number(float(np.median(end)))}; ranges {spread(start)} "
                f"and {spread(end)}; {slow} of {len(end)} have not yet learned",
                judged(0.15 < np.median(end) < 0.32))  # fmt: skip


def edge_of_stability(runs: xarray.Dataset, experiment: Edge) -> Iterator[Claim]:
    """Claims 8 to 15."""
    distance = runs.distance.sel(size=SMALL).values
    reached = np.where((distance > 1).any(axis=1), (distance > 1).argmax(axis=1), np.nan)
    yield Claim(
        8,
        "figures",
        "learning rate 1, eps = 1e-8: the distance grows exponentially to O(1-10) in 60 to 200 steps",
        "60 to 200",
        f"{np.isfinite(reached).mean():.0%} of the networks reach 1 within {experiment.steps} steps, 80 % of these "
        f"at {listed(np.nanquantile(reached, [0.1, 0.9]))}",
        judged(np.isfinite(reached).mean() > 0.5 and np.nanmedian(reached) > 60),
    )
    estimates = {each.size: each for each in nmle(runs)}
    main = estimates[SMALL]
    yield Claim(9, "figures", "nMLE at eta = 1, eps = 1e-8, 1/step", "0.285 (deviation 0.10)", with_error(main.rate),
                judged(agrees(main, *PAPER_NMLE[SMALL])))  # fmt: skip
    pairs = [(estimates[size], told) for size, told in PAPER_NMLE.items() if size in estimates]
    yield Claim(
        10,
        "figures",
        f"nMLE falls with eps: {', '.join(f'{each.size:g}' for each, _ in pairs)}",
        ", ".join(f"{told[0]:g}" for _, told in pairs),
        ", ".join(f"{number(each.rate.mean)} ± {each.rate.error:.1g}" for each, _ in pairs),
        judged(main.accepted > 1 and all(agrees(each, *told) for each, told in pairs if each.accepted > 1)),
    )
    counted = [(each, told[2]) for each, told in pairs if told[2] is not None]
    yield Claim(
        11,
        "figures",
        f"share of accepted runs, eps = {', '.join(f'{each.size:g}' for each, _ in counted)}; none at 0.1",
        ", ".join(f"{told / 500:.0%}" for _, told in counted) + "; 0 %",
        ", ".join(f"{each.accepted / each.runs:.0%}" for each, _ in counted)
        + f"; {estimates[0.1].accepted / estimates[0.1].runs:.0%}",
        judged(
            estimates[0.1].accepted <= 0.01 * estimates[0.1].runs
            and all(_same_share(each.accepted, each.runs, told) for each, told in counted)
        ),
    )
    model = {each.size: each for each in saturated(runs)}
    sizes = [each.size for each, _ in pairs]
    off = max(abs(model[size].rate.mean / estimates[size].rate.mean - 1) for size in sizes if size <= 1e-4)
    yield Claim(
        12,
        "ours",
        "cause of the fall: windows of 30 and more steps reach into the saturation. Tangent growth that saturates, "
        "with eps alone changed, by the same fit",
        "not discussed",
        ", ".join(number(model[size].rate.mean) for size in sizes)
        + f" (up to eps = 1e-4 within {off:.0%} of the pairs)",
        judged(off < 0.15),
    )
    found = comparison(runs)
    same = found.disagreement < 0.01
    rounding = ~same & (found.unscaled < 100)
    yield Claim(
        13,
        "ours",
        "pairs and the exact tangent agree while the distance is small (below 1e-5)",
        "not computed",
        f"largest |ln(d / d_tangent)|: median {number(float(np.median(found.disagreement)))}; below 0.01 in "
        f"{np.mean(same):.1%}; in {int(np.sum(rounding))} of the {int(np.sum(~same))} others rounding has outgrown the "
        "perturbation (the distance is as large for one of 1e-12). Rates in the windows of the paper's fit: "
        f"{number(found.pairs.mean)} and {number(found.tangent.mean)}",
        judged(np.mean(same | rounding) > 0.95 and abs(found.pairs.mean / found.tangent.mean - 1) < 0.1),
    )
    yield Claim(
        14,
        "ours",
        "what the estimate keeps: accepted windows, the same runs over all steps, all runs over all steps (tangent)",
        "positive by construction",
        f"{number(found.tangent.mean)}, {with_error(found.whole)}, {with_error(found.everyone)}",
        HOLDS if found.tangent.mean > found.whole.mean > found.everyone.mean else FAILS,
    )
    rates = fit_growth(distance)
    taken = rates.rate[rates.accepted]
    peak = _mode(taken) if len(taken) > 9 else np.nan
    yield Claim(15, "figures", "distribution of single rates at eps = 1e-8", "0.06 to 0.63, mode about 0.21",
                f"{spread(taken)}, mode about {number(peak)}" if len(taken) else "none accepted",
                judged(abs(peak - 0.21) < 0.07) if len(taken) > 9 else f"{OPEN}: too few networks")  # fmt: skip


def _same_share(accepted: int, runs: int, of_500: int) -> bool:
    """Whether shares agree within four standard errors and what is read by eye, 0.02."""
    share = of_500 / 500
    error = np.sqrt(share * (1 - share) * (1 / runs + 1 / 500))
    return bool(abs(accepted / runs - share) < 4 * error + 0.02)


def _mode(values: Array) -> float:
    from scipy.stats import gaussian_kde

    grid = np.linspace(values.min(), values.max(), 400)
    return float(grid[np.argmax(gaussian_kde(values)(grid))])


def learning_rates(runs: xarray.Dataset, experiment: Experiment) -> Iterator[Claim]:
    """Claims 16 to 22."""
    sharp = (runs.sharpness.median("curvature") * runs.rate / 2).values
    begins = {each.name: each for each in boundaries(runs)}
    reached, growth, lost, first, chaos = begins.values()
    from_here = np.nan_to_num(reached.rate * reached.factor, nan=0.25)
    between = (runs.rate.values >= from_here) & (runs.rate.values <= 1.0)
    yield Claim(
        16,
        "abstract",
        "edge of stability: the largest eigenvalue of the Hessian settles at 2 / eta",
        "named",
        f"from eta = {number(reached.rate)} (factor {reached.factor:.2f}) to 1, eigenvalue times eta / 2 at the end: "
        f"median {number(float(np.median(sharp[:, between])))}, 80 % of the runs in "
        f"{listed(np.quantile(sharp[:, between], [0.1, 0.9]))}",
        judged(abs(np.median(sharp[:, between]) - 1) < 0.1),
    )
    early, late = (float(np.median(each.isel(k=0).sel(rate=1.0, method="nearest"))) for each in (runs.early, runs.late))
    yield Claim(
        17,
        "abstract",
        "the growth at eta = 1 is transient: first exponent of steps 1 to 200, and of the last half of the run",
        "'finite-time' exponents",
        f"{number(early)} and {number(late)} (medians)",
        judged(late < 0.01 < 0.1 < early),
    )
    two, five = (float((runs.accuracy.isel(step=-1) >= LEARNED).sel(rate=r, method="nearest").mean()) for r in (2, 5))
    yield Claim(18, "figures", "eta = 2 can still learn, eta = 5 does not", "described",
                f"accuracy 0.9 at the end: {two:.0%} of the networks and {five:.0%}",
                judged(two > 0.2 and five < 0.2))  # fmt: skip
    yield Claim(
        19,
        "abstract; boundaries not given",
        "regimes: regular, edge of stability, chaotic, in this order",
        "eta = 0.01, 1, 5",
        "; ".join(
            f"{each.name}: {number(each.rate)} (factor {each.factor:.2f}; {each.networks} of {each.runs})"
            for each in begins.values()
        ),
        judged(0.01 < growth.rate < 1.0 < lost.rate < chaos.rate and first.rate < chaos.rate),
    )
    flow, neutral = experiment.flow, experiment.flow.vanishing_exponents
    states = flow.initial(scheme="normal", members=5, seed=seeds(experiment.seed)[1])
    curvatures = [np.linalg.eigvalsh(flow.hessian_product(state, np.eye(flow.dimension))) for state in states]
    flat = {int(np.sum(np.abs(each) < 1e-12)) for each in curvatures}
    yield Claim(
        20,
        "ours",
        "marginal stability is partly exact: directions along which the loss never changes (softmax)",
        "'flat, high-dimensional loss basins'",
        f"{neutral} of {flow.dimension} exponents vanish at every learning rate; eigenvalues of the Hessian that "
        f"vanish at five initial states: {', '.join(map(str, sorted(flat)))}",
        judged(flat == {neutral}),
    )
    ends = {rate: runs.end_loss.sel(rate=rate, method="nearest") for rate in (1, 10)}
    learned = np.median(ends[1].values, axis=1)
    yield Claim(21, "figures", "eta = 1: loss at the end mostly below 0.05", "below 0.05",
                f"medians of the last {runs.sizes['end']} steps: {spread(learned)}; {np.mean(learned < 0.05):.0%} are "
                "below",
                judged(np.mean(learned < 0.05) > 0.5))  # fmt: skip
    yield Claim(22, "figures", "eta = 10: losses up to about 40", "40",
                f"largest of a network: {spread(ends[10].max('end').values)}",
                judged(20 < float(ends[10].max()) < 80))  # fmt: skip


def chaotic(runs: xarray.Dataset) -> Iterator[Claim]:
    """Claims 23 to 28."""
    accuracy = runs.accuracy.values
    series = runs.loss.values[:, TRANSIENT:]
    yield Claim(23, "figures", "eta = 5: no learning", "none",
                f"accuracy at the end: {spread(accuracy)}; {np.mean(accuracy >= LEARNED):.0%} have learned",
                judged(np.mean(accuracy >= LEARNED) < 0.2))  # fmt: skip
    plateaus = [found[np.diff(found)[:, 0] >= PLATEAU] for found in map(stays, np.abs(series - LN3) < 0.02)]
    ended = np.concatenate([np.diff(found[found[:, 1] < series.shape[1]])[:, 0] for found in plateaus])
    yield Claim(24, "figures", "plateaus near ln 3 = 1.0986: three equal probabilities", "intermittent",
                f"{sum(map(bool, map(len, plateaus)))} of {len(series)} networks are within 0.02 of it for {PLATEAU} "
                f"steps in a row or more; {len(ended)} such plateaus end"
                + (f", after {spread(ended)} steps" if len(ended) else ""),
                judged(len(ended) > 0))  # fmt: skip
    period = np.array([_period(row[-1000:]) for row in series])
    yield Claim(25, "figures", "plateaus of period 3", "e.g. 3.9, 6.3, 8.9",
                "periods of the last 1000 losses (0: none up to 12): "
                + ", ".join(f"{p}: {n}" for p, n in zip(*np.unique(period, return_counts=True), strict=True)),
                judged(np.any(period == 3)))  # fmt: skip
    lags = list(PAPER_ACF)
    found = autocorrelation(series, max(lags))[:, np.array(lags) - 1]
    alike = (np.sign(found[:, :3]) == [-1, -1, 1]).all(axis=1)
    near = np.abs(found[:, :3] - [PAPER_ACF[lag] for lag in lags[:3]]).max(axis=1) < 0.15
    yield Claim(
        26,
        "figures",
        f"autocorrelation of an irregular series at lags {', '.join(map(str, lags))}",
        listed(list(PAPER_ACF.values())),
        f"{alike.sum()} of {len(alike)} networks have these signs at lags 1 to 3, with r(3) {spread(found[alike, 2])}"
        if alike.any()
        else "no network has these signs at lags 1 to 3",
        HOLDS if near.any() else f"{OPEN}: one series, of unknown initial weights",
    )
    exponents = runs.exponent.isel(k=0).values
    regular = period > 0
    yield Claim(
        27,
        "abstract",
        "eta = 5 is chaotic: first exponent (exact tangent) after the transient, per step",
        "not computed",
        f"{spread(exponents)}, median {number(float(np.median(exponents)))}; {regular.sum()} of {len(regular)} "
        "networks end on a plateau of period 12 or less. Between plateaus there are bursts",
        judged(np.median(exponents) > 0.01),
    )
    norm = runs.norm.values[:, TRANSIENT:]
    yield Claim(28, "figures", "eta = 5: norm of the weights", "110 to 215, in steps",
                f"{spread(norm)}, median {number(float(np.median(norm)))}",
                judged(norm.max() > 150 and 90 < np.median(norm) < 250))  # fmt: skip


def _period(series: Array, longest: int = 12) -> int:
    """Smallest period of a series, to a thousandth of its deviation; 1 if it is constant, 0 if there is none."""
    scale = 1e-3 * max(float(np.std(series)), 1e-3)
    return next((p for p in range(1, longest + 1) if np.abs(series[p:] - series[:-p]).max() < scale), 0)


def expansion(runs: xarray.Dataset) -> Iterator[Claim]:
    """Claim 29: one number of each long series, since which of them is the most irregular hangs on its last bits."""
    medians, shares = [], []
    for series in runs.loss.values[:, TRANSIENT:]:
        found = local_expansion(series)
        rates = found.rate[found.significant & np.isfinite(found.rate)]
        shares.append(len(rates) / max(1, len(found.rate)))
        if shares[-1] > LEAST_SHARE:
            medians.append(float(np.median(rates)))
    mean = Estimate.of(np.array(medians))
    yield Claim(
        29,
        "figures",
        "local expansion of the loss series: Lambda",
        "-1 to 2.3, mode about 0.3",
        f"significant at more than {LEAST_SHARE:.0%} of the points in {len(medians)} of {len(shares)} networks; "
        f"their medians: {with_error(mean)}",
        judged(mean.mean > 0) if abs(mean.mean) > 2 * mean.error else f"{OPEN}: no mean that differs from 0",
    )


def irregular(runs: xarray.Dataset) -> Array:
    """The loss series, after the transient, of the network with the largest exponent."""
    return runs.loss.values[int(np.argmax(runs.exponent.isel(k=0).values)), TRANSIENT:]


def sequel(runs: xarray.Dataset) -> Iterator[Claim]:
    """Claims 30 and 31."""
    rates = runs.rate.values
    time = training_time(runs)
    known = np.isfinite(time).all(axis=0)
    if not known.any():
        yield Claim(30, "sequel", "training time has a minimum against eta", "a minimum", "never learned", OPEN)
        return
    mean = time[:, known].mean(axis=0)
    best = rates[known][np.argmin(mean)]
    beyond = "; not by all networks beyond" if rates[known][-1] < rates[-1] else ""
    fits = [Nmle.of(SMALL, fit_growth(runs.distance.sel(rate=rate).values)) for rate in rates]
    share = np.array([each.accepted / each.runs for each in fits])
    exponent = runs.exponent.mean("member").values
    onset = rates[np.argmax(share >= 0.5)] if (share >= 0.5).any() else np.inf
    yield Claim(
        30,
        "sequel",
        f"time to an accuracy of {LEARNED_DIGITS} has a minimum against eta",
        "a minimum",
        f"{number(mean.min())} steps at eta = {best:g}, {number(mean[0])} at {rates[known][0]:g}, and "
        f"{number(mean[-1])} at {rates[known][-1]:g}{beyond}",
        judged(0 < np.argmin(mean) < len(mean) - 1 or np.argmin(mean) == len(mean) - 1 < len(rates) - 1),
    )
    positive = rates[np.argmax(exponent > 0.02)] if (exponent > 0.02).any() else np.inf
    near = best <= positive <= 2 * best
    by_pairs = best <= onset <= 2 * best
    yield Claim(
        31,
        "sequel",
        "the minimum lies where the exponent turns positive",
        "does",
        f"minimum at {best:g}; half of the runs are accepted by the paper's fit from {onset:g} on, the mean exponent "
        f"of the run (exact tangent) exceeds 0.02 from {positive:g} on",
        HOLDS if near and by_pairs else f"{UNDER}: positive means a tangent exponent above 0.02" if near else FAILS,
    )


def claims(data: Mapping[str, xarray.Dataset], experiments: Mapping[str, Experiment]) -> dict[str, list[Claim]]:
    """All claims, by experiment."""
    edge = experiments["edge"]
    assert isinstance(edge, Edge)
    return {
        "small-rate": list(small_rate(data["small-rate"], experiments["small-rate"])),
        "edge": list(edge_of_stability(data["edge"], edge)),
        "rates": list(learning_rates(data["rates"], experiments["rates"])),
        "chaotic": [*chaotic(data["chaotic"]), *expansion(data["chaotic"])],
        "sequel": list(sequel(data["sequel"])),
    }
