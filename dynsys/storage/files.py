"""Files that are whole or absent, and the one rule of what dynsys writes over.

What dynsys did not make is never replaced, emptied, written through or deleted.

- A path that the user gives for a result, a figure or an export must be free: `new_file`. Whatever has that name, be it
  a file of dynsys, a link to nowhere, a folder or a pipe, is refused with its name.
- A file that is meant to be written again and again (the checkpoint of a monitor, the pages of a study) is replaced if
  what stands in it says that dynsys wrote it, and if it is no link and not write-protected: `unlike_a_file`.
- In a store, which its header tells from other folders, only names that a store has are written and deleted. Files that
  a killed process left half written are known by their full names: `is_leftover`.
"""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dynsys.errors import InvalidInputError

# What is being written, or was when a process was killed, in a store: the name of one of its files (Zarr drops an
# ending), a random UUID of version 4 in hexadecimal digits, and `partial`.
LEFTOVER = re.compile(
    r"(zarr(\.json)?|header\.json|(failures|block)\.\d+\.json|shared\.json|c|\d+)"
    r"\.[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\.partial"
)


def write_whole(path: Path, content: str | bytes, *, private: bool = False, replace: bool = True) -> None:
    """Write a file so that another process, or one that comes after a crash, sees all of it or nothing.

    `private`: nobody else may read it. Not `replace`: a file that has the name meanwhile stays.
    """
    with written_whole(path, private=private, replace=replace) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_whole(path: Path, *, private: bool = False, replace: bool = True) -> Iterator[BinaryIO]:
    """An open file that takes its name when all of it is written, in the place of one that has it.

    Only for names that are known to be ours: see the rule above.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    mode = 0o600 if private else 0o666
    try:
        with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
        if replace:
            os.replace(partial, path)
        else:
            _take_free_name(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _take_free_name(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        os.replace(partial, path)
    partial.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """An open file with a name that nothing had; it is gone again if it could not be written.

    Raises
    ------
    InvalidInputError
        If something has the name, even a link that leads nowhere: it would be written through.
    """
    refuse_taken(path)
    try:
        file = path.open("xb")
    except FileExistsError:  # between the two lines above
        refuse_taken(path)
        raise
    try:
        with file:
            yield file
    except BaseException:
        path.unlink()
        raise


def refuse_taken(path: Path) -> None:
    """Refuse a path at which there is something, be it a link that leads nowhere."""
    if os.path.lexists(path):
        what = " (a link that leads nowhere)" if not path.exists() else ""
        raise InvalidInputError(f"{path} exists already{what}: choose another name, or remove it first")


def unlike_a_file(path: Path) -> str:
    """What keeps a file that is there from being replaced, in words; empty for a plain file that may be written."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "is a link"
    if not stat.S_ISREG(mode):
        return "is a folder" if stat.S_ISDIR(mode) else "is no regular file"
    return "" if mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) else "is write-protected"


def is_leftover(path: Path) -> bool:
    """Whether a file in a store is one that a killed process left half written, by its full name."""
    return LEFTOVER.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()
