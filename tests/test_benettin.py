"""Benettin's algorithm: exact identities and closed forms."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import step_of

from dynsys import (
    RK4,
    DivergenceError,
    Euler,
    InvalidInputError,
    LyapunovSpectrum,
    NumbaTangent,
    RunState,
)
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Logistic, Lorenz63
from dynsys.passes import run_state

ROTATION = np.array([[np.cos(1.1), -np.sin(1.1)], [np.sin(1.1), np.cos(1.1)]])
SHEAR = np.array([[1.0, 5.0], [0.0, 1.0]])
REAL = {  # matrices with real eigenvalues of different moduli, not in order
    "diagonal": np.diag([0.5, 3.0, -1.2]),
    "triangular": np.array([[0.4, 7.0, -2.0], [0.0, 2.0, 5.0], [0.0, 0.0, 0.9]]),
    "symmetric": np.array([[2.0, 1.0, 0.0], [1.0, -1.0, 0.5], [0.0, 0.5, 0.3]]),
    "non-normal": np.array([[1.0, 20.0], [0.001, 0.3]]),
}
LORENZ_X0 = [1.0, 1.0, 20.0]
BACKENDS = ["numpy", "numba"]


def linear(matrix, **options):
    return LinearMap(matrix).tangent().benettin(np.zeros(len(matrix)), **options)


def log_moduli(eigenvalues):
    return -np.sort(-np.log(np.abs(eigenvalues)))


def stability_polynomial(stepper, z):
    return sum(z**p / [1, 1, 2, 6, 24][p] for p in range(stepper.order + 1))


def expected_of_flow(matrix, stepper):
    mu = np.linalg.eigvals(matrix)
    return log_moduli(stability_polynomial(stepper, stepper.dt * mu)) / stepper.dt


@st.composite
def matrices_of_real_spectrum(draw, largest):
    """A = P diag(eigenvalues) P^-1 with well-conditioned P; the eigenvalues in decreasing order with gaps."""
    dim = draw(st.integers(1, 5))
    gaps = draw(st.lists(st.floats(0.3, 1.0), min_size=dim, max_size=dim))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    P = np.linalg.qr(rng.normal(size=(dim, dim)))[0] @ (np.eye(dim) + np.triu(rng.uniform(-1, 1, (dim, dim)), 1))
    values = largest - np.cumsum(gaps)
    return P, values


@pytest.mark.parametrize("name", REAL)
def test_exponents_of_a_linear_map_are_log_moduli_of_its_eigenvalues(name):
    spectrum = linear(REAL[name], intervals=10, warmup=400)
    expected = log_moduli(np.linalg.eigvals(REAL[name]))
    np.testing.assert_allclose(spectrum.rates, np.broadcast_to(expected, spectrum.rates.shape), rtol=0, atol=1e-12)
    np.testing.assert_allclose(spectrum.exponents, expected, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(matrices_of_real_spectrum(largest=0.5))
def test_exponents_of_random_linear_maps_are_log_moduli_of_their_eigenvalues(drawn):
    P, log_values = drawn
    matrix = P @ np.diag(np.exp(log_values)) @ np.linalg.inv(P)
    spectrum = linear(matrix, intervals=3, warmup=120)
    np.testing.assert_allclose(spectrum.exponents, log_values, rtol=0, atol=1e-10)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(matrices_of_real_spectrum(largest=-0.1), st.sampled_from([Euler(0.05), RK4(0.05)]))
def test_exponents_of_random_stable_flows_are_those_of_the_stepper_at_their_eigenvalues(drawn, stepper):
    P, values = drawn
    flow = LinearFlow(P @ np.diag(values) @ np.linalg.inv(P))
    x0 = np.ones(len(values))
    spectrum = flow.tangent(stepper).benettin(x0, intervals=3, steps_per_interval=20, warmup=120)
    expected = np.log(stability_polynomial(stepper, stepper.dt * values)) / stepper.dt
    np.testing.assert_allclose(spectrum.exponents, expected, rtol=0, atol=1e-10)


def test_a_scaled_rotation_has_two_equal_exponents_in_every_interval():
    rates = linear(0.7 * ROTATION, intervals=50, steps_per_interval=3, warmup=0).rates
    np.testing.assert_allclose(rates, np.log(0.7), rtol=1e-13)


@pytest.mark.parametrize("intervals", [5, 500])
def test_a_complex_pair_seen_through_a_shear_has_two_equal_exponents(intervals):
    """The frame turns for ever; both means stay within log(condition number) / n of log|mu|, their sum is exact."""
    spectrum = linear(0.7 * SHEAR @ ROTATION @ np.linalg.inv(SHEAR), intervals=intervals, warmup=0)
    bound = np.log(np.linalg.cond(SHEAR)) / intervals
    assert np.all(np.abs(spectrum.exponents - np.log(0.7)) <= bound)
    np.testing.assert_allclose(spectrum.rates.sum(axis=1), 2 * np.log(0.7), rtol=1e-12)


@pytest.mark.parametrize("stepper", [Euler(0.05), RK4(0.05), RK4(0.4)])
@pytest.mark.parametrize(
    "matrix",
    [np.diag([-2.0, 0.3, -0.5]), np.array([[-0.4, 3.0], [0.0, -1.0]]), np.array([[-0.3, 2.0], [-2.0, -0.3]])],
    ids=["diagonal", "triangular", "complex pair"],
)
def test_exponents_of_a_linear_flow_are_those_of_the_stepper_at_its_eigenvalues(matrix, stepper):
    x0 = np.ones(len(matrix))
    options = {"intervals": 10, "steps_per_interval": 4, "warmup": 1000}
    spectrum = LinearFlow(matrix).tangent(stepper).benettin(x0, **options)
    np.testing.assert_allclose(spectrum.exponents, expected_of_flow(matrix, stepper), rtol=0, atol=1e-11)


@pytest.mark.parametrize("intervals", [1, 20, 200_000])
@pytest.mark.parametrize("warmup", [0, None])
def test_a_stable_flow_keeps_its_exponents_in_short_and_in_long_runs(intervals, warmup):
    tangent = LinearFlow(-np.eye(2)).tangent(RK4(0.1))
    spectrum = tangent.benettin([1.0, -1.0], intervals=intervals, warmup=warmup)  # the state underflows to 0
    expected = np.log(stability_polynomial(RK4(0.1), -0.1)) / 0.1
    np.testing.assert_allclose(spectrum.rates, expected, rtol=1e-12)
    np.testing.assert_allclose(spectrum.exponents, expected, rtol=1e-12 + 1.2e-16 * intervals)  # rounding of a sum


@pytest.mark.parametrize("backend", BACKENDS)
def test_exponents_of_henon_sum_to_log_b_in_every_interval(backend):
    rates = Henon().tangent(backend=backend).benettin([0.1, 0.1], intervals=500, warmup=1, seed=3).rates
    np.testing.assert_allclose(rates.sum(axis=1), np.log(0.3), rtol=1e-13)


@pytest.mark.parametrize("stepper", [Euler(0.004), RK4(0.02)])
def test_sum_of_exponents_is_log_det_of_the_numerical_step(stepper):
    tangent = Lorenz63().tangent(stepper, backend="numpy")
    spectrum = tangent.benettin(LORENZ_X0, intervals=20, steps_per_interval=5, warmup=0)
    x, log_det = np.array(LORENZ_X0), []
    for n in range(100):
        x, M = tangent.step(n, x, np.eye(3))
        log_det.append(np.linalg.slogdet(M).logabsdet)
    expected = np.reshape(log_det, (20, 5)).sum(axis=1) / (5 * stepper.dt)
    np.testing.assert_allclose(spectrum.rates.sum(axis=1), expected, rtol=1e-12)


@pytest.mark.parametrize(("kind", "coarsest"), [(Euler, 2.0**-8), (RK4, 2.0**-6)])
def test_sum_of_exponents_is_the_trace_to_the_order_of_the_stepper(kind, coarsest):
    steps, defects = coarsest * 2.0 ** -np.arange(4), []
    for dt in steps:
        tangent = Lorenz63().tangent(kind(dt), backend="numpy")
        spectrum = tangent.benettin(LORENZ_X0, intervals=8, steps_per_interval=round(1 / 8 / dt), warmup=0)
        defects.append(abs(spectrum.exponents.sum() + 10 + 1 + 8 / 3))
    order = np.polyfit(np.log(steps), np.log(defects), 1)[0]
    assert abs(order - kind(1.0).order) < 0.15, order


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["Henon", "Lorenz63", "LinearMap"])
def test_k_exponents_are_the_first_k_of_all(name, backend):
    system, stepper, x0 = {
        "Henon": (Henon(), [], [0.1, 0.1]),
        "Lorenz63": (Lorenz63(), [RK4(0.01)], LORENZ_X0),
        "LinearMap": (LinearMap(np.random.default_rng(0).normal(size=(5, 5))), [], np.zeros(5)),
    }[name]
    tangent = system.tangent(*stepper, backend=backend)
    options = {"intervals": 40, "steps_per_interval": 3, "warmup": 0, "seed": 4}
    full = tangent.benettin(x0, **options).rates
    for k in range(1, tangent.dimension + 1):
        np.testing.assert_allclose(tangent.benettin(x0, k=k, **options).rates, full[:, :k], rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "tangent", [Henon().tangent(), LinearMap(REAL["triangular"]).tangent()], ids=["Henon", "linear"]
)
@pytest.mark.parametrize("steps", [2, 3, 4, 6])
def test_exponents_do_not_depend_on_how_often_the_frame_is_orthonormalised(tangent, steps):
    x0 = np.full(tangent.dimension, 0.1)
    every_step = tangent.benettin(x0, intervals=48, warmup=0).exponents
    rarely = tangent.benettin(x0, intervals=48 // steps, steps_per_interval=steps, warmup=0).exponents
    np.testing.assert_allclose(rarely, every_step, rtol=0, atol=1e-16 * np.exp(2.5 * steps) + 1e-14)


def test_rates_do_not_depend_on_the_seed_after_the_warm_up():
    options = {"intervals": 100, "warmup": 60}
    one, other = (Henon().tangent().benettin([0.1, 0.1], seed=seed, **options).rates for seed in (0, 1))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_without_warm_up_the_first_frame_biases_and_there_is_one_by_default():
    matrix, n = np.array([[2.0, 1.0], [0.0, 0.5]]), 100
    q = RunState.start(np.zeros(2), 2, None, seed=0).Q[0, :, 0]
    biased = linear(matrix, intervals=n, warmup=0, seed=0)
    expected = np.log(np.linalg.norm(np.linalg.matrix_power(matrix, n) @ q)) / n
    assert biased.exponents[0] == pytest.approx(expected, rel=1e-13)
    assert abs(expected - np.log(2.0)) > 1e-3
    default = linear(matrix, intervals=n, seed=0)
    assert abs(default.exponents[0] - np.log(2.0)) < 4.0**-10  # the ratio of the eigenvalues to the power of n/10
    assert default.times[0] == n // 10 + 1
    assert linear(matrix, intervals=1).times[0] == 2


@pytest.mark.parametrize("members", [None, 3])
def test_finite_time_exponents_are_the_running_means_of_the_rates(members):
    x0 = np.full((2,) if members is None else (members, 2), 0.1)
    spectrum = Henon().tangent().benettin(x0, intervals=30, steps_per_interval=2)
    from_start = spectrum.finite_time_exponents()
    assert from_start.shape == spectrum.rates.shape == (*x0.shape[:-1], 30, 2)
    np.testing.assert_allclose(from_start[..., -1, :], spectrum.exponents, rtol=1e-13)
    np.testing.assert_array_equal(spectrum.running_mean, from_start)
    elapsed = spectrum.times - spectrum.times[0] + 2
    log_growth = np.cumsum(2 * spectrum.rates, axis=-2)
    np.testing.assert_allclose(from_start * elapsed[:, None], log_growth, rtol=1e-12)
    windows = spectrum.finite_time_exponents(window=10)
    np.testing.assert_allclose(windows[..., ::10, :].mean(axis=-2), spectrum.exponents, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("members", [None, 3])
def test_a_run_continued_from_its_end_is_one_long_run_bit_for_bit(members, backend):
    tangent = Lorenz63().tangent(RK4(0.01), t0=1.5, backend=backend)
    x0 = np.array(LORENZ_X0) + np.zeros((3,) if members is None else (members, 1))
    long = tangent.benettin(x0, intervals=50, steps_per_interval=4, warmup=5, seed=2)
    first = tangent.benettin(x0, intervals=20, steps_per_interval=4, warmup=5, seed=2)
    second = tangent.benettin(first.end, intervals=30, steps_per_interval=4)  # no second warm-up by default
    np.testing.assert_array_equal(np.concatenate([first.rates, second.rates], axis=-2), long.rates)
    np.testing.assert_array_equal(np.concatenate([first.times, second.times]), long.times)
    for field in ("n", "x", "Q", "status", "stopped"):
        np.testing.assert_array_equal(getattr(second.end, field), getattr(long.end, field))
    with pytest.raises(InvalidInputError, match="leave k out"):
        tangent.benettin(first.end, intervals=1, k=1)


def summed(growth, stride):
    """Sums over strides of axis 1, one interval after the other."""
    members, intervals, k = growth.shape
    sums = np.zeros((members, intervals // stride, k))
    for i in range(intervals):
        sums[:, i // stride] += growth[:, i]
    return sums


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stride", [1, 2, 5, 60])
@pytest.mark.parametrize("at_once", [1, 7, 24, 1000])  # intervals of a call: cuts within strides, and across them
@pytest.mark.parametrize("k", [1, 3])  # NumPy sums a single column pairwise, if one lets it
def test_a_stride_sums_growth_in_order_however_the_run_is_cut(k, stride, at_once, backend, monkeypatch):
    tangent, steps = Lorenz63().tangent(RK4(0.01), t0=1.5, backend=backend), 3
    x0 = np.array(LORENZ_X0) + np.arange(2)[:, None]
    start = RunState.start(x0, 3, k, seed=2)
    growth = tangent.forward(start, intervals=60, steps_per_interval=steps, record="growth").growth
    monkeypatch.setattr(run_state, "CHUNK_STEPS", at_once * steps * 2)
    spectrum = tangent.benettin(x0, intervals=60, steps_per_interval=steps, warmup=0, stride=stride, k=k, seed=2)
    np.testing.assert_array_equal(spectrum.rates, summed(growth, stride) / (stride * steps * 0.01))
    np.testing.assert_allclose(spectrum.times, 1.5 + 0.01 * steps * np.arange(stride, 61, stride), rtol=1e-14)
    np.testing.assert_allclose(spectrum.exponents, growth.mean(axis=1) / (steps * 0.01), rtol=1e-13, atol=1e-14)
    assert spectrum.stride == stride


@pytest.mark.numba
def test_neither_threads_nor_members_change_a_bit_of_the_sums():
    x0 = np.array(LORENZ_X0) + np.arange(40)[:, None]
    run = {"intervals": 600, "steps_per_interval": 2, "warmup": 3, "stride": 200}
    alone = NumbaTangent(step_of(Lorenz63(), RK4(0.01)), threads=1).benettin(x0, **run).rates
    together = NumbaTangent(step_of(Lorenz63(), RK4(0.01)), threads=2).benettin(x0, **run).rates
    np.testing.assert_array_equal(together, alone)
    some = NumbaTangent(step_of(Lorenz63(), RK4(0.01)), threads=2).benettin(x0[:3], **run).rates
    np.testing.assert_array_equal(some, alone[:3])


@pytest.mark.parametrize("backend", BACKENDS)
def test_diagnostics_do_not_depend_on_the_stride(backend):
    tangent = Lorenz63().tangent(RK4(0.01), backend=backend)
    run = {"intervals": 960, "steps_per_interval": 5, "warmup": 200}
    each, sums = (tangent.benettin(LORENZ_X0, stride=stride, **run) for stride in (1, 15))
    assert each.diagnostics.determinant_defect == sums.diagnostics.determinant_defect < 1e-12
    moved = np.diff(np.reshape(each.rates, (2, 480, 3)).mean(axis=1), axis=0)[0]
    for spectrum in (each, sums):
        assert (spectrum.standard_error > 0).all()
        np.testing.assert_array_equal(np.sign(spectrum.diagnostics.drift), np.sign(moved))  # 32 records in each half
    for stride, known in ((30, True), (32, False)):  # 32 records are enough for an error, 30 are not
        assert np.isfinite(tangent.benettin(LORENZ_X0, stride=stride, **run).standard_error).all() == known
    np.testing.assert_allclose(sums.end.x, each.end.x, rtol=0)


@pytest.mark.numba
def test_a_wrong_derivative_is_found_whatever_the_stride():
    class Wrong(LinearMap):
        def kernel(self):
            return LinearMap(1.01 * self.matrix).kernel()

    with pytest.warns(match="is not log"):
        spectrum = Wrong(REAL["diagonal"]).tangent().benettin(np.zeros(3), intervals=20, warmup=0, stride=10)
    assert spectrum.diagnostics.determinant_defect == pytest.approx(
        3 * np.log(1.01) / (1 + np.log(1.8)), rel=1e-9
    )  # of the first interval, not of ten


@pytest.mark.numba
def test_a_stride_bounds_the_memory():
    tangent, x0 = Logistic().tangent(), np.linspace(0.1, 0.4, 64)[:, None]
    tangent.benettin(x0, intervals=1000, warmup=0, stride=1000)
    peaks = []
    for stride in (1, 1000):
        tracemalloc.start()
        tangent.benettin(x0, intervals=40_000, warmup=0, stride=stride)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    record = 8 * 64 * 40_000
    assert peaks[0] > record
    assert peaks[1] < record / 2  # a call records 3125 intervals


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_that_diverges_within_a_stride_has_the_strides_before_it(backend):
    tangent, caught = Logistic().tangent(backend=backend), []
    for stride in (1, 5):
        with pytest.raises(DivergenceError) as error:
            tangent.benettin([-1e-12], intervals=60, warmup=0, stride=stride)
        caught.append(error.value)
    each, sums = caught
    assert sums.time == each.time
    finished = len(each.partial.rates)
    whole = finished - finished % 5
    assert 0 < whole < finished
    np.testing.assert_array_equal(sums.partial.rates, summed(each.partial.rates[None, :whole], 5)[0] / 5)


@pytest.mark.parametrize(("intervals", "stride", "whole"), [(10, 3, 9), (2, 5, 5), (7, 7, None)])
def test_intervals_must_be_whole_strides(intervals, stride, whole):
    tangent = Henon().tangent(backend="numpy")
    if whole is None:
        assert tangent.benettin([0.1, 0.1], intervals=intervals, stride=stride).rates.shape == (1, 2)
        return
    message = rf"intervals must be a multiple of stride = {stride}, got {intervals}: take {whole}"
    with pytest.raises(InvalidInputError, match=message):
        tangent.benettin([0.1, 0.1], intervals=intervals, stride=stride)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_diverging_run_raises_with_its_finished_part(backend):
    tangent = Logistic().tangent(backend=backend)
    with pytest.raises(DivergenceError, match="check x0") as caught:
        tangent.benettin([-1e-12], intervals=60, warmup=2)
    partial = caught.value.partial
    assert isinstance(partial, LyapunovSpectrum)
    finished = len(partial.times)
    assert 16 <= finished < 60
    assert caught.value.time == partial.times[-1] + 1
    shorter = tangent.benettin([-1e-12], intervals=finished, warmup=2)
    for field in ("rates", "times", "exponents", "standard_error"):
        np.testing.assert_array_equal(getattr(partial, field), getattr(shorter, field))
    assert np.isfinite(partial.rates).all()
    with pytest.raises(DivergenceError) as caught:
        tangent.benettin([-1e-12], intervals=60, warmup=60)
    assert caught.value.partial is None


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "intervals": [0, 2.5, True],
        "steps_per_interval": [0],
        "warmup": [-1],
        "k": [0, 3],
        "seed": [-1],
        "stride": [0, 1.5],
        "x0": [[1.0], [[[1.0, 1.0]]], [np.nan, 1.0], np.empty((0, 2))],
    }.items(),
)
def test_bad_arguments_are_refused_by_name(name, values):
    for value in values:
        arguments = {"x0": [0.1, 0.1], "intervals": 5} | {name: value}
        with pytest.raises(InvalidInputError, match=rf"^{name} must"):
            Henon().tangent(backend="numpy").benettin(arguments.pop("x0"), **arguments)
