"""Classic systems: symmetries, fixed points and exponents that are known exactly."""

import contextlib
import math

import numpy as np
import pytest

from dynsys import RK4, DiagnosticWarning, Euler, InvalidInputError
from dynsys.models.classics import Henon, HindmarshRose, LinearFlow, LinearMap, Logistic, Lorenz63
from dynsys.testing import check_system


def rk4_polynomial(z):
    return 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24


def convection(lorenz):
    """The fixed point C+ of the Lorenz system."""
    r = math.sqrt(lorenz.beta * (lorenz.rho - 1))
    return np.array([r, r, lorenz.rho - 1])


@pytest.mark.parametrize("kind", [LinearMap, LinearFlow])
@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        [1.0, 2.0],
        np.zeros((2, 2, 2)),
        2.0,
        [[1.0, math.nan], [0.0, 1.0]],
        [[1.0, 0.0], [0.0, -math.inf]],
        np.empty((0, 0)),
        [[1.0, 2.0], [3.0]],
        [["a", "b"], ["c", "d"]],
        [[1.0, 1.0j], [0.0, 1.0]],
    ],
    ids=["oblong", "vector", "cube", "scalar", "nan", "inf", "empty", "ragged", "text", "complex"],
)
def test_linear_systems_refuse_what_is_no_finite_square_matrix(kind, matrix):
    with pytest.raises(InvalidInputError, match="matrix"):
        kind(matrix)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("kind", "parameter"), [(Lorenz63, "rho"), (HindmarshRose, "x_rest"), (Henon, "b"), (Logistic, "r")]
)
def test_parameters_must_be_finite(kind, parameter, value):
    with pytest.raises(InvalidInputError, match=parameter):
        kind(**{parameter: value})


@pytest.mark.parametrize("kind", [LinearMap, LinearFlow])
def test_matrix_is_a_read_only_copy(kind):
    given = np.array([[2.0, 1.0], [0.0, 0.5]])
    system = kind(given)
    given[0, 0] = 9.0
    assert system.matrix[0, 0] == 2.0
    with pytest.raises(ValueError, match="read-only"):
        system.matrix[0, 0] = 1.0


def test_lorenz_contracts_volumes_at_the_same_rate_everywhere():
    lorenz = Lorenz63(sigma=16.0, rho=45.92, beta=4.0)
    for x in np.random.default_rng(0).normal(scale=30.0, size=(20, 3)):
        assert np.trace(lorenz.jacobian(0.0, x)) == pytest.approx(-21.0, rel=1e-15)


@pytest.mark.parametrize("rho", [10.0, 28.0])
def test_lorenz_rests_at_its_three_fixed_points(rho):
    lorenz = Lorenz63(rho=rho)
    plus = convection(lorenz)
    points = np.array([np.zeros(3), plus, plus * [-1, -1, 1]])
    np.testing.assert_allclose(lorenz.vector_field(0.0, points), 0.0, atol=1e-13 * rho**2)


@pytest.mark.parametrize("stepper", [RK4(0.02), RK4(0.005), Euler(0.01)])
def test_exponents_at_the_origin_of_lorenz_are_those_of_the_stepper(stepper):
    """Eigenvalues -beta and (-(sigma + 1) +- ((sigma - 1)^2 + 4 sigma rho)^(1/2)) / 2, all real."""
    lorenz = Lorenz63()
    root = math.sqrt(9.0**2 + 40.0 * 28.0)
    mu = np.array([(-11.0 + root) / 2, -8 / 3, (-11.0 - root) / 2])
    factor = 1 + stepper.dt * mu if isinstance(stepper, Euler) else rk4_polynomial(stepper.dt * mu)
    coarse = pytest.warns(DiagnosticWarning, match="the step is too coarse")
    with coarse if stepper.order == 1 else contextlib.nullcontext():
        spectrum = lorenz.tangent(stepper, backend="numpy").benettin(
            np.zeros(3), intervals=round(20 / stepper.dt / 20), steps_per_interval=20, warmup=round(4 / stepper.dt / 20)
        )
    np.testing.assert_allclose(spectrum.exponents, np.log(np.abs(factor)) / stepper.dt, rtol=1e-11)
    # the fixed point carries no neutral direction of the flow, and the run says so
    assert spectrum.regime == "at rest"
    np.testing.assert_allclose(spectrum.diagnostics.rest, mu, rtol=1e-12)


def test_exponents_at_a_stable_focus_of_lorenz_are_real_parts():
    """The plane of a complex pair is exact; within it the two rates oscillate, bounded by ln cond(eigenvectors) / T."""
    lorenz, dt = Lorenz63(rho=10.0), 0.01
    plus = convection(lorenz)
    mu, S = np.linalg.eig(lorenz.jacobian(0.0, plus))
    order = np.argsort(-mu.real)
    exact = np.log(np.abs(rk4_polynomial(dt * mu[order]))) / dt
    assert mu[order][0].imag != 0
    spectrum = lorenz.tangent(RK4(dt), backend="numpy").benettin(plus, intervals=500, steps_per_interval=5, warmup=100)
    assert spectrum.exponents[2] == pytest.approx(exact[2], rel=1e-11)
    assert spectrum.exponents[:2].sum() == pytest.approx(2 * exact[0], rel=1e-11)
    bound = math.log(np.linalg.cond(S)) / 25.0
    np.testing.assert_allclose(spectrum.exponents[:2], exact[0], rtol=0, atol=bound)


def test_hindmarsh_rose_keeps_its_contract_and_its_trace():
    neuron = HindmarshRose(a=1.1, b=2.7, r=0.01)
    for x in np.random.default_rng(3).normal(scale=2.0, size=(20, 3)):
        check_system(neuron, x)
        trace = 2 * neuron.b * x[0] - 3 * neuron.a * x[0] ** 2 - 1 - neuron.r
        assert np.trace(neuron.jacobian(0.0, x)) == pytest.approx(trace, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("current", [0.0, 3.25])
def test_hindmarsh_rose_rests_where_its_cubic_vanishes(current):
    """y = c - d x^2, z = s (x - x_rest), and a x^3 + (d - b) x^2 + s (x - x_rest) = c + current: one real root."""
    n = HindmarshRose(current=current)
    roots = np.roots([n.a, n.d - n.b, n.s, -n.s * n.x_rest - n.c - n.current])
    (x,) = roots[np.abs(roots.imag) < 1e-12].real
    at_rest = np.array([x, n.c - n.d * x**2, n.s * (x - n.x_rest)])
    np.testing.assert_allclose(n.vector_field(0.0, at_rest), 0.0, atol=1e-13)
    unstable = np.linalg.eigvals(n.jacobian(0.0, at_rest)).real.max() > 0
    assert unstable == (current > 0)  # a neuron without a current is silent


def test_henon_jacobian_has_determinant_minus_b_everywhere():
    henon = Henon(a=1.1, b=0.37)
    for x in np.random.default_rng(1).normal(scale=3.0, size=(20, 2)):
        assert np.linalg.det(henon.jacobian(0, x)) == pytest.approx(-0.37, rel=1e-14)


def test_henon_is_inverted_by_its_closed_inverse():
    henon = Henon()
    x = np.random.default_rng(2).normal(size=(5, 4, 2))
    after = henon.step(0, x)
    before = np.stack([after[..., 1] / 0.3, after[..., 0] - 1 + 1.4 * (after[..., 1] / 0.3) ** 2], axis=-1)
    np.testing.assert_allclose(before, x, rtol=0, atol=1e-13)


def test_exponents_at_a_stable_fixed_point_of_henon_are_log_moduli_of_its_eigenvalues():
    henon = Henon(a=0.2, b=0.3)
    x = (-0.7 + math.sqrt(0.7**2 + 4 * 0.2)) / 0.4
    root = math.sqrt((0.2 * x) ** 2 + 0.3)
    exact = [math.log(0.2 * x + root), math.log(root - 0.2 * x)]
    spectrum = henon.tangent(backend="numpy").benettin([x, 0.3 * x], intervals=50, warmup=100)
    np.testing.assert_allclose(spectrum.exponents, exact, rtol=1e-12)


@pytest.mark.parametrize(
    ("r", "exact"),
    [
        (2.7, math.log(0.7)),  # fixed point 1 - 1/r, slope 2 - r
        (3.2, math.log(4 + 2 * 3.2 - 3.2**2) / 2),  # cycle of two, slopes multiply to 4 + 2 r - r^2
        (3.4, math.log(abs(4 + 2 * 3.4 - 3.4**2)) / 2),
    ],
)
def test_exponent_of_a_logistic_cycle_is_the_mean_log_slope(r, exact):
    spectrum = Logistic(r).tangent(backend="numpy").benettin([0.4], intervals=100, warmup=400)
    assert spectrum.exponents[0] == pytest.approx(exact, rel=1e-11)


def test_logistic_map_at_r_4_is_conjugate_to_angle_doubling():
    angles = np.linspace(0.01, 1.5, 50)[:, None]
    np.testing.assert_allclose(Logistic().step(0, np.sin(angles) ** 2), np.sin(2 * angles) ** 2, rtol=0, atol=1e-15)
