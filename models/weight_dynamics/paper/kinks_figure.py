"""Replicas against tangents, as a table and as a figure."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.models.activations import named
from dynsys.plotting import grid, save_figure, style

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

LOOKS: dict[str, dict[str, Any]] = {
    "tangent": {"label": "tangent", "color": "black", "marker": "o", "markersize": 4},
    "with_kinks": {
        "label": "tangent with kinks", "color": "0.55", "marker": "^", "markersize": 4, "markerfacecolor": "white",
    },
}  # fmt: skip
LINES = ("-", "--", ":")
COLUMNS = ("panel", "tangent", "rate", "x", "y", "y_lower_quartile", "y_upper_quartile")
DISTANCE = "initial distance d of replicas (weights)"


def growth_ratios(data: xarray.Dataset) -> xarray.Dataset:
    """Growth of replicas relative to both tangents, |x' - x| / (d |M v|): quartiles over the members (quantile)."""
    ratios = np.exp(data.attrs["time"] * (data.replica - data[list(LOOKS)]))
    return ratios.quantile([0.25, 0.5, 0.75], dim="member")


def table(data: xarray.Dataset) -> tuple[list[str], list[list[str]]]:
    """Header and rows, for Markdown: quartiles of `growth_ratios` and the mean delay, for every learning rate."""
    both = growth_ratios(data).assign(late=data.late.mean("member"))
    header = ["activation", "biases", "distance"]
    for rate in data.rate.values:
        header += [f"replica / tangent, rate {rate:g}", "replica / tangent with kinks", "delay at a kink (steps)"]
    rows = []
    for name, biases, d in product(data.activation.values, data.biases.values, data.distance.values):
        row = [str(name), str(biases), f"{d:.0e}"]
        for rate in data.rate.values:
            cell = both.sel(activation=name, biases=biases, distance=d, rate=rate)
            for tangent in LOOKS:
                low, middle, high = cell[tangent].values
                row.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
            row.append(f"{float(cell.late):.2g}" if np.isfinite(cell.late) else "no kinks")
        rows.append(row)
    return header, rows


def draw(data: xarray.Dataset, path: Path, title: str) -> Path:
    """How far the growth of replicas is from that of both tangents, by distance; growths at the largest; delays."""
    rows: list[tuple[Any, ...]] = []
    with style():
        figure, axes = grid(2, 3, title=title, size=(10.5, 6.2))
        for panel, (name, biases) in zip(
            axes[0], (("relu", "zero"), ("relu", "random"), ("tanh", "random")), strict=True
        ):
            rows += _draw_gaps(panel, data.sel(activation=name, biases=biases), f"{named(name)!r:.4}, {biases} biases")
        relu = data.sel(activation="relu")
        for panel, tangent in zip(axes[1], LOOKS, strict=False):
            rows += _draw_growths(panel, relu.isel(rate=-1, distance=-1), tangent)
        rows += _draw_delays(axes[1, 2], relu.late.mean(["biases", "member"]))
        figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
        return save_figure(figure, path, dict(zip(COLUMNS, zip(*rows, strict=True), strict=True)))


def _draw_gaps(panel: Any, cell: xarray.Dataset, label: str) -> list[tuple[Any, ...]]:
    gap = np.abs(np.exp(cell.attrs["time"] * (cell.replica - cell[list(LOOKS)])) - 1)
    quartiles, rows = gap.quantile([0.5, 0.25, 0.75], dim="member"), []
    for (tangent, look), (i, rate) in product(LOOKS.items(), enumerate(cell.rate.values)):
        middle, low, high = values = quartiles[tangent].sel(rate=rate).transpose("quantile", "distance").values
        options = look | {"label": f"against the {look['label']}, learning rate {rate:g}"}
        beside = cell.distance.values * 1.15**i
        panel.errorbar(beside, middle, [middle - low, high - middle], linestyle=LINES[i % 3], capsize=2, **options)
        rows += [(label, tangent, rate, d, *point) for d, *point in zip(cell.distance.values, *values, strict=True)]
    panel.set(
        title=label,
        xlabel=DISTANCE,
        xscale="log",
        yscale="log",
        ylim=(1e-8, 4),
        ylabel="|growth of replica / tangent - 1|",
    )
    return rows


def _draw_growths(panel: Any, cell: xarray.Dataset, tangent: str) -> list[tuple[Any, ...]]:
    x, y, look = cell[tangent].values.ravel(), cell.replica.values.ravel(), LOOKS[tangent]
    panel.plot(x, y, linestyle="", **look)
    panel.axline((0, 0), slope=1, color="black", linewidth=0.7, linestyle=":")
    label = f"ReLU, replicas at d = {float(cell.distance):g}"
    panel.set(title=label, xlabel=rf"$\log\,|Mv|/T$ of the {look['label']} (1/time)")
    panel.set_ylabel(r"$\log(|x'-x|/d)/T$ (1/time)")
    return [(label, tangent, float(cell.rate), *point, np.nan, np.nan) for point in zip(x, y, strict=True)]


def _draw_delays(panel: Any, late: xarray.DataArray) -> list[tuple[Any, ...]]:
    label, rows = "ReLU: delay at a kink", []
    for i, rate in enumerate(late.rate.values):
        some = late.sel(rate=rate).where(late.sel(rate=rate) > 0, drop=True)
        panel.plot(some.distance, some, LINES[i % 3], color="black", marker="o", markersize=4)
        rows += [
            (label, "", rate, *point, np.nan, np.nan) for point in zip(some.distance.values, some.values, strict=True)
        ]
    panel.axhline(1.0, color="black", linewidth=0.7, linestyle=":")
    panel.set(title=label, xlabel=DISTANCE, xscale="log", yscale="log", ylabel="delay of a replica, mean (steps)")
    return rows
