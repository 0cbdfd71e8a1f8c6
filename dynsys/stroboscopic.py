"""The stroboscopic map: a flow, looked at once in a period."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from dynsys.compiled.build import push_source
from dynsys.compiled.kernel import Kernel, PushSource
from dynsys.errors import finite, whole_number
from dynsys.flow_map import FlowMap
from dynsys.steppers import Stepper
from dynsys.system import fitting

Array = np.ndarray


def _phase(value: Any) -> float:
    return finite("t0", value)


def _steps(value: Any) -> int:
    return whole_number("steps", value, 1)


@attrs.frozen(eq=False)
class StroboscopicMap(FlowMap):
    """The time-T map of a flow, x' = Phi_T(x), by `steps` steps of a stepper: T = steps dt.

    Of a flow that is driven with period T it is the Poincare map; its fixed points are orbits of that period. Step n
    begins at time t0 + n T. Exponents are per iteration: those of the flow times T.

    Attributes
    ----------
    flow : Flow or DrivenFlow
    stepper : Stepper
        Its dt is T / steps.
    steps : int
    t0 : float
        The phase at which the flow is looked at.

    Raises
    ------
    InvalidInputError
        If flow or stepper are something else, or steps < 1.

    Examples
    --------
    >>> from dynsys import RK4
    >>> from models.classics import LinearFlow
    >>> decay = StroboscopicMap(LinearFlow([[-1.0]]), RK4(dt=0.01), steps=100)
    >>> bool(abs(decay.step(0, np.ones(1))[0] - np.exp(-1.0)) < 1e-10)
    True
    """

    steps: int = attrs.field(converter=_steps)
    t0: float = attrs.field(default=0.0, converter=_phase)

    def __attrs_post_init__(self) -> None:
        """Refuse a stepper that is not made for the flow."""
        fitting(self.stepper, self.flow)

    @property
    def dimension(self) -> int:
        """That of the flow."""
        return self.flow.dimension

    @property
    def vanishing_exponents(self) -> int:
        """Those of the flow."""
        return self.flow.vanishing_exponents

    @property
    def period(self) -> float:
        """T = steps dt."""
        return self.steps * self.stepper.dt

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        for m in range(n * self.steps, (n + 1) * self.steps):
            x = self.flow.move(self.stepper, m, self.t0 + m * self.stepper.dt, x)
        return x

    def push(self, stepper: Stepper | None, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n."""
        for m in range(n * self.steps, (n + 1) * self.steps):
            x, V = self.flow.push(self.stepper, m, self.t0 + m * self.stepper.dt, x, V)
        return x, V

    def kernel(self) -> Kernel | None:
        """The steps of the flow's kernel, if it has one that no data drive."""
        flow = self.flow.kernel()
        if flow is None or flow.data.size or self.stepper.source is None:
            return None

        def push(_: Stepper | None, k: int) -> PushSource:
            step = push_source(flow, self.stepper, k)
            own = SOURCE.format(own=3 + len(self.stepper.numbers))
            return attrs.evolve(step, source=step.source.replace("def push(", "def flow_push(") + own)

        # the flow's are the first, the stepper's the last
        numbers = [*flow.parameters, self.steps, self.t0, self.stepper.dt, *self.stepper.numbers]
        return Kernel(parameters=np.array(numbers), push=push, functions=flow.functions)


SOURCE = '''

@njit
def push(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """The steps of a flow between two looks at it."""
    own = parameters.size - {own}
    steps, t0, dt = int(parameters[own]), parameters[own + 1], parameters[own + 2]
    for m in range(n * steps, (n + 1) * steps):
        flow_push(m, t0 + m * dt, dt, x, V, X, W, f, F, parameters, data, rows, scratch)

'''
