"""Gradient descent with momentum: closed forms at a minimum, volume, and the tangent of the step."""

import numpy as np
import pytest

from dynsys import Euler, FlowStep, GradientFlow, HeavyBall, InvalidInputError, Nesterov, PoincareMap, sweep
from dynsys.models.classics import LinearFlow, Lorenz63

KINDS = pytest.mark.parametrize("kind", [HeavyBall, Nesterov])
CURVATURES = np.array([0.2, 1.0, 3.0])
RATE = 0.1


def roots(kind, h, mu, rate=RATE):
    """Moduli of the roots of the characteristic polynomial of a step, for one eigenvalue h of the Hessian."""
    a = rate * h
    linear = [1.0, -(1 + mu - a), mu] if kind is HeavyBall else [1.0, -(1 + mu) * (1 - a), mu * (1 - a)]
    return np.abs(np.roots(linear))


@KINDS
@pytest.mark.parametrize("mu", [0.1, 0.5, 0.9])
def test_a_step_on_a_bowl_has_the_eigenvalues_of_its_characteristic_polynomial(kind, mu):
    bowl = LinearFlow(-np.diag(CURVATURES))
    M = FlowStep(bowl, kind(RATE, mu)).step_tangent(0, np.zeros(6), np.eye(6))[1]
    exact = np.concatenate([roots(kind, h, mu) for h in CURVATURES])
    np.testing.assert_allclose(np.sort(np.abs(np.linalg.eigvals(M))), np.sort(exact), rtol=0, atol=1e-7)


@KINDS
@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.numba)])
def test_exponents_at_a_minimum_are_the_logarithms_of_the_moduli_of_the_roots(kind, backend):
    mu, curvatures = 0.3, [0.5, 4.0]  # real roots of one, complex ones of the other
    bowl = GradientFlow.of("(h*a^2 + g*b^2)/2", ["a", "b"], {"h": curvatures[:1], "g": curvatures[1:]})
    spectrum = bowl.tangent(kind(RATE, mu), backend=backend).benettin([1.0, -1.0], intervals=4000, k=4)
    exact = np.sort(np.log(np.concatenate([roots(kind, h, mu) for h in curvatures])) / RATE)[::-1]
    assert len(set(np.round(exact, 9))) >= 3  # a pair of complex roots has one modulus
    np.testing.assert_allclose(spectrum.exponents, exact, rtol=0, atol=5e-3)


@KINDS
def test_a_minimum_is_stable_up_to_the_learning_rate_of_the_table(kind):
    mu = 0.6
    largest = (2 + 2 * mu) if kind is HeavyBall else (2 + 2 * mu) / (1 + 2 * mu)
    for share, stable in ((0.999, True), (1.001, False)):
        assert (roots(kind, 1.0, mu, share * largest).max() < 1.0) == stable
        M = FlowStep(LinearFlow([[-1.0]]), kind(share * largest, mu)).step_tangent(0, np.zeros(2), np.eye(2))[1]
        assert (np.abs(np.linalg.eigvals(M)).max() < 1.0) == stable


@KINDS
def test_the_step_is_that_of_pytorch(kind):
    """b' = mu b + g, and theta' = theta - lr b' or, with nesterov=True, theta - lr (g + mu b'); v = -lr b."""
    mu, rate, theta, b = 0.9, 0.05, np.array([1.0, -2.0]), np.zeros(2)
    flow = LinearFlow(-np.array([[2.0, 0.3], [0.3, 1.0]]))
    step = FlowStep(flow, kind(rate, mu))
    x = step.complete(theta)
    for n in range(10):
        g = -flow.vector_field(0.0, theta)
        b = mu * b + g
        theta = theta - rate * (b if kind is HeavyBall else g + mu * b)
        x = step.step(n, x)
        np.testing.assert_allclose(x, np.concatenate([theta, -rate * b]), rtol=1e-13)


def test_without_momentum_the_weights_move_by_gradient_descent():
    flow = LinearFlow(-np.diag(CURVATURES))
    for kind in (HeavyBall, Nesterov):
        x = FlowStep(flow, kind(RATE, momentum=0.0)).step(0, np.ones((2, 6)))
        np.testing.assert_array_equal(x[:, :3], FlowStep(flow, Euler(RATE)).step(0, np.ones((2, 3))))


def test_initial_weights_are_enough_for_all_that_runs():
    flow = LinearFlow(-np.diag(CURVATURES))
    tangent = flow.tangent(HeavyBall(0.05), backend="numpy")
    assert tangent.dimension == 2 * flow.dimension == HeavyBall(0.05).state_dimension(flow) + flow.dimension
    theta = np.random.default_rng(0).normal(size=(3, flow.dimension))
    short, long = (tangent.benettin(x, intervals=5, warmup=0).rates for x in (theta, np.hstack([theta, 0 * theta])))
    np.testing.assert_array_equal(short, long)
    text = r"x0 must have shape \(3,\).* or 6 in the place of 3 with the 3 numbers that HeavyBall carries.*got \(4,\)"
    with pytest.raises(InvalidInputError, match=text):
        tangent.benettin(np.ones(4), intervals=5)
    runs = sweep(tangent.benettin, {"momentum": [0.5, 0.9]}, theta[0], intervals=5, warmup=0)  # of the stepper
    np.testing.assert_allclose(runs.rate.sum("exponent")[:, -1], 3 * np.log([0.5, 0.9]) / 0.05, rtol=1e-10)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, np.nan, [0.9], "much"])
def test_a_momentum_outside_its_range_is_refused(momentum):
    with pytest.raises(InvalidInputError, match="momentum"):
        HeavyBall(0.1, momentum)


def test_a_stepper_with_a_state_of_its_own_crosses_no_plane():
    with pytest.raises(InvalidInputError, match="HeavyBall carries a state of its own"):
        PoincareMap(Lorenz63(), HeavyBall(0.01), normal=[0.0, 0.0, 1.0])
