"""Parameters that are arrays: coupling matrices, and vectors with an entry for every component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, real

Array = np.ndarray
ARRAY = "array"  # what marks, in its metadata, a field that is one


def is_array(value: Any) -> bool:
    """Whether a value is meant as an array: it has axes."""
    try:
        return np.ndim(value) > 0
    except Exception:  # rows of unequal lengths, or what has an error of its own
        return True


def array_parameter(default: Any = attrs.NOTHING) -> Any:
    """A field of a symbolic system in vectors: a matrix (rows, columns) or a vector (entries,) of finite numbers.

    It is kept as a read-only copy, float64; its shape shapes the equations, its entries are parameters.

    Raises
    ------
    InvalidInputError
        For anything else, naming the field.

    Examples
    --------
    >>> from dynsys import SymbolicFlow, parameter
    >>> @attrs.frozen(eq=False)
    ... class RateNetwork(SymbolicFlow):
    ...     W: np.ndarray = array_parameter()
    ...     gain: float = parameter(1.0)
    ...     equations = {"x": "-x + W@tanh(gain*x)"}
    >>> network = RateNetwork(W=[[0.0, 2.0], [-2.0, 0.0]])
    >>> network.dimension, network.jacobian(0.0, np.zeros(2)).tolist()
    (2, [[-1.0, 2.0], [-2.0, -1.0]])
    """
    if default is not attrs.NOTHING:
        default = checked_array("the default of an array parameter", default)
    return _field(default, None)


def array_of_shape(shape: tuple[int, ...]) -> Any:
    """A field without default for an array of that shape alone, given by name."""
    return _field(attrs.NOTHING, shape, kw_only=True)


def _field(default: Any, shape: tuple[int, ...] | None, **further: Any) -> Any:
    def convert(value: Any) -> Any:
        """What is no array stays as it is, for the validator, which knows the name, to refuse."""
        try:
            return checked_array("", value)
        except InvalidInputError:
            return value

    def validate(_: object, field: attrs.Attribute, value: Any) -> None:
        array = checked_array(f"the parameter {field.name}", value)
        if shape is not None and array.shape != shape:
            raise InvalidInputError(
                f"the parameter {field.name} must have shape {shape}, as where the system was made, got {array.shape}: "
                "make another system for other shapes"
            )

    return attrs.field(
        default=default, converter=convert, validator=validate, metadata={ARRAY: True}, repr=_short, **further
    )


def _short(array: Array) -> str:
    return f"<array {array.shape}>"


def checked_array(name: str, value: Any) -> Array:
    """A read-only float64 copy of a matrix or a vector, or an error that names it."""
    if isinstance(value, np.ndarray) and value.dtype == float and value.flags.owndata and not value.flags.writeable:
        return value  # it went through here before
    array = real(name, value)
    if array.ndim not in (1, 2) or not array.size:
        raise InvalidInputError(
            f"{name} must be a vector or a matrix with entries, got an array of shape {array.shape}"
        )
    copy = np.array(array, order="C")
    if not np.isfinite(copy).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(copy))[0])
        raise InvalidInputError(f"{name} must be finite, got {copy[place]} at {place}")
    copy.flags.writeable = False
    return copy


def shapes_of(values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of those values that are arrays; a wrong one raises an error that names it."""
    return {name: checked_array(f"the parameter {name}", v).shape for name, v in values.items() if is_array(v)}
