"""Where equations in vectors jump: tried out on the same equations with vectors of two entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.compiled.vectors import VectorSource
from dynsys.equations.definition import run_source
from dynsys.equations.jumps import jump_groups, jumping_parts, merged, random_states, region
from dynsys.equations.vectors.source import numpy_sides

if TYPE_CHECKING:
    import sympy

Array = np.ndarray
Shape = tuple[int, ...]
SHORT = 2  # entries: enough that a mean of them is none of them


def vector_jumps(
    expressions: Mapping[str, sympy.Expr],
    moving: set[str],
    shapes: Sequence[Shape],
    short: tuple[VectorSource, str, int, Mapping[str, str]],
) -> list[tuple[sympy.Expr, str]]:
    """Parts at which the right-hand sides jump, and the source of the number of their regions, entry by entry.

    Parameters
    ----------
    expressions : mapping, name -> Expr
        Right-hand sides and what is multiplied or added up.
    moving : set of str
        Names that move in them.
    shapes : sequence of shapes
        Those of the parameters of the short equations.
    short : (VectorSource, NumPy source, dimension, places of the parameters)
        The same equations with vectors of `SHORT` entries.
    """
    parts = list(jumping_parts(list(expressions.values()), moving))
    if not parts:
        return []
    import sympy

    source, text, dim, places = short
    sides = numpy_sides(source, places, [(p, region(p)) for p in parts], [np.eye(1, SHORT)[0]] * len(parts))
    functions = run_source(text + sides)
    constants = {float(abs(c)) for part in parts for c in part.atoms(sympy.Number) if c.is_finite and c}
    count = sum(int(np.prod(shape)) for shape in shapes)
    draws = random_states(dim, count, sorted({1.0, *constants}), True)
    called, regions = _called(functions["rule"], shapes), _called(functions["sides"], shapes)

    def rule(t: Any, x: Array, p: Array) -> Array:
        return called(np.asarray(t)[:, None] if np.ndim(t) else t, x, p)

    found = jump_groups(parts, rule, regions, draws)
    kept = zip(parts, found, strict=True)
    return [(part, merged(region(part), groups)) for part, groups in kept if groups is not None]


def _called(function: Callable[..., Array], shapes: Sequence[Shape]) -> Callable[..., Array]:
    """A function of times and states over one leading axis, and of parameters in one row."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def call(t: Any, x: Array, p: Array) -> Array:
        values = (
            [part.reshape(shape) for part, shape in zip(np.split(p, ends[:-1]), shapes, strict=True)]
            if len(ends)
            else []
        )
        return function(t, x, values)

    return call


def weights(length: int) -> Array:
    """Whole numbers by which the regions of entries are added to one number, which changes when one of them does."""
    return np.random.default_rng(0).integers(1, 2**31, size=length).astype(float) if length > 1 else np.ones(1)


def as_written(part: Any, texts: Mapping[str, str]) -> str:
    """A part with products and sums as they were written."""
    text = str(part)
    while any(name in text for name in texts):  # a product may stand in another
        text = re.sub(r"\((_(?:product|sum)\d+)\)", lambda found: f"({texts[found[1]]})", text)
        text = re.sub(r"_(?:product|sum)\d+", lambda found: f"({texts[found[0]]})", text)
    return text
