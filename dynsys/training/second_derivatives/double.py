"""Computing in float64 what was written for float32, and drawing the same random numbers again: for checks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from dynsys.training.second_derivatives.captured import each

SINGLE, DOUBLE = (torch.float32, torch.float16, torch.bfloat16), torch.float64


def as_double(tensor: torch.Tensor) -> torch.Tensor:
    """A floating tensor in float64; others as they are."""
    return tensor.to(DOUBLE) if tensor.dtype in SINGLE else tensor


class _InDouble(TorchFunctionMode):
    """Every function of PyTorch gets float64 tensors, and gives them where float32 is asked for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.__name__, kwargs or {}
        if name in ("__get__", "__set__"):  # attributes of a tensor
            value = func(*args, **kwargs)
            return _promoted(value) if isinstance(value, torch.dtype) else value
        in_place = name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
        kept = 1 if in_place else 0  # what is changed stays the tensor that it is
        args = (*args[:kept], *map(_promoted, args[kept:]))
        kwargs = {key: value if key == "out" else _promoted(value) for key, value in kwargs.items()}
        return func(*args, **kwargs) if name not in ("float", "half", "bfloat16") else args[0].double()


def _promoted(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return DOUBLE if value in SINGLE else value
    return each(as_double, value)


@contextmanager
def in_double() -> Iterator[None]:
    """Floating-point numbers of PyTorch are float64 as long as the context lasts, inputs and constants included."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(DOUBLE)
    try:
        with _InDouble():
            yield
    finally:
        torch.set_default_dtype(before)


def generators(model: nn.Module) -> list[Any]:
    """The random generators that a model holds."""
    kinds = (torch.Generator, np.random.Generator)
    return [value for module in model.modules() for value in vars(module).values() if isinstance(value, kinds)]


@contextmanager
def same_draws(own: Sequence[Any], seed: int) -> Iterator[Callable[[], None]]:
    """A function after which the same random numbers are drawn again, from `own` generators and all global ones.

    When the context ends all states are as they were before.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    states = [g.get_state() if isinstance(g, torch.Generator) else g.bit_generator.state for g in own]

    def back() -> None:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for g, state in zip(own, states, strict=True):
            if isinstance(g, torch.Generator):
                g.set_state(state)
            else:
                g.bit_generator.state = state

    def rewind() -> None:
        back()
        torch.manual_seed(seed)

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        try:
            yield rewind
        finally:
            back()
