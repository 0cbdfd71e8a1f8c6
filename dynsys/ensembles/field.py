"""Finite-time exponents as a field: how much the neighbours of every state of a grid part within a time T.

field = ftle_field(tangent, {"x": np.linspace(0, 2, 200), "y": np.linspace(0, 1, 100)}, at=[0, 0], steps=1500)
figure, data = field_figure(field)                           # of dynsys.plotting
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys.ensembles.blocks import free_names
from dynsys.errors import InvalidInputError, is_whole, need, real_array, shown, whole_number
from dynsys.passes.orthonormal import solve_upper, unpacked
from dynsys.passes.plan import Report, plan_run
from dynsys.passes.run_state import RunState, forward_in_chunks
from dynsys.passes.status import DIVERGED, RUNNING, SINGULAR, STATUSES
from dynsys.systems.system import Map
from dynsys.systems.tangent import TangentSystem

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

BLOCK_NUMBERS = 100_000  # of the frames of the states that are moved at a time


def ftle_field(
    tangent: TangentSystem,
    grid: Mapping[Any, Any],
    *,
    at: Array,
    steps: int,
    steps_per_interval: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xarray.Dataset:
    """Compute the finite-time Lyapunov exponents of every state of a grid, from step 0 over a time T = steps dt.

    With M(x) the derivative of x -> x(T) and s_1 >= ... >= s_dim its singular values, the largest and the smallest are

        sigma_1(x) = 1/T ln s_1(M(x)),   sigma_dim(x) = 1/T ln s_dim(M(x)).

    Ridges of sigma_1 part states that go different ways: in a flow of a fluid they are Lagrangian coherent structures.

    Parameters
    ----------
    tangent : TangentSystem
        Its `t0` is the time at which all states start.
    grid : mapping, component -> array_like, shape (n,)
        One or several components of the state with their values. A component is the name that a symbolic system gives
        it, or its number from 0.
    at : array_like, shape (dim,)
        The other components of every state.
    steps : int
        Length of the runs.
    steps_per_interval : int, optional
        Steps after which the frame is orthonormalised: 10, or 1 of a map, whose steps are not small. Growth rates in
        an interval should differ by less than 20 / (steps_per_interval dt), or the smallest exponent loses digits;
        from 30 on, states are singular.
    progress : callable, optional
        Called as progress(done, states) after each block.

    Returns
    -------
    xarray.Dataset
        `largest_exponent` and `smallest_exponent`, 1/time, with one dimension for each component of the grid, named as
        it is, or `x[0]` (what is called like one of these variables gets an underscore); and the `status` of every
        state. Exponents of states that diverged, or whose M is singular to rounding, are NaN.

    Raises
    ------
    InvalidInputError
        For unknown components, or values that are not finite.

    Notes
    -----
    M itself overflows, and its columns become parallel. But with V_n = M_n Q_{n-1} = Q_n R_n, beginning with Q_0 = 1,
    M = Q_m R_m ... R_1 has the singular values of the product of the triangular factors. That is taken with a power of
    two apart, and so is the product of their inverses, in which the smallest is the largest.

    The field backward in time is that of the reversed flow, dx/dt = -f(-t, x).

    States are moved in blocks, on all cores; memory is that of the grid and of a block.

    References
    ----------
    G. Haller, Physica D 149, 248 (2001); S. C. Shadden, F. Lekien, J. E. Marsden, Physica D 212, 271 (2005).

    Examples
    --------
    >>> from dynsys.models.classics import LinearMap
    >>> stretch = LinearMap([[2.0, 0.0], [0.0, 0.5]]).tangent(backend="numpy")
    >>> field = ftle_field(stretch, {0: [1.0, 2.0], 1: [0.0]}, at=[0.0, 0.0], steps=25)
    >>> field.largest_exponent.values  # ln 2
    array([[0.69314718],
           [0.69314718]])
    """
    need("xarray")
    import xarray

    steps = whole_number("steps", steps, 1)
    if steps_per_interval is None:
        steps_per_interval = 1 if isinstance(tangent.time_step, Map) else 10
    steps_per_interval = min(steps, whole_number("steps_per_interval", steps_per_interval, 1))
    if tangent.members is not None:
        raise InvalidInputError(
            "a field is of one system, and every member has its own here: take that of for_member(m)"
        )
    components, axes = _axes(tangent, grid)
    base = real_array("at", at)
    if base.shape != (tangent.dimension,) or not np.isfinite(base).all():
        raise InvalidInputError(f"at must be a finite state of shape ({tangent.dimension},), got {at!r:.100}")
    shape = tuple(map(len, axes))
    count, length = math.prod(shape), max(1, BLOCK_NUMBERS // tangent.dimension**2)
    one, intervals = RunState.start(base[None], tangent.dimension, 0, 0), -(-steps // steps_per_interval)
    pace = plan_run(
        tangent, one, intervals, steps_per_interval, progress,
        needed=17 * count, remedy="take a coarser grid, or a part of it",
    ).for_blocks(-(-count // length), length)  # fmt: skip
    largest, smallest, status = np.empty(count), np.empty(count), np.empty(count, np.int8)
    for first in range(0, count, length):
        block = np.arange(first, min(first + length, count))
        states = np.tile(base, (len(block), 1))
        for component, axis, place in zip(components, axes, np.unravel_index(block, shape), strict=True):
            states[:, component] = axis[place]
        tell = pace.during(before=first // length * intervals)
        logs, status[block] = _log_singular_values(tangent, states, block, steps, steps_per_interval, tell)
        largest[block], smallest[block] = logs / (steps * tangent.dt)
        if progress is not None:
            progress(int(block[-1]) + 1, count)

    flags = {code: STATUSES[code] for code in (RUNNING, DIVERGED, SINGULAR)}
    meanings = {"flag_values": [*flags], "flag_meanings": " ".join(flags.values())}
    per_time = {"units": "1/time"}
    others = [i for i in range(tangent.dimension) if i not in components]
    called = [*free_names(_names(tangent), ("largest_exponent", "smallest_exponent", "status")).values()]
    names = [called[i] for i in components]
    return xarray.Dataset(
        {
            "largest_exponent": (names, largest.reshape(shape), per_time),
            "smallest_exponent": (names, smallest.reshape(shape), per_time),
            "status": (names, status.reshape(shape), meanings),
        },
        dict(zip(names, axes, strict=True)) | {called[i]: base[i] for i in others},
        {"t0": tangent.time(0), "dt": tangent.dt, "steps": steps, "time": steps * tangent.dt},
    )


def _names(tangent: TangentSystem) -> list[str]:
    """Names of the components of the state."""
    return list(tangent.time_step.component_names)


def _axes(tangent: TangentSystem, grid: Mapping[Any, Any]) -> tuple[list[int], list[Array]]:
    """Numbers and values of the components of a grid."""
    if not isinstance(grid, Mapping) or not grid:
        raise InvalidInputError(f"grid must be components with their values, as {{'x': [0, 1]}}, got {grid!r:.100}")
    names, components, axes = _names(tangent), [], []
    for given, values in grid.items():
        named = names.index(str(given)) if str(given) in names else given
        if not is_whole(named) or not 0 <= named < len(names):
            raise InvalidInputError(
                f"unknown component {shown(given)} of the grid: choose among {', '.join(names)}, or 0 to "
                f"{len(names) - 1}"
            )
        axis = real_array(f"the values of {given}", values)
        if axis.ndim != 1 or not axis.size or not np.isfinite(axis).all():
            raise InvalidInputError(f"the values of {given} must be a 1-D array of finite numbers, got {values!r:.100}")
        components.append(int(named))
        axes.append(axis)
    if len(set(components)) < len(components):
        raise InvalidInputError(f"the components of the grid must differ, got {', '.join(map(str, grid))}")
    return components, axes


def _log_singular_values(
    tangent: TangentSystem, states: Array, numbers: Array, steps: int, steps_per_interval: int, tell: Report
) -> tuple[Array, Array]:
    """Logarithms of the largest and the smallest singular value of M, (2, states), and the status of every state."""
    count, dim = states.shape
    start = attrs.evolve(RunState.start(states, dim, 0, 0, numbers), Q=np.tile(np.eye(dim), (count, 1, 1)))
    product, inverse = _Product.of(count, dim), _Product.of(count, dim)
    intervals, rest = divmod(steps, steps_per_interval)
    for many, each in ((intervals, steps_per_interval), (1, rest)):
        if many * each == 0:
            continue
        for part in forward_in_chunks(tangent, start, many, each, "R", tell):
            going = part.status == RUNNING
            for i in range(part.R.shape[1]):
                R = np.where(going[:, None, None], unpacked(part.R[:, i]), np.eye(dim))
                product = product.then(R @ product.factor)
                inverse = inverse.then(inverse.factor @ solve_upper(R, np.eye(dim)))
            start = part
    logs = np.array([product.log_norm(), -inverse.log_norm()])
    logs[:, start.status != RUNNING] = np.nan
    return logs, start.status


@attrs.frozen(eq=False)
class _Product:
    """Products of matrices, (..., dim, dim), each as factor * 2^power: nothing over- or underflows."""

    factor: Array
    power: Array

    @classmethod
    def of(cls, count: int, dim: int) -> _Product:
        return cls(np.tile(np.eye(dim), (count, 1, 1)), np.zeros(count, dtype=np.int64))

    def then(self, factor: Array) -> _Product:
        """The next product, of which `factor` is what stands before 2^power."""
        power = np.frexp(np.abs(factor).max(axis=(-2, -1)))[1]
        return _Product(np.ldexp(factor, -power[:, None, None]), self.power + power)

    def log_norm(self) -> Array:
        """Logarithm of the largest singular value."""
        return np.log(np.linalg.norm(self.factor, ord=2, axis=(-2, -1))) + self.power * math.log(2.0)
