"""Gradient descent with momentum: steppers of a gradient flow, whose step is the learning rate.

    flow.minibatches(32).tangent(HeavyBall(dt=0.01, momentum=0.9)).benettin(theta0, ...)

Velocities follow the weights in the state, (theta, v), and begin as 0: initial weights alone will do for x0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, real_array
from dynsys.steppers.stepper import Stepper, VectorField

Array = np.ndarray


def _momentum(value: Any) -> float:
    momentum = real_array("momentum", value)
    if momentum.shape or not 0.0 <= momentum < 1.0:
        raise InvalidInputError(f"momentum must lie in [0, 1), got {value!r:.100}")
    return float(momentum)


@attrs.frozen(eq=False)
class MomentumStepper(Stepper, ABC):
    """What the two share: velocities v' = mu v + dt f(t, theta) of the weights, which move as `_weights` says."""

    momentum: float = attrs.field(default=0.9, converter=_momentum)
    order = 1

    _move: ClassVar[str]  # `_weights` for the compiler, of theta, v' and slope

    @abstractmethod
    def _weights(self, theta: Array, v: Array, slope: Array) -> Array:
        """The next weights, from these, the new velocities and dt f; a linear function, so of tangent vectors too."""

    def state_dimension(self, flow: VectorField) -> int:
        """A velocity for each weight."""
        return flow.dimension

    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State (theta, v) after step n, which begins at time t; x has shape (..., 2 dim)."""
        theta, v = np.split(x, 2, axis=-1)
        return self._moved(theta, v, self.dt * flow.vector_field(t, theta), axis=-1)

    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (2 dim,) and its tangent vectors (2 dim, k) after step n, which begins at time t."""
        theta, v = np.split(x, 2)
        dtheta, dv = np.split(V, 2)
        state = self._moved(theta, v, self.dt * flow.vector_field(t, theta), axis=0)
        return state, self._moved(dtheta, dv, self.dt * flow.jvp(t, theta, dtheta), axis=0)

    def _moved(self, theta: Array, v: Array, slope: Array, axis: int) -> Array:
        v = self.momentum * v + slope
        return np.concatenate([self._weights(theta, v, slope), v], axis=axis)

    @property
    def source(self) -> str:
        """The same step, as source for Numba."""
        return SOURCE.replace("MOVED", self._move)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The momentum."""
        return (self.momentum,)


@attrs.frozen(eq=False)
class HeavyBall(MomentumStepper):
    """Gradient descent with momentum, Polyak's heavy ball.

    On f = -grad L, with learning rate dt and momentum mu,

        v' = mu v - dt grad L(theta),      theta' = theta + v'.

    It is a first-order method for the gradient flow sped up by 1 / (1 - mu). On minibatches it is SGD with momentum, as
    in `torch.optim.SGD(lr=dt, momentum=mu)`, with v = -dt times the buffer there. The state is (theta, v), twice
    as long as that of the flow. Whatever the loss, a step shrinks volume by mu^dim, so that the exponents add up to
    dim ln(mu) / dt. With a momentum of 0 the last dim exponents are -infinity: follow the first dim vectors then.

    At a minimum, each eigenvalue h of the Hessian gives two exponents, ln |r| / dt with r the roots of

        r^2 - (1 + mu - dt h) r + mu = 0;      it is stable for dt h < 2 + 2 mu.

    Attributes
    ----------
    dt : float
        Learning rate. The unit of time is the learning rate times the number of steps.
    momentum : float
        mu, in [0, 1).

    References
    ----------
    B. T. Polyak, USSR Comput. Math. Math. Phys. 4, 1 (1964).

    Examples
    --------
    >>> from dynsys import GradientFlow
    >>> bowl = GradientFlow.of("h*w^2/2", ["w"], {"h": np.array([1.0])})
    >>> tangent = bowl.tangent(HeavyBall(dt=0.1, momentum=0.81), backend="numpy")
    >>> spectrum = tangent.benettin([1.0], intervals=5000)  # complex roots: both exponents are ln(0.81) / 2 per step
    >>> (0.1 * spectrum.exponents).round(2), round(0.5 * np.log(0.81), 2)
    (array([-0.11, -0.11]), np.float64(-0.11))
    """

    _move = "theta + v"

    def _weights(self, theta: Array, v: Array, slope: Array) -> Array:
        return theta + v


@attrs.frozen(eq=False)
class Nesterov(MomentumStepper):
    """Gradient descent with Nesterov's momentum, in the weights at which the gradient is taken.

    On f = -grad L, with learning rate dt and momentum mu,

        v' = mu v - dt grad L(theta),      theta' = theta + mu v' - dt grad L(theta),

    as in `torch.optim.SGD(lr=dt, momentum=mu, nesterov=True)`, with v = -dt times the buffer there. The state is
    (theta, v). At a minimum, each eigenvalue h of the Hessian gives two exponents, ln |r| / dt with r the roots of

        r^2 - (1 + mu) (1 - dt h) r + mu (1 - dt h) = 0;      it is stable for dt h < (2 + 2 mu) / (1 + 2 mu).

    Attributes
    ----------
    dt : float
        Learning rate. The unit of time is the learning rate times the number of steps.
    momentum : float
        mu, in [0, 1).

    References
    ----------
    Y. E. Nesterov, Sov. Math. Dokl. 27, 372 (1983); I. Sutskever, J. Martens, G. Dahl, G. Hinton, ICML 28, 1139 (2013).

    Examples
    --------
    >>> from dynsys.models.classics import LinearFlow
    >>> _, M = Nesterov(dt=0.1, momentum=0.9).step_tangent(LinearFlow([[-2.0]]), 0, 0.0, np.zeros(2), np.eye(2))
    >>> np.allclose([np.trace(M), np.linalg.det(M)], [1.9 * 0.8, 0.9 * 0.8])
    True
    """

    _move = "theta + (mu * v + slope)"

    def _weights(self, theta: Array, v: Array, slope: Array) -> Array:
        return theta + (self.momentum * v + slope)


SOURCE = '''
STAGES = 1


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """Slopes of the weights, then velocities and weights; what `linearise` is given is contiguous, as BLAS wants it."""
    mu = parameters[parameters.size - 1]
    dim, k = x.size // 2, V.shape[1]
    U, G = W.T.reshape((2 * k, dim))[:k].T, F[0].reshape((2 * k, dim))[:k].T
    for c in range(k):
        for i in range(dim):
            U[i, c] = V[i, c]
    linearise(t, x[:dim], U, f[0, :dim], G, parameters, data, rows, scratch)
    for i in range(dim):
        theta, slope = x[i], dt * f[0, i]
        v = mu * x[dim + i] + slope
        x[i], x[dim + i] = MOVED, v
    for c in range(k):
        for i in range(dim):
            theta, slope = V[i, c], dt * G[i, c]
            v = mu * V[dim + i, c] + slope
            V[i, c], V[dim + i, c] = MOVED, v

'''
