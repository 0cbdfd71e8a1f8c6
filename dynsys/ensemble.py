"""Many members: in blocks over any executor, streamed to a store that survives what happens to the process.

    study = Ensemble.of(tangent.benettin, x0, intervals=1000, k=3)     # x0: (members, dim)
    runs = study.run("runs.zarr", progress=print)                      # call it again, and it goes on

A block is the unit of work and of saving. What a member gives is a function of the definition and the member alone, so
that no bit depends on the executor, the number of workers, the length of blocks, or how often a run was resumed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from platform import machine, python_version
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np

from dynsys.blocks import (
    FAILED,
    MEMBER,
    STATUS,
    STATUSES,
    Block,
    Compute,
    Job,
    computed,
    stop_on_interrupt,
    threads,
)
from dynsys.compiled.build import available_cores
from dynsys.description import Json, describe, differences
from dynsys.errors import (
    DiagnosticWarning,
    InterruptedWarning,
    InvalidInputError,
    StoreError,
    real_array,
    whole_number,
)
from dynsys.header import Header, fill_value, layout
from dynsys.passes import Pass
from dynsys.store import Store, locked, same
from dynsys.tangent import TangentSystem

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

BLOCK = 64
ENOUGH_FAILURES = 64  # members that fail before any other does not: then it is not the members
BITS = ("dynsys-clv", "numpy", "scipy", "sympy", "numba", "llvmlite")  # whose versions may change the last bits


@attrs.frozen
class Progress:
    """How far a run is; `print` shows it.

    Attributes
    ----------
    members, done, computed : int
        All members, those that are saved, and those of them that this call computed.
    statuses : Counter
        How many members have each status, by its name. A member with several runs counts for each.
    elapsed : float
        Seconds since the call began.
    remaining : float
        Seconds until it will end, at the pace of this call; NaN before its first block.
    seconds_per_member : float
        Time of a worker for a member, in this call; NaN before its first block.
    """

    members: int
    done: int
    computed: int
    statuses: Counter[str]
    elapsed: float
    remaining: float
    seconds_per_member: float

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.statuses.items())
        left = "" if np.isnan(self.remaining) else f"; {self.remaining:.0f} s remaining"
        return f"{self.done} of {self.members} members ({100 * self.done / self.members:.0f} %): {counts}{left}"


def _members(value: Any) -> int:
    return whole_number("members", value, 1)


def _nothing(_: Any) -> None:
    pass


@attrs.frozen(eq=False)
class Ensemble:
    """What is computed for many members.

    Attributes
    ----------
    compute : callable (members,) int array -> xarray.Dataset
        The members of a block, by their numbers from 0; see `of` for the algorithms. The dataset has the dimension
        `member`, in the order of the block, in every variable that differs between members; the others must be the
        same in every block. A variable `status` holds codes of `STATUSES`, from "finished" to "not finite"; if there is
        none, a member whose numbers are not all finite is "not finite". If `compute` raises an error, its members are
        computed one by one, and those that raise it again are "failed". Random numbers must be keyed by the member,
        never by the block.
    members : int
    """

    compute: Compute
    members: int = attrs.field(converter=_members)

    @classmethod
    def of(cls, algorithm: Callable[..., Any], x0: Array, **options: Any) -> Self:
        """An algorithm on an ensemble of initial states.

        Parameters
        ----------
        algorithm : method of a tangent
            `tangent.benettin`, `ginelli`, `sharafi`, `gali`, `wolfe_samelson` or `trajectory`.
        x0 : array_like, shape (members, dim)
        **options
            Of the algorithm.

        Examples
        --------
        >>> from models.classics import LinearMap
        >>> x0 = np.random.default_rng(0).normal(size=(100, 1))
        >>> runs = Ensemble.of(LinearMap([[0.5]]).tangent().benettin, x0, intervals=20).run(block=32)
        >>> runs.exponent_mean.sizes["member"], float(runs.exponent_mean.max())
        (100, -0.6931471805599453)
        """
        tangent = getattr(algorithm, "__self__", None)
        if not isinstance(tangent, TangentSystem):
            raise InvalidInputError(f"algorithm must be a method of a tangent such as benettin, got {algorithm!r:.100}")
        states = real_array("x0", x0)
        if states.ndim != 2 or states.shape[1] != tangent.dimension or not len(states):
            raise InvalidInputError(f"x0 must have shape (members, {tangent.dimension}), got {states.shape}")
        if not np.isfinite(states).all():
            members = np.flatnonzero(~np.isfinite(states).all(axis=1)).tolist()
            raise InvalidInputError(f"x0 must be finite; NaN or infinite for the members {members!s:.100}")
        return cls(AlgorithmRun(tangent.on_one_thread(), algorithm.__name__, states, options), len(states))

    @property
    def definition(self) -> Json:
        """What is computed, as JSON: it decides whether a store can be continued."""
        return describe({"compute": self.compute, "members": self.members})

    def run(
        self,
        path: str | Path | None = None,
        *,
        block: int | None = None,
        executor: Executor | None = None,
        workers: int | None = None,
        progress: Callable[[Progress], None] = _nothing,
    ) -> xarray.Dataset:
        """Compute the members that are not yet in the store.

        Parameters
        ----------
        path : path, optional
            Folder of the store (.zarr), new or of an earlier call with the same definition. None: in memory.
        block : int, optional
            Members in a block, default 64; a block should take seconds. A store that exists keeps its own.
        executor : concurrent.futures.Executor, optional
            Default: threads, which is right for what is compiled. `ProcessPoolExecutor(2)` for systems in NumPy, a
            Dask client's `client.get_executor()` for a cluster; then `compute` must be picklable.
        workers : int, optional
            Blocks computed at a time, default: all cores. Say how many workers an executor of your own has.
        progress : callable (Progress) -> None, optional
            Called when a block is saved; `print` will do.

        Returns
        -------
        xarray.Dataset
            Of all members, read from the store when it is asked for. NaN and -1 stand for members not yet computed.

        Raises
        ------
        StoreError
            If the store is of another definition (saying what differs), in use, or both copies of its header damaged.
        InvalidInputError
            If `compute` gives what cannot be stored, or the disk has no room for it.
        Exception
            What `compute` raised for all members of a block, what a worker died of, or a full disk: what had been
            finished by then is saved, and the same call goes on.

        Notes
        -----
        Damaged chunks are found by their checksums, named in a warning, and computed again. Ctrl-C finishes and saves
        the blocks that are being computed and returns with an `InterruptedWarning`; a second Ctrl-C ends at once, and
        loses those. After SIGKILL nothing is lost but them.
        """
        workers = available_cores() if workers is None else whole_number("workers", workers, 1)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()) if path is None else path)
            stack.enter_context(locked(folder))
            run = _Run.begin(self, folder, block, progress)
            blocks = ((number, run.members_of(number)) for number in sorted(run.todo))
            pool = executor or stack.enter_context(threads(workers))
            stop = stack.enter_context(stop_on_interrupt())
            try:
                for number, found in computed(Job(self.compute), blocks, pool, workers, stop):
                    run.take(number, found)
                data = run.result(stop.is_set(), kept=path is not None)
                return data.load() if path is None else data
            except Exception as problem:
                if path is not None:
                    problem.add_note(f"{run.done} of {self.members} members are saved in {path}: the same call goes on")
                raise


@attrs.frozen(eq=False)
class AlgorithmRun:
    """An algorithm on some members of an ensemble of initial states."""

    tangent: TangentSystem
    algorithm: str
    x0: Array
    options: dict[str, Any]

    def __call__(self, members: Array) -> xarray.Dataset:
        """The labelled result for these members."""
        start = Pass.start(self.x0[members], self.tangent.dimension, 0, 0, members)
        return getattr(self.tangent, self.algorithm)(start, **self.options).to_xarray()


@attrs.define(eq=False)
class _Run:
    """One call of `Ensemble.run`: what is saved, what is left to do, how far it is."""

    ensemble: Ensemble
    path: Path
    length: int  # of a block
    progress: Callable[[Progress], None]
    store: Store | None
    todo: set[int]
    counts: Counter[int]
    computed: int = 0  # members, in this call
    seconds: float = 0.0
    started: float = attrs.field(factory=time.monotonic)
    template: xarray.Dataset | None = None  # a block without its members
    held: dict[int, Block] = attrs.field(factory=dict)  # nothing but failures, before there is a template

    @classmethod
    def begin(cls, ensemble: Ensemble, path: Path, block: int | None, progress: Callable[[Progress], None]) -> Self:
        """Look at what earlier calls left."""
        block = None if block is None else min(whole_number("block", block, 1), ensemble.members)
        store, damaged = Store.mend(path)
        if store is None:
            length = block or min(BLOCK, ensemble.members)
            return cls(ensemble, path, length, progress, None, set(range(-(-ensemble.members // length))), Counter())
        _continue_only_the_same(ensemble, store, block)
        finished, wrong = store.check()
        damaged += wrong
        if damaged:
            text = f"{path} was damaged: {'; '.join(damaged)}. What stood there is computed again"
            warnings.warn(text, DiagnosticWarning, stacklevel=3)
        todo = set(range(store.header.blocks)).difference(finished)
        run = cls(ensemble, path, store.header.block, progress, store, todo, store.statuses(finished))
        run._ask_for_room(store.header, len(todo))
        run._report()
        return run

    def members_of(self, number: int) -> Array:
        """The members of a block."""
        return np.arange(number * self.length, min((number + 1) * self.length, self.ensemble.members))

    @property
    def done(self) -> int:
        """Members that are saved."""
        last = (self.ensemble.members - 1) // self.length
        missing = last * self.length + self.length - self.ensemble.members  # of the last block
        return self.ensemble.members - len(self.todo) * self.length + missing * (last in self.todo)

    def take(self, number: int, found: Block) -> None:
        """Save a block, as soon as it is known what a block looks like."""
        self.seconds += found.seconds
        self.held[number] = found
        if self.template is None:
            if found.data is None:
                if sum(len(block.failures) for block in self.held.values()) >= ENOUGH_FAILURES:
                    raise self._first_problem()
                return
            self._see(number, found.data)
        self._save_held()

    def result(self, stopped: bool, kept: bool) -> xarray.Dataset:
        """The dataset, when no more blocks come."""
        if self.held:
            if self.store is None:
                raise self._first_problem()
            self.template = self.store.dataset().isel({MEMBER: slice(0)}).load()
            self._save_held()
        if self.store is None:
            raise KeyboardInterrupt
        failed = self.counts[FAILED]
        if failed:
            member, text = next(iter(self.store.failures().items()))
            warnings.warn(f"{failed} members failed, the first is {member}: {text}", DiagnosticWarning, stacklevel=3)
        if stopped and self.todo:
            text = f"stopped with {self.done} of {self.ensemble.members} members"
            go_on = f" in {self.path}: the same call goes on" if kept else ", which were not kept: give a path to go on"
            warnings.warn(text + go_on, InterruptedWarning, stacklevel=3)
        return self.store.dataset()

    def _first_problem(self) -> Exception:
        problem = next(iter(self.held.values())).problem
        assert problem is not None
        return problem

    def _see(self, number: int, data: xarray.Dataset) -> None:
        """Take the first block of a call as the measure of the others, and make the store if there is none."""
        if self.store is None:
            header = Header(
                definition=self.ensemble.definition,
                versions=_versions(),
                members=self.ensemble.members,
                block=self.length,
                variables=layout(data, self.ensemble.members),
                attributes=describe(data.attrs),
            )
            self._ask_for_room(header, len(self.todo))
            self.store = Store.create(self.path, header, data)
        else:
            self._compare(number, data)
            self._refuse(number, self.store.share(data))
        self.template = data.isel({MEMBER: slice(0)})

    def _save_held(self) -> None:
        assert self.store is not None
        assert self.template is not None
        for number, found in self.held.items():
            members = self.members_of(number)
            data = self.template if found.data is None else found.data
            if found.failures:
                data = _with_gaps(data, np.array([m not in found.failures for m in members]))
            self._compare(number, data)
            self.store.commit(number, data, found.failures)
            self.todo.remove(number)
            self.counts.update(np.ravel(data[STATUS].values).tolist())
            self.computed += len(members)
            self._report()
        self.held.clear()

    def _compare(self, number: int, data: xarray.Dataset) -> None:
        """Refuse a block whose layout is not that of the store, or that differs in what all members share."""
        assert self.store is not None
        here = layout(data, self.ensemble.members)
        self._refuse(number, differences(describe(self.store.header.variables), describe(here)))
        first = data if self.template is None else self.template
        common = [name for name, variable in here.items() if not variable.by_member]
        self._refuse(number, [name for name in common if not same(first[name].values, data[name].values)])

    def _refuse(self, number: int, found: Iterable[str]) -> None:
        text = "; ".join(found)
        if text:
            raise InvalidInputError(
                f"block {number} is not like the others, in layout or in what has no dimension `member`: {text}"
            )

    def _ask_for_room(self, header: Header, blocks: int) -> None:
        needed, free = blocks * header.bytes_of_block, shutil.disk_usage(self.path).free
        if needed > free:
            raise InvalidInputError(
                f"{self.path} needs {needed / 1e9:.3g} GB for {blocks} blocks, and the disk has {free / 1e9:.3g} GB "
                "left: free some, choose another place, or record less"
            )

    def _report(self) -> None:
        elapsed, done = time.monotonic() - self.started, self.done
        self.progress(
            Progress(
                members=self.ensemble.members,
                done=done,
                computed=self.computed,
                statuses=Counter({name: self.counts[code] for code, name in STATUSES.items() if self.counts[code]}),
                elapsed=elapsed,
                remaining=elapsed * (self.ensemble.members - done) / self.computed if self.computed else np.nan,
                seconds_per_member=self.seconds / self.computed if self.computed else np.nan,
            )
        )


def _with_gaps(data: xarray.Dataset, there: Array) -> xarray.Dataset:
    """The members of a block where `there`, in their order, and between them those that failed."""
    found = {}
    for name, variable in data.variables.items():
        if MEMBER in variable.dims:
            axis = variable.get_axis_num(MEMBER)
            rows = np.moveaxis(variable.values, axis, 0)
            fill = FAILED if name == STATUS else fill_value(variable.dtype.name)
            values = np.full((len(there), *rows.shape[1:]), fill, variable.dtype)
            values[there] = rows
            found[name] = (variable.dims, np.moveaxis(values, 0, axis), variable.attrs)
    return data.drop_dims(MEMBER).assign(found).set_coords(data.coords)


def _continue_only_the_same(ensemble: Ensemble, store: Store, block: int | None) -> None:
    """Refuse a store of another definition; warn of other versions."""
    differ = list(differences(store.header.definition, ensemble.definition))
    if differ:
        raise StoreError(
            f"{store.path} is of another definition ({'; '.join(differ)}): choose another folder, or define the same"
        )
    if block not in (None, store.header.block):
        raise InvalidInputError(f"{store.path} has blocks of {store.header.block}, not {block}: leave `block` out")
    changed = list(differences(store.header.versions, _versions()))
    if changed:
        text = f"{store.path} was begun with other versions ({'; '.join(changed)}): the last bits may differ from there"
        warnings.warn(text, DiagnosticWarning, stacklevel=4)


def _versions() -> dict[str, str]:
    """What may change the last bits of a number, beside the definition."""
    from importlib import metadata

    found = {"python": python_version(), "machine": machine()}
    for name in BITS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
