"""What binds chunks to their place: a record of a block, or of what all members share, beside them.

The checksum of a chunk tells whether its content is what was written, not whether it is the chunk that belongs there:
one of another block, variable or store has a right checksum, too. So a record names the store by the digest of its
header, the block, and the checksum of each of the chunks. It also holds what members said that failed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import attrs

from dynsys.errors import InvalidInputError
from dynsys.storage.description import Json
from dynsys.storage.header import sealed, unsealed

CHECKSUM = 4  # bytes, at the end of a chunk


@attrs.frozen
class Record:
    """The chunks of a block (None: those without members), by variable, and what members said that failed."""

    store: str
    block: int | None
    chunks: Mapping[str, str]
    failures: Mapping[str, str]

    @classmethod
    def of(cls, store: str, block: int | None, chunks: Mapping[str, bytes], failures: Mapping[int, str]) -> Self:
        """The record of chunks with this content."""
        checksums = {name: content[-CHECKSUM:].hex() for name, content in chunks.items()}
        return cls(store, block, checksums, {str(member): text for member, text in failures.items()})

    def json(self) -> Json:
        """As JSON, with a digest of itself."""
        return sealed(attrs.asdict(self))

    @classmethod
    def of_json(cls, content: Json, store: str, block: int | None, names: Iterable[str]) -> Self:
        """The record that `json` gave, if it is of this store, this block and these variables.

        Raises
        ------
        InvalidInputError, or whatever error JSON of another kind leads to
        """
        found = cls(**unsealed(content))
        if (found.store, found.block, set(found.chunks)) != (store, block, set(names)):
            raise InvalidInputError("it is of another store or block")
        return found

    def holds(self, name: str, chunk: Path) -> bool:
        """Whether a chunk ends with the checksum of the one that was written there."""
        with chunk.open("rb") as file:
            file.seek(-CHECKSUM, os.SEEK_END)
            return file.read().hex() == self.chunks[name]
