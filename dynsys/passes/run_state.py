"""Passes over a trajectory: where one ends, what it records, how algorithms run and continue them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal, Protocol

import attrs
import numpy as np

from dynsys.errors import (
    InterruptedWarning,
    InvalidInputError,
    one_of,
    real,
    whole_number,
    whole_seed,
)
from dynsys.passes.memory import ask_for_memory
from dynsys.passes.orthonormal import random_frames
from dynsys.passes.status import DIVERGED, RUNNING

Array = np.ndarray

Draw = Callable[[int, int, int, Array], Array]
Record = Literal["nothing", "growth", "R", "frames"]
RECORDED: dict[Record, tuple[str, ...]] = {
    "nothing": (),
    "growth": ("growth",),
    "R": ("R",),
    "frames": ("R", "xs", "Qs"),
}


SAME_TIME = 1e-9  # share of a step by which two clocks may differ: rounding


@attrs.frozen(eq=False)
class RunState:
    """Where a pass over the trajectory ended, and what it recorded. A pass can be continued from it.

    Attributes
    ----------
    n : int
        Steps since the start of the run, warm-up included.
    x, Q : ndarray, shapes (members, dim) and (members, dim, k)
        Last states and orthonormal frames; NaN for members that stopped. A pass of the state alone has k = 0.
    status, stopped : ndarray, shape (members,)
        RUNNING, DIVERGED or SINGULAR, and the step at the end of the interval in which that happened (-1: not).
    members : ndarray, shape (members,)
        Identity of every member: the key of its random numbers.
    single : bool
        Whether the run began with one state (dim,): then results have no member axis.
    growth : ndarray, shape (members, intervals, k)
        log R_ii of every interval, or summed over strides of intervals. What was not asked for is recorded for no
        interval.
    R : ndarray, shape (members, intervals, k (k + 1) / 2)
        The triangular factors, packed by columns (`dynsys.passes.orthonormal.packed`): R[:, i] maps the start of
        interval i to its end.
    xs, Qs : ndarray, shapes (members, intervals, dim) and (members, intervals, dim, k)
        States and frames at the ends of the intervals.
    t0, dt : float
        The clock: step n begins at t0 + n dt. NaN where it is not known, as in files of earlier versions.
    system : str
        What moved, told in short (`TangentSystem.identity`): a run is continued only by the same. Empty where that is
        not known, as in files of earlier versions: then nothing is held against it.
    cause : str
        Which derivative was not finite, where that is why the run of one state diverged; or empty.
    """

    n: int
    x: Array
    Q: Array
    status: Array
    stopped: Array
    members: Array
    single: bool
    growth: Array
    R: Array
    xs: Array
    Qs: Array
    t0: float = math.nan
    dt: float = math.nan
    system: str = ""
    cause: str = ""

    @classmethod
    def start(cls, x0: Array, dimension: int, k: int | None, seed: int, members: Array | None = None) -> RunState:
        """The start of a run at x0, (dim,) or (members, dim), with random frames; see `with_frames`.

        `members` are their identities where they are some of many, by default 0, 1, ...
        """
        x = real("x0", x0)
        ask_for_memory("a copy of x0, which is never changed,", 9 * x.size, "begin with fewer members")
        if x.ndim not in (1, 2) or x.shape[-1] != dimension or x.size == 0:
            raise InvalidInputError(f"x0 must have shape ({dimension},) or (members, {dimension}), got {x.shape}")
        if not np.isfinite(x).all():
            raise InvalidInputError(
                f"x0 must be finite, got NaN or infinity at {np.argwhere(~np.isfinite(x)).tolist()!s:.100}"
            )
        states = np.atleast_2d(x).copy()
        bare = (len(states), dimension, 0)
        return cls(
            n=0,
            x=states,
            Q=np.empty(bare),
            status=np.zeros(len(states), dtype=np.int8),
            stopped=np.full(len(states), -1, dtype=np.int64),
            members=np.arange(len(states)) if members is None else np.array(members),
            single=x.ndim == 1,
            **_room(bare, 0, "nothing"),
        ).with_frames(k, seed)

    @property
    def time(self) -> float:
        """Time at the end of the last step, t0 + n dt."""
        return self.t0 + self.n * self.dt

    @property
    def k(self) -> int:
        """Number of tangent vectors."""
        return self.Q.shape[2]

    def with_frames(self, k: int | None, seed: int, draw: Draw = random_frames) -> RunState:
        """The same end with random frames of k columns, keyed by (seed, member). None: dim; 0: the state alone.

        `draw(dim, k, seed, members)` makes them, (members, dim, k).
        """
        dimension = self.x.shape[1]
        k = dimension if k is None else whole_number("k", k, 0)
        if k > dimension:
            raise InvalidInputError(f"k must be at most the dimension {dimension}, got {k}")
        ask_for_memory(f"a frame of k = {k} vectors", 4 * len(self.x) * dimension * k, "follow fewer vectors (k)")
        Q = draw(dimension, k, whole_seed(seed), self.members)
        Q[self.status != RUNNING] = np.nan
        return attrs.evolve(self, Q=Q, **_room(Q.shape, 0, "nothing"))

    def recording(self, n: int, intervals: int, record: Record, Q: Array | None = None) -> RunState:
        """A pass that begins where this one ended and will end at step n, with room for what is recorded.

        `Q` is room for the frames, if the caller has any; default: a copy of these.
        """
        return attrs.evolve(
            self,
            n=n,
            x=self.x.copy(),
            Q=self.Q.copy() if Q is None else Q,
            status=self.status.copy(),
            stopped=self.stopped.copy(),
            **_room(self.Q.shape, intervals, record),
        )

    def blank(self, start: RunState, steps_per_interval: int) -> None:
        """Make NaN what members that stopped left unrecorded since `start`."""
        for m in np.flatnonzero(self.status != RUNNING):
            stopped = max(0, (int(self.stopped[m]) - start.n) // steps_per_interval - 1)
            for record in (self.growth, self.R, self.xs, self.Qs):
                record[m, stopped:] = np.nan

    def without_records(self) -> RunState:
        """The same end, read-only, without what was recorded on the way."""
        end = attrs.evolve(self, **_room(self.Q.shape, 0, "nothing"))
        for array in (end.x, end.Q, end.status, end.stopped, end.members, end.growth, end.R, end.xs, end.Qs):
            array.flags.writeable = False
        return end

    def as_given(self, array: Array) -> Array:
        """An array of results as the user gave x0: without the member axis for one state."""
        return array[0] if self.single else array


def _room(frames: tuple[int, ...], intervals: int, record: Record) -> dict[str, Any]:
    """Arrays for what is recorded in a pass with frames of shape (members, dim, k)."""
    members, dim, k = frames
    shapes = {"growth": (k,), "R": (k * (k + 1) // 2,), "xs": (dim,), "Qs": (dim, k)}
    one_of("record", record, *RECORDED)
    wanted = RECORDED[record]
    return {name: np.empty((members, intervals * (name in wanted), *shape)) for name, shape in shapes.items()}


class Tangent(Protocol):
    """What an algorithm asks of a tangent; `dynsys.systems.tangent.TangentSystem` is one."""

    @property
    def dimension(self) -> int: ...  # noqa: D102
    @property
    def dt(self) -> float: ...  # noqa: D102
    @property
    def members(self) -> int | None: ...  # noqa: D102
    @property
    def rounding(self) -> float: ...  # noqa: D102
    def random_frames(self, dim: int, k: int, seed: int, members: Array) -> Array: ...  # noqa: D102
    @property
    def derivative(self) -> str: ...  # noqa: D102
    @property
    def derives(self) -> bool: ...  # noqa: D102
    @property
    def vanishing_exponents(self) -> int: ...  # noqa: D102
    @property
    def tolerance(self) -> float: ...  # noqa: D102
    @property
    def order(self) -> int: ...  # noqa: D102
    @property
    def jumps(self) -> Sequence[str]: ...  # noqa: D102
    def finer(self) -> tuple[Tangent, int] | None: ...  # noqa: D102
    def of_member(self, member: int) -> Any: ...  # noqa: D102
    @property
    def failure_hint(self) -> str: ...  # noqa: D102
    @property
    def clock(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102
    def differing(self, system: str) -> tuple[str, str]: ...  # noqa: D102
    def explain(self, n: int, x: Array, V: Array, steps: int, *, member: int = 0) -> str: ...  # noqa: D102
    def singular(self, n: int, x: Array, V: Array, steps: int, *, member: int = 0) -> str: ...  # noqa: D102
    def time(self, n: int | Array) -> Any: ...  # noqa: D102
    def complete(self, x0: Any) -> Any: ...  # noqa: D102
    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]: ...  # noqa: D102
    def forward(  # noqa: D102
        self, start: RunState, *, intervals: int, steps_per_interval: int, record: Record
    ) -> RunState: ...


def begin(tangent: Tangent, x0: Array | RunState, k: int | None, seed: int) -> RunState:
    """Where an algorithm begins: the start of a run, or the end of an earlier one, to be continued.

    Parameters
    ----------
    tangent : TangentSystem
    x0 : array_like, shape (dim,) or (members, dim), or RunState
        Initial states; or where an earlier run ended, with its frames. One of the state alone
        (`dynsys.algorithms.trajectory.trajectory`), and the start that an `Ensemble` hands to an algorithm, have none:
        new ones begin there.
    k : int or None
        Number of tangent vectors; None: all.
    seed : int
        Of random first frames, keyed by (seed, member).

    Raises
    ------
    InvalidInputError
        For wrong shapes, non-finite states, another k than that of the run to be continued.
    """
    k = None if k is None else whole_number("k", k, 1)
    if not isinstance(x0, RunState):
        return _start(tangent, x0, k, seed)
    start = begin_again(tangent, x0)
    if start.k == 0:
        return start.with_frames(k, seed, tangent.random_frames)
    if k is not None and k != start.k:
        raise InvalidInputError(f"the run to be continued follows k = {start.k} vectors, got k = {k}: leave k out")
    return start


def begin_again(tangent: Tangent, end: RunState) -> RunState:
    """The end of an earlier run, if it is one of this system, with these members and at its time, to be continued."""
    if end.x.shape[1] != tangent.dimension:
        raise InvalidInputError(
            f"the run to be continued must have dimension {tangent.dimension}, got {end.x.shape[1]}"
        )
    begun = not (end.n == 0 and math.isnan(end.dt))  # else a start of some of many members
    members = len(end.x)
    if begun and tangent.members not in (None, members):
        raise InvalidInputError(
            f"the run to be continued must have {tangent.members} members, one for each value of the parameters, got "
            f"{members}: vary the parameters of as many"
        )
    there, here = tangent.differing(end.system)
    if there:
        clock = "" if tangent.of_member(0).kind == "map" else ", with tangent(..., t0=end.time) if the equations hold t"
        raise InvalidInputError(
            f"the run to be continued had {there}, and this has {here}: continue it with the same values, or begin a "
            f"new one where it ended (x0=end.x{'[0]' * end.single}{clock})"
        )
    if not same_clock(tangent, end):
        t0, dt = tangent.clock
        raise InvalidInputError(
            f"the run to be continued is at t = {end.time:.10g}, and step {end.n} of this begins at "
            f"t = {t0 + end.n * dt:.10g}: set the clock first, tangent = in_step(tangent, end) of dynsys.passes.clock"
        )
    return _on_clock(tangent, end.without_records())


def same_clock(tangent: Tangent, end: RunState) -> bool:
    """Whether the next step begins when the run ended, as far as that is known."""
    t0, dt = tangent.clock
    return math.isnan(end.time) or abs(t0 + end.n * dt - end.time) <= SAME_TIME * dt


def _on_clock(tangent: Tangent, start: RunState) -> RunState:
    t0, dt = tangent.clock
    return attrs.evolve(start, t0=t0, dt=dt, system=tangent.identity)


def state_alone(tangent: Tangent, x0: Array | RunState) -> RunState:
    """Where a run without tangent vectors begins: initial states, or the end of an earlier run, which loses its own."""
    if isinstance(x0, RunState):
        return begin_again(tangent, x0).with_frames(0, 0)
    return _start(tangent, x0, 0, 0)


def _start(tangent: Tangent, x0: Array, k: int | None, seed: int) -> RunState:
    bare = RunState.start(initial_states(tangent, x0), tangent.dimension, 0, seed)
    return _on_clock(tangent, bare.with_frames(k, seed, tangent.random_frames))


def initial_states(tangent: Tangent, x0: Any) -> Any:
    """Initial states, completed (`Tangent.complete`); refused if there has to be one for each member and is not."""
    x0, wanted = tangent.complete(real("x0", x0)), (tangent.members, tangent.dimension)
    if tangent.members is not None and np.shape(x0) != wanted:
        raise InvalidInputError(f"x0 must have shape {wanted}, one state for each member, got {np.shape(x0)}")
    return x0


CHUNK_NUMBERS, CHUNK_STEPS = 4_000_000, 200_000  # what one forward call records, and members x steps of its drive
CHUNK_SECONDS = 0.5  # about what a call takes at most, since Ctrl-C is heard, and progress shown, between calls
FIRST_STEPS = 1_000  # members x steps of the first call, which tells how long the others may be


def forward_in_chunks(
    tangent: Tangent,
    start: RunState,
    intervals: int,
    steps_per_interval: int,
    record: Record,
    progress: Callable[[int, int], None] | None = None,
    stride: int = 1,
    marks: Sequence[int] = (),
) -> Iterator[RunState]:
    """The passes that cover `intervals` intervals, each of bounded memory; `progress(done, intervals)` after each call.

    Growth is summed over strides of `stride` intervals (of which `intervals` is a multiple): every pass covers whole
    strides, and the sums run interval by interval, in order. How long a call is depends on the clock; no number does.
    One ends at each of the `marks`, ascending multiples of `stride`.
    """
    members, dim, k = start.Q.shape
    triangle = k * (k + 1) // 2
    numbers = (
        members * {"nothing": 1, "growth": max(1, k), "R": max(1, triangle), "frames": dim + dim * k + triangle}[record]
    )
    longest = max(1, min(CHUNK_NUMBERS // numbers, CHUNK_STEPS // (steps_per_interval * members)))
    chunk, done, total = max(1, min(longest, FIRST_STEPS // (steps_per_interval * members))), 0, None
    ahead = [*(mark for mark in marks if mark < intervals), intervals]
    while done < intervals:
        while ahead[0] <= done:
            ahead.pop(0)
        begun = done % stride  # intervals of a stride that needs several calls
        if begun or chunk < stride:
            count = min(chunk, stride - begun)
        else:
            count = min(chunk // stride * stride, ahead[0] - done)
        called, before = time.monotonic(), start
        start = tangent.forward(start, intervals=count, steps_per_interval=steps_per_interval, record=record)
        chunk = max(1, min(longest, int(count * CHUNK_SECONDS / max(time.monotonic() - called, 1e-6))))
        if start.single and start.status[0] != RUNNING and before.status[0] == RUNNING:
            diverged = start.status[0] == DIVERGED
            cause = _cause(tangent, before, int(start.stopped[0]), steps_per_interval, diverged)
            start = attrs.evolve(start, cause=cause)
        done += count
        if stride == 1:
            yield start
        else:
            if begun:
                start.growth[:, 0] += total
            strides = start.growth.reshape(members, -1, min(count, stride), k)
            growth = np.add.accumulate(strides, axis=2)[:, :, -1].copy()  # `sum` would take another order
            total = growth[:, -1]
            if done % stride == 0:
                yield attrs.evolve(start, growth=growth)
        if progress is not None:
            progress(done, intervals)


def _cause(tangent: Tangent, before: RunState, stopped: int, steps_per_interval: int, diverged: bool) -> str:
    """Which derivative made a pass of one state stop, if one did: the last interval again, step by step."""
    finished = (stopped - before.n) // steps_per_interval - 1
    if finished:
        before = tangent.forward(before, intervals=finished, steps_per_interval=steps_per_interval, record="nothing")
    look = tangent.explain if diverged else tangent.singular
    return look(before.n, before.x[0], before.Q[0], steps_per_interval, member=int(before.members[0]))


def run(
    tangent: Tangent,
    start: RunState,
    intervals: int,
    steps_per_interval: int,
    record: Record,
    keep: Callable[[int, RunState], None],
    progress: Callable[[int, int], None] | None = None,
    stride: int = 1,
    marks: Sequence[int] = (),
) -> RunState:
    """The end of a run of which every part goes to `keep(done, part)`, with the strides done before it.

    On Ctrl-C the end of the finished part, which may be `start`: the caller decides whether that is enough. Memory is
    that of one part.
    """
    end, length = start, stride * steps_per_interval
    with suppress(KeyboardInterrupt):
        for part in forward_in_chunks(tangent, start, intervals, steps_per_interval, record, progress, stride, marks):
            keep((end.n - start.n) // length, part)
            end = part  # this one binding decides what is finished
    return end


def record_run(
    tangent: Tangent,
    start: RunState,
    intervals: int,
    steps_per_interval: int,
    record: Literal["growth", "states"],
    progress: Callable[[int, int], None] | None = None,
    stride: int = 1,
    marks: Sequence[int] = (),
) -> tuple[RunState, Array, list[RunState]]:
    """The end of a run, what it recorded of every stride, (members, intervals // stride, ...), and its states at marks.

    On Ctrl-C, those of the finished part, with a warning that says how to go on; KeyboardInterrupt if that is nothing.
    """
    kind: Record
    kind, field = ("growth", "growth") if record == "growth" else ("frames", "xs")
    found = _room(start.Q.shape, intervals // stride, kind)[field]

    seen: list[RunState] = []

    def keep(done: int, part: RunState) -> None:
        chunk = getattr(part, field)
        found[:, done : done + chunk.shape[1]] = chunk
        if (done + chunk.shape[1]) * stride in marks:
            seen.append(look_at(tangent, part))

    end = run(tangent, start, intervals, steps_per_interval, kind, keep, progress, stride, marks)
    done = (end.n - start.n) // steps_per_interval
    if done == 0:
        raise KeyboardInterrupt
    if done < intervals:
        warnings.warn(
            f"interrupted after {done} of {intervals} intervals; this is the result of those. To go on, pass its "
            f"end as x0, with intervals={intervals - done}",
            InterruptedWarning,
            stacklevel=3,
        )
    return end, found[:, : done // stride], seen


def look_at(tangent: Tangent, part: RunState) -> RunState:
    """Where a run was, for the checks of its result; with frames if there is a finer step to compare."""
    return part.with_frames(0, 0).without_records() if tangent.finer() is None else part.without_records()


def warm_up(
    tangent: Tangent,
    start: RunState,
    intervals: int,
    steps_per_interval: int,
    progress: Callable[[int, int], None] | None = None,
) -> RunState:
    """Align the frames: pass over `intervals` intervals and record nothing."""
    end = start
    for end in forward_in_chunks(tangent, start, intervals, steps_per_interval, "nothing", progress):  # noqa: B007
        pass
    return end
