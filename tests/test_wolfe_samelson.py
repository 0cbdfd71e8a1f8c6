"""The second way to covariant vectors against the first; backward, forward and adjoint ones against exact ones."""

import numpy as np
import pytest

from dynsys import RK4, DivergenceError, Euler, InvalidInputError, LyapunovVectors
from dynsys.indicators import line_distance, subspace_distance
from dynsys.models.activations import Tanh
from dynsys.models.classics import Henon, LinearCocycle, LinearFlow, LinearMap, Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task

LORENZ = Lorenz63().tangent(RK4(dt=0.01))
ON_LORENZ = [-1.2, -2.4, 13.1]
LORENZ_RUN = {"intervals": 200, "steps_per_interval": 5, "warmup": 400, "tail": 600}
OBLIQUE = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0] @ (
    np.eye(4) + np.triu(np.random.default_rng(2).normal(size=(4, 4)), 1)
)
NON_NORMAL = OBLIQUE @ np.diag([3.0, 1.5, 0.6, 0.2]) @ np.linalg.inv(OBLIQUE)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_two_ways_agree_on_lorenz(backend):
    tangent = Lorenz63().tangent(RK4(dt=0.01), backend=backend)
    run = {**LORENZ_RUN, "intervals": 40, "warmup": 300}
    first, second = tangent.ginelli(ON_LORENZ, **run), tangent.wolfe_samelson(ON_LORENZ, **run)
    np.testing.assert_array_equal(first.times, second.times)
    np.testing.assert_array_equal(first.available, second.available)
    np.testing.assert_array_equal(first.states, second.states)
    assert 0 < line_distance(second.covariant, first.vectors).max() < 1e-6  # another way: not the same bits


@pytest.mark.parametrize(("dim", "k"), [(3, 3), (8, 8), (8, 3), (20, 20), (20, 1)])
def test_both_ways_are_exact_on_a_cocycle(dim, k):
    cocycle, exact = LinearCocycle.random(dim, 1300)
    run = {"intervals": 20, "warmup": 600, "tail": 650, "k": k}
    tangent = cocycle.tangent()
    first, second = tangent.ginelli(np.zeros(dim), **run), tangent.wolfe_samelson(np.zeros(dim), **run)
    there = exact[first.times.astype(int)][..., :k]
    assert line_distance(first.vectors, there).max() < 1e-10
    assert line_distance(second.covariant, there).max() < 1e-6


def test_where_exponents_nearly_coincide_their_common_subspace_agrees():
    matrix = np.diag([2.0, 1.0, 1.0 - 1e-7, 0.3])
    turned = OBLIQUE @ matrix @ np.linalg.inv(OBLIQUE)
    tangent, run = LinearMap(turned).tangent(), {"intervals": 3, "warmup": 80, "tail": 80}
    with pytest.warns(UserWarning, match=r"reliable: vector\(s\) 1, 4 and the common span of 2-3"):
        first = tangent.ginelli(np.zeros(4), **run)
    second = tangent.wolfe_samelson(np.zeros(4), **run)
    assert first.diagnostics.subspaces.tolist() == [0, 1, 1, 3]
    assert line_distance(second.covariant, first.vectors)[..., [0, 3]].max() < 1e-10
    assert line_distance(second.covariant, first.vectors)[..., 1:3].max() > 1e-3
    spans = [np.linalg.qr(vectors[..., 1:3])[0] for vectors in (first.vectors, second.covariant)]
    assert subspace_distance(*spans)[..., -1].max() < 1e-10


def test_backward_and_forward_vectors_of_a_constant_map():
    """Backward ones orthonormalise the eigenvectors from the fastest on, forward ones the left ones (M's transpose)."""
    vectors = LinearMap(NON_NORMAL).tangent().wolfe_samelson(np.zeros(4), intervals=2, warmup=90, tail=90)
    assert line_distance(vectors.backward, np.linalg.qr(OBLIQUE)[0]).max() < 1e-12
    assert line_distance(vectors.forward, np.linalg.qr(np.linalg.inv(OBLIQUE).T)[0]).max() < 1e-12
    assert line_distance(vectors.covariant, OBLIQUE / np.linalg.norm(OBLIQUE, axis=0)).max() < 1e-12
    assert line_distance(vectors.forward, vectors.backward).min() > 1e-2


def test_forward_vectors_of_lorenz_are_singular_vectors_of_the_far_future():
    vectors = LORENZ.wolfe_samelson(ON_LORENZ, **{**LORENZ_RUN, "intervals": 5})
    x, M = vectors.states[0], np.eye(3)
    for n in range(round(vectors.times[0] / 0.01), round(vectors.times[0] / 0.01) + 1000):
        x, M = LORENZ.step(n, x, M)
    leading = np.linalg.svd(M)[2][:1].T  # the others drown in the rounding of M, whose condition is e^(15 * 10)
    assert line_distance(leading, vectors.forward[0, :, :1])[0] < 1e-2  # e^(-0.9 * 10), but for fluctuations
    assert line_distance(leading, vectors.backward[0, :, :1])[0] > 0.1
    identity = np.swapaxes(vectors.forward, -1, -2) @ vectors.forward
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-12)
    # the last covariant vector is the last forward one, the first the first backward one
    assert line_distance(vectors.covariant[..., 2:], vectors.forward[..., 2:]).max() < 1e-10
    assert line_distance(vectors.covariant[..., :1], vectors.backward[..., :1]).max() < 1e-14


def test_forward_vectors_need_all_of_the_frame_and_covariant_ones_do_not():
    full, leading = (LORENZ.wolfe_samelson(ON_LORENZ, k=k, **LORENZ_RUN) for k in (None, 2))
    assert leading.forward.shape == (200, 3, 0)
    assert full.forward.shape == (200, 3, 3)
    assert line_distance(leading.covariant, full.covariant[..., :2]).max() < 1e-9


@pytest.mark.parametrize("system", ["Lorenz", "cocycle", "network"])
def test_adjoint_vectors_are_biorthogonal_and_covariant_under_the_transpose(system):
    if system == "Lorenz":
        tangent, x0, run = LORENZ, ON_LORENZ, {**LORENZ_RUN, "steps_per_interval": 1, "tail": 3000, "warmup": 2000}
    elif system == "cocycle":
        tangent, x0, run = LinearCocycle.random(8, 600)[0].tangent(), np.zeros(8), {"intervals": 20, "warmup": 260}
        run["tail"] = 270
    else:  # a symmetric Jacobian with spread rates: a minimum of the loss would do, here a linear flow
        H = np.diag(np.linspace(0.5, -3.0, 6)) + 0.2 * np.triu(np.ones((6, 6)), 1)
        tangent, x0 = LinearFlow(H).tangent(Euler(dt=0.1)), np.zeros(6)
        run = {"intervals": 5, "warmup": 600, "tail": 600}
    clvs = tangent.ginelli(x0, **run)
    adjoint, vectors = clvs.adjoint, clvs.vectors
    products = np.swapaxes(adjoint, -1, -2) @ vectors
    off = ~np.eye(products.shape[-1], dtype=bool)
    assert np.abs(products[:, off]).max() < 1e-8
    np.testing.assert_allclose(np.linalg.norm(adjoint, axis=-2), 1.0, rtol=1e-12)
    first = round(clvs.times[0] / clvs.dt)
    for i in range(3):  # M^T w(n + 1) is parallel to w(n)
        M = tangent.step(first + i, clvs.states[i], np.eye(len(x0)))[1]
        assert line_distance(M.T @ adjoint[i + 1], adjoint[i]).max() < 1e-8


def test_adjoint_vectors_need_all_covariant_ones():
    clvs = LORENZ.ginelli(ON_LORENZ, k=2, **LORENZ_RUN)
    with pytest.raises(InvalidInputError, match="adjoint vectors need all 3 covariant vectors, got k = 2"):
        _ = clvs.adjoint


def test_members_that_stop_keep_what_has_a_tail_and_lose_the_rest():
    tangent, run = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent(), {"intervals": 30, "warmup": 80, "tail": 80}
    escape = 175  # infinite after so many steps
    x0 = np.array([[1.0, 1.0], [2.0 ** (1024 - escape), 0.0]])
    vectors = tangent.wolfe_samelson(x0, **run)
    for name in ("backward", "forward", "covariant"):
        found = getattr(vectors, name)
        assert np.isfinite(found[0]).all()
        assert np.isfinite(found[1, :14]).all()
        assert np.isnan(found[1, 14:]).all()
    with pytest.raises(DivergenceError) as caught:
        tangent.wolfe_samelson(x0[1], **run)
    assert caught.value.partial.covariant.shape == (14, 2, 2)


def test_records_survive_a_disk(tmp_path):
    vectors = Henon().tangent().wolfe_samelson([0.1, 0.1], intervals=4, warmup=50, tail=50)
    loaded = LyapunovVectors.load(vectors.save(tmp_path / "vectors.npz"))
    for name in ("times", "backward", "forward", "covariant"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(vectors, name))
    assert "covariant (4, 2, 2)" in repr(loaded)


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")  # near-degenerate: only subspaces are determined
def test_the_two_ways_agree_on_a_network_where_vectors_are_determined():
    flow = ThreeLayerGradientFlow(*regression_task(samples=50), hidden=2, activation=Tanh())
    tangent = flow.tangent(Euler(dt=1e-3))
    x0 = flow.initial(members=1, seed=3)[0]
    run = {"intervals": 4, "steps_per_interval": 5, "warmup": 1000, "tail": 4000}
    first, second = tangent.ginelli(x0, **run), tangent.wolfe_samelson(x0, **run)
    labels = first.diagnostics.subspaces
    blocks = [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]
    assert len(blocks) >= 3
    for block in blocks:
        spans = [np.linalg.qr(vectors[..., block])[0] for vectors in (first.vectors, second.covariant)]
        assert subspace_distance(*spans)[-1, -1] < 1e-3  # the labels hold at the last time, to 1e-4
