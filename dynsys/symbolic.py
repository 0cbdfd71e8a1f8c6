"""Systems defined by equations: SymPy derives the Jacobian and writes source that one can read.

class Lorenz63(SymbolicFlow):                        # a class, with parameters as fields
    sigma: float = 10.0
    ...
    equations = {"x": "sigma*(y - x)", ...}

class Ring(SymbolicFlow):                            # a class of any size: `equations` may be a property
    sites: int = size(40)
    ...

SymbolicFlow.of({x: y, y: -sin(x) - gamma*y}, {gamma: 0.1})      # or one object, from SymPy expressions
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Self

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel, PushSource
from dynsys.compiled.lanes import LaneSource
from dynsys.compiled.sites import sites_push
from dynsys.compiled.straight import few, straight_lanes, straight_push
from dynsys.definition import Definition, define
from dynsys.errors import InvalidInputError, real_array, whole_number
from dynsys.steppers import Stepper
from dynsys.system import DynamicalSystem, Flow, Map

Array = np.ndarray
Equations = Mapping[Any, Any]  # name or Symbol -> text or expression
SIZE = "size"  # what marks, in its metadata, a field that is no parameter


def _number(value: Any) -> float:
    return float(real_array("a parameter", value))


def _finite(_: object, field: attrs.Attribute, value: float) -> None:
    if not np.isfinite(value):
        raise InvalidInputError(f"the parameter {field.name} must be a finite number, got {value!r}")


def parameter(default: float) -> Any:
    """A field of a symbolic system: a finite number with a default."""
    return attrs.field(default=default, converter=_number, validator=_finite)


def size(default: int, least: int = 1) -> Any:
    """A field that shapes the equations of a symbolic system and is no parameter: a whole number >= `least`.

    Examples
    --------
    >>> @attrs.frozen(eq=False)
    ... class Ring(SymbolicFlow):
    ...     sites: int = size(40, least=3)
    ...     coupling: float = parameter(0.5)
    ...
    ...     @property
    ...     def equations(self):
    ...         return {f"x{i}": f"coupling*(x{(i + 1) % self.sites} - x{i})" for i in range(self.sites)}
    >>> ring = Ring(sites=1000)
    >>> ring.dimension, ring.parameters, attrs.evolve(ring, sites=3).dimension
    (1000, array([0.5]), 3)
    """

    def whole(value: Any, field: attrs.Attribute) -> int:
        return whole_number(field.name, value, least)

    converter: Any = attrs.Converter(whole, takes_field=True)
    return attrs.field(default=default, converter=converter, metadata={SIZE: True})


@attrs.frozen(eq=False)
class SymbolicSystem(DynamicalSystem, ABC):
    """What symbolic flows and maps share. Fields of a subclass are its parameters, but for those of `size`."""

    @property
    @abstractmethod
    def equations(self) -> Equations:
        """Component of the state -> right-hand side, as text or SymPy expression; the time or step is t.

        A class attribute, or a property that depends on fields of `size` alone: parameters stand in it by name.
        """

    @classmethod
    def of(cls, equations: Equations, parameters: Mapping[Any, float] | None = None) -> Self:
        """A system from equations and parameter values; parameters become its fields.

        Examples
        --------
        >>> from sympy import sin, symbols
        >>> angle, velocity, gamma = symbols("angle velocity gamma")
        >>> pendulum = SymbolicFlow.of({angle: velocity, velocity: -sin(angle) - gamma * velocity}, {gamma: 0.1})
        >>> pendulum.jacobian(0.0, np.zeros(2))
        array([[ 0. ,  1. ],
               [-1. , -0.1]])
        >>> attrs.evolve(pendulum, gamma=0.2).gamma
        0.2
        """
        fields = {str(name): parameter(value) for name, value in (parameters or {}).items()}
        named = {str(name): right_side for name, right_side in equations.items()}
        if len(named) < len(equations):
            raise InvalidInputError(f"names must differ, got {', '.join(map(str, equations))}")
        _check_names(fields)
        define(tuple(named), _right_sides(named), tuple(fields))
        body: dict[str, Any] = {"equations": named, "__module__": __name__}
        kind = attrs.make_class(f"{cls.__name__}Of", fields, bases=(cls,), class_body=body, frozen=True, eq=False)
        return kind()

    @property
    def definition(self) -> Definition:
        """The equations and what SymPy derives from them."""
        return _definition(type(self), self._sizes)

    @property
    def dimension(self) -> int:
        """Number of equations."""
        return len(_given(type(self), self._sizes)[0])

    @property
    def parameters(self) -> Array:
        """Values of the parameters, in the order of the fields."""
        return np.array([getattr(self, name) for name in _names(type(self), sizes=False)], dtype=float)

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple([getattr(self, name) for name in _names(type(self), sizes=True)])

    @property
    def source(self) -> str:
        """The generated NumPy source."""
        return self.definition.source

    def jacobian(self, t: float, x: Array) -> Array:
        """Jacobian at one state, shape (dim, dim), derived by SymPy."""
        return self.definition.functions["jacobian"](t, x, self.parameters)

    def kernel(self) -> Kernel:
        """The same equations for the compiler."""
        equations = self.definition.equations

        def push(stepper: Stepper | None, k: int) -> PushSource:
            write = straight_push if few(equations, stepper) else sites_push
            return write(equations if k else equations.alone, stepper)

        def lanes(stepper: Stepper | None, k: int) -> LaneSource | None:
            written_out = few(equations, stepper)
            return straight_lanes(equations if k else equations.alone, stepper, k) if written_out else None

        return Kernel(parameters=self.parameters, push=push, lanes=lanes)


@attrs.frozen(eq=False)
class SymbolicFlow(SymbolicSystem, Flow):
    """A flow d(state)/dt = equations. Subclass it with fields and `equations`, or call `SymbolicFlow.of`."""

    def vector_field(self, t: float, x: Array) -> Array:
        """Velocity dx/dt at time t; x has shape (..., dim)."""
        return self.definition.functions["rule"](t, x, self.parameters)


@attrs.frozen(eq=False)
class SymbolicMap(SymbolicSystem, Map):
    """A map state -> equations. Subclass it with fields and `equations`, or call `SymbolicMap.of`."""

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        return self.definition.functions["rule"](n, x, self.parameters)


@lru_cache(maxsize=1024)
def _names(system: type[SymbolicSystem], sizes: bool) -> tuple[str, ...]:
    """Names of the fields that are sizes, or of the others: the parameters."""
    names = [field.name for field in attrs.fields(system) if (SIZE in field.metadata) == sizes]
    _check_names(names)
    return tuple(names)


@lru_cache(maxsize=256)
def _given(system: type[SymbolicSystem], sizes: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Components of the state and right-hand sides of a class, of these sizes."""
    bare = object.__new__(system)  # without parameters, on whose values the equations cannot depend
    for name, value in zip(_names(system, sizes=True), sizes, strict=True):
        object.__setattr__(bare, name, value)
    try:
        equations = bare.equations
    except AttributeError as problem:
        if problem.obj is not bare or problem.name not in _names(system, sizes=False):
            raise
        raise InvalidInputError(
            f"the equations of {system.__name__} ask for the value of {problem.name}, a parameter: write its name into "
            f"the text, or make it a whole number that shapes the equations, {problem.name}: int = size(...)"
        ) from None
    return tuple(map(str, equations)), _right_sides(equations)


@lru_cache(maxsize=256)  # found by what is short: hashing the equations of a lattice would take longer than a step
def _definition(system: type[SymbolicSystem], sizes: tuple[int, ...]) -> Definition:
    return define(*_given(system, sizes), _names(system, sizes=False))


def _right_sides(equations: Equations) -> tuple[Any, ...]:
    """The right-hand sides, refused if they are neither text nor of SymPy nor numbers."""
    for name, given in equations.items():
        if isinstance(given, str | int | float):
            continue
        import sympy

        if not isinstance(given, sympy.Basic):
            raise InvalidInputError(f"the equation of {name} must be text or an expression, got {given!r}")
    return tuple(equations.values())


def _check_names(parameters: Iterable[str]) -> None:
    for name in parameters:
        if name == "self" or name in dir(SymbolicFlow) or name in dir(SymbolicMap):
            raise InvalidInputError(f"{name!r} cannot name a parameter: it is an attribute of every system")
