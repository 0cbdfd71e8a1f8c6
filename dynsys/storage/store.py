"""A labelled dataset on disk that grows block by block of members: Zarr with checksums, one writer, atomic commits.

    runs.zarr/zarr.json          attributes of the dataset; among them the header: definition, versions, layout
    runs.zarr/NAME/zarr.json     a variable, in chunks of one block of members each; those without members in one chunk
    runs.zarr/NAME/c/0/3         the chunk of block 3, with its checksum, not compressed: its size is known beforehand
    runs.zarr/status/            the chunk of `status` is written last: with it a block is committed
    runs.zarr/status/header.json a copy of the header; beside it the lock
    runs.zarr/status/block.3.json     the checksums of the chunks of block 3, which belong together, and what members
                                 that failed said; shared.json: those of variables without members

Everything is JSON and numbers: opening a store runs nothing that is in it.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np

from dynsys.errors import StoreError
from dynsys.passes.status import FAILED, STATUS
from dynsys.storage.before import data_in_todays_words
from dynsys.storage.documents import (
    ROOT,
    array_in,
    documents,
    own_place,
    read_header,
    read_json,
    write_documents,
    write_in,
    wrong_documents,
)
from dynsys.storage.files import is_leftover
from dynsys.storage.header import Header, sealed, unsealed
from dynsys.storage.record import Record

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


@attrs.frozen(eq=False)
class Store:
    """A store that exists."""

    path: Path
    header: Header
    arrays: dict[str, Any]  # zarr.Array

    @classmethod
    def create(cls, path: Path, header: Header, data: xarray.Dataset) -> Self:
        """Make a store with the layout of a block, whose variables without members are written; its members are not."""
        described = documents(header)
        root = {ROOT: described.pop(ROOT)}
        write_documents(path, described)
        store = cls(path, header, _arrays(path, header))
        store.share(data)
        write_documents(path, root)  # from here on there is a store
        return store

    @classmethod
    def open(cls, path: Path, *, whole: bool = True) -> Self:
        """The store in a folder, if all its files are there; their checksums are verified when they are read.

        Not `whole`: chunks of members may be missing or cut short, if all that describes them is right.

        Raises
        ------
        StoreError
            If the folder holds no store, or naming what is damaged.
        """
        header, damaged = read_header(path)
        if header is None:
            what = f"its header is damaged ({'; '.join(damaged)})" if damaged else f"it lacks {ROOT}"
            raise StoreError(f"{path} is no store of an ensemble: {what}")
        damaged += wrong_documents(path, header)
        store = None if damaged else cls(path, header, _arrays(path, header))
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
        header, damaged = read_header(path)
        if header is None and damaged:
            raise StoreError(f"{path}: both copies of its header are damaged ({'; '.join(damaged)})")
        for leftover in filter(is_leftover, path.rglob("*.partial")):
            leftover.unlink()
        if header is None:
            return None, []
        wrong = wrong_documents(path, header)
        write_documents(path, wrong)
        store = cls(path, header, _arrays(path, header))
        return store, [*wrong] if any(map(store._committed, range(header.blocks))) else []  # else it was being made

    def check(self, read: bool = True) -> tuple[list[int], list[str]]:
        """The blocks that are finished, and the files of committed blocks that are missing, cut short or, read, wrong.

        If a variable without members is damaged, a block is counted as not finished, which brings it anew.
        """
        by_member, finished, damaged = self.header.by_member, [], []
        for block in filter(self._committed, range(self.header.blocks)):
            wrong = self._wrong(block, by_member, read) or self._wrong_failures(block, read)
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
        return self._wrong(None, self.header.shared, read)

    def _committed(self, block: int) -> bool:
        return os.path.lexists(self._chunk(STATUS, block))  # a link that leads nowhere is no block that is to come

    def _wrong(self, block: int | None, names: Sequence[str], read: bool) -> list[str]:
        """The record of a block (None: of what members share) or those of its chunks that are damaged, and how."""
        record = None
        if self.header.bound and names:
            try:
                record = self._record(block, names)
            except Exception as problem:  # whatever stands there instead
                return [f"{self._record_file(block).relative_to(self.path)} ({problem or type(problem).__name__})"]
        files = {name: f"{name}/{self.header.variables[name].file(block or 0)}" for name in names}
        found = {name: self._problem(name, block or 0, read, record) for name in names}
        return [f"{files[name]} ({problem})" for name, problem in found.items() if problem]

    def _record(self, block: int | None, names: Sequence[str]) -> Record:
        return Record.of_json(read_json(self._record_file(block)), self.identity, block, names)

    def _wrong_failures(self, block: int, read: bool) -> list[str]:
        """The file of a block that says why members failed, if it is damaged, or missing though some did."""
        file = self._record_file(block)
        if self.header.bound or not read or not (file.exists() or (self.values(STATUS, block) == FAILED).any()):
            return []
        try:
            unsealed(read_json(file))
        except (ValueError, TypeError, KeyError, OSError) as problem:
            return [f"{STATUS}/{file.name} ({problem})"]
        return []

    def _problem(self, name: str, block: int, read: bool, record: Record | None) -> str:
        """What is wrong with the chunk of a block; empty if nothing is."""
        variable = self.header.variables[name]
        chunk = self._chunk(name, block)
        if not chunk.is_file():
            return "missing"
        size, count = chunk.stat().st_size, math.prod(variable.chunk(self.header.block))
        right = size >= 4 * count if variable.dtype == "str" else size == count * np.dtype(variable.dtype).itemsize + 4
        if not right:
            return f"cut short or too long: {size} bytes"
        elsewhere = record is not None and not record.holds(name, chunk)
        try:
            _ = (read or elsewhere) and self.values(name, block)
        except Exception as problem:  # whatever a codec says of bytes that are not its own
            if "checksum" in str(problem):
                return "checksum" if read else ""  # whoever reads it is told so
            return f"{type(problem).__name__}: {problem}"
        return "not the one that was written there" if elsewhere else ""

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
        for block in filter(self._committed, range(self.header.blocks)):
            file = self._record_file(block)
            try:
                if self.header.bound or file.exists():
                    said = read_json(file)
                    found |= {int(member): str(text) for member, text in unsealed(said)["failures"].items()}
            except Exception as problem:  # whatever stands there instead
                raise StoreError(f"{file} is damaged: {problem}. Run the study again to mend it") from None
        return dict(sorted(found.items()))

    def commit(self, block: int, data: xarray.Dataset, failures: Mapping[int, str]) -> None:
        """Write a block; what it says about its status comes last, and makes it valid."""
        self.withdraw(block)
        names = self.header.by_member
        chunks = {name: self._encoded(name, block, data[name].values) for name in names}
        if self.header.bound:
            self._write(self._record_file(block), json.dumps(Record.of(self.identity, block, chunks, failures).json()))
        elif failures:
            said = {"failures": {str(member): text for member, text in failures.items()}}
            self._write(self._record_file(block), json.dumps(sealed(said)))
        for name, content in chunks.items():
            self._write(self._chunk(name, block), content)

    def withdraw(self, block: int) -> None:
        """Make a block one that is not finished."""
        for file in (*(self._chunk(name, block) for name in reversed(self.header.by_member)), self._record_file(block)):
            own_place(self.path, file).unlink(missing_ok=True)

    def _chunk(self, name: str, block: int) -> Path:
        return self.path / name / self.header.variables[name].file(block)

    def _record_file(self, block: int | None) -> Path:
        name = "shared" if block is None else f"{'block' if self.header.bound else 'failures'}.{block}"
        return self.path / STATUS / f"{name}.json"

    def _encoded(self, name: str, block: int, values: Array) -> bytes:
        """The chunk with the values of a variable for the members of a block."""
        import zarr

        variable, memory = self.header.variables[name], dict[str, Any]()
        with zarr.config.set({"array.write_empty_chunks": True}):  # a block of NaN is a block
            array = array_in(memory, name, variable, self.header.block)
        array[variable.region(self.header.members_of(block))] = values
        content: bytes = memory[f"{name}/{variable.file(block)}"].to_bytes()
        return content

    def _write(self, file: Path, content: str | bytes) -> None:
        write_in(self.path, file, content)

    def share(self, data: xarray.Dataset) -> list[str]:
        """Write the variables without members, if any is damaged; else the names of those that have other values."""
        names = self.header.shared
        if not self.check_shared():
            return [name for name in names if not same(self.values(name, 0), data[name].values)]
        chunks = {name: self._encoded(name, 0, data[name].values) for name in names}
        if self.header.bound:
            self._write(self._record_file(None), json.dumps(Record.of(self.identity, None, chunks, {}).json()))
        for name, content in chunks.items():
            self._write(self._chunk(name, 0), content)
        return []

    @cached_property
    def identity(self) -> str:
        """A digest of the header: what tells this store from others."""
        digest: str = self.header.json()["sha256"]
        return digest

    def dataset(self) -> xarray.Dataset:
        """The dataset as it is now, in today's words: numbers are read from disk when needed."""
        return data_in_todays_words(self.stored(), self.header.definition)

    def stored(self) -> xarray.Dataset:
        """The same in the words in which the store was begun."""
        import xarray

        data = xarray.open_zarr(self.path, chunks=None, consolidated=True, zarr_format=3, decode_cf=False)
        data.attrs = self.header.attributes | {"definition": json.dumps(self.header.definition)}
        data = data.set_coords([name for name, each in self.header.variables.items() if each.coordinate])
        return data[[*self.header.variables]]


def same(first: Array, second: Array) -> bool:
    """Whether two arrays of one layout have the same values, to the bit."""
    text = second.dtype.kind in "UT"
    return bool((first == second).all()) if text else first.astype(second.dtype).tobytes() == second.tobytes()


def _arrays(path: Path, header: Header) -> dict[str, Any]:
    import zarr

    return {name: zarr.open_array(path / name, mode="r", zarr_format=3) for name in header.variables}
