"""What a function or a class is, by its code and by what that reaches: constants and functions around it.

Code is compared by its bytes, which neither comments nor line breaks change, nor where it stands; between two versions
of Python it cannot be compared, and names decide. What could change without a trace, as an array in a closure does
that serves as room for work, is not told: it would be held against the run that wrote into it.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from functools import cached_property, lru_cache, partial
from numbers import Number
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import attrs
import numpy as np

from dynsys.storage.description import bytes_of, digest, public_name

NAME, CODE, PYTHON = "its name", "its code", "its python"

MAKING = {"__init__", "__post_init__", "__attrs_post_init__", "__attrs_init__", "__new__", "__setstate__"}

KEEPS, DEEPEST = type(lru_cache(len)), 3  # modules and classes within one another

Head = dict[str, str]
Parts = dict[str, Any]


def package_of(defined: Any) -> str:
    """The package in which something is defined."""
    name = defined.__name__ if isinstance(defined, ModuleType) else getattr(defined, "__module__", None)
    return (name or "").partition(".")[0]


def of_class(kind: type) -> tuple[Head, Parts]:
    """Name of a class; of a user's own its code, with what it holds and what its methods reach, by name."""
    if goes_by_name(kind):
        return {NAME: _public_name(kind)}, {}
    codes: list[tuple[str, str]] = []
    parts: Parts = {}
    for base in reversed(kind.__mro__):
        if goes_by_name(base):
            continue
        for name, value in vars(base).items():
            if name.startswith("__") and name != "__call__":
                continue
            for function in _functions(value):
                head, reached = of_function(function)
                codes.append((name, head.get(CODE, head[NAME])))
                parts |= reached
            if isinstance(value, bool | int | float | str | tuple | list | dict):
                parts[name] = value
    return {NAME: kind.__qualname__, CODE: digest(str(sorted(codes))), PYTHON: _version()}, parts


def of_function(function: FunctionType) -> tuple[Head, Parts]:
    """Name and code of a function, with its defaults and what it reaches of closures and of its module, by name."""
    if goes_by_name(function):
        return {NAME: _public_name(function)}, {}
    head = {NAME: function.__qualname__.rpartition(".")[-1]}
    if package_of(function) != "dynsys":  # whose versions may differ
        head |= {CODE: _code_of(function.__code__, function.__doc__), PYTHON: _version()}
    names, defaults = argument_names(function), function.__defaults__ or ()
    parts = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True)) | (function.__kwdefaults__ or {})
    rebound = _named_by(function.__code__, "STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR")  # such as counters
    for name, value in _reached(function):
        parts |= dict(_within(name, value, _named_by(function.__code__, "LOAD_ATTR", "LOAD_METHOD") - rebound))
    kept = {name: value for name, value in parts.items() if name not in rebound and value is not function}
    return head, {name: value for name, value in kept.items() if _is_code(value, function) or lasts(value)}


def argument_names(function: Any) -> tuple[str, ...]:
    """Names of the arguments that a function takes by position; none of what is no function of Python."""
    function = getattr(function, "py_func", function)
    return function.__code__.co_varnames[: function.__code__.co_argcount] if isinstance(function, FunctionType) else ()


@lru_cache(maxsize=1024)
def set_later(kind: type) -> frozenset[str]:
    """Names of what the methods of a class set after an object is made, and of what it keeps."""
    found: set[str] = set()
    for base in kind.__mro__:
        if of_a_library(base):
            continue
        for name, value in vars(base).items():
            found |= {name} if isinstance(value, cached_property) else set()
            for function in _functions(value) if name not in MAKING else ():
                found |= _named_by(function.__code__, "STORE_ATTR")
    return frozenset(found)


def of_a_library(defined: Any) -> bool:
    """Whether it comes with Python, or is installed."""
    package = package_of(defined)
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return package in sys.stdlib_module_names or "-packages" in file


def goes_by_name(defined: Any) -> bool:
    """Whether it is one of dynsys or of a library that can be imported, and not made on the way."""
    if package_of(defined) != "dynsys" and not of_a_library(defined):
        return False
    found: Any = sys.modules.get(defined.__module__)
    for name in defined.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is defined


_public_name = lru_cache(maxsize=1024)(public_name)


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _functions(value: Any) -> Iterator[FunctionType]:
    """The function of a method or property that somebody wrote."""
    match value:
        case property():
            value = value.fget
        case staticmethod() | classmethod():
            value = value.__func__
        case cached_property():
            value = value.func
    value = getattr(value, "py_func", value)
    if isinstance(value, FunctionType) and not value.__code__.co_filename.startswith("<attrs generated"):
        yield value


def _reached(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function reaches of its module and of the functions around it, by name."""
    for name in sorted(_named_by(function.__code__, "LOAD_GLOBAL", "LOAD_NAME")):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not yet bound
            continue


def _within(name: str, value: Any, attributes: frozenset[str], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Of a user's own module or class what a function may read there, by name: `parameters.rate`; else the value."""
    if not isinstance(value, ModuleType | type) or depth == DEEPEST:
        yield name, value
    elif not of_a_library(value) and package_of(value) != "dynsys":
        held = {attribute for base in getattr(value, "__mro__", [value]) for attribute in vars(base)}
        for attribute in sorted(attributes & held):
            yield from _within(f"{name}.{attribute}", getattr(value, attribute), attributes, depth + 1)


def bare(function: Any) -> Any:
    """The function that Numba compiled, or of which `functools.cache` keeps values; any other as it is."""
    function = getattr(function, "py_func", function)
    return function.__wrapped__ if isinstance(function, KEEPS) else function


def holds_numbers(kind: type) -> bool:
    """Whether objects of that kind are functions of SciPy or NumPy: splines, polynomials."""
    return package_of(kind) == "scipy" or kind.__module__.startswith("numpy.polynomial")


def lasts(value: Any) -> bool:
    """Whether nothing can change a value without a trace."""
    match value:
        case None | Number() | str() | bytes() | range() | np.generic() | np.ufunc() | BuiltinFunctionType():
            return True
        case tuple() | frozenset():
            return all(map(lasts, value))
        case partial():
            return all(map(lasts, (*value.args, *value.keywords.values())))
        case np.ndarray():
            return not value.flags.writeable
    torch: Any = sys.modules.get("torch")  # not loaded, there are no modules of it, which no state writes into
    return (
        attrs.has(type(value))  # as systems and activations are
        or holds_numbers(type(value))
        or (torch is not None and isinstance(value, torch.nn.Module))
    )


def _is_code(value: Any, function: FunctionType) -> bool:
    """Whether it is a function that is told with the one that calls it: not those of other packages, installed."""
    called = bare(value)
    return isinstance(called, FunctionType) and (package_of(value) == package_of(function) or not of_a_library(called))


@lru_cache(maxsize=4096)
def _code_of(code: CodeType, documentation: str | None) -> str:
    if documentation and code.co_consts[:1] == (documentation,):
        code = code.replace(co_consts=(None, *code.co_consts[1:]))
    return digest(bytes_of(code))


@lru_cache(maxsize=4096)
def _named_by(code: CodeType, *instructions: str) -> frozenset[str]:
    """The names in some instructions of a function and of those inside it."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in instructions}
    inner = (_named_by(part, *instructions) for part in code.co_consts if isinstance(part, CodeType))
    return frozenset(found).union(*inner)
