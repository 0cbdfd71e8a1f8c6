"""The stroboscopic map: a flow, sampled once per period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import attrs
import numpy as np

from dynsys.compiled.kernel import NumbaStep, StepKernel, StepSource, no_drive
from dynsys.errors import finite, whole_number
from dynsys.systems.faults import explanation
from dynsys.systems.flow_map import FlowMap
from dynsys.systems.system import FlowStep

Array = np.ndarray


def _phase(value: Any) -> float:
    return finite("t0", value)


def _steps(value: Any) -> int:
    return whole_number("steps", value, 1)


@attrs.frozen(eq=False)
class StroboscopicMap(FlowMap):
    """The time-T map of a flow, x' = Phi_T(x), by `steps` steps of a stepper: T = steps dt.

    For a flow driven with period T it is the Poincare map; its fixed points are orbits of that period. Step n
    begins at time t0 + n T. Exponents are per iteration: those of the flow times T.

    Attributes
    ----------
    flow : Flow or PiecewiseFlow
    stepper : Stepper
        Its dt is T / steps.
    steps : int
    t0 : float
        The phase at which the flow is sampled.

    Raises
    ------
    InvalidInputError
        If flow or stepper are something else, or steps < 1.

    Examples
    --------
    >>> from dynsys import RK4
    >>> from dynsys.models.classics import LinearFlow
    >>> decay = StroboscopicMap(LinearFlow([[-1.0]]), RK4(dt=0.01), steps=100)
    >>> bool(abs(decay.step(0, np.ones(1))[0] - np.exp(-1.0)) < 1e-10)
    True
    """

    steps: int = attrs.field(converter=_steps)
    t0: float = attrs.field(default=0.0, converter=_phase)

    def __attrs_post_init__(self) -> None:
        """Refuse a stepper that is not made for the flow."""
        assert self.flow_step

    @cached_property
    def flow_step(self) -> FlowStep:
        """One step of the flow."""
        return FlowStep(self.flow, self.stepper, self.t0)

    @property
    def dimension(self) -> int:
        """That of a step of the flow."""
        return self.flow_step.dimension

    @property
    def vanishing_exponents(self) -> int:
        """Those of a step of the flow."""
        return self.flow_step.vanishing_exponents

    def finer(self) -> tuple[StroboscopicMap, int] | None:
        """The same map by finer steps of the flow."""
        found = self.flow_step.finer()
        return None if found is None else (attrs.evolve(self, stepper=found[0].stepper, steps=self.steps * found[1]), 1)

    @property
    def kind(self) -> str:
        """A map of a flow that data drive is driven by them."""
        return "data" if self.flow_step.kind == "data" else "map"

    def velocity(self, n: int, x: Array) -> Array | None:
        """That of the flow: its direction is mapped to itself."""
        return self.flow_step.velocity(n * self.steps, x)

    @property
    def jumps(self) -> Sequence[str]:
        """Those of the flow."""
        return self.flow_step.jumps

    def sides(self, t: float | Array, x: Array) -> Array:
        """Those of the flow at the states that the map shows."""
        return self.flow_step.sides(np.asarray(t, dtype=int) * self.steps, x)

    def complete(self, x0: Any) -> Any:
        """Initial states with what the stepper carries along."""
        return self.flow_step.complete(x0)

    @property
    def carried(self) -> int:
        """What the stepper carries along."""
        return self.flow_step.carried

    @property
    def period(self) -> float:
        """T = steps dt."""
        return self.steps * self.stepper.dt

    @property
    def clock(self) -> tuple[float, float]:
        """That of the flow: step n begins at t0 + n T, although it is called time n."""
        return self.t0, self.period

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of a step of the flow, which goes on with what the map began."""
        return self.flow_step.identity

    def starting_at(self, t0: float) -> Self:
        """The same map, sampled from another phase on."""
        return attrs.evolve(self, t0=t0)

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        for m in range(n * self.steps, (n + 1) * self.steps):
            x = self.flow_step.step(m, x)
        return x

    def step_tangent(self, n: int, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n."""
        for m in range(n * self.steps, (n + 1) * self.steps):
            x, V = self.flow_step.step_tangent(m, x, V)
        return x, V

    def fault(self, n: int, x: Array, V: Array) -> str:
        """Which derivative of the flow is not finite at a step of it, though the velocity is; or empty."""
        return explanation(self.flow_step, n * self.steps, x, V, self.steps)

    @property
    def fallback(self) -> str:
        """What keeps the steps of the flow from being compiled, or those of a flow that is driven."""
        flow = self.flow_step.step_kernel()
        if flow is None or flow.drive is no_drive:
            return self.flow_step.fallback
        return "a map of a flow that data drive is not compiled: run the flow, with steps_per_interval = steps"

    def step_kernel(self) -> StepKernel | None:
        """The steps of the flow, if they have a compiled form that nothing drives."""
        flow = self.flow_step.step_kernel()
        if flow is None or flow.drive is not no_drive:
            return None

        of_stepper = len(self.stepper.numbers)  # the last ones stay the last
        at = len(flow.parameters) - of_stepper

        def step(k: int) -> StepSource | NumbaStep:
            of_flow = flow.step(k)
            if isinstance(of_flow, NumbaStep):
                source = of_flow.source.replace("def step_tangent(", "def flow_step(")
                return attrs.evolve(of_flow, source=source + NUMBA_SOURCE.format(own=3 + of_stepper))
            source = of_flow.source.replace("def advance(", "def flow_advance(") + SOURCE.format(own=3 + of_stepper)
            return attrs.evolve(of_flow, source=source)

        return attrs.evolve(
            flow,
            step=step,
            lanes=lambda k: None,
            parameters=np.insert(flow.parameters, at, [self.steps, self.t0, self.stepper.dt]),
        )


SOURCE = """
def advance(n: int, steps: int, t0: float, dt: float, x: states, V: frame, k: int, p: numbers, data: floats,
            rows: floats, sizes: ints, own: ints, B: floats):
    at = sizes[4] - {own}
    inner = int(p[at][0])  # of one member for all that are side by side
    for m in range(n, n + steps):
        flow_advance(m * inner, inner, p[at + 1][0], p[at + 2][0], x, V, k, p, data, rows, sizes, own, B)

"""

NUMBA_SOURCE = '''

@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """The steps of a flow between two looks at it."""
    own = parameters.size - {own}
    steps, t0, dt = int(parameters[own]), parameters[own + 1], parameters[own + 2]
    for m in range(n * steps, (n + 1) * steps):
        flow_step(m, t0 + m * dt, dt, x, V, X, W, f, F, parameters, data, rows, scratch)

'''
