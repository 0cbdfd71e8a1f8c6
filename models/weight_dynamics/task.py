"""The data: the paper's regression task, or a table of one's own."""

from __future__ import annotations

import csv
import math
from array import array
from pathlib import Path

import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import whole_number, whole_seed

Array = np.ndarray


def regression_task(samples: int = 1000, seed: int = 0) -> tuple[Array, Array]:
    """The paper's task: x1, x2 ~ N(0, 1) and y = 10 x1 - 2 x2^2.

    Returns
    -------
    X : ndarray, shape (samples, 2)
    y : ndarray, shape (samples,)

    References
    ----------
    arXiv:2405.00743, Sec. IV, with samples = 1000.
    """
    X = np.random.default_rng(whole_seed(seed)).normal(size=(whole_number("samples", samples, 1), 2))
    return X, 10.0 * X[:, 0] - 2.0 * X[:, 1] ** 2


def paper_task(samples: int) -> str:
    """What `regression_task` is, in a sentence."""
    return f"Task: y = 10 x1 - 2 x2^2, {samples} samples with x1, x2 ~ N(0, 1)."


def read_table(path: str | Path, target: str) -> tuple[Array, Array, list[str]]:
    """Inputs, target and input names from a CSV file with a header; the inputs are standardised.

    Parameters
    ----------
    path : path of a CSV file with a header line and finite numbers
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
        For a missing or empty file, ragged rows, entries that are no finite numbers, an unknown target, or
        constant columns.
    """
    path = Path(path)
    names, table = _read(path, target)
    constant = [name for name, column in zip(names, table.T, strict=True) if column.min() == column.max()]
    if constant:
        raise InvalidInputError(f"{path}: column(s) {_listed(constant)} are constant and carry nothing: remove them")
    place = names.index(target)
    X = np.delete(table, place, axis=1)
    X = np.ldexp(X, -np.frexp(np.abs(X).max(axis=0))[1])  # to order 1, so that mean and deviation cannot overflow
    names.remove(target)
    return (X - X.mean(axis=0)) / X.std(axis=0), table[:, place], names


def _read(path: Path, target: str) -> tuple[list[str], Array]:
    """Names and numbers; rows become numbers as they are read, so that memory is a few times the size of the file."""
    numbers = array("d")
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")  # a pipe or a device may never end
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(filter(None, rows), [])
            names = _names(path, header, target) if header else []
            for row in filter(None, rows):
                numbers.extend(_numbers(path, rows.line_num, row, names))
    except InvalidInputError:
        raise
    except (OSError, ValueError, csv.Error) as problem:
        reason = (problem.strerror if isinstance(problem, OSError) else None) or problem  # without number and path
        raise InvalidInputError(f"{path} cannot be read as a CSV file: {reason}") from None
    if not numbers:
        raise InvalidInputError(f"{path} must hold a header line and rows of numbers, got no rows")
    return names, np.array(numbers).reshape(-1, len(names))


def _names(path: Path, header: list[str], target: str) -> list[str]:
    names = [name.strip() for name in header]
    if target not in names:
        raise InvalidInputError(f"{path} has no column {target!r}; its columns are {_listed(names)}")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"{path} has columns with the same name: {_listed(names)}")
    if len(names) < 2:
        raise InvalidInputError(f"{path} has only the target column {target!r}: at least one input column is needed")
    return names


def _listed(names: list[str]) -> str:
    text = ", ".join(names[:100])
    return text if len(names) <= 100 and len(text) <= 1000 else f"{text[:1000]}, ..."


def _numbers(path: Path, line: int, row: list[str], names: list[str]) -> list[float]:
    if len(row) != len(names):
        raise InvalidInputError(f"{path}, line {line} must have {len(names)} entries as the header has, got {len(row)}")
    numbers = []
    for name, entry in zip(names, row, strict=True):
        try:
            number = float(entry.replace("_", "?"))  # float() takes 1_000, a table should not
        except ValueError:
            raise InvalidInputError(
                f"{path}, line {line}, column {name[:40]}: {entry[:40]!r} is not a number"
            ) from None
        if not math.isfinite(number):
            raise InvalidInputError(f"{path}, line {line}, column {name[:40]}: {entry[:40]!r} is not a finite number")
        numbers.append(number)
    return numbers
