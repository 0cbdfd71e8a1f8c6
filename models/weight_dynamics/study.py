"""The main job: an ensemble of training runs on one task, with all finite-time exponents of every run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np

from dynsys import Ensemble, Euler, InvalidInputError, Pass
from dynsys.errors import whole_number
from dynsys.passes import forward_in_chunks
from models.activations import named
from models.weight_dynamics.network import ThreeLayerGradientFlow

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

PAPER_LEARNING_RATE = 3e-5
PAPER_TIME = 22.0
OUTPUT_TIMES = 200  # logarithmically spaced: the early transient matters as much as the end


@attrs.frozen(kw_only=True)
class Study:
    """Settings of an ensemble of training runs; the defaults are the paper's, but for the number of runs.

    Attributes
    ----------
    activations : tuple of str
        Each trains `members` networks from the same initial weights.
    steps : int or None
        Rounded up to whole intervals. None: the paper's whole time, 22 / learning_rate.
    batch : int
        Samples of a minibatch; 0 for full batches.
    interval : int
        Steps between orthonormalisations.
    shared_batches : bool
        Whether all runs see the same batches.
    seed : int
        Spawns the seeds of data, initial weights, batches and frames.
    """

    activations: tuple[str, ...] = ("relu", "tanh")
    members: int = 256  # whole blocks of lanes on two cores
    steps: int | None = None
    learning_rate: float = PAPER_LEARNING_RATE
    hidden: int = 2
    batch: int = 32
    interval: int = 20
    weights: Literal["he", "wide"] = "he"
    biases: Literal["zero", "drawn"] = "zero"
    reduction: Literal["mean", "sum"] = "mean"
    shared_batches: bool = True
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        for name, least in (("members", 1), ("hidden", 1), ("batch", 0), ("interval", 1), ("seed", 0)):
            whole_number(name, getattr(self, name), least)
        if self.steps is not None:
            whole_number("steps", self.steps, 1)
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InvalidInputError(f"learning_rate must be a positive finite number, got {self.learning_rate!r}")
        if not self.activations or len(set(self.activations)) < len(self.activations):
            raise InvalidInputError(f"activations must be different names, at least one, got {self.activations}")
        for name in self.activations:
            named(name)

    @property
    def intervals(self) -> int:
        """Number of intervals of a run."""
        steps = PAPER_TIME / self.learning_rate if self.steps is None else self.steps
        return math.ceil(steps / self.interval - 1e-9)

    @property
    def seeds(self) -> dict[str, int]:
        """Seeds of data, weights, batches and frames, spawned from `seed`."""
        words = np.random.SeedSequence(self.seed).generate_state(4)
        return dict(zip(("data", "weights", "batches", "frames"), map(int, words), strict=True))

    def network(self, X: Array, y: Array, activation: str) -> ThreeLayerGradientFlow:
        """The full-batch gradient flow of one activation."""
        return ThreeLayerGradientFlow(X, y, self.hidden, activation=named(activation), reduction=self.reduction)

    def ensemble(self, X: Array, y: Array, task: str = "") -> Ensemble:
        """The training runs on some data, to be computed block by block; `task` says in a sentence what they are."""
        return Ensemble(TrainingRuns(self, X, y, task), self.members)


@attrs.frozen(eq=False)
class TrainingRuns:
    """What is computed for the members of a study."""

    study: Study
    X: Array
    y: Array
    task: str = ""

    def __call__(self, members: Array) -> xarray.Dataset:
        """Train the networks with these numbers, of each activation.

        Returns
        -------
        xarray.Dataset
            loss (activation, member, time): cost over all data. exponent (activation, member, time, q): finite-time
            exponents lambda_q(t) from 0 to t, 1/time. initial, final (activation, member, weight). status, stopped
            (activation, member): code and step, -1 for members that did not stop. NaN after a member stopped.
        """
        import xarray

        study = self.study
        ends = np.unique(np.geomspace(1, study.intervals, OUTPUT_TIMES).round().astype(int))
        runs = [self._train(name, members, ends) for name in study.activations]
        dimensions = {
            "loss": ("activation", "member", "time"),
            "exponent": ("activation", "member", "time", "q"),
            "initial": ("activation", "member", "weight"),
            "final": ("activation", "member", "weight"),
            "status": ("activation", "member"),
            "stopped": ("activation", "member"),
        }
        settings = attrs.asdict(study) | {"steps": study.intervals * study.interval}
        del settings["activations"]  # a coordinate
        return xarray.Dataset(
            {name: (dims, np.stack([run[name] for run in runs])) for name, dims in dimensions.items()},
            coords={
                "activation": list(study.activations),
                "time": ends * study.interval * study.learning_rate,
                "q": np.arange(1, runs[0]["exponent"].shape[-1] + 1),
            },
            attrs={name: int(v) if isinstance(v, bool) else v for name, v in settings.items()}
            | {"variance_of_y": float(np.var(self.y)), "task": self.task},
        )

    def _train(self, activation: str, members: Array, ends: Array) -> dict[str, Array]:
        """The variables of one activation; exponents and losses at the ends of these intervals."""
        study, seeds = self.study, self.study.seeds
        flow = study.network(self.X, self.y, activation)
        driven = flow.minibatches(study.batch, seeds["batches"], shared=study.shared_batches) if study.batch else flow
        tangent = driven.tangent(Euler(study.learning_rate)).on_one_thread()
        everyone = flow.initial(scheme=study.weights, biases=study.biases, members=study.members, seed=seeds["weights"])
        initial = everyone[members]
        end = Pass.start(initial, flow.dimension, None, seeds["frames"], members)
        growth = np.zeros((len(members), flow.dimension))
        exponents, losses = [], []
        for done, until in zip([0, *ends[:-1]], ends, strict=True):
            count = int(until - done)
            (end,) = forward_in_chunks(tangent, end, count, study.interval, "growth", stride=count)
            growth = growth + end.growth[:, 0]
            exponents.append(growth / (until * study.interval * study.learning_rate))
            losses.append(flow.loss(end.x))
        return {
            "loss": np.stack(losses, axis=1),
            "exponent": np.stack(exponents, axis=1),
            "initial": initial,
            "final": end.x,
            "status": end.status,
            "stopped": end.stopped,
        }
