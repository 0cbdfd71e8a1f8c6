"""The stages of an explicit Runge-Kutta method, written out in the language of `dynsys.compiled.llvm.translate`.

State and tangent vectors pass through all stages apart: first the state, which leaves the Jacobian of every stage, then
one block of vectors after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from dynsys.steppers.stepper import Tableau, Written


@cache
def stages_written(tableau: Tableau) -> str:
    """The functions `state_stages` and `block_stages`.

    Room of the state, S: that after the step; the slopes; the Jacobians. Of vectors: W, those after the step; K and L,
    the first and the last slope, which may be kept; F, the others.
    """
    stages = len(tableau.b)
    first = ["if first == 0:", "    rates(t, x, f0, J0, p, data, rows, sizes, B)"]
    state = [f"f{s} = S[{1 + s} * _DIM :]" for s in range(stages)]
    state += [f"J{s} = S[{1 + stages} * _DIM + {s} * _ENTRIES :]" for s in range(stages)]
    block = [f"F{s} = F[{s - 1} * _DIM :]" for s in range(1, stages - 1)]
    block += ["F0 = K", *([f"F{stages - 1} = L"] if stages > 1 else [])]
    block += [f"J{s} = S[{1 + stages} * _DIM + {s} * _ENTRIES :]" for s in range(stages)]
    state += first
    block += ["if first == 0:", "    product(J0, V, F0, p, data, rows, sizes, B)"]
    for s in range(1, stages):
        state += _moved("S", "x", "f", tableau.a[s])
        state += [f"rates(t + {float(tableau.c[s])!r} * h, S, f{s}, J{s}, p, data, rows, sizes, B)"]
        block += _moved("W", "V", "F", tableau.a[s])
        block += [f"product(J{s}, W, F{s}, p, data, rows, sizes, B)"]
    if not tableau.last_is_first:  # else the last stage is the new state
        state += _moved("S", "x", "f", tableau.b)
        block += _moved("W", "V", "F", tableau.b)
    return (
        f"\n\n_STAGES = {stages}\n_LAST_IS_FIRST = {int(tableau.last_is_first)}\n"
        + _function("state_stages(t, h, first, x, S, p, data, rows, sizes, B)", state)
        + _function("block_stages(h, first, V, W, K, L, F, S, p, data, rows, sizes, B)", block)
    )


def combination(weights: Sequence[float], slope: str) -> str:
    """The weighted sum of slopes f0[i], f1[i], ..."""
    return " + ".join(f"{weight!r} * {slope}{s}[i]" for s, weight in enumerate(weights) if weight) or "0.0"


def _moved(to: str, since: str, slope: str, weights: Sequence[float]) -> list[str]:
    terms = "".join(f" + (h * {weight!r}) * {slope}{s}[i]" for s, weight in enumerate(weights) if weight)
    return ["for i in range(_DIM):", f"    {to}[i] = {since}[i]{terms}"]


def _function(signature: str, lines: Sequence[str]) -> str:
    return f"\n\ndef {signature}:\n" + "\n".join(f"    {line}" for line in lines) + "\n"


def stages_room(tableau: Tableau, dim: int, entries: int) -> int:
    """The length of S."""
    return dim * (1 + len(tableau.b)) + entries * len(tableau.b)


@cache
def tableau_written(tableau: Tableau) -> Written:
    """Steps of fixed length."""
    tableau = tableau.reduced

    def room(dim: int, entries: Sequence[int], blocks: int) -> tuple[int, int]:
        return stages_room(tableau, dim, entries[0]), dim * (len(tableau.b) + 3)

    return Written(stages_written(tableau) + MOVED, room, side_by_side=True)


MOVED = '''

def moved(n, steps, t0, dt, x, V, blocks, p, data, rows, sizes, B, S, F):
    """Steps of a Runge-Kutta method."""
    W, K, L = F[_STAGES * _DIM :], F[(1 + _STAGES) * _DIM :], F[(2 + _STAGES) * _DIM :]
    for m in range(n, n + steps):
        driven = rows[(m - n) * sizes[1] :]
        state_stages(t0 + m * dt, dt, 0, x, S, p, data, driven, sizes, B)
        for b in range(blocks):
            v = V[b * _DIM :]
            block_stages(dt, 0, v, W, K, L, F, S, p, data, driven, sizes, B)
            for i in range(_DIM):
                v[i] = W[i]
        for i in range(_DIM):
            x[i] = S[i]
'''
