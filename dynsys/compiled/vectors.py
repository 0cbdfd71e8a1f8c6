"""Equations in vectors for the compiler: loops over entries, and matrix products.

Nothing is unrolled: how long the source is does not depend on the lengths of the vectors. Tangent vectors go forward
with the values, block by block: an entry-by-entry expression multiplies those of what stands in it by its partial
derivatives, and a matrix is applied to a whole block in one product, of BLAS where systems are large.

The work array holds values and partial derivatives, then the block of every quantity, one tangent vector after the
other. Matrices stand in `data`, transposed, so that entries which are added to one result stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from dynsys.compiled.equations import compiled_function, indented

BLOCK = 32  # tangent vectors at a time


@attrs.frozen
class Quantity:
    """What stands by name in expressions.

    Attributes
    ----------
    name : str
    kind : str
        "state", "number", "vector" (parameters) or "taken" (a product or a sum).
    at : int
        First place in the state, place among the numbers, first place in the data, or number of what was taken.
    length : int
        Number of entries; 1 for a number.
    moving : bool
        Whether it depends on the state.
    """

    name: str
    kind: str
    at: int
    length: int
    moving: bool


@attrs.frozen
class Entrywise:
    """An expression that is computed entry by entry.

    Attributes
    ----------
    length : int
        How many entries are computed.
    names : sequence of str
        The quantities in it and in its derivatives.
    alone : sequence of str
        Statements for the value alone; the last of them is its source.
    shared : sequence of str
        Statements for what the value and its derivatives share.
    value : str
    moving, fixed : sequence of (str, str)
        Names of quantities, and source of the derivatives by them: those that differ between entries or states, and
        those that depend on numbers among the parameters alone.
    """

    length: int
    names: Sequence[str]
    alone: Sequence[str]
    shared: Sequence[str]
    value: str
    moving: Sequence[tuple[str, str]]
    fixed: Sequence[tuple[str, str]]


@attrs.frozen
class Taken:
    """A product of a matrix, or a sum over all entries.

    Attributes
    ----------
    name : str
    of : Entrywise
    matrix : str
        Name of the matrix, empty for a sum.
    transposed : bool
    at : int
        First place of the matrix in the data.
    length : int
        Number of entries of the result.
    """

    name: str
    of: Entrywise
    matrix: str
    transposed: bool
    at: int
    length: int


@attrs.frozen
class VectorSource:
    """Equations in vectors as source.

    Attributes
    ----------
    quantities : sequence of Quantity
    taken : sequence of Taken
        Products and sums, each after those that it uses.
    rules : sequence of (int, Entrywise)
        First place of a variable in the state, and its right-hand side.
    """

    quantities: Sequence[Quantity]
    taken: Sequence[Taken]
    rules: Sequence[tuple[int, Entrywise]]


def vector_linearise(source: VectorSource, blas: bool) -> tuple[str, int]:
    """The function `linearise` of `dynsys.compiled.kernel.Kernel`, and the length of its work array."""
    return _Writer(source, blas).written()


class _Writer:
    """Writes the functions one after the other, and shares out the work array."""

    def __init__(self, source: VectorSource, blas: bool) -> None:
        self.source, self.blas = source, blas
        self.of = {quantity.name: quantity for quantity in source.quantities}
        self.numbers = [f"{q.name} = _p[{q.at}]" for q in source.quantities if q.kind == "number"]
        self.scratch = 0
        self.values: dict[str, int] = {}  # where what was taken stands
        self.blocks: dict[str, int] = {}  # where its tangent vectors do
        self.partials: dict[tuple[int, str], int] = {}  # and the derivatives of an expression by a quantity

    def room(self, length: int) -> int:
        self.scratch += length
        return self.scratch - length

    def written(self) -> tuple[str, int]:
        rates, push = [*self.numbers, "t = float(_t)"], [*self.numbers]
        for taken in self.source.taken:
            value = self.room(taken.of.length)
            self.values[taken.name] = self.room(taken.length)
            rates += [*self.entries(taken.of, f"_B[{value} + _i]"), *self.collected(taken, value)]
            if self.of[taken.name].moving:
                block = self.room(BLOCK * taken.of.length)
                self.blocks[taken.name] = self.room(BLOCK * taken.length)
                push += [*self.pushed(taken.of, f"_B[{block} + _c * {taken.of.length} + _i]")]
                push += self.collected_block(taken, block)
        for at, rule in self.source.rules:
            rates += self.entries(rule, f"_f[{at} + _i]")
            push += self.pushed(rule, f"_F[{at} + _i, _first + _c]")
        linearise = [
            "_d = _data[0]",
            "rates(t, _x, _f, _p, _d, _B)",
            f"for _first in _range(0, _V.shape[1], {BLOCK}):",
            f"    push(_first, min({BLOCK}, _V.shape[1] - _first), _V, _F, _p, _d, _B)",
        ]
        text = compiled_function("rates(_t, _x, _f, _p, _d, _B)", rates)
        text += compiled_function("push(_first, _b, _V, _F, _p, _d, _B)", push)
        text += compiled_function("linearise(t, _x, _V, _f, _F, _p, _data, _rows, _B)", linearise)
        return text, self.scratch

    def entries(self, of: Entrywise, target: str) -> list[str]:
        """A loop that writes the values of an expression, and its partial derivatives."""
        body = [f"{name} = {self.read(self.of[name])}" for name in of.names if self.of[name].kind != "number"]
        body += [*of.shared, f"{target} = {of.value}"]
        for name, partial in of.moving:
            at = self.partials[id(of), name] = self.room(of.length)
            body += [f"_B[{at} + _i] = {partial}"]
        return [f"for _i in _range({of.length}):", *indented(body)]

    def read(self, quantity: Quantity) -> str:
        place = {"state": "_x", "vector": "_d", "taken": "_B"}[quantity.kind]
        at = self.values[quantity.name] if quantity.kind == "taken" else quantity.at
        return f"{place}[{at} + _i]" if quantity.length > 1 else f"{place}[{at}]"

    def collected(self, taken: Taken, value: int) -> list[str]:
        """The value of a product or a sum."""
        at, size = self.values[taken.name], taken.of.length
        if not taken.matrix:
            return ["_sum = 0.0", f"for _i in _range({size}):", f"    _sum += _B[{value} + _i]", f"_B[{at}] = _sum"]
        if not self.blas:
            return self.multiplied(taken, f"{value} + _j", f"{at} + _i")
        return [f"np.dot(_B[{value} : {value + size}], {self.matrix(taken)}, _B[{at} : {at + taken.length}])"]

    def multiplied(self, taken: Taken, of: str, to: str) -> list[str]:
        """A product with a matrix by loops, four entries at a time; for short columns faster than BLAS."""
        columns, whole = taken.length, taken.of.length // 4 * 4
        lines = [f"for _i in _range({columns}):", f"    _B[{to}] = 0.0"]
        for first, end, step in ((0, whole, 4), (whole, taken.of.length, 1)):
            if first < end:
                terms = [f"_f{e} * _d[{taken.at} + (_j + {e}) * {columns} + _i]" for e in range(step)]
                lines += [f"for _j in _range({first}, {end}, {step}):"]
                lines += [f"    _f{e} = _B[{of} + {e}]" for e in range(step)]
                lines += [f"    for _i in _range({columns}):", f"        _B[{to}] += {' + '.join(terms)}"]
        return lines

    def matrix(self, taken: Taken) -> str:
        shape = (taken.of.length, taken.length)
        return f"_d[{taken.at} : {taken.at + shape[0] * shape[1]}].reshape({shape})"

    def pushed(self, of: Entrywise, target: str) -> list[str]:
        """Loops that write the tangent vectors of an expression."""
        terms = [f"_B[{self.partials[id(of), name]} + _i] * {self.tangent(self.of[name])}" for name, _ in of.moving]
        terms += [f"({partial}) * {self.tangent(self.of[name])}" for name, partial in of.fixed]
        return [
            "for _c in _range(_b):",
            f"    for _i in _range({of.length}):",
            f"        {target} = {' + '.join(terms) or '0.0'}",
        ]

    def tangent(self, quantity: Quantity) -> str:
        place = " + _i" if quantity.length > 1 else ""
        if quantity.kind == "state":
            return f"_V[{quantity.at}{place}, _first + _c]"
        return f"_B[{self.blocks[quantity.name]} + _c * {quantity.length}{place}]"

    def collected_block(self, taken: Taken, block: int) -> list[str]:
        """The tangent vectors of a product or a sum."""
        at, size = self.blocks[taken.name], taken.of.length
        if not taken.matrix:
            return [
                "for _c in _range(_b):",
                "    _sum = 0.0",
                f"    for _i in _range({size}):",
                f"        _sum += _B[{block} + _c * {size} + _i]",
                f"    _B[{at} + _c] = _sum",
            ]
        if not self.blas:
            product = self.multiplied(taken, f"{block} + _c * {size} + _j", f"{at} + _c * {taken.length} + _i")
            return ["for _c in _range(_b):", *indented(product)]
        of = f"_B[{block} : {block} + _b * {size}].reshape((_b, {size}))"
        to = f"_B[{at} : {at} + _b * {taken.length}].reshape((_b, {taken.length}))"
        return [f"np.dot({of}, {self.matrix(taken)}, {to})"]
