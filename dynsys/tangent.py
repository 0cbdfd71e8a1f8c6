"""The linearised step, and the front door of the algorithms.

A `TangentSystem` moves a state together with a frame of tangent vectors. Algorithms ask it for two things only:
`step`, one step of both, and `forward`, a pass over many intervals with an orthonormalisation at the end of each.
"""

from __future__ import annotations

import importlib.util
import warnings
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

from dynsys import benettin as _benettin
from dynsys import gali as _gali
from dynsys import ginelli as _ginelli
from dynsys import sharafi as _sharafi
from dynsys import trajectory as _trajectory
from dynsys import wolfe_samelson as _wolfe_samelson
from dynsys.compiled.blas import one_blas_thread
from dynsys.compiled.build import available_cores, build, build_lanes, compiles
from dynsys.errors import FallbackWarning, InvalidInputError, finite, one_of
from dynsys.orthonormal import LONG_COLUMN, is_singular, orthonormalise, packed
from dynsys.passes import DIVERGED, RUNNING, SINGULAR, Pass, Record, System

if TYPE_CHECKING:
    from dynsys.steppers import Stepper

Array = np.ndarray
Backend = Literal["auto", "numpy", "compiled"]


def _start_time(value: Any) -> float:
    return finite("t0", value)


@attrs.frozen(eq=False)
class TangentSystem(ABC):
    """A system under a stepper, together with the exact derivative of its numerical step.

    Attributes
    ----------
    system : DynamicalSystem
    stepper : Stepper or None
        None for a map.
    t0 : float
        Time of step 0: step n starts at t0 + n dt (computed, never accumulated). A map is given n, whatever t0 is.
    """

    system: System
    stepper: Stepper | None = None
    t0: float = attrs.field(default=0.0, converter=_start_time)

    @property
    def dimension(self) -> int:
        """Number of components of the state."""
        return self.system.dimension

    @property
    def dt(self) -> float:
        """Time of one step: the stepper's dt, 1 for a map."""
        return 1.0 if self.stepper is None else self.stepper.dt

    @property
    def stopped_by(self) -> str:
        """Why a state may be no longer finite, and what to do: what the system knows, or its stepper; or empty."""
        return self.system.stopped_by or ("" if self.stepper is None else self.stepper.stopped_by)

    @property
    def tolerance(self) -> float:
        """Relative error within which a step depends on the vectors that it is given; see `Stepper.tolerance`."""
        return self.system.tolerance if self.stepper is None else self.stepper.tolerance

    def time(self, n: int | Array) -> Any:
        """Time at the start of step n."""
        return self.t0 + n * self.dt

    @abstractmethod
    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, under the drive of a member."""

    @abstractmethod
    def forward(self, start: Pass, *, intervals: int, steps_per_interval: int, record: Record) -> Pass:
        """Continue `start` over whole intervals, with V = QR at the end of each, and record what is asked for.

        Members that diverge, or whose R_ii vanishes, are marked and leave the arithmetic: the rest of their
        records is NaN and the other members do not change by a bit. Without vectors (k = 0) the state moves alone, and
        nothing is differentiated.
        """

    def on_one_thread(self) -> TangentSystem:
        """The same for one of many workers; no bit depends on the number of threads."""
        return self

    benettin = _benettin.benettin
    ginelli = _ginelli.ginelli
    sharafi = _sharafi.sharafi
    wolfe_samelson = _wolfe_samelson.wolfe_samelson
    gali = _gali.gali
    trajectory = _trajectory.trajectory


@attrs.frozen(eq=False)
class NumpyTangent(TangentSystem):
    """Steps with NumPy: any system, no compiler, one member after the other."""

    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, under the drive of a member."""
        return self.system.for_member(member).push(self.stepper, n, self.time(n), x, V)

    def forward(self, start: Pass, *, intervals: int, steps_per_interval: int, record: Record) -> Pass:
        """Continue `start` over whole intervals; see `TangentSystem.forward`."""
        end = start.recording(start.n + intervals * steps_per_interval, intervals, record)
        for m in np.flatnonzero(end.status == RUNNING):
            self._forward_member(start, end, int(m), intervals, steps_per_interval)
        end.blank(start, steps_per_interval)
        return end

    def _forward_member(self, start: Pass, end: Pass, m: int, intervals: int, steps_per_interval: int) -> None:
        system = self.system.for_member(int(start.members[m]))
        x, Q, n = start.x[m], start.Q[m], start.n
        for i in range(intervals):
            V = Q
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                for _ in range(steps_per_interval):
                    if start.k:
                        x, V = system.push(self.stepper, n, self.time(n), x, V)
                    else:
                        x = system.move(self.stepper, n, self.time(n), x)
                    n += 1
            finite = np.isfinite(x).all() and np.isfinite(V).all()
            Q, R = orthonormalise(V) if finite else (V, V)
            if not finite or is_singular(V, R):
                end.status[m], end.stopped[m] = (SINGULAR if finite else DIVERGED), n
                end.x[m], end.Q[m] = np.nan, np.nan
                return
            if end.growth.size:
                end.growth[m, i] = np.log(np.diagonal(R))
            if end.R.size:
                end.R[m, i] = packed(R)
            if end.xs.size:
                end.xs[m, i], end.Qs[m, i] = x, Q
        end.x[m], end.Q[m] = x, Q


@attrs.frozen(eq=False)
class CompiledTangent(TangentSystem):
    """Steps with one compiled kernel, generated from the system's equations; members run on all cores."""

    threads: int = attrs.field(factory=available_cores)

    def on_one_thread(self) -> TangentSystem:
        """The same for one of many workers."""
        return attrs.evolve(self, threads=1)

    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]:
        """The same as `forward` by another way, the equations in NumPy: diagnostics hold the kernel against it."""
        return self.system.for_member(member).push(self.stepper, n, self.time(n), x, V)

    def forward(self, start: Pass, *, intervals: int, steps_per_interval: int, record: Record) -> Pass:
        """Continue `start` over whole intervals; see `TangentSystem.forward`."""
        kernel = self.system.kernel()
        assert kernel is not None
        side_by_side = None if start.single else build_lanes(kernel, self.stepper, self.dimension, start.Q.shape[2])
        compiled = side_by_side or build(kernel, self.stepper, self.dimension, start.Q.shape[2])
        steps = intervals * steps_per_interval
        end = start.recording(start.n + steps, intervals, record)
        shared = kernel.drive(start.n, steps, start.members) if kernel.shared else None
        # read-only arrays are another type to Numba: copies, so that a kernel is compiled once
        data = np.array(kernel.data)
        numbers = () if self.stepper is None else self.stepper.numbers

        def run(members: Array) -> None:
            own = kernel.parameters[start.members[members]] if kernel.parameters.ndim == 2 else kernel.parameters[None]
            parameters = np.hstack([own, np.tile(numbers, (len(own), 1))])
            drive = kernel.drive(start.n, steps, start.members[members]) if shared is None else shared
            compiled.forward(
                members, start.n, intervals, steps_per_interval, self.t0, self.dt, parameters, data, drive,
                np.zeros(compiled.scratch), end.x, end.Q, end.status, end.stopped, end.growth, end.R, end.xs, end.Qs,
            )  # fmt: skip

        blocks = [block for block in np.array_split(np.arange(len(start.x)), self.threads) if len(block)]
        with one_blas_thread() if self.dimension >= LONG_COLUMN else nullcontext():
            if len(blocks) == 1:
                run(blocks[0])
            else:
                with ThreadPoolExecutor(len(blocks)) as pool:
                    list(pool.map(run, blocks))
        end.blank(start, steps_per_interval)
        return end


def make_tangent(system: System, stepper: Stepper | None, t0: float, backend: Backend) -> TangentSystem:
    """The tangent of a system: compiled where there is a kernel and a compiler, else NumPy."""
    one_of("backend", backend, "auto", "numpy", "compiled")
    missing = "" if backend == "numpy" else _missing(system, stepper)
    if missing and backend == "compiled":
        raise InvalidInputError(f"{type(system).__name__} cannot be compiled: {missing}; or use backend='numpy'")
    if system.derivative == "finite differences":
        warnings.warn(
            f"{type(system).__name__} gives neither jacobian nor jvp: its tangent is a finite-difference one "
            "(fourth order, relative error about 1e-12, 4 k evaluations per stage). Define one of them to be exact",
            FallbackWarning,
            stacklevel=3,
        )
    return NumpyTangent(system, stepper, t0) if missing or backend == "numpy" else CompiledTangent(system, stepper, t0)


def _missing(system: System, stepper: Stepper | None) -> str:
    """What keeps a system from being compiled, with the remedy; empty if nothing does."""
    if importlib.util.find_spec("numba") is None:
        return "Numba is missing: install numba"
    if not compiles(stepper):
        return f"the stepper {type(stepper).__name__} has no compiled form"
    if system.kernel() is None:
        return (
            "it gives no kernel: define it by SymbolicFlow or SymbolicMap, or by FunctionFlow or FunctionMap "
            "from functions marked @numba.njit"
        )
    return ""
