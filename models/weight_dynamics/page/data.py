"""The numbers that the page of the main job holds, in a compact form."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys.models.weight_dynamics.figures import on_log_axis, shown_exponents
from dynsys.models.weight_dynamics.runs import SAME_SPAN
from dynsys.passes.status import STATUSES

if TYPE_CHECKING:
    import xarray

Array = np.ndarray
Columns = dict[str, Array]

# an angle in 16 bits: parts of a degree, and a bit where the frame's seed still decides it; NaN
PARTS, SEEDED, MISSING = 300, 0x8000, 0xFFFF


@attrs.frozen(eq=False)
class PageData:
    """The numbers of a study as the page holds them: one row for each run, and one for each run and time.

    Single precision, and angles in parts of a degree, in `codes`: a file that a browser opens at once.

    Attributes
    ----------
    data : xarray.Dataset
        A finished study: see `dynsys.models.weight_dynamics.runs.TrainingRuns`.
    """

    data: xarray.Dataset

    @property
    def activations(self) -> list[str]:
        """Names of the activations, in the order of the rows."""
        return [str(name) for name in self.data.activation.values]

    @property
    def shown(self) -> list[int]:
        """The exponents that are shown, those of the figures."""
        return shown_exponents(self.data)

    @property
    def pairs(self) -> list[str]:
        """Pairs of the vectors that are shown; none where no angles were recorded."""
        return [f"{i}–{j}" for i in self.shown for j in self.shown if i < j and "angle" in self.data]

    @property
    def finished(self) -> Array:
        """Which runs went to their end, (activation, member)."""
        return np.isfinite(self.data.loss.values[..., -1])

    @property
    def order(self) -> Array:
        """Members of each activation from the lowest final loss to the highest; those that have none come last."""
        loss = np.where(self.finished, self.data.loss.values[..., -1], np.inf)
        return np.argsort(loss, axis=1, kind="stable")

    @property
    def median(self) -> tuple[int, int]:
        """Activation, the first of which a run finished, and the member in the middle of those that did."""
        counts = np.count_nonzero(self.finished, axis=1)
        first = int(np.flatnonzero(counts)[0])
        return first, int(self.order[first, counts[first] // 2])

    def table(self) -> dict[str, Any]:
        """A row for each run: activation, member, final loss, first exponent, status; where its marker stands.

        A marker stands at the final loss, and at the share of the runs of its activation that end as low or lower. Runs
        that stopped have no final loss: they stand at the right edge, above the others.
        """
        members = self.data.sizes["member"]
        loss = self.data.loss.values[..., -1]
        shown = on_log_axis(loss)
        edge = 3.0 * shown[self.finished].max() * 1.3 ** np.arange(len(loss))[:, None]  # one beside the other
        codes, steps = self.data.status.values.ravel(), self.data.stopped.values.ravel()
        return {
            "activation": np.repeat(self.activations, members).tolist(),
            "member": np.tile(np.arange(members, dtype=np.int32), len(loss)),
            "final": loss.ravel(),
            "first": self.data.exponent.values[..., -1, 0].ravel(),
            "status": [_status(code, step) for code, step in zip(codes, steps, strict=True)],
            "x": np.where(self.finished, shown, edge).ravel(),
            "share": ((np.argsort(self.order, axis=1) + 1) / members).ravel(),
        }

    def record(self) -> Columns:
        """A row for each run and time: loss, exponents, and angles in code."""
        exponents = self.data.exponent.values.reshape(-1, self.data.sizes["q"])
        floats = {"loss": self.data.loss.values.ravel()} | {f"exponent_{q}": exponents[:, q - 1] for q in self.shown}
        with np.errstate(over="ignore"):  # of runs that diverge
            columns = {name: np.ascontiguousarray(column, dtype=np.float32) for name, column in floats.items()}
        places = combinations(range(self.data.sizes["q"]), 2)  # the order of the dataset
        for p, (i, j) in enumerate(places if self.pairs else ()):
            if {i + 1, j + 1} <= set(self.shown):
                columns[f"angle_{i + 1}–{j + 1}"] = self._code(p, i, j).ravel()
        return columns

    def _code(self, p: int, i: int, j: int) -> Array:
        angle = np.degrees(self.data.angle.values[..., p], dtype=float)
        parts = np.round(np.nan_to_num(angle) * PARTS).astype(np.uint16)
        seeded = ~(self.data.frame_distance.values[..., [i, j]] <= SAME_SPAN).all(axis=-1)
        return np.where(np.isnan(angle), np.uint16(MISSING), np.where(seeded, parts | np.uint16(SEEDED), parts))


def _status(code: int, step: int) -> str:
    return STATUSES[code] + (f" by step {step}" if step >= 0 else "")
