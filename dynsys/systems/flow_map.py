"""What maps made of flows share."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, Self

import attrs
import numpy as np

from dynsys.errors import InvalidInputError
from dynsys.steppers.stepper import Stepper, a_stepper
from dynsys.systems.faults import of_step
from dynsys.systems.identity.told import parts_of
from dynsys.systems.system import Flow, FlowStep, Map, PiecewiseFlow
from dynsys.systems.time_step import field_names

Array = np.ndarray


def _flow(value: Any) -> Flow | PiecewiseFlow:
    if not isinstance(value, Flow | PiecewiseFlow):
        raise InvalidInputError(f"a map of a flow needs a flow, got {value!r:.100}")
    return value


@attrs.frozen(eq=False)
class FlowMap(Map, ABC):
    """A map whose step is many steps of a flow.

    A subclass gives `dimension`, `step`, `step_tangent` (state and vectors together) and `step_kernel`.
    """

    flow: Flow | PiecewiseFlow = attrs.field(converter=_flow)
    stepper: Stepper = attrs.field(converter=a_stepper)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name: its class and its fields, whatever the stepper."""
        return parts_of(self, "stepper")

    @property
    def tolerance(self) -> float:
        """That of the stepper."""
        return self.stepper.tolerance

    @property
    def precision(self) -> float:
        """That of the flow."""
        return self.flow.precision

    def fault(self, n: int, x: Array, V: Array) -> str:
        """Whether the derivative is not finite at a state (dim,), though the step is; or empty."""
        return of_step(self, n, x, V)

    @property
    def failure_hint(self) -> str:
        """What the stepper says."""
        return self.stepper.failure_hint

    @property
    def order(self) -> int:
        """That of the stepper."""
        return self.stepper.order

    @property
    def derivative(self) -> str:
        """Where derivatives come from: those of the flow."""
        return self.flow.derivative

    @property
    def derives(self) -> bool:
        """Whether the derivatives of the flow are made of its equations."""
        return self.flow.derives

    @property
    def untraced(self) -> str:
        """Why the flow was not traced."""
        return self.flow.untraced

    @property
    def parameter_names(self) -> Sequence[str]:
        """Those of the flow, and its own fields."""
        return [*self.flow.parameter_names, *field_names(self)]

    @property
    def fallback(self) -> str:
        """What keeps the flow from being compiled."""
        return self.flow.fallback

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same map with other values of some of its fields, or of parameters of its flow or stepper.

        Raises
        ------
        InvalidInputError
            For a name that is none of these, naming those that are.
        """
        own = field_names(self)
        others = {name: value for name, value in values.items() if name not in own}
        changed: Self = attrs.evolve(self, **{name: value for name, value in values.items() if name in own})
        if not others:
            return changed
        try:
            step = FlowStep(changed.flow, changed.stepper).with_parameters(others)
        except InvalidInputError as problem:
            raise InvalidInputError(f"{problem}; {type(self).__name__} itself has {', '.join(own)}") from None
        return attrs.evolve(changed, flow=step.flow, stepper=step.stepper)

    def for_member(self, member: int) -> Self:
        """The map of the flow that a member of an ensemble obeys."""
        own: Any = self.flow.for_member(member)
        return self if own is self.flow else attrs.evolve(self, flow=own)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """The derivative of step t at one state times the columns of V, shape (dim, k)."""
        return self.step_tangent(int(t), x, V)[1]
