"""Whether the tangent of a step is the derivative of the step: one directional difference, at the start of every run.

No other check can tell. Both sides of the determinant identity, and vectors that are pushed, use the same derivative,
right or wrong; only the function itself knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dynsys.algorithms.differences import along
from dynsys.passes.run_state import RunState, Tangent
from dynsys.passes.status import RUNNING

Array = np.ndarray

DIFFERENCES = "finite differences"
LARGEST_DEFECT = 3e-4  # relative; what users differentiate by differences of their own passes
OFFSETS = (0.1, 1e-3)  # of the state, relative: starts such as 0 stand on kinks, or where terms vanish
TINY = 1e-100  # a state at rest, after underflow: its size says nothing
DISPARATE = 10.0  # ratio of entries for which a second direction is tried
MANY, TOO_MANY = 1_000, 10_000  # components of a state of which few steps are taken, or none
MOST_SEEN = 50_000  # components of a step that are compared, where a state has many more: all of it depends on all
RUNGS, FEW_RUNGS = 8, 2  # steps of the differences that are tried
UNSETTLED = 1e-6  # error of differences of a step, relative, below which they are not doubted however short it is
ACCURATE = 1e-9  # error of the differences that is not made smaller


def derivative_defect(tangent: Tangent, start: RunState) -> Array:
    """Relative defect of the tangent of a step against a difference of the step, at the start of a run, (members,).

    With a random direction d as large as the state, x near the state, y = step(x): the largest, over the components, of

        |(dy/dx d)_i - difference_i| / (|(dy/dx d)_i - d_i| + |difference_i - d_i|),

    0 for an exact derivative and 1 for one of the other sign; components are compared beyond twenty errors of the
    difference, and are as large as 1e-4 of the largest at least. Where derivatives are finite differences themselves,
    the relative error of the difference instead, which tells whether the function can be differentiated so.

    Of the first member that runs; NaN for the others, and where the step has no value near the state.
    """
    defect = np.full(len(start.x), np.nan)
    running = np.flatnonzero(start.status == RUNNING)
    if running.size:
        for offset in OFFSETS:
            try:
                defect[running[0]] = _defect(tangent, start, int(running[0]), offset)
            except (ValueError, ArithmeticError):  # beyond the domain of a function
                continue
            if np.isfinite(defect[running[0]]):
                break
    return defect


def _defect(tangent: Tangent, start: RunState, m: int, offset: float) -> float:
    """The defect at a state that is so far from the start."""
    rng, member, x = np.random.default_rng(0), int(start.members[m]), start.x[m]
    largest = float(np.max(np.abs(x)))
    largest = largest if largest > TINY else 1.0
    scale = np.where(np.abs(x) > 1e-6 * largest, np.abs(x), largest)
    x = x + offset * scale * np.where(x < 0.0, -1.0, 1.0) * rng.uniform(0.5, 1.0, size=len(x))

    own = tangent.of_member(member)

    def step(z: Array, d: Array) -> tuple[Array, Array]:
        with np.errstate(all="ignore"):
            if tangent.rounding > own.precision:  # a pass that says less than the step itself
                moved, pushed = own.step_tangent(start.n, z.copy(), d[:, None].copy())
            else:
                moved, pushed = tangent.step(start.n, z.copy(), d[:, None].copy(), member=member)
        return moved, pushed[:, 0]

    alone = tangent.tolerance == 0.0  # steps that adapt to their vectors need them

    def state(z: Array, d: Array) -> Array:
        with np.errstate(all="ignore"):
            return own.step(start.n, z.copy()) if alone else step(z, d)[0]

    found = _along(tangent, step, state, x, scale, scale * rng.normal(size=len(x)), FEW_RUNGS)
    if len(x) > MANY and found > LARGEST_DEFECT:  # shorter steps pass fewer kinks, of which there may be many
        found = min(found, _along(tangent, step, state, x, scale, scale * rng.normal(size=len(x)), RUNGS))
    uniform = np.full(len(x), np.max(scale))
    # columns of small entries hide behind those of large ones
    if len(x) <= MANY and (uniform > DISPARATE * scale).any():
        found = max(found, _along(tangent, step, state, x, uniform, uniform * rng.normal(size=len(x)), RUNGS))
    return found


def _along(
    tangent: Tangent,
    step: Callable[[Array, Array], tuple[Array, Array]],
    state: Callable[[Array, Array], Array],
    x: Array,
    scale: Array,
    d: Array,
    few: int,
) -> float:
    """The defect along one direction, of entries of this scale; `state` is the state of a step.

    Of a state of many components `few` shorter steps are tried.
    """
    (y, pushed), by_differences = step(x, d), tangent.derivative == DIFFERENCES
    if by_differences and not np.array_equal(step(x, d)[0], y, equal_nan=True):  # it answers differently every time
        return 1.0
    if by_differences and len(x) > TOO_MANY:  # whether they settle takes many steps to find out
        return np.nan

    seen: Any = slice(None)
    start, line, least = x, d, 0.0
    if len(x) > MOST_SEEN:  # as a function of one number, the way along d, and some components of it
        seen = np.linspace(0, len(x) - 1, MOST_SEEN).astype(int)
        start, line = np.zeros(1), np.ones(1)
        least = 1.0 / float(np.max(np.abs(d) / np.abs(x), where=x != 0.0, initial=1.0))

    def rule(points: Array) -> Array:
        return np.array([state(z if start is x else x + z * d, d)[seen] for z in points])

    y, pushed, moved, size = y[seen], pushed[seen], d[seen], scale[seen]
    rungs = (few if len(x) > MANY and not by_differences else RUNGS, 0)
    if by_differences and not tangent.tolerance:  # far away, where long differences look, steps that adapt take long
        rungs = (RUNGS, RUNGS)
    precision = tangent.of_member(0).precision
    slope, error = along(rule, start, y, line, rungs, ACCURATE * size, least, precision)
    if len(x) <= MANY or few == RUNGS:  # a second one of another length: noise that the first one happened to miss
        another, second = along(rule, start, y, 1.37 * line, rungs, 1.37 * ACCURATE * size, least, precision)
        error = np.maximum(error, second / 1.37) + np.abs(slope - another / 1.37)
    if not (np.isfinite(pushed).all() and np.isfinite(slope).all()):
        return np.nan
    moved = (np.abs(pushed - moved) + np.abs(slope - moved)) / size
    moved = np.maximum(moved, 1e-4 * np.max(moved))
    if by_differences:
        off = np.maximum(error, np.abs(pushed - slope)) / size  # of noise one alone may be large, and hide the error
        apart = np.where(error > UNSETTLED * np.abs(slope), np.minimum(off, moved), 0.0)
    else:
        rounding = 1e-12 * precision / np.finfo(float).eps
        beyond = 20.0 * error + (rounding + 1e4 * tangent.tolerance) * (np.abs(slope) + np.abs(pushed))
        apart = np.abs(pushed - slope)
        apart = np.where(apart > beyond, apart, 0.0) / size
    return float(np.max(np.divide(apart, moved, out=np.zeros(len(y)), where=moved > 0.0)))


def derivative_check(tangent: Tangent, defect: Array) -> tuple[Any, str]:
    """The mark and the text of `dynsys.errors.warn_of` for what `derivative_defect` found."""
    found = float(np.nanmax(np.append(defect, 0.0)))
    if tangent.derivative == DIFFERENCES:
        text = (
            f"finite differences of the function do not settle near the start (relative error {found:.0e}): it "
            "jumps, or is noisy; give it jacobian or jvp, or make it smooth"
        )
    else:
        text = (
            f"the derivative is not that of the function (relative defect {found:.2g} of a step near the start): find "
            "out where with dynsys.testing.check_system, or check_tangent"
        )
    return found > LARGEST_DEFECT, text
