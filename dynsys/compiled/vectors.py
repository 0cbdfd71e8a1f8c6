"""Equations in vectors for the compiler: loops over entries, and matrix products.

Nothing is unrolled: how long the source is does not depend on the lengths of the vectors. Tangent vectors go forward
with the values: an entry-by-entry expression multiplies those of what stands in it by its partial derivatives, which
`rates` leaves in J, and a matrix is applied to them as to the values.

Matrices stand in `data` in strips of eight rows, those of one column side by side: one load of what is multiplied
serves eight results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np

from dynsys.compiled.equations import aligned, indented
from dynsys.compiled.staged import StagedSource, numba_linearise

STRIP = 8  # rows of a matrix


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


def strips(matrix: np.ndarray) -> np.ndarray:
    """A matrix as it stands in the data: strips of eight rows, which zeros complete."""
    rows, columns = matrix.shape
    whole = np.zeros((aligned(rows), columns))
    whole[:rows] = matrix
    return whole.reshape(-1, STRIP, columns).transpose(0, 2, 1).ravel()


def vector_source(source: VectorSource, dim: int) -> StagedSource:
    """The equations, for frames in tiles."""
    return _Writer(source, dim, True).written()


def vector_linearise(source: VectorSource, dim: int) -> tuple[str, int]:
    """The function `linearise` of `dynsys.compiled.kernel.Kernel`, and the length of its work array."""
    return numba_linearise(_Writer(source, dim, False).written())


class _Writer:
    """Writes the functions, and shares out the work array and J."""

    def __init__(self, source: VectorSource, dim: int, vectors: bool) -> None:
        self.source, self.dim, self.vectors = source, dim, vectors
        self.of = {quantity.name: quantity for quantity in source.quantities}
        self.scratch = self.entries = 0
        self.values: dict[str, tuple[int, int]] = {}  # where what is taken stands, before and after
        self.blocks: dict[str, tuple[int, int]] = {}  # and a tile of their tangent vectors
        self.partials: dict[tuple[int, str], int] = {}  # the derivatives of an expression by a quantity, in J
        for taken in source.taken:
            self.values[taken.name] = self.room(taken.of.length), self.room(taken.length)
        for taken in source.taken:
            if self.of[taken.name].moving:
                self.blocks[taken.name] = self.room(8 * taken.of.length), self.room(8 * aligned(taken.length))
        for of in (*(taken.of for taken in source.taken), *(rule for _, rule in source.rules)):
            for name, _ in of.moving:
                self.partials[id(of), name] = self.entries
                self.entries += aligned(of.length)

    def room(self, length: int) -> int:
        self.scratch += aligned(length)
        return self.scratch - aligned(length)

    def written(self) -> StagedSource:
        rates, alone = self.rates(False), self.rates(True)
        tile, column = self.product("_Y", "_F", "tile"), self.product("_y", "_f", "column")
        return StagedSource(self.dim, self.entries, self.scratch, "", rates, alone, tile, column)

    # values

    def rates(self, alone: bool) -> list[str]:
        lines = ["t = _t"] + [f"{q.name} = _p[{q.at}]" for q in self.source.quantities if q.kind == "number"]
        for taken in self.source.taken:
            before, after = self.values[taken.name]
            lines += self.filled(taken.of, f"_B[{before} + _i]", alone)
            if taken.matrix:
                lines += self.multiplied(taken, before, after)
            else:
                lines += ["_sum = 0.0", f"for _i in _range({taken.of.length}):", f"    _sum = _sum + _B[{before} + _i]"]
                lines += [f"_B[{after}] = _sum"]
        for at, rule in self.source.rules:
            lines += self.filled(rule, f"_f[{at} + _i]", alone)
        return lines

    def filled(self, of: Entrywise, target: str, alone: bool) -> list[str]:
        """A loop that writes the values of an expression, and its partial derivatives."""
        body = [f"{name} = {self.read(self.of[name])}" for name in of.names if self.of[name].kind != "number"]
        *first, value = of.alone if alone else [*of.shared, of.value]
        body += [*first, f"{target} = {value}"]
        if not alone:
            body += [f"_J[{self.partials[id(of), name]} + _i] = {partial}" for name, partial in of.moving]
        return [f"for _i in _range({of.length}):", *indented(body)]

    def read(self, quantity: Quantity) -> str:
        place = {"state": "_x", "vector": "_data", "taken": "_B"}[quantity.kind]
        at = self.values[quantity.name][1] if quantity.kind == "taken" else quantity.at
        return f"{place}[{at} + _i]" if quantity.length > 1 else f"{place}[{at}]"

    def multiplied(self, taken: Taken, before: int, after: int) -> list[str]:
        """A matrix times a vector of numbers: eight results side by side."""
        columns, count = taken.of.length, aligned(taken.length) // STRIP
        if self.vectors:
            return [
                f"_M = as_vectors(_data[{taken.at}:])",
                f"_R = as_vectors(_B[{after}:])",
                *self.strip_sums(columns, count, lambda j: f"_B[{before} + {j}]", "_R[_g] = _a"),
            ]
        entry = f"_data[{taken.at} + {STRIP} * (_g * {columns} + _j) + _l]"
        return [
            f"for _g in _range({count}):",
            f"    for _l in _range({STRIP}):",
            f"        _B[{after} + {STRIP} * _g + _l] = 0.0",
            f"    for _j in _range({columns}):",
            f"        for _l in _range({STRIP}):",
            f"            _B[{after} + {STRIP} * _g + _l] += {entry} * _B[{before} + _j]",
        ]

    @staticmethod
    def strip_sums(columns: int, count: int, of: Callable[[str], str], result: str) -> list[str]:
        """Sums over the columns of all strips of _M, four of them side by side, since each waits for the one before."""
        parts, whole = 4, columns // 4 * 4
        lines = [f"_a{e} = splat(0.0)" for e in range(parts)]
        for first, end, step in ((0, whole, parts), (whole, columns, 1)):
            if first < end:
                lines += [f"for _j in _range({first}, {end}, {step}):"]
                lines += [
                    f"    _a{e} = _a{e} + _M[_g * {columns} + (_j + {e})] * {of(f'_j + {e}')}" for e in range(step)
                ]
        return [f"for _g in _range({count}):", *indented([*lines, "_a = (_a0 + _a1) + (_a2 + _a3)", result])]

    # tangent vectors

    def product(self, frame: str, target: str, layout: str) -> list[str]:
        """One tile of them, or one column."""
        lines = [f"{q.name} = _p[{q.at}]" for q in self.source.quantities if q.kind == "number"]
        for number, (before, after) in enumerate(self.blocks.values()):
            for word, at in (("_before", before), ("_after", after)):
                lines += [f"{word}{number} = " + (f"like(_B[{at}:], {frame})" if self.vectors else f"_B[{at}:]")]
        places = {name: number for number, name in enumerate(self.blocks)}
        for taken in self.source.taken:
            if taken.name not in places:
                continue
            number = places[taken.name]
            lines += self.pushed(taken.of, f"_before{number}[_i]", frame, places)
            if not taken.matrix:
                lines += [
                    "_sum = 0.0",
                    f"for _i in _range({taken.of.length}):",
                    f"    _sum = _sum + _before{number}[_i]",
                ]
                lines += [f"_after{number}[0] = _sum"]
            elif layout == "column" and self.vectors:
                sums = self.strip_sums(
                    taken.of.length,
                    aligned(taken.length) // STRIP,
                    lambda j, number=number: f"_before{number}[{j}]",  # type: ignore[misc]
                    "_R[_g] = _a",
                )
                lines += [f"_M = as_vectors(_data[{taken.at}:])", f"_R = as_vectors(_after{number})", *sums]
            else:
                lines += self.multiplied_tile(taken, number)
        for at, rule in self.source.rules:
            lines += self.pushed(rule, f"{target}[{at} + _i]", frame, places)
        return lines

    def pushed(self, of: Entrywise, target: str, frame: str, places: dict[str, int]) -> list[str]:
        """A loop that writes the tangent vectors of an expression."""

        def tangent(name: str) -> str:
            quantity = self.of[name]
            place = "_i" if quantity.length > 1 else "0"
            if quantity.kind == "state":
                return f"{frame}[{quantity.at} + {place}]"
            return f"_after{places[name]}[{place}]"

        terms = [f"_J[{self.partials[id(of), name]} + _i] * {tangent(name)}" for name, _ in of.moving]
        terms += [tangent(name) if partial == "1" else f"({partial}) * {tangent(name)}" for name, partial in of.fixed]
        return [f"for _i in _range({of.length}):", f"    {target} = {' + '.join(terms) or '0.0'}"]

    @staticmethod
    def multiplied_tile(taken: Taken, number: int) -> list[str]:
        """A matrix times vectors: eight rows at once."""
        columns = taken.of.length
        return [
            f"for _g in _range({aligned(taken.length) // STRIP}):",
            *(f"    _a{row} = 0.0" for row in range(STRIP)),
            f"    for _j in _range({columns}):",
            f"        _y = _before{number}[_j]",
            f"        _at = {taken.at} + {STRIP} * (_g * {columns} + _j)",
            *(f"        _a{row} = _a{row} + _data[_at + {row}] * _y" for row in range(STRIP)),
            *(f"    _after{number}[{STRIP} * _g + {row}] = _a{row}" for row in range(STRIP)),
        ]
