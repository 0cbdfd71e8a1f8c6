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

STARTS = 8  # random ones with which the start of a backward pass is compared: a single one may be near by chance
BY_CHANCE = 3.0  # the single other frame is allowed to be nearer than most
NEAR = 1e-4  # radians: vectors that are closer nearly coincide
LOOKED_AT = 4_000_000  # numbers of vectors, of a block of members, that are looked at together
COMPARED, MOST_COMPARED = 200_000, 256  # numbers (times x k x k), and times, at which errors are computed
FEWEST = 8  # of either
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


def start_shares(start: Array, grown: Array, seed: int) -> Array:
    """Shares of faster vectors in those that a backward pass found, (members, k, k), had it begun elsewhere.

    The largest over some random starts: the start was `start`, (members, k, k), and log growth from there `grown`.
    """
    k = start.shape[-1]
    others = np.triu(np.random.default_rng([seed, k]).normal(size=(STARTS, k, k)))
    with np.errstate(all="ignore"):
        found = solve_upper(start[:, None], others / np.linalg.norm(others, axis=-2, keepdims=True))
        return _relative(found).max(axis=1) * np.exp(np.minimum(grown[:, None, :] - grown[:, :, None], MOST))


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
    vectors: Array, growth: Array, last: Array, ahead: Array, behind: Array, inexact: Array, stride: int = 1
) -> Errors:
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
    """
    members, _, _, k = vectors.shape
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
        size = max(1, LOOKED_AT // (len(times.seen) * k * max(vectors.shape[2:])))
        for block in (alike[a : a + size] for a in range(0, len(alike), size)):
            V, grown = vectors[block[:, None], times.seen], growth[block, : end + 1]
            part = _errors(times, V, grown, ahead[block], behind[block], inexact[block], stride)
            for field in attrs.fields(Errors):
                getattr(found, field.name)[block] = getattr(part, field.name)
    return found


@attrs.frozen(eq=False)
class _Times:
    """Of m times those that are looked at, indices, and how they are cut into stretches, of which the first is short.

    Errors are computed at the ends of the stretches; rounding enters in each where two vectors are closest.
    """

    seen: Array
    every: int
    length: int
    count: int

    @classmethod
    def of(cls, m: int, vectors: Array) -> _Times:
        """Few enough for vectors of this shape."""
        *_, dim, k = vectors.shape
        every = -(-m // max(FEWEST, LOOKED_AT // (k * max(dim, k))))
        seen = np.arange((m - 1) % every, m, every)  # the last is one of them
        length = -(-len(seen) // int(np.clip(COMPARED // k**2, FEWEST, MOST_COMPARED)))
        return cls(seen, every, length, -(-len(seen) // length))

    @property
    def ends(self) -> Array:
        """Of the stretches, among those seen."""
        return np.arange(len(self.seen) - 1, -1, -self.length)[::-1]

    def greatest(self, values: Array) -> Array:
        """Where in every stretch values (members, seen) are greatest, (members, stretches), among those seen."""
        short = self.count * self.length - values.shape[1]
        padded = np.concatenate([np.full((len(values), short), -np.inf), values], axis=1)
        found = padded.reshape(len(values), self.count, self.length).argmax(axis=2)
        return found + self.length * np.arange(self.count) - short


def _errors(times: _Times, V: Array, growth: Array, ahead: Array, behind: Array, inexact: Array, stride: int) -> Errors:
    """The same for members that all have the same times."""
    members, _, dim, k = V.shape
    each = np.arange(members)
    gaps = _gaps(V)
    nearest = gaps.min(axis=(-2, -1))
    at, ends = times.greatest(-nearest), times.ends
    rows = np.append(np.arange(k), k - 1)  # what is not followed is taken to grow like the last that is
    faster, slower = np.triu(np.ones((k + 1, k), bool), 1), np.tril(np.ones((k + 1, k), bool), -1)
    slower[k] = k < dim
    grown = np.cumsum(growth, axis=1)

    # X_ij = log(eps ||M|| |w_i| / g_j) - (G_i - G_j) enters here; as a share of later or earlier times it is
    # exp(X_ij + G_i - G_j) there, the same expression for i < j, carried backward, and for i > j, carried forward.
    # Errors of different times are independent: their squares add up
    there, own = (series[each[:, None], times.seen[at]] for series in (grown, growth / stride))
    w = np.concatenate([_log_row_norms(V[each[:, None], at]), np.zeros((*at.shape, 1))], axis=-1)
    entering = np.log(inexact * np.sqrt(stride * times.every * times.length))[:, None] + own.max(axis=-1)
    X = 2 * ((entering[..., None] + w - there[..., rows])[..., None] + (there - own)[..., None, :])
    earlier, later = np.logaddexp.accumulate(X, axis=1), np.full_like(X, -np.inf)
    later[:, :-1] = np.logaddexp.accumulate(X[:, :0:-1], axis=1)[:, ::-1]

    G = grown[:, times.seen[ends]]
    D = G[..., rows, None] - G[..., None, :]
    half = np.concatenate([gaps[:, ends], np.full((members, len(ends), 1, k), np.sqrt(2.0))], axis=2) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        log_sine = np.log(np.where(np.isinf(half), 1.0, 2 * half * np.sqrt(1 - half**2)))
        before, after = np.log(behind)[:, None], np.log(np.pad(ahead, ((0, 0), (0, 1), (0, 0))))[:, None]

    def turned(logs: Array, which: Array) -> Array:
        return np.where(which, np.exp(np.minimum(logs + D, MOST) + log_sine), 0.0).max(axis=1)

    closest = nearest.argmin(axis=1)
    pairs = gaps[each, closest].reshape(members, -1)
    smallest = 2 * np.arcsin(pairs.min(axis=1) / 2) if k > 1 else np.full(members, np.nan)
    return Errors(
        starts=turned(after - D[:, -1:], faster),
        frames=turned(before, slower),
        rounding=turned(np.where(faster, later, earlier) / 2, faster | slower),
        angle=smallest,
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


def _log_row_norms(V: Array) -> Array:
    """Log |w_i| of the rows of the (pseudo-)inverse of V, (..., dim, k); infinite where columns are dependent."""
    k = V.shape[-1]
    with np.errstate(all="ignore"):
        R: Array = np.linalg.qr(V, mode="r")  # type: ignore[assignment]
        inverse = solve_upper(R, np.broadcast_to(np.eye(k), R.shape))
        found = np.log(np.linalg.norm(inverse, axis=-1))
    return np.where(np.isnan(found), np.inf, found)
