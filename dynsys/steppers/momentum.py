"""Gradient descent with momentum: steppers of a gradient flow, whose step is the learning rate.

    flow.minibatches(32).tangent(HeavyBall(dt=0.01, momentum=0.9)).benettin(theta0, ...)

Velocities follow the weights in the state, (theta, v), and begin as 0: initial weights alone will do for x0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from dynsys.steppers.optimiser import Optimiser, Part, decay, share
from dynsys.storage.description import UNSAID


def _momentum(value: Any) -> float:
    return share("momentum", value)


@attrs.frozen(eq=False)
class HeavyBall(Optimiser):
    """Gradient descent with momentum, Polyak's heavy ball.

    On f = -grad L, with learning rate dt and momentum mu,

        v' = mu v + dt (f - weight_decay theta),      theta' = theta + v'.

    It is a first-order method for the gradient flow sped up by 1 / (1 - mu). On minibatches it is SGD with momentum, as
    in `torch.optim.SGD(lr=dt, momentum=mu)`, with v = -dt times the buffer there. The state is (theta, v), twice
    as long as that of the flow. Whatever the loss, a step shrinks volume by mu^dim, so that the exponents add up to
    dim ln(mu) / dt. With a momentum of 0 the last dim exponents are -infinity: follow the first dim vectors then.

    At a minimum, each eigenvalue h of the Hessian, weight_decay added, gives two exponents, ln |r| / dt with r the
    roots of

        r^2 - (1 + mu - dt h) r + mu = 0;      it is stable for dt h < 2 + 2 mu.

    Attributes
    ----------
    dt : float
        Learning rate. The unit of time is the learning rate times the number of steps.
    momentum : float
        mu, in [0, 1).
    weight_decay : float
        >= 0; that of the loss weight_decay |theta|^2 / 2.

    References
    ----------
    B. T. Polyak, USSR Comput. Math. Math. Phys. 4, 1 (1964).

    Examples
    --------
    >>> import numpy as np
    >>> from dynsys import GradientFlow
    >>> bowl = GradientFlow.of("h*w^2/2", ["w"], {"h": np.array([1.0])})
    >>> tangent = bowl.tangent(HeavyBall(dt=0.1, momentum=0.81), backend="numpy")
    >>> spectrum = tangent.benettin([1.0], intervals=5000)  # complex roots: both exponents are ln(0.81) / 2 per step
    >>> (0.1 * spectrum.exponents).round(2), round(0.5 * np.log(0.81), 2)
    (array([-0.11, -0.11]), np.float64(-0.11))
    """

    momentum: float = attrs.field(default=0.9, converter=_momentum)
    weight_decay: float = attrs.field(default=0.0, converter=decay, metadata=UNSAID)

    @property
    def carried(self) -> int:  # no class attribute: stores would hold it, and those written before do not
        """A velocity."""
        return 1

    def update(self, n: int, parts: Sequence[Part], slope: Part) -> tuple[Sequence[Part], Sequence[Sequence[Part]]]:
        """Weights and velocities after a step, and the derivatives; see `Optimiser.update`."""
        theta, v = parts
        v = self.momentum * v + self.dt * (slope - self.weight_decay * theta)
        fade = self.dt * self.weight_decay
        return (theta + v, v), ((1.0 - fade, self.momentum, self.dt), (-fade, self.momentum, self.dt))


@attrs.frozen(eq=False)
class Nesterov(Optimiser):
    """Gradient descent with Nesterov's momentum, in the weights at which the gradient is taken.

    On f = -grad L, with learning rate dt and momentum mu,

        v' = mu v + dt (f - weight_decay theta),      theta' = theta + mu v' + dt (f - weight_decay theta),

    as in `torch.optim.SGD(lr=dt, momentum=mu, nesterov=True)`, with v = -dt times the buffer there. The state is
    (theta, v). At a minimum, each eigenvalue h of the Hessian, weight_decay added, gives two exponents, ln |r| / dt
    with r the roots of

        r^2 - (1 + mu) (1 - dt h) r + mu (1 - dt h) = 0;      it is stable for dt h < (2 + 2 mu) / (1 + 2 mu).

    Attributes
    ----------
    dt : float
        Learning rate. The unit of time is the learning rate times the number of steps.
    momentum : float
        mu, in [0, 1).
    weight_decay : float
        >= 0; that of the loss weight_decay |theta|^2 / 2.

    References
    ----------
    Y. E. Nesterov, Sov. Math. Dokl. 27, 372 (1983); I. Sutskever, J. Martens, G. Dahl, G. Hinton, ICML 28, 1139 (2013).

    Examples
    --------
    >>> import numpy as np
    >>> from dynsys.models.classics import LinearFlow
    >>> _, M = Nesterov(dt=0.1, momentum=0.9).step_tangent(LinearFlow([[-2.0]]), 0, 0.0, np.zeros(2), np.eye(2))
    >>> np.allclose([np.trace(M), np.linalg.det(M)], [1.9 * 0.8, 0.9 * 0.8])
    True
    """

    momentum: float = attrs.field(default=0.9, converter=_momentum)
    weight_decay: float = attrs.field(default=0.0, converter=decay, metadata=UNSAID)

    @property
    def carried(self) -> int:  # no class attribute: stores would hold it, and those written before do not
        """A velocity."""
        return 1

    def update(self, n: int, parts: Sequence[Part], slope: Part) -> tuple[Sequence[Part], Sequence[Sequence[Part]]]:
        """Weights and velocities after a step, and the derivatives; see `Optimiser.update`."""
        theta, v = parts
        mu, fade = self.momentum, self.dt * self.weight_decay
        kick = self.dt * (slope - self.weight_decay * theta)
        v = mu * v + kick
        return (theta + (mu * v + kick), v), (
            (1.0 - (1.0 + mu) * fade, mu * mu, (1.0 + mu) * self.dt),
            (-fade, mu, self.dt),
        )
