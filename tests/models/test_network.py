"""The three-layer network: the paper's order of weights, its velocity, its symmetries, and bad networks."""

import tracemalloc

import attrs
import numpy as np
import pytest
from scipy.special import erf

from dynsys import Euler, FallbackWarning, InvalidInputError
from dynsys.models.activations import GELU, Linear, ReLU, Sigmoid, Tanh
from dynsys.models.networks.three_layer import network as module
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task

SIZES = [(2, 2, 1), (3, 4, 2), (1, 5, 3)]
SCALARS = {  # written independently, and valid for complex arguments
    Linear: lambda d: d,
    ReLU: lambda d: np.where(d.real > 0, d, 0.0),
    Tanh: np.tanh,
    Sigmoid: lambda d: 1.0 / (1.0 + np.exp(-d)),
    GELU: lambda d: d * (1.0 + erf(d / np.sqrt(2.0))) / 2.0,
}
KINDS = list(SCALARS)


def network(sizes=(2, 2, 1), kind=Tanh, samples=7, **options):
    n1, n2, n3 = sizes
    rng = np.random.default_rng(11)
    X, y = rng.normal(size=(samples, n1)), rng.normal(size=(samples, n3))
    return ThreeLayerGradientFlow(X, y, hidden=n2, activation=kind(), **options)


def state(flow, *lead, seed=5):
    return np.random.default_rng(seed).normal(size=(*lead, flow.dimension))


def loss_by_loops(flow, theta):
    """The cost for states (..., Q), real or complex, weight by weight from the indices of the paper."""
    n1, n2, n3 = attrs.astuple(flow.layout)
    sigma, total = SCALARS[type(flow.activation)], 0.0
    for x, y in zip(flow.X, flow.y, strict=True):
        hidden = []
        for j in range(n2):
            d = theta[..., n1 * n2 + n2 * n3 + j]
            for i in range(n1):
                d = d + theta[..., i * n2 + j] * x[i]
            hidden.append(sigma(d))
        for k in range(n3):
            a = theta[..., n1 * n2 + n2 * n3 + n2 + k]
            for j in range(n2):
                a = a + theta[..., n1 * n2 + j * n3 + k] * hidden[j]
            total = total + (y[k] - a) ** 2
    return total / len(flow.X) if flow.reduction == "mean" else total


def complex_step_gradient(function, theta):
    """Exact to rounding: there is no difference of nearly equal numbers."""
    steps = 1e-30j * np.eye(theta.shape[-1])
    return function(theta[..., None, :] + steps).imag / 1e-30


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_order_of_the_state_loss_and_velocity_are_those_of_the_paper(sizes, kind, reduction):
    flow = network(sizes, kind, reduction=reduction)
    theta = state(flow)
    np.testing.assert_allclose(flow.loss(theta), loss_by_loops(flow, theta), rtol=1e-13)
    gradient = complex_step_gradient(lambda z: loss_by_loops(flow, z), theta)
    velocity = flow.vector_field(0.0, theta)
    np.testing.assert_allclose(velocity, -gradient, rtol=0, atol=1e-13 * np.abs(gradient).max())


@pytest.mark.parametrize("kind", KINDS)
def test_velocity_equals_differences_of_the_loss(kind):
    flow = network(kind=kind)
    theta, h = state(flow), 1e-3
    moved = flow.loss(theta + h * np.array([-2, -1, 1, 2])[:, None, None] * np.eye(9))
    slopes = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * h)
    # fourth order: h^4 f^(5) / 30 with derivatives of order 100, and eps / h
    np.testing.assert_allclose(flow.vector_field(0.0, theta), -slopes, rtol=0, atol=1e-9)


def test_dimension_and_blocks_of_the_state():
    flow = network((3, 4, 2))
    assert flow.dimension == 3 * 4 + 4 * 2 + 4 + 2
    w21, w32, b1, b2 = flow.layout.unpack(np.arange(26.0))
    assert (w21[2, 1], w32[3, 1], b1[2], b2[1]) == (2 * 4 + 1, 12 + 3 * 2 + 1, 22, 25)


def test_loss_of_many_states_is_that_of_each_and_needs_little_memory(monkeypatch):
    X, y = np.random.default_rng(0).normal(size=(2, 1000, 2))
    flow = ThreeLayerGradientFlow(X, y, hidden=4, activation=Tanh())
    theta = flow.initial(members=2000, seed=1)
    tracemalloc.start()
    loss = flow.loss(theta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2000 * 1000 * 4  # one array of all hidden units
    monkeypatch.setattr(module, "LOSS_NUMBERS", 1)
    np.testing.assert_array_equal(flow.loss(theta[:40].reshape(4, 10, -1)), loss[:40].reshape(4, 10))


@pytest.mark.parametrize("lead", [(1,), (4,), (2, 3)])
def test_leading_axes_are_states_of_their_own(lead):
    flow = network((3, 4, 2))
    theta = state(flow, *lead)
    index = list(np.ndindex(*lead))
    for function, shape in ((flow.loss, ()), (lambda z: flow.vector_field(0.0, z), (26,)), (flow.output, (7, 2))):
        values = function(theta)
        assert values.shape == (*lead, *shape)
        np.testing.assert_allclose(values, np.reshape([function(theta[i]) for i in index], values.shape), rtol=1e-13)


def test_output_on_other_inputs_uses_them():
    flow = network()
    theta, X = state(flow), np.random.default_rng(1).normal(size=(3, 2))
    other = ThreeLayerGradientFlow(X, np.zeros(3), hidden=2, activation=Tanh())
    np.testing.assert_array_equal(flow.output(theta, X), other.output(theta))


@pytest.mark.parametrize(("kind", "symmetric"), [(ReLU, True), (Linear, True), (Tanh, False), (GELU, False)])
def test_only_homogeneous_activations_let_a_hidden_unit_be_rescaled(kind, symmetric):
    """(w_j, b_j, v_j) -> (c_j w_j, c_j b_j, v_j / c_j) with c_j > 0."""
    flow = network((3, 4, 2), kind)
    theta = state(flow)
    c = np.array([0.1, 3.0, 20.0, 0.7])
    factors = np.concatenate([np.tile(c, 3), np.repeat(1 / c, 2), c, np.ones(2)])
    change = abs(flow.loss(factors * theta) / flow.loss(theta) - 1)
    assert change < 1e-13 if symmetric else change > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_units_can_be_exchanged(kind):
    flow = network((3, 4, 2), kind)
    theta, order = state(flow), [2, 0, 3, 1]
    places = np.concatenate(
        [
            np.arange(12).reshape(3, 4)[:, order].ravel(),
            12 + np.arange(8).reshape(4, 2)[order].ravel(),
            20 + np.array(order),
            [24, 25],
        ]
    )
    np.testing.assert_allclose(flow.loss(theta[places]), flow.loss(theta), rtol=1e-14)
    velocity = flow.vector_field(0.0, theta)
    np.testing.assert_allclose(flow.vector_field(0.0, theta[places]), velocity[places], rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [ReLU, Linear])
@pytest.mark.parametrize("sizes", [*SIZES, (1, 5, 1), (2, 6, 1)])
def test_vanishing_exponents_are_the_independent_conserved_quantities(sizes, kind):
    """The rank, at a random state, of the gradients of W W^T + b b^T - V^T V, or of its diagonal alone for ReLU."""
    flow = network(sizes, kind)

    def conserved(theta):
        w21, w32, b1, _ = flow.layout.unpack(theta)
        into = np.concatenate([w21, b1[..., None, :]], axis=-2)
        matrix = np.einsum("...ij,...il->...jl", into, into) - np.einsum("...jk,...lk->...jl", w32, w32)
        j, m = np.tril_indices(sizes[1])
        return matrix[..., j, m] if kind is Linear else np.diagonal(matrix, axis1=-2, axis2=-1)

    gradients = conserved(state(flow) + 1e-30j * np.eye(flow.dimension)).imag / 1e-30
    assert flow.vanishing_exponents == np.linalg.matrix_rank(gradients)
    assert flow.minibatches(size=2).vanishing_exponents == flow.vanishing_exponents


@pytest.mark.parametrize("kind", [Tanh, Sigmoid, GELU])
def test_no_exponent_of_an_inhomogeneous_activation_must_vanish(kind):
    assert network(kind=kind).vanishing_exponents == 0


def test_an_activation_without_source_is_said_to_be_slow():
    class Own(Tanh):
        def fused(self, d):
            return super().fused(d)

    flow = network(kind=Own)
    with pytest.warns(FallbackWarning, match="NumPy steps ThreeLayerGradientFlow.*Own has no source.*backend='numpy'"):
        flow.tangent(Euler(0.01))
    flow.minibatches(2).tangent(Euler(0.01), backend="numpy")  # no warning
    assert network().fallback == ""


def test_data_are_read_only_copies_and_a_vector_of_targets_is_a_column():
    X, y = regression_task(samples=5, seed=0)
    flow = ThreeLayerGradientFlow(X, y, activation=Tanh())
    X[0, 0], y[0] = 99.0, 99.0
    assert flow.X[0, 0] != 99.0
    assert flow.y[0, 0] != 99.0
    assert flow.y.shape == (5, 1)
    with pytest.raises(ValueError, match="read-only"):
        flow.X[0, 0] = 1.0


GOOD = {"X": np.ones((3, 2)), "y": np.ones(3), "hidden": 2, "activation": Tanh()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"X": np.ones((3, 2, 1))}, r"X must have shape \(samples, columns\), got \(3, 2, 1\)"),
        ({"X": np.empty((0, 2))}, r"X must have shape .* got \(0, 2\)"),
        ({"X": 1.0}, r"X must have shape .* got \(\)"),
        ({"X": None}, "X must"),
        ({"X": [[1.0, 2.0], [3.0], [4.0, 5.0]]}, "X must"),
        ({"X": [["1", "two"]] * 3}, "X must"),
        ({"X": [[1.0], [np.nan], [2.0]]}, r"X must be finite, got NaN or infinity in 1 row\(s\), first in row 1"),
        ({"y": [1.0, np.inf, np.nan]}, r"y must be finite, got NaN or infinity in 2 row\(s\), first in row 1"),
        ({"y": np.ones((3, 1, 1))}, r"y must have shape .* got \(3, 1, 1\)"),
        ({"y": ["a", "b", "c"]}, "y must"),
        ({"y": np.ones(4)}, "X has 3 samples but y has 4"),
        ({"hidden": 0}, "hidden must be a whole number >= 1, got 0"),
        ({"hidden": 2.5}, "hidden must be .* got 2.5"),
        ({"hidden": True}, "hidden must be .* got True"),
        ({"hidden": "2"}, "hidden must be .* got '2'"),
        ({"activation": "tanh"}, "activation must be an object such as .* got 'tanh'"),
        ({"activation": Tanh}, "activation must be .* got <class"),
        ({"activation": np.tanh}, "activation must be .* got <ufunc"),
        ({"reduction": "median"}, "reduction must be 'mean' or 'sum', got 'median'"),
        ({"reduction": None}, "reduction must be .* got None"),
    ],
)
def test_bad_networks_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInputError, match=message):
        ThreeLayerGradientFlow(**{**GOOD, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scheme": "xavier"}, "scheme must be .* got 'xavier'"),
        ({"biases": "drawn"}, "biases must be .* got 'drawn'"),
        ({"members": 0}, "members must be .* got 0"),
        ({"members": 2.5}, "members must be .* got 2.5"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"seed": 0.5}, "seed must be .* got 0.5"),
    ],
)
def test_bad_initial_states_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInputError, match=message):
        network().initial(**wrong)


@pytest.mark.parametrize("biases", ["zero", "random"])
@pytest.mark.parametrize("scheme", ["he", "wide"])
def test_initial_weights_have_the_deviation_of_their_scheme_layer_by_layer(scheme, biases):
    flow, members = network((3, 4, 2)), 20_000
    theta = flow.initial(scheme=scheme, biases=biases, members=members, seed=2)
    assert theta.shape == (members, 26)
    first, second = (20.0, 20.0) if scheme == "wide" else (np.sqrt(2 / 3), np.sqrt(2 / 4))
    for layer, (weights, bias, deviation) in enumerate(
        [(slice(0, 12), slice(20, 24), first), (slice(12, 20), slice(24, 26), second)]
    ):
        for block, expected in (
            (theta[:, weights], deviation),
            (theta[:, bias], deviation if biases == "random" else 0.0),
        ):
            if expected == 0.0:
                assert not block.any(), layer
                continue
            error = 1 / np.sqrt(block.size)  # of the mean; that of the deviation is smaller by 2^(1/2)
            assert abs(block.mean()) < 4 * expected * error
            assert abs(block.std() / expected - 1) < 4 * error / np.sqrt(2)
    components = np.corrcoef(theta[:, theta.any(axis=0)].T)
    assert np.abs(components - np.eye(len(components))).max() < 5 / np.sqrt(members)  # the largest of 325


def test_first_members_are_the_same_however_many_are_drawn():
    flow = network()
    many = flow.initial(members=50, seed=4)
    np.testing.assert_array_equal(flow.initial(members=7, seed=4), many[:7])
    np.testing.assert_array_equal(flow.initial(seed=4), many[0])
    assert np.all(flow.initial(members=50, seed=5)[:, :6] != many[:, :6])


def test_biases_do_not_change_the_weights_drawn():
    flow = network()
    zero, random = (flow.initial(biases=biases, seed=4) for biases in ("zero", "random"))
    np.testing.assert_array_equal(zero[:6], random[:6])
    assert np.all(random[6:] != 0)
