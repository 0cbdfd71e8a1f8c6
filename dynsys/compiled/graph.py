"""The graph of a loss: its operations as numbers, for losses of too many weights to be written out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import attrs
import numpy as np

Array = np.ndarray

SUM, SELECT, POWER, POWER_OF = 0, 1, 2, 3
SIGMA = 4
FUNCTIONS = {
    "sin": 5, "cos": 6, "tan": 7, "asin": 8, "acos": 9, "atan": 10, "sinh": 11, "cosh": 12, "tanh": 13, "exp": 14,
    "log": 15, "erf": 16, "Abs": 17, "sign": 18, "Heaviside": 19, "above": 19, "not below": 20,
}  # fmt: skip
"""Kinds of operations: a number for each function of one argument; "above" and "not below" compare with 0."""


@attrs.frozen(eq=False)
class LossGraph:
    """The operations from which the loss of one sample is computed, each a row of numbers, one for each sample.

    Rows 0, 1, ... are the number 1, the columns of the data and the parameters; then come the operations in order.
    Those of kind SUM add up terms c a b with a number c, a row or component of the state a, and a row b:

        z_n = sum over the terms m = first[n], ..., first[n + 1] - 1 of  factor[m] * a * row[right[m]],

    a = row[left[m]], or where left[m] < 0 component -1 - left[m] of the state. SELECT has two terms, and is the first
    where row left[m] is not 0, else the second; the other kinds are functions of row right[m].

    Attributes
    ----------
    columns, parameters : int
        Their numbers.
    kinds : tuple of int, of length operations
    first : tuple of int, of length operations + 1
    factors, left, right : tuples of numbers, of length terms
    """

    columns: int
    parameters: int
    kinds: Sequence[int]
    first: Sequence[int]
    factors: Sequence[float]
    left: Sequence[int]
    right: Sequence[int]

    @property
    def inputs(self) -> int:
        """Rows before the operations."""
        return 1 + self.columns + self.parameters

    @cached_property
    def numbers(self) -> Array:
        """All of them one after the other, for the kernel."""
        return np.concatenate([self.kinds, self.first, self.factors, self.left, self.right])

    @cached_property
    def operations(self) -> list[tuple[int, Array, Array, Array]]:
        """Kind, factors, left and right of every operation."""
        cuts = list(self.first[1:-1])
        parts = [np.split(np.array(numbers), cuts) for numbers in (self.factors, self.left, self.right)]
        return list(zip(self.kinds, *parts, strict=True))

    @property
    def calls_sigma(self) -> bool:
        """Whether a nonlinearity must be given."""
        return SIGMA in self.kinds


ELEMENTARY = '''
@njit
def elementary(kind, d):
    """A function of one number, with its first two derivatives."""
    if kind == 5:
        return sin(d), cos(d), -sin(d)
    if kind == 6:
        return cos(d), -sin(d), -cos(d)
    if kind == 7:
        s = tan(d)
        return s, 1.0 + s * s, 2.0 * s * (1.0 + s * s)
    if kind == 8:
        s = 1.0 / sqrt(1.0 - d * d)
        return asin(d), s, d * s**3
    if kind == 9:
        s = 1.0 / sqrt(1.0 - d * d)
        return acos(d), -s, -d * s**3
    if kind == 10:
        s = 1.0 / (1.0 + d * d)
        return atan(d), s, -2.0 * d * s * s
    if kind == 11:
        return sinh(d), cosh(d), sinh(d)
    if kind == 12:
        return cosh(d), sinh(d), cosh(d)
    if kind == 13:
        s = tanh(d)
        return s, 1.0 - s * s, -2.0 * s * (1.0 - s * s)
    if kind == 14:
        s = exp(d)
        return s, s, s
    if kind == 15:
        return log(d), 1.0 / d, -1.0 / (d * d)
    if kind == 16:
        s = 2.0 / sqrt(pi) * exp(-d * d)
        return erf(d), s, -2.0 * d * s
    if kind == 17:
        return abs(d), sign(d), 0.0
    if kind == 18:
        return sign(d), 0.0, 0.0
    if kind == 19:
        return where(d > 0.0, 1.0, 0.0), 0.0, 0.0
    return where(d >= 0.0, 1.0, 0.0), 0.0, 0.0

'''
