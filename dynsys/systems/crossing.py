"""The steps of a Poincare map by equations that are written out: `PoincareMap._cross`, compiled."""

from __future__ import annotations

import attrs

from dynsys.compiled.equations import aligned
from dynsys.compiled.kernel import RateSource, StepSource, layout_for, written_constants
from dynsys.steppers.stepper import Written


def timed(flow: RateSource) -> RateSource:
    """The equations of `TimedFlow`: J has the entries of the flow, its slopes, and how fast its time runs."""
    source = flow.source.replace("def rates(", "def flow_rates(").replace("def product(", "def flow_product(")
    dim = flow.dimension + 1
    source += TIMED.format(entries=flow.entries[0])
    return attrs.evolve(flow, source=source, dimension=dim, entries=(flow.entries[0] + dim,))


def crossing(flow: RateSource, stepper: Written, k: int, own: int, rounds: int, rounding: float) -> StepSource:
    """The step from one crossing to the next, with k vectors; `own` numbers in p are the map's and the stepper's."""
    equations, layout = timed(flow), layout_for(stepper, k, flow.dimension)
    columns = 8 if layout == "tiles" else 1
    dim, blocks = equations.dimension, (k + columns) // columns  # with one more column, the derivative by the length
    states, frames = stepper.room(dim, equations.entries, blocks)
    scratch, states = aligned(equations.scratch), aligned(states + 3 * dim)
    source = f"_SCRATCH = {scratch}\n_STATES = {states}\n" + written_constants(equations)
    source += equations.source + stepper.source + SOURCE.format(own=own, rounds=rounds, rounding=rounding)
    frames += (2 * blocks + 1) * dim
    return StepSource(source, scratch + states + frames * columns, layout)


TIMED = '''

def rates(t, x, f, J, p, data, rows, sizes, B):
    """Velocity and Jacobian of `TimedFlow`."""
    flow_rates(0.0, x, f, J, p, data, rows, sizes, B)
    for i in range(_DIM - 1):
        J[{entries} + i] = f[i]
        f[i] = x[_DIM - 1] * f[i]
    J[{entries} + _DIM - 1] = x[_DIM - 1]
    f[_DIM - 1] = 0.0


def product(J, Y, F, p, data, rows, sizes, B):
    """The Jacobian of `TimedFlow` times the rows of Y."""
    flow_product(J, Y, F, p, data, rows, sizes, B)
    for i in range(_DIM - 1):
        F[i] = J[{entries} + _DIM - 1] * F[i] + J[{entries} + i] * Y[_DIM - 1]
    F[_DIM - 1] = 0.0
'''

SOURCE = '''

def along(y, normal):
    """The product of the normal and a state, or the rows of vectors."""
    total = normal[0] * y[0]
    for i in range(1, _DIM - 1):
        total = total + normal[i] * y[i]
    return total


def length_to(before, y, E, above, whole, normal, offset, direction, p, data, rows, sizes, B, S, F):
    """Length of the step from `before` that ends on the plane; a whole one ends above it, at this height."""
    under, over, height = 0.0, whole, direction * (along(before, normal) - offset)
    length = whole * height / (height - above)
    e = as_floats(E)
    for round in range({rounds}):
        for i in range(_DIM):
            y[i], E[i] = before[i], 0.0
        y[_DIM - 1], e[(_DIM - 1) * _COLUMNS] = length, 1.0
        moved(0, 1, 0.0, 1.0, y, E, 1, p, data, rows, sizes, B, S, F)
        height, slope = direction * (along(y, normal) - offset), 0.0
        for i in range(_DIM - 1):
            slope = slope + direction * normal[i] * e[i * _COLUMNS]
        if height < 0.0:
            under = length
        else:
            over = length
        better = length - height / slope if slope > 0.0 else inf
        if abs(better - length) <= {rounding!r} * whole:
            break
        length = better if under < better and better < over else 0.5 * (under + over)
    return length


def cross(x, V, k, p, data, rows, sizes, B, y, before, e, Y, Z, S, F):
    """The next crossing after the point x of the plane."""
    dim, at = _DIM - 1, sizes[4] - {own}
    basis, normal = p[at:], p[at + dim * (dim - 1) :]
    offset, direction = normal[dim], normal[dim + 1]
    limit, whole = int(normal[dim + 2]), normal[dim + 3]
    given_ones, blocks = (k + _COLUMNS - 1) // _COLUMNS, (k + _COLUMNS) // _COLUMNS
    square = along(normal, normal)
    for i in range(dim):
        y[i] = offset * normal[i] / square
        for j in range(dim - 1):
            y[i] = y[i] + basis[i * (dim - 1) + j] * x[j]
    y[dim] = whole
    for i in range(blocks * _DIM):
        Y[i] = 0.0
    for b in range(given_ones):
        for i in range(dim):
            for j in range(dim - 1):
                Y[b * _DIM + i] = Y[b * _DIM + i] + basis[i * (dim - 1) + j] * V[b * (dim - 1) + j]
    below, crossed, above = 0, 0, 0.0
    for step in range(limit):
        for i in range(_DIM):
            before[i] = y[i]
        for i in range(given_ones * _DIM):
            Z[i] = Y[i]
        moved(0, 1, 0.0, 1.0, y, Y, given_ones, p, data, rows, sizes, B, S, F)
        above = direction * (along(y, normal) - offset)
        if not abs(above) < inf:
            break
        if below == 1 and above >= 0.0:
            crossed = 1
            break
        below = int(above < 0.0)
    if crossed == 0:
        for j in range(dim - 1):
            x[j] = nan
        for i in range(given_ones * (dim - 1)):
            V[i] = nan
        return
    length = length_to(before, y, Y, above, whole, normal, offset, direction, p, data, rows, sizes, B, S, F)
    for i in range(_DIM):
        y[i] = before[i]
    for i in range(given_ones * _DIM, blocks * _DIM):
        Z[i] = 0.0
    y[dim] = length
    last = as_floats(Z)[(k // _COLUMNS * _DIM) * _COLUMNS + k % _COLUMNS :]  # the column of the length
    last[dim * _COLUMNS] = 1.0
    moved(0, 1, 0.0, 1.0, y, Z, blocks, p, data, rows, sizes, B, S, F)
    slope = 0.0
    for i in range(dim):
        e[i] = last[i * _COLUMNS]
        last[i * _COLUMNS] = 0.0
        slope = slope + normal[i] * e[i]
    for b in range(given_ones):
        W = Z[b * _DIM :]
        share = along(W, normal) / slope
        for i in range(dim):
            W[i] = W[i] - share * e[i]
        for j in range(dim - 1):
            total = basis[j] * W[0]
            for i in range(1, dim):
                total = total + basis[i * (dim - 1) + j] * W[i]
            V[b * (dim - 1) + j] = total
    for j in range(dim - 1):
        x[j] = 0.0
        for i in range(dim):
            x[j] = x[j] + basis[i * (dim - 1) + j] * y[i]


def advance(n: int, steps: int, t0: float, dt: float, x: states, V: frame, k: int, p: numbers, data: floats,
            rows: floats, sizes: ints, own: ints, B: floats):
    """The room for crossings lies before that of the stepper."""
    S, F = B[_SCRATCH:], like(B[_SCRATCH + _STATES :], V)
    rest = (k + _COLUMNS) // _COLUMNS * _DIM
    for m in range(n, n + steps):
        cross(x, V, k, p, data, rows, sizes, B, S, S[_DIM:], S[2 * _DIM :], F, F[rest:], S[3 * _DIM :], F[2 * rest :])
'''
