"""Systems from plain functions of one state, such as that of a script for `scipy.integrate.solve_ivp`.

FunctionFlow(lorenz, 3, args=(10.0, 28.0, 8 / 3))                # lorenz(t, x, sigma, rho, beta) -> dx/dt
FunctionMap(henon, 2, jacobian=henon_jacobian)                   # henon(n, x) -> x'

Functions marked `@numba.njit` are compiled into the pass; others are called by NumPy, one state after the other.
"""

from __future__ import annotations

import functools
import math
import sys
from abc import ABC
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import attrs
import numpy as np
from attrs.validators import optional

from dynsys.algorithms.differences import WORK
from dynsys.compiled.kernel import Kernel
from dynsys.equations.definition import Definition
from dynsys.equations.networks.definition import NetworkDefinition
from dynsys.equations.tracing.limits import NotTraceable
from dynsys.equations.tracing.trace import Trace, traced
from dynsys.errors import InvalidInputError, real, real_array, real_or_complex, shown
from dynsys.passes.orthonormal import LONG_COLUMN
from dynsys.storage.description import UNSAID
from dynsys.systems.equation_kernel import equations_jvp, equations_kernel
from dynsys.systems.function_arguments import (
    Function,
    check_arguments,
    further_arguments,
    how_many_vanish,
    is_function,
    refuse_torch,
    room_for,
    taken_after,
    whole_dimension,
)
from dynsys.systems.function_kernel import form_of, function_source, is_number
from dynsys.systems.identity.told import CLASS
from dynsys.systems.system import DifferentiableSystem, Flow, Map
from dynsys.systems.time_step import check_parameters

Array = np.ndarray


@attrs.frozen(eq=False)
class FunctionSystem(DifferentiableSystem, ABC):
    """What flows and maps from plain functions share.

    Attributes
    ----------
    function : callable (t, x, *args) -> (dim,) numbers
        The rule for one state x, shape (dim,); a list, a tuple or an array. A map is given the whole number n for t.
    dimension : int
        Number of components of the state.
    jacobian : callable (t, x, *args) -> (dim, dim) numbers, optional
        d function_i / d x_j.
    jvp : callable (t, x, V, *args) -> (dim, k) numbers, optional
        The Jacobian times the columns of V, shape (dim, k). One of the two is enough. If both are given, as in a
        subclass, the algorithms use jvp, and `dynsys.testing.check_system` compares the two. With neither,
        the function is traced: called with symbols it writes down its `equations`, which are held against it at random
        states, differentiated, and compiled. If it cannot be, `untraced` says why, and derivatives are finite
        differences (`dynsys.algorithms.differences`): `derivative` says so and `tangent` warns.
    args : tuple
        Further arguments of all functions. `attrs.evolve(system, args=...)` is the same system with others. After them
        come the defaults of `function` that are numbers, as far as the other functions take them too.

    vanishing_exponents : int, optional
        How many exponents vanish, by symmetries and conserved quantities, the direction of the flow included. By
        default 1 for a flow without t in its equations, else 0.

    Functions are given copies and their answers are copied: they may write into x, and return the same array again.
    A state that is not finite is not handed to them: the answer is NaN, by which a run that diverges is recognised.

    The pass of a traced function is compiled from its equations. Else it is compiled if `function`, and of jvp and
    jacobian the one that is used, are marked `@numba.njit` and all `args` are numbers (bool, int, float) or arrays of
    numbers. If only some are marked, if there are other arguments, or under `parallel=True` (which cannot run in
    several threads at once), NumPy calls them, and `tangent` warns. A compiled function that is differentiated by
    differences must not raise errors: let it be NaN where it has no value. Compiled passes of functions live as long
    as the process and are not kept on disk, where a change of the functions would go unnoticed; other `args`, of the
    same kinds and shapes, do not compile again.

    Raises
    ------
    InvalidInputError
        If a function cannot be called, or not with so many `args`, dimension < 1, or `args` is no tuple; and, when it
        is called, if a function does not return real numbers of the shape above.
    """

    function: Function = attrs.field(validator=is_function)
    dimension: int = attrs.field(converter=whole_dimension)
    _jacobian: Function | None = attrs.field(default=None, validator=optional(is_function))
    _jvp: Function | None = attrs.field(default=None, validator=optional(is_function))
    args: tuple[Any, ...] = attrs.field(default=(), converter=further_arguments)
    _vanishing: int | None = attrs.field(
        default=None, converter=how_many_vanish, alias="vanishing_exponents", kw_only=True, metadata=UNSAID
    )

    _time: ClassVar[type[float] | type[int]]  # what the functions are given as time

    def __attrs_post_init__(self) -> None:
        """Refuse args that do not fit the functions, and a module of PyTorch."""
        refuse_torch("function", self.function)
        given = {"function": (self.function, 2), "jacobian": (self._jacobian, 2), "jvp": (self._jvp, 3)}
        for name, (function, first) in given.items():
            if function is not None:
                check_arguments(name, function, first, self._all_args)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name: the function with its arguments, wherever its derivatives come from."""
        return {CLASS: type(self), "function": functools.partial(self.function, None, None, *self._all_args)}

    @property
    def vanishing_exponents(self) -> int:
        """Number of Lyapunov exponents that vanish: as said, or that of the direction of the flow."""
        return super().vanishing_exponents if self._vanishing is None else self._vanishing

    @property
    def derives(self) -> bool:
        """Whether the function was traced."""
        return self.derivative == "traced"

    @property
    def derivative(self) -> str:
        """Where derivatives come from: "jvp", "jacobian", "traced" or "finite differences"."""
        if self._jvp is not None:
            return "jvp"
        if self._jacobian is not None:
            return "jacobian"
        return "finite differences" if self.untraced else "traced"

    @property
    def untraced(self) -> str:
        """Why the function could not be traced; empty if it was, or need not be."""
        return "" if self._derivative_is_given or isinstance(self._trace, Trace) else self._trace

    @property
    def equations(self) -> Definition | None:
        """The equations that were traced, in x0, x1, ..., t and a parameter p0, p1, ... for each of `args`; or None."""
        if self._derivative_is_given or isinstance(self._trace, str):
            return None
        definition = self._trace.definition
        return definition.numbers if isinstance(definition, NetworkDefinition) else definition

    @property
    def parameters(self) -> Array:
        """Values of the parameters of `equations`; none without them."""
        if self._derivative_is_given or isinstance(self._trace, str):
            return np.empty(0)
        return self._trace.parameters(self._all_args)

    @property
    def _derivative_is_given(self) -> bool:
        return self._jvp is not None or self._jacobian is not None

    @cached_property
    def _trace(self) -> Trace | str:
        """The trace of the function, or why there is none."""
        try:
            return traced(self.function, self.dimension, self._all_args, self._time)
        except NotTraceable as problem:
            return str(problem)

    def jacobian(self, t: float, x: Array) -> Array:
        """Jacobian at one state, shape (dim, dim)."""
        if self._jacobian is None:
            return self.jvp(t, x, np.eye(self.dimension))
        return self._ask("jacobian", self._jacobian, (self.dimension, self.dimension), t, x)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (dim, k)."""
        if self._jvp is None and self._jacobian is None and isinstance(self._trace, Trace):
            V = real("V", V)
            return equations_jvp(self._trace.definition, t, real_array("x", x), V, self.parameters)
        if self._jvp is None:
            return super().jvp(t, x, V)
        return self._ask("jvp", self._jvp, np.shape(V), t, x, V)

    @property
    def parameter_names(self) -> Sequence[str]:
        """Names of the further arguments of `function`."""
        named = [one.name for one in taken_after(self.function, 2) if one.kind is not one.VAR_POSITIONAL]
        return named[: len(self._all_args)]

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same functions with other values of some of `args`, named as `function` names its arguments.

        Raises
        ------
        InvalidInputError
            For a name that is not one of them, naming those that are.
        """
        args = dict(zip(self.parameter_names, self._all_args, strict=False))
        check_parameters(self, values, list(args))
        return attrs.evolve(self, args=(*(args | dict(values)).values(), *self._all_args[len(args) :]))

    @cached_property
    def _all_args(self) -> tuple[Any, ...]:
        """`args`, and the defaults after them."""
        others = [taken_after(f, first) for f, first in ((self._jacobian, 2), (self._jvp, 3)) if f is not None]
        room = min(map(room_for, others), default=math.inf)
        args = self.args
        for argument in taken_after(self.function, 2)[len(args) :]:
            default = further_arguments([argument.default])
            if len(args) >= room or not is_number(*default):
                break
            args += default
        return args

    def kernel(self) -> Kernel | None:
        """The traced equations, or the functions marked `@numba.njit`, as source for Numba; see `FunctionSystem`."""
        if not self._derivative_is_given and isinstance(self._trace, Trace):
            definition = self._trace.definition
            if isinstance(definition, NetworkDefinition):
                return definition.kernel(self.parameters)
            return equations_kernel(definition.equations, self.parameters)
        if not all(map(_compiles, self._used.values())) or self.fallback:
            return None
        self._check_indices()
        numbers = [np.ravel(value).astype(float) for value in self._all_args]
        return Kernel(
            function_source(self.derivative, tuple(map(form_of, self._all_args)), self.dimension >= LONG_COLUMN),
            np.concatenate([np.empty(0), *numbers]),
            scratch=self.dimension * (self.dimension + WORK),
            functions=self._used,
        )

    def _check_indices(self) -> None:
        """Refuse compiled functions that read beyond the state: Python says so, compiled code reads what is there."""
        x, V = np.linspace(0.1, 0.9, self.dimension), np.eye(self.dimension)
        for name, function in self._used.items():
            plain: Any = function
            try:
                plain.py_func(self._time(0), x.copy(), *([V.copy()] if name == "jvp" else []), *self._all_args)
            except IndexError as problem:
                raise InvalidInputError(
                    f"{name} reads beyond its arguments where x has dimension {self.dimension}: {problem}"
                ) from None
            except Exception:  # what it does elsewhere is its own affair
                continue

    @property
    def _used(self) -> dict[str, Function]:
        """The functions of which a step is made, by name."""
        others = {"jvp": self._jvp} if self._jvp is not None else {"jacobian": self._jacobian}
        return {"function": self.function} | {name: f for name, f in others.items() if f is not None}

    @property
    def fallback(self) -> str:
        """What keeps functions of which at least one is marked `@numba.njit` from being compiled; or empty."""
        if self.derivative == "traced":
            return ""
        marked = {name: _is_marked(function) for name, function in self._used.items()}
        if not any(marked.values()):
            hidden = [name for name, function in self._used.items() if _hides_a_marked_one(function)]
            what = "is a partial function or a ufunc: to be compiled it must be marked @numba.njit itself"
            return f"{' and '.join(hidden)} {what}" if hidden else ""
        plain = [name for name, is_marked in marked.items() if not is_marked]
        if plain:
            return f"{' and '.join(plain)} must be marked @numba.njit as well, to be compiled"
        if not all(map(_compiles, self._used.values())):
            return "a function under parallel=True cannot run in several threads at once: mark it @numba.njit alone"
        for value in self._all_args:
            if form_of(value) is None:
                what = f"an array of {value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else ""
                return (
                    "to be compiled, further arguments must be bool, int or float, or arrays of bool, int64 or float64 "
                    f"with axes, got {what or format(repr(value), '.100')}: convert it"
                )
        return ""

    def _values(self, t: float, x: Array) -> Array:
        """The rule for states (..., dim), one after the other."""
        states = real_array("x", x)
        if states.shape[-1:] != (self.dimension,):
            raise InvalidInputError(f"x must have shape (..., {self.dimension}), got {states.shape}")
        values = np.empty(states.shape)
        for index in np.ndindex(states.shape[:-1]):
            values[index] = self._ask("function", self.function, (self.dimension,), t, states[index])
        return values

    def _ask(self, name: str, function: Function, shape: tuple[int, ...], t: float, x: Array, *vectors: Array) -> Array:
        """The answer of a function at one state: real numbers of some shape, NaN if the state is not finite."""
        named = zip(("x", "V"), (x, *vectors), strict=False)
        copies = [np.array(real(what, given), order="C") for what, given in named]
        if copies[0].shape != (self.dimension,):
            raise InvalidInputError(f"x must have shape ({self.dimension},), got {copies[0].shape}")
        if not np.isfinite(copies[0]).all():
            return np.full(shape, np.nan)
        answer = function(self._time(t), *copies, *self._all_args)
        refuse_torch(name, answer)
        values = _real_answer(name, answer, f"return numbers of shape {shape}")
        if values.shape != shape:
            raise InvalidInputError(
                f"{name} must return numbers of shape {shape}, got shape {values.shape}: {shown(answer)}"
            )
        return values


@attrs.frozen(eq=False)
class FunctionFlow(FunctionSystem, Flow):
    """A flow dx/dt = function(t, x, *args), as in `scipy.integrate.solve_ivp(function, span, x0, args=args)`.

    See `FunctionSystem` for the arguments and for what is compiled.

    Examples
    --------
    >>> def pendulum(t, x, damping):
    ...     return [x[1], -np.sin(x[0]) - damping * x[1]]
    >>> def jacobian(t, x, damping):
    ...     return [[0.0, 1.0], [-np.cos(x[0]), -damping]]
    >>> flow = FunctionFlow(pendulum, 2, jacobian, args=(0.1,))
    >>> flow.jvp(0.0, np.zeros(2), np.ones((2, 1)))
    array([[ 1. ],
           [-1.1]])
    >>> flow.derivative, attrs.evolve(flow, args=(0.2,)).vector_field(0.0, [0.0, 1.0])
    ('jacobian', array([ 1. , -0.2]))
    """

    _time = float

    def vector_field(self, t: float, x: Array) -> Array:
        """Velocity dx/dt at time t; x has shape (..., dim)."""
        return self._values(t, x)

    @property
    def jumps(self) -> Sequence[str]:
        """Parts of the traced equations at which the velocity jumps, as text; none are seen in other functions."""
        return self.equations.jumps if self.equations else ()

    def sides(self, t: float | Array, x: Array) -> Array:
        """On which side of each of the `jumps` a state is: whole numbers (..., len(jumps))."""
        if not self.jumps:
            return super().sides(t, x)
        parameters = self._trace.parameters(self._all_args)  # type: ignore[union-attr]
        found: Array = self.equations.functions["sides"](t, x, parameters)  # type: ignore[union-attr]
        return found


@attrs.frozen(eq=False)
class FunctionMap(FunctionSystem, Map):
    """A map x' = function(n, x, *args), n the number of the step.

    See `FunctionSystem` for the arguments and for what is compiled.

    Examples
    --------
    >>> def henon(n, x, a, b):
    ...     return 1 - a * x[0] ** 2 + x[1], b * x[0]
    >>> def jvp(n, x, V, a, b):
    ...     return V[1] - 2 * a * x[0] * V[0], b * V[0]
    >>> FunctionMap(henon, 2, jvp=jvp, args=(1.4, 0.3)).jacobian(0, [1.0, 0.0])
    array([[-2.8,  1. ],
           [ 0.3,  0. ]])
    """

    _time = int

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        return self._values(n, x)


def _real_answer(name: str, answer: Any, wanted: str) -> Array:
    """An answer as an array of its own, without imaginary parts that vanish, as of roots; None as NaN."""
    values = real_or_complex(name, np.nan if answer is None else answer, wanted)
    if values.dtype.kind != "c":
        return values.copy() if values is answer else values
    if values.imag.any():
        raise InvalidInputError(f"{name} must return real numbers, got {shown(answer)}")
    return values.real.copy()


def _is_marked(function: Function) -> bool:
    """Whether a function is marked `@numba.njit`; Numba is loaded then."""
    numba: Any = sys.modules.get("numba")
    return numba is not None and isinstance(function, numba.core.registry.CPUDispatcher)


def _hides_a_marked_one(function: Any) -> bool:
    """Whether a function is compiled by Numba, but not one that compiled code can call: a partial one, or a ufunc."""
    numba: Any = sys.modules.get("numba")
    return numba is not None and (
        isinstance(function, numba.np.ufunc.dufunc.DUFunc)
        or (
            isinstance(function, functools.partial)
            and (_is_marked(function.func) or _hides_a_marked_one(function.func))
        )
    )


def _compiles(function: Any) -> bool:
    """Whether compiled code can call a function."""
    return _is_marked(function) and not (
        function.targetoptions.get("parallel") or function.targetoptions.get("forceobj")
    )
