"""All experiments of the paper and its sequel, and the report on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dynsys.models.reporting.report import Section, report_in, verdicts, write_report
from dynsys.models.training_chaos import figures
from dynsys.models.training_chaos.claims import claims
from dynsys.models.training_chaos.experiment import Experiment
from dynsys.models.training_chaos.experiments import (
    Bifurcations,
    Chaotic,
    Edge,
    LearningRates,
    SmallRate,
    TrainingTime,
)

if TYPE_CHECKING:
    import xarray

MEMBERS = {"small-rate": 10, "edge": 500, "rates": 8, "bifurcations": 400, "chaotic": 20, "sequel": 4}
TITLES = {
    "small-rate": "A small learning rate: orbital stability",
    "edge": "Learning rate 1: exponential growth, and its exponent",
    "rates": "Every learning rate: regimes",
    "bifurcations": "A bifurcation diagram",
    "chaotic": "Learning rate 5",
    "sequel": "The sequel: how long learning takes",
}
FIGURES = {
    "small-rate": (figures.orbits,),
    "edge": (figures.growth, figures.exponent_against_size),
    "rates": (figures.regimes,),
    "bifurcations": (figures.bifurcations,),
    "chaotic": (figures.chaotic_losses,),
    "sequel": (figures.training_times,),
}


@attrs.frozen
class Protocol:
    """The experiments.

    Attributes
    ----------
    share : float
        Share of the networks of the full protocol.
    seed : int
        Spawns all random numbers.
    """

    share: float = 1.0
    seed: int = 0

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """By name, in the order of the report."""
        counts = {name: max(1, round(self.share * members)) for name, members in MEMBERS.items()}
        kinds = {
            "small-rate": SmallRate,
            "edge": Edge,
            "rates": LearningRates,
            "bifurcations": Bifurcations,
            "chaotic": Chaotic,
            "sequel": TrainingTime,
        }
        return {name: kind(members=counts[name], seed=self.seed) for name, kind in kinds.items()}


def write(protocol: Protocol, data: Mapping[str, xarray.Dataset], folder: Path, made: str) -> Path:
    """Draw the figures of all experiments into `report/` of a folder, and write `REPORT.md` beside it."""
    parts = list(_sections(protocol, data))
    head = [
        "# 'Dynamical stability and chaos in artificial neural network trajectories along training', claim by claim",
        "",
        "K. Danovski, M. C. Soriano, L. Lacasa, arXiv:2404.05782, Front. Complex Syst. 2, 1367957 (2024); its sequel: "
        "P. Jiménez-González, M. C. Soriano, L. Lacasa, arXiv:2506.08523. Settings and values of the paper come from "
        "its code and from figures in its notebooks, read by eye.",
        "",
        *verdicts(parts),
        "",
        "Networks: "
        + ", ".join(f"{name} {each.members}" for name, each in protocol.experiments.items())
        + f"; seed {protocol.seed}. Exponents are those of gradient descent as a map of the weights, per step, by its "
        "exact tangent. Values after ± are standard errors; a boundary of regimes is a geometric mean over networks of "
        "the first learning rate of the grid, with a factor for its standard error and the grid.",
        "",
    ]
    return write_report(head, parts, report_in(folder, "training-chaos"), made)


def _sections(protocol: Protocol, data: Mapping[str, xarray.Dataset]) -> Iterator[Section]:
    found = claims(data, protocol.experiments)
    for name, title in TITLES.items():
        drawn: dict[str, tuple[Callable[[Path], Path], str]] = {
            draw.__name__: (partial(draw, data[name]), str(draw.__doc__)) for draw in FIGURES[name]
        }
        yield Section(title, tuple(found.get(name, ())), drawn)


def store(folder: Path, name: str) -> Path:
    """Where the runs of an experiment are kept."""
    return folder / "runs" / f"{name}.zarr"
