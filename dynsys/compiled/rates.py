"""Equations for steppers that are written in the language of `llvm.translate`: slopes, and Jacobian times vectors.

A text defines, of all components or of each of some equal parts of them (`rates_0`, `product_0`, `rates_1`, ...),

    rates(t, x, f, J, p, data, rows, sizes, B)      f = slopes at the state x, and in J what `product` needs
    product(J, Y, F, p, data, rows, sizes, B)       F = Jacobian times the rows of Y, each a number or a vector

Equations that are one text for many components (a `Run`) are loops over them. Where only some components are asked
for, f and F are those of the part alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import attrs

from dynsys.compiled.equations import EquationSource, Run, indented
from dynsys.compiled.kernel import RateSource


@lru_cache(maxsize=64)
def rate_source(equations: EquationSource, parts: int = 1) -> RateSource:
    """Those of equations, of all components or of `parts` equal parts of them."""
    dim = len(equations.state)
    size, texts, entries = dim // parts, [], []
    for part in range(parts):
        own = _part(equations, range(part * size, (part + 1) * size))
        name = f"_{part}" if parts > 1 else ""
        texts += [_rates(own, name, part * size), _product(own, name, part * size)]
        entries.append(_room(own))
    return RateSource("".join(texts), dim, tuple(entries))


def _part(equations: EquationSource, wanted: range) -> EquationSource:
    """The same equations, of some components only."""
    runs = []
    for run in equations.runs:
        rows = [i for i in run.rows if i in wanted]
        if rows:
            runs.append(attrs.evolve(run, first=rows[0], count=len(rows)))
    kept = [(i, rule) for i, rule in zip(equations.rows, equations.rule, strict=True) if i in wanted]
    return attrs.evolve(
        equations,
        runs=tuple(runs),
        rows=tuple(i for i, _ in kept),
        rule=tuple(rule for _, rule in kept),
        moving=tuple(entry for entry in equations.moving if entry[0] in wanted),
        fixed=tuple(entry for entry in equations.fixed if entry[0] in wanted),
    )


def _room(equations: EquationSource) -> int:
    """Entries of the Jacobian that are kept: rows of those of runs, then single ones."""
    return sum(len(run.moving) * run.count for run in equations.runs) + len(equations.moving)


def _at(run: Run, place: int, first: int = 0) -> str:
    """The component so many places after that of a run."""
    return f"{run.first + place - first} + {run.step} * _i" if run.step > 1 else f"{run.first + place - first} + _i"


def _rates(equations: EquationSource, name: str, first: int) -> str:
    """Slopes _f and entries _J at the state _x."""
    texts = [*equations.shared, *equations.rule, *(source for _, _, source in equations.moving)]
    for run in equations.runs:
        texts += [*run.shared, run.rule, *(source for _, source in run.moving)]
    used = _names(texts)
    lines = [line for line in equations.unpack() if line.split(" = ")[0] in used]
    begin = 0
    for run in equations.runs:
        lines += [f"for _i in _range({run.count}):"]
        lines += [f"    {neighbour} = _x[{_at(run, place)}]" for neighbour, place in run.neighbours]
        lines += indented(run.shared)
        lines += [f"    _f[{_at(run, 0, first)}] = {run.rule}"]
        lines += [f"    _J[{begin + slot * run.count} + _i] = {source}" for slot, (_, source) in enumerate(run.moving)]
        begin += len(run.moving) * run.count
    used = _names([*equations.shared, *equations.rule, *(source for _, _, source in equations.moving)])
    lines += [f"{component} = _x[{i}]" for i, component in enumerate(equations.state) if component in used]
    lines += equations.shared
    lines += [f"_f[{i - first}] = {rule}" for i, rule in zip(equations.rows, equations.rule, strict=True)]
    lines += [f"_J[{begin + e}] = {source}" for e, (_, _, source) in enumerate(equations.moving)]
    return _function(f"rates{name}(t, _x, _f, _J, _p, _data, _rows, _sizes, _B)", lines)


def _product(equations: EquationSource, name: str, first: int) -> str:
    """_F = Jacobian times _Y."""
    fixed = [source for _, _, source in equations.fixed]
    fixed += [source for run in equations.runs for _, source in run.fixed]
    used = _names(fixed)
    lines = [line for line in equations.unpack() if line.split(" = ")[0] in used]
    begin = 0
    for run in equations.runs:
        parts = [
            f"_J[{begin + slot * run.count} + _i] * _Y[{_at(run, place)}]" for slot, (place, _) in enumerate(run.moving)
        ]
        parts += [f"({source}) * _Y[{_at(run, place)}]" for place, source in run.fixed]
        lines += [f"for _i in _range({run.count}):", f"    _F[{_at(run, 0, first)}] = {' + '.join(parts) or '0.0'}"]
        begin += len(run.moving) * run.count
    terms: dict[int, list[str]] = {i: [] for i in equations.rows}
    for e, (i, j, _) in enumerate(equations.moving):
        terms[i].append(f"_J[{begin + e}] * _Y[{j}]")
    for i, j, source in equations.fixed:
        terms[i].append(f"({source}) * _Y[{j}]")
    lines += [f"_F[{i - first}] = {' + '.join(parts) or '0.0'}" for i, parts in terms.items()]
    return _function(f"product{name}(_J, _Y, _F, _p, _data, _rows, _sizes, _B)", lines)


def _names(texts: Sequence[str]) -> set[str]:
    """Names that stand in some texts: of a thousand, each one that is read costs the compiler time."""
    return set(re.findall(r"\w+", " ".join(texts)))


def _function(signature: str, lines: Sequence[str]) -> str:
    return f"\n\ndef {signature}:\n" + "\n".join(indented(lines or ["pass"])) + "\n"
