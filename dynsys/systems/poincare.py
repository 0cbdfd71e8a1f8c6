"""The Poincare map: a flow, sampled where it crosses a plane."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs
import numpy as np

from dynsys.compiled.kernel import NumbaStep, StepKernel, StepSource, no_drive
from dynsys.errors import DivergenceError, InvalidInputError, finite, real, real_array, whole_number
from dynsys.steppers.stepper import Stepper, VectorField
from dynsys.systems.crossing import crossing
from dynsys.systems.flow_map import FlowMap
from dynsys.systems.identity.told import parts_of
from dynsys.systems.system import Flow

Array = np.ndarray

ROUNDS = 60  # of Newton's method, with bisection where it leaves the bracket
ROUNDING = 4e-16  # of the time of the crossing, as a share of dt


def _normal(value: Any) -> Array:
    normal = real_array("normal", value)
    if normal.ndim != 1 or not np.isfinite(normal).all() or not normal.any():
        raise InvalidInputError(f"normal must be a vector of finite numbers, not all zero, got {value!r:.100}")
    normal.flags.writeable = False
    return normal


def _offset(value: Any) -> float:
    return finite("offset", value)


def _direction(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or value not in (1, -1):
        raise InvalidInputError(f"direction must be 1 (normal . x grows) or -1, got {value!r:.100}")
    return int(value)


def _limit(value: Any) -> int:
    return whole_number("limit", value, 1)


def _driven(flow: Flow) -> bool:
    """Whether the field at some states differs between two times; where it is not defined it says nothing."""
    x = np.random.default_rng(0).uniform(0.2, 0.8, size=flow.dimension) * np.logspace(-3, 3, 13)[:, None]
    for state in (*x, *-x):
        with np.errstate(all="ignore"), suppress(ArithmeticError, ValueError):
            now, later = (flow.vector_field(t, state) for t in (0.0, 1.234))
            if not np.array_equal(now, later, equal_nan=True):
                return True
    return False


@attrs.frozen(eq=False)
class TimedFlow:
    """A flow whose time runs as fast as one more component L says: dx/ds = L f(x), dL/ds = 0.

    A step of length 1 is a step of the flow of length L, and its tangent knows the derivative by L.
    """

    flow: Flow

    @property
    def dimension(self) -> int:
        """That of the flow, and one for L."""
        return self.flow.dimension + 1

    def vector_field(self, t: float, y: Array) -> Array:
        """Velocity of (x, L); y has shape (..., dim + 1)."""
        return np.concatenate([y[..., -1:] * self.flow.vector_field(0.0, y[..., :-1]), 0.0 * y[..., -1:]], axis=-1)

    def jvp(self, t: float, y: Array, V: Array) -> Array:
        """Its Jacobian at one state times the columns of V, (dim + 1, k)."""
        moved = y[-1] * self.flow.jvp(0.0, y[:-1], V[:-1]) + np.outer(self.flow.vector_field(0.0, y[:-1]), V[-1])
        return np.concatenate([moved, np.zeros((1, V.shape[1]))])


@attrs.frozen(eq=False)
class PoincareMap(FlowMap):
    """The map of a plane to itself by the next crossing of an autonomous flow dx/dt = f(x).

    The plane is normal . x = offset, and is crossed in one direction. Its points are u in R^(dim - 1), x = c + B u with
    an orthonormal basis B (`embed`, `project`); if the normal is a unit vector, u is x without that component. The flow
    is followed by steps of dt; the last one is shortened by Newton's method until its end lies on the plane. The
    tangent is the exact derivative of all that: with the tangent map M of the steps, and e the derivative of the end
    by the length of the last step (f there, except for the error of the stepper),

        DP = B^T (1 - e normal^T / (normal . e)) M B.

    Exponents are per return: those of the flow, without the vanishing one along it, times the mean time between returns
    (`first_return` gives single ones).

    Attributes
    ----------
    flow : Flow
    stepper : Stepper
        Any but Leapfrog.
    normal : ndarray, shape (dim,)
    offset : float
    direction : 1 or -1
        Whether normal . x grows or falls where a crossing counts.
    limit : int
        Steps after which a flow that has not come back is given up: its state becomes NaN.

    Raises
    ------
    InvalidInputError
        If an argument is none of these, or the flow depends on time.

    References
    ----------
    M. Henon, Physica D 5, 412 (1982); T. S. Parker, L. O. Chua, Practical Numerical Algorithms for Chaotic Systems,
    Springer (1989), Sec. 2.3.

    Examples
    --------
    >>> from dynsys import RK4
    >>> from dynsys.models.classics import LinearFlow
    >>> spiral = LinearFlow([[-0.1, -1.0], [1.0, -0.1]])  # crosses y = 0 upwards every 2 pi
    >>> returns = PoincareMap(spiral, RK4(dt=0.01), normal=[0.0, 1.0])
    >>> returns.first_return(np.ones(1))[0] / np.exp(-0.2 * np.pi)
    array([1.])
    """

    normal: Array = attrs.field(converter=_normal)
    offset: float = attrs.field(default=0.0, converter=_offset)
    direction: int = attrs.field(default=1, converter=_direction)
    limit: int = attrs.field(default=1_000_000, converter=_limit)

    def __attrs_post_init__(self) -> None:
        """Refuse what does not fit together."""
        if not isinstance(self.flow, Flow):
            raise InvalidInputError("a Poincare map needs a flow that no data drive: use StroboscopicMap")
        if self.stepper.state_dimension(self.flow):
            raise InvalidInputError(
                f"{type(self.stepper).__name__} carries a state of its own through the plane: use RK4 for a flow"
            )
        try:
            self.stepper.check(TimedFlow(self.flow))
        except InvalidInputError:
            raise InvalidInputError(
                "a step of any length is needed to end on the plane: use RK4 or ImplicitMidpoint"
            ) from None
        self.stepper.check(self.flow)
        dim = self.flow.dimension
        if self.normal.shape != (dim,) or dim < 2:
            raise InvalidInputError(
                f"normal must have the shape ({dim},) of a state, with dim >= 2, got {self.normal.shape}"
            )
        if _driven(self.flow):
            raise InvalidInputError("the flow depends on time: look at it once in a period, by StroboscopicMap")

    @property
    def dimension(self) -> int:
        """One less than that of the flow."""
        return self.flow.dimension - 1

    @property
    def vanishing_exponents(self) -> int:
        """Those of the flow, without that along it."""
        return max(0, self.flow.vanishing_exponents - 1)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Flow and plane."""
        return parts_of(self, "stepper", "limit")

    def finer(self) -> tuple[PoincareMap, int]:
        """The same map by finer steps of the flow."""
        stepper, steps = self.stepper.finer()
        return attrs.evolve(self, stepper=stepper, limit=self.limit * steps), 1

    @property
    def failure_hint(self) -> str:
        """Why a state is no longer finite, and what to do."""
        return (
            f"the flow has not come back to the plane within limit = {self.limit} steps, or it has left all bounds on "
            "the way: look at it by flow.tangent(stepper).trajectory, move the plane, raise limit, or shorten dt"
        )

    @property
    def basis(self) -> Array:
        """Orthonormal basis B of the plane, (dim, dim - 1), of the reflection that takes an axis to the normal."""
        unit = self.normal / np.linalg.norm(self.normal)
        axis = int(np.argmax(np.abs(unit)))
        mirror = -unit * np.sign(unit[axis])
        mirror[axis] += 1.0
        square = mirror @ mirror
        reflection = np.eye(len(unit)) - (2.0 / square * np.outer(mirror, mirror) if square > 0.0 else 0.0)
        return np.delete(reflection, axis, axis=1)

    def embed(self, u: Array) -> Array:
        """The states (..., dim) of points (..., dim - 1) of the plane."""
        u = self._points("u", u, self.dimension)
        return self.offset * self.normal / (self.normal @ self.normal) + u @ self.basis.T

    def project(self, x: Array) -> Array:
        """The points (..., dim - 1) of the plane that are nearest to states (..., dim)."""
        return self._points("x", x, self.flow.dimension) @ self.basis

    def step(self, n: int, u: Array) -> Array:
        """The next crossing after each of the points u, shape (..., dim - 1); NaN if there is none within `limit`."""
        u = real("u", u)
        moved = np.empty(u.shape)
        for index in np.ndindex(u.shape[:-1]):
            moved[index] = self._cross(self.embed(u[index]), np.empty((self.flow.dimension, 0)))[0]
        return moved

    def step_tangent(self, n: int, u: Array, V: Array) -> tuple[Array, Array]:
        """One point (dim - 1,) and its tangent vectors (dim - 1, k) at the next crossing."""
        return self._cross(self.embed(u), self.basis @ V)[:2]

    def first_return(self, u: Array) -> tuple[Array, float]:
        """The next crossing after one point, (dim - 1,), and the time until then."""
        u = real_array("u", u)
        if u.shape != (self.dimension,) or not np.isfinite(u).all():
            raise InvalidInputError(f"u must be one finite point of shape ({self.dimension},), got {u!r:.100}")
        u, _, time = self._cross(self.embed(u), np.empty((self.flow.dimension, 0)))
        return u, time

    def first_crossing(self, x: Array) -> Array:
        """The point (dim - 1,) where a flow that begins at some state, (dim,), first crosses: where runs begin.

        Raises
        ------
        DivergenceError
            If it does not within `limit` steps.
        """
        x = real_array("x", x)
        if x.shape != self.normal.shape or not np.isfinite(x).all():
            raise InvalidInputError(f"x must be a finite state of shape {self.normal.shape}, got {x!r:.100}")
        u = self._cross(x, np.empty((len(x), 0)), below=self._height(x) < 0.0)[0]
        if not np.isfinite(u).all():
            raise DivergenceError(f"no crossing from {x}: {self.failure_hint}", 0.0)
        return u

    def _points(self, name: str, points: Array, dimension: int) -> Array:
        points = real_array(name, points)
        if points.shape[-1:] != (dimension,):
            raise InvalidInputError(f"{name} must have shape (..., {dimension}), got {points.shape}")
        return points

    def _height(self, x: Array) -> float:
        """Distance from the plane, in multiples of |normal|; it grows where a crossing counts."""
        return float(self.direction * (self.normal @ x - self.offset))

    def _cross(self, x: Array, V: Array, below: bool = False) -> tuple[Array, Array, float]:
        """Point, tangent vectors and time of the next crossing after a state (dim,) with vectors (dim, k).

        Whether a crossing counts is decided by the sides on which steps end; a state on the plane counts as above it.
        """
        assert isinstance(self.flow, Flow)
        timed, step, dim = TimedFlow(self.flow), attrs.evolve(self.stepper, dt=1.0), len(x)
        y, W = np.append(x, self.stepper.dt), np.vstack([V, np.zeros(V.shape[1])])
        for n in range(self.limit):
            y_new, W_new = step.step_tangent(timed, 0, 0.0, y, W) if V.size else (step.step(timed, 0, 0.0, y), W)
            height = self._height(y_new[:dim])
            if not np.isfinite(height):
                break
            if below and height >= 0.0:
                length = self._length(timed, step, y, height)
                W = np.column_stack([W, np.eye(dim + 1)[:, -1]])
                y_new, W_new = step.step_tangent(timed, 0, 0.0, np.append(y[:dim], length), W)
                e, vectors = W_new[:dim, -1], W_new[:dim, :-1]
                vectors = vectors - np.outer(e, (self.normal @ vectors) / (self.normal @ e))
                return self.project(y_new[:dim]), self.basis.T @ vectors, n * self.stepper.dt + length
            below, y, W = height < 0.0, y_new, W_new
        return np.full(dim - 1, np.nan), np.full((dim - 1, V.shape[1]), np.nan), np.nan

    def _length(self, timed: VectorField, step: Stepper, y: Array, height: float) -> float:
        """Length of the step from y that ends on the plane; one of dt ends above it, at this height."""
        dim, dt = len(y) - 1, self.stepper.dt
        under, over, below = 0.0, dt, self._height(y[:dim])
        length = dt * below / (below - height)
        for _ in range(ROUNDS):
            end, e = step.step_tangent(timed, 0, 0.0, np.append(y[:dim], length), np.eye(dim + 1)[:, -1:])
            height, slope = self._height(end[:dim]), self.direction * float(self.normal @ e[:dim, 0])
            under, over = (length, over) if height < 0.0 else (under, length)
            better = length - height / slope if slope > 0.0 else np.inf
            if abs(better - length) <= ROUNDING * dt:
                break
            length = better if under < better < over else 0.5 * (under + over)
        return length

    def step_kernel(self) -> StepKernel | None:
        """The same by the flow's kernel, if it has one that nothing drives."""
        flow = self.flow.kernel()
        if flow is None or flow.drive is not no_drive or self.stepper.source is None:
            return None
        own = [*self.basis.ravel(), *self.normal, self.offset, self.direction, self.limit, self.stepper.dt]
        numbers = self.stepper.numbers
        source = (
            flow.source.replace("def linearise(", "def flow_linearise(")
            + TIMED
            + str(self.stepper.source).replace("def step_tangent(", "def timed_step(")
            + SOURCE.format(own=len(own) + len(numbers), rounds=ROUNDS, rounding=ROUNDING)
        )
        written = self.stepper.written

        def step(k: int) -> StepSource | NumbaStep:
            equations = None if written is None else flow.rates(1, 1)
            if written is None or equations is None:
                return NumbaStep(source, flow.scratch)
            return crossing(equations, written, k, len(own) + len(numbers), ROUNDS, ROUNDING)

        return StepKernel(
            step=step,
            lanes=lambda k: None,
            parameters=np.array([*flow.parameters, *own, *numbers]),  # the flow's are the first, the stepper's the last
            data=flow.data,
            drive=flow.drive,
            shared=True,
            functions=flow.functions,
        )


TIMED = '''

@njit
def linearise(t, y, V, f, F, parameters, data, rows, scratch):
    """Velocity and Jacobian of `TimedFlow`."""
    dim = y.size - 1
    flow_linearise(0.0, y[:dim], V[:dim], f[:dim], F[:dim], parameters, data, rows, scratch)
    for c in range(V.shape[1]):
        for i in range(dim):
            F[i, c] = y[dim] * F[i, c] + f[i] * V[dim, c]
        F[dim, c] = 0.0
    for i in range(dim):
        f[i] *= y[dim]
    f[dim] = 0.0

'''

SOURCE = '''

@njit
def height_of(y, normal, offset, direction):
    """Distance from the plane, in multiples of |normal|."""
    total = 0.0
    for i in range(normal.size):
        total += normal[i] * y[i]
    return direction * (total - offset)


@njit
def room(dim, k):
    """Tangent vectors, those of a stage, and slopes of states and vectors."""
    return np.empty((k, dim)).T, np.empty((k, dim)).T, np.empty((STAGES, dim)), np.empty((STAGES, k, dim))


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """The next crossing after the point x of the plane, as `PoincareMap._cross` finds it."""
    k, dim, at = V.shape[1], x.size + 1, parameters.size - {own}
    basis = parameters[at : at + dim * (dim - 1)].reshape((dim, dim - 1))
    at += dim * (dim - 1)
    normal, offset, direction = parameters[at : at + dim], parameters[at + dim], parameters[at + dim + 1]
    limit, whole = int(parameters[at + dim + 2]), parameters[at + dim + 3]
    y, before, stage = np.empty(dim + 1), np.empty(dim + 1), np.empty(dim + 1)
    Y, S, g, G = room(dim + 1, k)
    Z = np.empty((k, dim + 1)).T
    square = 0.0
    for i in range(dim):
        square += normal[i] * normal[i]
    for i in range(dim):
        y[i] = offset * normal[i] / square
        for j in range(dim - 1):
            y[i] += basis[i, j] * x[j]
        for c in range(k):
            Y[i, c] = 0.0
            for j in range(dim - 1):
                Y[i, c] += basis[i, j] * V[j, c]
    y[dim] = whole
    Y[dim, :] = 0.0
    below, crossed, above = False, False, 0.0
    for _ in range(limit):
        copy(before, y)
        copy_matrix(Z, Y)
        timed_step(n, 0.0, 1.0, y, Y, stage, S, g, G, parameters, data, rows, scratch)
        above = height_of(y, normal, offset, direction)
        if not abs(above) < math.inf:
            break
        if below and above >= 0.0:
            crossed = True
            break
        below = above < 0.0
    if not crossed:
        x[:] = np.nan
        V[:] = np.nan
        return
    under, over, height = 0.0, whole, height_of(before, normal, offset, direction)
    length = whole * height / (height - above)
    E, S, g, G = room(dim + 1, 1)
    for _ in range({rounds}):
        copy(y, before)
        y[dim] = length
        E[:, :] = 0.0
        E[dim, 0] = 1.0
        timed_step(n, 0.0, 1.0, y, E, stage, S, g, G, parameters, data, rows, scratch)
        height, slope = height_of(y, normal, offset, direction), height_of(E[:, 0], normal, 0.0, direction)
        if height < 0.0:
            under = length
        else:
            over = length
        better = length - height / slope if slope > 0.0 else math.inf
        if abs(better - length) <= {rounding!r} * whole:
            break
        length = better if under < better and better < over else 0.5 * (under + over)
    Y, S, g, G = room(dim + 1, k + 1)
    for i in range(dim + 1):
        for c in range(k):
            Y[i, c] = Z[i, c]
        Y[i, k] = 1.0 if i == dim else 0.0
    copy(y, before)
    y[dim] = length
    timed_step(n, 0.0, 1.0, y, Y, stage, S, g, G, parameters, data, rows, scratch)
    slope = height_of(Y[:, k], normal, 0.0, 1.0)
    for c in range(k):
        share = height_of(Y[:, c], normal, 0.0, 1.0) / slope
        for i in range(dim):
            Y[i, c] -= Y[i, k] * share
    for j in range(dim - 1):
        x[j] = 0.0
        for i in range(dim):
            x[j] += basis[i, j] * y[i]
        for c in range(k):
            V[j, c] = 0.0
            for i in range(dim):
                V[j, c] += basis[i, j] * Y[i, c]

'''
