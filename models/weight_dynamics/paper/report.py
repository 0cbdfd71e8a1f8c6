"""The report: every claim of the paper beside what we find, with figures, from the stores of a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dynsys.models.reporting.report import Figures, Section, report_in, verdicts, write_report
from dynsys.models.weight_dynamics.paper import figures, interpretation
from dynsys.models.weight_dynamics.paper import figures_prediction as predicted
from dynsys.models.weight_dynamics.paper.claims_angles import angles, table
from dynsys.models.weight_dynamics.paper.claims_exponents import exponents, wide_exponents
from dynsys.models.weight_dynamics.paper.claims_losses import losses, setup
from dynsys.models.weight_dynamics.paper.claims_prediction import high_losses, low_losses, roc
from dynsys.models.weight_dynamics.paper.findings import Findings
from dynsys.models.weight_dynamics.paper.forecast import EXPONENTS, LABELS, OUTCOMES, Forecast
from dynsys.models.weight_dynamics.paper.measures import Measures
from dynsys.models.weight_dynamics.paper.prediction import halves
from dynsys.models.weight_dynamics.paper.protocol import BATCH_SEEDS, DATA_SEED, DATA_SEEDS, Protocol

OTHERS = {"many-drawn-biases": "random biases", "many-sum": "sum over the batch"}  # studies for Table I
CAPTIONS = {
    "figure_3": "The paper: three attractors for ReLU; nothing above 100 for tanh.",
    "figure_4": "The paper: flatter, wider, higher; new peaks.",
    "figure_5": "Values beyond the 0.5 and 99.5 % quantiles are in the outer bins.",
    "figure_6": "As Fig. 5.",
    "figure_7": "The paper: l1 to l3 arbitrary, the others structured.",
    "figure_8": "The run goes on past the end of training; claims 34 and 36 say how far single vectors are determined.",
    "figure_8_medians": "The paper's backward window has ten intervals.",
    "figure_9": "Dead networks are the dots at the top of (a); two starts show whether their vectors are determined.",
    "figure_10": "Bars: 95 % (bootstrap). Times both as the paper labels and as it counts them. Exponents of the step.",
    "figure_11": "Ten intervals, from the identity. As Fig. 10.",
    "figure_12": "As Fig. 10.",
    "figure_13": "As Fig. 11.",
    "figure_14": "The paper: less distinct patterns than with He weights.",
    "figure_15": "Naive Bayes, test half.",
}


def write(protocol: Protocol, folder: Path, made: str) -> Path:
    """Draw all figures of the stores in a folder into `report/`, and write `REPORT.md` beside it; both anew."""
    parts = sections(Findings(protocol, folder), Measures.of(protocol))
    return write_report(_head(protocol, parts), parts, report_in(folder, "weight-dynamics"), made)


def sections(findings: Findings, measures: Measures) -> list[Section]:
    """The parts of the report, in its order."""
    forecasts = {name: Forecast.of(findings, name) for name in OUTCOMES}
    choices = {label: Forecast.among(findings, name, "relu", high=True) for name, label in OTHERS.items()}
    table_1 = (
        "Table I. In brackets: 95 % (bootstrap). The best is chosen on the training half. "
        f"{_positives(forecasts['high'])} Below it: the other variants, and the rivals that indicators must beat:"
    )
    positives = " ".join(f"{OUTCOMES[name]}: {_positives(forecasts[name])}" for name in ("low", "low tanh"))
    left_open = (
        ("Every choice, 95 % intervals; in brackets what the paper reports:", interpretation.choices(findings)),
        ("Is a positive first exponent chaos?", interpretation.chaos(findings)),
        ("No transient is discarded, so exponents keep a memory of the first frame:", interpretation.frames(findings)),
        ("The two invariants of ReLU networks, in training:", interpretation.invariants(findings)),
    )
    return [
        Section("Set-up", tuple(setup(findings)), _figures(findings, figures.figure_2)),
        Section("Final losses", tuple(losses(findings)), _figures(findings, figures.figure_3, figures.figure_4)),
        Section(
            "Exponents, He initial weights",
            tuple(exponents(findings, measures.positive_with_kinks)),
            _figures(findings, figures.figure_5, figures.figure_7),
        ),
        Section(
            "Exponents, wide-range initial weights",
            tuple(wide_exponents(findings)),
            _figures(findings, figures.figure_6, figures.figure_14),
        ),
        Section(
            "Angles at the end of training",
            tuple(angles(findings)),
            _figures(findings, figures.figure_8, figures.figure_8_medians, figures.figure_9),
            (("Which vectors reproduce which claim (numbers of the list):", table(findings)),),
        ),
        Section(
            "Prediction of low final losses",
            tuple(low_losses(forecasts)),
            _figures(forecasts, predicted.figure_10, predicted.figure_11),
            ((f"Indicators and their rivals, 95 % in brackets. {positives}", predicted.rivals(forecasts)),),
        ),
        Section(
            "Prediction of high final losses",
            (*high_losses(forecasts, choices), *roc(forecasts)),
            _figures(forecasts, predicted.figure_12, predicted.figure_13, predicted.figure_15),
            (
                (table_1, predicted.table_1(forecasts)),
                ("Do indicators beat what is known anyway? (95 %, as if independent)", predicted.beaten(forecasts)),
                ("Table I under other choices:", _other_choices(choices)),
                (
                    "Contingency tables of the test half, at the threshold with the largest difference of true and "
                    "false positive rate in the training half:",
                    predicted.contingencies(forecasts),
                ),
            ),
        ),
        Section("What the paper leaves open, and what the exponents mean", (), {}, left_open),
        Section(
            "Kinks: the exponents of ReLU networks are those of the step",
            (),
            _figures(measures, Measures.figure_k),
            measures.tables(),
        ),
        Section("The Jacobian from data", tuple(measures.claims()), {}, measures.jacobians()),
    ]


def _figures(data: Any, *drawings: Callable[[Any, Path], Path]) -> Figures:
    return {
        draw.__name__: (partial(draw, data), f"{draw.__doc__} {CAPTIONS.get(draw.__name__, '')}".strip())
        for draw in drawings
    }


def _positives(forecast: Forecast) -> str:
    training = halves(forecast.outcome)
    train, test = (int(np.count_nonzero(forecast.outcome & half)) for half in (training, ~training))
    return f"Of {len(training):,} runs, {train} with this outcome are in the training half, {test} in the test half."


def _other_choices(choices: predicted.Forecasts) -> list[list[str]]:
    """Table I for random biases and for the sum over the batch."""
    rows = [["choice", "runs with c_f > 100", "indicator", *(f"t = {label}" for label in LABELS.values())]]
    for label, forecast in choices.items():
        for kind in (EXPONENTS["start"], "C(t)"):
            areas = [str(forecast.best(interval, kind)[1].auc) for interval in LABELS]
            rows.append([label, f"{int(forecast.outcome.sum())} of {len(forecast.outcome):,}", kind, *areas])
    return rows


def _head(protocol: Protocol, sections: Iterable[Section]) -> list[str]:
    cell = protocol.studies["he"]
    total = sum(study.members * len(study.activations) for study in protocol.studies.values())
    return [
        "# 'On the weight dynamics of learning networks', claim by claim",
        "",
        f"**{protocol.members} runs of each of the four cells** (He and wide-range initial weights, ReLU and tanh), "
        f"each followed with all nine exponents for {protocol.studies['he'].intervals * 20:,} steps; {total:,} runs "
        "in all. N. Sharafi, C. Martin, S. Hallerberg, arXiv:2405.00743, Phys. Rev. E 111, 054208 (2025).",
        "",
        *verdicts(sections),
        "",
        f"Data: we chose draw number {DATA_SEED}, the first, from 0 on, for which a constant output costs more than "
        "100 and 5 % of tanh networks (64 runs, learning rate 1e-4) end below 4, so that both outcomes that the paper "
        f"predicts occur. Draws 0 to {DATA_SEEDS - 1} and {BATCH_SEEDS} more batch orders are compared below. "
        f"Ginelli's vectors at the end of training come from a run that goes on for {cell.tail:,} intervals "
        f"({cell.tail * cell.interval * cell.learning_rate:.3g} units of time). Shares have 95 % (Wilson) intervals; "
        "they agree with the paper's if the difference is within the errors of two samples and of rounding. Exponents "
        "of ReLU networks are those of the *step*: the derivative of the flow has other terms (kinks, below).",
        "",
    ]
