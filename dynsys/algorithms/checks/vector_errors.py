"""How wrong covariant vectors are inside a window, from what is known at its ends.

Two sets of vectors that are pushed exactly, v_i and v'_j = sum_i a_ij v_i, keep their coefficients but for growth:

    a_ij(t) / a_jj(t) = a_ij(s) / a_jj(s) exp((G_i - G_j)(t) - (G_i - G_j)(s)),     G_i: log growth along v_i.

So the share of v_i in v'_j, known at one end, is known at all times, without a second pass. Shares of faster vectors
(i < j) come from the start of the backward pass and vanish with the time to the end; those of slower ones (i > j) come
from the first frame and vanish with the time from the beginning. Neither falls steadily: where local exponents
exchange their order for a while, a share that is negligible at the end grows, and two vectors may nearly coincide
meanwhile. Rounding enters everywhere and is carried on in the same way: an error eps of an interval's tangent M adds

    eps ||M|| |w_i| / g_i  (i < j)     or     eps ||M|| |w_i| / g_j  (i > j),

g_i the growth along v_i, w_i the row of V^-1, which is the longer the nearer v_i is to the span of the others.
"""

from __future__ import annotations

import attrs
import numpy as np

from dynsys.passes.orthonormal import solve_upper

Array = np.ndarray

STARTS = 32  # with which that of a backward pass is compared: a single one may be near by chance
BY_CHANCE = 3.0  # the single other frame is allowed to be nearer than most
NEAR = 1e-4  # radians: vectors that are closer nearly coincide
TIMES, FEWEST = 4_000, 16  # that are looked at, of all members together, and of each
BLOCK = 400_000  # numbers of vectors that are looked at together
ROUNDED, MOST_ROUNDED = 50_000, 256  # numbers (times x k x k), and times, at which rounding enters
MOST = 50.0  # log of a share beyond which it makes no difference


@attrs.frozen(eq=False)
class Errors:
    """What can be said of vectors all over a window; NaN, and -1, where there is nothing to look at.

    Attributes
    ----------
    starts, frames, rounding : ndarray, shape (members, k + 1, k)
        Largest sine by which a share of vector i turns vector j, from each of the three causes; row k stands for
        directions that are not followed.
    angle, time : ndarray, shape (members,)
        Smallest angle between two vectors, in radians, and the index of its time.
    pair : ndarray of int, shape (members, 2)
        The two vectors.
    near : ndarray of int, shape (members,)
        Number of times, of those looked at, with two vectors closer than `NEAR`.
    """

    starts: Array
    frames: Array
    rounding: Array
    angle: Array
    time: Array
    pair: Array
    near: Array

    @property
    def turned(self) -> Array:
        """By how much others turn every vector, whatever the cause, (members, k + 1, k)."""
        return self.starts + self.frames + self.rounding


def start_shares(start: Array, vectors: Array, last: Array, grown: Array) -> Array:
    """Shares of faster vectors in those that a backward pass found, (members, k, k), had it begun elsewhere.

    It began at `start`, (members, k, k), and log growth from there is `grown`. The right beginning is not known; the
    coefficients C of vectors = Q C inside the window are what it may have been, near tangencies included. Of a sample
    of them, the share that a tenth exceeds.
    """
    members = len(vectors)
    at = np.linspace(0, np.maximum(last, 0), STARTS).round().astype(int).T
    with np.errstate(all="ignore"):
        seen = vectors[np.arange(members)[:, None], at]
        known = np.isfinite(seen).all(axis=(-2, -1), keepdims=True)  # LAPACK refuses NaN
        others: Array = np.linalg.qr(np.where(known, seen, np.eye(*seen.shape[-2:])), mode="r")  # type: ignore[assignment]
        shares = np.sort(_relative(solve_upper(start[:, None], others)), axis=1)[:, STARTS * 9 // 10]
        return shares * np.exp(np.minimum(grown[:, None, :] - grown[:, :, None], MOST))


def random_start_shares(start: Array) -> Array:
    """The same before growth, (members, k, k), where nothing but random beginnings can be compared with `start`."""
    k = start.shape[-1]
    others = np.triu(np.random.default_rng(k).normal(size=(STARTS, k, k)))
    with np.errstate(all="ignore"):
        return _relative(solve_upper(start[:, None], others)).max(axis=1)


def turned_by(shares: Array, grown: Array, vectors: Array) -> Array:
    """Sines, (n, k, k), by which shares at the end turn vectors, (n, dim, k), that grow by `grown` until then."""
    with np.errstate(invalid="ignore"):
        shares = shares * np.exp(np.minimum(grown[:, None, :] - grown[:, :, None], MOST))
        return np.minimum(1.0, shares * _sines(_gaps(vectors)))


def pair_shares(one: Array, other: Array) -> Array:
    """Shares of faster vectors in those of two backward passes, C and C' (members, k, k), that ended here."""
    with np.errstate(all="ignore"):
        return _relative(solve_upper(one, other))


def _relative(A: Array) -> Array:
    """|a_ij / a_jj| for i < j; 0 elsewhere."""
    return np.triu(np.abs(A / np.diagonal(A, axis1=-2, axis2=-1)[..., None, :]), 1)


def frame_shares(C: Array, Q: Array, other: Array, grown: Array) -> Array:
    """Shares of slower vectors, and of directions not followed, in those of two forward frames, (members, k + 1, k).

    With C^-1 Q^T Q' = L U the leading spans of Q' are those of V L, V = Q C. `grown` is log R_ii on the way of one of
    the frames: what is left of another one is about exp of its differences. The larger of both is taken.
    """
    members, dim, k = Q.shape
    shares = np.zeros((members, k + 1, k))
    with np.errstate(all="ignore"):
        inside = np.swapaxes(Q, -1, -2) @ other
        outside = other - Q @ inside
        left = solve_upper(C, inside)
        for a in range(k):  # elimination without exchange of rows: the order is that of the spans
            shares[:, a + 1 : k, a] = np.abs(left[:, a + 1 :, a] / left[:, a, a, None])
            shares[:, k, a] = np.linalg.norm(outside[:, :, a], axis=-1) / np.abs(left[:, a, a])
            factor = left[:, a, a + 1 :] / left[:, a, a, None]
            outside[:, :, a + 1 :] -= outside[:, :, a, None] * factor[:, None]
            left[:, :, a + 1 :] -= left[:, :, a, None] * factor[:, None]
        left_over = np.exp(np.minimum(grown[:, :, None] - grown[:, None, :], MOST))
    shares[:, :k] = BY_CHANCE * np.maximum(shares[:, :k], np.tril(left_over, -1))
    shares[:, k] *= dim > k
    return np.where(np.isnan(shares), np.inf, shares)


def errors_inside(
    vectors: Array, growth: Array, last: Array, ahead: Array, behind: Array, inexact: Array, stride: int = 1,
    dim: int | None = None,
) -> Errors:  # fmt: skip
    """Errors all over a window.

    Parameters
    ----------
    vectors, growth : ndarray, shapes (members, m, dim, k) and (members, m, k)
        Covariant vectors at m times, and log growth along each on the way to it.
    last : ndarray of int, shape (members,)
        Index of a member's last time; what follows is not looked at.
    ahead, behind : ndarray, shapes (members, k, k) and (members, k + 1, k)
        Shares of faster vectors at the last time, and of slower ones before the first.
    inexact : ndarray, shape (members,)
        Relative error of an interval's tangent.
    stride : int
        Number of intervals between two times: growth in each is taken to be that of their mean.
    dim : int, optional
        Dimension of the state, where vectors are given by coefficients.
    """
    members, _, given, k = vectors.shape
    followed = k == (given if dim is None else dim)  # all directions
    starts, frames, rounding = np.full((3, members, k + 1, k), np.nan)
    found = Errors(
        starts,
        frames,
        rounding,
        angle=np.full(members, np.nan),
        time=np.full(members, -1),
        pair=np.full((members, 2), -1),
        near=np.zeros(members, dtype=int),
    )
    for end in np.unique(last[last >= 0]):
        alike, times = np.flatnonzero(last == end), _Times.of(int(end) + 1, vectors)
        size = max(1, BLOCK // (len(times.seen) * k * max(vectors.shape[2:])))
        for block in (alike[a : a + size] for a in range(0, len(alike), size)):
            V, grown = vectors[block[:, None], times.seen], growth[block, : end + 1]
            part = _errors(times, V, grown, ahead[block], behind[block], inexact[block], stride, followed)
            for field in attrs.fields(Errors):
                getattr(found, field.name)[block] = getattr(part, field.name)
    return found


@attrs.frozen(eq=False)
class _Times:
    """Of m times those that are looked at, indices, and how they are cut into stretches, of which the first is short.

    All times near both ends, where errors are largest, and of the others one in `every`. Rounding enters once in every
    stretch, where two vectors are closest.
    """

    seen: Array
    every: int
    length: int
    count: int

    @classmethod
    def of(cls, m: int, vectors: Array) -> _Times:
        """Few enough for vectors of this shape."""
        members, _, dim, k = vectors.shape
        most = max(FEWEST, min(TIMES // members, BLOCK // (k * max(dim, k))))
        seen, every = np.arange(m), 1
        if m > most:
            dense, middle = most // 4, most // 2
            between = np.linspace(dense, m - dense, middle, endpoint=False).astype(int)
            seen, every = np.concatenate([seen[:dense], between, seen[m - dense :]]), -(-(m - 2 * dense) // middle)
        length = -(-len(seen) // int(np.clip(ROUNDED // k**2, FEWEST, MOST_ROUNDED)))
        return cls(seen, every, length, -(-len(seen) // length))

    def cut(self, values: Array) -> Array:
        """Values (members, seen, ...) in stretches, (members, count, length, ...); -inf where the first is short."""
        short = np.full((len(values), self.count * self.length - values.shape[1], *values.shape[2:]), -np.inf)
        return np.concatenate([short, values], axis=1).reshape(-1, self.count, self.length, *values.shape[2:])


def _errors(
    times: _Times, V: Array, growth: Array, ahead: Array, behind: Array, inexact: Array, stride: int, followed: bool
) -> Errors:
    """The same for members that all have the same times; `followed` says whether all directions are."""
    members, _, _, k = V.shape
    each = np.arange(members)
    gaps = _gaps(V)
    nearest = gaps.min(axis=(-2, -1))
    within = times.cut(-nearest).argmax(axis=2)  # where the closest are, in every stretch
    at = within + times.length * np.arange(times.count) - (times.count * times.length - len(times.seen))
    rows = np.append(np.arange(k), k - 1)  # what is not followed is taken to grow like the last that is
    faster, slower = np.triu(np.ones((k + 1, k), bool), 1), np.tril(np.ones((k + 1, k), bool), -1)
    slower[k] = not followed
    grown = np.cumsum(growth, axis=1)

    # log of how a share of v_i in v_j turns it, but for a constant: exp(G_i - G_j) |sin of their angle|
    G = grown[:, times.seen]
    with np.errstate(divide="ignore", invalid="ignore"):
        turns = np.log(np.concatenate([_sines(gaps), np.ones((*gaps.shape[:2], 1, k))], axis=2))
        turns += G[..., rows, None] - G[..., None, :]
        before, after = np.log(behind), np.log(np.pad(ahead, ((0, 0), (0, 1), (0, 0))))
    after = after - (G[:, -1, rows, None] - G[:, -1, None, :])

    # X_ij = log(eps ||M|| |w_i| / g_j) - (G_i - G_j) enters; errors of different times are independent: their squares
    # add up, for i < j on the way back and for i > j on the way forward
    there, own = (series[each[:, None], times.seen[at]] for series in (grown, growth / stride))
    w = np.concatenate([_log_row_norms(V[each[:, None], at]), np.zeros((*at.shape, 1))], axis=-1)
    entering = np.log(inexact * np.sqrt(stride * times.every * times.length))[:, None] + own.max(axis=-1)
    X = (entering[..., None] + w - there[..., rows])[..., None] + (there - own)[..., None, :]
    others = np.full_like(X, -np.inf)  # what entered in later stretches, or in earlier ones
    others[:, :-1] = np.where(faster, np.logaddexp.accumulate(2 * X[:, :0:-1], axis=1)[:, ::-1] / 2, -np.inf)
    others[:, 1:] = np.where(slower, np.logaddexp.accumulate(2 * X[:, :-1], axis=1) / 2, others[:, 1:])
    in_stretch = times.cut(turns)
    later = (np.arange(times.length) >= within[..., None])[..., None, None]
    affected = np.where(later != faster, in_stretch, -np.inf).max(axis=2)
    rounding = np.maximum(others + in_stretch.max(axis=2), X + affected).max(axis=1)

    def turned(logs: Array, which: Array) -> Array:
        return np.where(which, np.exp(np.minimum(logs, 0.0)), 0.0)

    most = turns.max(axis=1)
    closest = nearest.argmin(axis=1)
    pairs = gaps[each, closest].reshape(members, -1)
    return Errors(
        starts=turned(after + most, faster),
        frames=turned(before + most, slower),
        rounding=turned(rounding, faster | slower),
        angle=2 * np.arcsin(pairs.min(axis=1) / 2) if k > 1 else np.full(members, np.nan),
        time=times.seen[closest],
        pair=np.stack(np.divmod(pairs.argmin(axis=1), k), axis=1) if k > 1 else np.full((members, 2), -1),
        near=np.count_nonzero(nearest < NEAR, axis=1),
    )


def _gaps(V: Array) -> Array:
    """Distances of the ends of unit columns, as lines: |v_i - v_j| or |v_i + v_j|; infinite for i = j."""
    k = V.shape[-1]
    found = np.full((*V.shape[:-2], k, k), np.inf)
    for i in range(k - 1):
        one, others = V[..., i, None], V[..., i + 1 :]
        signs = np.copysign(1.0, np.einsum("...dj,...di->...j", others, one))
        apart = others - signs[..., None, :] * one
        found[..., i, i + 1 :] = found[..., i + 1 :, i] = np.sqrt(np.einsum("...dj,...dj->...j", apart, apart))
    return found


def _sines(gaps: Array) -> Array:
    """Sines of the angles of lines whose ends are so far apart."""
    half = np.minimum(gaps, np.sqrt(2.0)) / 2
    return 2 * half * np.sqrt(1 - half**2)


def _log_row_norms(V: Array) -> Array:
    """Log |w_i| of the rows of the (pseudo-)inverse of V, (..., dim, k); infinite where columns are dependent."""
    k = V.shape[-1]
    with np.errstate(all="ignore"):
        R: Array = np.linalg.qr(V, mode="r")  # type: ignore[assignment]
        inverse = solve_upper(R, np.broadcast_to(np.eye(k), R.shape))
        found = np.log(np.linalg.norm(inverse, axis=-1))
    return np.where(np.isnan(found), np.inf, found)
