"""Optimisers that divide by a mean of squared gradients: Adam, AdamW and RMSprop, as PyTorch defines them.

    flow.minibatches(32).tangent(Adam(dt=1e-3)).benettin(theta0, ...)

What they carry stands in the state behind the weights, in units of PyTorch: means of gradients, which are minus the
slopes, and of their squares. Initial weights alone will do for x0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import attrs

from dynsys.errors import positive
from dynsys.steppers.optimiser import Optimiser, Part, decay, share


def _beta1(value: Any) -> float:
    return share("beta1", value)


def _beta2(value: Any) -> float:
    return share("beta2", value)


def _alpha(value: Any) -> float:
    return share("alpha", value)


def _offset(value: Any) -> float:
    return positive("eps", value)


@attrs.frozen(eq=False)
class MomentOptimiser(Optimiser, ABC):
    """What `Adam` and `AdamW` share: all but where the decay of weights acts.

        g = coupled theta - f,      m' = beta1 m + (1 - beta1) g,      v' = beta2 v + (1 - beta2) g^2,
        theta' = (1 - dt decoupled) theta - dt m^ / (sqrt(v^) + eps),

    with the means of n + 1 gradients m^ = m' / (1 - beta1^(n+1)), v^ = v' / (1 - beta2^(n+1)).
    """

    beta1: float = attrs.field(default=0.9, converter=_beta1)
    beta2: float = attrs.field(default=0.999, converter=_beta2)
    eps: float = attrs.field(default=1e-8, converter=_offset)
    carried = 2

    @property
    @abstractmethod
    def coupled(self) -> float:
        """Decay of weights as a part of the gradient."""

    @property
    @abstractmethod
    def decoupled(self) -> float:
        """Decay of weights beside the gradient."""

    def update(self, n: int, parts: Sequence[Part], slope: Part) -> tuple[Sequence[Part], Sequence[Sequence[Part]]]:
        """Weights and both means after step n, and the derivatives; see `Optimiser.update`."""
        theta, m, v = parts
        of_g, of_square = 1.0 - self.beta1, 1.0 - self.beta2
        g = self.coupled * theta - slope
        m = self.beta1 * m + of_g * g
        v = self.beta2 * v + of_square * g * g
        scale = 1.0 / (1.0 - self.beta2 ** (n + 1.0))
        root = (scale * v) ** 0.5
        inverse = 1.0 / (root + self.eps)
        rate = self.dt / (1.0 - self.beta1 ** (n + 1.0)) * inverse
        keep = 1.0 - self.dt * self.decoupled
        # derivatives of theta' by v' and g; that of a root at 0 is 0 by definition
        by_v = 0.5 * scale * rate * inverse * m * (root != 0.0) / (root + (root == 0.0))
        square = 2.0 * of_square * g
        by_g = by_v * square - rate * of_g
        return (keep * theta - rate * m, m, v), (
            (keep + self.coupled * by_g, -self.beta1 * rate, self.beta2 * by_v, -by_g),
            (self.coupled * of_g, self.beta1, 0.0, -of_g),
            (self.coupled * square, 0.0, self.beta2, -square),
        )


@attrs.frozen(eq=False)
class Adam(MomentOptimiser):
    """Adam: slopes averaged, and divided by the root of their mean square.

    On f = -grad L, with learning rate dt, step n = 0, 1, ... is

        g = weight_decay theta - f,   m' = beta1 m + (1 - beta1) g,   v' = beta2 v + (1 - beta2) g^2,
        theta' = theta - dt m^ / (sqrt(v^) + eps),   m^ = m' / (1 - beta1^(n+1)),   v^ = v' / (1 - beta2^(n+1)),

    as in `torch.optim.Adam(lr=dt, betas=(beta1, beta2))`. The state is (theta, m, v), with PyTorch's `exp_avg` and
    `exp_avg_sq`: m is a mean of gradients, not of slopes. n counts from the start of the run, and goes on where a run
    is continued, so the step depends on it. Whatever the loss, a step shrinks volume by (beta1 beta2)^dim, so that the
    exponents add up to dim ln(beta1 beta2) / dt.

    The derivative of sqrt(v^) at v^ = 0 is 0 by definition. It matters for weights that have never had a gradient,
    those of dead units: there m = v = 0 and the step does not move them, while the derivative of the root would be
    infinite, and that of the step 0 times infinity. With it they have the exponents 0, ln(beta1) / dt, ln(beta2) / dt.

    At a minimum each eigenvalue h of the Hessian gives three exponents, ln(beta2) / dt and, with
    a = dt (h + weight_decay) / eps, ln |r| / dt with r the roots of

        r^2 - (1 + beta1 - (1 - beta1) a) r + beta1 = 0;      it is stable for a < 2 (1 + beta1) / (1 - beta1).

    With an eps of 1e-8 that is rarely so: weights do not settle then, but move about at the scale of dt. Where they do,
    a run rests when v has faded, after some 30 / (1 - beta2) steps.

    Attributes
    ----------
    dt : float
        Learning rate. The unit of time is the learning rate times the number of steps.
    beta1, beta2 : float
        What the means keep of themselves in a step, in [0, 1).
    eps : float
        > 0, in units of the gradient.
    weight_decay : float
        >= 0; that of the loss weight_decay |theta|^2 / 2.

    References
    ----------
    D. P. Kingma, J. Ba, ICLR (2015), arXiv:1412.6980.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsys import GradientFlow
    >>> bowl = GradientFlow.of("h*w^2/2", ["w"], {"h": [1.0]})
    >>> tangent = bowl.tangent(Adam(dt=0.01, beta2=0.9, eps=1.0), backend="numpy")
    >>> tangent.benettin([1.0], intervals=2000, warmup=2000).exponents.round(3)
    array([ -1.119,  -9.417, -10.536])
    >>> (np.log([*np.roots([1.0, -1.899, 0.9]), 0.9]) / 0.01).round(3)
    array([ -1.119,  -9.417, -10.536])
    """

    weight_decay: float = attrs.field(default=0.0, converter=decay)

    @property
    def coupled(self) -> float:
        """All of the decay."""
        return self.weight_decay

    @property
    def decoupled(self) -> float:
        """None."""
        return 0.0


@attrs.frozen(eq=False)
class AdamW(MomentOptimiser):
    """Adam with a decay of the weights beside the gradient, which the means know nothing of.

    On f = -grad L, with learning rate dt, step n = 0, 1, ... is

        m' = beta1 m - (1 - beta1) f,   v' = beta2 v + (1 - beta2) f^2,
        theta' = (1 - dt weight_decay) theta - dt m^ / (sqrt(v^) + eps),

    with m^ and v^ as for `Adam`, as in `torch.optim.AdamW(lr=dt, betas=(beta1, beta2))`. State, dependence on n and the
    derivative of the root at 0 are those of `Adam`; volume shrinks by (beta1 beta2 (1 - dt weight_decay))^dim.

    Where a step moves nothing and f = 0, each eigenvalue h of the Hessian gives three exponents, ln(beta2) / dt and,
    with c = 1 - dt weight_decay and a = dt h / eps, ln |r| / dt with r the roots of

        r^2 - (c + beta1 - (1 - beta1) a) r + c beta1 = 0;   stable for a < (1 + c) (1 + beta1) / (1 - beta1).

    Attributes
    ----------
    dt : float
        Learning rate. The unit of time is the learning rate times the number of steps.
    beta1, beta2 : float
        What the means keep of themselves in a step, in [0, 1).
    eps : float
        > 0, in units of the gradient.
    weight_decay : float
        >= 0; dt times as much of a weight goes in every step.

    References
    ----------
    I. Loshchilov, F. Hutter, ICLR (2019), arXiv:1711.05101.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsys.models.classics import LinearFlow
    >>> AdamW(dt=0.1, weight_decay=0.5).step(LinearFlow([[-1.0]]), 0, 0.0, np.array([1.0, 0.0, 0.0])).round(6)
    array([0.85 , 0.1  , 0.001])
    """

    weight_decay: float = attrs.field(default=0.01, converter=decay)

    @property
    def coupled(self) -> float:
        """None."""
        return 0.0

    @property
    def decoupled(self) -> float:
        """All of the decay."""
        return self.weight_decay


@attrs.frozen(eq=False)
class RMSprop(Optimiser):
    """RMSprop: slopes divided by the root of their mean square.

    On f = -grad L, with learning rate dt,

        g = weight_decay theta - f,   v' = alpha v + (1 - alpha) g^2,   theta' = theta - dt g / (sqrt(v') + eps),

    as in `torch.optim.RMSprop(lr=dt)` without its momentum and its centring. The state is (theta, v), with PyTorch's
    `square_avg`. The derivative of the root at v' = 0 is 0 by definition, as for `Adam`.

    At a minimum each eigenvalue h of the Hessian gives two exponents, ln |1 - a| / dt with
    a = dt (h + weight_decay) / eps, and ln(alpha) / dt; it is stable for a < 2.

    Attributes
    ----------
    dt : float
        Learning rate. The unit of time is the learning rate times the number of steps.
    alpha : float
        What the mean keeps of itself in a step, in [0, 1).
    eps : float
        > 0, in units of the gradient.
    weight_decay : float
        >= 0; that of the loss weight_decay |theta|^2 / 2.

    References
    ----------
    T. Tieleman, G. Hinton, Neural networks for machine learning, lecture 6.5, Coursera (2012).

    Examples
    --------
    >>> import numpy as np
    >>> from dynsys.models.classics import LinearFlow
    >>> RMSprop(dt=0.1).step(LinearFlow([[-1.0]]), 0, 0.0, np.array([1.0, 0.0])).round(6)
    array([0.  , 0.01])
    """

    alpha: float = attrs.field(default=0.99, converter=_alpha)
    eps: float = attrs.field(default=1e-8, converter=_offset)
    weight_decay: float = attrs.field(default=0.0, converter=decay)
    carried = 1

    def update(self, n: int, parts: Sequence[Part], slope: Part) -> tuple[Sequence[Part], Sequence[Sequence[Part]]]:
        """Weights and mean squares after a step, and the derivatives; see `Optimiser.update`."""
        theta, v = parts
        of_square = 1.0 - self.alpha
        g = self.weight_decay * theta - slope
        v = self.alpha * v + of_square * g * g
        root = v**0.5
        inverse = 1.0 / (root + self.eps)
        rate = self.dt * inverse
        # derivatives of theta' by v' and g; that of a root at 0 is 0 by definition
        by_v = 0.5 * rate * inverse * g * (root != 0.0) / (root + (root == 0.0))
        square = 2.0 * of_square * g
        by_g = by_v * square - rate
        return (theta - rate * g, v), (
            (1.0 + self.weight_decay * by_g, self.alpha * by_v, -by_g),
            (self.weight_decay * square, self.alpha, -square),
        )
