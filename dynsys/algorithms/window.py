"""A window of a trajectory and the transient after it: the forward half of algorithms that then go backward."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from dynsys.algorithms.checks.covariance import another_frame
from dynsys.algorithms.checks.representation import marks
from dynsys.errors import FallbackWarning, InterruptedWarning, InvalidInputError, finite, whole_number, whole_stride
from dynsys.passes.memory import GIB, ask_for_memory, largest_memory, of_process
from dynsys.passes.orthonormal import in_few_coordinates
from dynsys.passes.plan import FEWER, plan_run
from dynsys.passes.run_state import Record, RunState, Tangent, begin, look_at, run, warm_up
from dynsys.passes.status import RUNNING
from dynsys.passes.stopped import raise_if_stopped

Array = np.ndarray


@attrs.frozen(eq=False)
class Window:
    """Frames at the ends of strides in a window, and triangular factors there and in the backward transient after it.

    Attributes
    ----------
    first, start, end : RunState
        Beginning of the run, end of the warm-up, and end of the backward transient.
    states, frames : ndarray, shapes (members, m, dim) and (members, m, dim, k)
        At the ends of the strides. Without vectors there are no states, and a frame in its own coordinates is the unit
        matrix: (members, m, 0) and (members, m, k, k).
    R : ndarray, shape (members, window + tail, k (k + 1) / 2)
        Packed factors of all intervals.
    steps, stride, tail : int
        Steps of an interval, intervals of a stride, and intervals of the backward transient.
    finished : ndarray of int, shape (members,)
        Intervals that a member finished, of window and backward transient.
    converged : ndarray of int, shape (members,)
        Those of the window, in whole strides, that are followed by the whole backward transient.
    strides : int
        Those to be returned: all, or only the converged ones if a run of one state, or the user, stopped.
    pair : list of ndarray, shape (members, dim, k)
        The frame at the end of the warm-up, and that from another first one, if they are to be compared
        (`dynsys.passes.orthonormal.in_few_coordinates`).
    before : ndarray, shape (members, k)
        Log R_ii of the other one on the way.
    planned : int
        Bytes of what is stored.
    looks : list of RunState
        Where the run was, from time to time in the window.
    """

    first: RunState
    start: RunState
    end: RunState
    states: Array
    frames: Array
    R: Array
    steps: int
    stride: int
    tail: int
    finished: Array
    converged: Array
    strides: int
    pair: list[Array]
    before: Array
    planned: int
    looks: list[RunState]

    @property
    def ends(self) -> Array:
        """Steps at which the strides to be returned end."""
        return self.start.n + self.steps * self.stride * np.arange(1, self.strides + 1)

    @property
    def last(self) -> Array:
        """Index of the last converged stride of every member; -1: none."""
        return self.converged // self.stride - 1


ANGLES_ALONE = "keep angles, rates and exponents without the vectors (vectors=False of ginelli), "


def planned_bytes(members: int, dim: int, k: int, window: int, tail: int, stride: int = 1, vectors: bool = True) -> int:
    """Bytes of a window: vectors over the frames, packed triangular factors, states, and rates.

        8 members (window / stride (dim k + dim + k) + (window + tail) k (k + 1) / 2)

    Without vectors k^2 coefficients stand in the place of dim k + dim numbers.

    Examples
    --------
    >>> planned_bytes(members=1, dim=40, k=40, window=100_000, tail=1_000) / 1e9
    2.00656
    """
    of_vectors = dim * k + dim if vectors else k * k
    return 8 * members * (window // stride * (of_vectors + k) + (window + tail) * (k * (k + 1) // 2))


def pass_window(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int,
    warmup: int | None,
    tail: int | None,
    k: int | None,
    seed: int,
    stride: int,
    memory_limit: float,
    progress: Callable[[int, int], None] | None,
    vectors: bool = True,
    compare: bool = False,
    others: bool = False,
) -> Window:
    """Pass over warm-up, window and backward transient; memory is planned before. Arguments: as for `ginelli`.

    `compare` asks for another first frame, unless an earlier run has aligned this one. `others` says that as many
    vectors, and their coordinates, will be kept beside these.

    On Ctrl-C the window is the part followed by a whole backward transient, with a warning; KeyboardInterrupt if there
    is none.
    """
    intervals = whole_number("intervals", intervals, 1)
    steps = whole_number("steps_per_interval", steps_per_interval, 1)
    stride = whole_stride(stride, intervals)
    warmup = whole_number("warmup", min(intervals, 1000) if warmup is None else warmup, 0)
    tail = whole_number("tail", min(intervals, 1000) if tail is None else tail, 0)
    first = begin(tangent, x0, k, seed)
    members, dim, k = first.Q.shape
    planned = planned_bytes(members, dim, k, intervals, tail, stride, vectors)
    m = intervals // stride
    beside = 8 * (members * (m * (k + dim * vectors) + 2 * intervals * k) + 3 * m)  # rates, states once more, times
    beside += 8 * members * m * (dim + k) * k * others
    make = allocator(planned, memory_limit, beside, instead=ANGLES_ALONE if vectors else "")
    pace = plan_run(
        tangent, first, warmup + intervals + tail, steps, progress, needed=beside, remedy=f"shorten the window, {FEWER}"
    )
    frames = make((members, intervals // stride, dim if vectors else k, k))
    states = make((members, intervals // stride, dim if vectors else 0))
    if not vectors:
        frames[:] = np.eye(k)
    R = make((members, intervals + tail, k * (k + 1) // 2))

    at, looks = marks(intervals, stride, first), []

    def keep(done: int, part: RunState) -> None:
        if done + part.R.shape[1] in at:
            looks.append(look_at(tangent, part))
        R[:, done : done + part.R.shape[1]] = part.R
        due = slice(-(done + 1) % stride, None, stride)
        strides = slice(done // stride, (done + part.R.shape[1]) // stride)
        if part.xs.shape[1]:
            frames[:, strides], states[:, strides] = part.Qs[:, due], part.xs[:, due]

    start = warm_up(tangent, first, warmup, steps, pace.during())
    raise_if_stopped(tangent, start)
    aligned = isinstance(x0, RunState) and x0.k and start.n == first.n
    if tangent.tolerance == 0.0:  # else steps adapt to them
        first = first.with_frames(0, 0)  # frames may be large, and these are not needed any more
    pair, before = [], np.zeros((members, k))
    if compare and not aligned:
        another, before = another_frame(tangent, first, start, steps, seed)
        pair = in_few_coordinates(start.Q, another)
        del another

    def advance(begin: RunState, count: int, record: Record, before: int) -> RunState:
        tell = None if progress is None else lambda done, _: progress(before + done, intervals + tail)
        told = pace.during(tell, warmup + before)
        return run(tangent, begin, count, steps, record, lambda done, part: keep(before + done, part), told, 1, at)

    begun, start = start, look_at(tangent, start)
    end = advance(begun, intervals, "frames" if vectors else "R", 0)
    del begun
    if end.n == start.n + intervals * steps:
        end = advance(end.without_records(), tail, "R", intervals)
    done = (end.n - start.n) // steps
    finished = np.where(end.status == RUNNING, done, np.maximum(0, (end.stopped - start.n) // steps - 1))
    converged = np.clip(finished - tail, 0, intervals) // stride * stride
    strides = int(converged.max()) // stride
    if strides == 0 and done < intervals + tail:
        raise KeyboardInterrupt
    if strides == 0:
        raise_if_stopped(tangent, end)
    elif done < intervals + tail:
        warnings.warn(
            f"interrupted after {done} of {intervals} + {tail} intervals of window and tail; the result has the "
            f"{strides * stride} intervals that are followed by a whole tail",
            InterruptedWarning,
            stacklevel=3,
        )
    alone = end.single or done < intervals + tail
    return Window(
        first, start, end, states, frames, R, steps, stride, tail, finished, converged,
        strides if alone else intervals // stride, pair, before, planned, looks,
    )  # fmt: skip


def _limit(value: Any) -> float:
    limit = np.inf if isinstance(value, float) and value == np.inf else finite("memory_limit", value)
    if limit < 0.0:
        raise InvalidInputError(f"memory_limit must be a number of bytes >= 0, got {value!r:.100}")
    return limit


def allocator(
    planned: int, limit: float, beside: int, stacklevel: int = 4, instead: str = ""
) -> Callable[[tuple[int, ...]], Array]:
    """Room for arrays of `planned` bytes together: in memory up to the limit, else in temporary files.

    What is held `beside` them, in bytes, leaves less of what the machine has. The files have no name: they vanish with
    the arrays, or with the process. The warning points to the caller so many levels up; `instead` is a remedy of the
    caller's.
    """
    limit, there = _limit(limit), largest_memory() - beside
    if planned <= min(limit, there):
        return np.empty
    most = f"memory_limit = {limit / GIB:.3g} GiB"
    if limit > there:
        most = f"the {max(there, 0) / GIB:.3g} GiB of memory that are left beside"
    folder = tempfile.gettempdir()
    free = min(shutil.disk_usage(folder).free, of_process())  # files in memory count against the limit of a process
    remedy = f"{instead}thin the output by stride, follow fewer vectors (k), shorten the window, or raise memory_limit"
    if planned > free:
        raise InvalidInputError(
            f"the plan asks for {planned / GIB:.3g} GiB, more than {most}, and {folder} has only {free / GIB:.3g} GiB "
            f"for a file (another folder: set TMPDIR): {remedy}"
        )
    ask_for_memory("what stays in memory", beside, f"record fewer intervals, {remedy}")
    warnings.warn(
        f"the plan asks for {planned / GIB:.3g} GiB, more than {most}: vectors and factors are kept in temporary files "
        f"in {folder}; to change that, {remedy}",
        FallbackWarning,
        stacklevel=stacklevel,
    )

    def on_disk(shape: tuple[int, ...]) -> Array:
        size = 8 * math.prod(shape)
        if size == 0:
            return np.empty(shape)
        with tempfile.TemporaryFile(dir=folder) as file:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, not a crash later
            return np.memmap(file, dtype=float, mode="w+", shape=shape)

    return on_disk
