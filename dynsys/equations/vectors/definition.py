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

from dynsys.compiled.equations import aligned
from dynsys.compiled.kernel import Kernel, StepSource
from dynsys.compiled.staged import StagedSource, staged_step
from dynsys.compiled.vectors import Entrywise, Quantity, Taken, VectorSource, strips, vector_linearise, vector_source
from dynsys.equations.definition import LANGUAGE, check_names, derived_once, run_source
from dynsys.equations.expression import check_functions, nesting_refused, parse
from dynsys.equations.jumps import jumping_parts
from dynsys.equations.vectors import reader as vector_reader
from dynsys.equations.vectors import text as vector_text
from dynsys.equations.vectors.jumps import SHORT, as_written, vector_jumps, weights
from dynsys.equations.vectors.source import entrywise, numpy_sides, numpy_vectors
from dynsys.errors import InvalidInputError
from dynsys.steppers.stepper import Tableau

if TYPE_CHECKING:
    import sympy

Array = np.ndarray
Shape = tuple[int, ...]
MODULES = (
    "dynsys.equations.vectors.reader",
    "dynsys.equations.vectors.text",
    "dynsys.equations.vectors.source",
    "dynsys.equations.vectors.jumps",
    "dynsys.compiled.vectors",
    "dynsys.compiled.staged",
    *LANGUAGE,
)


@attrs.frozen(eq=False)
class VectorDefinition:
    """Equations in vectors and everything that is derived from them; kept on disk as those of numbers are.

    Attributes
    ----------
    given : tuple of (str, int or None)
        Variables of the state, and the number of entries where it is said.
    texts : tuple of str or number
        Their right-hand sides.
    parameters : tuple of (str, shape)
    helpers : tuple of (str, str or number)
    """

    given: tuple[tuple[str, int | None], ...]
    texts: tuple[Any, ...]
    parameters: tuple[tuple[str, Shape], ...]
    helpers: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def derived(self) -> VectorDerived:
        """What is derived, from the disk if an earlier process left it there."""
        given = [self.given, self.texts, self.parameters, self.helpers]
        return VectorDerived.read(derived_once("vectors", given, [__name__, *MODULES], self._derive))

    @property
    def source(self) -> str:
        """NumPy source of `rule(t, state, parameters)` over leading axes, and of `jvp` and `jacobian` at one state."""
        return self.derived.source

    @property
    def right_sides(self) -> Sequence[Any]:
        """The text of every component: that of its variable."""
        return [t for (_, n), t in zip(self.derived.variables, self.texts, strict=True) for _ in range(n or 1)]

    @property
    def driven(self) -> bool:
        """Whether the time stands in an equation."""
        return self.derived.driven

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
        matrices = {name for name, shape in self.parameters if len(shape) == 2}
        transposed = tuple(turned if name in matrices else None for name, turned in self.derived.data)
        keep = not any(array.flags.writeable for array in arrays)  # of one that came from a pickle, say
        data = _data(_Arrays(arrays), transposed) if keep else _data.__wrapped__(_Arrays(arrays), transposed)
        derived = self.derived

        def step(tableau: Tableau | None, k: int) -> StepSource:
            return staged_step(derived.tiles, tableau, not k)

        return Kernel(
            derived.linearise,
            np.array(numbers, dtype=float),
            data,
            scratch=derived.scratch,
            step=step,
            rates=derived.tiles.equations,
        )

    @cached_property
    def read(self) -> vector_text.VectorEquations:
        """The texts, with names in the place of products and sums."""
        equations = {name: text for (name, _), text in zip(self.given, self.texts, strict=True)}
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
            if isinstance(entry, vector_reader.Taken):
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
                if isinstance(entry, vector_reader.Taken):
                    message = message.replace(entry.name, f"({entry.text})")
            raise InvalidInputError(f"{origin}: {message}") from None
        check_functions(expression, origin)
        return expression

    @property
    def jumps(self) -> Sequence[str]:
        """Parts of the right-hand sides that make them jump, as text; if any, `source` defines their `sides`."""
        return self.derived.jumps

    def _jumps(self, source: VectorSource, places: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        """Source of `sides`, and the parts at which the right-hand sides jump; empty if they do not."""
        moving = {quantity.name for quantity in source.quantities if quantity.moving}
        if not jumping_parts(list(self.expressions.values()), moving):
            return "", ()
        shapes = tuple((name, tuple(min(n, SHORT) for n in shape)) for name, shape in self.parameters)
        given = tuple(
            (name, None if (n := self.read.lengths[name]) is None else min(n, SHORT)) for name, _ in self.given
        )
        short = attrs.evolve(self, given=given, parameters=shapes)
        its, _ = short._vector_source()
        dim = sum(length or 1 for _, length in given)
        parts = vector_jumps(
            self.expressions,
            moving,
            [shape for _, shape in shapes],
            (its, numpy_vectors(its, dim, places), dim, places),
        )
        if not parts:
            return "", ()
        texts = {entry.name: entry.text for entry in self.read.order if isinstance(entry, vector_reader.Taken)}
        longest = max(quantity.length for quantity in source.quantities)
        sides = numpy_sides(source, places, parts, [weights(longest)] * len(parts))
        return sides, tuple(as_written(part, texts) for part, _ in parts)

    def _derive(self) -> VectorDerived:
        source, data = self._vector_source()
        variables = [(name, self.read.lengths[name]) for name, _ in self.given]
        dim = sum(length or 1 for _, length in variables)
        linearise, scratch = vector_linearise(source, dim)
        tiles = vector_source(source, dim)
        driven = any("t" in map(str, expression.free_symbols) for expression in self.expressions.values())
        places = {name: f"_p[{i}]" for i, (name, _) in enumerate(self.parameters)}
        sides, jumps = self._jumps(source, places)
        text = numpy_vectors(source, dim, places) + sides
        return VectorDerived(text, linearise, scratch, tiles, tuple(variables), data, driven, jumps)

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
                used += aligned(shape[0])
            elif not shape:
                quantities[name] = Quantity(name, "number", numbers.index(name), 1, False)
        for entry in read.order:
            if not isinstance(entry, vector_reader.Taken):
                continue
            expression, length = expressions[entry.name], entry.length or 1
            turned = entry.matrix, entry.transposed
            if entry.matrix and turned not in arrays:
                arrays[turned] = used
                used += entry.of_length * aligned(length)
            of = entrywise(entry.origin, expression, entry.of_length, quantities)
            moving = any(quantities[s.name].moving for s in expression.free_symbols if s.name != "t")
            quantities[entry.name] = Quantity(entry.name, "taken", len(taken), length, moving)
            taken.append(Taken(entry.name, of, entry.matrix, entry.transposed, arrays.get(turned, 0), length))
        for name, _ in self.given:
            place, length = quantities[name].at, quantities[name].length
            rules.append((place, entrywise(f"the equation of {name}", expressions[name], length, quantities)))
        return VectorSource(tuple(quantities.values()), tuple(taken), tuple(rules)), tuple(arrays)


@attrs.frozen
class VectorDerived:
    """What is derived from equations in vectors.

    Attributes
    ----------
    source, linearise : str
        For NumPy, and for Numba.
    scratch : int
        Length of the work array of `linearise`.
    tiles : StagedSource
        The same for frames in tiles.
    variables : sequence of (str, int or None)
        Variables of the state, and their numbers of entries.
    data : sequence of (str, bool)
        Arrays that stand one after the other in the data of the kernel; which are transposed.
    driven : bool
        Whether the time stands in an equation.
    jumps : sequence of str
        Parts of the right-hand sides that make them jump.
    """

    source: str
    linearise: str
    scratch: int
    tiles: StagedSource
    variables: Sequence[tuple[str, int | None]]
    data: Sequence[tuple[str, bool]]
    driven: bool
    jumps: Sequence[str] = ()

    @classmethod
    def read(cls, record: dict[str, Any]) -> VectorDerived:
        """The inverse of `attrs.asdict`."""
        return cls(**record | {"tiles": StagedSource(**record["tiles"])})


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
    check_names(names, "sum", "mean")
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
def _data(given: _Arrays, transposed: tuple[bool | None, ...]) -> Array:
    """The data of a kernel: one array after the other, in one row; matrices, which may be transposed, in strips."""
    parts = [
        np.pad(array, (0, aligned(len(array)) - len(array))) if turned is None else strips(array.T if turned else array)
        for array, turned in zip(given.arrays, transposed, strict=True)
    ]
    data = np.concatenate([np.empty(0), *parts])[None]
    data.flags.writeable = False
    return data
