"""Systems of ten to a thousand components, rings and all-to-all, and maps: against loops and against the processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np

from benchmarks.handwritten import lorenz96_slope, rk4_loop
from benchmarks.handwritten_medium import coupled_maps_image, henon_image, kuramoto_slope, map_loop, roessler_ring_slope
from benchmarks.measure import Contestant, race, table
from dynsys import RK4, Flow, Map, RunState, SymbolicFlow
from dynsys.models.classics import CoupledMapLattice, Henon, Lorenz96
from dynsys.passes.status import RUNNING
from dynsys.systems.tangent import TangentSystem

Array = np.ndarray

DT, EVERY = 0.01, 10
STAGES, COMBINE = 4, 3 + 4  # of RK4, and its multiply-adds for each entry of the frame: the stages and their sum


@attrs.frozen(eq=False)
class Case:
    """A system with k vectors from x0, (dim,) or (members, dim), and the same as a loop (x, V, intervals, steps)."""

    name: str
    system: Flow | Map
    x0: Array
    k: int
    loop: Callable[..., Any]

    @property
    def tangent(self) -> TangentSystem:
        """The tangent, on one thread."""
        system = self.system
        return (system.tangent() if isinstance(system, Map) else system.tangent(RK4(DT))).on_one_thread()

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds that a step needs for its vectors.

        A stage takes one for each entry of the Jacobian that does not vanish and each vector; and a step its share
        1/EVERY of Gram-Schmidt's n k (k + 1).
        """
        dim, k = self.system.dimension, self.k
        entries = np.count_nonzero(self.system.jacobian(0, np.linspace(0.1, 0.9, dim)))
        stages, combine = (1, 0) if isinstance(self.system, Map) else (STAGES, COMBINE)
        return k * (stages * entries + combine * dim + dim * (k + 1) / EVERY)

    def looped(self, x: Array, V: Array, intervals: int) -> Any:
        """The loop over some intervals."""
        clock = () if isinstance(self.system, Map) else (DT,)
        return self.loop(x, V, intervals, EVERY, *clock)


def roessler_ring(sites: int) -> SymbolicFlow:
    """Roessler systems on a ring, coupled by x."""
    equations = {}
    for i in range(sites):
        equations |= {
            f"x{i}": f"-y{i} - z{i} + d*(x{(i - 1) % sites} + x{(i + 1) % sites} - 2*x{i})",
            f"y{i}": f"x{i} + a*y{i}",
            f"z{i}": f"b + z{i}*(x{i} - c)",
        }
    return SymbolicFlow.of(equations, {"a": 0.2, "b": 0.2, "c": 5.7, "d": 0.1})


def kuramoto(dim: int) -> SymbolicFlow:
    """Phase oscillators, each written out as a sum over all others: dx_i/dt = w_i + K/n sum_j sin(x_j - x_i)."""
    pulls = [" + ".join(f"sin(x{j} - x{i})" for j in range(dim) if j != i) for i in range(dim)]
    equations = {f"x{i}": f"w{i} + K/{dim}*({pull})" for i, pull in enumerate(pulls)}
    return SymbolicFlow.of(equations, {"K": 2.0} | {f"w{i}": i / dim for i in range(dim)})


def cases(quick: bool) -> Iterator[Case]:
    """What is measured."""
    for dim, k in ((5, 2), (11, 11)) if quick else ((10, 10), (40, 1), (40, 10), (40, 40), (200, 200), (1000, 20)):
        x0 = 8.0 + 0.01 * np.sin(1.0 + np.arange(dim))
        yield Case(f"Lorenz 1996, {dim}, {k}", Lorenz96(dim), x0, k, rk4_loop(lorenz96_slope, dim, k))
    sites = 3 if quick else 30
    for k in (5,) if quick else (10, 3 * sites):
        x0 = np.where(np.arange(3 * sites) % 3, 0.0, -5.0 + np.cos(np.arange(3 * sites)))
        loop = rk4_loop(roessler_ring_slope, 3 * sites, k)
        yield Case(f"ring of Rössler, {3 * sites}, {k}", roessler_ring(sites), x0, k, loop)
    for dim in (4,) if quick else (10, 20):
        x0, loop = np.linspace(0.0, 3.0, dim), rk4_loop(kuramoto_slope, dim, dim)
        yield Case(f"Kuramoto, {dim}, {dim}", kuramoto(dim), x0, dim, loop)
    yield Case("Hénon, 2, 2", Henon(), np.zeros(2), 2, map_loop(henon_image, 2, 2))
    sites = 5 if quick else 40
    x0 = np.modf(np.sqrt(2.0) * np.arange(1, sites + 1))[0]
    loop = map_loop(coupled_maps_image, sites, sites)
    yield Case(f"coupled maps, {sites}, {sites}", CoupledMapLattice(sites), x0, sites, loop)
    dim, members = (5, 3) if quick else (40, 64)
    x0 = 8.0 + 0.01 * np.sin(1.0 + np.arange(dim)) + 0.001 * np.arange(members)[:, None]
    name = f"{members} members of Lorenz 1996, {dim}, {dim}"
    yield Case(name, Lorenz96(dim), x0, dim, rk4_loop(lorenz96_slope, dim, dim))


def medium(rounds: int, quick: bool) -> None:
    """All of them; CPU time of the thread."""
    side = 200 if quick else 1000
    matrix = np.random.default_rng(0).normal(size=(side, side))
    print(
        f"## Systems of medium size\n\nName, n, k. RK4, dt = {DT}, re-orthonormalised every {EVERY} steps; CPU time of "
        "the thread, per step and member. The share is that of the multiply-adds which the vectors need, at the rate "
        f"of a product of two {side} x {side} matrices measured alongside. First: the first call, compilation "
        "included.\n"
    )
    rows = []
    for case in cases(quick):
        own, loop, product = race(
            [*entrants(case, 2 if quick else 100), Contestant("", lambda: matrix @ matrix, side**3)],
            rounds,
        )
        share = f"{100 * case.multiply_adds * product.over(own):.0f} %"
        rows.append([case.name, own.median, loop.median, loop.over(own), share, own.first])
    table(["", "dynsys, ns", "loop, ns", "loop / dynsys", "share", "first, s"], rows)


def entrants(case: Case, milliseconds: float) -> list[Contestant]:
    """The project and the loop, from one state, for some time each by rough guess."""
    dim = case.system.dimension
    state = RunState.start(case.x0, dim, case.k, seed=0)
    guess = 1e-6 * max(50.0, case.multiply_adds / 4)  # milliseconds of a step
    intervals = max(1, int(milliseconds / (guess * EVERY * len(state.x))))
    tangent = case.tangent

    def run() -> None:
        end = tangent.forward(state, intervals=intervals, steps_per_interval=EVERY, record="growth")
        assert (end.status == RUNNING).all()  # nothing is left out

    chosen = list(zip(state.x, state.Q, strict=True))[:8]  # one after the other: eight tell as much as 64

    def looped() -> list[Any]:
        return [case.looped(x, V, intervals) for x, V in chosen]

    return [
        Contestant("dynsys", run, len(state.x) * intervals * EVERY),
        Contestant("loop", looped, len(chosen) * intervals * EVERY),
    ]
