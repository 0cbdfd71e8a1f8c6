"""What drives a recurrent network: a series of inputs, one row for every step."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import real_array

Array = np.ndarray


def _series(value: Any) -> Array:
    values = real_array("inputs", value)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InvalidInputError(
            f"inputs must be finite numbers of shape (steps,) or (steps, size), got shape {np.shape(value)}"
            + " with entries that are not finite" * (not np.isfinite(values).all())
        )
    values.flags.writeable = False
    return values


@attrs.frozen(eq=False)
class InputSeries:
    """Inputs u_n of the steps n = 0, 1, ..., counted from the start of a run, its warm-up included.

    Attributes
    ----------
    values : array_like, shape (steps,) or (steps, size)
    periodic : bool
        Whether the series begins again at its end; else a step beyond it is an error.

    Examples
    --------
    >>> InputSeries([0.0, 1.0, 2.0], periodic=True).at(4)
    array([1.])
    """

    values: Array = attrs.field(converter=_series, repr=lambda values: f"<array {values.shape}>")
    periodic: bool = attrs.field(default=False, kw_only=True)

    @property
    def size(self) -> int:
        """Number of inputs of one step."""
        return int(self.values.shape[1])

    def at(self, n: int) -> Array:
        """u_n, shape (size,)."""
        return self.drive(n, 1, np.empty(0))[0, 0]

    def drive(self, n: int, steps: int, members: Array) -> Array:
        """Inputs of the steps n, ..., n + steps - 1, the same for all members: (1, steps, size).

        Raises
        ------
        InvalidInputError
            Before the start, or beyond the end, of a series that is not periodic.
        """
        length = len(self.values)
        if not (self.periodic or 0 <= n <= length - steps):
            asked = n if n < 0 else max(n, length)
            raise InvalidInputError(
                f"inputs are given for {length} steps, and a run asks for that of step {asked} (counted from 0 at its "
                "start, its warm-up included): give more of them, take fewer steps, or say "
                "InputSeries(values, periodic=True)"
            )
        return self.values[None, np.arange(n, n + steps) % length]


def an_input_series(value: Any) -> InputSeries | None:
    """A series of inputs, from an array too; None for a network that nothing drives."""
    return value if value is None or isinstance(value, InputSeries) else InputSeries(value)
