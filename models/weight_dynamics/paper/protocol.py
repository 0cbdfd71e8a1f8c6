"""The studies behind the report: the paper's own, and one for every choice that it leaves open."""

from __future__ import annotations

import math
from pathlib import Path

import attrs

from dynsys import Ensemble, InvalidInputError
from dynsys.errors import whole_number
from dynsys.models.weight_dynamics.runs import TrainingRuns
from dynsys.models.weight_dynamics.study import PAPER_LEARNING_RATE, PAPER_TIME, WINDOW, Study
from dynsys.models.weight_dynamics.task import paper_task, regression_task

EARLY = (25, 50, 100, 150)  # the paper's prediction times as it labels them: t = 0.015, 0.03, 0.06, 0.09
LATE = (500, 1000, 2000, 3000)  # and as it counts them, in orthonormalisations: t = 0.3, 0.6, 1.2, 1.8
TAIL = 5000  # intervals after the paper's whole time, 3 units of it
SAMPLES = 1000
DATA_SEED = 9  # the first from 0 where a constant output costs more than 100 and 5 % of tanh runs end below 4
DATA_SEEDS = 16
BATCH_SEEDS = 4


@attrs.frozen(kw_only=True)
class Protocol:
    """What is computed for the report.

    Attributes
    ----------
    members : int
        Training runs of each of the four cells, He and wide-range weights, ReLU and tanh; the others are shares or
        multiples of it.
    time : float
        Length of a run.
    seed : int
        Spawns all random numbers but the data.
    """

    members: int = 4000
    time: float = PAPER_TIME
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        whole_number("members", self.members, 1)
        shortest = (LATE[-1] + WINDOW) * 20 * PAPER_LEARNING_RATE
        if not self.time >= shortest:
            raise InvalidInputError(f"time must be at least {shortest:g}, after the last prediction, got {self.time!r}")

    @property
    def studies(self) -> dict[str, Study]:
        """The studies by name, those on which most rests first."""
        few = math.ceil(self.members / 16)
        tail = max(1, round(TAIL * self.time / PAPER_TIME))
        cell = attrs.evolve(self._study(self.members), predictions=EARLY + LATE, tail=tail)
        relu = attrs.evolve(cell, activations=("relu",), tail=0, tangent_intervals=LATE[-1], outputs=1)
        control = self._study(few)
        gelu = attrs.evolve(self._study(math.ceil(few / 2)), activations=("gelu",))
        return {
            "he": cell,
            "wide": attrs.evolve(cell, weights="wide"),
            "many": attrs.evolve(relu, members=10 * self.members),
            "drawn-biases": attrs.evolve(control, biases="random"),
            "sum": attrs.evolve(control, reduction="sum"),
            "own-batches": attrs.evolve(control, shared_batches=False),
            "full-batch": self._study(few, 1e-3, batch=0),
            "full-batch-half-step": self._study(few, 5e-4, batch=0),
            "larger-step": self._study(few, 1e-4),
            "half-step": self._study(few, PAPER_LEARNING_RATE / 2),
            "another-frame": attrs.evolve(cell, members=few, frame_seed=1, predictions=()),
            **{f"batches-{seed}": attrs.evolve(control, batch_seed=seed) for seed in range(1, BATCH_SEEDS + 1)},
            **{
                f"data-{seed}": self._study(math.ceil(few / 4), 1e-4, data_seed=seed, outputs=1)
                for seed in range(DATA_SEEDS)
            },
            "gelu": gelu,
            "gelu-wide": attrs.evolve(gelu, weights="wide"),
            "many-drawn-biases": attrs.evolve(relu, biases="random"),
            "many-sum": attrs.evolve(relu, reduction="sum"),
        }

    def ensemble(self, name: str) -> Ensemble:
        """The runs of a study."""
        study = self.studies[name]
        X, y = regression_task(SAMPLES, study.seeds["data"])
        return TrainingRuns(study, X, y, paper_task(SAMPLES)).ensemble()

    def _study(self, members: int, learning_rate: float = PAPER_LEARNING_RATE, **changes: object) -> Study:
        steps = math.ceil(self.time / learning_rate - 1e-9)
        settings = {"seed": self.seed, "data_seed": DATA_SEED, **changes}
        return Study(members=members, learning_rate=learning_rate, steps=steps, **settings)  # type: ignore[arg-type]


def store(folder: Path, name: str) -> Path:
    """Where the runs of a study are kept."""
    return folder / "runs" / f"{name}.zarr"
