"""The report on stores that are made up: every claim has its row, every rule gives a verdict."""

import re

import attrs
import numpy as np
import pytest
import xarray

from dynsys import Ensemble
from dynsys.models.reporting.report import FAILS, HOLDS, OPEN, UNDER
from dynsys.models.weight_dynamics import regression_task
from dynsys.models.weight_dynamics.paper import inference, kinks, report, sparse_regression
from dynsys.models.weight_dynamics.paper.claims_angles import angles
from dynsys.models.weight_dynamics.paper.claims_exponents import exponents, wide_exponents
from dynsys.models.weight_dynamics.paper.claims_losses import losses, setup
from dynsys.models.weight_dynamics.paper.findings import Findings, Share
from dynsys.models.weight_dynamics.paper.forecast import ANGLES, EXPONENTS, Forecast
from dynsys.models.weight_dynamics.paper.measures import Measures
from dynsys.models.weight_dynamics.paper.protocol import Protocol, store
from dynsys.models.weight_dynamics.runs import DIMENSIONS, ENDINGS, SPANS, VARIANTS
from dynsys.models.weight_dynamics.study import Study

PROTOCOL = Protocol(members=64, time=1.806)


@attrs.frozen(eq=False)
class MadeUp:
    """Numbers with the labels of training runs: some end low, most between, few high."""

    study: Study

    def __call__(self, members: np.ndarray) -> xarray.Dataset:
        rng = np.random.default_rng([0, *members])
        sizes = {"activation": len(self.study.activations), "member": len(members), "time": 5, "q": 9, "weight": 9}
        sizes |= {"prediction": len(self.study.predictions), "span": 3, "variant": 3, "pair": 36, "ending": 5}
        values = {name: rng.random([sizes[d] for d in dims]) for name, dims in DIMENSIONS.items()}
        end = np.where(members % 16 == 0, 103.0, np.where(members % 3 == 0, 2.0, 8.0))
        scale = 1000.0 if self.study.reduction == "sum" else 1.0
        values["loss"] = scale * (end[None, :, None] + values["loss"])
        values["exponent"] = (
            values["exponent"] - np.array([0.5, 0.8, 1, 2, 4, 9, 20, 40, 90]) - end[None, :, None, None] / 100
        )
        values["window_exponent"] = values["window_exponent"] - end[None, :, None, None, None] / 100
        values["status"] = np.zeros((sizes["activation"], len(members)), dtype=int)
        values["status"][0, members == 5] = 1  # one that diverged
        values["stopped"] = np.where(values["status"] > 0, 100, -1)
        values["subspace"] = np.broadcast_to(np.array([0, 0, 0, 3, 4, 5, 6, 7, 8]), values["subspace"].shape).copy()
        if not self.study.predictions:
            values = {name: v for name, v in values.items() if "prediction" not in DIMENSIONS[name]}
        if not self.study.tail:
            values = {name: v for name, v in values.items() if name not in ("final_cosine", "subspace")}
        used = {d for name in values for d in DIMENSIONS[name]}
        labels = {
            "activation": list(self.study.activations),
            "time": np.linspace(0, 22, 5),
            "q": np.arange(1, 10),
            "prediction": list(self.study.predictions),
            "span": list(SPANS),
            "variant": list(VARIANTS),
            "ending": list(ENDINGS),
            "pair": [f"{i + 1} {j + 1}" for i, j in zip(*np.triu_indices(9, 1), strict=True)],
        }
        return xarray.Dataset(
            {name: (DIMENSIONS[name], v) for name, v in values.items()},
            coords={name: label for name, label in labels.items() if name in used},
            attrs={"reduction": self.study.reduction, "learning_rate": self.study.learning_rate},
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    (folder / "runs").mkdir()
    for name, study in PROTOCOL.studies.items():
        Ensemble(MadeUp(study), study.members).run(store(folder, name), block=study.members)
    return folder


@pytest.fixture(scope="module")
def measures():
    X, y = regression_task(40, seed=0)
    few = {"members": 2, "seed": 0}
    return Measures(
        kinks.replicas(X, y, time=0.1, rates=(1e-3,), distances=(1e-8, 1e-3), **few),
        kinks.exponents(X, y, time=0.2, **few),
        kinks.invariant_drift(X, y, time=0.1, **few),
        inference.direct_derivatives(X, y, times=(0.1,), steps=(1e-6, 1e-4), **few),
        inference.fits_along_runs(X, y, times=(0.1,), batch=8, **few),
        sparse_regression.regressions(X, y, members=8, held_out=2, time=0.08, seed=0, thresholds=(0.0, 0.1)),
    )


@pytest.fixture(scope="module")
def sections(folder, measures):
    return report.sections(Findings(PROTOCOL, folder), measures)


def check(claims):
    for claim in claims:
        assert claim.verdict in (HOLDS, FAILS, OPEN) or claim.verdict.startswith((f"{UNDER}: ", f"{OPEN}: "))
        assert claim.ours
        assert "nan" not in claim.ours, claim


def test_claims_on_runs_have_their_rows_and_verdicts(folder):
    findings = Findings(PROTOCOL, folder)
    runs = [*setup(findings), *losses(findings), *exponents(findings, Share(3, 10))]
    runs += [*wide_exponents(findings), *angles(findings)]
    assert [claim.number for claim in runs] == list(range(1, 43))
    check(runs)


def test_the_best_predictor_is_chosen_on_the_training_half(folder):
    forecast = Forecast.of(Findings(PROTOCOL, folder), "high")
    assert forecast.outcome.sum() == 40
    scores = forecast.scores(25, EXPONENTS["start"])
    assert list(scores) == [f"l{q}" for q in range(1, 10)]
    _, best = forecast.best(25, EXPONENTS["start"])
    assert best.auc.training == max(score.auc.training for score in scores.values())
    assert best.rank.test == 1.0  # made up so
    assert forecast.best(25, "C(t)")[1].auc.test < 0.8  # and this is noise
    assert forecast.best(25, "C(0)")[0] == "C(0)"
    assert len(forecast.scores(3000, ANGLES["periodic window"])) == 36


@pytest.mark.slow
@pytest.mark.long
def test_every_claim_has_its_row_and_a_verdict(sections):
    claims = sorted((claim for section in sections for claim in section.claims), key=lambda claim: claim.number)
    assert [claim.number for claim in claims] == list(range(1, 61))
    check(claims)


@pytest.mark.slow
def test_tables_are_rectangular_and_table_1_has_both_readings_of_time(sections):
    tables = [rows for section in sections for _, rows in section.tables]
    for rows in tables:
        assert {len(row) for row in rows} == {len(rows[0])}
    (first,) = (rows for rows in tables if rows[0][0].startswith("AUC of c_f > 100"))
    assert [cell for row in first for cell in row if re.fullmatch(r"0\.\d{5,6}", cell)].__len__() == 16
    assert len(first[0]) == 10


def test_members_that_stopped_are_left_out(folder):
    cell = Findings(PROTOCOL, folder).cell("he", "relu")
    assert 5 not in cell.members
    assert len(cell.loss) == len(cell.members) == 63


@pytest.mark.slow
@pytest.mark.long
def test_the_report_is_written_with_every_figure_that_it_names(folder, measures, monkeypatch):
    monkeypatch.setattr(Measures, "of", lambda _: measures)
    written = report.write(PROTOCOL, folder, "Made by hand.").read_text()
    for name in ("2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"):
        assert f"report/figure_{name}.png" in written
    for target in re.findall(r"\]\((report/[^)]+)\)", written):
        assert (folder / target).stat().st_size > 100
    assert written.endswith("Made by hand.\n")
    again = report.write(PROTOCOL, folder, "Made again.").read_text()
    assert again == written.replace("by hand", "again")
