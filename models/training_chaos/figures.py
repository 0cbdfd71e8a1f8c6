"""The figures of the report."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.models.training_chaos.claims import LN3, PAPER_NMLE, irregular
from dynsys.models.training_chaos.experiments import SMALL
from dynsys.models.training_chaos.findings import (
    LEARNED_DIGITS,
    WEIGHTS,
    Nmle,
    boundaries,
    expansion_of_losses,
    nmle,
    saturated,
    training_time,
)
from dynsys.models.training_chaos.growth import fit_growth
from dynsys.models.training_chaos.series import autocorrelation, local_expansion
from dynsys.plotting import GREYS, LINES, grid, line_look, save_figure

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

STEP, RATE = "step", r"learning rate $\eta$"
DOTS: dict[str, Any] = {"linestyle": "none", "marker": ".", "markersize": 1.5, "color": "black", "rasterized": True}


def orbits(runs: xarray.Dataset, path: Path) -> Path:
    """Small learning rate: distances of replicas, perturbed at the start and after learning; four networks."""
    figure, axes = grid(1, 2, title=r"$\eta$ = 0.01: mean distance of replicas, $d / (N \epsilon)$", size=(9, 3.6))
    columns: dict[str, list[Array]] = {"network": [], "eps": [], "late": [], "step": [], "distance": []}
    for late, (panel, name, steps) in enumerate(
        zip(axes[0], ("distance", "late_distance"), ("step", "later"), strict=True)
    ):
        for m in range(min(4, runs.sizes["member"])):
            for j, size in enumerate(runs["size"].values):
                d = runs[name].isel(member=m, size=j).values / (WEIGHTS * size)
                label = rf"$\epsilon$ = {size:g}" if m == 0 else None
                panel.plot(runs[steps].values, d, lw=1, label=label, **line_look(j))
                for column, values in zip(
                    columns.values(),
                    (np.full(len(d), m), np.full(len(d), size), np.full(len(d), late), runs[steps].values, d),
                    strict=True,
                ):
                    column.append(values)
        panel.set(xlabel=STEP if not late else "steps since the perturbation (at step 4000)")
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylabel(r"$d(t) / (N \epsilon)$")
    axes[0, 0].legend(fontsize=7)
    return save_figure(figure, path, {name: np.concatenate(parts) for name, parts in columns.items()})


def growth(runs: xarray.Dataset, path: Path) -> Path:
    """Learning rate 1: distances of replicas at 1e-8 and the same by the tangent, and losses; six networks."""
    figure, axes = grid(1, 2, title=r"$\eta$ = 1, $\epsilon$ = 1e-8", size=(9, 3.6))
    step, columns = runs.step.values, {"step": runs.step.values}
    for m in range(min(6, runs.sizes["member"])):
        d, loss = runs.distance.sel(size=SMALL).values[m], runs.loss.values[m]
        first_order = SMALL * runs.tangent_distance.values[m]
        axes[0, 0].semilogy(step, d, lw=1, label="pairs" if m == 0 else None, color=GREYS[m % 3])
        axes[0, 0].semilogy(step, first_order, lw=1, ls=":", label="tangent" if m == 0 else None, color=GREYS[m % 3])
        axes[0, 1].semilogy(step, loss, lw=1, **line_look(m))
        columns |= {f"distance_{m}": d, f"tangent_{m}": first_order, f"loss_{m}": loss}
    axes[0, 0].set(xlabel=STEP, ylabel="L1 distance of weights d(t)", ylim=(1e-8, 1e4))
    axes[0, 0].legend(fontsize=8)
    axes[0, 1].set(xlabel=STEP, ylabel="loss (nats)")
    return save_figure(figure, path, columns)


def exponent_against_size(runs: xarray.Dataset, path: Path) -> Path:
    """The paper's exponent against the size of the perturbation, and the share of runs that it accepts."""
    figure, axes = grid(1, 2, title=rf"$\eta$ = 1, {runs.sizes['member']} networks, 5 replicas of each", size=(9, 3.6))
    found, model = nmle(runs), saturated(runs)
    sizes = np.array([each.size for each in found])
    rates, deviations = _rates(found), np.array([each.rate.deviation for each in found])
    told = {size: values for size, values in PAPER_NMLE.items() if size in sizes}
    panel = axes[0, 0]
    panel.errorbar(sizes, rates, deviations, color="black", marker="o", ms=4, lw=1, label="pairs (bars: deviation)")
    panel.plot(sizes, _rates(model), color="0.4", ls="--", marker="x", label="tangent growth that saturates")
    panel.plot(
        list(told), [v[0] for v in told.values()], color="0.5", ls="none", marker="s", mfc="none", label="the paper"
    )
    panel.set(xscale="log", xlabel=r"size of the perturbation $\epsilon$", ylabel="nMLE (1/step)", ylim=(0, None))
    panel.legend(fontsize=8)
    shares = np.array([each.accepted / each.runs for each in found])
    axes[0, 1].plot(sizes, shares, color="black", marker="o", ms=4, lw=1)
    counts = {size: v[2] / 500 for size, v in told.items() if v[2] is not None}
    axes[0, 1].plot(list(counts), list(counts.values()), color="0.5", ls="none", marker="s", mfc="none")
    axes[0, 1].set(
        xscale="log", xlabel=r"size of the perturbation $\epsilon$", ylabel="share of accepted runs", ylim=(0, 1)
    )
    paper = [told[size][0] if size in told else np.nan for size in sizes.tolist()]
    return save_figure(
        figure, path,
        {"eps": sizes, "rate": rates, "deviation": deviations, "saturated_tangent": _rates(model), "accepted": shares,
         "paper": paper},
    )  # fmt: skip


def regimes(runs: xarray.Dataset, path: Path) -> Path:
    """Against the learning rate: loss, exponents, curvature, the paper's exponent, and the series of the loss."""
    figure, axes = grid(
        3, 2, title=f"{runs.sizes['member']} networks; lines: medians, shades: 10 to 90 %", size=(9, 9), sharex=True
    )
    rate = runs.rate.values
    fits, correlation = fit_growth(runs.distance.values), autocorrelation(runs.end_loss.values, 3)
    columns = {"rate": rate}
    shown = {
        "loss": (runs.end_loss.mean("end").values, axes[0, 0], "-"),
        "first_exponent_early": (runs.early.values[..., 0], axes[0, 1], "--"),
        "first_exponent_late": (runs.late.values[..., 0], axes[0, 1], "-"),
        "curvature_eta_half": (runs.sharpness.median("curvature").values * rate / 2, axes[1, 0], "-"),
        "pair_rate": (np.where(fits.r2 > 0.9, fits.rate, np.nan), axes[1, 1], "-"),
        **{f"r{lag + 1}": (correlation[..., lag], axes[2, 0], LINES[lag]) for lag in range(3)},
        "local_expansion": (expansion_of_losses(runs), axes[2, 1], "-"),
    }
    labels = {"first_exponent_early": "steps 1 to 200", "first_exponent_late": "last half of 5000 steps"}
    labels |= {f"r{lag}": f"r({lag})" for lag in (1, 2, 3)}
    for name, (values, panel, line) in shown.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no network has the number: the line has a gap
            low, middle, high = np.nanquantile(values, [0.1, 0.5, 0.9], axis=0)
        if panel is not axes[2, 0]:
            panel.fill_between(rate, low, high, color="0.85" if line == "-" else "0.93", lw=0)
        panel.plot(rate, middle, color="black", lw=1.2, ls=line, label=labels.get(name))
        columns |= {name: middle, f"{name}_10": low, f"{name}_90": high}
    accuracy = np.median(runs.accuracy.values[..., -1], axis=0)
    share = fits.accepted.mean(axis=0)
    axes[0, 0].plot(rate, accuracy, color="0.4", ls="--", label="accuracy")
    axes[0, 0].axhline(LN3, color="0.6", lw=0.8, ls=":", label="ln 3")
    axes[1, 0].axhline(1.0, color="0.6", lw=0.8, ls=":", label=r"$2/\eta$")
    axes[1, 1].plot(rate, share, color="0.4", ls="--", label="share of accepted runs")
    for begin in boundaries(runs):
        for panel in axes.flat:
            panel.axvline(begin.rate, color="0.7", lw=0.6)
    axes[0, 0].set(xscale="log", yscale="log", ylabel=f"mean loss of the last {runs.sizes['end']} steps (nats)")
    axes[0, 1].set(ylabel="first exponent (1/step)")
    axes[1, 0].set(ylabel=r"largest eigenvalue of H times $\eta/2$")
    axes[1, 1].set(ylabel=r"rate of pairs, $R^2 > 0.9$ (1/step)")
    axes[2, 0].set(ylabel="autocorrelation of the loss", xlabel=RATE)
    axes[2, 1].set(ylabel=r"local expansion $\Lambda$ of the loss (1/step)", xlabel=RATE)
    for panel in axes.flat[:5]:
        panel.legend(fontsize=8)
    return save_figure(figure, path, columns | {"accuracy": accuracy, "accepted": share})


def bifurcations(runs: xarray.Dataset, path: Path) -> Path:
    """The last losses of one network against the learning rate: a bifurcation diagram."""
    title = f"one network: losses of the last {runs.sizes['end']} of {int(runs['end'][-1])} steps"
    figure, axes = grid(1, 1, title=title, size=(8, 4.5))
    rates, losses = np.repeat(runs.rate.values, runs.sizes["end"]), runs.loss.values.ravel()
    axes[0, 0].loglog(rates, losses, **DOTS | {"markersize": 0.6})
    axes[0, 0].axhline(LN3, color="0.5", lw=0.8, ls=":", label="ln 3")
    axes[0, 0].set(xlabel=RATE, ylabel="loss (nats)")
    axes[0, 0].legend(fontsize=8)
    return save_figure(figure, path, {"rate": rates, "loss": losses})


def chaotic_losses(runs: xarray.Dataset, path: Path) -> Path:
    """Learning rate 5: losses of four networks; autocorrelation and local expansion of the most irregular one."""
    figure, axes = grid(2, 2, title=r"$\eta$ = 5", size=(9, 6.4))
    panels, step = list(axes.flat), runs.step.values
    order = np.argsort(-runs.exponent.isel(k=0).values)
    for place, m in enumerate(order[:2]):
        panels[place].plot(step, runs.loss.values[m], **DOTS)
        panels[place].axhline(LN3, color="0.5", lw=0.8, ls=":")
        exponent = float(runs.exponent.values[m, 0])
        panels[place].set(
            xlabel=STEP, ylabel="loss (nats)", title=f"network {m}, first exponent {exponent:.2g} per step"
        )
    series = irregular(runs)
    lags = np.arange(1, 21)
    correlation = autocorrelation(series, 20)
    panels[2].bar(lags, correlation, color="0.5")
    panels[2].set(xlabel="lag (steps)", ylabel=f"autocorrelation of the loss, network {order[0]}")
    found = local_expansion(series)
    panels[3].plot(found.value, found.rate, **DOTS | {"markersize": 3})
    panels[3].set(xlabel="loss (nats)", ylabel=r"local expansion $\Lambda$ (1/step)")
    length = max(len(series), len(found.rate))
    padded = lambda values: np.concatenate([values, np.full(length - len(values), np.nan)])  # noqa: E731
    return save_figure(
        figure, path,
        {"step": padded(step[-len(series):].astype(float)), "loss": padded(series), "lag": padded(lags.astype(float)),
         "autocorrelation": padded(correlation), "at_loss": padded(found.value), "expansion": padded(found.rate)},
    )  # fmt: skip


def training_times(runs: xarray.Dataset, path: Path) -> Path:
    """The sequel, on small digits: time to an accuracy of 0.8, and exponents, against the learning rate."""
    figure, axes = grid(1, 2, title=f"64-64-10, tanh, 1000 digits, {runs.sizes['member']} networks", size=(9, 3.6))
    rate, time = runs.rate.values, training_time(runs)
    fits = [Nmle.of(SMALL, fit_growth(runs.distance.sel(rate=each).values)) for each in rate]
    exponent = runs.exponent.values
    axes[0, 0].loglog(rate, time.T, color="0.6", lw=0.8, marker=".")
    axes[0, 0].set(xlabel=RATE, ylabel=f"steps to an accuracy of {LEARNED_DIGITS}")
    axes[0, 1].semilogx(
        rate, exponent.mean(axis=0), color="black", marker="o", ms=3, label="first exponent, 200 steps (tangent)"
    )
    shares = np.array([each.accepted / each.runs for each in fits])
    axes[0, 1].plot(rate, _rates(fits), color="0.4", ls="--", marker="x", label="nMLE (pairs, accepted runs)")
    axes[0, 1].plot(rate, shares, color="0.6", ls=":", label="share of accepted runs")
    axes[0, 1].set(xlabel=RATE, ylabel="1/step; share")
    axes[0, 1].legend(fontsize=8)
    columns = {f"time_{m}": row for m, row in enumerate(time)}
    return save_figure(
        figure,
        path,
        {"rate": rate, **columns, "exponent": exponent.mean(axis=0), "nmle": _rates(fits), "accepted": shares},
    )


def _rates(estimates: list[Nmle]) -> Array:
    return np.array([each.rate.mean for each in estimates])
