"""What a result says when it is printed: its numbers with their errors, and what it found when it checked itself."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from dynsys.passes.run_state import RunState

Array = np.ndarray

MOST_ROWS, FIRST_ROWS = 20, 15  # of a longer table the first and the last rows are shown


def with_error(value: float, error: float) -> str:
    """A number with as many digits as its error, of which two are given, lets one know.

    Examples
    --------
    >>> with_error(0.905678, 0.0123), with_error(-14.57, 3e-7), with_error(0.3, float("nan"))
    ('0.906 ± 0.012', '-14.57000000 ± 0.00000030', '0.3')
    """
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{value:.6g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    plain = digits <= 12 and abs(value) < 1e15
    return f"{value:.{digits}f} ± {error:.{digits}f}" if plain else f"{value:.12g} ± {error:.1e}"


def means(exponents: Array, errors: Array, end: RunState) -> tuple[list[float], list[float], str]:
    """Exponents and errors of one run; of an ensemble those of the mean over members that finished."""
    if end.single:
        return exponents.tolist(), errors.tolist(), ""
    finished = exponents[np.isfinite(exponents).all(axis=1)]
    count = len(finished)
    mean = finished.mean(axis=0) if count else np.full(exponents.shape[1], np.nan)
    scatter = finished.std(axis=0, ddof=1) / math.sqrt(count) if count > 1 else np.full(exponents.shape[1], np.nan)
    return mean.tolist(), scatter.tolist(), f", means over {count} of {len(exponents)} members"


def over(times: Array, what: str) -> str:
    """How many of something there are, and from when to when."""
    return f"{len(times)} {what}" + (f" from t = {times[0]:.6g} to {times[-1]:.6g}" if len(times) else "")


def table(texts: Iterable[str]) -> list[str]:
    """Numbered lines; of a long table the first and the last ones."""
    rows = [f"{j:5}  {text}" for j, text in enumerate(texts, start=1)]
    return rows if len(rows) <= MOST_ROWS else [*rows[:FIRST_ROWS], "  ...", *rows[FIRST_ROWS - MOST_ROWS :]]


def reliable(labels: list[int], j: int) -> str:
    """What the label of a vector means, in words; vectors are counted from 1."""
    others = [str(i + 1) for i, label in enumerate(labels) if label == labels[j] and i != j]
    if labels[j] < 0:
        return "not known to be reliable"
    return f"only its span with {', '.join(others)} is reliable" if others else "reliable"


def worst(name: str, values: Array, unit: str = "") -> list[str]:
    """The largest modulus of what a check found, if it was made."""
    known = np.abs(values[np.isfinite(values)])
    return [f"{name} {known.max():.2g}{unit}"] if known.size else []


def joined(found: list[str]) -> str:
    """What the checks found, in a line."""
    return "Checks: " + "; ".join(found)
