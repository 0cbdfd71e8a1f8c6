"""Descriptions: what a computation is, as JSON that can be kept, compared and read, and never runs anything."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import math
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, has_a_mask
from dynsys.storage.before import CODE_OF_MODELS

Json = Any  # None, bool, int, float, str, and lists and dicts of them


CONSTANT = int | float | complex | str | tuple | np.ndarray | np.generic  # what a function takes from its module


class Described(ABC):
    """What says itself how it is described: by this in the place of its class and its fields."""

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What decides whether two of them compute the same, by name; values as `describe` takes them."""


UNSAID = {"unsaid": True}  # metadata of a field that came later: where it has its default, nothing is said of it


def describe(value: Any) -> Json:
    """A description of a value: equal for values that compute the same, different for those that may not.

    Numbers, text, lists and mappings stand for themselves; an array for its type, shape and a digest of its bytes, in
    a dataset of xarray with its labels; an object for its class, with a digest of its code, and its fields; a function
    for its name and a digest of its code, with its defaults, what `functools.partial` and closures bind, and the
    constants of its module that it names (numbers, text, tuples, arrays, attrs objects). Comments and docstrings do not
    count. What a function calls is not looked at, nor the code of dynsys itself: its version is kept beside, and its
    classes and functions go by their public names, so that files of dynsys may move.

    Raises
    ------
    InvalidInputError
        For anything else, such as a random generator, whose state is not seen.

    Examples
    --------
    >>> from dynsys.models.activations import Tanh
    >>> describe({"dt": np.float64(0.01), "activation": Tanh})["activation"]["class"]
    'dynsys.models.activations.Tanh'
    """
    try:
        return _described(value)
    except RecursionError:
        raise InvalidInputError(
            f"a definition cannot hold {value!r:.100}: it holds itself; leave that part out"
        ) from None


def _described(value: Any) -> Json:
    """Of objects, the keys that are no names of variables are ours: nothing that a user calls so can hide them."""
    if type(value).__module__.startswith("xarray."):
        value = value.to_dict(data="array")
    match value:
        case None | bool():
            return value
        case np.generic() if not isinstance(value, str):
            return _described(value.item())
        case int():
            return int(value)
        case str():
            return str.__str__(value)  # not an object of a subclass
        case float():
            return float(value) if math.isfinite(value) else repr(value)
        case complex():
            return repr(value)
        case np.ndarray() if value.dtype.kind in "biufcSU" and not has_a_mask(value):
            content = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
            return {"array": f"{value.dtype.name} {value.shape}", "sha256": digest(content.tobytes())}
        case Mapping() if len({str(name) for name in value}) == len(value):
            return {str(name): _described(part) for name, part in value.items()}
        case list() | tuple():
            return [_described(part) for part in value]
        case partial(func=function, args=arguments, keywords=keywords):
            return {"partial of": _described(function), "its arguments": _described(arguments), **_described(keywords)}
        case type():
            return {"class": public_name(value), **_of_class(value)}
        case Described():
            return _described(value.described)
    if inspect.ismethod(value):
        return {"method": value.__name__, "of": _described(value.__self__)}
    function = getattr(value, "py_func", value)  # what Numba compiled
    if isinstance(function, FunctionType):
        return _of_function(function)
    if attrs.has(type(value)):
        fields = {
            field.name: getattr(value, field.name)
            for field in attrs.fields(type(value))
            if not (field.metadata.get("unsaid") and getattr(value, field.name) == field.default)
        }
        return _described(type(value)) | _described(fields)
    if type(value).__module__.startswith("sympy."):
        return str(value)
    if type(value).__reduce__ is object.__reduce__ and "__dict__" in dir(value):  # else there is more than one sees
        return _described(type(value)) | _described(vars(value))
    raise InvalidInputError(
        f"a definition cannot hold {value!r:.100}: make it of numbers, text, arrays, functions and attrs classes"
    )


def differences(before: Json, now: Json, name: str = "") -> Iterator[str]:
    """Where two descriptions differ, one line each: the name of the part, what it was, what it is."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            inner = f"{name}.{key}" if name else key
            if key not in before or key not in now:
                yield f"{inner}: {'only there' if key in before else 'only here'}"
            else:
                yield from differences(before[key], now[key], inner)
    elif json.dumps(before, sort_keys=True) != json.dumps(now, sort_keys=True):  # 1, 1.0 and True differ, 0.0 and -0.0
        yield f"{name}: {before!r:.60} there, {now!r:.60} here"


def public_name(defined: Any) -> str:
    """Name by which a class or function is imported: by the shortest path that leads to it, if it is one of dynsys.

    Examples
    --------
    >>> from dynsys.models.classics import Lorenz63
    >>> public_name(Lorenz63), Lorenz63.__module__
    ('dynsys.models.classics.Lorenz63', 'dynsys.models.classics.lorenz63')
    """
    module, name = defined.__module__, defined.__qualname__
    if _is_ours(module):
        parts = module.split(".")
        for shorter in (".".join(parts[:length]) for length in range(1, len(parts))):
            if vars(sys.modules[shorter]).get(name) is defined:
                return f"{shorter}.{name}"
    return f"{module}.{name}"


def _is_ours(module: str | None) -> bool:  # None: of code that was typed in
    return module is not None and module.partition(".")[0] == "dynsys"


def _of_function(function: FunctionType) -> dict[str, Json]:
    if _is_ours(function.__module__) and "<locals>" not in function.__qualname__:
        return {"def": public_name(function)}
    bound = inspect.getclosurevars(function)
    constants = {k: v for k, v in bound.globals.items() if isinstance(v, CONSTANT) or attrs.has(type(v))}
    defaults = {"its defaults": function.__defaults__, "its keyword defaults": function.__kwdefaults__}
    parts = defaults | {"its constants": constants}
    closure = {name: part for name, part in bound.nonlocals.items() if part is not function}
    return {
        "def": public_name(function),
        "its code": digest(code_of(function)),
        **{name: _described(part) for name, part in parts.items() if part},
        **_described(closure),
    }


def _of_class(kind: type) -> dict[str, Json]:
    """The data that a class holds as public attributes (equations, source), and its code where that is the user's."""
    found: dict[str, Json] = {}
    code = ""
    for base in reversed(kind.__mro__):
        if _is_ours(base.__module__):
            code = CODE_OF_MODELS.get(public_name(base), code)
        elif base.__module__.partition(".")[0] not in ("builtins", "abc", "typing"):
            found["its code"] = code = digest(code + code_of(base))
        for name, value in vars(base).items():
            if not name.startswith("_") and isinstance(value, str | int | float | tuple | list | dict):
                found[name] = _described(value)
    return found


def code_of(defined: Any) -> str:
    """The code of a function or class, without comments and docstrings; from its bytes where there is no source."""
    try:
        tree: ast.AST = ast.parse(textwrap.dedent(inspect.getsource(defined)))
        if defined.__name__ == "<lambda>":
            (tree,) = (node for node in ast.walk(tree) if isinstance(node, ast.Lambda))  # of several on a line, which?
    except (OSError, TypeError, ValueError, SyntaxError):
        parts = vars(defined).values() if isinstance(defined, type) else [defined]
        return "".join(bytes_of(part.__code__) for part in parts if isinstance(part, FunctionType))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def bytes_of(code: CodeType) -> str:
    """The code of a function and of those inside it, whatever the order of sets in this process."""

    def text(constant: Any) -> str:
        if isinstance(constant, CodeType):
            return bytes_of(constant)
        return str(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)

    return f"{code.co_code.hex()} {code.co_names} {[*map(text, code.co_consts)]}"


def digest(content: str | bytes) -> str:
    """A fingerprint of text or bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
