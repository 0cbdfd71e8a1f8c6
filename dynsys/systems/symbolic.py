"""Systems defined by equations: SymPy derives the Jacobian and writes source that one can read.

class Lorenz63(SymbolicFlow):                        # a class, with parameters as fields
    sigma: float = 10.0
    ...
    equations = {"x": "sigma*(y - x)", ...}

class Ring(SymbolicFlow):                            # a class of any size: `equations` may be a property
    sites: int = lattice_size(40)
    ...

SymbolicFlow.of({x: y, y: -sin(x) - gamma*y}, {gamma: 0.1})      # or one object, from SymPy expressions
SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": matrix})          # x is a vector, W a matrix
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Self

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel
from dynsys.equations.definition import Definition, define
from dynsys.equations.latex import equations_latex, jacobian_latex, vectors_latex
from dynsys.equations.networks.definition import NetworkDefinition, define_network
from dynsys.equations.vectors.definition import VectorDefinition, define_vectors
from dynsys.errors import InvalidInputError, is_whole, plain, real_array, real_or_complex, shown, whole_number
from dynsys.systems.array_parameters import ARRAY, array_of_shape, checked_array, shapes_of
from dynsys.systems.equation_kernel import equations_jvp, equations_kernel
from dynsys.systems.identity.code import goes_by_name
from dynsys.systems.identity.told import CLASS, equations_told, parts_of
from dynsys.systems.system import DifferentiableSystem, Flow, Map

Array = np.ndarray
Equations = Mapping[Any, Any]  # name or Symbol -> text or expression
SIZE = "size"  # what marks, in its metadata, a field that is no parameter


def _number(value: Any) -> Any:
    """A float; what is none stays as it is, for the validator, which knows its name, to refuse."""
    try:
        number = real_array("a parameter", value)
    except InvalidInputError:
        return value
    return value if number.shape or np.isnan(number) or isinstance(value, str) else float(number)


def _finite(_: object, field: attrs.Attribute, value: Any) -> None:
    if not isinstance(value, float) or not np.isfinite(value):
        raise InvalidInputError(
            f"the parameter {field.name} must be a finite number, got {shown(value)}: give it a value"
        )


def parameter(default: float) -> Any:
    """A field of a symbolic system: a finite number with a default."""
    return attrs.field(default=default, converter=_number, validator=_finite)


def _whole(value: Any) -> Any:
    return int(value) if is_whole(value) else value


def lattice_size(default: int, least: int = 1) -> Any:
    """A field that shapes the equations of a symbolic system and is no parameter: a whole number >= `least`.

    Examples
    --------
    >>> @attrs.frozen(eq=False)
    ... class Ring(SymbolicFlow):
    ...     sites: int = lattice_size(40, least=3)
    ...     coupling: float = parameter(0.5)
    ...
    ...     @property
    ...     def equations(self):
    ...         return {f"x{i}": f"coupling*(x{(i + 1) % self.sites} - x{i})" for i in range(self.sites)}
    >>> ring = Ring(sites=1000)
    >>> ring.dimension, ring.parameters, attrs.evolve(ring, sites=3).dimension
    (1000, array([0.5]), 3)
    """

    def large_enough(_: object, field: attrs.Attribute, value: Any) -> None:
        whole_number(field.name, value, least)

    return attrs.field(default=default, converter=_whole, validator=large_enough, metadata={SIZE: True})


@attrs.frozen(eq=False)
class SymbolicSystem(DifferentiableSystem, ABC):
    """What symbolic flows and maps share. Fields of a subclass are its parameters, but for those of `lattice_size`."""

    _left: ClassVar[str]  # the left-hand side of an equation, as LaTeX

    @property
    @abstractmethod
    def equations(self) -> Equations:
        """Component of the state -> right-hand side, as text or SymPy expression; the time or step is t.

        A class attribute, or a property that depends on fields of `lattice_size` alone: parameters stand in it by name.
        """

    @property
    def helpers(self) -> Equations:
        """Name -> subexpression, as text or SymPy expression, for use in the equations and in helpers after it."""
        return {}

    @classmethod
    def of(
        cls,
        equations: Equations,
        parameters: Mapping[Any, Any] | None = None,
        helpers: Equations | None = None,
        *,
        vanishing_exponents: int | None = None,
    ) -> Self:
        """A system from equations and parameter values; parameters become its fields, used or not.

        Parameters
        ----------
        equations, helpers : mapping, name or Symbol -> text or SymPy expression
            See the properties of these names. The time (the step, of a map) is the symbol t.
        parameters : mapping, name or Symbol -> number, or array
            With matrices (rows, columns) and vectors (entries,) among them, variables of the state are vectors, too:
            `W@tanh(x)` and `W.T@x` are products with a matrix, `x@y` that of two vectors, `sum(x)` and `mean(x)`
            numbers; all else is computed entry by entry. How many entries a variable has follows from its equation, or
            is said: "x[100]" in the place of "x". Right-hand sides are then text.
        vanishing_exponents : int, optional
            How many exponents vanish, by symmetries and conserved quantities, the direction of the flow included. By
            default 1 for a flow without t in its equations, else 0.

        Raises
        ------
        InvalidInputError
            Naming what is not understood, or cannot be differentiated.

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
        >>> hopf = SymbolicFlow.of({"x": "x*g - y", "y": "y*g + x"}, {"a": 0.5}, {"r2": "x^2 + y^2", "g": "a - r2"})
        >>> hopf.jacobian(0.0, np.zeros(2))
        array([[ 0.5, -1. ],
               [ 1. ,  0.5]])
        >>> network = SymbolicFlow.of({"x": "-x + W@tanh(g*x)"}, {"W": [[0.0, 2.0], [-2.0, 0.0]], "g": 1.0})
        >>> list(network.component_names), network.jacobian(0.0, np.zeros(2)).tolist()
        (['x[0]', 'x[1]'], [[-1.0, 2.0], [-2.0, -1.0]])
        """
        values = _named("parameters", parameters or {})
        _check_names(cls, values)
        given, shorter = _named("equations", equations), _named("helpers", helpers or {})
        shapes = shapes_of(values)
        if _as_vectors(given, {name: shapes.get(name, ()) for name in values}, shorter) is None:
            _defined(given, tuple(values), shorter)
        if vanishing_exponents is not None:
            vanishing_exponents = whole_number("vanishing_exponents", vanishing_exponents, 0)
        named = (tuple(given.items()), tuple(values), tuple(shorter.items()))
        made: Self = _made(cls, *named, values, vanishing_exponents)
        return made

    @property
    def definition(self) -> Definition | VectorDefinition | NetworkDefinition:
        """The equations and what SymPy derives from them."""
        return _any_definition(type(self), self._sizes, self._shapes)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name: equations and parameters, whatever the class."""
        parts = parts_of(self)
        if not goes_by_name(type(self)):
            del parts[CLASS]
        return {**parts, **_told(type(self), self._sizes)}

    @property
    def dimension(self) -> int:
        """Number of equations, or of entries of all vectors together."""
        vectors = self._vectors
        return len(_given(type(self), self._sizes)[0]) if vectors is None else vectors.dimension

    @property
    def derives(self) -> bool:
        """SymPy makes the derivatives."""
        return True

    @property
    def component_names(self) -> Sequence[str]:
        """Names of the components of the state."""
        return self.definition.state

    @property
    def parameters(self) -> Array:
        """Values of the parameters, in the order of the fields; an array with all its entries, row by row."""
        values = self._values
        return np.concatenate([np.ravel(value) for value in values]) if isinstance(values, list) else values

    @property
    def _values(self) -> Any:
        """What the functions of the definition take: an array of numbers, or a list of numbers and arrays."""
        if _arrays(type(self)):
            return [getattr(self, name) for name in _names(type(self), sizes=False)]
        try:
            return np.array([getattr(self, name) for name in _names(type(self), sizes=False)], dtype=float)
        except (TypeError, ValueError):
            for field in attrs.fields(type(self)):  # one that is no `parameter()`
                if SIZE not in field.metadata:
                    _finite(self, field, _number(getattr(self, field.name)))
            raise

    @property
    def _sizes(self) -> tuple[int, ...]:
        return tuple([getattr(self, name) for name in _names(type(self), sizes=True)])

    @property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple([checked_array(name, getattr(self, name)).shape for name in _arrays(type(self))])

    @property
    def _vectors(self) -> VectorDefinition | NetworkDefinition | None:
        """The definition, where equations are in vectors, or are computed as such."""
        return _vector_definition(type(self), self._sizes, self._shapes)

    @property
    def source(self) -> str:
        """The generated NumPy source."""
        return self.definition.source

    @property
    def latex(self) -> str:
        r"""The equations as LaTeX, aligned; a notebook shows them. Of a large lattice the first ones and the last.

        Examples
        --------
        >>> print(SymbolicFlow.of({"x0": "sigma*x_rest - x0^2/2"}, {"sigma": 1.0, "x_rest": 2.0}).latex)
        \begin{aligned} \dot{x_{0}} &= \sigma\,x_{\mathrm{rest}} - \frac{x_{0}^{2}}{2} \end{aligned}
        """
        definition = self.definition
        if isinstance(definition, VectorDefinition):
            return vectors_latex(definition, self._left)
        return equations_latex(
            definition.numbers if isinstance(definition, NetworkDefinition) else definition, self._left
        )

    @property
    def jacobian_latex(self) -> str:
        """The Jacobian as LaTeX, a matrix; refused for more than 12 components, and for vectors."""
        definition = self.definition
        if isinstance(definition, VectorDefinition):
            raise InvalidInputError(
                "the Jacobian of equations in vectors is not written out: look at the numbers of system.jacobian(t, x) "
                "or at system.source"
            )
        return jacobian_latex(definition.numbers if isinstance(definition, NetworkDefinition) else definition)

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex}$"

    def jacobian(self, t: float, x: Array) -> Array:
        """Jacobian at one state, shape (dim, dim), derived by SymPy; at kinks as `dynsys.equations.derivative` says."""
        return self.definition.functions["jacobian"](t, real_or_complex("x", x), self._values)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (dim, k); that of a lattice is never formed."""
        return equations_jvp(self.definition, t, real_or_complex("x", x), real_or_complex("V", V), self._values)

    def equation_text(self, i: int) -> str:
        """The equation of component i, for an error."""
        return f", in {self.definition.right_sides[i]!s:.200}"

    def kernel(self) -> Kernel:
        """The same equations as source for Numba."""
        definition = self.definition
        if isinstance(definition, Definition):
            return equations_kernel(definition.equations, self.parameters)
        return definition.kernel(self._values)


@attrs.frozen(eq=False)
class SymbolicFlow(SymbolicSystem, Flow):
    """A flow d(state)/dt = equations. Subclass it with fields and `equations`, or call `SymbolicFlow.of`."""

    _left = r"\dot{{{}}}"

    def vector_field(self, t: float, x: Array) -> Array:
        """Velocity dx/dt at time t; x has shape (..., dim)."""
        return self.definition.functions["rule"](t, real_or_complex("x", x), self._values)

    def autonomous(self, x: Array) -> bool:
        """Whether the time stands in no equation."""
        return not self.definition.driven

    @property
    def jumps(self) -> Sequence[str]:
        """Parts of the equations at which the velocity jumps, as text; seen when they are defined.

        Examples
        --------
        >>> SymbolicFlow.of({"x": "y", "y": "-x + sign(y) + x*Heaviside(x) + abs(y)"}).jumps
        ('sign(y)',)
        """
        return self.definition.jumps

    def sides(self, t: float | Array, x: Array) -> Array:
        """On which side of each of the `jumps` a state is: whole numbers (..., len(jumps))."""
        if not self.definition.jumps:
            return super().sides(t, x)
        return self.definition.functions["sides"](t, x, self._values)


@attrs.frozen(eq=False)
class SymbolicMap(SymbolicSystem, Map):
    """A map state -> equations. Subclass it with fields and `equations`, or call `SymbolicMap.of`."""

    _left = "{}'"

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        return self.definition.functions["rule"](n, real_or_complex("x", x), self._values)


Named = tuple[tuple[str, Any], ...]


def _made(
    base: type,
    equations: Named,
    parameters: tuple[str, ...],
    helpers: Named,
    values: dict[str, Any],
    vanishing: int | None = None,
) -> Any:
    """A system of a class that `of` makes."""
    return _kind(base, equations, parameters, helpers, tuple(shapes_of(values).items()), vanishing)(**values)


@lru_cache(maxsize=1024)
def _kind(
    base: Any, equations: Named, parameters: tuple[str, ...], helpers: Named, shapes: Named, vanishing: int | None
) -> type:
    """The class that `of` makes of a definition; its parameters have no defaults, so that their values do not count."""

    def remade(self: Any, protocol: Any) -> Any:
        """For copies and pickles: such a class has no name by which to find it, but is made again from its parts."""
        if type(self) is not kind:
            return base.__reduce_ex__(self, protocol)
        values = {field.alias: getattr(self, field.name) for field in attrs.fields(kind) if field.init}
        return _made, (base, equations, parameters, helpers, values, vanishing)

    fields = {name: attrs.field(converter=_number, validator=_finite, kw_only=True) for name in parameters}
    fields |= {name: array_of_shape(shape) for name, shape in shapes}
    body: dict[str, Any] = {"equations": dict(equations), "__reduce_ex__": remade}
    if helpers:
        body["helpers"] = dict(helpers)
    if vanishing is not None:
        body["vanishing_exponents"] = vanishing
    name = f"{base.__name__}Of"
    kind: type = attrs.make_class(name, fields, bases=(base,), class_body=body, frozen=True, slots=True, eq=False)
    kind.__module__ = "dynsys"  # in which file its base stands is nobody's business, that of a store least of all
    return kind


@lru_cache(maxsize=1024)
def _names(system: type[SymbolicSystem], sizes: bool) -> tuple[str, ...]:
    """Names of the fields that are sizes, or of the others: the parameters."""
    fields = attrs.fields(system)
    for name, annotation in inspect.get_annotations(system).items():
        if name not in (field.name for field in fields) and "ClassVar" not in str(annotation):
            raise InvalidInputError(
                f"{name} is no field of {system.__name__}: write @attrs.frozen(eq=False) above the class"
            )
    names = [field.name for field in fields if (SIZE in field.metadata) == sizes]
    _check_names(system, names)
    return tuple(names)


@lru_cache(maxsize=1024)
def _arrays(system: type[SymbolicSystem]) -> tuple[str, ...]:
    """Names of the parameters that are arrays."""
    return tuple(field.name for field in attrs.fields(system) if ARRAY in field.metadata)


@lru_cache(maxsize=256)
def _given(system: type[SymbolicSystem], sizes: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Equations and helpers of a class, of these sizes."""
    bare = object.__new__(system)  # without parameters, on whose values the equations cannot depend
    for name, value in zip(_names(system, sizes=True), sizes, strict=True):
        object.__setattr__(bare, name, value)
    try:
        return _named("equations", bare.equations), _named("helpers", bare.helpers)
    except AttributeError as problem:
        if problem.obj is not bare or problem.name not in _names(system, sizes=False):
            raise
        raise InvalidInputError(
            f"the equations of {system.__name__} ask for the value of {problem.name}, a parameter: write its name into "
            f"the text, or make it a whole number that shapes the equations, {problem.name}: int = lattice_size(...)"
        ) from None


@lru_cache(maxsize=256)
def _told(system: type[SymbolicSystem], sizes: tuple[int, ...]) -> dict[str, Any]:
    equations, helpers = _given(system, sizes)
    return equations_told("flow" if issubclass(system, Flow) else "map", equations, helpers)


@lru_cache(maxsize=256)  # found by what is short: hashing the equations of a lattice would take longer than a step
def _definition(system: type[SymbolicSystem], sizes: tuple[int, ...]) -> Definition:
    equations, helpers = _given(system, sizes)
    return _defined(equations, _names(system, sizes=False), helpers)


@lru_cache(maxsize=256)
def _any_definition(
    system: type[SymbolicSystem], sizes: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]
) -> Definition | VectorDefinition | NetworkDefinition:
    return _vector_definition(system, sizes, shapes) or _definition(system, sizes)


@lru_cache(maxsize=256)
def _vector_definition(
    system: type[SymbolicSystem], sizes: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]
) -> VectorDefinition | NetworkDefinition | None:
    equations, helpers = _given(system, sizes)
    arrays = dict(zip(_arrays(system), shapes, strict=True))
    return _as_vectors(equations, {name: arrays.get(name, ()) for name in _names(system, sizes=False)}, helpers)


def _as_vectors(
    equations: Equations, parameters: Mapping[str, tuple[int, ...]], helpers: Equations
) -> VectorDefinition | NetworkDefinition | None:
    """The definition of equations that are computed in vectors; None if there is nothing to gain."""
    right_sides, subexpressions = _right_sides("equation of", equations), _right_sides("helper", helpers)
    short = tuple(zip(helpers, subexpressions, strict=True))
    said = {name: re.fullmatch(r"(\w+)\[(\d+)\]", name) for name in equations}
    if not any(parameters.values()) and not any(said.values()):
        return define_network(tuple(equations), right_sides, tuple(parameters), short)
    for name, found in said.items():
        others = [other for other in said if other != name and found and other.partition("[")[0] == found[1]]
        if found and (int(found[2]) < 1 or others):
            raise InvalidInputError(
                f"{name} says that the vector {found[1]} has {found[2]} entries, and its one equation is that of them "
                f"all: got {', '.join([name, *others]):.100}"
            )
    given = tuple((name, None) if found is None else (found[1], int(found[2])) for name, found in said.items())
    return define_vectors(given, right_sides, tuple(parameters.items()), short)


def _defined(equations: Equations, parameters: tuple[str, ...], helpers: Equations) -> Definition:
    right_sides, subexpressions = _right_sides("equation of", equations), _right_sides("helper", helpers)
    return define(tuple(equations), right_sides, parameters, tuple(zip(helpers, subexpressions, strict=True)))


def _named(what: str, given: Any) -> dict[str, Any]:
    """A mapping with names in place of symbols, and plain numbers in place of those of NumPy."""
    if not isinstance(given, Mapping) or not (given or what != "equations"):
        example = "{'sigma': 10.0}" if what == "parameters" else "{'x': '-x*y'}"
        raise InvalidInputError(f"{what} must be a mapping such as {example}, got {given!r:.100}")
    named = {str(name): plain(value) for name, value in given.items()}
    if len(named) < len(given):
        raise InvalidInputError(f"names of {what} must differ, got {', '.join(map(str, given)):.200}")
    return named


def _right_sides(what: str, given: Equations) -> tuple[Any, ...]:
    """The right-hand sides, refused if they are neither text nor of SymPy nor numbers."""
    for name, right_side in given.items():
        if isinstance(right_side, str | int | float):
            continue
        import sympy

        if not isinstance(right_side, sympy.Basic):
            raise InvalidInputError(f"the {what} {name} must be text or an expression, got {right_side!r:.200}")
    return tuple(given.values())


def _check_names(system: type[SymbolicSystem], parameters: Iterable[str]) -> None:
    taken = {"self", *(name for kind in (SymbolicFlow, SymbolicMap) if issubclass(system, kind) for name in dir(kind))}
    for name in parameters:
        if name in taken:
            raise InvalidInputError(
                f"{name!r} cannot name a parameter: every such system has an attribute of that name, use another"
            )
