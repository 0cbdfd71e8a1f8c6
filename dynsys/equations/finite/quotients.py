"""Quotients f(u)/u^m and u^m/f(u), and 1/f(u) - 1/u, where f vanishes at u = 0: smooth there, too.

Near 0 such a quotient, and each of its derivatives, is the Taylor polynomial; elsewhere the formula. The polynomial
ends where terms no longer count; the formula begins at a quarter of the distance of the next singularity, where that of
a derivative loses a digit or two at most.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any, ClassVar

import sympy
from sympy.core.function import ArgumentIndexError

from dynsys.equations.finite.factors import exact_exponent
from dynsys.equations.finite.special import Lowered, Size, Switch

U = sympy.Dummy("u", real=True)
LEAST = 1e-18  # a term that does not count beside 1


class Quotient(Lowered):
    """Quotient(u, k): the k-th derivative; Quotient(u) the quotient itself."""

    nargs = (1, 2)
    zero: ClassVar[str] = ""  # the function that vanishes
    order: ClassVar[int] = 1  # and how fast
    form: ClassVar[str] = ""  # f(u)/u^m: "by_u"; u^m/f(u): "u_by"; 1/f(u) - 1/u: "past"

    @property
    def derivatives(self) -> int:
        """How often it was differentiated."""
        return int(self.args[1]) if len(self.args) > 1 else 0

    def fdiff(self, argindex: int = 1) -> Any:
        """The next derivative."""
        if argindex != 1:
            raise ArgumentIndexError(self, argindex)
        return self.func(self.args[0], self.derivatives + 1)

    def lower(self) -> Any:
        """The polynomial near 0, the formula elsewhere."""
        radius, near, above, below = _forms(self.zero, self.order, self.form, self.derivatives)
        u = exact_exponent(self.args[0])  # SymPy would take exp(1e6) out of exp(x + 1e6)
        far = Switch(u, 0, *(form.xreplace({U: u}) for form in (above, below))) if above != below else above
        return Switch(Size(u), radius, far.xreplace({U: u}), near.xreplace({U: u}))

    def _latex(self, printer: Any, exp: Any = None) -> str:
        name = type(self).__name__.replace("_", r"\_")
        primes = f"^{{({self.derivatives})}}" if self.derivatives else ""
        text = rf"\operatorname{{{name}}}{primes}\left({printer.doprint(self.args[0])}\right)"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


@cache
def _forms(zero: str, order: int, form: str, k: int) -> tuple[Any, Any, Any, Any]:
    """Where the polynomial begins; the polynomial; the formulas for u > 0 and for u < 0."""
    radius = sympy.Float(min(1.0, _RADIUS[zero][form != "by_u"] / 4))
    size = 64 + k + order
    series = _taylor(zero, size)[order:]
    if form != "by_u":
        series = _reciprocal(series)
    if form == "past":
        series = series[1:]  # of u/f(u) - 1, over u
    factor = 2 / math.sqrt(math.pi) if zero == "erf" else 1.0
    factor = factor if form == "by_u" else 1 / factor
    slopes = [factor * float(math.perm(j + k, k) * series[j + k]) for j in range(len(series) - k)]
    largest = max(map(abs, slopes[:2]))
    last = max(j for j, slope in enumerate(slopes) if abs(slope) * float(radius) ** j >= LEAST * largest)
    parity = all(slope == 0.0 for slope in slopes[1::2]) or all(slope == 0.0 for slope in slopes[::2])
    step = 2 if parity else 1
    first = next(j for j, slope in enumerate(slopes) if slope)
    variable, near = U**step, sympy.Integer(0)
    for j in range(first + (last - first) // step * step, first - 1, -step):
        near = slopes[j] + variable * near
    near = U**first * near if first else near
    far = [_formula(zero, order, form, positive) for positive in (True, False)]
    return radius, near, *(sympy.diff(form, U, k) if k else form for form in far)


def _formula(zero: str, order: int, form: str, positive: bool) -> Any:
    """The quotient itself, in exponentials that do not overflow where it does not."""
    e = sympy.exp(-U) if positive else sympy.exp(U)
    if form != "by_u" and zero in ("expm1", "sinh"):
        if zero == "expm1":
            inverse = e / (1 - e) if positive else 1 / (e - 1)
        else:
            inverse = 2 * e / (1 - e**2) if positive else 2 * e / (e**2 - 1)
        return U * inverse if form == "u_by" else inverse - 1 / U
    whole = {
        "expm1": sympy.exp(U) - 1,
        "log1p": sympy.log(1 + U),
        "sqrtm1": sympy.sqrt(1 + U) - 1,
        "cosm1": 1 - sympy.cos(U),
        "coshm1": sympy.cosh(U) - 1,
    }
    value = whole[zero] if zero in whole else getattr(sympy, zero)(U)
    return {"by_u": value / U**order, "u_by": U**order / value, "past": 1 / value - 1 / U}[form]


_RADIUS = {  # distance of the next singularity, of f(u)/u^m and of u^m/f(u)
    "expm1": (math.inf, 2 * math.pi),
    "log1p": (1.0, 1.0),
    "sqrtm1": (1.0, 1.0),
    "sin": (math.inf, math.pi),
    "tan": (math.pi / 2, math.pi / 2),
    "sinh": (math.inf, math.pi),
    "tanh": (math.pi / 2, math.pi / 2),
    "asin": (1.0, 1.0),
    "atan": (1.0, 1.0),
    "erf": (math.inf, 2.0),
    "cosm1": (math.inf, 2 * math.pi),
    "coshm1": (math.inf, 2 * math.pi),
}


def _taylor(zero: str, size: int) -> list[Fraction]:
    """Coefficients of u^0, u^1, ... of a function; those of erf without the factor 2/sqrt(pi)."""

    def powers(coefficient: Any, parity: int | None = None) -> list[Fraction]:
        return [Fraction(coefficient(j)) if parity is None or j % 2 == parity else Fraction(0) for j in range(size)]

    def alternating(j: int) -> Fraction:
        return Fraction((-1) ** (j // 2), math.factorial(j))

    if zero == "expm1":
        return powers(lambda j: Fraction(j > 0, math.factorial(j)))
    if zero == "log1p":
        return powers(lambda j: Fraction((-1) ** (j + 1), j) if j else 0)
    if zero == "sqrtm1":
        series = [Fraction(0), Fraction(1, 2)]
        for j in range(1, size - 1):
            series.append(series[-1] * (Fraction(1, 2) - j) / (j + 1))
        return series
    if zero == "sin":
        return powers(alternating, 1)
    if zero == "sinh":
        return powers(lambda j: Fraction(1, math.factorial(j)), 1)
    if zero == "cosm1":
        return powers(lambda j: -alternating(j) if j else 0, 0)
    if zero == "coshm1":
        return powers(lambda j: Fraction(j > 0, math.factorial(j)), 0)
    if zero == "tan":
        return _product(_taylor("sin", size), _reciprocal(powers(alternating, 0)))
    if zero == "tanh":
        return _product(_taylor("sinh", size), _reciprocal(powers(lambda j: Fraction(1, math.factorial(j)), 0)))
    if zero == "atan":
        return powers(lambda j: Fraction((-1) ** (j // 2), j), 1)
    if zero == "asin":
        return powers(lambda j: Fraction(math.comb(j - 1, j // 2), 2 ** (j - 1) * j), 1)
    return powers(lambda j: Fraction((-1) ** (j // 2), math.factorial(j // 2) * j), 1)  # erf


def _product(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    return [sum((a[i] * b[j - i] for i in range(j + 1)), Fraction(0)) for j in range(len(a))]


def _reciprocal(a: list[Fraction]) -> list[Fraction]:
    inverse = [1 / a[0]]
    for j in range(1, len(a)):
        inverse.append(-sum((a[i] * inverse[j - i] for i in range(1, j + 1)), Fraction(0)) / a[0])
    return inverse


def _quotient(zero: str, form: str) -> type[Quotient]:
    """The class of a quotient, by whose name notebooks and errors show it."""
    order = 2 if zero in ("cosm1", "coshm1") else 1
    u = "u" * order  # uu for u^2
    name = {"by_u": f"{zero}_by_{u}", "u_by": f"{u}_by_{zero}", "past": f"past_{zero}"}[form]
    if (zero, form) == ("expm1", "by_u"):
        name = "exprel"  # as SciPy calls it
    fields = {"zero": zero, "order": order, "form": form, "__module__": __name__, "__doc__": name}
    return type(name, (Quotient,), fields)


QUOTIENTS = {(zero, form): _quotient(zero, form) for zero in _RADIUS for form in ("by_u", "u_by", "past")}
exprel = QUOTIENTS["expm1", "by_u"]
"""(exp(u) - 1)/u, which is 1 at u = 0."""
