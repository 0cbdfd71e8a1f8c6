"""How large an expression is, and what SymPy would make of it: asked before SymPy works on it for minutes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dynsys.errors import InvalidInputError

if TYPE_CHECKING:
    import sympy

LARGEST_DERIVATIVE = 100_000  # nodes of a tree: some ten seconds of SymPy


def sizes(expression: sympy.Expr, known: dict[sympy.Expr, tuple[int, int, int]]) -> tuple[int, int, int]:
    """Nodes of an expression and, by sum and chain rule, nearly those of its first and second derivative."""
    if expression not in known:
        parts = [sizes(part, known) for part in expression.args]
        size, first, second = (sum(column) for column in zip((1, expression.is_Symbol, 0), *parts, strict=True))
        if expression.is_Relational or expression.is_Boolean:
            first = second = 0
        elif expression.is_Piecewise:  # conditions stay as they are
            first, second = first + size, second + size
        elif parts and expression.is_Function | expression.is_Mul | expression.is_Pow:
            moving = slopes = sum(part[1] > 0 for part in parts)
            if expression.func.__name__ in ("Max", "Min", "Largest", "Least"):
                slopes **= 2  # every slope compares with all the others; SymPy's own second ones do pair by pair
                moving **= 3
            second += 2 * moving * first + moving**2 * size
            first += slopes * size
        known[expression] = size, first, second
    return known[expression]


def complex_terms(expression: sympy.Expr) -> int:
    """Nearly the terms of real and imaginary part, which SymPy writes out to see whether they are real."""
    if expression.is_extended_real or not expression.args:
        return 1
    cases = expression.is_Piecewise
    parts = [complex_terms(part.expr if cases else part) for part in expression.args]
    if expression.is_Add or cases:
        return sum(parts)
    whole = expression.is_Pow and expression.exp.is_Integer
    return (abs(int(expression.exp)) + 1 if whole else 4) * math.prod(parts)


def check_size(expression: sympy.Expr, origin: str, derivatives: int) -> None:
    """Refuse an expression whose derivatives would take SymPy minutes."""
    size = sizes(expression, {})[derivatives]
    if size > LARGEST_DERIVATIVE:
        raise InvalidInputError(
            f"{origin} is too large: its derivative has some {size:.1g} terms, written out; at most "
            f"{LARGEST_DERIVATIVE}. Use fewer factors, or functions that are nested less deeply"
        )
