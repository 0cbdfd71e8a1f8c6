"""Equations in vectors, with matrices among the parameters: x' = -x + W@tanh(x).

What stands between products and sums is computed entry by entry. SymPy derives its partial derivatives as those of a
number; along tangent vectors the chain rule runs forward through them, and a matrix is applied as to the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel
from dynsys.compiled.vectors import Entrywise, Quantity, Taken, VectorSource, vector_linearise
from dynsys.equations import vector_text
from dynsys.equations.definition import (
    FLOATING,
    LANGUAGE,
    check_names,
    derived_once,
    nesting_refused,
    numpy_source,
    run_source,
)
from dynsys.equations.derivative import derivative
from dynsys.equations.expression import check_functions, parse
from dynsys.equations.source import share, to_source
from dynsys.errors import InvalidInputError
from dynsys.passes.orthonormal import LONG_COLUMN

if TYPE_CHECKING:
    import sympy

Array = np.ndarray
Shape = tuple[int, ...]
MODULES = ("dynsys.equations.vector_text", "dynsys.compiled.vectors")


@attrs.frozen(eq=False)
class VectorDefinition:
    """Equations in vectors and everything that is derived from them; kept on disk as those of numbers are.

    Attributes
    ----------
    given : tuple of (str, int or None)
        Variables of the state, and the number of entries where it is said.
    right_sides : tuple of str or number
    parameters : tuple of (str, shape)
    helpers : tuple of (str, str or number)
    """

    given: tuple[tuple[str, int | None], ...]
    right_sides: tuple[Any, ...]
    parameters: tuple[tuple[str, Shape], ...]
    helpers: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def derived(self) -> VectorDerived:
        """What is derived, from the disk if an earlier process left it there."""
        given = [self.given, self.right_sides, self.parameters, self.helpers]
        return VectorDerived(**derived_once("vectors", given, [__name__, *MODULES, *LANGUAGE], self._derive))

    @property
    def source(self) -> str:
        """NumPy source of `rule(t, state, parameters)` over leading axes, and of `jvp` and `jacobian` at one state."""
        return self.derived.source

    @cached_property
    def functions(self) -> dict[str, Any]:
        """The functions that `source` defines."""
        return run_source(self.source)

    @cached_property
    def dimension(self) -> int:
        """Number of components of the state."""
        return sum(1 if length is None else length for _, length in self.derived.variables)

    @cached_property
    def state(self) -> Sequence[str]:
        """Names of the components: x[0], x[1], ... of a vector x."""
        return [
            name if length is None else f"{name}[{i}]"
            for name, length in self.derived.variables
            for i in range(length or 1)
        ]

    def kernel(self, values: Sequence[Any]) -> Kernel:
        """The same equations as source for Numba, with values of the parameters: numbers, and arrays as data."""
        numbers = [value for value in values if not np.ndim(value)]
        of = dict(zip((name for name, _ in self.parameters), values, strict=True))
        arrays = tuple(of[name] for name, _ in self.derived.data)
        transposed = tuple(turned for _, turned in self.derived.data)
        keep = not any(array.flags.writeable for array in arrays)  # of one that came from a pickle, say
        data = _data(_Arrays(arrays), transposed) if keep else _data.__wrapped__(_Arrays(arrays), transposed)
        return Kernel(self.derived.linearise, np.array(numbers, dtype=float), data, scratch=self.derived.scratch)

    @cached_property
    def read(self) -> vector_text.VectorEquations:
        """The texts, with names in the place of products and sums."""
        equations = {name: text for (name, _), text in zip(self.given, self.right_sides, strict=True)}
        lengths = {name: length for name, length in self.given if length is not None}
        return vector_text.read_vectors(equations, lengths, dict(self.parameters), dict(self.helpers))

    @cached_property
    def expressions(self) -> dict[str, sympy.Expr]:
        """Right-hand sides, and what is multiplied or added up, in symbols that stand for one entry each."""
        import sympy

        read, found = self.read, {}
        symbols = {name: sympy.Symbol(name, real=True) for name in read.lengths if name != "pi"}
        later = {entry[0] for entry in read.order if isinstance(entry, tuple)}
        known = {name: symbol for name, symbol in symbols.items() if name not in later}
        for entry in read.order:
            if isinstance(entry, vector_text.Taken):
                found[entry.name] = self._parsed(entry.origin, entry.of, known)
                known[entry.name] = sympy.Symbol(entry.name, real=True)
            else:
                name, text = entry
                known[name] = self._parsed(f"the helper {name}", text, known)
        for name, text in read.texts.items():
            found[name] = self._parsed(f"the equation of {name}", text, known)
        return found

    def _parsed(self, origin: str, text: str, known: Mapping[str, sympy.Expr]) -> sympy.Expr:
        """The expression of a text; an error says what the user wrote."""
        try:
            expression = parse(text, known)
        except InvalidInputError as problem:
            message = str(problem)
            for entry in self.read.order[::-1]:
                if isinstance(entry, vector_text.Taken):
                    message = message.replace(entry.name, f"({entry.text})")
            raise InvalidInputError(f"{origin}: {message}") from None
        check_functions(expression, origin)
        return expression

    def _derive(self) -> VectorDerived:
        source, data = self._vector_source()
        variables = [(name, self.read.lengths[name]) for name, _ in self.given]
        dim = sum(length or 1 for _, length in variables)
        linearise, scratch = vector_linearise(source, dim >= LONG_COLUMN)
        places = {name: i for i, (name, _) in enumerate(self.parameters)}
        return VectorDerived(_numpy(source, dim, places), linearise, scratch, tuple(variables), data)

    def _vector_source(self) -> tuple[VectorSource, tuple[tuple[str, bool], ...]]:
        """The equations as source, and the arrays that stand one after the other in the data of the kernel."""
        read, expressions = self.read, self.expressions
        quantities: dict[str, Quantity] = {}
        rules: list[tuple[int, Entrywise]] = []
        taken: list[Taken] = []
        arrays: dict[tuple[str, bool], int] = {}
        at = 0
        for name, _ in self.given:
            length = read.lengths[name] or 1
            quantities[name] = Quantity(name, "state", at, length, True)
            at += length
        numbers = [name for name, shape in self.parameters if not shape]
        used = 0
        for name, shape in self.parameters:
            if len(shape) == 1:
                quantities[name] = Quantity(name, "vector", used, shape[0], False)
                arrays[name, False] = used
                used += shape[0]
            elif not shape:
                quantities[name] = Quantity(name, "number", numbers.index(name), 1, False)
        for entry in read.order:
            if not isinstance(entry, vector_text.Taken):
                continue
            expression, length = expressions[entry.name], entry.length or 1
            turned = entry.matrix, not entry.transposed  # the transpose stands in the data
            if entry.matrix and turned not in arrays:
                arrays[turned] = used
                used += entry.of_length * length
            of = self._entrywise(entry.origin, expression, entry.of_length, quantities)
            moving = any(quantities[s.name].moving for s in expression.free_symbols if s.name != "t")
            quantities[entry.name] = Quantity(entry.name, "taken", len(taken), length, moving)
            taken.append(Taken(entry.name, of, entry.matrix, entry.transposed, arrays.get(turned, 0), length))
        for name, _ in self.given:
            place, length = quantities[name].at, quantities[name].length
            rules.append((place, self._entrywise(f"the equation of {name}", expressions[name], length, quantities)))
        return VectorSource(tuple(quantities.values()), tuple(taken), tuple(rules)), tuple(arrays)

    def _entrywise(
        self, origin: str, expression: sympy.Expr, length: int, quantities: Mapping[str, Quantity]
    ) -> Entrywise:
        partials = {}
        for symbol in sorted(expression.free_symbols, key=str):
            if symbol.name != "t" and quantities[symbol.name].moving:
                partial = derivative(expression, symbol)
                check_functions(partial, f"the derivative of {origin}")
                if partial != 0:
                    partials[symbol.name] = partial
        numbers = {name for name, quantity in quantities.items() if quantity.kind == "number"}
        fixed = {by: e for by, e in partials.items() if {s.name for s in e.free_symbols} <= numbers}
        moving = {by: e for by, e in partials.items() if by not in fixed}
        shared, (value, *sources) = share([expression, *moving.values()])
        first, (alone,) = share([expression])
        names = {s.name for e in (expression, *moving.values()) for s in e.free_symbols} - {"t"}
        return Entrywise(
            length,
            tuple(name for name in quantities if name in names),
            (*first, alone),
            tuple(shared),
            value,
            tuple(zip(moving, sources, strict=True)),
            tuple((by, to_source(e)) for by, e in fixed.items()),
        )


@attrs.frozen
class VectorDerived:
    """What is derived from equations in vectors.

    Attributes
    ----------
    source, linearise : str
        For NumPy, and for Numba.
    scratch : int
        Length of the work array of `linearise`.
    variables : sequence of (str, int or None)
        Variables of the state, and their numbers of entries.
    data : sequence of (str, bool)
        Arrays that stand one after the other in the data of the kernel; which are transposed.
    """

    source: str
    linearise: str
    scratch: int
    variables: Sequence[tuple[str, int | None]]
    data: Sequence[tuple[str, bool]]


@lru_cache(maxsize=256)
@nesting_refused()
def define_vectors(
    given: tuple[tuple[str, int | None], ...],
    right_sides: tuple[Any, ...],
    parameters: tuple[tuple[str, Shape], ...],
    helpers: tuple[tuple[str, Any], ...] = (),
) -> VectorDefinition:
    """The definition behind equations in vectors; derived once."""
    names = [name for name, _ in (*given, *parameters, *helpers)]
    check_names(names, *vector_text.WORDS)
    definition = VectorDefinition(given, right_sides, parameters, helpers)
    _ = definition.functions  # bad equations are refused here
    return definition


@attrs.frozen(eq=False)
class _Arrays:
    """Arrays that do not change, told apart by what they are and not by what is in them."""

    arrays: tuple[Array, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Arrays) and self._places == other._places

    def __hash__(self) -> int:
        return hash(self._places)

    @property
    def _places(self) -> tuple[int, ...]:
        return tuple(map(id, self.arrays))


@lru_cache(maxsize=8)  # members of an ensemble that share matrices share this
def _data(given: _Arrays, transposed: tuple[bool, ...]) -> Array:
    """The data of a kernel: one array after the other, in one row."""
    parts = [(array.T if turned else array).ravel() for array, turned in zip(given.arrays, transposed, strict=True)]
    data = np.concatenate([np.empty(0), *parts])[None]
    data.flags.writeable = False
    return data


def _numpy(source: VectorSource, dim: int, places: Mapping[str, int]) -> str:
    """The functions for NumPy: in `rule` entries stand along the last axis, in `jvp` along the first."""
    of = {quantity.name: quantity for quantity in source.quantities}
    rule, jvp = [FLOATING, "_f = np.empty_like(_u)", "t = np.float64(t)"], [FLOATING, "_V = np.asarray(_V)"]
    jvp += [f"_F = np.empty(({dim}, _V.shape[1]), np.result_type(_u, _V))", "t = np.float64(t)"]
    matrices = {taken.matrix for taken in source.taken if taken.matrix}
    for name, place in places.items():
        if name in matrices:
            rule += [f"{name} = _p[{place}]"]
            jvp += [f"{name} = _p[{place}]"]
        elif name in of:
            number = of[name].kind == "number"
            rule += [f"{name} = np.float64(_p[{place}])" if number else f"{name} = _p[{place}]"]
            jvp += [f"{name} = np.float64(_p[{place}])" if number else f"{name} = _p[{place}][:, None]"]
    for quantity in source.quantities:
        if quantity.kind == "state":
            part = f"{quantity.at}:{quantity.at + quantity.length}"
            rule += [f"{quantity.name} = _u[..., {part}]"]
            jvp += [f"{quantity.name} = _u[{part}, None]", f"_d_{quantity.name} = _V[{part}]"]

    def whole(text: str, shape: str, names: Sequence[str], length: int) -> str:
        """All entries, also where the expression does not know how many there are."""
        return text if any(of[name].length == length for name in names) else f"np.broadcast_to({text}, {shape})"

    def tangent(entrywise: Entrywise) -> tuple[str, list[str]]:
        terms = [f"({partial})*_d_{name}" for name, partial in (*entrywise.moving, *entrywise.fixed)]
        return " + ".join(terms), [name for name, _ in (*entrywise.moving, *entrywise.fixed)]

    for taken in source.taken:
        name, length = taken.name, taken.of.length
        matrix = f"{taken.matrix}.T" if taken.transposed else taken.matrix
        turned = taken.matrix if taken.transposed else f"{taken.matrix}.T"
        *first, alone = taken.of.alone
        value = whole(f"({alone})", f"(*_u.shape[:-1], {length})", taken.of.names, length)
        rule += [*first, f"{name} = {value} @ {turned}" if matrix else f"{name} = {value}.sum(-1, keepdims=True)"]
        value = whole(f"({taken.of.value})", f"({length}, 1)", taken.of.names, length)
        jvp += [
            *taken.of.shared,
            f"{name} = {matrix} @ {value}" if matrix else f"{name} = {value}.sum(0, keepdims=True)",
        ]
        text, names = tangent(taken.of)
        if of[name].moving:
            text = whole(f"({text or '0.0'})", f"({length}, _V.shape[1])", names, length)
            jvp += [f"_d_{name} = {matrix} @ {text}" if matrix else f"_d_{name} = {text}.sum(0, keepdims=True)"]
    for at, entrywise in source.rules:
        part = f"{at}:{at + entrywise.length}"
        *first, alone = entrywise.alone
        rule += [*first, f"_f[..., {part}] = {alone}"]
        jvp += [*entrywise.shared, f"_F[{part}] = {tangent(entrywise)[0] or '0.0'}"]
    return (
        numpy_source("rule(t, _u, _p)", [*rule, "return _f"])
        + numpy_source("jvp(t, _u, _V, _p)", [*jvp, "return _F"])
        + numpy_source("jacobian(t, _u, _p)", [f"return jvp(t, _u, np.eye({dim}), _p)"])
    )


def vectors_latex(definition: VectorDefinition, left: str) -> str:
    r"""The equations as LaTeX, aligned; vectors and matrices as they stand in the text, products by entries as such.

    `left` makes a left-hand side of a variable, as r"\dot{{{}}}" does.
    """
    import sympy

    expressions, names = definition.expressions, {}
    for name, _ in (*definition.parameters, *definition.given):
        names[sympy.Symbol(name, real=True)] = sympy.latex(sympy.Symbol(name))
    for entry in definition.read.order:
        if isinstance(entry, vector_text.Taken):
            inner = sympy.latex(expressions[entry.name], symbol_names=names, mul_symbol=r"\,")
            matrix = sympy.latex(sympy.Symbol(entry.matrix)) + r"^{\mathsf{T}}" * entry.transposed
            text = rf"{matrix}\left({inner}\right)" if entry.matrix else rf"\sum\left({inner}\right)"
            names[sympy.Symbol(entry.name, real=True)] = text
    lines = []
    for name, _ in definition.given:
        right = sympy.latex(expressions[name], symbol_names=names, mul_symbol=r"\,")
        lines.append(rf"{left.format(names[sympy.Symbol(name, real=True)])} &= {right}")
    return r"\begin{aligned} " + r" \\ ".join(lines) + r" \end{aligned}"
