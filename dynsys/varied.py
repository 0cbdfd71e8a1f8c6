"""Members of an ensemble with parameters of their own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel, PushSource, no_drive
from dynsys.compiled.lanes import LaneSource
from dynsys.errors import FallbackWarning, InvalidInputError
from dynsys.steppers import Stepper
from dynsys.system import DynamicalSystem, fitting
from dynsys.tangent import CompiledTangent, NumpyTangent, TangentSystem

Array = np.ndarray


def parameter_values(values: Any) -> dict[str, Array]:
    """Parameters with their values, each a 1-D array of finite numbers, or an InvalidInputError that names it."""
    if not isinstance(values, Mapping) or not values:
        raise InvalidInputError(
            f"values must be parameters with their values, as {{'rho': [20, 28]}}, got {values!r:.100}"
        )
    arrays = {str(name): np.array(given) for name, given in values.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or not array.size or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise InvalidInputError(f"the values of {name} must be a 1-D array of finite numbers, got {array!r:.100}")
    return arrays


def vary(tangent: TangentSystem, values: Mapping[Any, Any]) -> TangentSystem:
    """The same tangent for an ensemble in which member m has value m of some parameters.

    Parameters
    ----------
    tangent : TangentSystem
    values : mapping, name -> array_like, shape (members,)
        Parameters of its system and their values; see `Varied`.

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
    >>> from models.classics import Logistic
    >>> runs = vary(Logistic().tangent(backend="numpy"), {"r": [2.5, 4.0]}).benettin([[0.3], [0.3]], intervals=1000)
    >>> runs.exponents[:, 0].round(2)  # ln 0.5 and ln 2
    array([-0.69,  0.69])
    """
    system: Any = tangent.system
    varied = Varied(system, values)
    if tangent.stepper is not None:
        for member in range(varied.members):
            own: Any = varied.for_member(member)
            fitting(tangent.stepper, own)
    if isinstance(tangent, CompiledTangent) and varied.kernel() is None:
        warnings.warn(
            f"{type(system).__name__} cannot be compiled with these parameters: NumPy steps it, more slowly",
            FallbackWarning,
            stacklevel=2,
        )
        return NumpyTangent(varied, tangent.stepper, tangent.t0)
    return attrs.evolve(tangent, system=varied)


@attrs.frozen(eq=False)
class Varied(DynamicalSystem):
    """A system of which member m of an ensemble has value m of some parameters.

    Where the systems of the members differ in the numbers of their kernel alone, as those of equations do, all run side
    by side in one compiled pass.

    Attributes
    ----------
    system : DynamicalSystem
    values : mapping, name -> ndarray, shape (members,)
        Parameters of the system (see `DynamicalSystem.with_parameters`) and their values.

    Raises
    ------
    InvalidInputError
        For values that are no 1-D arrays of one length, a name that is no parameter, values that the system refuses,
        and parameters that change the dimension.

    Examples
    --------
    >>> from models.classics import Logistic
    >>> two = Varied(Logistic(), {"r": [2.5, 4.0]})
    >>> two.for_member(1).r
    4.0
    """

    system: DynamicalSystem
    values: dict[str, Array] = attrs.field(converter=parameter_values)

    def __attrs_post_init__(self) -> None:
        """Make the system of every member: at the door, not after an hour."""
        if self.system.members is not None:
            raise InvalidInputError("the members have parameters of their own already: give all values in one call")
        if len({len(array) for array in self.values.values()}) > 1:
            lengths = {name: len(array) for name, array in self.values.items()}
            raise InvalidInputError(f"all parameters need one value for each member, got {lengths}")
        for member, system in enumerate(self._systems):
            if system.dimension != self.dimension:
                raise InvalidInputError(
                    f"parameters must keep the dimension {self.dimension}; with {self._parameters(member)} it is "
                    f"{system.dimension}: make one ensemble for each dimension"
                )

    @property
    def members(self) -> int:
        """One for each value."""
        return len(next(iter(self.values.values())))

    @cached_property
    def _systems(self) -> Sequence[DynamicalSystem]:
        return [self.system.with_parameters(self._parameters(m)).for_member(m) for m in range(self.members)]

    def _parameters(self, member: int) -> dict[str, Any]:
        return {name: array[member].item() for name, array in self.values.items()}

    @property
    def dimension(self) -> int:
        """That of the system."""
        return self.system.dimension

    @property
    def vanishing_exponents(self) -> int:
        """Those of the system."""
        return self.system.vanishing_exponents

    @property
    def tolerance(self) -> float:
        """That of the system."""
        return self.system.tolerance

    @property
    def stopped_by(self) -> str:
        """That of the system."""
        return self.system.stopped_by

    @property
    def derivative(self) -> str:
        """Where derivatives come from: those of the system."""
        return self.system.derivative

    def for_member(self, member: int) -> DynamicalSystem:
        """The system with the parameters of a member."""
        return self._systems[member]

    def rule(self, t: float, x: Array) -> Array:
        """Not defined: every member has its own."""
        raise InvalidInputError("a Varied system has no single rule; use for_member(m)")

    def move(self, stepper: Stepper | None, n: int, t: float, x: Array) -> Array:
        """Not defined: every member has its own."""
        raise InvalidInputError("a Varied system has no single step; use for_member(m)")

    def push(self, stepper: Stepper | None, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """Not defined: every member has its own."""
        raise InvalidInputError("a Varied system has no single step; use for_member(m)")

    def kernel(self) -> Kernel | None:
        """One kernel with a row of parameters for each member, where the members' kernels differ in these alone."""
        return self._kernel

    @cached_property
    def _kernel(self) -> Kernel | None:
        kernels = [system.kernel() for system in self._systems]
        first = kernels[0]
        if first is None:
            return None
        alike = [kernel for kernel in kernels if kernel is not None and _alike(kernel, first)]
        if len(alike) < len(kernels):
            return None

        @cache  # every call of a pass asks
        def push(stepper: Stepper | None, k: int) -> PushSource | None:
            return _common([kernel.push(stepper, k) for kernel in alike])

        @cache
        def lanes(stepper: Stepper | None, k: int, varied: bool) -> LaneSource | None:
            return _common([kernel.lanes(stepper, k, varied) for kernel in alike])

        return attrs.evolve(first, parameters=np.array([k.parameters for k in alike]), push=push, lanes=lanes)


def _alike(kernel: Kernel, other: Kernel) -> bool:
    return (
        kernel.source == other.source
        and kernel.drive is no_drive is other.drive
        and np.array_equal(kernel.data, other.data)
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
