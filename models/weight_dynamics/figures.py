"""Figures of the main job: what Figs. 3, 5 and 7 of the paper show, and the course of single runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.models.weight_dynamics.study import PAPER_LEARNING_RATE
from dynsys.plotting import grid, save_figure, style
from dynsys.storage.escaping import label

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

FILLS: tuple[dict[str, Any], ...] = (
    {"color": "0.65"},
    {"histtype": "step", "color": "black", "linewidth": 1.4},
    {"histtype": "step", "color": "black", "linewidth": 1.4, "linestyle": ":"},
    {"histtype": "step", "color": "0.45", "linewidth": 1.4, "linestyle": "--"},
    {"histtype": "step", "color": "0.45", "linewidth": 1.0, "hatch": "///"},
)
POINTS: tuple[dict[str, Any], ...] = (
    {"marker": "o", "s": 12, "facecolor": "0.55", "edgecolor": "none"},
    {"marker": "^", "s": 16, "facecolor": "none", "edgecolor": "black", "linewidth": 0.7},
    {"marker": "x", "s": 12, "color": "black", "linewidth": 0.7},
    {"marker": "s", "s": 10, "facecolor": "none", "edgecolor": "0.4", "linewidth": 0.7},
    {"marker": "+", "s": 18, "color": "0.3", "linewidth": 0.7},
)
SHOWN_EXPONENTS = 9
TIME = "time t (learning rate x steps)"


def draw_all(data: xarray.Dataset, folder: Path) -> list[Path]:
    """Draw every figure of a study into a folder, each with its data."""
    rate = data.attrs["learning_rate"]
    paper = "the paper's" if rate == PAPER_LEARNING_RATE else f"the paper's: {PAPER_LEARNING_RATE:g}"
    note = f"learning rate {rate:g} ({paper}), T = {float(data.time[-1]):.4g}"
    title = f"{label(data.attrs['task'])}\n{note}, {data.sizes['member']} runs of each activation"
    folder.mkdir(exist_ok=True)
    drawings = (final_losses, exponents, exponents_against_loss, single_runs)
    with style():
        return [draw(data, folder / draw.__name__, title) for draw in drawings]


def final_losses(data: xarray.Dataset, path: Path, title: str) -> Path:
    """Distribution of final losses, one panel for each activation (Fig. 3)."""
    final = _final(data.loss)
    figure, axes = grid(1, len(final), title=title, size=(4.2 * len(final), 3.2), sharex=True)
    shown = on_log_axis(np.stack(list(final.values())))
    bins = np.geomspace(np.nanmin(shown) / 1.1, np.nanmax(shown) * 1.1, 41)
    for panel, name, values in zip(axes[0], final, shown, strict=True):
        panel.hist(values[np.isfinite(values)], bins=bins, color="0.55", edgecolor="0.3", linewidth=0.4)
        panel.set(xscale="log", xlabel="final loss $c_f$ (squared units of y)", ylabel="runs", title=label(name))
        panel.yaxis.get_major_locator().set_params(integer=True)
        panel.axvline(
            data.attrs["variance_of_y"], color="black", linestyle=":", label="Var(y): loss of a constant output"
        )
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center")
    return save_figure(figure, path, _columns(data, final))


def on_log_axis(loss: Array) -> Array:
    """Losses as a logarithmic axis can show them: zero stands at the smallest positive one."""
    positive = loss[np.isfinite(loss) & (loss > 0)]
    return np.maximum(loss, positive.min() if positive.size else np.finfo(float).tiny)


def exponents(data: xarray.Dataset, path: Path, title: str) -> Path:
    """Distribution of the exponents over the whole run, one panel for each (Fig. 5)."""
    figure, panels, shown = _panels(data, title)
    columns: dict[str, Array] = {}
    for panel, q in zip(panels, shown, strict=True):
        values = _final(data.exponent.sel(q=q))
        finite = np.concatenate([v[np.isfinite(v)] for v in values.values()])
        bins = np.histogram_bin_edges(finite, 40)
        for fill, (name, v) in zip(FILLS, values.items(), strict=False):
            panel.hist(v[np.isfinite(v)], bins=bins, label=label(name), **fill)
        panel.axvline(0.0, color="black", linewidth=0.7, linestyle=":")
        panel.set(xlabel=rf"$\lambda_{{{q}}}(T)$ (1/time)", ylabel="runs")
        panel.yaxis.get_major_locator().set_params(integer=True)
        columns |= {f"{name}_exponent_{q}": v for name, v in values.items()}
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=len(values), loc="outside lower center")
    return save_figure(figure, path, _columns(data, columns))


def exponents_against_loss(data: xarray.Dataset, path: Path, title: str) -> Path:
    """Exponents over the whole run against the final loss (Fig. 7)."""
    figure, panels, shown = _panels(data, title)
    loss = _final(data.loss)
    columns = {f"{name}_final_loss": v for name, v in loss.items()}
    for panel, q in zip(panels, shown, strict=True):
        values = _final(data.exponent.sel(q=q))
        for points, (name, v) in zip(POINTS, values.items(), strict=False):
            panel.scatter(v, on_log_axis(loss[name]), label=label(name), **points)
        panel.axvline(0.0, color="black", linewidth=0.7, linestyle=":")
        panel.set(yscale="log", xlabel=rf"$\lambda_{{{q}}}(T)$ (1/time)", ylabel="final loss $c_f$")
        columns |= {f"{name}_exponent_{q}": v for name, v in values.items()}
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=len(values), loc="outside lower center")
    return save_figure(figure, path, _columns(data, columns))


def single_runs(data: xarray.Dataset, path: Path, title: str) -> Path:
    """lambda_q(t) with the loss of the runs with lowest, median and highest final loss of each activation."""
    final = _final(data.loss)
    kinds = ("lowest", "median", "highest")
    figure, axes = grid(2 * len(final), 3, title=title, size=(10.5, 4.6 * len(final)), sharex=True)
    rows: list[list[Any]] = []
    for a, (name, values) in enumerate(final.items()):
        order = np.argsort(values)[: np.count_nonzero(np.isfinite(values))]
        if not len(order):
            continue
        for column, (kind, place) in enumerate(zip(kinds, (0, len(order) // 2, -1), strict=True)):
            member = int(order[place])
            run = data.isel(activation=a, member=member)
            top, bottom = axes[2 * a, column], axes[2 * a + 1, column]
            for q, series in enumerate(run.exponent.values.T):
                style = ("-", "--", ":")[q % 3]
                shade = str(0.6 * (q // 3) / max(1, (run.sizes["q"] - 1) // 3))
                top.plot(run.time, series, style, color=shade, linewidth=1.1, label=rf"$\lambda_{{{q + 1}}}$")
            top.set(
                xscale="log",
                title=f"{label(name)}, {kind} final loss (run {member})",
                ylabel=r"$\lambda_q(t)$ (1/time)",
            )
            top.set_yscale("symlog", linthresh=1.0)
            bottom.plot(run.time, run.loss, color="black", linewidth=1.1)
            bottom.set(xscale="log", yscale="log", ylabel="loss C(t) (squared units of y)", xlabel=TIME)
            rows += [
                [name, member, float(t), float(c), *map(float, e)]
                for t, c, e in zip(run.time.values, run.loss.values, run.exponent.values, strict=True)
            ]
    if data.sizes["q"] <= SHOWN_EXPONENTS:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=SHOWN_EXPONENTS, loc="outside lower center")
    header = ["activation", "member", "time", "loss", *(f"exponent_{q}" for q in data.q.values)]
    return save_figure(figure, path, dict(zip(header, zip(*rows, strict=True), strict=True)))


def _final(variable: xarray.DataArray) -> dict[str, Array]:
    """Activation -> values at the last time, one for each member."""
    last = variable.isel(time=-1)
    return {str(name): last.sel(activation=name).values for name in variable.activation.values}


def shown_exponents(data: xarray.Dataset) -> list[int]:
    """Numbers of the exponents that are shown: all, or of more than nine the first, middle and last three."""
    every = [int(q) for q in data.q.values]
    middle = len(every) // 2 - 1
    return every if len(every) <= SHOWN_EXPONENTS else [*every[:3], *every[middle : middle + 3], *every[-3:]]


def _panels(data: xarray.Dataset, title: str) -> tuple[Any, list[Any], list[int]]:
    """A panel for every exponent that is shown."""
    shown = shown_exponents(data)
    rows = -(-len(shown) // 3)
    figure, axes = grid(rows, 3, title=title, size=(10.5, 2.6 * rows + 0.6))
    for unused in axes.ravel()[len(shown) :]:
        unused.set_axis_off()
    return figure, list(axes.ravel()[: len(shown)]), shown


def _columns(data: xarray.Dataset, columns: dict[str, Array]) -> dict[str, Array]:
    return {"member": np.arange(data.sizes["member"]), **columns}
