"""Parameter sweeps: the same algorithm on the same system, at every point of a grid of parameters, on all cores.

    runs = sweep(tangent.benettin, {"rho": np.linspace(0, 200, 400)}, x0, intervals=2000, steps_per_interval=10, k=1)
    figure, data = exponents_figure(runs)                        # of dynsys.plotting

A point of the grid is a member of an `Ensemble` with parameters of its own (`vary`): blocks, executors, stores and
statuses are those of ensembles, and so is the speed.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.compiled.build import available_cores
from dynsys.ensembles.blocks import free_names
from dynsys.ensembles.ensemble import Ensemble, bound_to_tangent, silent
from dynsys.ensembles.parameters import BYTES_OF_STEP, parameter_values, vary
from dynsys.ensembles.run import BLOCK, Progress
from dynsys.errors import DiagnosticWarning, InvalidInputError, need, real_array, whole_number
from dynsys.passes.memory import ask_for_memory
from dynsys.passes.status import MEMBER
from dynsys.systems.tangent import TangentSystem

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


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

    The points are members of an ensemble (see `vary`), all from one x0, with frames keyed by the number of the
    point: what they give depends on neither workers nor blocks, to the last bit. Points of a symbolic system run side
    by side in one compiled pass; other parameters do not compile again.

    Parameters
    ----------
    algorithm : method of a tangent, or functools.partial(function, tangent)
        As for `Ensemble.of`: `tangent.benettin`, `ginelli`, ..., or an algorithm of your own.
    values : mapping, name -> array_like, shape (n,)
        One or several parameters of the system, and the values that each takes. Several: all combinations. Parameters
        are the fields of a system; of a `FunctionFlow`, the further arguments of its function.
    x0 : array_like, shape (dim,)
        Initial state of every point.
    path, block, executor, workers, progress
        As for `Ensemble.run`, with points for members: given a path, an interrupted sweep resumes. Blocks of a new
        store have at most 64 points, and few enough that every worker gets some.
    **options
        Of the algorithm. A sweep keeps what the algorithm records of every interval: `stride` reduces that.

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
    exponent of a flow vanishes, and where an orbit changes into another one rates drift: expect that in a sweep.

    Examples
    --------
    >>> from dynsys.models.classics import Logistic
    >>> runs = sweep(Logistic().tangent(backend="numpy").benettin, {"r": [2.5, 4.0, 5.0]}, [0.3], intervals=1000)
    >>> dict(runs.exponent_mean.sizes), runs.status.values
    ({'r': 3, 'exponent': 1}, array([0, 0, 1], dtype=int8))
    >>> runs.exponent_mean.values[:, 0].round(2)  # ln|f'| = ln 0.5 at the fixed point, ln 2, and it escapes
    array([-0.69,  0.69,   nan])
    """
    need("xarray", "zarr")
    import xarray

    tangent, function, bound = bound_to_tangent(algorithm)
    grid = parameter_values(values)
    shape = tuple(map(len, grid.values()))
    points = math.prod(shape)
    bytes_of_point = BYTES_OF_STEP + 8 * (tangent.dimension + 2 * len(grid))
    ask_for_memory(f"a sweep of {points:.3g} points", bytes_of_point * points, "take fewer values, or a part of them")
    combined = np.meshgrid(*grid.values(), indexing="ij")
    varied = vary(tangent, {name: axis.ravel() for name, axis in zip(grid, combined, strict=True)})
    workers = available_cores() if workers is None else whole_number("workers", workers, 1)
    if block is None and not (path is not None and Path(path).exists()):  # a store that exists keeps its own
        block = min(BLOCK, -(-points // workers))
    with _counted(points):
        ensemble = Ensemble.of(partial(function, varied), np.tile(_state(tangent, x0), (points, 1)), **bound | options)
        data = ensemble.run(path, block=block, executor=executor, workers=workers, progress=progress)
    names = free_names(grid, {str(name) for name in (*data.variables, *data.dims)})
    places = xarray.DataArray(np.arange(points).reshape(shape), dims=[*names.values()])
    coordinates = {names[name]: (names[name], axis, {"long_name": name}) for name, axis in grid.items()}
    return data.isel({MEMBER: places}).assign_coords(coordinates)


def _state(tangent: TangentSystem, x0: Any) -> Array:
    x = real_array("x0", tangent.complete(real_array("x0", x0)))
    if x.shape != (tangent.dimension,):
        raise InvalidInputError(
            f"x0 must have shape ({tangent.dimension},), one state for all points, got {np.shape(x0)}"
        )
    if not np.isfinite(x).all():
        raise InvalidInputError(f"x0 must be finite, got {x}")
    return x


@contextmanager
def _counted(points: int) -> Iterator[None]:
    """One warning for each check that fails, with the number of points, in place of one for every block."""
    failed: Counter[str] = Counter()
    with warnings.catch_warnings():  # those of all threads
        warnings.simplefilter("always", DiagnosticWarning)
        show = warnings.showwarning

        def count_or_show(message: Any, *where: Any, **further: Any) -> None:
            """Others are shown at once: that a run takes days, say."""
            if isinstance(message, DiagnosticWarning):
                failed.update(message.checks)
            else:
                show(message, *where, **further)

        warnings.showwarning = count_or_show
        yield
    for text, count in failed.items():
        warnings.warn(f"{text} ({count} of {points} points)", DiagnosticWarning, stacklevel=4)
