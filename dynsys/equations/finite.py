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

from dynsys.equations.quotients import QUOTIENTS
from dynsys.equations.special import Peak, Portion, Size, Vanishing, expit, sech, softplus

Factors = dict[Any, Any]  # base -> exponent; those of exp(u) are (exp(u), 1)
Terms = list[tuple[Any, Any]]

_ONE, _ZERO = sympy.Integer(1), sympy.Integer(0)
_VANISH = {
    kind: kind.__name__ for kind in (sympy.sin, sympy.tan, sympy.sinh, sympy.tanh, sympy.asin, sympy.atan, sympy.erf)
}
_SMALLEST_POWER = 3  # powers below overflow beyond 1e150
_LONGEST, _LARGEST_POWER = 100, 4  # nodes and powers of what is compared by algebra


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
            reduced = _remainders(e) if isinstance(e, sympy.Add) else e
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
            if isinstance(-part, expit) and _ONE in e.args:
                return sympy.Add(*[other for other in e.args if other not in (part, _ONE)], expit(-(-part).args[0]))
    return e


def _product(e: Any, known: dict[Any, Any]) -> Any:
    factors: Factors = {}
    for factor in sympy.Mul.make_args(e):
        base, power = _as_power(factor)
        if base is factor and isinstance(base, sympy.Pow):  # 2^x
            _multiply(factors, base.base ** _written(base.exp, known), _ONE)
        else:
            _multiply(factors, _written(base, known), _written(power, known))
    before = factors
    for rewrite in (_hyperbolic, _quotients, _powers, _exponentials):
        factors = rewrite(factors)
    made = _entropy(factors) or sympy.Mul(*[base**power for base, power in factors.items()])
    return e if factors == before and made == e else made


def _as_power(factor: Any) -> tuple[Any, Any]:
    whole = isinstance(factor, sympy.exp) or factor.is_number or _as_exponential(factor) is not factor
    return (factor, _ONE) if whole else factor.as_base_exp()


def _as_exponential(base: Any) -> Any:
    """2^x as exp(x log(2))."""
    whole = isinstance(base, sympy.Pow) and base.base.is_Number and base.base > 0 and not base.exp.is_number
    return sympy.exp(base.exp * sympy.log(base.base)) if whole else base


def _short(*expressions: Any) -> bool:
    """Whether algebra with expressions takes no time."""
    powers = [p for e in expressions for p in e.atoms(sympy.Pow) if p.exp.is_Number]
    nodes = sum(1 for e in expressions for _ in sympy.preorder_traversal(e))
    return nodes <= _LONGEST and all(abs(p.exp) <= _LARGEST_POWER for p in powers)


def _multiply(factors: Factors, base: Any, power: Any) -> None:
    if isinstance(base, sympy.Mul) and power == 1:
        for factor in base.args:
            _multiply(factors, *_as_power(factor))
        return
    power += factors.pop(base, _ZERO)
    if power != 0:
        factors[base] = power


# ---- cosh in a denominator


def _hyperbolic(factors: Factors) -> Factors:
    found = {
        base.args[0]: power for base, power in factors.items() if isinstance(base, sympy.cosh) and power.is_Integer
    }
    for u, power in found.items():
        of_sinh = factors.get(sympy.sinh(u), _ZERO)
        turned = min(-power, of_sinh) if power < 0 < of_sinh else -min(power, -of_sinh) if of_sinh < 0 < power else 0
        if power < 0 or turned:
            factors = dict(factors)
            for base, more in ((sympy.cosh(u), turned), (sympy.sinh(u), -turned), (sympy.tanh(u), turned)):
                _multiply(factors, base, sympy.Integer(more))
            rest = factors.get(sympy.cosh(u), _ZERO)
            if rest < 0:
                del factors[sympy.cosh(u)]
                _multiply(factors, sech(u), -rest)
    return factors


# ---- logarithms


def _entropy(factors: Factors) -> Any:
    """A product with u^q log(c u^p), which is 0 at u = 0; None for what is none."""
    for base, power in factors.items():
        if not isinstance(base, sympy.log) or not (power.is_Integer and power > 0):
            continue
        within = {_as_power(part)[0] for part in sympy.Mul.make_args(base.args[0])}
        powers = {b: q for b, q in factors.items() if b in within and not b.is_number and q.is_Number and q > 0}
        if powers:
            value = sympy.Mul(base**power, *[b**q for b, q in powers.items()])
            for b, q in powers.items():
                value = Vanishing(b, value, q)
            return sympy.Mul(value, *[b**p for b, p in factors.items() if b is not base and b not in powers])
    return None


# ---- removable singularities


def _vanishing(base: Any) -> tuple[str, Any, Any] | None:
    """(f, u, c) where a base is c f(u), and f(0) = 0."""
    if type(base) in _VANISH:
        return _VANISH[type(base)], base.args[0], _ONE
    if isinstance(base, sympy.log):
        return "log1p", base.args[0] - 1, _ONE
    if not isinstance(base, sympy.Add) or len(base.args) != 2:
        return None
    for one, other in (base.args, base.args[::-1]):
        for kind, name, sign in ((sympy.cos, "cosm1", 1), (sympy.cosh, "coshm1", -1)):
            c, rest = other.as_independent(kind, as_Add=False)
            if isinstance(rest, kind) and c == -one:
                return name, rest.args[0], sign * one
    terms = _exponential_terms(base)
    if terms is None or len(terms) != 2:
        return None
    (a, v), (b, w) = sorted(terms, key=lambda term: term[1] != 0)
    ratio = -b / a  # c = a exp(v) (1 - ratio exp(w - v))
    if ratio == 1 and v != 0:
        return "sinh", (v - w) / 2, 2 * a * sympy.exp((v + w) / 2)
    if ratio == 1:
        return "expm1", w, -a
    if ratio.is_Float and ratio > 0:
        return "expm1", w - v + _log(ratio), -a * sympy.exp(v)
    return None


def _quotients(factors: Factors) -> Factors:
    for base, power in list(factors.items()):
        found = _vanishing(base) if power.is_Integer else None
        if found is None:
            continue
        zero, u, c = found
        order = 2 if zero in ("cosm1", "coshm1") else 1
        for partner, other in list(factors.items()):
            element, count = (partner, other) if other.is_Integer else (partner ** abs(other), sympy.sign(other))
            inverse = bool(power < 0)
            if partner is base or not count.is_Integer or count * power >= 0 or (inverse and abs(count) < order):
                continue
            ratio = _ratio(u, element, inverse)
            if ratio is None:
                continue
            count = abs(count)
            times = min(abs(power), count // order if inverse else -(-count // order))
            count = min(count, order * times)
            exact = _exact(ratio * element if ratio.is_Number else u)
            quotient = QUOTIENTS[zero, "u_by" if inverse else "by_u"](exact)
            sign = -1 if inverse else 1
            factors = dict(factors)
            moved = sign * count
            for more, exponent in (
                (base, -sign * times),
                (partner, moved if other.is_Integer else moved * abs(other)),
                (quotient, times),
                *_factors_of(c, sign * times),
                *_factors_of(ratio, moved),
                *_factors_of(u, order * times - count),
            ):
                _multiply(factors, more, _ZERO + exponent)
            return _quotients(_reflected(factors, exact, quotient))
    return factors


def _factors_of(c: Any, power: Any) -> list[tuple[Any, Any]]:
    return [_as_power(factor) for factor in sympy.Mul.make_args(c**power)]


def _reflected(factors: Factors, u: Any, quotient: Any) -> Factors:
    """B(u) exp(u) = B(-u) for B(u) = u/(exp(u) - 1), which does not overflow."""
    if not isinstance(quotient, QUOTIENTS["expm1", "u_by"]):
        return factors
    times = _whole_multiple(_exponent(factors), u)
    if times is None or times <= 0:
        return factors
    times = min(times, int(factors[quotient]))
    rest = _without_exponentials(factors)
    _multiply(rest, quotient, sympy.Integer(-times))
    _multiply(rest, type(quotient)(-u), sympy.Integer(times))
    _multiply(rest, sympy.exp(_exponent(factors) - times * u), _ONE)
    return rest


def _ratio(u: Any, element: Any, inverse: bool) -> Any:
    """u/element, where the one of the two quotients that is meant stays finite."""
    if element.is_number:
        return None
    exact = _proportion(u, element)
    if exact is not None:
        return exact
    if not u.free_symbols & element.free_symbols or not _short(u, element):
        return None
    ratio = sympy.cancel(u / element)
    below = sympy.fraction(1 / ratio if inverse else ratio)[1]
    return None if below.free_symbols & element.free_symbols else ratio


def _proportion(u: Any, element: Any) -> Any:
    """The number u/element, if it is one to rounding."""
    if not _short(u, element):
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


def _remainders(e: Any) -> Any:
    """A sum with c (1/f(u) - 1/u) in the place of c/f(u) and -c/u."""
    for one in e.args:
        factors = _hyperbolic(dict(map(_as_power, sympy.Mul.make_args(one))))
        poles = [base for base, power in factors.items() if power == -1 and _vanishing(base)]
        if len(poles) != 1:
            continue
        zero, u, c = _vanishing(poles[0]) or ("", _ONE, _ONE)
        factor = sympy.Mul(*[base**power for base, power in factors.items() if base is not poles[0]]) / c
        for other in e.args:
            if zero in ("cosm1", "coshm1", "erf") or other is one or not _short(factor, u, other):
                continue
            if sympy.cancel(factor / u + other) == 0:
                rest = [part for part in e.args if part not in (one, other)]
                return sympy.Add(*rest, factor * QUOTIENTS[zero, "past"](_exact(u)), evaluate=bool(rest))
    return e


# ---- exponentials


def _exponential_terms(base: Any) -> Terms | None:
    """Terms (c, u) of a sum of c exp(u), some u not constant; None for what is none."""
    if not isinstance(base, sympy.Add | sympy.cosh):
        return None
    terms: Terms = []
    for term in sympy.Add.make_args(base):
        c, exponents, hyperbolic = _ONE, _ZERO, None
        for factor in sympy.Mul.make_args(term):
            if isinstance(factor := _as_exponential(factor), sympy.exp):
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
        collected[u] = collected.get(u, _ZERO) + c
    return [(c, u) for u, c in collected.items()] if any(not u.is_number for u in collected) else None


def _harmless(terms: Terms) -> bool:
    """Whether a sum is of a constant and of exponentials that are at most 1."""
    return any(u == 0 for _, u in terms) and all(u.is_nonpositive for _, u in terms)


def _reduced(terms: Terms) -> tuple[Any, Any]:
    """(m, D) of a sum exp(m) D."""
    peak = Peak(*sorted({_exact(u) for _, u in terms}, key=sympy.default_sort_key))
    return peak, sympy.Add(*[c * sympy.exp(_exact(u) - peak) for c, u in terms])


def _exact(u: Any) -> Any:
    """An exponent whose constant is no float: SymPy would take it out of the exponential."""
    constant, rest = u.as_coeff_Add()
    return sympy.Rational(repr(float(constant))) + rest if constant.is_Float else u


def _exponentials(factors: Factors) -> Factors:
    sums = {base: terms for base in factors if (terms := _exponential_terms(base))}
    reducing = [b for b in sums if not (factors[b].is_Integer and factors[b] > 0) and not _harmless(sums[b])]
    if not reducing:
        return factors
    factors = {_as_exponential(base): power for base, power in factors.items()}
    exponent = _exponent(factors)
    if len(sums) == 1:
        ((base, terms),) = sums.items()
        logistic = _logistic(terms, factors[base], exponent)
        if logistic is not None:
            rest = _without_exponentials(factors)
            del rest[base]
            for more, power in logistic:
                _multiply(rest, more, power)
            return rest
    rest = _without_exponentials(factors)
    for base, terms in sums.items():
        power = rest.pop(base)
        peak, reduced = _reduced(terms)
        exponent += power * peak
        _multiply(rest, reduced, power)
    if exponent != 0:
        rest[sympy.exp(_exact(exponent))] = _ONE
    return rest


def _exponent(factors: Factors) -> Any:
    """The exponent of all exponentials together."""
    return sympy.Add(*[b.args[0] * power for b, power in factors.items() if isinstance(b, sympy.exp)])


def _without_exponentials(factors: Factors) -> Factors:
    return {base: power for base, power in factors.items() if not isinstance(base, sympy.exp)}


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
        u += _log(ratio)
    # the sum is c exp(v) (1 + exp(u))
    u, times = _exact(u), _whole_multiple(exponent + power * v, w - v)
    if times is None or not 0 <= times <= -power:
        return None
    shift = _ONE if a == b else a / b
    powers = [(expit(u), sympy.Integer(times)), (expit(-u), -power - times), *_factors_of(c, power)]
    return [*powers, *_factors_of(shift, sympy.Integer(times))]


def _log(number: Any) -> Any:
    return sympy.log(number) if number.is_Rational else sympy.log(number).evalf()


def _whole_multiple(exponent: Any, u: Any) -> int | None:
    """n, where the exponent is n u."""
    if exponent == 0:
        return 0
    ratio = _proportion(exponent, u)
    if ratio is None and _short(exponent, u):
        ratio = sympy.expand(exponent) / sympy.expand(u)
    return int(ratio) if ratio is not None and ratio.is_Number and ratio == int(ratio) else None


def _logarithm(e: Any) -> Any:
    argument = e.args[0]
    if isinstance(argument, expit):
        return -softplus(-argument.args[0])
    terms = _exponential_terms(argument)
    if terms is None or _harmless(terms):
        return e
    if len(terms) == 2 and all(c == 1 for c, _ in terms):
        (_, v), (_, w) = sorted(terms, key=lambda term: term[1] != 0)
        return v + softplus(w - v)
    peak, reduced = _reduced(terms)
    return peak + sympy.log(reduced)


# ---- powers


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
        _multiply(factors, below, -n * power)
        _multiply(factors, sympy.Add(*[c * reduced[b] ** n for c, b in parts]), power)
        scale = n * power
        for b in bases:
            if b in factors and b != 1:
                scale += factors[b]
                _multiply(factors, reduced[b], factors.pop(b))
        _multiply(factors, peak, sympy.expand(scale))
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
        parts.append((term / own[0], own[0].base) if own else (term, _ONE))
    below = [sympy.fraction(b)[1] for _, b in parts]
    moving = [q for q in below if q != 1]  # 1 + (K/x)^n = x^(-n) (x^n + K^n)
    if len(moving) > 1:
        return None
    q = moving[0] if moving else _ONE
    return n, q, [(c, sympy.cancel(b * q) if q != 1 else b) for c, b in parts]


def _largest_power(base: Any) -> Any:
    """The exponent that a sum is homogeneous in, but for what grows more slowly."""
    powers = [p for term in base.args for p in sympy.Mul.make_args(term) if isinstance(p, sympy.Pow)]
    exponents = {p.exp for p in powers if not p.base.is_number and p.exp != 1}
    symbolic = [n for n in exponents if not n.is_number and not n.could_extract_minus_sign()]
    if symbolic:
        return symbolic[0] if len(symbolic) == 1 else None
    return max((n for n in exponents if n.is_Number and n >= _SMALLEST_POWER), default=None)
