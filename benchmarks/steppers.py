"""What accuracy of state and tangent vectors costs, by method: Lorenz 1963, against SciPy's adaptive methods."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from benchmarks.measure import Contestant, race, table
from dynsys import RK4, DormandPrince, FlowStep, ImplicitMidpoint, Midpoint, NumbaTangent, PoincareMap, RunState
from dynsys.models.classics import Lorenz63
from dynsys.steppers.stepper import Stepper

Array = np.ndarray

START, SPAN = np.array([1.0, 2.0, 20.0]), 2.0
OURS: list[Stepper] = [
    *[Midpoint(0.001), ImplicitMidpoint(0.001), RK4(0.01), RK4(0.001)],
    *[DormandPrince(SPAN, rtol, rtol) for rtol in (1e-6, 1e-9, 1e-12)],
]
THEIRS = [("RK45", 1e-6), ("RK45", 1e-9), ("DOP853", 1e-9), ("DOP853", 1e-12)]


def steppers(rounds: int, quick: bool) -> None:
    """State and three tangent vectors over two units of time, on one stretch; then returns to a plane."""
    print(
        "## Steppers\n\nLorenz 1963, state and three tangent vectors over two units of time, without "
        "re-orthonormalisation. Errors are relative to the norm, against DOP853 at 1e-13. SciPy integrates the "
        "variational equations, with a right-hand side compiled by Numba.\n"
    )
    truth = _scipy("DOP853", 1e-13)
    entrants = [Contestant(f"`{stepper!r}`", _ours(stepper), 1) for stepper in OURS]
    entrants += [
        Contestant(f"SciPy {method}, rtol = {rtol:g}", lambda m=method, r=rtol: _scipy(m, r), 1)  # type: ignore[misc]
        for method, rtol in THEIRS
    ]
    rows = []
    results = race(entrants[2:6] if quick else entrants, rounds)
    for one in results:
        wrong = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(one.answer, truth, strict=True)]
        rows.append([one.name, f"{wrong[0]:.1e}", f"{wrong[1]:.1e}", one.median / 1e3])
    table(["method", "error of the state", "of the vectors", "µs"], rows)
    _returns(rounds, quick)


def _ours(stepper: Stepper) -> Any:
    steps = round(SPAN / stepper.dt)
    tangent = NumbaTangent(FlowStep(Lorenz63(), stepper), threads=1)
    start = attrs.evolve(RunState.start(START, 3, 3, seed=0), Q=np.eye(3)[None])

    def run() -> tuple[Array, Array]:
        end = tangent.forward(start, intervals=1, steps_per_interval=steps, record="frames")
        R = np.zeros((3, 3))
        R.T[np.tril_indices(3)] = end.R[0, 0]
        return end.x[0], end.Q[0] @ R

    return run


def _scipy(method: str, rtol: float) -> tuple[Array, Array]:
    from scipy.integrate import solve_ivp

    start = np.concatenate([START, np.eye(3).ravel()])
    end = solve_ivp(_variational(), (0.0, SPAN), start, method=method, rtol=rtol, atol=rtol).y[:, -1]
    return end[:3], end[3:].reshape(3, 3)


def _variational() -> Any:
    """The Lorenz equations with their variational equations, compiled."""
    if not _COMPILED:
        import numba

        @numba.njit
        def slope(t: float, y: Array) -> Array:
            out = np.empty(12)
            out[0], out[1] = 10.0 * (y[1] - y[0]), y[0] * (28.0 - y[2]) - y[1]
            out[2] = y[0] * y[1] - 8.0 / 3.0 * y[2]
            for c in range(3, 6):
                out[c] = 10.0 * (y[c + 3] - y[c])
                out[c + 3] = (28.0 - y[2]) * y[c] - y[c + 3] - y[0] * y[c + 6]
                out[c + 6] = y[1] * y[c] + y[0] * y[c + 3] - 8.0 / 3.0 * y[c + 6]
            return out

        _COMPILED.append(slope)
    return _COMPILED[0]


_COMPILED: list[Any] = []


def _returns(rounds: int, quick: bool) -> None:
    """Returns to a plane, with both tangent vectors."""
    returns = PoincareMap(Lorenz63(), RK4(0.01), [0.0, 0.0, 1.0], 27.0, direction=-1)
    start, count = RunState.start(returns.first_crossing(START), 2, 2, seed=0), 2 if quick else 20

    def entrant(kind: str, count: int) -> Contestant:
        tangent = returns.tangent(backend=kind)  # type: ignore[arg-type]
        options: Any = {"intervals": count, "steps_per_interval": 1, "record": "growth"}
        return Contestant(kind, lambda: tangent.forward(start, **options), count)

    results = race([entrant("numba", 100 * count), entrant("numpy", count)], rounds)
    print("Returns to the plane z = 27 with both tangent vectors, RK4, dt = 0.01, about 75 steps each:\n")
    table(["backend", "µs per return"], [[one.name, one.median / 1e3] for one in results])
