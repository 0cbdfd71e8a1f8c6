"""What a function or a class is, by its code and by what that reaches: closures, constants and functions of its module.

Code is compared by its bytes, which neither comments nor line breaks change, nor where it stands; between two versions
of Python it cannot be compared, and names decide.
"""

from __future__ import annotations

import ast
import dis
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cached_property, lru_cache, partial
from types import CodeType, FunctionType
from typing import Any

import attrs
import numpy as np

from dynsys.storage.description import bytes_of, public_name

NAME, CODE, PYTHON = "its name", "its code", "its python"

LIBRARIES = {
    *sys.stdlib_module_names,
    "numpy",
    "scipy",
    "torch",
    "numba",
    "sympy",
    "attr",
    "attrs",
    "xarray",
    "jax",
    "pandas",
    "polars",
}
MAKING = {"__init__", "__post_init__", "__attrs_post_init__", "__attrs_init__", "__new__", "__setstate__"}
CHANGING = {
    "append",
    "extend",
    "insert",
    "add",
    "update",
    "pop",
    "remove",
    "clear",
    "setdefault",
    "fill",
    "sort",
    "put",
}
SIMPLE = bool | int | float | complex | str | tuple | list | dict | np.ndarray | np.generic | partial | None

Head = dict[str, str]
Parts = dict[str, Any]


def package_of(defined: Any) -> str:
    """The package in which something is defined."""
    return (getattr(defined, "__module__", None) or "").partition(".")[0]


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
    return {NAME: kind.__qualname__, CODE: _digest(str(sorted(codes))), PYTHON: _version()}, parts


def of_function(function: FunctionType) -> tuple[Head, Parts]:
    """Name and code of a function, with its defaults and what it reaches of closures and of its module, by name."""
    if goes_by_name(function):
        return {NAME: _public_name(function)}, {}
    head = {NAME: function.__qualname__.rpartition(".")[-1]}
    if package_of(function) != "dynsys":  # whose versions may differ
        head |= {CODE: _code_of(function.__code__, function.__doc__), PYTHON: _version()}
    names, defaults = argument_names(function), function.__defaults__ or ()
    parts = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True)) | (function.__kwdefaults__ or {})
    changed = _rebound(function.__code__) | _written_into(function.__code__)
    return head, parts | {n: v for n, v in _reached(function) if n not in changed and _decides(v, function)}


def argument_names(function: Any) -> tuple[str, ...]:
    """Names of the arguments that a function takes by position; none of what is no function of Python."""
    function = getattr(function, "py_func", function)
    return function.__code__.co_varnames[: function.__code__.co_argcount] if isinstance(function, FunctionType) else ()


@lru_cache(maxsize=1024)
def set_later(kind: type) -> frozenset[str]:
    """Names of what the methods of a class set or write into after an object is made, and of what it keeps."""
    found: set[str] = set()
    for base in kind.__mro__:
        if package_of(base) in LIBRARIES:
            continue
        for name, value in vars(base).items():
            found |= {name} if isinstance(value, cached_property) else set()
            for function in _functions(value) if name not in MAKING else ():
                found |= _named_by(function.__code__, "STORE_ATTR") | _written_into(function.__code__)
    return frozenset(found)


def goes_by_name(defined: Any) -> bool:
    """Whether it is one of dynsys or of a library that can be imported, and not made on the way."""
    if package_of(defined) not in LIBRARIES | {"dynsys"}:
        return False
    found: Any = sys.modules.get(defined.__module__)
    for name in defined.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is defined


_public_name = lru_cache(maxsize=1024)(public_name)


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def _decides(value: Any, function: FunctionType) -> bool:
    """Whether something that a function reaches decides how it moves: no module, logger or figure does."""
    if value is function or isinstance(value, type):
        return False
    if isinstance(value, SIMPLE) or attrs.has(type(value)) or "__array__" in dir(type(value)):
        return True
    called = getattr(value, "py_func", value)
    if isinstance(called, FunctionType):  # of other packages that are installed, versions differ
        return package_of(value) == package_of(function) or "-packages" not in called.__code__.co_filename
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor | torch.nn.Module):
        return True
    return package_of(type(value)) in (package_of(function), "scipy")


@lru_cache(maxsize=4096)
def _code_of(code: CodeType, documentation: str | None) -> str:
    if documentation and code.co_consts[:1] == (documentation,):
        code = code.replace(co_consts=(None, *code.co_consts[1:]))
    return _digest(bytes_of(code))


@lru_cache(maxsize=4096)
def _named_by(code: CodeType, *instructions: str) -> frozenset[str]:
    """The names in some instructions of a function and of those inside it."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in instructions}
    inner = (_named_by(part, *instructions) for part in code.co_consts if isinstance(part, CodeType))
    return frozenset(found).union(*inner)


def _rebound(code: CodeType) -> frozenset[str]:
    """Names around a function that it binds anew when it is called, such as counters."""
    return _named_by(code, "STORE_GLOBAL", "STORE_DEREF")


@lru_cache(maxsize=4096)
def _written_into(code: CodeType) -> frozenset[str]:
    """Names of what a function writes into when it is called: x of x[0] = 1, x.append(1), f(1, out=x)."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError, ValueError):
        steps = {step.opname for step in dis.get_instructions(code)}
        if not steps & {"STORE_SUBSCR", "STORE_ATTR"} and not {*CHANGING, "copyto"} & {*code.co_names}:
            return frozenset()
        return frozenset(code.co_freevars) | _named_by(code, "LOAD_GLOBAL")  # whatever may be written into
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
                found |= _chain(node)
            case ast.AugAssign(target=target):
                found |= _chain(target)
            case ast.Call(func=ast.Attribute(attr=name, value=owner), args=args, keywords=keywords):
                found |= _chain(owner) if name in CHANGING else set()
                found |= _chain(args[0]) if name == "copyto" and args else set()
                found |= {part for keyword in keywords if keyword.arg == "out" for part in _chain(keyword.value)}
    return frozenset(found)


def _chain(node: ast.AST) -> set[str]:
    """Names along a.b[c].d: a, b, d."""
    found = set()
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Starred):
        found |= {node.attr} if isinstance(node, ast.Attribute) else set()
        node = node.value
    return found | ({node.id} if isinstance(node, ast.Name) else set())
