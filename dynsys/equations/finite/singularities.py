"""Removable singularities of products and sums: f(u)/u, u/f(u) and 1/f(u) - 1/u, where f vanishes at u = 0."""

from __future__ import annotations

from typing import Any

import sympy

from dynsys.equations.finite.factors import (
    ONE,
    ZERO,
    Factors,
    as_power,
    exact_exponent,
    exponent_of,
    exponential_terms,
    factors_of,
    logarithm_of,
    multiply,
    proportion,
    short,
    whole_multiple,
    with_tanh,
    without_exponentials,
)
from dynsys.equations.finite.quotients import QUOTIENTS

_VANISH = {
    kind: kind.__name__ for kind in (sympy.sin, sympy.tan, sympy.sinh, sympy.tanh, sympy.asin, sympy.atan, sympy.erf)
}


def vanishing(base: Any) -> tuple[str, Any, Any] | None:
    """(f, u, c) where a base is c f(u), and f(0) = 0."""
    if type(base) in _VANISH:
        return _VANISH[type(base)], base.args[0], ONE
    if isinstance(base, sympy.log):
        return "log1p", base.args[0] - 1, ONE
    if not isinstance(base, sympy.Add) or len(base.args) != 2:
        return None
    for one, other in (base.args, base.args[::-1]):
        for kind, name, sign in ((sympy.cos, "cosm1", 1), (sympy.cosh, "coshm1", -1)):
            c, rest = other.as_independent(kind, as_Add=False)
            if isinstance(rest, kind) and c == -one:
                return name, rest.args[0], sign * one
        c, rest = other.as_independent(sympy.Pow, as_Add=False)  # c sqrt(w) - c s = c s (sqrt(w/s^2) - 1)
        if isinstance(rest, sympy.Pow) and rest.exp == sympy.Rational(1, 2) and (one / c).is_Number and one / c < 0:
            return "sqrtm1", sympy.expand(rest.base / (one / c) ** 2 - 1), -one
    terms = exponential_terms(base)
    if terms is None or len(terms) != 2:
        return None
    (a, v), (b, w) = sorted(terms, key=lambda term: term[1] != 0)
    ratio = -b / a  # c = a exp(v) (1 - ratio exp(w - v))
    if ratio == 1 and v != 0:
        return "sinh", (v - w) / 2, 2 * a * sympy.exp((v + w) / 2)
    if ratio == 1:
        return "expm1", w, -a
    if ratio.is_Float and ratio > 0:
        return "expm1", w - v + logarithm_of(ratio), -a * sympy.exp(v)
    return None


def with_quotients(factors: Factors) -> Factors:
    """A product with quotients in the place of f(u) and what it is divided by, or what divides it."""
    for base, power in list(factors.items()):
        found = vanishing(base) if power.is_Integer else None
        if found is None:
            continue
        zero, u, c = found
        order = 2 if zero in ("cosm1", "coshm1") else 1
        for partner, other in list(factors.items()):
            unit = ONE if other.is_Integer else abs(other)  # the exponent that counts as one
            element, count = partner**unit, other / unit
            inverse = bool(power < 0)
            if partner is base or not count.is_Integer or count * power >= 0 or (inverse and abs(count) < order):
                continue
            both = _both_vanish(factors, found, partner) if order == 1 and other.is_Integer else None
            if both is not None:
                return with_quotients(both)
            ratio = _ratio(u, element, inverse)
            if ratio is None and abs(count) > 1:  # x^2/(sqrt(1 + x^2) - 1)
                unit, element, count = abs(other), partner ** abs(other), sympy.sign(other)
                ratio = None if inverse and order > 1 else _ratio(u, element, inverse)
            if ratio is None:
                continue
            count = abs(count)
            times = min(abs(power), count // order if inverse else -(-count // order))
            count = min(count, order * times)
            exact = exact_exponent(ratio * element if ratio.is_Number else u)
            quotient = QUOTIENTS[zero, "u_by" if inverse else "by_u"](exact)
            sign = -1 if inverse else 1
            factors = dict(factors)
            moved = sign * count
            for more, exponent in (
                (base, -sign * times),
                (partner, moved * unit),
                (quotient, times),
                *factors_of(c, sign * times),
                *factors_of(ratio, moved),
                *factors_of(u, order * times - count),
            ):
                multiply(factors, more, ZERO + exponent)
            return with_quotients(_reflected(factors, exact, quotient))
    return factors


def _both_vanish(factors: Factors, found: tuple[str, Any, Any], partner: Any) -> Factors | None:
    """C f(u) and d g(w) of opposite powers, with w = r u, in terms of f(u)/u and w/g(w)."""
    other = vanishing(partner)
    if other is None or other[0] in ("cosm1", "coshm1"):
        return None
    base = next(b for b in factors if vanishing(b) == found)
    ratio = proportion(found[1], other[1])
    if ratio is None:
        return None
    sign = 1 if factors[base] > 0 else -1
    times = min(abs(factors[base]), abs(factors[partner]))
    factors = dict(factors)
    one = QUOTIENTS[found[0], "by_u" if sign > 0 else "u_by"](exact_exponent(found[1]))
    two = QUOTIENTS[other[0], "u_by" if sign > 0 else "by_u"](exact_exponent(other[1]))
    for more, power in (
        (base, -sign * times),
        (partner, sign * times),
        (one, times),
        (two, times),
        *factors_of(found[2] * ratio / other[2], sign * times),
    ):
        multiply(factors, more, ZERO + power)
    return factors


def _reflected(factors: Factors, u: Any, quotient: Any) -> Factors:
    """B(u) exp(u) = B(-u) for B(u) = u/(exp(u) - 1), which does not overflow."""
    if not isinstance(quotient, QUOTIENTS["expm1", "u_by"]):
        return factors
    other = type(quotient)(-u)
    for base, power in factors.items():  # B(u) (a + b exp(u)) = a B(u) + b B(-u)
        terms = exponential_terms(base) if isinstance(base, sympy.Add) and power == 1 else None
        multiples = [whole_multiple(v, u) for _, v in terms or ()]
        if terms and all(multiple in (0, 1) for multiple in multiples):
            rest = {b: p for b, p in factors.items() if b is not base}
            multiply(rest, quotient, -ONE)
            parts = [c * (other if multiple else quotient) for (c, _), multiple in zip(terms, multiples, strict=True)]
            multiply(rest, sympy.Add(*parts), ONE)
            return rest
    times = whole_multiple(exponent_of(factors), u)
    if times is None or times <= 0:
        return factors
    times = min(times, int(factors[quotient]))
    rest = without_exponentials(factors)
    multiply(rest, quotient, sympy.Integer(-times))
    multiply(rest, other, sympy.Integer(times))
    multiply(rest, sympy.exp(exponent_of(factors) - times * u), ONE)
    return rest


def _ratio(u: Any, element: Any, inverse: bool) -> Any:
    """u/element, where the one of the two quotients that is meant stays finite."""
    if element.is_number:
        return None
    exact = proportion(u, element)
    if exact is not None:
        return exact
    if not u.free_symbols & element.free_symbols or not short(u, element):
        return None
    ratio = sympy.cancel(u / element)
    above, below = sympy.fraction(1 / ratio if inverse else ratio)
    if not below.free_symbols & element.free_symbols:
        return ratio
    signed = (below.is_positive or below.is_negative) and not above.free_symbols & element.free_symbols
    return ratio if signed else None


def with_remainders(e: Any) -> Any:
    """A sum with c (1/f(u) - 1/u) in the place of c/f(u) and -c/u."""
    for one in e.args:
        factors = with_tanh(dict(map(as_power, sympy.Mul.make_args(one))))
        poles = [base for base, power in factors.items() if power == -1 and vanishing(base)]
        if len(poles) != 1:
            continue
        zero, u, c = vanishing(poles[0]) or ("", ONE, ONE)
        factor = sympy.Mul(*[base**power for base, power in factors.items() if base is not poles[0]]) / c
        for other in e.args:
            if zero in ("cosm1", "coshm1", "erf", "sqrtm1") or other is one or not short(factor, u, other):
                continue
            if sympy.cancel(factor / u + other) == 0:
                rest = [part for part in e.args if part not in (one, other)]
                return sympy.Add(*rest, factor * QUOTIENTS[zero, "past"](exact_exponent(u)), evaluate=bool(rest))
    return e
