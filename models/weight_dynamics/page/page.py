"""The page of the main job: pick a run by its final loss, and see its exponents, angles and loss."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynsys.models.weight_dynamics.page.data import MISSING, PARTS, SEEDED, PageData
from dynsys.models.weight_dynamics.page.panels import course, final_losses
from dynsys.models.weight_dynamics.runs import SAME_SPAN
from dynsys.storage.files import write_whole

if TYPE_CHECKING:
    import xarray
    from bokeh.document import Document

MARKERS: tuple[dict[str, str], ...] = (
    {"marker": "circle", "fill": "#8c8c8c", "line": "#8c8c8c"},
    {"marker": "triangle", "fill": "#ffffff", "line": "#000000"},
    {"marker": "square", "fill": "#ffffff", "line": "#666666"},
    {"marker": "diamond", "fill": "#000000", "line": "#000000"},
    {"marker": "inverted_triangle", "fill": "#bfbfbf", "line": "#000000"},
)
PLACES = ("lowest", "lower", "median", "higher", "highest")

SHOW = """
    const first = names.indexOf(activation.value) * members
    if (number.value == null || first < 0) { return }
    const row = first + number.value, runs = table.data
    const cut = (name) => Array.from(times, (_, n) => record.data[name][row * times.length + n])
    const found = {time: times}, lines = {times: [], known: [], seeded: [], pair: []}
    const smallest = times.map(() => Infinity), closest = times.map(() => "none")
    for (const name of Object.keys(record.data)) {
        if (!name.startsWith("angle_")) { found[name] = cut(name); continue }
        const codes = cut(name), label = name.slice(6)
        const angle = codes.map((code) => code == missing ? NaN : (code & ~seeded) / parts)
        const known = angle.map((a, n) => codes[n] & seeded ? NaN : a)
        known.forEach((a, n) => { if (a < smallest[n]) { smallest[n] = a; closest[n] = label } })
        lines.times.push(times)
        lines.known.push(known)
        lines.seeded.push(angle.map((a, n) => codes[n] & seeded ? a : NaN))
        lines.pair.push(label)
        if (label == pair.value) { found.chosen = angle }
    }
    found.smallest = smallest.map((a) => isFinite(a) ? a : NaN)
    found.closest = closest
    curves.data = found
    pairs.data = lines
    picked.data = {x: [runs.x[row]], share: [runs.share[row]]}
    const digits = (x) => isFinite(x) ? Number(x.toPrecision(4)).toString() : "none"
    const text = (name) => name.replace(/[&<>"'`$]/g, (c) => `&#${c.charCodeAt(0)};`)
    heading.text = `<b>${text(activation.value)}, run ${number.value}</b>: final loss ${digits(runs.final[row])}, ` +
        `λ₁(T) = ${digits(runs.first[row])}, ${runs.status[row]}`
"""
NEAREST = """
    const {x, share} = table.data, {x_range: u, y_range: v} = plot
    const far = (i) => Math.hypot(plot.inner_width * Math.log(x[i] / cb_obj.x) / Math.log(u.end / u.start),
                                  plot.inner_height * (share[i] - cb_obj.y) / (v.end - v.start))
    let best = 0
    for (let i = 1; i < x.length; i++) { if (far(i) < far(best)) { best = i } }
    activation.value = table.data.activation[best]
    number.value = table.data.member[best]
"""
WALK = """
    const first = names.indexOf(activation.value) * members, {share, final} = table.data
    const order = Array.from({length: members}, (_, m) => m).sort((a, b) => share[first + a] - share[first + b])
    const now = order.indexOf(number.value), finished = order.filter((m) => isFinite(final[first + m])).length
    const to = {lowest: 0, lower: now - 1, median: finished >> 1, higher: now + 1, highest: finished - 1}[place]
    number.value = order[Math.min(Math.max(to, 0), members - 1)]
"""

TEMPLATE = """
{% block preamble %}<meta name="viewport" content="width=device-width, initial-scale=1">{% endblock %}
{% block postamble %}
<style>
  body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff; padding: 0 12px; }
  header, footer { max-width: 75em; }
  h1 { font-size: 1.3em; margin: 0.6em 0 0.2em; }
  p { margin: 0.4em 0; }
  footer { color: #444; font-size: 0.9em; margin-bottom: 2em; overflow-wrap: anywhere; }
  main { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 8px 16px; align-items: start; }
  @media (max-width: 800px) { main { grid-template-columns: minmax(0, 1fr); } }
</style>
{% endblock %}
{% block contents %}
<header>
  <h1>{{ title | e }}</h1>
  {% for text in header %}<p>{{ text | e }}</p>{% endfor %}
</header>
<main>
  <section aria-label="Distribution of final losses">{{ embed(roots.picking) }}</section>
  <section aria-label="The picked run">{{ embed(roots.looking) }}</section>
</main>
<footer>{% for text in footer %}<p>{{ text | e }}</p>{% endfor %}</footer>
{% endblock %}
"""


def write_page(data: xarray.Dataset, path: Path, made: str) -> Path:
    """Write the page of a study in which a run finished: one file, which loads nothing from the network.

    `made` says how the data were made.
    """
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    title = "Training runs: exponents, angles and loss of a selected run"
    variables = {"header": _header(data), "footer": _footer(data, made)}
    document = page(data)
    html = file_html(document, INLINE, title, template=TEMPLATE, template_variables=variables)
    write_whole(path, html)
    return path


def page(data: xarray.Dataset) -> Document:
    """The plots and tables, and what happens when a run is picked, as a Bokeh document."""
    from bokeh.document import Document
    from bokeh.layouts import column, row
    from bokeh.models import CustomJS
    from bokeh.models.widgets import Button, Div

    kept = PageData(data)
    sources, widgets = _sources(kept), _widgets(kept)
    heading = Div(name="heading", sizing_mode="stretch_width")
    shared = sources | widgets | {"heading": heading, "names": kept.activations, "members": data.sizes["member"]}
    codes = {"times": data.time.values.tolist(), "parts": PARTS, "seeded": SEEDED, "missing": MISSING}
    show = CustomJS(args=shared | codes, code=SHOW)
    for widget in widgets.values():
        widget.js_on_change("value", show)

    losses = final_losses(sources["table"], sources["picked"])
    for gesture in ("tap", "doubletap"):  # which are two quick taps, wherever
        losses.js_on_event(gesture, CustomJS(args=shared | {"plot": losses}, code=NEAREST))
    buttons = [Button(label=place, name=place, min_width=0, sizing_mode="stretch_width") for place in PLACES]
    for button in buttons:
        button.js_on_click(CustomJS(args=shared | {"place": button.name}, code=WALK))

    exponents, *others = course(kept, sources["curves"], sources["pairs"])
    above = [widgets["pair"]] if kept.pairs else []
    numbers = row(widgets["activation"], widgets["number"], sizing_mode="stretch_width")
    walk = row(*buttons, sizing_mode="stretch_width")
    document = Document()
    document.add_root(column(numbers, walk, losses, name="picking", sizing_mode="stretch_width"))
    document.add_root(column(heading, exponents, *above, *others, name="looking", sizing_mode="stretch_width"))
    document.js_on_event("document_ready", show)
    return document


def _sources(kept: PageData) -> dict[str, Any]:
    """All runs, `table` and `record`, and what is shown of the one that is picked: filled in the browser."""
    from bokeh.models import ColumnDataSource

    table = kept.table()
    looks = dict(zip(kept.activations, cycle(MARKERS), strict=False))
    for key in MARKERS[0]:
        table[key] = [looks[name][key] for name in table["activation"]]
    record = kept.record()
    curves = ["time", *(name for name in record if not name.startswith("angle_")), "smallest", "closest", "chosen"]
    empty = {"curves": curves, "pairs": ["times", "known", "seeded", "pair"], "picked": ["x", "share"]}
    columns = {"table": table, "record": record} | {name: {key: [] for key in keys} for name, keys in empty.items()}
    return {name: ColumnDataSource(column, name=name) for name, column in columns.items()}


def _widgets(kept: PageData) -> dict[str, Any]:
    """The keyboard's way to a run, which begins with the median one, and to a pair of vectors."""
    from bokeh.models.widgets import Select, Spinner

    wide: dict[str, Any] = {"sizing_mode": "stretch_width", "min_width": 0}
    names: list[Any] = [*kept.activations]
    pairs: list[Any] = [*kept.pairs]
    last = kept.data.sizes["member"] - 1
    first, member = kept.median
    return {
        "activation": Select(title="Activation", value=names[first], options=names, name="activation", **wide),
        "number": Spinner(title="Run", low=0, high=last, step=1, value=member, name="number", **wide),
        "pair": Select(title="Pair", value=next(iter(pairs), ""), options=pairs, name="pair", **wide),
    }


def _header(data: xarray.Dataset) -> list[str]:
    """What one sees, how a run is picked, and what is not to be seen."""
    kept = PageData(data)
    texts = [
        "Every marker is a training run, at its final loss and at the share of the runs of its activation that end at "
        "this loss or below; one of them is selected. Its finite-time Lyapunov exponents, "
        + ("the angles between its covariant Lyapunov vectors, " if kept.pairs else "")
        + "and its loss are shown over one time axis.",
        "Select a run by a click near its marker, or by activation and number; the buttons walk along the "
        "distribution of its activation. A click on an entry of a legend hides its lines.",
    ]
    if kept.pairs:
        texts.append(
            "Covariant vectors of a training run are finite-time objects. They begin in a random frame and come back "
            "from a random start at the end of training. Pale lines are pairs that still depend on the seed of the "
            "frame, dots the smallest angle of the others; a line ends where two starts disagree, towards the end "
            "and where exponents hardly differ. An angle near zero is a tangency, or belongs to two vectors whose "
            "rates later exchange their order."
        )
    else:
        texts.append("No angles between covariant vectors were recorded (--no-angles, or too much memory for them).")
    if len(kept.shown) < data.sizes["q"]:
        texts.append(
            f"Of {data.sizes['q']} exponents and their vectors {len(kept.shown)} are shown: the first, middle and last."
        )
    stopped = int((~kept.finished).sum())
    if stopped:
        texts.append(
            f"{stopped} of {kept.finished.size} runs stopped or failed before the end and have no final loss: their "
            "markers are at the right edge, above the others."
        )
    return texts


def _footer(data: xarray.Dataset, made: str) -> list[str]:
    settings = data.attrs
    return [
        f"{settings['task']} {settings['hidden']} hidden units, {data.sizes['member']} runs of each activation, "
        f"learning rate {settings['learning_rate']:g}, T = {float(data.time[-1]):.4g} in units of learning rate times "
        f"steps, seed {settings['seed']}. Numbers are in single precision here, angles in 1/{PARTS} of a degree, at "
        f"{data.sizes['time']} times; all of them are in runs.zarr. Two frames, and two starts, agree where spans and "
        f"vectors do to a sine of {SAME_SPAN:g}.",
        made,
    ]
