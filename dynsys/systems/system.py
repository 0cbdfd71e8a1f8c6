"""Maps, flows, and flows that change from step to step, such as those driven by data.

A system is a frozen record of its parameters. States and times are arguments, nothing is hidden inside, and a
system knows nothing of the algorithms: it says how it moves (`vector_field` or `step`) and, if it can, how small
perturbations move (`jacobian`, or `jvp` = Jacobian times tangent vectors).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Self

import attrs
import numpy as np

from dynsys.algorithms.differences import finite_difference
from dynsys.compiled.kernel import Kernel, StepKernel, flow_kernel, map_kernel
from dynsys.errors import InvalidInputError, real, real_array
from dynsys.steppers.optimiser import Optimiser
from dynsys.steppers.stepper import Stepper, a_stepper
from dynsys.systems.faults import Watched, of_flow, of_rule
from dynsys.systems.identity.told import OPTIMISER, OfParts, parts_of
from dynsys.systems.on_device import Computed, OnDevice, stepped_on_device
from dynsys.systems.tangent import Backend, TangentSystem, finite_t0, make_tangent
from dynsys.systems.time_step import LARGEST_LINEAR, TimeStep, field_names, growth_rates, with_fields, with_flow_fields

Array = np.ndarray
LARGEST_TRACE = 64  # dimension up to which a Jacobian is formed for its trace


@attrs.frozen(eq=False)
class DynamicalSystem(OfParts, Computed, ABC):
    """A system with a state in R^dim: what maps and flows share.

    Obligations of a subclass, each checked by `dynsys.testing.check_system`:

    1. `dimension`, and `step(n, x)` of a `Map` or `vector_field(t, x)` of a `Flow` over any leading axes,
       (..., dim) -> (..., dim);
    2. optional, for one state: `jacobian(t, x)` of shape (dim, dim), or `jvp(t, x, V)` of shape (dim, k). Each
       gives the other; with neither, derivatives are fourth-order finite differences and `derivative` says so;
    3. optional: `vanishing_exponents`, how many Lyapunov exponents must be zero (symmetries, conserved
       quantities, the direction of the flow; by default that direction, of a flow); `kernel()`, the same equations as
       source for Numba.
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of components of the state."""

    @property
    @abstractmethod
    def derivative(self) -> str:
        """Where derivatives come from: "jvp", "jacobian", "traced" or "finite differences"."""

    @property
    def derives(self) -> bool:
        """Whether derivatives are made of the equations, not given beside them."""
        return False

    @property
    def untraced(self) -> str:
        """Why derivatives are finite differences although a function could have been traced; or empty."""
        return ""

    @property
    def vanishing_exponents(self) -> int:
        """Number of Lyapunov exponents that vanish for a reason the system knows."""
        return 0

    @property
    def jumps(self) -> Sequence[str]:
        """Expressions at whose jumps the velocity of a flow jumps, where that depends on the state: sign(y), say.

        As text. Jumps of a drive, as floor(t), are not among them: they do nothing to the tangent.
        """
        return ()

    def sides(self, t: float | Array, x: Array) -> Array:
        """Sides of the `jumps` on which states are: whole numbers (..., len(jumps)), over leading axes of x and t."""
        return np.zeros((*np.shape(x)[:-1], 0), dtype=int)

    @property
    def failure_hint(self) -> str:
        """Why a state may no longer be finite, and what to do, where the system knows more than its users; or empty."""
        return ""

    @property
    def component_names(self) -> Sequence[str]:
        """Names of the components of the state."""
        return [f"x[{i}]" for i in range(self.dimension)]

    @property
    def parameter_names(self) -> Sequence[str]:
        """Names of the parameters that `with_parameters` takes: those of the fields."""
        return field_names(self)

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same system with other values of some of its parameters: those are its fields.

        Raises
        ------
        InvalidInputError
            For a name that is not one of them, naming those that are.
        """
        changed: Self = with_fields(self, values)
        return changed

    def for_member(self, member: int) -> Self:
        """The system that a member of an ensemble obeys; itself unless the drive differs between members."""
        return self

    def kernel(self) -> Kernel | None:
        """The equations as source for Numba, or None: then NumPy steps the system."""
        return None

    @property
    def fallback(self) -> str:
        """What keeps the system from being compiled although its user may expect it to be, with the remedy; or empty.

        Empty, too, for one that is written in NumPy and meant to be.
        """
        return ""


@attrs.frozen(eq=False)
class DifferentiableSystem(DynamicalSystem, ABC):
    """A system with one rule of motion, which is differentiated: a map or a flow."""

    @abstractmethod
    def rule(self, t: float, x: Array) -> Array:
        """The function that `jacobian` differentiates: `step` of a map, `vector_field` of a flow."""

    def jacobian(self, t: float, x: Array) -> Array:
        """Jacobian d rule_i / d x_j at one state, shape (dim, dim)."""
        return self.jvp(t, x, np.eye(self.dimension))

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (dim, k)."""
        V = real("V", V)
        if self.derivative == "jacobian":
            return self.jacobian(t, x) @ V
        return finite_difference(lambda z: self.rule(t, z), real("x", x), V)

    def fault_at(self, t: float, x: Array) -> str:
        """Which derivative is not finite at a state (dim,), though the rule is; or empty."""
        return of_rule(self, t, x, np.ones((self.dimension, 1)))

    def equation_text(self, i: int) -> str:
        """The equation of component i, for an error, where there is one; or empty."""
        return ""

    @property
    def derivative(self) -> str:
        """Where derivatives come from: "jvp", "jacobian" or "finite differences"."""
        if type(self).jvp is not DifferentiableSystem.jvp:
            return "jvp"
        if type(self).jacobian is not DifferentiableSystem.jacobian:
            return "jacobian"
        return "finite differences"


@attrs.frozen(eq=False)
class Map(DifferentiableSystem, TimeStep):
    """A map x_{n+1} = step(n, x_n). Time is the number of steps; exponents are rates per step."""

    @abstractmethod
    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""

    def rule(self, t: float, x: Array) -> Array:
        """The function that `jacobian` differentiates."""
        return self.step(int(t), x)

    def step_tangent(self, n: int, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n."""
        return self.step(n, x), self.jvp(n, x, V)

    def fault(self, n: int, x: Array, V: Array) -> str:
        """Which derivative is not finite at a state (dim,), though the step is; or empty."""
        return self.fault_at(n, x) or super().fault(n, x, V)

    def step_kernel(self) -> StepKernel | None:
        """The same step as source for Numba."""
        kernel = self.kernel()
        return None if kernel is None else map_kernel(kernel)

    def tangent(self, *, t0: float = 0.0, backend: Backend = "auto") -> TangentSystem:
        """The linearised map, on which the algorithms run.

        `t0`, any finite number, shifts the times that results list and nothing else: the map itself is given n = 0, 1,
        ..., counted from the start of the run. `backend` is as for `dynsys.systems.tangent.make_tangent`.

        Examples
        --------
        >>> from dynsys.models.classics import Henon
        >>> Henon().tangent(t0=1990.5).trajectory([0.0, 0.0], intervals=2, warmup=0).times
        array([1991.5, 1992.5])
        """
        return make_tangent(self, backend, shift=t0)


@attrs.frozen(eq=False)
class Flow(DifferentiableSystem):
    """A flow dx/dt = vector_field(t, x). Exponents are rates per unit of the model's time."""

    @abstractmethod
    def vector_field(self, t: float, x: Array) -> Array:
        """Velocity dx/dt at time t; x has shape (..., dim)."""

    def rule(self, t: float, x: Array) -> Array:
        """The function that `jacobian` differentiates."""
        return self.vector_field(t, x)

    @property
    def vanishing_exponents(self) -> int:
        """Number of Lyapunov exponents that vanish: that of the direction of the flow, if time is not in the equations.

        A subclass whose flow has symmetries or conserved quantities says how many.
        """
        with np.errstate(all="ignore"), suppress(ArithmeticError, ValueError, InvalidInputError):
            return int(not self.descends and self.autonomous(np.linspace(0.3, 0.7, self.dimension)))
        return 0

    @property
    def descends(self) -> bool:
        """Whether a step of Euler's method is meant as one of gradient descent, dt as the learning rate."""
        return False

    def flow_at(self, n: int) -> Flow:
        """The flow in force throughout step n: this one."""
        return self

    def autonomous(self, x: Array) -> bool:
        """Whether the velocity at a state (dim,) is the same at all times; asked at a few."""
        fields = [np.asarray(self.vector_field(t, x)) for t in (0.0, 0.7310585786300049, 12.566372, 1234.5678)]
        return all(np.array_equal(fields[0], field) for field in fields[1:])

    def tangent(self, stepper: Stepper, *, t0: float = 0.0, backend: Backend = "auto") -> TangentSystem:
        """The linearised flow under a stepper, on which the algorithms run.

        `t0` is the time of step 0; `backend` is as for `dynsys.systems.tangent.make_tangent`.
        """
        return make_tangent(FlowStep(self, stepper, t0), backend)


@attrs.frozen(eq=False)
class PiecewiseFlow(DynamicalSystem):
    """A flow that changes from step to step, for instance with the data of a minibatch.

    `flow_at(n)` is in force throughout step n, for all stages of the stepper. A drive that differs between the
    members of an ensemble says so in `for_member`.
    """

    @abstractmethod
    def flow_at(self, n: int) -> Flow:
        """The flow in force throughout step n."""

    @property
    def derivative(self) -> str:
        """Where derivatives come from: those of the flow in force during step 0."""
        return self.flow_at(0).derivative

    def tangent(self, stepper: Stepper, *, t0: float = 0.0, backend: Backend = "auto") -> TangentSystem:
        """The linearised flow under a stepper, on which the algorithms run; as `Flow.tangent`."""
        return make_tangent(FlowStep(self, stepper, t0), backend)


def _flow(value: Any) -> Flow | PiecewiseFlow:
    if not isinstance(value, Flow | PiecewiseFlow):
        raise InvalidInputError(f"a flow is needed, such as Lorenz63(), got {value!r:.100}")
    return value


@attrs.frozen(eq=False)
class FlowStep(TimeStep):
    """One step of a flow under a stepper. Step n starts at t0 + n dt: computed, never accumulated.

    The state is that of the flow, followed by what the stepper carries along (`Stepper.state_dimension`), which
    begins as 0 where initial states leave it out.

    Attributes
    ----------
    flow : Flow or PiecewiseFlow
    stepper : Stepper
    t0 : float
        Time of step 0.

    Raises
    ------
    InvalidInputError
        If these are something else, or the stepper is not made for the flow.

    Examples
    --------
    >>> from dynsys import RK4
    >>> from dynsys.models.classics import LinearFlow
    >>> step = FlowStep(LinearFlow([[-1.0]]), RK4(dt=0.1), t0=2.0)
    >>> step.time(3), bool(abs(step.step(3, np.ones(1))[0] - np.exp(-0.1)) < 1e-7)
    (2.3, True)
    """

    flow: Flow | PiecewiseFlow = attrs.field(converter=_flow)
    stepper: Stepper = attrs.field(converter=a_stepper)
    t0: float = attrs.field(default=0.0, converter=finite_t0)

    def __attrs_post_init__(self) -> None:
        """Refuse a stepper that is not made for the flow, and a clock that does not move."""
        if self.t0 + self.dt == self.t0:
            raise InvalidInputError(
                f"t0 = {self.t0!r} and t0 + dt are one number for dt = {self.dt!r}: begin nearer to 0, or lengthen dt"
            )
        self.stepper.check(self.flow.flow_at(0))

    @property
    def dimension(self) -> int:
        """That of the flow, and of what the stepper carries along."""
        return self.flow.dimension + self.carried

    @cached_property  # kept: every pass asks for the dimension, and a flow on a batch is made for the answer
    def carried(self) -> int:
        """What the stepper carries along."""
        return self.stepper.state_dimension(self.flow.flow_at(0))

    @property
    def label(self) -> str:
        """The kind of the flow."""
        return type(self.flow).__name__

    @property
    def dt(self) -> float:
        """The stepper's dt."""
        return self.stepper.dt

    def time(self, n: int | Array) -> Any:
        """Time at the start of step n."""
        return self.t0 + n * self.stepper.dt

    def starting_at(self, t0: float) -> Self:
        """The same step with another t0."""
        return attrs.evolve(self, t0=t0)

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of the flow; an optimiser, or what else carries something along, belongs to it, but for its dt."""
        own = self.carried or isinstance(self.stepper, Optimiser)
        return {**self.flow.identity, **({OPTIMISER: parts_of(self.stepper, "dt")} if own else {})}

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        return self.stepper.step(self.flow.flow_at(n), n, self.time(n), x)

    def step_tangent(self, n: int, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n."""
        return self.stepper.step_tangent(self.flow.flow_at(n), n, self.time(n), x, V)

    def fault(self, n: int, x: Array, V: Array) -> str:
        """Which derivative of the flow is not finite at a stage of the step, though the velocity is; or empty."""
        flow = self.flow.flow_at(n)
        watched = Watched(flow)
        self.stepper.step_tangent(watched, n, self.time(n), x, V)
        return of_flow(flow, watched.seen) or super().fault(n, x, V)

    @property
    def derivative(self) -> str:
        """Where derivatives come from: those of the flow."""
        return self.flow.derivative

    @property
    def untraced(self) -> str:
        """That of the flow."""
        return self.flow.untraced

    @property
    def derives(self) -> bool:
        """Those of the flow."""
        return self.flow.derives

    @property
    def vanishing_exponents(self) -> int:
        """Those of the flow; a stepper that carries a state has other conserved quantities, if any."""
        return 0 if self.carried else self.flow.vanishing_exponents

    def finer(self) -> tuple[FlowStep, int] | None:
        """The same flow under the stepper's finer one.

        None where the step is the system: data change with it, it remembers something, or it descends a gradient.
        """
        if isinstance(self.flow, PiecewiseFlow) or self.carried or (self.flow.descends and self.stepper.order == 1):
            return None
        stepper, steps = self.stepper.finer()
        return attrs.evolve(self, stepper=stepper), steps

    @property
    def kind(self) -> str:
        """Of a flow that changes from step to step "data"; "map" where the step is the system."""
        return "data" if isinstance(self.flow, PiecewiseFlow) else "driven flow" if self.finer() else "map"

    @property
    def order(self) -> int:
        """That of the stepper."""
        return self.stepper.order

    def divergence(self, t: float, x: Array) -> float:
        """That of the flow, if its derivatives are exact and the Jacobian is of moderate size."""
        flow = self.flow
        if isinstance(flow, PiecewiseFlow) or flow.derivative == "finite differences" or self.dimension > LARGEST_TRACE:
            return math.nan
        return float(np.trace(flow.jacobian(t, x)))

    def velocity(self, n: int, x: Array) -> Array | None:
        """That of an autonomous flow; None for others, and where the step is the system."""
        if isinstance(self.flow, PiecewiseFlow) or self.finer() is None or not self.flow.autonomous(x):
            return None
        return np.asarray(self.flow.vector_field(self.time(n), x), dtype=float)

    def linear_rates(self, n: int, x: Array) -> Array:
        """Real parts of the eigenvalues of the Jacobian of an autonomous flow; of the step where that is the system."""
        if len(x) > LARGEST_LINEAR:
            return np.full(len(x), np.nan)
        if self.velocity(n, x) is None:
            return growth_rates(self.stepper.tangent_at_rest(self.flow.flow_at(n), n, self.time(n), x), self.dt)
        return -np.sort(-np.linalg.eigvals(self.flow.flow_at(n).jacobian(self.time(n), x)).real)

    @property
    def jumps(self) -> Sequence[str]:
        """Those of the flow."""
        return self.flow.jumps

    def sides(self, n: int | Array, x: Array) -> Array:
        """Those of the flow."""
        return self.flow.sides(self.time(n), x[..., : self.flow.dimension])

    @property
    def tolerance(self) -> float:
        """That of the stepper."""
        return self.stepper.tolerance

    @property
    def failure_hint(self) -> str:
        """What the flow says, or the stepper."""
        return self.flow.failure_hint or self.stepper.failure_hint

    @property
    def component_names(self) -> Sequence[str]:
        """Those of the flow; what the stepper carries along has numbers."""
        names = list(self.flow.component_names)
        return [*names, *(f"x[{i}]" for i in range(len(names), self.dimension))]

    def complete(self, x0: Any) -> Any:
        """Initial states, with zeros for what the stepper carries along if that was left out."""
        carried, dim = self.carried, self.flow.dimension
        if not carried:
            return x0
        x = real_array("x0", x0)
        if x.ndim not in (1, 2) or x.shape[-1] not in (dim, dim + carried):
            raise InvalidInputError(
                f"x0 must have shape ({dim},) or (members, {dim}), or {dim + carried} in the place of {dim} with the "
                f"{carried} numbers that {type(self.stepper).__name__} carries along, got {x.shape}"
            )
        return x if x.shape[-1] == dim + carried else np.concatenate([x, np.zeros((*x.shape[:-1], carried))], axis=-1)

    def for_member(self, member: int) -> FlowStep:
        """The step of the flow that a member of an ensemble obeys."""
        own = self.flow.for_member(member)
        return self if own is self.flow else attrs.evolve(self, flow=own)

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same step with other values of some parameters of the flow or, for other names, of the stepper."""
        changed: Self = with_flow_fields(self, values)
        return changed

    def step_kernel(self) -> StepKernel | None:
        """The same step as source for Numba, if flow and stepper have one."""
        kernel = self.flow.kernel()
        return None if kernel is None else flow_kernel(kernel, self.stepper)

    @property
    def precision(self) -> float:
        """That of the flow."""
        return self.flow.precision

    def on_device(self) -> OnDevice | None:
        """The same step on tensors, if the flow is there and takes the stepper, or that is a tableau."""
        own = self.flow.on_device_under(self.stepper)
        return own or stepped_on_device(self.flow.on_device(), self.stepper, self.t0)

    @property
    def fallback(self) -> str:
        """What the flow says; or that the stepper has no compiled form, where the flow has."""
        if self.flow.fallback or self.stepper.source is not None or self.flow.kernel() is None:
            return self.flow.fallback
        return f"the stepper {type(self.stepper).__name__} has no compiled form: {self.stepper.fallback}"
