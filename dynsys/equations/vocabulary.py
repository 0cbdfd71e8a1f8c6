"""The functions that equations may use, as text and as SymPy, and what each means."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from dynsys.equations.source import FUNCTIONS, OTHERS

_LARGE_CONSTANT = 20.0  # of an exponent


def _sign(a: float) -> float:
    return math.copysign(1.0, a) if a else 0.0


FLOATS: dict[str, Callable[..., float]] = {name: getattr(math, name) for name in FUNCTIONS} | {
    "Abs": abs,
    "abs": abs,
    "sign": _sign,
    "Max": max,
    "Min": min,
    "Heaviside": lambda a: 0.5 + 0.5 * _sign(a),
    "floor": math.floor,
    "ceiling": math.ceil,
    "Mod": operator.mod,
    "exprel": lambda a: math.expm1(a) / a if a else 1.0,
    "expit": lambda a: math.exp(min(a, 0.0)) / (1.0 + math.exp(-abs(a))),
    "softplus": lambda a: max(a, 0.0) + math.log1p(math.exp(-abs(a))),
    "sech": lambda a: 2.0 * math.exp(-abs(a)) / (1.0 + math.exp(-2.0 * abs(a))),
}
"""Those of text, for constants."""


def remainder(a: Any, b: Any) -> Any:
    """A - b floor(a/b), of the sign of b: of a ratio that is a number SymPy 1.14 may give one of the other sign.

    Examples
    --------
    >>> import sympy
    >>> x = sympy.Symbol("x", real=True)
    >>> remainder(3 * x, -2 * x), remainder(x, 3)
    (-x, Mod(x, 3))
    """
    import sympy

    ratio = a / b
    return b * (ratio - sympy.floor(ratio)) if ratio.is_number and not b.is_number else sympy.Mod(a, b)


def function_named(name: str) -> Callable[..., Any]:
    """The function of SymPy, or of dynsys, that a name of text means."""
    import sympy

    from dynsys.equations.finite import quotients, special

    if name in ("Max", "Min"):
        kind = special.Largest if name == "Max" else special.Least
        return lambda *arguments: kind.of(arguments)
    own: dict[str, Any] = {
        "Mod": remainder,
        "exprel": quotients.exprel,
        "expit": special.expit,
        "softplus": special.softplus,
        "sech": special.sech,
    }
    found: Callable[..., Any] = own.get(name) or getattr(sympy, "Abs" if name == "abs" else name)
    return found


def in_known_functions(expression: Any) -> Any:
    """An expression of SymPy in functions that have source: `sympy.Function("expit")(x)` is one that dynsys knows."""
    import sympy

    from dynsys.equations.finite.special import FEW, Lowered, Selection

    named = {name: function_named(name) for name in (*OTHERS, "Max", "Min")} | {
        "coth": lambda u: 1 / sympy.tanh(u),
        "csch": lambda u: 1 / sympy.sinh(u),
        "cot": lambda u: 1 / sympy.tan(u),
        "sec": lambda u: 1 / sympy.cos(u),
        "csc": lambda u: 1 / sympy.sin(u),
        "frac": lambda u: u - sympy.floor(u),
        "expm1": lambda u: sympy.exp(u) - 1,
        "log1p": lambda u: sympy.log(1 + u),
        "sinc": lambda u: sympy.sin(u) / u,
    }

    def strange(part: Any) -> bool:
        if isinstance(part, Lowered | Selection) or not isinstance(part, sympy.core.function.Application):
            return False
        few = isinstance(part, sympy.Max | sympy.Min) and len(part.args) <= FEW
        return type(part).__name__ in named and not few

    while any(map(strange, sympy.preorder_traversal(expression))):
        expression = expression.replace(strange, lambda part: named[type(part).__name__](*part.args))
    if expression.has(sympy.exp):
        expression = expression.replace(_too_large, _within)
    return expression


def with_whole_constant(exponent: Any) -> Any:
    """An exponent whose large constant is no float, which SymPy would take out: exp(x - 800.0) = 0.0*exp(x)."""
    import sympy

    constant, rest = exponent.as_coeff_Add()
    large = constant.is_Float and abs(constant) > _LARGE_CONSTANT
    return sympy.Rational(repr(float(constant))) + rest if large and rest != 0 else exponent


def _too_large(part: Any) -> bool:
    """Whether SymPy has taken a constant out of an exponential that no float can hold."""
    coefficient = part.args[0] if part.is_Mul else None
    return bool(coefficient and coefficient.is_Float and not 1e-290 < abs(coefficient) < 1e290 and part.args[1:])


def _within(part: Any) -> Any:
    import sympy

    coefficient, *others = part.args
    moving = next((factor for factor in others if isinstance(factor, sympy.exp)), None)
    if moving is None:
        return part
    constant = float(sympy.log(abs(coefficient)))
    rest = sympy.Mul(sympy.sign(coefficient), *[factor for factor in others if factor is not moving])
    return rest * sympy.exp(with_whole_constant(moving.args[0] + constant))
