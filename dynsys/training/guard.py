"""What has to stay as it is from one step of a monitor to the next: weights, the optimiser's memory, options, hooks.

Weights are told from others by their bits, read as whole numbers and added up: no change of an entry is missed, and
weights that were put back as they were are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn, optim

from dynsys.errors import InvalidInputError
from dynsys.training.between import Versions, versions
from dynsys.training.optimisers.layout import Piece, memory, remembers_more, trainable
from dynsys.training.second_derivatives.operators import named

Tensor = torch.Tensor

MOVED = (
    "weights were changed by something else than monitor.step, whose derivative is not in the exponents: leave "
    "optimizer.step() out of the loop, and change no weights between the steps (those that were put back as they were, "
    "after an evaluation, do no harm)"
)
WHOLE = {torch.float32: torch.int32, torch.float64: torch.int64}


class Guard:
    """The weights and the memory of an optimiser after a step, and what stands in the way of the next one."""

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, pieces: Sequence[Piece]) -> None:
        check_hooks(model, optimizer)
        self._model, self._optimizer, self._pieces = model, optimizer, pieces
        self._weights = [weight for piece in pieces for weight in piece.weights]
        self._kinds = _kinds(self._weights)
        self._bits: Tensor | None = None  # after the last step; None before the first
        self._weights_then: Versions = []
        self._memory_then: Versions = []

    def after_step(self) -> None:
        """Remember what a step has left."""
        self._bits = bits(self._weights)
        self._weights_then, self._memory_then = versions(self._weights), versions(memory(self._optimizer, self._pieces))

    def before_step(self, names: Mapping[int, str], *, modules: bool) -> None:
        """Refuse what cannot be followed in the next step; `modules`: look at hooks of modules, too.

        Raises
        ------
        InvalidInputError
            With the cause, and what to do.
        """
        hooked = next((weight for weight in self._weights if _hooked(weight)), None)
        if hooked is not None:
            raise InvalidInputError(
                f"weights must have no hooks on gradients, got one on {names[id(hooked)]}, whose derivative "
                "is not known: remove it; clipping is done by clip_norm and clip_value"
            )
        check_hooks(self._model if modules else None, self._optimizer)
        now = [weight for group in trainable(self._optimizer) for weight in group]
        if len(now) != len(self._weights) or any(a is not b for a, b in zip(now, self._weights, strict=True)):
            raise InvalidInputError(
                "other weights are trained than at the start: begin a new TrainingMonitor when weights are frozen, "
                "thawed or added"
            )
        if _kinds(now) != self._kinds:
            raise InvalidInputError(
                "weights must keep their precision, shape and device, got converted ones: begin a new TrainingMonitor"
            )
        if remembers_more(self._optimizer, self._pieces):
            raise InvalidInputError(
                "the optimizer remembers more than at the start, as where a scheduler or an option switched its "
                "momentum on: make the TrainingMonitor after the scheduler, or begin a new one"
            )
        if self._bits is not None and self._memory_then != versions(memory(self._optimizer, self._pieces)):
            raise InvalidInputError(
                "the optimizer's state was changed by something else than monitor.step, as by load_state_dict, "
                "state.clear or a step of its own: let all steps go through the monitor, and begin a new "
                "TrainingMonitor after such a change"
            )

    def moved(self, *, surely: bool) -> bool:
        """Whether the weights are others than after the last step; `surely`: even if nobody was seen to write them."""
        if self._bits is None or not (surely or versions(self._weights) != self._weights_then):
            return False
        return not torch.equal(bits(self._weights), self._bits.to(self._weights[0].device))


def check_hooks(model: nn.Module | None, optimizer: optim.Optimizer) -> None:
    """Refuse hooks that act on a step of the optimiser, and those of modules that double backward would call again."""
    hooks: dict[Any, Any] = {**optimizer._optimizer_step_pre_hooks, **optimizer._optimizer_step_post_hooks}
    for hook in hooks.values():
        raise InvalidInputError(
            f"the optimizer's step must have no hooks, whose derivative is not known, got {_name(hook)!r} on "
            f"{type(optimizer).__name__}: remove it, and if it changes no weights call it after monitor.step"
        )
    for path, module in () if model is None else model.named_modules():
        for hook in (*module._backward_hooks.values(), *module._backward_pre_hooks.values()):
            raise InvalidInputError(
                f"modules must have no backward hooks, which would be called again for every vector, got "
                f"{_name(hook)!r} on {named(path, module)}: remove it; .grad of weights can be read after monitor.step"
            )


def bits(weights: Sequence[Tensor]) -> Tensor:
    """The bits of each weight added up as whole numbers: another change of one entry gives another sum."""
    return torch.stack([weight.detach().view(WHOLE[weight.dtype]).sum() for weight in weights])


def _kinds(weights: Sequence[Tensor]) -> list[Any]:
    return [(weight.dtype, weight.device, weight.shape) for weight in weights]


def _hooked(weight: Tensor) -> bool:
    """Whether something happens to the gradient of a weight on its way."""
    return bool(weight._backward_hooks) or bool(getattr(weight, "_post_accumulate_grad_hooks", None))


def _name(hook: Any) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__name__))
