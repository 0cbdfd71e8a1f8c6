"""A run goes on at the time at which it stopped, whatever the step, and only with the members that it had."""

import attrs
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dynsys import (
    RK4,
    DormandPrince,
    Euler,
    FunctionMap,
    InvalidInputError,
    StroboscopicMap,
    SymbolicFlow,
    Trajectory,
    vary,
)
from dynsys.models.activations import Tanh
from dynsys.models.classics import Henon, Logistic, Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.passes.run_state import begin

DRIVEN = SymbolicFlow.of({"x": "-x + cos(t)"})
FLOW = ThreeLayerGradientFlow(*regression_task(samples=50), hidden=2, activation=Tanh())


def exact(t):
    """x(0) = 1."""
    return (np.cos(t) + np.sin(t) + np.exp(-t)) / 2


@pytest.mark.parametrize(
    ("later", "backend"),
    [
        (RK4(0.02), "numpy"),
        (RK4(0.013), "numpy"),
        (DormandPrince(0.05), "numpy"),
        pytest.param(RK4(0.013), "numba", marks=pytest.mark.numba),
        pytest.param(DormandPrince(0.05), "numba", marks=[pytest.mark.numba, pytest.mark.slow]),
    ],
    ids=str,
)
def test_another_dt_goes_on_at_the_same_time_and_phase(later, backend):
    run = DRIVEN.tangent(RK4(0.01), backend=backend).trajectory([1.0], intervals=20, steps_per_interval=100)
    assert run.end.time == pytest.approx(20.0, abs=1e-12)
    on = DRIVEN.tangent(later, backend=backend).trajectory(run.end, intervals=100)
    np.testing.assert_allclose(on.times, 20.0 + later.dt * np.arange(1, 101), rtol=1e-12)
    np.testing.assert_allclose(on.states[:, 0], exact(on.times), atol=2e-8)
    back = DRIVEN.tangent(RK4(0.01), backend=backend).trajectory(on.end, intervals=10)  # and once more
    np.testing.assert_allclose(back.times, on.times[-1] + 0.01 * np.arange(1, 11), rtol=1e-12)
    np.testing.assert_allclose(back.states[:, 0], exact(back.times), atol=2e-8)


ALGORITHMS = ["benettin", "ginelli", "sharafi", "wolfe_samelson", "gali", "trajectory"]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")
def test_every_algorithm_goes_on_at_the_same_time(name):
    end = DRIVEN.tangent(RK4(0.01), t0=3.0, backend="numpy").trajectory([1.0], intervals=700).end
    run = getattr(DRIVEN.tangent(RK4(0.02), backend="numpy"), name)(end, intervals=12, warmup=0)
    steps = (run.times - 10.0) / 0.02
    np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
    assert 0 <= steps.round()[0] <= 12
    span, x = (10.0, run.end.time), end.x[0]
    expected = solve_ivp(lambda t, x: -x + np.cos(t), span, x, rtol=1e-10, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(run.end.x[0], expected, atol=1e-7)


def test_the_same_dt_gives_the_bits_of_a_run_in_one_piece():
    tangent = Lorenz63().tangent(RK4(0.01), backend="numpy", t0=1.7)
    whole = tangent.trajectory([1.0, 2.0, 20.0], intervals=30)
    half = tangent.trajectory(tangent.trajectory([1.0, 2.0, 20.0], intervals=17).end, intervals=13)
    np.testing.assert_array_equal(half.times, whole.times[17:])
    np.testing.assert_array_equal(half.states, whole.states[17:])
    assert (half.end.t0, half.end.dt) == (1.7, 0.01)


def test_another_learning_rate_goes_on_with_the_next_batch():
    sgd, theta = FLOW.minibatches(7, seed=1), FLOW.initial(seed=3)
    run = sgd.tangent(Euler(1e-3), backend="numpy").trajectory(theta, intervals=5)
    on = sgd.tangent(Euler(5e-4), backend="numpy").trajectory(run.end, intervals=1)
    expected = run.end.x[0] + 5e-4 * sgd.flow_at(5).vector_field(0.0, run.end.x[0])
    np.testing.assert_allclose(on.states[0], expected, rtol=1e-14)
    assert on.times[0] == pytest.approx(5 * 1e-3 + 5e-4, rel=1e-12)


def test_a_stroboscopic_map_of_another_period_keeps_the_phase():
    """Time is called n for both: it is the phase of the flow that goes on."""
    flow, short, long = DRIVEN, 50, 80
    end = StroboscopicMap(flow, RK4(0.02), steps=short).tangent(backend="numpy").trajectory([1.0], intervals=7).end
    on = StroboscopicMap(flow, RK4(0.02), steps=long).tangent(backend="numpy").trajectory(end, intervals=3)
    np.testing.assert_allclose(on.states[:, 0], exact(7.0 + 1.6 * np.arange(1, 4)), atol=1e-7)
    flow_on = flow.tangent(RK4(0.02), backend="numpy").trajectory(end, intervals=3)
    np.testing.assert_allclose(flow_on.times, 7.0 + 0.02 * np.arange(1, 4), rtol=1e-12)


def test_varied_members_keep_the_time():
    driven = SymbolicFlow.of({"x": "-a*x + cos(t)"}, {"a": 1.0})
    run = vary(driven.tangent(RK4(0.01), backend="numpy"), {"a": [1.0, 1.0]}).trajectory([[1.0]] * 2, intervals=100)
    on = vary(driven.tangent(RK4(0.02), backend="numpy"), {"a": [1.0, 1.0]}).trajectory(run.end, intervals=50)
    np.testing.assert_allclose(on.states[..., 0], np.tile(exact(on.times), (2, 1)), atol=1e-8)


def test_a_map_driven_by_its_step_numbers_refuses_another_clock():
    end = DRIVEN.tangent(RK4(0.01), backend="numpy").trajectory([1.0], intervals=10).end
    driven = FunctionMap(lambda n, x: 0.5 * x + n, 1, lambda n, x: [[0.5]])
    with pytest.raises(InvalidInputError, match=r"FunctionMap counts time in its own steps.* begin a new one"):
        driven.tangent(backend="numpy").trajectory(end, intervals=2)


def test_an_own_algorithm_that_forgets_the_clock_is_told():
    end = DRIVEN.tangent(RK4(0.01), backend="numpy").trajectory([1.0], intervals=10).end
    with pytest.raises(InvalidInputError, match=r"is at t = 0.1, and step 10 of this begins at t = 0.2: set the clock"):
        begin(DRIVEN.tangent(RK4(0.02), backend="numpy"), end, None, 0)


def test_the_clock_is_saved(tmp_path):
    run = DRIVEN.tangent(RK4(0.01), t0=2.0, backend="numpy").trajectory([1.0], intervals=10)
    loaded = Trajectory.load(run.save(tmp_path / "run.npz"))
    assert loaded.end.time == run.end.time == 2.1
    unknown = attrs.evolve(run.end, t0=np.nan, dt=np.nan)  # as in files of earlier versions
    on = DRIVEN.tangent(RK4(0.01), t0=2.0, backend="numpy").trajectory(unknown, intervals=1)
    assert on.times[0] == pytest.approx(2.11)


STATES = [[0.3], [0.4], [0.55]]


def logistic(*r):
    return vary(Logistic().tangent(backend="numpy"), {"r": list(r)})


def test_another_number_of_members_is_refused():
    end = logistic(3.7, 3.8, 3.9).benettin(STATES, intervals=50).end
    for other in (logistic(3.7, 3.8), logistic(3.7, 3.8, 3.9, 4.0)):
        for name in ALGORITHMS:
            with pytest.raises(InvalidInputError, match=rf"must have {other.members} members, .* got 3"):
                getattr(other, name)(end, intervals=12)
    plain = Logistic().tangent(backend="numpy")
    with pytest.raises(InvalidInputError, match=r"must have 2 members.* got 1: vary"):
        logistic(3.7, 3.8).benettin(plain.benettin([0.3], intervals=50).end, intervals=10)


def test_other_parameters_are_refused_by_name():
    end = logistic(3.7, 3.8, 3.9).benettin(STATES, intervals=50).end
    for other in (logistic(3.7, 3.8, 3.95), Logistic().tangent(backend="numpy")):
        with pytest.raises(
            InvalidInputError, match=r"its own r for each of 3 members.*same values, or begin a new one"
        ):
            other.benettin(end, intervals=10)
        other.benettin(end.x, intervals=20)  # as the message says
    henon = Henon().tangent(backend="numpy")
    two = vary(henon, {"a": [1.2, 1.3]}).trajectory([[0.1, 0.1]] * 2, intervals=5).end
    with pytest.raises(InvalidInputError, match=r"its own a for.* and this has its own b for"):
        vary(henon, {"b": [0.2, 0.3]}).trajectory(two, intervals=5)


def test_the_same_members_go_on():
    whole = logistic(3.7, 3.8, 3.9).benettin(STATES, intervals=60, warmup=0)
    half = logistic(3.7, 3.8, 3.9).benettin(STATES, intervals=40, warmup=0).end
    rest = logistic(3.7, 3.8, 3.9).benettin(half, intervals=20)
    np.testing.assert_array_equal(rest.rates, whole.rates[:, 40:])
    plain = Logistic(r=3.9).tangent(backend="numpy").trajectory(STATES, intervals=50).end
    with pytest.raises(
        InvalidInputError, match=r"r = 3.9 for all members, and this has its own r for each of 3 members"
    ):
        logistic(3.7, 3.8, 3.9).trajectory(plain, intervals=3)
    assert logistic(3.7, 3.8, 3.9).trajectory(plain.x, intervals=3).states.shape == (3, 3, 1)  # a common start


def test_another_dimension_and_another_k_are_refused():
    end = Henon().tangent(backend="numpy").benettin([0.1, 0.1], intervals=50, k=1).end
    with pytest.raises(InvalidInputError, match="must have dimension 3, got 2"):
        Lorenz63().tangent(RK4(1.0), backend="numpy").benettin(end, intervals=10)
    with pytest.raises(InvalidInputError, match="follows k = 1 vectors, got k = 2: leave k out"):
        Henon().tangent(backend="numpy").benettin(end, intervals=10, k=2)
