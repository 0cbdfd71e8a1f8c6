"""What is measured on layers: what stays conserved, how layers grow, phases of learning, exponents at a minimum."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property

import attrs
import numpy as np

from dynsys import RK4, DiagnosticWarning, Euler
from dynsys.errors import whole_number
from dynsys.indicators import principal_angles
from dynsys.models.activations import Activation, LeakyReLU, Linear, ReLU, Tanh
from dynsys.models.layer_dynamics.closed_form import balanced_initial, mode_strength, singular_vectors, white
from dynsys.models.networks.deep_network import DeepNetworkFlow

Array = np.ndarray
Numbers = dict[str, Array]

KINDS: dict[str, tuple[Activation, bool]] = {
    "linear": (Linear(), False),
    "ReLU": (ReLU(), False),
    "ReLU, biases": (ReLU(), True),
    "leaky ReLU": (LeakyReLU(), False),
    "tanh": (Tanh(), False),
}
STEPS = (1e-2, 3e-3, 1e-3)  # of gradient descent
DRIFT_TIME, GROWTH_TIME = 2.0, 80.0
INTERVALS = 800  # at a minimum, of ten steps each: warm-up, window and tail
DEPTHS = (2, 3, 4)  # layers of weights


@attrs.frozen
class Study:
    """Networks of 5 inputs, two hidden layers of 6 units and 3 outputs, as in `reference` values of ours, and others.

    Attributes
    ----------
    networks : int
        Initial networks of each kind.
    samples : int
    seed : int
    """

    networks: int = 20
    samples: int = 60
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot be counted."""
        for name, least in (("networks", 2), ("samples", 10), ("seed", 0)):
            whole_number(name, getattr(self, name), least)

    @cached_property
    def inputs(self) -> Array:
        """Inputs N(0, 1), (samples, 5)."""
        return np.random.default_rng([self.seed, 0]).normal(size=(self.samples, 5))

    def flow(self, kind: str) -> DeepNetworkFlow:
        """The flow of a kind, with targets N(0, 1) that no network meets."""
        y = np.random.default_rng([self.seed, 1]).normal(size=(self.samples, 3))
        activation, biases = KINDS[kind]
        return DeepNetworkFlow(self.inputs, y, hidden=(6, 6), activation=activation, biases=biases)

    def initial(self, kind: str) -> Array:
        """Initial states, (networks, dim)."""
        return self.flow(kind).initial(members=self.networks, seed=self.seed)

    def drift(self, kind: str) -> Numbers:
        """How far G_l have moved by time 2 under gradient descent, for each step size.

        Returns
        -------
        all, diagonal, without_biases : ndarray, shape (steps, networks)
            Largest change of an entry, of an entry of the diagonal, and of the diagonal without b_l b_l^T.
        """
        flow, start = self.flow(kind), self.initial(kind)
        found: dict[str, list[Array]] = {"all": [], "diagonal": [], "without_biases": []}
        for dt in STEPS:
            end = moved(flow, Euler(dt), start, round(DRIFT_TIME / dt))
            changes = [b - a for a, b in zip(flow.balances(start), flow.balances(end), strict=True)]
            bare = [b - a for a, b in zip(_without_biases(flow, start), _without_biases(flow, end), strict=True)]
            found["all"].append(_largest(changes, diagonal=False))
            found["diagonal"].append(_largest(changes, diagonal=True))
            found["without_biases"].append(_largest(bare, diagonal=True))
        return {name: np.array(values) for name, values in found.items()}

    def growth(self, kind: str, times: int = 81) -> Numbers:
        """The course of one network: layers and loss.

        Returns
        -------
        time, loss : ndarray, shape (times,)
        squares, spectral : ndarray, shape (times, layers)
            |W_l|_F^2 + |b_l|^2, and the largest singular value of W_l.
        rate : ndarray, shape (times, layers)
            d/dt (|W_l|_F^2 + |b_l|^2).
        """
        flow, x = self.flow(kind), self.flow(kind).initial(scale=0.15, seed=self.seed + 1)
        time = np.linspace(0.0, GROWTH_TIME, times)
        states = [x]
        for _ in range(times - 1):
            states.append(moved(flow, RK4(0.02), states[-1], round(50 * GROWTH_TIME / (times - 1))))
        run = np.array(states)
        layers, slopes = flow.network.unpack(run), flow.network.unpack(flow.vector_field(0.0, run))
        return {
            "time": time,
            "loss": flow.loss(run),
            "squares": np.stack([_square(W) + _square(b) for W, b in layers], axis=-1),
            "spectral": np.stack([np.linalg.norm(W, 2, axis=(-2, -1)) for W, _ in layers], axis=-1),
            "rate": np.stack(
                [2 * (_inner(W, V) + _inner(b, c)) for (W, b), (V, c) in zip(layers, slopes, strict=True)], axis=-1
            ),
        }

    def modes(self, depth: int, times: int = 61) -> Numbers:
        """Strengths of the modes of a balanced deep linear network on white data, and the closed form.

        Returns
        -------
        time : ndarray, shape (times,)
        strength, exact : ndarray, shape (times, 3)
        error : ndarray, shape (3,)
            Largest difference for gradient descent with three step sizes.
        """
        X = white(self.inputs)
        y = X @ np.random.default_rng([self.seed, 2]).normal(size=(5, 3))
        flow = DeepNetworkFlow(X, y, hidden=(4,) * (depth - 1))
        start, ends = np.array([0.01, 0.02, 0.03]), np.linalg.svd(y.T @ X / len(X))[1]
        x, end = balanced_initial(flow, start), 3.0 * depth
        U, V = singular_vectors(flow)
        time = np.linspace(0.0, end, times)

        def strengths(stepper: Euler | RK4) -> Array:
            state, found = x, [start]
            for _ in range(times - 1):
                state = moved(flow, stepper, state, round(end / (times - 1) / stepper.dt))
                product = np.eye(5)
                for W, _ in flow.network.unpack(state):
                    product = product @ W
                found.append(np.diag(U.T @ product.T @ V))
            return np.array(found)

        exact = np.stack([mode_strength(time, a, b, depth) for a, b in zip(start, ends, strict=True)], axis=-1)
        errors = [np.abs(strengths(Euler(dt)) - exact).max() for dt in (2e-2, 1e-2, 5e-3)]
        return {"time": time, "strength": strengths(RK4(0.01)), "exact": exact, "error": np.array(errors)}

    def linearised(self, times: int = 41) -> Numbers:
        """ReLU networks beside their linearisation on the region of fixed gates at the start.

        Returns
        -------
        time : ndarray, shape (times,)
        distance : ndarray, shape (times, networks)
            |theta - theta_lin| / |theta(0)|.
        crossed : ndarray, shape (times, networks)
            Share of the gates of units and samples that are no longer what they were.
        off_diagonal, off_diagonal_linearised : ndarray, shape (times, networks)
            Largest change of an entry of G_l off its diagonal.
        """
        flow, start = self.flow("ReLU"), self.initial("ReLU")
        own = [flow.linearised(x) for x in start]
        time, x, other = np.linspace(0.0, DRIFT_TIME, times), start, start
        found: dict[str, list[Array]] = {
            name: [] for name in ("distance", "crossed", "off_diagonal", "off_diagonal_linearised")
        }
        gates, before = flow.network.gates_at(start, self.inputs), flow.balances(start)
        for _ in time:
            now = flow.network.gates_at(x, self.inputs)
            changed = [np.mean(a != b, axis=(-2, -1)) for a, b in zip(gates, now, strict=True)]
            found["distance"].append(np.linalg.norm(x - other, axis=-1) / np.linalg.norm(start, axis=-1))
            found["crossed"].append(np.mean(changed, axis=0))
            for name, state in (("off_diagonal", x), ("off_diagonal_linearised", other)):
                found[name].append(
                    _largest([b - a for a, b in zip(before, flow.balances(state), strict=True)], off=True)
                )
            count = round(DRIFT_TIME / (times - 1) / 0.01)
            x = moved(flow, RK4(0.01), x, count)
            other = np.array([moved(each, RK4(0.01), z, count) for each, z in zip(own, other, strict=True)])
        return {"time": time} | {name: np.array(values) for name, values in found.items()}

    def minimum(self, kind: str) -> Numbers:
        """Exponents of gradient descent at a minimum: a network that meets targets which it makes itself.

        Returns
        -------
        exponents : ndarray, shape (dim,)
            In descending order; they differ from what they tend to by about 1 / time.
        exact : ndarray, shape (dim,)
            ln|1 - dt h_j| / dt with the eigenvalues h_j of the Hessian.
        counts : ndarray of int, shape (2,)
            Parameters minus the rank of the Hessian, which is the number of exponents that vanish; and of conserved
            quantities.
        time : ndarray, shape ()
            Over which exponents were averaged.
        split, angle : ndarray, shape ()
            Number of exponents above the widest gap of those above -0.2, and the sine of the largest angle between the
            span of the covariant vectors of the others and that of as many eigenvectors of the Hessian. (Vectors of
            equal exponents are a random triangular basis of their span, too oblique to be compared.)
        """
        activation, biases = KINDS[kind]
        plain = self.flow(kind)
        theta = plain.initial(seed=self.seed + 2)
        flow = DeepNetworkFlow(
            self.inputs, plain.network.outputs(theta, self.inputs), hidden=(6, 6), activation=activation, biases=biases
        )
        h, eigenvectors = np.linalg.eigh(-flow.jvp(0.0, theta, np.eye(flow.dimension)))
        dt, intervals = float(0.5 / h[-1]), INTERVALS
        exact = np.log(1.0 - dt * h) / dt  # in descending order, as h ascends
        tangent = flow.tangent(Euler(dt))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DiagnosticWarning)  # exponents coincide: only common spans are determined
            clvs = tangent.ginelli(
                theta, intervals=intervals, warmup=intervals, tail=intervals, steps_per_interval=10, stride=intervals
            )
        split = int(np.argmax(np.where(exact[:-1] > -0.2, -np.diff(exact), 0.0))) + 1
        return {
            "exponents": np.sort(clvs.exponents)[::-1],
            "exact": exact,
            "counts": np.array([int(np.sum(np.abs(h) < 1e-10 * h[-1])), flow.vanishing_exponents]),
            "time": np.array(10 * intervals * dt),
            "split": np.array(split),
            "angle": np.sin(principal_angles(clvs.vectors[0][:, split:], eigenvectors[:, split:])[-1]),
        }


def moved(flow: DeepNetworkFlow, stepper: Euler | RK4, x: Array, steps: int) -> Array:
    """States (..., dim) after some steps, all at once."""
    for _ in range(steps):
        x = stepper.step(flow, 0, 0.0, x)
    return x


def _without_biases(flow: DeepNetworkFlow, x: Array) -> list[Array]:
    return [G + np.swapaxes(b, -1, -2) * b for G, (_, b) in zip(flow.balances(x), flow.network.unpack(x), strict=False)]


def _largest(changes: list[Array], *, diagonal: bool = False, off: bool = False) -> Array:
    """Largest size of an entry over all layers, (...); of the diagonals, or off them."""
    select: Callable[[Array], Array] = (
        (lambda G: np.abs(np.diagonal(G, axis1=-2, axis2=-1)).max(axis=-1))
        if diagonal
        else (lambda G: np.abs(G * (1.0 - off * np.eye(G.shape[-1]))).max(axis=(-2, -1)))
    )
    return np.max([select(G) for G in changes], axis=0)


def _square(W: Array) -> Array:
    return np.sum(W**2, axis=(-2, -1))


def _inner(W: Array, V: Array) -> Array:
    return np.sum(W * V, axis=(-2, -1))
