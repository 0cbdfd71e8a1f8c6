"""Where the entries of a network's Jacobian stand: in blocks of eight rows with common columns, and row by row.

In a block the eight numbers of a column stand side by side. A product with vectors loads each row of them once for
eight entries, which takes a third of the time for each; entries of a block that are zero are multiplied, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import cached_property

import attrs
import numpy as np

from dynsys.compiled.equations import aligned
from dynsys.compiled.networks.network import COEFFICIENT, HERE, Network, Terms

ROWS = 8  # of a block
BLOCK, SINGLE = 5.0, 1.8  # times that a column of a block, and an entry of a row, take


@attrs.frozen
class Layout:
    """Entries of some rows.

    Attributes
    ----------
    blocks : sequence of (rows, columns)
        Eight rows each; the first stands for those that are missing.
    singles : sequence of (row, columns)
        Those with equally many columns one after the other.
    first : int
        Where the entries begin.
    """

    blocks: Sequence[tuple[Sequence[int], Sequence[int]]]
    singles: Sequence[tuple[int, Sequence[int]]]
    first: int

    @cached_property
    def block_entries(self) -> int:
        """Numbers in blocks."""
        return ROWS * sum(len(columns) for _, columns in self.blocks)

    @cached_property
    def end(self) -> int:
        """Where the entries end."""
        return self.first + self.block_entries + sum(len(columns) for _, columns in self.singles)

    @cached_property
    def places(self) -> Mapping[tuple[int, int], int]:
        """Where each entry (row, column) stands."""
        found, at = {}, self.first
        for rows, columns in self.blocks:
            for column in columns:
                found.update({(row, column): at + lane for lane, row in reversed(list(enumerate(rows)))})
                at += ROWS
        for row, columns in self.singles:
            for column in columns:
                found[row, column] = at
                at += 1
        return found

    @cached_property
    def block_of(self) -> Mapping[int, tuple[int, int]]:
        """Rows of blocks: which block, and which of its rows."""
        return {
            row: (number, lane)
            for number, (rows, _) in enumerate(self.blocks)
            for lane, row in reversed(list(enumerate(rows)))
        }


def layout(columns: Mapping[int, Set[int]], first: int) -> Layout:
    """A layout for rows with entries in some columns."""
    rows = sorted(columns, key=lambda row: (-len(columns[row]), row))
    blocks, singles = [], []
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        union = set().union(*[columns[row] for row in some])
        if BLOCK * len(union) < SINGLE * sum(len(columns[row]) for row in some):
            blocks.append((tuple(some + [some[0]] * (ROWS - len(some))), tuple(sorted(union))))
        else:
            singles += [(row, tuple(sorted(columns[row]))) for row in some]
    return Layout(blocks, singles, first)


@attrs.frozen
class RankOne:
    """Coefficients u_i v_j of all pairs of some rows and columns, but perhaps those of a component and itself.

    Attributes
    ----------
    rows, columns : sequence of int
    u, v : ndarray
    missing : ndarray
        For each row v of its own component, if that pair is missing, else 0.
    """

    rows: Sequence[int]
    columns: Sequence[int]
    u: np.ndarray
    v: np.ndarray
    missing: np.ndarray


def rank_one(rows: Sequence[int], columns: Sequence[int], coefficients: Sequence[float]) -> RankOne | None:
    """Coefficients of pairs as products, to rounding; None if they are none, or not of all pairs."""
    R, S = sorted(set(rows)), sorted(set(columns))
    row, column = {r: i for i, r in enumerate(R)}, {s: j for j, s in enumerate(S)}
    own = [(i, column[r]) for i, r in enumerate(R) if r in column]
    if (
        min(len(R), len(S)) < 3
        or len(rows) < len(R) * len(S) - len(own)
        or len(set(zip(rows, columns, strict=True))) < len(rows)
    ):
        return None
    C = np.full((len(R), len(S)), np.nan)
    C[[row[r] for r in rows], [column[s] for s in columns]] = coefficients
    lost = np.isnan(C)
    if lost.sum() != sum(lost[pair] for pair in own):
        return None
    pivot = int(np.argmin(lost.sum(1)))
    v = C[pivot].copy()
    for j in np.flatnonzero(np.isnan(v)):  # by another row in which it is not missing
        other = 0 if pivot else 1
        k = next(k for k in range(len(S)) if not (np.isnan(v[k]) or lost[other, k]))
        v[j] = C[other, j] * v[k] / C[other, k]
    if not np.all(v):
        return None
    ratios = np.where(lost, np.nan, C) / v
    u = np.array([ratio[~np.isnan(ratio)][0] for ratio in ratios])
    if not np.all(lost | (np.abs(C - np.outer(u, v)) <= 4 * np.finfo(float).eps * np.abs(C))):
        return None
    if np.ptp(v) == 0.0:
        u, v = u * v[0], np.ones_like(v)
    missing = np.zeros(len(R))
    for pair in own:
        if lost[pair]:
            missing[pair[0]] = v[pair[1]]
    return RankOne(R, S, u, v, missing)


@attrs.frozen
class Plan:
    """What of a network goes which way, and where its numbers stand in J.

    Attributes
    ----------
    network : Network
    means : mapping, place of terms -> RankOne
        Terms that are computed by sums over all components.
    layouts : (Layout, Layout)
        Entries of the Jacobian in rows of sums inside functions, and of equations.
    kept : mapping, (place of terms, number of product) -> (int, int)
        Where the factors of such sums stand: those of the equations, and those of the components.
    spare : int
        Where an entry goes that is nothing.
    entries : int
        Length of J.
    """

    network: Network
    means: Mapping[int, RankOne]
    layouts: tuple[Layout, Layout]
    kept: Mapping[tuple[int, int], tuple[int, int]]
    spare: int
    entries: int

    def means_of(self, inner: bool) -> list[tuple[int, Terms, RankOne]]:
        """The sums of one kind: place, terms and coefficients."""
        of = self.network.terms
        return [(place, of[place], mean) for place, mean in self.means.items() if of[place].inner == inner]


def plan(network: Network) -> Plan:
    """Decide what goes which way."""
    dim, size = network.dimension, network.dimension + network.sums
    means = {place: mean for place, terms in enumerate(network.terms) if (mean := _mean(terms))}
    inner: dict[int, set[int]] = {row: set() for row in range(dim, size)}
    outer: dict[int, set[int]] = {row: set() for row in range(dim)}
    for place, terms in enumerate(network.terms):
        filled, mean = inner if terms.inner else outer, means.get(place)
        for slot, components in zip(terms.slots, terms.components, strict=True):
            if mean is None or slot == HERE:
                for row, column in zip(terms.rows, components, strict=True):
                    filled[row].add(column)
            else:
                for row, lost in zip(mean.rows, mean.missing, strict=True):
                    filled[row].update([row] * bool(lost))
    first = layout(inner, 0)
    second = layout(outer, aligned(first.end))
    entries, kept = aligned(second.end + 1), {}
    for place, mean in means.items():
        for product in range(len(network.terms[place].factors)):
            kept[place, product] = entries, entries + aligned(len(mean.rows))
            entries += aligned(len(mean.rows)) + aligned(len(mean.columns))
    return Plan(network, means, (first, second), kept, second.end, entries)


def _mean(terms: Terms) -> RankOne | None:
    """Coefficients of rank one, where sums are quicker than the Jacobian."""
    if not terms.factors or terms.parameters or {name for name, _ in terms.numbers} - {COEFFICIENT}:
        return None
    rows, columns = len(set(terms.rows)), len(set(terms.components[-1]))
    if 3 * len(terms.factors) * (rows + columns) > rows * columns:
        return None
    return rank_one(terms.rows, terms.components[-1], dict(terms.numbers).get(COEFFICIENT, [1.0] * len(terms.rows)))
