"""Training methods as maps of the state: full batch, minibatches, momentum."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from dynsys import Euler, InvalidInputError, Map, NumpyTangent, TangentSystem
from dynsys.errors import positive, real_array
from dynsys.models.networks.deep_network import DeepNetworkFlow

Array = np.ndarray


def _rate(value: Any) -> float:
    return positive("rate", value)


def _momentum(value: Any) -> float:
    momentum = real_array("momentum", value)
    if momentum.shape or not 0.0 <= momentum < 1.0:
        raise InvalidInputError(f"momentum must lie in [0, 1), got {value!r:.100}")
    return float(momentum)


@attrs.frozen(eq=False)
class HeavyBall(Map):
    """Gradient descent with momentum, a map of weights theta and velocities v: the state is (theta, v).

        v' = mu v - eta grad L(theta),      theta' = theta + v'

    Attributes
    ----------
    flow : DeepNetworkFlow
        Gives -grad L.
    rate : float
        Learning rate eta.
    momentum : float
        mu; 0 is plain gradient descent.

    References
    ----------
    B. T. Polyak, USSR Comput. Math. Math. Phys. 4, 1 (1964).

    Examples
    --------
    >>> flow = DeepNetworkFlow([[0.0], [1.0]], [0.0, 1.0], hidden=(2,))
    >>> HeavyBall(flow, rate=0.1, momentum=0.9).dimension == 2 * flow.dimension
    True
    """

    flow: DeepNetworkFlow
    rate: float = attrs.field(converter=_rate)
    momentum: float = attrs.field(default=0.9, converter=_momentum)

    @property
    def dimension(self) -> int:
        """Weights, and as many velocities."""
        return 2 * self.flow.dimension

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        theta, v = np.split(x, 2, axis=-1)
        v = self.momentum * v + self.rate * self.flow.vector_field(0.0, theta)
        return np.concatenate([theta + v, v], axis=-1)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """The derivative of a step at one state times the columns of V, shape (dim, k)."""
        theta, _ = np.split(x, 2)
        dtheta, dv = np.split(V, 2)
        dv = self.momentum * dv + self.rate * self.flow.jvp(0.0, theta, dtheta)
        return np.concatenate([dtheta + dv, dv])


@attrs.frozen
class Method:
    """A way to train.

    Attributes
    ----------
    name : str
    batch : int
        Samples of a batch; 0: all.
    momentum : float
        Of `HeavyBall`, on full batches; the rate is then (1 - momentum) times as large, so that time is the same.
    """

    name: str
    batch: int = 0
    momentum: float = 0.0

    def tangent(self, flow: DeepNetworkFlow, rate: float, seed: int) -> TangentSystem:
        """Its steps with learning rate `rate`, with their tangent."""
        if self.momentum:
            return NumpyTangent(HeavyBall(flow, (1.0 - self.momentum) * rate, self.momentum))
        driven: Any = flow.minibatches(self.batch, seed) if self.batch else flow
        return driven.tangent(Euler(rate), backend="numpy")

    def start(self, theta: Array) -> Array:
        """The state that belongs to weights theta, (dim,)."""
        return np.concatenate([theta, np.zeros_like(theta)]) if self.momentum else theta


METHODS = (Method("full batch"), Method("batches of 4", 4), Method("single samples", 1), Method("momentum 0.9", 0, 0.9))
