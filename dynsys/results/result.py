"""The base of what algorithms return: read-only arrays, and a file that keeps them without loss and without pickle.

Axes are member, time, dim, k; the member axis is there exactly when x0 had one. Exponent, rate and vector j belong
together: nothing is ever sorted or squeezed.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args, get_type_hints
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import attrs
import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from dynsys.errors import InvalidInputError, need, real_array, shown
from dynsys.storage.before import result_in_todays_words
from dynsys.storage.description import public_name

if TYPE_CHECKING:
    import xarray

Array = np.ndarray
PER_TIME = {"units": "1/time"}
FORMAT = "dynsys result, format 1"
MEMORY_LIMIT = 4 * 2**30
LONGEST_HEADER = 2**20  # bytes; some numbers and words


def _read_only(name: str, value: Any, dtype: type) -> Array:
    if isinstance(value, np.ndarray) and value.dtype == dtype and not value.flags.writeable and not np.ma.isMA(value):
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
        """Write the record to `path` (.npz): arrays as they are, the rest as JSON. Refuses to overwrite."""
        path = Path(path)
        if path.exists():
            raise InvalidInputError(f"{path} exists already: choose another name, or remove it first")
        arrays: dict[str, Array] = {}
        header = {"format": FORMAT, "class": public_name(type(self)), "values": _flatten(self, arrays)}
        with path.open("wb") as file:
            np.savez_compressed(file, **{"header": np.array(json.dumps(header)), **arrays})  # type: ignore[arg-type]
        return path

    @classmethod
    def load(cls, path: str | Path, memory_limit: float = MEMORY_LIMIT) -> Self:
        """Read a record that `save` wrote. Nothing in the file is ever executed.

        A small file can hold huge arrays, and rightly so where they are zero or NaN. The sizes that it states are those
        that are read, and are compared with `memory_limit` (bytes) before anything is.
        """
        try:
            if Path(path).exists() and not Path(path).is_file():
                raise ValueError("it is no regular file")  # a pipe may never end
            with ZipFile(path) as file:
                members = file.infolist()
                size = sum(member.file_size for member in members)
                if size > memory_limit:
                    raise ValueError(
                        f"it holds {size / 2**30:.3g} GiB, more than memory_limit = {memory_limit / 2**30:.3g} GiB: "
                        "raise memory_limit if you trust the file"
                    )
                arrays = {member.filename.removesuffix(".npy"): _read(file, member) for member in members}
            text = arrays.pop("header")
            if text.nbytes > LONGEST_HEADER:
                raise ValueError(f"its header has {text.nbytes} bytes, more than {LONGEST_HEADER}")
            header = json.loads(str(text))
            if header["format"] != FORMAT or result_in_todays_words(header["class"]) != public_name(cls):
                raise ValueError(f"it holds a {header['class']} of {header['format']}")
            return _restore(cls, header["values"], arrays)
        except FileNotFoundError:
            raise
        except Exception as problem:
            reason = f"it lacks {problem}" if isinstance(problem, KeyError) else problem
            raise InvalidInputError(f"{path} does not hold a {cls.__name__} of {FORMAT}: {reason}") from problem


def _read(file: ZipFile, member: ZipInfo) -> Array:
    """An array of numbers or text, if it is as large as the directory of the file says."""
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # others are unpacked without a bound
        raise ValueError(f"{member.filename} is compressed by another method")
    with file.open(member) as stream:
        header = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}[read_magic(stream)]
        shape, fortran, dtype = header(stream)
        count = math.prod(shape)
        if dtype.kind not in "biufU" or stream.tell() + count * dtype.itemsize != member.file_size:
            raise ValueError(f"{member.filename} is said to hold {dtype} of shape {shape}")
        array: Array = np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
    return array.reshape(shape, order="F" if fortran else "C")


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
        if not isinstance(found[field.name], int | float if kind is float else kind):
            raise TypeError(f"{key} is {found[field.name]!r:.50}")
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
