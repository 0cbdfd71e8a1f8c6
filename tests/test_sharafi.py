"""Sharafi's lagged estimate: how fast it converges, what it knows when, and what it becomes for long windows."""

import numpy as np
import pytest

from dynsys import RK4, Euler, InvalidInputError, Pass
from dynsys.indicators import line_distance
from models.classics import Henon, LinearCocycle, LinearFlow, LinearMap, Lorenz63

ON_HENON = [[0.1, 0.1], [0.3, 0.2]]
RATES = np.array([0.5, 0.2, -0.4])
MIXING = np.array([[1.0, 0.8, -0.5], [0.3, 1.0, 0.9], [0.0, -0.4, 1.0]])


def slope(windows, errors):
    """Rate of exponential decay of errors over windows, and the largest deviation of log error from the fit."""
    fit = np.polyfit(windows, np.log(errors), 1)
    return -fit[0], np.abs(np.polyval(fit, windows) - np.log(errors)).max()


def test_estimate_for_a_constant_map_converges_to_eigenvectors_at_the_rate_of_the_gap():
    tangent = LinearMap(MIXING @ np.diag(np.exp(RATES)) @ np.linalg.inv(MIXING)).tangent()
    exact, windows = MIXING / np.linalg.norm(MIXING, axis=0), np.arange(10, 41, 5)

    def estimate(window):
        return line_distance(tangent.sharafi(np.zeros(3), intervals=2, warmup=150, window=window).vectors[-1], exact)

    errors = np.array([estimate(window) for window in windows])
    assert errors[:, 0].max() < 1e-13
    for j, gap in ((1, RATES[0] - RATES[1]), (2, RATES[1] - RATES[2])):
        rate, deviation = slope(windows, errors[:, j])
        assert rate == pytest.approx(gap, rel=0.02)
        assert deviation < 0.1  # a straight line over ten windows' worth of decay, not an average
    assert estimate(150).max() < 1e-12


@pytest.mark.parametrize("steps", [1, 3])
def test_error_for_a_cocycle_falls_with_the_gap_times_the_length_of_the_window(steps):
    cocycle, exact = LinearCocycle.random(3, 900)
    windows = np.arange(12, 43, 6) // steps

    def error(window):
        estimates = cocycle.tangent().sharafi(
            np.zeros(3), intervals=240 // steps, steps_per_interval=steps, warmup=240 // steps, window=window
        )
        return np.exp(np.log(line_distance(estimates.vectors, exact[estimates.times.astype(int)])[:, 1:]).mean(axis=0))

    errors = np.array([error(int(window)) for window in windows])
    # vector j is wrong in direction i < j by ((lambda_j / lambda_i) of D)^window, D = diag(3, 2, 1)
    assert slope(windows * steps, errors[:, 0])[0] == pytest.approx(np.log(3 / 2), rel=0.02)
    assert slope(windows * steps, errors[:, 1])[0] == pytest.approx(np.log(2 / 1), rel=0.02)


@pytest.mark.parametrize("change", [180, 200, 219])
def test_estimates_do_not_change_when_the_system_changes_after_they_are_available(change):
    cocycle, _ = LinearCocycle.random(4, 300)
    altered = cocycle.matrices.copy()
    altered[change:] = np.random.default_rng(9).normal(size=altered[change:].shape)  # steps from t = change onwards
    options = {"intervals": 100, "warmup": 120, "window": 10}
    before, after = (LinearCocycle(A).tangent().sharafi(np.zeros(4), **options) for A in (cocycle.matrices, altered))
    known = before.available <= change
    assert 0 < known.sum() < 100
    np.testing.assert_array_equal(before.vectors[known], after.vectors[known])
    # while every later one does see the change, in all vectors but the first
    moved = line_distance(before.vectors, after.vectors)[~known][:, 1:]
    assert (moved > 1e-14).any(axis=1).all()


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize(("t0", "steps"), [(0.0, 1), (-3.7, 5)])
def test_estimates_become_available_a_window_after_they_are_valid(window, t0, steps):
    tangent = LinearFlow(np.diag(RATES)).tangent(Euler(dt=0.1), t0=t0)
    estimates = tangent.sharafi(np.ones(3), intervals=6, steps_per_interval=steps, warmup=3, window=window)
    ends = (3 + np.arange(1, 7)) * steps
    np.testing.assert_array_equal(estimates.times, t0 + ends * 0.1)
    np.testing.assert_array_equal(estimates.available, t0 + (ends + window * steps) * 0.1)
    np.testing.assert_allclose(estimates.states, (1 + 0.1 * RATES) ** ends[:, None], rtol=1e-13)
    assert estimates.end.n == ends[-1] + window * steps


@pytest.mark.parametrize(
    ("tangent", "x0", "steps", "window"),
    [(Henon().tangent(), ON_HENON[0], 1, 60), (Lorenz63().tangent(RK4(dt=0.01)), [-1.2, -2.4, 13.1], 5, 600)],
    ids=["Henon", "Lorenz"],
)
def test_long_window_gives_ginelli(tangent, x0, steps, window):
    common = {"intervals": 40, "steps_per_interval": steps, "warmup": 300}
    estimates, exact = tangent.sharafi(x0, window=window, **common), tangent.ginelli(x0, tail=600, **common)
    np.testing.assert_array_equal(estimates.times, exact.times)
    np.testing.assert_array_equal(estimates.states, exact.states)
    assert line_distance(estimates.vectors, exact.vectors).max() < 1e-9
    np.testing.assert_allclose(estimates.rates, exact.rates, rtol=0, atol=1e-7)
    np.testing.assert_allclose(estimates.exponents, exact.exponents, rtol=0, atol=1e-13)


@pytest.mark.parametrize("window", [1, 2, 10])
def test_first_vector_is_the_first_backward_vector_whatever_the_window(window):
    tangent = Henon().tangent()
    estimates = tangent.sharafi(ON_HENON[0], intervals=30, warmup=60, window=window)
    start = Pass.start(np.array(ON_HENON[0]), 2, None, 0)
    start = tangent.forward(start, intervals=60, steps_per_interval=1, record="nothing")
    Q = tangent.forward(start, intervals=30, steps_per_interval=1, record="frames").Qs[0]
    np.testing.assert_allclose(estimates.vectors[:, :, 0], Q[:, :, 0], rtol=0, atol=1e-14)
    # the second is neither the second backward vector nor, for so short a future, converged
    assert np.median(line_distance(estimates.vectors, Q)[:, 1]) > 0.1


def test_one_interval_of_future_is_one_back_substitution():
    # window = 1: the estimate is Q_n R_{n+1}^{-1}, and M_{n+1} Q_n R_{n+1}^{-1} = Q_{n+1}: pushed, it is orthonormal
    tangent = Henon().tangent()
    estimates = tangent.sharafi(ON_HENON[0], intervals=20, warmup=60, window=1)
    for n, x, V in zip(estimates.times.astype(int), estimates.states, estimates.vectors, strict=True):
        pushed = tangent.step(int(n), x, V)[1]
        pushed /= np.linalg.norm(pushed, axis=0)
        np.testing.assert_allclose(pushed.T @ pushed, np.eye(2), rtol=0, atol=1e-12)


def test_start_agreement_falls_as_the_window_grows():
    cocycle, _ = LinearCocycle.random(3, 400)
    agreement = np.array(
        [
            cocycle.tangent().sharafi(np.zeros(3), intervals=5, warmup=200, window=w).diagnostics.start_agreement
            for w in (10, 30)
        ]
    )
    assert agreement[:, 0].max() < 1e-14
    np.testing.assert_allclose(np.log(agreement[0, 1:] / agreement[1, 1:]), 20 * np.log([3 / 2, 2]), rtol=0.05)


@pytest.mark.parametrize("backend", ["numpy", "compiled"])
def test_members_are_single_runs_and_a_diverging_one_is_nan(backend):
    tangent, options = Henon().tangent(backend=backend), {"intervals": 20, "warmup": 40, "window": 8}
    members = tangent.sharafi([*ON_HENON[:2], [5.0, 5.0]], **options)
    assert members.vectors.shape == (3, 20, 2, 2)
    # at x = 1e8 the frame is singular to rounding, long before the state overflows: either reason will do
    assert (members.end.status == 0).tolist() == [True, True, False]
    assert np.isnan(members.vectors[2]).all()
    for m in range(2):
        alone = tangent.sharafi(ON_HENON[m], **options)
        np.testing.assert_array_equal(members.states[m], alone.states)
        assert line_distance(members.vectors[m], alone.vectors).max() < 1e-12


@pytest.mark.parametrize("backend", ["numpy", "compiled"])
@pytest.mark.parametrize("escape", [55, 70, 105])
def test_estimates_that_a_member_gave_before_it_diverged_are_kept(backend, escape):
    # what is known at t_n is unchanged by anything later, divergence included: else no failure is seen coming
    tangent, options = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent(backend=backend), {"intervals": 60, "warmup": 40}
    x0 = np.array([[1.0, 1.0], [2.0, 0.0]])
    healthy = tangent.sharafi(x0, window=8, **options)
    x0[1, 0] = 2.0 ** (1024 - escape)  # doubled in every step: infinite after `escape` steps
    stopped = tangent.sharafi(x0, window=8, **options)
    assert stopped.end.stopped.tolist() == [-1, escape]
    np.testing.assert_array_equal(stopped.vectors[0], healthy.vectors[0])
    known = stopped.available < escape
    assert 0 < known.sum() < 60
    np.testing.assert_array_equal(stopped.vectors[1, known], healthy.vectors[1, known])
    assert np.isnan(stopped.vectors[1, ~known]).all()


@pytest.mark.parametrize("window", [0, -1, 2.5, None])
def test_window_out_of_range_is_refused(window):
    with pytest.raises(InvalidInputError, match=f"window must be a whole number >= 1, got {window}"):
        Henon().tangent(backend="numpy").sharafi(ON_HENON[0], intervals=5, window=window)
