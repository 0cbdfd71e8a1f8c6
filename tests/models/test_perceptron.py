"""Perceptrons and losses: the order of the state, derivatives by independent ways, gates."""

from functools import partial

import attrs
import numpy as np
import pytest

from dynsys import Euler, FallbackWarning, InvalidInputError, NumpyTangent
from dynsys.algorithms.differences import finite_difference
from dynsys.models.activations import LeakyReLU, Linear, ReLU, Sigmoid, Tanh
from dynsys.models.networks import CrossEntropy, DeepNetworkFlow, HalfSquares, Loss, Perceptron
from dynsys.testing import check_system, check_tangent

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


@attrs.frozen(eq=False)
class LogCosh(Loss):
    """A loss from outside: mean of the sum of ln cosh(z - y)."""

    def value(self, z):
        return np.mean(np.sum(np.log(np.cosh(z - self.y)), axis=-1), axis=-1)

    def errors(self, z):
        return np.tanh(z - self.y) / len(self.y)

    def errors_along(self, z, dz):
        return dz / np.cosh(z - self.y) ** 2 / len(self.y)


def deep(loss=HalfSquares, hidden=(3,), **options):
    y = LABELS if loss is CrossEntropy else Y
    return DeepNetworkFlow(X, y, hidden, loss=loss, **{"activation": Tanh(), **options})


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("loss", [HalfSquares, CrossEntropy, LogCosh])
def test_flows_of_any_loss_keep_the_contract_also_on_batches_that_lack_a_class(loss, biases, scaled):
    flow = deep(loss, (5, 4), biases=biases, scaled=scaled)
    theta = flow.initial(seed=1)
    check_system(flow, theta)
    check_system(flow.minibatches(size=2, seed=1), theta)
    slopes = finite_difference(lambda z: flow.loss(z)[..., None], theta, np.eye(flow.dimension))[0]
    np.testing.assert_allclose(flow.gradient(theta), slopes, atol=1e-7)
    ones = [flow.on(np.array([sample])).gradient(theta) for sample in range(7)]  # one class each
    np.testing.assert_allclose(np.mean(ones, axis=0), flow.gradient(theta), atol=1e-14)


SHOWN = [(CrossEntropy, True, 3)]  # of seven samples
COMPILED = [
    pytest.param(loss, biases, size, marks=[pytest.mark.slow] * ((loss, biases, size) not in SHOWN))
    for loss in (HalfSquares, CrossEntropy)
    for biases in (False, True)
    for size in (None, 1, 3, 7)
]


@pytest.mark.numba
@pytest.mark.parametrize(("loss", "biases", "size"), COMPILED)
def test_the_compiled_step_is_the_same(loss, biases, size):
    flow = deep(loss, biases=biases)
    driven = flow if size is None else flow.minibatches(size=size, seed=1)
    check_tangent(driven.tangent(Euler(0.1), backend="numba"), flow.initial(seed=1), steps=5)


@pytest.mark.numba
@pytest.mark.parametrize(
    ("loss", "hidden", "biases"),
    [(HalfSquares, (3, 2), True), (CrossEntropy, (), False), (CrossEntropy, (3,), False)],
)
@pytest.mark.slow
def test_the_compiled_step_of_a_scaled_network_is_the_same(loss, hidden, biases):
    flow = deep(loss, hidden, biases=biases, scaled=True)
    check_tangent(flow.minibatches(size=2, seed=1).tangent(Euler(0.1), backend="numba"), flow.initial(seed=1), steps=5)


@pytest.mark.numba
def test_members_with_batches_of_their_own_are_those_of_numpy():
    flow = deep(CrossEntropy, biases=True)
    theta, sgd = flow.initial(members=3, seed=1), flow.minibatches(size=3, seed=1, shared=False)
    compiled, plain = (
        sgd.tangent(Euler(0.3), backend=backend).benettin(theta, intervals=9, k=2, warmup=0)
        for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(compiled.rates, plain.rates, rtol=0, atol=1e-10)
    assert len(np.unique(compiled.end.x[:, 0])) == 3


@pytest.mark.numba
def test_what_is_not_compiled_says_why_and_what_to_do():
    class Own(Tanh):
        def fused(self, d):
            return super().fused(d)

    relu = deep(activation=ReLU())
    cases = {
        "Own has no source": deep(activation=Own()),
        "LogCosh has no source": deep(LogCosh),
        "fixed gates": relu.linearised(relu.initial()),
    }
    for text, flow in cases.items():
        assert flow.kernel() is flow.batch_kernel(2) is None
        with pytest.warns(FallbackWarning, match=f"NumPy steps DeepNetworkFlow.*{text}.*backend='numpy'"):
            tangent = flow.tangent(Euler(0.1))
        assert isinstance(tangent, NumpyTangent)
        with pytest.raises(InvalidInputError, match=text):
            flow.minibatches(2).tangent(Euler(0.1), backend="numba")
        flow.tangent(Euler(0.1), backend="numpy")  # no warning
    assert deep().fallback == deep(CrossEntropy, scaled=True).minibatches(2).fallback == ""


def constant_directions(flow):
    """Number of directions along which the loss is the same at all states: where all Hessians vanish."""
    random = np.random.default_rng(6)
    states = random.normal(size=(30, flow.dimension))
    values = np.linalg.svd(
        np.concatenate([flow.hessian_product(x, np.eye(flow.dimension)) for x in states]), compute_uv=False
    )
    return int(np.sum(values < 1e-10 * values[0]))


@pytest.mark.parametrize("hidden", [(), (4,), (4, 5)])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("loss", [HalfSquares, CrossEntropy])
def test_exponents_vanish_for_directions_that_no_state_and_no_batch_sees(loss, biases, hidden):
    inputs = np.column_stack([X, X[:, 0] - X[:, 1], np.full(7, 2.0)])  # one is a combination; one is a bias
    y = LABELS if loss is CrossEntropy else Y
    flow = DeepNetworkFlow(inputs, y, hidden, loss=loss, activation=Tanh(), biases=biases)
    unseen = (1 + biases) * (*hidden, flow.objective.outputs)[0]
    softmax = (loss is CrossEntropy) * ((5, *hidden)[-1] + biases)
    both = (1 + biases) * (loss is CrossEntropy and not hidden)
    assert flow.vanishing_exponents == unseen + softmax - both == constant_directions(flow)
    assert flow.minibatches(2).vanishing_exponents == flow.vanishing_exponents


@pytest.mark.parametrize("activation", [Linear(), ReLU()])
@pytest.mark.parametrize("scaled", [False, True])
def test_exponents_vanish_for_balances_beside_constant_directions(scaled, activation):
    """The rank of the gradients of all that the velocity keeps, by differences and from null spaces."""
    inputs = np.column_stack([X, X[:, 0]])
    flow = DeepNetworkFlow(inputs, LABELS, (4, 3), loss=CrossEntropy, activation=activation, biases=True, scaled=scaled)
    x = flow.initial(seed=3) + 0.1 * np.random.default_rng(3).normal(size=flow.dimension)
    states = np.random.default_rng(6).normal(size=(30, flow.dimension))
    hessians = np.concatenate([flow.hessian_product(z, np.eye(flow.dimension)) for z in states])
    values, directions = np.linalg.svd(hessians)[1:]
    constant = directions[np.sum(values > 1e-10 * values[0]) :]
    balances = finite_difference(flow.conserved, x, np.eye(flow.dimension))
    np.testing.assert_allclose(np.concatenate([constant, balances]) @ flow.vector_field(0.0, x), 0.0, atol=1e-10)
    together = np.linalg.matrix_rank(np.concatenate([constant, balances]), tol=1e-7)
    assert flow.vanishing_exponents == together > max(len(constant), len(balances))


def test_initial_states_of_both_kinds():
    flow, random = deep(CrossEntropy, biases=True), np.random.default_rng(4).normal(size=(2, 24))
    normal = flow.initial(scheme="normal", scale=2.0, members=2, seed=4)
    np.testing.assert_array_equal(normal, 2.0 * flow.network.weights * random)
    fan_in = flow.initial(members=2, seed=4)
    np.testing.assert_allclose(fan_in, normal / 2 / np.sqrt(3), rtol=1e-14)  # three inputs in both layers
    scaled = deep(CrossEntropy, biases=True, scaled=True)
    np.testing.assert_array_equal(scaled.initial(members=2, seed=4), random)
    np.testing.assert_array_equal(scaled.initial(scheme="normal", members=2, seed=4), normal / 2)


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
        (lambda: CrossEntropy([0, 3], classes=3), "labels of 3 classes must be below 3, got 3"),
        (lambda: CrossEntropy([0, 0], classes=1), "classes must be a whole number >= 2"),
        (lambda: HalfSquares([0.0, np.nan]), "y must be finite"),
        (lambda: deep(loss="half squares"), "loss must be a kind of Loss such as HalfSquares.*got 'half squares'"),
        (lambda: deep(loss=HalfSquares(Y)), "loss must be a kind of Loss"),
        (lambda: deep(loss=Tanh), "loss must be a kind of Loss"),
        (lambda: deep(loss=np.tanh), "loss must make a Loss of y"),
        (lambda: DeepNetworkFlow(X, Y, (2,), loss=CrossEntropy), "labels must be whole numbers"),
        (lambda: DeepNetworkFlow(X, [0, 2] * 3 + [0], (2,), loss=CrossEntropy), "two classes at least and each"),
        (lambda: deep().accuracy(np.zeros(15)), "accuracy is that of a classifier.*the loss is HalfSquares"),
        (lambda: deep().initial(scheme="he"), "scheme must be 'fan-in' or 'normal', got 'he'"),
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


@attrs.frozen(eq=False)
class Weighted(HalfSquares):
    """A loss with a field of its own."""

    weight: float = 1.0

    def value(self, z):
        return self.weight * super().value(z)

    def errors(self, z):
        return self.weight * super().errors(z)

    def errors_along(self, z, dz):
        return self.weight * super().errors_along(z, dz)

    source = ""


def test_a_loss_with_fields_of_its_own_is_the_same_on_batches():
    X, y = np.random.default_rng(0).normal(size=(2, 7, 2))
    flow = DeepNetworkFlow(X, y, hidden=(3,), loss=partial(Weighted, weight=5.0))
    theta = flow.initial(seed=1)
    assert flow.on(np.arange(7)).loss(theta) == flow.loss(theta)
    batch = flow.minibatches(7, seed=1).flow_at(0)
    np.testing.assert_allclose(batch.vector_field(0.0, theta), flow.vector_field(0.0, theta), rtol=1e-12)
