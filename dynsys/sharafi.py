"""Sharafi's estimate: covariant Lyapunov vectors without the far future.

The published abstract promises CLVs "without knowledge of the future trajectory"; the recipe itself could not be had
in full. This is its plainest reading, the lagged one: Ginelli's backward pass over the last `window` intervals only.
"""

from __future__ import annotations

import attrs
import numpy as np

from dynsys.errors import whole_number
from dynsys.ginelli import backward, collect, random_triangles
from dynsys.indicators import line_distance
from dynsys.passes import Pass, Tangent, begin, raise_if_stopped, warm_up
from dynsys.results import CovariantVectors

Array = np.ndarray


def sharafi(
    tangent: Tangent,
    x0: Array | Pass,
    *,
    intervals: int,
    steps_per_interval: int = 1,
    warmup: int | None = None,
    window: int = 10,
    k: int | None = None,
    seed: int = 0,
) -> CovariantVectors:
    """Lagged estimates of the covariant Lyapunov vectors, available `window` intervals after they are valid.

    With M_n Q_{n-1} = Q_n R_n, the backward pass starts at interval n from C = I and goes back `window` intervals,

        C_{m-1} = R_m^{-1} C_m D_m,     m = n, ..., n - window + 1,

    and Q C there is the estimate: valid at t_{n - window}, known at t_n, unchanged by anything later. Vector j is
    wrong in direction i < j by about exp(-(lambda_i - lambda_j) window dtau): a short window in a system with small
    gaps gives little more than the Gram-Schmidt vectors. `diagnostics.start_agreement` compares C = I with a random
    start and shows how much the answer depends on it.

    Parameters
    ----------
    tangent, x0, steps_per_interval, k, seed
        As for `dynsys.benettin.benettin`.
    intervals : int
        Number of estimates, one at the end of each interval.
    warmup : int, optional
        Intervals before the first. Default: as many as `intervals`, at most 1000.
    window : int
        Intervals of the backward pass.

    Returns
    -------
    CovariantVectors
        With `available` = `times` + window intervals.

    Raises
    ------
    InvalidInputError, DivergenceError, SingularTangentError
        As for `dynsys.benettin.benettin`.

    References
    ----------
    N. Sharafi, M. Timme, S. Hallerberg, Phys. Rev. E 96, 032220 (2017) (abstract);
    N. Sharafi, C. Martin, S. Hallerberg, arXiv:2405.00743, Sec. V: "a backward iteration interval".
    """
    intervals = whole_number("intervals", intervals, 1)
    steps_per_interval = whole_number("steps_per_interval", steps_per_interval, 1)
    warmup = whole_number("warmup", min(intervals, 1000) if warmup is None else warmup, 0)
    window = whole_number("window", window, 1)
    start = warm_up(tangent, begin(tangent, x0, k, seed), warmup, steps_per_interval)
    raise_if_stopped(tangent, start)
    end = tangent.forward(start, intervals=intervals + window, steps_per_interval=steps_per_interval, record="frames")
    raise_if_stopped(tangent, end, end)

    shape = (len(end.x), intervals, *end.R.shape[2:])
    C = np.broadcast_to(np.eye(shape[-1]), shape)
    other = np.broadcast_to(random_triangles(end, seed, 0)[:, None], shape)
    for back in reversed(range(1, window + 1)):  # all estimates at once
        R = end.R[:, back : back + intervals]
        C, other = backward(R, C)[0], backward(R, other)[0]
    growth = backward(end.R[:, :intervals], C)[1]

    Q = end.Qs[:, :intervals]
    estimates = attrs.evolve(
        end,
        n=end.n - window * steps_per_interval,
        R=end.R[:, :intervals],
        xs=end.xs[:, :intervals],
        Qs=Q @ C,
    )
    agreement = line_distance(Q[:, -1] @ other[:, -1], Q[:, -1] @ C[:, -1])
    return collect(tangent, estimates, end, growth, steps_per_interval, window, agreement)
