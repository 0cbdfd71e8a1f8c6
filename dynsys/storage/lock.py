"""The lock of a store: one process at a time writes it, and only where nothing is of others."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dynsys.errors import StoreError
from dynsys.storage.documents import COPY, LOCK, ROOT, own_place, read_header, read_json
from dynsys.storage.files import is_leftover

_held: set[TextIO] = set()  # by this process; a child that is forked meanwhile must not hold them, too


def _let_go() -> None:
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a store, which one process at a time can do; the folder is made if there is none.

    Raises
    ------
    StoreError
        If another process writes the store, or the folder holds something else.
    """
    import fcntl

    lock = path / LOCK
    if os.path.lexists(path) and not (path.is_dir() and holds_store(path)):
        raise StoreError(f"{path} exists and is no store of an ensemble: choose another name")
    if os.path.lexists(lock) and not is_lock(lock):
        raise StoreError(f"{lock} is not the lock of a store, which has this name: move it away")
    own_place(path, lock).parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(lock, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            raise StoreError(f"{path} is being written by {holder}: wait, or stop it") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)


def holds_store(path: Path) -> bool:
    """Whether a folder holds a store, or what a process left that was killed before its store had a header.

    That is nothing, a lock, descriptions of arrays, and half-written files; whatever else there is belongs to others.
    """
    if any((path / name).is_file() for name in (ROOT, COPY)):
        return read_header(path)[0] is not None or (path / COPY).is_file()
    files = (each for each in path.rglob("*") if each.is_symlink() or not each.is_dir())
    return all(is_leftover(each) or _is_begun(path, each) for each in files)


def _is_begun(path: Path, file: Path) -> bool:
    """Whether a file is the lock of a store, or the description of an array of one."""
    if file == path / LOCK:
        return is_lock(file)
    if file.is_symlink() or file.name != ROOT or file.parent.parent != path:
        return False
    try:
        found = read_json(file)
        return found["node_type"] == "array" and "crc32c" in [codec["name"] for codec in found["codecs"]]
    except (ValueError, TypeError, KeyError, OSError):
        return False


def is_lock(file: Path) -> bool:
    """Whether a file is the lock of a store: empty, or naming the process that holds it."""
    if file.is_symlink() or not file.is_file():
        return False
    content = file.read_bytes()[:1000] if file.stat().st_size < 1000 else b"no"
    return content == b"" or re.fullmatch(rb"process \d+ on .*", content) is not None
