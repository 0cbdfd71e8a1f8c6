"""Members side by side: the pass over a block of members, vectorised across them.

A block is one flat buffer of rows, each with one number for every member (a lane): number i of lane l stands at
i * L + l. In loops over lanes all strides are then constant, which is what makes LLVM vectorise them; the number of
lanes is passed as an argument, or the loops would be unrolled before that. Blocks are always full (spare lanes repeat
the first member), so that results depend on neither the block nor its size.
"""

from __future__ import annotations

import attrs

LANES = 16


@attrs.frozen
class LaneSource:
    """The step of a system on a block of members, for the compiler.

    Attributes
    ----------
    source : str
        Python source that defines

            advance(B, n, t, dt, done, own, parameters, data, drive, lanes)

        which moves states and tangent vectors in the buffer B by one step n at time t. Rows 0, ..., dim - 1 of B are
        the state; row dim + c dim + i is component i of column c; rows from dim + dim k on are free. `done` counts the
        steps of this call and `own[l]` is the first index of `drive` for lane l. L, DIM, K are literals in scope.
    rows : int
        Number of free rows.
    varied : bool
        Whether every lane has parameters of its own: number i of lane l is then parameters[i * L + l].
    """

    source: str
    rows: int
    varied: bool = False


LANE_TANH = '''

MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to a whole number, which then stands in the lowest bits


@njit
def tanh(d):
    """tanh without branches, to a few units in the last place: expm1(2|d|) by range reduction and a polynomial."""
    y = 2.0 * min(abs(d), 20.0)
    shifted = y * 1.4426950408889634 + MAGIC
    whole = shifted - MAGIC
    r = (y - whole * 0.6931471803691238) - whole * 1.9082149292705877e-10
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = r + (r * r) * p
    power = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    e = power * p + (power - 1.0)
    t = e / (e + 2.0)
    return t if d >= 0.0 else (-t if d < 0.0 else d)
'''

HEADER = """

L, DIM, K, ROWS, VARIED = {lanes}, {dim}, {k}, {rows}, {varied}
RK = DIM + DIM * K + {free}  # rows of R, column by column; then flags and norms
FLAG = RK + K * K
"""

DRIVER = '''
@njit
def scale_column(B, C, lanes):
    """Divide a column by its largest entry, which goes to row FLAG + 1, its norm then to row FLAG + 2."""
    for l in range(lanes):
        largest = 0.0
        for i in range(DIM):
            largest = max(largest, abs(C[i * L + l]))
        B[(FLAG + 1) * L + l] = largest
        largest = 1.0 if largest == 0.0 else largest
        norm = 0.0
        for i in range(DIM):
            C[i * L + l] /= largest
            norm += C[i * L + l] * C[i * L + l]
        B[(FLAG + 2) * L + l] = math.sqrt(norm)


@njit
def project(P, C, R, lanes):
    """Make column C orthogonal to the unit column P; the projection is added to R."""
    for l in range(lanes):
        dot = 0.0
        for i in range(DIM):
            dot += P[i * L + l] * C[i * L + l]
        R[l] += dot
        for i in range(DIM):
            C[i * L + l] -= dot * P[i * L + l]


@njit
def normalise(B, C, R, lanes):
    """Make column C a unit one; row FLAG counts the columns that collapsed. R is the norm."""
    for l in range(lanes):
        norm = 0.0
        for i in range(DIM):
            norm += C[i * L + l] * C[i * L + l]
        norm = math.sqrt(norm)
        B[FLAG * L + l] += 1.0 if norm <= SINGULAR_RATIO * DIM * B[(FLAG + 2) * L + l] else 0.0
        R[l] = norm
        inverse = 1.0 / (1.0 if norm == 0.0 else norm)
        for i in range(DIM):
            C[i * L + l] *= inverse


@njit
def factorise_lanes(B, lanes):
    """V = QR of every lane, as `factorise`."""
    B[RK * L : (FLAG + 1) * L] = 0.0
    for c in range(K):
        C = B[(DIM + c * DIM) * L : (DIM + (c + 1) * DIM) * L]
        scale_column(B, C, lanes)
        for _ in range(2):
            for p in range(c):
                P = B[(DIM + p * DIM) * L : (DIM + (p + 1) * DIM) * L]
                project(P, C, B[(RK + c * K + p) * L : (RK + c * K + p + 1) * L], lanes)
        normalise(B, C, B[(RK + c * K + c) * L : (RK + c * K + c + 1) * L], lanes)
        for p in range(c + 1):
            for l in range(lanes):
                B[(RK + c * K + p) * L + l] *= B[(FLAG + 1) * L + l]


@njit
def finite_lane(B, l):
    total = 0.0
    for i in range(DIM + DIM * K):
        total += 0.0 * B[i * L + l]
    return total == 0.0


@_kernel
def forward(members, first, intervals, steps, t0, dt, parameters, data, drive, scratch,
            xs_end, Qs_end, status, stopped, growth, Rs, xs, Qs):
    """Intervals of `steps` steps for some members, in blocks of L; arrays as in the record `RunState`."""
    B = np.zeros(ROWS * L)
    own = np.zeros(L, np.int64)
    numbers = np.zeros(parameters.shape[1] * L) if VARIED else parameters[0]
    for begin in range(0, members.size, L):
        block = members[begin : begin + L]
        for l in range(L):
            m = block[l] if l < block.size else block[0]
            place = begin + l if l < block.size else begin
            own[l] = place if drive.shape[0] > 1 else 0
            if VARIED:
                for i in range(parameters.shape[1]):
                    numbers[i * L + l] = parameters[place, i]
            running = status[m] == RUNNING
            for i in range(DIM):
                B[i * L + l] = xs_end[m, i] if running else 0.0
                for c in range(K):
                    B[(DIM + c * DIM + i) * L + l] = Qs_end[m, i, c] if running else 0.0
        for i in range(intervals):
            for s in range(steps):
                done = i * steps + s
                n = first + done
                advance(B, n, t0 + n * dt, dt, done, own, numbers, data, drive, L)
            for l in range(block.size):
                m = block[l]
                if status[m] == RUNNING and not finite_lane(B, l):
                    status[m] = DIVERGED
                    stopped[m] = first + (i + 1) * steps
            factorise_lanes(B, L)
            for l in range(block.size):
                m = block[l]
                if status[m] != RUNNING:
                    continue
                if B[FLAG * L + l] > 0.0:
                    status[m] = SINGULAR
                    stopped[m] = first + (i + 1) * steps
                    continue
                for c in range(K):
                    if growth.size:
                        growth[m, i, c] = math.log(B[(RK + c * K + c) * L + l])
                    if Rs.size:
                        for p in range(c + 1):
                            Rs[m, i, c * (c + 1) // 2 + p] = B[(RK + c * K + p) * L + l]
                if xs.size:
                    for j in range(DIM):
                        xs[m, i, j] = B[j * L + l]
                        for c in range(K):
                            Qs[m, i, j, c] = B[(DIM + c * DIM + j) * L + l]
        for l in range(block.size):
            m = block[l]
            running = status[m] == RUNNING
            for i in range(DIM):
                xs_end[m, i] = B[i * L + l] if running else np.nan
                for c in range(K):
                    Qs_end[m, i, c] = B[(DIM + c * DIM + i) * L + l] if running else np.nan
'''


def lane_source(lanes: LaneSource, dim: int, k: int) -> str:
    """Everything but the common header of a module for blocks of members."""
    rows = dim + dim * k + lanes.rows + k * k + 3
    return (
        HEADER.format(lanes=LANES, dim=dim, k=k, rows=rows, free=lanes.rows, varied=lanes.varied)
        + LANE_TANH
        + lanes.source
        + DRIVER
    )
