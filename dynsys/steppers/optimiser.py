"""The contract of an optimiser: a stepper of a gradient flow that carries numbers of its own for each weight.

A subclass writes one function, `update`: what becomes of a weight in a step, and the derivatives of that. It is the
same for NumPy, for tensors and for the compiler, which is given its source text; all that a stepper needs follows.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, finite, real_or_complex
from dynsys.steppers.stepper import Stepper, VectorField

Array = np.ndarray
Part = Any  # one number per weight: an array, a tensor or, when compiled, a number

NO_ARRAYS = {  # what NumPy says of an update that is written for numbers: what to do
    "truth value": (
        "must work on whole arrays, one number per weight, got a branch on one of them: write "
        "`a * (f > 0.0) + b * (f <= 0.0)` in the place of `a if f > 0.0 else b`"
    ),
    "read-only": "must leave what it is given as it is, got an operation in place: write `v = v + g` for `v += g`",
}
LATE = 2**53  # a step by which no power of a number below 1 is left


def share(name: str, value: Any) -> float:
    """What a mean keeps of itself in a step: a number in [0, 1), or an InvalidInputError with its name."""
    number = finite(name, value)
    if not 0.0 <= number < 1.0:
        raise InvalidInputError(f"{name} must lie in [0, 1), got {value!r:.100}")
    return number


def decay(value: Any) -> float:
    """A decay of weights: a finite number >= 0, or an InvalidInputError."""
    number = finite("weight_decay", value)
    if number < 0.0:
        raise InvalidInputError(f"weight_decay must be a finite number >= 0, got {value!r:.100}")
    return number


@attrs.frozen(eq=False)
class Optimiser(Stepper, ABC):
    """A stepper that moves every weight by the slope f = -grad L, and by what it remembers of earlier ones.

    The state is theta, c_1, ..., c_b: the weights, then b = `carried` numbers for each, which begin as 0. A subclass
    gives `carried`, its numbers as fields, and

        update(n, (theta, c_1, ..., c_b), f) = (theta', c_1', ..., c_b'), coefficients,

    the new parts, and their derivatives with respect to theta, c_1, ..., c_b and f. No weight acts on another but by f,
    so the tangent is V_i' = sum_j coefficients[i][j] V_j + coefficients[i][-1] J V_theta, part by part.

    `update` is compiled, too, if it does arithmetic (`v ** 0.5`; comparisons are 0 or 1) with its arguments and with
    numbers of the optimiser (`self.dt`, fields, properties) alone; with anything else in it NumPy takes the steps.

    Examples
    --------
    Slopes of any size make a step of at most dt:

    >>> class Bounded(Optimiser):
    ...     carried = 0
    ...
    ...     def update(self, n, parts, slope):
    ...         (theta,) = parts
    ...         size = (1.0 + slope * slope) ** 0.5
    ...         return (theta + self.dt * slope / size,), ((1.0, self.dt / size**3),)
    >>> from dynsys.models.classics import LinearFlow
    >>> _, M = Bounded(dt=0.1).step_tangent(LinearFlow([[-1.0]]), 0, 0.0, np.array([1.0]), np.eye(1))
    >>> bool(abs(M[0, 0] - (1.0 - 0.1 / 8**0.5)) < 1e-15)
    True
    """

    order = 1

    @property
    @abstractmethod
    def carried(self) -> int:
        """Numbers that it carries along for each weight, beside the weight itself."""

    @abstractmethod
    def update(self, n: int, parts: Sequence[Part], slope: Part) -> tuple[Sequence[Part], Sequence[Sequence[Part]]]:
        """What step n = 0, 1, ... makes of the parts (theta, c_1, ..., c_b), given f at theta; and its derivatives.

        coefficients[i][j] is d parts'_i / d (theta, c_1, ..., c_b, f)_j: a number, or one for each weight.
        """

    def check(self, flow: VectorField) -> None:
        """Refuse an `update` that does not give what it should."""
        parts = 1 + self.carried
        ones = np.ones(2)
        ones.flags.writeable = False  # as states are, whose views the parts are
        with np.errstate(all="ignore"):
            try:
                moved, coefficients = self.update(0, (ones,) * parts, ones)
            except ValueError as problem:
                for text, remedy in NO_ARRAYS.items():
                    if text in str(problem):
                        raise InvalidInputError(f"update of {type(self).__name__} {remedy}") from problem
                raise
        if (found := [len(moved), *map(len, coefficients)]) != [parts, *[parts + 1] * parts]:
            raise InvalidInputError(
                f"update of {type(self).__name__} must give {parts} part(s), the weights and carried = {self.carried}, "
                f"and for each {parts + 1} derivatives, by every part and by the slope; got {found[0]} part(s), and "
                f"derivatives {found[1:]}"
            )

    def state_dimension(self, flow: VectorField) -> int:
        """`carried` numbers for each weight."""
        return self.carried * flow.dimension

    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State (theta, c_1, ...) after step n, which begins at time t; x has shape (..., (1 + b) dim)."""
        parts = np.split(real_or_complex("x", x), 1 + self.carried, axis=-1)
        return np.concatenate(self.update(n, parts, flow.vector_field(t, parts[0]))[0], axis=-1)

    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state ((1 + b) dim,) and its tangent vectors ((1 + b) dim, k) after step n, which begins at time t."""
        x, V = real_or_complex("x", x), real_or_complex("V", V)
        parts, vectors = np.split(x, 1 + self.carried), np.split(V, 1 + self.carried)
        moved, coefficients = self.update(n, parts, flow.vector_field(t, parts[0]))
        vectors.append(flow.jvp(t, parts[0], vectors[0]))
        return np.concatenate(moved), np.concatenate([_combined(row, vectors) for row in coefficients])

    def tangent_at_rest(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """Derivative of the step where the weights of x rest, (dim, dim), when all memory of the way there is gone.

        Each carried number is then where c' = a c + b leaves it, exactly so for a mean of slopes or of their squares;
        and n is large.
        """
        parts = np.split(x, 1 + self.carried)
        moved, coefficients = self.update(LATE, parts, flow.vector_field(t, parts[0]))
        for i in range(1, 1 + self.carried):
            a = np.asarray(coefficients[i][i])
            settled = (moved[i] - a * parts[i]) / np.where(a == 1.0, 1.0, 1.0 - a)  # squares: not below 0 by rounding
            parts[i] = np.where(a == 1.0, parts[i], settled)  # what forgets nothing stays as it is
        return self.step_tangent(flow, LATE, t, np.concatenate(parts), np.eye(len(x)))[1]

    @property
    def source(self) -> str | None:
        """The same step as source for Numba, made of the source of `update`."""
        read = compiled_update(type(self).update)
        if read is None or not all(isinstance(getattr(self, name), int | float) for name in read[1]):
            return None
        return optimiser_source(*read, 1 + self.carried)

    @property
    def numbers(self) -> tuple[float, ...]:
        """What `update` reads of the optimiser beside dt, in the order of the names."""
        read = compiled_update(type(self).update)
        return () if read is None else tuple(getattr(self, name) for name in read[1] if name != "dt")

    @property
    def fallback(self) -> str:
        """What its source must do without."""
        return "write its `update` with arithmetic on arguments and numbers of self alone, in a file or a notebook"


def _combined(row: Sequence[Part], vectors: Sequence[Array]) -> Array:
    """Vectors of a new part: the sum of those of the inputs, the small ones first."""
    terms = [np.asarray(a)[..., None] * v for a, v in zip(row, vectors, strict=True) if np.ndim(a) or a]
    total = terms.pop() if terms else np.zeros_like(vectors[0])
    while terms:
        total = terms.pop() + total
    return total


@cache  # every call of a pass asks
def compiled_update(update: Callable[..., Any]) -> tuple[str, tuple[str, ...]] | None:
    """Source of a method `update` as a function, and the names of what it reads of self; None if it needs more.

    What it reads, such as self.dt, is an argument of the function after n, parts and slope: self_dt.
    """
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(update))).body
    except (OSError, TypeError, SyntaxError):  # there is no file that holds it
        return None
    if not isinstance(function, ast.FunctionDef) or function.decorator_list:
        return None
    own, *arguments = (argument.arg for argument in function.args.args)
    text = "\n".join(map(ast.unparse, function.body[ast.get_docstring(function) is not None :]))
    nodes = list(ast.walk(ast.parse(text)))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    known = {own, *arguments, *(node.id for node in names if isinstance(node.ctx, ast.Store))}
    if {node.id for node in names} - known or {ast.unparse(node.value) for node in attributes} - {own}:
        return None
    read = tuple(sorted({node.attr for node in attributes}))
    text = re.sub(rf"\b{own}\.", "self_", text)
    signature = ", ".join([*arguments, *(f"self_{name}" for name in read)])
    return f"def update({signature}):\n{textwrap.indent(text, '    ')}\n", read


@cache
def optimiser_source(update: str, read: tuple[str, ...], parts: int) -> str:
    """A step as source for Numba."""
    numbers = [name for name in read if name != "dt"]
    places = [f"{part} * dim + i" for part in range(parts)]
    vectors = [f"V[{place}, c]" for place in places]
    rows = [[f"a{i}_{j}" for j in range(parts + 1)] for i in range(parts)]
    inputs = [*vectors, "G[i, c]"]
    sums = [" + ".join(f"{a} * {v}" for a, v in zip(row[::-1], inputs[::-1], strict=True)) for row in rows]
    state = _listed(f"x[{place}]" for place in places)
    # columns of two parts are vectorised; of more, whose overlap the compiler does not check, each root is taken once
    loops = (BY_COLUMNS if parts <= 2 else BY_WEIGHTS).format(
        call=f"update(n, ({state}), f[0, i], {_listed(f'self_{name}' for name in read)})",
        state=state,
        vectors=_listed(vectors),
        coefficients=_listed(f"({_listed(row)})" for row in rows),
        sums=_listed(sums),
    )
    return SOURCE.format(
        update=update,
        parts=parts,
        numbers="".join(f"    self_{name} = parameters[first + {i}]\n" for i, name in enumerate(numbers)),
        count=len(numbers),
        loops=loops,
    )


def _listed(items: Iterable[str]) -> str:
    """Source of a tuple without its brackets."""
    return "".join(f"{item}, " for item in items).rstrip()


SOURCE = '''
STAGES = 1


@njit
{update}

@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """Slopes of the weights, then vectors and state; what `linearise` is given is contiguous, as BLAS wants it."""
    self_dt, first = dt, parameters.size - {count}
{numbers}    dim, k = x.size // {parts}, V.shape[1]
    U, G = W.T.reshape(({parts} * k, dim))[:k].T, F[0].reshape(({parts} * k, dim))[:k].T
    for c in range(k):
        for i in range(dim):
            U[i, c] = V[i, c]
    linearise(t, x[:dim], U, f[0, :dim], G, parameters, data, rows, scratch)
{loops}
'''

BY_COLUMNS = """\
    for c in range(k):
        for i in range(dim):
            _, ({coefficients}) = {call}
            {vectors} = {sums}
    for i in range(dim):
        ({state}), _ = {call}
"""

BY_WEIGHTS = """\
    for i in range(dim):
        ({state}), ({coefficients}) = {call}
        for c in range(k):
            {vectors} = {sums}
"""
