"""The base of what algorithms return: read-only arrays, and a file that keeps them without loss and without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self, get_args, get_type_hints

import attrs
import numpy as np

from dynsys.errors import InvalidInputError

Array = np.ndarray
FORMAT = "dynsys result, format 1"


def _read_only(value: Any, dtype: type) -> Array:
    if isinstance(value, np.ndarray) and value.dtype == dtype and not value.flags.writeable:
        return value  # handed over
    array: Array = np.array(value, dtype=dtype)  # a copy: later changes elsewhere cannot reach the record
    array.flags.writeable = False
    return array


def handed_over(array: Array) -> Array:
    """An array that its maker gives to a record: read-only from here on, and not copied."""
    array.flags.writeable = False
    return array


def readonly(dtype: type = float) -> Any:
    """A field that holds a read-only array, of float64 unless said."""
    return attrs.field(converter=lambda value: _read_only(value, dtype))


@attrs.frozen(eq=False)
class Result:
    """A record that can be saved and loaded without loss and without pickle."""

    def save(self, path: str | Path) -> Path:
        """Write the record to `path` (.npz): arrays as they are, the rest as JSON. Refuses to overwrite."""
        path = Path(path)
        if path.exists():
            raise InvalidInputError(f"{path} exists already; choose another name or remove it first")
        arrays: dict[str, Array] = {}
        header = {"format": FORMAT, "class": type(self).__name__, "values": _flatten(self, arrays)}
        with path.open("wb") as file:
            np.savez_compressed(file, **{"header": np.array(json.dumps(header)), **arrays})  # type: ignore[arg-type]
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a record that `save` wrote. Nothing in the file is ever executed."""
        try:
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                arrays = {name: file[name] for name in file.files if name != "header"}
            if header["format"] != FORMAT or header["class"] != cls.__name__:
                raise KeyError(header["class"])
            return _restore(cls, header["values"], arrays)
        except FileNotFoundError:
            raise
        except Exception as problem:
            raise InvalidInputError(
                f"{path} does not hold a {cls.__name__} of {FORMAT} ({type(problem).__name__}: {problem})"
            ) from problem


def _flatten(record: Any, arrays: dict[str, Array], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in attrs.fields(type(record)):
        value, key = getattr(record, field.name), prefix + field.name
        if isinstance(value, np.ndarray):
            arrays[key] = value
        elif attrs.has(type(value)):
            values[field.name] = _flatten(value, arrays, key + ".")
        else:
            values[field.name] = value
    return values


def _restore(cls: type, values: dict[str, Any], arrays: dict[str, Array], prefix: str = "") -> Any:
    types = get_type_hints(cls)
    found: dict[str, Any] = {}
    for field in attrs.fields(cls):
        key = prefix + field.name
        if key in arrays:
            found[field.name] = arrays[key]
        elif isinstance(values[field.name], dict):
            kind = next(t for t in (types[field.name], *get_args(types[field.name])) if attrs.has(t))
            found[field.name] = _restore(kind, values[field.name], arrays, key + ".")
        else:
            found[field.name] = values[field.name]
    return cls(**found)
