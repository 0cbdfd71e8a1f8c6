"""Whether the step represents the system: what a finer step makes of the same intervals, from all over a run.

The tangent is the exact derivative of the numerical step, so a spectrum is that of the step. A finer step of the same
system, taken from the same states and frames, shows by how much it differs from that of the flow; the divergence of the
flow shows it for the sum of all exponents, also where both steps are too coarse to tell. No number of a run depends on
this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from dynsys.algorithms.checks.rest import CHECKED_MEMBERS, REPEATS, rests
from dynsys.passes.run_state import RunState, Tangent, forward_in_chunks
from dynsys.passes.status import RUNNING

Array = np.ndarray

LEAST_LOOKS, LARGEST_PARTED = 4, 5e-3  # that show how large an attractor is; a share of it
SHORT = 40  # strides: a record of no more is looked at once
LOOKS, SHARE = 16, 0.03  # from all over a run, and the share of its steps that are taken a second time
LONGEST, GROWTH = 10, 3.0  # intervals from a look on, and ln of the growth of a difference by then
MOST_NUMBERS = 4_000_000  # that are kept of all looks
VOLUMES = 4  # looks at which the divergence is asked for
MOST_STATES = 200_000  # that are asked on which side of a jump they lie
LARGEST_REMAINDER = 20.0  # of |lambda| T over a finite time, in which it is O(1)
FAST = 0.1  # divergence times dt: of rates that a step may lose
CERTAIN = 2.8  # errors of an estimate, which has long tails, that are no chance; more if looks are few
FAR = 4.0  # standard errors: so far from zero is not zero
LARGE_SHARE = 0.2  # of an exponent: so large an error is told, uncertain as it is
LEAST_SHARE, LEAST_GROWTH = 1e-3, 0.1  # of an exponent, and of growth in a record: a step may change so much unsaid
LEAST_NEUTRAL = 3.0  # the same where an exponent vanishes: growth O(1) says nothing of it, of either step


@attrs.frozen(eq=False)
class Representation:
    """What the step does to the system.

    Attributes
    ----------
    step : ndarray, shape (members, k)
        Estimate of the exponents under this step minus those of the flow, 1/time; NaN where the step is the system.
    noise : ndarray, shape (members, k)
        The standard error of that estimate.
    looks : int
        From how many looks it is.
    divergence_defect : ndarray, shape (members,)
        Growth of volumes under the step minus the divergence of the flow, 1/time; NaN where it is not known.
    divergence : ndarray, shape (members,)
        The mean divergence at the looks.
    parted : ndarray, shape (members,)
        Distance of the states by these and by finer steps after some intervals, as a share of the spread of the looks.
    """

    step: Array
    noise: Array
    looks: int
    divergence_defect: Array
    divergence: Array
    parted: Array

    @property
    def step_error(self) -> Array:
        """The estimate and its error together, with the sign of the estimate."""
        return np.copysign(np.hypot(self.step, self.noise), self.step)


def marks(intervals: int, stride: int, start: RunState) -> list[int]:
    """After how many intervals a run is looked at: evenly spaced multiples of the stride."""
    members, dim, k = start.Q.shape
    room = MOST_NUMBERS // (members * dim * (k + 1))
    least = 2 if intervals // stride > SHORT else 1  # that differ tell how far one can be trusted
    looks = max(least, min(LOOKS, int((intervals * SHARE / 3) ** 0.6), intervals // stride - 1, room))
    found = {(i + 1) * (intervals // stride) // (looks + 1) * stride for i in range(looks)}
    return sorted(found - {0})


def represent(
    tangent: Tangent, looks: Sequence[RunState], steps: int, intervals: int, exponents: Array
) -> Representation:
    """Compare the step with a finer one, and its volumes with the divergence, at the looks at a run."""
    members, k = exponents.shape
    none, unknown = np.full((members, k), np.nan), np.full(members, np.nan)
    found = Representation(none, none, len(looks), unknown, unknown, unknown)
    finer = tangent.finer()
    if finer is None or not looks:
        return found
    fine, ratio = finer
    budget = max(1, int(intervals * SHARE / 3) // len(looks))
    fastest = np.nanmax(np.abs(exponents[:, 0]), initial=0.0) * steps * tangent.dt
    window = max(1, min(LONGEST, budget, int(GROWTH / max(fastest, 1e-300)) if fastest > 0 else LONGEST))
    pairs = [_difference(tangent, fine, ratio, look, steps, window) for look in looks]
    differences = np.array([difference for difference, _ in pairs])
    spread = np.std([look.x for look in looks], axis=0).max(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        parted = np.median([distance for _, distance in pairs], axis=0) / np.where(spread > 0.0, spread, np.inf)
    with np.errstate(invalid="ignore"):
        mean = differences.mean(axis=0)
        scatter = differences.std(axis=0, ddof=1) if len(looks) > 1 else np.abs(mean)
    left = 2.0**tangent.order / (2.0**tangent.order - 1.0)  # the finer step has an error of its own
    mean, noise = left * mean, left * scatter / np.sqrt(len(looks))
    defect, divergence = _volumes(tangent, fine, ratio, looks) if k == tangent.dimension else (unknown, unknown)
    known = parted if len(looks) >= LEAST_LOOKS else unknown
    return Representation(mean, noise, len(looks), defect, divergence, known)


def _difference(
    tangent: Tangent, fine: Tangent, ratio: int, look: RunState, steps: int, window: int
) -> tuple[Array, Array]:
    """Mean rate of growth by steps minus that by finer ones, from one look on, (members, k); distance of the states."""
    coarse = tangent.forward(look, intervals=window, steps_per_interval=steps, record="growth")
    begin = attrs.evolve(look, n=look.n * ratio)
    finer = fine.forward(begin, intervals=window, steps_per_interval=steps * ratio, record="growth")
    with np.errstate(invalid="ignore"):  # of members that stopped
        rates = (coarse.growth - finer.growth).sum(axis=1) / (window * steps * tangent.dt)
        return rates, np.abs(coarse.x - finer.x).max(axis=1)


def _volumes(tangent: Tangent, fine: Tangent, ratio: int, looks: Sequence[RunState]) -> tuple[Array, Array]:
    """Rate at which single steps change volumes, minus the divergence by Simpson's rule; and the divergence."""
    members = len(looks[0].x)
    defect, divergence = np.full((2, members), np.nan)
    if ratio != 2:
        return defect, divergence
    checked = [m for m in range(members) if looks[0].members[m] < CHECKED_MEMBERS]
    at = np.linspace(0, len(looks) - 1, min(VOLUMES, len(looks))).round().astype(int)
    rows = []
    for look in (looks[i] for i in at):
        t, dt = tangent.time(look.n), tangent.dt
        if not checked or np.isnan(tangent.of_member(int(look.members[checked[0]])).divergence(t, look.x[checked[0]])):
            return defect, divergence
        end = tangent.forward(look, intervals=1, steps_per_interval=1, record="growth")
        middle = fine.forward(
            attrs.evolve(look, n=look.n * ratio), intervals=1, steps_per_interval=1, record="nothing"
        ).x
        row = np.full((2, members), np.nan)
        for m in checked:
            of = tangent.of_member(int(look.members[m])).divergence
            if end.status[m] == RUNNING:
                row[1, m] = (of(t, look.x[m]) + 4.0 * of(t + dt / 2, middle[m]) + of(t + dt, end.x[m])) / 6.0
                row[0, m] = end.growth[m].sum() / dt - row[1, m]
        rows.append(row)
    return tuple(np.median(rows, axis=0))


def crossings(tangent: Tangent, start: RunState, intervals: int, steps: int) -> str:
    """Which of the jumps of the velocity the run of one state, or of the first members, passes through."""
    names = tangent.jumps
    if not names:
        return ""
    first = start.members < CHECKED_MEMBERS
    alone = start.with_frames(0, 0)
    alone = attrs.evolve(alone, **{name: getattr(alone, name)[first] for name in PER_MEMBER})
    count = min(intervals, max(1, MOST_STATES // max(1, int(first.sum()))))
    crossed, last = np.zeros(len(names), dtype=bool), alone.x[:, None]
    n = alone.n
    for part in forward_in_chunks(tangent, alone, count, steps, "frames"):
        states = np.concatenate([last, part.xs], axis=1)
        for m in np.flatnonzero(part.status == RUNNING):
            of = tangent.of_member(int(alone.members[m]))
            sides = of.sides(n + steps * np.arange(states.shape[1]), states[m])
            crossed |= (sides != sides[:1]).any(axis=0)
        last, n = part.xs[:, -1:], part.n
    return ", ".join(name for name, passed in zip(names, crossed, strict=True) if passed)


PER_MEMBER = ("x", "Q", "status", "stopped", "members", "growth", "R", "xs", "Qs")


def step_checks(
    tangent: Tangent, exponents: Array, error: Array, looked: Representation, time: float
) -> list[tuple[Any, str]]:
    """Whether the step is too coarse for a record of so long a time: for each member, and the text."""
    step, noise = np.abs(looked.step_error), looked.noise
    with np.errstate(invalid="ignore"):
        sizes = np.abs(exponents)
        vanishes = sizes <= 4.0 * (error + np.nan_to_num(step))
        scale = np.where(vanishes, sizes.max(axis=1, keepdims=True), sizes)
        allowed = np.maximum(
            np.maximum(error, LEAST_SHARE * scale), np.where(vanishes, LEAST_NEUTRAL, LEAST_GROWTH) / time
        )
        certain = np.abs(looked.step) > CERTAIN * (1.0 + 4.0 / max(1, looked.looks - 1)) * noise
        likely = (np.abs(looked.step) > noise) | _no_zeros(tangent, sizes, error)[:, None]
        large = likely & (step > np.maximum(4.0 * error, LARGE_SHARE * scale))
        told = (step > allowed) & (certain | large)
        times = np.where(told, step / allowed, 1.0)
        volumes = looked.divergence + looked.divergence_defect
        lost = np.abs(looked.divergence_defect - np.nansum(looked.step, axis=1))  # by the finer step, too
        fast = np.abs(looked.divergence) * tangent.dt > FAST
        torn = lost > 0.1 * np.abs(looked.divergence) + 4.0 * np.nansum(error + noise, axis=1) + 1e-9 / tangent.dt
    coarse, far = looked.parted > LARGEST_PARTED, float(np.nanmax(looked.parted, initial=LARGEST_PARTED))
    worst, dry = np.unravel_index(np.argmax(times), times.shape), int(np.argmax(torn))
    shorter, half = (
        "a smaller rtol" if tangent.tolerance else f"dt = {dt:.2g}"
        for dt in (_shorter(tangent, float(times[worst])), _shorter(tangent, far / LARGEST_PARTED))
    )
    return [
        (
            told.any(axis=1) & ~torn,
            f"the step is too coarse for the error bar: it changes exponent {worst[1] + 1} by about "
            f"{looked.step_error[worst]:.2g}, the standard error is {error[worst]:.2g}; take {shorter}",
        ),
        (
            coarse & ~told.any(axis=1) & ~torn,
            f"the step is too coarse: in some intervals it moves states by {far:.1%} of the size of the "
            f"attractor; take {half}",
        ),
        (
            torn,
            "the step does not resolve the flow: under it volumes do not change as the divergence of the flow says, "
            f"{looked.divergence[dry]:.4g} per unit of time, but as {volumes[dry]:.4g}"
            f"{': rates as fast as 1/dt are lost' if fast[dry] else ''}; shorten dt",
        ),
    ]


def _no_zeros(tangent: Tangent, sizes: Array, error: Array) -> Array:
    """Whether exponents that should vanish do not, by their standard errors alone: a sign of a step too coarse."""
    zeros = tangent.vanishing_exponents if sizes.shape[1] == tangent.dimension else 0
    with np.errstate(divide="ignore"):
        return np.asarray((np.sort(sizes / error, axis=1)[:, :zeros] > FAR).any(axis=1))


def jump_check(crossed: str, members: int) -> tuple[Any, str]:
    """Whether the velocity jumps on the way."""
    return np.full(members, bool(crossed)), (
        f"the velocity jumps where {crossed} does, and the run passes there: at a jump the tangent of the flow has "
        "another term (the saltation matrix), which is missing, so exponents and vectors may be wrong; smooth it, such "
        "as tanh(x/0.01) for sign(x), and compare, or take a PoincareMap between the jumps"
    )


def _shorter(tangent: Tangent, ratio: float) -> float:
    """The step at which its error would be half the standard error, from the order of the stepper."""
    return float(tangent.dt * min(0.5, (2.0 * ratio) ** (-1.0 / tangent.order)))


@attrs.frozen(eq=False)
class Motion:
    """How the first members moved: what kind of system, the rate at which their speed changed, and whether they rest.

    Attributes
    ----------
    kind : str
        "flow" where a direction is known to be neutral, else `TimeStep.kind`.
    time : float
        Length of the record, T.
    speed : ndarray, shape (members,)
        ln(|f(end)| / |f(start)|) / T: exactly the exponent of the direction of the flow over the record; or NaN.
    rest : ndarray, shape (members, dim)
        Rates of growth of small displacements from the state at rest, descending; NaN for a member that moves.
    """

    kind: str
    time: float
    speed: Array
    rest: Array


def motion(tangent: Tangent, start: RunState, end: RunState, looks: Sequence[RunState]) -> Motion:
    """How the first members moved from start to end, where they run on, seen on the way at some looks."""
    members, dim = start.x.shape
    speed, rest = np.full(members, np.nan), np.full((members, dim), np.nan)
    kind = tangent.of_member(int(start.members[0])).kind
    time = (end.n - start.n) * tangent.dt
    for m in np.flatnonzero((start.members < CHECKED_MEMBERS) & (end.status == RUNNING)):
        step = tangent.of_member(int(start.members[m]))
        seen, n = [start, *looks[::4], end], max(start.n, end.n - REPEATS)  # steps that were taken: data may end there
        first, last = (step.velocity(look.n, look.x[m]) for look in (start, end))
        if last is not None:
            kind = "flow"
            with np.errstate(divide="ignore", invalid="ignore"):
                speed[m] = np.log(np.float64(_length(last)) / _length(first)) / time
        if rests(step, n, end.x[m], scale=max(np.abs(look.x[m]).max() for look in seen)):
            now, before = (step.linear_rates(n, end.x[m]) for n in (n, start.n))
            if np.allclose(now, before, rtol=1e-9, atol=0.0):  # else time is in the equations
                rest[m] = now
    return Motion(kind, time, speed, rest)


def _length(v: Array) -> float:
    """Euclidean length, of numbers whose squares may overflow, too."""
    largest = np.abs(v).max()
    return float(largest * np.linalg.norm(v / largest)) if 0.0 < largest < np.inf else float(largest)
