"""What is given to the compiler: the equations of a system, and one step of it, as Python source with numbers.

A system gives a `Kernel`, its linearised equations. With a stepper, or for a map alone, that becomes a `StepKernel`:
all that a compiled pass needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import attrs
import numpy as np

from dynsys.compiled.equations import aligned
from dynsys.steppers.stepper import Stepper, Tableau, Written

Array = np.ndarray

LANES = 8  # members side by side, of steppers that are written out
TILES_FROM = 4  # vectors: fewer are not worth a tile of eight columns; three are, where members do not go side by side


def no_drive(n: int, steps: int, members: Array) -> Array:
    """The drive of a system that nothing drives."""
    return np.zeros((1, 1, 0), dtype=np.int32)


@attrs.frozen(cache_hash=True)
class StepSource:
    """Steps on trajectories, for the compiler.

    Attributes
    ----------
    source : str
        Source, in the language of `dynsys.compiled.llvm.translate`, of

            advance(n: int, steps: int, t0: float, dt: float, x: states, V: frame, k: int, p: numbers, data: floats,
                    rows: floats, sizes: ints, own: ints, B: floats)

        which moves x, (dim,), and the k columns of V by `steps` steps, the first of which is step n, at t0 + n dt.
        `rows` is what drives the first of them (it may be `ints32`); that of the next begins sizes[1] entries later,
        and each has sizes[0]. sizes[2:5] are the shape of the data and the number of parameters. B is room for work,
        and own[0] (own[l] for lane l) where in `rows` that of this member begins.
    scratch : int
        Length of B; for members side by side, as much for each of them.
    layout : str
        How `frame` stands in memory (`dynsys.compiled.driver`): "columns", where all types mean floats, or "tiles",
        where `frame` means vectors of 8 columns.
    side_by_side : int
        How many members a source by columns also serves side by side, one in each lane of the vectors that `states` and
        `frame` then mean, and `numbers`, if each has parameters of its own. 0: it does not.
    any_layout : bool
        Whether a source by columns serves frames in tiles, too: it takes blocks of `_COLUMNS` columns.
    """

    source: str
    scratch: int = 0
    layout: str = "columns"
    side_by_side: int = 0
    any_layout: bool = False


@attrs.frozen
class NumbaStep:
    """A step on one trajectory, for Numba.

    Attributes
    ----------
    source : str
        Python source that defines

            step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch)

        which moves x, shape (dim,), and V, shape (dim, k), by step n at time t; X and W are as large, and free. It also
        defines STAGES: f has shape (STAGES, dim), F (STAGES, k, dim), and both are free.
    scratch : int
        Length of the float64 work array.
    """

    source: str
    scratch: int = 0


@attrs.frozen(cache_hash=True)
class RateSource:
    """Equations as source, for steppers that are written out.

    Attributes
    ----------
    source : str
        The functions `rates` and `product`, or those of each part (`dynsys.compiled.rates`).
    dimension, scratch : int
        Number of components, and length of B.
    entries : tuple of int
        Numbers in J, of every part.
    driven_by : str
        Type of `rows`: "floats" or "ints32".
    tiles : bool
        Whether vectors of eight numbers stand in it: frames go in tiles then, and members one after the other.
    """

    source: str
    dimension: int
    entries: tuple[int, ...]
    scratch: int = 0
    driven_by: str = "floats"
    tiles: bool = False


def no_step(tableau: Tableau | None, k: int) -> StepSource | NumbaStep | None:
    """No better step than by stages of `linearise`."""
    return None


def no_rates(parts: int, k: int) -> RateSource | None:
    """Equations that steppers cannot be written out for."""
    return None


def no_lanes(tableau: Tableau | None, k: int) -> StepSource | None:
    """No other step for members side by side than for one."""
    return None


@attrs.frozen(eq=False)
class Kernel:
    """The linearised equations of a system, for the compiler.

    Attributes
    ----------
    source : str
        Python source in the subset that Numba compiles. It defines

            linearise(t, x, V, f, F, parameters, data, rows, scratch)

        which writes f = rule(t, x), shape (dim,), and F = J(t, x) V, shape (dim, k); x and V are only read. Frames
        stand in memory column by column: V.T and F.T are contiguous. In scope are `njit`, `np`, `math`, the elementary
        functions of `dynsys.equations.source`, and `copy` and `copy_matrix`, which take the place of array assignments.
    parameters : ndarray, shape (p,)
        Numbers that may change without compiling again.
    data : ndarray, shape (samples, columns)
        Data of which the drive names rows, or one row of numbers that all members share, such as matrices; else empty.
    drive : callable (n, steps, members) -> int32 or float64 ndarray, shape (1 or members, 1 or steps, size)
        What is in force during each of the steps n, ..., n + steps - 1, in `linearise` the argument `rows`: rows of
        `data`, or numbers such as a force. A leading 1 means that it is the same for all members (all steps).
    shared : bool
        Whether it is the same for all members; else each thread asks for that of its own members.
    scratch : int
        Length of the float64 work array that `linearise` may use freely.
    step : callable (tableau, k) -> StepSource or None
        A whole step of one trajectory by a Butcher tableau (None: of a map), where one beats stages of `linearise`.
    rates : callable (parts, k) -> RateSource or None
        The equations of equal parts of the components, for other steppers that are written out.
    lanes : callable (tableau, k) -> StepSource or None
        The same as `step` for blocks of members side by side, which have one row of parameters, or each its own.
    functions : mapping, name -> function marked `@numba.njit`
        Functions of the user that the source calls by these names. A module that calls some is not kept on disk.
    """

    source: str = ""
    parameters: Array = attrs.field(factory=lambda: np.empty(0))
    data: Array = attrs.field(factory=lambda: np.empty((0, 0)))
    drive: Callable[[int, int, Array], Array] = no_drive
    shared: bool = True
    scratch: int = 0
    step: Callable[[Tableau | None, int], StepSource | NumbaStep | None] = no_step
    rates: Callable[[int, int], RateSource | None] = no_rates
    lanes: Callable[[Tableau | None, int], StepSource | None] = no_lanes
    functions: Mapping[str, Callable[..., Any]] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class StepKernel:
    """One step of a system, for the compiler.

    Attributes
    ----------
    step : callable (k) -> StepSource
        The step of one trajectory with k vectors.
    lanes : callable (k) -> StepSource or None
        The step for blocks of members side by side, if there is one.
    parameters : ndarray, shape (p,) or (members, p)
        Numbers that may change without compiling again; row m, if there are several, is that of member m.
    data, drive, shared, functions
        As of `Kernel`.
    """

    step: Callable[[int], StepSource | NumbaStep]
    lanes: Callable[[int], StepSource | None]
    parameters: Array
    data: Array
    drive: Callable[[int, int, Array], Array]
    shared: bool
    functions: Mapping[str, Callable[..., Any]]


def map_kernel(kernel: Kernel) -> StepKernel:
    """A step of a map."""
    return _step_kernel(kernel, MAP_STEP, (), lambda k: kernel.step(None, k), lambda k: kernel.lanes(None, k))


def flow_kernel(kernel: Kernel, stepper: Stepper) -> StepKernel | None:
    """A step of a flow, or None for a stepper that has no compiled form."""
    source = stepper.source
    if source is None:
        return None
    tableau = None if stepper.tableau is None else stepper.tableau.reduced

    def step(k: int) -> StepSource | NumbaStep | None:
        own = None if tableau is None else kernel.step(tableau, k)
        return own or written_step(kernel, stepper.written, k)

    def lanes(k: int) -> StepSource | None:
        return None if tableau is None else kernel.lanes(tableau, k)

    return _step_kernel(kernel, source, stepper.numbers, step, lanes)


def _step_kernel(
    kernel: Kernel,
    source: str,
    numbers: tuple[float, ...],
    written: Callable[[int], StepSource | NumbaStep | None],
    lanes: Callable[[int], StepSource | None],
) -> StepKernel:
    """A step by stages of `linearise`, unless it is written out."""

    def step(k: int) -> StepSource | NumbaStep:
        own = written(k)
        if isinstance(own, NumbaStep):
            return attrs.evolve(own, source="\n\nSTAGES = 1\n" + own.source)
        return own or NumbaStep(kernel.source + source, kernel.scratch)

    return StepKernel(
        step=step,
        lanes=lanes,
        parameters=np.concatenate([kernel.parameters, numbers]),
        data=kernel.data,
        drive=kernel.drive,
        shared=kernel.shared,
        functions=kernel.functions,
    )


def written_step(kernel: Kernel, stepper: Written | None, k: int) -> StepSource | None:
    """The step by a stepper that is written out, on k vectors; None where that or its equations are not."""
    equations = None if stepper is None else kernel.rates(stepper.parts, 1 if stepper.implicit else k)
    if stepper is None or equations is None:
        return None
    return _written(equations, stepper, k, kernel.drive is no_drive)


@lru_cache(maxsize=256)  # every call of a pass asks
def _written(equations: RateSource, stepper: Written, k: int, undriven: bool) -> StepSource:
    layout = layout_for(stepper, k, equations)
    columns = 8 if layout == "tiles" else 1
    states, frames = stepper.room(equations.dimension, equations.entries, -(-k // columns))
    scratch, states = aligned(equations.scratch), aligned(states)
    constants = f"_SCRATCH = {scratch}\n_STATES = {states}\n" + written_constants(equations)
    source = constants + equations.source + stepper.source + ADVANCE.format(driven_by=equations.driven_by)
    alike = undriven and not scratch  # the room of equations is that of one member
    lanes = LANES if stepper.side_by_side and layout == "columns" and alike else 0
    return StepSource(source, scratch + states + frames * columns, layout, lanes)


def layout_for(stepper: Written, k: int, equations: RateSource) -> str:
    """How a frame of k vectors stands in memory: in tiles where it is worth one, or the matrix of an implicit step."""
    large, many = equations.dimension > TILES_FROM, k >= TILES_FROM - (not stepper.side_by_side)
    return "tiles" if equations.tiles or (large if stepper.implicit else many) else "columns"


def written_constants(equations: RateSource) -> str:
    """Constants in the text of a stepper that is written out."""
    entries = equations.entries
    names = ["_ENTRIES"] if len(entries) == 1 else [f"_ENTRIES_{part}" for part in range(len(entries))]
    return "".join(
        f"{name} = {value}\n" for name, value in zip(["_DIM", *names], [equations.dimension, *entries], strict=True)
    )


ADVANCE = '''
def advance(n: int, steps: int, t0: float, dt: float, x: states, V: frame, k: int, p: numbers, data: floats,
            rows: {driven_by}, sizes: ints, own: ints, B: floats):
    """The room of states and of vectors lies behind that of the equations."""
    S, F = like(B[_SCRATCH:], x), like(B[_SCRATCH + _STATES * (_WIDTH // _COLUMNS) :], V)
    moved(n, steps, t0, dt, x, V, (k + _COLUMNS - 1) // _COLUMNS, p, data, rows[own[0] :], sizes, B, S, F)
'''


MAP_STEP = """
STAGES = 1


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    linearise(n, x, V, f[0], F[0].T, parameters, data, rows, scratch)
    copy(x, f[0])
    copy_matrix(V, F[0].T)

"""
