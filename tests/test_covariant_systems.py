"""Covariant vectors of every built-in system, and of random cocycles: what must hold whatever the system."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import RK4, DiagnosticWarning, Euler
from dynsys.indicators import line_distance
from dynsys.models.activations import GELU, ReLU, Tanh
from dynsys.models.classics import Henon, LinearCocycle, LinearFlow, LinearMap, Logistic, Lorenz63, Lozi
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task


def network(activation, batches):
    flow = ThreeLayerGradientFlow(*regression_task(samples=60), hidden=2, activation=activation)
    tangent = (flow.minibatches(20, seed=1) if batches else flow).tangent(Euler(dt=1e-3))
    return tangent, flow.initial(members=1, seed=3)[0], {"intervals": 20, "warmup": 2000, "tail": 6000}


SHEAR = [[-0.5, 2.0, 1.0], [0.0, -1.5, 0.7], [0.0, 0.0, -3.0]]
SYSTEMS = {
    "Henon": lambda: (Henon().tangent(), [0.1, 0.1], {"warmup": 60, "tail": 60}),
    "Lozi": lambda: (Lozi().tangent(), [0.1, 0.1], {"warmup": 60, "tail": 60}),
    "Logistic": lambda: (Logistic().tangent(), [0.3], {"warmup": 10, "tail": 10}),
    "LinearMap": lambda: (LinearMap([[2.0, 1.0], [0.3, 0.5]]).tangent(), [0.0, 0.0], {"warmup": 60, "tail": 60}),
    "LinearFlow": lambda: (LinearFlow(SHEAR).tangent(RK4(dt=0.05)), np.ones(3), {"warmup": 900, "tail": 900}),
    "LinearCocycle": lambda: (LinearCocycle.random(6, 700)[0].tangent(), np.zeros(6), {"warmup": 200, "tail": 250}),
    "Lorenz63": lambda: (
        Lorenz63().tangent(RK4(dt=0.01)),
        [-1.2, -2.4, 13.1],
        {"warmup": 400, "tail": 600, "steps_per_interval": 5},
    ),
    "network tanh": lambda: network(Tanh(), batches=False),
    "network tanh, minibatches": lambda: network(Tanh(), batches=True),
    "network relu": lambda: network(ReLU(), batches=False),
    "network gelu": lambda: network(GELU(), batches=True),
}


@pytest.mark.filterwarnings("ignore:two:dynsys.DiagnosticWarning")  # networks: near-degenerate, as the labels say
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "network gelu")) for name in SYSTEMS]
)
def test_vectors_of_every_system_are_covariant_and_what_is_called_determined_is(name):
    tangent, x0, run = SYSTEMS[name]()
    run = {"intervals": 20} | run
    clvs = tangent.ginelli(x0, **run)
    found = clvs.diagnostics
    assert found.covariance_residual < 1e-10
    np.testing.assert_allclose(np.linalg.norm(clvs.vectors, axis=1), 1.0, rtol=1e-12)
    labels = found.subspaces
    single = labels == np.arange(len(labels))
    single[:-1] &= labels[1:] != labels[:-1]
    if "network" in name:
        assert single.sum() >= 2  # the fast directions; the slow ones are nearly degenerate
    else:
        assert single.all()
    assert found.start_agreement[single].max() < 1e-4
    assert found.frame_agreement[single].max() < 1e-4
    another = tangent.ginelli(x0, **run, seed=5)
    assert line_distance(another.vectors, clvs.vectors)[-1, single].max() < 1e-3


@settings(max_examples=40)
@given(st.integers(2, 7), st.integers(0, 2**20), st.floats(0.02, 0.3), st.integers(1, 4), st.booleans())
def test_random_cocycles_have_their_exact_vectors(dim, seed, eps, steps, flip):
    """A_n = S_{n+1} D S_n^{-1} with S = 1 + eps U(-1, 1), gaps of at least ln 1.5, and signs at will."""
    rng = np.random.default_rng(seed)
    rates = 1.5 ** np.arange(dim - 1, -1, -1) * rng.uniform(0.3, 2.0)
    D = np.diag(rates * np.where(flip, rng.choice([-1.0, 1.0], size=dim), 1.0))
    total = 90 * steps
    S = np.eye(dim) + eps * rng.uniform(-1, 1, size=(total + 1, dim, dim)) / dim
    cocycle = LinearCocycle(S[1:] @ D @ np.linalg.inv(S[:-1]))
    run = {"intervals": 10, "steps_per_interval": steps, "warmup": 40, "tail": 40}
    if steps == 1:
        run |= {"warmup": 68, "tail": 12}  # (2/3)^68 and (2/3)^12: the first is converged, the ends are not
    k = rng.integers(1, dim + 1)
    tangent = cocycle.tangent()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DiagnosticWarning)  # of the tail, which is short on purpose
        clvs = tangent.ginelli(np.zeros(dim), k=int(k), seed=seed, **run)
    exact = (S / np.linalg.norm(S, axis=1, keepdims=True))[clvs.times.astype(int)][..., :k]
    error = line_distance(clvs.vectors, exact)
    bound = 1.5 ** -(run["tail"] * steps)
    assert error.max() < 1e-10 + 1e3 * bound
    np.testing.assert_array_equal(clvs.times, (run["warmup"] + np.arange(1, 11)) * steps)
    assert (np.diff(clvs.times) > 0).all()
    # growth along a vector is exact as well: that of D, but for the lengths of the columns of S
    lengths = np.log(np.linalg.norm(S, axis=1))[clvs.times.astype(int)][:, :k]
    grown = steps * np.log(np.abs(np.diag(D)))[:k] + np.diff(lengths, axis=0)
    np.testing.assert_allclose(clvs.rates[1:] * steps, grown, rtol=0, atol=1e-9 + 1e3 * bound)
    assert clvs.diagnostics.covariance_residual < 1e-10


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_vectors_do_not_depend_on_how_often_frames_are_orthonormalised(steps):
    """The same times, reached by intervals of other lengths."""
    tangent = Lorenz63().tangent(RK4(dt=0.01))
    lengths = {"intervals": 200 // steps, "warmup": 2000 // steps, "tail": 3000 // steps}
    found = tangent.ginelli([-1.2, -2.4, 13.1], steps_per_interval=steps, **lengths)
    often = tangent.ginelli([-1.2, -2.4, 13.1], intervals=200, warmup=2000, tail=3000)
    np.testing.assert_array_equal(found.times, often.times[steps - 1 :: steps])
    assert line_distance(found.vectors, often.vectors[steps - 1 :: steps]).max() < 1e-9


@pytest.mark.numba  # 200,000 iterates
def test_angles_of_henon_reach_zero_and_those_of_lozi_do_not():
    run = {"intervals": 200_000, "warmup": 100, "tail": 100}
    henon = Henon().tangent().ginelli([0.1, 0.1], **run).angles[:, 0, 1]
    lozi = Lozi().tangent().ginelli([0.1, 0.1], **run).angles[:, 0, 1]
    assert henon.min() < 1e-3
    assert 0.01 < np.mean(henon < 0.05) < 0.02  # a density of about 0.3 per radian down to 0
    assert 1.3 < np.mean(henon < 0.04) / np.mean(henon < 0.03) < 1.4  # which is flat there: 4/3
    assert 0.5 < lozi.min() < 0.6  # far away from 0


def test_compiled_and_numpy_give_the_same_vectors_alone_and_together():
    run = {"intervals": 10, "steps_per_interval": 5, "warmup": 300, "tail": 600}
    starts = np.array([[-1.2, -2.4, 13.1], [1.0, 1.0, 20.0]])
    lorenz = Lorenz63()
    compiled = lorenz.tangent(RK4(dt=0.01)).ginelli(starts, **run)
    by_numpy = lorenz.tangent(RK4(dt=0.01), backend="numpy").ginelli(starts, **run)
    # chaos amplifies the rounding of the trajectories: e^(0.9 * 15) 1e-16
    assert np.abs(compiled.states - by_numpy.states).max() < 1e-4
    assert line_distance(compiled.vectors, by_numpy.vectors).max() < 1e-4
    for m, x0 in enumerate(starts):
        alone = lorenz.tangent(RK4(dt=0.01)).ginelli(x0, **run)
        assert line_distance(alone.vectors, compiled.vectors[m]).max() < 1e-4


def test_what_is_read_from_the_vectors_of_a_constant_map():
    """Vectors (1, 0, 0), (c, s, 0) and (0, 0, 1) turned: angles, a plane and a line, rates."""
    c, s = np.cos(0.3), np.sin(0.3)
    V = np.array([[1.0, c, 0.0], [0.0, s, 0.0], [0.0, 0.0, 1.0]])
    V = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0] @ V
    D = np.array([2.0, 0.7, 0.2])
    clvs = LinearMap(V @ np.diag(D) @ np.linalg.inv(V)).tangent().ginelli(np.zeros(3), intervals=4, warmup=80, tail=80)
    right = np.pi / 2
    np.testing.assert_allclose(clvs.angles[-1], [[0, 0.3, right], [0.3, 0, right], [right, right, 0]], atol=1e-12)
    np.testing.assert_allclose(clvs.cosines[-1], [[1, c, 0], [c, 1, 0], [0, 0, 1]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(clvs.principal_angles([0], [1]), np.full((4, 1), 0.3), rtol=1e-12)
    np.testing.assert_allclose(clvs.principal_angles([0, 1], [2]), np.full((4, 1), right), rtol=1e-12)
    np.testing.assert_allclose(clvs.principal_angles([0, 2], [1, 2])[0], [0.0, 0.3], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(clvs.finite_time_exponents(2), np.broadcast_to(np.log(D), (3, 3)), rtol=1e-11)
    np.testing.assert_allclose(clvs.finite_time_exponents()[-1], np.log(D), rtol=1e-11)
