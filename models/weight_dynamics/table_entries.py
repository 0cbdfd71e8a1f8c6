"""The entries of a table: numbers, or an error with the cause that one can be told by."""

from __future__ import annotations

import math
import re
from array import array
from functools import partial
from pathlib import Path

import attrs
import numpy as np

from dynsys import InvalidInputError

Array = np.ndarray

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|", " ": "blanks"}
DECIMAL_COMMA = re.compile(r"\s*[+-]?(\d+),(\d+)([eE][+-]?\d+)?\s*")
MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "."}


def looks_like_a_number(entry: str, separator: str) -> bool:
    """Whether an entry is a number, perhaps with a decimal comma."""
    try:
        float(entry)
    except ValueError:
        return separator != "," and DECIMAL_COMMA.fullmatch(entry) is not None
    return True


@attrs.define(eq=False)
class Numbers:
    """The numbers of a table, row by row; what their commas mean is known when all have been seen."""

    path: Path
    separator: str
    names: list[str]
    trailing: int  # separators at the ends of lines
    values: array[float] = attrs.field(factory=partial(array, "d"))
    comma: tuple[int, str] | None = None  # the first number with a comma, and its line
    point: tuple[int, str] | None = None
    decimal: bool = False  # whether a comma was seen that separates no thousands

    def add(self, line: int, row: list[str]) -> None:
        """Take a row, which ends in a line of the file."""
        if 0 < len(row) - len(self.names) <= self.trailing and not any(
            entry.strip() for entry in row[len(self.names) :]
        ):
            row = row[: len(self.names)]
        if len(row) != len(self.names):
            raise InvalidInputError(
                f"{self.path}, line {line} must have {len(self.names)} entries as the header has, got {len(row)}"
                f"{self._why_ragged(row)}"
            )
        for name, entry in zip(self.names, row, strict=True):
            number = self._number(line, entry)
            if number is None or not math.isfinite(number):
                kind = "number" if number is None else "finite number"
                raise InvalidInputError(
                    f"{self.path}, line {line}, column {name[:40]}: {entry[:40]!r} is not a {kind}: {_why(entry)}"
                )
            self.values.append(number)

    def _number(self, line: int, entry: str) -> float | None:
        text = entry.replace("_", "?")  # float() takes 1_000, a table should not
        if "," in entry and self.separator != "," and (found := DECIMAL_COMMA.fullmatch(entry)):
            whole, part = found[1], found[2]
            self.comma = self.comma or (line, entry)
            self.decimal = self.decimal or len(part) != 3 or len(whole) > 3 or whole.startswith("0")
            text = entry.replace(",", ".")
        elif "." in entry:
            self.point = self.point or (line, entry)
        try:
            return float(text)
        except ValueError:
            return None

    def _why_ragged(self, row: list[str]) -> str:
        if row[0].lstrip().startswith("#"):
            return ": comments are not read: remove the line"
        if self.names[0] == "#" and len(row) == len(self.names) - 1:
            return ": remove the # before the names"
        if any("\n" in entry for entry in row):
            return ": a quote may not be closed"
        if len(row) == len(self.names) + 1 and not row[-1].strip():
            return ": remove the separator at its end, or add one to the header"
        digits = all(entry.strip().lstrip("+-").isdigit() for entry in row)
        if self.separator == "," and len(self.names) < len(row) <= 2 * len(self.names) and digits:
            return ": if these are decimal commas, write points, or separate the columns by semicolons"
        if len(row) == 1 and any(mark in row[0].strip() for mark in SEPARATORS if mark != self.separator):
            return f": the header is separated by {SEPARATORS.get(self.separator, self.separator)}, this line is not"
        return ""

    def table(self) -> Array:
        """All of them, (rows, columns)."""
        if self.comma and self.point:
            (line, entry), (other, number) = self.comma, self.point
            raise InvalidInputError(
                f"{self.path}: {entry!r} in line {line} has a comma, {number!r} in line {other} a point, and only one "
                "of them can be decimal: write all numbers with a decimal point, and thousands without a separator"
            )
        if self.comma and not self.decimal:
            line, entry = self.comma
            raise InvalidInputError(
                f"{self.path}: the comma of {entry!r} in line {line}, and every other, may be a decimal one or "
                "separate thousands: write numbers with a decimal point, and thousands without a separator"
            )
        return np.array(self.values).reshape(-1, len(self.names))


def _why(entry: str) -> str:
    """The remedy of an entry that is no finite number, with the cause where it can be told."""
    text = entry.strip()
    if text.lower() in MISSING:
        return "a missing value: fill it in, or leave out the row"
    if "\n" in text:
        return "a quote may not be closed"
    if re.fullmatch(r"#[A-Z/0]+[!?]", text):
        return "an error of a spreadsheet, where a value is missing"
    if text.startswith("#"):
        return "comments are not read: remove the line"
    if "\u2212" in text:
        return "U+2212 MINUS SIGN: write -"
    if re.fullmatch(r"[+-]?\d{1,3}([\s'\u2019_.,]\d{3})+([.,]\d*)?", text):
        return "write thousands without a separator, and decimals with a point"
    if "," in text:
        return "write decimals with a point"
    if looks_like_a_number(text.replace("_", "?"), ","):
        return "give a finite one, or leave out the row"
    return "write it as a number, or leave out its column"
