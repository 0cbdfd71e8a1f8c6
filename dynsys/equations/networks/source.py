"""A network as source for NumPy: functions of all terms of one form at once.

Coefficients stand in matrices where a term is a sum of products of functions of one component; other terms are computed
side by side, and added up equation by equation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dynsys.compiled.networks.network import COEFFICIENT, HERE, Network, Terms
from dynsys.equations.definition import FLOATING, TIME, numpy_source

MATRIX = 2  # terms for each component, from which on their coefficients stand in a matrix
SPARSE = 8  # the Jacobian is multiplied as a sparse one if that part of it or less is not zero


def numpy_network(network: Network) -> str:
    """The functions `rule`, over leading axes, `jacobian` and `jvp`, at one state."""
    return _Writer(network).written()


class _Writer:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.size = network.dimension + network.sums
        self.constants: list[str] = []

    def written(self) -> str:
        network, dim = self.network, self.network.dimension
        head = [FLOATING, TIME, *(f"{name} = np.float64(_p[{i}])" for i, name in enumerate(network.parameters))]
        head += network.constants
        text = ""
        if network.sums:
            zeros = f"np.zeros((*_u.shape[:-1], {network.sums}), _u.dtype)"
            lines = [*head, f"_u = np.concatenate([_u, {zeros}], -1)", "_f = np.zeros_like(_u)", *self.sites(False)]
            lines += self.all(self.rule, True)
            text = numpy_source("_with_sums(t, _u, _p)", [*lines, f"_u[..., {dim}:] = _f[..., {dim}:]", "return _u"])
            head.append("_u = _with_sums(t, _u, _p)")
        head += [*self.sites(False), *self.sites(True)]
        result = f"_f[..., :{dim}]" if network.sums else "_f"
        rule = [*head, "_f = np.zeros_like(_u)", *self.all(self.rule, False), f"return {result}"]
        slopes = [
            *head,
            "_entries = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]",
            *self.all(self.slopes, True),
            *self.all(self.slopes, False),
        ]
        slopes += ["return map(np.concatenate, zip(*_entries))"]
        filled = sum(len(terms.rows) * len(terms.slots) for terms in network.terms)
        text += numpy_source("rule(t, _u, _p)", rule) + numpy_source("_slopes(t, _u, _p)", slopes)
        text += numpy_source("jacobian(t, _u, _p)", self.jacobian())
        if SPARSE * filled <= self.size**2:
            text += numpy_source("jvp(t, _u, _V, _p)", self.jvp())
        return "\n".join([*self.constants, "", "", text])

    def all(self, statements: Callable[[int, Terms], Iterator[str]], inner: bool) -> list[str]:
        """Statements for all terms, of sums or of equations."""
        chosen = [(number, terms) for number, terms in enumerate(self.network.terms) if terms.inner == inner]
        return [line for number, terms in chosen for line in statements(number, terms)]

    def sites(self, sums: bool) -> Iterator[str]:
        """Functions of one component: of sums, or of those of the state."""
        for number, sites in enumerate(self.network.sites):
            if (sites.components[0] >= self.network.dimension) == sums:
                at = self.listed(f"_at{number}", sites.components)
                yield f"{HERE} = _u[..., {at}]"
                yield from sites.shared
                for name, source in zip(sites.names, sites.sources, strict=True):
                    yield f"{name} = np.zeros_like(_u)"
                    yield f"{name}[..., {at}] = {source}"

    def own(self, number: int, terms: Terms, texts: Sequence[str]) -> Iterator[str]:
        """Statements that give what stands in some texts its name, with one entry for each term."""
        used = {name for text in texts for name in re.findall(r"\w+", text)}
        for slot, components in zip(terms.slots, terms.components, strict=True):
            names = [name for name in sorted(used) if name == slot or name.endswith(slot)]
            for name in names:
                at = self.listed(f"_at{number}{slot}", components)
                yield f"{name} = {'_u' if name == slot else name.removesuffix(slot)}[..., {at}]"
        for name, values in terms.numbers:
            if name in used:
                yield f"{name} = {self.listed(f'{name}_{number}', values)}"
        for name, indices in terms.parameters:
            if name in used:
                yield f"{name} = np.asarray(_p)[{self.listed(f'{name}_{number}', indices)}]"

    def rule(self, number: int, terms: Terms) -> Iterator[str]:
        dim = self.size
        if terms.factors and len(terms.rows) > MATRIX * dim:
            there = self.listed(f"_at{number}{terms.slots[-1]}", terms.components[-1])
            coefficients = dict(terms.numbers).get(COEFFICIENT, [1.0] * len(terms.rows))
            self.constants.append(f"_C{number} = np.zeros(({dim}, {dim}))")
            at = self.listed(f"_row{number}", terms.rows)
            self.constants.append(f"np.add.at(_C{number}, ({at}, {there}), {self.listed('', coefficients)})")
            for factors in terms.factors:
                here, there = (self.everywhere(terms, text) for text in (factors.here, factors.there))
                yield f"_f += ({here}) * ((({there}) * np.ones({dim})) @ _C{number}.T)"
            return
        *first, alone = terms.alone
        yield from self.own(number, terms, terms.alone)
        yield from first
        rows = np.array(terms.rows)
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        if len(starts) == len(rows):
            yield f"_f[..., {self.listed(f'_row{number}', terms.rows)}] += {alone}"
            return
        target, at = (self.listed(f"_{what}{number}", of) for what, of in (("rows", rows[starts]), ("first", starts)))
        value = f"np.broadcast_to({alone}, (*_u.shape[:-1], {len(rows)}))"
        yield f"_f[..., {target}] += np.add.reduceat({value}, {at}, -1)"

    def everywhere(self, terms: Terms, text: str) -> str:
        """A factor for all components."""

        def whole(found: re.Match[str]) -> str:
            for slot in terms.slots:
                if found[0] == slot:
                    return "_u"
                if found[0].endswith(slot):
                    return found[0].removesuffix(slot)
            return found[0]

        return re.sub(r"[^\W\d]\w*", whole, text)

    def slopes(self, number: int, terms: Terms) -> Iterator[str]:
        """Statements that write entries of the Jacobian: rows, columns and values of all terms, one below the other."""
        yield from self.own(number, terms, [*terms.shared, *terms.slopes])
        yield from terms.shared
        rows = self.listed(f"_row{number}", terms.rows)
        for slot, components, slope in zip(terms.slots, terms.components, terms.slopes, strict=True):
            at = self.listed(f"_at{number}{slot}", components)
            yield f"_entries.append(({rows}, {at}, np.broadcast_to({slope}, {len(components)})))"

    def jacobian(self) -> list[str]:
        dim, size = self.network.dimension, self.size
        lines = [FLOATING, f"_J = np.zeros(({size}, {size}), _u.dtype)", "_i, _j, _slope = _slopes(t, _u, _p)"]
        lines += ["np.add.at(_J, (_i, _j), _slope)"]
        if self.network.sums:
            return [*lines, f"return _J[:{dim}, :{dim}] + _J[:{dim}, {dim}:] @ _J[{dim}:, :{dim}]"]
        return [*lines, "return _J"]

    def jvp(self) -> list[str]:
        dim, size = self.network.dimension, self.size
        lines = ["from scipy.sparse import csr_array", "_i, _j, _slope = _slopes(t, _u, _p)", "_V = np.asarray(_V)"]
        lines += [f"_J = csr_array((_slope, (_i, _j)), shape=({size}, {size}))"]
        if self.network.sums:
            return [*lines, f"return _J[:{dim}, :{dim}] @ _V + _J[:{dim}, {dim}:] @ (_J[{dim}:, :{dim}] @ _V)"]
        return [*lines, "return _J @ _V"]

    def listed(self, name: str, values: Any) -> str:
        """The name of an array that stands before all functions, or what it is if that is short."""
        of = np.asarray(values)
        if len(of) > 1 and np.ptp(of) == 0:
            text = f"np.full({len(of)}, {of[0].item()!r})"
        elif of.dtype.kind == "i" and np.array_equal(of, np.arange(of[0], of[0] + len(of))):
            text = f"np.arange({of[0]}, {of[0] + len(of)})"
        else:
            text = f"np.array({of.tolist()!r})"
        line = f"{name} = {text}"
        if name and line not in self.constants:
            self.constants.append(line)
        return name or text
