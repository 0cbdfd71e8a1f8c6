"""Indicators: standard errors of correlated series, densities and domination in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from dynsys.errors import InvalidInputError
from dynsys.indicators import angle_density, batch_means_error, domination_violations, finite_time_exponents

SEEDS = st.integers(0, 2**32 - 1)


def autoregressive(phi, series, n, seed=0):
    """Stationary series x' = phi x + noise of unit variance, shape (series, n)."""
    noise = np.random.default_rng(seed).normal(size=(series, n))
    noise[:, 0] /= np.sqrt(1 - phi**2)  # begin in the stationary distribution
    return lfilter([1.0], [1.0, -phi], noise, axis=1)


def variance_of_the_mean(phi, n):
    """Exact, from the autocovariance phi^|lag| / (1 - phi^2)."""
    lags = np.arange(1, n)
    return (1 + 2 * np.sum((1 - lags / n) * phi**lags)) / (n * (1 - phi**2))


@pytest.mark.parametrize("phi", [-0.6, 0.0, 0.6])
def test_batch_means_give_the_variance_of_the_mean_of_correlated_series(phi):
    series, batches, length = 1000, 32, 200
    x = autoregressive(phi, series, batches * length)
    ratio = np.mean(batch_means_error(x[:, :, None])[:, 0] ** 2) / variance_of_the_mean(phi, batches * length)
    spread = np.sqrt(2 / (batches - 1) / series)  # of the mean of chi-squared variables with b - 1 degrees of freedom
    bias = 2 * abs(phi) / (1 - phi**2) / length  # of batches of finite length
    assert abs(ratio - 1) < 4 * spread + bias
    naive = np.mean(x.var(axis=1)) / (batches * length) / variance_of_the_mean(phi, batches * length)
    assert naive == pytest.approx((1 - phi) / (1 + phi), rel=0.02)  # 4, 1 or 1/4: what ignoring correlation gives


@pytest.mark.parametrize("phi", [-0.6, 0.6])
def test_the_mean_of_a_correlated_series_is_as_many_errors_off_as_student_says(phi):
    batches, series = 32, 1000
    x = autoregressive(phi, series, batches * 200, seed=1)
    off = x.mean(axis=1) / batch_means_error(x[:, :, None])[:, 0]
    student = np.sqrt((batches - 1) / (batches - 3))  # standard deviation with b - 1 degrees of freedom
    assert np.std(off) == pytest.approx(student, rel=4 / np.sqrt(2 * series) + 0.02)
    assert abs(off.mean()) < 4 * student / np.sqrt(series)


def test_too_few_rates_have_no_error():
    rates = np.random.default_rng(2).normal(size=(32, 3))
    assert np.isfinite(batch_means_error(rates)).all()
    assert np.isnan(batch_means_error(rates[:31])).all()


@pytest.mark.parametrize("n", [5000, 20_000])
def test_a_total_derivative_has_the_error_of_its_ends(n):
    """Rates h_{i+1} - h_i of white h: their mean is (h_n - h_0)/n, with the error 2^(1/2)/n, not ~ n^(-1/2)."""
    h = np.random.default_rng(5).normal(size=(200, n + 1))
    error = batch_means_error(np.diff(h, axis=1)[:, :, None])[:, 0]
    assert 1.0 < np.sqrt(np.mean(error**2)) / (np.sqrt(2) / n) < 1.3  # never too small, and no 32^(1/2) times too large
    off = np.abs(h[:, -1] - h[:, 0]) / n  # and it is that of these ends, not of some
    assert np.all(off <= 1.5 * error)


def test_series_do_not_mix_and_the_error_scales_and_does_not_shift():
    rates = np.random.default_rng(4).normal(size=(2, 3, 400, 2))
    error = batch_means_error(rates)
    assert error.shape == (2, 3, 2)
    for index in np.ndindex(2, 3, 2):
        alone = batch_means_error(rates[index[:2]][:, index[2:]])[0]
        assert error[index] == pytest.approx(alone, rel=1e-13)
    np.testing.assert_allclose(batch_means_error(5.0 - 3.0 * rates), 3.0 * error, rtol=1e-12)


def test_finite_time_exponents_are_means_from_the_start_or_over_windows():
    rates = np.random.default_rng(5).normal(size=(2, 50, 3))
    from_start, windows = finite_time_exponents(rates), finite_time_exponents(rates, window=7)
    assert windows.shape == (2, 44, 3)
    for i in (0, 20, 43):
        np.testing.assert_allclose(from_start[:, i], rates[:, : i + 1].mean(axis=1), rtol=0, atol=1e-14)
        np.testing.assert_allclose(windows[:, i], rates[:, i : i + 7].mean(axis=1), rtol=0, atol=1e-14)
    np.testing.assert_allclose(finite_time_exponents(rates, window=50)[:, 0], from_start[:, -1], rtol=0, atol=1e-14)
    for window in (0, 51):
        with pytest.raises(InvalidInputError, match=f"window must be .* got {window}"):
            finite_time_exponents(rates, window=window)


def test_the_density_counts_angles_in_bins_of_equal_width_ends_included():
    degrees = np.array([[0.0, 0.5, 29.9, 30.1, 89.9, 90.0], [45.0, 45.0, 45.0, 45.0, 45.0, 45.0]])
    centres, density, _ = angle_density(np.radians(degrees), bins=3)
    np.testing.assert_allclose(np.degrees(centres), [15.0, 45.0, 75.0], rtol=1e-14)
    shares = np.array([[3 / 6, 1 / 6, 2 / 6], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(density, shares / np.radians(30.0), rtol=1e-14)


@given(seed=SEEDS, bins=st.integers(1, 100), m=st.integers(1, 80))
def test_the_density_integrates_to_one_and_its_error_needs_32_angles(seed, bins, m):
    series = np.pi / 2 * np.random.default_rng(seed).beta(0.5, 2.0, size=(2, m))
    centres, density, error = angle_density(series, bins)
    np.testing.assert_allclose(density.sum(axis=-1) * np.pi / 2 / bins, 1.0, rtol=1e-13)
    assert density.shape == error.shape == (2, *centres.shape) == (2, bins)
    assert (np.isnan(error) == (m < 32)).all()
    np.testing.assert_array_equal(angle_density(series[1], bins)[1], density[1])


@pytest.mark.parametrize("stay", [1, 5])
def test_the_density_of_uniform_angles_is_flat_within_errors_that_know_for_how_long_angles_stay(stay):
    series, n, bins = 100, 3200, 10
    independent = np.random.default_rng(6).uniform(0, np.pi / 2, size=(series, n // stay))
    _, density, error = angle_density(np.repeat(independent, stay, axis=-1), bins)
    share = 1 / bins
    exact = np.sqrt(share * (1 - share) * stay / n) / (np.pi / 2 / bins)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(exact, rel=0.05)
    assert np.std(density - 2 / np.pi) == pytest.approx(exact, rel=4 / np.sqrt(2 * series * (bins - 1)))


def test_the_density_of_a_series_that_is_cut_off_is_unknown_and_other_angles_are_refused():
    series = np.full((2, 40), 0.3)
    series[0, 20:] = np.nan
    _, density, error = angle_density(series, bins=4)
    assert np.isnan([density[0], error[0]]).all()
    np.testing.assert_allclose(density[1], [8 / np.pi, 0, 0, 0], rtol=1e-14)
    np.testing.assert_array_equal(error[1], 0.0)
    for wrong, came in (
        ([-0.5, np.nan], "from -0.5 to 0"),
        ([np.nan, 0.5, 2], "from 0.5 to 2"),
        ([], "(0,)"),
        (0.3, "()"),
    ):
        with pytest.raises(InvalidInputError, match=r"angles must be radians in \[0, pi/2\]") as caught:
            angle_density(wrong)
        assert came in str(caught.value)
    with pytest.raises(InvalidInputError, match="bins"):
        angle_density([0.1], bins=0)


@given(exponents=st.lists(st.integers(-3, 3), min_size=1, max_size=5), window=st.integers(1, 9))
def test_constant_rates_violate_domination_always_or_never(exponents, window):
    exponents = np.array(exponents, dtype=float)
    shares = domination_violations(np.tile(exponents, (2, 9, 1)), window)
    np.testing.assert_array_equal(shares, [np.triu(exponents[:, None] < exponents)] * 2)


def test_domination_sets_in_at_the_window_from_which_order_is_kept():
    """Rates 3/2, -1/2, ... against 1/4: odd windows are 1/2 +- 1/tau, below 1/4 half of the time until tau = 3."""
    rates = np.stack([np.tile([1.5, -0.5], 50), np.full(100, 0.25), np.full(100, -1.0)], axis=1)
    for window in range(1, 12):
        shares = domination_violations(np.stack([rates, rates[:, ::-1]]), window)
        violated = (100 - window + 1) // 2 / (100 - window + 1) if window in (1, 3) else 0.0
        np.testing.assert_allclose(shares[0], [[0, violated, 0], [0, 0, 0], [0, 0, 0]], rtol=1e-15)
        np.testing.assert_allclose(shares[1], [[0, 1, 1], [0, 0, 1 - violated], [0, 0, 0]], rtol=1e-15)


def test_domination_is_unknown_for_rates_that_are_lost_and_refuses_windows_that_are_too_long():
    rates = np.tile([1.0, 2.0, 3.0], (10, 1))
    rates[7:, 1] = np.nan
    np.testing.assert_array_equal(domination_violations(rates, 3), [[0, np.nan, 1], [0, 0, np.nan], [0, 0, 0]])
    for window in (None, 0, 11):
        with pytest.raises(InvalidInputError, match=f"window must be .* got {window}"):
            domination_violations(rates, window)
