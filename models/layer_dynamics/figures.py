"""The figures of the report on layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynsys.models.layer_dynamics.study import STEPS, Numbers
from dynsys.plotting import LINES, grid, save_figure

Array = np.ndarray
DASHES: list[Any] = [*LINES, (0, (1, 3))]


def drifts(found: Mapping[str, Numbers], path: Path) -> Path:
    """What gradient descent moves of the conserved matrices by time 2, against its step; bars: 10 to 90 %."""
    figure, axes = grid(
        1, 2, title="largest change of W$_{l+1}^T$W$_{l+1}$ - W$_l$W$_l^T$ - b$_l$b$_l^T$", size=(9, 3.6)
    )
    columns: dict[str, Array] = {"step": np.array(STEPS)}
    for place, (name, label) in enumerate((("all", "all entries"), ("diagonal", "diagonal"))):
        for style, (kind, numbers) in zip(DASHES, found.items(), strict=False):
            low, middle, high = np.quantile(numbers[name], [0.1, 0.5, 0.9], axis=1)
            axes[0, place].errorbar(
                STEPS, middle, [middle - low, high - middle], color="black", ls=style, lw=1, label=kind
            )
            columns[f"{kind} {name}"] = middle
        axes[0, place].set(xscale="log", yscale="log", xlabel="step of gradient descent", ylabel=label)
    axes[0, 1].legend(fontsize=7)
    return save_figure(figure, path, columns)


def layers(found: Mapping[str, Numbers], path: Path) -> Path:
    """Growth of the squared norms of three layers from small weights, by kind of network."""
    figure, axes = grid(
        1, len(found), title="squared norm of weights and biases, less that at first", size=(12, 3.2), sharey=True
    )
    columns: dict[str, Array] = {}
    for panel, (kind, numbers) in zip(axes[0], found.items(), strict=True):
        grown = numbers["squares"] - numbers["squares"][0]
        for layer in range(grown.shape[1]):
            panel.plot(
                numbers["time"], grown[:, layer], color="black", ls=LINES[layer], lw=1.2, label=f"layer {layer + 1}"
            )
            columns |= {"time": numbers["time"], f"{kind} {layer + 1}": grown[:, layer]}
        panel.set(title=kind, xlabel="time")
    axes[0, 0].set_ylabel("growth of the squared norm")
    axes[0, 0].legend(fontsize=8)
    return save_figure(figure, path, columns)


def phases(found: Mapping[int, Numbers], path: Path) -> Path:
    """Strengths of three modes of balanced linear networks, and their closed form (dots)."""
    figure, axes = grid(1, len(found), title="modes of deep linear networks on white data", size=(10, 3.2), sharey=True)
    columns: dict[str, Array] = {}
    for panel, (depth, numbers) in zip(axes[0], found.items(), strict=True):
        for mode in range(3):
            panel.plot(numbers["time"], numbers["strength"][:, mode], color="black", ls=LINES[mode], lw=1.2)
            panel.plot(
                numbers["time"][::4], numbers["exact"][::4, mode], color="0.4", ls="none", marker="o", ms=3, mfc="none"
            )
            columns |= {f"time {depth}": numbers["time"], f"strength {depth} {mode + 1}": numbers["strength"][:, mode],
                        f"exact {depth} {mode + 1}": numbers["exact"][:, mode]}  # fmt: skip
        panel.set(title=f"{depth} layers", xlabel="time")
    axes[0, 0].set_ylabel("strength of the mode")
    return save_figure(figure, path, columns)


def gates(found: Numbers, path: Path) -> Path:
    """ReLU networks beside their linearisation on fixed gates; lines: medians, shades: 10 to 90 %."""
    figure, axes = grid(1, 3, title="ReLU and its linearisation on the region of fixed gates", size=(11, 3.2))
    columns: dict[str, Array] = {"time": found["time"]}
    labels = {"crossed": "share of gates that have changed", "distance": "distance of states / initial norm"}
    for panel, (name, label) in zip(axes[0], labels.items(), strict=False):
        _band(panel, found["time"], found[name], "-", None)
        panel.set(xlabel="time", ylabel=label)
    for name, style, label in (("off_diagonal", "-", "ReLU"), ("off_diagonal_linearised", "--", "fixed gates")):
        _band(axes[0, 2], found["time"], found[name], style, label)
    axes[0, 2].set(xlabel="time", ylabel="largest change off the diagonal")
    axes[0, 2].legend(fontsize=8)
    columns |= {name: np.median(values, axis=1) for name, values in found.items() if name != "time"}
    return save_figure(figure, path, columns)


def _band(panel: Any, time: Array, values: Array, style: str, label: str | None) -> None:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1)
    panel.fill_between(time, low, high, color="0.88", lw=0)
    panel.plot(time, middle, color="black", ls=style, lw=1.2, label=label)


def spectra(found: Mapping[str, Numbers], path: Path) -> Path:
    """Exponents of gradient descent at a minimum, and what the Hessian says (dots)."""
    figure, axes = grid(1, len(found), title="exponents at a minimum (1/time)", size=(11, 3.2))
    columns: dict[str, Array] = {}
    longest = max(len(numbers["exact"]) for numbers in found.values())
    for panel, (kind, numbers) in zip(axes[0], found.items(), strict=True):
        index = np.arange(1, len(numbers["exact"]) + 1)
        panel.plot(index, numbers["exact"], color="0.5", ls="none", marker="o", ms=3, mfc="none")
        panel.plot(index, numbers["exponents"], color="black", lw=1)
        null, kept = numbers["counts"]
        panel.axvline(null + 0.5, color="0.4", ls=":", lw=0.8)
        panel.set(title=f"{kind}: {null} vanish, {kept} conserved", xlabel="number")
        panel.set_yscale("symlog", linthresh=1e-2)
        for name in ("exponents", "exact"):
            columns[f"{kind} {name}"] = np.concatenate([numbers[name], np.full(longest - len(index), np.nan)])
    axes[0, 0].set_ylabel("exponent (1/time)")
    return save_figure(figure, path, columns)
