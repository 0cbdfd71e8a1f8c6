"""Alignment indices against determinants, against the exponents, and where order is known."""

import numpy as np
import pytest

from dynsys import (
    GALI,
    RK4,
    DivergenceError,
    InterruptedWarning,
    InvalidInputError,
    SymbolicFlow,
)
from dynsys.models.classics import Henon, LinearCocycle, LinearFlow, LinearMap, Lorenz63
from dynsys.passes import run_state

HENON = Henon().tangent()
ON_HENON = [0.1, 0.1]


def by_definition(tangent, x0, k, intervals, steps, seed):
    """Unit vectors, pushed and never made orthogonal, and the square root of their Gram determinants."""
    W = run_state.RunState.start(np.array(x0), len(x0), k, seed).Q[0]
    x, found = np.array(x0, float), []
    for n in range(intervals * steps):
        x, W = tangent.step(n, x, W)
        if (n + 1) % steps == 0:
            W = W / np.linalg.norm(W, axis=0)
            found.append([np.prod(np.linalg.svd(W[:, :j])[1]) for j in range(1, k + 1)])
    return np.array(found)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("k", "steps"), [(3, 1), (3, 4), (2, 2), (1, 3)])
def test_indices_are_volumes_of_unit_vectors(backend, k, steps):
    tangent = Lorenz63().tangent(RK4(dt=0.01), backend=backend)
    exact = by_definition(tangent, [1.0, 1.0, 20.0], k, 20, steps, seed=3)
    found = tangent.gali([1.0, 1.0, 20.0], intervals=20, steps_per_interval=steps, k=k, seed=3)
    assert found.gali.shape == (20, k)
    np.testing.assert_allclose(found.gali, exact, rtol=1e-8)
    np.testing.assert_allclose(found.log_gali[:, 0], 0.0, atol=1e-13)
    np.testing.assert_allclose(found.times, 0.01 * steps * np.arange(1, 21), rtol=1e-14)


@pytest.mark.parametrize("rates", [[0.5, 0.2, -0.4], [1.0, -1.0, -3.0]])
def test_slopes_are_differences_of_the_exponents_however_small_the_index(rates):
    rates = np.array(rates)
    found = LinearMap(np.diag(np.exp(rates))).tangent().gali(np.zeros(3), intervals=2000)
    slope = found.log_gali[-1] - found.log_gali[-2]
    np.testing.assert_allclose(slope, -np.cumsum(rates[0] - rates), rtol=0, atol=1e-10)
    assert found.log_gali[-1, 2] < -1000  # beyond the range of floating point
    assert found.gali[-1, 2] == 0.0


def test_slopes_of_henon_are_those_of_its_exponents():
    intervals = 3000
    found = HENON.gali(ON_HENON, intervals=intervals, warmup=100)
    spectrum = HENON.benettin(ON_HENON, intervals=intervals, warmup=100)
    assert found.times[0] == 101.0
    gap = spectrum.exponents[0] - spectrum.exponents[1]
    assert found.log_gali[-1, 1] / intervals == pytest.approx(-gap, abs=10 / intervals)


def test_order_and_chaos_in_henon_and_heiles():
    """Two degrees of freedom: on a regular orbit GALI_2 stays of order one and GALI_4 falls like a power of time."""
    flow = SymbolicFlow.of({"x": "u", "y": "v", "u": "-x - 2*x*y", "v": "-y - x**2 + y**2"})
    tangent, run = flow.tangent(RK4(dt=0.05)), {"intervals": 1000, "steps_per_interval": 20}
    regular = tangent.gali([0.0, 0.55, 0.2417, 0.0], **run)
    chaotic = tangent.gali([0.0, -0.25, 0.42, 0.0], **run)
    assert regular.gali[500:, 1].min() > 1e-3
    assert chaotic.log_gali[-1, 1] < -20
    slope = np.polyfit(np.log(regular.times[50:]), regular.log_gali[50:, 3], 1)[0]
    assert -5 < slope < -3  # t^-4: Skokos et al., 2(k - N) for 2 N = k = 4


def test_stride_chunks_and_members_change_nothing(monkeypatch):
    whole = HENON.gali([ON_HENON, [0.3, 0.2]], intervals=60)
    thin = HENON.gali([ON_HENON, [0.3, 0.2]], intervals=60, stride=5)
    np.testing.assert_array_equal(thin.log_gali, whole.log_gali[:, 4::5])
    np.testing.assert_array_equal(thin.times, whole.times[4::5])
    monkeypatch.setattr(run_state, "CHUNK_NUMBERS", 20)
    np.testing.assert_array_equal(HENON.gali([ON_HENON, [0.3, 0.2]], intervals=60).log_gali, whole.log_gali)
    alone = HENON.gali([ON_HENON], intervals=60)
    np.testing.assert_allclose(alone.log_gali[0], whole.log_gali[0], rtol=0, atol=1e-9)


def test_a_run_begins_where_another_ended_with_new_vectors():
    end = HENON.benettin(ON_HENON, intervals=50, warmup=0).end
    continued = HENON.gali(end, intervals=30, seed=2)
    whole = HENON.gali(ON_HENON, intervals=30, warmup=50, seed=2)
    np.testing.assert_array_equal(continued.times, whole.times)
    np.testing.assert_array_equal(continued.log_gali, whole.log_gali)


def test_what_was_finished_is_kept_where_a_run_stops():
    tangent, escape = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent(), 40
    x0 = np.array([2.0 ** (1024 - escape), 0.0])  # doubled in every step: infinite after `escape` steps
    members = tangent.gali([[1.0, 1.0], x0], intervals=60)
    assert np.isfinite(members.log_gali[0]).all()
    assert np.isfinite(members.log_gali[1]).sum() == 2 * (escape - 1)
    with pytest.raises(DivergenceError) as caught:
        tangent.gali(x0, intervals=60)
    assert caught.value.partial.log_gali.shape == (escape - 1, 2)


def test_ctrl_c_keeps_the_finished_part(monkeypatch):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 1)

    def press(done, total):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.warns(InterruptedWarning, match="after 20 of 60 intervals.*new deviation vectors"):
        cut = HENON.gali(ON_HENON, intervals=60, progress=press)
    np.testing.assert_array_equal(cut.log_gali, HENON.gali(ON_HENON, intervals=60).log_gali[:20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"intervals": 0}, "intervals must be a whole number >= 1, got 0"),
        ({"intervals": 10, "k": 3}, "k must be at most the dimension 2, got 3"),
        ({"intervals": 10, "k": 0}, "k must be a whole number >= 1, got 0"),
        ({"intervals": 10, "stride": 3}, "intervals must be a multiple of stride = 3, got 10: take 9"),
        ({"intervals": 10, "warmup": -1}, "warmup must be a whole number >= 0, got -1"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(InvalidInputError, match=message):
        HENON.gali(ON_HENON, **options)


def test_records_survive_a_disk(tmp_path):
    found = LinearCocycle.random(3, 50)[0].tangent().gali(np.zeros(3), intervals=20)
    loaded = GALI.load(found.save(tmp_path / "gali.npz"))
    np.testing.assert_array_equal(loaded.log_gali, found.log_gali)
    assert repr(loaded) == "GALI(log_gali (20, 3))"


def test_a_rotation_keeps_every_volume():
    spin = LinearFlow([[0.0, 1.0], [-1.0, 0.0]]).tangent(RK4(dt=0.01))
    np.testing.assert_allclose(spin.gali([1.0, 0.0], intervals=100, steps_per_interval=5).gali, 1.0, rtol=1e-10)
