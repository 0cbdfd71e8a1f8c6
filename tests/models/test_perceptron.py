"""Perceptrons and losses: the order of the state, derivatives by independent ways, gates."""

import attrs
import numpy as np
import pytest

from dynsys import InvalidInputError
from dynsys.models.activations import LeakyReLU, Linear, ReLU, Sigmoid, Tanh
from dynsys.models.networks.deep_network import DeepNetworkFlow
from dynsys.models.networks.losses import CrossEntropy, HalfSquares
from dynsys.models.networks.perceptron import Perceptron
from dynsys.systems.system import finite_difference
from dynsys.testing import check_tangent

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(7, 3)), RANDOM.normal(size=(7, 2))
LABELS = np.array([0, 1, 2, 0, 1, 2, 1])


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("widths", [(4, 10, 3), (2, 5), (3, 4, 4, 2)])
def test_the_state_is_weights_and_biases_layer_by_layer(widths, biases):
    network = Perceptron(widths, Tanh(), biases=biases)
    theta = np.random.default_rng(0).normal(size=(2, network.dimension))
    layers = network.unpack(theta)
    assert [W.shape for W, _ in layers] == [(2, i, o) for i, o in network.layers]
    packed = network.pack([(W, np.broadcast_to(b[..., 0, :], (2, W.shape[-1]))) for W, b in layers])
    np.testing.assert_array_equal(packed, theta)
    assert network.weights.sum() == sum(i * o for i, o in network.layers)
    assert len(network.weights) == network.dimension


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize(
    "loss", [HalfSquares(RANDOM.normal(size=(7, 3))), CrossEntropy(LABELS)], ids=["squares", "entropy"]
)
def test_gradients_and_products_with_the_hessian_are_those_of_the_loss(loss, biases, scaled):
    network = Perceptron((3, 5, 4, 3), Tanh(), biases=biases, scaled=scaled)
    theta, eye = 0.4 * np.random.default_rng(1).normal(size=network.dimension), np.eye(network.dimension)
    slopes = finite_difference(lambda z: loss.value(network.outputs(z, X))[..., None], theta, eye)[0]
    np.testing.assert_allclose(network.gradient(theta, X, loss), slopes, atol=1e-7, rtol=1e-6)
    hessian = network.hessian_product(theta, eye, X, loss)
    np.testing.assert_allclose(
        hessian, finite_difference(lambda z: network.gradient(z, X, loss), theta, eye), atol=1e-9
    )
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-14)


def test_gradients_of_outputs_are_those_of_differences_and_give_the_loss_by_the_chain_rule():
    network = Perceptron((3, 4, 2), Sigmoid(), scaled=True)
    theta, loss = np.random.default_rng(2).normal(size=network.dimension), HalfSquares(Y)
    found = network.output_gradients(theta, X)
    flat = finite_difference(
        lambda z: network.outputs(z, X).reshape(*z.shape[:-1], -1), theta, np.eye(network.dimension)
    )
    np.testing.assert_allclose(found.reshape(14, -1), flat, atol=1e-10)
    errors = loss.errors(network.outputs(theta, X))
    np.testing.assert_allclose(np.einsum("sq,sqp->p", errors, found), network.gradient(theta, X, loss), atol=1e-14)


def test_the_kernel_in_scaled_networks_is_divided_by_the_width():
    wide = Perceptron((1, 400, 1), Linear(), biases=False, scaled=True)
    theta = np.random.default_rng(3).normal(size=800)
    g = wide.output_gradients(theta, np.ones((1, 1)))[0, 0]
    w, a = theta[:400], theta[400:]
    assert g @ g == pytest.approx((w @ w + a @ a) / 400)


@pytest.mark.parametrize("activation", [ReLU(), LeakyReLU()])
def test_the_linearisation_is_the_flow_until_a_kink_is_crossed(activation):
    flow = DeepNetworkFlow(X, Y, hidden=(5, 4), activation=activation)
    theta = flow.initial(seed=1)
    near = theta + 1e-7 * np.random.default_rng(4).normal(size=(3, flow.dimension))
    linear = flow.linearised(theta)
    np.testing.assert_allclose(linear.vector_field(0.0, near), flow.vector_field(0.0, near), atol=1e-14)
    V = np.random.default_rng(5).normal(size=(flow.dimension, 2))
    np.testing.assert_allclose(linear.jvp(0.0, theta, V), flow.jvp(0.0, theta, V), atol=1e-13)
    far = -theta
    assert np.abs(linear.vector_field(0.0, far) - flow.vector_field(0.0, far)).max() > 1e-3
    with pytest.raises(InvalidInputError, match="no gates"):
        attrs.evolve(flow, activation=Tanh()).linearised(theta)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize("biases", [False, True])
def test_the_compiled_velocity_is_the_same(biases):
    flow = DeepNetworkFlow(X, Y, hidden=(3,), activation=Tanh(), biases=biases)
    from dynsys import Euler

    check_tangent(flow.tangent(Euler(0.1), backend="numba"), flow.initial(seed=1))


def test_batches_are_some_of_the_samples():
    flow = DeepNetworkFlow(X, Y, hidden=(4,), activation=ReLU())
    theta = flow.initial(seed=0)
    sgd = flow.minibatches(size=2, seed=1)
    rows = sgd.flow_at(0)
    assert rows.samples == 2
    halves = [flow.on(np.arange(0, 4)), flow.on(np.arange(4, 7))]
    both = (4 * halves[0].vector_field(0.0, theta) + 3 * halves[1].vector_field(0.0, theta)) / 7
    np.testing.assert_allclose(both, flow.vector_field(0.0, theta), atol=1e-14)
    gated = flow.linearised(theta).on(np.array([1, 3]))
    np.testing.assert_allclose(gated.vector_field(0.0, theta), flow.on(np.array([1, 3])).vector_field(0.0, theta))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Perceptron((3,), Tanh()), "widths must be"),
        (lambda: Perceptron((3, 0), Tanh()), "a width must be a whole number >= 1"),
        (lambda: Perceptron((3, 2), np.tanh), "activation must be an object"),
        (lambda: CrossEntropy([0.5, 1.0]), "labels must be whole numbers"),
        (lambda: CrossEntropy([0, 0]), "two classes at least"),
        (lambda: CrossEntropy([1, 2, 3]), "two classes at least"),
        (lambda: DeepNetworkFlow(X, Y, hidden=(2,)).linearised(np.zeros((2, 10))), "one state of shape"),
        (lambda: DeepNetworkFlow(X, Y[:-1], hidden=(2,)), "7 samples but y has 6"),
        (lambda: DeepNetworkFlow(X, Y, hidden=(2,), reduction="sum"), "must be 'mean', got 'sum'"),
        (lambda: DeepNetworkFlow(X, Y, hidden=(2,)).initial(scale=0.0), "scale"),
    ],
)
def test_wrong_input_is_refused(make, text):
    with pytest.raises(InvalidInputError, match=text):
        make()
