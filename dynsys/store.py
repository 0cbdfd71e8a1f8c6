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
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO

import attrs
import numpy as np

from dynsys.blocks import FAILED, MEMBER, STATUS
from dynsys.description import Json, describe
from dynsys.errors import InvalidInputError, StoreError, whole_number
from dynsys.files import PARTIAL, write_whole

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

FORMAT = "dynsys ensemble, format 1"
ROOT, COPY = "zarr.json", "status/header.json"
HEADER = "dynsys_ensemble"  # the attribute that holds it
UNIMPORTANT: dict[str, Json] = {"storage_transformers": []}  # what another version of Zarr may leave out
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
    coordinate: bool = False

    def __attrs_post_init__(self) -> None:
        if self.dtype not in DTYPES or (self.by_member and self.dtype == "str"):
            raise InvalidInputError(f"a value of type {self.dtype} cannot be stored; known ones: {', '.join(DTYPES)}")
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
            if not re.fullmatch(r"\w[\w-]*", name):
                raise InvalidInputError(f"a variable needs a name of letters, digits, _ and -, got {name!r}")
            lengths = dict(zip(variable.dims, variable.shape, strict=True))
            if lengths.get(MEMBER, self.members) != self.members:
                raise InvalidInputError(f"{name} has {lengths[MEMBER]} members, not {self.members}")
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
        return _sealed(content)

    @classmethod
    def of_json(cls, content: Json) -> Self:
        """The header that `json` gave, or InvalidInputError."""
        try:
            found = _unsealed(content)
            if found.pop("format") != FORMAT:
                raise InvalidInputError(f"it is not of {FORMAT}")
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


def _sealed(content: dict[str, Json]) -> dict[str, Json]:
    """With a digest of the rest."""
    return content | {"sha256": _digest(content)}


def _unsealed(content: dict[str, Json]) -> dict[str, Json]:
    """The rest, if the digest is right."""
    found = dict(content)
    if found.pop("sha256") != _digest(found):
        raise InvalidInputError("its checksum is wrong")
    return found


_locks: set[TextIO] = set()  # those that this process holds; a child that is forked meanwhile must not hold them, too


def _let_locks_go() -> None:
    for file in _locks:
        file.close()
    _locks.clear()


os.register_at_fork(after_in_child=_let_locks_go)


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
    known = lock.exists() or (path / COPY).exists() or not path.exists()
    if not known and (not path.is_dir() or any(inside != lock.parent for inside in path.rglob("*"))):
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
        _locks.add(file)
        try:
            yield
        finally:
            _locks.discard(file)


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
        store.share(data)
        _write_documents(path, root)  # from here on there is a store
        return store

    @classmethod
    def open(cls, path: Path, *, whole: bool = True) -> Self:
        """The store in a folder, if all its files are there; their checksums are seen to when they are read.

        Not `whole`: chunks of members may be missing or cut short, if all that describes them is right.

        Raises
        ------
        StoreError
            If the folder holds no store, or naming what is damaged.
        """
        header, damaged = _read_header(path)
        if header is None:
            what = f"its header is damaged ({'; '.join(damaged)})" if damaged else f"it lacks {ROOT}"
            raise StoreError(f"{path} is no store of an ensemble: {what}")
        damaged += _wrong_documents(path, header)
        store = None if damaged else cls(path, header, _arrays(path, header, "r"))
        if store is not None:
            damaged += store.check(read=False)[1] if whole else store.check_shared(read=False)
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
        store = cls(path, header, _arrays(path, header, "r+"))
        return store, wrong if any(map(store._committed, range(header.blocks))) else []  # else it was being made

    def check(self, read: bool = True) -> tuple[list[int], list[str]]:
        """The blocks that are finished, and the files of committed blocks that are missing, cut short or, read, wrong.

        If a variable without members is damaged, a block is counted as not finished, which brings it anew.
        """
        by_member = [name for name, variable in self.header.variables.items() if variable.by_member]
        finished, damaged = [], []
        for block in filter(self._committed, range(self.header.blocks)):
            wrong = self._wrong(by_member, block, read) or self._wrong_failures(block, read)
            damaged += wrong
            if not wrong:
                finished.append(block)
        if damaged or finished or not read:
            shared = self.check_shared(read)
            damaged += shared
            bring = (block for block in finished if read and (self.values(STATUS, block) != FAILED).any())
            if shared and (found := next(bring, None)) is not None:
                finished.remove(found)
        return finished, damaged

    def check_shared(self, read: bool = True) -> list[str]:
        """The files of variables without members that are damaged."""
        return self._wrong([name for name, each in self.header.variables.items() if not each.by_member], 0, read)

    def _committed(self, block: int) -> bool:
        return (self.path / STATUS / self.header.variables[STATUS].file(block)).exists()

    def _wrong(self, names: Iterable[str], block: int, read: bool) -> list[str]:
        """The chunks of a block that are damaged, and how."""
        files = {name: f"{name}/{self.header.variables[name].file(block)}" for name in names}
        return [f"{file} ({problem})" for name, file in files.items() if (problem := self._problem(name, block, read))]

    def _wrong_failures(self, block: int, read: bool) -> list[str]:
        """The file of a block that says why members failed, if it is damaged, or missing though some did."""
        file = self._failures(block)
        if not read or not (file.exists() or (self.values(STATUS, block) == FAILED).any()):
            return []
        try:
            _unsealed(_read_json(file))
        except (ValueError, TypeError, KeyError, OSError) as problem:
            return [f"{STATUS}/{file.name} ({problem})"]
        return []

    def _problem(self, name: str, block: int, read: bool) -> str:
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
            _ = read and self.values(name, block)
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
        for file in (self.path / STATUS).glob("failures.*.json"):
            try:
                found |= {int(member): text for member, text in _unsealed(_read_json(file))["failures"].items()}
            except (ValueError, TypeError, KeyError) as problem:
                raise StoreError(f"{file} is damaged: {problem}. Run the study again to mend it") from None
        return dict(sorted(found.items()))

    def commit(self, block: int, data: xarray.Dataset, failures: Mapping[int, str]) -> None:
        """Write a block; what it says about its status comes last, and makes it valid."""
        self.withdraw(block)
        if failures:
            said = {"failures": {str(member): text for member, text in failures.items()}}
            write_whole(self._failures(block), json.dumps(_sealed(said)))
        for name in sorted(self.arrays, key=lambda name: name == STATUS):
            variable = self.header.variables[name]
            if variable.by_member:
                self.arrays[name][variable.region(self.header.members_of(block))] = data[name].values

    def withdraw(self, block: int) -> None:
        """Make a block one that is not finished. Its damaged chunks go: Zarr would read what it half overwrites."""
        for name in sorted(self.arrays, key=lambda name: name != STATUS):
            variable = self.header.variables[name]
            if variable.by_member:
                (self.path / name / variable.file(block)).unlink(missing_ok=True)
        self._failures(block).unlink(missing_ok=True)

    def _failures(self, block: int) -> Path:
        return self.path / STATUS / f"failures.{block}.json"

    def share(self, data: xarray.Dataset) -> list[str]:
        """Write the variables without members that are missing or damaged; names of those that have other values."""
        other = []
        for name, variable in self.header.variables.items():
            if variable.by_member:
                continue
            if self._problem(name, 0, read=True):
                self.arrays[name][...] = data[name].values
            elif not same(self.values(name, 0), data[name].values):
                other.append(name)
        return other

    def dataset(self) -> xarray.Dataset:
        """The dataset as it is now: numbers are read from the disk when they are asked for."""
        import xarray

        data = xarray.open_zarr(self.path, chunks=None, consolidated=True, zarr_format=3, decode_cf=False)
        data.attrs = self.header.attributes | {"definition": json.dumps(self.header.definition)}
        data = data.set_coords([name for name, each in self.header.variables.items() if each.coordinate])
        return data[[*self.header.variables]]


def same(first: Array, second: Array) -> bool:
    """Whether two arrays of one layout have the same values, to the bit."""
    if second.dtype.kind in "UT":
        return bool((first == second).all())
    return first.astype(second.dtype).tobytes() == second.tobytes()


def layout(data: xarray.Dataset, members: int) -> dict[str, Variable]:
    """The variables of a dataset of `members` members of which `data` is a block, sorted: any block gives the same."""
    found = {}
    for name, values in sorted(data.variables.items(), key=str):
        try:
            found[str(name)] = Variable(
                dims=tuple(map(str, values.dims)),
                shape=tuple(members if d == MEMBER else n for d, n in zip(values.dims, values.shape, strict=True)),
                dtype="str" if values.dtype.kind in "UT" else values.dtype.name,
                attributes=describe(values.attrs),
                coordinate=name in data.coords,
            )
        except InvalidInputError as problem:
            raise InvalidInputError(f"{name}: {problem}") from None
    return found


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
    further = [name for name, variable in header.variables.items() if variable.coordinate and name not in variable.dims]
    coordinates = {"coordinates": " ".join(further)} if further else {}  # as xarray and CF write it
    root = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": header.attributes | coordinates | {HEADER: described},
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
            right = UNIMPORTANT | _read_json(path / name) == UNIMPORTANT | document
        except (ValueError, TypeError, OSError):
            right = False
        if not right:
            wrong.append(name)
    return wrong


def _arrays(path: Path, header: Header, mode: Literal["r", "r+"]) -> dict[str, Any]:
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):  # a block of NaN is a block
        return {name: zarr.open_array(path / name, mode=mode, zarr_format=3) for name in header.variables}
