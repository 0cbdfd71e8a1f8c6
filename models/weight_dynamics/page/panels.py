"""The panels of the page of the main job: where a run is picked, and where it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsys.models.weight_dynamics.figures import TIME, on_log_axis
from dynsys.models.weight_dynamics.page.data import PageData
from dynsys.plotting import line_look

DASHES = {"-": "solid", "--": "dashed", "-.": "dashdot", ":": "dotted"}


def subscript(q: int) -> str:
    """Digits below the line.

    >>> subscript(10)
    '₁₀'
    """
    return str(q).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def final_losses(table: Any, picked: Any) -> Any:
    """The distribution of final losses, a marker for each run."""
    from bokeh.models import HoverTool

    x = table.data["x"]
    plot = _figure("losses", 480, x_axis_type="log", x_range=(x.min() / 1.5, x.max() * 1.5), y_range=(-0.03, 1.03))
    plot.scatter(
        "x", "share", source=table, marker="marker", size=8, fill_color="fill", line_color="line",
        legend_field="activation", name="runs",
    )  # fmt: skip
    plot.scatter("x", "share", source=picked, size=20, fill_color=None, line_color="black", line_width=3)
    plot.add_tools(
        HoverTool(
            renderers=plot.select({"name": "runs"}), visible=False,
            tooltips=[("run", "@activation @member"), ("final loss", "@final{0.0000}"),
                      ("λ₁(T)", "@first{0.0000} 1/time"), ("status", "@status")],
        )
    )  # fmt: skip
    plot.xaxis.axis_label = "final loss (squared units of y)"
    plot.yaxis.axis_label = "share of runs up to this loss"
    plot.legend.location = "top_left"
    return plot


def course(kept: PageData, curves: Any, pairs: Any) -> list[Any]:
    """Exponents, angles and loss of the picked run, one below the other, over one time axis."""
    from bokeh.models import CrosshairTool, Range1d
    from bokeh.models.annotations import Span

    times, loss = (
        kept.data.time.values,
        kept.data.loss.values[kept.finished],
    )  # a run that diverges may leave the panels
    together = Range1d(times[0] / 1.1, times[-1] * 1.1)
    span = Span(dimension="height", line_color="#666666", line_dash="dotted")
    shown = on_log_axis(loss)
    loss_panel = _figure(
        "loss", 200, x_axis_type="log", y_axis_type="log", x_range=together,
        y_range=(shown.min() / 1.5, shown.max() * 1.5),
    )  # fmt: skip
    line = loss_panel.line("time", "loss", source=curves, color="black", line_width=2)
    loss_panel.add_tools(_at(line, [("loss", "@loss{0.0000}")]))
    loss_panel.yaxis.axis_label = "loss (squared units of y)"
    panels = [
        _exponents(kept, curves, together),
        *([_angles(curves, pairs, together)] if kept.pairs else []),
        loss_panel,
    ]
    for panel in panels:
        panel.add_tools(CrosshairTool(overlay=span, visible=False))
    panels[-1].xaxis.axis_label = TIME
    return panels


def _exponents(kept: PageData, curves: Any, together: Any) -> Any:
    """Finite-time exponents, linear about zero and logarithmic beyond."""
    from bokeh.models import CustomJSTickFormatter, CustomJSTransform, FixedTicker
    from bokeh.transform import transform
    from matplotlib.colors import to_hex

    values = kept.data.exponent.values[kept.finished][..., [q - 1 for q in kept.shown]]
    # the sign of an exponent below 1 / T is that of a remainder: from the power of ten next to it, logarithmic
    scale = 10.0 ** round(-np.log10(kept.data.time.values[-1]))
    low, high = (float(np.arcsinh(end / scale)) for end in (np.nanmin(values), np.nanmax(values)))
    plot = _figure("exponents", 280, x_axis_type="log", x_range=together, y_range=(low - 0.5, high + 0.5))
    bent = CustomJSTransform(
        args={"scale": scale}, func="return Math.asinh(x / scale)", v_func="return xs.map((x) => Math.asinh(x / scale))"
    )
    for place, q in enumerate(kept.shown):
        look = line_look(place)
        line = plot.line(
            "time", transform(f"exponent_{q}", bent), source=curves, color=to_hex(look["color"]), line_width=1.8,
            line_dash=DASHES[look["ls"]], legend_label=f"λ{subscript(q)}", name=f"exponent_{q}",
        )  # fmt: skip
        if place == 0:
            plot.add_tools(_at(line, [(f"λ{subscript(i)}(t)", f"@exponent_{i}{{0.0000}}") for i in kept.shown]))
    largest = max(abs(low), abs(high))
    powers = np.arcsinh(10.0 ** np.arange(0, np.ceil(largest / np.log(10.0)) + 1))
    plot.yaxis.ticker = FixedTicker(ticks=[*(-powers[::-1]), 0.0, *powers])
    plot.yaxis.formatter = CustomJSTickFormatter(
        args={"scale": scale}, code="return Number((Math.sinh(tick) * scale).toPrecision(2)).toString()"
    )
    plot.yaxis.axis_label = "λ(t) (1/time)"
    _legend(plot, 5)
    return plot


def _angles(curves: Any, pairs: Any, together: Any) -> Any:
    """Angles between the covariant vectors; which of them a seed still decides is told apart."""
    from bokeh.models import HoverTool

    plot = _figure("angles", 260, x_axis_type="log", x_range=together, y_range=(0, 92))
    seeded = plot.multi_line(
        "times", "seeded", source=pairs, color="#c4c4c4", line_width=1, legend_label="a pair that depends on the seed"
    )
    known = plot.multi_line("times", "known", source=pairs, color="#777777", line_width=1.2, legend_label="a pair")
    plot.line(
        "time", "chosen", source=curves, color="black", line_width=1.8, line_dash="dashed",
        legend_label="the pair chosen",
    )  # fmt: skip
    smallest = plot.scatter(  # no line: from one time to the next it may be another pair
        "time", "smallest", source=curves, size=5, color="black", legend_label="the smallest angle"
    )
    plot.add_tools(
        HoverTool(renderers=[seeded, known], tooltips=[("pair", "@pair")], visible=False),
        _at(
            smallest, [("smallest angle", "@smallest{0.00}°"), ("pair", "@closest"), ("pair chosen", "@chosen{0.00}°")]
        ),
    )
    plot.yaxis.axis_label = "angle (degrees)"
    _legend(plot, 2)
    return plot


def _figure(name: str, height: int, **options: Any) -> Any:
    from bokeh.plotting import figure

    plot = figure(
        name=name, height=height, sizing_mode="stretch_width", min_width=0, tools="pan,wheel_zoom,box_zoom,reset",
        active_drag=None, toolbar_location="right", min_border_left=72, **options,
    )  # fmt: skip
    plot.toolbar.logo = None
    plot.grid.grid_line_color = "#e5e5e5"
    return plot


def _at(line: Any, tooltips: list[tuple[str, str]]) -> Any:
    """What is shown at the time under the pointer."""
    from bokeh.models import HoverTool

    tooltips = [("t", "@time{0.0000}"), *tooltips]
    return HoverTool(renderers=[line], mode="vline", line_policy="nearest", tooltips=tooltips, visible=False)


def _legend(plot: Any, columns: int) -> None:
    """Above the plot; a click on an entry hides its lines."""
    (legend,) = plot.legend
    plot.add_layout(legend, "above")
    legend.update(
        click_policy="hide", ncols=columns, border_line_color=None, padding=0, margin=0, spacing=6,
        label_text_font_size="12px", glyph_width=28,
    )  # fmt: skip
