"""Multilayer perceptrons: the order of their weights, outputs, gradients, and products with the Hessian of a loss."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import real_or_complex, whole_number
from dynsys.models.activations import Activation
from dynsys.models.networks.losses import Loss

Array = np.ndarray

Layers = list[tuple[Array, Array]]
Units = list[tuple[Array, Array, Array]]  # outputs of the units of a layer, and two derivatives by their inputs


def whole_widths(name: str, value: Any) -> tuple[int, ...]:
    """Widths of layers as a tuple of ints, of one layer or several, or an error that names them and what came."""
    several = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim)
    widths = value if several else [value]
    return tuple(whole_number(name, width, 1) for width in widths)


def _widths(value: Any) -> tuple[int, ...]:
    widths = whole_widths("a width", value)
    if len(widths) < 2:
        raise InvalidInputError(f"widths must be those of inputs and outputs at least, got {value!r}")
    return widths


def _activation(value: Any) -> Activation:
    if not isinstance(value, Activation):
        raise InvalidInputError(f"activation must be an object such as Tanh(), got {value!r:.100}")
    return value


@attrs.frozen(eq=False)
class Perceptron:
    """Layers of units, each connected with all of the layer before; the state holds W_1, b_1, W_2, b_2, ...

        z_l = c_l W_l a_{l-1} + b_l,      a_l = sigma(z_l) of hidden layers,      a_0 = x

    with c_l = 1, or, in the scaling of the neural tangent kernel, 1 / (inputs of the layer)^(1/2). States may have any
    leading axes; outputs have that of the samples after them.

    Attributes
    ----------
    widths : tuple of int
        Units of the layers, the inputs first and the outputs last.
    activation : Activation
    biases : bool
        Whether there are b_l.
    scaled : bool
        Whether weights are scaled by the width of the layer before.
    gates : sequence of ndarray, shapes (samples, units), or None
        Instead of the activation, for every hidden layer what each unit multiplies its input by, sample by sample: the
        linearisation of a network of linear pieces on the region where these do not change.

    Examples
    --------
    >>> from dynsys.models.activations import Tanh
    >>> Perceptron((4, 10, 3), Tanh()).dimension, int(Perceptron((4, 10, 3), Tanh()).weights.sum())
    (83, 70)
    """

    widths: tuple[int, ...] = attrs.field(converter=_widths)
    activation: Activation = attrs.field(converter=_activation)
    biases: bool = True
    scaled: bool = False
    gates: tuple[Array, ...] | None = None

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of every layer of weights."""
        return list(zip(self.widths, self.widths[1:], strict=False))

    @property
    def scales(self) -> list[float]:
        """The factors c_l."""
        return [inputs**-0.5 if self.scaled else 1.0 for inputs, _ in self.layers]

    @property
    def dimension(self) -> int:
        """Number of weights and biases."""
        return sum((inputs + self.biases) * outputs for inputs, outputs in self.layers)

    @property
    def weights(self) -> Array:
        """Which components of the state are weights, not biases, shape (dim,)."""
        return np.concatenate([np.repeat([True, False], [i * o, self.biases * o]) for i, o in self.layers])

    def unpack(self, theta: Array) -> Layers:
        """W_l^T, (..., inputs, outputs), and b_l, (..., 1, outputs), of every layer of states (..., dim)."""
        found, lead, at = [], theta.shape[:-1], 0
        for i, o in self.layers:
            W = theta[..., at : at + i * o].reshape(*lead, i, o)
            at += i * o
            b = theta[..., None, at : at + o] if self.biases else np.zeros((1, o))
            at += self.biases * o
            found.append((W, b))
        return found

    def pack(self, layers: Layers) -> Array:
        """The states of given W_l^T and b_l, (..., outputs): the inverse of `unpack`."""
        parts = [part.reshape(*b.shape[:-1], -1) for W, b in layers for part in ((W, b) if self.biases else (W,))]
        return np.concatenate(parts, axis=-1)

    def forward(self, theta: Array, X: Array) -> tuple[Units, Array]:
        """The units of all layers but the last, the inputs first, and the outputs z, (..., samples, outputs)."""
        units = [(X, np.zeros(1), np.zeros(1))]
        *hidden, (W, b) = self.unpack(real_or_complex("theta", theta))
        *scales, last = self.scales
        for place, ((V, c), scale) in enumerate(zip(hidden, scales, strict=True)):
            z = scale * (units[-1][0] @ V) + c
            gate = None if self.gates is None else self.gates[place]
            units.append(self.activation.fused(z) if gate is None else (gate * z, gate, 0.0 * gate))
        return units, last * (units[-1][0] @ W) + b

    def outputs(self, theta: Array, X: Array) -> Array:
        """Outputs z of states (..., dim), shape (..., samples, outputs)."""
        return self.forward(theta, X)[1]

    def gates_at(self, theta: Array, X: Array) -> tuple[Array, ...]:
        """Sigma' of every hidden layer, (..., samples, units): the gates of a network of linear pieces."""
        return tuple(s1 for _, s1, _ in self.forward(theta, X)[0][1:])

    def gradient(self, theta: Array, X: Array, loss: Loss) -> Array:
        """Gradient of a loss at states (..., dim), by back-propagation."""
        units, z = self.forward(theta, X)
        return self.back(theta, units, loss.errors(z))

    def back(self, theta: Array, units: Units, e: Array) -> Array:
        """The sum of e dz / dtheta over samples and outputs, (..., dim), with e of shape (..., samples, outputs)."""
        found: Layers = []
        for (W, _), (a, s1, _), scale in zip(self.unpack(theta)[::-1], units[::-1], self.scales[::-1], strict=True):
            found.append((scale * (a.mT @ e), e.sum(axis=-2)))
            if a is not units[0][0]:
                e = s1 * (scale * (e @ W.mT))
        return self.pack(found[::-1])

    def hessian_product(self, theta: Array, V: Array, X: Array, loss: Loss) -> Array:
        """The Hessian of a loss at one state times the columns of V, shape (dim, k), without the Hessian.

        The derivative of back-propagation along each column (B. A. Pearlmutter, Neural Comput. 6, 147 (1994)).
        """
        layers, changes, scales = self.unpack(theta), self.unpack(V.T), self.scales
        units, z = self.forward(theta, X)
        da, changed = np.zeros_like(X), []
        for (W, _), (dW, db), (a, _, _), (_, s1, s2), scale in zip(
            layers, changes, units, [*units[1:], (z, np.ones(1), np.zeros(1))], scales, strict=True
        ):
            dz = scale * (a @ dW + da @ W) + (db if self.biases else 0.0)
            changed.append((da, s2 * dz))
            da = s1 * dz
        e, de = loss.errors(z), loss.errors_along(z, da)
        found: Layers = []
        for place in reversed(range(len(layers))):
            (W, _), (dW, _), (a, s1, _), scale = layers[place], changes[place], units[place], scales[place]
            da = changed[place][0]
            found.append((scale * (da.mT @ e + a.T @ de), de.sum(axis=-2)))
            if place:
                back = scale * (e @ W.T)
                de = changed[place - 1][1] * back + s1 * (scale * (de @ W.T + e @ dW.mT))
                e = s1 * back
        return self.pack(found[::-1]).T

    def output_gradients(self, theta: Array, X: Array) -> Array:
        """Derivatives of every output of every sample by the state, at one state: (samples, outputs, dim)."""
        units, z = self.forward(theta, X)
        samples, outputs = z.shape
        e = np.zeros((samples, outputs, samples, outputs))
        e[np.arange(samples)[:, None], np.arange(outputs), np.arange(samples)[:, None], np.arange(outputs)] = 1.0
        return self.back(theta, units, e)
