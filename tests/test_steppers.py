"""Steppers: tableaus, order of state and tangent, and the tangent as the derivative of the step."""

import math
from functools import cache

import attrs
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.integrate._ivp import dop853_coefficients
from scipy.linalg import expm
from steps import kernel_of

from dynsys import (
    DOP853,
    RK4,
    RK8,
    DivergenceError,
    DormandPrince,
    Euler,
    Flow,
    FunctionFlow,
    GradientFlow,
    ImplicitMidpoint,
    InvalidInputError,
    Leapfrog,
    Midpoint,
    SymbolicFlow,
)
from dynsys.algorithms.differences import finite_difference
from dynsys.models.classics import LinearFlow, Lorenz63
from dynsys.steppers.dop853 import FIFTH, THIRD
from dynsys.steppers.dormand_prince import ERROR, FifthOrder
from dynsys.testing import check_tangent

EXPLICIT = [Euler, Midpoint, RK4, FifthOrder, RK8]
ADAPTIVE = [DormandPrince, DOP853]
STEPPERS = [*EXPLICIT, ImplicitMidpoint, Leapfrog]
X0, V0 = np.array([0.9, -0.3]), np.array([[1.0, 0.3], [-0.2, 1.0]])
T0, T = 0.4, 2.0


@attrs.frozen(eq=False)
class Pendulum(Flow):
    """A pendulum whose length is driven: non-linear, with a Jacobian that depends on time and state.

    Separable, as the leapfrog needs it, without friction.
    """

    friction: float = 0.1
    dimension = 2

    def vector_field(self, t, x):
        force = -(1.0 + np.cos(3.0 * t)) * np.sin(x[..., 0]) - self.friction * x[..., 1] ** 3
        return np.stack([x[..., 1] - 0.2 * x[..., 1] ** 3, force], axis=-1)

    def jacobian(self, t, x):
        force = -(1.0 + np.cos(3.0 * t)) * np.cos(x[0])
        return np.array([[0.0, 1.0 - 0.6 * x[1] ** 2], [force, -3 * self.friction * x[1] ** 2]])


def pendulum(kind):
    return Pendulum(0.0 if kind is Leapfrog else 0.1)


@attrs.frozen(eq=False)
class Monomial(Flow):
    """dx/dt = t^degree."""

    degree: int
    dimension = 1

    def vector_field(self, t, x):
        return np.full_like(x, t**self.degree)

    def jacobian(self, t, x):
        return np.zeros((1, 1))


class FrozenJacobian(RK4):
    """The mistake: the state by Runge-Kutta, the vectors as if the Jacobian did not change over the step."""

    def step_tangent(self, flow, n, t, x, V):
        frozen = LinearFlow(flow.jacobian(t, x))
        return self.step(flow, n, t, x), super().step_tangent(frozen, n, t, x, V)[1]


@cache
def truth(friction):
    """State and tangent vectors at time T0 + T, by another method at its smallest error."""
    flow = Pendulum(friction)

    def variational(t, y):
        x, V = y[:2], y[2:].reshape(2, 2)
        return np.concatenate([flow.vector_field(t, x), (flow.jacobian(t, x) @ V).ravel()])

    start = np.concatenate([X0, V0.ravel()])
    end = solve_ivp(variational, (T0, T0 + T), start, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    return end[:2], end[2:].reshape(2, 2)


def integrate(stepper, steps, flow):
    x, V = X0, V0
    for n in range(steps):
        x, V = stepper.step_tangent(flow, 0, T0 + n * stepper.dt, x, V)
    return x, V


def errors_of(stepper, steps):
    """Errors of state and tangent vectors at time T0 + T."""
    flow = pendulum(type(stepper))
    end = integrate(stepper, steps, flow)
    return [np.linalg.norm(found - true) for found, true in zip(end, truth(flow.friction), strict=True)]


def measured_orders(kind, coarsest):
    """Slopes of log error over log dt, of the state and of the tangent vectors."""
    counts = [coarsest * 2**i for i in range(5)]
    errors = [errors_of(kind(T / count), count) for count in counts]
    return np.polyfit(-np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("kind", EXPLICIT)
def test_tableau_is_explicit_consistent_and_its_nodes_are_row_sums(kind):
    stepper = kind(0.1)
    assert [len(row) for row in stepper.a] == list(range(len(stepper.b)))
    assert math.fsum(stepper.b) == pytest.approx(1.0, rel=0, abs=1e-15)
    np.testing.assert_allclose(stepper.c, [math.fsum(row) for row in stepper.a], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", [RK4, FifthOrder])
def test_the_order_conditions_hold_up_to_the_stated_order(kind):
    stepper = kind(0.1)
    stages = len(stepper.b)
    a = np.zeros((stages, stages))
    for i, row in enumerate(stepper.a):
        a[i, :i] = row
    b, c = np.array(stepper.b), np.array(stepper.c)
    conditions = {  # one for every rooted tree: weight of the tree, 1 / its density
        "order 1": (b.sum(), 1),
        "order 2": (b @ c, 1 / 2),
        "order 3, bushy": (b @ c**2, 1 / 3),
        "order 3, tall": (b @ a @ c, 1 / 6),
        "order 4, bushy": (b @ c**3, 1 / 4),
        "order 4, mixed": (b @ (c * (a @ c)), 1 / 8),
        "order 4, forked": (b @ a @ c**2, 1 / 12),
        "order 4, tall": (b @ a @ a @ c, 1 / 24),
    }
    if kind is FifthOrder:
        conditions |= {
            "order 5, bushy": (b @ c**4, 1 / 5),
            "order 5, two leaves and a branch": (b @ (c**2 * (a @ c)), 1 / 10),
            "order 5, two branches": (b @ (a @ c) ** 2, 1 / 20),
            "order 5, a leaf and a fork": (b @ (c * (a @ c**2)), 1 / 15),
            "order 5, a leaf and a tall branch": (b @ (c * (a @ a @ c)), 1 / 30),
            "order 5, a stem with three leaves": (b @ a @ c**3, 1 / 20),
            "order 5, a stem with a leaf and a branch": (b @ a @ (c * (a @ c)), 1 / 40),
            "order 5, forked at the top": (b @ a @ a @ c**2, 1 / 60),
            "order 5, tall": (b @ a @ a @ a @ c, 1 / 120),
        }
    for name, (weight, expected) in conditions.items():
        assert weight == pytest.approx(expected, rel=2e-15 if kind is RK4 else 1e-14), name
    beyond = {RK4: (b @ c**4, 1 / 5), FifthOrder: (b @ a @ a @ a @ a @ c, 1 / 720)}[kind]
    assert abs(beyond[0] - beyond[1]) > 1e-4


def test_the_last_slope_of_dormand_prince_is_the_first_of_the_next_step():
    assert FifthOrder(0.1).a[6] == FifthOrder(0.1).b[:6]
    assert FifthOrder(0.1).tableau.last_is_first
    assert not any(kind(0.1).tableau.last_is_first for kind in (Euler, Midpoint, RK4, RK8))


def test_the_method_of_order_eight_is_that_of_scipy():
    stages = dop853_coefficients.N_STAGES
    stepper = RK8(0.1)
    for s in range(stages):
        np.testing.assert_array_equal(stepper.a[s], dop853_coefficients.A[s, :s])
    np.testing.assert_array_equal(stepper.b, dop853_coefficients.B)
    np.testing.assert_array_equal(stepper.c, dop853_coefficients.C[:stages])
    np.testing.assert_array_equal([*FIFTH, 0.0], dop853_coefficients.E5)
    np.testing.assert_array_equal([*THIRD, 0.0], dop853_coefficients.E3)


@pytest.mark.parametrize(("kind", "order"), [(FifthOrder, 5), (RK8, 8)])
def test_the_conditions_of_quadrature_and_of_linear_flows_hold_up_to_the_order(kind, order):
    """Of the trees of every order, those with all leaves on the root, and those without branches."""
    stepper = kind(0.1)
    b, c = np.array(stepper.b), np.array(stepper.c)
    a = np.array([[*row, *[0.0] * (len(b) - len(row))] for row in stepper.a])
    bushy = [b @ c ** (p - 1) * p for p in range(1, order + 2)]
    tall = [b @ np.linalg.matrix_power(a, p - 1) @ np.ones_like(b) * math.factorial(p) for p in range(1, order + 2)]
    np.testing.assert_allclose([bushy[:-1], tall[:-1]], 1.0, rtol=0, atol=1e-11)
    assert min(abs(bushy[-1] - 1.0), abs(tall[-1] - 1.0)) > 1e-4


@pytest.mark.parametrize(("weights", "method", "order"), [(ERROR, FifthOrder, 4), (FIFTH, RK8, 5), (THIRD, RK8, 3)])
def test_embedded_steps_have_the_order_that_estimates_need(weights, method, order):
    b, c = np.array(method(0.1).b) - weights, np.array(method(0.1).c)
    for power in range(order):
        assert b @ c**power == pytest.approx(1 / (power + 1), rel=1e-13)
    assert abs(b @ c**order - 1 / (order + 1)) > 1e-4


@pytest.mark.parametrize("kind", [Euler, Midpoint, RK4, ImplicitMidpoint, Leapfrog])
def test_state_and_tangent_converge_with_the_stated_order(kind):
    order = kind(1.0).order
    orders = measured_orders(kind, coarsest={1: 128, 2: 64, 4: 32}[order])
    assert np.all(np.abs(orders - order) < 0.15), orders


@pytest.mark.parametrize(
    ("kind", "span", "counts"), [(FifthOrder, 3.0, [16, 32, 64, 128]), (RK8, 6.0, [8, 12, 16, 20])]
)
def test_state_and_tangent_of_methods_of_high_order_converge_with_it(kind, span, counts):
    """On x' = x (1 - x): elsewhere error constants are so small that a higher order shows, or rounding."""

    @attrs.frozen(eq=False)
    class Logistic(Flow):
        dimension = 1

        def vector_field(self, t, x):
            return x * (1.0 - x)

        def jacobian(self, t, x):
            return np.array([[1.0 - 2.0 * x[0]]])

    x0, grown, errors = 0.1, math.exp(span), []
    true = x0 * grown / (1.0 - x0 + x0 * grown), grown / (1.0 - x0 + x0 * grown) ** 2
    for count in counts:
        x, V = np.array([x0]), np.ones((1, 1))
        for _ in range(count):
            x, V = kind(span / count).step_tangent(Logistic(), 0, 0.0, x, V)
        errors.append([abs(x[0] - true[0]), abs(V[0, 0] - true[1])])
    orders = np.polyfit(-np.log(counts), np.log(errors), 1)[0]
    assert np.all(np.abs(orders - kind(1.0).order) < 0.15), orders


def test_a_jacobian_frozen_over_the_step_makes_the_tangent_first_order():
    state, tangent = measured_orders(FrozenJacobian, coarsest=32)
    assert abs(state - 4) < 0.15
    assert abs(tangent - 1) < 0.15


def derivative_defect(stepper):
    """Relative difference of the tangent step from fourth-order differences of the step, its choices held fixed."""
    flow = pendulum(type(stepper))
    pushed, held = stepper.step_tangent(flow, 0, T0, X0, V0)[1], stepper.held(flow, 0, T0, X0, V0)
    differences = finite_difference(lambda x: held.step(flow, 0, T0, x), X0, V0)
    return np.linalg.norm(pushed - differences) / np.linalg.norm(differences)


@pytest.mark.parametrize("kind", [*STEPPERS, *ADAPTIVE])
@pytest.mark.parametrize("dt", [1e-3, 0.1, 1.0])
def test_the_tangent_is_the_derivative_of_the_step_however_long_the_step(kind, dt):
    assert derivative_defect(kind(dt)) < 1e-11
    assert derivative_defect(FrozenJacobian(dt)) > 1e-2 * dt**2  # the same measure finds a frozen Jacobian


@pytest.mark.parametrize("kind", STEPPERS)
def test_push_and_step_move_the_state_alike_and_members_do_not_mix(kind):
    stepper, members = kind(0.3), np.random.default_rng(0).normal(size=(2, 3, 2))
    flow, before = pendulum(kind), members.copy()
    together = stepper.step(flow, 0, T0, members)
    np.testing.assert_array_equal(members, before)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(together[index], stepper.step(flow, 0, T0, members[index]))
        np.testing.assert_array_equal(together[index], stepper.step_tangent(flow, 0, T0, members[index], V0)[0])


@pytest.mark.parametrize("kind", [Euler, Midpoint, RK4])
def test_a_step_of_a_linear_flow_is_the_taylor_polynomial_of_the_exponential(kind):
    A, dt = np.random.default_rng(1).normal(size=(3, 3)), 0.7
    order = kind(dt).order
    polynomial = sum(np.linalg.matrix_power(dt * A, p) / math.factorial(p) for p in range(order + 1))
    x, V = kind(dt).step_tangent(LinearFlow(A), 0, 0.0, A[0], np.eye(3))
    np.testing.assert_allclose(V, polynomial, rtol=0, atol=1e-14 * np.abs(polynomial).max())
    np.testing.assert_allclose(x, polynomial @ A[0], rtol=0, atol=1e-14 * np.abs(polynomial).max())


@pytest.mark.parametrize(
    ("kind", "degree", "error"),
    [
        *[(Euler, 0, 0.0), (Euler, 1, -1 / 2), (Midpoint, 1, 0.0), (Midpoint, 2, -1 / 12)],
        *[(ImplicitMidpoint, 1, 0.0), (ImplicitMidpoint, 2, -1 / 12)],
        *[(RK4, 3, 0.0), (RK4, 4, 5 / 24 - 1 / 5), (FifthOrder, 4, 0.0)],
    ],
)
@pytest.mark.parametrize("t", [0.0, 2.0])
def test_stages_see_their_own_times(kind, degree, error, t):
    """The quadrature error is a multiple of a derivative that is constant here, so the same at every t."""
    dt = 0.25
    integral = ((t + dt) ** (degree + 1) - t ** (degree + 1)) / (degree + 1)
    x = kind(dt).step(Monomial(degree), 0, t, np.zeros(1))
    assert x[0] == pytest.approx(integral + error * dt ** (degree + 1), rel=1e-14)


@pytest.mark.parametrize("kind", [*STEPPERS, *ADAPTIVE])
@pytest.mark.parametrize("dt", [0.0, -0.1, math.nan, math.inf, -math.inf])
def test_a_bad_dt_is_refused_with_what_came_and_what_was_expected(kind, dt):
    with pytest.raises(InvalidInputError, match=rf"dt must be a positive finite number, got {dt}"):
        kind(dt=dt)


@pytest.mark.parametrize("kind", STEPPERS)
def test_dt_is_fixed_once_made(kind):
    stepper = kind(dt=1)
    assert isinstance(stepper.dt, float)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        stepper.dt = 2.0


@pytest.mark.parametrize("kind", ADAPTIVE)
@pytest.mark.parametrize("rtol", [1e-5, 1e-7, 1e-9, 1e-11])
@pytest.mark.parametrize("dt", [0.1, 2.0])
def test_adaptive_steps_meet_their_tolerance_on_state_and_vectors(kind, rtol, dt):
    """And work no harder than they must: where one divides a step, the error is not far below what is allowed."""
    stepper, steps = kind(dt, rtol, atol=rtol), round(T / dt)
    errors = np.array(errors_of(stepper, steps)) / [np.linalg.norm(true) for true in truth(0.1)]
    assert np.all(errors < rtol * max(1, steps / 10))
    if dt == 2.0:
        assert np.all(errors > 1e-3 * rtol)
        assert len(stepper.held(Pendulum(), 0, T0, X0, V0).lengths) < 2.0 * rtol ** (-1 / stepper.order)


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_the_error_of_adaptive_steps_is_proportional_to_the_tolerance(kind):
    tolerances = 10.0 ** np.arange(-12, -4)
    errors = [errors_of(kind(T, rtol, atol=rtol), 1) for rtol in tolerances]
    slopes = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert np.all(np.abs(slopes - 1) < 0.15), slopes


def test_dop853_moves_state_and_vectors_of_lorenz_as_that_of_scipy_does():
    """And needs about as many evaluations: the estimate and the next length are the same, the norm is not."""
    calls, lorenz = [], Lorenz63()

    def variational(t, y):
        calls.append(t)
        V = y[3:].reshape(3, 3)
        return np.concatenate([lorenz.vector_field(t, y[:3]), lorenz.jvp(t, y[:3], V).ravel()])

    x0, start = np.array([1.0, 2.0, 20.0]), np.array([1.0, 2.0, 20.0, *np.eye(3).ravel()])
    for rtol in (1e-7, 1e-11):
        calls.clear()
        theirs = solve_ivp(variational, (0.0, 2.0), start, method="DOP853", rtol=rtol, atol=rtol).y[:, -1]
        stepper = DOP853(2.0, rtol, atol=rtol)
        x, V = stepper.step_tangent(lorenz, 0, 0.0, x0, np.eye(3))
        np.testing.assert_allclose(x, theirs[:3], rtol=1e3 * rtol)
        np.testing.assert_allclose(V.ravel(), theirs[3:], rtol=0, atol=1e3 * rtol * np.abs(V).max())
        ours = 12 * len(stepper.held(lorenz, 0, 0.0, x0, np.eye(3)).lengths)
        assert 0.5 * len(calls) < ours < 1.5 * len(calls)


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_adaptive_steps_watch_the_vectors_where_the_state_is_at_rest(kind):
    """At a fixed point the state asks for nothing; e^(tJ) does."""
    A = np.array([[-0.3, 4.0], [-4.0, -0.3]])
    stepper = kind(1.0, rtol=1e-10)
    held = stepper.held(LinearFlow(A), 0, 0.0, np.zeros(2), np.eye(2))
    assert len(held.lengths) > {5: 10, 8: 3}[stepper.order]
    assert math.fsum(held.lengths) == pytest.approx(1.0, rel=1e-15)
    np.testing.assert_allclose(
        stepper.step_tangent(LinearFlow(A), 0, 0.0, np.zeros(2), np.eye(2))[1], expm(A), rtol=0, atol=2e-10
    )
    assert len(stepper.held(LinearFlow(A), 0, 0.0, np.zeros(2), np.empty((2, 0))).lengths) == 1


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_a_vector_of_zeros_asks_for_no_substeps(kind):
    V = np.column_stack([np.eye(2), np.zeros(2)])
    stepper = kind(1.0, rtol=1e-8)
    with_zeros, without = (stepper.held(Pendulum(), 0, T0, X0, W).lengths for W in (V, np.eye(2)))
    assert with_zeros == without
    np.testing.assert_array_equal(stepper.step_tangent(Pendulum(), 0, T0, X0, V)[1][:, 2], 0.0)


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_adaptive_steps_give_up_where_a_flow_blows_up(kind):
    @attrs.frozen(eq=False)
    class Square(Flow):
        dimension = 1

        def vector_field(self, t, x):
            return x**2

        def jacobian(self, t, x):
            return np.array([[2.0 * x[0]]])

    before, after = kind(0.99), kind(1.01, rtol=1e-5)  # x(t) = 1 / (1 - t)
    assert before.step(Square(), 0, 0.0, np.ones(1))[0] == pytest.approx(100.0, rel=1e-6)
    for moved in (
        after.step(Square(), 0, 0.0, np.ones(1)),
        *after.step_tangent(Square(), 0, 0.0, np.ones(1), np.ones((1, 1))),
    ):
        assert np.isnan(moved).all()


@pytest.mark.parametrize(
    ("option", "value"), [("rtol", 0.0), ("rtol", 1e-16), ("rtol", 1.0), ("atol", 0.0), ("atol", np.nan)]
)
@pytest.mark.parametrize("kind", ADAPTIVE)
def test_a_tolerance_that_cannot_be_met_is_refused(kind, option, value):
    with pytest.raises(InvalidInputError, match=option):
        kind(0.1, **{option: value})


@pytest.mark.parametrize("kind", [Leapfrog, ImplicitMidpoint])
@pytest.mark.parametrize("dt", [0.01, 0.5])
def test_symplectic_methods_have_a_symplectic_tangent(kind, dt):
    x, M = X0, np.eye(2)
    for n in range(20):
        x, M = kind(dt).step_tangent(Pendulum(0.0), 0, n * dt, x, M)
    J = np.array([[0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(M.T @ J @ M, J, rtol=0, atol=1e-12 * np.abs(M).max() ** 2)
    x, M = RK4(0.5).step_tangent(Pendulum(0.0), 0, 0.0, X0, np.eye(2))
    assert np.abs(M.T @ J @ M - J).max() > 1e-6


@pytest.mark.parametrize("kind", [Leapfrog, ImplicitMidpoint])
def test_symplectic_methods_are_reversible(kind):
    """A step, the momentum turned round, and a step: back, with the momentum turned round."""
    still, turn = LinearFlow([[0.0, 1.0], [-2.0, 0.0]]), np.array([1.0, -1.0])
    there = kind(0.3).step(still, 0, 0.0, X0)
    np.testing.assert_allclose(turn * kind(0.3).step(still, 0, 0.0, turn * there), X0, rtol=0, atol=1e-15)


@pytest.mark.parametrize("mu", [-1e6, -3.0, 2.0j, -1.0 + 5.0j])
@pytest.mark.parametrize("dt", [1e-3, 1.0])
def test_a_step_of_implicit_midpoint_is_the_cayley_transform(mu, dt):
    A = np.array([[np.real(mu), -np.imag(mu)], [np.imag(mu), np.real(mu)]])
    factor = (1 + dt * mu / 2) / (1 - dt * mu / 2)
    exact = np.array([[np.real(factor), -np.imag(factor)], [np.imag(factor), np.real(factor)]])
    x, V = ImplicitMidpoint(dt).step_tangent(LinearFlow(A), 0, 0.0, X0, np.eye(2))
    np.testing.assert_allclose(V, exact, rtol=0, atol=1e-14)
    np.testing.assert_allclose(x, exact @ X0, rtol=0, atol=1e-14)


def test_a_step_without_a_solution_is_nan():
    @attrs.frozen(eq=False)
    class NoWay(Flow):
        dimension = 1

        def vector_field(self, t, x):
            return 1.0 + x**2

        def jacobian(self, t, x):
            return np.array([[2.0 * x[0]]])

    stepper = ImplicitMidpoint(10.0)  # m = x + 5 (1 + m^2) has no real root
    assert np.isnan(stepper.step(NoWay(), 0, 0.0, np.zeros(1))).all()
    x, V = stepper.step_tangent(NoWay(), 0, 0.0, np.zeros(1), np.ones((1, 1)))
    assert np.isnan(x).all()
    assert np.isnan(V).all()


def test_leapfrog_refuses_what_is_not_separable():
    with pytest.raises(InvalidInputError, match=r"component 1 depends on component 1.*RK4"):
        Pendulum(0.1).tangent(Leapfrog(0.1), backend="numpy")
    with pytest.raises(InvalidInputError, match="as many momenta, got dimension 3"):
        LinearFlow(np.eye(3)).tangent(Leapfrog(0.1), backend="numpy")
    Pendulum(0.0).tangent(Leapfrog(0.1), backend="numpy")


def symbolic(conservative):
    friction = "" if conservative else " - 0.1*p*q"
    return SymbolicFlow.of({"q": "p + p^3", "p": "-q - q^3*cos(t)" + friction}), np.array([0.3, 0.5])


def lattice(conservative):
    """A ring of 10 oscillators, positions before momenta: loops over sites."""
    friction = "" if conservative else " - 0.1*p{0}"
    force = "-q{0} - (q{0} - q{1})^3 - (q{0} - q{2})^3 + 0.1*cos(t)" + friction
    positions = {f"q{i}": f"p{i}" for i in range(10)}
    momenta = {f"p{i}": force.format(i, (i + 1) % 10, (i - 1) % 10) for i in range(10)}
    return SymbolicFlow.of(positions | momenta), np.random.default_rng(0).normal(size=20)


def from_function(conservative):
    import numba

    friction = 0.0 if conservative else 0.1

    @numba.njit
    def function(t, x, friction):
        return np.array([x[1], -np.sin(x[0]) * np.cos(t) - friction * x[1]])

    @numba.njit
    def jacobian(t, x, friction):
        return np.array([[0.0, 1.0], [-np.cos(x[0]) * np.cos(t), -friction]])

    return FunctionFlow(function, 2, jacobian, args=(friction,)), np.array([0.3, 0.5])


def network(conservative):
    x = np.linspace(-1.0, 1.0, 8)
    flow = GradientFlow.of("(y - v*tanh(w*x + b))^2", ["w", "b", "v"], {"x": x, "y": np.sin(x)})
    return (None if conservative else flow), np.array([0.5, 0.1, 0.8])


COMPILED = {"symbolic": symbolic, "lattice": lattice, "function": from_function, "network": network}


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize(
    "stepper",
    [Midpoint(0.02), RK8(0.2), DormandPrince(0.3), DOP853(0.3), ImplicitMidpoint(0.02), Leapfrog(0.02)],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["symbolic", "lattice", "function", "network"])
def test_compiled_steps_are_those_of_numpy(stepper, kind):
    """Of equations written out, of loops over sites, of functions, and of a sum over samples."""
    flow, x = COMPILED[kind](isinstance(stepper, Leapfrog))
    if flow is None:
        pytest.skip("a gradient flow has no momenta")
    check_tangent(flow.tangent(stepper, backend="numba"), x, steps=2)
    members = x + 1e-2 * np.arange(5)[:, None]
    options = {"intervals": 2, "steps_per_interval": 3, "warmup": 0, "k": 2}
    ours = flow.tangent(stepper, backend="numba").benettin(members, **options)
    theirs = flow.tangent(stepper, backend="numpy").benettin(members, **options)
    np.testing.assert_allclose(ours.rates, theirs.rates, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        flow.tangent(stepper, backend="numba").trajectory(x, intervals=3).states,
        flow.tangent(stepper, backend="numpy").trajectory(x, intervals=3).states,
        rtol=1e-10, atol=1e-10,
    )  # fmt: skip


@pytest.mark.numba
def test_tolerances_do_not_compile_again():
    flow = LinearFlow(np.eye(2))
    one, other = (kernel_of(flow, DormandPrince(0.1, rtol)) for rtol in (1e-6, 1e-7))
    assert one.step(2) == other.step(2)
    assert list(one.parameters) != list(other.parameters)


SLOW_THEN_FAST = SymbolicFlow.of({"x": "1.5 + sign(x - 0.3)/2"})  # from 0 it jumps to speed 2 at t = 0.3


@pytest.mark.parametrize("kind", ADAPTIVE)
@pytest.mark.parametrize("rtol", [1e-6, 1e-12])
def test_adaptive_steps_pass_a_jump_of_the_field(kind, rtol):
    x = kind(dt=5.0, rtol=rtol, atol=rtol).step(SLOW_THEN_FAST, 0, 0.0, np.array([[0.0], [0.1], [1.0]]))
    np.testing.assert_allclose(x[:, 0], [0.3 + 2 * 4.7, 0.3 + 2 * 4.8, 11.0], rtol=20 * rtol)
    late = kind(dt=5.0, rtol=rtol, atol=rtol).step(SLOW_THEN_FAST, 0, 1e3, np.array([0.0]))
    np.testing.assert_allclose(late, x[0], rtol=20 * rtol)


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_a_jump_where_the_state_is_zero_is_passed_however_late(kind):
    """There atol alone allows an error, so the substep is far below the rounding of t, which the field does not see."""
    jump = SymbolicFlow.of({"x": "1.5 + sign(x)/2"})
    for t in (0.0, 1e7):
        x = kind(1.0).step(jump, 0, t, np.array([[-0.3], [-0.01]]))
        np.testing.assert_allclose(x[:, 0], [1.4, 1.98], rtol=1e-9)


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_adaptive_steps_give_up_where_a_flow_slides_along_a_jump(kind, monkeypatch):
    monkeypatch.setattr("dynsys.steppers.embedded.MOST", 300)
    sliding = SymbolicFlow.of({"x": "sign(0.3 - x)"})
    assert np.isnan(kind(1.0).step(sliding, 0, 0.0, np.array([0.0]))).all()
    for run in ("trajectory", "benettin"):
        tangent = sliding.tangent(kind(1.0), backend="numpy")
        with pytest.raises(
            DivergenceError,
            match=rf"{kind.__name__} has no result.*slides along a jump of the vector field.*more than 300 substeps",
        ):
            getattr(tangent, run)([0.0], intervals=2)


CHUA = SymbolicFlow.of(
    {"x": "15.6*(y - x - h)", "y": "x - y + z", "z": "-28*y"},
    helpers={"h": "Piecewise((-0.714*x + 0.429, x < -1), (-1.143*x, x <= 1), (-0.714*x - 0.429, True))"},
)


def test_long_steps_over_many_kinks_are_short_steps():
    """In the chaotic attractor of Chua's circuit; the check of the determinant has nothing to say."""
    x0, found = [0.7, 0.0, 0.0], {}
    for dt in (0.1, 1.0, 5.0):
        tangent = CHUA.tangent(DormandPrince(dt, rtol=1e-10), backend="numpy")
        spectrum = tangent.benettin(x0, intervals=round(5 / dt), warmup=0)
        found[dt] = spectrum.end.x[0], spectrum.exponents
    for dt in (1.0, 5.0):
        np.testing.assert_allclose(found[dt][0], found[0.1][0], atol=1e-6)
        np.testing.assert_allclose(found[dt][1], found[0.1][1], atol=1e-4)


@pytest.mark.numba
@pytest.mark.slow
def test_compiled_dormand_prince_passes_a_jump_as_well():
    stepper = DormandPrince(dt=5.0, rtol=1e-10)
    ours, numpys = (
        SLOW_THEN_FAST.tangent(stepper, backend=backend).trajectory([0.0], intervals=2).states
        for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(ours, numpys, rtol=1e-12)
    np.testing.assert_allclose(ours[:, 0], [9.7, 19.7], rtol=1e-9)
