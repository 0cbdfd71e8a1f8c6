"""Members of an ensemble with parameters of their own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Self

import attrs
import numpy as np

from dynsys.compiled.kernel import NumbaStep, StepKernel, StepSource
from dynsys.errors import FallbackWarning, InvalidInputError, real, shown
from dynsys.passes.memory import ask_for_memory
from dynsys.systems.identity.told import MEMBERS
from dynsys.systems.tangent import TangentSystem, kinds_of_tangents
from dynsys.systems.time_step import TimeStep

Array = np.ndarray
BYTES_OF_STEP = 1000  # of the step of a member, at least


def parameter_values(values: Any) -> dict[str, Array]:
    """Parameters with their values, each a 1-D array of finite numbers, or an InvalidInputError that names it."""
    if not isinstance(values, Mapping) or not values:
        raise InvalidInputError(
            f"values must be parameters with their values, as {{'rho': [20, 28]}}, got {values!r:.100}"
        )
    arrays = {}
    for name, given in values.items():
        array = real(f"the values of {name}", given, "be a 1-D array of finite numbers")
        if array.ndim != 1 or not array.size or not np.isfinite(array).all():
            raise InvalidInputError(f"the values of {name} must be a 1-D array of finite numbers, got {shown(given)}")
        kept = np.asarray(given)
        arrays[str(name)] = np.array(kept if kept.dtype.kind in "biu" else array)  # some parameters are sizes
    return arrays


def vary(tangent: TangentSystem, values: Mapping[Any, Any]) -> TangentSystem:
    """The same tangent for an ensemble in which member m has value m of some parameters.

    Parameters
    ----------
    tangent : TangentSystem
    values : mapping, name -> array_like, shape (members,)
        Parameters of its step and their values; see `Varied`.

    Returns
    -------
    TangentSystem
        For states (members, dim) with as many members, which is checked.

    Warns
    -----
    FallbackWarning
        If the members have no compiled pass in common, and NumPy steps them.

    Examples
    --------
    >>> from dynsys.models.classics import Logistic
    >>> runs = vary(Logistic().tangent(backend="numpy"), {"r": [2.5, 4.0]}).benettin([[0.3], [0.3]], intervals=1000)
    >>> runs.exponents[:, 0].round(2)  # ln 0.5 and ln 2
    array([-0.69,  0.69])
    """
    varied = Varied(tangent.time_step, values)
    if tangent.missing(varied) and not tangent.missing(tangent.time_step):
        warnings.warn(
            f"{varied.label} cannot be compiled with these parameters: NumPy steps it, more slowly; members run in one "
            "compiled pass if they differ in numbers alone, not in data, batches, sizes or functions",
            FallbackWarning,
            stacklevel=2,
        )
        return kinds_of_tangents()["numpy"](varied, tangent.shift)
    return attrs.evolve(tangent, time_step=varied)


@attrs.frozen(eq=False)
class Varied(TimeStep):
    """A step of which member m of an ensemble has value m of some parameters.

    Where the steps of the members differ in the numbers of their kernel alone, as those of equations do, all run side
    by side in one compiled pass. Without a member (`for_member`) it is that of member 0.

    Attributes
    ----------
    time_step : TimeStep
    values : mapping, name -> ndarray, shape (members,)
        Parameters of the step (see `TimeStep.with_parameters`) and their values.

    Raises
    ------
    InvalidInputError
        For values that are no 1-D arrays of one length, a name that is no parameter, values that the system refuses,
        and parameters that change the dimension or the length of a step.

    Examples
    --------
    >>> from dynsys.models.classics import Logistic
    >>> two = Varied(Logistic(), {"r": [2.5, 4.0]})
    >>> two.for_member(1).r
    4.0
    """

    time_step: TimeStep
    values: dict[str, Array] = attrs.field(converter=parameter_values)

    def __attrs_post_init__(self) -> None:
        """Make the step of every member, so that errors come at once and not after an hour."""
        if self.time_step.members is not None:
            raise InvalidInputError("the members have parameters of their own already: give all values in one call")
        if len({len(array) for array in self.values.values()}) > 1:
            lengths = {name: len(array) for name, array in self.values.items()}
            raise InvalidInputError(f"all parameters need one value for each member, got {lengths}")
        ask_for_memory(
            f"a step for each of {self.members} members", BYTES_OF_STEP * self.members, "take fewer at a time"
        )
        for member, step in enumerate(self._steps):
            for what in ("dimension", "dt"):
                before, after = getattr(self.time_step, what), getattr(step, what)
                if after != before:
                    raise InvalidInputError(
                        f"parameters must keep the {what} {before}; with {self._parameters(member)} it is {after}: "
                        f"make one ensemble for each {what}"
                    )

    @property
    def members(self) -> int:
        """One for each value."""
        return len(next(iter(self.values.values())))

    @cached_property
    def _steps(self) -> Sequence[TimeStep]:
        return [self.time_step.with_parameters(self._parameters(m)).for_member(m) for m in range(self.members)]

    def _parameters(self, member: int) -> dict[str, Any]:
        return {name: array[member].item() for name, array in self.values.items()}

    def for_member(self, member: int) -> TimeStep:
        """The step with the parameters of a member."""
        return self._steps[member]

    def step(self, n: int, x: Array) -> Array:
        """State of member 0 after step n; x has shape (..., dim)."""
        return self._steps[0].step(n, x)

    def step_tangent(self, n: int, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) of member 0 and its tangent vectors (dim, k) after step n."""
        return self._steps[0].step_tangent(n, x, V)

    @property
    def dimension(self) -> int:
        """That of every member."""
        return self.time_step.dimension

    @property
    def label(self) -> str:
        """That of every member."""
        return self.time_step.label

    @property
    def dt(self) -> float:
        """That of every member."""
        return self.time_step.dt

    def time(self, n: int | Array) -> Any:
        """Time at the start of step n."""
        return self.time_step.time(n)

    @property
    def clock(self) -> tuple[float, float]:
        """That of every member."""
        return self.time_step.clock

    def starting_at(self, t0: float) -> Self:
        """The same for every member."""
        return attrs.evolve(self, time_step=self.time_step.starting_at(t0))

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of the first member, and the values of the parameters in which not all are the same."""
        first = self.time_step.with_parameters(self._parameters(0)).identity
        own = {name: values for name, values in self.values.items() if (values != values[0]).any()}
        return {**first, **({MEMBERS: own} if own else {})}

    @property
    def derivative(self) -> str:
        """Where derivatives come from: those of every member."""
        return self.time_step.derivative

    @property
    def vanishing_exponents(self) -> int:
        """Those of every member."""
        return self.time_step.vanishing_exponents

    def finer(self) -> tuple[TimeStep, int] | None:
        """That of every member."""
        found = self.time_step.finer()
        return None if found is None else (attrs.evolve(self, time_step=found[0]), found[1])

    @property
    def derives(self) -> bool:
        """Those of every member."""
        return self.time_step.derives

    @property
    def kind(self) -> str:
        """That of every member."""
        return self.time_step.kind

    @property
    def order(self) -> int:
        """That of every member."""
        return self.time_step.order

    @property
    def jumps(self) -> Sequence[str]:
        """Those of every member."""
        return self.time_step.jumps

    @property
    def tolerance(self) -> float:
        """That of every member."""
        return self.time_step.tolerance

    @property
    def precision(self) -> float:
        """That of every member."""
        return self.time_step.precision

    @property
    def failure_hint(self) -> str:
        """That of every member."""
        return self.time_step.failure_hint

    @property
    def component_names(self) -> Sequence[str]:
        """Those of every member."""
        return self.time_step.component_names

    def complete(self, x0: Any) -> Any:
        """Initial states with what the step carries along."""
        return self.time_step.complete(x0)

    @property
    def carried(self) -> int:
        """That of every member."""
        return self.time_step.carried

    def step_kernel(self) -> StepKernel | None:
        """One kernel with a row of parameters for each member, where the members' kernels differ in these alone."""
        return self._kernel

    @cached_property
    def _kernel(self) -> StepKernel | None:
        kernels = [step.step_kernel() for step in self._steps]
        first = kernels[0]
        if first is None:
            return None
        alike = [kernel for kernel in kernels if kernel is not None and _alike(kernel, first)]
        if len(alike) < len(kernels):
            return None

        @cache  # every call of a pass asks
        def step(k: int) -> StepSource | NumbaStep:
            return _common([kernel.step(k) for kernel in alike])

        @cache
        def lanes(k: int) -> StepSource | None:
            return _common([kernel.lanes(k) for kernel in alike])

        return attrs.evolve(first, parameters=np.array([k.parameters for k in alike]), step=step, lanes=lanes)


def _alike(kernel: StepKernel, other: StepKernel) -> bool:
    return (
        kernel.step(1) == other.step(1)
        and kernel.drive == other.drive
        and (kernel.data is other.data or np.array_equal(kernel.data, other.data))
        and kernel.parameters.shape == other.parameters.shape
        and kernel.functions == other.functions
    )


def _common(sources: Sequence[Any]) -> Any:
    """What all members have in common."""
    if any(source != sources[0] for source in sources):
        raise InvalidInputError(
            "the members cannot be compiled as one: their parameters are written into the code; use backend='numpy'"
        )
    return sources[0]
