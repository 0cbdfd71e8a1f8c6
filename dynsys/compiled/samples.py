"""Gradient and Hessian of the loss of one sample, as source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import attrs

LARGEST = 700  # statements and products in a body: compiling takes time that grows faster than their number
AT_ONCE = 4  # samples of a body, between a load of an accumulator and its store; fewer if one takes many statements


@attrs.frozen(cache_hash=True)
class SampleSource:
    """Gradient and Hessian of the loss of one sample, as source.

    Attributes
    ----------
    state, columns, parameters : tuple of str
        Names of the components, of the columns of the data, and of numbers.
    statements : tuple of str
        Assignments in order, with calls `s, s', s'' = sigma(d)` of a nonlinearity if there is one.
    loss : str
        Source of the loss.
    gradient : tuple of tuples of str
        For every component of the state the terms of its entry, which does not vanish if there are any.
    hessian : tuple of (i, j, tuple of str)
        The same for those entries of the lower triangle that do not vanish identically.
    factor : float
        Number by which loss, gradient and Hessian are to be multiplied.
    """

    state: tuple[str, ...]
    columns: tuple[str, ...]
    parameters: tuple[str, ...]
    statements: tuple[str, ...]
    loss: str
    gradient: tuple[tuple[str, ...], ...]
    hessian: tuple[tuple[int, int, tuple[str, ...]], ...]
    factor: float

    @property
    def entries(self) -> list[tuple[str, ...]]:
        """The terms of gradient and Hessian, entry by entry."""
        return [*self.gradient, *(terms for _, _, terms in self.hessian)]

    @property
    def motion(self) -> list[str]:
        """The statements that gradient and Hessian need."""
        return needed(self.statements, [term for terms in self.entries for term in terms])

    @property
    def alone(self) -> SampleSource:
        """The same without the Hessian: what moves the state alone."""
        return attrs.evolve(self, hessian=())

    @property
    def at_once(self) -> int:
        """Samples in a body of at most `LARGEST` statements; 0: this is not to be written out."""
        return min(AT_ONCE, LARGEST // max(1, len(self.motion) + sum(map(len, self.entries))))

    @property
    def calls_sigma(self) -> bool:
        """Whether a nonlinearity must be given."""
        return any("= sigma(" in line for line in self.statements)


def identifiers(source: str) -> list[str]:
    """The names that occur in some source."""
    return re.findall(_NAME, source)


def renamed(source: str, names: Mapping[str, str]) -> str:
    """Some source with other names."""
    return re.sub(_NAME, lambda found: names.get(found[0], found[0]), source)


_NAME = r"(?<![\w.])[^\W\d]\w*"


def needed(statements: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Those of some statements that the wanted expressions need."""
    names = {name for source in wanted for name in identifiers(source)}
    kept = []
    for line in reversed(statements):
        targets, _, source = line.partition(" = ")
        if not names.isdisjoint(identifiers(targets)):
            kept.append(line)
            names.update(identifiers(source))
    return kept[::-1]
