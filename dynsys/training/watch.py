"""What a monitor puts on a model: attention with a second derivative, and a look, now and then, at what was dropped."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch

from dynsys.training.second_derivatives.attention import on_forward
from dynsys.training.second_derivatives.captured import CapturedCall
from dynsys.training.second_derivatives.dropped import TOLERANCE, dropped_in, dropped_share

Tensor = torch.Tensor

FIRST_AGAIN = 100  # step of the second look; the others at every tenfold


class Watch:
    """Hooks on a model that change nothing that it computes."""

    def __init__(self, model: torch.nn.Module, weights: Sequence[Tensor], seed: int) -> None:
        self._model, self._weights, self._seed = model, weights, seed
        self._attention, self._call = on_forward(model), CapturedCall()
        self._hook = self._call.attach(model)

    def context(self) -> AbstractContextManager[None]:
        """What a pass back needs as well: it may run parts of the model again."""
        return self._attention.context()

    def before_step(self, n: int) -> None:
        """Ask for the arguments of the next forward pass, if the model is to be looked at in step n."""
        if n == 0 or (n >= FIRST_AGAIN and n == 10 ** (len(str(n)) - 1)):
            self._call.ask()

    def dropped(self) -> tuple[float, list[str]] | None:
        """The share of second derivatives that the model drops, and where; None if this is no step to look."""
        if self._call.call is None:
            return None
        args, kwargs = self._call.call
        self._call.forget()
        share = dropped_share(self._model, args, kwargs, self._weights, self._seed)
        where = dropped_in(self._model, args, kwargs, self._weights, self._seed) if share > TOLERANCE else []
        return share, where

    def remove(self) -> None:
        """Take the hooks off."""
        self._attention.remove()
        self._hook.remove()
