"""What moves, told in short: text by which a run knows that it is continued by what it was begun with.

Told is what decides the motion: parameters, equations, data, seeds, functions by their code. What cannot be seen into,
and what may change while it is in use, is not told, and never held against anybody. Equal numbers are told
alike, whatever they are kept in: 28, 28.0 and np.float64(28); a list, a tuple and an array.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from numbers import Number
from types import BuiltinFunctionType, FunctionType
from typing import Any

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, has_a_mask
from dynsys.storage.description import digest
from dynsys.systems.identity.code import (
    CODE,
    NAME,
    PYTHON,
    argument_names,
    bare,
    goes_by_name,
    holds_numbers,
    lasts,
    of_a_library,
    of_class,
    of_function,
    package_of,
    set_later,
)

Json = Any

# Keys of what is told that are no names of the user's: those have no spaces.
CLASS, MEMBERS, OPTIMISER = "its class", "its members", "its optimiser"
EQUATIONS, COMPONENTS, KIND = "equations", "its components", "its kind"
SHAPE, LENGTH, DIGEST, UNSEEN, REST = "its shape", "its length", "its digest", "its kind, unseen", "its parts"

SHORT, FEW = 300, 16  # characters of a text, numbers of an array, that are told as they are
LONG = 5_000  # characters of equations
ROOM = 20_000  # characters for all, beyond which parts are told by their digests
DEEPEST = 20  # parts within parts
LEAST = 120  # characters that every part has room for
PIECE = 2**20  # numbers that are digested at a time


class Identified(ABC):
    """What says itself what decides how it moves."""

    __slots__ = ()

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name: a run is continued only by what has the same."""


class OfParts(Identified):
    """What moves as its class and its fields say."""

    __slots__ = ()

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name: its class and its fields; a run is continued only by the same."""
        return parts_of(self)


def parts_of(value: Any, *without: str) -> dict[str, Any]:
    """The class of an object, and its fields but for some; of one that is not of attrs, those that last."""
    kind: Any = type(value)
    if attrs.has(kind):
        fields = {name: getattr(value, name) for name in _field_names(kind)}
    else:
        fields, later = _attributes(value), set_later(kind)
        if not of_a_library(kind):
            fields = {name: part for name, part in fields.items() if name not in later and lasts(part)}
    return {CLASS: kind, **{name: part for name, part in fields.items() if name not in without}}


def _attributes(value: Any) -> dict[str, Any]:
    """What an object holds in its dictionary and its slots."""
    slots = [vars(base).get("__slots__", ()) for base in type(value).__mro__]
    names = [name for some in slots for name in ([some] if isinstance(some, str) else some) if name[:2] != "__"]
    return {name: getattr(value, name, None) for name in names} | getattr(value, "__dict__", {})


@lru_cache(maxsize=1024)
def _field_names(kind: Any) -> tuple[str, ...]:
    """Of what an object is made from: a field that is not given follows from those, or is room for work."""
    return tuple(field.name for field in attrs.fields(kind) if field.init)


def told(identity: Mapping[str, Any]) -> str:
    """What decides how something moves as JSON of a few thousand characters at most, the same for the same.

    Examples
    --------
    >>> from dynsys.models.classics import LinearFlow
    >>> told(LinearFlow([[-1.0]]).identity)
    '{"its class": {"its name": "dynsys.models.classics.LinearFlow"}, "matrix": [[-1]]}'
    """
    return json.dumps(_brief(_node(identity, (), {}), ROOM))


def read(text: str) -> Json:
    """What was told, from its text.

    Raises
    ------
    InvalidInputError
        For any other text.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    raise unreadable(text)


def unreadable(text: str) -> InvalidInputError:
    """The error for what was not told by `told`."""
    return InvalidInputError(
        f"a run says by JSON what it was of, got system = {text!r:.100}: if you know that it was of this system, leave "
        "that out, attrs.evolve(end, system='')"
    )


def equations_told(kind: str, equations: Mapping[str, Any], helpers: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how equations move, by name, however they were spaced: of a lattice as a digest."""
    texts = {name: str(side).replace(" ", "").replace("^", "**") for name, side in {**helpers, **equations}.items()}
    found = {KIND: kind, COMPONENTS: [*equations], EQUATIONS: texts}
    if sum(map(len, texts.values())) <= LONG:
        return found
    return {KIND: kind, EQUATIONS: f"{len(equations)} of them, {digest(json.dumps(found))}"}


def _node(value: Any, within: tuple[int, ...], done: dict[int, Json]) -> Json:
    """A value as JSON: a dictionary is a mapping by names, or says what it is.

    `within` says of what it is a part, and `done` has the functions that were told: several may call the same.
    """
    match value:
        case None | bool():
            return value
        case str():
            text = str.__str__(value)
            return text if len(text) <= SHORT else {LENGTH: len(text), DIGEST: digest(text)}
        case np.generic():
            return _node(value.item(), within, done)
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                return repr(float(value))
            return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
        case complex():
            return repr(value)
        case Number():
            return _node(float(value), within, done)  # type: ignore[arg-type]
        case bytes():
            return {LENGTH: len(value), DIGEST: digest(value)}
        case np.ndarray():
            return _array(value)
    if id(value) in within or len(within) > DEEPEST:
        return {UNSEEN: "a part within parts"}
    below = functools.partial(_node, within=(*within, id(value)), done=done)
    match value:
        case type():
            return _of_code(*of_class(value), below)
        case Identified():
            return below(value.identity)
        case Mapping():
            return {str(name): below(part) for name, part in value.items()}
        case list() | tuple():
            return _array(np.array(value)) if len(value) > FEW and _numbers(value) else [below(part) for part in value]
        case range():
            return below([value.start, value.stop, value.step])
        case set() | frozenset():
            return sorted(map(below, value), key=json.dumps)
        case partial(func=function, args=args, keywords=keywords):
            node = below(function)
            return {**({"of": node} if UNSEEN in node else node), **below(_named(function, args) | keywords)}
        case np.ufunc() | BuiltinFunctionType():
            return {NAME: value.__name__}
    if inspect.ismethod(value):
        return {**below(value.__func__), "self": below(value.__self__)}
    function = bare(value)
    if isinstance(function, FunctionType):
        if id(function) in done:  # told in full before
            return done[id(function)]
        head, parts = of_function(function)
        done[id(function)] = head
        return _of_code(head, parts, below)
    return _object(value, below)


def _of_code(head: Mapping[str, str], parts: Mapping[str, Any], below: Any) -> Json:
    return {**head, **{name: below(part) for name, part in parts.items()}}


def _named(function: Any, args: Sequence[Any]) -> dict[str, Any]:
    """Bound values by the names of the arguments. None stands for what is given in a call."""
    names = argument_names(function)
    further = {"args": list(args[len(names) :])} if len(args) > len(names) else {}
    return {name: value for name, value in zip(names, args, strict=False) if value is not None} | further


def _object(value: Any, below: Any) -> Json:
    kind = type(value)
    torch: Any = sys.modules.get("torch")  # not loaded, there are none
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return _array((value.float() if value.dtype == torch.bfloat16 else value).numpy())
    if torch is not None and isinstance(value, torch.nn.Module):
        return below({CLASS: kind, "text": repr(value), **value.state_dict()})
    if package_of(kind) == "sympy":
        return below(str(value))
    if package_of(kind) == "pandas" and "index" in dir(kind):
        return below(_table(value))
    if of_a_library(kind) and "__array__" in dir(kind):  # of xarray
        return _array(np.asarray(value))
    if attrs.has(kind) or package_of(kind) == "dynsys" or holds_numbers(kind) or not goes_by_name(kind):
        return below(parts_of(value))
    return {UNSEEN: kind.__qualname__}


def _table(table: Any) -> dict[str, Any]:
    """Columns of a table of pandas by name, or the one of a series, with the labels of its rows."""
    columns = {str(name): table[name] for name in table} if table.ndim == 2 else {"values": table}
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    texts = {name: part.astype(str) if part.dtype.kind == "O" else part for name, part in arrays.items()}
    return {"labels": np.asarray(table.index).astype(str), **texts}


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float | np.number) for value in values)


def _array(array: np.ndarray) -> Json:
    """An array as nested lists if it is small, else by its shape and a digest of its numbers."""
    kind = array.dtype.kind
    if has_a_mask(array) or kind not in "biufcSU":
        return {UNSEEN: f"array of {array.dtype}"}
    if kind not in "SU" and array.size <= FEW:
        return _node(array.tolist(), (), {})
    exact = kind in "bf" or (kind in "iu" and array.max(initial=0) < 2**53 and array.min(initial=0) > -(2**53))
    flat, found = np.ravel(array), hashlib.sha256()
    for i in range(0, array.size, PIECE):
        piece = flat[i : i + PIECE].astype("<f8" if exact else array.dtype.newbyteorder("<"))
        found.update((piece + 0.0 if exact else piece).tobytes())  # there is one zero
    return {SHAPE: list(array.shape), DIGEST: found.hexdigest()[:16]}


def _brief(node: Json, room: int) -> Json:
    text = json.dumps(node)
    if len(text) <= max(room, LEAST):
        return node
    if not isinstance(node, dict):
        return {LENGTH: len(node), DIGEST: digest(text)}
    if len(node) * LEAST <= room:
        return {name: _brief(part, room // len(node)) for name, part in node.items()}
    head = {name: _brief(node[name], SHORT) for name in (CLASS, NAME, CODE, PYTHON) if name in node}
    return {**head, REST: {LENGTH: len(node), DIGEST: digest(text)}}
