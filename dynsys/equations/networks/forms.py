"""Terms that differ only by which names and numbers stand in them: one form, and the places where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dynsys.compiled.networks.network import HERE
from dynsys.equations.source import EXACT_BITS

if TYPE_CHECKING:
    import sympy

WIDEST = 4  # components in a term
TOKEN = re.compile(r"[^\W\d]\w*|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?")
NAME = re.compile(r"[^\W\d]\w*")
_JUMPING = {"Piecewise", "sign", "Heaviside", "floor", "ceiling", "Mod"}


class OtherForm(Exception):
    """Equations that are read one by one."""


@attrs.frozen
class Where:
    """Where a term stands, and what in it is its own.

    Attributes
    ----------
    row : int
        The equation.
    components : tuple of int
        Those in it: the equation's own first, if it is one of them.
    parameters : tuple of int
    numbers : tuple of float
        In the order of their names _n1, _n2, ...; its coefficient is told apart.
    """

    row: int
    components: tuple[int, ...]
    parameters: tuple[int, ...]
    numbers: tuple[float, ...]


@attrs.define
class Form:
    """All terms of one form.

    Attributes
    ----------
    expression : Expr
        In symbols _here, _there1, ... of components, _p1, ... of parameters, _n1, ... of numbers, and t.
    own : bool
        Whether the component of the equation is in it.
    sums : tuple of bool
        Whether the equation is one of a sum inside a function, and which components are such sums.
    numbers : tuple of str
        Names of numbers.
    coefficients : dict, Where -> float
        By which number the expression is multiplied in each place.
    """

    expression: sympy.Expr
    own: bool
    sums: tuple[bool, ...]
    numbers: tuple[str, ...] = ()
    coefficients: dict[Where, float] = attrs.field(factory=dict)

    def add(self, where: Where, coefficient: float) -> None:
        """One more term; terms in one place are added up."""
        self.coefficients[where] = self.coefficients.get(where, 0.0) + coefficient


@attrs.define
class Slots:
    """Names in the place of those of a term, in the order in which they are seen."""

    index: Mapping[str, int]  # of components
    names: Mapping[str, int]  # of parameters
    row: int
    components: dict[int, str] = attrs.field(factory=dict)
    parameters: dict[int, str] = attrs.field(factory=dict)
    numbers: list[float] = attrs.field(factory=list)
    literals: list[str] = attrs.field(factory=list)

    def name(self, word: str) -> str:
        """What stands in the place of a name."""
        i = self.index.get(word)
        if i is not None:
            if i == self.row:
                self.components[i] = HERE
            elif i not in self.components:
                self.components[i] = f"_there{len(self.components) - (self.row in self.components) + 1}"
            return self.components[i]
        i = self.names.get(word)
        if i is not None:
            return self.parameters.setdefault(i, f"_p{len(self.parameters) + 1}")
        if word in _JUMPING or word.startswith("_"):
            raise OtherForm
        return word

    def number(self, written: str) -> str:
        """What stands in the place of a number; a whole one is part of the form."""
        if written.isdigit():
            return written
        self.numbers.append(float(written))
        self.literals.append(written)
        return f"_n{len(self.numbers)}"

    def token(self, found: re.Match[str]) -> str:
        """What stands in the place of a name or a number."""
        word = found[0]
        return self.number(word) if word[0].isdigit() or word[0] == "." else self.name(word)

    def where(self, kept: Sequence[int]) -> Where:
        """The place; `kept` are the numbers that are no part of the form."""
        own = (self.row,) if self.row in self.components else ()
        others = tuple(i for i in self.components if i != self.row)
        if len(own) + len(others) > WIDEST:
            raise OtherForm
        return Where(self.row, own + others, tuple(self.parameters), tuple([self.numbers[i] for i in kept]))


def shape(expression: Any, slots: Slots) -> Any:
    """What two expressions have in common that differ by names alone."""
    if expression.is_Symbol:
        name = slots.name(expression.name)
        if name == expression.name and name != "t":
            raise OtherForm
        return name
    if not expression.args:
        if expression.is_Rational and max(expression.p.bit_length(), expression.q.bit_length()) > EXACT_BITS:
            raise OtherForm
        return expression
    if type(expression).__name__ in _JUMPING:
        raise OtherForm
    return (expression.func, *[shape(argument, slots) for argument in expression.args])
