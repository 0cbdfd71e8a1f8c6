"""Definitions: equations as data, and the sources that SymPy derives from them, kept on disk."""

from __future__ import annotations

import json
import keyword
import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dynsys.compiled.equations import EquationSource, Run
from dynsys.equations import runs as lattice
from dynsys.equations.derivative import derivative
from dynsys.equations.expression import check_functions, nesting_refused, read_expression
from dynsys.equations.jumps import jump_groups, jumping_parts, merged, random_states, region
from dynsys.equations.source import FUNCTIONS, assignments, numpy_functions, share, to_source
from dynsys.errors import InvalidInputError
from dynsys.storage.cache import kept
from dynsys.storage.escaping import plain_name

if TYPE_CHECKING:
    import sympy

# all that generated source calls by name; what else stands in it begins with an underscore, as no name of a user does
RESERVED = {*FUNCTIONS, "t", "pi", "np", "float", "where", "maximum", "minimum", "sign", "abs"}
# the modules between text and source
LANGUAGE = (
    "dynsys.equations.expression",
    "dynsys.equations.expression_size",
    "dynsys.equations.derivative",
    "dynsys.equations.source",
    "dynsys.equations.vocabulary",
    "dynsys.equations.finite.rewriting",
    "dynsys.equations.finite.factors",
    "dynsys.equations.finite.singularities",
    "dynsys.equations.finite.special",
    "dynsys.equations.finite.quotients",
    "dynsys.equations.jumps",
)
TIME = "t = np.float64(t)"
QUIET = '@np.errstate(divide="ignore", invalid="ignore", over="ignore")\n'
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
    helpers : tuple of (str, str or number or Expr), optional
        Names for subexpressions in the names above and those of helpers before; they are put into the right-hand sides.
    """

    state: tuple[str, ...]
    parameters: tuple[str, ...]
    right_sides: tuple[Any, ...]
    helpers: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def expressions(self) -> tuple[sympy.Expr, ...]:
        """The right-hand sides as SymPy expressions in real symbols."""
        import sympy

        names = {name: sympy.Symbol(name, real=True) for name in [*self.state, *self.parameters, "t"]}
        later = {name: sympy.Symbol(name, real=True) for name, _ in self.helpers}
        symbols = later | names
        for name, given in self.helpers:
            helper = read_expression(f"the helper {name}", given, symbols)
            for symbol in helper.free_symbols & set(later.values()):
                place = (
                    "itself, which has no value yet: use another name"
                    if symbol.name == name
                    else f"{symbol}, which comes after it: change their order"
                )
                raise InvalidInputError(f"the helper {name} uses {place}")
            symbols[name] = helper
            del later[name]
        origins = [f"the equation of {name}" for name in self.state]
        return tuple(read_expression(*of, symbols) for of in zip(origins, self.right_sides, strict=True))

    @cached_property
    def runs(self) -> list[range]:
        """Components whose equations are one text, told apart by places alone (x_i' = x_{i+1} - x_i, say)."""
        dim = len(self.state)
        return lattice.runs([self.relative(i)[0] for i in range(dim)]) if dim >= lattice.LEAST else []

    def relative(self, i: int) -> tuple[sympy.Expr, dict[int, sympy.Symbol]]:
        """The right-hand side of component i in terms of its neighbours, and their symbols by place."""
        return self._relative(self.expressions[i], i)

    def _relative(self, expression: sympy.Expr, i: int) -> tuple[sympy.Expr, dict[int, sympy.Symbol]]:
        import sympy

        places = {s: self._index[s.name] - i for s in expression.free_symbols if s.name in self._index}
        names = {s: sympy.Symbol(lattice.neighbour(place), real=True) for s, place in places.items()}
        return expression.xreplace(names), {places[s]: names[s] for s in sorted(names, key=places.__getitem__)}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.state)}

    @cached_property
    def rows(self) -> list[int]:
        """The components that stand in no run."""
        return sorted(set(range(len(self.state))).difference(*self.runs))

    @cached_property
    def jacobian(self) -> dict[tuple[int, int], sympy.Expr]:
        """Entries d expression_i / d state_j that do not vanish identically, of the components that stand in no run."""
        return self._jacobian({i: self.expressions[i] for i in self.rows})

    def _jacobian(self, expressions: dict[int, sympy.Expr]) -> dict[tuple[int, int], sympy.Expr]:
        entries = {}
        for i, expression in expressions.items():
            symbols = {s.name: s for s in expression.free_symbols}
            for name in self.state:
                if name in symbols:
                    entry = _derivative(expression, symbols[name], self.state[i], name)
                    if entry != 0:
                        entries[i, self._index[name]] = entry
        return entries

    @cached_property
    def derived(self) -> Derived:
        """What is derived, from the disk if an earlier process left it there."""
        given = [self.state, self.parameters, self.right_sides, self.helpers]
        return Derived.read(
            derived_once("equations", given, [__name__, "dynsys.equations.runs", *LANGUAGE], self._derive)
        )

    @property
    def source(self) -> str:
        """NumPy source of `rule(t, state, parameters)` over leading axes, and of `jacobian` (or `jvp`) at one state."""
        return self.derived.source

    @cached_property
    def driven(self) -> bool:
        """Whether the time stands in an equation."""
        statements = self.source.partition("rule(t,")[2].partition("\ndef ")[0].splitlines()
        return any(re.search(r"\bt\b", one) for one in statements[1:] if one.strip() != TIME)

    @property
    def equations(self) -> EquationSource:
        """Source of the equations and their Jacobian, for Numba."""
        return self.derived.equations

    @property
    def jumps(self) -> tuple[str, ...]:
        """Parts of the right-hand sides that make them jump, as text; if any, `source` defines their `sides`."""
        return self.derived.jumps

    @cached_property
    def functions(self) -> dict[str, Any]:
        """The functions that `source` defines."""
        return run_source(self.source)

    def _derive(self) -> Derived:
        from dynsys.equations.finite.rewriting import finite

        dim = len(self.state)
        written = {i: finite(self.expressions[i]) for i in self.rows}
        entries = self._jacobian(written)
        rule = assignments([f"_f[..., {i}]" for i in self.rows], written.values())
        jacobian = assignments([f"_J[{i}, {j}]" for i, j in entries], entries.values())
        runs = [self._run(rows) for rows in self.runs]
        source = numpy_source(
            "rule(t, _u, _p)",
            [FLOATING, "_f = np.empty_like(_u)", *self._unpack("_u[..., {}]"), *rule]
            + [line for run in runs for line in (*lattice.neighbours(run), *run.shared, lattice.rule(run))]
            + ["return _f"],
        ) + numpy_source(
            "jacobian(t, _u, _p)",
            [FLOATING, f"_J = np.zeros(({dim}, {dim}), _u.dtype)", *self._unpack("_u[..., {}]"), *jacobian]
            + [line for run in runs for line in (*lattice.neighbours(run), *run.shared, *lattice.entries(run))]
            + ["return _J"],
        )
        if runs:
            source += self._jvp(runs, entries)
        jumps = self._jumps(source)
        if jumps:
            source += self._sides([merged(region(part), groups) for part, groups in jumps.items()])
        constant, moving = self._split(entries)
        shared, sources = share([*written.values(), *moving.values()])
        count = len(self.rows)
        equations = EquationSource(
            self.state,
            self.parameters,
            any("t" in map(str, e.free_symbols) for e in self.expressions),
            tuple(runs),
            tuple(self.rows),
            tuple(shared),
            tuple(sources[:count]),
            tuple((*ij, text) for ij, text in zip(moving, sources[count:], strict=True)),
            tuple((*ij, to_source(e)) for ij, e in constant.items()),
        )
        return Derived(source, equations, tuple(map(str, jumps)))

    def _jumps(self, source: str) -> dict[sympy.Expr, list[int]]:
        """Parts at which the right-hand side jumps; see `dynsys.equations.jumps`."""
        parts = jumping_parts(self.expressions, set(self.state))
        if not parts:
            return {}
        import sympy

        keys = [self._relative(part, i)[0] if self.runs else part for part, i in parts.items()]
        kinds = dict(zip(reversed(keys), reversed(parts), strict=True))  # of those that are alike, the first
        functions = run_source(source + self._sides(list(map(region, kinds.values()))))
        constants = {float(abs(c)) for part in kinds.values() for c in part.atoms(sympy.Number) if c.is_finite and c}
        draws = random_states(len(self.state), len(self.parameters), sorted({1.0, *constants}), not self.runs)
        found = jump_groups(list(kinds.values()), functions["rule"], functions["sides"], draws)
        groups = dict(zip(kinds, found, strict=True))
        return {part: of for part, key in zip(parts, keys, strict=True) if (of := groups[key]) is not None}

    def _sides(self, regions: Sequence[str]) -> str:
        """Source of the numbers of regions between which the right-hand side jumps, over leading axes."""
        used = {name for text in regions for name in re.findall(r"\w+", text)}
        states = [f"{name} = _u[..., {i}]" for i, name in enumerate(self.state) if name in used]
        return QUIET + function_source(
            "sides(t, _u, _p)",
            [
                "_u = np.asarray(_u, float)",
                f"_s = np.empty((*_u.shape[:-1], {len(regions)}))",
                "t = np.float64(t)",
                *states,
                *(f"{name} = _p[{i}]" for i, name in enumerate(self.parameters)),
                *(f"_s[..., {k}] = {text}" for k, text in enumerate(regions)),
                "return np.clip(_s, -2.0**62, 2.0**62).astype(np.int64)",
            ],
        )

    def _jvp(self, runs: Sequence[Run], jacobian: dict[tuple[int, int], sympy.Expr]) -> str:
        """Source of the Jacobian times the columns of _V, by the neighbours in runs: no Jacobian is formed."""
        shared, sources = share(jacobian.values())
        terms: dict[int, list[str]] = {i: [] for i in self.rows}
        for (i, j), source in zip(jacobian, sources, strict=True):
            terms[i].append(f"({source}) * _V[..., {j}]")
        return numpy_source(
            "jvp(t, _u, _V, _p)",
            [
                FLOATING,
                "_V = np.asarray(_V).T",
                "_F = np.empty_like(_V, dtype=np.result_type(_u, _V))",
                *self._unpack("_u[..., {}]"),
                *shared,
                *(f"_F[..., {i}] = {' + '.join(products) or '0.0'}" for i, products in terms.items()),
                *(line for run in runs for line in (*lattice.neighbours(run), *run.shared, lattice.product(run))),
                "return _F.T",
            ],
        )

    def _split(self, entries: dict[Any, sympy.Expr]) -> tuple[dict[Any, sympy.Expr], dict[Any, sympy.Expr]]:
        """Entries that depend on parameters alone, and the others."""
        parameters = set(self.parameters)
        constant = {at: e for at, e in entries.items() if {s.name for s in e.free_symbols} <= parameters}
        return constant, {at: e for at, e in entries.items() if at not in constant}

    def _run(self, rows: range) -> Run:
        from dynsys.equations.finite.rewriting import finite

        expression, neighbours = self.relative(rows.start)
        expression = finite(expression)
        name = self.state[rows.start]
        entries = {place: _derivative(expression, symbol, name, symbol.name) for place, symbol in neighbours.items()}
        constant, moving = self._split({place: e for place, e in entries.items() if e != 0})
        shared, sources = share([expression, *moving.values()])
        return Run(
            rows.start,
            len(rows),
            rows.step,
            tuple((symbol.name, place) for place, symbol in neighbours.items()),
            tuple(shared),
            sources[0],
            tuple(zip(moving, sources[1:], strict=True)),
            tuple((place, to_source(e)) for place, e in constant.items()),
        )

    def _unpack(self, state: str) -> list[str]:
        used = {s.name for i in self.rows for s in self.expressions[i].free_symbols}
        states = [f"{name} = {state.format(i)}" for i, name in enumerate(self.state) if name in used]
        return [TIME, *states, *(f"{name} = _p[{i}]" for i, name in enumerate(self.parameters))]


@attrs.frozen
class Derived:
    """What SymPy derives from a definition: source for NumPy, source for Numba, and the parts that make it jump."""

    source: str
    equations: EquationSource
    jumps: tuple[str, ...] = ()

    @classmethod
    def read(cls, record: dict[str, Any]) -> Derived:
        """The inverse of `attrs.asdict`."""
        equations = record["equations"]
        runs = tuple(Run(**run) for run in equations["runs"])
        return cls(record["source"], EquationSource(**equations | {"runs": runs}), record["jumps"])


def _derivative(expression: sympy.Expr, symbol: sympy.Symbol, of: str, by: str) -> sympy.Expr:
    slope = derivative(expression, symbol)
    check_functions(slope, f"the derivative of the equation of {of} by {by}")
    return slope


def _representation(expression: Any) -> str:
    import sympy

    return sympy.srepr(expression)


@lru_cache(maxsize=256)
@nesting_refused()
def define(
    state: tuple[str, ...],
    right_sides: tuple[Any, ...],
    parameters: tuple[str, ...],
    helpers: tuple[tuple[str, Any], ...] = (),
) -> Definition:
    """The definition behind equations given as text or as SymPy expressions; derived once."""
    check_names([*state, *parameters, *(name for name, _ in helpers)])
    definition = Definition(state, parameters, right_sides, helpers)
    _ = definition.functions  # bad equations are refused here
    return definition


def check_names(names: Sequence[str], *taken: str) -> None:
    """Refuse names that cannot stand in generated source, that are taken, or that are the same."""
    for name in names:
        reserved = keyword.iskeyword(name) or name in RESERVED or name in taken
        if not name.isidentifier() or name.startswith("_") or reserved:
            raise InvalidInputError(f"{name!r} cannot name a component, parameter or helper: use another word")
        plain_name("component, parameter or helper", name)
        if name != (normal := unicodedata.normalize("NFKC", name)):
            raise InvalidInputError(f"{name!r} is {normal!r} to Python: write {normal!r}, or use another word")
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise InvalidInputError(f"names must differ, but there are several {', '.join(twice[:9])}")


def derived_once(kind: str, given: Sequence[Any], modules: Sequence[str], derive: Callable[[], Any]) -> dict[str, Any]:
    """The fields of the record that `derive` gives, from the disk if an earlier process left them there.

    Parameters
    ----------
    kind : str
        What is derived: the beginning of the name of the file.
    given : nested sequences of text, numbers and SymPy expressions
        What it is derived from. That, and the code of the `modules` that derive it, are the key.
    """
    made_from = json.dumps([given, _code(tuple(modules))], default=_representation)
    content = kept().once(kind, made_from, lambda: json.dumps(attrs.asdict(derive())).encode())
    fields: dict[str, Any] = _tuples(json.loads(content))
    return fields


@cache
def _code(modules: tuple[str, ...]) -> list[str]:
    """The code of modules, which need not be imported: some import SymPy."""
    return [Path(str(find_spec(module).origin)).read_text() for module in modules]  # type: ignore[union-attr]


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


def numpy_source(signature: str, lines: Sequence[str]) -> str:
    """The same for NumPy, which computes all cases: those that are not taken may be undefined, without a warning."""
    return QUIET * any("where(" in line for line in lines) + function_source(signature, lines)
