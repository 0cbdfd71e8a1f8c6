"""Which checks Ginelli's vectors fail, in words, with causes and remedies."""

from __future__ import annotations

import numpy as np

from dynsys.algorithms.checks.covariance import reliable
from dynsys.algorithms.checks.derivative import derivative_check, derivative_defect
from dynsys.algorithms.checks.representation import crossings, jump_check
from dynsys.algorithms.checks.rest import LONGEST_CYCLE, collapse_check
from dynsys.algorithms.checks.rounding import check_of_factors, last_growth
from dynsys.algorithms.checks.vector_errors import Errors
from dynsys.algorithms.window import Window
from dynsys.passes.run_state import Tangent
from dynsys.results.vectors import CovariantRecord

Array = np.ndarray

LARGEST_RESIDUAL = 1e-6
LARGEST_DISAGREEMENT = 1e-4
LARGEST_ERROR = 2e-4  # of the estimate, which is mostly several times too large
LARGEST_OFF_FLOW = np.radians(0.05)


def failed_checks(
    tangent: Tangent, window: Window, clvs: CovariantRecord, spread: Array, inside: Errors, at_ends: Array
) -> list[tuple[Array, str]]:
    """The checks that failed, each with the members that did, and the remedy."""
    found, tolerance = clvs.diagnostics, LARGEST_DISAGREEMENT
    labels = found.subspaces.reshape(at_ends.shape)
    needed = np.nanmax(np.append(found.tail_needed, 0.0))
    asked = f"the gaps need about {needed:.0f}" if needed < 1e9 else "a gap vanishes, for which none is long enough"
    starts = (found.start_agreement.reshape(at_ends.shape) > tolerance).any(axis=-1)
    frames = (found.frame_agreement.reshape(at_ends.shape) > tolerance).any(axis=-1)
    inexact = tangent.rounding + tangent.tolerance
    with np.errstate(over="ignore"):  # how much rounding, or what a step is free to choose, grows while it is pushed
        rounding = 1e3 * inexact * np.exp(spread)

    # what the ends do not show: one run of vectors turned by those of another
    lost = np.any(labels != at_ends, axis=-1)
    rows = np.pad(at_ends, ((0, 0), (0, 1)), constant_values=-2)
    apart = rows[:, :, None] != at_ends[:, None, :]
    by_starts, by_frames = (
        lost & ((turned > LARGEST_ERROR) & apart).any(axis=(1, 2)) for turned in (inside.starts, inside.frames)
    )
    closest = "two vectors nearly coincide"
    if window.end.single and inside.time[0] >= 0:
        i, j = inside.pair[0] + 1
        closest = f"vectors {i} and {j} are {inside.angle[0]:.1g} radians apart at t = {found.closest_time:g}"
    off = np.rad2deg(np.max(found.neutral_angle, initial=0.0, where=np.isfinite(found.neutral_angle)))
    which = np.atleast_1d(found.neutral_vector)
    known = np.take_along_axis(labels, np.maximum(which, 0)[:, None], axis=1)[:, 0] >= 0
    neutral = (found.neutral_angle > LARGEST_OFF_FLOW) & known
    remedy = "lower rtol" if tangent.tolerance else "shorten dt"
    checks = [
        derivative_check(tangent, derivative_defect(tangent, window.first)),
        collapse_check(tangent, window.first, window.end, last_growth(window.R, window.finished, LONGEST_CYCLE + 2)),
        check_of_factors(tangent, window.R, window.finished, window.steps),
        (
            found.covariance_residual > np.maximum(LARGEST_RESIDUAL, rounding),
            "vectors are not covariant: compare the derivatives with dynsys.testing.check_tangent",
        ),
        (
            starts,
            f"two starts of the backward pass disagree: the tail of {window.tail} intervals is too short ({asked}), or "
            "exponents coincide",
        ),
        (frames, "two forward frames disagree: the warm-up is too short, or exponents coincide"),
        (
            by_starts & ~starts,
            "two starts of the backward pass disagree inside the window, where vectors exchange the order of their "
            f"growth: the tail of {window.tail} intervals is too short",
        ),
        (
            by_frames & ~frames,
            "two forward frames disagree inside the window, where vectors exchange the order of their growth: the "
            "warm-up is too short",
        ),
        (
            lost & ~by_starts & ~by_frames,
            f"{closest}, and vectors then exchange the order of their growth: "
            + (
                "what the tolerance leaves open grows: lower rtol"
                if tangent.tolerance
                else "rounding grows: orthonormalise more often (fewer steps_per_interval, with a stride)"
            ),
        ),
        (
            starts | frames,
            f"where exponents coincide only their common subspace is determined; {reliable(window.end, labels)}",
        ),
        (lost & ~starts & ~frames, reliable(window.end, labels)),
        jump_check(crossings(tangent, window.start, len(window.R[0]), window.steps), len(which)),
        (
            neutral,
            f"neutral vector up to {off:.2g} degrees off the velocity: vectors are those of the step, not of the flow; "
            f"{remedy}; if the angle stays, compare the derivatives with dynsys.testing.check_system",
        ),
    ]
    return [(marked, text) for marked, text in checks if np.any(marked)]
