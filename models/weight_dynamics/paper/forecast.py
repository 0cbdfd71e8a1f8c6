"""Possible predictors of the outcome of a training run, at every prediction time, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import attrs
import numpy as np

from dynsys.models.weight_dynamics.paper.findings import HIGH, LOW, Cell, Findings
from dynsys.models.weight_dynamics.paper.prediction import (
    Score,
    Selection,
    halves,
    naive_bayes,
    selection,
    support_vectors,
)
from dynsys.models.weight_dynamics.paper.protocol import EARLY, LATE, SAMPLES
from dynsys.models.weight_dynamics.runs import SPANS, VARIANTS
from dynsys.models.weight_dynamics.study import Study
from dynsys.models.weight_dynamics.task import regression_task

Array = np.ndarray

OUTCOMES = {"high": "ReLU, c_f > 100", "low": "ReLU, c_f < 4", "low tanh": "tanh, c_f < 4"}
PLAIN = ("C(t)", "C(0)", "gradient norm", "largest Hessian eigenvalue")  # what indicators must beat
COMBINED = ("naive Bayes, 9 exponents", "SVM, 9 exponents")
FEW_BINS = 5  # of nine exponents together: more are learned by heart
LABELS = {n: f"{n * 20 * 3e-5:g}" for n in EARLY + LATE}  # intervals -> time

ANGLES = {variant: f"angles, {variant}" for variant in VARIANTS}
SUMS = {variant: f"sum of |cos|, {variant}" for variant in VARIANTS}
EXPONENTS = {span: f"exponents, {span}" for span in SPANS}


@attrs.frozen(eq=False, slots=False)
class Forecast:
    """An outcome of the runs of a cell, and what was measured before: scores of all indicators, made once.

    Attributes
    ----------
    study : Study
        With one activation.
    cell : Cell
    outcome : ndarray, shape (n,)
        Which runs end so.
    """

    study: Study
    cell: Cell
    outcome: Array
    scored: dict[tuple[int, str], tuple[list[str], Selection]] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, findings: Findings, name: str) -> Forecast:
        """One of `OUTCOMES`; of ReLU networks from the study of many runs."""
        study, activation = ("he", "tanh") if name == "low tanh" else ("many", "relu")
        return cls.among(findings, study, activation, high=name == "high")

    @classmethod
    def among(cls, findings: Findings, study: str, activation: str, *, high: bool) -> Forecast:
        """High or low final losses of the runs of a cell."""
        cell = findings.cell(study, activation)
        settings = attrs.evolve(findings.protocol.studies[study], activations=(activation,))
        return cls(settings, cell, cell.loss > HIGH if high else cell.loss < LOW)

    def scores(self, interval: int, kind: str) -> dict[str, Score]:
        """Scores of the indicators of one kind at a prediction time, by name."""
        names, found = self._scored(interval, kind)
        return dict(zip(names, found.scores, strict=True))

    def best(self, interval: int, kind: str) -> tuple[str, Score]:
        """The indicator of a kind that is best on the training half, with its score on the other one."""
        names, found = self._scored(interval, kind)
        return names[found.best], found.score

    def _scored(self, interval: int, kind: str) -> tuple[list[str], Selection]:
        if (interval, kind) not in self.scored:
            training = halves(self.outcome)
            if kind == COMBINED[0]:
                score = naive_bayes(self._exponents(interval, "start"), self.outcome, training, bins=FEW_BINS)
                found = [kind], Selection((score,), 0)
            elif kind == COMBINED[1]:
                score = support_vectors(self._exponents(interval, "start"), self.outcome, training)
                found = [kind], Selection((score,), 0)
            else:
                indicators = self._indicators(interval, kind)
                found = list(indicators), selection(np.stack(list(indicators.values()), axis=1), self.outcome, training)
            self.scored[interval, kind] = found
        return self.scored[interval, kind]

    def _indicators(self, interval: int, kind: str) -> Mapping[str, Array]:
        at = self.cell.early.sel(prediction=interval)
        for span, name in EXPONENTS.items():
            if kind == name:
                return {f"l{q + 1}": v for q, v in enumerate(self._exponents(interval, span).T)}
        for variant in VARIANTS:
            if kind == ANGLES[variant]:
                cosines = at.cosine.sel(variant=variant)
                return {
                    str(pair).replace(" ", ","): v for pair, v in zip(at.pair.values, cosines.values.T, strict=True)
                }
            if kind == SUMS[variant]:
                return {"sum": at.cosine.sel(variant=variant).values.sum(axis=-1)}
        plain = {"C(t)": at.window_loss, "gradient norm": at.gradient_norm, "largest Hessian eigenvalue": at.sharpness}
        return {kind: self._first_loss if kind == "C(0)" else plain[kind].values}

    def _exponents(self, interval: int, span: str) -> Array:
        return self.cell.early.window_exponent.sel(prediction=interval, span=span).values

    @cached_property
    def _first_loss(self) -> Array:
        """C(0), which is known before training."""
        flow = self.study.network(*regression_task(SAMPLES, self.study.seeds["data"]), self.study.activations[0])
        return flow.loss(self.cell.data.initial.values)
