"""One step of a system and its exact derivative: all that a tangent, and with it every algorithm, knows of a system.

A map is a `TimeStep`. A flow becomes one under a stepper, a `FlowStep`. What steps in another way (with noise, with a
delay, by somebody's own optimiser) is a `TimeStep` of its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np

from dynsys.errors import InvalidInputError
from dynsys.systems.faults import of_step
from dynsys.systems.identity.told import Identified, parts_of
from dynsys.systems.on_device import Computed

if TYPE_CHECKING:
    from dynsys.compiled.kernel import StepKernel

Array = np.ndarray
LARGEST_LINEAR = 200  # dimension up to which eigenvalues are computed


class TimeStep(Identified, Computed, ABC):
    """A step x_n -> x_{n+1} = step(n, x_n), with its derivative along tangent vectors.

    Obligations of a subclass, each checked by `dynsys.testing.check_tangent`: `dimension`, `step`, and `step_tangent`,
    which is the exact derivative of `step`. The rest has defaults, those of a map: dt = 1, and nothing to add.
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of components of the state."""

    @abstractmethod
    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""

    @abstractmethod
    def step_tangent(self, n: int, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n."""

    @property
    def label(self) -> str:
        """What warnings call it."""
        return type(self).__name__

    @property
    def dt(self) -> float:
        """Time that a step takes."""
        return 1.0

    def time(self, n: int | Array) -> Any:
        """Time at the start of step n."""
        return n * self.dt

    @property
    def clock(self) -> tuple[float, float]:
        """The time that stands in the equations: (t0, dt), where step n begins at t0 + n dt."""
        return float(self.time(0)), float(self.dt)

    def starting_at(self, t0: float) -> Self:
        """The same step on a clock of another t0, so that a run can go on when it stopped, with steps of another dt.

        Raises
        ------
        InvalidInputError
            If its time is the number of steps.
        """
        raise InvalidInputError(
            f"{self.label} counts time in its own steps from t = {self.clock[0]:g} on, and cannot go on with a run on "
            "another clock: begin a new one at the state where that ended (end.x)"
        )

    @property
    def derivative(self) -> str:
        """Where derivatives come from: "jvp", "jacobian", "traced" or "finite differences"."""
        return "jvp"

    @property
    def untraced(self) -> str:
        """Why derivatives are finite differences although a function could have been traced; or empty."""
        return ""

    @property
    def derives(self) -> bool:
        """Whether derivatives are made of the equations, not given beside them."""
        return False

    @property
    def vanishing_exponents(self) -> int:
        """Number of Lyapunov exponents that vanish for a reason the system knows."""
        return 0

    @property
    def tolerance(self) -> float:
        """Relative error of a step that adapts to the vectors it is given; 0 if nothing adapts."""
        return 0.0

    def finer(self) -> tuple[TimeStep, int] | None:
        """The same system at a finer step, and how many steps of it make one of these.

        None where the step is the system: a map, or training, where dt is the learning rate.
        """
        return None

    @property
    def kind(self) -> str:
        """What moves: a "map", a "driven flow", or what "data" drive; a flow that has a `velocity` is a "flow"."""
        return "map"

    @property
    def order(self) -> int:
        """By which power of dt the error of the step falls, where there is a finer one."""
        return 1

    def divergence(self, t: float, x: Array) -> float:
        """Divergence of a flow at one state: the trace of its Jacobian, to which exponents add up; NaN if unknown."""
        return math.nan

    def velocity(self, n: int, x: Array) -> Array | None:
        """Velocity of an autonomous flow at one state (dim,): the direction whose exponent vanishes off rest.

        None where time stands in the equations, or there is no velocity.
        """
        return None

    def linear_rates(self, n: int, x: Array) -> Array:
        """Rates of growth of small displacements from a state at rest, descending, (dim,); NaN if there are too many.

        ln |eigenvalues of the step| / dt.
        """
        if len(x) > LARGEST_LINEAR:
            return np.full(len(x), np.nan)
        return growth_rates(self.step_tangent(n, x, np.eye(len(x)))[1], self.dt)

    @property
    def jumps(self) -> Sequence[str]:
        """Expressions whose jumps are jumps of the velocity of a flow, as text."""
        return ()

    def sides(self, n: int | Array, x: Array) -> Array:
        """On which side of each of the `jumps` a state is: whole numbers (..., len(jumps)); they change at a jump.

        Over leading axes of x, and of n.
        """
        return np.zeros((*np.shape(x)[:-1], 0), dtype=int)

    def fault(self, n: int, x: Array, V: Array) -> str:
        """Which derivative of step n is not finite at a state (dim,) with vectors (dim, k), though it is; or empty."""
        return of_step(self, n, x, V)

    @property
    def failure_hint(self) -> str:
        """Why a state may no longer be finite, and what to do, where that is known; or empty."""
        return ""

    @property
    def component_names(self) -> Sequence[str]:
        """Names of the components of the state."""
        return [f"x[{i}]" for i in range(self.dimension)]

    def complete(self, x0: Any) -> Any:
        """Initial states with what the step carries beside the state of the system, where that was left out."""
        return x0

    @property
    def carried(self) -> int:
        """How many of the last components are not the system's own, such as momenta; first vectors leave them be."""
        return 0

    @property
    def members(self) -> int | None:
        """Number of members of an ensemble, where each has a step of its own (`dynsys.vary`). None: any number."""
        return None

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name: its class and its fields, but for those of its clock, dt and t0."""
        return parts_of(self, "dt", "t0")

    def for_member(self, member: int) -> TimeStep:
        """The step of a member of an ensemble; itself unless it differs between members."""
        return self

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same step with other values of some parameters.

        Raises
        ------
        InvalidInputError
            For a name that is not one of them, naming those that are.
        """
        return with_fields(self, values)

    def step_kernel(self) -> StepKernel | None:
        """The same step as source for Numba, or None: then NumPy takes it."""
        return None

    @property
    def fallback(self) -> str:
        """What keeps the step from being compiled although its maker may expect it to be, with the remedy; or empty."""
        return ""


def growth_rates(M: Array, dt: float) -> Array:
    """Rates of growth under a step, ln |eigenvalues| / dt, descending."""
    with np.errstate(divide="ignore"):
        return -np.sort(-np.log(np.abs(np.linalg.eigvals(M))) / dt)


def field_names(record: Any) -> list[str]:
    """Names of the fields of a record, as its class is called with them."""
    return [field.alias for field in attrs.fields(type(record)) if field.init] if attrs.has(type(record)) else []


def with_fields(record: Any, values: Mapping[str, Any]) -> Any:
    """The same record with other values of some of its fields, or an error that names those that it has."""
    check_parameters(record, values, field_names(record))
    return attrs.evolve(record, **values)


def with_flow_fields(step: Any, values: Mapping[str, Any]) -> Any:
    """A step of a flow with other values of some parameters of the flow or, for other names, of the stepper."""
    flow, stepper = step.flow, step.stepper
    fields = [name for name in field_names(stepper) if name not in ("dt", *flow.parameter_names)]
    of_stepper = {name: value for name, value in values.items() if name in fields}
    of_flow = {name: value for name, value in values.items() if name not in of_stepper}
    try:
        flow = flow.with_parameters(of_flow) if of_flow else flow
    except InvalidInputError as problem:
        hint = "; dt is one for all members: make a tangent for each" if "dt" in of_flow else ""
        hint += f"; {type(stepper).__name__} has {', '.join(fields)}" if fields else ""
        raise InvalidInputError(f"{problem}{hint}") from None
    return attrs.evolve(step, flow=flow, stepper=attrs.evolve(stepper, **of_stepper) if of_stepper else stepper)


def check_parameters(owner: object, values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse values whose names are not those of parameters, and name these."""
    unknown = [name for name in values if name not in known]
    if unknown:
        raise InvalidInputError(
            f"{type(owner).__name__} has no parameter {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(known) or 'none'}"
        )
