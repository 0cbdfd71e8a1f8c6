"""What a spectrum asks about itself: the step, the derivative, drift, zeros, volumes, rest, jumps and rounding."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import attrs
import numpy as np

from dynsys.algorithms.checks.derivative import DIFFERENCES, derivative_check, derivative_defect
from dynsys.algorithms.checks.representation import (
    LARGEST_REMAINDER,
    LEAST_GROWTH,
    crossings,
    jump_check,
    motion,
    represent,
    step_checks,
)
from dynsys.algorithms.checks.rest import CHECKED_MEMBERS, collapse_check
from dynsys.algorithms.checks.rounding import angles_at, lost_steps, rounding_check
from dynsys.algorithms.checks.way_to_rest import rest_check, way_check
from dynsys.compiled.blas import one_blas_thread
from dynsys.error_bars import batch_means_error, drift
from dynsys.passes.orthonormal import LONG_COLUMN
from dynsys.passes.run_state import RunState, Tangent
from dynsys.passes.status import RUNNING
from dynsys.results.spectrum import SpectrumDiagnostics

Array = np.ndarray

LARGEST_DETERMINANT_DEFECT = 1e-8
LARGEST_ERRORS = 6.0  # standard errors that a drift, or an exponent declared to vanish, may have
LEAST_SPOILING = (0.8, 1.25)  # errors of the exponent: of a steady drift 1.1, where growth is ln t about 0.6
MOST_LOOKED_AT = 8192  # means of rates; a drift is slow


@attrs.frozen(eq=False)
class Run:
    """A run of Benettin's algorithm that is examined.

    Attributes
    ----------
    tangent : TangentSystem
    begun, start, end : RunState
        Beginning of the run, of the record, and end.
    seen : list of RunState
        Where the run was, from time to time in the record.
    growth : ndarray, shape (members, m, k)
        log R_ii, summed over strides.
    exponents, error : ndarray, shape (members, k)
    steps, stride : int
        Steps of an interval, intervals of a stride.
    transient : bool
        Whether there was no warm-up: then the rates may drift.
    """

    tangent: Tangent
    begun: RunState
    start: RunState
    end: RunState
    seen: list[RunState]
    growth: Array
    exponents: Array
    error: Array
    steps: int
    stride: int
    transient: bool

    @property
    def intervals(self) -> int:
        """Of the record."""
        return self.stride * int(self.growth.shape[1])


def examine(run: Run) -> tuple[SpectrumDiagnostics, list[tuple[Any, str]]]:
    """What a run finds about itself, and its checks: which members fail each, and the text."""
    tangent, start, end, exponents, error = run.tangent, run.start, run.end, run.exponents, run.error
    moved = motion(tangent, start, end, run.seen)
    drifted, drifts = drift_of_halves(run.growth / (run.stride * run.steps * tangent.dt), exponents, error, moved.time)
    first = run.growth[:, 0]
    if run.stride > 1:  # the first interval is not in the record
        first = tangent.forward(start, intervals=1, steps_per_interval=run.steps, record="growth").growth[:, 0]
    defect = _determinant_defect(tangent, start, first, run.steps)
    looked = represent(tangent, run.seen or [start], run.steps, run.intervals, exponents)
    zeros, in_errors, in_bars = _declared_zeros(tangent, exponents, error, looked.step_error, moved.speed)
    given = tangent.derivative != DIFFERENCES and not tangent.derives
    places = [start, *run.seen] if given else [start]  # one that is made of the equations is right everywhere
    untrue = np.fmax.reduce([derivative_defect(tangent, place) for place in places])
    crossed = crossings(tangent, start, run.intervals, run.steps)

    inexact = tangent.tolerance + tangent.rounding
    with np.errstate(over="ignore", invalid="ignore"):  # rounding of the long columns of V, as a share of the short one
        rounding = 10 * tangent.rounding * np.exp(np.ptp(first, axis=1))
    resting = np.isfinite(moved.rest).any(axis=1)
    wrong, jumps = derivative_check(tangent, untrue), jump_check(crossed, len(exponents))
    *coarse, torn = step_checks(tangent, exponents, error, looked, moved.time)
    coarse += [torn, way_check(tangent, run.begun, moved, run.steps)]
    explained = np.any([marked for marked, _ in coarse], axis=0) | jumps[0] | wrong[0]
    far = (zeros * moved.time > LARGEST_REMAINDER) & ~resting[:, None]
    missed = (far & (in_errors > LARGEST_ERRORS)).any(axis=1)
    hidden = (far & (in_bars > LARGEST_ERRORS)).any(axis=1) & ~missed  # the step error, if uncertain, is large enough
    diagnostics = SpectrumDiagnostics(
        derivative=tangent.derivative,
        drift=end.as_given(drifted),
        determinant_defect=end.as_given(defect),
        vanishing=end.as_given(in_errors),
        kind=moved.kind,
        step_error=end.as_given(looked.step_error),
        divergence_defect=end.as_given(looked.divergence_defect),
        speed=end.as_given(moved.speed),
        rest=end.as_given(moved.rest),
        crossed=crossed,
        derivative_defect=end.as_given(untrue),
        doubtful=end.as_given(torn[0] | jumps[0] | wrong[0] | missed | hidden),
    )
    if end.single and end.status[0] != RUNNING:  # that it stopped is said, with the cause
        return diagnostics, []
    return diagnostics, [
        (
            drifts & (not run.transient) & ~resting,
            "the rates drift between the halves of the record: lengthen the warm-up; if the run is a transient, use "
            "warmup=0 and its finite-time exponents, not the standard error",
        ),
        (
            defect > LARGEST_DETERMINANT_DEFECT + rounding + 10 * tangent.dimension * run.steps * inexact,
            "the sum of log R_ii is not log|det|: compare the derivatives with dynsys.testing.check_tangent",
        ),
        (
            missed & ~explained,
            f"{zeros.shape[1]} exponent(s) should vanish and do not: dt is too long, the velocity jumps, the "
            "derivative is not that of the system (dynsys.testing.check_system), or it has fewer of them "
            "(vanishing_exponents)",
        ),
        (
            hidden & ~explained,
            f"an exponent that should vanish is {np.max(zeros[hidden], initial=0.0):.2g}, far beyond its standard "
            "error: the step is too coarse (step_error), shorten dt",
        ),
        *coarse,
        rest_check(exponents, moved, explained),
        jumps,
        collapse_check(tangent, run.begun, end, run.growth),
        lost_steps(tangent, start),
        rounding_check(
            exponents,
            error,
            run.growth if run.stride == 1 else run.growth / run.stride,
            run.steps,
            run.steps * tangent.dt,
            angles_at(tangent, start, end, steps=run.steps),
            tangent.rounding,
        ),
        wrong,
    ]


def drift_of_halves(rates: Array, exponents: Array, error: Array, time: float = np.inf) -> tuple[Array, Array]:
    """Difference of the mean rates of the halves in standard errors, (members, k); whether a drift spoils the result.

    A drift is found where it is far beyond noise, and spoils the result where it is not covered by the standard error,
    which counts it: that of a growth like ln t is, as in integrable motion, and no warm-up would make an end of it.
    Nor does one that dies away where next to nothing has grown in all the time.
    """
    # a long record is looked at as if its frame had been made orthonormal rarely
    together = max(1, rates.shape[1] // MOST_LOOKED_AT)
    groups = rates.shape[1] // together
    rates = np.einsum("mgik->mgk", rates[:, : groups * together].reshape(len(rates), groups, together, -1)) / together
    halves = np.array_split(rates, [max(1, groups // 2)], axis=1)
    if not halves[1].size:  # a record of one interval has no halves
        return np.full(exponents.shape, np.nan), np.zeros(len(exponents), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = (halves[1].mean(axis=1) - halves[0].mean(axis=1)) / np.hypot(*map(batch_means_error, halves))
    in_errors, change = drift(rates)
    found = (np.abs(in_errors) > LARGEST_ERRORS) & np.isfinite(moved)  # the halves need 32 rates too
    if not found.any():
        return moved, found.any(axis=1)
    (_, first), (_, second) = map(drift, halves)
    goes_on = second * np.sign(first) > 0.5 * np.abs(first)
    largest = np.max(np.abs(exponents), axis=1, keepdims=True)
    spoils = np.abs(change) > np.maximum(np.where(goes_on, *LEAST_SPOILING) * error, 1e-6 * largest)
    nothing = (change * exponents < 0.0) & (np.abs(exponents) < LEAST_GROWTH / time)
    return moved, (found & spoils & ~nothing).any(axis=1)


def _declared_zeros(
    tangent: Tangent, exponents: Array, error: Array, step: Array, speed: Array
) -> tuple[Array, Array, Array]:
    """The exponents closest to zero, as many as the system declares to vanish: sizes, in whole and in standard errors.

    That of the flow itself is not 0 but, over a finite time, the rate at which the speed changes.
    """
    declared = tangent.vanishing_exponents if exponents.shape[1] == tangent.dimension else 0
    shifted = np.abs(exponents - np.nan_to_num(speed)[:, None])
    sizes = np.minimum(np.abs(exponents), shifted)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = sizes, sizes / (error + np.nan_to_num(np.abs(step))), sizes / error
    zeros, in_errors, in_bars = (np.sort(values, axis=1)[:, :declared] for values in found)
    return zeros, in_errors, in_bars


def _determinant_defect(tangent: Tangent, start: RunState, growth: Array, steps: int) -> Array:
    """Sum of log R_ii of the first interval against log|det| of the same steps, found step by step.

    Every step is that of an orthonormal frame, whose determinant is 1, and the first one that of the run: steps that
    adapt to their vectors are then the same.
    """
    defect = np.full(len(growth), np.nan)
    if start.Q.shape[2] < tangent.dimension:
        return defect
    # threads of BLAS wait for one another, and longer where others work too
    with one_blas_thread() if tangent.dimension >= LONG_COLUMN else nullcontext():
        for m in np.flatnonzero(np.isfinite(growth).all(axis=1) & (start.members < CHECKED_MEMBERS)):
            x, Q, total = start.x[m], start.Q[m], 0.0
            for n in range(start.n, start.n + steps):
                x, V = tangent.step(n, x, Q, member=int(start.members[m]))
                total += np.linalg.slogdet(V).logabsdet
                Q = np.linalg.qr(V)[0]
            defect[m] = abs(growth[m].sum() - total) / (1.0 + abs(total))
    return defect
