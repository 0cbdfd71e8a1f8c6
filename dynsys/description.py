"""Descriptions: what a computation is, as JSON that can be kept, compared and read, and never runs anything."""

from __future__ import annotations

import ast
import hashlib
import inspect
import math
import textwrap
from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import attrs
import numpy as np

from dynsys.errors import InvalidInputError

Json = Any  # None, bool, int, float, str, and lists and dicts of them


def describe(value: Any) -> Json:
    """A description of a value: equal for values that compute the same, different for those that may not.

    Numbers, text, lists and mappings stand for themselves; an array for its type, shape and a digest of its bytes; an
    object for its class, with a digest of its code, and its fields; a function for its name and a digest of its code,
    with the arguments that `functools.partial` and closures bind. Comments and docstrings do not count. What a
    function calls is not looked at, nor the code of dynsys itself: its version is kept beside.

    Raises
    ------
    InvalidInputError
        For anything else, such as a random generator, whose state is not seen.

    Examples
    --------
    >>> from models.activations import Tanh
    >>> describe({"dt": np.float64(0.01), "activation": Tanh})["activation"]["class"]
    'models.activations.Tanh'
    """
    match value:
        case None | bool() | int() | str():
            return value
        case np.generic():
            return describe(value.item())
        case float():
            return value if math.isfinite(value) else repr(value)
        case np.ndarray() if value.dtype.kind in "biufcSU":
            content = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
            return {"array": f"{value.dtype.name} {value.shape}", "sha256": _digest(content.tobytes())}
        case Mapping():
            return {str(name): describe(part) for name, part in value.items()}
        case list() | tuple():
            return [describe(part) for part in value]
        case partial(func=function, args=arguments, keywords=keywords):
            return describe(function) | ({"arguments": describe(arguments)} if arguments else {}) | describe(keywords)
        case type():
            return {"class": f"{value.__module__}.{value.__qualname__}", **_of_class(value)}
    if inspect.ismethod(value):
        return {"method": value.__name__, "of": describe(value.__self__)}
    function = getattr(value, "py_func", value)  # what Numba compiled
    if isinstance(function, FunctionType):
        defaults = {"defaults": describe(function.__defaults__)} if function.__defaults__ else {}
        closure = describe(inspect.getclosurevars(function).nonlocals)
        name = f"{function.__module__}.{function.__qualname__}"
        return {"function": name, "code": _digest(_code(function)), **defaults, **closure}
    if attrs.has(type(value)):
        fields = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
        return describe(type(value)) | describe(fields)
    if type(value).__module__.startswith("sympy."):
        return str(value)
    try:
        return describe(type(value)) | describe(vars(value))
    except TypeError:
        raise InvalidInputError(
            f"a definition cannot hold {value!r:.100}: make it of numbers, text, arrays, functions and attrs classes"
        ) from None


def differences(before: Json, now: Json, name: str = "") -> Iterator[str]:
    """Where two descriptions differ, one line each: the name of the part, what it was, what it is."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            inner = f"{name}.{key}" if name else key
            if key not in before or key not in now:
                yield f"{inner}: {'only there' if key in before else 'only here'}"
            else:
                yield from differences(before[key], now[key], inner)
    elif before != now or type(before) is not type(now):
        yield f"{name}: {before!r:.60} there, {now!r:.60} here"


def _of_class(kind: type) -> dict[str, Json]:
    """The data that a class holds as public attributes (equations, source), and its code where that is the user's."""
    found: dict[str, Json] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] not in ("builtins", "abc", "typing", "dynsys"):
            found["code"] = _digest(found.get("code", "") + _code(base))
        for name, value in vars(base).items():
            if not name.startswith("_") and isinstance(value, str | int | float | tuple | list | dict):
                found[name] = describe(value)
    return found


def _code(defined: Any) -> str:
    """The code of a function or class, without comments and docstrings; from its bytes where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(defined)))
    except (OSError, TypeError, SyntaxError):
        parts = vars(defined).values() if isinstance(defined, type) else [defined]
        return "".join(_bytes(part.__code__) for part in parts if isinstance(part, FunctionType))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _bytes(code: CodeType) -> str:
    constants = [_bytes(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
