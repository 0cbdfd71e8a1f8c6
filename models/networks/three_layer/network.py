"""The learning network: gradient flow of the weights of a three-layer network, Eqs. (1)-(6) of the paper."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.compiled.kernel import Kernel
from dynsys.errors import one_of, real_or_complex, whole_number, whole_seed
from dynsys.models.activations import Activation, Linear, ReLU
from dynsys.models.networks.three_layer import jacobian as paper
from dynsys.models.networks.three_layer import loss as symbolic
from dynsys.models.networks.three_layer.compiled import LARGEST_WITH_MATRIX, network_kernel
from dynsys.models.networks.three_layer.layout import Layout
from dynsys.models.networks.three_layer.matrix_free import Squares, large_kernel
from dynsys.systems.minibatches import DataFlow, table

Array = np.ndarray


def _inputs(value: Any) -> Array:
    return table("X", value)


def _targets(value: Any) -> Array:
    return table("y", value)


LOSS_NUMBERS = 1_000_000  # states x samples x units that `loss` holds at once


@attrs.frozen(eq=False)
class ThreeLayerGradientFlow(DataFlow):
    """Gradient flow of the weights of a three-layer network, theta' = -grad C(theta).

    With N1 inputs, N2 hidden units and N3 outputs, for one sample (x, y),

        d = W21 x + b1,   a2 = W32 sigma(d) + b2,   C = |y - a2|^2                                (1, 2)
        W21' = 2 (sigma'(d) * W32^T e) x^T,   W32' = 2 e sigma(d)^T,                              (3, 4)
        b1'  = 2 sigma'(d) * W32^T e,         b2'  = 2 e,        e = y - a2,                      (5, 6)

    averaged or summed over the samples. The state is the columns of W21, the columns of W32, b1, b2; its dimension is
    Q = N1 N2 + N2 N3 + N2 + N3. Under `Euler(dt)` a step is gradient descent with learning rate dt; the unit of time
    is the learning rate times the number of steps. Tangents need J V alone, never the matrix J: of networks of tens of
    thousands of weights, too, a step with k vectors takes a few times k steps without.

    Attributes
    ----------
    X : array_like, shape (samples, N1)
    y : array_like, shape (samples,) or (samples, N3)
    hidden : int
        N2.
    activation : Activation
    reduction : "mean" or "sum"
        Cost of a batch: mean over its samples (our default; the paper does not say, its numbers speak for it) or sum.

    References
    ----------
    arXiv:2405.00743, Secs. II-III; misprints of the paper that are corrected here: docs/misprints.md.

    Examples
    --------
    >>> from dynsys import Euler
    >>> from dynsys.models.activations import Tanh
    >>> from dynsys.models.weight_dynamics import regression_task
    >>> flow = ThreeLayerGradientFlow(*regression_task(samples=100, seed=0), hidden=2, activation=Tanh())
    >>> theta = flow.initial(scheme="he", seed=1)
    >>> flow.dimension, theta.shape
    (9, (9,))
    """

    X: Array = attrs.field(converter=_inputs)
    y: Array = attrs.field(converter=_targets)
    hidden: int = 2
    activation: Activation = attrs.field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        if len(self.X) != len(self.y):
            raise InvalidInputError(f"X has {len(self.X)} samples but y has {len(self.y)}")
        whole_number("hidden", self.hidden, 1)
        if not isinstance(self.activation, Activation):
            raise InvalidInputError(f"activation must be an object such as Tanh(), got {self.activation!r:.100}")

    @property
    def layout(self) -> Layout:
        """N1, N2, N3 and the order of the state."""
        return Layout(self.X.shape[1], int(self.hidden), self.y.shape[1])

    @property
    def dimension(self) -> int:
        """Q, the number of weights and biases."""
        return self.layout.dimension

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.X)

    def on(self, rows: Array) -> ThreeLayerGradientFlow:
        """The flow on some of the samples."""
        return attrs.evolve(self, X=self.X[rows], y=self.y[rows])

    def output(self, theta: Array, X: Array | None = None) -> Array:
        """Network output a2, shape (..., samples, N3), on the inputs X (default: the data)."""
        w21, w32, b1, b2 = self.layout.unpack(real_or_complex("theta", theta))
        d = (self.X if X is None else X) @ w21 + b1[..., None, :]
        return self.activation.sigma(d) @ w32 + b2[..., None, :]

    def loss(self, theta: Array) -> Array:
        """Cost C(theta), mean or sum over the samples, shape (...). Memory is that of a block of states."""
        theta = real_or_complex("theta", theta)
        states = theta.reshape(-1, self.dimension)
        block = max(1, LOSS_NUMBERS // (self.samples * max(attrs.astuple(self.layout))))
        blocks = (states[i : i + block] for i in range(0, len(states), block))
        sums = [np.sum((self.y - self.output(each)) ** 2, axis=(-2, -1)) for each in blocks]
        return self.scale(self.samples) * np.concatenate(sums).reshape(theta.shape[:-1])

    def vector_field(self, t: float, x: Array) -> Array:
        """-grad C at the states x, shape (..., Q): Eqs. (3)-(6), back-propagation."""
        w21, w32, b1, b2 = self.layout.unpack(real_or_complex("x", x))
        s, s1, _ = self.activation.fused(self.X @ w21 + b1[..., None, :])
        e = self.y - (s @ w32 + b2[..., None, :])
        hidden = s1 * (e @ _transpose(w32))
        return self._velocity(self.X.T @ hidden, _transpose(s) @ e, hidden.sum(axis=-2), e.sum(axis=-2))

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """J(x) V without J, shape (Q, k): the derivative of back-propagation along each column of V."""
        w21, w32, b1, b2 = self.layout.unpack(real_or_complex("x", x))
        v21, v32, v1, v2 = self.layout.unpack(real_or_complex("V", V).T)
        s, s1, s2 = self.activation.fused(self.X @ w21 + b1)
        e = self.y - (s @ w32 + b2)
        dd = self.X @ v21 + v1[:, None, :]  # derivatives of d, sigma(d), e along the columns: (k, samples, .)
        ds = s1 * dd
        de = -(ds @ w32 + s @ v32 + v2[:, None, :])
        back = e @ w32.T
        hidden = s2 * dd * back + s1 * (de @ w32.T + e @ _transpose(v32))
        return self._velocity(self.X.T @ hidden, _transpose(ds) @ e + s.T @ de, hidden.sum(axis=-2), de.sum(axis=-2)).T

    def jacobian(self, t: float, x: Array) -> Array:
        """J(x) = -Hessian of C, shape (Q, Q): the paper's Eqs. (8)-(23), corrected and vectorised."""
        return self.scale(self.samples) * paper.jacobian(self.layout, self.activation, self.X, self.y, x)

    def symbolic_jacobian(self, x: Array) -> Array:
        """J(x) from SymPy: second derivatives of the loss of one sample, summed over the samples."""
        sample = symbolic.sample_loss(self.layout).functions["sample"]
        _, hessian = sample(x, np.hstack([self.X, self.y]), (), self.activation.fused)
        return -self.scale(self.samples) * hessian

    @property
    def vanishing_exponents(self) -> int:
        """How many exponents vanish for sure: one for each independent quantity that the flow conserves.

        For ReLU, for every sample, |w_j|^2 + b_j^2 - |v_j|^2 of each hidden unit j (weights into it, its bias, weights
        out of it): N2. For a linear network the whole symmetric matrix W W^T + b1 b1^T - V^T V, of rank at most
        r = N1 + 1 + N3: N2 (N2 + 1) / 2 entries, of which those of an (N2 - r) x (N2 - r) block follow from the others.
        """
        n1, n2, n3 = attrs.astuple(self.layout)
        if isinstance(self.activation, ReLU):
            return n2
        dependent = max(0, n2 - (n1 + 1 + n3))
        independent = n2 * (n2 + 1) // 2 - dependent * (dependent + 1) // 2
        return independent if isinstance(self.activation, Linear) else 0

    def invariants(self, theta: Array) -> Array:
        """|w_j|^2 + b_j^2 - |v_j|^2 of every hidden unit j, shape (..., N2); conserved for ReLU and linear nets."""
        w21, w32, b1, _ = self.layout.unpack(real_or_complex("theta", theta))
        return np.sum(w21**2, axis=-2) + b1**2 - np.sum(w32**2, axis=-1)

    def initial(
        self,
        *,
        scheme: Literal["he", "wide"] = "he",
        biases: Literal["zero", "random"] = "zero",
        members: int | None = None,
        seed: int = 0,
    ) -> Array:
        """Random initial states, shape (Q,), or (members, Q): the first of many are the many's first.

        "he": weights N(0, 2 / fan-in) (He et al. 2015); "wide": N(0, 20^2). Biases are zero, or drawn like the weights
        of their layer.
        """
        one_of("scheme", scheme, "he", "wide")
        one_of("biases", biases, "zero", "random")
        n1, n2, n3 = attrs.astuple(self.layout)
        first, second = (20.0, 20.0) if scheme == "wide" else (np.sqrt(2 / n1), np.sqrt(2 / n2))
        of_biases = 1.0 if biases == "random" else 0.0
        deviations = np.repeat([first, second, of_biases * first, of_biases * second], [n1 * n2, n2 * n3, n2, n3])
        shape = (self.dimension,) if members is None else (whole_number("members", members, 1), self.dimension)
        return deviations * np.random.default_rng(whole_seed(seed)).normal(size=shape)

    def batch_kernel(self, size: int) -> Kernel | None:
        """The same equations for the compiler, if the activation has source."""
        if self.dimension > LARGEST_WITH_MATRIX:
            return large_kernel(self.layout, self.activation, Squares(self.y, self.reduction), self.X, size)
        return network_kernel(self.layout, self.activation, self.X, self.y, self.scale(size))

    def kernel(self) -> Kernel | None:
        """The same on all samples; those of a large network are not gathered in every step."""
        return self._whole_kernel if self.dimension > LARGEST_WITH_MATRIX else super().kernel()

    @cached_property
    def _whole_kernel(self) -> Kernel | None:  # every call of a pass asks
        return large_kernel(self.layout, self.activation, Squares(self.y, self.reduction), self.X, None)

    @property
    def fallback(self) -> str:
        """What keeps it from being compiled: an activation without source; or empty."""
        return self.activation.fallback

    def _velocity(self, w21: Array, w32: Array, b1: Array, b2: Array) -> Array:
        """2 scale times the blocks of a velocity, in the order of the state."""
        return 2.0 * self.scale(self.samples) * self.layout.pack(w21, w32, b1, b2)


def _transpose(matrices: Array) -> Array:
    return np.swapaxes(matrices, -1, -2)
