"""Wolfe and Samelson's method for covariant vectors: where backward and forward Lyapunov vectors meet.

It shares the forward pass with Ginelli's method, but nothing of the backward one. It also gives the backward and
forward vectors themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys.algorithms.checks.derivative import derivative_check, derivative_defect
from dynsys.algorithms.checks.rest import LONGEST_CYCLE, collapse_check
from dynsys.algorithms.checks.rounding import check_of_factors, last_growth
from dynsys.algorithms.window import pass_window
from dynsys.errors import warn_of
from dynsys.passes.clock import in_step
from dynsys.passes.orthonormal import orthonormalise, random_frames, unpacked
from dynsys.passes.run_state import RunState, Tangent
from dynsys.passes.stopped import raise_if_stopped
from dynsys.results.result import MEMORY_LIMIT, Result, handed_over, labelled, readonly

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


@attrs.frozen(eq=False, kw_only=True)
class LyapunovVectors(Result):
    """Backward, forward and covariant Lyapunov vectors along a trajectory, all unit columns.

    Attributes
    ----------
    times, available : ndarray, shape (m,)
        Times for which the vectors are valid, and at which the trajectory was known far enough.
    states : ndarray, shape (..., m, dim)
    backward : ndarray, shape (..., m, dim, k)
        Orthonormal; the past determines them. Column j belongs to exponent j.
    forward : ndarray, shape (..., m, dim, k), or (..., m, dim, 0) if k < dim
        Orthonormal; the future determines them. They need the transposed tangent on all of R^dim.
    covariant : ndarray, shape (..., m, dim, k)
        The same as Ginelli's, up to signs, found in another way.
    dt, steps_per_interval, stride : float, int, int
    end : RunState
        Where the forward pass ended, with the status of every member.
    """

    times: Array = readonly()
    available: Array = readonly()
    states: Array = readonly()
    backward: Array = readonly()
    forward: Array = readonly()
    covariant: Array = readonly()
    dt: float
    steps_per_interval: int
    stride: int
    end: RunState

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time, state and vector."""
        variables = {
            "x": (("time", "state"), self.states),
            "backward_vector": (("time", "state", "vector"), self.backward),
            "covariant_vector": (("time", "state", "vector"), self.covariant),
        }
        if self.forward.shape[-1]:
            variables["forward_vector"] = (("time", "state", "vector"), self.forward)
        vector = np.arange(1, self.covariant.shape[-1] + 1)
        return labelled(self, variables, {"time": self.times, "available": ("time", self.available), "vector": vector})

    def __repr__(self) -> str:
        return f"LyapunovVectors(covariant {self.covariant.shape}, forward {self.forward.shape})"


def wolfe_samelson(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    tail: int | None = None,
    k: int | None = None,
    seed: int = 0,
    stride: int = 1,
    memory_limit: float = MEMORY_LIMIT,
    progress: Callable[[int, int], None] | None = None,
) -> LyapunovVectors:
    """Backward, forward and covariant Lyapunov vectors at the ends of `intervals` intervals.

    Forward in time, M_n Q_{n-1} = Q_n R_n: the columns of Q converge to the backward Lyapunov vectors q^-, which the
    past determines. Backward in time the transposed tangent, in the coordinates P = Q^T q^+ of the frame,

        R_n^T P_n = P_{n-1} S_n,     P orthogonal, S upper triangular,

    converges to the forward Lyapunov vectors q^+ = Q P, which the future determines. The span of the first j backward
    vectors and the complement of the first j - 1 forward ones meet in a line, that of covariant vector j:

        v_j = Q y,     y_i = 0 for i > j,     (P^T y)_l = 0 for l < j.

    Parameters
    ----------
    tangent, x0, intervals, steps_per_interval, warmup, tail, k, seed, stride, memory_limit, progress
        As for `dynsys.algorithms.ginelli.ginelli`; in the backward transient (`tail`) the forward vectors converge.

    Returns
    -------
    LyapunovVectors

    Raises
    ------
    InvalidInputError, DivergenceError, SingularTangentError
        As for `dynsys.algorithms.ginelli.ginelli`.

    Notes
    -----
    Meant as a check, in NumPy, and not for long runs: O(k^3) per interval, O(k^4) and three times Ginelli's memory for
    each time returned. Ctrl-C: as for `dynsys.algorithms.ginelli.ginelli`.

    References
    ----------
    C. L. Wolfe, R. M. Samelson, Tellus A 59, 355 (2007);
    P. V. Kuptsov, U. Parlitz, J. Nonlinear Sci. 22, 727 (2012).

    Examples
    --------
    >>> from dynsys.models.classics import LinearMap
    >>> passes = {"intervals": 1, "warmup": 60, "tail": 60}
    >>> vectors = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent().wolfe_samelson([0.0, 0.0], **passes)
    >>> abs(vectors.covariant[0]).round(6)  # the eigenvectors (1, 0) and (2, -3) / 13^(1/2)
    array([[1.     , 0.5547 ],
           [0.     , 0.83205]])
    """
    tangent = in_step(tangent, x0)
    window = pass_window(
        tangent, x0, intervals=intervals, steps_per_interval=steps_per_interval, warmup=warmup, tail=tail, k=k,
        seed=seed, stride=stride, memory_limit=memory_limit, progress=progress, others=True,
    )  # fmt: skip
    end, backward = window.end, window.frames[:, : window.strides]
    members, _, dim, k = backward.shape
    P = random_frames(k, k, seed + 1, end.members)
    coordinates = np.full((members, window.strides, k, k), np.nan)
    for i in reversed(range(window.R.shape[1])):
        due = window.converged > i
        if (i + 1) % window.stride == 0 and due.any():
            coordinates[due, i // window.stride] = P[due]
        running = window.finished > i
        P[running] = orthonormalise(np.swapaxes(unpacked(window.R[running, i]), -1, -2) @ P[running])[0]

    lost = np.isnan(coordinates[..., :1, :1])
    frames = np.where(lost, np.nan, backward) if lost.any() else backward
    given = end.as_given
    vectors = LyapunovVectors(
        times=tangent.time(window.ends),
        available=tangent.time(window.ends + window.tail * window.steps),
        states=given(window.states[:, : window.strides]),
        backward=handed_over(given(frames)),
        forward=given(frames @ coordinates if k == dim else np.empty((*frames.shape[:3], 0))),
        covariant=given(frames @ _meetings(np.where(lost, np.eye(k), coordinates))),
        dt=tangent.dt,
        steps_per_interval=window.steps,
        stride=window.stride,
        end=end.without_records(),
    )
    raise_if_stopped(tangent, end, vectors)
    last = last_growth(window.R, window.finished, LONGEST_CYCLE + 2)
    checks = [
        collapse_check(tangent, window.first, end, last),
        check_of_factors(tangent, window.R, window.finished, window.steps),
        derivative_check(tangent, derivative_defect(tangent, window.first)),
    ]
    warn_of(checks, stacklevel=2)
    return vectors


def _meetings(P: Array) -> Array:
    """Unit columns y_j in the span of the first j axes, orthogonal to the first j - 1 columns of P."""
    k = P.shape[-1]
    Y = np.zeros_like(P)
    Y[..., 0, 0] = 1.0
    for j in range(2, k + 1):
        Y[..., :j, j - 1] = np.linalg.qr(P[..., :j, : j - 1], mode="complete")[0][..., j - 1]
    return Y
