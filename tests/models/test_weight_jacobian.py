"""The Jacobian of the network: four derivations agree, and a wrong sign in any block is seen."""

import numpy as np
import pytest
from scipy.special import erf

from dynsys import RK4, ContractError, Euler
from dynsys.algorithms.differences import finite_difference
from dynsys.models.activations import GELU, Linear, ReLU, Sigmoid, Tanh
from dynsys.models.networks.three_layer import jacobian as paper
from dynsys.models.networks.three_layer.check import complex_step_jacobian
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
from dynsys.testing import check_system, check_tangent

SIZES = [(2, 2, 1), (3, 4, 2), (1, 5, 3)]
KINDS = [Linear, ReLU, Tanh, Sigmoid, GELU]


def problem(sizes, kind, reduction="mean", samples=8):
    """A network and a state whose hidden units stay away from the kink of ReLU, for every sample."""
    n1, n2, n3 = sizes
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(samples, n1)), rng.normal(size=(samples, n3))
        flow = ThreeLayerGradientFlow(X, y, hidden=n2, activation=kind(), reduction=reduction)
        theta = rng.normal(size=flow.dimension)
        w21, _, b1, _ = flow.layout.unpack(theta)
        if np.abs(X @ w21 + b1).min() > 0.03:
            return flow, theta
    raise AssertionError("no problem away from the kink")


def batch(flow, minibatch):
    return flow.minibatches(size=3, seed=1).flow_at(5) if minibatch else flow


def assert_agree(a, b, tolerance):
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


@pytest.mark.parametrize("minibatch", [False, True], ids=["full", "minibatch"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_four_derivations_of_the_jacobian_agree(sizes, kind, reduction, minibatch):
    flow, theta = problem(sizes, kind, reduction)
    flow = batch(flow, minibatch)
    identity = np.eye(flow.dimension)
    closed = flow.jacobian(0.0, theta)
    assert_agree(closed, closed.T, 1e-14)
    assert_agree(flow.symbolic_jacobian(theta), closed, 1e-11)
    assert_agree(flow.jvp(0.0, theta, identity), closed, 1e-11)
    assert_agree(complex_step_jacobian(flow, theta), closed, 1e-11)


def test_batches_and_reductions_scale_the_sum_over_samples():
    """The Jacobian of a batch is the sum over its samples, or that over their number."""
    flow, theta = problem((3, 4, 2), GELU, "sum")
    singles = [
        ThreeLayerGradientFlow(flow.X[s : s + 1], flow.y[s : s + 1], hidden=4, activation=GELU()).jacobian(0.0, theta)
        for s in range(8)
    ]
    mean = ThreeLayerGradientFlow(flow.X, flow.y, hidden=4, activation=GELU())
    rows = flow.minibatches(size=3, seed=1).rows(5)[0]
    assert_agree(flow.jacobian(0.0, theta), np.sum(singles, axis=0), 1e-14)
    assert_agree(mean.jacobian(0.0, theta), np.mean(singles, axis=0), 1e-14)
    assert_agree(batch(mean, True).jacobian(0.0, theta), np.mean(np.array(singles)[rows], axis=0), 1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_of_one_output_is_curvature_minus_outer_product(kind):
    """J = 2 e Hessian(f) - 2 g g^T for one sample, with g = grad f: exact g by complex steps, Hessian from those."""
    flow, theta = problem((3, 4, 1), kind, samples=1)
    sigma = {
        Linear: lambda d: d,
        ReLU: lambda d: np.where(d.real > 0, d, 0),
        Tanh: np.tanh,
        Sigmoid: lambda d: 1 / (1 + np.exp(-d)),
        GELU: lambda d: d * (1 + erf(d / 2**0.5)) / 2,
    }[kind]

    def output(z):
        hidden = [sigma(sum(z[..., 4 * i + j] * flow.X[0, i] for i in range(3)) + z[..., 16 + j]) for j in range(4)]
        return sum(z[..., 12 + j] * hidden[j] for j in range(4)) + z[..., 20]

    def gradient(z):
        return output(z[..., None, :] + 1e-30j * np.eye(21)).imag / 1e-30

    g, error = gradient(theta), flow.y[0, 0] - output(theta)
    hessian = finite_difference(gradient, theta, np.eye(21))
    assert_agree(flow.jacobian(0.0, theta), 2 * error * hessian - 2 * np.outer(g, g), 1e-9)


@pytest.mark.parametrize("kind", [ReLU, Linear])
@pytest.mark.parametrize("sizes", SIZES)
def test_trace_without_curvature_is_minus_twice_the_squared_gradient_of_the_outputs(sizes, kind):
    """tr J = -2 <N3 (1 + sum_j sigma_j^2) + sum_j sigma'_j^2 |v_j|^2 (1 + |x|^2)>: at most -2 N3."""
    flow, theta = problem(sizes, kind)
    w21, w32, b1, _ = flow.layout.unpack(theta)
    d = flow.X @ w21 + b1
    on = np.ones_like(d) if kind is Linear else 1.0 * (d > 0)
    outputs = sizes[2] * (1 + ((on * d) ** 2).sum(axis=1))
    inputs = (on @ (w32**2).sum(axis=1)) * (1 + (flow.X**2).sum(axis=1))
    assert np.trace(flow.jacobian(0.0, theta)) == pytest.approx(-2 * np.mean(outputs + inputs), rel=1e-13)


@pytest.mark.parametrize("number", paper.BLOCKS)
def test_wrong_sign_in_any_block_is_detected(number, monkeypatch):
    flow, theta = problem((3, 4, 2), GELU)
    check_system(flow, theta)
    block, right = paper.block_slices(flow.layout)[number], paper.jacobian

    def wrong(*arguments):
        J = right(*arguments)
        J[block] *= -1.0
        return J

    symbolic = flow.symbolic_jacobian(theta)
    monkeypatch.setattr(paper, "jacobian", wrong)
    difference = np.abs(flow.jacobian(0.0, theta) - symbolic) > 1e-11 * np.abs(symbolic).max()
    assert difference[block].any()
    difference[block] = False
    assert not difference.any()
    with pytest.raises(ContractError, match="jacobian of ThreeLayerGradientFlow"):
        check_system(flow, theta)


def test_blocks_tile_the_jacobian():
    flow, _ = problem((3, 4, 2), Tanh)
    count = np.zeros((26, 26), dtype=int)
    for block in paper.block_slices(flow.layout).values():
        count[block] += 1
    assert sorted(paper.BLOCKS) == list(range(8, 24))
    assert np.all(count == 1)


@pytest.mark.numba
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("sizes", "kind"),
    [
        *(pytest.param((2, 2, 1), kind, marks=[pytest.mark.slow] * (kind is not ReLU)) for kind in KINDS),
        ((3, 4, 2), Tanh),
        pytest.param((1, 5, 3), Tanh, marks=pytest.mark.slow),
    ],
)
def test_compiled_step_and_frame_equal_those_of_numpy(sizes, kind, reduction):
    flow, theta = problem(sizes, kind, reduction)
    check_tangent(flow.tangent(Euler(1e-3), backend="numba"), theta)
    check_tangent(flow.minibatches(size=3, seed=1).tangent(Euler(1e-3), backend="numba"), theta)


@pytest.mark.slow
@pytest.mark.numba
def test_compiled_stages_of_rk4_equal_those_of_numpy():
    flow, theta = problem((2, 2, 1), Tanh)
    check_tangent(flow.minibatches(size=3, seed=1).tangent(RK4(0.02), backend="numba"), theta, steps=10)
