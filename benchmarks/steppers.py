"""What accuracy of tangent vectors costs, by method: Lorenz 1963, against heyoka and SciPy; and returns to a plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from benchmarks import taylor
from benchmarks.measure import Contestant, race, seconds, table
from dynsys import DOP853, RK4, RK8, DormandPrince, ImplicitMidpoint, Midpoint, PoincareMap, RunState
from dynsys.models.classics import Lorenz63
from dynsys.passes.orthonormal import unpacked
from dynsys.passes.status import RUNNING
from dynsys.plotting import grid, save_figure, style
from dynsys.steppers.stepper import Stepper

Array = np.ndarray

START, SPAN, STRETCHES = np.array([1.0, 2.0, 20.0]), 2.0, 5
INTERVAL = 1.0  # between factorisations: over two units of time the third vector is lost in rounding
OURS: dict[str, Sequence[Stepper]] = {
    "Midpoint": [Midpoint(dt) for dt in (0.01, 0.001)],
    "ImplicitMidpoint": [ImplicitMidpoint(dt) for dt in (0.01, 0.001)],
    "RK4": [RK4(dt) for dt in (0.02, 0.01, 0.005, 0.0025, 0.001, 0.0005)],
    "RK8": [RK8(dt) for dt in (0.1, 0.05, 0.02, 0.01, 0.005)],
    "DormandPrince": [DormandPrince(INTERVAL, rtol, rtol) for rtol in (1e-6, 1e-9, 1e-12)],
    "DOP853": [DOP853(INTERVAL, rtol, rtol) for rtol in (1e-6, 1e-9, 1e-12)],
}
HEYOKA = (1e-6, 1e-9, 1e-12, 1e-15)
SCIPY = {"RK45": (1e-6, 1e-9), "DOP853": (1e-9, 1e-12)}
CURVES: dict[str, dict[str, Any]] = {
    "Midpoint": {"color": "0.6", "marker": "v", "linestyle": ":"},
    "ImplicitMidpoint": {"color": "0.6", "marker": "^", "linestyle": ":"},
    "RK4": {"color": "black", "marker": "o", "linestyle": "-"},
    "DormandPrince": {"color": "black", "marker": "s", "linestyle": "--"},
    "RK8": {"color": "black", "marker": "*", "linestyle": "-"},
    "DOP853": {"color": "black", "marker": "P", "linestyle": "--"},
    "heyoka": {"color": "0.45", "marker": "D", "linestyle": "-"},
    "SciPy RK45": {"color": "0.45", "marker": "x", "linestyle": "--"},
    "SciPy DOP853": {"color": "0.45", "marker": "+", "linestyle": "-."},
}


@attrs.frozen(eq=False)
class Method:
    """A method at one setting: a stretch from a state, -> (state, (3, 3)); and many stretches one after the other."""

    curve: str
    setting: str
    stretch: Callable[[Array], tuple[Array, Array]]
    along: Callable[[int], Any]


def steppers(rounds: int, quick: bool, folder: Path | None = None) -> None:
    """State and three tangent vectors over stretches of two units of time, as table and figure; returns to a plane."""
    stretches = 1 if quick else STRETCHES
    print(
        "## Work and precision\n\nLorenz 1963, state and three tangent vectors over stretches of two units of time, "
        "each of which begins with a new frame (ours: factorised twice). Errors, relative to the norm: "
        f"median over {stretches} stretches, against a Taylor series in {taylor.DIGITS} digits. CPU time of the thread "
        "per unit of time, along a trajectory. heyoka and SciPy integrate the variational equations, SciPy with a "
        "right-hand side compiled by Numba.\n"
    )
    states, tangents = truth(stretches)
    methods = [*ours(), *heyoka(), *scipy()]
    entrants = []
    for one in methods:
        count = 1
        one.along(count)  # compiles
        while seconds(partial(one.along, count))[0] < (0.001 if quick else 0.05):
            count *= 4
        entrants.append(Contestant(one.setting, partial(one.along, count), count))
    rows = []
    for one, timing in zip(methods, race(entrants, rounds), strict=True):
        wrong: list[list[float]] = [[], []]
        for x, X, M in zip(states[:-1], states[1:], tangents, strict=True):
            for errors, a, b in zip(wrong, one.stretch(x), (X, M), strict=True):
                errors.append(np.linalg.norm(a - b) / np.linalg.norm(b))
        of_state, of_vectors = map(float, np.median(wrong, axis=1))
        rows.append((one.curve, one.setting, of_state, of_vectors, timing.median / 1e3 / SPAN))
    table(
        ["method", "error of the state", "of the vectors", "µs per unit of time"],
        [[f"`{setting}`", f"{a:.1e}", f"{b:.1e}", cost] for _, setting, a, b, cost in rows],
    )
    if folder is not None:
        print(f"Figure: {draw(rows, folder)}\n")
    _returns(rounds, quick)


def truth(stretches: int) -> tuple[list[Array], list[Array]]:
    """States at the ends of stretches, the first start included, and the tangent of each stretch."""
    states, tangents = [START], []
    for _ in range(stretches):
        x, M = taylor.lorenz63(states[-1], SPAN)
        states.append(x)
        tangents.append(M)
    return states, tangents


def ours() -> Iterator[Method]:
    """The project's methods."""
    for curve, settings in OURS.items():
        for stepper in settings:
            yield _own(curve, stepper)


def _own(curve: str, stepper: Stepper) -> Method:
    tangent = Lorenz63().tangent(stepper).on_one_thread()
    times, steps = round(SPAN / INTERVAL), round(INTERVAL / stepper.dt)

    def stretch(x: Array) -> tuple[Array, Array]:
        start = attrs.evolve(RunState.start(x, 3, 3, seed=0), Q=np.eye(3)[None])
        end = tangent.forward(start, intervals=times, steps_per_interval=steps, record="R")
        M = np.eye(3)
        for R in unpacked(end.R)[0]:
            M = R @ M
        return end.x[0], end.Q[0] @ M

    def along(count: int) -> None:
        start = RunState.start(START, 3, 3, seed=0)
        end = tangent.forward(start, intervals=count * times, steps_per_interval=steps, record="growth")
        assert end.status[0] == RUNNING

    return Method(curve, repr(stepper), stretch, along)


def heyoka() -> Iterator[Method]:
    """The Taylor integrator of F. Biscani and D. Izzo, just-in-time compiled; its variational equations."""
    try:
        import heyoka as hy
    except ImportError as problem:
        print(f"Skipped heyoka: {problem}.\n", flush=True)
        return
    x, y, z = hy.make_vars("x", "y", "z")
    flow = [(x, 10.0 * (y - x)), (y, x * (28.0 - z) - y), (z, x * y - 8.0 / 3.0 * z)]
    equations = hy.var_ode_sys(flow, hy.var_args.vars, order=1)
    for tolerance in HEYOKA:
        integrator = hy.taylor_adaptive(equations, list(START), tol=tolerance)

        def stretch(x: Array, integrator: Any = integrator) -> tuple[Array, Array]:
            integrator.time, integrator.state[:3], integrator.state[3:] = 0.0, x, np.eye(3).ravel()
            integrator.propagate_until(SPAN)
            return integrator.state[:3].copy(), integrator.state[3:].reshape(3, 3).copy()

        yield Method("heyoka", f"heyoka {hy.__version__}, tol={tolerance:g}", stretch, partial(_chain, stretch))


def scipy() -> Iterator[Method]:
    """SciPy's adaptive methods."""
    from scipy.integrate import solve_ivp

    for method, tolerances in SCIPY.items():
        for rtol in tolerances:

            def stretch(x: Array, method: str = method, rtol: float = rtol) -> tuple[Array, Array]:
                start = np.concatenate([x, np.eye(3).ravel()])
                end = solve_ivp(_variational(), (0.0, SPAN), start, method=method, rtol=rtol, atol=rtol).y[:, -1]
                return end[:3], end[3:].reshape(3, 3)

            yield Method(f"SciPy {method}", f"SciPy {method}, rtol={rtol:g}", stretch, partial(_chain, stretch))


def _chain(stretch: Callable[[Array], tuple[Array, Array]], count: int) -> Array:
    """Stretches one after the other, each with a new frame."""
    x = START
    for _ in range(count):
        x = stretch(x)[0]
    return x


@cache
def _variational() -> Any:
    """The Lorenz equations with their variational equations, compiled."""
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

    return slope


def draw(rows: Sequence[tuple[str, str, float, float, float]], folder: Path) -> Path:
    """Time against error, and the data."""
    with style():
        figure, axes = grid(
            1, 1, size=(6.5, 4.2), title="Lorenz 1963: error of three tangent vectors over two units of time"
        )
        panel = axes[0, 0]
        for curve, look in CURVES.items():
            points = [(error, cost) for name, _, _, error, cost in rows if name == curve]
            if points:
                panel.plot(*zip(*points, strict=True), label=curve, markersize=4, linewidth=1.2, **look)
        panel.set(xscale="log", yscale="log", xlabel="relative error", ylabel="CPU time per unit of time (µs)")
        figure.legend(ncols=1, loc="outside right center")
        folder.mkdir(parents=True, exist_ok=True)
        names = ("method", "setting", "error_of_state", "error_of_vectors", "us_per_unit_of_time")
        return save_figure(figure, folder / "steppers", dict(zip(names, zip(*rows, strict=True), strict=True)))


def _returns(rounds: int, quick: bool) -> None:
    """Returns to a plane, with both tangent vectors."""
    returns = PoincareMap(Lorenz63(), RK4(0.01), [0.0, 0.0, 1.0], 27.0, direction=-1)
    start, count = RunState.start(returns.first_crossing(START), 2, 2, seed=0), 2 if quick else 20

    def entrant(kind: str, count: int) -> Contestant:
        tangent = returns.tangent(backend=kind)  # type: ignore[arg-type]
        options: Any = {"intervals": count, "steps_per_interval": 1, "record": "growth"}
        return Contestant(kind, lambda: tangent.forward(start, **options), count)

    results = race([entrant("auto", 100 * count), entrant("numpy", count)], rounds)
    print(
        "Returns to the plane z = 27 with both tangent vectors, RK4, dt = 0.01, about 75 steps each; CPU time of the "
        "thread:\n"
    )
    table(
        ["", "µs per return"],
        [[name, one.median / 1e3] for name, one in zip(("compiled", "NumPy"), results, strict=True)],
    )
