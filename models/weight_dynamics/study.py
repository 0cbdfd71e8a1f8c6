"""Settings of an ensemble of training runs on one task, with all finite-time exponents of every run."""

from __future__ import annotations

import math
from typing import Literal

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import positive, whole_number
from dynsys.models.activations import named
from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow

Array = np.ndarray

PAPER_LEARNING_RATE = 3e-5
PAPER_TIME = 22.0
WINDOW = 10  # intervals of the paper's backward pass


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
    data_seed, batch_seed, frame_seed : int or None
        Instead of the spawned ones: what changes if nothing else does.
    outputs : int
        Times at which loss and exponents are recorded, logarithmically spaced: the early transient matters as much as
        the end.
    predictions : tuple of int
        Numbers of intervals after which all possible predictors of the outcome are recorded: see `TrainingRuns`.
    tangent_intervals : int or None
        Tangent vectors are followed for so many intervals, and the state alone after that. None: to the end.
    tail : int
        If not 0, covariant vectors at the end of training: the run goes on for so many intervals, from which the
        backward pass comes back.
    angles : bool
        Whether the angles between covariant vectors along the whole run are recorded. All triangular factors of a block
        are held for it: see `factor_bytes`.
    """

    activations: tuple[str, ...] = ("relu", "tanh")
    members: int = 256  # whole blocks of lanes on two cores
    steps: int | None = None
    learning_rate: float = PAPER_LEARNING_RATE
    hidden: int = 2
    batch: int = 32
    interval: int = 20
    weights: Literal["he", "wide"] = "he"
    biases: Literal["zero", "random"] = "zero"
    reduction: Literal["mean", "sum"] = "mean"
    shared_batches: bool = True
    seed: int = 0
    data_seed: int | None = None
    batch_seed: int | None = None
    frame_seed: int | None = None
    outputs: int = 200
    predictions: tuple[int, ...] = ()
    tangent_intervals: int | None = None
    tail: int = 0
    angles: bool = False

    def __attrs_post_init__(self) -> None:
        least = {"members": 1, "hidden": 1, "batch": 0, "interval": 1, "seed": 0, "outputs": 1, "tail": 0}
        optional = {"steps": 1, "data_seed": 0, "batch_seed": 0, "frame_seed": 0, "tangent_intervals": 1}
        for name, lowest in (least | optional).items():
            if name in least or getattr(self, name) is not None:
                whole_number(name, getattr(self, name), lowest)
        positive("learning_rate", self.learning_rate)
        if not self.activations or len(set(self.activations)) < len(self.activations):
            raise InvalidInputError(f"activations must be different names, at least one, got {self.activations}")
        for name in self.activations:
            named(name)
        if self.followed > self.intervals or ((self.tail or self.angles) and self.followed < self.intervals):
            raise InvalidInputError(
                f"tangent_intervals must be at most the {self.intervals} of a run, and all of them with a tail or "
                f"angles, got {self.tangent_intervals}"
            )
        gaps = np.diff([0, *self.windows])
        if (gaps < WINDOW).any() or max(self.windows, default=0) > self.followed:
            raise InvalidInputError(
                f"predictions must be whole numbers in ascending order, {WINDOW} intervals apart from each other, from "
                f"the start and from an end with a tail, up to {self.followed}, got {self.predictions}"
            )

    @property
    def intervals(self) -> int:
        """Number of intervals of a run."""
        steps = PAPER_TIME / self.learning_rate if self.steps is None else self.steps
        return math.ceil(steps / self.interval - 1e-9)

    @property
    def followed(self) -> int:
        """Number of intervals for which tangent vectors are followed."""
        return self.intervals if self.tangent_intervals is None else self.tangent_intervals

    @property
    def windows(self) -> tuple[int, ...]:
        """Ends of the windows of a backward pass: the predictions, and the end of training if there is a tail."""
        return (*self.predictions, self.intervals) if self.tail else self.predictions

    @property
    def output_intervals(self) -> Array:
        """Numbers of intervals after which loss and exponents are recorded; none lies within a window."""
        spaced = np.geomspace(1, self.intervals, self.outputs) if self.outputs > 1 else [self.intervals]
        every = np.union1d(np.round(spaced).astype(int), self.predictions).astype(int)
        return every[[not any(end - WINDOW < n < end for end in self.windows) for n in every]]

    @property
    def cuts(self) -> Array:
        """Where a run is cut into passes, in intervals: at outputs, ends of windows, and the end of the tangent."""
        starts = [end - WINDOW for end in self.windows if end > WINDOW]
        return np.unique(np.concatenate([self.output_intervals, self.windows, starts, [self.followed]]).astype(int))

    @property
    def seeds(self) -> dict[str, int]:
        """Seeds of data, weights, batches and frames, spawned from `seed` or given."""
        words = map(int, np.random.SeedSequence(self.seed).generate_state(4))
        given = {"data": self.data_seed, "batches": self.batch_seed, "frames": self.frame_seed}
        spawned = dict(zip(("data", "weights", "batches", "frames"), words, strict=True))
        return spawned | {name: seed for name, seed in given.items() if seed is not None}

    def angle_bytes(self, dimension: int, members: int) -> int:
        """Bytes that `angles` holds of so many members: the factors of the run, and at every output C and its angles.

        >>> Study().angle_bytes(dimension=9, members=16) / 1e6
        213.301376
        """
        at_outputs = len(self.output_intervals) * 5 * dimension**2 // 4
        return 8 * members * (self.intervals * (dimension * (dimension + 1) // 2) + at_outputs)

    def network(self, X: Array, y: Array, activation: str) -> ThreeLayerGradientFlow:
        """The full-batch gradient flow of one activation."""
        return ThreeLayerGradientFlow(X, y, self.hidden, activation=named(activation), reduction=self.reduction)
