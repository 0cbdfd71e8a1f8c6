"""Stroboscopic and Poincare maps: closed forms, exact tangents, and the exponents of the flow behind them."""

import math

import attrs
import numpy as np
import pytest

from dynsys import (
    RK4,
    DivergenceError,
    DormandPrince,
    Euler,
    FallbackWarning,
    Flow,
    FlowStep,
    FunctionFlow,
    GradientFlow,
    ImplicitMidpoint,
    InvalidInputError,
    Leapfrog,
    PoincareMap,
    StroboscopicMap,
    SymbolicFlow,
    sweep,
)
from dynsys.models.classics import LinearFlow, Lorenz63, Roessler
from dynsys.testing import check_system, check_tangent

CYCLE = SymbolicFlow.of({"x": "x - y - x*(x^2 + y^2)", "y": "x + y - y*(x^2 + y^2)"})  # r' = r (1 - r^2), angle' = 1
DRIVEN = SymbolicFlow.of({"q": "p", "p": "-0.2*p + q - q^3 + 0.3*cos(t)"})
PERIOD = 2 * np.pi
LORENZ = {"flow": Lorenz63(), "normal": [0.0, 0.0, 1.0], "offset": 27.0, "direction": -1}


def radius_after(r, turns=1):
    """r' = r (1 - r^2), solved."""
    return (1.0 + (1.0 / r**2 - 1.0) * np.exp(-4 * np.pi * turns)) ** -0.5


IMPLICIT = pytest.param(ImplicitMidpoint(0.005), marks=pytest.mark.slow)


@pytest.mark.parametrize("stepper", [RK4(0.01), DormandPrince(0.1, 1e-10), IMPLICIT], ids=repr)
@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=[pytest.mark.numba, pytest.mark.slow])])
def test_returns_to_a_ray_of_a_limit_cycle_have_a_closed_form(stepper, backend):
    """Upwards through y = 0: from r on the positive x-axis back to it, in the time 2 pi."""
    returns = PoincareMap(CYCLE, stepper, normal=[0.0, 2.0])
    u, V = np.array([0.3]), np.ones((1, 1))
    error = {RK4: 1e-8, DormandPrince: 1e-8, ImplicitMidpoint: 1e-4}[type(stepper)]
    moved, time = returns.first_return(u)
    assert moved[0] == pytest.approx(radius_after(0.3), abs=error)
    assert time == pytest.approx(2 * np.pi, rel=error)
    slope = radius_after(0.3) ** 3 / 0.3**3 * np.exp(-4 * np.pi)
    assert returns.step_tangent(0, u, V)[1][0, 0] == pytest.approx(slope, rel=1e3 * error)
    spectrum = returns.tangent(backend=backend).benettin([1.0], intervals=2)
    assert spectrum.exponents[0] == pytest.approx(-4 * np.pi, abs=100 * error)


def test_the_time_map_of_a_linear_flow_is_its_exponential():
    from scipy.linalg import expm

    A = np.array([[-0.2, 1.0, 0.3], [-1.0, -0.2, 0.0], [0.1, 0.0, -0.5]])
    strobe = StroboscopicMap(LinearFlow(A), RK4(0.01), steps=150)
    assert strobe.period == 1.5
    x, V = strobe.step_tangent(3, np.ones(3), np.eye(3))
    np.testing.assert_allclose(V, expm(1.5 * A), rtol=0, atol=1e-10)
    np.testing.assert_allclose(x, V @ np.ones(3), rtol=0, atol=1e-12)
    np.testing.assert_allclose(strobe.step(3, np.ones((2, 2, 3)))[1, 0], x, rtol=1e-14)


def test_a_stroboscopic_map_is_the_flow_with_long_intervals():
    """The same steps, so the same numbers, but for the unit of time."""
    strobe = StroboscopicMap(DRIVEN, RK4(PERIOD / 50), steps=50, t0=0.7)
    flow = DRIVEN.tangent(RK4(PERIOD / 50), t0=0.7, backend="numpy")
    of_map = strobe.tangent(backend="numpy").benettin([0.1, 0.2], intervals=20, warmup=5)
    of_flow = flow.benettin([0.1, 0.2], intervals=20, steps_per_interval=50, warmup=5)
    np.testing.assert_allclose(of_map.exponents, PERIOD * of_flow.exponents, rtol=1e-12)
    np.testing.assert_array_equal(of_map.end.x, of_flow.end.x)


@pytest.mark.parametrize(
    "stepper", [RK4(0.02), pytest.param(DormandPrince(0.1, 1e-11), marks=pytest.mark.slow)], ids=repr
)
def test_the_tangent_is_the_derivative_of_the_map(stepper):
    strobe = StroboscopicMap(DRIVEN, attrs.evolve(stepper, dt=PERIOD / 40), steps=40)
    check_tangent(strobe.tangent(backend="numpy"), np.array([0.1, 0.2]), steps=1)
    returns = PoincareMap(Lorenz63(), stepper, [0.3, -0.2, 1.0], 27.0, direction=-1, limit=1000)
    check_tangent(returns.tangent(backend="numpy"), returns.first_crossing([1.0, 1.0, 20.0]), steps=1)
    if isinstance(stepper, RK4):
        check_system(strobe, np.array([0.1, 0.2]), t=1)
        check_system(returns, returns.first_crossing([1.0, 1.0, 20.0]))


@pytest.mark.parametrize("normal", [[0.0, 0.0, 1.0], [0.0, -3.0, 0.0], [1.0, -2.0, 0.5], [-1.0, 0.0, 0.0]])
def test_points_of_the_plane_and_states_on_it(normal):
    returns = PoincareMap(Lorenz63(), RK4(0.01), normal, offset=2.0)
    B, u = returns.basis, np.random.default_rng(0).normal(size=(4, 5, 2))
    np.testing.assert_allclose(B.T @ B, np.eye(2), rtol=0, atol=1e-15)
    np.testing.assert_allclose(normal @ B, 0.0, rtol=0, atol=1e-15)
    np.testing.assert_allclose(returns.embed(u) @ normal, 2.0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(returns.project(returns.embed(u)), u, rtol=0, atol=1e-14)
    if np.count_nonzero(normal) == 1:  # then u is x without a component
        np.testing.assert_array_equal(np.abs(B), np.delete(np.eye(3), np.argmax(np.abs(normal)), axis=1))


def test_only_crossings_in_the_direction_count_and_the_start_does_not():
    turn = LinearFlow([[0.0, -1.0], [1.0, 0.0]])
    for direction in (1, -1):
        returns = PoincareMap(turn, RK4(0.01), [0.0, 1.0], direction=direction)
        for start in (1.0, -1.0):  # one of them leaves the plane the other way
            end, time = returns.first_return(np.array([start]))
            assert end[0] == pytest.approx(direction, rel=1e-8)
            assert time == pytest.approx(2 * np.pi if start == direction else np.pi, rel=1e-8)
        assert returns.first_crossing([-1.0, -1.0 * direction])[0] == pytest.approx(direction * np.sqrt(2), rel=1e-8)


def test_a_flow_that_does_not_come_back():
    away = PoincareMap(LinearFlow(np.diag([1.0, -1.0])), RK4(0.01), [1.0, 0.0], 5.0, limit=50)
    assert np.isnan(away.step(0, np.array([[1.0], [2.0]]))).all()
    assert np.isnan(away.step_tangent(0, np.ones(1), np.ones((1, 1)))[1]).all()
    with pytest.raises(DivergenceError, match="within limit = 50 steps"):
        away.first_crossing([1.0, 1.0])
    with pytest.raises(DivergenceError):
        away.tangent(backend="numpy").benettin([1.0], intervals=3)


def test_bad_arguments_are_refused_by_name():
    good = {"flow": Lorenz63(), "stepper": RK4(0.01), "normal": [0.0, 0.0, 1.0]}
    for wrong, message in [
        ({"flow": 1}, "needs a flow"),
        ({"stepper": 0.01}, "stepper such as RK4"),
        ({"stepper": Leapfrog(0.01)}, "RK4 or ImplicitMidpoint"),
        ({"normal": [0.0, 1.0]}, "shape"),
        ({"normal": [0.0, 0.0, 0.0]}, "not all zero"),
        ({"offset": np.nan}, "offset"),
        ({"direction": 0}, "direction must be 1"),
        ({"limit": 0}, "limit"),
        ({"flow": DRIVEN, "normal": [1.0, 0.0]}, "StroboscopicMap"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            PoincareMap(**good | wrong)
    for wrong, message in [
        ({"flow": 1}, "needs a flow"),
        ({"stepper": 0.01}, "RK4"),
        ({"steps": 0}, "steps"),
        ({"stepper": Leapfrog(0.1)}, "as many momenta"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            StroboscopicMap(**{"flow": Lorenz63(), "stepper": RK4(0.01), "steps": 10} | wrong)


def test_batches_drive_a_stroboscopic_map_step_by_step():
    x = np.linspace(-1.0, 1.0, 12)
    flow = GradientFlow.of("(y - v*tanh(w*x))^2", ["w", "v"], {"x": x, "y": np.sin(x)})
    sgd, stepper = flow.minibatches(size=3, seed=1), RK4(0.1)
    epochs = StroboscopicMap(sgd, stepper, steps=4)
    with pytest.warns(FallbackWarning, match="a map of a flow that data drive is not compiled"):
        of_map = epochs.tangent().benettin([0.5, 0.8], intervals=6, warmup=0)
    of_flow = sgd.tangent(stepper, backend="numpy").benettin([0.5, 0.8], intervals=6, steps_per_interval=4, warmup=0)
    np.testing.assert_allclose(of_map.exponents, 0.4 * of_flow.exponents, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize("stepper", [RK4(0.01), DormandPrince(0.1, 1e-11), ImplicitMidpoint(0.01)], ids=repr)
def test_compiled_maps_are_those_of_numpy(stepper):
    import numba

    @numba.njit
    def function(t, x, c):
        pull = c * (1.0 - x[0] ** 2 - x[1] ** 2)
        return np.array([pull * x[0] - x[1], pull * x[1] + x[0] + 0.1 * x[2], -c * x[2]])

    cycle = FunctionFlow(function, 3, args=(0.1,))
    strobe = StroboscopicMap(DRIVEN, attrs.evolve(stepper, dt=PERIOD / 40), steps=40)
    check_tangent(strobe.tangent(backend="numba"), np.array([0.1, 0.2]), steps=1)
    returns = PoincareMap(Lorenz63(), stepper, [0.3, -0.2, 1.0], 27.0, direction=-1, limit=1000)
    u = returns.first_crossing([1.0, 1.0, 20.0])  # two returns shrink one direction by e^-24, which rounding shows
    rates = [returns.tangent(backend=b).benettin(u, intervals=2, warmup=0, k=1).rates for b in ("numba", "numpy")]
    np.testing.assert_allclose(*rates, rtol=1e-8)
    returns = PoincareMap(cycle, attrs.evolve(stepper, dt=10 * stepper.dt), [1.0, 1.0, 0.0], direction=-1, limit=2000)
    tangent = returns.tangent(backend="numba")  # the function is traced
    check_tangent(tangent, returns.first_crossing([0.7, 0.1, 0.1]), steps=1)


@pytest.mark.slow
@pytest.mark.numba
def test_exponents_of_returns_are_those_of_the_flow_times_the_mean_time():
    returns = PoincareMap(stepper=RK4(0.005), **LORENZ)
    spectrum = returns.tangent().benettin(returns.first_crossing([1.0, 1.0, 20.0]), intervals=20_000)
    states = returns.tangent().trajectory(spectrum.end, intervals=400).states
    time = np.array([returns.first_return(u)[1] for u in states[:400:4]])
    flow = Lorenz63().tangent(RK4(0.005)).benettin([1.0, 1.0, 20.0], intervals=150_000, steps_per_interval=20)
    ratio, expected = spectrum.exponents / time.mean(), flow.exponents[[0, 2]]
    error = np.hypot(spectrum.standard_error / time.mean(), flow.standard_error[[0, 2]])
    error = np.hypot(error, np.abs(expected) * time.std() / time.mean() / np.sqrt(len(time)))
    assert np.all(np.abs(ratio - expected) < 4 * error)
    assert np.all(error < 0.05 * np.abs(expected))


@pytest.mark.numba
def test_other_planes_and_periods_do_not_compile_again():
    def source(system):
        return system.step_kernel().step(2).source

    one, other = (PoincareMap(Lorenz63(rho=r), RK4(0.1 / r), [r, 1.0, 0.0], r, direction=-1) for r in (28.0, 20.0))
    assert source(one) == source(other)
    assert source(StroboscopicMap(DRIVEN, RK4(0.1), 3)) == source(StroboscopicMap(DRIVEN, RK4(0.2), 4, t0=0.3))


@attrs.frozen(eq=False)
class InNumpy(Flow):
    dimension = 2

    def vector_field(self, t, x):
        return np.stack([x[..., 1], -x[..., 0]], axis=-1)

    def jacobian(self, t, x):
        return np.array([[0.0, 1.0], [-1.0, 0.0]])


def test_systems_without_a_kernel_run_in_numpy():
    assert StroboscopicMap(InNumpy(), RK4(0.1), 10).step_kernel() is None
    assert PoincareMap(InNumpy(), RK4(0.1), [1.0, 0.0]).step_kernel() is None
    exponents = PoincareMap(InNumpy(), RK4(0.1), [1.0, 0.0]).tangent().benettin([1.0], intervals=3).exponents
    assert abs(exponents[0]) < 1e-4


def test_parameters_of_the_flow_are_parameters_of_its_map():
    returns = PoincareMap(Roessler(), RK4(0.05), normal=[0.0, 1.0, 0.0], direction=-1)
    runs = sweep(returns.tangent(backend="numpy").benettin, {"c": [3.0, 5.0]}, [-4.0, 0.1], intervals=4, k=1)
    assert runs.exponent_mean.dims == ("c", "exponent")
    for m, c in enumerate((3.0, 5.0)):
        alone = attrs.evolve(returns, flow=attrs.evolve(Roessler(), c=c)).tangent(backend="numpy")
        of_two = alone.benettin(np.tile([-4.0, 0.1], (m + 1, 1)), intervals=4, k=1)
        np.testing.assert_array_equal(runs.rate[m], of_two.rates[-1])
    both = returns.with_parameters({"c": 4.0, "offset": 0.5})
    assert (both.flow.c, both.offset) == (4.0, 0.5)
    assert StroboscopicMap(Roessler(), RK4(0.05), steps=3).with_parameters({"a": 0.1, "steps": 4}).flow.a == 0.1
    with pytest.raises(InvalidInputError, match=r"Roessler has no parameter 'd'.*PoincareMap itself has flow, stepper"):
        returns.with_parameters({"d": 1.0})


def test_members_of_a_stroboscopic_map_see_their_own_batches():
    random = np.random.default_rng(0)
    flow = GradientFlow.of("(a*x - y)^2", ["a"], {"x": random.normal(size=12), "y": random.normal(size=12)})
    stepper = Euler(0.01)
    driven = flow.minibatches(size=3, seed=1, shared=False)
    ends = (
        StroboscopicMap(driven, stepper, steps=5).tangent(backend="numpy").trajectory([[0.5]] * 3, intervals=4).states
    )
    for member in range(3):
        own = driven.for_member(member)
        x = np.array([0.5])
        for n in range(20):
            x = FlowStep(own, stepper).step(n, x)
        np.testing.assert_array_equal(ends[member, -1], x)
    assert len(np.unique(ends[:, -1])) == 3


def test_a_field_that_is_not_defined_everywhere_is_not_called_driven():
    logarithm = SymbolicFlow.of({"x": "y", "y": "-x + 0*log(x - 10)"})
    assert PoincareMap(logarithm, RK4(0.1), normal=[0.0, 1.0]).dimension == 1
    driven = SymbolicFlow.of({"x": "y", "y": "cos(t) + log(x - 10)"})
    with pytest.raises(InvalidInputError, match="the flow depends on time"):
        PoincareMap(driven, RK4(0.1), normal=[0.0, 1.0])


def test_a_function_that_raises_outside_its_domain_can_be_looked_at():
    def pendulum(t, x):
        return np.array([x[1], -math.sin(x[0]) + 0.0 * math.exp(x[1])])  # overflows

    returns = PoincareMap(FunctionFlow(pendulum, 2), RK4(0.05), normal=[1.0, 0.0])
    found = returns.tangent(backend="numpy").trajectory([1.0], intervals=2).states
    np.testing.assert_allclose(found, 1.0, atol=1e-5)


def test_the_message_of_a_run_that_does_not_come_back_says_so():
    spiral = LinearFlow([[1.0, -0.1], [0.1, 1.0]])
    returns = PoincareMap(spiral, RK4(0.1), normal=[0.0, 1.0], limit=20)
    with pytest.raises(DivergenceError, match=r"not come back to the plane within limit = 20 steps.*raise limit"):
        returns.tangent(backend="numpy").benettin([1.0], intervals=3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p: p.first_crossing([np.nan, 0.0]), "x must be a finite state"),
        (lambda p: p.first_return([[1.0]]), r"u must be one finite point of shape \(1,\), got array\(\[\[1"),
        (lambda p: p.first_return([np.nan]), r"u must be one finite point of shape \(1,\), got array\(\[nan"),
        (lambda p: p.embed(["one"]), "u must be an array of real numbers"),
        (lambda p: p.embed([1.0, 2.0]), r"u must have shape \(..., 1\), got \(2,\)"),
        (lambda p: p.embed(1.0), r"u must have shape \(..., 1\), got \(\)"),
        (lambda p: p.project([1.0]), r"x must have shape \(..., 2\), got \(1,\)"),
        (lambda p: attrs.evolve(p, direction=True), "direction must be 1"),
        (lambda p: attrs.evolve(p, direction=np.array([1, 1])), "direction must be 1"),
        (lambda p: attrs.evolve(p, direction=[1]), "direction must be 1"),
        (lambda p: attrs.evolve(p, offset=np.inf), "offset must be a finite number"),
        (lambda p: p.tangent(t0=np.nan), "t0 must be a finite number, got nan"),
        (lambda p: StroboscopicMap(p.flow, RK4(0.1), steps=3, t0=np.inf), "t0 must be a finite number, got inf"),
        (lambda p: p.flow.tangent(RK4(0.1), t0="now"), "t0 must be"),
    ],
)
def test_points_times_and_directions_are_checked(call, text):
    with pytest.raises(InvalidInputError, match=text):
        call(PoincareMap(CYCLE, RK4(0.01), normal=[0.0, 1.0]))
