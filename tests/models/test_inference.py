"""Estimated Jacobians and sparse regression: exact where they must be, and honest about what a run does not tell."""

import numpy as np
import pytest

from dynsys.models.activations import Linear, ReLU, Tanh
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.models.weight_dynamics.paper import inference, sparse_regression
from dynsys.models.weight_dynamics.paper.inference import STENCILS, differences, local_fit
from dynsys.models.weight_dynamics.paper.sparse_regression import (
    exact_coefficients,
    library,
    monomials,
    sparse_coefficients,
)

TASK = regression_task(samples=20, seed=9)
RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 4))
B = RNG.normal(size=(4, 4, 4))


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch):
    """NumPy, which is quicker here than a compiler."""
    monkeypatch.setattr(ThreeLayerGradientFlow, "batch_kernel", lambda *_: None)


def quadratic(x):
    return x @ A.T + np.einsum("ijk,...j,...k->...i", B, x, x)


@pytest.mark.parametrize("stencil", STENCILS)
def test_differences_are_exact_for_a_quadratic_field_and_of_the_order_of_their_stencil_beyond(stencil):
    x = RNG.normal(size=(3, 4))
    exact = A + np.einsum("ijk,nk->nij", B + B.swapaxes(1, 2), x)
    np.testing.assert_allclose(differences(quadratic, x, 0.1, stencil), exact, atol=1e-12)
    order = {"Richardson": 4}.get(stencil, 2)
    errors = [np.abs(differences(np.sin, x, h, stencil) - np.cos(x)[..., None] * np.eye(4)).max() for h in (0.1, 0.05)]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.02)
    assert sum(STENCILS[stencil].values()) == pytest.approx(1.0)


def test_differences_of_the_network_are_its_jacobian():
    flow = ThreeLayerGradientFlow(*TASK, activation=Tanh())
    x = flow.initial(biases="random", members=3, seed=1)
    exact = [flow.jacobian(0.0, state) for state in x]
    estimate = differences(lambda z: flow.vector_field(0.0, z), x, 1e-3, "Richardson")
    np.testing.assert_allclose(estimate, exact, atol=1e-8)


def test_a_linear_field_is_told_exactly_in_the_directions_that_the_points_explore():
    directions = np.linalg.qr(RNG.normal(size=(4, 2)))[0]
    states = RNG.normal(size=(50, 2)) * [1.0, 0.1] @ directions.T + 3.0
    found, spread, images = local_fit(states, states @ A.T + 5.0, at=7, bandwidth=2.0)
    assert (spread > 1e-12).sum() == 2
    np.testing.assert_allclose(found[:, :2] @ found[:, :2].T, directions @ directions.T, atol=1e-12)
    np.testing.assert_allclose(images[:, :2], A @ found[:, :2], atol=1e-10)


def test_the_fit_of_a_quadratic_field_is_first_order_in_the_bandwidth():
    states = RNG.normal(size=(4000, 4))
    states[0] = 0.3
    errors = []
    for size in (0.1, 0.05):
        near = states[0] + size * (states - states[0])
        directions, _, images = local_fit(near, quadratic(near), at=0, bandwidth=size)
        errors.append(np.abs(images @ directions.T - A - np.einsum("ijk,k->ij", B + B.swapaxes(1, 2), states[0])).max())
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.05)
    assert errors[1] < 0.2


def test_far_points_have_no_weight():
    states = RNG.normal(size=(30, 4))
    velocities = states @ A.T
    far = np.concatenate([states, 100.0 + states]), np.concatenate([velocities, 7.0 + 0 * states])
    for one, other in zip(local_fit(states, velocities, 3, 1.0), local_fit(*far, 3, 1.0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_errors_by_direction_are_those_of_projections():
    found = inference.fits_along_runs(*TASK, activations=("tanh",), members=1, times=(0.1,), bandwidths=(0.05,), seed=2)
    flow = ThreeLayerGradientFlow(*TASK, activation=Tanh())
    cell = found.isel(activation=0, time=0, bandwidth=0, member=0)
    # one direction of a full-batch run, the velocity: J f is the derivative of the velocity along the run
    assert float(cell.error.sel(source="full batch", directions=1, jacobian="step")) < 0.02
    assert float(cell.error.sel(source="full batch", directions=9, jacobian="step")) > 1
    np.testing.assert_allclose(cell.share.sel(directions=9), 1.0)
    assert (np.diff(cell.share, axis=1) > 0).all()
    assert (np.diff(cell.spread, axis=1) <= 0).all()
    np.testing.assert_array_equal(cell.error.sel(jacobian="step"), cell.error.sel(jacobian="with kinks"))
    assert flow.dimension == found.sizes["directions"]


def test_identified_counts_directions_up_to_the_first_error_above_the_tolerance():
    found = inference.fits_along_runs(*TASK, activations=("tanh",), members=2, times=(0.05,), bandwidths=(0.1, 0.3))
    cell = {"activation": 0, "source": 2, "time": 0, "jacobian": 0}
    errors = found.error.isel(cell).median("member").values  # (bandwidth, directions)
    counts = [next((k for k, error in enumerate(row) if not error <= 0.2), 9) for row in errors]
    best = inference.identified(found).isel(cell)
    assert int(best.directions) == max(counts)
    if max(counts):
        assert float(best.error) in errors[:, max(counts) - 1]
    header, rows = inference.fits_table(found)
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(header)}


def test_large_differences_of_relu_reach_across_kinks_and_tend_to_the_jacobian_with_them():
    task = regression_task(samples=500, seed=9)
    data = inference.direct_derivatives(*task, members=5, times=(0.05,), steps=(1e-6, 3e-2))
    relu, tanh = (data.sel(activation=name, time=0.05).median("member") for name in ("relu", "tanh"))
    small, large = (relu.error.sel(stencil="least squares", step=step) for step in (1e-6, 3e-2))
    assert float(small.sel(jacobian="step")) < 1e-8
    assert float(large.sel(jacobian="with kinks")) < 0.6 * float(large.sel(jacobian="step"))
    assert float(small.sel(jacobian="with kinks")) > 0.1
    assert float(relu.kinks) > 0.1
    assert not tanh.kinks
    assert (tanh.error.sel(stencil="Richardson", step=3e-2) < 1e-5).all()
    header, rows = inference.direct_table(data)
    assert len(rows) == 2 * len(STENCILS)
    assert {len(row) for row in rows} == {len(header)}


def test_the_library_holds_every_monomial_once():
    assert len(monomials(9)) == 220
    assert len(set(monomials(9))) == 220
    x = RNG.normal(size=(5, 3))
    by_hand = [np.ones(5), *x.T, x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 0] * x[:, 2], x[:, 1] ** 2, x[:, 1] * x[:, 2]]
    np.testing.assert_allclose(library(x, 2).T, [*by_hand, x[:, 2] ** 2])


def test_sparse_regression_recovers_a_sparse_polynomial_system_exactly():
    def lorenz(x, y, z):
        return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], axis=-1)

    x = 10 * RNG.normal(size=(400, 3))
    C = sparse_coefficients(library(x), lorenz(*x.T), threshold=1e-3)
    names = monomials(3)
    expected = np.zeros((20, 3))
    for factors, equation, value in [
        ((0,), 0, -10), ((1,), 0, 10), ((0,), 1, 28), ((1,), 1, -1), ((0, 2), 1, -1), ((0, 1), 2, 1), ((2,), 2, -8 / 3),
    ]:  # fmt: skip
        expected[names.index(factors), equation] = value
    np.testing.assert_allclose(C, expected, atol=1e-10)
    np.testing.assert_array_equal(C != 0, expected != 0)


def test_a_high_threshold_leaves_nothing_and_none_is_least_squares():
    x, f = RNG.normal(size=(60, 2)), RNG.normal(size=(60, 2))
    assert not sparse_coefficients(library(x), f, 100.0).any()
    exact = np.linalg.lstsq(library(x), f, rcond=None)[0]
    np.testing.assert_allclose(sparse_coefficients(library(x), f, 0.0), exact, atol=1e-12)


@pytest.mark.parametrize("activation", [ReLU(), Linear()])
def test_while_no_gate_changes_the_velocity_is_a_polynomial_of_98_terms(activation):
    flow = ThreeLayerGradientFlow(*TASK, activation=activation)
    x = flow.initial(biases="random", seed=4)
    C = exact_coefficients(flow, x)
    near = x + 1e-6 * RNG.normal(size=(20, 9))
    np.testing.assert_allclose(library(near) @ C, flow.vector_field(0.0, near), atol=1e-10)
    # w_j and b_j: v_j (mean of y, c, and v_l d_l: 3 weights each); v_j: d_j (y, c, v_l d_l), with d_j^2 symmetric
    np.testing.assert_array_equal(np.count_nonzero(C, axis=0), [8, 8, 8, 8, 21, 21, 8, 8, 8])
    moments = flow.activation.dsigma(flow.X @ x[:4].reshape(2, 2) + x[6:8])
    assert C[monomials(9).index((4,)), 0] == pytest.approx(2 * np.mean(moments[:, 0] * flow.X[:, 0] * flow.y[:, 0]))
    assert C[monomials(9).index((8,)), 8] == pytest.approx(-2.0)
    far = x + 3 * RNG.normal(size=(20, 9))
    close = np.allclose(library(far) @ C, flow.vector_field(0.0, far))
    assert close == isinstance(activation, Linear)


@pytest.mark.slow
def test_regression_finds_the_equations_of_a_linear_network_and_not_those_of_relu():
    data = sparse_regression.regressions(
        *TASK, activations=("linear", "relu"), members=40, held_out=4, time=0.4, rate=1e-2, thresholds=(1e-4, 0.3)
    )
    linear, relu = data.sel(activation="linear"), data.sel(activation="relu")
    assert int(linear.terms[0]) == int(linear.exact) == int(relu.exact) == 98
    for error in (linear.fitted, linear.held_out, linear.jacobian):
        assert float(error[0]) < 1e-9
    assert (relu.held_out > 0.2).all()
    assert int(relu.terms[0]) > 1000
    header, rows = sparse_regression.table(data)
    assert len(rows) == 4
    assert {len(row) for row in rows} == {len(header)}
