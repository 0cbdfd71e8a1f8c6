"""A step by a Butcher tableau (or of a map) from `rates` and `product`, with the frame in tiles of 8 columns.

    rates(t, x, f, J, p, data, rows, sizes, B)       slopes f at a state, and in J what `product` needs
    product(J, Y, F, p, data, rows, sizes, B)        F = Jacobian times a tile Y
    column(J, y, f, p, data, rows, sizes, B)         f = Jacobian times a single column y

The state goes through all stages first and leaves a J in each; then tile after tile does, while it is in the cache. The
few columns of a tile that is nearly empty go alone, in vectors of eight of their components.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import attrs

from dynsys.compiled.equations import aligned, indented, stage_time, stages, weights
from dynsys.compiled.kernel import RateSource, StepSource
from dynsys.steppers.stepper import Tableau

TILE = 8
FEW = 2  # columns of a tile


@attrs.frozen(cache_hash=True)
class StagedSource:
    """Equations and their Jacobian, for frames in tiles.

    Attributes
    ----------
    dimension, entries, scratch : int
        Numbers of components, of what stands in J, and in the work array that the functions share.
    before : str
        Source of what they call, and tables.
    rates, alone : sequence of str
        Statements of `rates`, and of the same without J, where the state moves alone.
    product, column : sequence of str
        Statements of `product` and `column`.
    """

    dimension: int
    entries: int
    scratch: int
    before: str
    rates: Sequence[str]
    alone: Sequence[str]
    product: Sequence[str]
    column: Sequence[str]

    def functions(self, alone: bool) -> str:
        """Source of `rates` and `product`."""
        given = "_p, _data, _rows, _sizes, _B"
        source = self.before + function(f"rates(_t, _x, _f, _J, {given})", self.alone if alone else self.rates)
        return source + function(f"product(_J, _Y, _F, {given})", [] if alone else self.product)  # steppers call it

    def equations(self, parts: int, k: int) -> RateSource | None:
        """For steppers that are written out; those that move parts of the components apart have none."""
        if parts > 1:
            return None
        entries = self.entries if k else 0
        return RateSource(self.functions(not k), self.dimension, (aligned(entries),), self.scratch, tiles=True)


def function(head: str, lines: Sequence[str]) -> str:
    """Source of a function with these statements."""
    return f"\n\ndef {head}:\n" + "\n".join(indented(lines or ["pass"])) + "\n"


def numba_linearise(source: StagedSource) -> tuple[str, int]:
    """The function `linearise` of `dynsys.compiled.kernel.Kernel`, and the length of its work array.

    `source` is without explicit vectors: its `product` takes columns, too.
    """
    room, whole = source.scratch, source.scratch + source.entries
    jacobian, given = f"_B[{room} : {whole}]", f"_p, _data[0], _rows, _rows, _B[:{room}]"
    lines = [f"rates(t, _x, _f, {jacobian}, {given})", "for _k in range(_V.shape[1]):"]
    lines += [f"    product({jacobian}, _V[:, _k], _F[:, _k], {given})"]
    text = source.functions(False)
    text += function("linearise(t, _x, _V, _f, _F, _p, _data, _rows, _B)", lines)
    return text.replace("\ndef ", "\n@njit\ndef "), whole


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def staged_step(source: StagedSource, tableau: Tableau | None, alone: bool) -> StepSource:
    """Steps of one trajectory by a tableau, or (None) of a map; `alone`: the state without vectors."""
    dim, count, row = source.dimension, stages(tableau), aligned(source.dimension)
    entries = 0 if alone else aligned(source.entries)
    room = aligned(source.scratch)
    given = "_p, _data, _rows[(_n - _first) * _sizes[1] :], _sizes, _B"

    def place(length: int) -> int:
        nonlocal room
        room += length
        return room - length

    def moved(new: str, old: str, s: int | None, of: str) -> list[str]:
        """A stage, or (None) a step: what it began with and its increments."""
        terms = "".join(f" + (_dt * {w!r}) * {of}{r}[_i]" for r, w in enumerate(weights(tableau, s)) if w)
        return [f"for _i in range({dim}):", f"    {new}[_i] = {old}[_i]{terms}"]

    def through(call: str, start: str, stage: str, slope: str) -> list[str]:
        """All stages, and the step."""
        lines = []
        for s in range(count):
            begins = not any(weights(tableau, s))
            lines += [] if begins else moved(stage, start, s, slope)
            of = start if begins else stage
            time = (
                f"{stage_time(tableau, s)}, {of}, {slope}{s}, _J{s}" if call == "rates" else f"_J{s}, {of}, {slope}{s}"
            )
            lines += [f"{call}({time}, {given})"]
        return lines + moved(start, start if tableau else f"{slope}0", None, slope)

    lines = [f"_f{s} = _B[{place(row)}:]" for s in range(count)] + [f"_y = _B[{place(row)}:]"]
    lines += [f"_J{s} = _B[{place(entries)}:]" for s in range(count)]
    step = ["_t = _t0 + _n * _dt", *through("rates", "_x", "_y", "_f")]
    if not alone:
        lines += [f"_F{s} = as_vectors(_B[{place(TILE * dim)}:])" for s in range(count)]
        lines += [f"_Y = as_vectors(_B[{place(TILE * dim)}:])", f"_v = _B[{place(row)}:]"]
        at = f"_K[{TILE} * (_b * {dim} + _i) + _c]"
        column = [
            "_K = as_floats(_V)",
            f"for _i in range({dim}):",
            f"    _v[_i] = {at}",
            *through("column", "_v", "_y", "_f"),
            f"for _i in range({dim}):",
            f"    {at} = _v[_i]",
        ]
        step += [f"for _b in range((_k + {TILE - 1}) // {TILE}):", f"    if _k - {TILE} * _b > {FEW}:"]
        step += indented(indented([f"_C = _V[_b * {dim} :]", *through("product", "_C", "_Y", "_F")]))
        step += ["    else:", f"        for _c in range(_k - {TILE} * _b):", *indented(indented(indented(column)))]
    lines += ["for _n in range(_first, _first + _steps):", *indented(step)]
    given = "_p, _data, _rows, _sizes, _B"
    own = source.functions(alone) + ("" if alone else function(f"column(_J, _y, _f, {given})", source.column))
    return StepSource("\n".join([own, SIGNATURE, *indented(lines)]) + "\n", room, "tiles")


SIGNATURE = """
def advance(_first: int, _steps: int, _t0: float, _dt: float, _x: floats, _V: frame, _k: int, _p: numbers,
            _data: floats, _rows: floats, _sizes: ints, _own: ints, _B: floats):"""
