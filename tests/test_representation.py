"""Whether the step represents the system: what a finer step shows, volumes, jumps; and that no number depends on it."""

import warnings

import attrs
import numpy as np
import pytest

from dynsys import (
    RK4,
    DiagnosticWarning,
    DormandPrince,
    Euler,
    Flow,
    HeavyBall,
    ImplicitMidpoint,
    Leapfrog,
    Midpoint,
    PoincareMap,
    StroboscopicMap,
    SymbolicFlow,
)
from dynsys.algorithms.checks.representation import Representation, marks, step_checks
from dynsys.models.activations import Tanh
from dynsys.models.classics import Duffing, Henon, LinearFlow, Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.passes.run_state import RunState
from dynsys.systems.system import FlowStep

RATES = np.array([0.3, -0.5, -2.0])


@attrs.frozen(eq=False)
class Relay(Flow):
    """x'' = -x - 0.6 x' + sign(x'): a limit cycle; the exponents are 0 and, by the saltation of the jump, -0.3."""

    dimension = 2
    jumps = ("sign(y)",)

    def vector_field(self, t, x):
        return np.stack([x[..., 1], -x[..., 0] - 0.6 * x[..., 1] + np.sign(x[..., 1])], axis=-1)

    def jacobian(self, t, x):
        return np.array([[0.0, 1.0], [-1.0, -0.6]])

    def sides(self, t, x):
        return np.sign(x[..., 1:]).astype(int)


def exponents_of(stepper, mu=RATES):
    """Exponents of x' = mu x under a stepper, from a step of it."""
    step = FlowStep(LinearFlow(np.diag(mu)), stepper)
    return np.log(np.abs(step.step(0, np.ones(len(mu))))) / stepper.dt


@pytest.mark.filterwarnings("ignore:.*too coarse:dynsys.DiagnosticWarning")  # Euler is, for error bars of rounding
@pytest.mark.parametrize("stepper", [Euler(0.01), Midpoint(0.05), RK4(0.2), ImplicitMidpoint(0.05)])
def test_a_finer_step_finds_the_error_of_the_step_of_a_linear_flow(stepper):
    spectrum = LinearFlow(np.diag(RATES)).tangent(stepper).benettin(np.ones(3), intervals=400, warmup=2000)
    expected = exponents_of(stepper) - RATES
    np.testing.assert_allclose(spectrum.diagnostics.step_error, expected, rtol=0.15, atol=1e-13)
    assert spectrum.diagnostics.divergence_defect == pytest.approx(expected.sum(), rel=0.05, abs=1e-12)


def test_the_error_of_an_adaptive_step_follows_its_tolerance():
    found = []
    for rtol in (1e-4, 1e-6):
        tangent = Lorenz63().tangent(DormandPrince(dt=0.1, rtol=rtol, atol=rtol), backend="numpy")
        found.append(np.abs(tangent.benettin([1.0, 1.0, 20.0], intervals=40, warmup=5).diagnostics.step_error).max())
    assert 0 < found[1] < 0.1 * found[0] < 0.1


@pytest.mark.numba
@pytest.mark.parametrize("dt", [0.05, 0.06])
def test_whoever_takes_the_step_that_a_coarse_one_is_told_to_take_ends_with_a_right_one(dt):
    told = 0
    for _ in range(4):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            spectrum = (
                Lorenz63()
                .tangent(RK4(dt))
                .benettin([1.0, 1.0, 20.0], intervals=round(2000 / dt / 10), steps_per_interval=10, warmup=100)
            )
        if not caught:
            break
        text = str(caught[0].message)
        assert text.startswith("the step is too coarse")
        dt, told = float(text.rpartition("dt = ")[2]), told + 1
    assert 1 <= told <= 3
    assert 0.004 < dt < 0.04
    error = spectrum.standard_error + np.abs(spectrum.diagnostics.step_error)
    assert np.all(np.abs(spectrum.exponents - [0.9056, 0.0, -14.5723]) < 4 * error)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("intervals", [1, 2, 30, 999, 12_345])
def test_marks_are_multiples_of_the_stride_inside_the_run(intervals, stride):
    start = RunState.start(np.zeros((2, 3)), 3, 3, 0)
    found = marks(intervals * stride, stride, start)
    assert found == sorted(set(found))
    assert all(0 < mark <= intervals * stride and mark % stride == 0 for mark in found)
    assert len(found) <= 16
    assert len(marks(10**9, 1, start)) == 16


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.numba)])
@pytest.mark.parametrize("stride", [1, 7])
def test_no_bit_of_a_result_depends_on_the_looks_at_it(backend, stride):
    tangent = Lorenz63().tangent(RK4(0.01), backend=backend)
    spectrum = tangent.benettin([1.0, 1.0, 20.0], intervals=210, steps_per_interval=2, warmup=0, stride=stride)
    alone = tangent.forward(
        RunState.start(np.array([1.0, 1.0, 20.0]), 3, 3, 0), intervals=210, steps_per_interval=2, record="growth"
    )
    np.testing.assert_array_equal(spectrum.end.x, alone.x)
    np.testing.assert_array_equal(spectrum.end.Q, alone.Q)
    if stride == 1:
        np.testing.assert_array_equal(spectrum.rates, alone.growth[0] / 0.02)


def test_where_the_step_is_the_system_there_is_no_finer_one():
    data = regression_task(samples=20, seed=0)
    flow = ThreeLayerGradientFlow(*data, hidden=1, activation=Tanh())
    assert FlowStep(flow, Euler(0.1)).finer() is None  # gradient descent: dt is the learning rate
    assert FlowStep(flow, HeavyBall(0.1)).finer() is None
    assert FlowStep(flow.minibatches(5), RK4(0.1)).finer() is None
    assert Henon().finer() is None
    assert FlowStep(flow, RK4(0.1)).finer() is not None
    spectrum = flow.tangent(Euler(1e-3), backend="numpy").benettin(flow.initial(members=1, seed=0)[0], intervals=40)
    assert np.isnan(spectrum.diagnostics.step_error).all()
    assert "step:" not in str(spectrum)


@pytest.mark.parametrize("stepper", [Euler(0.01), RK4(0.1), Leapfrog(0.1), ImplicitMidpoint(0.1), DormandPrince(0.1)])
def test_finer_steps_lead_to_the_same_time(stepper):
    step = FlowStep(Duffing(), stepper, t0=2.0) if not isinstance(stepper, Leapfrog) else None
    step = step or FlowStep(SymbolicFlow.of({"q": "p", "p": "-sin(q)"}), stepper, t0=2.0)
    fine, ratio = step.finer()
    assert fine.time(5 * ratio) == pytest.approx(step.time(5), rel=1e-14)
    x = coarse = np.array([0.4, 0.1])
    for n in range(5 * ratio):
        x = fine.step(n, x)
    for n in range(5):
        coarse = step.step(n, coarse)
    assert 0 < np.abs(x - coarse).max() < 0.1


@pytest.mark.parametrize("kind", ["strobe", "returns"])
def test_maps_of_flows_know_what_their_step_does(kind):
    spiral = LinearFlow([[-0.1, -1.0], [1.0, -0.1]])
    if kind == "strobe":
        system, x0, exact = StroboscopicMap(spiral, RK4(np.pi / 10), steps=20), np.ones(2), -0.2 * np.pi
    else:
        system, x0, exact = PoincareMap(spiral, RK4(0.3), normal=[0.0, 1.0]), np.ones(1), -0.2 * np.pi
    spectrum = system.tangent(backend="numpy").benettin(x0, intervals=400, warmup=5, k=1)
    off = spectrum.exponents[0] - exact
    assert abs(off) > 1e-6
    assert spectrum.diagnostics.step_error[0] == pytest.approx(off, rel=0.1)


@pytest.mark.filterwarnings("ignore:NumPy steps:dynsys.FallbackWarning")
def test_rates_that_an_implicit_step_loses_are_missed_in_the_volumes():
    """The rates are -0.2, -1, -1000; half a step that is 100 times too long does not show it, the divergence does."""
    stiff = SymbolicFlow.of({"x": "-1000*(x - y)", "y": "-y + z", "z": "-0.2*z"})
    tangent = stiff.tangent(ImplicitMidpoint(0.1), backend="numpy")
    with pytest.warns(
        DiagnosticWarning, match=r"does not resolve the flow: .* says, -1001 per unit of time, but as -1\.6"
    ):
        spectrum = tangent.benettin(np.ones(3), intervals=200, steps_per_interval=10)
    assert spectrum.diagnostics.divergence_defect == pytest.approx(1001.2 - 1.6, rel=1e-3)
    np.testing.assert_allclose(spectrum.diagnostics.rest, [-0.2, -1.0, -1000.0], rtol=1e-9)


@pytest.mark.parametrize("members", [None, 2])
def test_jumps_that_are_passed_are_named(members):
    x0 = np.array([1.0, 0.5]) if members is None else np.array([[1.0, 0.5], [0.3, 0.2]])
    with pytest.warns(DiagnosticWarning, match=r"jumps where sign\(y\) does.*saltation"):
        spectrum = Relay().tangent(RK4(0.02)).benettin(x0, intervals=40, steps_per_interval=10)
    assert spectrum.diagnostics.crossed == "sign(y)"
    assert "sign(y)" in str(spectrum)


def test_jumps_that_are_not_reached_are_not_told():
    settled = attrs.evolve(Relay())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrum = settled.tangent(RK4(0.001)).benettin([-3.0, 0.5], intervals=40, warmup=0)
    assert spectrum.diagnostics.crossed == ""


def test_a_member_that_stops_leaves_the_others_their_checks():
    tangent = SymbolicFlow.of({"x": "x^2 - 1", "y": "-y"}).tangent(RK4(0.01), backend="numpy")
    with np.errstate(all="ignore"):
        spectrum = tangent.benettin(np.array([[-0.9, 1.0], [1.5, 1.0]]), intervals=100, steps_per_interval=5, warmup=0)
    assert np.isfinite(spectrum.diagnostics.step_error[0]).all()
    assert not np.isfinite(spectrum.diagnostics.step_error[1]).any()
    assert spectrum.regime[1] == "diverging"


@pytest.mark.parametrize(
    ("step", "noise", "told"),
    [(0.3, 0.05, True), (0.3, 0.2, True), (0.2, 0.3, False), (0.02, 0.019, False), (-0.3, 0.2, True)],
)
def test_an_estimate_within_its_own_error_is_not_told_as_an_error_of_the_step(step, noise, told):
    unknown = np.full(1, np.nan)
    looked = Representation(np.array([[step, 0.0]]), np.array([[noise, 1e-9]]), 16, unknown, unknown, unknown)
    exponents, error = np.array([[0.9, -1.5]]), np.array([[0.01, 0.01]])
    marked, text = step_checks(Lorenz63().tangent(RK4(0.01), backend="numpy"), exponents, error, looked, 1e4)[0]
    assert bool(marked[0]) is told
    for zeros in (0, 1):  # where one of them should vanish, and neither does, the step is not above suspicion
        flow = SymbolicFlow.of({"x": "y", "y": "-x"}, vanishing_exponents=zeros).tangent(RK4(0.01), backend="numpy")
        marked, _ = step_checks(flow, exponents, error, looked, 1e4)[0]
        assert bool(marked[0]) is (told or (zeros == 1 and noise > 0.1))
    assert not told or f"changes exponent 1 by about {looked.step_error[0, 0]:.2g}" in text
