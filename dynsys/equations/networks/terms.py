"""Derivatives of the terms of a network: those of one term for each form, however many terms there are.

A term is a function of a few components. What in it, and in its derivatives, depends on one component alone is computed
once for every component and not for every term; a sine of a sum of components is a sum of products of such. So n
oscillators that are coupled by the sines of their n^2 differences take 2 n sines and cosines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys.compiled.networks.network import COEFFICIENT, HERE, Factors, Network, Sites, Terms
from dynsys.equations.derivative import derivative
from dynsys.equations.expression import check_functions
from dynsys.equations.networks.forms import Form, Where
from dynsys.equations.source import share, to_source

if TYPE_CHECKING:
    import sympy

SEVERAL = "several"  # components
MONOMIALS = 16  # products of functions of one component that a term may be


def network(dimension: int, sums: int, parameters: Sequence[str], forms: Sequence[Form]) -> Network:
    """Derive all terms."""
    return _Network(dimension, sums, parameters).written(forms)


class _Network:
    """What terms share: functions of one component, and of parameters."""

    def __init__(self, dimension: int, sums: int, parameters: Sequence[str]) -> None:
        self.dimension, self.sums, self.parameters = dimension, sums, parameters
        self.functions: dict[tuple[sympy.Expr, bool], set[int]] = {}  # of one component, and which need it
        self.constants: dict[sympy.Expr, str] = {}

    def written(self, forms: Sequence[Form]) -> Network:
        terms = [self.terms(form) for form in _alike(forms)]
        driven = any("t" in map(str, form.expression.free_symbols) for form in forms)
        constants = [f"{name} = {to_source(e)}" for e, name in self.constants.items()]
        return Network(self.dimension, self.sums, self.parameters, constants, self.sites(), terms, driven)

    def sites(self) -> list[Sites]:
        """Functions that are needed for the same components together."""
        groups: dict[tuple[int, ...], dict[str, sympy.Expr]] = {}
        for number, ((expression, _), needed) in enumerate(self.functions.items()):
            groups.setdefault(tuple(sorted(needed)), {})[f"_s{number}"] = expression
        found = []
        for components, named in groups.items():
            shared, sources = share(named.values())
            found.append(Sites(tuple(named), shared, sources, components))
        return found

    def terms(self, form: Form) -> Terms:
        import sympy

        from dynsys.equations.finite.rewriting import finite

        places = sorted((w for w, c in form.coefficients.items() if c), key=lambda w: (w.row, w.components))
        expression, numbers, parameters = self._own(form, places)
        count = len(places[0].components)
        slots = [HERE] * form.own + [f"_there{i + 1}" for i in range(count - form.own)]
        symbols = [sympy.Symbol(name, real=True) for name in slots]
        if len(places) > self.dimension:
            expression, numbers = _without_lags(expression, numbers)
        private = {sympy.Symbol(name, real=True) for name, _ in (*numbers, *parameters)}
        if len(places) > self.dimension:
            expression = sympy.Add(*_without_waves(expression, set(symbols), private))
        whole = value = finite(expression)
        slopes = [derivative(value, symbol) for symbol in symbols]
        for slope in slopes:
            check_functions(slope, "the derivative of the equations")
        components = list(zip(*(w.components for w in places), strict=True))
        at = dict(zip(symbols, components, strict=True))
        value, *slopes = self._hoisted([value, *slopes], at, private)
        shared, (source, *sources) = share([value, *slopes])
        first, (alone,) = share([value])
        pair = count == 1 + form.own and slots[-1] != HERE
        factors = self._factors(whole, at, private) if pair else ()
        return Terms(
            form.sums[0],
            slots,
            shared,
            source,
            (*first, alone),
            sources,
            [w.row for w in places],
            components,
            numbers,
            parameters,
            factors,
        )

    def _own(self, form: Form, places: Sequence[Where]) -> tuple[sympy.Expr, list[Any], list[Any]]:
        """The expression with what all terms have in common put in, and what every term has of its own."""
        import sympy

        known: dict[sympy.Symbol, sympy.Expr] = {}
        numbers: list[tuple[str, list[float]]] = []
        parameters: list[tuple[str, list[int]]] = []
        for name, column in zip(form.numbers, zip(*(w.numbers for w in places), strict=True), strict=True):
            if len(set(column)) == 1:
                known[sympy.Symbol(name, real=True)] = sympy.Float(column[0])
            else:
                numbers.append((name, list(column)))
        for slot, indices in enumerate(zip(*(w.parameters for w in places), strict=True)):
            symbol = sympy.Symbol(f"_p{slot + 1}", real=True)
            if len(set(indices)) == 1:
                known[symbol] = sympy.Symbol(self.parameters[indices[0]], real=True)
            else:
                parameters.append((symbol.name, list(indices)))
        coefficients = [form.coefficients[w] for w in places]
        if len(set(coefficients)) == 1:
            (one,) = set(coefficients)
            factor = sympy.Integer(int(one)) if one == int(one) else sympy.Float(one)
        else:
            factor = sympy.Symbol(COEFFICIENT, real=True)
            numbers.insert(0, (COEFFICIENT, coefficients))
        return factor * form.expression.xreplace(known), numbers, parameters

    def _hoisted(
        self, expressions: Sequence[sympy.Expr], at: Mapping[sympy.Symbol, Sequence[int]], private: set[Any]
    ) -> list[sympy.Expr]:
        """Expressions with names in the place of functions of one component, and of functions of parameters alone."""
        import sympy

        from dynsys.equations.finite.special import lowered

        here = sympy.Symbol(HERE, real=True)

        def kind(e: Any) -> Any:
            """The component on which a part depends, None, or SEVERAL: also what terms have of their own."""
            inside = [s for s in at if s in e.free_symbols]
            if len(inside) > 1 or e.free_symbols & private:
                return SEVERAL
            return inside[0] if inside else None

        def named(e: Any) -> Any:
            """A name in the place of a function of one component, or of parameters."""
            symbol = kind(e)
            if not _costly(e):
                return e
            if symbol is None:
                return sympy.Symbol(self.constants.setdefault(e, f"_k{len(self.constants)}"), real=True)
            factor, e = e.as_independent(symbol, as_Add=False)
            function = e.xreplace({symbol: here}), at[symbol][0] >= self.dimension
            self.functions.setdefault(function, set()).update(at[symbol])
            place = list(self.functions).index(function)
            return visit(factor) * sympy.Symbol(f"_s{place}{symbol.name}", real=True)

        def visit(e: Any) -> Any:
            if not e.args:
                return e
            if isinstance(e, sympy.Expr) and kind(e) is not SEVERAL:
                return named(e)
            if e.is_Add or e.is_Mul:
                groups: dict[Any, list[Any]] = {}
                for argument in e.args:
                    groups.setdefault(kind(argument), []).append(argument)
                mixed = groups.pop(SEVERAL, [])
                return e.func(*[named(e.func(*group)) for group in groups.values()], *map(visit, mixed))
            return e.func(*map(visit, e.args))

        return [visit(lowered(e)) for e in expressions]

    def _factors(
        self, expression: sympy.Expr, at: Mapping[sympy.Symbol, Sequence[int]], private: set[Any]
    ) -> tuple[Factors, ...]:
        """A term of two components as a sum of products; empty if it is none."""
        import sympy

        *own, there = at
        coefficient = sympy.Symbol(COEFFICIENT, real=True)
        found = []
        for term in sympy.Add.make_args(expression):
            a: list[sympy.Expr] = []
            b: list[sympy.Expr] = []
            for part in sympy.Mul.make_args(term):
                if part == coefficient:
                    continue
                if ({*own, there} <= part.free_symbols and own) or part.free_symbols & private:
                    return ()
                (b if there in part.free_symbols else a).append(part)
            pair = sympy.Mul(*a), sympy.Mul(*b)
            slopes = [derivative(pair[0], own[0]) if own else sympy.Integer(0), derivative(pair[1], there)]
            texts = self._hoisted([*pair, *slopes], at, private)
            found.append(Factors(*map(to_source, texts)))
        return tuple(found) if len(found) <= MONOMIALS else ()


def _alike(forms: Sequence[Form]) -> list[Form]:
    """Forms that differ by a number as one."""
    found: dict[Any, Form] = {}
    for form in forms:
        factor, rest = form.expression.as_coeff_Mul()
        places = next(iter(form.coefficients))
        key = rest, form.own, form.sums, form.numbers, len(places.components), len(places.parameters)
        one = found.setdefault(key, attrs.evolve(form, expression=rest, coefficients={}))
        for where, coefficient in form.coefficients.items():
            one.add(where, coefficient * float(factor))
    return [form for form in found.values() if any(form.coefficients.values())]


def _costly(e: Any) -> bool:
    """Whether more than a few sums and products are to be computed."""
    import sympy

    return bool(e.atoms(sympy.Function)) or any(not (p.exp.is_Integer and 0 < p.exp < 4) for p in e.atoms(sympy.Pow))


Numbers = list[tuple[str, list[float]]]


def _without_lags(expression: Any, numbers: Numbers) -> tuple[Any, Numbers]:
    """Sines and cosines of angles to which every term adds a number of its own, by sine and cosine of that number."""
    import sympy

    known = {sympy.Symbol(name, real=True): values for name, values in numbers}
    made: dict[Any, tuple[Any, Any]] = {}
    found = list(numbers)

    def turned(wave: Any) -> Any:
        angles = [angle.as_coeff_Mul() for angle in sympy.Add.make_args(sympy.expand_mul(wave.args[0]))]
        lags = tuple((float(factor), symbol) for factor, symbol in angles if symbol in known)
        rest = sympy.Add(*[factor * other for factor, other in angles if other not in known])
        if not lags or rest.free_symbols & set(known):
            return wave
        if lags not in made:
            lag = sum(factor * np.array(known[symbol]) for factor, symbol in lags)
            first = 1 + max(int(name[2:]) for name, _ in found)
            found.append((f"_n{first}", np.cos(lag).tolist()))
            found.append((f"_n{first + 1}", np.sin(lag).tolist()))
            made[lags] = tuple(sympy.Symbol(f"_n{first + i}", real=True) for i in range(2))
        cos, sin = made[lags]
        if wave.func == sympy.sin:
            return sympy.sin(rest) * cos + sympy.cos(rest) * sin
        return sympy.cos(rest) * cos - sympy.sin(rest) * sin

    expression = expression.replace(lambda e: e.func in (sympy.sin, sympy.cos), turned)
    return expression, [
        (name, values) for name, values in found if sympy.Symbol(name, real=True) in expression.free_symbols
    ]


def _without_waves(term: Any, slots: Collection[Any], private: set[Any]) -> Iterator[Any]:
    """A term as several, in which no sine or cosine is of more than one component.

    Sums in products are multiplied out. Powers and exponentials stay as they are: written out they would cancel, or
    overflow where they do not.
    """
    import sympy

    parts = sympy.Mul.make_args(term)
    mixed = [part for part in parts if len(part.free_symbols & set(slots)) > 1]
    if len(mixed) != 1:
        yield term
        return
    (one,) = mixed
    rest = sympy.Mul(*[part for part in parts if part is not one])
    if one.is_Add and any(part.has(sympy.sin, sympy.cos) for part in one.args):
        for summand in one.args:
            yield from _without_waves(rest * summand, slots, private)
    elif one.func in (sympy.sin, sympy.cos) and not one.free_symbols & private:
        angles = sympy.Add.make_args(sympy.expand_mul(one.args[0]))
        symbol = next(s for s in slots if s in one.free_symbols)
        if any(symbol in angle.free_symbols and len(angle.free_symbols & set(slots)) > 1 for angle in angles):
            yield term
            return
        a = sympy.Add(*[angle for angle in angles if symbol in angle.free_symbols])
        b = sympy.Add(*[angle for angle in angles if symbol not in angle.free_symbols])
        sin, cos = sympy.sin, sympy.cos
        products = (sin(a) * cos(b), cos(a) * sin(b)) if one.func == sin else (cos(a) * cos(b), -sin(a) * sin(b))
        for product in products:
            yield from _without_waves(rest * product, slots, private)
    else:
        yield term
