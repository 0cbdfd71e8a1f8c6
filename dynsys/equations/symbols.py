"""Numbers and arrays that stand for symbols: plain functions called with them write down their own equations.

A `Symbolic` is a number, `Symbols` an array of such numbers and of plain ones. NumPy hands operators, ufuncs and other
functions to them. What needs a value (a branch, an index, a count) of a parameter asks for it by `NeedsValue`; of the
state or the time it cannot be traced.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from dynsys.equations.symbol_rules import RULES, condition, expression, is_condition

if TYPE_CHECKING:
    import sympy

Array = np.ndarray
LARGEST_ARRAY = 10_000  # of constants that are copied, so that a function may write symbols into them


class NotTraceable(BaseException):
    """A function cannot be traced, and why. No `Exception`, which the function itself might catch."""


class NeedsValue(BaseException):
    """A function needs the values of some parameters, by name."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


class Tracer:
    """The parameters of a trace, and its end in time."""

    def __init__(self, parameters: set[str], seconds: float) -> None:
        self.parameters = parameters
        self.seconds = seconds
        self.end = time.perf_counter() + seconds

    def check_time(self) -> None:
        """Refuse to go on for too long."""
        if time.perf_counter() > self.end:
            raise NotTraceable(f"its equations are too large: writing them down takes more than {self.seconds:g} s")

    def concrete(self, value: sympy.Expr, what: str) -> Any:
        """The value of an expression, if it has one."""
        names = {symbol.name for symbol in value.free_symbols}
        if not names:
            return bool(value) if is_condition(value) else float(value)
        if names <= self.parameters:
            raise NeedsValue(names)
        raise NotTraceable(f"{what} depends on the state or the time")


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
    rule = RULES[ufunc.__name__]

    def element(*values: Any) -> Any:
        if not any(isinstance(value, Symbolic) for value in values):
            with np.errstate(all="ignore"):
                return ufunc(*values)
        tracer.check_time()
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
        raise AttributeError(name)


class Symbols(np.ndarray):
    """An array of numbers of which some are symbolic."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return _apply(ufunc, method, *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return _call(function, args, options)

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Any:
        """A copy: symbols stay what they are."""
        if (
            not isinstance(dtype, type | str | np.dtype)
            or np.issubdtype(np.dtype(dtype), np.floating)
            or np.dtype(dtype) == object
        ):
            return self.copy()
        return constants(self).astype(dtype)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, Symbols) and index.shape == self.shape and next(tracers([index]), None):
            value = FUNCTIONS["where"](index, value, self.copy())
            index = ...
        super().__setitem__(index, value)


def constants(value: Any) -> Any:
    """Arrays of plain numbers as NumPy knows them; an error where some are symbolic."""
    if isinstance(value, Symbols):
        return np.array(value.tolist(), dtype=float if value.size else None)
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
    return (
        np.asarray(value, dtype=object)
        if isinstance(value, list | tuple)
        else np.asarray(value)
        if isinstance(value, Symbols)
        else value
    )


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


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """numpy.linalg.norm of vectors."""
    x = np.asarray(x, dtype=object).view(Symbols)
    if axis is None and (ord is None or x.ndim == 1):
        x, axis = x.ravel(), 0
    if axis is None or isinstance(axis, tuple) or ord not in (None, 1, 2, np.inf):
        raise NotTraceable("a norm of matrices is not known to it")
    if ord in (None, 2):
        return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    return (np.sum if ord == 1 else np.max)(np.abs(x), axis=axis, keepdims=keepdims)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """numpy.clip."""
    lower, upper = (a_min if min is None else min), (a_max if max is None else max)
    a = a if lower is None else np.maximum(a, lower)
    return a if upper is None else np.minimum(a, upper)


def _solve(a: Any, b: Any) -> Any:
    """numpy.linalg.solve with a constant matrix."""
    if next(tracers([a]), None) is not None:
        raise NotTraceable("it solves linear equations that depend on the state")
    return lifted(np.linalg.inv(constants(a))) @ b


def _full(shape: Any, value: Any, *_: Any, **__: Any) -> Any:
    """numpy.full."""
    made = np.empty(shape, dtype=object)
    made[...] = value
    return made


def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """numpy.convolve."""
    a, v = (np.asarray(value, dtype=object).view(Symbols) for value in (a, v))
    n, m = len(a), len(v)
    whole = [
        np.sum(a[max(0, i - m + 1) : i + 1] * v[i - n + 1 if i >= n else 0 : i + 1][::-1]) for i in range(n + m - 1)
    ]
    cut = {"full": 0, "same": (min(n, m) - 1) // 2, "valid": min(n, m) - 1}[mode]
    length = {"full": n + m - 1, "same": max(n, m), "valid": abs(n - m) + 1}[mode]
    return np.array(whole[cut : cut + length], dtype=object)


def _gradient(f: Any, *spacing: Any, **options: Any) -> Any:
    """numpy.gradient of one axis and an equal spacing."""
    if np.ndim(f) != 1 or options or len(spacing) > 1 or any(np.ndim(h) for h in spacing):
        raise NotTraceable("numpy.gradient with several axes, or another spacing at every point, is not known to it")
    return np.concatenate([f[1:2] - f[:1], (f[2:] - f[:-2]) / 2, f[-1:] - f[-2:-1]]) / (spacing[0] if spacing else 1)


def _interp(*_: Any) -> NoReturn:
    raise NotTraceable("numpy.interp of the state is not known to it")


def _unchanged(x: Any, *_: Any, **__: Any) -> Any:
    return x


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "where": _where,
    "select": _select,
    "norm": _norm,
    "clip": _clip,
    "real": _unchanged,
    "nan_to_num": _unchanged,
    "real_if_close": _unchanged,
    "sinc": lambda x: _where(x == 0, 1, np.sin(math.pi * x) / (math.pi * x)),
    "convolve": _convolve,
    "gradient": _gradient,
    "interp": _interp,
    "solve": _solve,
    "full": _full,
}
