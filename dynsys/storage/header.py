"""The header of a store: how a labelled dataset is laid out in blocks of members, and what it is of, as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, whole_number
from dynsys.passes.status import MEMBER, STATUS
from dynsys.storage.before import in_todays_words
from dynsys.storage.description import Json, describe
from dynsys.storage.escaping import plain_name

if TYPE_CHECKING:
    import xarray

FORMAT, BEFORE = "dynsys ensemble, format 3", "dynsys ensemble, format 1"  # of today, and of 0.1.0
UNBOUND = ("dynsys ensemble, format 2", BEFORE)  # without records, which bind chunks to their place
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
            raise InvalidInputError(f"a value of type {self.dtype} cannot be stored: choose among {', '.join(DTYPES)}")
        if len(self.dims) != len(self.shape) or not all(isinstance(name, str) for name in self.dims):
            raise InvalidInputError(f"dimensions {self.dims} do not fit the shape {self.shape}")
        for name in self.dims:
            plain_name("dimension", name)
        if len(set(self.dims)) < len(self.dims):
            raise InvalidInputError(f"dimensions must differ, got {self.dims}")
        for length in self.shape:
            whole_number("the length of a dimension", length, 1)
        if not isinstance(self.coordinate, bool):
            raise InvalidInputError(f"coordinate must be True or False, got {self.coordinate!r:.100}")
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
    format: str = FORMAT

    def __attrs_post_init__(self) -> None:
        if self.format not in (FORMAT, *UNBOUND):
            raise InvalidInputError(f"it is not of {FORMAT}")
        for name in ("definition", "versions", "attributes"):
            if not isinstance(getattr(self, name), dict):
                raise InvalidInputError(f"{name} must be a mapping, got {getattr(self, name)!r:.100}")
            _shallow(getattr(self, name))
        for variable in self.variables.values():
            _shallow(variable.attributes)
        whole_number("members", self.members, 1)
        whole_number("block", self.block, 1)
        if self.blocks > MOST_BLOCKS:
            raise InvalidInputError(
                f"{self.members} members in blocks of {self.block} are more than {MOST_BLOCKS} blocks: enlarge block"
            )
        lengths = {MEMBER: self.members}
        for name, variable in self.variables.items():
            plain_name("variable", name)
            if not re.fullmatch(r"\w[\w-]*", name):
                raise InvalidInputError(f"a variable needs a name of letters, digits, _ and -, got {name!r}")
            for dimension, length in zip(variable.dims, variable.shape, strict=True):
                if lengths.setdefault(dimension, length) != length:
                    raise InvalidInputError(f"{name} must have {lengths[dimension]} of {dimension!r}, got {length}")
            if name in lengths and variable.dims != (name,):
                raise InvalidInputError(f"{name} is a dimension, and must be a variable of it alone")
        if STATUS not in self.variables or not self.variables[STATUS].by_member:
            raise InvalidInputError("the variable 'status' is missing, or not given for each member")

    @property
    def definition_today(self) -> Json:
        """The definition as it would be written today."""
        return in_todays_words(self.definition) if self.format == BEFORE else self.definition

    @property
    def bound(self) -> bool:
        """Whether records bind chunks to their place."""
        return self.format == FORMAT

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.members // self.block)

    def members_of(self, block: int) -> slice:
        """The members of a block."""
        return slice(block * self.block, min((block + 1) * self.block, self.members))

    @property
    def by_member(self) -> list[str]:
        """Names of the variables that have a value for each member, in the order in which they are committed."""
        names = [name for name, variable in self.variables.items() if variable.by_member]
        return sorted(names, key=lambda name: name == STATUS)  # which makes the others valid

    @property
    def shared(self) -> list[str]:
        """Names of the others."""
        return [name for name, variable in self.variables.items() if not variable.by_member]

    @property
    def bytes_of_block(self) -> int:
        """Bytes that a block takes on disk."""
        chunks = (self.variables[name] for name in self.by_member)
        return sum(math.prod(each.chunk(self.block)) * np.dtype(each.dtype).itemsize + 4 for each in chunks)

    def json(self) -> Json:
        """As JSON, with a digest of itself."""
        content = {"format": self.format} | attrs.asdict(self)
        return sealed(content)

    @classmethod
    def of_json(cls, content: Json) -> Self:
        """The header that `json` gave, or InvalidInputError."""
        try:
            found = unsealed(content)
            found["variables"] = {name: Variable(**given) for name, given in found["variables"].items()}
            return cls(**found)
        except InvalidInputError:
            raise
        except Exception as problem:  # whatever stands there instead of a header
            raise InvalidInputError(f"it holds no header, or a part of one is missing or wrong: {problem}") from None


def _shallow(content: Json, depth: int = 0) -> None:
    """Refuse JSON that is nested so deep that walking through it might not end well."""
    if depth > DEEPEST:
        raise InvalidInputError(f"more than {DEEPEST} nested parts")
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            _shallow(part, depth + 1)


def digest(content: Json) -> str:
    """A fingerprint of JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sealed(content: dict[str, Json]) -> dict[str, Json]:
    """With a digest of the rest."""
    return content | {"sha256": digest(content)}


def unsealed(content: dict[str, Json]) -> dict[str, Json]:
    """The rest, if the digest is right."""
    found = dict(content)
    if found.pop("sha256") != digest(found):
        raise InvalidInputError("its checksum is wrong")
    return found


def layout(data: xarray.Dataset, members: int) -> dict[str, Variable]:
    """The variables of a dataset of `members` members of which `data` is a block, sorted: any block gives the same."""
    found = {}
    for name, values in sorted(data.variables.items(), key=lambda item: str(item[0])):
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
