"""The substeps of an `EmbeddedPair` as source: for functions by Numba, and for equations that are written out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from dynsys.steppers.runge_kutta import stage_source
from dynsys.steppers.stages import combination, stages_room, stages_written
from dynsys.steppers.stepper import Tableau, Written

SAFETY, SHRINK, GROW = 0.9, 0.1, 5.0  # of the next length: a share of what the error allows, within these factors
SMALLEST = 1e-9  # an error below it allows no more than this one
SHORTEST = 16 * np.finfo(float).eps  # of a substep, as a share of dt: below it dt is lost in rounding


@cache  # every call of a pass asks
def pair_source(tableau: Tableau, errors: tuple[tuple[float, ...], ...], order: int, most: int) -> str:
    """A step of adapted substeps as source for Numba."""
    second = errors[1] if len(errors) == 2 else (0.0,) * len(errors[0])
    return stage_source(tableau) + SOURCE.format(
        e=[list(errors[0]), list(second)], b=list(tableau.b), same=tableau.last_is_first, most=most, shrink=SHRINK,
        grow=GROW, safety=SAFETY, shortest=float(SHORTEST), smallest=SMALLEST, exponent=-1.0 / order,
    )  # fmt: skip


@cache
def pair_written(tableau: Tableau, errors: tuple[tuple[float, ...], ...], order: int, most: int) -> Written:
    """A step of adapted substeps, for equations that are written out."""
    stages, second = len(tableau.b), errors[1] if len(errors) == 2 else ()
    slopes = "\n    ".join(f"f{s} = S[{1 + s} * _DIM :]" for s in range(stages))
    others = [f"F{s} = F[{s - 1} * _DIM :]" for s in range(1, stages - 1)] + ["F0 = K", f"F{stages - 1} = L"]

    def room(dim: int, entries: Sequence[int], blocks: int) -> tuple[int, int]:
        return stages_room(tableau, dim, entries[0]), dim * (stages + 3 * blocks)

    source = WRITTEN.format(
        slopes=slopes, of_block="\n    ".join(others), most=most, shrink=SHRINK, grow=GROW, safety=SAFETY,
        shortest=float(SHORTEST), smallest=SMALLEST, exponent=-1.0 / order,
        f_first=combination(errors[0], "f"), f_second=combination(second, "f"),
        F_first=combination(errors[0], "F"), F_second=combination(second, "F"),
    )  # fmt: skip
    return Written(stages_written(tableau) + source, room)


SOURCE = '''
B = np.array({b})
E = np.array({e})
LAST_IS_FIRST = {same}


@njit
def ended(h, x, V, X, W, f, F):
    """The state X with the vectors W after a substep."""
    dim, k = V.shape
    copy(X, x)
    copy_matrix(W, V)
    for s in range(STAGES):
        weight = h * B[s]
        if weight != 0.0:
            for i in range(dim):
                X[i] += weight * f[s, i]
            for c in range(k):
                for i in range(dim):
                    W[i, c] += weight * F[s, c, i]


@njit
def estimate(j, h, i, f):
    """Component i of estimate j of the error."""
    total = 0.0
    for s in range(STAGES):
        total += (h * E[j, s]) * f[s, i]
    return total


@njit
def joined(first, second):
    """The error by the squares of two estimates."""
    whole = math.sqrt(first + 0.01 * second)
    return first / whole if whole != 0.0 else 0.0


@njit
def defect(h, x, V, X, W, f, F, rtol, atol):
    """The estimated error of a substep as a multiple of the tolerance."""
    dim, k = V.shape
    first = second = 0.0
    for i in range(dim):
        allowed = atol + rtol * max(abs(x[i]), abs(X[i]))
        first += (estimate(0, h, i, f) / allowed) ** 2
        second += (estimate(1, h, i, f) / allowed) ** 2
    largest = joined(first / dim, second / dim)
    for c in range(k):
        first = second = before = after = 0.0
        for i in range(dim):
            first += estimate(0, h, i, F[:, c]) ** 2
            second += estimate(1, h, i, F[:, c]) ** 2
            before += V[i, c] ** 2
            after += W[i, c] ** 2
        allowed = rtol * math.sqrt(max(before, after))
        if allowed != 0.0:
            error = joined(first, second) / allowed
            if not error <= largest:
                largest = error
    return largest


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """Substeps of adapted length; where the last slope of one is the first of the next, it is kept."""
    rtol, atol = parameters[parameters.size - 2], parameters[parameters.size - 1]
    first, tried, remaining, h = 0, 0, dt, dt
    while remaining > 0.0:
        h = min(h, remaining)
        tried += 1
        if h < remaining and remaining < 2.0 * h:
            h = 0.5 * remaining
        for s in range(first, STAGES):
            stage(s, t, h, x, V, X, W, f, F, parameters, data, rows, scratch)
        if not LAST_IS_FIRST:
            ended(h, x, V, X, W, f, F)
        error = defect(h, x, V, X, W, f, F, rtol, atol)
        first = 1
        if error <= 1.0 and tried <= {most}:
            copy(x, X)
            copy_matrix(V, W)
            if LAST_IS_FIRST:
                copy(f[0], f[STAGES - 1])
                copy_matrix(F[0].T, F[STAGES - 1].T)
            else:
                first = 0
            t += h
            remaining = 0.0 if h == remaining else remaining - h
        elif h < {shortest!r} * dt or tried > {most}:
            x[:] = np.nan
            V[:] = np.nan
            return
        if error < math.inf:
            h *= min({grow!r}, max({shrink!r}, {safety!r} * max(error, {smallest!r}) ** {exponent!r}))
        else:
            h *= {shrink!r}

'''

WRITTEN = '''

def joined(first, second):
    """The error by the squares of two estimates."""
    whole = sqrt(first + 0.01 * second)
    return where(whole != 0.0, first / whole, 0.0)


def state_error(h, x, S, rtol, atol):
    """The estimated error of the state, as a multiple of the tolerance."""
    {slopes}
    first, second = 0.0, 0.0
    for i in range(_DIM):
        allowed = 1.0 / (atol + rtol * max(abs(x[i]), abs(S[i])))
        one, other = ({f_first}) * allowed, ({f_second}) * allowed
        first += one * one
        second += other * other
    return joined(h * h * first / _DIM, h * h * second / _DIM)


def block_error(h, V, W, K, L, F, rtol):
    """The largest estimated error of the vectors of a block."""
    {of_block}
    first, second, before, after = 0.0 * V[0], 0.0 * V[0], 0.0 * V[0], 0.0 * V[0]
    for i in range(_DIM):
        one, other = {F_first}, {F_second}
        first += one * one
        second += other * other
        before += V[i] * V[i]
        after += W[i] * W[i]
    allowed = rtol * sqrt(where(after > before, after, before))
    errors = where(allowed != 0.0, joined(h * h * first, h * h * second) / allowed, 0.0)
    largest = 0.0
    for c in range(_COLUMNS):
        largest = larger(largest, errors[c])
    return largest


def larger(a, b):
    return a if (b <= a) | (a != a) else b  # NaN of either is passed on


def moved(n, steps, t0, dt, x, V, blocks, p, data, rows, sizes, B, S, F):
    """Steps of adapted substeps; where the last slope of one is the first of the next, it is kept."""
    rtol, atol = p[sizes[4] - 2], p[sizes[4] - 1]
    many = blocks * _DIM
    kept = _STAGES * _DIM
    for m in range(n, n + steps):
        driven = rows[(m - n) * sizes[1] :]
        t, remaining, h = t0 + m * dt, dt, dt
        first, tried = 0, 0
        while remaining > 0.0:
            h = min(h, remaining)
            tried += 1
            if h < remaining and remaining < 2.0 * h:
                h = 0.5 * remaining
            state_stages(t, h, first, x, S, p, data, driven, sizes, B)
            error = state_error(h, x, S, rtol, atol)
            for b in range(blocks):
                v, w = V[b * _DIM :], F[kept + b * _DIM :]
                one, last = F[kept + many + b * _DIM :], F[kept + 2 * many + b * _DIM :]
                block_stages(h, first, v, w, one, last, F, S, p, data, driven, sizes, B)
                error = larger(error, block_error(h, v, w, one, last, F, rtol))
            first = 1
            if error <= 1.0 and tried <= {most}:
                for i in range(_DIM):
                    x[i] = S[i]
                for i in range(many):
                    V[i] = F[kept + i]
                if _LAST_IS_FIRST == 1:
                    for i in range(_DIM):
                        S[_DIM + i] = S[_STAGES * _DIM + i]
                    for e in range(_ENTRIES):
                        S[(1 + _STAGES) * _DIM + e] = S[(1 + _STAGES) * _DIM + (_STAGES - 1) * _ENTRIES + e]
                    for i in range(many):
                        F[kept + many + i] = F[kept + 2 * many + i]
                else:
                    first = 0
                t += h
                remaining = 0.0 if h == remaining else remaining - h
            elif h < {shortest!r} * dt or tried > {most}:
                for i in range(_DIM):
                    x[i] = nan
                for i in range(many):
                    V[i] = nan
                return
            if error < inf:
                h *= min({grow!r}, max({shrink!r}, {safety!r} * max(error, {smallest!r}) ** {exponent!r}))
            else:
                h *= {shrink!r}
'''
