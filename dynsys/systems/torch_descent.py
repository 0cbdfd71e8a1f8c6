"""A step of gradient descent, or of an optimiser, on tensors that stay on their device, with its exact tangent.

The state is theta, c_1, ..., c_b, one part after the other; vectors stand in rows. With the Hessian H of the loss, and
the derivatives a_ij of the new part i with respect to theta, c_1, ..., c_b and f = -grad L,

    v_i' = sum_j a_ij v_j - a_if H v_theta,

row by row in the place of v: one gradient with its graph, and one pass back through that for each vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

import attrs
import torch

from dynsys.steppers.optimiser import Optimiser
from dynsys.steppers.runge_kutta import Euler
from dynsys.steppers.stepper import Stepper
from dynsys.training.batch.task import Task
from dynsys.training.optimisers.combine import combine

Tensor = torch.Tensor
Part = Any  # a tensor, one number per weight, or a number
Update = Callable[[int, Sequence[Tensor], Tensor], tuple[Sequence[Tensor], Sequence[Sequence[Part]]]]


class Slopes(Protocol):
    """What a step needs of the flow in force."""

    def slope(self, theta: Tensor) -> Tensor: ...  # noqa: D102
    def linearised(self, theta: Tensor, V: Tensor) -> tuple[Tensor, Iterator[Tensor]]: ...  # noqa: D102


@attrs.frozen(eq=False)
class Descent:
    """A step on tensors: `step` of a state (dim,), `push` of a state and of vectors in rows, (k, dim).

    Attributes
    ----------
    flow_at : callable
        n -> the flow in force throughout step n.
    update : callable
        That of an optimiser: (n, parts, f) -> new parts, coefficients.
    parts : int
        1 + b.
    device, dtype
        Of all tensors.
    repeatable : bool
        Whether NumPy takes the same steps, but for rounding; not where other random numbers are drawn in float64.
    """

    flow_at: Callable[[int], Slopes]
    update: Update
    parts: int
    device: torch.device
    dtype: torch.dtype
    repeatable: bool

    @classmethod
    def by(cls, stepper: Stepper, flow_at: Callable[[int], Slopes], task: Task) -> Self | None:
        """The step of a stepper on a task, if it is one of descent."""
        of = task.device, task.dtype, task.same_in_double
        if isinstance(stepper, Euler):
            dt = stepper.dt
            return cls(flow_at, lambda n, parts, f: ((parts[0] + dt * f,), ((1.0, dt),)), 1, *of)
        if isinstance(stepper, Optimiser):
            return cls(flow_at, stepper.update, 1 + stepper.carried, *of)
        return None

    def step(self, n: int, x: Tensor) -> Tensor:
        """State (dim,) after step n."""
        parts = x.chunk(self.parts)
        return torch.cat(list(self.update(n, parts, self.flow_at(n).slope(parts[0]))[0]))

    def push(self, n: int, x: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        """State (dim,) and vectors (k, dim), which are overwritten, after step n."""
        parts = x.chunk(self.parts)
        f, products = self.flow_at(n).linearised(parts[0], V)
        moved, coefficients = self.update(n, parts, f)
        rows = [[*row[:-1], -row[-1]] for row in coefficients]  # H v = -J v
        for v, product in zip(V, products, strict=True):
            combine(rows, list(v.chunk(self.parts)), product)
        return torch.cat(list(moved)), V


@attrs.frozen(eq=False)
class Velocity:
    """The velocity of a flow on tensors; see `dynsys.systems.on_device.OnDevice`."""

    flow: Any

    @property
    def device(self) -> torch.device:
        """That of the weights."""
        return self.flow.task.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights."""
        return self.flow.task.dtype

    @property
    def repeatable(self) -> bool:
        """Always: nothing is drawn."""
        return True

    def step(self, n: float, x: Tensor) -> Tensor:
        """-grad L at a state (dim,)."""
        return self.flow.slope(x)

    def push(self, n: float, x: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        """-grad L at a state (dim,), and minus the Hessian times the rows of V, (k, dim)."""
        slope, products = self.flow.linearised(x, V)
        pushed = torch.empty_like(V)
        for row, product in zip(pushed, products, strict=True):
            torch.neg(product, out=row)
        return slope, pushed
