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

from dynsys.errors import InvalidInputError, finite, positive
from dynsys.steppers.optimiser import Optimiser, Part, share


def _offset(value: Any) -> float:
    return positive("eps", value)


def _decay(value: Any) -> float:
    decay = finite("weight_decay", value)
    if decay < 0.0:
        raise InvalidInputError(f"weight_decay must be a finite number >= 0, got {value!r:.100}")
    return decay


@attrs.frozen(eq=False)
class MomentOptimiser(Optimiser, ABC):
    """What `Adam` and `AdamW` share: all but where the decay of weights acts.

        g = coupled theta - f,      m' = beta1 m + (1 - beta1) g,      v' = beta2 v + (1 - beta2) g^2,
        theta' = (1 - dt decoupled) theta - dt m^ / (sqrt(v^) + eps),

    with the means of n + 1 gradients m^ = m' / (1 - beta1^(n+1)), v^ = v' / (1 - beta2^(n+1)).
    """

    beta1: float = attrs.field(default=0.9, converter=lambda value: share("beta1", value))
    beta2: float = attrs.field(default=0.999, converter=lambda value: share("beta2", value))
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
        known = 1.0 - self.beta2 ** (n + 1.0)
        root = (v / known) ** 0.5
        inverse = 1.0 / (root + self.eps)
        rate = self.dt / (1.0 - self.beta1 ** (n + 1.0)) * inverse
        keep = 1.0 - self.dt * self.decoupled
        # derivatives of theta' by m', v' and g; d sqrt(v) = 0 at v = 0
        by_v = rate * m * inverse * (root != 0.0) / (2.0 * known * (root + (root == 0.0)))
        square = 2.0 * of_square * g
        by_g = by_v * square - rate * of_g
        return (keep * theta - rate * m, m, v), (
            (keep + self.coupled * by_g, -self.beta1 * rate, self.beta2 * by_v, -by_g),
            (self.coupled * of_g, self.beta1, 0.0, -of_g),
            (self.coupled * square, 0.0, self.beta2, -square),
        )


@attrs.frozen(eq=False)
class Adam(MomentOptimiser):
    """Adam."""

    weight_decay: float = attrs.field(default=0.0, converter=_decay)

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
    """AdamW."""

    weight_decay: float = attrs.field(default=0.01, converter=_decay)

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
    """RMSprop."""

    alpha: float = attrs.field(default=0.99, converter=lambda value: share("alpha", value))
    eps: float = attrs.field(default=1e-8, converter=_offset)
    weight_decay: float = attrs.field(default=0.0, converter=_decay)
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
        # derivatives of theta' by v' and g; d sqrt(v) = 0 at v = 0
        by_v = rate * g * inverse * (root != 0.0) / (2.0 * (root + (root == 0.0)))
        square = 2.0 * of_square * g
        by_g = by_v * square - rate
        return (theta - rate * g, v), (
            (1.0 + self.weight_decay * by_g, self.alpha * by_v, -by_g),
            (self.weight_decay * square, self.alpha, -square),
        )
