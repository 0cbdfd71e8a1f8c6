"""Sharafi's estimate in its four variants: how fast each converges or that it does not, and what it knows when."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import (
    RK4,
    DivergenceError,
    Euler,
    FallbackWarning,
    InterruptedWarning,
    InvalidInputError,
    RunState,
    SingularTangentError,
)
from dynsys.compiled import backward
from dynsys.indicators import line_distance, subspace_distance
from dynsys.models.classics import Henon, LinearCocycle, LinearFlow, LinearMap, Lorenz63
from dynsys.passes import run_state

VARIANTS = ["lagged", "near-future", "periodic window", "frozen"]
CAUSAL = ["lagged", "periodic window", "frozen"]
BACKENDS = ["numpy", "numba"]
HENON, LORENZ = Henon().tangent(), Lorenz63().tangent(RK4(dt=0.01))
ON_HENON, ON_LORENZ = [[0.1, 0.1], [0.3, 0.2]], [-1.2, -2.4, 13.1]
RATES = np.array([0.5, 0.2, -0.4])
MIXING = np.array([[1.0, 0.8, -0.5], [0.3, 1.0, 0.9], [0.0, -0.4, 1.0]])
CONSTANT = LinearMap(MIXING @ np.diag(np.exp(RATES)) @ np.linalg.inv(MIXING)).tangent()
EIGENVECTORS = MIXING / np.linalg.norm(MIXING, axis=0)
COCYCLE, EXACT = LinearCocycle.random(3, 900)


def of(variant, window):
    """The options that name a variant; "frozen" has no window."""
    return {"variant": variant} | ({} if variant == "frozen" else {"window": window})


def slope(windows, errors):
    """Rate of exponential decay of errors over windows, and the largest deviation of log error from the fit."""
    fit = np.polyfit(windows, np.log(errors), 1)
    return -fit[0], np.abs(np.polyval(fit, windows) - np.log(errors)).max()


def same(one, other, fields=("times", "available", "states", "vectors", "rates", "exponents")):
    for field in fields:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


# --- what the estimates converge to ---------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["lagged", "near-future"])
def test_estimate_for_a_constant_map_converges_to_eigenvectors_at_the_rate_of_the_gap(variant):
    windows = np.arange(10, 41, 5)

    def error(window):
        clvs = CONSTANT.sharafi(np.zeros(3), intervals=2, warmup=200, window=window, variant=variant)
        return line_distance(clvs.vectors[-1], EIGENVECTORS)

    errors = np.array([error(window) for window in windows])
    assert errors[:, 0].max() < 1e-13
    for j, gap in ((1, RATES[0] - RATES[1]), (2, RATES[1] - RATES[2])):
        rate, deviation = slope(windows, errors[:, j])
        assert rate == pytest.approx(gap, rel=0.02)
        assert deviation < 0.1  # a straight line over ten windows' worth of decay, not an average
    clvs = CONSTANT.sharafi(np.zeros(3), intervals=2, warmup=350, window=150, variant=variant)
    assert line_distance(clvs.vectors, EIGENVECTORS).max() < 1e-12


@pytest.mark.parametrize(
    ("variant", "window"), [("periodic window", 1), ("periodic window", 10), ("periodic window", 100), ("frozen", 1)]
)
def test_periodic_window_of_a_constant_map_is_exact_once_the_frame_is_aligned(variant, window):
    clvs = CONSTANT.sharafi(np.zeros(3), intervals=2, warmup=200, **of(variant, window))
    assert line_distance(clvs.vectors, EIGENVECTORS).max() < 1e-12
    np.testing.assert_allclose(clvs.rates, np.tile(RATES, (2, 1)), atol=1e-12)


@pytest.mark.parametrize("start", ["identity", "random"])
@pytest.mark.parametrize("steps", [1, 3])
def test_error_for_a_cocycle_falls_with_the_gap_times_the_length_of_the_window(steps, start):
    windows = np.arange(12, 43, 6) // steps

    def error(window):
        clvs = COCYCLE.tangent().sharafi(
            np.zeros(3),
            intervals=240 // steps,
            steps_per_interval=steps,
            warmup=240 // steps,
            window=window,
            start=start,
        )
        return np.exp(np.log(line_distance(clvs.vectors, EXACT[clvs.times.astype(int)])[:, 1:]).mean(axis=0))

    errors = np.array([error(int(window)) for window in windows])
    # vector j is wrong in direction i < j by ((lambda_j / lambda_i) of D)^window, D = diag(3, 2, 1)
    assert slope(windows * steps, errors[:, 0])[0] == pytest.approx(np.log(3 / 2), rel=0.02)
    assert slope(windows * steps, errors[:, 1])[0] == pytest.approx(np.log(2 / 1), rel=0.02)


def turning(epsilon):
    """A cocycle whose vectors turn by epsilon in a step, and these."""
    S = np.eye(3) + epsilon * np.random.default_rng(2).uniform(size=(401, 3, 3))
    matrices = S[1:] @ np.diag([3.0, 2.0, 1.0]) @ np.linalg.inv(S[:-1])
    return LinearCocycle(matrices).tangent(), S / np.linalg.norm(S, axis=1, keepdims=True)


def bias(epsilon, variant, window):
    tangent, exact = turning(epsilon)
    clvs = tangent.sharafi(np.zeros(3), intervals=150, warmup=200, **of(variant, window))
    return np.median(line_distance(clvs.vectors, exact[clvs.times.astype(int)])[:, 1:], axis=0)


def test_periodic_window_keeps_a_bias_that_no_window_removes():
    errors = np.array([bias(0.1, "periodic window", window) for window in (5, 20, 80)])
    assert errors.min() > 0.01
    assert np.ptp(np.log(errors), axis=0).max() < np.log(1.5)
    assert bias(0.1, "lagged", 80).max() < 1e-12


@pytest.mark.parametrize(("variant", "window"), [("periodic window", 20), ("frozen", 1)])
def test_bias_of_the_periodic_window_is_proportional_to_the_change_of_the_vectors(variant, window):
    sizes = np.geomspace(1e-4, 1e-1, 7)
    errors = np.array([bias(size, variant, window) for size in sizes])
    for error in errors.T:
        assert np.polyfit(np.log(sizes), np.log(error), 1)[0] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("tangent", "x0", "steps", "window"),
    [(HENON, ON_HENON[0], 1, 60), (LORENZ, ON_LORENZ, 5, 600)],
    ids=["Henon", "Lorenz"],
)
def test_long_window_gives_ginelli(tangent, x0, steps, window):
    common = {"intervals": 40, "steps_per_interval": steps}
    exact = tangent.ginelli(x0, tail=600, warmup=300, **common)
    estimates = tangent.sharafi(x0, window=window, warmup=300 + window, **common)
    same(estimates, exact, ["times", "states"])
    assert line_distance(estimates.vectors, exact.vectors).max() < 1e-9
    np.testing.assert_allclose(estimates.rates, exact.rates, rtol=0, atol=1e-7)
    assert estimates.diagnostics.covariance_residual < 1e-9
    future = tangent.sharafi(x0, window=window, warmup=300, variant="near-future", **common)
    np.testing.assert_allclose(future.exponents, exact.exponents, rtol=0, atol=1e-13)  # means over one record


@pytest.mark.parametrize("window", [1, 2, 10])
def test_first_vector_is_the_first_backward_vector_whatever_the_window(window):
    clvs = HENON.sharafi(ON_HENON[0], intervals=30, warmup=60, window=window)
    Q = frames(HENON, ON_HENON[0], 61 - window, 30)
    np.testing.assert_allclose(clvs.vectors[:, :, 0], Q[:, :, 0], rtol=0, atol=1e-14)
    # the second is neither the second backward vector nor, for so short a future, converged
    assert np.median(line_distance(clvs.vectors, Q)[:, 1]) > 0.1


def frames(tangent, x0, first, intervals):
    """Backward vectors of a map's run at the times first, first + 1, ..."""
    start = RunState.start(np.array(x0), tangent.dimension, None, 0)
    end = tangent.forward(start, intervals=first + intervals - 1, steps_per_interval=1, record="frames")
    return end.Qs[0, first - 1 :]


def test_one_interval_of_future_is_one_back_substitution():
    # window = 1: the estimate is Q_n R_{n+1}^{-1}, and M_{n+1} Q_n R_{n+1}^{-1} = Q_{n+1}: pushed, it is orthonormal
    clvs = HENON.sharafi(ON_HENON[0], intervals=20, warmup=60, window=1)
    for n, x, V in zip(clvs.times.astype(int), clvs.states, clvs.vectors, strict=True):
        pushed = HENON.step(int(n), x, V)[1]
        pushed /= np.linalg.norm(pushed, axis=0)
        np.testing.assert_allclose(pushed.T @ pushed, np.eye(2), rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    dim=st.integers(1, 5),
    window=st.integers(1, 15),
    variant=st.sampled_from(VARIANTS),
    start=st.sampled_from(["identity", "random"]),
)
def test_first_j_estimates_are_unit_vectors_that_span_what_the_first_j_backward_vectors_span(
    seed, dim, window, variant, start
):
    matrices = np.random.default_rng(seed).normal(size=(60, dim, dim))
    clvs = (
        LinearCocycle(matrices)
        .tangent()
        .sharafi(np.zeros(dim), intervals=12, warmup=20, start=start, **of(variant, window))
    )
    np.testing.assert_allclose(np.linalg.norm(clvs.vectors, axis=1), 1.0, rtol=0, atol=1e-14)
    Q = frames(LinearCocycle(matrices).tangent(), np.zeros(dim), int(clvs.times[0]), 12)
    coefficients = np.swapaxes(Q, 1, 2) @ clvs.vectors
    assert np.abs(np.tril(coefficients, -1)).max() < 1e-13  # upper triangular, also where the columns nearly coincide
    if np.abs(np.diagonal(coefficients, axis1=1, axis2=2)).min() > 1e-3:
        assert subspace_distance(np.linalg.qr(clvs.vectors)[0], Q).max() < 1e-10


# --- what is known when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("change", [135, 180, 219])
def test_what_is_known_is_not_changed_by_what_comes_later(variant, change):
    cocycle, _ = LinearCocycle.random(4, 300)
    altered = cocycle.matrices.copy()
    altered[change:] = np.random.default_rng(9).normal(size=altered[change:].shape)  # steps from t = change onwards
    options = {"intervals": 100, "warmup": 120, **of(variant, 10)}
    before, after = (LinearCocycle(A).tangent().sharafi(np.zeros(4), **options) for A in (cocycle.matrices, altered))
    known = before.available <= change
    assert 0 < known.sum() < 100
    np.testing.assert_array_equal(before.vectors[known], after.vectors[known])
    # while every later one does see the change, in all vectors but the first
    moved = line_distance(before.vectors, after.vectors)[~known][:, 1:]
    assert (moved > 1e-14).any(axis=1).all()
    if variant == "near-future":  # from times a window before the change on, and no earlier
        np.testing.assert_array_equal(before.times[~known][0], change - 10 + 1)


def test_near_future_is_the_lagged_estimate_listed_by_another_time():
    lagged = LORENZ.sharafi(ON_LORENZ, intervals=40, steps_per_interval=5, warmup=67, window=7)
    future = LORENZ.sharafi(ON_LORENZ, intervals=40, steps_per_interval=5, warmup=60, window=7, variant="near-future")
    same(lagged, future, ["times", "available", "states", "vectors", "rates"])
    assert lagged.end.n == future.end.n


def test_frozen_is_a_periodic_window_of_one():
    frozen = LORENZ.sharafi(ON_LORENZ, intervals=40, steps_per_interval=5, warmup=60, variant="frozen")
    periodic = LORENZ.sharafi(
        ON_LORENZ, intervals=40, steps_per_interval=5, warmup=60, variant="periodic window", window=1
    )
    same(frozen, periodic)
    assert frozen.method == "sharafi, frozen, window 1"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("warmup", [0, 2, 5, 11])
@pytest.mark.parametrize(("stride", "window"), [(1, 1), (1, 5), (3, 5), (4, 2), (12, 5)])
@pytest.mark.parametrize(("t0", "steps"), [(0.0, 1), (-3.7, 5)])
def test_times_are_those_of_the_table_and_states_belong_to_them(variant, warmup, stride, window, t0, steps):
    tangent = LinearFlow(np.diag(RATES)).tangent(Euler(dt=0.1), t0=t0)
    clvs = tangent.sharafi(
        np.ones(3), intervals=12, steps_per_interval=steps, warmup=warmup, stride=stride, **of(variant, window)
    )
    window = 1 if variant == "frozen" else window
    n = warmup + stride * np.arange(1, 12 // stride + 1)
    valid = n - window if variant == "lagged" else n
    known = n + window if variant == "near-future" else n
    whole = known >= window  # the window does not begin before the run
    np.testing.assert_array_equal(clvs.times, t0 + valid[whole] * steps * 0.1)
    np.testing.assert_array_equal(clvs.available, t0 + known[whole] * steps * 0.1)
    assert (np.diff(clvs.times) > 0).all()
    assert len(clvs.states) == len(clvs.vectors) == len(clvs.rates) == whole.sum() > 0
    np.testing.assert_allclose(clvs.states, (1 + 0.1 * RATES) ** (valid[whole, None] * steps), rtol=1e-13)
    assert clvs.end.n == known[-1] * steps
    # no interval ends at the start of the run
    np.testing.assert_array_equal(np.isnan(clvs.rates).all(axis=1), valid[whole] == 0)
    assert np.isfinite(clvs.diagnostics.growth_defect).all() == (clvs.times[-1] > t0)
    # the frame need not be aligned yet, but log|det| is the sum of log R_ii
    np.testing.assert_allclose(clvs.exponents.sum(), np.log(1 + 0.1 * RATES).sum() / 0.1, rtol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_strides_thin_the_record(variant):
    options = {"intervals": 60, "steps_per_interval": 5, "warmup": 40, **of(variant, 7)}
    every, third = (LORENZ.sharafi(ON_LORENZ, stride=stride, **options) for stride in (1, 3))
    for field in ("times", "available", "states", "vectors", "rates"):
        np.testing.assert_array_equal(getattr(every, field)[2::3], getattr(third, field))
    np.testing.assert_array_equal(every.exponents, third.exponents)


@pytest.mark.parametrize("variant", VARIANTS)
def test_default_warm_up_aligns_the_frame_and_leaves_room_for_the_window(variant):
    clvs = HENON.sharafi(ON_HENON[0], intervals=3, **of(variant, 20))
    window = 1 if variant == "frozen" else 20
    np.testing.assert_array_equal(clvs.available - window, clvs.available[0] - window + np.arange(3))
    assert clvs.available[0] == 3 + window + 1
    assert len(clvs.times) == 3


@pytest.mark.parametrize("variant", CAUSAL)
def test_run_goes_on_from_the_end_of_another(variant):
    whole = HENON.sharafi(ON_HENON[0], intervals=40, warmup=60, **of(variant, 8))
    end = HENON.benettin(ON_HENON[0], intervals=60, warmup=0).end
    same(
        HENON.sharafi(end, intervals=32, warmup=8, **of(variant, 8)),
        HENON.sharafi(ON_HENON[0], intervals=32, warmup=68, **of(variant, 8)),
    )
    # without a warm-up the first window begins at the end: one estimate from exactly its own window
    one = HENON.sharafi(end, intervals=8, stride=8, **of(variant, 8))
    for field in ("times", "available", "states", "vectors"):
        np.testing.assert_array_equal(getattr(one, field)[0], getattr(whole, field)[7])
    # and after the state alone there are new frames
    assert len(HENON.sharafi(HENON.trajectory(ON_HENON[0], intervals=5).end, intervals=3).times) == 3


# --- diagnostics ----------------------------------------------------------------------------------------------------


def test_start_agreement_falls_as_the_window_grows():
    agreement = np.array(
        [
            COCYCLE.tangent().sharafi(np.zeros(3), intervals=5, warmup=200, window=w).diagnostics.start_agreement
            for w in (10, 30)
        ]
    )
    assert agreement[:, 0].max() < 1e-14
    np.testing.assert_allclose(np.log(agreement[0, 1:] / agreement[1, 1:]), 20 * np.log([3 / 2, 2]), rtol=0.05)


def test_vectors_are_called_determined_when_two_starts_agree():
    def labels(window, **options):
        clvs = COCYCLE.tangent().sharafi(np.zeros(3), intervals=5, warmup=200, window=window, **options)
        return clvs.diagnostics.subspaces.tolist()

    assert labels(60) == labels(60, start="random") == [0, 1, 2]
    assert labels(20) == [0, 0, 2]  # the third is no worse for the second, whose gap is the smaller one
    assert labels(1) == [-1, -1, -1]


@pytest.mark.parametrize(("variant", "window"), [("periodic window", 10), ("frozen", 1)])
def test_without_a_start_only_covariance_tells(variant, window):
    diagnostics = COCYCLE.tangent().sharafi(np.zeros(3), intervals=20, warmup=200, **of(variant, window)).diagnostics
    assert np.isnan(diagnostics.start_agreement).all()
    assert (diagnostics.subspaces == -1).all()
    assert diagnostics.covariance_residual > 0.01


def test_covariance_residual_measures_how_covariant_the_estimates_are():
    def residual(variant, window):
        clvs = COCYCLE.tangent().sharafi(np.zeros(3), intervals=200, warmup=300, window=window, variant=variant)
        return float(clvs.diagnostics.covariance_residual)

    lagged, periodic = ([residual(variant, w) for w in (10, 30, 90)] for variant in ("lagged", "periodic window"))
    assert lagged[0] > 30 * lagged[1] > 30**2 * lagged[2]
    assert min(periodic) > 0.02


def test_covariance_is_not_checked_over_long_strides():
    # a step by NumPy takes fifty microseconds or so, and vectors pushed far turn to the first anyhow
    assert np.isnan(
        LORENZ.sharafi(ON_LORENZ, intervals=10_002, steps_per_interval=5, stride=5001).diagnostics.covariance_residual
    )


# --- how the run is done --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_members_are_runs_of_their_own(backend, variant):
    tangent, options = Henon().tangent(backend=backend), {"intervals": 20, "warmup": 40, **of(variant, 8)}
    members = tangent.sharafi([*ON_HENON[:2], [5.0, 5.0]], **options)
    assert members.vectors.shape == (3, 20, 2, 2)
    # at x = 1e8 the frame is singular to rounding, long before the state overflows: either reason will do
    assert (members.end.status == 0).tolist() == [True, True, False]
    assert np.isnan(members.vectors[2]).all()
    assert np.isnan(members.exponents[2]).all()
    for m in range(2):
        alone = tangent.sharafi(ON_HENON[m], **options)
        np.testing.assert_array_equal(members.states[m], alone.states)
        assert line_distance(members.vectors[m], alone.vectors).max() < 1e-12
    first = tangent.sharafi([ON_HENON[0]], start="random", **options)
    same(first, tangent.sharafi([ON_HENON[0]], start="random", **options))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("escape", [47, 70, 100])
def test_estimates_that_a_member_gave_before_it_diverged_are_kept(backend, escape, variant):
    # what is known at t_n is unchanged by anything later, divergence included: else no failure is seen coming
    tangent, options = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent(backend=backend), {"intervals": 60, "warmup": 40}
    options |= of(variant, 8)
    x0 = np.array([[1.0, 1.0], [2.0, 0.0]])
    healthy = tangent.sharafi(x0, **options)
    x0[1, 0] = 2.0 ** (1024 - escape)  # doubled in every step: infinite after `escape` steps
    stopped = tangent.sharafi(x0, **options)
    assert stopped.end.stopped.tolist() == [-1, escape]
    for field in ("vectors", "rates", "states", "exponents"):
        np.testing.assert_array_equal(getattr(stopped, field)[0], getattr(healthy, field)[0])
    known = stopped.available < escape
    assert (0 if escape == 47 else 1) <= known.sum() < 60
    np.testing.assert_array_equal(stopped.vectors[1, known], healthy.vectors[1, known])
    np.testing.assert_array_equal(stopped.rates[1, known], healthy.rates[1, known])
    assert np.isnan(stopped.vectors[1, ~known]).all()
    assert np.isnan(stopped.rates[1, ~known]).all()
    assert np.isnan(stopped.exponents[1]).all()
    # alone it raises, with the same estimates attached
    with pytest.raises(DivergenceError, match=f"step {escape}") as caught:
        tangent.sharafi(x0[1], **options)
    partial = caught.value.partial
    assert (0 if partial is None else len(partial.times)) == known.sum()
    if partial:
        np.testing.assert_array_equal(partial.times, stopped.times[known])
        assert line_distance(partial.vectors, stopped.vectors[1, known]).max() < 1e-14
        np.testing.assert_allclose(partial.exponents, np.log([2.0, 0.5]), atol=0.1)
        agreement = partial.diagnostics.start_agreement
        if variant in ("lagged", "near-future"):  # of the last estimate before the stop
            assert 0.0 < agreement[1] < 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_before_the_first_estimate_a_stop_leaves_nothing(variant):
    with pytest.raises(SingularTangentError) as caught:
        LinearMap([[1.0, 1.0], [1.0, 1.0]]).tangent().sharafi(np.zeros(2), intervals=5, warmup=5, **of(variant, 3))
    assert caught.value.partial is None


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("members", [None, 2])
def test_no_bit_depends_on_how_the_pass_is_cut(variant, members, monkeypatch):
    x0 = np.array(ON_LORENZ) + np.zeros((3,) if members is None else (members, 1))
    options = {"intervals": 120, "steps_per_interval": 2, "warmup": 50, "stride": 3, **of(variant, 30)}
    whole = LORENZ.sharafi(x0, **options)
    for calls in (1, 7, 29):  # intervals in a call: fewer than the window has
        with monkeypatch.context() as patch:
            patch.setattr(run_state, "CHUNK_STEPS", calls * 2 * (members or 1))
            cut = LORENZ.sharafi(x0, **options)
        same(whole, cut)
        for field in ("start_agreement", "subspaces", "growth_defect", "covariance_residual"):
            np.testing.assert_array_equal(getattr(whole.diagnostics, field), getattr(cut.diagnostics, field))


@pytest.mark.parametrize("variant", VARIANTS)
def test_backends_agree(variant, monkeypatch):
    options = {"intervals": 30, "steps_per_interval": 5, "warmup": 30, **of(variant, 12)}
    compiled = LORENZ.sharafi(ON_LORENZ, **options)
    tangent = Lorenz63().tangent(RK4(dt=0.01), backend="numpy")
    monkeypatch.setattr(backward, "_sweep", lambda: backward.sweep_by_numpy)
    plain = tangent.sharafi(ON_LORENZ, **options)
    same(compiled, plain, ["times", "available"])
    np.testing.assert_allclose(plain.states, compiled.states, rtol=1e-9)
    assert line_distance(plain.vectors, compiled.vectors).max() < 1e-8
    np.testing.assert_allclose(plain.rates, compiled.rates, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_fewer_vectors_are_the_leading_ones(variant):
    cocycle, _ = LinearCocycle.random(4, 200)
    options = {"intervals": 30, "warmup": 60, "start": "random", **of(variant, 9)}
    full = cocycle.tangent().sharafi(np.zeros(4), **options)
    for k in (1, 2, 3):
        leading = cocycle.tangent().sharafi(np.zeros(4), k=k, **options)
        assert leading.vectors.shape == (30, 4, k)
        assert line_distance(leading.vectors, full.vectors[..., :k]).max() < 1e-13
        np.testing.assert_allclose(leading.exponents, full.exponents[:k], atol=1e-14)


def test_memory_is_that_of_the_estimates_and_a_window_of_factors():
    def planned(**options):
        return HENON.sharafi(ON_HENON, **{"intervals": 100, "warmup": 30} | options).diagnostics.planned_bytes

    assert planned(window=10) == 8 * 2 * (100 * (4 + 2 + 2) + 11 * 6)
    assert planned(window=20, stride=10) == 8 * 2 * (10 * (4 + 2 + 2) + 21 * 6)
    whole = HENON.sharafi(ON_HENON, intervals=100, warmup=30)
    with pytest.warns(FallbackWarning, match="temporary files") as caught:
        on_disk = HENON.sharafi(ON_HENON, intervals=100, warmup=30, memory_limit=100)
    assert caught[0].filename == __file__
    assert isinstance(on_disk.vectors.base, np.memmap) or isinstance(on_disk.vectors, np.memmap)
    same(whole, on_disk)


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "members"), [("lagged", None), ("near-future", 2), ("periodic window", None)])
def test_an_interrupt_between_any_two_lines_leaves_what_was_known(
    variant, members, monkeypatch, interrupted_at_every_line
):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 4 * (members or 1))  # four intervals a call: some strides need two
    tangent = Henon().tangent(backend="numpy")
    options = {"intervals": 12, "warmup": 5, "stride": 3, **of(variant, 4)}
    x0 = np.array([0.1, 0.1]) + np.zeros((2,) if members is None else (members, 1))
    whole = tangent.sharafi(x0, **options)
    counts, files = set(), (run_state.__file__, sys.modules["dynsys.algorithms.sharafi"].__file__)
    for found, caught in interrupted_at_every_line(lambda: tangent.sharafi(x0, **options), files, 10_000):
        count = len(found.times)
        counts.add(count)
        for field, axis in (("times", -1), ("available", -1), ("states", -2), ("vectors", -3), ("rates", -2)):
            expected = np.take(getattr(whole, field), np.arange(count), axis=axis)
            np.testing.assert_array_equal(getattr(found, field), expected)
        # all that was known at the end of the run is there, and no more
        np.testing.assert_array_equal(found.available, whole.available[whole.available <= found.end.n])
        messages = [str(w.message) for w in caught if w.category is InterruptedWarning]
        assert (len(messages) == 1) == (found.end.n < whole.end.n)
        assert all(f"the result has the {count} estimates known by then" in message for message in messages)
        # it can be continued: the trajectory is the same
        if found.end.n < whole.end.n:
            rest = tangent.benettin(found.end, intervals=whole.end.n - found.end.n)
            np.testing.assert_array_equal(rest.end.Q, whole.end.Q)
    assert len(counts) >= 3


def raise_interrupt(done, of):
    raise KeyboardInterrupt


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_the_lead_and_before_the_first_estimate_the_interrupt_goes_on(variant, monkeypatch):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 2)
    with pytest.raises(KeyboardInterrupt):
        HENON.sharafi(ON_HENON[0], intervals=9, stride=9, warmup=30, progress=raise_interrupt, **of(variant, 6))


def test_the_interrupt_warns_at_the_users_line(monkeypatch):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 25)
    with pytest.warns(InterruptedWarning, match="interrupted after 20 of 60 intervals; .* the 10 estimates") as caught:
        clvs = HENON.sharafi(ON_HENON[0], intervals=50, progress=raise_interrupt)
    assert caught[0].filename == __file__
    assert len(clvs.times) == 10


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be a whole number >= 1, got 0"),
        ({"window": 2.5}, "window must be a whole number >= 1, got 2.5"),
        ({"intervals": 0}, "intervals must be a whole number >= 1, got 0"),
        ({"warmup": -1}, "warmup must be a whole number >= 0, got -1"),
        ({"variant": "causal"}, "variant must be 'lagged', 'near-future', 'periodic window' or 'frozen', got 'causal'"),
        ({"start": "zero"}, "start must be 'identity' or 'random', got 'zero'"),
        ({"variant": "frozen", "window": 5}, "'frozen' is 'periodic window' with window=1, got window=5: leave it out"),
        ({"stride": 4}, "intervals must be a multiple of stride = 4, got 5: take 4"),
        (
            {"window": 20, "warmup": 10},
            r"no estimate has a whole window of 20 intervals before it: the run has 10 \+ 5 intervals of warm-up and "
            "record; lengthen one of them, or shorten the window",
        ),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(InvalidInputError, match=message):
        Henon().tangent(backend="numpy").sharafi(ON_HENON[0], **{"intervals": 5} | options)


def test_a_continued_run_shorter_than_the_window_is_refused():
    end = HENON.benettin(ON_HENON[0], intervals=60).end
    with pytest.raises(InvalidInputError, match=r"the run has 0 \+ 5 intervals"):
        HENON.sharafi(end, intervals=5)
