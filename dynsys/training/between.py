"""What a loop must leave alone between the backward pass of a monitor and its step: weights, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch

from dynsys.errors import InvalidInputError

Tensor = torch.Tensor
Versions = list[tuple[int, int] | None]


@attrs.define(eq=False)
class Between:
    """Remembers how weights and gradients were, by their versions: nothing is copied or computed."""

    _weights: Versions = attrs.field(factory=list)
    _gradients: Versions = attrs.field(factory=list)

    def begin(self, weights: Sequence[Tensor]) -> None:
        """Before the first backward pass of a step."""
        self._weights = versions(weights)

    def after_backward(self, weights: Sequence[Tensor]) -> None:
        """Gradients are as they are to be."""
        self._gradients = versions(_gradients(weights))

    def check_weights(self, weights: Sequence[Tensor]) -> None:
        """Refuse another backward pass after a step that somebody else took: gradients would add up for ever."""
        if self._weights != versions(weights):
            raise InvalidInputError(
                "weights must stay as they are from backward to step, got others: call monitor.step() in the place of "
                "optimizer.step() (or of the step of a GradScaler, which is to be left out)"
            )

    def changed(self, weights: Sequence[Tensor]) -> InvalidInputError | None:
        """The error to raise if gradients were changed: the tangent would be that of another step."""
        if self._gradients == versions(_gradients(weights)):
            return None
        return InvalidInputError(
            "gradients must stay as they are from monitor.backward to monitor.step, got others, by something whose "
            "derivative is not known: for clip_grad_norm_ and clip_grad_value_ give clip_norm and clip_value to the "
            "monitor; leave a GradScaler out"
        )


def versions(tensors: Sequence[Tensor | None]) -> Versions:
    """What changes when somebody writes to tensors, or puts others in their places."""
    return [None if tensor is None else (tensor._version, tensor.data_ptr()) for tensor in tensors]


def _gradients(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]
