"""Systems defined by equations: SymPy derives the Jacobian and writes source that one can read.

class Lorenz63(SymbolicFlow):                        # a class, with parameters as fields
    sigma: float = 10.0
    ...
    equations = {"x": "sigma*(y - x)", ...}

SymbolicFlow.of({x: y, y: -sin(x) - gamma*y}, {gamma: 0.1})      # or one object, from SymPy expressions
"""

from __future__ import annotations

import hashlib
import json
import keyword
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
import numpy as np

from dynsys import expression as expression_module
from dynsys.compiled.build import cache_folder, write_whole
from dynsys.compiled.kernel import Kernel
from dynsys.compiled.straight import EquationSource, lane_step, push_source
from dynsys.errors import InvalidInputError, real_array
from dynsys.expression import (
    FUNCTIONS,
    assignments,
    check_functions,
    numpy_functions,
    parse,
    share,
    to_source,
)
from dynsys.system import DynamicalSystem, Flow, Map

if TYPE_CHECKING:
    import sympy

Array = np.ndarray
Equations = Mapping[Any, Any]  # name or Symbol -> text or expression

RESERVED = {*FUNCTIONS, "t", "pi", "np", "float", "where", "maximum", "minimum", "sign", "abs"}
FLOATING = "_u = np.asarray(_u, np.result_type(_u, float))"


@attrs.frozen(eq=False)
class Definition:
    """Equations of motion and everything that SymPy derives from them.

    What programs need of it, `source` and `equations`, is kept on disk: a second process imports no SymPy.

    Attributes
    ----------
    state, parameters : tuple of str
        Names of the components of the state and of the parameters.
    right_sides : tuple of str, number or Expr
        Right-hand sides, in the order of `state`; the time (or step) is the symbol t.
    """

    state: tuple[str, ...]
    parameters: tuple[str, ...]
    right_sides: tuple[Any, ...]

    @cached_property
    def expressions(self) -> tuple[sympy.Expr, ...]:
        """The right-hand sides as SymPy expressions in real symbols."""
        import sympy

        symbols = {name: sympy.Symbol(name, real=True) for name in [*self.state, *self.parameters, "t"]}
        expressions = []
        for name, given in zip(self.state, self.right_sides, strict=True):
            expression = parse(given, symbols) if isinstance(given, str) else sympy.sympify(given, strict=True)
            if not isinstance(expression, sympy.Expr):
                raise InvalidInputError(f"the equation of {name} must be text or an expression, got {given}")
            expression = expression.subs({s: symbols.get(s.name, s) for s in expression.free_symbols})
            unknown = sorted(s.name for s in expression.free_symbols if s.name not in symbols)
            if unknown:
                raise InvalidInputError(
                    f"the equation of {name} uses {', '.join(unknown)}, which is neither a component of the state "
                    f"({', '.join(self.state)}) nor a parameter ({', '.join(self.parameters) or 'none'}) nor the time t"
                )
            check_functions(expression, f"the equation of {name}")
            expressions.append(expression)
        return tuple(expressions)

    @cached_property
    def jacobian(self) -> dict[tuple[int, int], sympy.Expr]:
        """Entries d expression_i / d state_j that do not vanish identically."""
        import sympy

        entries = {}
        for i, expression in enumerate(self.expressions):
            for j, name in enumerate(self.state):
                entry = sympy.diff(expression, sympy.Symbol(name, real=True))
                entry = entry.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))  # the derivative almost everywhere
                if entry != 0:
                    check_functions(entry, f"the derivative of the equation of {self.state[i]} by {name}")
                    entries[i, j] = entry
        return entries

    @cached_property
    def derived(self) -> Derived:
        """What is derived, from the disk if an earlier process left it there."""
        kept = cache_folder() / f"equations_{self._key()}.json"
        if not kept.exists():
            write_whole(kept, json.dumps(attrs.asdict(self._derive())))
        return Derived.read(json.loads(kept.read_text()))

    @property
    def source(self) -> str:
        """NumPy source of `rule(t, state, parameters)` over leading axes and of `jacobian` at one state."""
        return self.derived.source

    @property
    def equations(self) -> EquationSource:
        """Source of the equations and their Jacobian, for the compiler."""
        return self.derived.equations

    @cached_property
    def functions(self) -> dict[str, Any]:
        """The functions that `source` defines."""
        return run_source(self.source)

    def _key(self) -> str:
        """Hash of the definition, and of the code that derives from it."""
        given = [side if isinstance(side, str | int | float) else _representation(side) for side in self.right_sides]
        code = [Path(str(module.__file__)).read_text() for module in (sys.modules[__name__], expression_module)]
        return hashlib.sha256(json.dumps([self.state, self.parameters, given, code]).encode()).hexdigest()[:20]

    def _derive(self) -> Derived:
        dim, parameters = len(self.state), set(self.parameters)
        rule = assignments([f"_f[..., {i}]" for i in range(dim)], self.expressions)
        jacobian = assignments([f"_J[{i}, {j}]" for i, j in self.jacobian], self.jacobian.values())
        source = _function(
            "rule(t, _u, _p)",
            [FLOATING, "_f = np.empty_like(_u)", *self._unpack("_u[..., {}]"), *rule, "return _f"],
        ) + _function(
            "jacobian(t, _u, _p)",
            [FLOATING, f"_J = np.zeros(({dim}, {dim}), _u.dtype)", *self._unpack("_u[{}]"), *jacobian, "return _J"],
        )
        constant = {ij: e for ij, e in self.jacobian.items() if {str(s) for s in e.free_symbols} <= parameters}
        moving = {ij: e for ij, e in self.jacobian.items() if ij not in constant}
        shared, sources = share([*self.expressions, *moving.values()])
        equations = EquationSource(
            self.state,
            self.parameters,
            tuple(shared),
            tuple(sources[:dim]),
            tuple((*ij, text) for ij, text in zip(moving, sources[dim:], strict=True)),
            tuple((*ij, to_source(e)) for ij, e in constant.items()),
            any("t" in map(str, e.free_symbols) for e in self.expressions),
        )
        return Derived(source, equations)

    @cached_property
    def kernel_source(self) -> str:
        """Source of `linearise`, for equations too many to be written out for every stage and column.

        The entries of the Jacobian stand in the work array; a loop over them multiplies the frame.
        """
        equations = self.equations
        entries = list(equations.jacobian.items())
        rates = [f"_f[{i}] = {source}" for i, source in enumerate(equations.rule)]
        stored = [f"_scratch[{e}] = {source}" for e, (_, source) in enumerate(entries)]
        places = [list(place) for place, _ in entries] or [[0, 0]]
        product = [
            "_F[:] = 0.0",
            "for _e in _range(_ENTRIES):",
            "    for _k in _range(_V.shape[1]):",
            "        _F[_AT[_e, 0], _k] += _scratch[_e] * _V[_AT[_e, 1], _k]",
        ]
        return f"\n\n_AT = np.array({places})\n_ENTRIES = {len(entries)}\n\n\n@njit\n" + _function(
            "linearise(t, _u, _V, _f, _F, _p, _data, _rows, _scratch)",
            [*self._unpack("_u[{}]"), *equations.shared, *rates, *stored, *product],
        )

    def _unpack(self, state: str) -> list[str]:
        time = ["t = float(t)"]
        states = [f"{name} = {state.format(i)}" for i, name in enumerate(self.state)]
        return time + states + [f"{name} = _p[{i}]" for i, name in enumerate(self.parameters)]


@attrs.frozen
class Derived:
    """What SymPy derives from a definition: NumPy source, and source for the compiler."""

    source: str
    equations: EquationSource

    @classmethod
    def read(cls, record: dict[str, Any]) -> Derived:
        """The inverse of `attrs.asdict`, after a detour by JSON."""

        def tuples(value: Any) -> Any:
            return tuple(map(tuples, value)) if isinstance(value, list) else value

        return cls(record["source"], EquationSource(**{k: tuples(v) for k, v in record["equations"].items()}))


def _representation(expression: Any) -> str:
    import sympy

    return sympy.srepr(expression)


@lru_cache(maxsize=256)
def define(state: tuple[str, ...], right_sides: tuple[Any, ...], parameters: tuple[str, ...]) -> Definition:
    """The definition behind equations given as text or as SymPy expressions; derived once."""
    names = [*state, *parameters]
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_") or name in RESERVED:
            raise InvalidInputError(f"{name!r} cannot name a component or parameter: use another word")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"names must differ, got {', '.join(names)}")
    definition = Definition(state, parameters, right_sides)
    _ = definition.derived  # bad equations are refused here
    return definition


def _number(value: Any) -> float:
    return float(real_array("a parameter", value))


def _finite(_: object, field: attrs.Attribute, value: float) -> None:
    if not np.isfinite(value):
        raise InvalidInputError(f"the parameter {field.name} must be a finite number, got {value!r}")


def parameter(default: float) -> Any:
    """A field of a symbolic system: a finite number with a default."""
    return attrs.field(default=default, converter=_number, validator=_finite)


@attrs.frozen(eq=False)
class SymbolicSystem(DynamicalSystem, ABC):
    """What symbolic flows and maps share. Fields of a subclass are its parameters."""

    @property
    @abstractmethod
    def equations(self) -> Equations:
        """Component of the state -> right-hand side, as text or SymPy expression; the time or step is t."""

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
        return _definition(type(self))

    @property
    def dimension(self) -> int:
        """Number of equations."""
        return len(self.equations)

    @property
    def parameters(self) -> Array:
        """Values of the parameters, in the order of the fields."""
        return np.array([getattr(self, field.name) for field in attrs.fields(type(self))], dtype=float)

    @property
    def source(self) -> str:
        """The generated NumPy source."""
        return self.definition.source

    def jacobian(self, t: float, x: Array) -> Array:
        """Jacobian at one state, shape (dim, dim), derived by SymPy."""
        return self.definition.functions["jacobian"](t, x, self.parameters)

    def kernel(self) -> Kernel:
        """The same equations for the compiler."""
        definition, equations = self.definition, self.definition.equations
        return Kernel(
            definition.kernel_source,
            self.parameters,
            scratch=len(equations.moving) + len(equations.fixed),
            push=lambda stepper: push_source(equations, stepper) if equations.few(stepper) else None,
            lanes=lambda stepper, k: lane_step(equations, stepper, k) if equations.few(stepper) else None,
        )


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
def _definition(system: type[SymbolicSystem]) -> Definition:
    parameters = [field.name for field in attrs.fields(system)]
    _check_names(parameters)
    equations: Any = system.equations
    return define(tuple(map(str, equations)), _right_sides(equations), tuple(parameters))


def _right_sides(equations: Equations) -> tuple[Any, ...]:
    """The right-hand sides, refused if they are neither text nor of SymPy nor numbers."""
    for name, given in equations.items():
        if not isinstance(given, str | int | float) and type(given).__module__.partition(".")[0] != "sympy":
            raise InvalidInputError(f"the equation of {name} must be text or an expression, got {given!r}")
    return tuple(equations.values())


def _check_names(parameters: Iterable[str]) -> None:
    for name in parameters:
        if name == "self" or name in dir(SymbolicFlow) or name in dir(SymbolicMap):
            raise InvalidInputError(f"{name!r} cannot name a parameter: it is an attribute of every system")


class ScalarFunction(ABC):
    """A scalar nonlinearity s(d) with its first two derivatives, for NumPy, SymPy and the compiler.

    A subclass gives `source`: statements that compute s, s1 = s', s2 = s'' from d, with the functions of
    `dynsys.expression` and `where(condition, yes, no)`; or, without a compiled form, it overrides `fused`.
    """

    source: ClassVar[str] = ""
    kinks: ClassVar[tuple[float, ...]] = ()  # points where a derivative jumps
    piecewise_linear: ClassVar[bool] = False  # whether s'' = 0 wherever it exists

    def fused(self, d: Array) -> tuple[Array, Array, Array]:
        """(s, s', s'') of every element of d."""
        if not self.source:
            raise InvalidInputError(f"{type(self).__name__} must define `source` or override `fused`")
        return _fused(self.kernel_source("fused"))(d)

    @property
    def compiles(self) -> bool:
        """Whether `source` is what `fused` computes, so that the compiler may use it."""
        return bool(self.source) and type(self).fused is ScalarFunction.fused

    def kernel_source(self, name: str) -> str:
        """Source of a function `name(d) -> (s, s1, s2)`."""
        return _function(f"{name}(d)", [*textwrap.dedent(self.source).strip().splitlines(), "return s, s1, s2"])


@lru_cache(maxsize=64)
def _fused(source: str) -> Any:
    return run_source(source)["fused"]


def opaque_function(name: str = "sigma") -> type[sympy.Function]:
    """A SymPy function of which only derivatives are known: name' = name_1, name'' = name_2."""
    import sympy
    from sympy.core.function import ArgumentIndexError

    def make(order: int) -> Any:
        def fdiff(self: Any, argindex: int = 1) -> Any:
            if order == 2:
                raise ArgumentIndexError(self, argindex)
            return make(order + 1)(self.args[0])

        return type(name if order == 0 else f"{name}_{order}", (sympy.Function,), {"fdiff": fdiff, "nargs": 1})

    return make(0)


@attrs.frozen(eq=False)
class SampleLoss:
    """Gradient and Hessian, summed over samples, of a loss given for one sample as a SymPy expression.

    Attributes
    ----------
    loss : Expr
        Loss of one sample. Its nonlinearity is `opaque_function()`, or any differentiable expression.
    state, columns : sequences of Symbol
        The variables of the derivatives, and the columns of the data.
    """

    loss: sympy.Expr
    state: Sequence[sympy.Symbol]
    columns: Sequence[sympy.Symbol]

    @cached_property
    def source(self) -> str:
        """Source of `sample(_u, _data, sigma) -> (gradient, Hessian)`, element-wise over samples, then summed.

        One fused call of sigma serves the function and both derivatives; only the lower triangle is computed.
        """
        import sympy

        dim = len(self.state)
        gradient = [sympy.diff(self.loss, s) for s in self.state]
        hessian = {(i, j): sympy.diff(gradient[i], self.state[j]) for i in range(dim) for j in range(i + 1)}
        hessian = {ij: entry for ij, entry in hessian.items() if entry != 0}
        expressions = [*gradient, *hessian.values()]
        calls: dict[sympy.Expr, sympy.Symbol] = {}
        fused: dict[sympy.Expr, tuple[sympy.Symbol, ...]] = {}  # argument of sigma -> names of s, s', s''
        for call in sorted(set().union(*(e.atoms(sympy.Function) for e in expressions)), key=str):
            name, _, order = call.func.__name__.partition("_")
            if name == "sigma":
                names = fused.setdefault(call.args[0], sympy.symbols("s_{0} s1_{0} s2_{0}".format(len(fused))))
                calls[call] = names[int(order or 0)]
        expressions = [e.xreplace(calls) for e in expressions]
        targets = [f"_g[{i}]" for i in range(dim)] + [f"_H[{i}, {j}]" for i, j in hessian]
        shared, sources = share(expressions)
        lines = [f"{s} = _u[{i}]" for i, s in enumerate(self.state)]
        lines += [f"{s} = _data[:, {i}]" for i, s in enumerate(self.columns)]
        lines += [f"{', '.join(map(str, names))} = sigma({to_source(argument)})" for argument, names in fused.items()]
        lines += [*shared, f"_g, _H = np.zeros({dim}), np.zeros(({dim}, {dim}))"]
        lines += [f"{t} = np.sum(np.broadcast_to({e}, len(_data)))" for t, e in zip(targets, sources, strict=True)]
        return _function("sample(_u, _data, sigma)", [*lines, "return _g, _H + np.tril(_H, -1).T"])

    @cached_property
    def function(self) -> Any:
        """The function that `source` defines."""
        return run_source(self.source)["sample"]


def run_source(source: str) -> dict[str, Any]:
    """The functions that generated source defines, run with NumPy."""
    namespace = numpy_functions()
    exec(compile(source, "<generated by dynsys>", "exec"), namespace)
    return namespace


def _function(signature: str, lines: Sequence[str]) -> str:
    return f"def {signature}:\n" + textwrap.indent("\n".join(lines), "    ") + "\n\n\n"
