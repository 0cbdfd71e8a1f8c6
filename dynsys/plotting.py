"""Figures: readable in grey, and saved together with the data that they show. Matplotlib is imported inside.

`exponents_figure`, `field_figure` and `convergence_figure` return a figure and the columns that it shows:

    figure, data = exponents_figure(runs)
    save_figure(figure, "rho", data)                             # rho.png and rho.csv

Handed axes, they draw there; else the figure needs no screen, and a notebook shows it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.errors import InvalidInputError, real, whole_number
from dynsys.indicators import batch_means_error
from dynsys.storage.escaping import csv_cell, label
from dynsys.storage.files import new_file, refuse_taken

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from dynsys.results.spectrum import LyapunovSpectrum

Columns = dict[str, np.ndarray]

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


LINES = ["-", "--", "-.", ":"]
GREYS = ["black", "0.4", "0.65"]
SIGNED = ["#08245c", "#3f6fb5", "#8c8c8c", "#dfa13f", "#fff4c8"]
LEAST_INTERVALS = 32  # before, a mean has no error
TIMES = 80  # at which a running mean is drawn


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

    What exists is never overwritten, not even by a figure saved again: remove it first. In the table an apostrophe
    stands before texts and names of columns that a spreadsheet would take for a formula.

    Parameters
    ----------
    figure : matplotlib Figure
    path : str or Path
        Name of the figure; `.png` is added if it lacks it, and takes the place of `.csv`.
    data : mapping of names to columns
        All of one length.

    Returns
    -------
    path : Path of the figure

    Raises
    ------
    InvalidInputError
        If the columns differ in length, or something has the name of one of the files already.
    """
    path = Path(path)
    path = path.with_name(path.name.removesuffix(".png").removesuffix(".csv") + ".png")  # rho=0.5 has no ending
    table = path.with_suffix(".csv")
    lengths = {name: len(column) for name, column in data.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInputError(f"the columns of {table.name} must have one length, got {lengths}")
    for file in (path, table):
        refuse_taken(file)
    with new_file(path) as image, new_file(table) as raw:
        figure.savefig(image, dpi=STYLE["savefig.dpi"], format="png")
        with TextIOWrapper(raw, encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(map(csv_cell, data))
            writer.writerows(map(csv_cell, row) for row in zip(*data.values(), strict=True))
    return path


def signed_colours() -> Colormap:
    """Colours for numbers of both signs, blue below grey below orange: ever lighter, so that grey tells them apart."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", SIGNED)


def exponents_figure(runs: xarray.Dataset, axes: Axes | None = None) -> tuple[Figure, Columns]:
    """Lyapunov exponents against what was swept.

    One parameter: every exponent with a band of one standard error, and a line at zero. Two: a map of the largest one,
    in colours centred on zero, with a line where it vanishes. Points that stopped are left white.

    Parameters
    ----------
    runs : xarray.Dataset
        What `sweep` returns of `benettin`. Attributes `long_name` and `units` of its parameters label the axes.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    figure : matplotlib Figure
    data : dict of columns, for `save_figure`

    Raises
    ------
    InvalidInputError
        For another dataset, or more than two parameters.
    """
    if not {"exponent_mean", "standard_error", "status"} <= {*runs.data_vars}:
        raise InvalidInputError(
            "exponents_figure draws what sweep returns of benettin, got a dataset of "
            f"{', '.join(map(str, runs.data_vars))}"
        )
    names = [str(name) for name in runs.status.dims]
    runs = runs.sortby(names)
    mean, error = (runs[name].transpose(*names, "exponent") for name in ("exponent_mean", "standard_error"))
    if len(names) == 1:
        (axes,) = _axes(axes, "Lyapunov exponents")
        x, parts = runs[names[0]].values, []
        for j, number in enumerate(runs.exponent.values):
            value, band, look = mean.values[:, j], error.values[:, j], line_look(j)
            axes.fill_between(x, value - band, value + band, color="0.8", lw=0)
            axes.plot(x, value, lw=1.0, label=rf"$\lambda_{{{number}}}$", **look)
            parts.append({names[0]: x, "exponent": np.full(len(x), number), "exponent_mean": value})
            parts[-1] |= {"standard_error": band, "status": runs.status.values}
        axes.axhline(0.0, color="0.5", lw=0.8)
        axes.set(xlabel=_label(runs[names[0]]), ylabel="Lyapunov exponents (1/time)")
        axes.legend()
        return _figure(axes), {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    largest = mean.max("exponent").rename("largest_exponent")
    (axes,) = _axes(axes, "Largest Lyapunov exponent")
    data = _map(axes, largest, "largest exponent (1/time)", signed=True)
    place = mean.fillna(-np.inf).argmax("exponent")
    return _figure(axes), data | {
        "standard_error": error.isel(exponent=place).values.ravel(),
        "status": runs.status.values.ravel(),
    }


def field_figure(field: xarray.Dataset, axes: Axes | None = None) -> tuple[Figure, Columns]:
    """The largest finite-time exponent over the states where it begins: a map, or a line over one component.

    Parameters
    ----------
    field : xarray.Dataset
        What `dynsys.ftle_field` returns.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    figure : matplotlib Figure
    data : dict of columns, for `save_figure`

    Raises
    ------
    InvalidInputError
        For another dataset, or more than two components.
    """
    if not {"largest_exponent", "smallest_exponent"} <= {*field.data_vars}:
        raise InvalidInputError(
            f"field_figure draws what ftle_field returns, got a dataset of {', '.join(map(str, field.data_vars))}"
        )
    field = field.sortby([*field.largest_exponent.dims])
    largest = field.largest_exponent
    (axes,) = _axes(axes, "Largest finite-time Lyapunov exponent")
    label = f"exponent over T = {field.time:.4g} (1/time)"
    if largest.ndim == 1:
        (name,) = map(str, largest.dims)
        axes.plot(field[name].values, largest.values, color="black", lw=1.0)
        axes.set(xlabel=_label(field[name]), ylabel=label)
        data = {name: field[name].values, "largest_exponent": largest.values}
    else:
        data = _map(axes, largest, label, signed=False)
    others = {name: field[name].values.ravel() for name in ("smallest_exponent", "status")}
    return _figure(axes), data | others


def convergence_figure(
    spectrum: LyapunovSpectrum,
    known: Sequence[float] | None = None,
    *,
    member: int | None = None,
    axes: Any = None,
) -> tuple[Figure, Columns]:
    """The running mean of every exponent against the time since the warm-up, with a band of one standard error.

    The band at time t is that of batch means over the rates up to t, and of them alone: what could have been claimed at
    that time. The final error scaled back by 1/sqrt(t) would lend the early estimates what only the later ones know. So
    the band itself fluctuates (it is known to about 13 %), and it is too narrow where the batches are still shorter
    than the memory of the rates. It says nothing of a drift: a transient that goes on moves the mean out of it.

    Parameters
    ----------
    spectrum : LyapunovSpectrum
    known : sequence of numbers, shape (k,), optional
        Drawn as lines; NaN for those not known.
    member : int, optional
        Which member of an ensemble.
    axes : k matplotlib Axes, optional
        Where to draw, one for each exponent: their sizes differ.

    Returns
    -------
    figure : matplotlib Figure
    data : dict of columns, for `save_figure`

    Raises
    ------
    InvalidInputError
        If `known` or `axes` are not k, or `member` is missing or given for a single run, or is not finite.
    """
    rates = spectrum.rates
    if (member is None) != (rates.ndim == 2):
        raise InvalidInputError(f"say member= for an ensemble and only there; the rates have shape {rates.shape}")
    if member is not None:
        if whole_number("member", member, 0) >= len(rates):
            raise InvalidInputError(f"member must be less than {len(rates)}, got {member}")
        rates = rates[member]
    count, k = rates.shape
    if not np.isfinite(rates).all():
        raise InvalidInputError("the run stopped: there is no mean over all of its record; draw one that did not")
    if known is not None and real("known", known, f"be {k} numbers, NaN where there is none").shape != (k,):
        raise InvalidInputError(f"known must be {k} numbers, NaN where there is none, got {known!r:.100}")
    first = max(LEAST_INTERVALS, count // 100) if count > LEAST_INTERVALS else 1  # before, the scale is lost
    counts = np.unique(np.geomspace(first, count, TIMES).astype(int))
    means = np.cumsum(rates, axis=0)[counts - 1] / counts[:, None]
    errors = np.array([batch_means_error(rates[:n]) for n in counts])
    time = counts * spectrum.stride * spectrum.steps_per_interval * spectrum.dt
    panels = _axes(axes, "Convergence", k)
    for j, panel in enumerate(panels):
        mean, error = means[:, j], errors[:, j]
        panel.fill_between(time, mean - error, mean + error, color="0.8", lw=0, label="± standard error")
        panel.semilogx(time, mean, color="black", lw=1.0, label="running mean")
        if known is not None and np.isfinite(known[j]):
            panel.axhline(known[j], color="black", ls="--", lw=0.8, label="known")
        panel.set_ylabel(rf"$\lambda_{{{j + 1}}}$ (1/time)")
    panels[0].legend(fontsize=8)
    panels[-1].set_xlabel("time since the warm-up (model units)")
    data = {"exponent": np.repeat(np.arange(1, k + 1), len(counts)), "time": np.tile(time, k)}
    return _figure(panels[0]), data | {"running_mean": means.T.ravel(), "standard_error": errors.T.ravel()}


def _axes(axes: Any, title: str, count: int = 1) -> list[Axes]:
    """So many axes to draw into: those given, or of a new figure, one below the other."""
    if axes is None:
        with style():
            _, made = grid(count, 1, title=title, size=(6.4, 4.0 if count == 1 else 1.2 + 1.6 * count), sharex=True)
        return list(made[:, 0])
    given = list(np.ravel(axes))
    if len(given) != count:
        raise InvalidInputError(f"there must be {count} axes to draw into, got {len(given)}")
    return given


def _figure(axes: Axes) -> Figure:
    figure: Any = axes.figure
    return figure


def line_look(j: int) -> dict[str, Any]:
    """Line j: told apart from the others without colour."""
    return {"ls": LINES[j % len(LINES)], "color": GREYS[j // len(LINES) % len(GREYS)]}


def _label(axis: xarray.DataArray) -> str:
    from matplotlib.cbook import is_math_text
    from matplotlib.mathtext import MathTextParser

    text = f"{axis.attrs.get('long_name', axis.name)} ({axis.attrs.get('units', 'model units')})"
    try:  # mathematics between dollars is welcome; where it is none, a dollar is a dollar
        _ = is_math_text(text) and MathTextParser("path").parse(text)
    except ValueError:
        return label(text)
    return text


def _map(axes: Axes, values: xarray.DataArray, label: str, *, signed: bool) -> Columns:
    """A picture of numbers over two axes, the first of which lies, with a colour bar; its columns."""
    if values.ndim != 2:
        raise InvalidInputError(f"a figure shows one or two dimensions, got {values.dims}: choose some by isel")
    x, y = (values[name] for name in values.dims)
    if min(len(x), len(y)) < 2:
        raise InvalidInputError(
            f"a map needs two values of each, got {dict(values.sizes)}: choose one of the other by isel"
        )
    numbers = values.values.T
    largest = float(np.nanmax(np.abs(numbers), initial=0.0)) or 1.0
    limits = {"cmap": signed_colours(), "vmin": -largest, "vmax": largest} if signed else {"cmap": "cividis"}
    image = axes.pcolormesh(x.values, y.values, numbers, shading="nearest", rasterized=True, **limits)
    if signed and np.nanmin(numbers, initial=0.0) < 0.0 < np.nanmax(numbers, initial=0.0):
        axes.contour(x.values, y.values, numbers, levels=[0.0], colors="black", linewidths=0.6)
    axes.grid(visible=False)
    axes.set(xlabel=_label(x), ylabel=_label(y))
    _figure(axes).colorbar(image, ax=axes, label=label)
    first, second = np.meshgrid(x.values, y.values, indexing="ij")
    return {str(x.name): first.ravel(), str(y.name): second.ravel(), str(values.name): values.values.ravel()}
