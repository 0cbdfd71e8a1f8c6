"""The pass over a trajectory, one text for all systems: it calls the step of a system by its address.

It is compiled for three layouts of what moves:

- columns: one member after the other, the frame column by column;
- lanes: `LANES` members side by side, each in a lane of vectors, the frame column by column: number i of lane l stands
  at i LANES + l. What a lane gets is the same to the bit, whatever else is beside it, and the same as by columns;
- tiles: one member after the other, the frame in tiles of 8 columns, whose rows are vectors: tile b begins at row
  b dim. Columns beyond the last stand there too, and are 0.
"""

from __future__ import annotations

from dynsys.compiled.tile_factor import FACTORISE

ARGUMENTS = """advance: function, members: ints, count: int, n: int, intervals: int, steps: int, t0: float, dt: float,
            p: floats, of_p: int, data: floats, rows: flags, entry: int, of_member: int, of_step: int, sizes: ints,
            own: ints, B: floats, dim: int, k: int, x: states, V: frame, R: factor, T: factor, P: states,
            xs_end: floats, Qs_end: floats, status: flags, stopped: ints, growth: floats, Rs: floats, xs: floats,
            Qs: floats"""
"""Those of `forward`."""

COLUMNS = '''
def factorise(V, R, T, dim, k):
    """V = QR by Gram-Schmidt, R packed by columns; V becomes Q. 1 where an R_ii vanishes.

    A column that loses more than half of its square in the projections is projected again: twice is enough.
    """
    collapsed = 0.0
    for c in range(k):
        C, r = V[c * dim :], R[c * (c + 1) // 2 :]
        before, scale = 0.0, 1.0
        for i in range(dim):
            before += C[i] * C[i]
        fair = (before > 1e-200) & (before < 1e200)
        if some(~fair):  # divided by its largest entry, a column's square neither over- nor underflows
            largest = 0.0
            for i in range(dim):
                largest = max(largest, abs(C[i]))
            collapsed = where(~fair & (largest == 0.0), 1.0, collapsed)
            scale = where(fair | (largest == 0.0), 1.0, largest)
            before = 0.0
            for i in range(dim):
                C[i] = C[i] / scale
                before += C[i] * C[i]
        for q in range(c):
            r[q] = 0.0
        square = before
        again = square == square
        for round in range(2 if c > 0 else 0):
            if some(again):
                for q in range(c):
                    projection = 0.0
                    for i in range(dim):
                        projection += V[q * dim + i] * C[i]
                    T[q] = where(again, projection, 0.0)
                for q in range(c):
                    for i in range(dim):
                        C[i] -= T[q] * V[q * dim + i]
                    r[q] += T[q]
                least, square = 0.5 * square, 0.0
                for i in range(dim):
                    square += C[i] * C[i]
                again = square <= least
        norm = sqrt(square)
        collapsed = where(norm <= SINGULAR_RATIO * dim * sqrt(before), 1.0, collapsed)
        inverse = 1.0 / where(norm == 0.0, 1.0, norm)
        for i in range(dim):
            C[i] *= inverse
        for q in range(c):
            r[q] *= scale
        r[c] = norm * scale
    return collapsed


def finite(x, V, dim, k):
    """0 where all numbers are finite, else NaN."""
    total = 0.0 * x[0]
    for i in range(dim):
        total += 0.0 * x[i]
    for c in range(k):
        column = 0.0 * x[0]
        for i in range(dim):
            column += 0.0 * V[c * dim + i]
        total += column
    return total


def take(x, V, l, m, xs_end, Qs_end, running, dim, k):
    """State and frame of a member, to lane l; 0 if it has stopped."""
    X, F = as_floats(x), as_floats(V)
    for i in range(dim):
        X[i * LANES + l] = xs_end[m * dim + i] if running else 0.0
        for c in range(k):
            F[(c * dim + i) * LANES + l] = Qs_end[(m * dim + i) * k + c] if running else 0.0


def give(x, V, l, m, xs_end, Qs_end, dim, k):
    """State and frame of lane l, to the arrays of a run."""
    X, F = as_floats(x), as_floats(V)
    for i in range(dim):
        xs_end[m * dim + i] = X[i * LANES + l]
        for c in range(k):
            Qs_end[(m * dim + i) * k + c] = F[(c * dim + i) * LANES + l]
'''

TILES = (
    FACTORISE
    + '''
def finite(x, V, dim, k):
    """0 where all numbers are finite, else NaN."""
    total = 0.0
    for i in range(dim):
        total += 0.0 * x[i]
    sums = 0.0 * V[0]
    for i in range((k + 7) // 8 * dim):
        sums += 0.0 * V[i]
    return total + total_of(sums, k)


def total_of(sums, k):
    return total(sums) if k > 0 else 0.0


def take(x, V, l, m, xs_end, Qs_end, running, dim, k):
    """State and frame of a member."""
    F = as_floats(V)
    for i in range(dim):
        x[i] = xs_end[m * dim + i] if running else 0.0
        for c in range((k + 7) // 8 * 8):
            F[((c >> 3) * dim + i) * 8 + (c & 7)] = Qs_end[(m * dim + i) * k + c] if running and c < k else 0.0


def give(x, V, l, m, xs_end, Qs_end, dim, k):
    """State and frame, to the arrays of a run."""
    F = as_floats(V)
    for i in range(dim):
        xs_end[m * dim + i] = x[i]
        for c in range(k):
            Qs_end[(m * dim + i) * k + c] = F[((c >> 3) * dim + i) * 8 + (c & 7)]
'''
)

FORWARD = '''
def record(R, l, interval, k, growth, Rs):
    """What was asked for of the factor of an interval."""
    factor, length = as_floats(R), k * (k + 1) // 2
    if given(growth):
        for c in range(k):
            growth[interval * k + c] = log(factor[(c * (c + 1) // 2 + c) * LANES + l])
    if given(Rs):
        for q in range(length):
            Rs[interval * length + q] = factor[q * LANES + l]


def forward({arguments}):
    """Intervals of `steps` steps for some members; arrays as in the record `RunState`, null where nothing is recorded.

    `of_p`, `of_member` and `of_step` are what lies between the parameters of two members, and between what drives two
    members and two steps (0: nothing), in entries, which have `entry` bytes.
    """
    for begin in range(0, count, LANES):
        running = 0
        for l in range(LANES):
            place = begin + l if begin + l < count else begin  # spare lanes repeat the first member
            m = members[place]
            own[l] = place * of_member
            for i in range(of_p):
                as_floats(P)[i * LANES + l] = p[place * of_p + i]
            take(x, V, l, m, xs_end, Qs_end, status[m] == RUNNING, dim, k)
            running += int(status[m] == RUNNING)
        if running == 0:
            continue
        numbers = as_floats(P) if of_p > 0 else p
        for i in range(intervals):
            driven = rows[i * steps * of_step * entry :]
            call(advance, n + i * steps, steps, t0, dt, x, V, k, numbers, data, driven, sizes, own, B)
            finite_ones = finite(x, V, dim, k)
            collapsed = factorise(V, R, T, dim, k)
            running = 0
            for l in range(LANES if count - begin > LANES else count - begin):
                m = members[begin + l]
                if status[m] == RUNNING:
                    if not finite_ones[l] == 0.0:
                        status[m] = DIVERGED
                    elif collapsed[l] > 0.0:
                        status[m] = SINGULAR
                    if status[m] != RUNNING:
                        stopped[m] = n + (i + 1) * steps
                    else:
                        running += 1
                        interval = m * intervals + i
                        record(R, l, interval, k, growth, Rs)
                        if given(xs):
                            give(x, V, l, interval, xs, Qs, dim, k)
            if running == 0:
                break
        for l in range(LANES if count - begin > LANES else count - begin):
            m = members[begin + l]
            if status[m] == RUNNING:
                give(x, V, l, m, xs_end, Qs_end, dim, k)
            else:
                for i in range(dim):
                    xs_end[m * dim + i] = nan
                    for c in range(k):
                        Qs_end[(m * dim + i) * k + c] = nan
'''
