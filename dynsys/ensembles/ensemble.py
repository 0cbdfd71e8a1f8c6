"""Many members: in blocks over any executor, streamed to a store that survives what happens to the process.

    study = Ensemble.of(tangent.benettin, x0, intervals=1000, k=3)     # x0: (members, dim)
    runs = study.run("runs.zarr", progress=print)                      # call it again, and it goes on

A block is the unit of work and of saving. What a member gives is a function of the definition and the member alone, so
that no bit depends on the executor, the number of workers, the length of blocks, or how often a run was resumed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np

from dynsys.compiled.build import available_cores
from dynsys.ensembles.blocks import Compute, Job, computed, stop_on_interrupt, threads
from dynsys.ensembles.place import Place
from dynsys.ensembles.run import Progress, Run
from dynsys.errors import InvalidInputError, a_function, need, real_array, whole_number
from dynsys.passes.run_state import RunState, initial_states
from dynsys.passes.status import MEMBER
from dynsys.results.result import Result
from dynsys.storage.description import Described, Json, describe
from dynsys.storage.lock import locked
from dynsys.systems.tangent import TangentSystem

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


def _members(value: Any) -> int:
    return whole_number("members", value, 1)


def silent(_: Progress) -> None:
    """Report no progress."""


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
        algorithm : method of a tangent, or functools.partial(function, tangent)
            `tangent.benettin`, `ginelli`, `sharafi`, `gali`, `wolfe_samelson` or `trajectory`; or an algorithm of your
            own, `function(tangent, start, **options)`. It is given a `RunState` of some members, which
            `dynsys.passes.run_state.begin` and all algorithms take for x0, and returns a `Result`, an array
            (members, ...), a mapping of names to such arrays, or a dataset.
        x0 : array_like, shape (members, dim)
        **options
            Of the algorithm.

        Examples
        --------
        >>> from dynsys.models.classics import LinearMap
        >>> x0 = np.random.default_rng(0).normal(size=(100, 1))
        >>> runs = Ensemble.of(LinearMap([[0.5]]).tangent().benettin, x0, intervals=20).run(block=32)
        >>> runs.exponent_mean.sizes["member"], float(runs.exponent_mean.max())
        (100, -0.6931471805599453)
        """
        tangent, function, bound = bound_to_tangent(algorithm)
        states = real_array("x0", initial_states(tangent, real_array("x0", x0)))
        if states.ndim != 2 or states.shape[1] != tangent.dimension or not len(states):
            raise InvalidInputError(f"x0 must have shape (members, {tangent.dimension}), got {states.shape}")
        if not np.isfinite(states).all():
            members = np.flatnonzero(~np.isfinite(states).all(axis=1)).tolist()
            raise InvalidInputError(f"x0 must be finite, got NaN or infinity for the members {members!s:.100}")
        return cls(AlgorithmRun(tangent.on_one_thread(), function, states, bound | options), len(states))

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
        progress: Callable[[Progress], None] = silent,
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
        need("xarray", "zarr")
        a_function("progress", progress, "progress(Progress)")
        workers = available_cores() if workers is None else whole_number("workers", workers, 1)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()) if path is None else path)
            stack.enter_context(locked(folder))
            place = Place(folder, path is not None, workers, executor is None)
            run = Run.begin(self.definition, self.members, place, block, progress)
            blocks = ((number, run.members_of(number)) for number in sorted(run.todo))
            pool = executor or stack.enter_context(threads(workers))
            stop = stack.enter_context(stop_on_interrupt())
            try:
                for number, found in computed(Job(self.compute), blocks, pool, workers, stop):
                    run.take(number, found)
                data = run.result(stop.is_set())
                return data.load() if path is None else data
            except Exception as problem:
                if path is not None:
                    problem.add_note(f"{run.done} of {self.members} members are saved in {path}: the same call goes on")
                raise


def bound_to_tangent(algorithm: Any) -> tuple[TangentSystem, Callable[..., Any], dict[str, Any]]:
    """The tangent that an algorithm is bound to, the function that it is, and options that are bound with it."""
    match algorithm:
        case partial(func=function, args=(TangentSystem() as tangent,), keywords=options):
            return tangent, function, dict(options)
        case MethodType(__self__=TangentSystem() as tangent, __func__=function):
            return tangent, function, {}
        case _:
            raise InvalidInputError(
                "algorithm must be a method of a tangent such as tangent.benettin, or "
                f"functools.partial(function, tangent) for a function of your own, got {algorithm!r:.100}"
            )


@attrs.frozen(eq=False)
class AlgorithmRun(Described):
    """An algorithm on some members of an ensemble of initial states."""

    tangent: TangentSystem
    function: Callable[..., Any]
    x0: Array
    options: dict[str, Any]

    def __call__(self, members: Array) -> xarray.Dataset:
        """The labelled result for these members."""
        start = RunState.start(self.x0[members], self.tangent.dimension, 0, 0, members)
        return labelled(self.function(self.tangent, start, **self.options), _name(self.function))

    @property
    def described(self) -> dict[str, Any]:
        """The algorithm, the step and how it is computed, but for the number of threads, and the initial states."""
        own = type(self.tangent).__module__.startswith("dynsys.backends.")
        return {
            "algorithm": _name(self.function) if self.function in OURS else self.function,
            "step": self.tangent.time_step,
            "shift": self.tangent.shift,
            "backend": self.tangent.name if own else self.tangent,
            "x0": self.x0,
            "options": self.options,
        }


OURS = tuple(value for value in vars(TangentSystem).values() if callable(value))  # algorithms go by their names


def _name(function: Callable[..., Any]) -> str:
    """What an array is called that a function returns."""
    name = str(getattr(function, "__name__", type(function).__name__))
    return name if name.isidentifier() else "value"  # a lambda


def labelled(found: Any, name: str) -> xarray.Dataset:
    """What an algorithm returned, as a dataset with the dimension member and one for each further axis of an array."""
    import xarray

    if isinstance(found, Result):
        return found.to_xarray()
    if isinstance(found, xarray.Dataset):
        return found
    arrays = found if isinstance(found, Mapping) else {name: found}
    variables = {}
    for key, value in arrays.items():
        try:
            array = np.asarray(value)
        except ValueError:  # of unequal parts
            array = np.array(None)
        if str(key) == MEMBER:
            raise InvalidInputError(
                f"{MEMBER!r} is the dimension of all arrays of an algorithm: call this one otherwise"
            )
        if not array.ndim or array.dtype.kind not in "biuf":
            raise InvalidInputError(
                f"an algorithm must return a Result, a dataset, or arrays (members, ...) of numbers; {key} is "
                f"{value!r:.100}"
            )
        variables[str(key)] = ((MEMBER, *(f"{key}_{axis}" for axis in range(1, array.ndim))), array)
    return xarray.Dataset(variables)
