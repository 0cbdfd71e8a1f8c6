"""The data: a table of one's own, as spreadsheets and programs write them, read right or refused with the cause."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dynsys import InvalidInputError
from dynsys.models.weight_dynamics.table_entries import SEPARATORS, Numbers, looks_like_a_number
from dynsys.storage.escaping import plain_name

Array = np.ndarray

SAMPLE = 2**16  # characters by which the separator is told
NO_TEXT = {  # how files begin that are no text in UTF-8, and what to do
    b"\x1f\x8b": "compressed by gzip: unpack it first (gunzip)",
    b"BZh": "compressed by bzip2: unpack it first (bunzip2)",
    b"\xfd7zXZ": "compressed by xz: unpack it first (unxz)",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard: unpack it first (unzstd)",
    b"PK\x03\x04": "a workbook of a spreadsheet, or another ZIP archive: save its sheet as CSV (UTF-8), or unpack it",
    b"\xd0\xcf\x11\xe0": "a workbook of an old spreadsheet: save its sheet as CSV (UTF-8)",
    b"\xff\xfe\x00\x00": "text in UTF-32: save it as UTF-8",
    b"\x00\x00\xfe\xff": "text in UTF-32: save it as UTF-8",
    b"\xff\xfe": "text in UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "text in UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"PAR1": "a Parquet file: write it as CSV",
    b"\x89HDF": "an HDF5 file: write its numbers as CSV",
    b"CDF": "a NetCDF file: write its numbers as CSV",
    b"\x93NUMPY": "an array of NumPy: write it by numpy.savetxt with delimiter=',', header=... and comments=''",
    b"%PDF": "a PDF document: save its table as CSV",
}


def read_table(path: str | Path, target: str) -> tuple[Array, Array, list[str]]:
    """Inputs, target and input names from a table in a text file with a header; the inputs are standardised.

    Columns are separated by commas, semicolons, tabs, | or blanks, whichever gives the column of the target, and rows
    of one length. Where they are not separated by commas, numbers may have a decimal comma. A separator at the end of
    every line is none.

    Parameters
    ----------
    path : path of a text file (UTF-8) with a header line and finite numbers
    target : name of the column to be predicted; all others are inputs

    Returns
    -------
    X : ndarray, shape (rows, columns - 1)
        Inputs, shifted and scaled to mean 0 and standard deviation 1, as the inputs of the paper's task have.
    y : ndarray, shape (rows,)
        The target, unchanged.
    names : list of str

    Raises
    ------
    InvalidInputError
        For a missing or empty file or one that is no text, ragged rows, entries that are no finite numbers, or might be
        either of two, an unknown target, names with invisible characters, or constant columns: with the place and,
        where it can be told, the cause.
    """
    path = Path(path)
    names, table = _read(path, unicodedata.normalize("NFC", target))
    constant = [name for name, column in zip(names, table.T, strict=True) if column.min() == column.max()]
    if constant:
        raise InvalidInputError(f"{path}: column(s) {_listed(constant)} are constant and carry nothing: remove them")
    place = names.index(unicodedata.normalize("NFC", target))
    X = np.delete(table, place, axis=1)
    X = np.ldexp(X, -np.frexp(np.abs(X).max(axis=0))[1])  # to order 1, so that mean and deviation cannot overflow
    del names[place]
    return (X - X.mean(axis=0)) / X.std(axis=0), table[:, place], names


def _read(path: Path, target: str) -> tuple[list[str], Array]:
    """Names and numbers; rows become numbers as they are read, so that memory is a few times the size of the file."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")  # a pipe or a device may never end
        with path.open("rb") as file:
            _refuse_other_formats(file.read(1024))
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator, given = _separator(file, target)
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = _rows(file, separator)
            if given:
                next(rows)
            _, header = next(rows, (0, []))
            numbers = None
            if header:
                numbers = Numbers(path, separator, *_names(path, header, target, separator))
                for line, row in rows:
                    numbers.add(line, row)
    except InvalidInputError:
        raise
    except UnicodeDecodeError as problem:
        raise InvalidInputError(
            f"{path} cannot be read as a CSV file: it is not text in UTF-8 (byte 0x{problem.object[problem.start]:02x}"
            "); if it is in Latin-1 or Windows-1252, save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)"
        ) from None
    except (OSError, ValueError, csv.Error) as problem:
        reason = (problem.strerror if isinstance(problem, OSError) else None) or problem  # without number and path
        raise InvalidInputError(f"{path} cannot be read as a CSV file: {reason}") from None
    if numbers is None or not numbers.values:
        raise InvalidInputError(f"{path} must hold a header line and rows of numbers, got no rows")
    return numbers.names, numbers.table()


def _refuse_other_formats(head: bytes) -> None:
    for begin, what in NO_TEXT.items():
        if head.startswith(begin):
            raise ValueError(f"it is {what}")
    if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
        raise ValueError("it is a page of the web, or XML: fetch or save the table itself, as CSV")
    if 4 * head.count(0) > len(head):
        raise ValueError("it has many zero bytes, as text in UTF-16 has: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")


def _rows(lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the number of its last line."""
    rows = csv.reader((" ".join(line.split()) for line in lines) if separator == " " else lines, delimiter=separator)
    for row in rows:
        if len(row) > 1 or (row and row[0].strip()):
            yield rows.line_num, row


def _separator(lines: Iterable[str], target: str) -> tuple[str, bool]:
    """What separates columns: what gives the target and other columns, and rows of numbers as long as the header.

    A first line `sep=;`, as spreadsheets write it, decides; the second value says whether there is one.
    """
    sample, size = [], 0
    for line in lines:
        sample.append(line)
        size += len(line)
        if size > SAMPLE and len(sample) > 1:
            break
    said = re.fullmatch(r'"?sep=([^\w\s"]|\t)"?\s*', sample[0], re.IGNORECASE) if sample else None
    if said:
        return said[1], True
    whole = sample if size <= SAMPLE else sample[:-1]  # the last row may go on

    def fitness(separator: str) -> tuple[bool, ...]:
        try:
            rows = [row for _, row in _rows(whole, separator)]
        except csv.Error:
            return (False,) * 4
        names = _cleaned(rows[0]) if rows else []
        has, splits = target in names, len(names) > 1
        fits = all(
            len(row) - (len(row) > len(names) and not row[-1].strip()) == len(names)
            and all(looks_like_a_number(entry, separator) for entry in row[: len(names)])
            for row in rows[1:]
        )
        return has and splits and fits, has and splits, splits and fits, has

    return max(SEPARATORS, key=fitness), False


def _cleaned(header: list[str]) -> list[str]:
    """Names of columns, without the empty one that a separator at the end of the line makes."""
    names = [unicodedata.normalize("NFC", name.strip()) for name in header]
    return names[:-1] if len(names) > 1 and not names[-1] else names


def _names(path: Path, header: list[str], target: str, separator: str) -> tuple[list[str], bool]:
    """Names of the columns, and whether the line ends in a separator."""
    names = _cleaned(header)
    try:
        for name in names:
            plain_name("column", name)
    except InvalidInputError as problem:
        raise InvalidInputError(f"{path}: {problem}") from None
    if target not in names:
        apart = "" if separator == "," else f" (separated by {SEPARATORS.get(separator, separator)})"
        if len(names) == 1:
            apart = " (one column: neither commas nor semicolons, tabs, | or blanks separate more)"
        if names[0].startswith("#"):
            apart += "; comments are not read: the first line must be the names, without #"
        elif all(looks_like_a_number(name, separator) for name in names):
            apart += "; the first line must be the names of the columns"
        raise InvalidInputError(f"{path} has no column {target!r}; its columns are {_listed(names)}{apart}")
    if "" in names:
        raise InvalidInputError(
            f"{path}: column {names.index('') + 1} has no name: name it, or remove it (of an index that pandas wrote: "
            "to_csv(index=False))"
        )
    if len(set(names)) < len(names):
        raise InvalidInputError(f"{path} has columns with the same name: {_listed(names)}")
    if len(names) < 2:
        raise InvalidInputError(f"{path} has only the target column {target!r}: at least one input column is needed")
    return names, len(header) > len(names)


def _listed(names: list[str]) -> str:
    text = ", ".join(names[:100])
    return text if len(names) <= 100 and len(text) <= 1000 else f"{text[:1000]}, ..."
