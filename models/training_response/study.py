"""What is measured of responses: their first order, the kernel along training, features, fragility, the tangent."""

from __future__ import annotations

import warnings
from typing import Any

import attrs
import numpy as np

from dynsys import DiagnosticWarning, Euler, InvalidInputError
from dynsys.errors import whole_number
from dynsys.models.activations import Activation, Linear, ReLU, Sigmoid, Tanh
from dynsys.models.networks.deep_network import DeepNetworkFlow
from dynsys.models.networks.tasks import iris
from dynsys.models.training_response.methods import Method
from dynsys.models.training_response.response import (
    features,
    first_order,
    gradients,
    participation_ratio,
    response,
    smallest_flip,
    tangent_kernel,
)

Array = np.ndarray
Numbers = dict[str, Array]

ACTIVATIONS: dict[str, Activation] = {"tanh": Tanh(), "ReLU": ReLU(), "sigmoid": Sigmoid(), "linear": Linear()}
RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
TIME, RATE = 200.0, 0.05


@attrs.frozen
class Study:
    """An encoding task: as many real inputs in [-1, 1] as samples, each with a random sign as its target; or flowers.

    Attributes
    ----------
    networks : int
        Initial networks.
    samples, width : int
    flowers : bool
        Four lengths of two species of iris in the place of numbers in [-1, 1], in deviations from their means.
    seed : int
    """

    networks: int = 12
    samples: int = 10
    width: int = 50
    flowers: bool = False
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot be counted."""
        for name, least in (("networks", 3), ("samples", 4), ("width", 2), ("seed", 0)):
            whole_number(name, getattr(self, name), least)

    def flow(self, activation: str = "tanh", *, scaled: bool = False, width: int = 0) -> DeepNetworkFlow:
        """The network of one hidden layer on the task."""
        x, y = self.task()
        hidden = (width or self.width,)
        return DeepNetworkFlow(x, y, hidden, activation=ACTIVATIONS[activation], biases=True, scaled=scaled)

    def task(self) -> tuple[Array, Array]:
        """Inputs (samples, 1 or 4), and targets -1 or 1, (samples,)."""
        if not self.flowers:
            signs = np.random.default_rng([self.seed, 0]).permutation(np.resize([-1.0, 1.0], self.samples))
            return np.linspace(-1.0, 1.0, self.samples)[:, None], signs
        X, species = iris(150, seed=self.seed)
        two = species > 0  # versicolor and virginica, which overlap
        if np.count_nonzero(two) < self.samples:
            raise InvalidInputError(f"samples must be at most {np.count_nonzero(two)} flowers, got {self.samples}")
        x, y = X[two][: self.samples], np.where(species[two] == 1, -1.0, 1.0)[: self.samples]
        return (x - x.mean(axis=0)) / x.std(axis=0), y

    def initial(self, flow: DeepNetworkFlow) -> Array:
        """Initial states, (networks, dim), with random biases: units bend at different inputs."""
        theta = flow.initial(members=self.networks, seed=self.seed)
        random = np.random.default_rng([self.seed, 1]).normal(size=theta.shape)
        scale = 1.0 if isinstance(flow.activation, ReLU) else 1.5  # larger ones make steps overshoot at once
        return theta if flow.scaled else np.where(flow.network.weights, scale * theta, random)

    def steps(self, activation: str) -> Array:
        """Largest |R - first order| of one step on a sample, for each learning rate, (rates, networks)."""
        flow = self.flow(activation)
        probe = np.linspace(-1.2, 1.2, 49)[:, None]
        return np.array(
            [
                [
                    np.abs(response(flow, theta, 3, rate, probe) - first_order(flow, theta, 3, rate, probe)).max()
                    for theta in self.initial(flow)
                ]
                for rate in RATES
            ]
        )

    def widths(self) -> Numbers:
        """Drift of the kernel of scaled networks in training by time 20, against their width.

        Returns
        -------
        width : ndarray, shape (widths,)
        drift : ndarray, shape (widths, networks)
            |Theta(20) - Theta(0)| / |Theta(0)| on the samples.
        """
        found = []
        for width in WIDTHS:
            flow = self.flow(scaled=True, width=width)
            states = self.initial(flow)
            ends = states
            for _ in range(200):
                ends = Euler(0.1).step(flow, 0, 0.0, ends)
            found.append([_change(flow, a, b) for a, b in zip(states, ends, strict=True)])
        return {"width": np.array(WIDTHS), "drift": np.array(found)}

    def course(self, activation: str, method: Method, points: int = 25) -> Numbers:
        """The kernel, the errors and the features along training.

        Returns
        -------
        time : ndarray, shape (points,)
            Learning rate times steps.
        amplitude : ndarray, shape (networks, points)
            alpha: mean over the samples of Theta(x, x).
        shape : ndarray, shape (networks, points)
            How far Theta / alpha is from its first shape, relative.
        error, participation, loss : ndarray, shape (networks, points)
            Mean of |f - y|; effective dimensions of the hidden features; L.
        log_share : ndarray, shape (networks,)
            Share of the errors, A = mean of ln|f - y|, in the variance of A + B along training, with B = ln alpha of
            the kernel: cov(A, A + B) / var(A + B).
        stability : ndarray, shape (networks,)
            Largest rate x Theta(x, x) in training: from 2 on, steps on single samples overshoot.
        flip : ndarray, shape (networks,)
            Median over samples of the smallest input change that flips the output, at the end.
        """
        flow = self.flow(activation)
        counts = np.unique(np.geomspace(1, TIME / RATE, points).round().astype(int))
        rows: dict[str, list[Any]] = {
            name: []
            for name in ("amplitude", "shape", "error", "participation", "loss", "log_share", "stability", "flip")
        }
        for number, theta in enumerate(self.initial(flow)):
            tangent = method.tangent(flow, RATE, seed=self.seed + number)
            run = tangent.trajectory(theta, intervals=int(counts[-1])).states[:, : flow.dimension]
            states = np.concatenate([theta[None], run[counts - 1]])
            kernels = np.array([tangent_kernel(flow.network, state, flow.X, flow.X) for state in states])
            errors = flow.network.outputs(states, flow.X)[..., 0] - flow.y[:, 0]
            alpha = np.trace(kernels, axis1=1, axis2=2) / self.samples
            shapes = kernels / alpha[:, None, None]
            rows["amplitude"].append(alpha)
            rows["shape"].append(np.linalg.norm(shapes - shapes[0], axis=(1, 2)) / np.linalg.norm(shapes[0]))
            rows["error"].append(np.abs(errors).mean(axis=1))
            rows["participation"].append([participation_ratio(features(flow, state)) for state in states])
            rows["loss"].append(flow.loss(states))
            parts = np.log(np.abs(errors)).mean(axis=1), np.log(alpha)
            both = parts[0] + parts[1]
            rows["log_share"].append(np.mean((parts[0] - parts[0].mean()) * (both - both.mean())) / np.var(both))
            rows["stability"].append(RATE * np.diagonal(kernels, axis1=1, axis2=2).max())
            rows["flip"].append(np.nanmedian([smallest_flip(flow.network, states[-1], x) for x in flow.X]))
        return {"time": RATE * np.concatenate([[0], counts])} | {name: np.array(each) for name, each in rows.items()}

    def carried(self, activation: str = "tanh", steps: int = 400) -> Numbers:
        """A response at one time, carried to later ones by the tangent of training, and its share along vectors.

        After 200 steps of full batches, one more step on one sample moves the weights by d. The tangent map carries d
        on, and with it the response of the output, grad f_t . d_t.

        Returns
        -------
        time : ndarray, shape (steps + 1,)
        tangent : ndarray, shape (steps + 1,)
            Root mean square over the samples of the response, by the tangent.
        difference : ndarray, shape (sizes, steps + 1)
            The same by training with and without the step, of three sizes, per size.
        sizes : ndarray, shape (sizes,)
        exponents : ndarray, shape (dim,)
            Of 400 steps after it, along covariant vectors.
        neutral, contracting : ndarray, shape ()
            Lengths of the parts of d, relative to |d|, in the common span of the covariant vectors whose exponents are
            below 0.01 in size, and in that of the others: single vectors of the first are not determined.
        """
        flow = self.flow(activation, width=6)
        tangent = flow.tangent(Euler(RATE), backend="numpy")
        theta = self.initial(flow)[0]
        start = tangent.trajectory(theta, intervals=1, steps_per_interval=200).states[-1]
        d = flow.on(np.array([3])).vector_field(0.0, start)
        states = np.concatenate([start[None], tangent.trajectory(start, intervals=steps).states])
        vector, carried = d[:, None], [d]
        for n in range(steps):
            vector = tangent.step(n, states[n], vector)[1]
            carried.append(vector[:, 0])
        slopes = [gradients(flow.network, state, flow.X) for state in states]
        sizes, before = np.array([1e-1, 1e-2, 1e-3]), flow.network.outputs(states, flow.X)[..., 0]
        difference = []
        for size in sizes:
            moved = start + size * d
            other = np.concatenate([moved[None], tangent.trajectory(moved, intervals=steps).states])
            difference.append(_rms(flow.network.outputs(other, flow.X)[..., 0] - before) / size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DiagnosticWarning)  # neutral directions are determined together alone
            clvs = tangent.ginelli(theta, warmup=199, intervals=steps + 1, tail=steps)
        exponents = clvs.rates[1:].mean(axis=0)
        parts, flat = np.linalg.lstsq(clvs.vectors[0], d, rcond=None)[0], np.abs(exponents) < 0.01
        lengths = [np.linalg.norm(clvs.vectors[0][:, group] @ parts[group]) for group in (flat, ~flat)]
        return {
            "time": RATE * np.arange(steps + 1),
            "tangent": _rms(np.array([slope @ v for slope, v in zip(slopes, carried, strict=True)])),
            "difference": np.array(difference),
            "sizes": sizes,
            "exponents": exponents,
            "neutral": lengths[0] / np.linalg.norm(d),
            "contracting": lengths[1] / np.linalg.norm(d),
        }


def _rms(values: Array) -> Array:
    return np.sqrt(np.mean(values**2, axis=-1))


def _change(flow: DeepNetworkFlow, before: Array, after: Array) -> float:
    kernels = [tangent_kernel(flow.network, state, flow.X, flow.X) for state in (before, after)]
    return float(np.linalg.norm(kernels[1] - kernels[0]) / np.linalg.norm(kernels[0]))
