"""Many equations for steppers that Numba compiles: loops over sites, one tangent column at a time.

Equations that are one text for many components (a `Run`) become one loop over them; the compiler vectorises it, since
all that a loop reads and writes stands at literal distances in one flat buffer: rows for the state or a column, for its
slopes, and for the entries of the Jacobian. Components are ordered so that those of a run stand side by side.
"""

from __future__ import annotations

import re
from functools import lru_cache

from dynsys.compiled.equations import (
    EquationSource,
    Run,
    aligned,
    compiled_function,
    indented,
)


@lru_cache(maxsize=64)
def lattice_linearise(equations: EquationSource) -> str:
    """The function `linearise` of `Kernel`: slopes and Jacobian, then its product with one column after the other."""
    row = aligned(len(equations.state))
    state, slope, jacobian = f"_B[:{row}]", f"_B[{row} : {2 * row}]", f"_B[{2 * row} : {lattice_scratch(equations)}]"
    lines = [*_copy(equations, "_B[{}] = _x[{}]"), f"rates(t, {state}, {slope}, {jacobian}, _p)"]
    lines += [*_copy(equations, f"_f[{{1}}] = _B[{row} + {{0}}]"), "for _k in _range(_V.shape[1]):"]
    lines += indented(_copy(equations, "_B[{}] = _V[{}, _k]"))
    lines += [f"    product({state}, {slope}, {jacobian}, _p)"]
    lines += indented(_copy(equations, f"_F[{{1}}, _k] = _B[{row} + {{0}}]"))
    linearise = compiled_function("linearise(t, _x, _V, _f, _F, _p, _data, _rows, _B)", lines)
    return _rates(equations, row) + _product(equations, row) + linearise


def lattice_scratch(equations: EquationSource) -> int:
    """The length of the work array of `lattice_linearise`."""
    row = aligned(len(equations.state))
    return 2 * row + aligned(_entries(equations, row))


def _entries(equations: EquationSource, row: int) -> int:
    """Room for the entries of the Jacobian of one stage: rows of those of runs, then single ones."""
    return max((len(run.moving) for run in equations.runs), default=0) * row + len(equations.moving)


def _place(equations: EquationSource, i: int) -> int:
    """Where component i stands in a row of the buffer."""
    step = _step(equations)
    return i % step * (len(equations.state) // step) + i // step


def _step(equations: EquationSource) -> int:
    return equations.runs[0].step if equations.runs else 1


def _copy(equations: EquationSource, statement: str) -> list[str]:
    """Copy between a row of the buffer and an array in the order of the state."""
    step = _step(equations)
    block = len(equations.state) // step
    if step == 1:
        return [f"for _i in _range({block}):", "    " + statement.format("_i", "_i")]
    inner = statement.format(f"_r * {block} + _i", f"_i * {step} + _r")
    return [f"for _r in _range({step}):", f"    for _i in _range({block}):", "        " + inner]


def _rates(equations: EquationSource, row: int) -> str:
    """Slopes _F and Jacobian _J at the state _X."""
    lines = equations.unpack()
    for run in equations.runs:
        at = _place(equations, run.first)
        lines += [f"for _i in _range({run.count}):"]
        lines += [f"    {name} = _X[{_place(equations, run.first + o)} + _i]" for name, o in run.neighbours]
        lines += indented(run.shared)
        lines += [f"    _F[{at} + _i] = {run.rule}"]
        lines += [f"    _J[{slot * row + at} + _i] = {source}" for slot, (_, source) in enumerate(run.moving)]
    texts = [*equations.shared, *equations.rule, *(source for _, _, source in equations.moving)]
    used = set(re.findall(r"\w+", " ".join(texts)))  # of a thousand names: each one costs the compiler time
    lines += [f"{name} = _X[{_place(equations, i)}]" for i, name in enumerate(equations.state) if name in used]
    lines += equations.shared
    lines += [f"_F[{_place(equations, i)}] = {rule}" for i, rule in zip(equations.rows, equations.rule, strict=True)]
    first = _entries(equations, row) - len(equations.moving)
    lines += [f"_J[{first + e}] = {source}" for e, (_, _, source) in enumerate(equations.moving)]
    return compiled_function("rates(t, _X, _F, _J, _p)", lines)


def _product(equations: EquationSource, row: int) -> str:
    """_F = Jacobian times the column _X."""
    lines = equations.unpack()
    for run in equations.runs:
        lines += [
            f"for _i in _range({run.count}):",
            f"    _F[{_place(equations, run.first)} + _i] = {_sum(equations, run, row)}",
        ]
    first = _entries(equations, row) - len(equations.moving)
    terms: dict[int, list[str]] = {i: [] for i in equations.rows}
    for e, (i, j, _) in enumerate(equations.moving):
        terms[i].append(f"_J[{first + e}] * _X[{_place(equations, j)}]")
    for i, j, source in equations.fixed:
        terms[i].append(f"({source}) * _X[{_place(equations, j)}]")
    lines += [f"_F[{_place(equations, i)}] = {' + '.join(parts) or '0.0'}" for i, parts in terms.items()]
    return compiled_function("product(_X, _F, _J, _p)", lines)


def _sum(equations: EquationSource, run: Run, row: int) -> str:
    at = _place(equations, run.first)
    parts = [
        f"_J[{slot * row + at} + _i] * _X[{_place(equations, run.first + o)} + _i]"
        for slot, (o, _) in enumerate(run.moving)
    ]
    parts += [f"({source}) * _X[{_place(equations, run.first + o)} + _i]" for o, source in run.fixed]
    return " + ".join(parts) or "0.0"
