"""What is said of a run that a derivative stops: which, of which equation, at which state; others are as before."""

import attrs
import numpy as np
import pytest

from dynsys import (
    RK4,
    DivergenceError,
    DormandPrince,
    Euler,
    FunctionFlow,
    FunctionMap,
    ImplicitMidpoint,
    SingularTangentError,
    SymbolicFlow,
    SymbolicMap,
)
from dynsys.models.activations import Activation
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.steppers.stepper import Stepper
from dynsys.systems.stroboscopic import StroboscopicMap
from dynsys.systems.system import Flow, FlowStep

DRY = {"x": "y - sqrt(abs(x))", "y": "-y"}


def message(tangent, start, algorithm="benettin", **arguments):
    with pytest.raises(DivergenceError) as stopped:
        getattr(tangent, algorithm)(start, intervals=200, steps_per_interval=10, **arguments)
    return str(stopped.value)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=[pytest.mark.numba, pytest.mark.slow])])
def test_derivative_that_is_infinite_is_named(backend):
    said = message(SymbolicFlow.of({"x": "1 - x", "y": "-y + x*y^0.3"}).tangent(RK4(0.01), backend=backend), [0.5, 0.0])
    assert "the derivative of the equation of y by y is inf at x = 0.5, y = 0, t = 0, in -y + x*y^0.3" in said
    assert "shorten dt" not in said
    map_said = message(SymbolicMap.of({"x": "x/2", "y": "sqrt(x - 1/4)"}).tangent(backend=backend), [0.5, 1.0])
    assert "the derivative of the equation of y by x is inf at x = 0.25, y = 0.5, t = 1, in sqrt(x - 1/4)" in map_said


@pytest.mark.parametrize("algorithm", ["benettin", "ginelli", "sharafi", "gali"])
@pytest.mark.parametrize("kind", [RK4, ImplicitMidpoint, DormandPrince])
def test_all_algorithms_and_steppers_say_so(algorithm, kind):
    said = message(SymbolicFlow.of(DRY).tangent(kind(0.01), backend="numpy"), [0.0, 0.0], algorithm)
    assert "the derivative of the equation of x by x is nan at x = 0, y = 0" in said


def test_maps_of_flows_say_what_the_flow_says():
    looks = StroboscopicMap(SymbolicFlow.of(DRY), RK4(0.01), 10)
    assert "equation of x by x is nan at x = 0, y = 0, t = 0, in y - sqrt(abs(x))" in message(
        looks.tangent(), [0.0, 0.0]
    )


def test_fault_late_in_a_long_run_is_found_at_its_state():
    """x falls from 1 at the rate 1 and reaches 1/4 in step 48; the square root of its distance is smooth until then."""
    flow = SymbolicFlow.of({"x": "-1", "y": "-y + sqrt(abs(x - 1/4))*Heaviside(x - 1/4)"})
    said = message(flow.tangent(Euler(1 / 64), backend="numpy"), [1.0, 1.0])
    assert "the derivative of the equation of y by x is nan at x = 0.25, y = " in said
    assert "t = 0.75" in said


def test_equation_without_a_value_is_named():
    said = message(SymbolicFlow.of({"x": "-1", "y": "-y + log(x)"}).tangent(RK4(0.01), backend="numpy"), [1.005, 1.0])
    assert "the equation of y is nan at x = -" in said
    assert "in -y + log(x)" in said


def test_plain_functions_say_it_with_their_components():
    flow = FunctionFlow(
        lambda t, x: -np.sqrt(np.abs(x)), 2, jacobian=lambda t, x: np.diag(-0.5 * np.sign(x) / np.sqrt(np.abs(x)))
    )
    said = message(flow.tangent(RK4(0.01)), [1.0, 0.0])
    assert "the derivative of the equation of x[1] by x[1] is nan at x[0] = 1, x[1] = 0" in said
    steps = FunctionMap(lambda n, x: x / 2, 1, jacobian=lambda n, x: np.array([[np.inf if x[0] < 0.1 else 0.5]]))
    assert "the derivative of the equation of x[0] by x[0] is inf at x[0] = 0.0625" in message(steps.tangent(), [1.0])


def test_networks_say_it():
    class Overflowing(Activation):
        source = "s = maximum(d, 0.0)\ns1 = where(d > 0.0, 1.0, 0.0)\ns2 = exp(d) / (1.0 + exp(d)) ** 2"

    X, y = regression_task(samples=6, seed=1)
    flow = ThreeLayerGradientFlow(1000.0 * X, y, hidden=2, activation=Overflowing())
    said = message(flow.tangent(Euler(1e-15), backend="numpy"), np.full(flow.dimension, 2.0))
    assert "the derivative of the equation of" in said
    assert "is nan at " in said
    assert "shorten dt" not in said


@pytest.mark.parametrize(
    ("tangent", "start", "said"),
    [
        (FunctionMap(lambda n, x: 1 - 2 * abs(x - 0.5), 1).tangent(backend="numpy"), [0.3], "x[0] = 0.5, t = 5"),
        (
            SymbolicMap.of({"x": "2*x*(1 - x)", "y": "y/2"}).tangent(backend="numpy"),
            [0.5, 1.0],
            "x = 0.5, y = 1, t = 0",
        ),
        (SymbolicFlow.of({"x": "-10*x"}).tangent(Euler(0.1), backend="numpy"), [1.0], "x = 1, t = 0"),
    ],
)
def test_step_whose_derivative_is_singular_is_named(tangent, start, said):
    with pytest.raises(SingularTangentError) as stopped:
        tangent.benettin(start, intervals=200)
    assert f"is singular at {said}" in str(stopped.value)
    assert "leaves all bounds" not in str(stopped.value)


def test_vectors_that_become_parallel_on_the_way_are_no_singular_step():
    flow = SymbolicFlow.of({"x": "y - x", "y": "-40*y"})
    with pytest.raises(SingularTangentError, match=r"a diagonal entry of R vanished by .* orthonormalise more often"):
        flow.tangent(RK4(0.01), backend="numpy").benettin([1.0, 1.0], intervals=50, steps_per_interval=100)


@pytest.mark.parametrize("equation", ["x^2", "exp(x)", "x^3 + x", "exp(x^2)"])
def test_state_that_leaves_all_bounds_is_told_as_before(equation):
    said = message(SymbolicFlow.of({"x": equation, "y": "-y"}).tangent(RK4(0.01), backend="numpy"), [1.0, 1.0])
    assert "check x0, shorten dt, or orthonormalise more often" in said
    assert "equation of" not in said


def test_vectors_that_overflow_are_told_as_before():
    with pytest.raises(DivergenceError) as stopped:
        SymbolicFlow.of({"x": "100*x"}).tangent(RK4(0.1), backend="numpy").benettin(
            [0.0], intervals=3, steps_per_interval=500, warmup=0
        )
    said = str(stopped.value)
    assert "orthonormalise more often" in said
    assert "derivative of the equation" not in said


@attrs.frozen(eq=False)
class Shadowed(Stepper):
    """A stepper whose own derivative is at fault."""

    order = 1

    def step(self, flow, n, t, x):
        return x + self.dt * flow.vector_field(t, x)

    def step_tangent(self, flow, n, t, x, V):
        return self.step(flow, n, t, x), V * np.nan


def test_step_whose_derivative_alone_is_at_fault_says_so():
    step = FlowStep(SymbolicFlow.of({"x": "-x"}), Shadowed(dt=0.1))
    assert isinstance(step.flow, Flow)
    assert step.fault(0, np.ones(1), np.eye(1)) == (
        "the derivative of SymbolicFlowOf is not finite at x = 1, although the step is"
    )
