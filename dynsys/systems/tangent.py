"""The linearised step, with the algorithms on it.

A `TangentSystem` moves a state together with a frame of tangent vectors. Algorithms ask it for two things only:
`step`, one step of both, and `forward`, a pass over many intervals with an orthonormalisation at the end of each. How
passes are computed is up to its kinds, the backends: see `dynsys.backends`.
"""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any, ClassVar, Literal

import attrs
import numpy as np

from dynsys.algorithms import benettin as _benettin
from dynsys.algorithms import gali as _gali
from dynsys.algorithms import ginelli as _ginelli
from dynsys.algorithms import sharafi as _sharafi
from dynsys.algorithms import trajectory as _trajectory
from dynsys.algorithms import wolfe_samelson as _wolfe_samelson
from dynsys.errors import FallbackWarning, InvalidInputError, finite
from dynsys.passes.orthonormal import random_frames
from dynsys.passes.run_state import Record, RunState
from dynsys.systems.faults import explanation, singular
from dynsys.systems.identity.sameness import differing
from dynsys.systems.identity.told import told
from dynsys.systems.time_step import TimeStep

Array = np.ndarray


def _time_step(value: Any) -> TimeStep:
    if not isinstance(value, TimeStep):
        raise InvalidInputError(
            f"a tangent is that of a TimeStep: a map, or FlowStep(flow, stepper), got {value!r:.100}"
        )
    return value


def finite_t0(value: Any) -> float:
    """A finite t0."""
    return finite("t0", value)


@attrs.frozen(eq=False)
class TangentSystem(ABC):
    """A step of a system together with its exact derivative, and the algorithms on it.

    A kind of it, a backend, gives `name`, `missing`, `step` and `forward`.

    Attributes
    ----------
    time_step : TimeStep
        The step: a map, or a flow under a stepper.
    shift : float
        What is added to the times that results list, for a map whose steps are not counted from time 0.
    """

    name: ClassVar[str] = ""  # by which `backend=` asks for this kind

    time_step: TimeStep = attrs.field(converter=_time_step)
    shift: float = attrs.field(default=0.0, converter=finite_t0)

    @classmethod
    def missing(cls, time_step: TimeStep) -> str:
        """What a step or the machine lacks for this backend, with the remedy; empty if it can take the step."""
        return ""

    @property
    def dimension(self) -> int:
        """Number of components of the state."""
        return self.time_step.dimension

    @property
    def dt(self) -> float:
        """Time of one step: the stepper's dt, 1 for a map."""
        return self.time_step.dt

    @property
    def members(self) -> int | None:
        """Number of members of an ensemble, where each has a step of its own. None: any number."""
        return self.time_step.members

    @property
    def derivative(self) -> str:
        """Where derivatives come from: "jvp", "jacobian", "traced" or "finite differences"."""
        return self.time_step.derivative

    @property
    def derives(self) -> bool:
        """Whether derivatives are made of the equations, not given beside them."""
        return self.time_step.derives

    @property
    def vanishing_exponents(self) -> int:
        """Number of Lyapunov exponents that vanish for a reason the system knows."""
        return self.time_step.vanishing_exponents

    @property
    def failure_hint(self) -> str:
        """Why a state may no longer be finite, and what to do: what the system knows, or its stepper; or empty."""
        return self.time_step.failure_hint

    def explain(self, n: int, x: Array, V: Array, steps: int, *, member: int = 0) -> str:
        """Which derivative makes `steps` steps from a finite state with vectors end in what is not finite; or empty."""
        return explanation(self.time_step.for_member(member), n, x, V, steps)

    def singular(self, n: int, x: Array, V: Array, steps: int, *, member: int = 0) -> str:
        """Which of `steps` steps has a singular derivative; or empty."""
        return singular(self.time_step.for_member(member), n, x, V, steps)

    @property
    def tolerance(self) -> float:
        """Relative error within which a step depends on the vectors that it is given; see `Stepper.tolerance`."""
        return self.time_step.tolerance

    def finer(self) -> tuple[TangentSystem, int] | None:
        """The tangent of a finer step of the same system, and how many make one of these; None: the step is it."""
        found = self.time_step.finer()
        return None if found is None else (attrs.evolve(self, time_step=found[0]), found[1])

    @property
    def order(self) -> int:
        """By which power of dt the error of the step falls, where there is a finer one."""
        return self.time_step.order

    @property
    def jumps(self) -> Sequence[str]:
        """Expressions whose jumps are jumps of the velocity of a flow."""
        return self.time_step.jumps

    def of_member(self, member: int) -> TimeStep:
        """The step of a member of an ensemble."""
        return self.time_step.for_member(member)

    @property
    def clock(self) -> tuple[float, float]:
        """The time that stands in the equations: (t0, dt), where step n begins at t0 + n dt."""
        return self.time_step.clock

    def starting_at(self, t0: float) -> TangentSystem:
        """The same on a clock of another t0; see `TimeStep.starting_at`."""
        return attrs.evolve(self, time_step=self.time_step.starting_at(t0))

    @cached_property
    def identity(self) -> str:
        """What decides how it moves, told in short; see `dynsys.systems.identity`."""
        return told(self.time_step.identity)

    def differing(self, system: str) -> tuple[str, str]:
        """What a run was of, by its `system`, and what this is instead; empty where nothing differs."""
        return differing(system, self.identity)

    def time(self, n: int | Array) -> Any:
        """Time at the start of step n."""
        return self.shift + self.time_step.time(n)

    def complete(self, x0: Any) -> Any:
        """Initial states with what the step carries beside the state of the system, such as momenta, as zeros."""
        return self.time_step.complete(x0)

    @abstractmethod
    def step(self, n: int, x: Array, V: Array, *, member: int = 0) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n of a member; `forward` is held against it."""

    @abstractmethod
    def forward(self, start: RunState, *, intervals: int, steps_per_interval: int, record: Record) -> RunState:
        """Continue `start` over whole intervals, with V = QR at the end of each, and record what is asked for.

        Members that diverge, or whose R_ii vanishes, are marked and leave the arithmetic: the rest of their
        records is NaN and the other members do not change by a bit. Without vectors (k = 0) the state moves alone, and
        nothing is differentiated.
        """

    def random_frames(self, dim: int, k: int, seed: int, members: Array) -> Array:
        """Random orthonormal frames in which a run begins; see `dynsys.passes.orthonormal.random_frames`."""
        return random_frames(dim, k, seed, members, self.time_step.carried)

    @property
    def rounding(self) -> float:
        """Relative error of rounding in a pass: that of the steps."""
        return self.time_step.precision

    def on_one_thread(self) -> TangentSystem:
        """The same for one of many workers; no bit depends on the number of threads."""
        return self

    benettin = _benettin.benettin
    ginelli = _ginelli.ginelli
    sharafi = _sharafi.sharafi
    wolfe_samelson = _wolfe_samelson.wolfe_samelson
    gali = _gali.gali
    trajectory = _trajectory.trajectory


Backend = Literal["auto", "torch", "numba", "numpy"] | type[TangentSystem]

AUTOMATIC = (
    "torch",
    "numba",
    "numpy",
)  # "auto" is the first of these that misses nothing; `dynsys.torch` brings its own


def kinds_of_tangents() -> dict[str, type[TangentSystem]]:
    """The kinds by their names: those of `dynsys.backends`, and what was defined outside."""
    found: list[Any] = [TangentSystem]
    kinds: list[type[TangentSystem]] = []
    while found:
        found = [kind for base in found for kind in base.__subclasses__()]
        kinds += found
    kinds.sort(key=lambda kind: kind.__module__.startswith("dynsys.backends."))
    # the last of a name counts: `attrs.frozen` makes a class anew, and the first one stays until it is collected
    return {vars(kind).get("name") or kind.__qualname__: kind for kind in kinds}


def make_tangent(time_step: TimeStep, backend: Backend = "auto", shift: float = 0.0) -> TangentSystem:
    """Make the tangent of a step: what the `tangent` of flows and maps calls, and the way to that of any `TimeStep`.

    Parameters
    ----------
    time_step : TimeStep
    backend : str or kind of TangentSystem
        "torch", "numba", "numpy", the name of any other kind, a kind itself, or "auto": the first of these three that
        misses nothing of the step ("torch" is known once `dynsys.torch` is imported).
    shift : float
        Added to the times that results list.

    Raises
    ------
    InvalidInputError
        For a backend that is none, or cannot take the step, saying what it misses.

    Warns
    -----
    FallbackWarning
        If NumPy steps what could be compiled, with the cause; and if derivatives are finite differences.
    """
    kinds, reason, time_step = kinds_of_tangents(), "", _time_step(time_step)
    if isinstance(backend, type) and issubclass(backend, TangentSystem):
        kind: type[TangentSystem] = backend
        if inspect.isabstract(kind):
            raise InvalidInputError(
                f"{kind.__name__} itself computes nothing: give a subclass that defines all methods"
            )
    elif backend == "auto":
        reasons = {name: kinds[name].missing(time_step) for name in AUTOMATIC if name in kinds}
        name = next(name for name, missing in reasons.items() if not missing)
        kind, reason = kinds[name], reasons["numba"] if name == "numpy" else ""
    elif isinstance(backend, str) and backend in kinds:
        kind = kinds[backend]
    else:
        names = ", ".join(map(repr, ["auto", *kinds]))
        raise InvalidInputError(f"backend must be one of {names}, or a kind of TangentSystem, got {backend!r:.100}")
    if backend != "auto" and (missing := kind.missing(time_step)):
        raise InvalidInputError(
            f"the backend {backend if isinstance(backend, str) else kind.__name__} cannot take the step of "
            f"{time_step.label}: {missing}; or use backend='numpy'"
        )
    if reason and time_step.fallback:
        warnings.warn(
            f"NumPy steps {time_step.label}, more slowly: {time_step.fallback}", FallbackWarning, stacklevel=3
        )
    elif reason and time_step.step_kernel() is not None:
        _say_once(reason)
    if time_step.derivative == "finite differences":
        untraced = f", and its function could not be traced ({time_step.untraced})" if time_step.untraced else ""
        warnings.warn(
            f"{time_step.label} gives neither jacobian nor jvp{untraced}: its tangent is a finite-difference one "
            "(fourth order, four or more evaluations for every entry of the state; beyond 16, for every vector). "
            "Define one of them to be exact",
            FallbackWarning,
            stacklevel=3,
        )
    return kind(time_step, shift)


@cache
def _say_once(reason: str) -> None:
    """What holds for every system of this process is one warning."""
    warnings.warn(f"NumPy steps what could be compiled, more slowly: {reason}", FallbackWarning, stacklevel=4)
