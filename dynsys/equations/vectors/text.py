"""Equations in vectors, as text: how many entries every variable has, and what is multiplied and added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from dynsys.equations.expression import syntax_tree
from dynsys.equations.vectors.reader import Length, Reading, Shape, Taken, Text, entries, written
from dynsys.errors import InvalidInputError

LONGEST = 10_000  # characters


@attrs.frozen
class VectorEquations:
    """What was read.

    Attributes
    ----------
    lengths : mapping, name -> int or None
        Number of entries of every variable of the state, helper and parameter that is no matrix.
    order : sequence of Taken, or of (str, str)
        What was taken out, and name and text of helpers; each may use those before it.
    texts : mapping, name -> str
        The right-hand sides, with names in the place of what was taken out.
    """

    lengths: Mapping[str, Length]
    order: Sequence[Taken | tuple[str, str]]
    texts: Mapping[str, str]


def read_vectors(
    equations: Mapping[str, Any],
    given: Mapping[str, Length],
    parameters: Mapping[str, Shape],
    helpers: Mapping[str, Any],
) -> VectorEquations:
    """Read equations in vectors.

    Parameters
    ----------
    equations, helpers : mapping, name -> text or number
    given : mapping, name -> int
        Lengths of variables that are said; the others follow from the right-hand sides, then from products.
    parameters : mapping, name -> shape

    Raises
    ------
    InvalidInputError
        Naming what is not understood, and shapes that do not fit.
    """
    trees = {name: _tree(f"the equation of {name}", text) for name, text in equations.items()}
    short = {name: _tree(f"the helper {name}", text) for name, text in helpers.items()}
    lengths: dict[str, Length] = {name: given.get(name) for name in equations}
    unknown = {name for name in equations if name not in given}
    while unknown:
        reading = Reading(parameters, lengths, unknown)
        found = {name: length for name, (_, length) in reading.all(short, trees).items() if name in unknown}
        new = {name: length for name, length in found.items() if length is not None} or reading.wanted
        new = new or (reading.perhaps if reading.failed else {})
        if not new:
            break
        lengths |= new
        unknown -= set(new)
    reading = Reading(parameters, lengths)
    read = reading.all(short, trees)
    for name in equations:
        length, wanted = read[name][1], lengths[name]
        if length not in (None, wanted):
            raise InvalidInputError(
                f"the equation of {name}: {name} {entries(wanted)}, its right-hand side {entries(length)}"
            )
    texts = {name: written(read[name][0]) for name in equations}
    return VectorEquations(reading.lengths, tuple(reading.order), texts)


def _tree(origin: str, text: Any) -> Text:
    if not isinstance(text, str | int | float):
        raise InvalidInputError(f"{origin} must be text where equations are in vectors, got {text!r:.100}")
    source = str(text).strip().replace("^", "**")
    if len(source) > LONGEST:
        raise InvalidInputError(f"{origin}: at most {LONGEST} characters, got {len(source)}: use helpers")
    try:
        return origin, source, syntax_tree(source)
    except InvalidInputError as problem:
        raise InvalidInputError(f"{origin}: {problem}") from None
