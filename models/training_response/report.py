"""The report on training responses, and everything that it needs, in a minute or two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from dynsys.models.reporting.report import Section, one_figure, report_in, verdicts, write_report
from dynsys.models.training_response import claims, figures
from dynsys.models.training_response.methods import METHODS
from dynsys.models.training_response.study import ACTIVATIONS, Study

FOLLOWED = ("tanh", "ReLU", "sigmoid")


def sections(study: Study, tell: Callable[[str], None]) -> list[Section]:
    """The parts of the report, in its order; `tell` is called with what is being computed."""
    tell("first order")
    steps = {kind: study.steps(kind) for kind in ACTIVATIONS}
    tell("widths")
    widths = study.widths()
    courses = {}
    for kind in FOLLOWED:
        for method in METHODS:
            tell(f"{kind}, {method.name}")
            courses[kind, method.name] = study.course(kind, method)
    flowers = attrs.evolve(study, flowers=True, samples=2 * study.samples)
    for method in METHODS:
        tell(f"tanh on flowers, {method.name}")
        courses["tanh, flowers", method.name] = flowers.course("tanh", method)
    tell("carried by the tangent")
    carried = study.carried()
    return [
        Section(
            "Definition", tuple(claims.definition(steps, widths)), one_figure(figures.first_orders, (steps, widths))
        ),
        Section("Ageing, and its factors", tuple(claims.ageing(courses)), one_figure(figures.amplitudes, courses)),
        Section("Features", tuple(claims.reduction(courses)), one_figure(figures.reductions, courses)),
        Section("As tangent dynamics", tuple(claims.link(carried)), one_figure(figures.carried_on, carried)),
    ]


def write(study: Study, folder: Path, made: str, tell: Callable[[str], None]) -> Path:
    """Compute everything, draw the figures into `report/` of a folder, and write `REPORT.md` beside it."""
    parts = sections(study, tell)
    head = [
        "# 'A simple theory for training response of deep neural networks', claim by claim",
        "",
        "K. Nakazato, arXiv:2405.04074, and arXiv:2204.07291 on the law. We could obtain only the abstracts: widths, "
        "data, losses and equations are not known. **What follows is our reading**: the response is the change of the "
        "output at x' in one step of training on (x, y); the task is to encode random signs at inputs in [-1, 1], and "
        "to tell two species of iris apart.",
        "",
        *verdicts(parts),
        "",
        f"One hidden layer of {study.width} units, {study.samples} samples, {study.networks} networks, means of "
        f"which are given with standard errors; seed {study.seed}.",
        "",
    ]
    return write_report(head, parts, report_in(folder, "training-response"), made)
