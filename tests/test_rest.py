"""States at rest, and orbits that rounding made rest where no orbit can stay: said of the one, not of the other."""

import numpy as np
import pytest

from dynsys import RK4, DiagnosticWarning, FunctionMap, StroboscopicMap, SymbolicFlow, vary
from dynsys.algorithms.checks.rest import rests
from dynsys.models.classics import CatMap, Duffing, Henon, LinearFlow, LinearMap, Logistic, Lorenz63


def one(function, slope):
    """A map of an interval, with its derivative."""
    return FunctionMap(lambda n, x: [function(x[0])], 1, lambda n, x: [[slope(x[0])]]).tangent(backend="numpy")


DOUBLING = one(lambda x: 2 * x % 1.0, lambda x: 2.0)
PIECES = one(lambda x: 2 * x if x < 0.5 else 4 * x - 2 if x < 0.75 else 4 * x - 3, lambda x: 2.0 if x < 0.5 else 4.0)
TENT = one(lambda x: 1.0 - abs(2 * x - 1.0), lambda x: 2.0 if x < 0.5 else -2.0)
SWAPPED = one(lambda x: 2.0 + 2 * x % 1.0 if x < 1 else 2 * (x - 2.0) % 1.0, lambda x: 2.0)
BAKER = FunctionMap(
    lambda n, x: [2 * x[0] % 1.0, (x[1] + (x[0] >= 0.5)) / 2], 2, lambda n, x: [[2.0, 0.0], [0.0, 0.5]]
).tangent(backend="numpy")
FELL = r"the orbit fell on {}, which is unstable: vectors there grow by the factor {}.*Rounding collapsed it"
COLLAPSING = [
    (DOUBLING, [0.3141], r"the fixed point x = \(0\)", 2),
    (PIECES, [0.3141], r"the fixed point x = \(0\)", 2),
    (TENT, [0.3141], r"the fixed point x = \(0\)", 2),
    (one(lambda x: -2 * x % 1.0, lambda x: -2.0), [0.3141], r"the fixed point x = \(0\)", 2),
    (one(lambda x: 10 * x % 1.0, lambda x: 10.0), [0.3141], r"the fixed point x = \(0\)", 10),
    (SWAPPED, [0.3141], r"a cycle of 2 steps through x = \([02]\)", "4 in a cycle"),
    (BAKER, [0.3141, 0.2], r"the fixed point x = \(0, \S+\)", 2),  # y is still halved, and lies across
]


@pytest.mark.parametrize(("tangent", "x0", "where", "factor"), COLLAPSING)
@pytest.mark.parametrize(
    "options", [{"intervals": 200}, {"intervals": 40, "steps_per_interval": 5, "stride": 4}], ids=str
)
def test_an_orbit_that_rounding_collapses_is_told_so(tangent, x0, where, factor, options):
    with pytest.warns(DiagnosticWarning, match=FELL.format(where, factor)):
        tangent.benettin(x0, **options)


@pytest.mark.parametrize("name", ["ginelli", "wolfe_samelson"])
def test_covariant_vectors_of_a_collapsed_orbit_are_told_so(name):
    with pytest.warns(DiagnosticWarning, match=FELL.format(r"the fixed point x = \(0, \S+\)", 2)):
        getattr(BAKER, name)([0.3141, 0.2], intervals=60, warmup=60)


def test_the_members_that_fell_are_counted():
    with pytest.warns(DiagnosticWarning, match=r"coordinates \(2 of 3 members\)"):
        DOUBLING.benettin([[0.3141], [0.0], [0.7]], intervals=100)  # 0 was there from the start


def noisy(n, x):
    """The same map, which gets the digits that it lacks."""
    new = np.random.default_rng(n).random() * 2.0**-52
    x = x[0]
    return [(2 * x if x < 0.5 else 4 * x - 2 if x < 0.75 else 4 * x - 3) * (1 - 2.0**-52) + new]


def test_with_noise_of_the_size_of_the_last_digits_the_exponent_is_right():
    """The invariant density is 1/2 there on either half: (ln 2 + ln 4) / 2."""
    tangent = FunctionMap(noisy, 1, lambda n, x: [[2.0 if x[0] < 0.5 else 4.0]]).tangent(backend="numpy")
    found = tangent.benettin([0.3141], intervals=4000)
    assert abs(found.exponents[0] - 1.5 * np.log(2)) < 5 * found.standard_error[0] < 0.1


@pytest.mark.parametrize(
    ("tangent", "x0", "exponent"),
    [
        (one(lambda x: 3 * x % 1.0, lambda x: 3.0), [0.3141], np.log(3)),  # constant slope, and an orbit that moves
        (CatMap().tangent(backend="numpy"), [0.3141, 0.2], np.log((3 + 5**0.5) / 2)),
        (Logistic(r=2.5).tangent(backend="numpy"), [0.3], np.log(0.5)),  # a stable point
        (Logistic(r=3.2).tangent(backend="numpy"), [0.3], np.log(abs(0.16)) / 2),  # a stable cycle: 4 + 2 r - r^2
        (Logistic(r=4.0).tangent(backend="numpy"), [0.75], np.log(2.0)),  # asked for: it begins on an unstable point
        (
            one(lambda x: 1.2 * x - (1.2 * 1.7 - 1.7), lambda x: 1.2),
            [1.7000000000000002],
            np.log(1.2),
        ),  # a bit beside it
        (LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent(backend="numpy"), [0.0, 0.0], np.log(2.0)),
        (LinearFlow(np.diag([0.5, -1.0])).tangent(RK4(0.1), backend="numpy"), [0.0, 1.0], 0.5),  # a stable manifold
        (Lorenz63(rho=28.0).tangent(RK4(0.01), backend="numpy"), [0.0, 0.0, 0.0], 11.8277),
    ],
)
def test_no_other_orbit_is_called_collapsed(tangent, x0, exponent):
    found = tangent.benettin(x0, intervals=400)
    assert found.exponents[0] == pytest.approx(exponent, rel=2e-4)


@pytest.mark.filterwarnings("ignore:.*too coarse:dynsys.DiagnosticWarning")  # it is, for the rate of -20
def test_weights_that_die_are_no_collapse():
    """x and y come to rest exactly at 0, while a vector still turns, and grows by a trifle."""
    flow = SymbolicFlow.of({"x": "-x", "y": "-x*y - y^3 - 20*y", "z": "0"})
    tangent = flow.tangent(RK4(0.1), backend="numpy")
    found = tangent.benettin([1.0, 1.0, 0.3], intervals=300, warmup=0)
    assert abs(found.exponents[0]) < 0.1


def test_members_with_parameters_of_their_own():
    vary(Logistic().tangent(backend="numpy"), {"r": [2.5, 3.2, 3.9]}).benettin([[0.3]] * 3, intervals=300)


EQUATIONS = {"x": "10*(y - x)", "y": "16*x - x*z", "z": "x*y - 2.6667*z"}


def test_flows_rest_where_their_velocity_is_gone():
    tangent = SymbolicFlow.of(EQUATIONS).tangent(RK4(0.01), backend="numpy")
    point = np.array([np.sqrt(2.6667 * 16)] * 2 + [16.0])
    step = tangent.time_step
    assert rests(step, 0, point)
    assert rests(step, 0, point * (1 + 1e-12))
    assert not rests(step, 0, point * (1 + 1e-7))
    assert rests(step, 0, np.zeros(3))  # unstable, and at rest all the same
    assert not rests(step, 0, np.array([-3.03805747, -1.98052429, 14.65665869]))


def test_a_node_at_zero_is_reached_on_the_scale_of_the_run():
    step = LinearFlow([[-1.0]]).tangent(RK4(0.01), backend="numpy").time_step
    assert not rests(step, 0, np.array([1e-12]))
    assert rests(step, 0, np.array([1e-12]), scale=1.0)
    assert not rests(step, 0, np.array([1e-3]), scale=1.0)


def test_what_moves_slowly_does_not_rest():
    slow = SymbolicFlow.of({"x": "1e-9"}).tangent(RK4(0.01), backend="numpy").time_step  # no point to arrive at
    assert not rests(slow, 0, np.array([1.0]))
    algebraic = SymbolicFlow.of({"x": "-x^3"}).tangent(RK4(0.01), backend="numpy").time_step
    assert not rests(algebraic, 0, np.array([1e-6]))


def test_maps_rest_to_the_last_bits():
    tangent = Logistic(r=2.5).tangent(backend="numpy")
    end = tangent.trajectory([0.3], intervals=200).end
    assert rests(tangent.time_step, end.n, end.x[0])
    assert not rests(tangent.time_step, 0, np.array([0.6001]))
    cycle = Logistic(r=3.2).tangent(backend="numpy")
    end = cycle.trajectory([0.3], intervals=300).end
    assert not rests(cycle.time_step, end.n, end.x[0])
    assert not rests(Henon(), 0, np.array([0.1, 0.1]))


def test_driven_flows_and_maps_of_flows():
    driven = SymbolicFlow.of({"x": "-x + cos(t)"}).tangent(RK4(0.01), backend="numpy").time_step
    assert not rests(driven, 0, np.array([0.5]))
    at_rest = SymbolicFlow.of({"x": "-x*(1 + cos(t)^2)"}).tangent(RK4(0.01), backend="numpy").time_step
    assert rests(at_rest, 0, np.array([0.0]))
    strobe = StroboscopicMap(Duffing(), RK4(0.1), steps=10)
    assert not rests(strobe, 0, np.array([0.5, 0.1]))
