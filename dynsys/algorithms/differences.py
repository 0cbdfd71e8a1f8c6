"""Derivatives by finite differences that know their error.

Along a direction d, two orders from the same four values at x - 2hd, x - hd, x + hd, x + 2hd:

    low = (f(h) - f(-h)) / 2h,  far = (f(2h) - f(-2h)) / 4h,  high = low + (low - far) / 3 = f' + O(h^4).

Their difference bounds the error of the higher one. Its square estimates that error where the difference is small, and
falls as fast as h^2 does: of noise, or of a root, it does not. What is odd about
a kink in the middle, both orders miss; the even part (f(h) - 2 f(0) + f(-h)) / h, extrapolated to h = 0, shows it. The
step h begins as large as the entries that move and, until the orders agree, shrinks by 8 (a short scale, a jump or a
kink nearby, a pole, the end of a domain), then grows by 8 (noise). Every component takes the step at which its own
relative error is least. Where f has values on one side only, differences are one-sided, of the same two orders.

`BY_DIFFERENCES` is the same for the compiler: a rule beside its compiled text, so that neither is changed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dynsys.errors import DynsysError, real

Array = np.ndarray
Function = Callable[[Array], Array]

RUNGS = 12  # steps of a ladder, each 8 times as short (long) as the one before
FACTOR = 8.0
PATIENCE = 2  # steps at which noise grows in all components, not at once, after which the ladder is left
SMOOTH = 16.0  # at least so much closer are the two orders with an eighth of the step; 64 in the limit
CHANCE = 0.1  # relative error that is told, below which two orders may agree by chance: sin(x), steps of many periods
POOR = 1e-6  # relative error of the best shorter step, above which longer ones are tried
CONFIRMED = 100.0  # errors of a short step within which a longer one may differ
KNOWN = 0.2  # relative error below which a derivative does not vanish
ROUGH = 1e-5  # noise, as a share of the value, of what longer steps could only smear
HOPELESS = 0.3  # relative error at which a component has no digit
ENOUGH = 1e-8  # relative error at which no other step is tried
EPS = float(np.finfo(float).eps)
FIRST = EPS**0.2  # the step, as a share of the entry: rounding and h^4 are as large
FEW = 16  # entries whose columns are found one by one, however few vectors there are


def differences(
    function: Function, x: Array, V: Array, rungs: tuple[int, int] = (RUNGS, RUNGS), precision: float = EPS
) -> tuple[Array, Array]:
    """Derivatives of a function at x along the columns of V, and estimates of their errors.

    Up to 16 entries, or as many as there are columns, the Jacobian is found column by column, each with a step of its
    own, and multiplied by V: products are then linear in V to rounding. Of more entries, one step is that of a
    direction. Cost: four evaluations for each of them where the first step is right, some more where it is not.

    Parameters
    ----------
    function : callable, (..., dim) -> (..., m)
        May be NaN, or raise a ValueError or ArithmeticError, beyond the end of its domain.
    x : ndarray, shape (dim,)
    V : ndarray, shape (dim, k)
    rungs, precision
        As for `along`.

    Returns
    -------
    slopes, errors : ndarray, shape (m, k)
        Errors are estimates of |error|, infinite (and slopes NaN) where f has no values on either side.
    """
    dim, k = V.shape
    with np.errstate(all="ignore"):
        value = real("values of a function", function(x[None]))[0]
    few = dim <= max(k, FEW)
    directions = np.eye(dim) if few else V.T
    found = np.array([along(function, x, value, direction, rungs, precision=precision) for direction in directions])
    slopes, errors = np.moveaxis(found.reshape(len(directions), 2, -1), 0, -1)
    if not few:
        return slopes, errors
    with np.errstate(invalid="ignore"):
        return slopes @ V, np.where(V == 0.0, 0.0, errors[:, :, None] * np.abs(V)).sum(axis=1)


def finite_difference(function: Function, x: Array, V: Array) -> Array:
    """Derivatives of a function at x along the columns of V, shape (m, k): those of `differences`."""
    return differences(function, x, V)[0]


def along(
    function: Function,
    x: Array,
    value: Array,
    direction: Array,
    rungs: tuple[int, int] = (RUNGS, RUNGS),
    enough: Any = 0.0,
    scale: Any = 1.0,
    precision: float = EPS,
) -> tuple[Array, Array]:
    """Derivative of all components along one direction, and its error: one of those of `differences`.

    Parameters
    ----------
    function, x
        As for `differences`.
    value : ndarray, shape (m,)
        function(x).
    direction : ndarray, shape (dim,)
    rungs : (int, int)
        Most steps that are tried, shorter and longer ones.
    enough : float or ndarray, shape (m,)
        Errors that need not be smaller.
    scale : float or ndarray, shape (dim,)
        Entries are taken to be as large as this, or as they are, when the first step is chosen.
    precision : float
        Relative rounding of the values.

    Returns
    -------
    slope, error : ndarray, shape (m,)
    """
    slope, error, share = np.full((3, len(value)), np.nan)
    error[:] = share[:] = np.inf
    longest = float(np.max(np.abs(direction) / np.maximum(scale, np.abs(x)), initial=0.0))
    if longest == 0.0:
        return np.zeros(len(value)), np.zeros(len(value))
    at_first: Array | None = None
    rough = np.zeros(len(value), dtype=bool)
    first = 2.0 ** np.floor(np.log2(precision**0.2 / longest) + 0.5)  # a power of two: an entry plus it is not rounded
    for h, factor, tries in ((first, 1.0 / FACTOR, rungs[0]), (first * FACTOR, FACTOR, rungs[1])):
        worse, before = 0, at_first
        poor = share > POOR  # from afar a wiggle cannot be seen: long steps are a last resort
        if factor > 1.0 and not (poor & ~rough).any():
            break
        for _ in range(tries):
            new, defect, before = _rung(
                function, x, value, direction, h, before, factor > 1.0, share < KNOWN, precision
            )
            if at_first is None:
                at_first, rough = before, ~(before * first <= ROUGH * np.abs(value))
            with np.errstate(invalid="ignore"):
                relative = np.where(defect > 0.0, defect / (np.abs(new) + defect), 0.0)
            # no digit is better than another: one of noise, or at a jump, is that of the first step
            better = (
                (relative < share)
                & ((relative <= HOPELESS) | np.isinf(share))
                & (poor & ~rough if factor > 1.0 else True)
            )
            if factor > 1.0:  # a long step sees less noise, and jumps far away: it must confirm what is known
                known = share < KNOWN
                with np.errstate(invalid="ignore", divide="ignore"):
                    better &= ~known | (np.abs(new - slope) <= CONFIRMED * share / (1.0 - share) * np.abs(slope))
            slope[better], error[better], share[better] = new[better], defect[better], relative[better]
            unsettled = (share > ENOUGH) & (error > enough)
            if not unsettled.any():
                return slope, error
            noisy = (relative > 3.0 * share) & ((relative <= HOPELESS) | (share > CHANCE))
            worse = worse + 1 if noisy[unsettled].all() else 0
            if worse == PATIENCE:
                break
            h *= factor
    return slope, error


def _rung(
    function: Function,
    x: Array,
    value: Array,
    direction: Array,
    h: float,
    before: Array | None,
    longer: bool,
    known: Array,
    precision: float,
) -> tuple[Array, Array, Array]:
    """The derivative with one step, its error, infinite where there are no values, and how far both orders are apart.

    That is what tells, with how far apart they were `before`, one step up or (if h is the longer one) down. `known`:
    whether another step has seen that the derivative does not vanish.
    """
    moved = h * direction
    with np.errstate(all="ignore"):
        slip = np.max(np.abs((x + moved) - x - moved)) / np.max(np.abs(moved))  # rounding of the points
    ahead, back, far, rear = _values(function, x + moved * np.array([1.0, -1.0, 2.0, -2.0])[:, None])
    size = np.abs(value)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if np.isfinite([ahead, back, far, rear]).all():
            low = (ahead - back) / (2.0 * h)
            high = low + (low - (far - rear) / (4.0 * h)) / 3.0
            kink = np.abs(2.0 * (ahead - 2.0 * value + back) - 0.5 * (far - 2.0 * value + rear)) / h
            size = np.max([size, *map(np.abs, (ahead, back, far, rear))], axis=0)
        else:
            side = 1.0 if np.isfinite([ahead, far]).all() else -1.0
            one, two = (ahead, far) if side > 0 else (back, rear)
            three, four = _values(function, x + side * moved * np.array([3.0, 4.0])[:, None])
            low = side * (4.0 * one - 3.0 * value - two) / (2.0 * h)
            high = side * (48.0 * one - 25.0 * value - 36.0 * two + 16.0 * three - 3.0 * four) / (12.0 * h)
            kink = np.zeros(len(value))
            size = 8.0 * np.max([size, *map(np.abs, (one, two, three, four))], axis=0)
        apart = np.abs(high - low)
        # no change at all is none, but where another step saw one: it may be too small for this step
        noise = np.where((apart + np.abs(high) > 0.0) | known, 2.0 * precision * size / h, 0.0) + slip * np.abs(high)
        if before is None:  # nothing to compare with
            smooth = 10.0 * apart * apart <= ENOUGH * high * high
        else:
            smooth = ~(SMOOTH * before > apart) if longer else ~(SMOOTH * apart > before)
        share = np.where(smooth & (apart < 0.1 * np.abs(high)), 10.0 * apart / np.abs(high), 1.0)
        error = share * apart + 0.5 * kink + noise
    return high, np.where(np.isfinite(error), error, np.inf), apart


def _values(function: Function, points: Array) -> Array:
    """Values at some points, NaN where the function has none."""
    with np.errstate(all="ignore"):
        try:
            return real("values of a function", function(points))
        except DynsysError:
            raise
        except (ValueError, ArithmeticError):
            values = [_value(function, point) for point in points]
    length = next((len(value) for value in values if value is not None), points.shape[1])
    return np.array([np.full(length, np.nan) if value is None else value for value in values])


def _value(function: Function, point: Array) -> Array | None:
    try:
        return real("values of a function", function(point[None]))[0]
    except DynsysError:
        raise
    except (ValueError, ArithmeticError):
        return None


WORK = 12  # rows of length dim, beside a Jacobian, that `linearise` below works in

BY_DIFFERENCES = f'''

@njit
def value(t, x, direction, h, out, parameters, state, point):
    """out = function(t, x + h direction), and whether it has a value there."""
    for i in range(len(x)):
        point[i] = x[i] + h * direction[i]
    evaluate(t, point, out, parameters, state)
    total = 0.0
    for i in range(len(x)):
        total += 0.0 * out[i]
    return total == 0.0


@njit
def along(t, x, f, direction, slope, parameters, work):
    """slope = the derivative along a direction, as `dynsys.algorithms.differences` finds it."""
    dim = len(x)
    state, point, ahead, back, far, rear, share, before = work[:8]
    at_first, poor = work[10], work[11]
    longest = 0.0
    for i in range(dim):
        slope[i], share[i], before[i] = np.nan, np.inf, np.inf
        longest = max(longest, abs(direction[i]) / max(1.0, abs(x[i])))
    if longest == 0.0:
        slope[:] = 0.0
        return
    first = 2.0 ** math.floor(math.log2({FIRST!r} / longest) + 0.5)
    for up in range(2):
        h, worse, last_resort = (first * {FACTOR} if up else first), 0, False
        for i in range(dim):
            poor[i] = not up or (share[i] > {POOR} and at_first[i] * first <= {ROUGH} * abs(f[i]))
            last_resort = last_resort or poor[i] > 0.0
        if not last_resort:
            return
        for rung in range({RUNGS}):
            slip, longest = 0.0, 0.0
            for i in range(dim):
                moved = h * direction[i]
                point[i] = x[i] + moved
                slip = max(slip, abs(point[i] - x[i] - moved))
                longest = max(longest, abs(moved))
            slip /= longest
            rearward = value(t, x, direction, -h, back, parameters, state, point)
            rearward = value(t, x, direction, -2.0 * h, rear, parameters, state, point) and rearward
            after = value(t, x, direction, h, ahead, parameters, state, point)
            after = value(t, x, direction, 2.0 * h, far, parameters, state, point) and after
            side = 0.0
            one, two, three, four = ahead, far, back, rear
            if not (rearward and after):
                side = 1.0 if after else -1.0
                if not after:
                    one, two, three, four = back, rear, ahead, far
                after = after or rearward
                after = value(t, x, direction, 3.0 * side * h, three, parameters, state, point) and after
                after = value(t, x, direction, 4.0 * side * h, four, parameters, state, point) and after
            enough, grows = True, True
            for i in range(dim):
                size = max(abs(f[i]), abs(one[i]), abs(two[i]), abs(three[i]), abs(four[i]))
                if side == 0.0:
                    low = (one[i] - three[i]) / (2.0 * h)
                    high = low + (low - (two[i] - four[i]) / (4.0 * h)) / 3.0
                    kink = abs(2.0 * (one[i] - 2.0 * f[i] + three[i]) - 0.5 * (two[i] - 2.0 * f[i] + four[i])) / h
                else:
                    low = side * (4.0 * one[i] - 3.0 * f[i] - two[i]) / (2.0 * h)
                    high = 48.0 * one[i] - 25.0 * f[i] - 36.0 * two[i] + 16.0 * three[i] - 3.0 * four[i]
                    high *= side / (12.0 * h)
                    kink, size = 0.0, 8.0 * size
                apart = abs(high - low)
                last = at_first[i] if up and rung == 0 else before[i]
                if up or rung > 0:
                    smooth = not ({SMOOTH} * last > apart if up else {SMOOTH} * apart > last)
                else:
                    smooth = 10.0 * apart * apart <= {ENOUGH} * high * high
                error = (10.0 * apart / abs(high) if smooth and apart < 0.1 * abs(high) else 1.0) * apart + 0.5 * kink
                before[i] = apart
                if not up and rung == 0:
                    at_first[i] = apart
                seen = share[i] < {KNOWN} or apart + abs(high) > 0.0
                error += (2.0 * {np.finfo(float).eps!r} * size / h if seen else 0.0)
                error += slip * abs(high)
                relative = error / (abs(high) + error) if error > 0.0 else 0.0
                if not after or not math.isfinite(error):
                    relative = np.inf
                apart = {CONFIRMED} * share[i] / (1.0 - share[i]) * abs(slope[i])
                if up and share[i] < {KNOWN} and not abs(high - slope[i]) <= apart:
                    relative = np.inf  # a long step must confirm what is known
                if poor[i] > 0.0 and relative < share[i] and (relative <= {HOPELESS} or share[i] == np.inf):
                    slope[i], share[i] = high, relative
                enough = enough and share[i] <= {ENOUGH}
                noisy = relative > 3.0 * share[i] and (relative <= {HOPELESS} or share[i] > {CHANCE})
                grows = grows and (noisy or share[i] <= {ENOUGH})
            if enough:
                return
            worse = worse + 1 if grows else 0
            if worse == {PATIENCE}:
                break
            h = h * {FACTOR} if up else h / {FACTOR}


@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = function(t, x) and F = J V by differences."""
    dim, k = V.shape
    work = scratch[: {WORK} * dim].reshape(({WORK}, dim))
    J = scratch[{WORK} * dim : ({WORK} + dim) * dim].reshape((dim, dim))
    direction, slope = work[8], work[9]
    if not evaluate(t, x, f, parameters, work[0]):
        F[:] = np.nan
        return
    few = dim <= max(k, {FEW})
    direction[:] = 0.0
    for c in range(dim if few else k):
        if few:
            direction[c] = 1.0
        else:
            copy(direction, V[:, c])
        along(t, x, f, direction, slope, parameters, work)
        if few:
            direction[c] = 0.0
            copy(J[:, c], slope)
        else:
            copy(F[:, c], slope)
    if few:
        {{product}}
'''
