"""The experiments of the paper and its sequel: what is computed for every initial network.

Each is a record of its settings, and a function of the numbers of networks that returns what they give.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys import TangentSystem
from dynsys.models.activations import Tanh
from dynsys.models.networks.deep_network import DeepNetworkFlow
from dynsys.models.networks.tasks import digits
from dynsys.models.training_chaos.experiment import Experiment, classifier, seeds
from dynsys.models.training_chaos.orbits import displacement, distances, orbits, tangent_distances

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-3, 10**1.4, 45))  # ten for each factor of ten
SEQUEL_RATES = (  # its sixteen, and five more about its minimum
    *(5e-4, 1e-3, 5e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5),
    *(5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0),
)
SMALL = 1e-8  # size of the perturbations of which the paper shows most


@attrs.frozen(kw_only=True)
class SmallRate(Experiment):
    """Orbital stability at a small learning rate: perturbations of many sizes, at the start and after learning.

    Attributes
    ----------
    rate : float
    sizes : tuple of float
    steps, every : int
        Length of a run, and steps between records.
    late, later : int
        Step at which networks are perturbed after learning, and how long these are followed.
    k : int
        Exponents that are followed.
    """

    rate: float = 0.01
    sizes: tuple[float, ...] = (1e-15, 1e-12, 1e-8, 1e-4, 1e-2, 1.0)
    steps: int = 5000
    every: int = 10
    late: int = 4000
    later: int = 1000
    k: int = 5

    def __call__(self, members: Array) -> xarray.Dataset:
        """What the networks with these numbers give.

        Returns
        -------
        xarray.Dataset
            distance (member, size, step): L1, mean over replicas, of perturbed starts; late_distance (member, size,
            later) of learned networks; loss, norm (member, step): L and |W|_1; displacement (member, size),
            |W_T - W_0|_1 / |W_0|_1 of the replicas, their mean; drift (member, weight), |w_T - w_0|; exponent
            (member, k), of the whole run, per step.
        """
        tangent, weights = self.tangent(self.rate), self.flow.network.weights
        rows = []
        for member, theta in zip(members.tolist(), self.initial(members), strict=True):
            groups = [
                orbits(tangent, self.with_replicas(theta, size, member), steps=self.steps, every=self.every)
                for size in self.sizes
            ]
            run = groups[0][0]
            learned = run[self.late // self.every]
            after = [
                orbits(tangent, self.with_replicas(learned, size, member), steps=self.later, every=self.every)
                for size in self.sizes
            ]
            rows.append(
                {
                    "distance": [distances(states).mean(axis=0) for states in groups],
                    "late_distance": [distances(states).mean(axis=0) for states in after],
                    "displacement": [displacement(states[1:]).mean() for states in groups],
                    "loss": self.flow.loss(run),
                    "norm": np.abs(run[:, weights]).sum(axis=-1),
                    "drift": np.abs(run[-1] - theta)[weights],
                    "exponent": self.growth(tangent, theta, member, self.steps, self.k).mean(axis=0),
                }
            )
        return self.dataset(
            rows,
            {
                "distance": ("size", "step"),
                "late_distance": ("size", "later"),
                "loss": ("step",),
                "norm": ("step",),
                "displacement": ("size",),
                "drift": ("weight",),
                "exponent": ("k",),
            },
            size=list(self.sizes),
            step=np.arange(0, self.steps + 1, self.every),
            later=np.arange(0, self.later + 1, self.every),
        )


@attrs.frozen(kw_only=True)
class Edge(Experiment):
    """The network maximum Lyapunov exponent at the edge of stability, against the size of the perturbation.

    Attributes
    ----------
    rate : float
    sizes : tuple of float
    steps : int
        Length of a run.
    """

    rate: float = 1.0
    sizes: tuple[float, ...] = (1e-14, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    steps: int = 200

    def __call__(self, members: Array) -> xarray.Dataset:
        """What the networks with these numbers give.

        Returns
        -------
        xarray.Dataset
            distance (member, size, step): L1, mean over replicas; tangent_distance (member, step): the same to first
            order in the perturbation, of size 1; loss (member, step).
        """
        tangent = self.tangent(self.rate)
        rows = []
        for member, theta in zip(members.tolist(), self.initial(members), strict=True):
            groups = [orbits(tangent, self.with_replicas(theta, size, member), steps=self.steps) for size in self.sizes]
            first_order = tangent_distances(tangent, self.with_replicas(theta, SMALL, member), steps=self.steps)
            rows.append(
                {
                    "distance": [distances(states).mean(axis=0) for states in groups],
                    "tangent_distance": first_order.mean(axis=0) / SMALL,
                    "loss": self.flow.loss(groups[0][0]),
                }
            )
        dims = {"distance": ("size", "step"), "tangent_distance": ("step",), "loss": ("step",)}
        return self.dataset(rows, dims, size=list(self.sizes), step=np.arange(self.steps + 1))


@attrs.frozen(kw_only=True)
class LearningRates(Experiment):
    """The same networks at every learning rate: what is learned, how far replicas part, exponents and curvature.

    Attributes
    ----------
    rates : tuple of float
    steps : int
        Length of a run.
    fitted : int
        Steps of the pairs from which the paper's estimate is made.
    end : int
        Steps at the end of a run of which all losses are recorded.
    every : int
        Steps between records of loss and accuracy.
    k : int
        Exponents that are followed.
    curvatures : int
        States in the end of a run of which the largest eigenvalue of the Hessian is computed.
    """

    rates: tuple[float, ...] = RATES
    steps: int = 5000
    fitted: int = 200
    end: int = 2000
    every: int = 10
    k: int = 3
    curvatures: int = 10

    def __call__(self, members: Array) -> xarray.Dataset:
        """What the networks with these numbers give.

        Returns
        -------
        xarray.Dataset
            distance (member, rate, fitted): L1, mean over replicas; early, late (member, rate, k): exponents, per step,
            of the first `fitted` steps, and of the last half of a run; end_loss (member, rate, end); loss, accuracy
            (member, rate, step); sharpness (member, rate, curvature): the largest eigenvalue of the Hessian.
        """
        rows = []
        for member, theta in zip(members.tolist(), self.initial(members), strict=True):
            found = [self._at(self.tangent(rate), member, theta) for rate in self.rates]
            rows.append({name: [each[name] for each in found] for name in found[0]})
        dims = {
            "distance": ("rate", "fitted"),
            "early": ("rate", "k"),
            "late": ("rate", "k"),
            "end_loss": ("rate", "end"),
            "loss": ("rate", "step"),
            "accuracy": ("rate", "step"),
            "sharpness": ("rate", "curvature"),
        }
        return self.dataset(
            rows,
            dims,
            rate=list(self.rates),
            fitted=np.arange(self.fitted + 1),
            end=np.arange(self.steps - self.end + 1, self.steps + 1),
            step=np.arange(0, self.steps + 1, self.every),
        )

    def _at(self, tangent: TangentSystem, member: int, theta: Array) -> dict[str, Any]:
        flow = self.flow
        pairs = orbits(tangent, self.with_replicas(theta, SMALL, member), steps=self.fitted)
        run = orbits(tangent, theta[None], steps=self.steps)[0]
        end, some = run[-self.end :], run[:: self.every]
        growth = self.growth(tangent, theta, member, self.steps, self.k)
        curved = end[np.linspace(0, self.end - 1, self.curvatures).astype(int)]
        return {
            "distance": distances(pairs).mean(axis=0),
            "early": growth[: self.fitted].mean(axis=0),
            "late": growth[self.steps // 2 :].mean(axis=0),
            "end_loss": flow.loss(end),
            "loss": flow.loss(some),
            "accuracy": flow.accuracy(some),
            "sharpness": [flow.sharpness(state) for state in curved],
        }


@attrs.frozen(kw_only=True)
class Bifurcations(Experiment):
    """One network at every learning rate of a fine grid: each is a member.

    Attributes
    ----------
    lowest, highest : float
        The grid, equidistant in the logarithm.
    steps, end : int
        Length of a run, and steps at its end of which the losses are recorded.
    """

    lowest: float = 0.2
    highest: float = 25.0
    steps: int = 3000
    end: int = 100

    def __call__(self, members: Array) -> xarray.Dataset:
        """What the learning rates with these numbers give.

        Returns
        -------
        xarray.Dataset
            rate (member,); loss (member, end).
        """
        rates = np.geomspace(self.lowest, self.highest, self.members)[members]
        theta = self.flow.initial(scheme="normal", members=1, seed=seeds(self.seed)[1])
        rows = []
        for rate in rates.tolist():
            tangent = self.tangent(rate)
            start = tangent.trajectory(theta, intervals=1, steps_per_interval=self.steps - self.end).end
            states = tangent.trajectory(start, intervals=self.end).states[0]
            rows.append({"rate": rate, "loss": self.flow.loss(states)})
        step = np.arange(self.steps - self.end + 1, self.steps + 1)
        return self.dataset(rows, {"rate": (), "loss": ("end",)}, end=step)


@attrs.frozen(kw_only=True)
class Chaotic(Experiment):
    """Long runs at a large learning rate.

    Attributes
    ----------
    rate : float
    steps : int
        Length of a run.
    transient : int
        Steps before the exponents are taken.
    k : int
        Exponents that are followed.
    """

    rate: float = 5.0
    steps: int = 20_000
    transient: int = 2700
    k: int = 3

    def __call__(self, members: Array) -> xarray.Dataset:
        """What the networks with these numbers give.

        Returns
        -------
        xarray.Dataset
            loss (member, step), norm (member, step): L and |W|_1; accuracy (member,) at the end; exponent (member, k)
            after the transient, per step.
        """
        tangent, weights = self.tangent(self.rate), self.flow.network.weights
        rows = []
        for member, theta in zip(members.tolist(), self.initial(members), strict=True):
            run = orbits(tangent, theta[None], steps=self.steps)[0]
            growth = self.growth(tangent, theta, member, self.steps, self.k)
            rows.append(
                {
                    "loss": self.flow.loss(run),
                    "norm": np.abs(run[:, weights]).sum(axis=-1),
                    "accuracy": self.flow.accuracy(run[-1]),
                    "exponent": growth[self.transient :].mean(axis=0),
                }
            )
        dims = {"loss": ("step",), "norm": ("step",), "accuracy": (), "exponent": ("k",)}
        return self.dataset(rows, dims, step=np.arange(self.steps + 1))


@attrs.frozen(kw_only=True)
class TrainingTime(Experiment):
    """How long a larger network takes to learn the digits, against the learning rate.

    Attributes
    ----------
    rates : tuple of float
    steps : int
        Length of a run: the epochs of the sequel.
    """

    replicas: int = 2
    rates: tuple[float, ...] = SEQUEL_RATES
    steps: int = 200

    @cached_property
    def flow(self) -> DeepNetworkFlow:
        """The network of the sequel, on small images: 64-64-10 on 1000 digits."""
        return classifier(*digits(seed=seeds(self.seed)[0]), hidden=(64,), activation=Tanh())

    def __call__(self, members: Array) -> xarray.Dataset:
        """What the networks with these numbers give.

        Returns
        -------
        xarray.Dataset
            distance (member, rate, step): L1, mean over replicas; exponent (member, rate): the first, of the whole run,
            per step; loss, accuracy (member, rate, step).
        """
        rows = []
        for member, theta in zip(members.tolist(), self.initial(members), strict=True):
            found = []
            for rate in self.rates:
                tangent = self.tangent(rate)
                pairs = orbits(tangent, self.with_replicas(theta, SMALL, member), steps=self.steps)
                found.append(
                    {
                        "distance": distances(pairs).mean(axis=0),
                        "exponent": self.growth(tangent, theta, member, self.steps, 1).mean(),
                        "loss": self.flow.loss(pairs[0]),
                        "accuracy": self.flow.accuracy(pairs[0]),
                    }
                )
            rows.append({name: [each[name] for each in found] for name in found[0]})
        series = ("rate", "step")
        dims = {"distance": series, "exponent": ("rate",), "loss": series, "accuracy": series}
        return self.dataset(rows, dims, rate=list(self.rates), step=np.arange(self.steps + 1))
