"""The arguments of a forward pass, remembered; and the tensors in tuples, lists, dicts and dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import torch
from torch import nn

Tensor = torch.Tensor


@attrs.define(eq=False)
class CapturedCall:
    """Remembers the arguments of one forward pass of a model, when asked: a hook that does nothing else.

    Attributes
    ----------
    call : tuple or None
        (args, kwargs) of the first pass with gradients after `ask`, detached, not copied.
    """

    call: tuple[Any, Any] | None = None
    _asked: bool = False

    def attach(self, model: nn.Module) -> Any:
        """Put the hook on a model; `remove()` of what is returned takes it off."""
        return model.register_forward_pre_hook(self._before, with_kwargs=True)

    def ask(self) -> None:
        """Remember the next call."""
        self.call, self._asked = None, True

    def forget(self) -> None:
        """Let go of what is remembered."""
        self.call, self._asked = None, False

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._asked and torch.is_grad_enabled():
            self.call, self._asked = each(torch.detach, (args, kwargs)), False

    def __deepcopy__(self, memo: Any) -> CapturedCall:
        return CapturedCall()  # of a copied model: nobody asks there

    def __reduce__(self) -> Any:
        return CapturedCall, ()  # of a model that is saved as a whole


def each(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A copy of containers, with a function applied to each tensor in them; anything else is left as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple) and type(value) not in (tuple, torch.Size):  # with names
        return type(value)(*(each(function, part) for part in value))
    if type(value) in (list, tuple):
        return type(value)(each(function, part) for part in value)
    if isinstance(value, dict):
        changed = copy.copy(value)
        for key, part in value.items():  # not `update`, which the outputs of transformers refuse
            changed[key] = each(function, part)
        return changed
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: each(function, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    return value


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in containers, one after the other."""
    if isinstance(value, Tensor):
        return [value]
    parts: Iterable[Any] = ()
    if isinstance(value, tuple | list):
        parts = value
    elif isinstance(value, dict):
        parts = value.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = (getattr(value, field.name) for field in dataclasses.fields(value))
    return [tensor for part in parts for tensor in tensors_in(part)]
