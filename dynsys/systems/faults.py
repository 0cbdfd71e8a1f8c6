"""Why a run stopped although its state is finite: which derivative is infinite, NaN or singular, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

Array = np.ndarray

LONGEST = 20_000  # steps with NumPy that an explanation may take
LARGE = 1e100  # a state, or velocity, that has left all bounds explains itself
SHOWN = 6  # components of a state
FLAT = 1e-14  # share of the longest vector that a step leaves of the shortest, of orthonormal ones
LARGEST = 500  # dimension of a Jacobian that is looked through


def explanation(step: Any, n: int, x: Array, V: Array, steps: int) -> str:
    """Why `steps` steps from a finite state end in what is not finite, if a derivative is the cause; or empty.

    Parameters
    ----------
    step : TimeStep
    n : int
        The first step.
    x, V : ndarray, shapes (dim,) and (dim, k)
    steps : int
    """
    if steps > LONGEST:
        return ""
    with np.errstate(all="ignore"):
        for m in range(n, n + steps):
            following = step.step_tangent(m, x, V) if V.shape[1] else (step.step(m, x), V)
            if not all(np.isfinite(part).all() for part in following):
                return _fault(step, m, x, V)
            x, V = following
    return ""


def singular(step: Any, n: int, x: Array, V: Array, steps: int) -> str:
    """Which of `steps` steps leaves nothing of a direction, by itself; or empty, if vectors become parallel on the way.

    Parameters are those of `explanation`.
    """
    if steps > LONGEST or V.shape[0] > LARGEST:
        return ""
    with np.errstate(all="ignore"):
        for m in range(n, n + steps):
            following, pushed = step.step_tangent(m, x, np.linalg.qr(V)[0])
            if not np.isfinite(pushed).all():
                return ""
            lengths = np.linalg.svd(pushed, compute_uv=False)
            if lengths[-1] <= FLAT * lengths[0]:
                where = shown(step.component_names, x, step.time(m))
                return f"the derivative of {step.label} is singular at {where}: nothing is left of a direction"
            x, V = following, pushed
    return ""


def _fault(step: Any, n: int, x: Array, V: Array) -> str:
    """What a step says of its derivative, if vectors of length one do not stay finite either."""
    if np.abs(x).max() > LARGE:
        return ""
    largest = np.abs(V).max(axis=0, initial=0.0)
    text: str = step.fault(n, x, V / np.where(largest > 0.0, largest, 1.0))
    return text


def of_step(step: Any, n: int, x: Array, V: Array) -> str:
    """That the derivative of a step is not finite although the step is; or empty."""
    if not np.isfinite(step.step(n, x)).all() or np.isfinite(step.step_tangent(n, x, V)[1]).all():
        return ""
    return f"the derivative of {step.label} is not finite at {shown(step.component_names, x)}, although the step is"


def of_rule(system: Any, t: float, x: Array, V: Array) -> str:
    """Which derivative of the equations of a map or flow is not finite at a state, although they are; or empty."""
    names, value = system.component_names, np.asarray(system.rule(t, x))
    if np.isnan(value).any():
        i = int(np.argmax(np.isnan(value)))
        return f"the equation of {names[i]} is nan at {shown(names, x, t)}{system.equation_text(i)}"
    if not np.isfinite(value).all() or np.abs(value).max() > LARGE or np.isfinite(system.jvp(t, x, V)).all():
        return ""
    if len(x) <= LARGEST:
        J = np.asarray(system.jacobian(t, x))
        for i, j in np.argwhere(~np.isfinite(J))[:1]:
            return (
                f"the derivative of the equation of {names[i]} by {names[j]} is {J[i, j]} at {shown(names, x, t)}"
                f"{system.equation_text(int(i))}"
            )
    return f"the derivative of {type(system).__name__} is not finite at {shown(names, x, t)}, although its velocity is"


def shown(names: Sequence[str], x: Array, t: float | None = None) -> str:
    """A state in words."""
    parts = [f"{name} = {value:.6g}" for name, value in zip(names[:SHOWN], x[:SHOWN], strict=True)]
    more = f", ... ({len(x)} components)" if len(x) > SHOWN else ""
    return ", ".join(parts) + more + ("" if t is None else f", t = {t:.6g}")


@attrs.frozen(eq=False)
class Watched:
    """A flow that remembers where a velocity or a derivative was not finite although the state was."""

    flow: Any
    seen: list[tuple[float, Array]] = attrs.field(factory=list)

    @property
    def dimension(self) -> int:
        """That of the flow."""
        dimension: int = self.flow.dimension
        return dimension

    def vector_field(self, t: float, x: Array) -> Array:
        """That of the flow."""
        return self._noted(t, x, np.asarray(self.flow.vector_field(t, x)))

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """That of the flow."""
        return self._noted(t, x, np.asarray(self.flow.jvp(t, x, V)), V)

    def _noted(self, t: float, x: Array, result: Array, V: Array | None = None) -> Array:
        finite = np.isfinite(x).all() and (V is None or np.isfinite(V).all())
        if finite and not np.isfinite(result).all():
            self.seen.append((t, np.array(x)))
        return result


def of_flow(flow: Any, seen: Sequence[tuple[float, Array]]) -> str:
    """What a flow says of the states of a step at which it was not finite."""
    for t, x in seen:
        if np.abs(x).max() <= LARGE and (text := flow.fault_at(t, x)):
            return str(text)
    return ""
