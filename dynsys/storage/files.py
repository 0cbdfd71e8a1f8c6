"""Files that are whole or absent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PARTIAL = "*.partial"  # names of files that are being written, or were when a process was killed; Zarr's are such, too


def write_whole(path: Path, content: str | bytes, *, private: bool = False, replace: bool = True) -> None:
    """Write a file so that another process, or one that comes after a crash, sees all of it or nothing.

    `private`: nobody else may read it. Not `replace`: a file that has the name meanwhile stays.
    """
    with written_whole(path, private=private, replace=replace) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_whole(path: Path, *, private: bool = False, replace: bool = True) -> Iterator[BinaryIO]:
    """An open file that takes its name when all of it is written, in the place of one that has it."""
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
