"""A function anew, with names in its scope exchanged, so that symbols pass where NumPy and `math` want numbers.

`numpy` makes arrays that can hold symbols, `math` and the built-in `max`, `min`, `float`, `sum` take them, functions
marked `@numba.njit` are those that were marked, arrays and lists in the scope are copies: what a function writes there
while it is traced, it writes into these. Nothing that the user holds is changed.
"""

from __future__ import annotations

import builtins
import functools
import math
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from dynsys.equations.tracing.limits import NotTraceable
from dynsys.equations.tracing.symbols import FUNCTIONS, LARGEST_ARRAY, Symbolic, Symbols, lifted, tracers

LARGEST_LIST = 1000  # entries of lists and dictionaries that are looked into
LIBRARIES = ("numpy", "scipy", "numba", "sympy", "builtins", *sys.stdlib_module_names)


def rebuilt(value: Any, known: dict[int, Any] | None = None) -> Any:
    """A value that a function meets in its scope, for the trace; itself where nothing need be exchanged."""
    known = {} if known is None else known
    if id(value) not in known:
        known[id(value)] = _rebuilt(value, known), value  # which lives on, so that its id is not another's
    return known[id(value)][0]


def _rebuilt(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, types.ModuleType):
        return _module(value, known)
    if isinstance(value, np.ndarray):
        return lifted(value.copy()) if value.size <= LARGEST_ARRAY else value
    if type(value) in (list, tuple, set, dict) and len(value) <= LARGEST_LIST:
        if isinstance(value, dict):
            return {key: rebuilt(entry, known) for key, entry in value.items()}
        return type(value)([rebuilt(entry, known) for entry in value])
    if isinstance(value, functools.partial):
        given = {key: rebuilt(entry, known) for key, entry in value.keywords.items()}
        return functools.partial(rebuilt(value.func, known), *[rebuilt(entry, known) for entry in value.args], **given)
    if isinstance(value, types.MethodType):
        return types.MethodType(rebuilt(value.__func__, known), _Stand(value.__self__, known))
    numba: Any = sys.modules.get("numba")
    if numba is not None and isinstance(value, numba.core.registry.CPUDispatcher):
        return rebuilt(value.py_func, known)
    if isinstance(value, types.FunctionType):
        return _function(value, known)
    if isinstance(value, np.ufunc | types.BuiltinFunctionType) or callable(value):
        exchanged = EXCHANGED.get(value) if isinstance(value, types.BuiltinFunctionType | np.ufunc | type) else None
        if exchanged is not None:
            return exchanged
        if getattr(value, "__module__", "") in ("numpy", "numpy.linalg") and not isinstance(value, type):
            return _lifting(value)
    home = getattr(type(value), "__module__", "") or ""
    if not isinstance(value, type) and home.split(".")[0] not in LIBRARIES:
        return _Stand(value, known)
    return value


def _function(function: types.FunctionType, known: dict[int, Any]) -> Any:
    """A Python function in a scope of its own; those of libraries stay what they are, but for those of NumPy."""
    home = (function.__module__ or "").split(".")[0]
    if home == "numpy":
        return _lifting(function)
    if home in LIBRARIES:
        return function
    scope: dict[str, Any] = {"__builtins__": {**vars(builtins), **BUILTINS}, "__name__": function.__module__}
    cells = function.__closure__ or ()
    closure = tuple(types.CellType() for _ in cells)
    new = types.FunctionType(function.__code__, scope, function.__name__, None, closure)
    known[id(function)] = new, function  # before its scope is looked through: a function may call itself
    for name in _names(function.__code__):
        if name in function.__globals__:
            scope[name] = rebuilt(function.__globals__[name], known)
    for cell, old in zip(closure, cells, strict=True):
        try:
            content = old.cell_contents
        except ValueError:  # an empty cell
            continue
        cell.cell_contents = rebuilt(content, known)
    new.__defaults__ = rebuilt(function.__defaults__, known)
    new.__kwdefaults__ = rebuilt(function.__kwdefaults__, known)
    return new


def _names(code: types.CodeType) -> set[str]:
    """Global names that a function and those inside it may use."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)


class _Stand:
    """Stands for an object of the user's: its methods and what it holds are rebuilt, and it cannot be changed."""

    def __init__(self, value: Any, known: dict[int, Any]) -> None:
        object.__setattr__(self, "_of", (value, known))

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(object.__getattribute__(self, "_of")[0])

    def __getattr__(self, name: str) -> Any:
        value, known = object.__getattribute__(self, "_of")
        return rebuilt(getattr(value, name), known)

    def __setattr__(self, name: str, value: Any) -> None:
        raise NotTraceable(f"it keeps a state: it sets {name}")

    def __call__(self, *args: Any, **options: Any) -> Any:
        value, known = object.__getattribute__(self, "_of")
        method = getattr(value, "__call__", None)  # noqa: B004
        if not isinstance(method, types.MethodType):
            return value(*args, **options)
        return rebuilt(method, known)(*args, **options)

    def __getitem__(self, index: Any) -> Any:
        value, known = object.__getattribute__(self, "_of")
        return rebuilt(value[index], known)

    def __len__(self) -> int:
        return len(object.__getattribute__(self, "_of")[0])


def _module(module: types.ModuleType, known: dict[int, Any]) -> Any:
    home = module.__name__.split(".")[0]
    if home == "math":
        return _Names(module, lambda value: EXCHANGED.get(value, value) if callable(value) else value)
    if module.__name__ == "numpy.random" or home == "random":
        raise NotTraceable("it draws random numbers")
    if home == "numpy":
        return _Names(module, lambda value: _of_numpy(value, known))
    return module if home in LIBRARIES else _Names(module, lambda value: rebuilt(value, known))


def _of_numpy(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, types.ModuleType):
        return _module(value, known)
    if value in (np.float64, np.float32):
        return _float
    return _lifting(value) if callable(value) and not isinstance(value, type) else value


class _Names:
    """A module with other values behind its names."""

    def __init__(self, module: types.ModuleType, exchange: Callable[[Any], Any]) -> None:
        self._module, self._exchange = module, exchange

    def __getattr__(self, name: str) -> Any:
        return self._exchange(getattr(self._module, name))


def _lifting(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy that is given arrays of symbols where there are lists of them, and returns such arrays."""

    @functools.wraps(function, updated=())
    def call(*args: Any, **options: Any) -> Any:
        if function in (np.array, np.asarray, np.asanyarray, np.ascontiguousarray) and args:
            made = _array(args[0])
            if made is not None:
                return made
        if function is np.full and next(tracers(args), None) is not None:
            return lifted(FUNCTIONS["full"](*args))
        given = [_listed(value) for value in args]
        return lifted(function(*given, **{key: _listed(value) for key, value in options.items()}))

    if not isinstance(function, np.ufunc):
        return call
    methods = _Names(function, lambda value: _lifting(value) if callable(value) else value)  # type: ignore[arg-type]
    return _Ufunc(call, methods)


class _Ufunc:
    """A ufunc with its methods, such as numpy.add.reduce."""

    def __init__(self, call: Callable[..., Any], methods: _Names) -> None:
        self._call, self._methods = call, methods

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._call(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._methods, name)


def _array(value: Any) -> Any:
    """numpy.array of what holds symbols, or of arrays that do; None of all else."""
    if next(tracers([value]), None) is None:
        return value.copy() if isinstance(value, Symbols) else None
    if isinstance(value, Symbolic):
        return value
    return np.array(value, dtype=object).view(Symbols)


def _listed(value: Any) -> Any:
    """A list of symbols as an array; one of arrays stays a list. As a dtype, `float` is what it was."""
    if value is _float:
        return float
    if isinstance(value, list | tuple) and any(isinstance(entry, Symbolic) for entry in value):
        return np.array(value, dtype=object).view(Symbols)
    return value


def _float(value: Any = 0.0) -> Any:
    return value if isinstance(value, Symbolic) else float(value)


def _of_math(name: str, ufunc: Any) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        if next(tracers(args), None) is None:
            return getattr(math, name)(*args)
        if name == "log" and len(args) == 2:
            return np.log(args[0]) / np.log(args[1])
        return ufunc(*args)

    return call


def _extreme(builtin: Callable[..., Any], ufunc: np.ufunc) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        if next(tracers(args), None) is None or options:
            return builtin(*args, **options)
        values = args if len(args) > 1 else list(args[0])
        return functools.reduce(ufunc, values)

    return call


MATH = {
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sqrt": np.sqrt,
    "cbrt": np.cbrt,
    "pow": np.power,
    "fabs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "fmod": np.fmod,
    "hypot": np.hypot,
    "degrees": np.degrees,
    "radians": np.radians,
    "fsum": np.sum,
    "isfinite": np.isfinite,
    "isnan": np.isnan,
    "isinf": np.isinf,
}
BUILTINS: dict[str, Any] = {
    "max": _extreme(max, np.maximum),
    "min": _extreme(min, np.minimum),
    "float": _float,
}
EXCHANGED: dict[Any, Any] = {getattr(math, name): _of_math(name, ufunc) for name, ufunc in MATH.items()} | {
    getattr(builtins, name): value for name, value in BUILTINS.items()
}
