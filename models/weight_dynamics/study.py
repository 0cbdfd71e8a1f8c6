"""The main job: an ensemble of training runs on one task, with all finite-time exponents of every run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np

import dynsys
from dynsys import Euler, InvalidInputError, Pass
from dynsys.errors import whole_number
from dynsys.passes import RUNNING, forward_in_chunks
from models.activations import named
from models.weight_dynamics.network import ThreeLayerGradientFlow

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

PAPER_LEARNING_RATE = 3e-5
PAPER_TIME = 22.0
OUTPUT_TIMES = 200  # logarithmically spaced: the early transient matters as much as the end
STATUS = ("finished", "diverged", "singular", "interrupted")  # names of the codes of a Pass, and one more
INTERRUPTED = STATUS.index("interrupted")


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

    def run(self, X: Array, y: Array, progress: Callable[[int], None] = lambda _: None) -> xarray.Dataset:
        """Train all networks; `progress(network_steps)` is called now and then with the steps done since.

        Returns
        -------
        xarray.Dataset
            loss (activation, member, time): cost over all data. exponent (activation, member, time, q): finite-time
            exponents lambda_q(t) from 0 to t, 1/time. initial, final (activation, member, weight). status, stopped
            (activation, member): `STATUS` and the step. NaN after a member stopped.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C before the first output time. Later it ends the study with what was reached: other times are
            NaN, `final` is the state at the last one reached, and runs that had not finished are "interrupted".
        """
        import xarray

        ends = np.unique(np.geomspace(1, self.intervals, OUTPUT_TIMES).round().astype(int))
        outputs: dict[str, list[tuple[Array, Array]]] = {name: [] for name in self.activations}
        reached: dict[str, tuple[int, Pass]] = {}
        try:
            for name in self.activations:
                for exponent, loss, end in self._outputs(self.network(X, y, name), ends, progress):
                    outputs[name].append((exponent, loss))
                    reached[name] = len(outputs[name]), end  # what counts as reached
        except KeyboardInterrupt:
            if not reached:
                raise
        runs = [
            self._record(self.network(X, y, name), len(ends), outputs[name], reached.get(name))
            for name in self.activations
        ]
        stacked = {key: np.stack([run[key] for run in runs]) for key in runs[0]}
        dimensions = {
            "loss": ("activation", "member", "time"),
            "exponent": ("activation", "member", "time", "q"),
            "initial": ("activation", "member", "weight"),
            "final": ("activation", "member", "weight"),
            "status": ("activation", "member"),
            "stopped": ("activation", "member"),
        }
        settings = attrs.asdict(self) | {"steps": self.intervals * self.interval}
        del settings["activations"]  # a coordinate
        return xarray.Dataset(
            {name: (dims, stacked[name]) for name, dims in dimensions.items()},
            coords={
                "activation": list(self.activations),
                "time": ends * self.interval * self.learning_rate,
                "q": np.arange(1, stacked["exponent"].shape[-1] + 1),
            },
            attrs={name: int(v) if isinstance(v, bool) else v for name, v in settings.items()}
            | {"dynsys": dynsys.__version__, "status_codes": ", ".join(STATUS), "variance_of_y": float(np.var(y))},
        )

    def _outputs(
        self, flow: ThreeLayerGradientFlow, ends: Array, progress: Callable[[int], None]
    ) -> Iterator[tuple[Array, Array, Pass]]:
        """Exponents (members, q), losses (members,) and where the runs are, at the ends of these intervals."""
        seeds = self.seeds
        driven = flow.minibatches(self.batch, seeds["batches"], shared=self.shared_batches) if self.batch else flow
        tangent = driven.tangent(Euler(self.learning_rate))
        end = Pass.start(self._initial(flow), flow.dimension, None, seeds["frames"])
        growth = np.zeros((self.members, flow.dimension))
        for done, until in zip([0, *ends[:-1]], ends, strict=True):
            count = int(until - done)
            (end,) = forward_in_chunks(tangent, end, count, self.interval, "growth", stride=count)
            growth = growth + end.growth[:, 0]
            yield growth / (until * self.interval * self.learning_rate), flow.loss(end.x), end
            progress(count * self.interval * self.members)

    def _record(
        self,
        flow: ThreeLayerGradientFlow,
        times: int,
        outputs: list[tuple[Array, Array]],
        reached: tuple[int, Pass] | None,
    ) -> dict[str, Array]:
        """The variables of one activation, whose run reached so many of the output times (None: was not begun)."""
        initial = self._initial(flow)
        count, end = reached or (0, Pass.start(initial, flow.dimension, 0, 0))
        loss = np.full((self.members, times), np.nan)
        exponent = np.full((self.members, times, flow.dimension), np.nan)
        for i, output in enumerate(outputs[:count]):
            exponent[:, i], loss[:, i] = output
        return {
            "loss": loss,
            "exponent": exponent,
            "initial": initial,
            "final": end.x,
            "status": np.where((end.status == RUNNING) & (count < times), INTERRUPTED, end.status),
            "stopped": end.stopped,
        }

    def _initial(self, flow: ThreeLayerGradientFlow) -> Array:
        return flow.initial(scheme=self.weights, biases=self.biases, members=self.members, seed=self.seeds["weights"])
