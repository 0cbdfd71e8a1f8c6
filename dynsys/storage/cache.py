"""What was made once is kept for other processes: derived equations and compiled kernels, under a seal.

    ~/.cache/dynsys/dynsys.key        32 random bytes that nobody else may read
    ~/.cache/dynsys/KIND_NAME.kept    the seal of an entry, and what was made

A kernel is code, and is executed. So an entry counts only if its seal is right: HMAC-SHA256, with the key, over the
kind, over all that it was made from (source, versions, processor) and over what was made. Whatever is damaged, cut,
renamed, of another version or from elsewhere is made anew, and takes the place of what stood there. Nothing is kept in
a folder that others could write.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import attrs

from dynsys.errors import FallbackWarning, levels_up
from dynsys.storage.files import write_whole

FORMAT = b"dynsys kept 1\n"
KEY, KEY_BYTES, DIGEST_BYTES = "dynsys.key", 32, 32
HEAD = len(FORMAT) + 2 * DIGEST_BYTES
LARGEST = 2**30  # bytes; no entry is that large
ENTRY = re.compile(r"([a-z]+)_([0-9a-f]{32})\.kept")
LEFT = re.compile(r"(dynsys\.key|[a-z]+_[0-9a-f]{32}\.kept)\.[0-9a-f]{32}\.partial")  # by a process that was killed
BEING_WRITTEN = 600.0  # seconds; a file that has changed since may be that of a process that is writing it
BEFORE = re.compile(r"(dynsys|equations|vectors|dense|graph|sample)_[0-9a-f]{20}\.(py|json|.*\.(pyc|nbi|nbc))")  # 0.1.0
WINDOWS = sys.platform == "win32"


@attrs.frozen
class Cache:
    """A folder of one user, and the key that seals what is in it.

    Attributes
    ----------
    folder : Path or None
        None: nothing is kept.
    key : bytes
    """

    folder: Path | None
    key: bytes = attrs.field(default=b"", repr=False)

    def once(self, kind: str, made_from: str, make: Callable[[], bytes]) -> bytes:
        """What an earlier process made of the same, or what `make()` gives, which is kept.

        Parameters
        ----------
        kind : str
            The beginning of the name of the file: small letters.
        made_from : str
            All that the content depends on: source, versions, processor.
        make : function () -> bytes
        """
        found = self.read(kind, made_from)
        if found is None:
            found = make()
            self.keep(kind, made_from, found)
        return found

    def read(self, kind: str, made_from: str) -> bytes | None:
        """What was made of that, or None if it is not there as it was made."""
        if self.folder is None:
            return None
        origin = hashlib.sha256(made_from.encode()).digest()
        content = _own_file(self.folder / _name(kind, origin)) or b""
        return content[HEAD:] if self._right(kind, origin, content) else None

    def keep(self, kind: str, made_from: str, content: bytes) -> None:
        """Keep what was made; if that cannot be, one warning says so, and nothing else happens."""
        if self.folder is None:
            return
        origin = hashlib.sha256(made_from.encode()).digest()
        try:
            write_whole(self.folder / _name(kind, origin), self._head(kind, origin, content) + content, private=True)
        except OSError as problem:
            _say_once(self.folder, problem.strerror or str(problem))  # not the name, which is another every time

    def _head(self, kind: str, origin: bytes, content: bytes) -> bytes:
        seal = hmac.digest(self.key, b"\0".join([FORMAT, kind.encode(), origin, content]), "sha256")
        return FORMAT + origin + seal

    def _right(self, kind: str, origin: bytes, content: bytes) -> bool:
        return hmac.compare_digest(content[:HEAD], self._head(kind, origin, content[HEAD:]))

    def damaged(self) -> list[str]:
        """The names of entries whose seal is wrong: they will be made anew."""
        wrong = []
        for path in self.entries():
            content, (kind, _) = _own_file(path) or b"", path.name.split("_")
            origin = content[len(FORMAT) :][:DIGEST_BYTES]
            if not self._right(kind, origin, content) or path.name != _name(kind, origin):
                wrong.append(path.name)
        return wrong

    def entries(self) -> list[Path]:
        """The files of the entries."""
        return self._files(ENTRY)

    def remains(self) -> list[Path]:
        """Files of processes that were killed, and of earlier versions, which nobody reads any more."""
        left = [path for path in self._files(LEFT) if time.time() - _last_change(path) > BEING_WRITTEN]
        return [*left, *self._files(BEFORE), *self._files(BEFORE, "__pycache__")]

    def _files(self, pattern: re.Pattern[str], inside: str = ".") -> list[Path]:
        if self.folder is None or not (self.folder / inside).is_dir():
            return []
        named = (path for path in (self.folder / inside).iterdir() if pattern.fullmatch(path.name))
        return sorted(path for path in named if path.is_symlink() or not path.is_dir())

    def empty(self) -> None:
        """Remove all entries and remains. What dynsys did not make stays, as does the key."""
        for path in [*self.entries(), *self.remains()]:
            path.unlink(missing_ok=True)


def size(paths: Iterable[Path]) -> int:
    """Bytes of files together, but for those that another process has removed meanwhile."""
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def _last_change(path: Path) -> float:
    """When a file was last written; now, if another process has removed it."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return time.time()


def _name(kind: str, origin: bytes) -> str:
    return f"{kind}_{origin.hex()[:32]}.kept"


@cache
def kept() -> Cache:
    """The cache of this process: in $DYNSYS_CACHE, or in dynsys of the user's caches ($XDG_CACHE_HOME or ~/.cache).

    The key lies in the latter, or, where there is no home or it takes none, beside the entries. One warning says if
    nothing can be kept.
    """
    wanted = os.environ.get("DYNSYS_CACHE")
    try:
        if not wanted:
            home = _private(_user_folder(), ours=True)
            return Cache(home, _key(home))
        folder = _private(_from_home(wanted).absolute(), ours=False)
        try:
            return Cache(folder, _key(_private(_user_folder(), ours=True)))
        except OSError:  # no home, or one that is full or cannot be written
            return Cache(folder, _key_of_place(folder))
    except OSError as problem:
        _say_once(wanted or "the user's cache folder", _cause(problem))
        return Cache(None)


def _from_home(name: str) -> Path:
    """The path of that name, of which no shell has replaced a ~ in front: a setting of a service, os.environ."""
    path = Path(name)
    return _home().joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def _cause(problem: OSError) -> str:
    """What could not be done, without the number of the error."""
    return f"{problem.strerror}: {problem.filename}" if problem.filename and problem.strerror else str(problem)


def _user_folder() -> Path:
    """Where the user's cache is; OSError if there is no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given and Path(given).is_absolute():  # anything else is to be ignored, as its specification says
        return Path(given) / "dynsys"
    return _home() / ".cache" / "dynsys"


def _home() -> Path:
    home = _named_home()
    if not home.is_absolute() or not home.is_dir():
        raise NotADirectoryError(f"there is no home folder {home}")
    return home


def _named_home() -> Path:
    if WINDOWS or os.environ.get("HOME"):
        return Path.home()
    import pwd  # to which an empty HOME is as good as none, unlike to pathlib

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise FileNotFoundError("no home folder is known") from None


def _private(folder: Path, *, ours: bool) -> Path:
    """A folder that belongs to the user, that nobody else can write; made if there is none.

    One of `ours`, by its name, is made private where others could write it, and is not made where another user is at
    home: a ~/.cache that root leaves there (`sudo -E`) would be closed to that user.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    if not WINDOWS and ours and missing:
        home = missing[-1].parent
        if home.stat().st_uid not in (0, os.geteuid()):
            raise PermissionError(f"{home} belongs to another user (uid {home.stat().st_uid})")
    for each in [*reversed(missing), folder]:
        each.mkdir(mode=0o700, exist_ok=True)
    if not WINDOWS:  # where folders of users are their own
        found = folder.stat()
        for owner in (found.st_uid, folder.lstat().st_uid):  # of the folder, and of a link that leads there
            if owner != os.geteuid():
                raise PermissionError(f"{folder} belongs to another user (uid {owner})")
        if found.st_mode & 0o022 and ours:
            folder.chmod(0o700)
        elif found.st_mode & 0o022:
            raise PermissionError(f"others can write {folder} (mode {stat.S_IMODE(found.st_mode):o})")
    return folder


def _key(folder: Path) -> bytes:
    """The key in a folder; a new one if there is none, or no whole one that is the user's alone."""
    path = folder / KEY
    found = _own_file(path, secret=True)
    if found is not None and len(found) == KEY_BYTES:
        return found
    for replace in (False, True):  # that of another process, which was first, is right
        write_whole(path, os.urandom(KEY_BYTES), private=True, replace=replace)
        found = _own_file(path, secret=True)
        if found is not None and len(found) == KEY_BYTES:
            return found
    raise PermissionError(f"{path} cannot be made a key that is the user's alone")


def _key_of_place(folder: Path) -> bytes:
    """What seals entries that have the key beside them: an archive that holds both seals for another folder."""
    return hmac.digest(_key(folder), str(folder.stat().st_ino).encode(), "sha256")


def _own_file(path: Path, *, secret: bool = False) -> bytes | None:
    """The content of a regular file of the user's own, no link, which others cannot write (secret: nor read)."""
    flags = 0 if WINDOWS else os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would wait for ever
    try:
        with open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
                return None
            if not WINDOWS and (found.st_uid != os.geteuid() or found.st_mode & (0o077 if secret else 0o022)):
                return None
            return file.read()
    except OSError:
        return None


@cache
def _say_once(folder: Path | str, problem: str) -> None:
    warnings.warn(
        f"what is derived and compiled cannot be kept in {folder} ({problem}), and is made again in every process. Set "
        "DYNSYS_CACHE to a folder of your own with space that nobody else can write.",
        FallbackWarning,
        stacklevel=levels_up(),
    )
