"""The summary of the main job: what was run, what was found with error bars, what the paper reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.models.reporting.report import markdown_table
from dynsys.models.weight_dynamics.runs import SAME_SPAN
from dynsys.models.weight_dynamics.study import PAPER_LEARNING_RATE
from dynsys.passes.status import DIVERGED, FAILED, RUNNING, SINGULAR, STATUSES
from dynsys.storage.escaping import markdown

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

SHOWN = (RUNNING, DIVERGED, SINGULAR, FAILED)
ANGLES_AT = (0.001, 0.01, 0.1, 0.5, 1.0)  # shares of the whole time
HIGH_LOSS = 0.9  # of Var(y), the loss of a network whose output is constant

# What the paper reports for He initial weights (Sec. V): share of runs, by activation.
PAPER_SHARES = {
    ("relu", "first exponent > 0"): "33 %",
    ("tanh", "first exponent > 0"): "62 %",
    ("relu", "three leading exponents > 0"): "3 %",
    ("tanh", "three leading exponents > 0"): "none",
    ("relu", "last exponent > 0"): "none",
    ("tanh", "last exponent > 0"): "none",
    ("tanh", "final loss > 0.9 Var(y)"): "none",
}

SHARES: dict[str, Callable[[Array, Array, float], Array]] = {
    "first exponent > 0": lambda exponents, *_: exponents[:, 0] > 0,
    "three leading exponents > 0": lambda exponents, *_: (exponents[:, :3] > 0).all(axis=1),
    "last exponent > 0": lambda exponents, *_: exponents[:, -1] > 0,
    "final loss > 0.9 Var(y)": lambda _, loss, variance: loss > HIGH_LOSS * variance,
}


def summary(data: xarray.Dataset, paper_task: bool) -> str:
    """The summary of a finished study, as Markdown."""
    settings = data.attrs
    final = data.isel(time=-1)
    lines = [
        "# Local stability of training runs",
        "",
        f"{markdown(settings['task'])} Every run is gradient descent on a three-layer network with "
        f"{settings['hidden']} hidden units, seen as a dynamical system of {data.sizes['q']} weights and biases; all "
        f"its finite-time Lyapunov exponents lambda_q(T), q = 1, ..., {data.sizes['q']}, were followed from the first "
        "step to the last.",
        "",
        f"Learning rate {settings['learning_rate']:g} (the paper's: {PAPER_LEARNING_RATE:g}), time T = "
        f"{float(data.time[-1]):.6g} in units of learning rate times steps, batches of "
        f"{settings['batch'] or 'all'} samples, cost: {settings['reduction']} over the batch, initial weights "
        f"{settings['weights']}, biases {settings['biases']}, re-orthonormalised every {settings['interval']} steps, "
        f"seed {settings['seed']}.",
        "",
        "## Runs",
        "",
        *markdown_table(
            [
                ["activation", *(STATUSES[code] for code in SHOWN), "final loss: lowest", "median", "highest"],
                *map(_run_row, _each(final)),
            ]
        ),
        f"A constant output has the loss Var(y) = {settings['variance_of_y']:.4g}.",
        "",
        "## Exponents over the whole run (1/time): median, and the 5 % and 95 % quantiles of the runs",
        "",
        *markdown_table([["q", *map(markdown, data.activation.values)], *_exponent_rows(final)]),
        "## Shares of runs, with 95 % (Wilson) intervals",
        "",
        *markdown_table(
            [
                ["activation", "share", "this study", *(["the paper"] if paper_task else [])],
                *_share_rows(final, settings["variance_of_y"], paper_task),
            ]
        ),
        *(_angles(data) if "angle" in data else ()),
        "Training is a transient: these are finite-time exponents. If one is close to zero, its sign comes from a "
        "remainder of order 1/T and is no evidence of chaos. The spread is over initial weights"
        + ("." if settings["shared_batches"] else " and batches.")
        + " Raw numbers: `runs.zarr`; every figure comes with its numbers as CSV."
        + (" Single runs, one by one: `runs.html`, in a browser." if np.isfinite(final.loss).any() else ""),
        "",
    ]
    return "\n".join(lines)


def _each(final: xarray.Dataset) -> Iterable[tuple[str, xarray.Dataset]]:
    return ((str(name), final.sel(activation=name)) for name in final.activation.values)


def _run_row(run: tuple[str, xarray.Dataset]) -> list[Any]:
    name, final = run
    counts = [int((final.status == code).sum()) for code in SHOWN]
    loss = final.loss.values[np.isfinite(final.loss.values)]
    spread = [f"{value:.4g}" for value in np.quantile(loss, [0, 0.5, 1])] if loss.size else ["none finished"] * 3
    return [markdown(name), *counts, *spread]


def _angles(data: xarray.Dataset) -> list[str]:
    """How many angles the run itself decides, and how small they are."""
    i, j = np.triu_indices(data.sizes["q"], 1)
    decided = (data.frame_distance <= SAME_SPAN).values
    angle = np.degrees(np.where(decided[..., i] & decided[..., j], data.angle.values, np.nan))
    finished = (data.status == RUNNING).values
    times = np.abs(data.time.values[:, None] - np.array(ANGLES_AT) * float(data.time[-1])).argmin(axis=0)
    rows = [
        [f"{data.time.values[n]:.3g}", *map(_angle_cell, (a[m, n] for a, m in zip(angle, finished, strict=True)))]
        for n in dict.fromkeys(times.tolist())
    ]
    return [
        "## Angles between covariant vectors: share of pairs that are determined; lowest, 5 % quantile, median",
        "",
        *markdown_table([["t", *map(markdown, data.activation.values)], *rows]),
        "Covariant vectors of a training run are finite-time objects with two open ends. A vector is determined if two "
        "starts of the backward pass at the end of training agree on it, and two random first frames on the spans up "
        f"to it, to {SAME_SPAN:g}. Early vectors depend on the seed of the frame; late ones, and those whose exponents "
        "hardly differ, on the start. An angle near zero is a tangency, or belongs to two vectors whose rates later "
        "exchange their order; the lowest of many depends on the seed.",
        "",
    ]


def _angle_cell(angle: Array) -> str:
    known = angle[np.isfinite(angle)]
    if not known.size:
        return "none"
    low, few, middle = np.quantile(known, [0.0, 0.05, 0.5])
    return f"{100 * known.size / angle.size:.0f} %: {low:.2g}°, {few:.3g}°, {middle:.4g}°"


def _exponent_rows(final: xarray.Dataset) -> Iterable[list[Any]]:
    for q in final.q.values:
        row: list[Any] = [int(q)]
        for _, one in _each(final):
            values = one.exponent.sel(q=q).values
            values = values[np.isfinite(values)]
            if values.size:
                low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
                row.append(f"{middle:.4g} ({low:.4g} to {high:.4g})")
            else:
                row.append("none finished")
        yield row


def _share_rows(final: xarray.Dataset, variance: float, paper_task: bool) -> Iterable[list[Any]]:
    from scipy.stats import binomtest

    for name, one in _each(final):
        finished = one.status.values == 0
        exponents, loss = one.exponent.values[finished], one.loss.values[finished]
        for what, criterion in SHARES.items():
            count, total = int(np.count_nonzero(criterion(exponents, loss, variance))), len(loss)
            if total:
                low, high = binomtest(count, total).proportion_ci(method="wilson")
                found = f"{count} of {total}: {100 * count / total:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"
            else:
                found = "none finished"
            yield [markdown(name), what, found, *([PAPER_SHARES.get((name, what), "not stated")] if paper_task else [])]
