"""What kind of motion a spectrum shows: systems of which it is known."""

import pickle

import numpy as np
import pytest

from dynsys import RK4, Euler, Leapfrog, SymbolicFlow, SymbolicMap
from dynsys.models.activations import Tanh
from dynsys.models.classics import Duffing, Henon, LinearFlow, LinearMap, Logistic, Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.results.regime import Motion, Regime, regime

CYCLE = "{u}*(1 - {u}^2 - {v}^2) - {w}*{v}", "{v}*(1 - {u}^2 - {v}^2) + {w}*{u}"  # a limit cycle of frequency w


def cycles(*frequencies):
    """Independent limit cycles: as many exponents vanish, the others are -2."""
    equations = {}
    for i, w in enumerate(frequencies):
        for name, text in zip("uv", CYCLE, strict=True):
            equations[f"{name}{i}"] = text.format(u=f"u{i}", v=f"v{i}", w=w)
    return SymbolicFlow.of(equations)


def of(tangent, x0, intervals, steps=10, **options):
    return tangent.benettin(x0, intervals=intervals, steps_per_interval=steps, **options).regime


def flow(system, x0, intervals=400, dt=0.02, **options):
    return of(system.tangent(RK4(dt), backend="numpy"), x0, intervals, **options)


@pytest.mark.parametrize(
    ("frequencies", "name"),
    [((1.0,), "periodic"), ((1.0, 2**0.5), "quasi-periodic on a 2-torus")],
)
def test_limit_cycles(frequencies, name):
    found = flow(cycles(*frequencies), np.full(2 * len(frequencies), 0.5))
    assert found == name
    assert "vanish" in found.reason


@pytest.mark.slow
def test_three_frequencies():
    assert flow(cycles(1.0, 2**0.5, 3**0.5), np.full(6, 0.5)) == "quasi-periodic on a 3-torus"


def test_two_exponents_of_hyperchaos():
    maps = SymbolicMap.of({"x": "4*x*(1 - x)", "y": "3.9*y*(1 - y)"})
    found = of(maps.tangent(backend="numpy"), [0.3, 0.4], 4000, 1)
    assert found == "hyperchaotic"
    assert "exponent 2" in found.reason


@pytest.mark.parametrize(
    ("system", "x0", "name"),
    [
        (Henon(), [0.1, 0.1], "chaotic"),
        (Logistic(r=3.84), [0.3], "periodic"),
        (Logistic(r=2.5), [0.3], "at rest"),
        (SymbolicMap.of({"x": "x + 0.381966 + 0.05*sin(2*pi*x)"}), [0.1], "quasi-periodic on a 1-torus"),
        (LinearMap(np.diag([2.0, 0.5])), [0.0, 0.0], "at rest"),
    ],
)
def test_maps(system, x0, name):
    assert of(system.tangent(backend="numpy"), x0, 4000, 1) == name


@pytest.mark.numba
def test_lorenz_is_chaotic_and_a_short_run_of_it_undecided():
    tangent = Lorenz63().tangent(RK4(0.01))
    assert of(tangent, [1.0, 1.0, 20.0], 4000) == "chaotic"
    short = of(tangent, [1.0, 1.0, 20.0], 40)
    assert short == "undecided"
    assert short.reason


@pytest.mark.parametrize(("intervals", "name"), [(40, "undecided"), (4000, "at rest")])
def test_a_focus_is_rest_once_it_is_reached(intervals, name):
    assert flow(LinearFlow([[-0.1, -1.0], [1.0, -0.1]]), [1.0, 0.0], intervals, dt=0.1) == name


def test_a_focus_that_is_hardly_approached_is_told_by_what_the_record_holds():
    focus = SymbolicFlow.of({"x": "-x/1000 + y", "y": "-x - y/1000"})
    found = focus.tangent(RK4(0.05), backend="numpy").benettin([1.0, 0.0], intervals=200, steps_per_interval=10).regime
    assert found == "undecided"
    assert "in this record it changes lengths by no more than exp(-0.1)" in found.reason


@pytest.mark.parametrize("r", [3.84, 3.906])
def test_a_short_record_of_a_periodic_orbit_is_no_torus(r):
    """Both are some 3 errors from zero."""
    assert Logistic(r=r).tangent(backend="numpy").benettin([0.4], intervals=100, warmup=2000).regime != (
        "quasi-periodic on a 1-torus"
    )


def test_exponential_growth_diverges():
    assert flow(LinearFlow([[0.1, -1.0], [1.0, 0.1]]), [1.0, 0.0], 200, dt=0.1) == "diverging"


@pytest.mark.numba
def test_all_exponents_of_integrable_motion_vanish():
    """Two quartic oscillators: the four exponents fall like ln T / T."""
    oscillators = SymbolicFlow.of({"q1": "p1", "q2": "p2", "p1": "-q1^3", "p2": "-2*q2^3"})
    found = of(oscillators.tangent(Leapfrog(0.02)), [1.0, 0.7, 0.0, 0.3], 4000)
    assert found == "quasi-periodic on a 2-torus"
    assert "integrable" in found.reason


def test_driven_oscillators():
    linear = SymbolicFlow.of({"x": "y", "y": "-x - 0.4*y + cos(1.3*t)"})
    assert flow(linear, [1.0, 0.0], 400, dt=0.05) == "periodic"
    free = SymbolicFlow.of({"x": "y", "y": "-x + cos(1.4142*t)"})
    assert flow(free, [1.0, 0.0], 400, dt=0.05) == "quasi-periodic on a 2-torus"


@pytest.mark.slow
@pytest.mark.numba
def test_the_driven_duffing_oscillator_is_chaotic():
    assert of(Duffing().tangent(RK4(0.01)), [0.1, 0.1], 20_000) == "chaotic"


def test_data_and_missing_vectors_leave_it_undecided():
    data = regression_task(samples=20, seed=0)
    sgd = ThreeLayerGradientFlow(*data, hidden=1, activation=Tanh()).minibatches(5)
    spectrum = sgd.tangent(Euler(1e-3), backend="numpy").benettin(sgd.flow.initial(members=2, seed=0), intervals=40)
    assert spectrum.regime == ("undecided", "undecided")
    assert "data" in spectrum.regime[0].reason
    assert flow(cycles(1.0), [0.5, 0.5], k=1) == "undecided"


def test_a_step_error_as_large_as_the_exponent_leaves_it_undecided():
    values, errors = np.array([0.5, 0.0, -3.0]), np.array([0.4, 0.001, 0.1])
    motion = Motion(
        values, errors, steps=errors, spread=np.ones(3), time=1000.0, dimension=3, kind="flow", stopped=False,
        doubtful=False, rest=np.full(3, np.nan), speed=0.0,
    )  # fmt: skip
    assert regime(motion) == "undecided"


def test_print_begins_with_the_regime():
    text = str(Henon().tangent(backend="numpy").benettin([0.1, 0.1], intervals=2000))
    assert text.startswith("Chaotic: exponent 1 is 0.4")


def test_a_regime_is_a_word_with_a_reason():
    one = Regime("chaotic", "because")
    again = pickle.loads(pickle.dumps(one))
    assert (again, again.reason) == ("chaotic", "because")
