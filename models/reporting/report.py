"""The report on a paper: every claim beside what we find, with a verdict, figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import numpy as np

from dynsys.models.reporting.outputs import Outputs
from dynsys.plotting import style

Array = np.ndarray
Figures = Mapping[str, tuple[Callable[[Path], Path], str]]  # by name: how it is drawn, and its caption

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided"
UNDER = "holds under choice"  # and says which


@attrs.frozen
class Claim:
    """A statement of a paper beside what we find.

    Attributes
    ----------
    number : int
        Its number in the list.
    where : str
        Figure, table or section of the paper.
    text, paper, ours : str
        What is said, the paper's value, and ours with its error.
    verdict : str
        One of the four, with the choice under which it holds.
    """

    number: int
    where: str
    text: str
    paper: str
    ours: str
    verdict: str

    def __attrs_post_init__(self) -> None:
        if not self.verdict.startswith((HOLDS, FAILS, OPEN)):
            raise ValueError(f"claim {self.number} has the verdict {self.verdict!r}")


def judged(condition: bool | np.bool) -> str:
    """Holds or not."""
    return HOLDS if condition else FAILS


def chosen(ours: bool | np.bool, others: Sequence[str]) -> str:
    """Holds as we compute it, or under the choices named, or not."""
    if ours:
        return HOLDS
    return f"{UNDER}: {'; '.join(others)}" if others else FAILS


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def listed(values: Sequence[float] | Array) -> str:
    """Numbers of three digits, with commas."""
    return ", ".join(number(float(v)) for v in values)


@attrs.frozen
class Section:
    """A part of a report: some claims, and the figures that show them, each with its caption."""

    title: str
    claims: tuple[Claim, ...]
    figures: Figures = attrs.Factory(dict)
    tables: tuple[tuple[str, list[list[str]]], ...] = ()  # a sentence, and the rows that it introduces


def one_figure(draw: Callable[[Any, Path], Path], data: Any) -> Figures:
    """A figure of a section: drawn by a function of some data, with its docstring for a caption."""
    return {draw.__name__: (partial(draw, data), str(draw.__doc__))}


def report_in(folder: Path, command: str) -> Outputs:
    """The report of a command."""
    return Outputs(folder / "REPORT.md", command)


def write_report(head: Sequence[str], sections: Sequence[Section], outputs: Outputs, made: str) -> Path:
    """Draw all figures into `report/` beside the page, and write it; anew what an earlier call left."""
    with TemporaryDirectory() as fresh, style():
        (drawn := Path(fresh, "report")).mkdir()
        for section in sections:
            for name, (draw, _) in section.figures.items():
                draw(drawn / name)
        return outputs.write([*head, *chain.from_iterable(map(_section, sections))], made, Path(fresh))


def verdicts(sections: Iterable[Section]) -> list[str]:
    """How many claims there are, and the numbers of those with each verdict."""
    claims = sorted(chain.from_iterable(section.claims for section in sections), key=lambda claim: claim.number)
    found: dict[str, list[int]] = {HOLDS: [], UNDER: [], FAILS: [], OPEN: []}
    for claim in claims:
        found[UNDER if claim.verdict.startswith(UNDER) else claim.verdict.split(":")[0]].append(claim.number)
    lines = [
        f"- {verdict} ({len(numbers)}): {', '.join(map(str, numbers))}" for verdict, numbers in found.items() if numbers
    ]
    return [f"Of {len(claims)} claims", "", *lines]


def _section(section: Section) -> Iterable[str]:
    yield from (f"## {section.title}", "")
    if section.claims:
        rows = [[str(c.number), c.where, c.text, c.paper, c.ours, f"**{c.verdict}**"] for c in section.claims]
        yield from markdown_table([["", "where", "claim", "the paper", "here", "verdict"], *rows])
    for sentence, rows in section.tables:
        yield from (sentence, "", *markdown_table(rows))
    for name, (_, caption) in section.figures.items():
        yield from (f"![{caption}](report/{name}.png)", "", f"*{caption} Data: [CSV](report/{name}.csv).*", "")


def markdown_table(rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table of cells, the first row its head, and an empty one."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return [*("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in lines), ""]
