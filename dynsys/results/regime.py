"""What kind of motion a spectrum shows: from its exponents and all that is known of their errors."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from dynsys.results.printing import with_error

Array = np.ndarray

CLEAR = 4.0  # errors, bar and step error together, beyond which an exponent has a sign
LEAST_GROWTH = 12.0  # |lambda| T: a neutral direction grows by factors of order one, or like a power of T
ROUNDING = 1e-12  # of exponents, relative
SMALL_GROWTH = 0.1  # |lambda| T that is nothing
SHARP = 0.05  # share of the local rates within which a mean of them vanishes


class Regime(str):
    """The name of a regime, a `str`, with the reason for it.

    "at rest", "periodic", "quasi-periodic on a 2-torus" (3-torus, ...), "chaotic", "hyperchaotic", "diverging" or
    "undecided".

    Examples
    --------
    >>> motion = Regime("chaotic", "exponent 1 is positive")
    >>> motion == "chaotic", motion.reason
    (True, 'exponent 1 is positive')
    """

    reason: str
    vanishing: tuple[int, ...]

    def __new__(cls, name: str, reason: str, vanishing: tuple[int, ...] = ()) -> Regime:
        """A name and why; of regular motion also which exponents vanish, counted from 0."""
        made = super().__new__(cls, name)
        made.reason, made.vanishing = reason, vanishing
        return made

    def __reduce__(self) -> Any:
        return Regime, (str(self), self.reason, self.vanishing)


@attrs.frozen
class Motion:
    """What a regime is told by, of one run.

    Attributes
    ----------
    exponents, errors : ndarray, shape (k,)
        Errors are standard error and step error together, 1/time.
    steps : ndarray, shape (k,)
        Step errors alone.
    spread : ndarray, shape (k,)
        Standard deviation of the rates in the record, 1/time.
    time : float
        Length of the record.
    dimension : int
        Of the state space.
    kind : str
        "flow", "driven flow", "map", or "data": driven by data.
    stopped : bool
        Whether it left all bounds.
    doubtful : bool
        Whether a check failed on which the kind of motion depends.
    rest : ndarray, shape (dim,)
        Rates of growth at the state of rest where the run ends; NaN: it does not rest.
    speed : float
        Exponential rate at which the speed changed over the record, 1/time; NaN if there is none.
    """

    exponents: Array
    errors: Array
    steps: Array
    spread: Array
    time: float
    dimension: int
    kind: str
    stopped: bool
    doubtful: bool
    rest: Array
    speed: float


def regime(motion: Motion) -> Regime:
    """The regime of one run, with the reason."""
    values, errors, k = motion.exponents, motion.errors, len(motion.exponents)
    if motion.stopped:
        return Regime("diverging", "the state leaves all bounds")
    if np.isfinite(motion.rest).any():
        rates = ", ".join(f"{rate:.4g}" for rate in motion.rest[:6]) + ", ..." * (len(motion.rest) > 6)
        of = "logarithms of the moduli" if motion.kind == "map" else "real parts"
        return Regime("at rest", f"the state no longer moves; {of} of the eigenvalues there: {rates}")
    if motion.kind == "data":
        return Regime("undecided", "data drive the system, and these are exponents of this path over a finite time")
    if motion.doubtful:
        return Regime("undecided", "a check failed on which it depends: see the warning")
    if not np.isfinite(errors).all():
        return Regime("undecided", "the record is too short for error bars")
    if motion.speed * motion.time > LEAST_GROWTH:
        return Regime("diverging", f"the speed grows at the rate {motion.speed:.3g}")
    if -motion.speed * motion.time > LEAST_GROWTH:
        return Regime("undecided", f"the speed falls at the rate {-motion.speed:.3g}: the run is on its way to rest")
    largest = float(np.abs(values).max())
    errors = np.maximum(errors, ROUNDING * largest)
    grows = np.abs(values) * motion.time > LEAST_GROWTH
    clear = np.abs(values) > CLEAR * errors
    signs = np.where(grows & clear, np.sign(values), 0).astype(int)
    # an exponent vanishes as far as one can see: it is small beside the local rates of which it is the mean, or has
    # changed nothing by the end; one between two and four of its errors is neither
    most = np.abs(values) + 2.0 * errors
    sharp = (np.abs(values) <= 2.0 * errors) & (most <= SHARP * motion.spread)
    sharp |= ~clear & (most <= SMALL_GROWTH / motion.time)
    positive = int(np.count_nonzero(signs > 0))
    told = [f"exponent {j + 1} is {with_error(float(values[j]), float(errors[j]))}" for j in range(k)]
    if positive:
        firm = [text for text, sign in zip(told, signs, strict=True) if sign > 0]
        return Regime("hyperchaotic" if positive > 1 else "chaotic", ", ".join(firm[:4]))
    vague = np.flatnonzero((signs == 0) & ~sharp)
    if len(vague):
        j = int(vague[0])
        why = "which may vanish or not: run longer"
        if clear[j]:
            grown, longer = values[j] * motion.time, LEAST_GROWTH / abs(values[j])
            why = f"but in this record it changes lengths by no more than exp({grown:.2g}): run on to T = {longer:.2g}"
        elif motion.steps[j] > errors[j] / 2:
            why = "most of which is the error of the step: shorten dt"
        return Regime("undecided", f"{told[j]}, {why}")
    if k < motion.dimension and not (signs < 0).any():
        return Regime("undecided", f"none of the first {k} exponents is negative: follow more vectors (k > {k})")
    return _regular(motion, tuple(np.flatnonzero(sharp).tolist()))


def _regular(motion: Motion, vanishing: tuple[int, ...]) -> Regime:
    """The regime where no exponent is positive, and these vanish."""
    zeros = len(vanishing)
    if motion.kind == "flow" and not zeros:
        return Regime("undecided", "no exponent vanishes, although the state moves: see the checks")
    vanish = f"{zeros} exponent{'s vanish' if zeros != 1 else ' vanishes'}" if zeros else "all exponents are negative"
    frequencies = zeros
    if zeros == motion.dimension > 1:  # nothing shrinks: in pairs, an action and its angle
        frequencies = math.ceil(zeros / 2)
        vanish = f"all {zeros} exponents vanish, as in an integrable system"
    if motion.kind == "driven flow":  # the frequency of the drive is no component of the state
        frequencies, vanish = frequencies + 1, f"{vanish}, if the drive is periodic"
    if frequencies <= (motion.kind != "map"):
        return Regime("periodic", vanish, vanishing)
    if zeros < motion.dimension or motion.dimension == 1:
        vanish += " (as at a bifurcation, too)"
    return Regime(f"quasi-periodic on a {frequencies}-torus", f"none is positive, {vanish}", vanishing)
