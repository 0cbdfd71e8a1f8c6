"""The figures of the report on responses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynsys.models.training_response.claims import Courses
from dynsys.models.training_response.study import RATES, Numbers
from dynsys.plotting import LINES, grid, save_figure

Array = np.ndarray


def first_orders(found: tuple[Mapping[str, Array], Numbers], path: Path) -> Path:
    """Responses against their first order, by learning rate; drift of the kernel in training, by width."""
    steps, widths = found
    figure, axes = grid(1, 2, title="the tangent kernel as a first order, and as a constant", size=(9, 3.6))
    columns: dict[str, Array] = {}
    for style, (kind, errors) in zip(LINES, steps.items(), strict=True):
        axes[0, 0].loglog(RATES, np.median(errors, axis=1), color="black", ls=style, marker=".", label=kind)
        columns[f"error {kind}"] = np.median(errors, axis=1)
    axes[0, 0].loglog(RATES, np.array(RATES) ** 2, color="0.6", lw=0.8, label=r"$\eta^2$")
    axes[0, 0].set(xlabel=r"learning rate $\eta$", ylabel="largest |R - first order|")
    axes[0, 0].legend(fontsize=8)
    width, drift = widths["width"], widths["drift"]
    axes[0, 1].errorbar(width, drift.mean(axis=1), drift.std(axis=1), color="black", marker=".", lw=1, label="tanh")
    axes[0, 1].plot(width, drift[0].mean() * (width / width[0]) ** -0.5, color="0.6", lw=0.8, label="width$^{-1/2}$")
    axes[0, 1].set(xscale="log", yscale="log", xlabel="width", ylabel="relative drift of the kernel")
    axes[0, 1].legend(fontsize=8)
    rows = {"rate": np.array(RATES), **columns, "width": width, "drift": drift.mean(axis=1)}
    longest = max(map(len, rows.values()))
    padded = {name: np.concatenate([each, np.full(longest - len(each), np.nan)]) for name, each in rows.items()}
    return save_figure(figure, path, padded)


def amplitudes(courses: Courses, path: Path) -> Path:
    """Amplitude of the response kernel and mean error along training; lines: means of networks."""
    return _along(
        courses, path, {"amplitude": r"$\alpha(t)$ / $\alpha(0)$", "error": "mean |f - y|"}, relative="amplitude"
    )


def reductions(courses: Courses, path: Path) -> Path:
    """Effective dimensions of the hidden features, and how far the kernel's shape has moved, along training."""
    return _along(courses, path, {"participation": "participation ratio", "shape": "change of the shape of the kernel"})


def _along(courses: Courses, path: Path, names: Mapping[str, str], relative: str = "") -> Path:
    activations = list(dict.fromkeys(activation for activation, _ in courses))
    figure, axes = grid(
        len(names), len(activations), title="along training", size=(3.2 * len(activations), 5.6), sharex=True
    )
    columns: dict[str, Array] = {}
    for column, activation in enumerate(activations):
        methods = [method for kind, method in courses if kind == activation]
        for style, method in zip(LINES, methods, strict=True):
            found = courses[activation, method]
            columns["time"] = found["time"]
            for row, name in enumerate(names):
                values = found[name] / found[name][:, :1] if name == relative else found[name]
                axes[row, column].semilogx(
                    found["time"][1:], values.mean(axis=0)[1:], color="black", ls=style, lw=1.1, label=method
                )
                columns[f"{name} {activation} {method}"] = values.mean(axis=0)
        axes[0, column].set(title=activation)
        axes[-1, column].set(xlabel="time (learning rate x steps)")
    for row, label in enumerate(names.values()):
        axes[row, 0].set_ylabel(label)
    axes[0, 0].legend(fontsize=7)
    return save_figure(figure, path, columns)


def carried_on(found: Numbers, path: Path) -> Path:
    """A response carried on by the tangent of training, and by training with and without a step of three sizes."""
    figure, axes = grid(1, 1, title="response of the outputs (root mean square), per size of the step", size=(6.4, 3.8))
    panel: Any = axes[0, 0]
    panel.loglog(found["time"] + 0.05, found["tangent"], color="black", lw=1.4, label="tangent")
    columns = {"time": found["time"], "tangent": found["tangent"]}
    for style, size, values in zip(LINES[1:], found["sizes"], found["difference"], strict=True):
        panel.loglog(
            found["time"] + 0.05, values, color="0.45", ls=style, lw=1, label=f"difference of runs, step {size:g}"
        )
        columns[f"difference {size:g}"] = values
    panel.set(xlabel="time since the step, plus one step", ylabel="response / size")
    panel.legend(fontsize=8)
    return save_figure(figure, path, columns)
