"""What the studies of the protocol found: finished runs, shares with intervals, and a few plain statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys import open_store
from dynsys.models.weight_dynamics.paper.protocol import BATCH_SEEDS, DATA_SEEDS, SAMPLES, Protocol, store
from dynsys.passes.status import RUNNING

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

PAPER_RUNS, ROUNDING = 4000, 0.005  # of a share in the paper
LOW, HIGH = 4.0, 100.0  # final losses that the paper predicts
BETWEEN = (20.0, 90.0)  # losses between the intermediate and the high ones of He-initialised ReLU networks

CHOICES: Mapping[str, str] = {
    "he": "ours: mean over the batch, zero biases, shared batches",
    "drawn-biases": "biases random like the weights",
    "sum": "sum over the batch",
    "own-batches": "every run its own batch order",
    "larger-step": "learning rate 1e-4",
    "half-step": "learning rate 1.5e-5",
    "full-batch": "full batch (no noise), learning rate 1e-3",
    "full-batch-half-step": "full batch (no noise), learning rate 5e-4",
    "another-frame": "another first frame",
    **{f"batches-{seed}": f"batch seed {seed}" for seed in range(1, BATCH_SEEDS + 1)},
    **{f"data-{seed}": f"data seed {seed} (learning rate 1e-4)" for seed in range(DATA_SEEDS)},
}  # study -> what it chooses where the paper is silent


@attrs.frozen
class Share:
    """A number of runs among others."""

    count: int
    total: int

    @classmethod
    def of(cls, condition: Any) -> Share:
        """The share of runs that meet a condition."""
        return cls(int(np.count_nonzero(condition)), len(condition))

    @property
    def value(self) -> float:
        """As a fraction; NaN of none."""
        return self.count / self.total if self.total else float("nan")

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval (Wilson)."""
        from scipy.stats import binomtest

        if not self.total:
            return 0.0, 1.0
        found = binomtest(self.count, self.total).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def agrees(self, paper: float, spread: float = 0.0) -> bool:
        """Whether it may be the paper's, a share of 4000 runs that is rounded to a percent (two-sided, 95 %).

        `spread` is a standard deviation that both have beyond that of drawing the runs.
        """
        variance = self._variance + paper * (1 - paper) / PAPER_RUNS + 2 * spread**2
        return abs(self.value - paper) <= ROUNDING + 1.96 * variance**0.5

    def differs(self, other: Share, comparisons: int = 1) -> bool:
        """Whether two shares differ, 95 % for all of so many comparisons together (Bonferroni)."""
        from scipy.stats import norm

        limit = float(norm.isf(0.025 / comparisons))
        return abs(self.value - other.value) > limit * (self._variance + other._variance) ** 0.5

    @property
    def _variance(self) -> float:
        p = (self.count + 2) / (self.total + 4)  # none of few is not certainty
        return p * (1 - p) / max(1, self.total)

    def __str__(self) -> str:
        low, high = (percent(end) for end in self.interval)
        return f"{percent(self.value)} % ({low} to {high} %; {self.count} of {self.total})"


@attrs.frozen(eq=False, slots=False)
class Cell:
    """The finished runs of one activation of a study."""

    data: xarray.Dataset
    members: Array  # their numbers

    @cached_property
    def loss(self) -> Array:
        """Final loss c_f, mean over the data, (n,)."""
        return self.data.loss.isel(time=-1).values / self._samples

    @cached_property
    def exponents(self) -> Array:
        """Exponents over the whole run, (n, q)."""
        return self.data.exponent.isel(time=-1).values

    def final_cosines(self, ending: str) -> Array:
        """|cos theta_ij| at the end of training, (n, pairs); NaN for runs that stopped in the backward transient."""
        return self._final_cosine.sel(ending=ending).values

    @cached_property
    def early(self) -> xarray.Dataset:
        """What was measured at the prediction times, in memory."""
        return self.data[["cosine", "window_exponent", "window_loss", "gradient_norm", "sharpness"]].load()

    @cached_property
    def _final_cosine(self) -> xarray.DataArray:
        return self.data.final_cosine.load()

    @property
    def later_exponents(self) -> Array:
        """Exponents over the last half of the run, or what comes closest to it, (n, q)."""
        times, exponents = self.data.time.values, self.data.exponent
        middle = int(np.argmin(np.abs(times - times[-1] / 2)))
        start, end = (exponents.isel(time=i).values * times[i] for i in (middle, -1))
        return (end - start) / (times[-1] - times[middle])

    @property
    def _samples(self) -> int:
        return SAMPLES if self.data.attrs["reduction"] == "sum" else 1


@attrs.frozen(eq=False, slots=False)
class Findings:
    """The stores of a protocol, to be read."""

    protocol: Protocol
    folder: Path
    cells: dict[tuple[str, str], Cell] = attrs.field(factory=dict, init=False)

    def cell(self, study: str, activation: str) -> Cell:
        """The finished runs of one activation of a study."""
        if (study, activation) not in self.cells:
            data = open_store(store(self.folder, study)).sel(activation=activation)
            finished = np.flatnonzero(data.status.values == RUNNING)
            some = data if len(finished) == data.sizes["member"] else data.isel(member=finished)
            self.cells[study, activation] = Cell(some, finished)
        return self.cells[study, activation]

    def share(self, study: str, activation: str, condition: str) -> Share:
        """The share of the runs of a cell that meet one of `CONDITIONS`."""
        return Share.of(CONDITIONS[condition](self.cell(study, activation)))

    def common(self, studies: Sequence[str], activation: str) -> list[Cell]:
        """The runs that finished in all studies, with the same initial weights in each, in the same order."""
        cells = [self.cell(study, activation) for study in studies]
        shared = reduce(np.intersect1d, [cell.members for cell in cells])
        places = [np.flatnonzero(np.isin(cell.members, shared)) for cell in cells]
        return [Cell(cell.data.isel(member=place), shared) for cell, place in zip(cells, places, strict=True)]

    def paired(self, studies: Sequence[str], activation: str, condition: str) -> Array:
        """Which of the `common` runs meet a condition in each study, bool (studies, n)."""
        return np.stack([CONDITIONS[condition](cell) for cell in self.common(studies, activation)])

    def spread(self, activation: str, condition: str) -> float:
        """Standard deviation of a share over batch seeds, with the same initial weights."""
        return float(self.paired(BATCHES, activation, condition).mean(axis=1).std(ddof=1))


BATCHES = ("he", *(f"batches-{seed}" for seed in range(1, BATCH_SEEDS + 1)))
CONDITIONS = {
    "l1 > 0": lambda cell: cell.exponents[:, 0] > 0,
    "l1, l2, l3 > 0": lambda cell: (cell.exponents[:, :3] > 0).all(axis=1),
    "three exponents > 0": lambda cell: (cell.exponents > 0).sum(axis=1) >= 3,
    "l9 > 0": lambda cell: cell.exponents[:, -1] > 0,
    "c_f < 4": lambda cell: cell.loss < LOW,
    "c_f > 100": lambda cell: cell.loss > HIGH,
    "c_f between the clusters": lambda cell: (cell.loss > BETWEEN[0]) & (cell.loss < BETWEEN[1]),
}


def percent(fraction: float) -> str:
    """Two digits, or what is left of 100."""
    return f"{100 * fraction:.2g}" if fraction < 0.995 else f"{100 * fraction:.4g}"


def peaks(values: Array, bins: int = 60, span: tuple[float, float] | None = None) -> Array:
    """Places of the maxima of a distribution: of its smoothed histogram, above their surroundings by three errors."""
    from scipy.signal import find_peaks

    counts, edges = np.histogram(values, bins, span)
    smooth = np.concatenate([[0.0] * 3, counts, [0.0] * 3])
    for _ in range(2):
        smooth = np.convolve(smooth, [0.25, 0.5, 0.25], mode="same")
    places, found = find_peaks(smooth, prominence=0.01 * smooth.max())
    clear = places[found["prominences"] > 3 * np.sqrt(smooth[places])]
    return (edges[:-1] + np.diff(edges) / 2)[np.clip(clear - 3, 0, bins - 1)]


def logarithmic(values: Array) -> Array:
    """sign(x) log(1 + |x|): spreads what is near zero and gathers what is far."""
    return np.sign(values) * np.log1p(np.abs(values))


def mutual_information(x: Array, y: Array, bins: int = 16, permutations: int = 40) -> tuple[float, float]:
    """Mutual information of x and log y in bits, from a histogram, and its standard score among shuffled pairs.

    x in bins of equal count, log y in bins of equal width. The bias of the histogram, which shuffled pairs tell, is
    taken off.
    """
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)))
    column = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    logs = np.log(y)
    row = np.minimum((bins * (logs - logs.min()) / max(np.ptp(logs), 1e-300)).astype(int), bins - 1)
    rng = np.random.default_rng(0)
    shuffled = [_information(column, rng.permutation(row), bins) for _ in range(permutations)]
    found, noise = _information(column, row, bins) - float(np.mean(shuffled)), float(np.std(shuffled))
    return found, found / noise if noise else 0.0


def _information(column: Array, row: Array, bins: int) -> float:
    joint = np.bincount(column * bins + row, minlength=bins * bins).reshape(bins, bins) / len(column)
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float(np.sum(joint[filled] * np.log2(joint[filled] / product[filled])))


def exponential_tail(values: Array, side: int) -> float:
    """R^2 of a straight line through log P(X beyond x), from one half of the runs to the last hundredth.

    `side` is -1 for the lower tail, +1 for the upper one: 1 for an exponential law.
    """
    ordered = np.sort(side * values)[::-1]
    survival = (np.arange(len(ordered)) + 0.5) / len(ordered)
    tail = (survival <= 0.5) & (survival >= 0.01)
    if np.ptp(ordered[tail]) == 0:
        return 0.0
    return float(np.corrcoef(ordered[tail], np.log(survival[tail]))[0, 1] ** 2)
