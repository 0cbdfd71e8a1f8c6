"""What a result says when it is printed: its numbers with their errors, and what it found when it checked itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dynsys.passes import Pass
    from dynsys.results import CovariantVectors, LyapunovSpectrum

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


def spectrum_text(spectrum: LyapunovSpectrum) -> str:
    """Exponents with their errors, in frame order; of an ensemble means over members, with the errors of the means."""
    exponents, errors, members = _means(spectrum.exponents, spectrum.standard_error, spectrum.end)
    checks = spectrum.diagnostics
    found = [f"derivative: {checks.derivative}"]
    found += _worst("drift", checks.drift, " standard errors")
    found += _worst("defect of the determinants", checks.determinant_defect)
    found += _worst("exponents that vanish", checks.vanishing, " standard errors from 0")
    head = f"Lyapunov exponents (1/time){members}, {_over(spectrum.times, 'rates')}"
    return "\n".join([head, *_rows(map(with_error, exponents, errors)), _joined(found)])


def vectors_text(clvs: CovariantVectors) -> str:
    """Exponents, which of the vectors can be relied on, and the checks."""
    exponents, errors, members = _means(clvs.exponents, np.full(clvs.exponents.shape, np.nan), clvs.end)
    checks = clvs.diagnostics
    rows = map(with_error, exponents, errors)
    if clvs.end.single:
        labels = checks.subspaces.tolist()
        rows = map("{}, {}".format, rows, (_reliable(labels, j) for j in range(len(labels))))
    found = [f"derivative: {checks.derivative}"]
    found += _worst("covariance residual", checks.covariance_residual)
    found += _worst("two starts differ by", checks.start_agreement)
    found += _worst("two frames differ by", checks.frame_agreement)
    needed = checks.tail_needed[np.isfinite(checks.tail_needed)]
    found += [f"the gaps ask for a tail of {needed.max():.6g} intervals"] if needed.size else []
    head = f"Covariant vectors ({clvs.method}){members}, {_over(clvs.times, 'times')}, and exponents (1/time)"
    return "\n".join([head, *_rows(rows), _joined(found)])


def _means(exponents: Array, errors: Array, end: Pass) -> tuple[list[float], list[float], str]:
    """Exponents and errors of one run; of an ensemble those of the mean over members that finished."""
    if end.single:
        return exponents.tolist(), errors.tolist(), ""
    finished = exponents[np.isfinite(exponents).all(axis=1)]
    count = len(finished)
    mean = finished.mean(axis=0) if count else np.full(exponents.shape[1], np.nan)
    scatter = finished.std(axis=0, ddof=1) / math.sqrt(count) if count > 1 else np.full(exponents.shape[1], np.nan)
    return mean.tolist(), scatter.tolist(), f", means over {count} of {len(exponents)} members"


def _over(times: Array, what: str) -> str:
    return f"{len(times)} {what}" + (f" from t = {times[0]:.6g} to {times[-1]:.6g}" if len(times) else "")


def _rows(texts: object) -> list[str]:
    rows = [f"{j:5}  {text}" for j, text in enumerate(texts, start=1)]  # type: ignore[arg-type, var-annotated]
    return rows if len(rows) <= MOST_ROWS else [*rows[:FIRST_ROWS], "  ...", *rows[FIRST_ROWS - MOST_ROWS :]]


def _reliable(labels: list[int], j: int) -> str:
    """What the label of a vector means, in words; vectors are counted from 1."""
    others = [str(i + 1) for i, label in enumerate(labels) if label == labels[j] and i != j]
    if labels[j] < 0:
        return "not known to be reliable"
    return f"only its span with {', '.join(others)} is reliable" if others else "reliable"


def _worst(name: str, values: Array, unit: str = "") -> list[str]:
    """The largest modulus of what a check found, if it was made."""
    known = np.abs(values[np.isfinite(values)])
    return [f"{name} {known.max():.2g}{unit}"] if known.size else []


def _joined(found: list[str]) -> str:
    return "Checks: " + "; ".join(found)
