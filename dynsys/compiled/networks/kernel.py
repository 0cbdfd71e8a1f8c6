"""Networks for the compiler: loops over terms, with components and coefficients from tables.

`rates` computes functions of one component once for each, then the terms: those of pairs of components in blocks of
eight equations, others one after the other. Where coefficients are of rank one, as in a mean field, a term

    u_i a(x_i) sum_j v_j b(x_j)

is computed by its sum, and so is its product with vectors: no Jacobian of it is formed. `product` multiplies vectors by
what `rates` has left in J. How long the source is depends on the number of forms alone, and tables are constants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dynsys.compiled.equations import indented
from dynsys.compiled.networks.network import HERE, Network, Terms
from dynsys.compiled.networks.pairs import blocks, mean_field, split
from dynsys.compiled.networks.product import Product
from dynsys.compiled.networks.room import Room, among
from dynsys.compiled.networks.tables import Data
from dynsys.compiled.staged import StagedSource, function

RANGES = 4  # of J that are cleared one by one


class NetworkSource:
    """Writes the functions of a network.

    Parameters
    ----------
    network : Network
    data : Data
        Where its numbers go.
    vectors : bool
        Whether blocks are written in vectors of 8; else for Numba, number by number.
    """

    def __init__(self, network: Network, data: Data, vectors: bool) -> None:
        self.network, self.room, self.functions = network, Room.of(network, data, vectors), list[str]()
        self.plan, self.tables, self.data = self.room.plan, self.room.tables, data
        self.dim, self.size = network.dimension, network.dimension + network.sums
        self.split = {n: split(self.plan, terms) for n, terms in enumerate(network.terms) if n not in self.plan.means}
        self.once, self.clear = self._written_once()

    def written(self) -> StagedSource:
        """All functions."""
        rates, alone = self._rates(False), self._rates(True)
        product = Product(self.room)
        tile, column = list(product.tile()), list(product.column())
        before = "\n".join([*self.tables.constants, ""]) + "".join(self.functions)
        return StagedSource(self.dim, self.plan.entries, self.room.scratch, before, rates, alone, tile, column)

    def _rates(self, alone: bool) -> list[str]:
        """Statements of `rates`, which call a function for every part: names in it are its own."""
        calls = []
        for lines, inner, first in self._parts(alone):
            head = f"_part{len(self.functions)}(t, _p, _data, _f, _J, _B)"
            self.functions.append(function(head, self._with_names(lines)))
            calls.append((not inner, not first, head.replace("(t,", "(_t,")))
        before = [f"for _i in _range({self.dim}):", "    _B[_i] = _x[_i]", "    _f[_i] = 0.0"]
        if self.network.sums:
            before += [f"for _i in _range({self.dim}, {self.size}):", "    _B[_i] = 0.0"]
        if not alone:
            ranges = self.clear if len(self.clear) <= RANGES else [range(self.plan.spare + 1)]
            before += [line for r in ranges for line in (f"for _i in _range({r.start}, {r.stop}):", "    _J[_i] = 0.0")]
        return [*before, *(head for _, _, head in sorted(calls, key=lambda call: call[:2]))]

    def _parts(self, alone: bool) -> Iterator[tuple[list[str], bool, bool]]:
        """Loops, whether they come before the sums are known, and whether they are of functions of one component."""
        for sites in self.network.sites:
            yield self._sites(sites), sites.components[0] < self.dim, True
        single: dict[tuple[Any, ...], list[str]] = {}  # terms of the same equations, one of each: one loop
        for number, terms in enumerate(self.network.terms):
            mean = self.plan.means.get(number)
            if mean is not None:
                yield mean_field(self.room, number, terms, mean, alone), terms.inner, False
                continue
            full, rest = self.split[number]
            if full:
                yield blocks(self.room, terms, full, alone), terms.inner, False
            if rest:
                rows = tuple([terms.rows[e] for e in rest])
                once = len(set(rows)) == len(rows)
                body = self._list(number, terms, rest, alone)
                single.setdefault((terms.inner, rows, once or number), []).extend(body)
        for (inner, rows, _), body in single.items():
            yield (
                [f"for _e in _range({len(rows)}):", f"    _row = {self.tables.entry(rows, '_e')}", *body],
                inner,
                False,
            )

    def _written_once(self) -> tuple[set[tuple[int, int]], list[range]]:
        """Terms and slots whose entries of J no others write, and where J has to be 0 before others are added up."""
        writers = np.zeros(self.plan.spare + 1, dtype=int)
        places: dict[tuple[int, int], list[int]] = {}
        for number, (_, rest) in self.split.items():
            terms = self.network.terms[number]
            where = self.plan.layouts[not terms.inner].places
            for slot, components in enumerate(terms.components):
                at = places[number, slot] = [where[terms.rows[e], components[e]] for e in rest]
                np.add.at(writers, at, 1)
                others = set(range(len(terms.rows))).difference(rest)
                writers[[where[terms.rows[e], components[e]] for e in others]] += 2
        for number, mean in self.plan.means.items():
            where = self.plan.layouts[not self.network.terms[number].inner].places
            writers[[where[row, row] for row in mean.rows if (row, row) in where]] += 2
        once = {key for key, at in places.items() if at and np.all(writers[at] == 1)}
        clear = np.ones(len(writers), dtype=bool)
        for key in once:
            clear[places[key]] = False
        edges = np.flatnonzero(np.diff(np.concatenate([[0], clear, [0]]).astype(int))).reshape(-1, 2)
        return once, [range(first, last) for first, last in edges.tolist()]

    def _with_names(self, lines: Sequence[str]) -> list[str]:
        """Statements after those of the parameters and constants that they use."""
        text = "\n".join(lines)
        constants: list[str] = []
        for line in reversed(self.network.constants):
            if re.search(rf"\b{line.split(' = ')[0]}\b", text):
                constants.insert(0, line)
                text += "\n" + line
        used = set(re.findall(r"\w+", text))
        return [
            *(f"{name} = _p[{i}]" for i, name in enumerate(self.network.parameters) if name in used),
            *constants,
            *lines,
        ]

    # rates

    def _sites(self, sites: Any) -> list[str]:
        body = [f"_at = {self.tables.entry(sites.components, '_i')}", f"{HERE} = _B[_at]", *sites.shared]
        body += [f"_B[{self.room.at[name]} + _at] = {s}" for name, s in zip(sites.names, sites.sources, strict=True)]
        return [f"for _i in _range({len(sites.components)}):", *indented(body)]

    def _list(self, number: int, terms: Terms, order: Sequence[int], alone: bool) -> list[str]:
        """The body of a loop over terms one after the other."""
        texts = list(terms.alone) if alone else [*terms.shared, terms.value, *terms.slopes]
        body = []
        for s, (slot, components) in enumerate(zip(terms.slots, terms.components, strict=True)):
            at = "_row" if slot == HERE else f"_i{s}"
            if slot != HERE:
                body += [f"{at} = {self.tables.entry([components[e] for e in order], '_e')}"]
            body += [f"{name} = {place}" for name, place in self.room.names(texts, slot, at)]
        body += [
            f"{n} = _data[{self.data.at([v[e] for e in order])} + _e]" for n, v in terms.numbers if among(n, texts)
        ]
        for name, indices in terms.parameters:
            if among(name, texts):
                body += [f"{name} = _p[{self.tables.entry([indices[e] for e in order], '_e')}]"]
        target = "_B" if terms.inner else "_f"
        *first, value = terms.alone if alone else [*terms.shared, terms.value]
        body += [*first, f"{target}[_row] = {target}[_row] + ({value})"]
        if not alone:
            where = self.plan.layouts[not terms.inner].places
            for s, (components, slope) in enumerate(zip(terms.components, terms.slopes, strict=True)):
                at = self.tables.entry([where[terms.rows[e], components[e]] for e in order], "_e")
                added = slope if (number, s) in self.once else f"_J[_j] + ({slope})"
                body += [f"_j = {at}", f"_J[_j] = {added}"]
        return indented(body)
