"""Steps with NumPy: any system, no compiler, one member after the other."""

from __future__ import annotations

import attrs
import numpy as np

from dynsys.errors import real
from dynsys.passes.orthonormal import is_singular, orthonormalise, packed
from dynsys.passes.run_state import Record, RunState
from dynsys.passes.status import DIVERGED, RUNNING, SINGULAR
from dynsys.systems.tangent import TangentSystem

Array = np.ndarray


@attrs.frozen(eq=False)
class NumpyTangent(TangentSystem):
    """Steps with NumPy: any system, no compiler, one member after the other."""

    name = "numpy"

    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n of a member."""
        return self.time_step.for_member(member).step_tangent(n, x, V)

    def forward(self, start: RunState, *, intervals: int, steps_per_interval: int, record: Record) -> RunState:
        """Continue `start` over whole intervals; see `TangentSystem.forward`."""
        end = start.recording(start.n + intervals * steps_per_interval, intervals, record)
        for m in np.flatnonzero(end.status == RUNNING):
            self._forward_member(start, end, int(m), intervals, steps_per_interval)
        end.blank(start, steps_per_interval)
        return end

    def _forward_member(self, start: RunState, end: RunState, m: int, intervals: int, steps_per_interval: int) -> None:
        step = self.time_step.for_member(int(start.members[m]))
        x, Q, n = start.x[m], start.Q[m], start.n
        for i in range(intervals):
            V = Q
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                for _ in range(steps_per_interval):
                    if start.k:
                        x, V = step.step_tangent(n, x, V)
                    else:
                        x = step.step(n, x)
                    n += 1
            x, V = real("the state after a step", x), real("vectors after a step", V)
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
