"""How a rule is computed: how exactly, and on tensors that stay on their device, in whole-array arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from dynsys.steppers.stepper import Stepper, Tableau

Tensor = Any  # of whichever library: what is here asks for +, * and add_ alone


class OnDevice(Protocol):
    """A rule on tensors: the step of a map, the velocity of a flow, or a step of a flow under a stepper.

    Attributes
    ----------
    device, dtype
        Those of all its tensors.
    """

    @property
    def device(self) -> Any: ...  # noqa: D102

    @property
    def dtype(self) -> Any: ...  # noqa: D102

    @property
    def repeatable(self) -> bool:
        """Whether NumPy computes the same, but for rounding, and not with other random numbers."""

    def step(self, n: Any, x: Tensor) -> Tensor:
        """The answer at one state (dim,); n is the number of the step, or of a velocity the time."""

    def push(self, n: Any, x: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        """The answer at one state (dim,), and its derivative along vectors that stand in rows, (k, dim).

        V is given away: it may be overwritten.
        """


class Computed:
    """What systems and steps say of how they are computed."""

    __slots__ = ()

    @property
    def precision(self) -> float:
        """Relative rounding of an answer: 2.2e-16, that of double precision, unless it is computed in a lower one."""
        return float(np.finfo(float).eps)

    def on_device(self) -> OnDevice | None:
        """The rule, or the step, on tensors of a device, with its derivative; or None: then NumPy computes it."""
        return None

    def on_device_under(self, stepper: Stepper) -> OnDevice | None:
        """The step of a flow that has one of its own under this stepper; None: of a tableau `on_device` makes it."""
        return None


def stepped_on_device(flow: OnDevice | None, stepper: Stepper, t0: float) -> OnDevice | None:
    """The step of a flow on tensors under a stepper; None if either is not made for them."""
    tableau = stepper.tableau
    return None if flow is None or tableau is None else TableauOnDevice(flow, tableau, t0, stepper.dt)


@attrs.frozen(eq=False)
class TableauOnDevice:
    """A step of a flow by a Butcher tableau, and its exact tangent stage by stage: as `ExplicitRungeKutta`.

    Attributes
    ----------
    flow : OnDevice
        The velocity.
    tableau : Tableau
    t0, dt : float
        Step n begins at t0 + n dt.
    """

    flow: OnDevice
    tableau: Tableau
    t0: float
    dt: float

    @property
    def device(self) -> Any:
        """That of the velocity."""
        return self.flow.device

    @property
    def dtype(self) -> Any:
        """That of the velocity."""
        return self.flow.dtype

    @property
    def repeatable(self) -> bool:
        """That of the velocity."""
        return self.flow.repeatable

    def step(self, n: int, x: Tensor) -> Tensor:
        """State (dim,) after step n."""
        slopes: list[Tensor] = []
        for weights, node in zip(self.tableau.a, self.tableau.c, strict=True):
            slopes.append(self.flow.step(self._time(n, node), self._advance(x, weights, slopes)))
        return self._advance(x, self.tableau.b, slopes)

    def push(self, n: int, x: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        """State (dim,) and vectors (k, dim), in rows, after step n; V is overwritten."""
        slopes: list[Tensor] = []
        pushed: list[Tensor] = []
        for weights, node in zip(self.tableau.a, self.tableau.c, strict=True):
            stage, vectors = self._advance(x, weights, slopes), self._advance(V, weights, pushed)
            slope, along = self.flow.push(self._time(n, node), stage, vectors)
            slopes.append(slope)
            pushed.append(along)
        for weight, along in zip(self.tableau.b, pushed, strict=True):
            if weight:
                V.add_(along, alpha=self.dt * weight)
        return self._advance(x, self.tableau.b, slopes), V

    def _time(self, n: int, node: float) -> float:
        return self.t0 + n * self.dt + node * self.dt

    def _advance(self, x: Tensor, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
        """X + dt sum_r weights_r slopes_r; x itself where all weights vanish."""
        for weight, slope in zip(weights, slopes, strict=True):
            if weight:
                x = x + (self.dt * weight) * slope
        return x
