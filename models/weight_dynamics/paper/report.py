"""The report: every claim of the paper beside what we find, with figures, from the stores of a protocol."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import attrs

from dynsys.files import write_whole
from dynsys.plotting import style
from models.weight_dynamics.paper import figures, interpretation
from models.weight_dynamics.paper.claims import UNDER, Claim
from models.weight_dynamics.paper.claims_angles import angles, table
from models.weight_dynamics.paper.claims_runs import exponents, losses, setup, wide_exponents
from models.weight_dynamics.paper.findings import Findings
from models.weight_dynamics.paper.protocol import BATCH_SEEDS, DATA_SEED, DATA_SEEDS, TAIL, Protocol

Draw = Callable[[Findings, Path], Path]


@attrs.frozen
class Section:
    """A part of the report: some claims, and the figures that show them, each with its caption."""

    title: str
    claims: tuple[Claim, ...]
    figures: dict[str, tuple[Draw, str]] = attrs.Factory(dict)
    tables: tuple[tuple[str, list[list[str]]], ...] = ()  # a sentence, and the rows that it introduces


def write(protocol: Protocol, folder: Path, made: str) -> Path:
    """Draw all figures of the stores in a folder into `report/`, and write `REPORT.md` beside it; both anew."""
    sections = _sections(Findings(protocol, folder))
    partial, drawn = folder / "report.partial", folder / "report"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    findings = Findings(protocol, folder)
    with style():
        for section in sections:
            for name, (draw, _) in section.figures.items():
                draw(findings, partial / name)
    shutil.rmtree(drawn, ignore_errors=True)
    partial.rename(drawn)
    report = folder / "REPORT.md"
    write_whole(
        report, "\n".join([*_head(protocol, sections), *chain.from_iterable(map(_section, sections)), made, ""])
    )
    return report


def _sections(findings: Findings) -> list[Section]:
    return [
        Section("Set-up", tuple(setup(findings)), {"figure_2": (figures.figure_2, "The task.")}),
        Section(
            "Final losses",
            tuple(losses(findings)),
            {
                "figure_3": (figures.figure_3, "The paper: three attractors for ReLU; nothing above 100 for tanh."),
                "figure_4": (figures.figure_4, "The paper: flatter, wider, higher; new peaks."),
            },
        ),
        Section(
            "Exponents, He initial weights",
            tuple(exponents(findings)),
            {
                "figure_5": (figures.figure_5, "Values beyond the 0.5 and 99.5 % quantiles stand in the outer bins."),
                "figure_7": (figures.figure_7, "The paper: l1 to l3 arbitrary, the others structured."),
            },
        ),
        Section(
            "Exponents, wide-range initial weights",
            tuple(wide_exponents(findings)),
            {
                "figure_6": (figures.figure_6, "As Fig. 5."),
                "figure_14": (figures.figure_14, "The paper: less distinct patterns than with He weights."),
            },
        ),
        Section(
            "Angles at the end of training",
            tuple(angles(findings)),
            {
                "figure_8": (figures.figure_8, "Ginelli's vectors, the run continued past the end of training."),
                "figure_8_medians": (figures.figure_8_medians, "Five ways to get vectors at the end of training."),
                "figure_9": (figures.figure_9, "Mean over all pairs; dead networks are the dots at the top of (a)."),
            },
            (("Which vectors reproduce which claim (numbers of the list):", table(findings)),),
        ),
        Section(
            "What the paper leaves open, and what the exponents mean",
            (),
            tables=(
                (
                    "Every choice, with 95 % intervals; in brackets what the paper reports:",
                    interpretation.choices(findings),
                ),
                ("Is a positive first exponent chaos?", interpretation.chaos(findings)),
                (
                    "No transient is discarded, so exponents keep a memory of the first frame:",
                    interpretation.frames(findings),
                ),
                ("The two invariants of ReLU networks:", interpretation.invariants(findings)),
            ),
        ),
    ]


def _head(protocol: Protocol, sections: Iterable[Section]) -> list[str]:
    claims = [claim for section in sections for claim in section.claims]
    counts = Counter(UNDER if c.verdict.startswith(UNDER) else c.verdict.split(":")[0] for c in claims)
    total = sum(study.members * len(study.activations) for study in protocol.studies.values())
    return [
        "# 'On the weight dynamics of learning networks', claim by claim",
        "",
        f"**{protocol.members} runs of each of the four cells** (He and wide-range initial weights, ReLU and tanh), "
        f"each followed with all nine exponents for {protocol.studies['he'].intervals * 20:,} steps; {total:,} runs "
        "in all. N. Sharafi, C. Martin, S. Hallerberg, arXiv:2405.00743, Phys. Rev. E 111, 054208 (2025).",
        "",
        f"{len(claims)} claims: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) + ".",
        "",
        f"Data: draw number {DATA_SEED}, the first of which a constant output costs more than 100 and tanh networks "
        "end below 4 in at least 5 % of runs; without both, the paper's outcomes cannot occur. Draws 0 to "
        f"{DATA_SEEDS - 1} and {BATCH_SEEDS} more batch orders are compared below. Ginelli's vectors at the end of "
        f"training come from a run that goes on for {TAIL:,} intervals (3 units of time). Shares have 95 % (Wilson) "
        "intervals. Exponents of ReLU networks are those of the *step*: the derivative of the flow has other terms "
        "(kinks, below).",
        "",
    ]


def _section(section: Section) -> Iterable[str]:
    yield from (f"## {section.title}", "")
    if section.claims:
        rows = [[str(c.number), c.where, c.text, c.paper, c.ours, f"**{c.verdict}**"] for c in section.claims]
        yield from _table([["", "where", "claim", "the paper", "here", "verdict"], *rows])
    for sentence, rows in section.tables:
        yield from (sentence, "", *_table(rows))
    for name, (draw, caption) in section.figures.items():
        about = (draw.__doc__ or "").strip()
        yield from (f"![{about}](report/{name}.png)", "", f"*{about} {caption} Data: [CSV](report/{name}.csv).*", "")


def _table(rows: list[list[str]]) -> list[str]:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return [
        *(
            "| " + " | ".join(cell.replace("|cos|", "abs cos").replace("|", "\\|") for cell in row) + " |"
            for row in lines
        ),
        "",
    ]
