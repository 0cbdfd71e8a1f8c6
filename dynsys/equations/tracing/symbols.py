"""Numbers and arrays that stand for symbols: plain functions called with them write down their own equations.

A `Symbolic` is a number, `Symbols` an array of such numbers and of plain ones. NumPy hands operators, ufuncs and other
functions to them. What needs a value (a branch, an index, a count) of a parameter asks for it by `NeedsValue`; of the
state or the time it cannot be traced.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from dynsys.equations.tracing.functions import OF_ARRAYS
from dynsys.equations.tracing.limits import NotTraceable, Tracer
from dynsys.equations.tracing.rules import RULES, condition, expression

if TYPE_CHECKING:
    pass

Array = np.ndarray
LARGEST_ARRAY = 10_000  # of constants that are copied, so that a function may write symbols into them


def _apply(ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
    """A ufunc of numbers and arrays of which some are symbolic."""
    name = ufunc.__name__
    plain = [_lowered(value) for value in inputs]
    options = {key: value for key, value in options.items() if key not in ("dtype", "casting", "order", "subok")}
    if options.pop("where", True) is not True:
        raise NotTraceable(f"numpy.{name} with `where` is not known to it")
    if options.get("initial", 0) is np._NoValue:
        del options["initial"]
    tracer = next(tracers(plain), None)
    if tracer is None:
        result = getattr(ufunc, method)(*[constants(value) for value in plain], **options)
    elif name == "matmul" or set("".join(ufunc.types)) == set("O->"):  # of a function of the user's
        result = ufunc(*[np.asarray(value, dtype=object) for value in plain])
    elif name not in RULES:
        raise NotTraceable(f"numpy.{name} of the state is not known to it")
    else:
        rule = _element_wise(ufunc, tracer)
        result = getattr(rule, method)(*[np.asarray(value, dtype=object) for value in plain], **options)
    result = lifted(result)
    if out is None or isinstance(out[0], Symbolic):
        return result
    out[0][...] = result
    return out[0]


def _element_wise(ufunc: np.ufunc, tracer: Tracer) -> Any:
    """The rule of a ufunc for arrays of objects."""
    name = ufunc.__name__
    rule = RULES[name]

    def element(*values: Any) -> Any:
        if not any(isinstance(value, Symbolic) for value in values):
            with np.errstate(all="ignore"):
                return ufunc(*values)
        tracer.check_time()
        if name in ("power", "float_power") and isinstance(values[1], Symbolic):
            tracer.check_exponent(values[1].value)
        return tracer_result(rule(*[value.value if isinstance(value, Symbolic) else value for value in values]), tracer)

    return np.frompyfunc(element, ufunc.nin, 1)


def tracer_result(value: Any, tracer: Tracer) -> Any:
    """What a rule gives as a number: symbolic, unless it is a constant."""
    import sympy

    if not isinstance(value, sympy.Basic):
        return value
    if value in (sympy.true, sympy.false):
        return bool(value)
    if value.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I):
        raise NotTraceable(f"a part of it is {str(value)[:50]}")
    if value.is_Number:
        return int(value) if value.is_Integer else float(value)
    return Symbolic(value, tracer)


def _call(function: Any, args: Any, options: Any) -> Any:
    """A function of NumPy, other than a ufunc, of which some arguments are symbolic."""
    if function.__name__ in FUNCTIONS:
        return lifted(FUNCTIONS[function.__name__](*args, **options))
    if next(tracers([*args, *options.values()]), None) is None:
        plain = {key: constants(value) for key, value in options.items()}
        return lifted(function(*[constants(value) for value in args], **plain))
    given = [_as_symbols(value) for value in args]
    return lifted(function._implementation(*given, **{key: _as_symbols(value) for key, value in options.items()}))


class Symbolic(np.lib.mixins.NDArrayOperatorsMixin):
    """A number that stands for an expression."""

    def __init__(self, value: Any, tracer: Tracer) -> None:
        self.value, self.tracer = value, tracer

    shape: tuple[int, ...] = ()
    ndim = 0
    size = 1

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return _apply(ufunc, method, *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return _call(function, args, options)

    def __mul__(self, other: Any) -> Any:
        repeats = isinstance(other, list | tuple | str)
        return other * operator.index(self) if repeats else np.multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        repeats = isinstance(other, list | tuple | str)
        return other * operator.index(self) if repeats else np.multiply(other, self)

    def __hash__(self) -> int:
        return hash(self.value)

    def __bool__(self) -> bool:
        return bool(self.tracer.concrete(self.value, "a branch of it, or a comparison,"))

    def __index__(self) -> int:
        return operator.index(int(self.tracer.concrete(self.value, "a whole number in it (an index, a count)")))

    def __float__(self) -> float:
        return float(self.tracer.concrete(self.value, "a plain number that it asks for, as by float(),"))

    def __int__(self) -> int:
        return int(self.tracer.concrete(self.value, "a whole number in it"))

    def __complex__(self) -> complex:
        return complex(float(self))

    def __round__(self, digits: int = 0) -> NoReturn:
        raise NotTraceable("it rounds")

    def __floor__(self) -> Any:
        return np.floor(self)

    def __ceil__(self) -> Any:
        return np.ceil(self)

    def __trunc__(self) -> Any:
        return np.trunc(self)

    def __getattr__(self, name: str) -> Any:
        """Methods by which NumPy asks for functions of the entries of an array, and those of its own scalars."""
        if name in RULES:
            return lambda *others: getattr(np, name)(self, *others)
        if name in ("copy", "item", "squeeze", "conjugate", "conj"):
            return lambda: self
        if name in ("sum", "mean", "max", "min", "prod"):
            return lambda *_, **__: self
        if name == "astype":
            return lambda *_, **__: self
        if name in ("real", "T"):
            return self
        if name == "imag":
            return 0.0
        raise AttributeError(name)


class Symbols(np.ndarray):
    """An array of numbers of which some are symbolic."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return _apply(ufunc, method, *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return _call(function, args, options)

    @property  # type: ignore[misc]
    def real(self) -> Any:
        """The numbers themselves: an attribute that NumPy looks up entry by entry from 2.5 on."""
        return self

    @property  # type: ignore[misc]
    def imag(self) -> Any:
        """Zeros: states are real."""
        return np.zeros(self.shape)

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Any:
        """A copy: symbols stay what they are."""
        known = isinstance(dtype, type | str | np.dtype)  # the `float` of a rebuilt function is none of these
        if not known or np.issubdtype(np.dtype(dtype), np.floating) or np.dtype(dtype) == object:
            return self.copy()
        return constants(self).astype(dtype)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, Symbols) and index.shape == self.shape and next(tracers([index]), None):
            value = FUNCTIONS["where"](index, value, self.copy())
            index = ...
        super().__setitem__(index, value)


def constants(value: Any) -> Any:
    """Arrays of plain numbers as NumPy knows them; an error where some are symbolic."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return np.array(value.tolist(), dtype=float)
    if isinstance(value, list | tuple):
        return type(value)(constants(entry) for entry in value)
    return value


def tracers(values: Any) -> Iterator[Tracer]:
    """Those of the symbolic numbers in some values."""
    for value in values:
        if isinstance(value, Symbolic):
            yield value.tracer
        elif isinstance(value, np.ndarray):
            if value.dtype == object:
                yield from tracers(value.ravel().tolist())
        elif isinstance(value, list | tuple):
            yield from tracers(value)


def _lowered(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return np.asarray(value, dtype=object)
    return np.asarray(value) if isinstance(value, Symbols) else value


def _as_symbols(value: Any) -> Any:
    """Symbolic numbers, and sequences that hold some, as arrays."""
    if isinstance(value, Symbolic):
        array = np.empty((), dtype=object)
        array[()] = value
        return array.view(Symbols)
    if isinstance(value, list):
        return [_as_symbols(entry) for entry in value]
    if isinstance(value, tuple):
        return tuple(_as_symbols(entry) for entry in value)
    return value


def lifted(value: Any) -> Any:
    """Arrays into which symbols can be written, of objects and of real numbers; entries of those without axes."""
    if isinstance(value, np.ndarray):
        if value.ndim == 0 and value.dtype == object:
            return value[()]
        if value.dtype == object:
            return value.view(Symbols)
        if value.dtype == np.float64 and value.ndim and value.size <= LARGEST_ARRAY:
            return value.astype(object).view(Symbols)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(lifted(entry) for entry in value)
    return value


def _where(held: Any, yes: Any, no: Any) -> Any:
    """numpy.where, entry by entry."""
    import sympy

    def element(held: Any, first: Any, other: Any) -> Any:
        if not isinstance(held, Symbolic):
            return first if held else other
        held.tracer.check_time()
        first, other = (value.value if isinstance(value, Symbolic) else value for value in (first, other))
        cases = (expression(first), condition(held.value)), (expression(other), True)
        return tracer_result(sympy.Piecewise(*cases), held.tracer)

    given = [np.asarray(_lowered(value), dtype=object) for value in (held, yes, no)]
    return np.frompyfunc(element, 3, 1)(*given)


def _select(conditions: Any, choices: Any, default: Any = 0) -> Any:
    chosen = default
    for held, choice in reversed(list(zip(conditions, choices, strict=True))):
        chosen = _where(held, choice, chosen)
    return chosen


def _solve(a: Any, b: Any) -> Any:
    """numpy.linalg.solve with a constant matrix."""
    if next(tracers([a]), None) is not None:
        raise NotTraceable("it solves linear equations that depend on the state")
    return lifted(np.linalg.inv(constants(a))) @ b


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **OF_ARRAYS,
    "where": _where,
    "select": _select,
    "solve": _solve,
    "sinc": lambda x: _where(x == 0, 1, np.sin(math.pi * x) / (math.pi * x)),
}
