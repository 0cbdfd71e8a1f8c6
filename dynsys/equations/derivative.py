"""Derivatives of expressions, with a convention where there are none: whoever computes gets the same numbers.

Where arguments of Max or Min tie, the slope is that of the first of them in the order of SymPy, in which numbers come
first: that of Max(x, 0) is 0 at x = 0, that of Max(x, y) is (1, 0) at x = y. The slope of Abs is sign, and sign(0) = 0;
that of a Piecewise is the slope of the case that holds; those of sign, Heaviside and floor are 0 everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sympy


def derivative(expression: sympy.Expr, variable: sympy.Symbol) -> sympy.Expr:
    """The derivative by a real variable, at kinks by the convention above.

    Examples
    --------
    >>> import sympy
    >>> x, y = sympy.symbols("x y", real=True)
    >>> derivative(x * sympy.Max(x, 0), x).subs(x, 3), derivative(sympy.Max(x, y), y).subs({x: 2, y: 2})
    (6, 0)
    """
    import sympy

    found = [kink for kink in expression.atoms(sympy.Max, sympy.Min) if variable in kink.free_symbols]
    kinks = {kink: sympy.Dummy(real=True) for kink in sorted(found, key=sympy.default_sort_key)}
    steps = {step: sympy.Dummy(real=True) for step in expression.atoms(sympy.floor)}
    outer = expression.xreplace(kinks | steps)  # the chain rule: SymPy's own slopes of several that tie are all 0
    slope = sympy.diff(outer, variable)
    for kink, name in kinks.items():
        if name in outer.free_symbols:
            slope += sympy.diff(outer, name) * _slope(kink, variable)
    slope = slope.xreplace({name: part for part, name in (kinks | steps).items()})
    return slope.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))


def _slope(kink: sympy.Expr, variable: sympy.Symbol) -> sympy.Expr:
    """The slope of a Max or Min: that of the argument that it is."""
    import sympy

    slope = derivative(kink.args[0], variable)
    for place, argument in enumerate(kink.args[1:], 1):
        before = kink.func(*kink.args[:place])
        stays = before >= argument if isinstance(kink, sympy.Max) else before <= argument
        slope = sympy.Piecewise((slope, stays), (derivative(argument, variable), True))
    return slope
