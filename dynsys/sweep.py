"""Parameter sweeps: the same algorithm on the same system, at every point of a grid of parameters, on all cores.

    runs = sweep(tangent.benettin, {"rho": np.linspace(0, 200, 400)}, x0, intervals=2000, steps_per_interval=10, k=1)
    figure, data = exponents_figure(runs)                        # of dynsys.plotting

A point of the grid is a member of an `Ensemble`: blocks, executors, stores and statuses are those of ensembles.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys.blocks import MEMBER, side_by_side
from dynsys.compiled.build import available_cores
from dynsys.ensemble import Ensemble, silent, tangent_of
from dynsys.errors import DiagnosticWarning, InvalidInputError, real_array, whole_number
from dynsys.passes import Pass, Record
from dynsys.progress import BLOCK, Progress
from dynsys.tangent import TangentSystem

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

BLOCKS_PER_WORKER = 4  # so that all have work until the end


def sweep(
    algorithm: Callable[..., Any],
    values: Mapping[Any, Any],
    x0: Array,
    *,
    path: str | Path | None = None,
    block: int | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Callable[[Progress], None] = silent,
    **options: Any,
) -> xarray.Dataset:
    """Run an algorithm at every point of a grid of parameters.

    Every point is the run of one state on the same system with other parameters, from the same x0 with the same seed:

        attrs.evolve(system, **parameters).tangent(stepper).benettin(x0, **options)

    to the last bit, whatever the number of workers or the length of blocks. Parameters of a symbolic system change
    without compiling again.

    Parameters
    ----------
    algorithm : method of a tangent
        As for `Ensemble.of`: `tangent.benettin`, `ginelli`, ...
    values : mapping, name -> array_like, shape (n,)
        One or several parameters of the system, and the values that each takes. Several: all combinations. Parameters
        are the fields of a system; of a `FunctionFlow`, the further arguments of its function.
    x0 : array_like, shape (dim,)
        Initial state of every point.
    path, block, executor, workers, progress
        As for `Ensemble.run`, with points for members: with a path, what was interrupted goes on. Blocks of a new store
        have at most 64 points, and few enough that every worker gets some.
    **options
        Of the algorithm. A sweep keeps what the algorithm records of every interval: `stride` makes that less.

    Returns
    -------
    xarray.Dataset
        The result of the algorithm, with one dimension for each parameter in the place of `member`, in the order of
        `values`. `status` marks points that stopped, whose numbers are NaN. A parameter that is called like a variable
        of the result gets an underscore (`rate_`).

    Raises
    ------
    InvalidInputError
        For a name that is no parameter, values that are no 1-D array of finite numbers or that the system refuses, and
        parameters that change the dimension.

    Notes
    -----
    Checks that fail (see `LyapunovSpectrum.diagnostics`) warn once, with the number of points. At a fixed point no
    exponent of a flow vanishes, and where an orbit becomes another one rates drift: in a sweep that is to be expected.

    Examples
    --------
    >>> from models.classics import Logistic
    >>> runs = sweep(Logistic().tangent(backend="numpy").benettin, {"r": [2.5, 4.0, 5.0]}, [0.3], intervals=1000)
    >>> dict(runs.exponent_mean.sizes), runs.status.values
    ({'r': 3, 'exponent': 1}, array([0, 0, 1], dtype=int8))
    >>> runs.exponent_mean.values[:, 0].round(2)  # ln|f'| = ln 0.5 at the fixed point, ln 2, and it escapes
    array([-0.69,  0.69,   nan])
    """
    import xarray

    tangent = tangent_of(algorithm)
    grid = _grid(values)
    run = SweepRun(tangent.on_one_thread(), algorithm.__name__, _state(tangent, x0), grid, options)
    points = math.prod(run.shape)
    for point in range(points):  # at the door, not after an hour
        run.system(point)
    workers = available_cores() if workers is None else whole_number("workers", workers, 1)
    if block is None and not (path is not None and Path(path).exists()):  # a store that exists keeps its own
        block = min(BLOCK, -(-points // (BLOCKS_PER_WORKER * workers)))
    with _counted(points):
        data = Ensemble(run, points).run(path, block=block, executor=executor, workers=workers, progress=progress)
    names = {name: name + "_" if name in {*data.variables, *data.dims} else name for name in grid}
    places = xarray.DataArray(np.arange(points).reshape(run.shape), dims=[*names.values()])
    coordinates = {names[name]: (names[name], axis, {"long_name": name}) for name, axis in grid.items()}
    return data.isel({MEMBER: places}).assign_coords(coordinates)


@attrs.frozen(eq=False)
class SweepRun:
    """An algorithm at some points of a grid of parameters, numbered with the last parameter running fastest."""

    tangent: TangentSystem
    algorithm: str
    x0: Array
    values: dict[str, Array]
    options: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of every parameter."""
        return tuple(map(len, self.values.values()))

    def system(self, point: int) -> Any:
        """The system at a point, if it has the dimension of the others."""
        place = np.unravel_index(point, self.shape)
        parameters = {name: axis[i].item() for (name, axis), i in zip(self.values.items(), place, strict=True)}
        base: Any = self.tangent.system
        system = base.with_parameters(parameters)
        if system.dimension != base.dimension:
            raise InvalidInputError(
                f"parameters of a sweep must keep the dimension {base.dimension}; with {parameters} it is "
                f"{system.dimension}: make one sweep for each dimension"
            )
        return system

    def __call__(self, members: Array) -> xarray.Dataset:
        """The labelled results at some points, side by side."""
        found = side_by_side([self._at(int(point)) for point in members])
        assert found is not None
        return found

    def _at(self, point: int) -> xarray.Dataset:
        tangent = attrs.evolve(self.tangent, system=self.system(point))
        marked = MarkedTangent(tangent.system, tangent.stepper, tangent.t0, alone=tangent)
        start = Pass.start(self.x0[None], tangent.dimension, 0, 0)
        return getattr(marked, self.algorithm)(start, **self.options).to_xarray()


@attrs.frozen(eq=False)
class MarkedTangent(TangentSystem):
    """A tangent for one member that is moved as one state is, to the same bits, and marked where that would raise."""

    alone: TangentSystem = attrs.field(kw_only=True)

    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n."""
        return self.alone.step(n, x, V, member=member)

    def forward(self, start: Pass, *, intervals: int, steps_per_interval: int, record: Record) -> Pass:
        """Continue `start` over whole intervals; see `TangentSystem.forward`."""
        one = attrs.evolve(start, single=True)
        end = self.alone.forward(one, intervals=intervals, steps_per_interval=steps_per_interval, record=record)
        return attrs.evolve(end, single=False)


def _grid(values: Mapping[Any, Any]) -> dict[str, Array]:
    if not isinstance(values, Mapping) or not values:
        raise InvalidInputError(f'values must be parameters with their values, as {{"rho": [20, 28]}}, got {values!r}')
    grid = {str(name): np.array(axis) for name, axis in values.items()}
    for name, axis in grid.items():
        if axis.ndim != 1 or not axis.size or axis.dtype.kind not in "biuf" or not np.isfinite(axis).all():
            raise InvalidInputError(f"the values of {name} must be a 1-D array of finite numbers, got {axis!r:.100}")
    return grid


def _state(tangent: TangentSystem, x0: Any) -> Array:
    x = real_array("x0", x0)
    if x.shape != (tangent.dimension,):
        raise InvalidInputError(f"x0 must have shape ({tangent.dimension},), one state for all points, got {x.shape}")
    if not np.isfinite(x).all():
        raise InvalidInputError(f"x0 must be finite, got {x}")
    return x


@contextmanager
def _counted(points: int) -> Iterator[None]:
    """One warning for each check that fails, with the number of points, in place of one for every point."""
    with warnings.catch_warnings(record=True) as caught:  # those of all threads
        warnings.simplefilter("always")
        yield
    failed = Counter(str(w.message) for w in caught if w.filename == __file__)  # where the algorithms are called
    for w in caught:
        if w.filename != __file__:  # of the store
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    for text, count in failed.items():
        warnings.warn(f"{text} ({count} of {points} points)", DiagnosticWarning, stacklevel=4)
