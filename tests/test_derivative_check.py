"""Every run holds the derivative against the function: wrong ones are found, right ones raise no alarm."""

import math
import time
import warnings

import numpy as np
import pytest

from dynsys import RK4, DiagnosticWarning, Euler, FunctionFlow, FunctionMap, Map, NumpyTangent, RunState
from dynsys.algorithms.checks.derivative import derivative_defect
from dynsys.models.classics import Henon, LinearMap, Lorenz63

X = np.array([1.0, 2.0, 20.0])


def lorenz(t, x):
    return [10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]]


def lorenz_jacobian(t, x):
    return np.array([[-10, 10, 0], [28 - x[2], -1, -x[0]], [x[1], x[0], -8 / 3]])


def flipped(i, j):
    sign = 1.0 - 2.0 * (np.arange(3)[:, None] == i) * (np.arange(3) == j)
    return lambda t, x: sign * lorenz_jacobian(t, x)


WRONG = {f"sign of {i}, {j}": flipped(i, j) for i, j in np.ndindex(3, 3) if (i, j) != (0, 2)} | {
    "transposed": lambda t, x: lorenz_jacobian(t, x).T,
    "negative": lambda t, x: -lorenz_jacobian(t, x),
    "of another parameter": lambda t, x: lorenz_jacobian(t, x) + np.array([[0, 0, 0], [0.5, 0, 0], [0, 0, 0]]),
    "at another state": lambda t, x: lorenz_jacobian(t, x - 0.5),
}


def found(tangent, x):
    return derivative_defect(tangent, RunState.start(np.array(x, dtype=float), tangent.dimension, None, 0))


@pytest.mark.parametrize("jacobian", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("x", [X, 0.0 * X, [0.1, 5.0, 300.0]])
def test_a_wrong_jacobian_is_found_wherever_the_run_starts(jacobian, x):
    for stepper in (RK4(0.01), Euler(1e-5)):
        assert found(FunctionFlow(lorenz, 3, jacobian).tangent(stepper), x)[0] > 3e-4
        assert found(FunctionFlow(lorenz, 3, lorenz_jacobian).tangent(stepper), x)[0] == 0.0


@pytest.mark.parametrize(
    "algorithm",
    [
        lambda tangent: tangent.benettin(X, intervals=20),
        lambda tangent: tangent.ginelli(X, intervals=5, steps_per_interval=20, warmup=5, tail=5),
        lambda tangent: tangent.sharafi(X, intervals=5, warmup=20),
        lambda tangent: tangent.wolfe_samelson(X, intervals=5, warmup=20),
        lambda tangent: tangent.gali(X, intervals=5),
    ],
    ids=["benettin", "ginelli", "sharafi", "wolfe_samelson", "gali"],
)
def test_every_algorithm_says_so(algorithm):
    wrong = FunctionFlow(lorenz, 3, WRONG["sign of 1, 2"]).tangent(RK4(0.01))
    with pytest.warns(DiagnosticWarning) as caught:
        algorithm(wrong)
    told = [str(one.message) for one in caught if "the derivative is not that of the function" in str(one.message)]
    assert len(told) == 1
    assert "dynsys.testing.check_system" in told[0]
    assert caught[0].filename == __file__
    right = FunctionFlow(lorenz, 3, lorenz_jacobian).tangent(RK4(0.01))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        algorithm(right)
    assert not [one for one in caught if "the derivative" in str(one.message)]


def test_the_number_stands_in_the_diagnostics():
    states = np.array([X, X + 1.0])
    defect = Lorenz63().tangent(RK4(0.01), backend="numpy").benettin(states, intervals=40, warmup=0).diagnostics
    np.testing.assert_array_equal(defect.derivative_defect, [0.0, np.nan])


def sided(slope_at_zero):
    """The Lozi map; at its kink, where runs begin, with one of its slopes."""
    sign = lambda z: slope_at_zero if z == 0 else math.copysign(1.0, z)  # noqa: E731
    return FunctionMap(
        lambda n, x: [1 - 1.7 * abs(x[0]) + x[1], 0.5 * x[0]], 2, lambda n, x: [[-1.7 * sign(x[0]), 1], [0.5, 0]]
    )


def relu(n, x):
    return np.maximum(0.3 - x[::-1], 0.0)


def single(n, x):
    return np.sin(3 * x.astype(np.float32)).astype(float)


RIGHT = {
    "kink at the start": (sided(1.0).tangent(), [0.0, 0.0]),
    "the other slope": (sided(-1.0).tangent(), [0.0, 0.0]),
    "ReLU": (
        FunctionMap(relu, 2, lambda n, x: [[0, -1.0 * (x[1] < 0.3)], [-1.0 * (x[0] < 0.3), 0]]).tangent(),
        [0.3, 0.3],
    ),
    "jump": (FunctionMap(lambda n, x: [(3 * x[0]) % 1], 1, lambda n, x: [[3.0]]).tangent(), [1 / 3]),
    "jump of a flow": (
        FunctionFlow(lambda t, x: [x[1], np.sign(x[1]) - x[0]], 2, lambda t, x: [[0, 1], [-1, 0]]).tangent(RK4(0.01)),
        [1.0, 0.0],
    ),
    "single precision": (FunctionMap(single, 2, lambda n, x: np.diag(3 * np.cos(3 * x))).tangent(), [0.3, 0.2]),
    "single precision, short steps": (
        FunctionFlow(single, 2, lambda n, x: np.diag(3 * np.cos(3 * x))).tangent(RK4(1e-3)),
        [0.3, 0.2],
    ),
    "a derivative to six digits": (
        FunctionFlow(lorenz, 3, lambda t, x: (1 + 1e-6) * lorenz_jacobian(t, x)).tangent(RK4(0.01)),
        X,
    ),
    "a phase of 5000": (
        FunctionFlow(
            lambda t, x: [x[1], -np.sin(x[0]) + np.cos(x[2]), 0.7],
            3,
            lambda t, x: [[0, 1, 0], [-np.cos(x[0]), 0, -np.sin(x[2])], [0, 0, 0]],
        ).tangent(RK4(0.01)),
        [0.1, 0.0, 5000.0],
    ),
    "tiny": (
        FunctionFlow(
            lambda t, x: [1e-6 - 2e-6 * x[0] / (1e-6 + x[0])], 1, lambda t, x: [[-2e-12 / (1e-6 + x[0]) ** 2]]
        ).tangent(RK4(0.01)),
        [1e-6],
    ),
    "a domain that ends near the start": (
        FunctionFlow(lambda t, x: [-math.sqrt(1 - x[0])], 1, lambda t, x: [[0.5 / math.sqrt(1 - x[0])]]).tangent(
            RK4(0.01)
        ),
        [0.95],
    ),
    "a tiny state": (LinearMap([[0.5]]).tangent(backend="numpy"), [1e-320]),
    "equations": (Henon().tangent(backend="numpy"), [0.0, 0.0]),
}


@pytest.mark.parametrize(("tangent", "x"), RIGHT.values(), ids=RIGHT)
def test_a_right_one_raises_no_alarm(tangent, x):
    assert found(tangent, x)[0] < 1e-5


def test_a_state_whose_neighbours_have_no_value_is_not_checked():
    step = FunctionMap(lambda n, x: [x[0] if x[0] == 0.5 else math.nan], 1, lambda n, x: [[1.0]])
    assert np.isnan(found(step.tangent(), [0.5])[0])


@pytest.mark.filterwarnings("ignore:FunctionMap gives neither")
def test_differences_that_do_not_settle_are_told():
    rng = np.random.default_rng(0)
    noisy = FunctionMap(lambda n, x: [np.sin(3 * x[0]) + 0.1 * rng.normal()], 1).tangent()
    with pytest.warns(
        DiagnosticWarning, match=r"finite differences of the function do not settle.*it jumps, or is noisy"
    ):
        noisy.benettin([0.3], intervals=3, warmup=0)
    assert all(found(noisy, [0.3])[0] > 0.01 for _ in range(20))  # however far off one of two slopes is by chance
    tent = FunctionMap(lambda n, x: [2 * x[0] if x[0] < 0.5 else 1.9 - 1.9 * x[0]], 1).tangent()
    for x in (0.5, 0.1, 0.49999):
        assert found(tent, [x])[0] < 1e-5


class Wide(Map):
    """Many components, a step that takes a while."""

    dimension = 50_000
    calls = 0

    def step(self, n, x):
        type(self).calls += 1
        time.sleep(0.02)
        return np.tanh(x + 0.1 * np.roll(x, 1, axis=-1))

    def jvp(self, n, x, V):
        return (1 - np.tanh(x + 0.1 * np.roll(x, 1)) ** 2)[:, None] * (V + 0.1 * self.sign * np.roll(V, 1, axis=0))

    sign = 1.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_of_a_large_system_few_steps_are_taken(sign):
    wide = type("Wide", (Wide,), {"sign": sign, "calls": 0})
    x = np.random.default_rng(0).normal(size=(1, Wide.dimension))
    start = RunState.start(x, Wide.dimension, 1, 0)
    defect = derivative_defect(NumpyTangent(wide()), start)[0]
    assert wide.calls <= (10 if sign > 0 else 60)  # what seems wrong is looked at again
    assert defect == 0.0 if sign > 0 else defect > 0.1


def test_of_a_small_one_it_costs_milliseconds():
    tangent = Lorenz63().tangent(RK4(0.01), backend="numpy")
    found(tangent, X)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        found(tangent, X)
        times.append(time.perf_counter() - began)
    assert min(times) < 5e-3  # below 1 ms, where nobody else computes


@pytest.mark.slow
def test_a_given_jacobian_that_is_wrong_elsewhere_is_found_on_the_way():
    """A spring that is 26 times as hard beyond 0.2, where the Jacobian has 6."""

    def oscillator(t, x):
        return [x[1], -x[0] - 25.0 * max(x[0] - 0.2, 0.0) - 0.1 * x[1] + 2.0 * math.cos(0.8 * t)]

    def jacobian(t, x):
        return [[0.0, 1.0], [-1.0 - 5.0 * (x[0] > 0.2), -0.1]]

    tangent = FunctionFlow(oscillator, 2, jacobian).tangent(RK4(0.01))
    with pytest.warns(DiagnosticWarning, match="the derivative is not that of the function"):
        spectrum = tangent.benettin([0.0, 0.0], intervals=3000, steps_per_interval=20)
    assert spectrum.regime == "undecided"
