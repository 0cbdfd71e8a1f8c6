"""Steps on tensors: frames stay on the device of a model, as rows, and are overwritten in place."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import torch

from dynsys.passes.orthonormal import packed
from dynsys.passes.run_state import Record, RunState
from dynsys.passes.status import DIVERGED, RUNNING, SINGULAR
from dynsys.systems.tangent import TangentSystem
from dynsys.systems.time_step import TimeStep
from dynsys.training.frames import orthonormalise_rows, random_rows

Array = np.ndarray
Tensor = torch.Tensor


@attrs.frozen(eq=False)
class TorchTangent(TangentSystem):
    """Steps on tensors of a device, one member after the other; frames are rows there, overwritten in place.

    Everything is computed in the precision of the step, R and the Gram matrix in float64. Between the calls of
    `forward` states and frames are arrays, on the CPU: frames (members, dim, k) whose vectors are contiguous.
    """

    name = "torch"

    @classmethod
    def missing(cls, time_step: TimeStep) -> str:
        """What keeps a step from being taken on tensors; empty if nothing does."""
        step = time_step.for_member(0).on_device()
        if step is None:
            return (
                "it gives no step on tensors: take a TorchGradientFlow under Euler or an optimiser, a TorchMap or a "
                "TorchFlow"
            )
        return "" if step.dtype in DTYPES else f"its numbers are {step.dtype}, and must be float32 or float64"

    @property
    def rounding(self) -> float:
        """Relative error of rounding in the precision of the step."""
        return float(torch.finfo(self._step.dtype).eps)

    @property
    def _step(self) -> Any:
        return self.time_step.for_member(0).on_device()

    def random_frames(self, dim: int, k: int, seed: int, members: Array) -> Array:
        """Random orthonormal frames as those of other backends, made row by row: they are as large as memory allows."""
        own, dtype = dim - self.time_step.carried, self._step.dtype
        frames = [random_rows(k, dim, own, (seed, int(member)), dtype, "cpu").numpy() for member in members]
        return _columns(frames)

    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]:
        """The same as `forward` in another way, by NumPy, mostly in float64: they are compared.

        On tensors where NumPy would not take the same step (`repeatable`).
        """
        time_step = self.time_step.for_member(member)
        step: Any = time_step.on_device()
        if step.repeatable:
            return time_step.step_tangent(n, x, V)
        rows = torch.tensor(np.ascontiguousarray(V.T), dtype=step.dtype, device=step.device)
        moved, pushed = step.push(n, torch.tensor(x, dtype=step.dtype, device=step.device), rows)
        return moved.double().cpu().numpy(), pushed.T.double().cpu().numpy()

    def forward(self, start: RunState, *, intervals: int, steps_per_interval: int, record: Record) -> RunState:
        """Continue `start` over whole intervals; see `TangentSystem.forward`."""
        end = start.recording(start.n + intervals * steps_per_interval, intervals, record, start.Q[:0])
        frames = [self._forward_member(start, end, m, intervals, steps_per_interval) for m in range(len(start.x))]
        end = attrs.evolve(end, Q=_columns(frames))
        end.blank(start, steps_per_interval)
        return end

    def _forward_member(self, start: RunState, end: RunState, m: int, intervals: int, steps_per_interval: int) -> Array:
        """Fill in what a member records, and return its last frame as rows."""
        dim, k = start.Q.shape[1:]
        # memory of its own, which begins where that of every tensor may: sums of long rows depend on that in their bits
        V = torch.empty((k, dim), dtype=self._step.dtype)
        V.numpy()[:] = start.Q[m].T
        if end.status[m] != RUNNING:
            return V.numpy()
        step: Any = self.time_step.for_member(int(start.members[m])).on_device()
        n = start.n
        x, V = torch.tensor(start.x[m], dtype=step.dtype, device=step.device), V.to(step.device)
        for i in range(intervals):
            for _ in range(steps_per_interval):
                if k:
                    x, V = step.push(n, x, V)
                else:
                    x = step.step(n, x)
                n += 1
            V = V.contiguous()  # what a function of vectors returns may be a view
            finite = bool(torch.isfinite(x).all()) and _finite(V)
            R = orthonormalise_rows(V) if finite else None
            if R is None:
                end.status[m], end.stopped[m] = (SINGULAR if finite else DIVERGED), n
                end.x[m] = np.nan
                return V.fill_(np.nan).cpu().numpy()
            if end.growth.size:
                end.growth[m, i] = np.log(np.diagonal(R))
            if end.R.size:
                end.R[m, i] = packed(R)
            if end.xs.size:
                end.xs[m, i], end.Qs[m, i] = x.cpu().numpy(), V.cpu().numpy().T
        end.x[m] = x.cpu().numpy()
        return V.cpu().numpy()


def _columns(frames: list[Array]) -> Array:
    """Frames of members as (members, dim, k), whose vectors are contiguous; that of one member is not copied."""
    return (frames[0][None] if len(frames) == 1 else np.stack(frames)).transpose(0, 2, 1)


def _finite(V: Tensor) -> bool:
    """Whether all entries are, row by row: without room for another frame."""
    return all(bool(torch.isfinite(row).all()) for row in V)


DTYPES = (torch.float32, torch.float64)
