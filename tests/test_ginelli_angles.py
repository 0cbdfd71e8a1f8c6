"""Ginelli's algorithm without vectors: angles, rates and verdicts from R alone are those of the vectors."""

import shutil
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from dynsys import (
    RK4,
    CovariantAngles,
    CovariantVectors,
    DiagnosticWarning,
    DivergenceError,
    FallbackWarning,
    InvalidInputError,
    Map,
)
from dynsys.algorithms.checks.covariance import determined_subspaces
from dynsys.algorithms.window import planned_bytes
from dynsys.models.classics import Henon, LinearFlow, Lorenz96

LORENZ = Lorenz96(8)
PASSES = {"intervals": 120, "steps_per_interval": 5, "warmup": 300, "tail": 900}
START = np.random.default_rng(0).normal(size=8)
SAME = ("rates", "exponents", "times", "available")
SAME_CHECKS = (
    "start_agreement", "frame_agreement", "subspaces", "closest_time", "closest_pair", "near_tangencies",
    "smallest_gap", "tail_needed", "growth_defect", "step_error",
)  # fmt: skip


def both(tangent, x0, **options):
    return tangent.ginelli(x0, **options), tangent.ginelli(x0, vectors=False, **options)


def alike(full, alone):
    """Whether all that angles alone say is what the vectors say."""
    assert (type(full), type(alone)) == (CovariantVectors, CovariantAngles)
    np.testing.assert_allclose(alone.angles, full.angles, rtol=0, atol=1e-12)
    np.testing.assert_allclose(alone.cosines, full.cosines, rtol=0, atol=1e-12)
    for name in SAME:
        np.testing.assert_array_equal(getattr(alone, name), getattr(full, name))
    for name in SAME_CHECKS:
        np.testing.assert_allclose(
            getattr(alone.diagnostics, name), getattr(full.diagnostics, name), rtol=0, atol=1e-12, err_msg=name
        )
    np.testing.assert_allclose(alone.diagnostics.smallest_angle, full.diagnostics.smallest_angle, rtol=0, atol=1e-12)
    assert np.isnan(alone.diagnostics.covariance_residual).all()
    assert np.isnan(alone.diagnostics.neutral_angle).all()


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")  # the same of both
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("k", "stride"), [(8, 1), (3, 1), (3, 10)])
def test_angles_alone_are_those_of_the_vectors(k, stride, backend):
    full, alone = both(LORENZ.tangent(RK4(0.02), backend=backend), START, k=k, stride=stride, **PASSES)
    alike(full, alone)
    assert alone.coefficients.shape == (120 // stride, k, k)
    assert (np.tril(alone.coefficients, -1) == 0.0).all()
    np.testing.assert_allclose(np.linalg.norm(alone.coefficients, axis=-2), 1.0, rtol=1e-14)
    if k == 3:
        np.testing.assert_allclose(
            alone.principal_angles([0, 1], [2]), full.principal_angles([0, 1], [2]), rtol=0, atol=1e-12
        )
        np.testing.assert_array_equal(alone.finite_time_exponents(4), full.finite_time_exponents(4))


def test_coefficients_are_those_of_the_frames():
    """The same run of two passes: vectors are the frames times the coefficients."""
    full, alone = both(LORENZ.tangent(RK4(0.02)), START, k=3, **PASSES)
    gram = np.swapaxes(alone.coefficients, -1, -2) @ alone.coefficients
    np.testing.assert_allclose(gram, np.swapaxes(full.vectors, -1, -2) @ full.vectors, rtol=0, atol=1e-13)


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")
def test_members_that_stop_are_marked_and_the_others_go_on():
    x0 = [[0.1, 0.1], [50.0, 0.0], [0.3, 0.2]]
    full, alone = both(Henon().tangent(), x0, intervals=40, warmup=0, tail=60)
    alike(full, alone)
    assert np.isnan(alone.angles[1, :, 0, 1]).all()
    assert np.isfinite(alone.angles[::2, :, 0, 1]).all()


def test_a_run_that_diverges_keeps_the_angles_that_are_known():
    class Escaping(Map):
        dimension = 2

        def step(self, n, x):
            return x * np.where(n < 300, 1.0, 1e300) + [1.0, 0.0]

        def jacobian(self, t, x):
            return np.array([[2.0, 1.0 + np.sin(t)], [0.0, 0.5]]) * np.where(t < 300, 1.0, 1e300)

    found = []
    for vectors in (True, False):
        with pytest.raises(DivergenceError) as caught:
            Escaping().tangent().ginelli([0.0, 0.0], intervals=300, warmup=50, tail=60, vectors=vectors)
        found.append(caught.value.partial)
    alike(*found)
    assert 0 < len(found[1].times) < 300


def test_they_are_saved_loaded_labelled_and_printed(tmp_path):
    alone = LORENZ.tangent(RK4(0.02)).ginelli(START, k=3, vectors=False, **PASSES)
    again = CovariantAngles.load(alone.save(tmp_path / "angles.npz"))
    np.testing.assert_array_equal(again.angles, alone.angles)
    with pytest.raises(InvalidInputError, match="does not hold a CovariantVectors"):
        CovariantVectors.load(tmp_path / "angles.npz")
    labelled = alone.to_xarray()
    assert labelled.coefficient.dims == ("time", "frame_vector", "vector")
    np.testing.assert_array_equal(labelled.rate, alone.rates)
    assert "ginelli, angles alone" in str(alone)
    assert repr(alone).startswith("CovariantAngles(coefficients (120, 3, 3), ginelli, angles alone")


def test_memory_is_that_of_the_plan_and_does_not_grow_with_the_dimension():
    plan = planned_bytes(2, 10**6, 5, 100, 50, 10, vectors=False)
    assert plan == 8 * 2 * (10 * (25 + 5) + 150 * 15)
    small, large = (planned_bytes(1, dim, 5, 100, 50, vectors=False) for dim in (10, 10**7))
    assert small == large
    alone = LORENZ.tangent(RK4(0.02)).ginelli(START, k=3, vectors=False, **PASSES)
    assert alone.diagnostics.planned_bytes == planned_bytes(1, 8, 3, 120, PASSES["tail"], vectors=False)


class Wide(Map):
    """Shrinks every component at its own rate, and turns neighbours."""

    dimension = 20_000

    def step(self, n, x):
        return 0.5 * np.roll(x, 1)

    def jvp(self, t, x, V):
        return np.linspace(1.0, 0.5, self.dimension)[:, None] * np.roll(V, 1, axis=0)


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")
def test_a_run_without_vectors_takes_some_frames_of_memory():
    options = {"intervals": 100, "warmup": 2, "tail": 20, "k": 2}
    frame, peaks = 8 * 2 * Wide.dimension, []
    for vectors in (True, False):
        tracemalloc.start()
        Wide().tangent().ginelli(np.ones(Wide.dimension), vectors=vectors, **options)
        peaks.append(tracemalloc.get_traced_memory()[1] / frame)
        tracemalloc.stop()
    assert peaks[0] > 150  # vectors and states of 100 times
    assert peaks[1] < 30


def test_a_plan_that_is_too_large_names_the_remedy_before_the_run(monkeypatch):
    tangent = LORENZ.tangent(RK4(0.02))
    options = {"intervals": 10, "warmup": 0, "tail": 10, "memory_limit": 1000}

    def stepped(*args, **kwargs):
        raise AssertionError("a step was taken")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=500))
        patch.setattr(type(tangent), "forward", stepped)
        with pytest.raises(InvalidInputError, match=r"the plan asks for .*without the vectors \(vectors=False"):
            tangent.ginelli(START, **options)
        with pytest.raises(InvalidInputError, match="the plan asks for") as caught:
            tangent.ginelli(START, vectors=False, **options)
        assert "vectors=False" not in str(caught.value)
    with pytest.warns(FallbackWarning, match=r"vectors=False"), pytest.warns(DiagnosticWarning):
        tangent.ginelli(START, **options)


def test_all_followed_vectors_together_are_determined_unless_they_are_all_there_are():
    """Three coefficients that two starts agree on as a span alone: a subspace of R^8, and nothing in R^3."""
    rng = np.random.default_rng(1)
    one, other = (np.linalg.qr(rng.normal(size=(1, 3, 3)))[0] for _ in range(2))
    agree = np.array([[False, False, True]])
    assert determined_subspaces(one, other, agree, 1e-4, 8).tolist() == [[0, 0, 0]]
    assert determined_subspaces(one, other, agree, 1e-4).tolist() == [[-1, -1, -1]]


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")
def test_directions_that_are_not_followed_count_without_vectors_too():
    """Vectors 2 and 3 of four have one exponent: with k = 2 the second is not known, with or without vectors."""
    tangent = LinearFlow(np.diag([0.5, -0.1, -0.1, -1.0])).tangent(RK4(0.1))
    full, alone = both(tangent, np.zeros(4), intervals=20, warmup=60, tail=60, k=2)
    assert full.diagnostics.subspaces.tolist() == alone.diagnostics.subspaces.tolist()
    assert alone.diagnostics.subspaces[1] == -1
