"""Gradient flow of a deep network, and what it conserves."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.compiled.kernel import Kernel
from dynsys.errors import one_of, positive, whole_number
from dynsys.models.activations import Activation, Linear
from dynsys.models.networks.losses import HalfSquares
from dynsys.models.networks.perceptron import Perceptron, whole_widths
from dynsys.models.networks.perceptron_kernel import perceptron_kernel
from dynsys.systems.minibatches import DataFlow, table
from dynsys.systems.system import finite_difference

Array = np.ndarray


def _inputs(value: Any) -> Array:
    return table("X", value)


def _targets(value: Any) -> Array:
    return table("y", value)


def _hidden(value: Any) -> tuple[int, ...]:
    return whole_widths("a width of hidden", value)


@attrs.frozen(eq=False)
class DeepNetworkFlow(DataFlow):
    """Gradient flow of a deep network, dtheta/dt = -grad L, with L = 1/2 mean over the samples of |y - z|^2.

        z = W_m a_{m-1} + b_m,      a_l = sigma(W_l a_{l-1} + b_l),      a_0 = x

    For a linear network without biases, W = W_m ... W_1, with the correlations S_yx, S_xx of the data,

        dW_l/dt = (W_m ... W_{l+1})^T (S_yx - W S_xx) (W_{l-1} ... W_1)^T.

    What it conserves (see `balances`): of a linear network, all of

        G_l = W_{l+1}^T W_{l+1} - W_l W_l^T - b_l b_l^T,      l = 1, ..., m - 1;

    of ReLU and leaky ReLU, for which sigma(c z) = c sigma(z) for c > 0, the diagonal of each G_l; so that in both
    |W_l|^2 + |b_l|^2 and |W_{l+1}|^2 grow at one rate. Of others, nothing.

    Attributes
    ----------
    X, y : array_like, shapes (samples, inputs) and (samples, outputs)
    hidden : tuple of int
        Widths of the hidden layers.
    activation : Activation
    biases, scaled : bool
        Whether there are b_l, and whether the sums of z_l are divided by the root of their length: see `Perceptron`.
    gates : sequence of ndarray, shapes (samples, units), or None
        See `Perceptron`: `linearised` makes them.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, arXiv:1312.6120; S. S. Du, W. Hu, J. D. Lee, arXiv:1806.00900;
    A. Basu, S. Mukherjee, S. Vasudevan, arXiv:1904.10689.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(20, 5))
    >>> flow = DeepNetworkFlow(X, X[:, :3], hidden=(6, 6))
    >>> flow.dimension, flow.vanishing_exponents
    (84, 42)
    """

    X: Array = attrs.field(converter=_inputs)
    y: Array = attrs.field(converter=_targets)
    hidden: tuple[int, ...] = attrs.field(converter=_hidden)
    activation: Activation = attrs.field(factory=Linear, kw_only=True)
    biases: bool = attrs.field(default=False, kw_only=True)
    scaled: bool = attrs.field(default=False, kw_only=True)
    gates: tuple[Array, ...] | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        one_of("reduction", self.reduction, "mean")
        if len(self.X) != len(self.y):
            raise InvalidInputError(f"X has {len(self.X)} samples but y has {len(self.y)}")
        assert self.network  # which checks the activation

    @cached_property
    def network(self) -> Perceptron:
        """The network, and the order of the state."""
        widths = (self.X.shape[1], *self.hidden, self.y.shape[1])
        return Perceptron(widths, self.activation, biases=self.biases, scaled=self.scaled, gates=self.gates)

    @cached_property
    def objective(self) -> HalfSquares:
        """The function of the outputs of which L is the value."""
        return HalfSquares(self.y)

    @property
    def dimension(self) -> int:
        """Number of weights and biases."""
        return self.network.dimension

    def loss(self, x: Array) -> Array:
        """L at the states x, shape (...)."""
        return self.objective.value(self.network.outputs(x, self.X))

    def vector_field(self, t: float, x: Array) -> Array:
        """-grad L at the states x, shape (..., dim)."""
        return -self.network.gradient(x, self.X, self.objective)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """-H V at one state, shape (dim, k), without the Hessian H."""
        return -self.network.hessian_product(x, V, self.X, self.objective)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.X)

    def on(self, rows: Array) -> DeepNetworkFlow:
        """The flow on some of the samples."""
        gates = None if self.gates is None else tuple(gate[rows] for gate in self.gates)
        return attrs.evolve(self, X=self.X[rows], y=self.y[rows], gates=gates)

    def batch_kernel(self, size: int) -> Kernel | None:
        """None: batches are not compiled."""
        return None

    def kernel(self) -> Kernel | None:
        """The same on all samples for the compiler."""
        return perceptron_kernel(self.network, self.X, self.objective, rate=1.0, keep=0.0)

    def linearised(self, x: Array) -> DeepNetworkFlow:
        """The flow on the region of fixed gates about one state: sigma' of each unit and sample stays what it is at x.

        For ReLU and leaky ReLU it is the flow itself until a sample crosses a kink.
        """
        if not self.activation.piecewise_linear:
            raise InvalidInputError(f"{self.activation!r} is not made of linear pieces: there are no gates to be fixed")
        if np.shape(x) != (self.dimension,):
            raise InvalidInputError(f"x must be one state of shape ({self.dimension},), got {np.shape(x)}")
        return attrs.evolve(self, gates=self.network.gates_at(x, self.X))

    def balances(self, x: Array) -> list[Array]:
        """G_l of every hidden layer at the states x, shapes (..., units, units)."""
        layers = self.network.unpack(x)
        return [U @ U.mT - W.mT @ W - b.mT * b for (W, b), (U, _) in pairwise(layers)]

    def conserved(self, x: Array) -> Array:
        """What is conserved of all G_l at the states x, shape (..., number): all entries, the diagonal, or nothing."""
        parts = [np.zeros((*x.shape[:-1], 0))]
        for G in self.balances(x):
            if isinstance(self.activation, Linear):
                parts.append(G[(..., *np.triu_indices(G.shape[-1]))])
            elif self.homogeneous:
                parts.append(np.diagonal(G, axis1=-2, axis2=-1))
        return np.concatenate(parts, axis=-1)

    @property
    def homogeneous(self) -> bool:
        """Whether sigma(c z) = c sigma(z) for c > 0: linear pieces that meet at 0."""
        return self.activation.piecewise_linear and set(self.activation.kinks) <= {0.0}

    @cached_property
    def vanishing_exponents(self) -> int:
        """Independent conserved quantities: the rank of their gradients at a state that is like most others."""
        x = self.initial(seed=0) + 0.1
        gradients = finite_difference(self.conserved, x, np.eye(self.dimension))
        if not gradients.size:
            return 0
        return int(np.linalg.matrix_rank(gradients, tol=1e-8 * np.linalg.norm(gradients, 2)))  # differences have noise

    def initial(self, *, scale: float = 1.0, members: int | None = None, seed: int = 0) -> Array:
        """Random states, shape (dim,) or (members, dim): weights N(0, scale^2 / inputs of the layer), biases 0.

        Scaled networks have weights N(0, scale^2) and biases likewise, as it is usual for them.
        """
        shape = (self.dimension,) if members is None else (whole_number("members", members, 1), self.dimension)
        of_weights = [1.0 if self.scaled else i**-0.5 for i, _ in self.network.layers]
        deviations = [
            np.repeat([d, float(self.scaled)], [i * o, self.biases * o])
            for d, (i, o) in zip(of_weights, self.network.layers, strict=True)
        ]
        random = np.random.default_rng(whole_number("seed", seed, 0))
        return positive("scale", scale) * np.concatenate(deviations) * random.normal(size=shape)
