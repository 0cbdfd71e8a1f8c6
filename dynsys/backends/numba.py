"""One compiled kernel, generated from the equations of a system: members side by side, and on all cores."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import attrs
import numpy as np

from dynsys.compiled.blas import one_blas_thread
from dynsys.compiled.build import NumbaPass, available_cores
from dynsys.compiled.forward import Pass
from dynsys.compiled.kernel import StepSource
from dynsys.compiled.llvm.machine import is_there
from dynsys.passes.run_state import Record, RunState
from dynsys.systems.tangent import TangentSystem
from dynsys.systems.time_step import TimeStep

Array = np.ndarray


@attrs.frozen(eq=False)
class NumbaTangent(TangentSystem):
    """Steps with one compiled kernel, generated from the system's equations; members run on all cores."""

    name = "numba"

    threads: int = attrs.field(factory=available_cores)

    @classmethod
    def missing(cls, time_step: TimeStep) -> str:
        """What keeps a step from being compiled, with the remedy; empty if nothing does."""
        if importlib.util.find_spec("numba") is None:
            return "Numba is missing: install numba"
        if not is_there():  # which Numba brings, but what is generated here needs by itself
            return "llvmlite is missing: install llvmlite"
        if time_step.step_kernel() is not None:
            return ""
        return time_step.fallback or (
            "it gives no kernel: define it by SymbolicFlow or SymbolicMap, or by FunctionFlow or FunctionMap "
            "from functions marked @numba.njit"
        )

    def on_one_thread(self) -> TangentSystem:
        """The same for one of many workers."""
        return attrs.evolve(self, threads=1)

    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]:
        """The same as `forward` in another way, by the equations in NumPy: diagnostics compare the kernel with it."""
        return self.time_step.for_member(member).step_tangent(n, x, V)

    def forward(self, start: RunState, *, intervals: int, steps_per_interval: int, record: Record) -> RunState:
        """Continue `start` over whole intervals; see `TangentSystem.forward`."""
        kernel, k = self.time_step.step_kernel(), start.k
        assert kernel is not None
        step = (None if start.single else kernel.lanes(k)) or kernel.step(k)
        steps = intervals * steps_per_interval
        end = start.recording(start.n + steps, intervals, record)
        shared = kernel.drive(start.n, steps, start.members) if kernel.shared else None
        t0, dt = float(self.time_step.time(0)), float(self.dt)
        kind: type[Pass] | type[NumbaPass] = Pass if isinstance(step, StepSource) else NumbaPass
        one: Any = kind(kernel, step, start, end, intervals, steps_per_interval, t0, dt)  # type: ignore[arg-type]

        def run(members: Array) -> None:
            one.run(members, kernel.drive(start.n, steps, start.members[members]) if shared is None else shared)

        everyone = np.arange(len(start.x))
        blocks = np.array_split(everyone, min(self.threads, len(everyone))) if len(everyone) > 1 else [everyone]
        with one_blas_thread() if one.calls_blas else nullcontext():
            if len(blocks) == 1:
                run(blocks[0])
            else:
                with ThreadPoolExecutor(len(blocks)) as pool:
                    list(pool.map(run, blocks))
        end.blank(start, steps_per_interval)
        return end
