"""The catalogue as a page of Markdown with pictures, and as a table for the terminal."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import numpy as np

from dynsys import InvalidInputError, SymbolicFlow, SymbolicMap
from dynsys.models.classics.catalogue import AGREES, MEMBERS, Comparison, Entry, Spectrum
from dynsys.models.classics.reference import OURS
from dynsys.models.reporting.outputs import Outputs
from dynsys.models.reporting.report import markdown_table
from dynsys.plotting import grid, save_figure, style
from dynsys.results.printing import with_error

Array = np.ndarray
FIGURES = "figures"
SHOWN = 4  # leading exponents of a long spectrum


def table(entries: Sequence[Entry]) -> str:
    """What fits a terminal: every system with its exponents, and the verdicts on what is known of it."""
    lines = []
    for entry in entries:
        lines.append(f"{entry.name:<22}{'  '.join(_exponents(entry.spectrum))}")
        for comparison in entry.comparisons:
            lines.append(f"{'':<22}{_verdict(comparison)} ({comparison.worst:.1f} errors): {comparison.known.source}")
    return "\n".join(lines)


def write(entries: Sequence[Entry], folder: Path, made: str) -> Path:
    """Write CATALOGUE.md and, beside it, pictures with their data into `figures/`; anew what an earlier call left."""
    outputs = catalogue_in(folder)
    with TemporaryDirectory() as fresh:
        (drawn := Path(fresh, FIGURES)).mkdir()
        for entry in entries:
            _draw(entry, drawn / entry.name)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [*_head(entries), *(line for entry in entries for line in _section(entry))]
        return outputs.write(lines, made, Path(fresh))


def catalogue_in(folder: Path) -> Outputs:
    """The page in a folder and its figures, if there are none of others: else an InvalidInputError."""
    page, drawn = folder / "CATALOGUE.md", folder / FIGURES
    if os.path.lexists(folder) and not folder.is_dir():
        raise InvalidInputError(f"{folder} exists and is no folder: choose another name")
    if os.path.lexists(drawn) and not os.path.lexists(page):
        raise InvalidInputError(f"{drawn} exists, without a {page.name} that it belongs to: choose another folder")
    outputs = Outputs(page, "classics")
    outputs.check()
    return outputs


def _draw(entry: Entry, path: Path) -> None:
    first, second = axis_names(entry.system)
    x, y = np.array([[float(f"{value:.5g}") for value in row] for row in entry.picture]).T
    with style():
        figure, axes = grid(1, 1, title=entry.name, size=(3.0, 2.5))
        drawing: dict[str, Any] = {"s": 1.0, "linewidths": 0} if entry.reference.dots else {"linewidth": 0.5}
        (axes[0, 0].scatter if entry.reference.dots else axes[0, 0].plot)(x, y, color="black", **drawing)
        axes[0, 0].set(xlabel=first, ylabel=second)
        axes[0, 0].locator_params(nbins=5)
        save_figure(figure, path, {first: x, second: y})


def axis_names(system: Any) -> tuple[str, str]:
    """Names of the two components that the picture shows."""
    reference = type(system).reference
    if isinstance(system, SymbolicFlow | SymbolicMap):
        names = [str(name) for name in system.equations]
    else:
        names = list(reference.names)
    first, second = reference.axes
    return names[first], f"{names[second]}'" if system.dimension == 1 else names[second]


def latex(system: Any) -> str:
    """The equations of a system, for a block of LaTeX."""
    given = type(system).reference.latex
    if not given:
        return str(system.latex)
    return "\n".join([r"\begin{aligned}", " \\\\\n".join(given), r"\end{aligned}"])


def _head(entries: Sequence[Entry]) -> Iterable[str]:
    compared = [(entry, c) for entry in entries for c in entry.comparisons if c.known.source != OURS]
    disagree = [(entry, c) for entry, c in compared if not c.agrees]
    yield from ("# Classic systems with known answers", "")
    yield (
        f"{len(entries)} systems, {len(compared)} sets of published or exact exponents: {len(compared) - len(disagree)}"
        f" agree with ours within {AGREES:g} combined standard errors, {len(disagree)} do not. Exponents are in nats"
        f" per unit of the system's time, in descending order, from {MEMBERS} runs side by side. Errors are standard"
        " errors, by batch means within the runs or by the spread between them, whichever is larger. A published number"
        " without an error is taken to be good to half a unit of its last digit; the sum of a published spectrum is"
        " compared as well. Numbers of Sprott's Appendix A are quoted from transcriptions of it in public code."
    )
    yield ""
    rows = [["system", "exponents", "time", "known"]]
    for entry in entries:
        verdicts = [_verdict(c) for c in entry.comparisons if c.known.source != OURS]
        rows.append(
            [
                f"[{entry.name}](#{entry.name.lower()})",
                ", ".join(_exponents(entry.spectrum)),
                f"{entry.spectrum.time:.3g}",
                "; ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts)) or "nothing found in print",
            ]
        )
    yield from markdown_table(rows)
    if disagree:
        yield from ("## Where published values and ours disagree", "")
        for entry, comparison in disagree:
            known = comparison.known
            found = f"{', '.join(_printed(comparison))}. We find {', '.join(_exponents(comparison.spectrum))}."
            yield f"- **{entry.name}{_changed(comparison)}**, {known.source}: {found}{_sums(comparison)} {known.note}"
        yield ""


def _section(entry: Entry) -> Iterable[str]:
    system = entry.system
    prose, references = _documentation(type(system))
    equations = ("```math", latex(system), "```")
    yield from (f"## {entry.name}", "", prose, "", *equations)
    fields = attrs.fields(type(system))
    if fields:
        yield from ("", ", ".join(f"{f.name} = {getattr(system, f.name):.6g}" for f in fields) + ".")
    yield from ("", references, "")
    first, second = axis_names(system)
    yield from (f"![{entry.name}, {first} and {second}]({FIGURES}/{entry.name}.png)", "")
    yield from (f"*{_caption(entry)} Data: [CSV]({FIGURES}/{entry.name}.csv).*", "")
    yield from (f"Exponents: {', '.join(_exponents(entry.spectrum, all_of_them=True))}.", "")
    if entry.comparisons:
        rows = [["source", "parameters", "known", "ours", "deviation in errors", "verdict"]]
        for c in entry.comparisons:
            deviations = [f"{z:+.1f}" for z in c.deviations if not math.isnan(z)]
            rows.append(
                [
                    c.known.source,
                    _changed(c).strip(" ()") or "as above",
                    _shortened(_printed(c)),
                    ", ".join(_exponents(c.spectrum)),
                    _shortened(deviations),
                    f"**{_verdict(c)}**. {c.known.note}" if c.known.note else f"**{_verdict(c)}**",
                ]
            )
        yield from markdown_table(rows)
        yield from _one_by_one(entry)
    rows = [["holds exactly", "defect", "at half the step", "order"]]
    for identity in entry.identities:
        halved = "" if identity.halved is None else f"{identity.halved:.1e}"
        order = "rounding" if identity.order is None else f"{identity.order:.1f}"
        rows.append([identity.name, f"{identity.defect:.1e}", halved, order])
    for name, defect in _spectral(entry):
        rows.append([name, defect, "", ""])
    yield from markdown_table(rows)


def _one_by_one(entry: Entry) -> Iterable[str]:
    """A table of the exponents where a source gives more of them than a line can show."""
    long = [c for c in entry.comparisons if len(c.known.exponents) > SHOWN + 1 and c.known.source != OURS]
    for comparison in long:
        known, ours = _printed(comparison), _exponents(comparison.spectrum, all_of_them=True)
        rows = [["", *map(str, range(1, len(known) + 1))], [comparison.known.source, *known], ["ours", *ours]]
        rows.append(["in errors", *(f"{z:+.1f}" for z in comparison.deviations)])
        yield from markdown_table(rows)


def _spectral(entry: Entry) -> Iterable[tuple[str, str]]:
    """Exact relations between the exponents of the long run, with their errors."""
    exponents, error = entry.spectrum.exponents, entry.spectrum.error
    count = entry.system.vanishing_exponents
    for j in np.argsort(np.abs(exponents))[:count]:
        yield f"exponent {j + 1} vanishes", f"{exponents[j]:.1e} ± {error[j]:.1e}"
    if entry.reference.symplectic:
        yield "exponents in pairs ±λ", f"{np.max(np.abs(exponents + exponents[::-1])):.1e}"


def _caption(entry: Entry) -> str:
    count, reference = len(entry.picture), entry.reference
    if reference.stepper is None:
        return f"{count} steps of one orbit."
    dt = reference.stepper.dt * reference.sampling
    return f"{count} points of one orbit, every {dt:.4g} units of time{'' if reference.dots else ', joined by lines'}."


def _documentation(kind: Any) -> tuple[str, str]:
    """Prose of a docstring and its references; of the equations only those that a sentence leads to with a colon."""
    prose, *sections = re.split(r"\n(\w+)\n-+\n", inspect.getdoc(kind) or "")
    references = dict(zip(sections[::2], sections[1::2], strict=True)).get("References", "")
    paragraphs: list[str] = []
    for paragraph in prose.strip().split("\n\n"):
        if not paragraph.startswith("    "):
            paragraphs.append(" ".join(paragraph.split()))
        elif paragraphs and paragraphs[-1].endswith(":"):
            paragraphs.append(f"```text\n{inspect.cleandoc(paragraph)}\n```")
    return "\n\n".join(paragraphs), " ".join(references.split())


def _verdict(comparison: Comparison) -> str:
    return "agrees" if comparison.agrees else "disagrees"


def _changed(comparison: Comparison) -> str:
    parameters = ", ".join(f"{name} = {value:.6g}" for name, value in comparison.known.parameters.items())
    return f" ({parameters})" if parameters else ""


def _exponents(spectrum: Spectrum, all_of_them: bool = False) -> list[str]:
    values = [_with_error(v, e) for v, e in zip(spectrum.exponents, spectrum.error, strict=True)]
    return values if all_of_them or len(values) <= SHOWN + 1 else [*values[:SHOWN], "…", values[-1]]


def _with_error(value: float, error: float) -> str:
    """A number to the second digit of its error; numbers without error to six digits."""
    if error < 1e-9 * max(1.0, abs(value)):
        return f"{value:.6f}"
    return with_error(value, error)


def _printed(comparison: Comparison) -> list[str]:
    words = []
    for value, error in zip(comparison.known.exponents, comparison.known.error, strict=True):
        if math.isnan(value):
            words.append("–")
        elif error == 0.0:
            words.append(f"{value:.6f}".rstrip("0").rstrip(".") if value else "0")
        else:
            words.append(f"{value:.{max(0, -math.floor(math.log10(2 * error)))}f}")
    return words


def _sums(comparison: Comparison) -> str:
    sums = comparison.sums
    if sums is None or abs(sums[1]) <= AGREES:
        return ""
    return f" Its sum, {sums[0]:.7g}, is {abs(sums[1]):.0f} errors from the mean volume rate {_total(comparison)}."


def _total(comparison: Comparison) -> str:
    return _with_error(float(comparison.spectrum.exponents.sum()), comparison.spectrum.sum_error)


def _shortened(words: list[str]) -> str:
    return ", ".join(words if len(words) <= SHOWN + 1 else [*words[:SHOWN], "…", words[-1]])
