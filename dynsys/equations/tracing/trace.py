"""The equations of a plain function, written down by calling it with symbols."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import attrs
import numpy as np

from dynsys.equations.definition import Definition, define
from dynsys.equations.expression_size import sizes
from dynsys.equations.networks.definition import NetworkDefinition, define_network
from dynsys.equations.tracing.limits import NeedsValue, NotTraceable, Tracer
from dynsys.equations.tracing.rebuilt import rebuilt
from dynsys.equations.tracing.rules import expression
from dynsys.equations.tracing.symbols import Symbolic, Symbols
from dynsys.errors import InvalidInputError, real

Function = Callable[..., Any]

SECONDS = 2.0  # of this thread, for the equations to be written down
LARGEST_GRADIENT = 40_000  # nodes of the trees of all derivatives
LARGEST_ENTRIES = 150  # entries of the Jacobian, of rows that stand in no run: the compiler takes seconds for as many
WHOLE = "int"  # the form of a whole number
LARGEST_ARGUMENT = 400  # entries of an array that become parameters


@attrs.frozen(eq=False)
class Trace:
    """Equations of a function.

    Attributes
    ----------
    definition : Definition or NetworkDefinition
        In the state x0, x1, ..., and a parameter for each number of `args` that is not in `literal`.
    literal : frozenset of int
        Places of arguments that the function needed the values of: they stand in the equations.
    """

    definition: Definition | NetworkDefinition
    literal: frozenset[int]
    held: set[bool] = attrs.field(factory=set, repr=False)  # whether it has been, in full

    def parameters(self, args: Sequence[Any]) -> np.ndarray:
        """Values of the parameters."""
        moving = [np.ravel(value).astype(float) for i, value in enumerate(args) if i not in self.literal]
        return np.concatenate([np.empty(0), *moving])


@attrs.frozen
class _Literal:
    """An argument of which the value counts: numbers by value and type, arrays by bytes, others by identity."""

    value: Any = attrs.field(eq=False)
    key: Any

    @classmethod
    def of(cls, value: Any) -> _Literal:
        if isinstance(value, np.ndarray):
            return cls(value, (value.dtype.str, value.shape, value.tobytes()))
        plain = isinstance(value, bool | int | float | str | type(None))
        return cls(value, (type(value), value) if plain else id(value))


def traced(function: Function, dimension: int, args: Sequence[Any], time: type) -> Trace:
    """The equations of function(t, x, *args), x of shape (dim,), held against the function; t is a float or an int.

    Raises
    ------
    NotTraceable
        Saying why.
    """
    trace = _found(function, dimension, args)
    try:
        hold(trace, function, dimension, args, time)
    except NotTraceable:  # or a name that the function uses has got another value since
        _traced.cache_clear()
        trace = _found(function, dimension, args)
        hold(trace, function, dimension, args, time)
    return trace


def _found(function: Function, dimension: int, args: Sequence[Any]) -> Trace:
    """The equations, from an earlier trace if there is one."""
    forms = tuple(_form(value) for value in args)
    literal = _needed(function, dimension, forms)
    while True:
        given = tuple(
            _Literal.of(v) if i in literal else form for i, (v, form) in enumerate(zip(args, forms, strict=True))
        )
        try:
            found = _traced(function, dimension, given)
        except _Needs as needs:
            literal |= needs.places
            continue
        if isinstance(found, str):
            raise NotTraceable(found)
        return found


class _Needs(Exception):
    def __init__(self, places: set[int]) -> None:
        super().__init__()
        self.places = places


def _form(value: Any) -> Any:
    """The shape of an argument that becomes symbols, or the argument itself."""
    if type(value) in (int, float):
        return WHOLE if type(value) is int else ()
    if isinstance(value, np.ndarray) and value.dtype == np.float64 and 0 < value.size <= LARGEST_ARGUMENT:
        return value.shape
    return _Literal.of(value)


@lru_cache(maxsize=256)
def _needed(function: Function, dimension: int, forms: tuple[Any, ...]) -> set[int]:
    """The arguments of which the value is needed, as far as that is known: filled as it becomes so."""
    return {i for i, form in enumerate(forms) if isinstance(form, _Literal)}


@lru_cache(maxsize=256)
def _traced(function: Function, dimension: int, given: tuple[Any, ...]) -> Trace | str:
    """A trace, or why there is none."""
    import sympy

    names: list[list[str]] = []
    for i, form in enumerate(given):
        single = form in ((), WHOLE)
        size = 0 if isinstance(form, _Literal) else 1 if single else math.prod(form)
        names.append([f"p{i}" if single else f"p{i}_{j}" for j in range(size)])
    places = {name: i for i, group in enumerate(names) for name in group}
    tracer = Tracer(set(places), {name for name, i in places.items() if given[i] == WHOLE}, SECONDS)

    def symbols(group: Sequence[str]) -> np.ndarray:
        made = np.empty(len(group), dtype=object)
        made[:] = [Symbolic(sympy.Symbol(name, real=True), tracer) for name in group]
        return made.view(Symbols)

    state = [f"x{i}" for i in range(dimension)]
    args: list[Any] = []
    for form, group in zip(given, names, strict=True):
        if isinstance(form, _Literal):
            args.append(rebuilt(form.value) if callable(form.value) else form.value)
        else:
            args.append(symbols(group)[0] if form in ((), WHOLE) else symbols(group).reshape(form))
    try:
        answer = rebuilt(function)(symbols(["t"])[0], symbols(state), *args)
        right_sides = _right_sides(answer, dimension)
        given_as = tuple(state), right_sides, tuple(places)
        definition: Definition | NetworkDefinition | None = define_network(*given_as)
        if definition is None:
            _check_size(right_sides, set(state), tracer)
            _check_entries(Definition(tuple(state), tuple(places), right_sides))
            definition = define(*given_as)
    except NeedsValue as needs:
        raise _Needs({places[name] for name in needs.names}) from None
    except NotTraceable as problem:
        return str(problem)
    except InvalidInputError as problem:
        return f"its equations are refused: {problem}"
    except Exception as problem:  # whatever a function does with what is no number
        return f"called with symbols it fails: {type(problem).__name__}: {str(problem)[:150]}"
    literal = frozenset(i for i, form in enumerate(given) if isinstance(form, _Literal))
    return Trace(definition, literal)


def _right_sides(answer: Any, dimension: int) -> tuple[Any, ...]:
    """The answer of a function as expressions, one for each component."""
    entries = np.array(answer, dtype=object)
    if entries.shape != (dimension,):
        raise NotTraceable(f"called with symbols it returns shape {entries.shape}, not ({dimension},)")
    found = []
    for entry in entries:
        if entry is None:
            raise NotTraceable("it leaves an entry of its answer empty")
        found.append(expression(entry.value if isinstance(entry, Symbolic) else entry))
    return tuple(found)


def _check_size(right_sides: tuple[Any, ...], state: set[str], tracer: Tracer) -> None:
    """Refuse equations whose derivatives would take long."""
    known: dict[Any, tuple[int, int, int]] = {}
    total = 0
    for right_side in right_sides:
        total += sizes(right_side, known)[1]
        tracer.check_time()
        if total > LARGEST_GRADIENT:
            raise NotTraceable(
                f"its equations are too large: their derivatives have more than {LARGEST_GRADIENT} terms"
            )


def _check_entries(definition: Definition) -> None:
    """Refuse equations with a Jacobian of more entries than is worth deriving and compiling."""
    state = set(definition.state)
    entries = sum(len({s.name for s in definition.expressions[i].free_symbols} & state) for i in definition.rows)
    if entries > LARGEST_ENTRIES:
        raise NotTraceable(
            f"its equations are too large: a Jacobian with {entries} entries written out, at most {LARGEST_ENTRIES}"
        )


TIMES = (0.0, 0.37, 1.0, 2.9, 13.7, 101.0)  # a map is given the whole number before
SCALES = (1.0, 1e-3, 30.0, 1000.0)  # of the states at which a trace is held against its function
FEWEST = 4  # states with finite values


def hold(trace: Trace, function: Function, dimension: int, args: Sequence[Any], time: type) -> None:
    """Hold a trace against its function at random states, small and large ones, of all signs and of one.

    With other parameters again, at fewer.

    Raises
    ------
    NotTraceable
        If they differ, if the function answers differently when asked again, or if it has values at no states.
    """
    parameters, traced_rule = trace.parameters(args), trace.definition.functions["rule"]
    rng = np.random.default_rng(0)
    again_only, compared = bool(trace.held), 0

    def rule(t: float, x: Any) -> Any:
        return function(t, x.copy(), *args)

    for signs in range(1 if again_only else 3):
        for scale in SCALES[:2] if again_only else SCALES:
            x = scale * rng.normal(size=dimension)
            x = x if signs == 0 else np.abs(x) if signs == 1 else -np.abs(x)
            t = time(TIMES[int(rng.integers(len(TIMES)))])
            first, again, near = (_value(rule, t, z) for z in (x, x, x * (1.0 + 4e-16)))
            if first is None or again is None:
                continue
            if not np.array_equal(first, again, equal_nan=True):
                raise NotTraceable("it answers differently when it is asked again: it keeps a state, or is random")
            with np.errstate(all="ignore"):
                found = traced_rule(t, x, parameters)
                shaky = np.zeros(dimension) if near is None else np.nan_to_num(np.abs(near - first))
                rounding = 1e-15 * (np.max(np.abs(x)) + np.max(np.abs(first)))
                finite = np.isfinite(first) & np.isfinite(found)
                apart = np.abs(found - first) > 1e-9 * np.abs(first) + 100.0 * shaky + rounding
            if (apart & finite).any():
                i = int(np.flatnonzero(apart & finite)[0])
                raise NotTraceable(
                    f"its equations are not the function: component {i} is {found[i]:.6g} and not {first[i]:.6g} at "
                    f"t = {t:g}, x = {np.array2string(x, precision=3, threshold=6)}"
                )
            if (np.isfinite(first) & ~np.isfinite(found)).any():
                raise NotTraceable(f"its equations have no value at t = {t:g}, x = {np.array2string(x, precision=3)}")
            with np.errstate(all="ignore"):  # far out, exponentials of either sign overflow
                slopes = trace.definition.functions["jacobian"](t, x, parameters) if scale <= 1.0 else np.zeros(1)
            if np.isfinite(first).all() and not np.isfinite(slopes).all():
                raise NotTraceable(f"its derivative has no value at t = {t:g}, x = {np.array2string(x, precision=3)}")
            compared += finite.all()
    if compared < FEWEST and not again_only:
        raise NotTraceable("it has finite values at too few states to be held against its equations")
    trace.held.add(True)


def _value(rule: Callable[[float, Any], Any], t: float, x: Any) -> Any:
    """A value of the function, or None where it has none."""
    try:
        with np.errstate(all="ignore"):
            return np.array(real("an answer", rule(t, x)))
    except (ValueError, TypeError, ArithmeticError, IndexError):
        return None
