"""The same function, written so that it is finite wherever it is, and its derivative, too.

Text such as 1/(1 + exp(u)), x^n/(K^n + x^n) or x/(exp(x) - 1) has a derivative that SymPy writes as inf/inf for large
arguments, or 0/0 at a point. What stands in its place:

- f(u)/u and u/f(u), where f vanishes at u = 0: a `Quotient`;
- products of powers of a + b exp(u) and exp(u) with a = b: `expit`, logarithms of such a sum: `softplus`;
- sums of exponentials in a denominator or a logarithm, N = sum c_i exp(u_i): with m = max(u_i), N = exp(m) D and
  D = sum c_i exp(u_i - m). What depends on N does not depend on m, so that m may be held fixed in derivatives (`Peak`);
- sums of powers in a denominator, N = sum c_i b_i^n: the same with s = max(|b_i|), N = s^n sum c_i (b_i/s)^n;
- cosh(u) in a denominator: sech and tanh;
- u^q log(u): 0 at u = 0.

What has none of these forms stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy

from dynsys.equations.finite.factors import (
    ONE,
    Factors,
    Terms,
    as_exponential,
    as_power,
    exact_exponent,
    exponent_of,
    exponential_terms,
    factors_of,
    logarithm_of,
    multiply,
    whole_multiple,
    with_tanh,
    without_exponentials,
)
from dynsys.equations.finite.singularities import with_quotients, with_remainders
from dynsys.equations.finite.special import Peak, Portion, Size, Vanishing, expit, softplus

_SMALLEST_POWER = 3  # powers below overflow beyond 1e150


def finite(expression: Any) -> Any:
    """An expression with the same values, and source for it and its derivatives that is finite where they are.

    Examples
    --------
    >>> x, k = sympy.symbols("x k", real=True)
    >>> finite(1 / (1 + sympy.exp(-50 * (x - 20)))), finite(k * x / (sympy.exp(k * x) - 1))
    (expit(50*x - 1000), u_by_expm1(k*x))
    """
    return _written(expression, {})


def _written(e: Any, known: dict[Any, Any]) -> Any:
    if not e.args or e.is_number or e.is_Boolean or e.is_Relational:
        return e
    if e not in known:
        if isinstance(e, sympy.Mul | sympy.Pow):
            known[e] = _product(e, known)
        else:
            reduced = with_remainders(e) if isinstance(e, sympy.Add) else e
            parts = [_written(part, known) for part in reduced.args]
            same = all(a is b for a, b in zip(parts, e.args, strict=False)) and reduced is e
            known[e] = _outermost(e if same else reduced.func(*parts))
    return known[e]


def _outermost(e: Any) -> Any:
    """What is no product."""
    if isinstance(e, sympy.log):
        return _logarithm(e)
    if isinstance(e, sympy.Add):
        for part in e.args:  # 1 - expit(u)
            if isinstance(-part, expit) and ONE in e.args:
                return sympy.Add(*[other for other in e.args if other not in (part, ONE)], expit(-(-part).args[0]))
    return e


def _product(e: Any, known: dict[Any, Any]) -> Any:
    factors: Factors = {}
    for factor in sympy.Mul.make_args(e):
        base, power = as_power(factor)
        if base is factor and isinstance(base, sympy.Pow):  # 2^x
            multiply(factors, base.base ** _written(base.exp, known), ONE)
        else:
            multiply(factors, _written(base, known), _written(power, known))
    before = factors
    for rewrite in (with_tanh, with_quotients, _powers, _exponentials):
        factors = rewrite(factors)
    made = _entropy(factors) or sympy.Mul(*[base**power for base, power in factors.items()])
    return e if factors == before and made == e else made


def _entropy(factors: Factors) -> Any:
    """A product with u^q log(c u^p), which is 0 at u = 0; None for what is none."""
    for base, power in factors.items():
        if not isinstance(base, sympy.log) or not (power.is_Integer and power > 0):
            continue
        within = {as_power(part)[0] for part in sympy.Mul.make_args(base.args[0])}
        powers = {b: q for b, q in factors.items() if b in within and not b.is_number and q.is_Number and q > 0}
        if powers:
            value = sympy.Mul(base**power, *[b**q for b, q in powers.items()])
            for b, q in powers.items():
                value = Vanishing(b, value, q)
            return sympy.Mul(value, *[b**p for b, p in factors.items() if b is not base and b not in powers])
    return None


def _harmless(terms: Terms) -> bool:
    """Whether a sum is of a constant and of exponentials that are at most 1."""
    return any(u == 0 for _, u in terms) and all(u.is_nonpositive for _, u in terms)


def _reduced(terms: Terms) -> tuple[Any, Any]:
    """(m, D) of a sum exp(m) D."""
    peak = Peak(*sorted({exact_exponent(u) for _, u in terms}, key=sympy.default_sort_key))
    return peak, sympy.Add(*[c * sympy.exp(exact_exponent(u) - peak) for c, u in terms])


def _exponentials(factors: Factors) -> Factors:
    kinds = (sympy.Add, sympy.cosh, sympy.sinh)
    sums = {base: terms for base in factors if isinstance(base, kinds) and (terms := exponential_terms(base))}
    reducing = [b for b in sums if not (factors[b].is_Integer and factors[b] > 0) and not _harmless(sums[b])]
    moving = [base for base in factors if isinstance(base, sympy.exp)]
    if any(base.args[0].has(sympy.exp) for base in moving) and len(moving) > 1:  # exp(x)*exp(-exp(x))
        return without_exponentials(factors) | {sympy.exp(exact_exponent(exponent_of(factors))): ONE}
    if not reducing and not (moving and any(not isinstance(base, sympy.Add) for base in sums)):  # exp(-x)*cosh(x)
        return factors
    factors = {as_exponential(base): power for base, power in factors.items()}
    exponent = exponent_of(factors)
    if len(sums) == 1:
        ((base, terms),) = sums.items()
        logistic = _logistic(terms, factors[base], exponent)
        if logistic is not None:
            rest = without_exponentials(factors)
            del rest[base]
            for more, power in logistic:
                multiply(rest, more, power)
            return rest
    rest = without_exponentials(factors)
    for base, terms in sums.items():
        power = rest.pop(base)
        peak, reduced = _reduced(terms)
        exponent += power * peak
        multiply(rest, reduced, power)
    if exponent != 0:
        rest[sympy.exp(exact_exponent(exponent))] = ONE
    return rest


def _logistic(terms: Terms, power: Any, exponent: Any) -> Sequence[tuple[Any, Any]] | None:
    """exp(exponent) times a power of c (exp(v) + exp(w)) as powers of expit, if it is of that kind."""
    if len(terms) != 2 or not power.is_Integer:
        return None
    (a, v), (b, w) = sorted(terms, key=lambda term: term[1] != 0)
    c, u = a, w - v
    if a != b:  # exp(1000.0 - 50.0*x) is 1.97e434*exp(-50.0*x) to SymPy
        ratio = b / a
        if not ratio.is_Number or ratio <= 0:
            return None
        u += logarithm_of(ratio)
    # the sum is c exp(v) (1 + exp(u))
    u, times = exact_exponent(u), whole_multiple(exponent + power * v, w - v)
    if times is None or not 0 <= times <= -power:
        return None
    shift = ONE if a == b else a / b
    powers = [(expit(u), sympy.Integer(times)), (expit(-u), -power - times), *factors_of(c, power)]
    return [*powers, *factors_of(shift, sympy.Integer(times))]


def _logarithm(e: Any) -> Any:
    argument = e.args[0]
    if isinstance(argument, expit):
        return -softplus(-argument.args[0])
    if isinstance(argument, sympy.Mul) and argument.args[0].is_Number:  # 2*cosh(u)
        argument = sympy.Add(*[argument.args[0] * part for part in sympy.Add.make_args(argument / argument.args[0])])
    terms = exponential_terms(argument)
    if terms is None or _harmless(terms):
        return e
    if len(terms) == 2 and all(c == 1 for c, _ in terms):
        (_, v), (_, w) = sorted(terms, key=lambda term: term[1] != 0)
        return v + softplus(w - v)
    peak, reduced = _reduced(terms)
    return peak + sympy.log(reduced)


def _powers(factors: Factors) -> Factors:
    for base, power in list(factors.items()):
        terms = _power_terms(base) if power.is_negative else None
        if terms is None:
            continue
        n, below, parts = terms
        bases = list(dict.fromkeys(b for _, b in parts))
        peak = Peak(*[b if b == 1 else Size(b) for b in bases])
        reduced = {b: Portion(b, peak) for b in bases}
        factors = dict(factors)
        del factors[base]
        multiply(factors, below, -n * power)
        multiply(factors, sympy.Add(*[c * reduced[b] ** n for c, b in parts]), power)
        scale = n * power
        for b in bases:
            if b in factors and b != 1:
                scale += factors[b]
                multiply(factors, reduced[b], factors.pop(b))
        multiply(factors, peak, sympy.expand(scale))
    return factors


def _power_terms(base: Any) -> tuple[Any, Any, Terms] | None:
    """(n, q, terms) of a sum q^(-n) sum c b^n, some b not constant; None for what is none."""
    if not isinstance(base, sympy.Add):
        return None
    n = _largest_power(base)
    if n is None:
        return None
    parts: Terms = []
    for term in base.args:
        own = [p for p in sympy.Mul.make_args(term) if isinstance(p, sympy.Pow) and p.exp == n]
        if len(own) > 1:
            return None
        parts.append((term / own[0], own[0].base) if own else (term, ONE))
    below = [sympy.fraction(b)[1] for _, b in parts]
    moving = [q for q in below if q != 1]  # 1 + (K/x)^n = x^(-n) (x^n + K^n)
    if len(moving) > 1:
        return None
    q = moving[0] if moving else ONE
    return n, q, [(c, sympy.cancel(b * q) if q != 1 else b) for c, b in parts]


def _largest_power(base: Any) -> Any:
    """The exponent that a sum is homogeneous in, but for what grows more slowly."""
    powers = [p for term in base.args for p in sympy.Mul.make_args(term) if isinstance(p, sympy.Pow)]
    exponents = {p.exp for p in powers if not p.base.is_number and p.exp != 1}
    symbolic = [n for n in exponents if not n.is_number and not n.could_extract_minus_sign()]
    if symbolic:
        return symbolic[0] if len(symbolic) == 1 else None
    return max((n for n in exponents if n.is_Number and n >= _SMALLEST_POWER), default=None)
