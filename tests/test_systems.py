"""Systems: the contract, plain NumPy subclasses, drives, units of time."""

import attrs
import numpy as np
import pytest

from dynsys import RK4, ContractError, Euler, FallbackWarning, Flow, Map, PiecewiseFlow
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Logistic, Lorenz63
from dynsys.testing import check_system

SPIRAL = np.array([[-0.3, 2.0, 0.5], [-2.0, -0.3, 0.1], [0.0, 0.0, -1.2]])
CLASSICS = {
    "Henon": (Henon(), [0.3, 0.2]),
    "LinearFlow": (LinearFlow(SPIRAL), [1.0, -2.0, 0.5]),
    "LinearMap": (LinearMap(SPIRAL), [1.0, -2.0, 0.5]),
    "Logistic": (Logistic(3.9), [0.3]),
    "Lorenz63": (Lorenz63(), [1.0, 2.0, 20.0]),
}


@attrs.frozen(eq=False)
class Pendulum(Flow):
    damping: float = 0.1
    dimension = 2

    def vector_field(self, t, x):
        return np.stack([x[..., 1], 1.2 * np.cos(t) - np.sin(x[..., 0]) - self.damping * x[..., 1]], axis=-1)


@attrs.frozen(eq=False)
class PendulumWithJacobian(Pendulum):
    def jacobian(self, t, x):
        return np.array([[0.0, 1.0], [-np.cos(x[0]), -self.damping]])


@attrs.frozen(eq=False)
class PendulumWithJvp(Pendulum):
    def jvp(self, t, x, V):
        return np.stack([V[1], -np.cos(x[0]) * V[0] - self.damping * V[1]])


@attrs.frozen(eq=False)
class Driven(PiecewiseFlow):
    """A linear flow whose matrix is another one during every step."""

    matrices: np.ndarray
    dimension = 2

    def flow_at(self, n):
        return LinearFlow(self.matrices[n % len(self.matrices)])


def rk4_polynomial(matrix, dt):
    """What one RK4 step of dx/dt = A x multiplies the state by: the Taylor polynomial of exp(dt A) of degree 4."""
    z, term, total = dt * matrix, np.eye(len(matrix)), np.eye(len(matrix))
    for degree in range(1, 5):
        term = term @ z / degree
        total = total + term
    return total


@pytest.mark.parametrize("name", CLASSICS)
def test_classics_keep_the_contract(name):
    system, x = CLASSICS[name]
    for t in (0.0, 3.0):
        check_system(system, np.array(x), t=t)


@pytest.mark.parametrize("kind", [Pendulum, PendulumWithJacobian, PendulumWithJvp])
def test_plain_numpy_subclasses_keep_the_contract(kind):
    check_system(kind(), np.array([0.7, -0.4]), t=1.3)


def test_the_contract_refuses_a_wrong_derivative_and_a_rule_for_single_states_only():
    class WrongSign(PendulumWithJacobian):
        def jacobian(self, t, x):
            return -super().jacobian(t, x)

    class OneStateOnly(Pendulum):
        def vector_field(self, t, x):
            return np.array([x[1], -x[0]]) + 0.0 * x

    with pytest.raises(ContractError, match="differences"):
        check_system(WrongSign(), np.array([0.7, -0.4]))
    with pytest.raises(ContractError, match="leading axes"):
        check_system(OneStateOnly(), np.array([0.7, -0.4]))


@pytest.mark.parametrize(
    ("kind", "derivative"),
    [(Pendulum, "finite differences"), (PendulumWithJvp, "jvp"), (PendulumWithJacobian, "jacobian")],
)
def test_a_result_says_where_its_derivatives_come_from(kind, derivative):
    if kind is Pendulum:
        with pytest.warns(FallbackWarning, match="jacobian nor jvp"):
            tangent = kind().tangent(RK4(0.05))
    else:
        tangent = kind().tangent(RK4(0.05))
    assert kind().derivative == derivative
    assert tangent.benettin([0.5, 0.0], intervals=2).diagnostics.derivative == derivative


def test_jvp_and_jacobian_are_the_same_tangent_and_differences_agree_to_their_error():
    with pytest.warns(FallbackWarning):
        by_differences = Pendulum().tangent(RK4(0.05))
    options = {"intervals": 40, "steps_per_interval": 5, "warmup": 4}
    exact = PendulumWithJacobian().tangent(RK4(0.05)).benettin([0.5, 0.0], **options).rates
    by_jvp = PendulumWithJvp().tangent(RK4(0.05)).benettin([0.5, 0.0], **options).rates
    np.testing.assert_allclose(by_jvp, exact, rtol=0, atol=1e-12)
    rates = by_differences.benettin([0.5, 0.0], **options).rates
    np.testing.assert_allclose(rates, exact, rtol=0, atol=1e-9)
    assert np.any(rates != exact)


def test_each_derivative_gives_the_other():
    x, t = np.array([0.7, -0.4]), 1.3
    jacobian = PendulumWithJacobian().jacobian(t, x)
    np.testing.assert_array_equal(PendulumWithJvp().jacobian(t, x), jacobian)
    np.testing.assert_array_equal(PendulumWithJacobian().jvp(t, x, np.eye(2)), jacobian)


def test_a_map_without_derivatives_works_by_differences():
    class Bare(Map):
        dimension = 2

        def step(self, n, x):
            return Henon().step(n, x)  # the same rounding: the orbits of a chaotic map must not part

    with pytest.warns(FallbackWarning):
        tangent = Bare().tangent()
    rates = tangent.benettin([0.1, 0.1], intervals=50).rates
    exact = Henon().tangent(backend="numpy").benettin([0.1, 0.1], intervals=50).rates
    np.testing.assert_allclose(rates, exact, rtol=0, atol=1e-9)


def test_the_flow_during_a_step_is_in_force_for_all_stages():
    matrices, dt = np.random.default_rng(0).normal(size=(3, 2, 2)), 0.2
    tangent = Driven(matrices).tangent(RK4(dt))
    check_system(tangent.time_step.flow, np.array([1.0, -1.0]))
    x, V = np.array([1.0, -1.0]), np.eye(2)
    product = np.eye(2)
    for n in range(7):
        x, V = tangent.step(n, x, V)
        product = rk4_polynomial(matrices[n % 3], dt) @ product
        np.testing.assert_allclose(V, product, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(x, product @ [1.0, -1.0], rtol=1e-13, atol=1e-14)


def test_steps_of_a_drive_are_counted_from_the_start_of_the_run_with_the_warm_up():
    matrices, dt = np.random.default_rng(1).normal(size=(5, 2, 2)), 0.1
    tangent = Driven(matrices).tangent(RK4(dt), t0=7.0)
    spectrum = tangent.benettin([0.0, 0.0], intervals=4, steps_per_interval=3, warmup=2)
    log_det = [np.log(np.linalg.det(rk4_polynomial(matrices[n % 5], dt))) for n in range(18)]
    expected = np.reshape(log_det[6:], (4, 3)).sum(axis=1) / (3 * dt)
    np.testing.assert_allclose(spectrum.rates.sum(axis=1), expected, rtol=1e-12)
    np.testing.assert_allclose(spectrum.times, 7.0 + dt * np.array([9, 12, 15, 18]), rtol=1e-15)


@pytest.mark.parametrize("members", [(), (3,)])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")  # too short to converge: only the inputs matter here
def test_nothing_that_is_passed_in_changes(members, backend):
    tangent = Henon().tangent(backend=backend)
    x0 = np.full((*members, 2), 0.1)
    before = x0.copy()
    for run in (tangent.benettin, tangent.ginelli, tangent.sharafi):
        end = run(x0, intervals=10, warmup=2).end
        np.testing.assert_array_equal(x0, before)
        kept = {name: np.copy(value) for name, value in attrs.asdict(end, recurse=False).items() if value is not None}
        run(end, intervals=10, warmup=2)
        for name, value in kept.items():
            np.testing.assert_array_equal(getattr(end, name), value)


def test_a_system_does_not_follow_later_changes_of_an_array_it_was_made_of():
    matrix = np.diag([2.0, 0.5])
    system = LinearMap(matrix)
    matrix[0, 0] = 9.0
    assert system.matrix[0, 0] == 2.0
    with pytest.raises(ValueError, match="read-only"):
        system.matrix[0, 0] = 9.0
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        system.matrix = matrix


@pytest.mark.parametrize("stepper", [Euler(0.05), RK4(0.05)])
def test_exponents_of_the_time_T_map_are_T_times_those_of_the_flow(stepper):
    steps, T = 8, 8 * 0.05
    flow = LinearFlow(SPIRAL).tangent(stepper, backend="numpy")
    step_matrix = flow.step(0, np.zeros(3), np.eye(3))[1]
    strobe = LinearMap(np.linalg.matrix_power(step_matrix, steps)).tangent(backend="numpy")
    options = {"intervals": 30, "warmup": 5, "seed": 3}
    rates = flow.benettin(np.zeros(3), steps_per_interval=steps, **options).rates
    np.testing.assert_allclose(strobe.benettin(np.zeros(3), **options).rates, T * rates, rtol=0, atol=1e-12)
