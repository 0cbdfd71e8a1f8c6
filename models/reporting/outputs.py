"""What a command writes into a folder, and may write anew: only what is as the command left it.

A page in Markdown lists, in a comment that is not shown, the files that were written with it, and a digest of each and
of itself. By this list a later call knows its own files from those of the user, of other commands, and from those that
the user has changed since: these are never replaced or deleted.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import attrs

from dynsys import InvalidInputError
from dynsys.storage.files import unlike_a_file, write_whole

LIST = re.compile(
    r"<!-- Written by dynsys ([\w-]+), which writes anew what is still as listed:\n(.*?)-->\n\n", re.DOTALL
)
LINE = re.compile(r"([0-9a-f]{20})  (\S.*)")
Listed = dict[str, set[str]]  # digests of a file, by its path from the folder of the page; one, or two while it changes


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


@attrs.frozen
class Outputs:
    """The page of a command, and the files beside it.

    Attributes
    ----------
    page : Path
        Such as REPORT.md.
    command : str
        Name of the command.
    """

    page: Path
    command: str

    def check(self) -> None:
        """Refuse a page that this command did not write: before it computes anything.

        Raises
        ------
        InvalidInputError
            With what is there instead.
        """
        self.listed()

    def listed(self) -> Listed | None:
        """The files of an earlier call with their digests, also those that are gone; None if there is no page."""
        if not os.path.lexists(self.page):
            return None
        reason = unlike_a_file(self.page)
        text = "" if reason else self.page.read_text(encoding="utf-8", errors="replace")
        found = LIST.search(text)
        if found is None and f"\nMade by `dynsys {self.command}" in text:
            return {}  # of a version that made no lists
        if found is None:
            self._refuse(reason or f"was not written by dynsys {self.command}")
        elif found[1] != self.command:
            self._refuse(f"belongs to another study, of dynsys {found[1]}")
        listed: Listed = {}
        for digest, name in LINE.findall(found[2]) if found else ():
            if not (PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts):
                listed.setdefault(name, set()).add(digest)
        return listed

    def complete(self) -> bool:
        """Whether the page and all files of an earlier call are there."""
        listed = self.listed()
        return listed is not None and listed != {} and all(os.path.lexists(self.page.parent / name) for name in listed)

    def write(self, lines: Iterable[str], made: str, files: Path) -> Path:
        """Write the page, which ends in `made`, and all files of a folder, in the place of those of an earlier call.

        What an earlier call wrote and this one does not is deleted. All files are compared before one is written.

        Raises
        ------
        InvalidInputError
            If one of them exists and is not as this command left it; then nothing is written.
        """
        folder, new = self.page.parent, _contents(files)
        before = self.listed() or {}
        page = self._page(lines, made, {name: {_digest(content)} for name, content in new.items()})
        if os.path.lexists(self.page) and not self._is_ours(self.page.name, before, page.encode()):
            self._refuse(f"was changed after dynsys {self.command} wrote it, or is of an earlier version")
        self._refuse_blocked(new)
        for name, content in new.items():
            if os.path.lexists(folder / name) and not self._is_ours(name, before, content):
                self._refuse(f"is not as dynsys {self.command} left it", folder / name)
        both = {name: {_digest(content)} | before.get(name, set()) for name, content in new.items()}
        write_whole(self.page, self._page(lines, made, before | both))  # a kill from here on leaves nothing unlisted
        self._put(new)
        for name in before.keys() - new.keys() - {self.page.name}:
            if os.path.lexists(folder / name) and self._is_ours(name, before):
                (folder / name).unlink()
        write_whole(self.page, page)
        return self.page

    def add(self, lines: Iterable[str], made: str, files: Path) -> list[Path]:
        """Write what is missing of the page and of the files of a folder; what is there is left as it is.

        Returns
        -------
        left : list of Path
            What is there, differs, and is not known to be of an earlier call.
        """
        folder, new = self.page.parent, _contents(files)
        before = self.listed()
        self._refuse_blocked(new)
        if before is None:
            write_whole(self.page, self._page(lines, made, {name: {_digest(content)} for name, content in new.items()}))
        there = {name: content for name, content in new.items() if os.path.lexists(folder / name)}
        self._put({name: content for name, content in new.items() if name not in there})
        return [
            folder / name
            for name, content in there.items()
            if name not in (before or {}) and not self._is_ours(name, {}, content)
        ]

    def _refuse_blocked(self, names: Iterable[str]) -> None:
        for folder in {(self.page.parent / name).parent for name in names}:
            if os.path.lexists(folder) and not folder.is_dir():
                self._refuse("is no folder", folder)

    def _put(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            path = self.page.parent / name
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, content)

    def _is_ours(self, name: str, listed: Listed, content: bytes | None = None) -> bool:
        """Whether a file that is there may be replaced: a plain one, as listed, or just what is to be written."""
        path = self.page.parent / name
        if unlike_a_file(path):
            return False
        found = path.read_bytes()
        if found == content:
            return True
        if path == self.page:
            found = LIST.sub("", found.decode(errors="replace")).encode()
        return _digest(found) in listed.get(name, ())

    def _page(self, lines: Iterable[str], made: str, listed: Mapping[str, Iterable[str]]) -> str:
        text = "\n".join(lines).rstrip("\n") + "\n"
        own = {self.page.name: {_digest(f"{text}\n{made}\n".encode())}}
        entries = "".join(f"{d}  {name}\n" for name, ds in sorted({**listed, **own}.items()) for d in sorted(ds))
        head = f"<!-- Written by dynsys {self.command}, which writes anew what is still as listed:"
        return f"{text}\n{head}\n{entries}-->\n\n{made}\n"

    def _refuse(self, reason: str, path: Path | None = None) -> None:
        raise InvalidInputError(
            f"{path or self.page} {reason}, and is not overwritten: move it away and run the same command again, or "
            "choose another folder"
        )


def _contents(folder: Path) -> dict[str, bytes]:
    """All files in a folder, by their paths from it."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }
