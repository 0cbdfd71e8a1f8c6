"""Many equations of numbers that are one text up to coefficients: a dense network that was written out term by term.

Such equations have the form

    x_i' = sum_k w_ik r_k(x_i) + sum_m a_m(x_i) sum_j C_m,ij b_m(x_j),

with few functions r, a, b: linear and diffusive coupling, rates, oscillators by their phase differences (a sine of a
difference is a sum of products). They are computed as equations in vectors, with the coefficients as data: written out,
those of 30 components take the compiler a minute, and their number of derivatives grows as its square.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel
from dynsys.compiled.vectors import Quantity, Taken, VectorSource, vector_linearise
from dynsys.equations.definition import Definition, check_names, derived_once, run_source
from dynsys.equations.expression import nesting_refused
from dynsys.equations.vectors.definition import MODULES
from dynsys.equations.vectors.source import entrywise, numpy_vectors
from dynsys.passes.orthonormal import LONG_COLUMN

if TYPE_CHECKING:
    import sympy

LEAST, DENSE = 20, 0.25  # equations, and share of the components that stand in one on average: others are written out
FORMS = 16  # functions r, and functions b
HERE = "_here"  # the component of the equation


@attrs.frozen(eq=False)
class DenseDefinition:
    """Equations of numbers that are computed as those of one vector.

    Attributes
    ----------
    numbers : Definition
        The equations as they were given.
    derived : DenseDerived
    """

    numbers: Definition
    derived: DenseDerived

    @property
    def state(self) -> Sequence[str]:
        """Names of the components."""
        return self.numbers.state

    @property
    def right_sides(self) -> Sequence[Any]:
        """Right-hand sides, as they were given."""
        return self.numbers.right_sides

    @property
    def dimension(self) -> int:
        """Number of components."""
        return len(self.numbers.state)

    @property
    def source(self) -> str:
        """NumPy source of `rule(t, state, parameters)` over leading axes, and of `jvp` and `jacobian` at one state."""
        return self.derived.source

    @property
    def jumps(self) -> Sequence[str]:
        """None: equations that may jump are written out."""
        return ()

    @property
    def driven(self) -> bool:
        """Whether the time stands in an equation."""
        return self.derived.driven

    @cached_property
    def functions(self) -> dict[str, Any]:
        """The functions that `source` defines."""
        return run_source(self.source)

    def kernel(self, values: Sequence[Any]) -> Kernel:
        """The same equations as source for Numba, with values of the parameters."""
        derived = self.derived
        return Kernel(
            derived.linearise, np.array(values, dtype=float), np.array([derived.data]), scratch=derived.scratch
        )


@attrs.frozen
class DenseDerived:
    """What is derived; all empty where equations have another form.

    Attributes
    ----------
    source, linearise : str
        For NumPy, and for Numba.
    scratch : int
        Length of the work array of `linearise`.
    data : sequence of float
        Coefficients: w_k, then the C_m, transposed.
    driven : bool
        Whether the time stands in an equation.
    """

    source: str = ""
    linearise: str = ""
    scratch: int = 0
    data: Sequence[float] = ()
    driven: bool = False


@lru_cache(maxsize=256)
@nesting_refused()
def define_dense(
    state: tuple[str, ...],
    right_sides: tuple[Any, ...],
    parameters: tuple[str, ...],
    helpers: tuple[tuple[str, Any], ...] = (),
) -> DenseDefinition | None:
    """The definition behind many equations that are one text up to coefficients; None if these are others, or few."""
    if helpers or len(state) < LEAST or _others(state, right_sides) < DENSE * len(state) ** 2:
        return None
    check_names([*state, *parameters])
    definition = Definition(state, parameters, right_sides)
    given = [state, parameters, right_sides]
    derived = DenseDerived(**derived_once("dense", given, [__name__, *MODULES], lambda: _derive(definition)))
    return DenseDefinition(definition, derived) if derived.source else None


def _others(state: tuple[str, ...], right_sides: tuple[Any, ...]) -> int:
    """How many components stand in the equations, each counted once in each."""
    known = set(state)
    return sum(len(known & set(re.findall(r"\w+", str(right_side)))) for right_side in right_sides)


def _derive(definition: Definition) -> DenseDerived:
    import sympy

    jumps = (sympy.Piecewise, sympy.sign, sympy.Heaviside, sympy.floor, sympy.ceiling, sympy.Mod)
    other = definition.runs or any(expression.has(*jumps) for expression in definition.expressions)
    found = None if other else _forms(definition)  # what stands in runs has loops of its own
    if found is None:
        return DenseDerived()

    own, pairs = found
    dim = len(definition.state)
    quantities = {HERE: Quantity(HERE, "state", 0, dim, True)}
    quantities |= {name: Quantity(name, "number", i, 1, False) for i, name in enumerate(definition.parameters)}
    data: list[float] = []
    right: list[sympy.Expr] = []
    constants: list[str] = []
    for term, weights in own.items():
        if np.ptp(weights) == 0.0:
            right.append(sympy.Float(weights[0]) * term if weights[0] != int(weights[0]) else int(weights[0]) * term)
            continue
        name = f"_w{len(constants)}"
        quantities[name] = Quantity(name, "vector", len(data), dim, False)
        constants.append(f"{name}_ = np.array({weights.tolist()!r})")
        data += weights.tolist()
        right.append(sympy.Symbol(name, real=True) * term)
    taken: list[Taken] = []
    for there, factors in _by_function(pairs).items():
        of = entrywise("the equations", there, dim, quantities)
        for factor, matrix in factors.items():
            name = f"_product{len(taken)}"
            constants.append(f"_C{len(taken)}_ = np.array({matrix.tolist()!r})")
            taken.append(Taken(name, of, f"_C{len(taken)}", False, len(data), dim))
            data += matrix.T.ravel().tolist()
            quantities[name] = Quantity(name, "taken", len(taken) - 1, dim, True)
            right.append(factor * sympy.Symbol(name, real=True))
    rule = entrywise("the equations", sympy.Add(*right), dim, quantities)
    source = VectorSource(tuple(quantities.values()), tuple(taken), ((0, rule),))
    linearise, scratch = vector_linearise(source, dim >= LONG_COLUMN)
    places = {name: f"_p[{i}]" for i, name in enumerate(definition.parameters)}
    places |= {line.split("_ =")[0]: line.split(" =")[0] for line in constants}
    text = "\n".join([*constants, "", "", numpy_vectors(source, dim, places)])
    driven = any("t" in map(str, expression.free_symbols) for expression in definition.expressions)
    return DenseDerived(text, linearise, scratch, tuple(data), driven)


Own = dict[Any, np.ndarray]  # r_k -> w_k
Pairs = dict[tuple[Any, Any], np.ndarray]  # (a_m, b_m) -> C_m


def _by_function(pairs: Pairs) -> dict[Any, dict[Any, np.ndarray]]:
    """The same by function: b_m -> a_m -> C_m."""
    found: dict[Any, dict[Any, np.ndarray]] = {}
    for (factor, there), matrix in pairs.items():
        found.setdefault(there, {})[factor] = matrix
    return found


def _forms(definition: Definition) -> tuple[Own, Pairs] | None:
    """The functions of the equations with their coefficients, if they are few."""
    import sympy

    index = {sympy.Symbol(name, real=True): i for i, name in enumerate(definition.state)}
    here = sympy.Symbol(HERE, real=True)
    dim = len(index)
    own: Own = {}
    pairs: Pairs = {}
    for i, expression in enumerate(definition.expressions):
        for term in _terms(expression, index, i):
            coefficient, rest = term.as_coeff_Mul()
            others = {index[s] for s in rest.free_symbols if s in index} - {i}
            if not others:
                weights = own.setdefault(
                    rest.xreplace({s: here for s in rest.free_symbols if s in index}), np.zeros(dim)
                )
                weights[i] += float(coefficient)
            elif len(others) > 1:
                return None
            else:
                (j,) = others
                factor, there = sympy.Integer(1), sympy.Integer(1)
                for part in sympy.Mul.make_args(rest):
                    inside = {index[s] for s in part.free_symbols if s in index}
                    if inside == {i, j}:
                        return None
                    if j in inside:
                        there *= part
                    else:
                        factor *= part
                stand = {s: here for s in rest.free_symbols if s in index}
                key = factor.xreplace(stand), there.xreplace(stand)
                pairs.setdefault(key, np.zeros((dim, dim)))[i, j] += float(coefficient)
            if len(own) > FORMS or len(pairs) > FORMS:
                return None
    return own, pairs


def _terms(expression: sympy.Expr, index: Mapping[Any, int], i: int) -> Iterator[sympy.Expr]:
    """The terms of a sum. Sums in products are multiplied out, and sin and cos of a sum of components written so.

    Powers and exponentials stay as they are: written out they would cancel, or overflow where they do not.
    """
    import sympy

    for term in sympy.Add.make_args(expression):
        parts = sympy.Mul.make_args(term)
        mixed = [part for part in parts if len([s for s in part.free_symbols if s in index]) > 1]
        sums = [part for part in mixed if part.is_Add]
        if len(sums) == 1:
            others = sympy.Mul(*[part for part in parts if part != sums[0]])
            for summand in sums[0].args:
                yield from _terms(others * summand, index, i)
        elif len(mixed) == 1 and mixed[0].func in (sympy.sin, sympy.cos):
            yield from _wave(term, mixed[0], index, i)
        else:
            yield term


def _wave(term: sympy.Expr, wave: Any, index: Mapping[Any, int], i: int) -> Iterator[sympy.Expr]:
    """A term with sin(a + b) or cos(a + b) as two, where component i does not stand in a."""
    import sympy

    angles = sympy.Add.make_args(sympy.expand_mul(wave.args[0]))
    here = [angle for angle in angles if all(index.get(s, i) == i for s in angle.free_symbols)]
    a, b = sympy.Add(*[angle for angle in angles if angle not in here]), sympy.Add(*here)
    sin, cos, rest = sympy.sin, sympy.cos, term / wave
    if wave.func == sin:
        yield from (rest * sin(a) * cos(b), rest * cos(a) * sin(b))
    else:
        yield from (rest * cos(a) * cos(b), -rest * sin(a) * sin(b))
