"""The paper's Figs. 2 to 9 and 14, made from the stores of a protocol; numbers as in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynsys.models.weight_dynamics.paper.findings import HIGH, LOW, Cell, Findings
from dynsys.models.weight_dynamics.runs import ENDINGS
from dynsys.models.weight_dynamics.task import regression_task
from dynsys.plotting import grid, save_figure

Array = np.ndarray

NAMES = {"relu": "(a) ReLU", "tanh": "(b) tanh"}
SCHEMES = {"he": "He initial weights", "wide": "wide-range initial weights"}
LOSS = "final loss $c_f$ (squared units of y)"
DOTS: dict[str, Any] = {"linestyle": "none", "marker": ".", "markersize": 1.5, "rasterized": True, "color": "black"}
OF_STEP = "ReLU: of the step, not of the flow (Fig. K)"


def figure_2(findings: Findings, path: Path) -> Path:
    """The task: y against x1 and x2."""
    study = findings.protocol.studies["he"]
    X, y = regression_task(seed=study.seeds["data"])
    figure, axes = grid(1, 2, title="Fig. 2: y = 10 x1 - 2 x2$^2$", size=(7, 3), sharey=True)
    for i, panel in enumerate(axes[0]):
        panel.plot(X[:, i], y, linestyle="none", marker=".", markersize=2.5, color="black")
        panel.set(xlabel=f"$x_{i + 1}$ (standard deviations)", ylabel="y")
    return save_figure(figure, path, columns(x1=X[:, 0], x2=X[:, 1], y=y))


def figure_3(findings: Findings, path: Path) -> Path:
    """Distribution of the final loss, He initial weights."""
    return _losses(findings, path, "he", "Fig. 3")


def figure_4(findings: Findings, path: Path) -> Path:
    """Distribution of the final loss, wide-range initial weights."""
    return _losses(findings, path, "wide", "Fig. 4")


def figure_5(findings: Findings, path: Path) -> Path:
    """Distributions of the exponents, He initial weights."""
    return _exponents(findings, path, "he", "Fig. 5")


def figure_6(findings: Findings, path: Path) -> Path:
    """Distributions of the exponents, wide-range initial weights."""
    return _exponents(findings, path, "wide", "Fig. 6")


def figure_7(findings: Findings, path: Path) -> Path:
    """Exponents against final loss, He initial weights."""
    return _exponents_against_loss(findings, path, "he", "Fig. 7")


def figure_14(findings: Findings, path: Path) -> Path:
    """Exponents against final loss, wide-range initial weights."""
    return _exponents_against_loss(findings, path, "wide", "Fig. 14")


def figure_8(findings: Findings, path: Path) -> Path:
    """Angles of Ginelli's vectors at the end of training against final loss, every pair."""
    title = f"Fig. 8: angles at the end (Ginelli), {_sizes(findings, 'he')}; below the diagonal ReLU, above it tanh"
    figure, axes = grid(9, 9, title=title, size=(12, 11), sharex=True, sharey="none")
    table: dict[str, Array] = {}
    places = list(zip(*np.triu_indices(9, 1), strict=True))
    for activation in NAMES:
        cell = findings.cell("he", activation)
        cosines = cell.final_cosines("ginelli")
        table[f"{activation}_final_loss"] = cell.loss
        for pair, (i, j) in enumerate(places):
            panel = axes[j, i] if activation == "relu" else axes[i, j]
            panel.plot(cosines[:, pair], cell.loss, **DOTS)
            panel.set(yscale="log", xlim=(-0.03, 1.03), ylim=(0.9 * cell.loss.min(), 1.1 * cell.loss.max()))
            panel.tick_params(labelleft=False, labelsize=6)
            panel.minorticks_off()
            panel.text(0.5, 0.97, f"{i + 1},{j + 1}", transform=panel.transAxes, ha="center", va="top", fontsize=7)
            table[f"{activation}_cos_{i + 1}_{j + 1}"] = np.round(cosines[:, pair], 2)
    for q in range(9):
        axes[q, q].set_axis_off()
        axes[q, q].text(0.5, 0.5, f"{q + 1}", transform=axes[q, q].transAxes, ha="center", va="center", fontsize=14)
    figure.supxlabel(r"$|\cos\theta_{ij}|$ (0: orthogonal, 1: tangent)")
    figure.supylabel(f"{LOSS}, log scale, from lowest to highest")
    return save_figure(figure, path, columns(**table))


def figure_8_medians(findings: Findings, path: Path) -> Path:
    """Median angles at the end of training, by every method."""
    names = (
        "Ginelli, run continued",
        "Ginelli, another start",
        "ten intervals, from I",
        "ten, random start",
        "periodic window",
    )
    figure, axes = grid(2, 5, title=f"Fig. 8, medians: {_sizes(findings, 'he')}", size=(11, 5))
    rows: dict[str, list[Any]] = {"activation": [], "ending": [], "i": [], "j": [], "median": []}
    for panels, (activation, label) in zip(axes, NAMES.items(), strict=True):
        for panel, ending, name in zip(panels, ENDINGS, names, strict=True):
            median = np.nanmedian(findings.cell("he", activation).final_cosines(ending), axis=0)
            square = np.full((9, 9), np.nan)
            places = np.triu_indices(9, 1)
            square[places] = square[places[::-1]] = median
            image = panel.imshow(square, cmap="Greys", vmin=0, vmax=1, extent=(0.5, 9.5, 9.5, 0.5))
            panel.set(
                title=f"{label}\n{name}", xlabel="vector j", ylabel="vector i", xticks=range(1, 10), yticks=range(1, 10)
            )
            panel.grid(visible=False)
            for i, j, value in zip(*places, median, strict=True):
                for key, entry in zip(rows, (activation, ending, i + 1, j + 1, value), strict=True):
                    rows[key].append(entry)
    figure.colorbar(image, ax=axes, label=r"median $|\cos\theta_{ij}|$", shrink=0.7)
    return save_figure(figure, path, columns(**rows))


def figure_9(findings: Findings, path: Path) -> Path:
    """Mean |cos| over all pairs against final loss, by every method."""
    names = dict(
        zip(
            ENDINGS[:4],
            ("Ginelli", "Ginelli, another start", "ten intervals, from I", "ten, random start"),
            strict=True,
        )
    )
    figure, axes = grid(2, 4, title=f"Fig. 9: {_sizes(findings, 'he')}", size=(11, 5.5), sharex=True, sharey="row")
    table: dict[str, Array] = {}
    for panels, (activation, label) in zip(axes, NAMES.items(), strict=True):
        cell = findings.cell("he", activation)
        table[f"{activation}_final_loss"] = cell.loss
        for panel, (ending, name) in zip(panels, names.items(), strict=True):
            mean = cell.final_cosines(ending).mean(axis=1)
            panel.plot(mean, cell.loss, **DOTS)
            panel.set(yscale="log", title=f"{label}: {name}", xlabel=r"mean $|\cos\theta_{ij}|$, 36 pairs", xlim=(0, 1))
            table[f"{activation}_{ending.replace(', ', '_').replace(' ', '_')}"] = mean
        panels[0].set(ylabel=LOSS)
    return save_figure(figure, path, columns(**table))


def columns(**table: Array | list[Any]) -> dict[str, list[Any]]:
    """Columns of a table of four digits, the shorter ones filled up with blanks."""
    longest = max(map(len, table.values()))
    return {
        name: [f"{v:.4g}" if isinstance(v, float) else v for v in np.asarray(c, dtype=object)]
        + [""] * (longest - len(c))
        for name, c in table.items()
    }


def _sizes(findings: Findings, study: str) -> str:
    counts = [f"{len(cell.loss)} {NAMES[activation][4:]} runs" for activation, cell in _cells(findings, study)]
    return f"{SCHEMES[study]}, {', '.join(counts)}"


def _cells(findings: Findings, study: str) -> Sequence[tuple[str, Cell]]:
    return [(activation, findings.cell(study, activation)) for activation in NAMES]


def _losses(findings: Findings, path: Path, study: str, number: str) -> Path:
    cells = _cells(findings, study)
    figure, axes = grid(1, 2, title=f"{number}: {_sizes(findings, study)}", size=(8, 3.2), sharex=True)
    every = np.concatenate([cell.loss for _, cell in cells])
    bins = np.geomspace(0.95 * every.min(), 1.05 * every.max(), 81)
    for panel, (activation, cell) in zip(axes[0], cells, strict=True):
        panel.hist(cell.loss, bins=bins, color="0.55", edgecolor="0.3", linewidth=0.3)
        panel.set(xscale="log", yscale="log", ylim=(0.7, None), xlabel=LOSS, ylabel="runs", title=NAMES[activation])
        for value, line in ((LOW, "--"), (HIGH, ":")):
            panel.axvline(value, color="black", linestyle=line, linewidth=0.9, label=f"$c_f$ = {value:g}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
    return save_figure(figure, path, columns(**{f"{a}_final_loss": np.sort(cell.loss) for a, cell in cells}))


def _exponents(findings: Findings, path: Path, study: str, number: str) -> Path:
    title = f"{number}: exponents over the whole run, {_sizes(findings, study)}\n{OF_STEP}"
    figure, axes = grid(3, 3, title=title, size=(10, 7.5))
    rows: dict[str, list[Any]] = {"q": [], "activation": [], "from": [], "to": [], "runs": []}
    looks: dict[str, dict[str, Any]] = {
        "relu": {"color": "0.65"},
        "tanh": {"histtype": "step", "color": "black", "linewidth": 1.2},
    }
    for q, panel in enumerate(axes.ravel()):
        values = {activation: cell.exponents[:, q] for activation, cell in _cells(findings, study)}
        low, high = np.quantile(np.concatenate(list(values.values())), [0.005, 0.995])
        bins = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), 61)
        for activation, v in values.items():
            counts, _, _ = panel.hist(
                np.clip(v, *bins[[0, -1]]), bins=bins, label=NAMES[activation], **looks[activation]
            )
            for entry in zip([q + 1] * 60, [activation] * 60, bins[:-1], bins[1:], counts.astype(int), strict=True):
                for key, value in zip(rows, entry, strict=True):
                    rows[key].append(value)
        panel.axvline(0.0, color="black", linewidth=0.7, linestyle=":")
        panel.set(yscale="log", ylim=(0.7, None), xlabel=f"$l_{q + 1}$ (1/time)", ylabel="runs")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
    return save_figure(figure, path, columns(**rows))


def _exponents_against_loss(findings: Findings, path: Path, study: str, number: str) -> Path:
    title = f"{number}: exponents over the whole run against final loss, {_sizes(findings, study)}\n{OF_STEP}"
    figure, axes = grid(6, 3, title=title, size=(10, 13), sharey="none")
    table: dict[str, Array] = {}
    for block, (activation, cell) in zip((axes[:3], axes[3:]), _cells(findings, study), strict=True):
        table[f"{activation}_final_loss"] = cell.loss
        for q, panel in enumerate(block.ravel()):
            panel.plot(cell.exponents[:, q], cell.loss, **DOTS)
            panel.axvline(0.0, color="black", linewidth=0.7, linestyle=":")
            panel.set(yscale="log", xlabel=f"$l_{q + 1}$ (1/time)", ylabel="$c_f$")
            panel.locator_params(axis="x", nbins=5)
            panel.set_title(NAMES[activation])
            table[f"{activation}_l{q + 1}"] = cell.exponents[:, q]
    return save_figure(figure, path, columns(**table))
