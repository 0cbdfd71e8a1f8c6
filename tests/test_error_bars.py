"""The standard error of a mean over time: exact where the motion is, right within bounds where it is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dct
from scipy.stats import beta
from scipy.stats import t as student

from dynsys import Leapfrog, SymbolicFlow
from dynsys.error_bars import FEWEST, HIGHER, batch_means_error, drift
from dynsys.models.classics import LinearMap, Logistic

EPS = np.finfo(float).eps


def error_of(series):
    """Standard error of each row."""
    return batch_means_error(series[..., None])[..., 0]


def windows_of(series, n, warmup=None):
    """The record of n rates that begins at n/10, the default warm-up."""
    begin = n // 10 if warmup is None else warmup
    return series[:, begin : begin + n]


# The numbers of the rungs


@pytest.mark.parametrize("rung", HIGHER, ids=lambda rung: rung.terms)
def test_the_numbers_of_a_rung_are_quantiles_for_white_noise(rung):
    K = rung.terms
    for fewer, share in rung.lowest.items():
        exact = beta.ppf(0.003, fewer / 2, (K - fewer) / 2) * K / fewer
        assert share == pytest.approx(exact, abs=1e-3)
    c = np.random.default_rng(0).normal(size=(200_000, K + 2))
    power = (c[:, :-2] - c[:, 2:]) ** 2
    beyond = np.mean(power[:, :2].mean(axis=1) > rung.steepest * power.mean(axis=1))
    assert abs(beyond - 0.0015) < 4 * np.sqrt(0.0015 / 200_000)


@pytest.mark.parametrize("rung", [FEWEST, *HIGHER], ids=lambda rung: rung.terms)
def test_a_rung_widens_by_students_factor(rung):
    two = student.isf(student.sf(2.0, 1e9), [rung.terms, HIGHER[-1].terms])
    assert rung.widening == pytest.approx(two[0] / two[1] * (np.sqrt(2) if rung is FEWEST else 1), abs=1e-3)


# Motion without noise


@pytest.mark.parametrize("period", [2, 3, 5, 7, 12])
def test_a_periodic_orbit_is_covered_over_every_window_and_not_by_much(period):
    """Rates of any shape: the mean is off by the ends, and the error is theirs, at all phases and lengths."""
    rng = np.random.default_rng(period)
    one = rng.normal(size=period) * rng.uniform(0.1, 3.0)
    series = np.array([np.roll(np.tile(one, 12_000 // period), phase) for phase in range(period)])
    for n in (100, 101, 333, 334, 997, 999, 1000, 1001, 3333, 10_000):
        off = np.abs(series[:, :n].mean(axis=1) - one.mean())
        error = error_of(series[:, :n])
        assert np.all(off <= 1.5 * error + 10 * EPS), n
    lengths = range(3000, 3000 + period)  # all of them: over whole periods the mean is exact
    off = [series[:, :n].mean(axis=1) - one.mean() for n in lengths]
    claimed = [error_of(series[:, :n]) for n in lengths]
    assert 0.9 < np.sqrt(np.mean(np.square(claimed)) / np.mean(np.square(off))) < 2.2  # twice, for a rare event


def test_a_periodic_error_is_that_of_the_ends_in_closed_form():
    """h(t) of a cosine with many periods in the record: e^2 = [h(0)^2 + h(n)^2]/n^2."""
    n, frequency = 4000, 0.2371
    phase = np.linspace(0, 2 * np.pi, 40)[:, None]
    h = np.sin(2 * np.pi * frequency * np.arange(n + 1) + phase)
    exact = np.hypot(h[:, 0], h[:, -1]) / n
    np.testing.assert_allclose(error_of(np.diff(h, axis=1)), exact, rtol=0.03, atol=0.03 / n)


@pytest.mark.parametrize("slowest", [0.2, 0.05, 0.02])
def test_quasi_periodic_rates_are_covered_and_not_by_more_than_twice(slowest):
    rng = np.random.default_rng(1)
    frequency = rng.uniform(slowest / 2, slowest, (200, 1, 2))
    phase = 2 * np.pi * (frequency * np.arange(1000)[:, None] + rng.uniform(size=(200, 1, 2)))
    series = np.cos(phase) @ [1.0, 0.5]
    error, off = error_of(series), np.abs(series.mean(axis=1))
    assert np.all(off <= 2 * error)
    assert 0.8 < np.sqrt(np.mean(error**2) / np.mean(off**2)) < 2.0


@pytest.mark.parametrize("n", [253, 333, 999, 1000, 3333, 10_000])
@pytest.mark.parametrize("oscillation", [0.0, 0.5])
def test_growth_like_ln_t_is_covered_although_nothing_scatters(n, oscillation):
    """The remainder of integrable motion: exponent 0, mean ln(11)/n after a tenth of warm-up; with a bounded h too."""
    t = np.arange(n // 10, n // 10 + n + 1)
    L = np.log(t) + oscillation * np.sin(0.777 * t + np.arange(20)[:, None])
    error, off = error_of(np.diff(L, axis=1)), (L[:, -1] - L[:, 0]) / n
    assert np.all(off <= 2 * error)
    assert np.all(off >= 0.35 * error)


@pytest.mark.parametrize("decay", [0.2, 2.0, 20.0])
def test_what_is_left_of_a_transient_is_covered(decay):
    """Growth -t + 1 - exp(-decay t/n): as an end of the record where it is short, as a drift where it is long."""
    t = np.arange(2001) / 2000
    L = 1.0 - np.exp(-decay * t)
    error, off = error_of(np.diff(L)[None])[0], L[-1] / 2000
    assert off <= 2 * error or decay < 1  # the first e-fold: the record does not show where it ends
    assert error <= 2.5 / 2000


@pytest.mark.parametrize("rate", [0.0, np.log(2.0), -1e5])
def test_rates_that_do_not_change_have_the_error_of_rounding(rate):
    error = error_of(np.full((1, 500), rate))[0]
    assert error == pytest.approx(EPS * abs(rate), rel=1e-9)


def test_a_map_at_rest_is_as_exact_as_its_rounding():
    spectrum = LinearMap([[0.5, 0.1], [0.0, 0.3]]).tangent().benettin([1e-3, 1e-3], intervals=500, warmup=100)
    off = np.abs(spectrum.exponents - np.log([0.5, 0.3]))
    assert np.all(spectrum.standard_error >= EPS)
    assert np.all(spectrum.standard_error < 1e-14)
    assert np.all(off <= 20 * spectrum.standard_error)  # one way of rounding, at every step


# Noise


def autoregressive(rho, members, n):
    noise = np.random.default_rng(3).normal(size=(members, n))
    noise[:, 0] /= np.sqrt(1 - rho**2)
    for j in range(1, n):
        noise[:, j] += rho * noise[:, j - 1]
    return noise


@pytest.mark.parametrize(("rho", "shortest"), [(-0.5, 100), (0.0, 100), (0.5, 100), (0.9, 999)])
def test_two_errors_cover_the_mean_of_correlated_noise(rho, shortest):
    """Binomial doubt of 500 series: 2 %; and the size of the error, so that it is not bought with width."""
    series = autoregressive(rho, 500, 3333)
    for n in (n for n in (100, 333, 999, 3333) if n >= shortest):
        error, mean = error_of(series[:, :n]), series[:, :n].mean(axis=1)
        assert 0.90 <= np.mean(np.abs(mean) <= 2 * error) <= 0.98, n
        ratio = np.sqrt(np.mean(error**2) / np.mean(mean**2))
        assert 0.85 < ratio < (1.12 if n >= 300 else 1.35), n


@pytest.mark.parametrize("n", [100, 333])
def test_a_record_of_few_correlation_times_is_covered_more_often_than_by_batch_means(n):
    """Correlated over 19 rates: an honest limit, 62 % and 80 % by tapered batch means."""
    series = autoregressive(0.9, 1000, n)
    covered = np.mean(np.abs(series.mean(axis=1)) <= 2 * error_of(series))
    assert covered > {100: 0.76, 333: 0.83}[n]


def test_rare_events_widen_the_error():
    """Of exponential rates with a rare deep event, as laminar phases are."""
    rng = np.random.default_rng(4)
    series = np.where(rng.uniform(size=(2000, 1000)) < 0.01, -50.0 * rng.exponential(size=(2000, 1000)), 0.5)
    covered = np.mean(np.abs(series.mean(axis=1) - 0.0) <= 2 * error_of(series))
    assert 0.89 < covered < 0.98


# What an estimate must keep


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(32, 5000), k=st.integers(1, 3))
def test_members_do_not_mix_and_the_error_scales_and_does_not_shift(seed, n, k):
    rates = np.cumsum(np.random.default_rng(seed).normal(size=(3, n, k)), axis=1) * 0.1
    error = batch_means_error(rates)
    np.testing.assert_array_equal(error[1], batch_means_error(rates[1]))  # to the bit
    np.testing.assert_array_equal(error[1:], batch_means_error(rates[1:]))
    np.testing.assert_allclose(batch_means_error(7.0 - 3.0 * rates), 3.0 * error, rtol=1e-7)
    np.testing.assert_allclose(batch_means_error(rates[..., :1]), error[..., :1], rtol=1e-7)


def test_one_member_that_stopped_leaves_the_others_alone():
    rates = np.random.default_rng(5).normal(size=(3, 400, 2))
    stopped = rates.copy()
    stopped[1, 100:] = np.nan
    for function in (batch_means_error, drift):
        whole, partly = (np.asarray(function(r)) for r in (rates, stopped))
        assert np.isnan(partly[..., 1, :]).all()
        np.testing.assert_array_equal(partly[..., [0, 2], :], whole[..., [0, 2], :])


@pytest.mark.parametrize("n", [2048, 2049, 3000, 54_321])
def test_the_cosines_of_long_records_are_exact(n):
    from dynsys.error_bars import _slow_cosines

    rates = np.random.default_rng(6).normal(size=(2, n, 2)) + np.linspace(0, 3, n)[:, None]
    exact = dct(rates - rates.mean(axis=1, keepdims=True), axis=1)[:, 1:35] / np.sqrt(2 * n)
    c, _, _ = _slow_cosines(rates, 34)
    np.testing.assert_allclose(c, np.swapaxes(exact, 1, 2), rtol=0, atol=3e-7 * np.abs(exact).max())


# Drift


def test_stationary_rates_drift_as_student_says():
    in_errors, change = drift(np.random.default_rng(7).normal(size=(4000, 1000, 1)))
    assert np.std(in_errors) == pytest.approx(student(20).std(), rel=0.06)
    assert np.std(change) == pytest.approx(9 * np.pi**2 / 32 / np.sqrt(1000), rel=0.05)
    assert np.mean(np.abs(in_errors) > 6.0) == 0.0


@pytest.mark.parametrize("n", [32, 500, 2500])
def test_a_steady_drift_is_the_difference_of_the_halves(n):
    rates = 3.0 - 1e-3 * np.arange(n)[:, None]
    _, change = drift(rates)
    halves = rates[n // 2 :].mean() - rates[: n // 2].mean()
    assert change[0] == pytest.approx(halves, rel=2e-3 + 10 / n**2)


@pytest.mark.numba
@pytest.mark.parametrize("r", [3.84, 3.74, 3.5, 3.2, 2.8])
@pytest.mark.parametrize("n", [999, 1000, 1001, 10_000])
def test_periodic_windows_do_not_drift_and_are_covered(r, n):
    """Warnings are errors here. The truth is the mean over many whole periods."""
    tangent = Logistic(r=r).tangent()
    start = tangent.trajectory([0.3], intervals=1, steps_per_interval=5000).end
    truth = tangent.benettin(start, intervals=60 * 200, warmup=0).exponents[0]
    spectrum = tangent.benettin(start, intervals=n, warmup=n // 10)
    off = abs(spectrum.exponents[0] - truth)
    assert off <= 2 * spectrum.standard_error[0] + 1e-14
    assert spectrum.standard_error[0] < 6.0 / n


@pytest.mark.numba
@pytest.mark.parametrize("steps", [20, 23])
def test_keplers_ellipse_has_an_exponent_that_is_zero_within_its_error(steps):
    """The growth is ln t: 0.0103 of 2000 intervals, once with an error of 0.0013."""
    flow = SymbolicFlow.of(
        {"x": "u", "y": "v", "u": "-x/(x**2 + y**2)**1.5", "v": "-y/(x**2 + y**2)**1.5"},
    )
    spectrum = flow.tangent(Leapfrog(0.01)).benettin([0.4, 0.0, 0.0, 2.0], intervals=2000, steps_per_interval=steps)
    first, error = spectrum.exponents[0], spectrum.standard_error[0]
    assert 0.004 < first < 2 * error < 0.05
