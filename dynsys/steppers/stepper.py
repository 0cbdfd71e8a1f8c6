"""The contract of a stepper: one step of a flow, and the exact derivative of that step.

A stepper turns dx/dt = f(t, x) into the map x -> x'. Its tangent is the derivative of *that map*, stage by stage: every
stage has its own Jacobian, evaluated where the stage is. (A Jacobian frozen over the step would make the tangent
first-order accurate, whatever the order of the stepper.)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, positive, real, shown

Array = np.ndarray


class VectorField(Protocol):
    """What a stepper needs of a flow."""

    @property
    def dimension(self) -> int: ...  # noqa: D102

    def vector_field(self, t: float, x: Array) -> Array: ...  # noqa: D102

    def jvp(self, t: float, x: Array, V: Array) -> Array: ...  # noqa: D102


SMALLEST_STEP = math.sqrt(np.finfo(float).tiny)  # the square of a shorter one underflows


def _step_length(value: Any) -> float:
    dt = positive("dt", value)
    if dt < SMALLEST_STEP:
        raise InvalidInputError(
            f"dt must be at least {SMALLEST_STEP:.2g}, or rounding is all that a step leaves, got {value!r:.100}: "
            "lengthen it, or choose another unit of time"
        )
    return dt


def _row(value: Any) -> tuple[float, ...]:
    row = real("a row of a tableau", value)
    if row.ndim != 1 or not np.isfinite(row).all():
        raise InvalidInputError(f"a row of a tableau must be finite numbers, got {shown(value)}")
    return tuple(row.tolist())


def _rows(value: Any) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list | tuple | np.ndarray):
        raise InvalidInputError(f"a of a tableau must be a sequence of rows, got {shown(value)}")
    return tuple(map(_row, value))


@attrs.frozen
class Tableau:
    """The Butcher tableau of an explicit Runge-Kutta method.

    Stage s evaluates k_s = f(t + c_s dt, x + dt sum_{r<s} a_{sr} k_r); the step is x' = x + dt sum_s b_s k_s.

    Attributes
    ----------
    a : sequence of sequences of float
        Row s has s numbers.
    b, c : sequence of float
        Weights and nodes, one for each stage.
    """

    a: tuple[tuple[float, ...], ...] = attrs.field(converter=_rows)
    b: tuple[float, ...] = attrs.field(converter=_row)
    c: tuple[float, ...] = attrs.field(converter=_row)

    def __attrs_post_init__(self) -> None:
        """Refuse what is no explicit method."""
        stages = len(self.b)
        if not stages == len(self.a) == len(self.c) or any(len(row) != s for s, row in enumerate(self.a)):
            lengths = [len(row) for row in self.a]
            raise InvalidInputError(
                f"an explicit tableau of {stages} weights b needs as many rows a, of 0, 1, ..., {stages - 1} numbers, "
                f"got rows of {lengths} and {len(self.c)} nodes c"
            )
        if abs(sum(self.b) - 1.0) > 1e-12:
            raise InvalidInputError(f"the weights b of a tableau add up to 1, got {sum(self.b)!r} from {self.b}")

    @property
    def last_is_first(self) -> bool:
        """Whether the last slope of a step is the first of the next one."""
        return self.b[-1] == 0.0 and self.a[-1] == self.b[:-1]

    @property
    def reduced(self) -> Tableau:
        """The same step without the stages that nothing reads, such as a last one for an estimate of the error."""
        read: list[int] = []
        for s in reversed(range(len(self.b))):
            if self.b[s] or any(self.a[r][s] for r in read):
                read.insert(0, s)
        a = [[self.a[r][s] for s in read if s < r] for r in read]
        return Tableau(a, [self.b[s] for s in read], [self.c[s] for s in read])


@attrs.frozen
class Written:
    """The steps of a method, for equations that are written out (`dynsys.compiled.rates`).

    Attributes
    ----------
    source : str
        Source, in the language of `dynsys.compiled.llvm.translate`, of

            moved(n, steps, t0, dt, x, V, blocks, p, data, rows, sizes, B, S, F)

        which moves a state and blocks of vectors, of _DIM rows each, by calls of `rates` and `product`, whose J has
        _ENTRIES numbers. The last numbers in p are the `numbers` of the method; sizes[4] is how many p has.
    room : callable (dim, entries, blocks) -> (int, int)
        How many numbers S has room for, and how many rows of vectors F has.
    parts : int
        In how many equal parts of components it asks for the equations: `rates_0`, `rates_1`, ..., _ENTRIES_0, ...
    implicit : bool
        Whether a state alone cannot be moved without the Jacobian.
    side_by_side : bool
        Whether members can go side by side, each number of the state being a vector of theirs.
    """

    source: str
    room: Callable[[int, Sequence[int], int], tuple[int, int]]
    parts: int = 1
    implicit: bool = False
    side_by_side: bool = False


@attrs.frozen(eq=False)
class Stepper(ABC):
    """A one-step method with step length `dt`, in the units of the model's time.

    Obligations of a subclass: `order`, `step` and `step_tangent`. A method that is given by a Butcher tableau says so
    in `tableau`, any other may have a compiled form in `source`. A method that remembers something, such as a momentum,
    keeps it in the state: `state_dimension`.
    """

    dt: float = attrs.field(converter=_step_length)

    @property
    @abstractmethod
    def order(self) -> int:
        """Order p of accuracy: the error at a fixed time is O(dt^p), for state and tangent alike."""

    @abstractmethod
    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State after step n, which begins at time t; x has shape (..., dim)."""

    @abstractmethod
    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which begins at time t."""

    def state_dimension(self, flow: VectorField) -> int:
        """Number of values that the method itself carries along, in the state after those of the flow; they begin as 0.

        The dimension of a step is the sum of both.
        """
        return 0

    @property
    def tableau(self) -> Tableau | None:
        """The Butcher tableau, if that is all there is to the method: the source of its steps is then generated."""
        return None

    @property
    def source(self) -> str | None:
        """The same step as source for Numba, or None: then NumPy takes the steps.

        Python source that defines the function `step_tangent` of `dynsys.compiled.kernel.StepSource` by calls of

            linearise(t, x, V, f, F, parameters, data, rows, scratch)

        (see `dynsys.compiled.kernel.Kernel`), and STAGES, how many slopes f[s], F[s].T it is given room for.
        """
        return None

    @property
    def written(self) -> Written | None:
        """The same steps, for equations that are written out, or None: then `source` takes them."""
        return None

    @property
    def numbers(self) -> tuple[float, ...]:
        """Numbers of the method, besides dt, that may change without recompiling: the last entries of `parameters`."""
        return ()

    @property
    def fallback(self) -> str:
        """How a stepper without a compiled form gets one."""
        return "give it a `tableau` or a `source`"

    def tangent_at_rest(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """Derivative of step n at a state at rest, (dim, dim); of a method that remembers, when all is forgotten."""
        return self.step_tangent(flow, n, t, x, np.eye(len(x)))[1]

    @property
    def tolerance(self) -> float:
        """Relative error of a step that adapts to the state and the vectors it is given; 0 if nothing adapts.

        Results of the same step with other vectors then agree to the tolerance, not to rounding.
        """
        return 0.0

    @property
    def failure_hint(self) -> str:
        """Why a step may have no result, and what to do, where the method knows more than its users; or empty."""
        return ""

    def finer(self) -> tuple[Stepper, int]:
        """The same method with a smaller error, and how many steps of it make one of these: two of half the length."""
        return attrs.evolve(self, dt=self.dt / 2), 2

    def held(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> Stepper:
        """The same method with the choices that it makes at x and V held fixed: what `step_tangent` differentiates."""
        return self

    def check(self, flow: VectorField) -> None:
        """Refuse a flow for which the method is not made, with an InvalidInputError that says why."""
        return


def a_stepper(value: Any) -> Stepper:
    """A stepper, or an error that says what was given."""
    if not isinstance(value, Stepper):
        raise InvalidInputError(f"a flow needs a stepper such as RK4(dt=0.01), got {value!r:.100}")
    return value
