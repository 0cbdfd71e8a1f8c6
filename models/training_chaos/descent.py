"""Gradient descent of a classifier, a map of its weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import attrs
import numpy as np

from dynsys import InvalidInputError, Map
from dynsys.compiled.kernel import Kernel
from dynsys.errors import positive, whole_number
from dynsys.models.activations import Activation, Sigmoid
from dynsys.models.networks.losses import CrossEntropy, labels_of
from dynsys.models.networks.perceptron import Perceptron, whole_widths
from dynsys.models.networks.perceptron_kernel import perceptron_kernel
from dynsys.systems.minibatches import table

Array = np.ndarray

BLOCK_NUMBERS = 40_000  # states x samples x units that are moved at once: they stay in the cache
LARGEST_DENSE = 400  # weights and biases of which all eigenvalues are computed where one is asked for


def _inputs(value: Any) -> Array:
    return table("X", value)


def _hidden(value: Any) -> tuple[int, ...]:
    return whole_widths("a width of hidden", value)


def _rate(value: Any) -> float:
    return positive("learning_rate", value)


@attrs.frozen(eq=False)
class GradientDescent(Map):
    """Full-batch gradient descent of a multilayer perceptron that classifies, a map of its weights and biases.

        theta' = theta - eta grad L(theta),        L = -mean over the samples of ln p_label,   p = softmax(z),
        z = W_m a_{m-1} + b_m,                     a_l = sigma(W_l a_{l-1} + b_l),   a_0 = x

    The tangent is exact, V' = V - eta H V, with the Hessian H of L. H V is the derivative of back-propagation along the
    columns of V; H itself is not needed.

    The softmax does not see what is added to all outputs alike: W_m -> W_m + 1 c^T and b_m -> b_m + c_0 leave L as it
    is, and inputs that the samples never combine do not either. H vanishes along these directions at every state: they
    are covariant, and so many exponents are zero, whatever the learning rate (`vanishing_exponents`).

    Attributes
    ----------
    X : array_like, shape (samples, inputs)
    labels : array_like of int, shape (samples,)
        Classes 0, 1, ...
    hidden : tuple of int
        Widths of the hidden layers; () is multinomial logistic regression.
    activation : Activation
    learning_rate : float
        Eta. The unit of time is one step.

    References
    ----------
    K. Danovski, M. C. Soriano, L. Lacasa, Front. Complex Syst. 2, 1367957 (2024), arXiv:2404.05782; B. A. Pearlmutter,
    Neural Comput. 6, 147 (1994).

    Examples
    --------
    >>> from dynsys.models.training_chaos import iris
    >>> descent = GradientDescent(*iris(seed=0), hidden=(10,), learning_rate=0.01)
    >>> theta = descent.initial(seed=1)
    >>> descent.dimension, bool(descent.loss(descent.step(0, theta)) < descent.loss(theta))
    (83, True)
    """

    X: Array = attrs.field(converter=_inputs)
    labels: Array = attrs.field(converter=labels_of)
    hidden: tuple[int, ...] = attrs.field(converter=_hidden)
    activation: Activation = attrs.field(factory=Sigmoid, kw_only=True)
    learning_rate: float = attrs.field(default=0.01, converter=_rate, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if len(self.X) != len(self.labels):
            raise InvalidInputError(f"X has {len(self.X)} samples but there are {len(self.labels)} labels")
        assert self.network  # which checks the activation

    @cached_property
    def network(self) -> Perceptron:
        """The network, and the order of the state."""
        return Perceptron((self.X.shape[1], *self.hidden, int(self.labels.max()) + 1), self.activation)

    @cached_property
    def objective(self) -> CrossEntropy:
        """The function of the outputs of which L is the value."""
        return CrossEntropy(self.labels)

    @property
    def dimension(self) -> int:
        """Number of weights and biases."""
        return self.network.dimension

    @property
    def vanishing_exponents(self) -> int:
        """Directions that never change the loss: those of the softmax, and inputs that the samples do not span."""
        first, last = self.network.layers[0], self.network.layers[-1]
        unseen = first[0] + 1 - int(np.linalg.matrix_rank(np.column_stack([self.X, np.ones(len(self.X))])))
        both = 0 if self.hidden else unseen
        return last[0] + 1 + unseen * first[1] - both

    def step(self, n: int, x: Array) -> Array:
        """The states, shape (..., dim), after a step."""
        return x - self.learning_rate * self.gradient(x)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """V - eta H V at one state, shape (dim, k), without H."""
        return V - self.learning_rate * self.hessian_product(x, V)

    def loss(self, x: Array) -> Array:
        """L at the states x, shape (...)."""
        return self._over_blocks(lambda block: self.objective.value(self.network.outputs(block, self.X)), x, ())

    def accuracy(self, x: Array) -> Array:
        """Share of the samples whose label has the largest output, shape (...)."""
        return self._over_blocks(
            lambda block: np.mean(self.network.outputs(block, self.X).argmax(-1) == self.labels, -1), x, ()
        )

    def gradient(self, x: Array) -> Array:
        """Grad L at the states x, shape (..., dim), by back-propagation."""
        return self._over_blocks(
            lambda block: self.network.gradient(block, self.X, self.objective), x, (self.dimension,)
        )

    def hessian_product(self, x: Array, V: Array) -> Array:
        """H V at one state, shape (dim, k)."""
        return self.network.hessian_product(x, V, self.X, self.objective)

    def sharpness(self, x: Array) -> float:
        """Largest eigenvalue of H at one state: above 2 / eta, a minimum repels gradient descent."""
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

    def initial(self, *, members: int | None = None, seed: int = 0) -> Array:
        """Weights N(0, 1) and biases 0, shape (dim,), or (members, dim): the first of many are the many's first."""
        shape = (self.dimension,) if members is None else (whole_number("members", members, 1), self.dimension)
        return self.network.weights * np.random.default_rng(whole_number("seed", seed, 0)).normal(size=shape)

    def kernel(self) -> Kernel | None:
        """The same step for the compiler."""
        return perceptron_kernel(self.network, self.X, self.objective, rate=self.learning_rate, keep=1.0)

    def _over_blocks(self, function: Callable[[Array], Array], x: Array, shape: tuple[int, ...]) -> Array:
        """A function of states (states, dim), block by block, of states (..., dim)."""
        states = x.reshape(-1, self.dimension)
        found = np.empty((len(states), *shape))
        block = max(1, BLOCK_NUMBERS // (len(self.X) * max(self.network.widths)))
        for first in range(0, len(states), block):
            found[first : first + block] = function(states[first : first + block])
        return found.reshape((*x.shape[:-1], *shape))
