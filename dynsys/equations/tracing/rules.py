"""What ufuncs make of expressions, by the names of the ufuncs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

SHORT = 4096  # denominators of floats that are written as fractions: 0.5, 0.25, ...


def expression(value: Any) -> Any:
    """A number, or a condition, as an expression: whole numbers and short fractions exactly, others as floats."""
    import sympy

    if isinstance(value, sympy.Basic):
        return sympy.Piecewise((1, value), (0, True)) if is_condition(value) else value
    if isinstance(value, int):  # bool is one
        return sympy.Integer(int(value))
    number = float(value)  # an error for what is none
    if not math.isfinite(number):
        return sympy.nan
    top, bottom = number.as_integer_ratio()
    return sympy.Rational(top, bottom) if bottom <= SHORT and abs(number) < 2**53 else sympy.Float(number)


def is_condition(value: Any) -> bool:
    """Whether an expression is true or false, and no number."""
    import sympy
    from sympy.logic.boolalg import Boolean

    return isinstance(value, Boolean) and not isinstance(value, sympy.Expr)  # a symbol is both


def condition(value: Any) -> Any:
    """A number or a condition as a condition."""
    import sympy

    if isinstance(value, sympy.Basic):
        return value if is_condition(value) else sympy.Ne(value, 0)
    return sympy.true if value else sympy.false


def _of(name: str) -> Callable[..., Any]:
    """A function of SymPy, imported when it is called."""

    def rule(*values: Any) -> Any:
        import sympy

        return getattr(sympy, name)(*map(expression, values))

    return rule


def _joined(name: str) -> Callable[..., Any]:
    """An operator on conditions."""

    def rule(*values: Any) -> Any:
        import sympy

        return getattr(sympy, name)(*map(condition, values))

    return rule


def _power(base: Any, exponent: Any) -> Any:
    return expression(base) ** expression(exponent)


def _heaviside(a: Any, at_zero: Any) -> Any:
    import sympy

    a = expression(a)
    return sympy.Piecewise((0, a < 0), (1, a > 0), (expression(at_zero), True))


def _logaddexp(a: Any, b: Any) -> Any:
    import sympy

    a, b = expression(a), expression(b)
    return sympy.Max(a, b) + sympy.log(1 + sympy.exp(-sympy.Abs(a - b)))


def _floor(a: Any) -> Any:
    import sympy

    return sympy.floor(expression(a))


def _trunc(a: Any) -> Any:
    import sympy

    a = expression(a)
    return sympy.sign(a) * sympy.floor(sympy.Abs(a))


def _cube_root(a: Any) -> Any:
    import sympy

    a = expression(a)
    return sympy.sign(a) * sympy.Abs(a) ** sympy.Rational(1, 3)


def _expit(a: Any) -> Any:
    import sympy

    return (1 + sympy.tanh(expression(a) / 2)) / 2  # does not overflow


def _elementary(function: Callable[..., Any]) -> Callable[..., Any]:
    """A rule from arithmetic on expressions."""
    return lambda *values: function(*map(expression, values))


def _log(a: Any) -> Any:
    import sympy

    return sympy.log(a)


def _sqrt(a: Any) -> Any:
    import sympy

    return sympy.sqrt(a)


RULES: dict[str, Callable[..., Any]] = {
    "add": _elementary(lambda a, b: a + b),
    "subtract": _elementary(lambda a, b: a - b),
    "multiply": _elementary(lambda a, b: a * b),
    "divide": _elementary(lambda a, b: a / b),
    "power": _power,
    "float_power": _power,
    "floor_divide": _elementary(lambda a, b: _floor(a / b)),
    "remainder": _elementary(lambda a, b: a - b * _floor(a / b)),
    "fmod": _elementary(lambda a, b: a - b * _trunc(a / b)),
    "negative": _elementary(lambda a: -a),
    "positive": _elementary(lambda a: a),
    "conjugate": _elementary(lambda a: a),
    "absolute": _of("Abs"),
    "fabs": _of("Abs"),
    "sign": _of("sign"),
    "sqrt": _of("sqrt"),
    "cbrt": _cube_root,
    "square": _elementary(lambda a: a**2),
    "reciprocal": _elementary(lambda a: 1 / a),
    "exp": _of("exp"),
    "exp2": _elementary(lambda a: 2**a),
    "expm1": _elementary(lambda a: _of("exp")(a) - 1),
    "log": _of("log"),
    "log1p": _elementary(lambda a: _log(1 + a)),
    "log2": _elementary(lambda a: _log(a) / _log(2)),
    "log10": _elementary(lambda a: _log(a) / _log(10)),
    "sin": _of("sin"),
    "cos": _of("cos"),
    "tan": _of("tan"),
    "arcsin": _of("asin"),
    "arccos": _of("acos"),
    "arctan": _of("atan"),
    "arctan2": _of("atan2"),
    "hypot": _elementary(lambda a, b: _sqrt(a**2 + b**2)),
    "sinh": _of("sinh"),
    "cosh": _of("cosh"),
    "tanh": _of("tanh"),
    "arcsinh": _elementary(lambda a: _of("sign")(a) * _log(_of("Abs")(a) + _sqrt(a**2 + 1))),
    "arccosh": _elementary(lambda a: _log(a + _sqrt(a**2 - 1))),
    "arctanh": _elementary(lambda a: _log((1 + a) / (1 - a)) / 2),
    "deg2rad": _elementary(lambda a: a * math.pi / 180),
    "radians": _elementary(lambda a: a * math.pi / 180),
    "rad2deg": _elementary(lambda a: a * 180 / math.pi),
    "degrees": _elementary(lambda a: a * 180 / math.pi),
    "floor": _floor,
    "ceil": _elementary(lambda a: -_floor(-a)),
    "trunc": _trunc,
    "maximum": _of("Max"),
    "fmax": _of("Max"),
    "minimum": _of("Min"),
    "fmin": _of("Min"),
    "heaviside": _heaviside,
    "logaddexp": _logaddexp,
    "expit": _expit,
    "erf": _of("erf"),
    "isfinite": lambda a: True,
    "isnan": lambda a: False,
    "isinf": lambda a: False,
    "less": _of("Lt"),
    "less_equal": _of("Le"),
    "greater": _of("Gt"),
    "greater_equal": _of("Ge"),
    "equal": _of("Eq"),
    "not_equal": _of("Ne"),
    "logical_and": _joined("And"),
    "logical_or": _joined("Or"),
    "logical_not": _joined("Not"),
    "logical_xor": _joined("Xor"),
    "bitwise_and": _joined("And"),
    "bitwise_or": _joined("Or"),
    "bitwise_xor": _joined("Xor"),
    "invert": _joined("Not"),
}
