"""The equations of a large network for the compiler: J V by matrix products, with no array of dim x dim numbers.

Back-propagation and its derivative along each tangent vector, as for networks of any depth, on the state in the order
of the paper. A step takes some (1 + 3 k) times the products of a step without vectors; the work array holds the units
of a batch and one vector.
"""

from __future__ import annotations

from typing import Literal

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel
from dynsys.models.activations import Activation
from dynsys.models.networks.losses import Loss
from dynsys.models.networks.perceptron import Perceptron
from dynsys.models.networks.perceptron_kernel import batch_kernel, whole_kernel
from dynsys.models.networks.three_layer.layout import Layout

Array = np.ndarray


@attrs.frozen(eq=False)
class Squares(Loss):
    """C = |y - z|^2, mean or sum over the samples: Eq. (2) of the paper."""

    reduction: Literal["mean", "sum"] = "mean"

    def value(self, z: Array) -> Array:
        """C, shape (...)."""
        return self._scale * np.sum((z - self.y) ** 2, axis=(-2, -1))

    def errors(self, z: Array) -> Array:
        """dC/dz, shape of z."""
        return 2.0 * self._scale * (z - self.y)

    def errors_along(self, z: Array, dz: Array) -> Array:
        """The derivative of dC/dz along dz."""
        return 2.0 * self._scale * dz

    @property
    def source(self) -> str:
        """The last two for the compiler."""
        return SQUARES.format(factor="2.0 / z.shape[1]" if self.reduction == "mean" else "2.0")

    @property
    def _scale(self) -> float:
        return 1.0 / len(self.y) if self.reduction == "mean" else 1.0


SQUARES = """
@njit
def errors(z, e, targets):
    for q in range(z.shape[0]):
        for s in range(z.shape[1]):
            e[q, s] = {factor} * (z[q, s] - targets[q, s])


@njit
def errors_along(z, dz, de, targets):
    for q in range(z.shape[0]):
        for s in range(z.shape[1]):
            de[q, s] = {factor} * dz[q, s]

"""


def large_kernel(layout: Layout, activation: Activation, loss: Squares, X: Array, size: int | None) -> Kernel | None:
    """The kernel of a network on batches of `size` samples, or on all of them (None).

    None for an activation without source.
    """
    network = Perceptron((layout.n1, layout.n2, layout.n3), activation)
    w21, w32, b1, b2 = (block.start for block in layout.blocks.values())
    places = ((w21, b1), (w32, b2))
    if size is None:
        return whole_kernel(network, X, loss, places)
    return batch_kernel(network, X, loss, size, places)
