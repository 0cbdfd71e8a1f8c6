"""The report on layers, and everything that it needs, in some minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dynsys.models.layer_dynamics import claims, figures
from dynsys.models.layer_dynamics.study import DEPTHS, KINDS, Study
from dynsys.models.reporting.report import Section, one_figure, report_in, verdicts, write_report

AT_MINIMUM = ("linear", "ReLU", "tanh")


def sections(study: Study, tell: Callable[[str], None]) -> list[Section]:
    """The parts of the report, in its order; `tell` is called with what is being computed."""

    def by_kind(name: str, compute: Callable[[str], dict], kinds: tuple[str, ...]) -> dict:
        found = {}
        for kind in kinds:
            tell(f"{name}: {kind}")
            found[kind] = compute(kind)
        return found

    drifts = by_kind("what is conserved", study.drift, tuple(KINDS))
    courses = by_kind("growth", study.growth, tuple(KINDS))
    tell("modes in closed form")
    modes = {depth: study.modes(depth) for depth in DEPTHS}
    tell("fixed gates")
    linearised = study.linearised()
    minima = by_kind("exponents at a minimum", study.minimum, AT_MINIMUM)
    return [
        Section("What is conserved", tuple(claims.conservation(drifts)), one_figure(figures.drifts, drifts)),
        Section("How layers grow", tuple(claims.growth(courses)), one_figure(figures.layers, courses)),
        Section("Phases of learning", tuple(claims.phases(courses, modes)), one_figure(figures.phases, modes)),
        Section(
            "Linearised on fixed gates", tuple(claims.linearisation(linearised)), one_figure(figures.gates, linearised)
        ),
        Section("Exponents", tuple(claims.minima(minima)), one_figure(figures.spectra, minima)),
    ]


def write(study: Study, folder: Path, made: str, tell: Callable[[str], None]) -> Path:
    """Compute everything, draw the figures into `report/` of a folder, and write `REPORT.md` beside it."""
    parts = sections(study, tell)
    head = [
        "# 'Layer dynamics of linearised neural nets', claim by claim",
        "",
        "A. Basu, S. Mukherjee, S. Vasudevan, arXiv:1904.10689. We could obtain only the abstract: it says neither "
        "what the strength of a layer is nor how a net is linearised. **What follows is our reading**: strength is the "
        "squared Frobenius norm, the linearisation that on the region of fixed gates.",
        "",
        *verdicts(parts),
        "",
        f"Networks of 5 inputs, two hidden layers of 6 units and 3 outputs; {study.samples} samples; {study.networks} "
        f"initial networks of each kind, medians of which are given; seed {study.seed}.",
        "",
    ]
    return write_report(head, parts, report_in(folder, "layer-dynamics"), made)
