"""Mathematical expressions: from text to SymPy without ever executing the text, and from SymPy to source."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.errors import InvalidInputError

if TYPE_CHECKING:
    import sympy

FUNCTIONS = (
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "atan2",
    "sinh",
    "cosh",
    "tanh",
    "exp",
    "log",
    "sqrt",
    "erf",
)
"""Elementary functions that text and generated source may use, beside Abs, sign, Max, Min and Piecewise."""

_SYMPY_ONLY = {"Abs": "Abs", "abs": "Abs", "sign": "sign", "Max": "Max", "Min": "Min"}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_LONGEST, _DEEPEST, _LARGEST_POWER = 10_000, 100, 1_000


def numpy_functions() -> dict[str, Any]:
    """The names that generated source may call, as NumPy functions."""
    from scipy.special import erf

    renamed = {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "erf": erf}
    return {name: renamed.get(name) or getattr(np, name) for name in FUNCTIONS} | {
        "where": np.where,
        "maximum": np.maximum,
        "minimum": np.minimum,
        "sign": np.sign,
        "pi": math.pi,
        "np": np,
    }


def parse(text: str, symbols: Mapping[str, sympy.Symbol]) -> sympy.Expr:
    """The SymPy expression that a text denotes; the text is read as mathematics, never evaluated as Python.

    Parameters
    ----------
    text : str
        Numbers, the names in `symbols`, pi, + - * / ** (or ^), brackets, and calls of `FUNCTIONS`.
    symbols : mapping of str to Symbol

    Raises
    ------
    InvalidInputError
        Naming what is not understood.

    Examples
    --------
    >>> import sympy
    >>> parse("2*x^2 - sin(x)", {"x": sympy.Symbol("x")})
    2*x**2 - sin(x)
    """
    import sympy

    def refuse(what: str) -> InvalidInputError:
        return InvalidInputError(f"{what} in the expression {text[:100]!r}; known names: {', '.join(sorted(symbols))}")

    def read(node: ast.AST, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise refuse(f"more than {_DEEPEST} nested terms")
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)
            case ast.Name(id=name):
                if name in symbols:
                    return symbols[name]
                if name == "pi":
                    return sympy.pi
                raise refuse(f"unknown name {name!r}")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -read(operand, depth + 1)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return read(operand, depth + 1)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                a, b = read(left, depth + 1), read(right, depth + 1)
                if isinstance(op, ast.Pow) and b.is_number and abs(b) > _LARGEST_POWER:
                    raise refuse(f"a power above {_LARGEST_POWER}")
                return _OPERATORS[type(op)](a, b)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FUNCTIONS and name not in _SYMPY_ONLY:
                    raise refuse(f"unknown function {name!r}")
                return getattr(sympy, _SYMPY_ONLY.get(name, name))(*(read(a, depth + 1) for a in arguments))
        raise refuse(f"{ast.unparse(node)[:50]!r} is not mathematics")

    if len(text) > _LONGEST:
        raise InvalidInputError(f"an expression of {len(text)} characters is too long; at most {_LONGEST}")
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        raise InvalidInputError(f"the expression {text[:100]!r} cannot be read: {problem}") from None
    try:
        result = read(tree.body)
    except (TypeError, ValueError) as problem:  # a wrong number of arguments
        if isinstance(problem, InvalidInputError):
            raise
        raise refuse(f"wrong use of a function ({problem})") from None
    if result.has(sympy.zoo, sympy.nan, sympy.oo):
        raise refuse("a division by zero")
    return result


def to_source(expression: sympy.Expr) -> str:
    """Source of an expression, for NumPy (with `numpy_functions`) and for Numba alike."""
    return _printer().doprint(expression)


def share(expressions: Iterable[sympy.Expr]) -> tuple[list[str], list[str]]:
    """Statements for the subexpressions that some expressions share, and the source of each expression after them."""
    import sympy

    shared, reduced = sympy.cse(list(expressions), symbols=sympy.numbered_symbols("_c"), order="none")
    trivial = {symbol: value for symbol, value in shared if (-value).is_Symbol}  # a changed sign is no work to share

    def inline(value: sympy.Expr) -> str:
        return to_source(value.xreplace(trivial))

    return [f"{s} = {inline(value)}" for s, value in shared if s not in trivial], [inline(e) for e in reduced]


def assignments(targets: Iterable[str], expressions: Iterable[sympy.Expr]) -> list[str]:
    """Statements `target = expression`, after those of the subexpressions that they share."""
    shared, sources = share(expressions)
    return shared + [f"{target} = {source}" for target, source in zip(targets, sources, strict=True)]


def check_functions(expression: sympy.Expr, origin: str) -> None:
    """Refuse an expression, or a derivative of one, that has no source."""
    import sympy

    allowed = {*FUNCTIONS, "Abs", "sign", "Max", "Min", "Heaviside", "Piecewise"}
    for call in expression.atoms(sympy.Function, sympy.Derivative, sympy.Subs):
        if type(call).__name__ not in allowed:
            raise InvalidInputError(f"{origin} contains {call}, which cannot be differentiated or computed")


def _printer() -> Any:
    from sympy.printing.pycode import PythonCodePrinter

    class SourcePrinter(PythonCodePrinter):
        """Python source with bare function names and element-wise conditionals."""

        def _print_Piecewise(self, expr: Any) -> str:
            source = "np.nan"
            for value, condition in reversed(expr.args):
                value = self._print(value)
                source = value if condition == True else f"where({self._print(condition)}, {value}, {source})"  # noqa: E712
            return source

        def _print_Heaviside(self, expr: Any) -> str:
            return f"where({self._print(expr.args[0])} > 0.0, 1.0, 0.0)"

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

        def _print_Integer(self, expr: Any) -> str:
            return str(expr)

        def _print_Rational(self, expr: Any) -> str:
            return f"({expr.p}/{expr.q})"

    return SourcePrinter({"fully_qualified_modules": False})
