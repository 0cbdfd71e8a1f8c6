"""The three-layer network under minibatches: against loops, against the processor, and on two threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import attrs
import numpy as np

from benchmarks.handwritten import relu, tanh, three_layer_loops
from benchmarks.measure import Contestant, products_on_two_threads, race, table
from dynsys import Euler, FlowStep, NumbaTangent, RunState
from dynsys.models.activations import Activation, ReLU, Tanh
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.systems.minibatches import Minibatches

Array = np.ndarray

DT, SIZE, EVERY = 3e-5, 32, 20
TANH = 25  # multiply-adds that one tanh is worth


@attrs.frozen(eq=False)
class Runs:
    """Training runs of a 2-hidden-1 network: all vectors, minibatches of 32, Euler, an interval of 20 steps."""

    activation: Activation
    loop: Callable[..., tuple]
    hidden: int

    @property
    def sgd(self) -> Minibatches:
        """The driven flow."""
        return ThreeLayerGradientFlow(*regression_task(), hidden=self.hidden, activation=self.activation).minibatches(
            SIZE
        )

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds that a step needs by way of the Jacobian, which is symmetric.

        For a sample with H hidden units and Q = 4H + 1 weights: d and the output 3H, the gradient of the output 3H,
        its outer product Q (Q + 1) / 2, the velocity Q, the blocks that couple a unit's two layers 4H; for a curved
        activation also sigma and its derivatives TANH + 3 and the six entries of a unit's own block with their
        factors, 10. For a step: J V with k = Q columns Q^3, the update Q, and a share 1/EVERY of Gram-Schmidt's
        Q k (k + 1).
        """
        H, Q = self.hidden, 4 * self.hidden + 1
        curved = 0 if self.activation.piecewise_linear else (TANH + 3 + 10) * H
        sample = 3 * H + 3 * H + Q * (Q + 1) / 2 + Q + 4 * H + curved
        return SIZE * sample + Q**3 + Q + Q * Q * (Q + 1) / EVERY

    def project(self, members: int | None, steps: int, threads: int = 1, shared: bool = True) -> Contestant:
        """The project; every call goes on where the last one ended, so that it draws its permutations."""
        sgd = attrs.evolve(self.sgd, shared=shared)
        tangent = NumbaTangent(FlowStep(sgd, Euler(DT)), threads=threads)
        end = RunState.start(sgd.flow.initial(members=members, seed=1), sgd.dimension, None, seed=0)

        def run() -> Array:
            nonlocal end
            end = tangent.forward(end, intervals=steps // EVERY, steps_per_interval=EVERY, record="growth")
            return end.growth

        return Contestant(f"dynsys, {threads} thread(s)", run, (members or 1) * steps)

    def handwritten(self, members: int | None, steps: int) -> list[Contestant]:
        """The loops on the given batches, and drawing their own, one member after the other."""
        sgd = self.sgd
        start = RunState.start(sgd.flow.initial(members=members, seed=1), sgd.dimension, None, seed=0)
        X, y, rows = np.array(sgd.flow.X), np.array(sgd.flow.y[:, 0]), sgd.rows(0, steps)
        given, drawing = three_layer_loops(self.loop, self.hidden)
        states = list(zip(start.x, start.Q, strict=True))

        def with_batches() -> None:
            for w, V in states:
                given(w, V, X, y, rows, DT, EVERY)

        def on_its_own() -> None:
            for m, (w, V) in enumerate(states):
                drawing(w, V, X, y, SIZE, steps, DT, EVERY, m)

        work = len(states) * steps
        return [Contestant("batches given", with_batches, work), Contestant("draws batches", on_its_own, work)]


def cases(quick: bool) -> Iterator[Runs]:
    """The networks that are measured."""
    for hidden in (2,) if quick else (2, 16):
        yield Runs(ReLU(), relu, hidden)
        yield Runs(Tanh(), tanh, hidden)


def networks(rounds: int, quick: bool) -> None:
    """Ensembles and a single run against the loops."""
    print("## Three-layer network\n\nMinibatches of 32, Euler 3e-5, all vectors, re-orthonormalised every 20 steps.\n")
    rows = []
    for case in cases(quick):
        for members in (None, 64) if quick else (None, 64, 1024):
            budget = (2_000 if quick else 300_000) // (1 if case.hidden == 2 else 30)
            steps = max(EVERY, budget // (members or 3) // EVERY * EVERY)
            at_once = min(members or 1, 64)  # one after the other, 64 tell as much as 1024
            alone = max(steps, budget // 3 // at_once // EVERY * EVERY)
            own, apart, given, drawing = race(
                [
                    case.project(members, steps),
                    case.project(members, steps, shared=False),
                    *case.handwritten(None if members is None else at_once, alone),
                ],
                rounds,
            )
            name = f"2-{case.hidden}-1 {case.activation}"
            rows.append(
                [
                    name,
                    members or "single",
                    own.median,
                    apart.median,
                    given.median,
                    drawing.median,
                    given.over(own),
                    drawing.over(own),
                ]
            )
    header = [
        "network",
        "members",
        "dynsys, ns",
        "batches of their own, ns",
        "loop, given batches, ns",
        "loop, drawing, ns",
    ]
    table([*header, "given / dynsys", "drawing / dynsys"], rows)


def peak(rounds: int, quick: bool) -> None:
    """The multiply-adds of the ensemble against those of a matrix product in the same process."""
    side = 200 if quick else 1000
    matrix = np.random.default_rng(0).normal(size=(side, side))
    print(f"## Share of the processor\n\nAgainst a {side} x {side} matrix product (double precision) on one thread.\n")
    rows = []
    for case in cases(quick):
        steps = EVERY if quick or case.hidden > 2 else 400
        members = 64 if quick else (1024 if case.hidden == 2 else 256)
        product = Contestant("product", lambda: matrix @ matrix, side**3)
        own, best = race([case.project(members, steps), product], rounds)
        rows.append(
            [
                f"2-{case.hidden}-1 {case.activation}",
                members,
                case.multiply_adds,
                1 / best.median,
                case.multiply_adds / own.median,
                f"{100 * case.multiply_adds * best.over(own):.0f} %",
            ]
        )
    header = ["network", "members", "multiply-adds per network-step", "product, 10^9/s", "dynsys, 10^9/s", "share"]
    table(header, rows)


def threads(rounds: int, quick: bool) -> None:
    """Two threads against one; matrix products beside them, since cores may share their multipliers."""
    print("## Two threads\n")
    members, rows = 64 if quick else 1024, []
    rows.append(["matrix products, for comparison", "", products_on_two_threads(rounds, quick), ""])
    for case in cases(quick):
        steps = EVERY if quick or case.hidden > 2 else 400
        one, two = race([case.project(members, steps, 1), case.project(members, steps, 2)], rounds, time.perf_counter)
        same = "the same bits" if np.array_equal(one.answer, two.answer) else "OTHER NUMBERS"
        rows.append([f"2-{case.hidden}-1 {case.activation}", members, one.over(two), same])
    table(["network", "members", "one thread / two threads", "results"], rows)
