"""The lock of a store: one process at a time writes it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dynsys.errors import StoreError
from dynsys.passes.status import STATUS
from dynsys.storage.store import COPY

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
