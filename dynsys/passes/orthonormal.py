"""Orthonormal frames: the factorisation V = QR with positive diagonal.

There is one convention for the whole package: R_ii > 0, so that Q is unique and comparable over time. Compiled
kernels contain the same factorisation as source: `GRAM_SCHMIDT`, plain loops, or `HOUSEHOLDER` for long columns.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def orthonormalise(V: Array) -> tuple[Array, Array]:
    """Factorise V = QR with R upper triangular and R_ii >= 0.

    Parameters
    ----------
    V : ndarray, shape (..., dim, k), k <= dim
        Tangent vectors as columns.

    Returns
    -------
    Q : ndarray, shape (..., dim, k)
        Orthonormal columns; the first j of them span what the first j columns of V span.
    R : ndarray, shape (..., k, k)
        Upper triangular; R_ii is the growth of column i orthogonal to the columns before it.

    Examples
    --------
    >>> Q, R = orthonormalise(np.array([[0.0, 1.0], [-2.0, 3.0]]))
    >>> R
    array([[ 2., -3.],
           [ 0.,  1.]])
    """
    Q, R = np.linalg.qr(V)
    signs = np.where(np.diagonal(R, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return Q * signs[..., None, :], R * signs[..., :, None]


def random_frames(dim: int, k: int, seed: int, members: Array, carried: int = 0) -> Array:
    """Random orthonormal frames, shape (members, dim, k), each keyed by (seed, member).

    A smaller k gives the leading columns of the same frame, so that k exponents are the first k of all. Columns
    leave out the last `carried` components, such as an optimiser's memory in units of its own, as long as others last.
    """
    if k == 0:  # a generator for each of many members takes its time
        return np.empty((len(members), dim, 0))
    rows = np.array([np.random.default_rng([seed, member]).normal(size=(k, dim)) for member in members])
    rows[:, : dim - carried, dim - carried :] = 0.0
    return orthonormalise(np.swapaxes(rows, 1, 2))[0]


TALL = 65_536  # rows of frames that are looked at at once


def in_few_coordinates(*frames: Array) -> list[Array]:
    """Frames (members, dim, k) in an orthonormal basis of what they span together: all scalar products are the same.

    Frames of few rows are returned as they are; of tall ones, whose copies would take too much memory, the factor R of
    all columns side by side is made block by block, (members, columns, k).
    """
    members, dim = frames[0].shape[:2]
    columns = sum(frame.shape[2] for frame in frames)
    if dim <= max(TALL, columns):
        return list(frames)
    found = np.full((members, columns, columns), np.nan)
    for m in range(members):
        R: Array = np.zeros((0, columns))
        for first in range(0, dim, TALL):
            R = np.vstack([R, np.hstack([frame[m, first : first + TALL] for frame in frames])])
            if not np.isfinite(R).all():  # LAPACK refuses NaN
                break
            R = np.linalg.qr(R, mode="r")  # type: ignore[assignment]
        else:
            found[m] = R
    return np.split(found, np.cumsum([frame.shape[2] for frame in frames])[:-1], axis=2)


def packed(R: Array) -> Array:
    """Upper-triangular matrices (..., k, k) as their columns one after the other, (..., k (k + 1) / 2).

    R_ij, i <= j, stands at j (j + 1) / 2 + i: the leading columns come first, whatever k.

    Examples
    --------
    >>> packed(np.array([[1.0, 2.0], [0.0, 3.0]]))
    array([1., 2., 3.])
    """
    columns, rows = np.tril_indices(R.shape[-1])
    return R[..., rows, columns]


def packed_diagonal(R: Array) -> Array:
    """The diagonals of packed matrices, (..., k (k + 1) / 2) -> (..., k)."""
    return R[..., np.cumsum(np.arange(1, math.isqrt(2 * R.shape[-1]) + 1)) - 1]


def unpacked(R: Array) -> Array:
    """The inverse of `packed`."""
    k = math.isqrt(2 * R.shape[-1])
    columns, rows = np.tril_indices(k)
    full = np.zeros((*R.shape[:-1], k, k))
    full[..., rows, columns] = R
    return full


GRAM_SCHMIDT = '''
@njit
def factorise(V, R):
    """V = QR by Gram-Schmidt; V becomes Q. False if an R_ii vanishes.

    A column that loses more than half of its square in the projections is projected again: twice is enough.
    """
    dim, k = V.shape
    for c in range(k):
        before, largest = 0.0, 1.0
        for i in range(dim):
            before += V[i, c] * V[i, c]
        if not 1e-200 < before < 1e200:  # divided by its largest entry, a column's square neither over- nor underflows
            before, largest = 0.0, 0.0
            for i in range(dim):
                largest = max(largest, abs(V[i, c]))
            if largest == 0.0:
                return False
            for i in range(dim):
                V[i, c] /= largest
                before += V[i, c] * V[i, c]
        for p in range(c):
            R[p, c] = 0.0
        square = before
        for _ in range(2 if c > 0 else 0):
            least, square = 0.5 * square, 0.0
            for p in range(c):
                projection = 0.0
                for i in range(dim):
                    projection += V[i, p] * V[i, c]
                R[c, p] = projection  # for the time being
            for p in range(c):
                for i in range(dim):
                    V[i, c] -= R[c, p] * V[i, p]
                R[p, c] += R[c, p]
                R[c, p] = 0.0
            for i in range(dim):
                square += V[i, c] * V[i, c]
            if square > least:
                break
        norm = math.sqrt(square)
        if norm <= SINGULAR_RATIO * dim * math.sqrt(before):
            return False
        inverse = 1.0 / norm
        for i in range(dim):
            V[i, c] *= inverse
        for p in range(c):
            R[p, c] *= largest
        R[c, c] = norm * largest
    return True
'''

HOUSEHOLDER = '''
@njit
def factorise(V, R):
    """The same for long columns: Householder reflections by LAPACK."""
    dim, k = V.shape
    if k == 0:  # the state alone: LAPACK refuses empty arrays
        return True
    Q, S = np.linalg.qr(V)
    for c in range(k):
        largest = 0.0
        for i in range(dim):
            largest = max(largest, abs(V[i, c]))
        if largest == 0.0:
            return False
        before = 0.0
        for i in range(dim):
            before += (V[i, c] / largest) ** 2
        if abs(S[c, c]) / largest <= SINGULAR_RATIO * dim * math.sqrt(before):
            return False
    for c in range(k):
        sign = -1.0 if S[c, c] < 0.0 else 1.0
        for j in range(k):
            R[c, j] = sign * S[c, j]
        for i in range(dim):
            V[i, c] = sign * Q[i, c]
    return True
'''

LONG_COLUMN = 24  # from here on LAPACK is faster than loops

SINGULAR_RATIO = 4 * np.finfo(float).eps
"""R_jj below dim times this share of column j before projection is rounding noise: the frame has collapsed."""


def is_singular(V: Array, R: Array) -> bool:
    """Whether a diagonal entry of R, from V = QR of one member, vanishes to rounding."""
    largest = np.max(np.abs(V), axis=0)  # scaled by it, a column's norm neither over- nor underflows
    if np.any(largest == 0):
        return True
    return bool(np.any(np.diagonal(R) / largest <= SINGULAR_RATIO * len(V) * np.linalg.norm(V / largest, axis=0)))


def solve_upper(R: Array, C: Array) -> Array:
    """Solve R X = C for upper-triangular R by back substitution; shapes (..., k, k), over leading axes at once."""
    X = np.empty(np.broadcast_shapes(R.shape, C.shape))
    for i in reversed(range(R.shape[-1])):
        known = R[..., i : i + 1, i + 1 :] @ X[..., i + 1 :, :]
        X[..., i, :] = (C[..., i, :] - known[..., 0, :]) / R[..., i, i, None]
    return X
