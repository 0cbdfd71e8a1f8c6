"""Products as bases with exponents, and sums as exponentials: what is looked for in expressions, and how."""

from __future__ import annotations

from typing import Any

import sympy

from dynsys.equations.finite.special import sech

Factors = dict[Any, Any]  # base -> exponent; those of exp(u) and 2^u are (exp(u), 1) and (2^u, 1)
Terms = list[tuple[Any, Any]]

ONE, ZERO = sympy.Integer(1), sympy.Integer(0)
_LONGEST, _LARGEST_POWER = 100, 4  # nodes and powers of what is compared by algebra


def as_power(factor: Any) -> tuple[Any, Any]:
    """A factor as (base, exponent); exponentials and numbers stay whole."""
    whole = isinstance(factor, sympy.exp) or factor.is_number or as_exponential(factor) is not factor
    return (factor, ONE) if whole else factor.as_base_exp()


def as_exponential(base: Any) -> Any:
    """2^x as exp(x log(2))."""
    whole = isinstance(base, sympy.Pow) and base.base.is_Number and base.base > 0 and not base.exp.is_number
    return sympy.exp(base.exp * sympy.log(base.base)) if whole else base


def short(*expressions: Any) -> bool:
    """Whether algebra with expressions takes no time."""
    powers = [p for e in expressions for p in e.atoms(sympy.Pow) if p.exp.is_Number]
    nodes = sum(1 for e in expressions for _ in sympy.preorder_traversal(e))
    return nodes <= _LONGEST and all(abs(p.exp) <= _LARGEST_POWER for p in powers)


def multiply(factors: Factors, base: Any, power: Any) -> None:
    """Multiply a product by a power of a base."""
    if isinstance(base, sympy.Mul) and power == 1:
        for factor in base.args:
            multiply(factors, *as_power(factor))
        return
    power += factors.pop(base, ZERO)
    if power != 0:
        factors[base] = power


def factors_of(c: Any, power: Any) -> list[tuple[Any, Any]]:
    """A power of a product as (base, exponent)."""
    return [as_power(factor) for factor in sympy.Mul.make_args(c**power)]


def proportion(u: Any, element: Any) -> Any:
    """The number u/element, if it is one to rounding."""
    if not short(u, element):
        return None
    a, b = (sympy.expand(e).as_coefficients_dict() for e in (u, element))
    if set(a) != set(b):
        return None
    moving = next((monomial for monomial in a if not monomial.is_number), None)
    if moving is None:
        return None
    ratio = a[moving] / b[moving]
    same = all(abs(a[m] - ratio * b[m]) <= 1e-12 * abs(a[m]) for m in a)
    return ratio if same else None


def exponential_terms(base: Any) -> Terms | None:
    """Terms (c, u) of a sum of c exp(u), some u not constant; None for what is none."""
    if not base.has(sympy.exp, sympy.cosh, sympy.sinh, sympy.Pow):
        return None
    terms: Terms = []
    for term in sympy.Add.make_args(base):
        c, exponents, hyperbolic = ONE, ZERO, None
        for factor in sympy.Mul.make_args(term):
            if isinstance(factor := as_exponential(factor), sympy.exp):
                exponents += factor.args[0]
            elif isinstance(factor, sympy.cosh | sympy.sinh) and hyperbolic is None:
                hyperbolic = factor
            else:
                c *= factor
        if hyperbolic is None:
            terms.append((c, exponents))
        else:
            u, sign = hyperbolic.args[0], 1 if isinstance(hyperbolic, sympy.cosh) else -1
            terms += [(c / 2, exponents + u), (sign * c / 2, exponents - u)]
    collected: Factors = {}
    for c, u in terms:
        collected[u] = collected.get(u, ZERO) + c
    return [(c, u) for u, c in collected.items()] if any(not u.is_number for u in collected) else None


def exact_exponent(u: Any) -> Any:
    """An exponent whose constant is no float: SymPy would take it out of the exponential."""
    constant, rest = u.as_coeff_Add()
    return sympy.Rational(repr(float(constant))) + rest if constant.is_Float else u


def exponent_of(factors: Factors) -> Any:
    """The exponent of all exponentials together."""
    return sympy.Add(*[b.args[0] * power for b, power in factors.items() if isinstance(b, sympy.exp)])


def without_exponentials(factors: Factors) -> Factors:
    """The other factors."""
    return {base: power for base, power in factors.items() if not isinstance(base, sympy.exp)}


def logarithm_of(number: Any) -> Any:
    """The logarithm of a number: exact of a fraction, of any other a float."""
    return sympy.log(number) if number.is_Rational else sympy.log(number).evalf()


def whole_multiple(exponent: Any, u: Any) -> int | None:
    """n, where the exponent is n u."""
    if exponent == 0:
        return 0
    ratio = proportion(exponent, u)
    if ratio is None and short(exponent, u):
        ratio = sympy.expand(exponent) / sympy.expand(u)
    return int(ratio) if ratio is not None and ratio.is_Number and ratio == int(ratio) else None


def with_tanh(factors: Factors) -> Factors:
    """A product with tanh(u) and sech(u) in the place of sinh(u) and of negative powers of cosh(u)."""
    for base, power in list(factors.items()):
        if isinstance(base, sech):
            factors = {b: p for b, p in factors.items() if b is not base}
            multiply(factors, sympy.cosh(base.args[0]), -power)
    found = {
        base.args[0]: power for base, power in factors.items() if isinstance(base, sympy.cosh) and power.is_Integer
    }
    for u, power in found.items():
        of_sinh = factors.get(sympy.sinh(u), ZERO)
        turned = min(-power, of_sinh) if power < 0 < of_sinh else -min(power, -of_sinh) if of_sinh < 0 < power else 0
        if power < 0 or turned:
            factors = dict(factors)
            for base, more in ((sympy.cosh(u), turned), (sympy.sinh(u), -turned), (sympy.tanh(u), turned)):
                multiply(factors, base, sympy.Integer(more))
            rest = factors.get(sympy.cosh(u), ZERO)
            others = {b for b in factors if isinstance(b, sympy.exp | sympy.cosh | sympy.sinh)}
            if rest < 0 and others == {sympy.cosh(u)}:  # else they are reduced together
                del factors[sympy.cosh(u)]
                multiply(factors, sech(u), -rest)
    return factors
