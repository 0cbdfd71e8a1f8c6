"""Definitions: equations as data, and the sources that SymPy derives from them, kept on disk."""

from __future__ import annotations

import hashlib
import json
import keyword
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dynsys import expression as expression_module
from dynsys.compiled.build import cache_folder, write_whole
from dynsys.compiled.straight import EquationSource
from dynsys.errors import InvalidInputError
from dynsys.expression import FUNCTIONS, assignments, check_functions, numpy_functions, parse, share, to_source

if TYPE_CHECKING:
    import sympy

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
        given = [self.state, self.parameters, self.right_sides]
        return Derived.read(derived_once("equations", given, [__name__, expression_module.__name__], self._derive))

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

    def _derive(self) -> Derived:
        dim, parameters = len(self.state), set(self.parameters)
        rule = assignments([f"_f[..., {i}]" for i in range(dim)], self.expressions)
        jacobian = assignments([f"_J[{i}, {j}]" for i, j in self.jacobian], self.jacobian.values())
        source = function_source(
            "rule(t, _u, _p)",
            [FLOATING, "_f = np.empty_like(_u)", *self._unpack("_u[..., {}]"), *rule, "return _f"],
        ) + function_source(
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
        return f"\n\n_AT = np.array({places})\n_ENTRIES = {len(entries)}\n\n\n@njit\n" + function_source(
            "linearise(t, _u, _V, _f, _F, _p, _data, _rows, _scratch)",
            [*self._unpack("_u[{}]"), *equations.shared, *rates, *stored, *product],
        )

    def _unpack(self, state: str) -> list[str]:
        states = [f"{name} = {state.format(i)}" for i, name in enumerate(self.state)]
        return ["t = float(t)", *states, *(f"{name} = _p[{i}]" for i, name in enumerate(self.parameters))]


@attrs.frozen
class Derived:
    """What SymPy derives from a definition: NumPy source, and source for the compiler."""

    source: str
    equations: EquationSource

    @classmethod
    def read(cls, record: dict[str, Any]) -> Derived:
        """The inverse of `attrs.asdict`."""
        return cls(record["source"], EquationSource(**record["equations"]))


def _representation(expression: Any) -> str:
    import sympy

    return sympy.srepr(expression)


@lru_cache(maxsize=256)
def define(state: tuple[str, ...], right_sides: tuple[Any, ...], parameters: tuple[str, ...]) -> Definition:
    """The definition behind equations given as text or as SymPy expressions; derived once."""
    check_names([*state, *parameters])
    definition = Definition(state, parameters, right_sides)
    _ = definition.derived  # bad equations are refused here
    return definition


def check_names(names: Sequence[str], *taken: str) -> None:
    """Refuse names that cannot stand in generated source, that are taken, or that are the same."""
    for name in names:
        reserved = keyword.iskeyword(name) or name in RESERVED or name in taken
        if not name.isidentifier() or name.startswith("_") or reserved:
            raise InvalidInputError(f"{name!r} cannot name a component or parameter: use another word")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"names must differ, got {', '.join(names)}")


def derived_once(kind: str, given: Sequence[Any], modules: Sequence[str], derive: Callable[[], Any]) -> dict[str, Any]:
    """The fields of the record that `derive` gives, from the disk if an earlier process left them there.

    Parameters
    ----------
    kind : str
        What is derived: the beginning of the name of the file.
    given : nested sequences of text, numbers and SymPy expressions
        What it is derived from. That, and the code of the `modules` that derive it, are the key.
    """
    code = [Path(str(sys.modules[module].__file__)).read_text() for module in modules]
    key = hashlib.sha256(json.dumps([given, code], default=_representation).encode()).hexdigest()[:20]
    kept = cache_folder() / f"{kind}_{key}.json"
    if not kept.exists():
        write_whole(kept, json.dumps(attrs.asdict(derive())))
    fields: dict[str, Any] = _tuples(json.loads(kept.read_text()))
    return fields


def _tuples(value: Any) -> Any:
    """Sequences as they were before a detour by JSON."""
    if isinstance(value, dict):
        return {name: _tuples(entry) for name, entry in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def run_source(source: str) -> dict[str, Any]:
    """The functions that generated source defines, run with NumPy."""
    namespace = numpy_functions()
    exec(compile(source, "<generated by dynsys>", "exec"), namespace)
    return namespace


def function_source(signature: str, lines: Sequence[str]) -> str:
    """Source of a function with these statements."""
    return f"def {signature}:\n" + textwrap.indent("\n".join(lines), "    ") + "\n\n\n"
