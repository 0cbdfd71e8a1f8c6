"""Finite differences: right where entries of all sizes stand side by side, and honest about their error."""

import math

import numpy as np
import pytest

from dynsys import RK4, FallbackWarning, FunctionFlow, FunctionMap
from dynsys.algorithms.differences import differences, finite_difference
from dynsys.testing import ContractError, check_system, check_tangent

NOISE = np.random.default_rng(0)


def of_points(rule):
    """A rule for one state over leading axes."""
    return lambda z: np.array([rule(p) for p in z.reshape(-1, z.shape[-1])]).reshape(*z.shape[:-1], -1)


CASES = {
    "short scale on large entries": (
        lambda x: [50 + 0.5 * math.sin(x[1] - x[0]), 50.5 - 0.5 * math.sin(x[1] - x[0])],
        [5e4, 5e4 + 2.1],
        0.5 * math.cos(2.1) * np.array([[-1, 1], [1, -1]]),
    ),
    "Michaelis-Menten at 1e-6": (lambda x: [1e-6 - 2e-6 * x[0] / (1e-6 + x[0])], [1e-6], [[-0.5]]),
    "a phase of 5000": (
        lambda x: [x[1], -math.sin(x[0]) + 0.1 * math.cos(x[2])],
        [0.3, 0.2, 5000.0],
        [[0, 1, 0], [-math.cos(0.3), 0, -0.1 * math.sin(5000.0)]],
    ),
    "0, tiny and huge": (
        lambda x: [x[0] * x[2], x[1] / (1e-6 + x[1]), math.log(x[2])],
        [0.0, 1e-6, 5000.0],
        [[5000.0, 0, 0], [0, 1e-6 / 4e-12, 0], [0, 0, 1 / 5000.0]],
    ),
    "SI units": (
        lambda x: [-6e20 * x[0] / math.hypot(x[0], x[1]) ** 3, -6e20 * x[1] / math.hypot(x[0], x[1]) ** 3],
        [1e11, 0.0],
        [[1.2e-12, 0], [0, -6e-13]],
    ),
    "near the end of a domain": (lambda x: [x[0] * math.log(x[0])], [1e-9], [[math.log(1e-9) + 1]]),
    "at the end of a domain": (lambda x: [math.sqrt(x[0]) ** 4 + 2 * x[0]], [0.0], [[2.0]]),
    "at the upper end": (lambda x: [math.exp(x[0]) * math.sqrt(1 - x[0]) ** 2], [1.0], [[-math.e]]),
    "an optimiser": (
        lambda x: [x[0] / (math.sqrt(x[1]) + 1e-8)],
        [1.0, 1e-6],
        [[1 / (1e-3 + 1e-8), -500 / (1e-3 + 1e-8) ** 2]],
    ),
    "a jump nearby": (lambda x: [(3 * x[0]) % 1.0], [1 / 3 + 1e-6], [[3.0]]),
    "a kink nearby": (lambda x: [abs(x[0]) + 0.5 * x[0]], [-1e-6], [[-0.5]]),
    "a wiggle on a slope": (lambda x: [100 * x[0] + 1e-3 * math.sin(1e3 * x[0])], [0.3], [[100 + math.cos(300.0)]]),
    "a zero of third order": (lambda x: [x[0] ** 3], [0.0], [[0.0]]),
    "saturated": (lambda x: [3 + math.tanh(20 + x[0])], [1.0], [[0.0]]),
    "steep": (lambda x: [math.exp(50 * (x[0] - 20))], [19.0], [[50 * math.exp(-50.0)]]),
}


@pytest.mark.parametrize(("rule", "x", "exact"), CASES.values(), ids=CASES)
def test_every_entry_is_right_and_within_its_error(rule, x, exact):
    slopes, errors = differences(of_points(rule), np.array(x), np.eye(len(x)))
    exact = np.array(exact, dtype=float)
    assert (np.abs(slopes - exact) <= errors + 1e-15 * np.abs(exact)).all()
    assert (errors <= 1e-6 * np.abs(exact) + 1e-6 * np.any(exact == 0)).all()
    np.testing.assert_allclose(slopes, exact, rtol=1e-8, atol=1e-8 * (exact == 0).any())


@pytest.mark.parametrize(
    ("rule", "x"),
    [
        (lambda x: [np.sign(x[0])], 0.0),
        (lambda x: [abs(x[0])], 0.0),
        (lambda x: [max(x[0], 0.0)], 0.0),
        (lambda x: [math.sin(x[0]) + 0.1 * NOISE.normal()], 0.3),
    ],
    ids=["jump", "kink", "ReLU", "noise"],
)
def test_what_has_no_derivative_is_told_by_the_error(rule, x):
    slopes, errors = differences(of_points(rule), np.array([x]), np.eye(1))
    assert errors[0, 0] > 1e-3 * abs(slopes[0, 0])
    assert errors[0, 0] > 1e-3


def test_phases_of_any_size_have_the_slope_of_their_sine_or_say_so():
    """Steps as large as the phase are many periods, of which two orders may agree by chance."""
    for size in 10.0 ** np.arange(1, 10):
        x = size * np.linspace(1.0, 9.0, 8)
        slopes, errors = (np.diag(found) for found in differences(of_points(np.sin), x, np.eye(len(x))))
        told = errors > 0.1 * np.abs(slopes)
        off = np.abs(slopes - np.cos(x))
        assert (told | (off <= errors) & (off <= 1e-9 + 1e-14 * x)).all()
        assert not told[x < 2e6].any()


def test_a_root_at_the_end_of_its_domain_is_known_to_some_digits():
    slopes, errors = differences(of_points(lambda x: [math.asin(x[0]) * (1 - x[0])]), np.array([1.0]), np.eye(1))
    assert abs(slopes[0, 0] + math.pi / 2) < 10 * errors[0, 0] < 1e-5


def test_a_state_without_a_value_has_no_derivative():
    slopes, errors = differences(of_points(lambda x: [np.sqrt(x[0])]), np.array([-1.0]), np.eye(1))
    assert np.isnan(slopes).all()
    assert np.isinf(errors).all()


@pytest.mark.parametrize("dim", [3, 40])
def test_products_are_those_of_the_jacobian(dim):
    A, rng = np.random.default_rng(1).normal(size=(dim, dim)), np.random.default_rng(2)
    x, V = 3 * rng.normal(size=dim), rng.normal(size=(dim, 2))
    slopes, errors = differences(lambda z: np.sin(z @ A.T), x, V)
    exact = np.cos(A @ x)[:, None] * (A @ V)
    assert (np.abs(slopes - exact) <= 10 * errors).all()
    np.testing.assert_allclose(slopes, exact, atol=1e-8)
    if dim <= 16:  # linear in V to rounding: a determinant of the tangent is one
        both = finite_difference(lambda z: np.sin(z @ A.T), x, V.sum(axis=1, keepdims=True))[:, 0]
        np.testing.assert_allclose(both, slopes.sum(axis=1), rtol=1e-13)


def phase(t, x):
    return [x[1], -np.sin(x[0]) - 0.1 * x[1] + 0.5 * np.cos(x[2]), 2 / 3]


def phase_jacobian(t, x):
    return np.array([[0.0, 1.0, 0.0], [-np.cos(x[0]), -0.1, -0.5 * np.sin(x[2])], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize("x", [[0.8, 0.3, 3000.0], [8e5, 1e-6, 0.0], [0.0, 0.0, -5000.0]])
def test_an_exact_jacobian_passes_the_contract_check_and_a_wrong_one_does_not(x):
    check_system(FunctionFlow(phase, 3, phase_jacobian), x)
    exact = phase_jacobian(0.0, x)
    for i, j in np.ndindex(3, 3):
        wrong = 1e-5 * max(1.0, abs(exact[i, j])) * (np.arange(3)[:, None] == i) * (np.arange(3) == j)
        with pytest.raises(ContractError, match=rf"at index \({i}, {j}\)"):
            check_system(FunctionFlow(phase, 3, lambda t, x, wrong=wrong: phase_jacobian(t, x) + wrong), x)


def adam(n, x):
    """Adam on x^2 / 2, without the corrections of its start: position, first and second moment."""
    m, v = 0.9 * x[1] + 0.1 * x[0], 0.999 * x[2] + 0.001 * x[0] ** 2
    return [x[0] - 0.01 * m / (math.sqrt(x[2]) + 1e-4), m, v]  # of the moment before, which may be 0


def adam_jacobian(n, x):
    root = math.sqrt(x[2])
    m, scale = 0.9 * x[1] + 0.1 * x[0], 0.01 / (root + 1e-4)
    slope = m * scale / (root + 1e-4) * (0.5 / root if root else 0.0)
    return [[1 - 0.1 * scale, -0.9 * scale, slope], [0.1, 0.9, 0.0], [0.002 * x[0], 0.0, 0.999]]


@pytest.mark.parametrize("moment", [1e-12, 1e-8, 1e-3, 2.0])
def test_second_moments_that_must_not_be_negative_are_differentiated_on_their_side(moment):
    check_tangent(FunctionMap(adam, 3, adam_jacobian).tangent(), [0.5, -0.7, moment])


# ---- functions that branch, which cannot be traced


def modulo(x, period):
    """x mod period, by a branch."""
    return x % period if x > 0 else period - (-x) % period


def drifting(t, x):
    pull = 0.5 * math.sin(x[1] - x[0]) if x[0] > -1e300 else 0.0
    return np.array([50 + pull, 50.5 - pull])


def tripling(n, x):
    return np.array([modulo(3 * x[0], 1.0)])


def standard(n, x):
    p = modulo(x[1] + 6 * math.sin(x[0]), 2 * math.pi)
    return np.array([modulo(x[0] + p, 2 * math.pi), p])


def untraced(kind, function, dimension, *stepper):
    with pytest.warns(FallbackWarning, match=r"could not be traced \(a branch .*finite-difference"):
        return kind(function, dimension).tangent(*stepper)


def test_two_phases_that_run_away_have_the_exponents_of_their_difference():
    tangent = untraced(FunctionFlow, drifting, 2, RK4(0.05))
    spectrum = tangent.benettin([5000.0, 5000.1], intervals=60, steps_per_interval=10, warmup=40)
    np.testing.assert_allclose(spectrum.exponents, [0.0, -math.sqrt(0.75)], atol=1e-5)
    assert spectrum.diagnostics.determinant_defect < 1e-12


def test_a_map_that_jumps_has_the_slope_of_its_branches():
    spectrum = untraced(FunctionMap, tripling, 1).benettin([0.3], intervals=400)
    np.testing.assert_allclose(spectrum.exponents, np.log(3), rtol=1e-9)


def test_the_standard_map_keeps_areas():
    spectrum = untraced(FunctionMap, standard, 2).benettin([0.3, 0.4], intervals=400)
    np.testing.assert_allclose(spectrum.rates.sum(axis=1), 0.0, atol=1e-8)
    assert spectrum.exponents[0] == pytest.approx(1.137, abs=0.2)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize(
    ("kind", "function", "x", "stepper"),
    [(FunctionFlow, drifting, [5e3, 5e3 + 0.1], [RK4(0.05)]), (FunctionMap, standard, [0.3, 0.4], [])],
)
def test_compiled_differences_are_those_of_numpy(kind, function, x, stepper, monkeypatch):
    from numba import njit

    monkeypatch.setitem(globals(), "modulo", njit(modulo))  # in the scope of both functions
    runs = [
        untraced(kind, marked, len(x), *stepper).benettin(x, intervals=30, warmup=0)
        for marked in (function, njit(function))
    ]
    np.testing.assert_allclose(runs[0].rates[:10], runs[1].rates[:10], atol=1e-7)
    long = untraced(kind, njit(function), len(x), *stepper).benettin(x, intervals=20_000, steps_per_interval=2)
    expected = [0.0, -math.sqrt(0.75)] if kind is FunctionFlow else [1.137, -1.137]
    assert (np.abs(long.exponents - expected) < 4 * long.standard_error + 1e-6).all()


def test_a_long_step_does_not_overrule_a_short_one():
    """Far jumps let two long steps agree on a slope that is not there."""
    state = np.array([-2.83464532, 1.52107865])
    slope, _ = differences(
        lambda z: np.stack([z[:, 0] + 1e-3 * (np.floor(z[:, 1]) / 4 - 1.5e-4 * z[:, 1]), z[:, 1]], axis=1),
        state,
        np.eye(2),
    )
    np.testing.assert_allclose(slope[0, 1], -1.5e-7, rtol=1e-4)
