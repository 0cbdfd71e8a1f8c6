"""What systems of plain functions are made with: a function, a dimension, further arguments; what fits what."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from typing import Any

import attrs

from dynsys.errors import InvalidInputError, plain, unmasked, whole_number

Function = Callable[..., Any]


def is_function(_: object, field: attrs.Attribute, value: Any) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise InvalidInputError(f"{field.alias} must be a function, got {value!r:.100}")


def whole_dimension(value: Any) -> int:
    """The number of components of a state."""
    return whole_number("dimension", value, 1)


def how_many_vanish(value: Any) -> int | None:
    """How many exponents vanish, where that is said."""
    return None if value is None else whole_number("vanishing_exponents", value, 0)


def further_arguments(value: Any) -> tuple[Any, ...]:
    """A tuple of what stands behind the state, with Python's numbers in place of NumPy's."""
    if not isinstance(value, tuple | list):
        raise InvalidInputError(f"args must be a tuple of further arguments such as (0.1,), got {value!r:.100}")
    for given in value:
        unmasked("an array of args", given)
    return tuple(map(plain, value))


def taken_after(function: Function, first: int) -> list[inspect.Parameter]:
    """What a function takes by position after its first arguments; nothing if it is one in C that does not say."""
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one for one in arguments if one.kind not in (one.KEYWORD_ONLY, one.VAR_KEYWORD)][first:]


def room_for(arguments: list[inspect.Parameter]) -> float:
    """How many arguments fit there."""
    return math.inf if any(one.kind is one.VAR_POSITIONAL for one in arguments) else len(arguments)


def check_arguments(name: str, function: Function, first: int, args: tuple[Any, ...]) -> None:
    """Refuse args that a function cannot be called with; one in C that does not say is not asked."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*[None] * first, *args)
    except TypeError as problem:
        called = "t, x, V" if first == 3 else "t, x"
        raise InvalidInputError(
            f"{name} is called as {name}({called}, *args) with {len(args)} args, but its arguments are {signature} "
            f"({problem}): give as many args as it takes"
        ) from None


def refuse_torch(name: str, value: Any) -> None:
    """Refuse a module of PyTorch, or a tensor: NumPy would lose their derivatives."""
    torch: Any = sys.modules.get("torch")  # not loaded, there is none
    if torch is None or not isinstance(value, torch.nn.Module | torch.Tensor):
        return
    kind, which = ("module", "is a module") if isinstance(value, torch.nn.Module) else ("function", "returns a tensor")
    raise InvalidInputError(
        f"{name} {which} of PyTorch: use dynsys.torch.TorchFlow (TorchMap for a map), which knows the exact "
        f"derivative of such a {kind}"
    )
