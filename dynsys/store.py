"""A labelled dataset on disk that grows block by block of members: Zarr with checksums, one writer, atomic commits.

    runs.zarr/zarr.json          attributes of the dataset; among them the header: definition, versions, layout
    runs.zarr/NAME/zarr.json     a variable, in chunks of one block of members each; those without members in one chunk
    runs.zarr/NAME/c/0/3         the chunk of block 3, with its checksum, not compressed: its size is known beforehand
    runs.zarr/status/            the chunk of `status` is written last: with it a block is committed
    runs.zarr/status/header.json a copy of the header; beside it the lock, and what members that failed said

Everything is JSON and numbers: opening a store runs nothing that is in it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import attrs
import numpy as np

from dynsys.blocks import MEMBER, STATUS
from dynsys.description import Json, describe
from dynsys.errors import InvalidInputError, StoreError, whole_number
from dynsys.files import PARTIAL, write_whole

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

FORMAT = "dynsys ensemble, format 1"
ROOT, COPY = "zarr.json", "status/header.json"
HEADER = "dynsys_ensemble"  # the attribute that holds it
UNIMPORTANT = ("storage_transformers",)  # what another version of Zarr may write otherwise
MOST_BLOCKS, DEEPEST = 1_000_000, 100
DTYPES = ("float64", "float32", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool", "str")


def fill_value(dtype: str) -> Any:
    """What stands where nothing is known: NaN, -1, or 0 where there is no -1."""
    kind = np.dtype(dtype).kind
    return {"f": math.nan, "i": -1, "u": 0, "b": False, "U": ""}[kind]


@attrs.frozen
class Variable:
    """How a variable of the dataset is laid out."""

    dims: tuple[str, ...] = attrs.field(converter=tuple[str, ...])
    shape: tuple[int, ...] = attrs.field(converter=tuple[int, ...])
    dtype: str
    attributes: dict[str, Json]

    def __attrs_post_init__(self) -> None:
        if self.dtype not in DTYPES or (self.by_member and self.dtype == "str"):
            raise InvalidInputError(
                f"a variable of type {self.dtype} cannot be stored; known ones: {', '.join(DTYPES)}"
            )
        if len(self.dims) != len(self.shape) or not all(isinstance(name, str) for name in self.dims):
            raise InvalidInputError(f"dimensions {self.dims} do not fit the shape {self.shape}")
        for length in self.shape:
            whole_number("the length of a dimension", length, 1)
        if not isinstance(self.attributes, dict) or "_FillValue" in self.attributes:
            raise InvalidInputError("attributes must be a mapping without _FillValue, which the store says itself")

    @property
    def by_member(self) -> bool:
        """Whether it has a value for each member."""
        return MEMBER in self.dims

    def chunk(self, block: int) -> tuple[int, ...]:
        """Shape of a chunk."""
        return tuple(block if name == MEMBER else n for name, n in zip(self.dims, self.shape, strict=True))

    def file(self, block: int) -> str:
        """Name of the chunk of a block, relative to the folder of the variable."""
        return "/".join(["c", *(str(block if name == MEMBER else 0) for name in self.dims)])

    def region(self, members: slice) -> tuple[slice, ...]:
        """The place of some members."""
        return tuple(members if name == MEMBER else slice(None) for name in self.dims)


@attrs.frozen
class Header:
    """What a store holds, but for the numbers."""

    definition: Json
    versions: dict[str, str]
    members: int
    block: int
    variables: dict[str, Variable]
    coordinates: tuple[str, ...] = attrs.field(converter=tuple[str, ...])
    attributes: dict[str, Json]

    def __attrs_post_init__(self) -> None:
        for name in ("definition", "versions", "attributes"):
            if not isinstance(getattr(self, name), dict):
                raise InvalidInputError(f"{name} must be a mapping, got {getattr(self, name)!r:.100}")
            _shallow(getattr(self, name))
        whole_number("members", self.members, 1)
        whole_number("block", self.block, 1)
        if self.blocks > MOST_BLOCKS:
            raise InvalidInputError(
                f"{self.members} members in blocks of {self.block} are more than {MOST_BLOCKS} blocks: enlarge `block`"
            )
        for name, variable in self.variables.items():
            if not re.fullmatch(r"\w[\w -]*", name):
                raise InvalidInputError(f"a variable needs a name of letters, digits and _, got {name!r}")
            lengths = dict(zip(variable.dims, variable.shape, strict=True))
            if lengths.get(MEMBER, self.members) != self.members:
                raise InvalidInputError(f"{name} has {lengths[MEMBER]} members, not {self.members}")
        if not set(self.coordinates) <= set(self.variables):
            raise InvalidInputError(f"coordinates {self.coordinates} are not all among the variables")
        if STATUS not in self.variables or not self.variables[STATUS].by_member:
            raise InvalidInputError("the variable `status` is missing, or not given for each member")

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.members // self.block)

    def members_of(self, block: int) -> slice:
        """The members of a block."""
        return slice(block * self.block, min((block + 1) * self.block, self.members))

    @property
    def bytes_of_block(self) -> int:
        """Bytes that a block takes on the disk."""
        by_member = [variable for variable in self.variables.values() if variable.by_member]
        return sum(math.prod(each.chunk(self.block)) * np.dtype(each.dtype).itemsize + 4 for each in by_member)

    def json(self) -> Json:
        """As JSON, with a digest of itself."""
        content = {"format": FORMAT} | attrs.asdict(self)
        return content | {"sha256": _digest(content)}

    @classmethod
    def of_json(cls, content: Json) -> Self:
        """The header that `json` gave, or InvalidInputError."""
        try:
            found = dict(content)
            digest = found.pop("sha256")
            if found.pop("format") != FORMAT:
                raise InvalidInputError(f"it is not of {FORMAT}")
            if digest != _digest({"format": FORMAT} | found):
                raise InvalidInputError("its checksum is wrong")
            found["variables"] = {name: Variable(**given) for name, given in found["variables"].items()}
            return cls(**found)
        except InvalidInputError:
            raise
        except Exception as problem:  # whatever stands there instead of a header
            raise InvalidInputError(f"it holds no header ({type(problem).__name__}: {problem})") from None


def _shallow(content: Json, depth: int = 0) -> None:
    """Refuse JSON that is nested so deep that walking through it might not end well."""
    if depth > DEEPEST:
        raise InvalidInputError(f"more than {DEEPEST} nested parts")
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            _shallow(part, depth + 1)


def _digest(content: Json) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a store, which one process at a time can do; the folder is made if there is none.

    Raises
    ------
    StoreError
        If another process writes the store, or the folder holds something else.
    """
    import fcntl

    lock = path / STATUS / "lock"
    if path.exists() and not lock.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(f"{path} exists and is no store of an ensemble: choose another name")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StoreError(
                f"{path} is being written by {file.read() or 'another process'}: wait, or stop it"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


@attrs.frozen(eq=False)
class Store:
    """A store that exists."""

    path: Path
    header: Header
    arrays: dict[str, Any]  # zarr.Array

    @classmethod
    def create(cls, path: Path, header: Header, data: xarray.Dataset) -> Self:
        """Make a store with the layout of a block, whose variables without members are written; its members are not."""
        documents = _documents(header)
        root = {ROOT: documents.pop(ROOT)}
        _write_documents(path, documents)
        store = cls(path, header, _arrays(path, header, "r+"))
        store._write_common(data)
        _write_documents(path, root)  # from here on there is a store
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store in a folder, whose descriptions are all as they were written.

        Raises
        ------
        StoreError
            If the folder holds no store, or naming what is damaged.
        """
        header, damaged = _read_header(path)
        if header is None:
            what = f"its header is damaged ({'; '.join(damaged)})" if damaged else f"it lacks {ROOT}"
            raise StoreError(f"{path} is no store of an ensemble: {what}")
        store, damaged = None, damaged + _wrong_documents(path, header)
        if not damaged:
            store = cls(path, header, _arrays(path, header, "r"))
            damaged = store._common_problems()  # xarray will read some of them at once
        if store is None or damaged:
            raise StoreError(f"{path} is damaged: {'; '.join(damaged)}. Run the study again to mend it")
        return store

    @classmethod
    def mend(cls, path: Path) -> tuple[Self | None, list[str]]:
        """The same for the one who holds the lock: damaged descriptions are written anew, and named.

        None if the folder is empty, but for what an earlier call left before it had a first block.
        """
        for partial in path.rglob(PARTIAL):
            partial.unlink()
        header, damaged = _read_header(path)
        if header is None:
            if damaged:
                raise StoreError(f"{path}: both copies of its header are damaged ({'; '.join(damaged)})")
            return None, []
        wrong = _wrong_documents(path, header)
        documents = _documents(header)
        _write_documents(path, {name: documents[name] for name in wrong})
        return cls(path, header, _arrays(path, header, "r+")), wrong

    def check(self) -> tuple[list[int], list[str]]:
        """The blocks that are finished, and the files of committed blocks that are damaged.

        A damaged variable without members is counted with block 0, which brings it anew.
        """
        finished, damaged = [], []
        by_member = [name for name, variable in self.header.variables.items() if variable.by_member]
        for block in range(self.header.blocks):
            if not (self.path / STATUS / self.header.variables[STATUS].file(block)).exists():
                continue
            wrong = self._problems(by_member, block) + (self._common_problems() if block == 0 else [])
            damaged += wrong
            if not wrong:
                finished.append(block)
        return finished, damaged

    def _common_problems(self) -> list[str]:
        return self._problems([name for name, each in self.header.variables.items() if not each.by_member], 0)

    def _problems(self, names: Iterable[str], block: int) -> list[str]:
        files = {name: f"{name}/{self.header.variables[name].file(block)}" for name in names}
        return [f"{files[name]} ({problem})" for name in files if (problem := self._problem(name, block))]

    def _problem(self, name: str, block: int) -> str:
        """What is wrong with the chunk of a block; empty if nothing is."""
        variable = self.header.variables[name]
        chunk = self.path / name / variable.file(block)
        if not chunk.is_file():
            return "missing"
        size, count = chunk.stat().st_size, math.prod(variable.chunk(self.header.block))
        right = size >= 4 * count if variable.dtype == "str" else size == count * np.dtype(variable.dtype).itemsize + 4
        if not right:
            return f"cut short or too long: {size} bytes"
        try:
            self.values(name, block)
        except Exception as problem:  # whatever a codec says of bytes that are not its own
            return "checksum" if "checksum" in str(problem) else f"{type(problem).__name__}: {problem}"
        return ""

    def values(self, name: str, block: int) -> Array:
        """The values of a variable for the members of a block."""
        variable = self.header.variables[name]
        return np.asarray(self.arrays[name][variable.region(self.header.members_of(block))])

    def statuses(self, blocks: Iterable[int]) -> Counter[int]:
        """How many members of some blocks have each status."""
        counts: Counter[int] = Counter()
        for block in blocks:
            codes, numbers = np.unique(self.values(STATUS, block), return_counts=True)
            counts.update(dict(zip(codes.tolist(), numbers.tolist(), strict=True)))
        return counts

    def failures(self) -> dict[int, str]:
        """What members said that raised an error."""
        found: dict[int, str] = {}
        for file in sorted((self.path / STATUS).glob("failures.*.json")):
            try:
                found |= {int(member): str(text) for member, text in json.loads(file.read_bytes()).items()}
            except (ValueError, AttributeError, RecursionError) as problem:
                raise StoreError(f"{file} is damaged: {problem}") from None
        return dict(sorted(found.items()))

    def commit(self, block: int, data: xarray.Dataset, failures: Mapping[int, str]) -> None:
        """Write a block; what it says about its status comes last, and makes it valid."""
        self.withdraw(block)
        if block == 0:
            self._write_common(data)
        if failures:
            write_whole(self._failures(block), json.dumps({str(member): text for member, text in failures.items()}))
        for name in sorted(self.arrays, key=lambda name: name == STATUS):
            variable = self.header.variables[name]
            if variable.by_member:
                self.arrays[name][variable.region(self.header.members_of(block))] = data[name].values

    def withdraw(self, block: int) -> None:
        """Make a block one that is not finished. Its damaged chunks go: Zarr would read what it half overwrites."""
        for name in sorted(self.arrays, key=lambda name: name != STATUS):
            variable = self.header.variables[name]
            if variable.by_member or block == 0:
                (self.path / name / variable.file(block)).unlink(missing_ok=True)
        self._failures(block).unlink(missing_ok=True)

    def _failures(self, block: int) -> Path:
        return self.path / STATUS / f"failures.{block}.json"

    def _write_common(self, data: xarray.Dataset) -> None:
        for name, variable in self.header.variables.items():
            if not variable.by_member:
                self.arrays[name][...] = data[name].values

    def holds(self, name: str, values: Array) -> bool:
        """Whether the values of a variable without members are these, to the bit, or cannot be read."""
        if self._problem(name, 0):
            return True
        mine = self.values(name, 0)
        return (
            mine.astype(values.dtype).tobytes() == values.tobytes()
            if values.dtype.kind != "U"
            else (mine == values).all()
        )

    def dataset(self) -> xarray.Dataset:
        """The dataset as it is now: numbers are read from the disk when they are asked for."""
        import xarray

        data = xarray.open_zarr(self.path, chunks=None, consolidated=True, zarr_format=3, decode_cf=False)
        data.attrs = self.header.attributes | {"definition": json.dumps(self.header.definition)}
        data = data.set_coords(self.header.coordinates)
        return data[[name for name in self.header.variables if name in data.data_vars]]


def layout(data: xarray.Dataset, members: int) -> dict[str, Variable]:
    """The variables of a dataset of `members` members of which `data` is a block."""
    return {
        str(name): Variable(
            dims=tuple(map(str, values.dims)),
            shape=tuple(members if d == MEMBER else n for d, n in zip(values.dims, values.shape, strict=True)),
            dtype="str" if values.dtype.kind in "UT" else values.dtype.name,
            attributes=describe(values.attrs),
        )
        for name, values in data.variables.items()
    }


def _documents(header: Header) -> dict[str, Json]:
    """The files that describe a store, by name."""
    import zarr
    from zarr.codecs import Crc32cCodec

    memory: dict[str, Any] = {}
    for name, variable in header.variables.items():
        zarr.create_array(
            zarr.storage.MemoryStore(memory),
            name=name,
            shape=variable.shape,
            chunks=variable.chunk(header.block),
            dtype=str if variable.dtype == "str" else np.dtype(variable.dtype).newbyteorder("<"),
            compressors=[Crc32cCodec()],
            fill_value=fill_value(variable.dtype),
            attributes=variable.attributes,
            dimension_names=variable.dims,
            zarr_format=3,
        )
    documents = {name: json.loads(text.to_bytes()) for name, text in memory.items() if name != ROOT}
    described = json.loads(json.dumps(header.json()))  # tuples are lists in a file
    root = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": header.attributes | {"coordinates": " ".join(header.coordinates), HEADER: described},
        "consolidated_metadata": {  # where xarray looks first
            "kind": "inline",
            "must_understand": False,
            "metadata": {name: documents[f"{name}/{ROOT}"] for name in header.variables},
        },
    }
    return documents | {COPY: described, ROOT: root}


def _write_documents(path: Path, documents: dict[str, Json]) -> None:
    for name, document in documents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(path / name, json.dumps(document, indent=1))


def _read_json(path: Path) -> Json:
    """The content of a file of ours; ValueError if it is none."""
    try:
        return json.loads(path.read_bytes())
    except RecursionError as problem:
        raise ValueError(str(problem)) from None


def _read_header(path: Path) -> tuple[Header | None, list[str]]:
    """The header, from the first of its two copies that is right, and what is wrong with the copies that are there."""
    damaged, found = [], None
    for name, where in ((ROOT, ("attributes", HEADER)), (COPY, ())):
        if not (path / name).exists():
            continue
        try:
            content = _read_json(path / name)
            for key in where:
                content = content[key]
            found = found or Header.of_json(content)
        except (ValueError, TypeError, KeyError, OSError) as problem:
            damaged.append(f"{name}: {problem}")
    return found, damaged


def _wrong_documents(path: Path, header: Header) -> list[str]:
    """Names of the files that describe a store and are not as they should be."""
    wrong = []
    for name, document in _documents(header).items():
        try:
            found = _read_json(path / name)
            same = all(found[key] == document[key] for key in document if key not in UNIMPORTANT)
        except (ValueError, TypeError, KeyError, OSError):
            same = False
        if not same:
            wrong.append(name)
    return wrong


def _arrays(path: Path, header: Header, mode: Literal["r", "r+"]) -> dict[str, Any]:
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):  # a block of NaN is a block
        return {name: zarr.open_array(path / name, mode=mode, zarr_format=3) for name in header.variables}
