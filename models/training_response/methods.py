"""Training methods as steps of the gradient flow: full batch, minibatches, momentum."""

from __future__ import annotations

from typing import Any

import attrs

from dynsys import Euler, HeavyBall, TangentSystem
from dynsys.models.networks.deep_network import DeepNetworkFlow


@attrs.frozen
class Method:
    """A way to train.

    Attributes
    ----------
    name : str
    batch : int
        Samples of a batch; 0: all.
    momentum : float
        Of `HeavyBall`; the rate is then (1 - momentum) times as large, so that time is the same.
    """

    name: str
    batch: int = 0
    momentum: float = 0.0

    def tangent(self, flow: DeepNetworkFlow, rate: float, seed: int) -> TangentSystem:
        """Its steps with learning rate `rate`, with their tangent."""
        driven: Any = flow.minibatches(self.batch, seed) if self.batch else flow
        momentum = self.momentum
        stepper = HeavyBall(dt=(1.0 - momentum) * rate, momentum=momentum) if momentum else Euler(dt=rate)
        return driven.tangent(stepper, backend="numpy")


METHODS = (Method("full batch"), Method("batches of 4", 4), Method("single samples", 1), Method("momentum 0.9", 0, 0.9))
