"""Blocks of members, computed over an executor: what a worker does, and how results come back."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys.errors import InvalidInputError
from dynsys.passes.status import DIVERGED, FAILED, MEMBER, NOT_FINITE, PENDING, RUNNING, SINGULAR, STATUS, STATUSES

if TYPE_CHECKING:
    import xarray

Array = np.ndarray
Compute = Callable[[Array], "xarray.Dataset"]

POLL = 0.1  # seconds after which it is looked whether Ctrl-C was pressed
NOT_OF_A_MEMBER = (InvalidInputError, MemoryError, OSError, Warning)
LONGEST_TEXT = 500  # characters kept of an error


def free_names(names: Collection[str], taken: Collection[str]) -> dict[str, str]:
    """Names for dimensions beside those that are taken: with underscores at the end where that is needed."""
    free: dict[str, str] = {}
    for name in names:
        free[name] = name
        while free[name] in taken or (free[name] != name and free[name] in names):
            free[name] += "_"
    return free


@attrs.frozen(eq=False)
class Block:
    """What a worker brings back.

    Attributes
    ----------
    data : xarray.Dataset or None
        Of the members that raised no error, in their order; None if there are none.
    failures : dict
        Member -> what the error said.
    problem : Exception or None
        The first of these errors.
    seconds : float
        Time of the worker.
    """

    data: xarray.Dataset | None
    failures: dict[int, str]
    problem: Exception | None
    seconds: float


@attrs.frozen(eq=False)
class Job:
    """What a worker does: `compute` for the members of a block; if that raises an error, for one after the other.

    Errors that are not those of a member (wrong input, memory, files; warnings where these are errors) are raised.
    """

    compute: Compute

    def __call__(self, members: Array) -> Block:
        """The block of some members."""
        _leave_interrupts_to_the_parent()
        started = time.perf_counter()
        failures: dict[int, str] = {}
        first = None
        data: xarray.Dataset | None
        try:
            data = self._labelled(members)
        except NOT_OF_A_MEMBER:
            raise
        except Exception:
            parts = []
            for member in members:
                try:
                    parts.append(self._labelled(members[members == member]))
                except NOT_OF_A_MEMBER:
                    raise
                except Exception as problem:
                    first = first or problem
                    failures[int(member)] = f"{type(problem).__name__}: {problem}"[:LONGEST_TEXT]
            data = _side_by_side(parts)
        return Block(data, failures, first, time.perf_counter() - started)

    def _labelled(self, members: Array) -> xarray.Dataset:
        """What `compute` gives for some members, with a status for each, or an error that says what is wrong."""
        import xarray

        data = self.compute(members)
        if not isinstance(data, xarray.Dataset):
            raise InvalidInputError(f"compute must return an xarray.Dataset, got a {type(data).__name__}")
        if data.sizes.get(MEMBER) != len(members):
            raise InvalidInputError(
                f"compute was given {len(members)} members and must return a dataset with the dimension 'member' of "
                f"that length, got {dict(data.sizes)}"
            )
        data = data.drop_vars(MEMBER, errors="ignore")  # members are numbered from 0
        status = data[STATUS] if STATUS in data else _finite(data)
        if MEMBER not in status.dims or not np.isin(status, [RUNNING, DIVERGED, SINGULAR, NOT_FINITE]).all():
            known = {code: name for code, name in STATUSES.items() if code not in (PENDING, FAILED)}
            raise InvalidInputError(f"status must hold one code of {known} for each member, got {status.values!r:.100}")
        meanings = " ".join(name.replace(" ", "_") for name in STATUSES.values())
        flags = {"flag_values": list(STATUSES), "flag_meanings": meanings}
        return data.assign({STATUS: status.astype(np.int8).assign_attrs(flags)})


def _finite(data: xarray.Dataset) -> xarray.DataArray:
    """RUNNING or NOT_FINITE for every member."""
    import xarray

    finite = xarray.DataArray(np.full(data.sizes[MEMBER], True), dims=MEMBER)
    for values in data.data_vars.values():
        if MEMBER in values.dims and values.dtype.kind == "f":
            finite = finite & xarray.apply_ufunc(np.isfinite, values).all([d for d in values.dims if d != MEMBER])
    return xarray.where(finite, RUNNING, NOT_FINITE)


def _side_by_side(parts: Sequence[xarray.Dataset]) -> xarray.Dataset | None:
    """The datasets of some members as one."""
    import xarray

    if not parts:
        return None
    how: dict[str, Any] = {"data_vars": "minimal", "coords": "minimal", "compat": "identical", "join": "exact"}
    try:
        return xarray.concat(parts, MEMBER, combine_attrs="override", **how)
    except ValueError as problem:
        raise InvalidInputError(f"members must agree in all that has no dimension 'member': {problem}") from None


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches all processes of a terminal: workers finish their block, and the parent decides."""
    in_worker = multiprocessing.parent_process() is not None
    if in_worker and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one is the usual KeyboardInterrupt."""
    stop = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop  # somebody else's business
        return

    def ask(*_: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads, which nobody waits for if the block ends by an exception."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def computed(
    job: Job, blocks: Iterable[tuple[int, Array]], executor: Executor, workers: int, stop: threading.Event
) -> Iterator[tuple[int, Block]]:
    """The blocks, by their numbers, as they are finished; at most twice as many as `workers` are under way.

    If `stop` is set, or something else than a member fails, those that have begun (the oldest `workers`) are finished
    and no others are; then the first error is raised.
    """
    pending: dict[Future[Block], int] = {}
    waiting = iter(blocks)
    problem: BaseException | None = None
    try:
        while True:
            try:
                while not (stop.is_set() or problem) and len(pending) < 2 * workers:
                    block = next(waiting, None)
                    if block is None:
                        break
                    number, members = block
                    pending[executor.submit(job, members)] = number
            except Exception as broken:  # a pool that lost a worker
                problem = problem or broken
            if stop.is_set() or problem:
                for future in list(pending)[workers:]:
                    future.cancel()
            if not pending:
                break
            for future in wait(pending, POLL, FIRST_COMPLETED).done:
                number = pending.pop(future)
                if future.cancelled():
                    continue
                error = future.exception()
                if error is None:
                    yield number, future.result()
                else:
                    problem = problem or error
    finally:
        for future in pending:
            future.cancel()
    if problem is not None:
        raise problem
