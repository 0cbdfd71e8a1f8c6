"""From SymPy expressions to source, for NumPy and for Numba."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.errors import InvalidInputError

if TYPE_CHECKING:
    import sympy

FUNCTIONS = ("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "erf")
"""Elementary functions that text and generated source may use, beside Abs, sign, Max, Min and Piecewise."""

STEPS = ("Heaviside", "floor", "ceiling", "Mod")
OTHERS = ("exprel", "expit", "softplus", "sech")
"""What text may use too: functions that jump, and functions that generated source writes by others."""

EXACT_BITS = 63  # of numerator and denominator: integers of the compiler, and a bound on powers of powers


def numpy_functions() -> dict[str, Any]:
    """The names that generated source may call, as NumPy functions."""

    def erf(x: Any) -> Any:
        from scipy.special import erf

        return erf(x)

    marked = {"_floor": np.floor, "_ceiling": np.ceil, "_mod": np.mod, "_log1p": np.log1p}
    renamed = {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "erf": erf}
    return {name: renamed.get(name) or getattr(np, name) for name in FUNCTIONS} | {
        "where": np.where,
        "maximum": np.maximum,
        "minimum": np.minimum,
        "sign": np.sign,
        "pi": math.pi,
        "np": np,
        **marked,
    }


def to_source(expression: sympy.Expr) -> str:
    """Source of an expression, for NumPy (with `numpy_functions`) and for Numba alike."""
    return _printer().doprint(_lowered(expression))


def _lowered(expression: sympy.Expr) -> sympy.Expr:
    from dynsys.equations.finite.special import lowered

    return lowered(expression)


def share(expressions: Iterable[sympy.Expr]) -> tuple[list[str], list[str]]:
    """Statements for the subexpressions that some expressions share, and the source of each expression after them."""
    import sympy

    shared, reduced = sympy.cse(list(map(_lowered, expressions)), symbols=sympy.numbered_symbols("_c"), order="none")
    # a changed sign is no work to share
    trivial = {symbol: value for symbol, value in shared if value.is_Mul and (-value).is_Symbol}

    def inline(value: sympy.Expr) -> str:
        return to_source(value.xreplace(trivial))

    return [f"{s} = {inline(value)}" for s, value in shared if s not in trivial], [inline(e) for e in reduced]


def assignments(targets: Iterable[str], expressions: Iterable[sympy.Expr]) -> list[str]:
    """Statements `target = expression`, after those of the subexpressions that they share."""
    shared, sources = share(expressions)
    return shared + [f"{target} = {source}" for target, source in zip(targets, sources, strict=True)]


def _float(number: sympy.Number) -> str:
    """A number with all its digits; one that no float holds is refused, where `check_functions` could not see it."""
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found) or (found == 0.0 and not number.is_zero):
        raise InvalidInputError(f"the equations contain {number.evalf(3)!s}, which no floating-point number can hold")
    return repr(found)


def _printer() -> Any:
    from sympy.printing.pycode import PythonCodePrinter

    class SourcePrinter(PythonCodePrinter):
        """Python source with bare function names and element-wise conditionals."""

        def _print_Piecewise(self, expr: Any) -> str:
            # numbers as floats: what is chosen has one type, whichever it is
            values = [repr(float(e)) if e.is_Integer else self._print(e) for e, _ in expr.args]
            source = values.pop()  # `read_expression` sees to it that the last case holds always
            for value, (_, condition) in zip(reversed(values), reversed(expr.args[:-1]), strict=True):
                source = f"where({self._print(condition)}, {value}, {source})"
            return source

        def _print_Heaviside(self, expr: Any) -> str:
            argument, middle = map(self._print, expr.args)
            return f"where({argument} > 0.0, 1.0, where({argument} < 0.0, 0.0, {middle}))"

        def _print_Switch(self, expr: Any) -> str:
            a, b, *values = map(self._print, expr.args)
            yes, no = (
                repr(float(e)) if e.is_Integer else value for e, value in zip(expr.args[2:], values, strict=True)
            )
            return f"where({a} >= {b}, {yes}, {no})"

        def _print_Guard(self, expr: Any) -> str:
            test, value = map(self._print, expr.args[:2])
            return f"where(({test}) == 0.0, 0.0, {value})"

        _print_Vanishing = _print_Guard

        def _print_Size(self, expr: Any) -> str:
            argument = self._print(expr.args[0])
            return f"where({argument} >= 0.0, {argument}, -({argument}))"  # of complex steps, too

        def _print_Portion(self, expr: Any) -> str:
            return "(({}) / ({}))".format(*map(self._print, expr.args))

        def _print_marked(self, expr: Any) -> str:
            return f"_{type(expr).__name__.lower()}({', '.join(map(self._print, expr.args))})"

        _print_floor = _print_ceiling = _print_Mod = _print_Log1p = _print_marked

        def _print_sign(self, expr: Any) -> str:
            return f"sign({self._print(expr.args[0])})"

        def _print_nested(self, name: str, expr: Any) -> str:
            first, *rest = (self._print(argument) for argument in expr.args)
            for argument in rest:
                first = f"{name}({first}, {argument})"
            return first

        def _print_Max(self, expr: Any) -> str:
            return self._print_nested("maximum", expr)

        def _print_Min(self, expr: Any) -> str:
            return self._print_nested("minimum", expr)

        _print_Largest = _print_Peak = _print_Max
        _print_Least = _print_Min

        def _print_Float(self, expr: Any) -> str:
            return _float(expr)  # all digits

        def _print_NaN(self, expr: Any) -> str:
            raise InvalidInputError(f"the equations, or derivatives of theirs, contain {expr}, which is no real number")

        _print_Infinity = _print_NegativeInfinity = _print_ComplexInfinity = _print_ImaginaryUnit = _print_NaN

        def _print_Exp1(self, expr: Any) -> str:
            return repr(math.e)

        def _print_And(self, expr: Any) -> str:
            return " & ".join(f"({self._print(argument)})" for argument in expr.args)

        def _print_Or(self, expr: Any) -> str:
            return " | ".join(f"({self._print(argument)})" for argument in expr.args)

        def _print_Not(self, expr: Any) -> str:
            return f"(({self._print(expr.args[0])}) == False)"  # element by element, as `not` is not

        def _print_Integer(self, expr: Any) -> str:
            return str(expr.p) if expr.p.bit_length() <= EXACT_BITS else _float(expr)

        def _print_Rational(self, expr: Any) -> str:
            short = max(expr.p.bit_length(), expr.q.bit_length()) <= EXACT_BITS
            return f"({expr.p}/{expr.q})" if short else _float(expr)

    return SourcePrinter({"fully_qualified_modules": False})
