"""Steppers: tableaus, order of state and tangent, and the tangent as the derivative of the step."""

import math

import attrs
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dynsys import RK4, Euler, Flow, InvalidInputError
from dynsys.system import finite_difference
from models.classics import LinearFlow

STEPPERS = [Euler, RK4]
X0, V0 = np.array([0.9, -0.3]), np.array([[1.0, 0.3], [-0.2, 1.0]])
T0, T = 0.4, 2.0


@attrs.frozen(eq=False)
class Pendulum(Flow):
    """A pendulum whose length is driven: non-linear, with a Jacobian that depends on time and state."""

    dimension = 2

    def vector_field(self, t, x):
        return np.stack([x[..., 1], -(1.0 + np.cos(3.0 * t)) * np.sin(x[..., 0]) - 0.1 * x[..., 1] ** 3], axis=-1)

    def jacobian(self, t, x):
        return np.array([[0.0, 1.0], [-(1.0 + np.cos(3.0 * t)) * np.cos(x[0]), -0.3 * x[1] ** 2]])


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

    def push(self, flow, t, x, V):
        frozen = LinearFlow(flow.jacobian(t, x))
        return self.step(flow, t, x), super().push(frozen, t, x, V)[1]


@pytest.fixture(scope="module")
def truth():
    """State and tangent vectors at time T0 + T, by another method at its smallest error."""

    def variational(t, y):
        x, V = y[:2], y[2:].reshape(2, 2)
        return np.concatenate([Pendulum().vector_field(t, x), (Pendulum().jacobian(t, x) @ V).ravel()])

    start = np.concatenate([X0, V0.ravel()])
    end = solve_ivp(variational, (T0, T0 + T), start, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    return end[:2], end[2:].reshape(2, 2)


def integrate(stepper, steps):
    x, V = X0, V0
    for n in range(steps):
        x, V = stepper.push(Pendulum(), T0 + n * stepper.dt, x, V)
    return x, V


def measured_orders(kind, truth, coarsest):
    """Slopes of log error over log dt, of the state and of the tangent vectors."""
    counts = [coarsest * 2**i for i in range(5)]
    ends = [integrate(kind(T / count), count) for count in counts]
    errors = [[np.linalg.norm(found - true) for found, true in zip(end, truth, strict=True)] for end in ends]
    return np.polyfit(-np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("kind", STEPPERS)
def test_tableau_is_explicit_consistent_and_its_nodes_are_row_sums(kind):
    stepper = kind(0.1)
    assert [len(row) for row in stepper.a] == list(range(len(stepper.b)))
    assert math.fsum(stepper.b) == 1.0
    np.testing.assert_array_equal(stepper.c, [math.fsum(row) for row in stepper.a])


def test_rk4_satisfies_the_order_conditions_up_to_order_four_and_not_five():
    stepper = RK4(0.1)
    a = np.zeros((4, 4))
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
    for name, (weight, expected) in conditions.items():
        assert weight == pytest.approx(expected, rel=1e-15), name
    assert b @ c**4 == pytest.approx(5 / 24, rel=1e-15)  # order 5 asks for 1/5


@pytest.mark.parametrize("kind", STEPPERS)
def test_state_and_tangent_converge_with_the_stated_order(kind, truth):
    orders = measured_orders(kind, truth, coarsest={1: 128, 4: 32}[kind(1.0).order])
    assert np.all(np.abs(orders - kind(1.0).order) < 0.15), orders


def test_a_jacobian_frozen_over_the_step_makes_the_tangent_first_order(truth):
    state, tangent = measured_orders(FrozenJacobian, truth, coarsest=32)
    assert abs(state - 4) < 0.15
    assert abs(tangent - 1) < 0.15


def derivative_defect(stepper):
    """Relative difference of the tangent step from fourth-order differences of the step."""
    pushed = stepper.push(Pendulum(), T0, X0, V0)[1]
    differences = finite_difference(lambda x: stepper.step(Pendulum(), T0, x), X0, V0)
    return np.linalg.norm(pushed - differences) / np.linalg.norm(differences)


@pytest.mark.parametrize("kind", STEPPERS)
@pytest.mark.parametrize("dt", [1e-3, 0.1, 1.0])
def test_the_tangent_is_the_derivative_of_the_step_however_long_the_step(kind, dt):
    assert derivative_defect(kind(dt)) < 1e-11
    assert derivative_defect(FrozenJacobian(dt)) > 1e-2 * dt**2  # the same measure finds a frozen Jacobian


@pytest.mark.parametrize("kind", STEPPERS)
def test_push_and_step_move_the_state_alike_and_members_do_not_mix(kind):
    stepper, members = kind(0.3), np.random.default_rng(0).normal(size=(2, 3, 2))
    together = stepper.step(Pendulum(), T0, members)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(together[index], stepper.step(Pendulum(), T0, members[index]))
        np.testing.assert_array_equal(together[index], stepper.push(Pendulum(), T0, members[index], V0)[0])


@pytest.mark.parametrize("kind", STEPPERS)
def test_a_step_of_a_linear_flow_is_the_taylor_polynomial_of_the_exponential(kind):
    A, dt = np.random.default_rng(1).normal(size=(3, 3)), 0.7
    order = kind(dt).order
    polynomial = sum(np.linalg.matrix_power(dt * A, p) / math.factorial(p) for p in range(order + 1))
    x, V = kind(dt).push(LinearFlow(A), 0.0, A[0], np.eye(3))
    np.testing.assert_allclose(V, polynomial, rtol=0, atol=1e-14 * np.abs(polynomial).max())
    np.testing.assert_allclose(x, polynomial @ A[0], rtol=0, atol=1e-14 * np.abs(polynomial).max())


@pytest.mark.parametrize(
    ("kind", "degree", "error"), [(Euler, 0, 0.0), (Euler, 1, -1 / 2), (RK4, 3, 0.0), (RK4, 4, 5 / 24 - 1 / 5)]
)
@pytest.mark.parametrize("t", [0.0, 2.0])
def test_stages_see_their_own_times(kind, degree, error, t):
    """The quadrature error is a multiple of a derivative that is constant here, so the same at every t."""
    dt = 0.25
    integral = ((t + dt) ** (degree + 1) - t ** (degree + 1)) / (degree + 1)
    x = kind(dt).step(Monomial(degree), t, np.zeros(1))
    assert x[0] == pytest.approx(integral + error * dt ** (degree + 1), rel=1e-14)


@pytest.mark.parametrize("kind", STEPPERS)
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
