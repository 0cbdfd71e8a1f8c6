"""The product of a network's Jacobian with tangent vectors: blocks of rows, single rows, and sums for mean fields."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from dynsys.compiled.networks.layout import ROWS, Layout, Plan
from dynsys.compiled.networks.room import Room
from dynsys.compiled.networks.tables import Tables

PARTS = 4  # sums side by side in a long one, each of which waits for the one before
STRAIGHT = 8  # entries of a row that are written one after the other


@attrs.frozen
class Product:
    """Writes the product.

    Attributes
    ----------
    room : Room
    """

    room: Room

    @property
    def plan(self) -> Plan:
        """Where the entries stand."""
        return self.room.plan

    @property
    def tables(self) -> Tables:
        """Tables of components."""
        return self.room.tables

    def tile(self) -> Iterator[str]:
        """Statements of `product`."""
        sums = f"like(_B[{self.room.sums}:], _Y)" if self.room.vectors else f"_B[{self.room.sums}:]"
        yield from self._all("_Y", "_F", sums, False)

    def column(self) -> Iterator[str]:
        """Statements of `column`: eight rows of a block side by side."""
        if self.room.vectors:
            yield f"_L = as_vectors(_B[{self.room.lanes}:])"
            yield from self._all("_y", "_f", f"_B[{self.room.sums}:]", True)

    def _all(self, frame: str, target: str, sums: str, lanes: bool) -> Iterator[str]:
        network, (inner, outer) = self.plan.network, self.plan.layouts
        if network.sums:
            yield f"_G = {sums}"
            yield from self._rows(inner, frame, "_G", network.dimension, lanes)
        yield from self._rows(outer, frame, target, 0, lanes)

    def _rows(self, at: Layout, frame: str, target: str, shift: int, lanes: bool) -> Iterator[str]:
        """All rows of a layout; the first of them stands at `shift`."""
        start: list[str] = []
        later, count = [], 0
        for number, terms, mean in self.plan.means_of(shift > 0):
            sums = []
            for m in range(len(terms.factors)):
                a, b = self.plan.kept[number, m]
                yield from self._sum(f"_z{count}", mean.columns, b, frame)
                sums.append((f"_z{count}", a))
                count += 1
            if list(mean.rows) == list(range(self.plan.network.dimension)):
                start += [f"_J[{a} + _row] * {z}" for z, a in sums]
            else:
                later.append((mean, sums))
        begin = " + ".join(start) or "0.0"
        if at.blocks:
            yield from (self._lanes if lanes else self._blocks)(at, frame, target, shift, begin)
        yield from self._singles(at, frame, target, shift, begin)
        for mean, sums in later:
            yield f"for _e in _range({len(mean.rows)}):"
            yield f"    _row = {self.tables.entry([row - shift for row in mean.rows], '_e')}"
            yield f"    {target}[_row] = {target}[_row] + " + " + ".join(f"_J[{a} + _e] * {z}" for z, a in sums)

    def _sum(self, name: str, columns: Sequence[int], at: int, frame: str) -> Iterator[str]:
        """The sum over some components of numbers in J times vectors."""
        dim, whole = self.plan.network.dimension, len(columns) // PARTS * PARTS
        parts = [f"{name}_{i}" for i in range(PARTS)]
        yield from (f"{part} = 0.0" for part in parts)
        for first, last, step in ((0, whole, PARTS), (whole, len(columns), 1)):
            if first < last:
                yield f"for _e in _range({first}, {last}, {step}):"
                for i in range(step):
                    place = f"_e + {i}" if i else "_e"
                    index = self.tables.entry([c - dim if c >= dim else c for c in columns], place)
                    of = "_G" if columns[0] >= dim else frame
                    yield f"    {parts[i]} = {parts[i]} + _J[{at} + {place}] * {of}[{index}]"
        yield f"{name} = " + " + ".join(parts)

    def _ranges(self, lists: Sequence[Sequence[int]], frame: str) -> Iterator[tuple[str, str, str, str]]:
        """For components of the state, then of sums: where they begin and end, an index, and what is read."""
        dim, flat = self.plan.network.dimension, [column for columns in lists for column in columns]
        if not flat:
            return
        ends = np.cumsum([0, *map(len, lists)]).tolist()
        middle = [end + sum(c < dim for c in columns) for end, columns in zip(ends, lists, strict=False)]
        sums = max(flat) >= dim
        for first, last, of in ((ends[:-1], middle, frame), (middle, ends[1:], "_G"))[: 1 + sums]:
            if first != last:
                shown = [c - dim if c >= dim else c for c in flat]
                yield self.tables.entry(first, "_g"), self.tables.entry(last, "_g"), self.tables.entry(shown, "_e"), of

    def _blocks(self, at: Layout, frame: str, target: str, shift: int, begin: str) -> Iterator[str]:
        """Blocks of eight rows times a tile."""
        rows = [row - shift for rows, _ in at.blocks for row in rows]
        yield f"for _g in _range({len(at.blocks)}):"
        for lane in range(ROWS):
            if begin != "0.0":
                yield f"    _row = {self.tables.entry(rows, f'{ROWS} * _g + {lane}')}"
            yield f"    _a{lane} = {begin}"
        for first, last, index, of in self._ranges([columns for _, columns in at.blocks], frame):
            yield f"    for _e in _range({first}, {last}):"
            yield f"        _x = {of}[{index}]"
            for lane in range(ROWS):
                yield f"        _a{lane} = _a{lane} + _J[{at.first + lane} + {ROWS} * _e] * _x"
        for lane in reversed(range(ROWS)):  # the first stands for those that are missing
            yield f"    {target}[{self.tables.entry(rows, f'{ROWS} * _g + {lane}')}] = _a{lane}"

    def _lanes(self, at: Layout, frame: str, target: str, shift: int, begin: str) -> Iterator[str]:
        """Blocks of eight rows times a column."""
        rows = [row - shift for rows, _ in at.blocks for row in rows]
        yield f"_M = as_vectors(_J[{at.first}:])"
        yield f"for _g in _range({len(at.blocks)}):"
        yield "    _s = splat(0.0)"
        for first, last, index, of in self._ranges([columns for _, columns in at.blocks], frame):
            yield f"    for _e in _range({first}, {last}):"
            yield f"        _s = _s + _M[_e] * {of}[{index}]"
        yield "    _L[0] = _s"
        yield f"    for _l in _range({ROWS}):"
        yield f"        _row = {self.tables.entry(rows, f'{ROWS} * _g + ({ROWS - 1} - _l)')}"
        yield f"        {target}[_row] = {begin} + _B[{self.room.lanes + ROWS - 1} - _l]"

    def _singles(self, at: Layout, frame: str, target: str, shift: int, begin: str) -> Iterator[str]:
        """Single rows; those with equally many entries in one loop, without an inner one if they are few."""
        base, dim = at.first + at.block_entries, self.plan.network.dimension

        def kind(single: tuple[int, Sequence[int]]) -> int:
            columns = single[1]
            return len(columns) if len(columns) <= STRAIGHT and max(columns, default=0) < dim else -1

        for count, group in itertools.groupby(at.singles, kind):
            alike = list(group)
            flat = [column for _, columns in alike for column in columns]
            yield f"for _g in _range({len(alike)}):"
            yield f"    _row = {self.tables.entry([row - shift for row, _ in alike], '_g')}"
            if count < 0:
                yield f"    _a = {begin}"
                for first, last, index, of in self._ranges([columns for _, columns in alike], frame):
                    yield f"    for _e in _range({first}, {last}):"
                    yield f"        _a = _a + _J[{base} + _e] * {of}[{index}]"
                yield f"    {target}[_row] = _a"
            else:
                places = [f"{count} * _g + {i}" for i in range(count)]
                terms = [f"_J[{base} + {p}] * {frame}[{self.tables.entry(flat, p)}]" for p in places]
                yield f"    {target}[_row] = " + " + ".join([begin, *terms] if begin != "0.0" or not terms else terms)
            base += len(flat)
