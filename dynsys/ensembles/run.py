"""The progress of a call of `Ensemble.run`: what earlier calls left, what this one saves, what is still to do."""

from __future__ import annotations

import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from platform import machine, python_version
from typing import TYPE_CHECKING, Self

import attrs
import numpy as np

from dynsys.ensembles.blocks import Block
from dynsys.errors import DiagnosticWarning, InterruptedWarning, InvalidInputError, StoreError, whole_number
from dynsys.passes.status import FAILED, MEMBER, STATUS, STATUSES
from dynsys.storage.before import data_as_begun
from dynsys.storage.description import Json, describe, differences
from dynsys.storage.header import Header, fill_value, layout
from dynsys.storage.store import Store, same

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

BLOCK = 64
ENOUGH_FAILURES = 64  # members that fail before any other does not: then it is not the members
BITS = ("dynsys-clv", "numpy", "scipy", "sympy", "numba", "llvmlite")  # whose versions may change the last bits


@attrs.frozen
class Progress:
    """Progress of a run; `print` shows it.

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
        Worker time per member in this call; NaN before its first block.
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


Report = Callable[[Progress], None]


@attrs.define(eq=False)
class Run:
    """One call of `Ensemble.run` with a definition for so many members."""

    definition: Json
    members: int
    path: Path
    length: int  # of a block
    progress: Report
    store: Store | None
    todo: set[int]
    counts: Counter[int]
    computed: int = 0  # members, in this call
    seconds: float = 0.0
    started: float = attrs.field(factory=time.monotonic)
    template: xarray.Dataset | None = None  # a block without its members
    held: dict[int, Block] = attrs.field(factory=dict)  # nothing but failures, before there is a template

    @classmethod
    def begin(cls, definition: Json, members: int, path: Path, block: int | None, progress: Report) -> Self:
        """Find what earlier calls left."""
        block = None if block is None else min(whole_number("block", block, 1), members)
        store, damaged = Store.mend(path)
        if store is None:
            length = block or min(BLOCK, members)
            return cls(definition, members, path, length, progress, None, set(range(-(-members // length))), Counter())
        _continue_only_the_same(definition, store, block)
        finished, wrong = store.check()
        damaged += wrong
        if damaged:
            text = f"{path} was damaged: {'; '.join(damaged)}. What stood there is computed again"
            warnings.warn(text, DiagnosticWarning, stacklevel=3)
        todo = set(range(store.header.blocks)).difference(finished)
        run = cls(definition, members, path, store.header.block, progress, store, todo, store.statuses(finished))
        run._ask_for_room(store.header, len(todo))
        run._report()
        return run

    def members_of(self, number: int) -> Array:
        """The members of a block."""
        return np.arange(number * self.length, min((number + 1) * self.length, self.members))

    @property
    def done(self) -> int:
        """Members that are saved."""
        last = (self.members - 1) // self.length
        missing = last * self.length + self.length - self.members  # of the last block
        return self.members - len(self.todo) * self.length + missing * (last in self.todo)

    def take(self, number: int, found: Block) -> None:
        """Save a block, as soon as it is known what a block looks like."""
        self.seconds += found.seconds
        if self.store is not None and found.data is not None:
            found = attrs.evolve(found, data=data_as_begun(found.data, self.store.header.definition))
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
            self.template = self.store.stored().isel({MEMBER: slice(0)}).load()
            self._save_held()
        if self.store is None:
            raise KeyboardInterrupt
        failed = self.counts[FAILED]
        if failed:
            member, text = next(iter(self.store.failures().items()))
            warnings.warn(f"{failed} members failed, the first is {member}: {text}", DiagnosticWarning, stacklevel=3)
        if stopped and self.todo:
            text = f"stopped with {self.done} of {self.members} members"
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
                definition=self.definition,
                versions=_versions(),
                members=self.members,
                block=self.length,
                variables=layout(data, self.members),
                attributes=describe(data.attrs),
            )
            self._ask_for_room(header, len(self.todo))
            self.store = Store.create(self.path, header, data)
        else:
            self._compare(number, data)
            if self.store.header.bound:  # before, some had other names
                self._refuse(number, differences(self.store.header.attributes, describe(data.attrs)))
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
        here = layout(data, self.members)
        self._refuse(number, differences(describe(self.store.header.variables), describe(here)))
        first = data if self.template is None else self.template
        common = [name for name, variable in here.items() if not variable.by_member]
        self._refuse(number, [name for name in common if not same(first[name].values, data[name].values)])

    def _refuse(self, number: int, found: Iterable[str]) -> None:
        text = "; ".join(found)
        if text:
            raise InvalidInputError(
                f"block {number} is not like the others, in layout or in what has no dimension 'member': {text}"
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
                members=self.members,
                done=done,
                computed=self.computed,
                statuses=Counter({name: self.counts[code] for code, name in STATUSES.items() if self.counts[code]}),
                elapsed=elapsed,
                remaining=elapsed * (self.members - done) / self.computed if self.computed else np.nan,
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


def _continue_only_the_same(definition: Json, store: Store, block: int | None) -> None:
    """Refuse a store of another definition; warn of other versions."""
    differ = list(differences(store.header.definition_today, definition))
    if differ:
        raise StoreError(
            f"{store.path} is of another definition ({'; '.join(differ)}): choose another folder, or define the same"
        )
    if block not in (None, store.header.block):
        raise InvalidInputError(
            f"{store.path} has blocks of {store.header.block} members, got block = {block}: leave block out"
        )
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
