"""Derivatives of expressions, with a convention where there are none: whoever computes gets the same numbers.

Where arguments of Max or Min tie, the slope is that of the first of them in the order of SymPy, in which numbers come
first: that of Max(x, 0) is 0 at x = 0, that of Max(x, y) is (1, 0) at x = y. The slope of Abs is sign, and sign(0) = 0;
that of a Piecewise is the slope of the case that holds; those of sign, Heaviside, floor and ceiling are 0 everywhere,
and so that of Mod(x, y) is (1, -floor(x/y)). That of b^p with 0 < p < 1 is 0 where b = 0 and the slope of b is 0,
too: the slope of a norm such as sqrt((x - y)^2 + z^2) is 0 where two points coincide, that of sqrt(Max(x, 0)) where
x <= 0, that of acos(Min(x, 1)) where x > 1.

Where a function has a derivative, so has its source: p b^(p - 1) and not p b^p / b, also for p that are no numbers;
b^p log(b) = 0 where b^p = 0; and exp(-1/x^2) has slope 0 where it is 0.
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
    >>> derivative(x**y, x), derivative(sympy.Mod(x, 3), x)
    (x**(y - 1)*y, 1)
    """
    import sympy

    own = [part for part in _candidates(expression) if variable in part.free_symbols and _is_own(part, variable)]
    parts = {part: sympy.Dummy(real=True) for part in sorted(own, key=sympy.default_sort_key)}
    outer = expression.xreplace(parts)  # the chain rule: SymPy's own slopes of several that tie are all 0
    slope = sympy.diff(outer, variable)
    for part, name in parts.items():
        if name in outer.free_symbols and (inner := _slope(part, variable)) != 0:
            slope += _chained(sympy.diff(outer, name), name, inner, part)
    slope = slope.xreplace({name: part for part, name in parts.items()})
    return slope.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))


def _chained(outer: sympy.Expr, name: sympy.Symbol, inner: sympy.Expr, part: sympy.Expr) -> sympy.Expr:
    """The slope of f(part): 0 where a Max or Min is constant, also if f' is infinite there, as of sqrt(Max(x, 0))."""
    import sympy

    from dynsys.equations.finite.special import Guard

    roots = (p for p in outer.atoms(sympy.Pow) if name in p.base.free_symbols and not p.exp.is_Integer)
    return Guard(inner, outer * inner) if _may_rest(part) and any(p.exp.is_negative for p in roots) else outer * inner


def _may_rest(part: sympy.Expr) -> bool:
    """Whether a Max or Min has an argument that is constant."""
    import sympy

    from dynsys.equations.finite.special import Largest

    return isinstance(part, sympy.Max | sympy.Min | Largest) and any(not a.free_symbols for a in part.args)


def _candidates(expression: sympy.Expr) -> set[sympy.Expr]:
    import sympy

    from dynsys.equations.finite.special import Guard, Largest, Switch, Vanishing

    steps = (sympy.sign, sympy.Heaviside, sympy.floor, sympy.ceiling, sympy.Mod)
    found: set[sympy.Expr] = expression.atoms(
        sympy.Max,
        sympy.Min,
        *steps,
        sympy.Abs,
        sympy.Pow,
        sympy.exp,
        sympy.Piecewise,
        Guard,
        Largest,
        Switch,
        Vanishing,
    )
    return found


def _is_own(part: sympy.Expr, variable: sympy.Symbol) -> bool:
    """Whether SymPy has another slope of a part, or none."""
    import sympy

    if isinstance(part, sympy.exp):
        return _may_be_infinite(part.args[0], variable)
    if isinstance(part, sympy.Piecewise):  # by the chain rule 0 * NaN, where a case that does not hold has no slope
        return any(_is_own(inner, variable) for case, _ in part.args for inner in _candidates(case))
    if isinstance(part, sympy.Abs):
        return not part.args[0].is_real  # SymPy's slope is by real and imaginary part then
    if not isinstance(part, sympy.Pow):
        return True
    base, power = part.args
    if variable not in base.free_symbols:
        return not base.is_number
    return not power.is_Number or _may_vanish_smoothly(base, power, variable)


def _slope(part: sympy.Expr, variable: sympy.Symbol) -> sympy.Expr:
    import sympy

    from dynsys.equations.finite.special import Guard, Largest, Switch, Vanishing

    inner = [] if part.is_Piecewise else [derivative(argument, variable) for argument in part.args]
    match part:
        case sympy.Max() | sympy.Min():
            return _of_first(part, inner)
        case Largest():
            return part.first(inner)
        case sympy.Abs(args=(a,)):
            return sympy.sign(a) * inner[0]
        case Switch(args=(a, b, _, _)):
            return Switch(a, b, *inner[2:])
        case Vanishing():
            return part.slope(inner[1])
        case Guard(args=(test, _)):
            return Guard(test, inner[1])
        case sympy.Piecewise(args=cases):
            return sympy.Piecewise(*[(derivative(case, variable), condition) for case, condition in cases])
        case sympy.exp():
            return Guard(part, part * inner[0])
        case sympy.Pow(args=(base, power)):
            slope = power * base ** (power - 1) * inner[0]
            if _may_vanish_smoothly(base, power, variable):
                slope = Guard(inner[0], slope)
            return slope + Guard(part, part * sympy.log(base)) * inner[1]
        case sympy.Mod(args=(a, b)):
            return inner[0] - inner[1] * sympy.floor(a / b)
    return sympy.Integer(0)  # steps


def _of_first(kink: sympy.Expr, slopes: list[sympy.Expr]) -> sympy.Expr:
    """The slope of a Max or Min: that of the argument that it is."""
    import sympy

    slope = slopes[0]
    for place, argument in enumerate(kink.args[1:], 1):
        before = kink.func(*kink.args[:place])
        stays = before >= argument if isinstance(kink, sympy.Max) else before <= argument
        slope = sympy.Piecewise((slope, stays), (slopes[place], True))
    return slope


def _may_vanish_smoothly(base: sympy.Expr, power: sympy.Expr, variable: sympy.Symbol) -> bool:
    """Whether a power below 1 of the base, as of a sum of squares, has a slope of the form 0 / 0."""
    import sympy

    if base.is_positive or (power.is_Number and not 0 < power < 1):
        return False
    steps = base.atoms(sympy.Piecewise, sympy.Heaviside, *[sympy.Abs] * base.is_Add)  # 0 on one side, all of them
    if _may_rest(base) or any(variable in part.free_symbols for part in steps):
        return True
    if not isinstance(base, sympy.Add | sympy.Mul | sympy.Pow):
        return False
    if variable not in sympy.diff(base, variable).free_symbols:
        return False
    # parameters such as masses may have any sign; those that matter here are positive
    factors = {s: sympy.Dummy(positive=True) for s in base.free_symbols if s != variable}
    return bool(base.is_nonnegative or base.xreplace(factors).is_nonnegative)


def _may_be_infinite(exponent: sympy.Expr, variable: sympy.Symbol) -> bool:
    """Whether an exponent may overflow, or divide by 0: exp(-exp(x)) and exp(-1/x^2) are 0 there, and so is a slope."""
    import sympy

    def may_be(part: sympy.Expr) -> bool:
        if isinstance(part, sympy.exp):
            return not part.args[0].is_nonpositive
        return bool(part.exp.is_negative and not part.base.is_positive)

    return any(variable in p.free_symbols and may_be(p) for p in exponent.atoms(sympy.Pow, sympy.exp))
