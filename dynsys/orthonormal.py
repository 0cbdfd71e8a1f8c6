"""Orthonormal frames: the factorisation V = QR with positive diagonal, and the record of a pass.

There is one convention for the whole package: R_ii > 0, so that Q is unique and comparable over time. Compiled
kernels contain `GRAM_SCHMIDT`, the same factorisation as plain loops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

from dynsys.errors import DivergenceError, InvalidInputError, SingularTangentError, whole_number

if TYPE_CHECKING:
    from dynsys.tangent import TangentSystem

Array = np.ndarray

RUNNING, DIVERGED, SINGULAR = 0, 1, 2  # status of a member

Record = Literal["nothing", "growth", "R", "frames"]


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


def random_frames(dim: int, k: int, seed: int, members: Array) -> Array:
    """Random orthonormal frames, shape (members, dim, k), each keyed by (seed, member).

    A smaller k gives the leading columns of the same frame, so that k exponents are the first k of all.
    """
    columns = [np.random.default_rng([seed, member]).normal(size=(k, dim)).T for member in members]
    return orthonormalise(np.array(columns))[0]


GRAM_SCHMIDT = '''
@njit
def factorise(V, R):
    """V = QR by modified Gram-Schmidt, each column projected twice; V becomes Q. False if an R_ii vanishes."""
    dim, k = V.shape
    for c in range(k):
        before = 0.0
        for i in range(dim):
            before += V[i, c] * V[i, c]
        for p in range(k):
            R[p, c] = 0.0
        for _ in range(2):
            for p in range(c):
                projection = 0.0
                for i in range(dim):
                    projection += V[i, p] * V[i, c]
                R[p, c] += projection
                for i in range(dim):
                    V[i, c] -= projection * V[i, p]
        norm = 0.0
        for i in range(dim):
            norm += V[i, c] * V[i, c]
        norm = math.sqrt(norm)
        R[c, c] = norm
        if norm <= SINGULAR_RATIO * math.sqrt(before):
            return False
        for i in range(dim):
            V[i, c] /= norm
    return True
'''

SINGULAR_RATIO = 4 * np.finfo(float).eps
"""R_jj below this share of column j before projection is rounding noise: the frame has collapsed."""


def is_singular(V: Array, R: Array) -> bool:
    """Whether a diagonal entry of R, from V = QR of one member, vanishes to rounding."""
    return bool(np.any(np.diagonal(R) <= SINGULAR_RATIO * np.linalg.norm(V, axis=0)))


@attrs.frozen(eq=False)
class Pass:
    """Where a pass over the trajectory ended, and what it recorded. A pass can be continued from it.

    Attributes
    ----------
    n : int
        Steps since the start of the run, warm-up included.
    x, Q : ndarray, shapes (members, dim) and (members, dim, k)
        Last states and orthonormal frames; NaN for members that stopped.
    status, stopped : ndarray, shape (members,)
        RUNNING, DIVERGED or SINGULAR, and the step at the end of the interval in which that happened (-1: not).
    members : ndarray, shape (members,)
        Identity of every member: the key of its random numbers.
    single : bool
        Whether the run began with one state (dim,): then results have no member axis.
    growth : ndarray, shape (members, intervals, k), or None
        log R_ii of every interval.
    R : ndarray, shape (members, intervals, k, k), or None
        The triangular factors: R[:, i] maps the start of interval i to its end.
    xs, Qs : ndarray, shapes (members, intervals, dim) and (members, intervals, dim, k), or None
        States and frames at the ends of the intervals.
    """

    n: int
    x: Array
    Q: Array
    status: Array
    stopped: Array
    members: Array
    single: bool
    growth: Array | None = None
    R: Array | None = None
    xs: Array | None = None
    Qs: Array | None = None

    @classmethod
    def start(cls, x0: Array, dimension: int, k: int | None, seed: int) -> Pass:
        """The start of a run at x0, (dim,) or (members, dim), with random frames of k columns (None: dim)."""
        x = np.array(x0, dtype=float)  # a copy: nothing that the user passes in is ever changed
        if x.ndim not in (1, 2) or x.shape[-1] != dimension or x.size == 0:
            raise InvalidInputError(f"x0 must have shape ({dimension},) or (members, {dimension}), got {x.shape}")
        if not np.isfinite(x).all():
            raise InvalidInputError(f"x0 must be finite, got {np.argwhere(~np.isfinite(x)).tolist()} NaN or infinite")
        k = dimension if k is None else whole_number("k", k, 1)
        if k > dimension:
            raise InvalidInputError(f"k must be at most the dimension {dimension}, got {k}")
        states = np.atleast_2d(x)
        members = np.arange(len(states))
        return cls(
            n=0,
            x=states,
            Q=random_frames(dimension, k, whole_number("seed", seed, 0), members),
            status=np.zeros(len(states), dtype=np.int8),
            stopped=np.full(len(states), -1, dtype=np.int64),
            members=members,
            single=x.ndim == 1,
        )

    @classmethod
    def recording(cls, start: Pass, n: int, intervals: int, record: Record) -> Pass:
        """A pass that begins where `start` ended and will end at step n, with room for what is recorded."""
        members, dim, k = start.Q.shape

        def room(wanted: bool, *shape: int) -> Array | None:
            return np.full((members, intervals, *shape), np.nan) if wanted else None

        return cls(
            n=n,
            x=start.x.copy(),
            Q=start.Q.copy(),
            status=start.status.copy(),
            stopped=start.stopped.copy(),
            members=start.members,
            single=start.single,
            growth=room(record == "growth", k),
            R=room(record in ("R", "frames"), k, k),
            xs=room(record == "frames", dim),
            Qs=room(record == "frames", dim, k),
        )

    def without_records(self) -> Pass:
        """The same end, without what was recorded on the way."""
        return attrs.evolve(self, growth=None, R=None, xs=None, Qs=None)


def begin(tangent: TangentSystem, x0: Array | Pass, k: int | None, seed: int) -> Pass:
    """Where an algorithm begins: the start of a run, or the end of an earlier one, to be continued."""
    if not isinstance(x0, Pass):
        return Pass.start(x0, tangent.dimension, k, seed)
    if x0.x.shape[1] != tangent.dimension:
        raise InvalidInputError(f"the run to be continued has dimension {x0.x.shape[1]}, not {tangent.dimension}")
    if k is not None and k != x0.Q.shape[2]:
        raise InvalidInputError(f"the run to be continued follows k = {x0.Q.shape[2]} vectors, not {k}: leave k out")
    return x0.without_records()


CHUNK_NUMBERS, CHUNK_STEPS = 4_000_000, 200_000  # bounds on what one forward call records, and on its drive


def forward_in_chunks(
    tangent: TangentSystem,
    start: Pass,
    intervals: int,
    steps_per_interval: int,
    record: Record,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Pass]:
    """The passes that cover `intervals` intervals, each of bounded memory; `progress(done, intervals)` after each."""
    members, dim, k = start.Q.shape
    numbers = members * {"nothing": 1, "growth": k, "R": k * k, "frames": dim + dim * k + k * k}[record]
    chunk = max(1, min(CHUNK_NUMBERS // numbers, CHUNK_STEPS // steps_per_interval))
    done = 0
    while done < intervals:
        count = min(chunk, intervals - done)
        start = tangent.forward(start, intervals=count, steps_per_interval=steps_per_interval, record=record)
        done += count
        yield start
        if progress is not None:
            progress(done, intervals)


def warm_up(tangent: TangentSystem, start: Pass, intervals: int, steps_per_interval: int) -> Pass:
    """Align the frames: pass over `intervals` intervals and record nothing."""
    end = start
    for end in forward_in_chunks(tangent, start, intervals, steps_per_interval, "nothing"):  # noqa: B007
        pass
    return end


def raise_if_stopped(tangent: TangentSystem, end: Pass, partial: Any = None) -> None:
    """Raise if a run of one state stopped, with its finished part attached; members of an ensemble are only marked."""
    if not end.single or end.status[0] == RUNNING:
        return
    step = int(end.stopped[0])
    diverged = end.status[0] == DIVERGED
    reason = "state or tangent vectors became infinite or NaN" if diverged else "a diagonal entry of R vanished"
    remedy = "check x0, shorten dt" if diverged else "follow fewer vectors (k), shorten dt"
    raise (DivergenceError if diverged else SingularTangentError)(
        f"{reason} by t = {tangent.time(step):g} (step {step}): {remedy}, or orthonormalise more often (fewer "
        "steps_per_interval); what was finished is in the attribute `partial`",
        tangent.time(step),
        partial,
    )


def solve_upper(R: Array, C: Array) -> Array:
    """Solve R X = C for upper-triangular R by back substitution; shapes (..., k, k), over leading axes at once."""
    X = np.empty(np.broadcast_shapes(R.shape, C.shape))
    for i in reversed(range(R.shape[-1])):
        known = R[..., i : i + 1, i + 1 :] @ X[..., i + 1 :, :]
        X[..., i, :] = (C[..., i, :] - known[..., 0, :]) / R[..., i, i, None]
    return X
