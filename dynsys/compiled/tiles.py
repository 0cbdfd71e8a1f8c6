"""Many equations, above all lattices, on frames in tiles of 8 columns: the stages of a step, a loop over rows each.

The state goes through all stages first and leaves a Jacobian in each. Then tile after tile does: what a row of the
Jacobian gives goes at once into the next stage and into the sum of the step, so that a stage reads and writes a row of
a tile once. Equations that are one text for many components are loops, of a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from dynsys.compiled.equations import EquationSource, Run, aligned, indented, stage_time, stages, weights
from dynsys.compiled.kernel import StepSource
from dynsys.compiled.rates import rate_source
from dynsys.steppers.stepper import Tableau

AT_ONCE = 4  # rows of a loop

Row = Callable[[str, str], list[str]]
"""What becomes of a row of the Jacobian's product: statements, from the number of the row and a name or its value."""


@lru_cache(maxsize=64)
def tile_step(equations: EquationSource, tableau: Tableau | None) -> StepSource:
    """Steps of one trajectory."""
    rates = rate_source(equations)
    dim, entries, count = rates.dimension, aligned(rates.entries[0]), stages(tableau)
    room = 0

    def place(length: int) -> str:
        nonlocal room
        room += aligned(length)
        return f"_B[{room - aligned(length)} :]"

    lines = [*equations.unpack(), f"_y = {place(dim)}"]
    lines += [f"{name} = {place(size)}" for s in range(count) for name, size in ((f"_f{s}", dim), (f"_J{s}", entries))]
    lines += [f"{name} = as_vectors({place(8 * dim)})" for name in ("_Y0", "_Y1", "_A")]
    lines += [f"_F{s} = as_vectors({place(8 * dim)})" for s in range(count) if _kept(tableau, s)]
    step = ["_t = _t0 + _n * _dt", *_state(dim, tableau)]
    if entries or equations.fixed or any(run.fixed for run in equations.runs):
        step += ["for _b in _range((_k + 7) // 8):", f"    _C = _V[_b * {dim} :]"]
        step += indented([line for s in range(count) for line in _stage(equations, tableau, s)])
    lines += ["for _n in _range(_first, _first + _steps):", *indented(step)]
    return StepSource(rates.source + "\n\n" + "\n".join([SIGNATURE, *indented(lines)]) + "\n", room, "tiles")


SIGNATURE = """
def advance(_first: int, _steps: int, _t0: float, _dt: float, _x: states, _V: frame, _k: int, _p: numbers,
            _data: floats, _rows: floats, _sizes: ints, _own: ints, _B: floats):"""


def _kept(tableau: Tableau | None, s: int) -> bool:
    """Whether the slopes of a stage are read again after the next one."""
    return tableau is not None and any(tableau.a[r][s] for r in range(s + 2, len(tableau.b)))


def _state(dim: int, tableau: Tableau | None) -> list[str]:
    """The state through all stages."""
    lines = []
    for s in range(stages(tableau)):
        terms = _increments(weights(tableau, s), "_f{}[_i]")
        if terms:
            lines += [f"for _i in _range({dim}):", f"    _y[_i] = _x[_i]{terms}"]
        given = "_p, _data, _rows, _sizes, _B"
        lines += [f"rates({stage_time(tableau, s)}, {'_y' if terms else '_x'}, _f{s}, _J{s}, {given})"]
    step = f"_x[_i]{_increments(weights(tableau, None), '_f{}[_i]')}" if tableau else "_f0[_i]"
    return [*lines, f"for _i in _range({dim}):", f"    _x[_i] = {step}"]


def _increments(factors: Sequence[float], slope: str) -> str:
    return "".join(f" + (_dt * {w!r}) * {slope.format(r)}" for r, w in enumerate(factors) if w)


def _stage(equations: EquationSource, tableau: Tableau | None, s: int) -> list[str]:
    """A stage of the tile _C."""
    source = "_C" if not any(weights(tableau, s)) else f"_Y{s % 2}"
    last = s == stages(tableau) - 1
    dim = len(equations.state)

    def row(i: str, f: str) -> list[str]:
        if tableau is None:
            return [f"_A[{i}] = {f}"]
        summed = any(tableau.b[:s])
        lines = [f"_s = {'_A' if summed else '_C'}[{i}] + (_dt * {tableau.b[s]!r}) * {f}"] if tableau.b[s] else []
        if last:
            return [*(lines or [f"_s = _A[{i}]"]), f"{'_A' if source == '_C' else '_C'}[{i}] = _s"]
        lines += [f"_A[{i}] = _s"] if lines else []
        if _kept(tableau, s):
            lines += [f"_F{s}[{i}] = {f}"]
        factors = tableau.a[s + 1]
        terms = _increments(factors[:s], f"_F{{}}[{i}]")
        terms += f" + (_dt * {factors[s]!r}) * {f}" if factors[s] else ""
        return [*lines, f"_Y{(s + 1) % 2}[{i}] = _C[{i}]{terms}"] if any(factors) else lines

    lines = _rows(equations, source, f"_J{s}", row)
    if last and source == "_C":  # neighbours have read what was there
        lines += [f"for _i in _range({dim}):", "    _C[_i] = _A[_i]"]
    return lines


def _rows(equations: EquationSource, source: str, jacobian: str, row: Row) -> list[str]:
    """Loops over all rows of the Jacobian's product with what stands in `source`."""
    lines: list[str] = []
    begin = 0
    for run in equations.runs:
        whole = run.count // AT_ONCE * AT_ONCE
        for first, end, step in ((0, whole, AT_ONCE), (whole, run.count, 1)):
            if first < end:
                lines += [f"for _i in _range({first}, {end}, {step}):"]
                sites = ["_i", *(f"_i + {u}" for u in range(1, step))]
                lines += indented([f"_g{u} = {_product(run, begin, source, jacobian, i)}" for u, i in enumerate(sites)])
                lines += indented([line for u, i in enumerate(sites) for line in row(_place(run, 0, i), f"_g{u}")])
        begin += len(run.moving) * run.count
    terms: dict[int, list[str]] = {i: [] for i in equations.rows}
    for e, (i, j, _) in enumerate(equations.moving):
        terms[i].append(f"{jacobian}[{begin + e}] * {source}[{j}]")
    for i, j, factor in equations.fixed:
        terms[i].append(f"({factor}) * {source}[{j}]")
    for i, parts in terms.items():
        lines += [f"_g0 = {' + '.join(parts) or '0.0'}", *row(str(i), "_g0")]
    return lines


def _place(run: Run, place: int, site: str) -> str:
    """The component so many places after that of a run, at some site."""
    first = run.first + place
    return f"{first} + {run.step} * ({site})" if run.step > 1 else f"{first} + {site}"


def _product(run: Run, begin: int, source: str, jacobian: str, site: str) -> str:
    """A row of the Jacobian, the entries of which begin at some place, times what stands in `source`."""
    terms = [
        f"{jacobian}[{begin + slot * run.count} + {site}] * {source}[{_place(run, o, site)}]"
        for slot, (o, _) in enumerate(run.moving)
    ]
    terms += [f"({factor}) * {source}[{_place(run, o, site)}]" for o, factor in run.fixed]
    return " + ".join(terms) or "0.0"
