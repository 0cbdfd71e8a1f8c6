"""What all experiments have in common: networks by number, replicas, tangents, and how what they give is put together.

Initial weights are keyed by the seed, perturbations and frames by the seed and the number of the network: an `Ensemble`
runs any of them, in any blocks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys import Ensemble, Euler, RunState, TangentSystem
from dynsys.errors import whole_seed
from dynsys.models.activations import Activation, Sigmoid
from dynsys.models.networks.deep_network import DeepNetworkFlow
from dynsys.models.networks.losses import CrossEntropy
from dynsys.models.networks.tasks import iris
from dynsys.models.training_chaos.orbits import perturbed

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


def seeds(seed: int) -> tuple[int, int, int]:
    """Seeds of the order of the samples, of initial weights, and of perturbations and frames."""
    data, weights, moved = map(int, np.random.SeedSequence(whole_seed(seed)).generate_state(3))
    return data, weights, moved


def classifier(X: Array, labels: Array, hidden: tuple[int, ...], activation: Activation) -> DeepNetworkFlow:
    """A network with biases that learns labels by cross entropy."""
    return DeepNetworkFlow(X, labels, hidden, loss=CrossEntropy, activation=activation, biases=True)


@attrs.frozen(kw_only=True)
class Experiment(ABC):
    """What all have in common.

    Attributes
    ----------
    members : int
        Number of initial networks.
    seed : int
        Spawns those of data, initial weights, perturbations and frames.
    replicas : int
        Perturbed networks beside every one.
    """

    members: int
    seed: int = 0
    replicas: int = 5

    @cached_property
    def flow(self) -> DeepNetworkFlow:
        """The network of the paper: 4-10-3 on 120 flowers."""
        return classifier(*iris(seed=seeds(self.seed)[0]), hidden=(10,), activation=Sigmoid())

    @property
    def block(self) -> int:
        """Networks in a block: some blocks for each of a few workers."""
        return max(1, min(16, self.members // 8))

    def ensemble(self) -> Ensemble:
        """The runs, to be computed block by block."""
        return Ensemble(self, self.members)

    def tangent(self, rate: float) -> TangentSystem:
        """Gradient descent with a learning rate, and its tangent."""
        return self.flow.tangent(Euler(dt=rate)).on_one_thread()

    def initial(self, members: Array) -> Array:
        """Initial states of some networks: weights N(0, 1), biases 0."""
        return self.flow.initial(scheme="normal", members=self.members, seed=seeds(self.seed)[1])[members]

    def with_replicas(self, theta: Array, size: float, member: int) -> Array:
        """A network and its replicas, shape (1 + replicas, dim)."""
        replicas = perturbed(self.flow, theta, size, self.replicas, seeds(self.seed)[2], member)
        return np.concatenate([theta[None], replicas])

    def growth(self, tangent: TangentSystem, theta: Array, member: int, steps: int, k: int) -> Array:
        """Logarithms of the growth of k tangent vectors in every step, shape (steps, k): exponents, per step."""
        start = RunState.start(theta[None], tangent.dimension, k, seeds(self.seed)[2], np.array([member]))
        return tangent.forward(start, intervals=steps, steps_per_interval=1, record="growth").growth[0]

    @abstractmethod
    def __call__(self, members: Array) -> xarray.Dataset:
        """What the networks with these numbers give."""

    def dataset(self, rows: list[dict[str, Any]], dims: Mapping[str, tuple[str, ...]], **coords: Any) -> xarray.Dataset:
        """What was found of each member as one dataset, with the settings as attributes."""
        import xarray

        variables = {name: (("member", *axes), np.array([row[name] for row in rows])) for name, axes in dims.items()}
        settings = {name: value for name, value in attrs.asdict(self).items() if not isinstance(value, tuple)}
        return xarray.Dataset(variables, coords, settings)
