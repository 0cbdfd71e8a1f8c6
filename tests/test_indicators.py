"""Indicators: standard errors of correlated series, finite-time exponents."""

import numpy as np
import pytest
from scipy.signal import lfilter

from dynsys.errors import InvalidInputError
from dynsys.indicators import batch_means_error, finite_time_exponents


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
    assert error.std() / error.mean() < 0.2


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
