"""V = QR of a frame in tiles of 8 columns, with R_ii > 0, in the language that is compiled (`dynsys.compiled.llvm`).

Two tiles at a time are projected on all finished ones, a block of 8 rows and 16 columns of R in registers; inside a
tile R is the Cholesky factor of the Gram matrix, where the columns are far enough from dependent for that. A tile of
which a column has lost too much on the way is projected and factorised a second time, and twice is enough (Giraud,
Langou and Rozloznik, Comput. Math. Appl. 50 (2005) 1069): the orthogonality is that of Householder reflections.
"""

from __future__ import annotations

from collections.abc import Iterable

_LANES = range(8)

_FOR_CHOLESKY = 100.0
"""A column of Q is found by Cholesky if the squares of what it is a sum of add up to less."""

_CANCELLED = 5.0
"""A tile is done if no column is a sum of what has squares that add up to more."""


def work_length(k: int) -> int:
    """Floats of work that `factorise` takes for k columns, from a whole cache line on."""
    return 8 * (_AREAS + 3 * 8 * ((k + 7) // 8))


_AREAS = 16  # vectors before the blocks of R: what is known of a tile, and of the other one


def _each(line: str, lanes: Iterable[int] = _LANES, indent: int = 4) -> str:
    """A line for every lane q."""
    return "\n".join(" " * indent + line.replace("#", str(q)) for q in lanes)


def _row(factors: str, first: str = "") -> str:
    """The sum over q of the entries F[8 i + q] of row i times vectors, added to something, by two chains."""
    chains = [
        " + ".join([first] * (not odd and bool(first)) + [f"F[8 * i + {q}] * {factors}{q}" for q in _LANES[odd::2]])
        for odd in (0, 1)
    ]
    return f"({chains[0]}) + ({chains[1]})"


def _elimination() -> str:
    """The steps of G = L D L^T: row c of L^T is u_c, the pivots are d_c; columns that are not used have pivots 1."""
    return "\n".join(
        f"    d{c} = g{c}[{c}] if width > {c} else 1.0\n    u{c} = g{c} * (1.0 / d{c})\n    W[1][{c}] = d{c}\n"
        + _each(f"g# = g# - u{c}[#] * g{c}", range(c + 1, 8))
        for c in _LANES
    )


def _substitution() -> str:
    """The rows x_c of the inverse of L^T, from the last."""
    return "\n".join(
        f"    x{c} = E[{c}]" + "".join(f" - u{c}[{j}] * x{j}" for j in reversed(range(c + 1, 8)))
        for c in reversed(_LANES)
    )


_UNIT = tuple(float(q == lane) for q in _LANES for lane in _LANES)
_ABOVE = tuple(float(lane >= q) for q in range(9) for lane in _LANES)

FACTORISE = f'''
UNIT = {_UNIT}
ABOVE = {_ABOVE}


def project_two(P, C, D, S, T, dim):
    """C and D minus P S and P T, where S = P^T C and T = P^T D."""
    F = as_floats(P)
{_each("s# = splat(0.0)")}
{_each("t# = splat(0.0)")}
    for i in range(dim):
        c, d = C[i], D[i]
{_each("s# = s# + F[8 * i + #] * c; t# = t# + F[8 * i + #] * d", indent=8)}
{_each("S[#] = s#; T[#] = t#; s# = -s#; t# = -t#")}
    for i in range(dim):
        C[i] = {_row("s", "C[i]")}
        D[i] = {_row("t", "D[i]")}


def project(P, C, S, dim):
    """C minus P S, where S = P^T C."""
    F = as_floats(P)
{_each("s# = splat(0.0)")}
    for i in range(dim):
        c = C[i]
{_each("s# = s# + F[8 * i + #] * c", indent=8)}
{_each("S[#] = s#; s# = -s#")}
    for i in range(dim):
        C[i] = {_row("s", "C[i]")}


def squares(C, dim):
    """Squares of the columns of a tile."""
    a, b, c, d = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for i in range(0, dim - 3, 4):
        a = a + C[i] * C[i]
        b = b + C[i + 1] * C[i + 1]
        c = c + C[i + 2] * C[i + 2]
        d = d + C[i + 3] * C[i + 3]
    for i in range(dim // 4 * 4, dim):
        a = a + C[i] * C[i]
    return (a + b) + (c + d)


def prepare(C, W, dim, width):
    """The squares of columns, -1 for those not used, to W[0]; 1 where some were multiplied by powers of 2, 1 / W[2].

    What has entries of the order of 1 has squares that neither over- nor underflow, and was not rounded.
    """
    unused = as_vectors(ABOVE)[width]
    square = squares(C, dim)
    W[0] = square - unused
    if not some(~((square > 1e-200) & (square < 1e200) | (unused > 0.5))):
        return 0.0
    F = as_floats(C)
    W[2] = splat(1.0)
    for l in range(width):
        if not (W[0][l] > 1e-200 and W[0][l] < 1e200):
            largest = 0.0
            for i in range(dim):
                largest = max(largest, abs(F[8 * i + l]))
            exponent = 2046 - (bits(largest) >> 52)
            factor = from_bits((exponent if exponent > 1 else 1) << 52)
            for i in range(dim):
                F[8 * i + l] = F[8 * i + l] * factor
            W[2][l] = 1.0 / factor
    W[0] = squares(C, dim) - unused
    return 1.0


def columns(C, R, dim, width):
    """A tile C = QR by modified Gram-Schmidt, column after column."""
    F, E, A = as_floats(C), as_vectors(UNIT), as_vectors(ABOVE)
    for l in range(8):
        R[l] = splat(0.0)
    for l in range(width):
        a, b = splat(0.0), splat(0.0)
        for i in range(0, dim - 1, 2):
            a = a + F[8 * i + l] * C[i]
            b = b + F[8 * i + 8 + l] * C[i + 1]
        if dim % 2 == 1:
            a = a + F[8 * dim - 8 + l] * C[dim - 1]
        R[l] = a + b
        norm = sqrt(R[l][l])
        inverse = 1.0 / norm if norm > 0.0 else 0.0
        scale = E[l] * inverse - R[l] * (inverse * inverse) * (A[l] - E[l])
        keep = 1.0 - E[l]
        R[l] = R[l] * inverse * A[l]
        for i in range(dim):
            C[i] = keep * C[i] + F[8 * i + l] * scale


def within(C, R, W, dim, width):
    """A tile C = QR, R in rows, by Cholesky: C^T C = G = R^T R, Q = C R^-1; and how much cancels in that, at least 1.

    Column c of Q is a sum of columns of C, the squares of which add up to what cancels: its error is rounding times
    the root of that, the error of orthogonality, G being rounded, rounding times that. Where that is too much, by
    columns.
    """
    F, E, A = as_floats(C), as_vectors(UNIT), as_vectors(ABOVE)
{_each("g# = splat(0.0)")}
    for i in range(dim):
        c = C[i]
{_each("g# = g# + F[8 * i + #] * c", indent=8)}
    whole = {" + ".join(f"E[{q}] * g{q}" for q in _LANES)}
{_elimination()}
    root = sqrt(W[1])
{_substitution()}
{_each("x# = x# / root")}
    lost = {" + ".join(f"whole[{q}] * x{q} * x{q}" for q in _LANES)}
    if some(~(lost < {_FOR_CHOLESKY})):
        columns(C, R, dim, width)
        return splat(inf)
{_each("R[#] = u# * root[#] * A[#]")}
    for i in range(dim):
        C[i] = {_row("x")}
    return lost


def diagonal(R):
    """The diagonal of 8 rows."""
    E = as_vectors(UNIT)
    return {" + ".join(f"E[{q}] * R[{q}]" for q in _LANES)}


def finish(V, S, Z, R, W, scaled, tile, dim, k):
    """The tile, projected already, becomes columns of Q, and its block S and the rows below it columns of R."""
    C, rows = V[tile * dim :], 8 * tile
    width = k - rows if k - rows < 8 else 8
    own, limit = S[rows:], SINGULAR_RATIO * dim
    lost = within(C, own, W, dim, width)
    d = diagonal(own)
    if some(~(d * d > limit * limit * W[0])):
        return 1.0
    if some(~((lost < {_CANCELLED}) & (d * d * {_CANCELLED} > W[0]))):
        for p in range(tile):
            project(V[p * dim :], C, Z[8 * p :], dim)
        within(C, Z[rows:], W, dim, width)
{_each("r# = own[#]", indent=8)}
        for q in range(rows + 8):
            z = Z[q]
            before = S[q] if q < rows else splat(0.0)
            S[q] = before + ({" + ".join(f"z[{q}] * r{q}" for q in _LANES)})
        d = diagonal(own)
        if some(~(d * d > limit * limit * W[0])):
            return 1.0
    if scaled > 0.0:
        for q in range(rows + 8):
            S[q] = S[q] * W[2]
    F = as_floats(S)
    for l in range(width):
        c = rows + l
        r = R[c * (c + 1) // 2 :]
        for q in range(c + 1):
            r[q] = F[8 * q + l]
    return 0.0


def factorise(V, R, T, dim, k):
    """V = QR, R packed by columns; V becomes Q. 1 where an R_ii vanishes."""
    tiles = (k + 7) // 8
    W = as_vectors(T)
    S, U, Z = W[{_AREAS}:], W[{_AREAS} + 8 * tiles :], W[{_AREAS} + 16 * tiles :]
    for b in range(0, tiles, 2):
        C, D, two = V[b * dim :], V[(b + 1) * dim :], b + 1 < tiles
        scaled = prepare(C, W, dim, k - 8 * b if k - 8 * b < 8 else 8)
        other = 0.0
        if two:
            other = prepare(D, W[8:], dim, k - 8 * b - 8 if k - 8 * b < 16 else 8)
        for p in range(b):
            if two:
                project_two(V[p * dim :], C, D, S[8 * p :], U[8 * p :], dim)
            else:
                project(V[p * dim :], C, S[8 * p :], dim)
        if finish(V, S, Z, R, W, scaled, b, dim, k) > 0.0:
            return 1.0
        if two:
            project(C, D, U[8 * b :], dim)
            if finish(V, U, Z, R, W[8:], other, b + 1, dim, k) > 0.0:
                return 1.0
    return 0.0
'''
"""The text; it has to be given SINGULAR_RATIO."""
