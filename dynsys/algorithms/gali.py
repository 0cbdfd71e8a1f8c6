"""The generalised alignment indices: how fast deviation vectors lose their volume, which tells order from chaos."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys.algorithms.checks.derivative import derivative_check, derivative_defect
from dynsys.algorithms.checks.rounding import check_of_means
from dynsys.errors import InterruptedWarning, InvalidInputError, warn_of, whole_number, whole_stride
from dynsys.passes.clock import in_step
from dynsys.passes.orthonormal import unpacked
from dynsys.passes.plan import FEWER, plan_run
from dynsys.passes.run_state import RunState, Tangent, run, state_alone, warm_up
from dynsys.passes.stopped import raise_if_stopped
from dynsys.results.result import Result, labelled, readonly

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


@attrs.frozen(eq=False, kw_only=True)
class GALI(Result):
    """Generalised alignment indices along a trajectory; see `dynsys.algorithms.gali.gali`.

    Attributes
    ----------
    times : ndarray, shape (m,)
    log_gali : ndarray, shape (..., m, k)
        Column j - 1 is ln GALI_j; GALI_1 = 1.
    dt, steps_per_interval, stride : float, int, int
    end : RunState
        Last step, states, frames and the status of every member.
    """

    times: Array = readonly()
    log_gali: Array = readonly()
    dt: float
    steps_per_interval: int
    stride: int
    end: RunState

    @property
    def gali(self) -> Array:
        """GALI_1, ..., GALI_k themselves, shape (..., m, k); below 1e-308 they are 0."""
        return np.exp(self.log_gali)

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time and order (of the index, from 1)."""
        order = np.arange(1, self.log_gali.shape[-1] + 1)
        return labelled(self, {"log_gali": (("time", "order"), self.log_gali)}, {"time": self.times, "order": order})

    def __repr__(self) -> str:
        return f"GALI(log_gali {self.log_gali.shape})"


def gali(
    tangent: Tangent,
    x0: Array | RunState,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int = 0,
    k: int | None = None,
    seed: int = 0,
    stride: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> GALI:
    """Generalised alignment indices GALI_1, ..., GALI_k: volumes spanned by unit deviation vectors.

    Deviation vectors w_1, ..., w_k, orthonormal at the start, are pushed and normalised, but never made orthogonal:

        GALI_j(t) = |w_1 ^ ... ^ w_j|(t).

    On a chaotic orbit GALI_j ~ exp(-[(lambda_1 - lambda_2) + ... + (lambda_1 - lambda_j)] t). On a regular orbit of a
    Hamiltonian system of N degrees of freedom it stays of order one for j <= N, and falls like a power of t beyond.
    With R_n the factors of a frame that starts as the w, the w are Q_n C_n with C_n = R_n C_{n-1} D_n, so
    GALI_j = prod_{i <= j} (C_n)_ii, of which the logarithms are summed: no index is too small.

    Parameters
    ----------
    tangent, steps_per_interval, k, seed, stride, progress
        As for `dynsys.algorithms.benettin.benettin`; the indices are recorded at the end of every stride.
    x0 : array_like, shape (dim,) or (members, dim), or RunState
        Initial states, or the `end` of an earlier run: its states run on, with new deviation vectors.
    intervals : int
        Length of the record.
    warmup : int
        Intervals of the state alone before the deviation vectors begin.

    Returns
    -------
    GALI

    Raises
    ------
    InvalidInputError, DivergenceError, SingularTangentError
        As for `dynsys.algorithms.benettin.benettin`.

    References
    ----------
    C. Skokos, T. C. Bountis, C. Antonopoulos, Physica D 231, 30 (2007).

    Examples
    --------
    >>> from dynsys.models.classics import LinearMap
    >>> indices = LinearMap([[2.0, 0.0], [0.0, 0.5]]).tangent().gali([0.0, 0.0], intervals=300, seed=1)
    >>> slope = (indices.log_gali[-1, 1] - indices.log_gali[-2, 1]).round(6)  # -(ln 2 - ln 1/2)
    >>> float(slope)
    -1.386294
    """
    intervals = whole_number("intervals", intervals, 1)
    steps = whole_number("steps_per_interval", steps_per_interval, 1)
    stride, warmup = whole_stride(stride, intervals), whole_number("warmup", warmup, 0)
    k = tangent.dimension if k is None else whole_number("k", k, 1)
    if k > tangent.dimension:
        raise InvalidInputError(f"k must be at most the dimension {tangent.dimension}, got {k}")
    tangent = in_step(tangent, x0)
    first, m = state_alone(tangent, x0), intervals // stride
    pace = plan_run(
        tangent, first, warmup + intervals, steps, progress,
        needed=8 * m * (2 * len(first.x) * k + 2), remedy=f"record strides of intervals (stride), {FEWER}",
    )  # fmt: skip
    begun = warm_up(tangent, first, warmup, steps, pace.during())
    raise_if_stopped(tangent, begun)
    start = begun.with_frames(k, seed)
    members = len(start.x)
    found = np.full((members, intervals // stride, k), np.nan)
    total = np.zeros((members, k))
    C, log_diagonal = np.broadcast_to(np.eye(k), (members, k, k)), np.zeros((members, k))

    def keep(done: int, part: RunState) -> None:
        nonlocal C, log_diagonal, total
        for i, R in enumerate(np.moveaxis(unpacked(part.R), 1, 0), start=done):
            C = R @ C
            norms = np.linalg.norm(C, axis=1)
            total = total + np.log(np.diagonal(R, axis1=1, axis2=2))
            C = C / norms[:, None]
            log_diagonal = log_diagonal + np.log(np.diagonal(R, axis1=1, axis2=2) / norms)
            if (i + 1) % stride == 0:
                found[:, i // stride] = np.cumsum(log_diagonal, axis=1)

    end = run(tangent, start, intervals, steps, "R", keep, pace.during(progress, warmup))
    done = (end.n - start.n) // steps
    if done == 0:
        raise KeyboardInterrupt
    if done < intervals:
        warnings.warn(
            f"interrupted after {done} of {intervals} intervals; the result is that of these. A run that goes on from "
            "its end begins with new deviation vectors",
            InterruptedWarning,
            stacklevel=2,
        )
    strides = done // stride
    if end.single:
        strides = min(strides, int(np.isfinite(found[0, :, 0]).sum()))
    indices = GALI(
        times=tangent.time(start.n + steps * stride * np.arange(1, strides + 1)),
        log_gali=end.as_given(found[:, :strides]),
        dt=tangent.dt,
        steps_per_interval=steps,
        stride=stride,
        end=end.without_records(),
    )
    raise_if_stopped(tangent, end, indices if strides else None)
    means = total / (done * steps * tangent.dt)
    checks = [
        check_of_means(tangent, means, start, end, steps),
        derivative_check(tangent, derivative_defect(tangent, start)),
    ]
    warn_of(checks, stacklevel=2)
    return indices
