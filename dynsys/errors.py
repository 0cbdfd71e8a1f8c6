"""The errors and warnings of dynsys: each says what was given, what was expected, and what to do."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np


class DynsysError(Exception):
    """Base of every error that dynsys raises on purpose."""


class InvalidInputError(DynsysError, ValueError):
    """An argument has the wrong shape, type or range."""


class ContractError(DynsysError, AssertionError):
    """A system, tangent or activation breaks its contract (see `dynsys.testing`)."""


class IncompleteRunError(DynsysError, ArithmeticError):
    """A run of one trajectory stopped early; what was finished is attached.

    Attributes
    ----------
    time : float
        End of the interval in which the run stopped, in the units of the model.
    partial : object
        The result of the finished part, or None if nothing was finished.
    """

    def __init__(self, message: str, time: float, partial: Any = None) -> None:
        super().__init__(message)
        self.time = time
        self.partial = partial


class DivergenceError(IncompleteRunError):
    """State or tangent vectors became infinite or NaN."""


class SingularTangentError(IncompleteRunError):
    """A diagonal entry of R vanished: the tangent map of an interval is singular to rounding."""


class StoreError(DynsysError):
    """A store on disk has another definition, is in use, or is damaged beyond what can be computed again."""


class DiagnosticWarning(UserWarning):
    """A result failed one of the checks that it makes on itself.

    Attributes
    ----------
    checks : mapping, text -> int
        Each check that failed, and how many members failed it.
    """

    checks: Mapping[str, int] = MappingProxyType({})


class InterruptedWarning(UserWarning):
    """A run was interrupted from the keyboard: its result holds what was finished, and can be continued."""


class FallbackWarning(UserWarning):
    """Something slower or less exact than possible is used (finite differences, no compiler, ...)."""


def real_array(name: str, value: Any) -> np.ndarray:
    """A copy of the value as a float64 array, or an error that names the argument and what was given."""
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name} must be an array of real numbers, got {value!r:.100}") from None


def whole_number(name: str, value: Any, least: int) -> int:
    """The value as an int, or an error that names the argument, what was given and what was expected."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidInputError(f"{name} must be a whole number >= {least}, got {value!r:.100}")
    return int(value)


def one_of(name: str, value: Any, *known: str) -> str:
    """The value, if it is one of the known words, or an error that names them.

    >>> one_of("reduction", "median", "mean", "sum")
    Traceback (most recent call last):
    dynsys.errors.InvalidInputError: reduction must be 'mean' or 'sum', got 'median'
    """
    if not isinstance(value, str) or value not in known:
        *others, last = map(repr, known)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise InvalidInputError(f"{name} must be {listed}, got {value!r:.100}")
    return value


def whole_stride(stride: int, intervals: int) -> int:
    """The stride, if it divides the number of intervals."""
    stride = whole_number("stride", stride, 1)
    if intervals % stride:
        whole = max(1, intervals // stride) * stride
        raise InvalidInputError(f"intervals must be a multiple of stride = {stride}, got {intervals}: take {whole}")
    return stride


def finite(name: str, value: Any) -> float:
    """A finite number, or an InvalidInputError with its name."""
    number = real_array(name, value)
    if number.shape or not np.isfinite(number):
        raise InvalidInputError(f"{name} must be a finite number, got {value!r:.100}")
    return float(number)


def positive(name: str, value: Any) -> float:
    """A positive finite number, or an InvalidInputError with its name."""
    number = real_array(name, value)
    if not (number.shape == () and np.isfinite(number) and number > 0):
        raise InvalidInputError(f"{name} must be a positive finite number, got {value!r:.100}")
    return float(number)


def warn_of(checks: Sequence[tuple[Any, str]], stacklevel: int) -> None:
    """One warning for all failed checks, each given by a mark for every member and a text with the remedy."""
    failed, counts = [], {}
    for marked, text in checks:
        count, members = np.count_nonzero(marked), np.size(marked)
        if count:
            failed.append(text + (f" ({count} of {members} members)" if members > 1 else ""))
            counts[text] = int(count)
    if failed:
        warning = DiagnosticWarning("; ".join(failed))
        warning.checks = counts
        warnings.warn(warning, stacklevel=stacklevel + 1)


def need(*packages: str) -> None:
    """Refuse to go on without packages of the extra `study`, with the remedy."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"labelled data, ensembles and sweeps need {' and '.join(missing)}: pip install 'dynsys-clv[study]'"
        )
