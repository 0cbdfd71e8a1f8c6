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
    """A copy of the value as a float64 array, or an error that names the argument and what was given.

    What NumPy would turn into numbers by dropping something is refused: masked entries, imaginary parts, dates, text.

    >>> real_array("x0", [1, 2]), real_array("x0", [1.0, 2j])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    dynsys.errors.InvalidInputError: x0 must be an array of real numbers, got [1.0, 2j]: complex numbers: take .real...
    """
    if type(value) is np.ndarray and value.dtype == np.float64:  # asked for in every step of some systems
        return value.copy()
    reason = ""
    try:
        if _masked(value):
            reason = "masked entries: fill them, or leave them out"
        else:
            given = np.asarray(value)
            reason = _not_real(value, given)
            if not reason:
                return np.array(given, dtype=float)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidInputError(f"{name} must be an array of real numbers, got {value!r:.100}{reason and f': {reason}'}")


def unmasked(name: str, value: Any) -> Any:
    """The value, or an error if entries of it are masked: NumPy would forget the mask.

    >>> unmasked("V", np.ma.array([1.0, 2.0], mask=[False, True]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    dynsys.errors.InvalidInputError: V must be an array of real numbers, got masked entries: fill them, or leave ...
    """
    if type(value) is not np.ndarray and _masked(value):
        raise InvalidInputError(
            f"{name} must be an array of real numbers, got masked entries: fill them, or leave them out"
        )
    return value


def _masked(value: Any) -> bool:
    """Whether entries are masked, in an array or in a list of some: NumPy forgets the mask of either."""
    if isinstance(value, list | tuple):
        return any(_masked(part) for part in value)
    return isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any())


KINDS = {  # of NumPy's arrays that it would convert to real numbers, or fail to in its own words
    "c": "complex numbers: take .real, or real and imaginary parts as components",
    "M": "dates: give numbers in the units of the model's time",
    "m": "time differences: give numbers in the units of the model's time",
    "S": "text: convert it by float",
    "U": "text: convert it by float",
    "O": "an array of objects: convert it by .astype(float)",
    "V": "a structured array: give one of its columns",
}


NO_NUMBERS = (type(None), str, bytes, np.datetime64, np.timedelta64)  # of which NumPy would make some


def _not_real(value: Any, given: np.ndarray) -> str:
    """Why an array does not hold real numbers; empty if it does. Lists may hold exact numbers, such as fractions."""
    kind = given.dtype.kind
    if kind == "O" and not isinstance(value, np.ndarray):
        return "entries that are no numbers" if any(isinstance(v, NO_NUMBERS) for v in given.flat) else ""
    return KINDS.get(kind, "")


LARGEST_COUNT = 2**53  # beyond, floating-point numbers (times, for one) no longer tell whole numbers apart
LARGEST_SEED = 2**128 - 1


def whole_number(name: str, value: Any, least: int, most: int = LARGEST_COUNT) -> int:
    """The value as an int, or an error that names the argument, what was given and what was expected."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        limit = f" and at most {most}" if isinstance(value, int | np.integer) and value > most else ""
        raise InvalidInputError(f"{name} must be a whole number >= {least}{limit}, got {value!r:.100}")
    return int(value)


def whole_seed(value: Any) -> int:
    """A seed: a whole number from 0 to 2^128 - 1, or an error that says what was given."""
    return whole_number("seed", value, 0, LARGEST_SEED)


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
