"""The errors and warnings of dynsys: each says what was given, what was expected, and what to do."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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


class LongRunWarning(UserWarning):
    """A run will take more than a day: how many steps, at what speed, until when."""


def levels_up() -> int:
    """How far above its caller the line outside of dynsys is that called it, as `warnings.warn` counts."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_ours(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    return level


def _is_ours(file: str) -> bool:
    """Whether code is dynsys's own, or what computes its cached properties and enters its contexts."""
    between = file.startswith("<attrs generated") or file in (functools.__file__, contextlib.__file__)
    return between or Path(file).is_relative_to(HERE)


HERE = Path(__file__).parent
ARRAY = "be an array of real numbers"


def real(name: str, value: Any, wanted: str = ARRAY, *, copy: bool = False) -> np.ndarray:
    """The value as a float64 array, or an error that names the argument, what was given, and what is `wanted`.

    It is copied only where it has to be. What NumPy would turn into numbers by dropping something is refused: masked
    entries, imaginary parts, dates, text, units; and single truth values, which stand where a number is meant.

    >>> real("V", np.ma.array([1.0, 2.0], mask=[False, True]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    dynsys.errors.InvalidInputError: V must be an array of real numbers, got ...: masked entries: fill them, or leave...
    """
    if type(value) is np.ndarray and value.dtype == np.float64:  # asked for in every step of some systems
        return value.copy() if copy else value
    try:
        reason = "" if isinstance(value, float) else _dropped(value)
        if not reason:
            given = np.asarray(value)
            reason = _not_real(value, given)
            if not reason:
                with np.errstate(over="ignore"):  # of long doubles
                    return np.array(given, dtype=np.float64) if copy else np.asarray(given, dtype=np.float64)
    except MemoryError:
        raise
    except Exception as problem:  # whatever the object at hand raises where it is asked for numbers
        reason = "entries that are no numbers" if str(problem).startswith("float()") else f"{problem!s:.150}"
    raise InvalidInputError(f"{name} must {wanted}, got {shown(value)}{reason and f': {reason}'}")


def real_array(name: str, value: Any, wanted: str = ARRAY) -> np.ndarray:
    """The same as a copy: nothing that the user passes in is ever changed.

    >>> real_array("x0", [1, 2]), real_array("x0", [1.0, 2j])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    dynsys.errors.InvalidInputError: x0 must be an array of real numbers, got [1.0, 2j]: complex numbers: take .real...
    """
    return real(name, value, wanted, copy=True)


def real_series(name: str, value: Any, axes: str) -> np.ndarray:
    """The same, not copied, of at least two axes, of which the last two are described.

    >>> real_series("rates", [1.0, 2.0], "intervals, k")
    Traceback (most recent call last):
    dynsys.errors.InvalidInputError: rates must have shape (..., intervals, k), got (2,)
    """
    array = real(name, value)
    if array.ndim < 2 or not array.shape[-1]:
        raise InvalidInputError(f"{name} must have shape (..., {axes}), got {array.shape}")
    return array


def real_or_complex(name: str, value: Any, wanted: str = ARRAY) -> np.ndarray:
    """The same where complex numbers lose nothing: states at which equations are evaluated, as for their derivatives.

    >>> real_or_complex("x", [1.0, 2j])
    array([1.+0.j, 0.+2.j])
    """
    if type(value) is np.ndarray and value.dtype.kind == "c":
        return value
    if isinstance(value, list | tuple | complex):
        with contextlib.suppress(Exception):  # of rows of unequal lengths, or of an entry: `real` says which
            if not _dropped(value) and np.iscomplexobj(value):
                return np.asarray(value)
    return real(name, value, wanted)


def unmasked(name: str, value: Any) -> None:
    """Refuse what has masked entries, or a unit, where anything else will do."""
    if reason := _dropped(value):
        raise InvalidInputError(f"{name} must not lose what it says, got {reason}")


def shown(value: Any) -> str:
    """The beginning of what a value prints, for an error; its kind, if it prints nothing."""
    try:
        return f"{value!r:.100}"
    except Exception:  # an integer of more digits than Python prints, an object with an error of its own
        return f"a {type(value).__name__}"


def _dropped(value: Any) -> str:
    """What NumPy would forget without a word, masks of arrays and of lists of them, units; or empty."""
    if isinstance(value, list | tuple):
        return next(filter(None, map(_dropped, value)), "")
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return KINDS["O"]  # in a list, too
    if has_a_mask(value):
        return "masked entries: fill them, or leave them out" if np.ma.getmaskarray(value).any() else ""
    kind = type(value)
    if kind.__module__.startswith("scipy.sparse"):
        return "a sparse array: write .toarray() behind it"
    if kind.__module__.startswith("pandas"):
        return ""  # its dates have units, too, and are found by their kind
    if getattr(kind, "unit", None) is not None or getattr(kind, "units", None) is not None:
        return "numbers with a unit: give bare ones, in the units of the model"
    return ""


def has_a_mask(value: Any) -> bool:
    """Whether it is an array of `numpy.ma`: not loaded, which takes time, there are none."""
    masked: Any = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, masked.MaskedArray)


KINDS = {  # of NumPy's arrays that it would convert to real numbers, or fail to in its own words
    "c": "complex numbers: take .real, or real and imaginary parts as components",
    "M": "dates: give numbers in the units of the model's time",
    "m": "time differences: give numbers in the units of the model's time",
    "S": "text: convert it by float",
    "U": "text: convert it by float",
    "T": "text: convert it by float",
    "O": "an array of objects: convert it by .astype(float)",
    "V": "a structured array: give one of its columns",
}


# of which NumPy would make numbers
NO_NUMBERS = (type(None), str, bytes, complex, np.complexfloating, np.datetime64, np.timedelta64, np.void)


def _not_real(value: Any, given: np.ndarray) -> str:
    """Why an array does not hold real numbers; empty if it does. Lists may hold exact numbers, such as fractions."""
    kind = given.dtype.kind
    if kind == "O" and not isinstance(value, np.ndarray):
        return "entries that are no numbers" if any(isinstance(v, NO_NUMBERS) for v in given.flat) else ""
    if kind == "b" and not given.ndim:
        return "a truth value: give a number"
    return KINDS.get(kind, "")


LARGEST_COUNT = 2**53  # beyond, floating-point numbers (times, for one) no longer tell whole numbers apart
LARGEST_SEED = 2**128 - 1


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; to NumPy a time difference is one, too."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def plain(value: Any) -> Any:
    """Numbers of NumPy as Python's; anything else, such as a date, as it is."""
    if isinstance(value, np.number | np.bool_) and not isinstance(value, np.timedelta64):
        return value.item()
    return value


def whole_number(name: str, value: Any, least: int, most: int = LARGEST_COUNT) -> int:
    """The value as an int, or an error that names the argument, what was given and what was expected."""
    whole = is_whole(value)
    if not whole or not least <= value <= most:
        limit = f" and at most {most}" if whole and value > most else ""
        raise InvalidInputError(f"{name} must be a whole number >= {least}{limit}, got {shown(value)}")
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
        raise InvalidInputError(f"{name} must be {listed}, got {shown(value)}")
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
    return _number(name, value, "be a finite number", lambda number: True)


def positive(name: str, value: Any) -> float:
    """A positive finite number, or an InvalidInputError with its name."""
    return _number(name, value, "be a positive finite number", lambda number: number > 0.0)


def _number(name: str, value: Any, wanted: str, holds: Callable[[float], bool]) -> float:
    number = real(name, value, wanted)
    if number.shape or not np.isfinite(number) or not holds(float(number)):
        raise InvalidInputError(f"{name} must {wanted}, got {shown(value)}")
    return float(number)


def a_function(name: str, value: Any, called: str) -> None:
    """Refuse what cannot be called, saying how it would be."""
    if not callable(value):
        raise InvalidInputError(f"{name} must be a function, called as {called}, got {shown(value)}")


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
