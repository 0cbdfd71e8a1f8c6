"""The window of a run: its memory plan, where it stores, how it is thinned, and what an interruption leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsys import RK4, Euler, FallbackWarning, InterruptedWarning, InvalidInputError
from dynsys.algorithms.window import planned_bytes
from dynsys.indicators import line_distance
from dynsys.models.classics import Henon, LinearCocycle, LinearFlow, Lorenz63
from dynsys.passes import run_state

HENON, LORENZ = Henon().tangent(), Lorenz63().tangent(RK4(dt=0.01))
ON_HENON, ON_LORENZ = [0.1, 0.1], [-1.2, -2.4, 13.1]
METHODS = ["ginelli", "wolfe_samelson"]


def vectors(result):
    return result.vectors if hasattr(result, "vectors") else result.covariant


def test_plan_is_the_formula_of_the_documentation():
    dim, k, window, tail = 40, 40, 100_000, 1_000
    stated = window * 8 * (dim * k + k * (k + 1) // 2) + tail * 8 * k * (k + 1) // 2
    states_and_rates = window * 8 * (dim + k)
    assert planned_bytes(1, dim, k, window, tail) == stated + states_and_rates
    assert planned_bytes(7, dim, k, window, tail) == 7 * planned_bytes(1, dim, k, window, tail)
    clvs = HENON.ginelli(ON_HENON, intervals=40, warmup=50, tail=60)
    assert clvs.diagnostics.planned_bytes == planned_bytes(1, 2, 2, 40, 60)
    assert "MiB planned" in repr(clvs)


@pytest.mark.parametrize("method", METHODS)
def test_results_from_a_file_are_the_same_bits_and_the_plan_is_stated(method):
    run = {"intervals": 60, "steps_per_interval": 5, "warmup": 300, "tail": 500}
    plain = getattr(LORENZ, method)(ON_LORENZ, **run)
    with pytest.warns(FallbackWarning, match=r"the plan asks for .* GiB, more than memory_limit = .* temporary files"):
        mapped = getattr(LORENZ, method)(ON_LORENZ, memory_limit=1000, **run)
    np.testing.assert_array_equal(vectors(plain), vectors(mapped))
    assert not vectors(mapped).flags.writeable


def test_large_vectors_stand_in_the_file_and_are_not_copied():
    with pytest.warns(FallbackWarning):
        mapped = HENON.ginelli(ON_HENON, intervals=60, warmup=50, tail=60, memory_limit=1000)
    base = mapped.vectors
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base).__name__ == "mmap"


def test_a_disk_that_is_too_small_is_refused_before_the_run():
    with pytest.raises(InvalidInputError, match=r"has only .* GiB for a file .*thin the output by stride"):
        HENON.ginelli(ON_HENON, intervals=10**13, tail=0, warmup=10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("members", [False, True])
def test_stride_thins_the_output_and_changes_nothing_else(method, members):
    x0 = [ON_HENON, [0.3, 0.2]] if members else ON_HENON
    run = {"intervals": 60, "warmup": 50, "tail": 60}
    every, thin = (getattr(HENON, method)(x0, stride=stride, **run) for stride in (1, 4))
    np.testing.assert_array_equal(thin.times, every.times[3::4])
    np.testing.assert_array_equal(thin.available, every.available[3::4])
    np.testing.assert_array_equal(thin.states, every.states[..., 3::4, :])
    np.testing.assert_array_equal(vectors(thin), vectors(every)[..., 3::4, :, :])
    if method == "ginelli":
        means = every.rates.reshape(*every.rates.shape[:-2], 15, 4, 2).mean(axis=-2)
        np.testing.assert_allclose(thin.rates, means, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(thin.exponents, every.exponents)


@pytest.mark.parametrize("method", METHODS)
def test_stride_must_divide_the_window(method):
    with pytest.raises(InvalidInputError, match="intervals must be a multiple of stride = 7, got 20: take 14"):
        getattr(HENON, method)(ON_HENON, intervals=20, stride=7)


@pytest.mark.parametrize("numbers", [20, 170, 10**6])
@pytest.mark.parametrize("stride", [1, 4])
def test_results_do_not_depend_on_the_chunks_of_the_pass(monkeypatch, numbers, stride):
    run = {"intervals": 40, "warmup": 50, "tail": 60, "stride": stride}
    whole = HENON.ginelli([ON_HENON, [0.3, 0.2]], **run)
    monkeypatch.setattr(run_state, "CHUNK_NUMBERS", numbers)
    pieces = HENON.ginelli([ON_HENON, [0.3, 0.2]], **run)
    for name in ("times", "states", "vectors", "rates", "exponents"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(pieces, name))


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")  # too short to converge: only times count
@given(
    st.integers(0, 20), st.integers(0, 20), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.floats(-9, 9)
)
def test_times_are_whole_steps_whatever_the_lengths(warmup, tail, strides, stride, steps, t0):
    tangent = LinearFlow(np.diag([0.3, -0.2])).tangent(Euler(dt=0.1), t0=t0, backend="numpy")
    run = {"intervals": strides * stride, "steps_per_interval": steps, "warmup": warmup, "tail": tail, "stride": stride}
    for method in METHODS:
        found = getattr(tangent, method)(np.ones(2), **run)
        ends = (warmup + stride * np.arange(1, strides + 1)) * steps
        np.testing.assert_array_equal(found.times, t0 + ends * 0.1)
        np.testing.assert_array_equal(found.available, t0 + (ends + tail * steps) * 0.1)
        np.testing.assert_allclose(found.states, (1 + 0.1 * np.array([0.3, -0.2])) ** ends[:, None], rtol=1e-12)
        assert found.end.n == (warmup + strides * stride + tail) * steps
        assert vectors(found).shape == (strides, 2, 2)


def interrupt_after(intervals):
    """A progress report that presses Ctrl-C."""

    def progress(done, total):
        if done >= intervals:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("after", "whole"), [(70, 10), (81, 21), (99, 39)])
def test_ctrl_c_leaves_what_has_a_whole_tail_behind_it(monkeypatch, method, after, whole):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 1)  # one interval a call
    cocycle, exact = LinearCocycle.random(2, 300)
    run = {"intervals": 40, "warmup": 80, "tail": 60}
    complete = getattr(cocycle.tangent(), method)(np.zeros(2), **run)
    with pytest.warns(InterruptedWarning, match=rf"after {after} of 40 \+ 60 intervals .* {whole} intervals"):
        cut = getattr(cocycle.tangent(), method)(np.zeros(2), progress=interrupt_after(after), **run)
    np.testing.assert_array_equal(cut.times, complete.times[:whole])
    assert line_distance(vectors(cut), exact[cut.times.astype(int)]).max() < 1e-7


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_in_the_first_call_of_the_tail_loses_nothing_of_the_window(monkeypatch, method):
    cocycle, exact = LinearCocycle.random(2, 300)
    tangent, run = cocycle.tangent(), {"intervals": 90, "warmup": 80, "tail": 60}
    forward = type(tangent).forward

    def pressed(self, start, *, record, **options):
        if record == "R":
            raise KeyboardInterrupt
        return forward(self, start, record=record, **options)

    monkeypatch.setattr(type(tangent), "forward", pressed)
    with pytest.warns(InterruptedWarning, match=r"after 90 of 90 \+ 60 intervals .* 30 intervals"):
        cut = getattr(tangent, method)(np.zeros(2), **run)
    assert len(cut.times) == 30
    assert line_distance(vectors(cut), exact[cut.times.astype(int)]).max() < 1e-7


@pytest.mark.parametrize("after", [1, 30, 60])
def test_ctrl_c_before_anything_has_a_tail_is_ctrl_c(monkeypatch, after):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 1)
    with pytest.raises(KeyboardInterrupt):
        HENON.ginelli(ON_HENON, intervals=40, warmup=20, tail=60, progress=interrupt_after(after))


def test_progress_counts_window_and_tail():
    told = []
    HENON.ginelli(ON_HENON, intervals=40, warmup=20, tail=60, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (100, 100)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert {total for _, total in told} == {100}


def test_rounding_that_grows_over_a_long_stride_is_no_failure():
    clvs = HENON.ginelli(ON_HENON, intervals=60, warmup=50, tail=60, stride=12)  # e^(2.04 * 12) times 1e-16
    assert clvs.diagnostics.covariance_residual > 1e-8
    assert HENON.ginelli(ON_HENON, intervals=60, warmup=50, tail=60).diagnostics.covariance_residual < 1e-10
