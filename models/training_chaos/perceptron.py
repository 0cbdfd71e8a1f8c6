"""The order of the weights and biases of a multilayer perceptron."""

from __future__ import annotations

import attrs
import numpy as np

Array = np.ndarray


@attrs.frozen
class Perceptron:
    """Layers of units, every unit connected with all of the layer before; the state holds W_1, b_1, W_2, b_2, ...

    Attributes
    ----------
    widths : tuple of int
        Units of the layers, the inputs first and the outputs last.

    Examples
    --------
    >>> Perceptron((4, 10, 3)).dimension, Perceptron((4, 10, 3)).weights.sum()
    (83, np.int64(70))
    """

    widths: tuple[int, ...]

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of every layer of weights."""
        return list(zip(self.widths, self.widths[1:], strict=False))

    @property
    def dimension(self) -> int:
        """Number of weights and biases."""
        return sum((inputs + 1) * outputs for inputs, outputs in self.layers)

    @property
    def weights(self) -> Array:
        """Which components of the state are weights, not biases, shape (dim,)."""
        return np.concatenate([np.repeat([True, False], [i * o, o]) for i, o in self.layers])

    def unpack(self, theta: Array) -> list[tuple[Array, Array]]:
        """W_l^T, (..., inputs, outputs), and b_l, (..., 1, outputs), of every layer of states (..., dim)."""
        found, lead, at = [], theta.shape[:-1], 0
        for i, o in self.layers:
            end = at + i * o
            found.append((theta[..., at:end].reshape(*lead, i, o), theta[..., None, end : end + o]))
            at = end + o
        return found

    def pack(self, layers: list[tuple[Array, Array]]) -> Array:
        """The states of given W_l^T and b_l, (..., outputs): the inverse of `unpack`."""
        parts = [part.reshape(*b.shape[:-1], -1) for W, b in layers for part in (W, b)]
        return np.concatenate(parts, axis=-1)
