"""What the report measures anew: kinks and invariants of ReLU networks, and Jacobians estimated from data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys.models.reporting.report import HOLDS, Claim, chosen, judged, listed, number
from dynsys.models.weight_dynamics.paper import inference, kinks, kinks_figure, sparse_regression
from dynsys.models.weight_dynamics.paper.findings import Share
from dynsys.models.weight_dynamics.paper.protocol import SAMPLES, Protocol
from dynsys.models.weight_dynamics.task import regression_task

if TYPE_CHECKING:
    import xarray

Table = list[list[str]]  # the header first

TANGENTS = {"step": "tangent of the step", "with kinks": "of the flow, with kinks"}
WELL = 0.01  # relative error of a Jacobian that "compares well"


@attrs.frozen(eq=False)
class Measures:
    """Datasets of `kinks`, `inference` and `sparse_regression`, on the data of a protocol."""

    replicas: xarray.Dataset
    exponents: xarray.Dataset
    drift: xarray.Dataset
    direct: xarray.Dataset
    fits: xarray.Dataset
    sparse: xarray.Dataset

    @classmethod
    def of(cls, protocol: Protocol) -> Measures:
        """Measure with as many runs as a protocol of so many members deserves; minutes for the paper's."""
        X, y = regression_task(SAMPLES, protocol.studies["he"].seeds["data"])
        some = min(1.0, protocol.members / 1000)
        few, seed = {n: max(2, round(n * some)) for n in (8, 16, 32, 64, 256, 512)}, protocol.seed
        return cls(
            kinks.replicas(X, y, members=few[32], seed=seed),
            kinks.exponents(X, y, members=few[256], seed=seed, time=protocol.time),
            kinks.invariant_drift(X, y, members=few[32], seed=seed),
            inference.direct_derivatives(X, y, members=few[16], seed=seed),
            inference.fits_along_runs(X, y, members=few[8], seed=seed),
            sparse_regression.regressions(X, y, members=max(16, few[512]), held_out=few[64], seed=seed),
        )

    @property
    def positive_with_kinks(self) -> Share:
        """Runs whose first exponent is positive with the tangent of the flow."""
        return Share.of(self.exponents.exponent.sel(tangent="with kinks", q=1).values > 0)

    def claims(self) -> Iterator[Claim]:
        """Claims 58 and 59, of Sec. III."""
        middle = self.direct.error.median("member")
        best = middle.min(["step", "stencil"])
        relu, tanh = (best.sel(activation=name, jacobian="step") for name in ("relu", "tanh"))
        found = inference.identified(self.fits).sel(jacobian="step")
        run_only = found.directions.sel(source=list(inference.SOURCES[:2]), activation=["relu", "tanh"])
        yield Claim(
            58,
            "Sec. III",
            "numerically estimated Jacobians compare well with the exact ones",
            "compared well",
            f"relative error of weighted differences of the velocity, at t = {listed(self.direct.time.values)}, best "
            f"step: ReLU {listed(relu.values)}, tanh {listed(tanh.values)}. From the run alone, directions identified: "
            + "; ".join(
                f"{name}, {source}: {listed(found.directions.sel(activation=name, source=source).values)}"
                for name in ("relu", "tanh")
                for source in inference.SOURCES[:2]
            ),
            chosen(
                float(max(relu.max(), tanh.max())) < WELL and int(run_only.min()) == 9,
                ["differences of the velocity at weights changed on purpose"]
                if float(max(relu.max(), tanh.max())) < WELL
                else [],
            ),
        )
        exact = int(self.sparse.exact.sel(activation="relu")) / (9 * self.sparse.attrs["functions"])
        fails = min(float(self.sparse.held_out.sel(activation=name).min()) for name in ("relu", "tanh")) > 0.1
        linear = float(self.sparse.held_out.sel(activation="linear").min())
        other = fails and exact < 0.1 and linear < WELL  # sparse, and found where it is in the library
        errors = {name: self.sparse.sel(activation=name) for name in ("linear", "relu", "tanh")}
        yield Claim(
            59,
            "Sec. III",
            "sparse regression fails: the matrices of candidate functions are not sparse enough",
            "fails",
            "best relative error of the velocity on other runs, over thresholds, and terms left there (of "
            f"{9 * self.sparse.attrs['functions']}): "
            + "; ".join(
                f"{name} {number(float(e.held_out.min()))}, {int(e.terms[int(np.argmin(e.held_out.values))])}"
                for name, e in errors.items()
            )
            + f". The exact ReLU velocity between kinks has {int(errors['relu'].exact)} terms",
            f"{HOLDS}: it fails, but the equations are sparse; they are not in the library" if other else judged(fails),
        )

    def flow_or_step(self) -> Table:
        """Exponents of the step and of the flow, ReLU, medians over runs."""
        rows = [["median over runs, full batch", *(f"l{q}" for q in self.exponents.q.values), "share of l1 > 0"]]
        for name in self.exponents.tangent.values:
            values = self.exponents.exponent.sel(tangent=name)
            share = str(Share.of(values.sel(q=1).values > 0))
            rows.append([TANGENTS[str(name)], *(number(float(v)) for v in values.median("member")), share])
        return rows

    def tables(self) -> tuple[tuple[str, Table], ...]:
        """Sentences, and the tables that they introduce."""
        slopes = dict(zip(self.drift.activation.values, self.drift.slope.values, strict=True))
        rates = [f"learning rate {rate:g}" for rate in self.drift.rate.values]
        drifts: Table = [["full batch, T = 1", *rates, "slope"]]
        for name, slope in slopes.items():
            middle = self.drift.drift.sel(activation=name).median("member").values
            drifts.append([str(name), *map(number, middle), number(slope)])
        return (
            (
                "Growth of replicas relative to both tangents, quartiles over runs:",
                _rows(kinks_figure.table(self.replicas)),
            ),
            ("Exponents of ReLU networks: of the step, and with the kinks in the tangent:", self.flow_or_step()),
            ("Drift of |w|^2 + b^2 - |v|^2, median over runs (slope 1: proportional to the step):", drifts),
        )

    def jacobians(self) -> tuple[tuple[str, Table], ...]:
        """Tables of estimated Jacobians and of sparse regression."""
        return (
            (
                "Weighted differences of the velocity, relative error by step h (in brackets against the Jacobian with "
                "kinks, where there are any):",
                _rows(inference.direct_table(self.direct)),
            ),
            (
                f"Least squares along the run alone: directions of 9 identified to {inference.TOLERANCE:g}, error, and "
                "their share of |J|:",
                _rows(inference.fits_table(self.fits)),
            ),
            (
                "Sparse regression on monomials of weights up to degree 3:",
                _rows(sparse_regression.table(self.sparse)),
            ),
        )

    def figure_k(self, path: Path) -> Path:
        """Replicas against the tangent of the step and that of the flow (full batches, T = 1)."""
        return kinks_figure.draw(self.replicas, path, "Fig. K: kinks, full batches, T = 1")


def _rows(table: tuple[list[str], Table]) -> Table:
    header, rows = table
    return [header, *rows]
