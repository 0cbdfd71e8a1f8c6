"""Gradient flow of a deep network, which under Euler steps is gradient descent, and what it conserves."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.compiled.kernel import Kernel
from dynsys.errors import one_of, positive, real_or_complex, whole_number, whole_seed
from dynsys.models.activations import Activation, Linear
from dynsys.models.networks.losses import CrossEntropy, HalfSquares, KindOfLoss, Loss
from dynsys.models.networks.perceptron import Perceptron, whole_widths
from dynsys.models.networks.perceptron_kernel import batch_kernel, whole_kernel
from dynsys.systems.minibatches import DataFlow, table

Array = np.ndarray

BLOCK_NUMBERS = 40_000  # states x samples x units that are moved at once: they stay in the cache
LARGEST_DENSE = 400  # weights and biases of which all eigenvalues are computed where one is asked for


def _inputs(value: Any) -> Array:
    return table("X", value)


def _hidden(value: Any) -> tuple[int, ...]:
    return whole_widths("a width of hidden", value)


def _kind_of_loss(value: Any) -> KindOfLoss:
    if not callable(value) or (isinstance(value, type) and not issubclass(value, Loss)):
        raise InvalidInputError(f"loss must be a kind of Loss such as HalfSquares or CrossEntropy, got {value!r:.100}")
    kind: KindOfLoss = value
    return kind


def _objective(kind: KindOfLoss, y: Any) -> Loss:
    objective = kind(y)
    if not isinstance(objective, Loss):
        raise InvalidInputError(f"loss must make a Loss of y, got {objective!r:.100}")
    return objective


def _targets(value: Any, flow: Any) -> Array:
    return _objective(flow.kind_of_loss, value).y


@attrs.frozen(eq=False)
class DeepNetworkFlow(DataFlow):
    """Gradient flow of a deep network, dtheta/dt = -grad L: of regression by least squares, or of a classifier.

        z = W_m a_{m-1} + b_m,      a_l = sigma(W_l a_{l-1} + b_l),      a_0 = x
        L = 1/2 mean of |y - z|^2   (HalfSquares),     or     -mean of ln softmax(z)_y   (CrossEntropy)

    Under `Euler(dt)` a step is gradient descent with learning rate dt. The unit of time is the learning rate times the
    number of steps: an exponent per step is the learning rate times one per time. Tangents are exact: H V, with the
    Hessian H of L, is the derivative of back-propagation along the columns of V; H itself is not needed.

    For a linear network without biases, W = W_m ... W_1, under HalfSquares, with the correlations S_yx, S_xx of the
    data,

        dW_l/dt = (W_m ... W_{l+1})^T (S_yx - W S_xx) (W_{l-1} ... W_1)^T.

    What it conserves whatever the loss (see `balances`): of a linear network, all of

        G_l = W_{l+1}^T W_{l+1} - W_l W_l^T - b_l b_l^T,      l = 1, ..., m - 1;

    of ReLU and leaky ReLU, for which sigma(c z) = c sigma(z) for c > 0, the diagonal of each G_l; so that in both
    |W_l|^2 + |b_l|^2 and |W_{l+1}|^2 grow at one rate. Gradient descent keeps them to first order in its rate.

    Along other directions L never changes, so that gradient descent keeps them whatever its rate: W_1 -> W_1 + c u^T
    for inputs u that the samples never combine; and W_m -> W_m + 1 c^T, b_m -> b_m + c_0 under CrossEntropy, as the
    softmax does not see what is added to all outputs alike.

    Attributes
    ----------
    X : array_like, shape (samples, inputs)
    y : array_like, shape (samples,) or (samples, outputs)
        Targets, or, for CrossEntropy, labels 0, 1, ... of shape (samples,).
    hidden : tuple of int
        Widths of the hidden layers; () is linear, or multinomial logistic regression.
    loss : kind of Loss
        HalfSquares, CrossEntropy, or another subclass of `Loss`; or a function that makes a Loss of y, such as
        partial(CrossEntropy, classes=10). As a field it is `kind_of_loss`.
    activation : Activation
    biases, scaled : bool
        Whether there are b_l, and whether the sums of z_l are divided by the root of their length: see `Perceptron`.
    gates : sequence of ndarray, shapes (samples, units), or None
        See `Perceptron`: `linearised` makes them.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, arXiv:1312.6120; S. S. Du, W. Hu, J. D. Lee, arXiv:1806.00900;
    A. Basu, S. Mukherjee, S. Vasudevan, arXiv:1904.10689; K. Danovski, M. C. Soriano, L. Lacasa, arXiv:2404.05782;
    B. A. Pearlmutter, Neural Comput. 6, 147 (1994).

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(20, 5))
    >>> flow = DeepNetworkFlow(X, X[:, :3], hidden=(6, 6))
    >>> flow.dimension, flow.vanishing_exponents
    (84, 42)

    A classifier, and a step of its gradient descent:

    >>> from dynsys import Euler
    >>> from dynsys.models.activations import Sigmoid
    >>> from dynsys.models.networks.tasks import iris
    >>> flow = DeepNetworkFlow(*iris(seed=0), hidden=(10,), loss=CrossEntropy, activation=Sigmoid(), biases=True)
    >>> theta = flow.initial(scheme="normal", seed=1)
    >>> after = Euler(dt=0.01).step(flow, 0, 0.0, theta)
    >>> flow.dimension, flow.vanishing_exponents, bool(flow.loss(after) < flow.loss(theta))
    (83, 11, True)
    """

    kind_of_loss: KindOfLoss = attrs.field(default=HalfSquares, converter=_kind_of_loss, kw_only=True, alias="loss")
    X: Array = attrs.field(converter=_inputs)
    y: Array = attrs.field(converter=attrs.Converter(_targets, takes_self=True))  # type: ignore[misc]
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
        widths = (self.X.shape[1], *self.hidden, self.objective.outputs)
        return Perceptron(widths, self.activation, biases=self.biases, scaled=self.scaled, gates=self.gates)

    @cached_property
    def objective(self) -> Loss:
        """The function of the outputs of which L is the value."""
        return _objective(self.kind_of_loss, self.y)

    @property
    def dimension(self) -> int:
        """Number of weights and biases."""
        return self.network.dimension

    def loss(self, x: Array) -> Array:
        """L at the states x, shape (...)."""
        return self._over_blocks(lambda block: self.objective.value(self.network.outputs(block, self.X)), x, ())

    def accuracy(self, x: Array) -> Array:
        """Share of the samples whose label has the largest output, shape (...); of a classifier alone."""
        if not isinstance(self.objective, CrossEntropy):
            kind = type(self.objective).__name__
            raise InvalidInputError(f"accuracy is that of a classifier, with loss=CrossEntropy; the loss is {kind}")
        return self._over_blocks(
            lambda block: np.mean(self.network.outputs(block, self.X).argmax(-1) == self.y, -1), x, ()
        )

    def gradient(self, x: Array) -> Array:
        """Grad L at the states x, shape (..., dim), by back-propagation."""
        return self._over_blocks(
            lambda block: self.network.gradient(block, self.X, self.objective), x, (self.dimension,)
        )

    def hessian_product(self, x: Array, V: Array) -> Array:
        """H V at one state, shape (dim, k), without the Hessian H."""
        return self.network.hessian_product(x, V, self.X, self.objective)

    def sharpness(self, x: Array) -> float:
        """Largest eigenvalue of H at one state; NaN for one that is not finite.

        Above 2 / eta a minimum repels gradient descent with learning rate eta.
        """
        if not np.isfinite(x).all():
            return float("nan")
        if self.dimension <= LARGEST_DENSE:
            return float(np.linalg.eigvalsh(self.hessian_product(x, np.eye(self.dimension)))[-1])
        from scipy.sparse.linalg import LinearOperator, eigsh

        hessian = LinearOperator(
            (self.dimension, self.dimension), lambda v: self.hessian_product(x, v.reshape(-1, 1))[:, 0], dtype=float
        )
        start = np.random.default_rng(0).normal(size=self.dimension)
        return float(eigsh(hessian, k=1, which="LA", v0=start, return_eigenvectors=False)[0])

    def vector_field(self, t: float, x: Array) -> Array:
        """-grad L at the states x, shape (..., dim)."""
        return -self.gradient(x)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """-H V at one state, shape (dim, k)."""
        return -self.hessian_product(x, V)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.X)

    def on(self, rows: Array) -> DeepNetworkFlow:
        """The flow on some of the samples."""
        gates = None if self.gates is None else tuple(gate[rows] for gate in self.gates)
        return attrs.evolve(self, X=self.X[rows], y=self.y[rows], gates=gates, loss=self.objective.kind)

    def batch_kernel(self, size: int) -> Kernel | None:
        """The same on batches of `size` samples for the compiler; see `fallback`."""
        return batch_kernel(self.network, self.X, self.objective, size)

    def kernel(self) -> Kernel | None:
        """The same on all samples for the compiler: none is gathered."""
        return self._whole_kernel

    @cached_property
    def _whole_kernel(self) -> Kernel | None:  # every call of a pass asks
        return whole_kernel(self.network, self.X, self.objective)

    @property
    def fallback(self) -> str:
        """What keeps it from being compiled: fixed gates, an activation or a loss without source; or empty."""
        if self.gates is not None:
            return "networks with fixed gates are not compiled; say so by backend='numpy'"
        if self.activation.fallback:
            return self.activation.fallback
        if not self.objective.source:
            return (
                f"{type(self.objective).__name__} has no source for the compiler: give it `source` (see "
                "dynsys.models.networks.Loss), or say backend='numpy'"
            )
        return ""

    def linearised(self, x: Array) -> DeepNetworkFlow:
        """The flow on the region of fixed gates about one state: sigma' of each unit and sample stays what it is at x.

        For ReLU and leaky ReLU it is the flow itself until a sample crosses a kink. NumPy steps it.
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
        parts = [G[(..., *self._entries(G.shape[-1]))] for G in self.balances(x)]
        return np.concatenate([np.zeros((*x.shape[:-1], 0)), *parts], axis=-1)

    def _entries(self, units: int) -> tuple[Array, Array]:
        """Those entries (i, j) of G_l that are conserved."""
        if isinstance(self.activation, Linear):
            return np.triu_indices(units)
        diagonal = np.arange(units if self.homogeneous else 0)
        return diagonal, diagonal

    @property
    def homogeneous(self) -> bool:
        """Whether sigma(c z) = c sigma(z) for c > 0: linear pieces that meet at 0."""
        return self.activation.piecewise_linear and set(self.activation.kinks) <= {0.0}

    @cached_property
    def vanishing_exponents(self) -> int:
        """Independent conserved quantities: directions that never change L, and what is conserved of all G_l.

        Those directions are counted exactly; beside them, the rank of the gradients of what is conserved of G_l, less
        their parts along those directions, at a state that is like most others. With minibatches they are as many:
        all hold for every sample.
        """
        first, last = self.network.layers[0], self.network.layers[-1]
        unseen, softmax = self._unseen, isinstance(self.objective, CrossEntropy)
        both = 0 if self.hidden else unseen.shape[1]  # of one layer, the sums over outputs of an unseen input are both
        constant = unseen.shape[1] * first[1] + softmax * (last[0] + self.biases - both)
        gradients = self._conserved_gradients(self.initial(seed=0) + 0.1)
        if not gradients.size:
            return constant
        layers = self.network.unpack(gradients)
        (W, b), (U, c) = layers[0], layers[-1]
        into = np.concatenate([W, b], axis=-2) if self.biases else W
        into = into - unseen @ (unseen.T @ into)
        layers[0] = (into[:, : first[0]], into[:, first[0] :])
        if softmax:
            layers[-1] = (U - U.mean(axis=-1, keepdims=True), c - c.mean(axis=-1, keepdims=True))
        parts = [part.reshape(len(gradients), -1) for layer in layers for part in layer[: 1 + self.biases]]
        rows = np.concatenate(parts, axis=1)
        return constant + int(np.linalg.matrix_rank(rows, tol=1e-8 * np.linalg.norm(gradients, 2)))

    @property
    def _unseen(self) -> Array:
        """Combinations of inputs and bias that vanish for all samples, orthonormal: (inputs + biases, number)."""
        inputs = self.network.scales[0] * self.X
        given = np.column_stack([inputs, np.ones(self.samples)]) if self.biases else inputs
        rank = np.linalg.matrix_rank(given)
        vectors: Array = np.linalg.svd(given, full_matrices=True)[2]
        return vectors[rank:].T

    def _conserved_gradients(self, x: Array) -> Array:
        """Gradients of `conserved` at one state, halved, (number, dim)."""
        places = self.network.unpack(np.arange(self.dimension))
        rows = [np.zeros((0, self.dimension))]
        for ((W, b), (U, _)), ((at_W, at_b), (at_U, _)) in zip(
            pairwise(self.network.unpack(x)), pairwise(places), strict=True
        ):
            entries = self._entries(W.shape[-1])
            found, numbers = np.zeros((len(entries[0]), self.dimension)), np.arange(len(entries[0]))[:, None]
            for i, j in (entries, entries[::-1]):
                found[numbers, at_U[i]] += 0.5 * U[j]
                found[numbers, at_W.T[i]] -= 0.5 * W.T[j]
                if self.biases:
                    found[numbers, at_b.T[i]] -= 0.5 * b.T[j]
            rows.append(found)
        return np.concatenate(rows)

    def initial(
        self,
        *,
        scheme: Literal["fan-in", "normal"] = "fan-in",
        scale: float = 1.0,
        members: int | None = None,
        seed: int = 0,
    ) -> Array:
        """Random states, shape (dim,), or (members, dim): the first of many are the many's first.

        "fan-in": weights N(0, scale^2 / inputs of the layer), biases 0; scaled networks have weights N(0, scale^2) and
        biases likewise, as it is usual for them. "normal": weights N(0, scale^2), biases 0.
        """
        one_of("scheme", scheme, "fan-in", "normal")
        shape = (self.dimension,) if members is None else (whole_number("members", members, 1), self.dimension)
        plain = self.scaled or scheme == "normal"
        of_weights = [1.0 if plain else i**-0.5 for i, _ in self.network.layers]
        of_biases = float(self.scaled and scheme == "fan-in")
        deviations = [
            np.repeat([d, of_biases], [i * o, self.biases * o])
            for d, (i, o) in zip(of_weights, self.network.layers, strict=True)
        ]
        random = np.random.default_rng(whole_seed(seed))
        return positive("scale", scale) * np.concatenate(deviations) * random.normal(size=shape)

    def _over_blocks(self, function: Callable[[Array], Array], x: Array, shape: tuple[int, ...]) -> Array:
        """A function of states (..., dim), of blocks of states where there are many."""
        x = real_or_complex("x", x)
        block = max(1, BLOCK_NUMBERS // (len(self.X) * max(self.network.widths)))
        if x.size <= block * self.dimension:
            return function(x)
        states = x.reshape(-1, self.dimension)
        found = np.empty((len(states), *shape), dtype=x.dtype)
        for first in range(0, len(states), block):
            found[first : first + block] = function(states[first : first + block])
        return found.reshape((*x.shape[:-1], *shape))
