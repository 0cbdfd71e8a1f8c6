"""The base of what algorithms return: read-only arrays, and a file that keeps them without loss and without pickle.

Axes are member, time, dim, k; the member axis is there exactly when x0 had one. Exponent, rate and vector j belong
together: nothing is ever sorted or squeezed.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args, get_type_hints

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, has_a_mask, need, real_array, shown
from dynsys.results.axes import check_axes
from dynsys.storage.archive import read_archive
from dynsys.storage.before import result_in_todays_words
from dynsys.storage.description import public_name
from dynsys.storage.files import new_file

if TYPE_CHECKING:
    import xarray

Array = np.ndarray
PER_TIME = {"units": "1/time"}
FORMAT = "dynsys result, format 1"
MEMORY_LIMIT = 4 * 2**30
LONGEST_HEADER = 2**20  # bytes; some numbers and words


def _read_only(name: str, value: Any, dtype: type) -> Array:
    if isinstance(value, np.ndarray) and value.dtype == dtype and not value.flags.writeable and not has_a_mask(value):
        return value  # handed over
    if dtype is not float and np.asarray(value).dtype.kind not in "biu":
        raise InvalidInputError(f"{name} must be an array of whole numbers, got {shown(value)}")
    # a copy: later changes elsewhere cannot reach the record
    array: Array = real_array(name, value) if dtype is float else np.array(value, dtype=dtype)
    array.flags.writeable = False
    return array


def handed_over(array: Array) -> Array:
    """An array that its maker gives to a record: read-only from here on, and not copied."""
    array.flags.writeable = False
    return array


def readonly(dtype: type = float, default: Any = attrs.NOTHING) -> Any:
    """A field that holds a read-only array, of float64 unless said; the default stands in for files that lack it."""
    convert: Any = attrs.Converter(lambda value, field: _read_only(field.name, value, dtype), takes_field=True)
    return attrs.field(default=default, converter=convert)


@attrs.frozen(eq=False)
class Result(ABC):
    """A record that can be saved and loaded without loss and without pickle."""

    @abstractmethod
    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset, of an ensemble with the dimension member and the status of each."""

    def save(self, path: str | Path) -> Path:
        """Write the record to `path` (.npz): arrays as they are, the rest as JSON. What exists is never overwritten."""
        path = Path(path)
        arrays: dict[str, Array] = {}
        header = {"format": FORMAT, "class": public_name(type(self)), "values": _flatten(self, arrays)}
        with new_file(path) as file:
            np.savez_compressed(file, **{"header": np.array(json.dumps(header)), **arrays})  # type: ignore[arg-type]
        return path

    @classmethod
    def load(cls, path: str | Path, memory_limit: float = MEMORY_LIMIT) -> Self:
        """Read a record that `save` wrote. Nothing in the file is ever executed.

        A small file can hold huge arrays, and rightly so where they are zero or NaN. The sizes that it states are those
        that are read, and are compared with `memory_limit` (bytes) before anything is.
        """
        try:
            header, arrays = read_archive(path, memory_limit, LONGEST_HEADER)
            if header["format"] != FORMAT or result_in_todays_words(header["class"]) != public_name(cls):
                raise ValueError(f"it holds a {header['class']} of {header['format']}")
            found: Self = _restore(cls, header["values"], arrays)
            check_axes(found, arrays)
            return found
        except FileNotFoundError:
            raise
        except Exception as problem:
            reason = f"it lacks {problem}" if isinstance(problem, KeyError) else problem
            raise InvalidInputError(f"{path} does not hold a {cls.__name__} of {FORMAT}: {reason!s:.500}") from problem


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
        elif field.name not in values and field.default is not attrs.NOTHING:
            continue  # a file of an earlier version, before there was such a field
        elif isinstance(values[field.name], dict):
            kind = next(t for t in (types[field.name], *get_args(types[field.name])) if attrs.has(t))
            found[field.name] = _restore(kind, values[field.name], arrays, key + ".")
        else:
            found[field.name] = values[field.name]
        kind = types[field.name]
        value = found[field.name]
        if not isinstance(value, int | float if kind is float else kind) or (kind is not bool and value is True):
            raise TypeError(f"{key} is {value!r:.50}")
    return cls(**found)


def labelled(result: Any, variables: dict[str, Any], coords: dict[str, Any], **attributes: Any) -> xarray.Dataset:
    """A dataset of name -> (dims, values), for ensembles with the member dimension first, and the status of each."""
    need("xarray")
    import xarray

    end = result.end
    member = () if end.single else ("member",)
    status = {} if end.single else {"status": (member, end.status), "stopped": (member, end.stopped)}
    data = {name: ((*member, *dims), *rest) for name, (dims, *rest) in variables.items()}
    fields = {field.name for field in attrs.fields(type(result))}
    steps = {name: getattr(result, name) for name in ("dt", "steps_per_interval", "stride") if name in fields}
    return xarray.Dataset(data | status, coords, attributes | steps)
