"""Random equations of all kinds, by steppers of all kinds: compiled steps are those of NumPy, alone and in company."""

import random

import numpy as np
import pytest

from dynsys import (
    DOP853,
    RK4,
    RK8,
    DormandPrince,
    Euler,
    ExplicitRungeKutta,
    FlowStep,
    ImplicitMidpoint,
    Midpoint,
    NumbaTangent,
    NumpyTangent,
    RunState,
    SymbolicFlow,
    SymbolicMap,
)

pytestmark = [pytest.mark.numba, pytest.mark.slow]

FUNCTIONS = [
    "sin({})", "cos({})", "tanh({})", "exp(-({})**2)", "({})**2", "({})**3", "1/(1 + ({})**2)", "sqrt(1 + ({})**2)",
    "Abs({})", "Max({}, 0.3)", "Min({}, 0.2)", "atan({})", "log(2 + ({})**2)", "erf({})", "softplus({})", "expit({})",
    "(1.5 + sin({}))**1.3",
]  # fmt: skip
NAMES = ["x", "y", "V", "k", "J", "total", "e", "floats", "p", "WIDTH", "COLUMNS", "u", "own", "B", "rows", "N"]


class Odd(ExplicitRungeKutta):
    """A last stage that nothing reads."""

    order = 2
    a = ((), (0.7,), (0.1, 0.0))
    b = (2 / 7, 5 / 7, 0.0)


STEPPERS = [
    Euler(0.01), Midpoint(0.01), RK4(0.02), RK8(0.02), Odd(0.01), ImplicitMidpoint(0.02),
    DormandPrince(0.05, rtol=1e-9, atol=1e-9), DOP853(0.1, rtol=1e-10, atol=1e-10),
]  # fmt: skip


def equations(draw):
    """A few, a lattice with other components beside it, all coupled to all, or each to a few."""

    def function(of):
        return draw.choice(FUNCTIONS).format(of)

    kind = draw.choice(["few", "lattice", "all", "sparse"])
    if kind == "few":
        names = draw.sample(NAMES, draw.randint(1, 7))
        return {
            name: f"-{name} + " + " + ".join(f"{draw.choice(['a', 'b', '0.7'])}*{function(draw.choice(names))}"
                                             for _ in range(draw.randint(1, 3)))
            for name in names
        }  # fmt: skip
    n, one, other = draw.randint(6, 30), draw.choice(FUNCTIONS), draw.choice(FUNCTIONS)
    if kind == "lattice":
        left, right = draw.randint(1, 2), draw.randint(1, 2)
        found = {}
        for i in range(n):
            found[f"x{i}"] = (
                f"-x{i} + a*{one.format(f'x{(i - left) % n}-x{i}')} + b*x{i}*{other.format(f'x{(i + right) % n}')}"
            )
            found[f"z{i}"] = f"0.1*(x{i} - z{i}) + 0.2*{other.format(f'z{(i + 1) % n}')}"
        return found | {"q": "-q + 0.1*x0"} if draw.random() < 0.5 else found
    return {
        f"x{i}": f"-x{i} + a/{n}*(" + " + ".join(
            f"{draw.uniform(-1, 1):.3f}*{one.format(f'x{j}-x{i}')}"
            for j in (range(n) if kind == "all" else draw.sample(range(n), 3)) if j != i
        ) + " + 0.1)"
        for i in range(n)
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_compiled_steps_are_those_of_numpy(seed):
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    given, flow = equations(draw), draw.random() < 0.8
    if draw.random() < 0.3:
        given[next(iter(given))] += " + 0.3*cos(t)"
    if not flow:
        given = {name: f"0.5*{name} + 0.1*({text})" for name, text in given.items()}
    system = (SymbolicFlow if flow else SymbolicMap).of(given, {"a": 0.8, "b": -0.4})
    stepper, dim = draw.choice(STEPPERS), system.dimension
    step = FlowStep(system, stepper) if flow else system
    k = min(dim, draw.choice([0, 1, 2, 3, 4, 7, 8, 9, dim]))
    members = draw.choice([0, 1, 2, 5, 17] if dim < 12 else [0, 1, 3])
    x = 0.1 + 0.7 * rng.normal(size=(members, dim) if members else dim)
    start = RunState.start(x, dim, k, seed)
    compiled, plain = NumbaTangent(step, threads=2), NumpyTangent(step)
    found, exact = (
        kind.forward(start, intervals=2, steps_per_interval=2, record="frames") for kind in (compiled, plain)
    )
    np.testing.assert_array_equal(found.status, exact.status)
    tolerance = 1e-7 if flow and stepper.tolerance else 1e-10
    for name in ("x", "Q", "R", "xs", "Qs"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), rtol=tolerance, atol=tolerance)
    for m in range(0, members, 4):
        alone = RunState.start(x[m : m + 1], dim, k, seed, members=[m])
        one = compiled.forward(alone, intervals=2, steps_per_interval=2, record="frames")
        for name in ("x", "Q", "R"):
            np.testing.assert_array_equal(getattr(one, name)[0], getattr(found, name)[m])
