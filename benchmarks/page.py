"""The page of the documentation: what a section printed stands there between two marks, which readers do not see."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO


class _Both(StringIO):
    """What is printed, and a copy of it."""

    def __init__(self, copy: list[str]) -> None:
        super().__init__()
        self.copy, self.screen = copy, sys.stdout

    def write(self, text: str) -> int:
        """Print, and keep."""
        self.copy.append(text)
        return self.screen.write(text)

    def flush(self) -> None:
        """Show what was printed so far."""
        self.screen.flush()


@contextmanager
def printed() -> Iterator[list[str]]:
    """What is printed meanwhile, in pieces; it appears on the screen as well."""
    pieces: list[str] = []
    with redirect_stdout(_Both(pieces)):
        yield pieces


def with_section(page: str, name: str, text: str) -> str:
    """The page with other text between `<!-- NAME -->` and `<!-- /NAME -->`, but for the lines that name a figure."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page must have the lines {begin!r} and {end!r} once each")
    text = re.sub(r"^Figure: .*\n\n?", "", text, flags=re.MULTILINE).strip()
    head, tail = page[: page.index(begin)], page[page.index(end) :]
    return f"{head}{begin}\n{text}\n\n{tail}"
