"""Figures: readable in grey, and saved together with the data that they show. Matplotlib is imported inside."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.errors import InvalidInputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.dpi": 150,
}


def style() -> Any:
    """The style of the package, as a context: with style(): ..."""
    import matplotlib as mpl

    return mpl.rc_context(STYLE)


def grid(rows: int, columns: int, *, title: str, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure with a grid of axes, (rows, columns), that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save_figure(figure: Figure, path: str | Path, data: Mapping[str, Sequence[Any] | np.ndarray]) -> Path:
    """Save a figure as PNG and, beside it, the columns of data that it shows as CSV.

    Raises
    ------
    InvalidInputError
        If the columns differ in length, or one of the files exists already.
    """
    path = Path(path).with_suffix(".png")
    table = path.with_suffix(".csv")
    lengths = {name: len(column) for name, column in data.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"the columns of {table.name} must have one length, got {lengths}")
    for file in (path, table):
        if file.exists():
            raise InvalidInputError(f"{file} exists already; choose another name or remove it first")
    figure.savefig(path, dpi=STYLE["savefig.dpi"])
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(data)
        writer.writerows(zip(*data.values(), strict=True))
    return path
