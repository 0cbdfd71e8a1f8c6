"""The graph of a loss: its operations one by one, for losses of too many weights to be differentiated as formulas.

SymPy reads the expressions and derives nothing: how each operation is differentiated, its kind says.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs

from dynsys.compiled.graph import FUNCTIONS, POWER, POWER_OF, SELECT, SIGMA, SUM, LossGraph
from dynsys.equations.definition import LANGUAGE, derived_once
from dynsys.equations.expression import nesting_refused, read_expression, syntax_tree
from dynsys.equations.sample_loss import SampleLoss
from dynsys.equations.scalar_function import opaque_function
from dynsys.errors import InvalidInputError

Term = tuple[float, int, int]  # factor, left, right
ONE = 0  # the row of ones


class UnknownOperationError(Exception):
    """An operation that no kind of a graph is: its name."""


@lru_cache(maxsize=64)
@nesting_refused()
def loss_graph(loss: SampleLoss) -> LossGraph | None:
    """The graph of a loss, derived once and kept on disk; None if it holds an operation that no kind is."""
    given = list(attrs.astuple(loss, recurse=False))
    modules = [__name__, "dynsys.compiled.graph", *LANGUAGE, "dynsys.equations.scalar_function"]
    try:
        return LossGraph(**derived_once("graph", given, modules, lambda: _Builder(loss).record()))
    except UnknownOperationError:
        return None


def summands(given: Any) -> list[tuple[float, Any]]:
    """The parts of a sum, each with its sign, as text or of SymPy: read as a whole, thousands take SymPy minutes.

    Examples
    --------
    >>> summands("2*x - (y + z) - 1")
    [(1.0, '2 * x'), (-1.0, 'y + z'), (-1.0, '1')]
    """
    if not isinstance(given, str):
        import sympy

        return [(1.0, part) for part in sympy.Add.make_args(sympy.sympify(given, strict=True))]
    try:
        node, found = syntax_tree(given.strip().replace("^", "**")), []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            found.append((1.0 if isinstance(node.op, ast.Add) else -1.0, ast.unparse(node.right)))
            node = node.left
        return [(1.0, ast.unparse(node)), *reversed(found)]
    except (InvalidInputError, RecursionError):
        return [(1.0, given)]  # whoever reads it says what is wrong


class _Builder:
    """Operations so far, and the rows of the expressions that they compute."""

    def __init__(self, loss: SampleLoss) -> None:
        import sympy

        self.loss = loss
        symbols: dict[str, Any] = {
            name: sympy.Symbol(name, real=True) for name in (*loss.state, *loss.columns, *loss.parameters)
        }
        self.components = {symbols[name]: i for i, name in enumerate(loss.state)}
        inputs = (*loss.columns, *loss.parameters)
        self.rows: dict[Any, int] = {symbols[name]: i for i, name in enumerate(inputs, 1)}
        self.inputs = 1 + len(inputs)
        self.kinds: list[int] = []
        self.terms: list[list[Term]] = []
        self.sigma = opaque_function()
        for name, given in loss.outputs:
            row = self.add(SUM, self.read(f"the output {name}", given, symbols))
            symbols[name] = sympy.Symbol(name, real=True)
            self.rows[symbols[name]] = row
        self.add(SUM, self.read("the loss", loss.loss, symbols))

    def read(self, origin: str, given: Any, symbols: dict[str, Any]) -> list[Term]:
        """The terms of an expression in the symbols of the loss, finite where it can be."""
        from dynsys.equations.finite import special
        from dynsys.equations.finite.rewriting import finite

        terms = []
        for sign, part in summands(given):
            expression = read_expression(origin, part, symbols, {"sigma": self.sigma}, derivatives=0)
            expression = special.lowered(finite(expression))
            terms += [(sign * factor, left, right) for factor, left, right in self.sum_of(expression)]
        return terms

    def record(self) -> LossGraph:
        """All operations."""
        first = [0]
        for terms in self.terms:
            first.append(first[-1] + len(terms))
        columns = zip(*(term for terms in self.terms for term in terms), strict=True)
        sizes = len(self.loss.columns), len(self.loss.parameters)
        return LossGraph(*sizes, tuple(self.kinds), tuple(first), *map(tuple, columns))

    def add(self, kind: int, terms: Sequence[Term]) -> int:
        """The row of a new operation."""
        self.kinds.append(kind)
        self.terms.append(list(terms) or [(0.0, ONE, ONE)])
        return self.inputs + len(self.kinds) - 1

    def row(self, e: Any) -> int:
        """The row of an expression."""
        if e not in self.rows:
            self.rows[e] = self.computed(e)
        return self.rows[e]

    def computed(self, e: Any) -> int:
        """The row of an operation for an expression that has none yet."""
        import sympy

        from dynsys.equations.finite import special

        if e.is_Symbol or e.is_number or e.is_Add or e.is_Mul:
            return self.add(SUM, self.sum_of(e))
        if e.is_Pow:
            return self.power(e.base, e.exp)
        if e.is_Piecewise:
            return self.cases(e.args)
        if isinstance(e, special.Switch):
            a, b, yes, no = map(self.row, e.args)
            return self.select(self.compared("not below", a, b), yes, no)
        if isinstance(e, special.Size):
            row = self.row(e.args[0])
            return self.select(
                self.compared("not below", row, self.row(sympy.Integer(0))), row, self.add(SUM, [(-1.0, row, ONE)])
            )
        if isinstance(e, special.Log1p):
            return self.row(sympy.log(1 + e.args[0]))
        if isinstance(e, special.Portion):
            return self.row(e.args[0] / e.args[1])
        if isinstance(e, sympy.Max | sympy.Min | special.Largest | special.Peak):
            row, largest = self.row(e.args[0]), not isinstance(e, sympy.Min | special.Least)
            for other in map(self.row, e.args[1:]):
                sides = (row, other) if largest else (other, row)
                row = self.select(self.compared("not below", *sides), row, other)
            return row
        if isinstance(e, self.sigma):
            return self.add(SIGMA, [(0.0, ONE, self.row(e.args[0]))])
        name = type(e).__name__
        if name not in FUNCTIONS or len(e.args) != 1 + (name == "Heaviside"):
            raise UnknownOperationError(name)
        return self.add(FUNCTIONS[name], [(0.0, ONE, self.row(e.args[0]))])

    def sum_of(self, e: Any) -> list[Term]:
        """The terms of which an expression is the sum."""
        return [self.product(part) for part in (e.args if e.is_Add else (e,))]

    def product(self, e: Any) -> Term:
        """An expression as one term."""
        import sympy

        factor, moving = 1.0, []
        for part in e.args if e.is_Mul else (e,):
            if part.is_number:
                factor *= float(part)
            else:
                moving.append(part)
        moving.sort(key=lambda part: part not in self.components)  # a component of the state first
        if not moving:
            return factor, ONE, ONE
        left, *rest = moving
        right = self.row(sympy.Mul(*rest)) if rest else ONE
        return factor, -1 - self.components[left] if left in self.components else self.row(left), right

    def power(self, base: Any, exponent: Any) -> int:
        """A power: of a constant, of an input, or as exp(exponent ln base)."""
        if exponent == 2:
            row = self.row(base)
            return self.add(SUM, [(1.0, row, row)])
        if exponent.is_number:
            return self.add(POWER, [(float(exponent), ONE, self.row(base))])
        if self.rows.get(exponent, self.inputs) < self.inputs:
            return self.add(POWER_OF, [(0.0, self.rows[exponent], self.row(base))])
        logarithm = self.add(FUNCTIONS["log"], [(0.0, ONE, self.row(base))])
        product = self.add(SUM, [(1.0, logarithm, self.row(exponent))])
        return self.add(FUNCTIONS["exp"], [(0.0, ONE, product)])

    def cases(self, cases: Sequence[Any]) -> int:
        """A Piecewise, whose last case holds always."""
        row = self.row(cases[-1][0])
        for value, condition in reversed(cases[:-1]):
            row = self.select(self.condition(condition), self.row(value), row)
        return row

    def condition(self, e: Any) -> int:
        """The row of a condition: 1 where it holds, else 0."""
        import sympy

        if isinstance(e, sympy.And | sympy.Or | sympy.Not):
            held = [self.condition(part) for part in e.args]
            if isinstance(e, sympy.Not):
                return self.negated(held[0])
            union = isinstance(e, sympy.Or)
            row, *others = [self.negated(part) for part in held] if union else held
            for other in others:
                row = self.add(SUM, [(1.0, row, other)])
            return self.negated(row) if union else row
        match type(e).__name__:
            case "StrictGreaterThan" | "StrictLessThan":
                return self.compared("above", self.row(e.gts), self.row(e.lts))
            case "GreaterThan" | "LessThan":
                return self.compared("not below", self.row(e.gts), self.row(e.lts))
        raise UnknownOperationError(str(e))

    def compared(self, how: str, one: int, other: int) -> int:
        difference = self.add(SUM, [(1.0, one, ONE), (-1.0, other, ONE)])
        return self.add(FUNCTIONS[how], [(0.0, ONE, difference)])

    def negated(self, row: int) -> int:
        return self.add(SUM, [(1.0, ONE, ONE), (-1.0, row, ONE)])

    def select(self, condition: int, yes: int, no: int) -> int:
        return self.add(SELECT, [(0.0, condition, yes), (0.0, condition, no)])
