"""What moves: maps, flows, and flows driven by data.

A system is a frozen record of its parameters. States and times are arguments, nothing is hidden inside, and a
system knows nothing of the algorithms: it says how it moves (`vector_field` or `step`) and, if it can, how small
perturbations move (`jacobian`, or `jvp` = Jacobian times tangent vectors).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import attrs
import numpy as np

from dynsys.errors import InvalidInputError
from dynsys.steppers import Stepper
from dynsys.tangent import Backend, TangentSystem, make_tangent

if TYPE_CHECKING:
    from dynsys.compiled.kernel import Kernel

Array = np.ndarray


@attrs.frozen(eq=False)
class DynamicalSystem(ABC):
    """A rule for the motion of a state in R^dim, x -> x' (`Map`) or dx/dt = f(t, x) (`Flow`).

    Obligations of a subclass, each checked by `dynsys.testing.check_system`:

    1. `dimension`, and `step(n, x)` or `vector_field(t, x)` over any leading axes, (..., dim) -> (..., dim);
    2. optional, for one state: `jacobian(t, x)` of shape (dim, dim), or `jvp(t, x, V)` of shape (dim, k). Each
       gives the other; with neither, derivatives are fourth-order finite differences and `derivative` says so;
    3. optional: `vanishing_exponents`, how many Lyapunov exponents must be zero (symmetries, conserved
       quantities, the direction of the flow); `kernel()`, the same equations for the compiler.
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of components of the state."""

    @property
    def vanishing_exponents(self) -> int:
        """Number of Lyapunov exponents that vanish for a reason the system knows."""
        return 0

    @property
    def tolerance(self) -> float:
        """Relative error of a map whose step adapts to the vectors it is given; see `Stepper.tolerance`."""
        return 0.0

    @abstractmethod
    def rule(self, t: float, x: Array) -> Array:
        """The function that `jacobian` differentiates: `step` of a map, `vector_field` of a flow."""

    @abstractmethod
    def move(self, stepper: Stepper | None, n: int, t: float, x: Array) -> Array:
        """The state after step n, which starts at time t: that of `push`, and nothing is differentiated."""

    @abstractmethod
    def push(self, stepper: Stepper | None, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which starts at time t."""

    def jacobian(self, t: float, x: Array) -> Array:
        """Jacobian d rule_i / d x_j at one state, shape (dim, dim)."""
        return self.jvp(t, x, np.eye(self.dimension))

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (dim, k)."""
        if self.derivative == "jacobian":
            return self.jacobian(t, x) @ V
        return finite_difference(lambda z: self.rule(t, z), x, V)

    @property
    def derivative(self) -> str:
        """Where derivatives come from: "jvp", "jacobian" or "finite differences"."""
        if type(self).jvp is not DynamicalSystem.jvp:
            return "jvp"
        if type(self).jacobian is not DynamicalSystem.jacobian:
            return "jacobian"
        return "finite differences"

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same system with other values of some of its parameters: those are its fields.

        Raises
        ------
        InvalidInputError
            For a name that is not one of them, naming those that are.
        """
        known = [field.alias for field in attrs.fields(type(self)) if field.init]
        check_parameters(self, values, known)
        return attrs.evolve(self, **values)

    @property
    def stopped_by(self) -> str:
        """Why a state may be no longer finite, and what to do, where the system knows more than its users; or empty."""
        return ""

    @property
    def members(self) -> int | None:
        """Number of members of an ensemble, where each has a system of its own (`dynsys.varied`). None: any number."""
        return None

    def for_member(self, member: int) -> DynamicalSystem:
        """The system that a member of an ensemble obeys; itself unless the drive differs between members."""
        return self

    def kernel(self) -> Kernel | None:
        """The equations as source for the compiler, or None: then NumPy steps the system."""
        return None


@attrs.frozen(eq=False)
class Map(DynamicalSystem):
    """A map x_{n+1} = step(n, x_n). Time is the number of steps; exponents are rates per step."""

    @abstractmethod
    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""

    def rule(self, t: float, x: Array) -> Array:
        """The function that `jacobian` differentiates."""
        return self.step(int(t), x)

    def move(self, stepper: Stepper | None, n: int, t: float, x: Array) -> Array:
        """The state after step n."""
        return self.step(n, x)

    def push(self, stepper: Stepper | None, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n."""
        return self.step(n, x), self.jvp(n, x, V)

    def tangent(self, *, t0: float = 0.0, backend: Backend = "auto") -> TangentSystem:
        """The linearised map: the front door to the algorithms.

        `t0`, any finite number, shifts the times that results list and nothing else: the map itself is given n = 0, 1,
        ..., counted from the start of the run.

        Examples
        --------
        >>> from models.classics import Henon
        >>> Henon().tangent(t0=1990.5).trajectory([0.0, 0.0], intervals=2, warmup=0).times
        array([1991.5, 1992.5])
        """
        return make_tangent(self, None, t0, backend)


@attrs.frozen(eq=False)
class Flow(DynamicalSystem):
    """A flow dx/dt = vector_field(t, x). Exponents are rates per unit of the model's time."""

    @abstractmethod
    def vector_field(self, t: float, x: Array) -> Array:
        """Velocity dx/dt at time t; x has shape (..., dim)."""

    def rule(self, t: float, x: Array) -> Array:
        """The function that `jacobian` differentiates."""
        return self.vector_field(t, x)

    def move(self, stepper: Stepper | None, n: int, t: float, x: Array) -> Array:
        """The state one step after time t."""
        assert stepper is not None
        return stepper.step(self, t, x)

    def push(self, stepper: Stepper | None, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k), both one step after time t."""
        assert stepper is not None
        return stepper.push(self, t, x, V)

    def tangent(self, stepper: Stepper, *, t0: float = 0.0, backend: Backend = "auto") -> TangentSystem:
        """The linearised flow under a stepper: the front door to the algorithms."""
        return make_tangent(self, fitting(stepper, self), t0, backend)


@attrs.frozen(eq=False)
class DrivenFlow(DynamicalSystem):
    """A flow driven by data: another flow in force during every step.

    `during(n)` is in force throughout step n, for all stages of the stepper. A drive that differs between the
    members of an ensemble says so in `for_member`.
    """

    @abstractmethod
    def during(self, n: int) -> Flow:
        """The flow in force throughout step n."""

    def rule(self, t: float, x: Array) -> Array:
        """Not defined: a driven flow is differentiated step by step, in `push`."""
        raise InvalidInputError("a DrivenFlow has no single vector field; use during(n).vector_field(t, x)")

    def move(self, stepper: Stepper | None, n: int, t: float, x: Array) -> Array:
        """The state after step n, which starts at time t."""
        return self.during(n).move(stepper, n, t, x)

    def push(self, stepper: Stepper | None, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which starts at time t."""
        return self.during(n).push(stepper, n, t, x, V)

    @property
    def derivative(self) -> str:
        """Where derivatives come from: those of the flow in force during step 0."""
        return self.during(0).derivative

    def tangent(self, stepper: Stepper, *, t0: float = 0.0, backend: Backend = "auto") -> TangentSystem:
        """The linearised flow under a stepper: the front door to the algorithms."""
        return make_tangent(self, fitting(stepper, self), t0, backend)


def fitting(stepper: Any, flow: Flow | DrivenFlow) -> Stepper:
    """The stepper, if it is one that is made for the flow; else an InvalidInputError says why."""
    if not isinstance(stepper, Stepper):
        raise InvalidInputError(f"a flow needs a stepper such as RK4(dt=0.01), got {stepper!r:.100}")
    stepper.check(flow.during(0) if isinstance(flow, DrivenFlow) else flow, flow.dimension)
    return stepper


def check_parameters(system: DynamicalSystem, values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse values whose names are not those of parameters of a system, and name these."""
    unknown = [name for name in values if name not in known]
    if unknown:
        raise InvalidInputError(
            f"{type(system).__name__} has no parameter {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(known) or 'none'}"
        )


def finite_difference(function, x: Array, V: Array) -> Array:  # type: ignore[no-untyped-def]
    """Directional derivatives of `function` at x along the columns of V, by fourth-order central differences.

    For smooth functions of order one the relative error is about eps^(4/5) = 3e-13. Cost: 4 k evaluations.

    Parameters
    ----------
    function : callable, (..., dim) -> (..., m)
    x : ndarray, shape (dim,)
    V : ndarray, shape (dim, k)

    Returns
    -------
    ndarray, shape (m, k)
    """
    lengths = np.linalg.norm(V, axis=0)
    lengths = np.where(lengths > 0, lengths, 1.0)
    h = np.finfo(float).eps ** 0.2 * max(1.0, float(np.linalg.norm(x)))
    directions = (V / lengths).T  # (k, dim)
    points = x + h * np.array([-2.0, -1.0, 1.0, 2.0])[:, None, None] * directions
    back2, back1, ahead1, ahead2 = function(points)
    slopes = (8.0 * (ahead1 - back1) - (ahead2 - back2)) / (12.0 * h)
    return slopes.T * lengths
