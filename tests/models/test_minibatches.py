"""Minibatches: every sample once an epoch, the same rows however a run is cut, and Euler is exactly SGD."""

import math

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import Euler, GradientFlow, HeavyBall, InvalidInputError, Nesterov, RunState
from dynsys.compiled.shuffle import permutations, shuffle_by_numpy
from dynsys.models.activations import ReLU, Tanh
from dynsys.models.networks import CrossEntropy, DeepNetworkFlow
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
from dynsys.testing import check_tangent

counts = settings(max_examples=40, deadline=None, derandomize=True)


def network(samples=10, kind=Tanh, **options):
    rng = np.random.default_rng(8)
    return ThreeLayerGradientFlow(
        rng.normal(size=(samples, 2)), rng.normal(size=samples), hidden=2, activation=kind(), **options
    )


def order_of_an_epoch(seed, epoch, samples):
    """Fisher and Yates; the numbers for 32 epochs are drawn at a time."""
    numbers = np.random.default_rng([seed, epoch // 32]).random((32, samples))[epoch % 32]
    order = list(range(samples))
    for i in reversed(range(1, samples)):
        j = math.floor(numbers[i] * (i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def sgd_by_loops(flow, theta, size, seed, dt, steps):
    """Stochastic gradient descent sample by sample, with back-propagation and bookkeeping of its own."""
    W21, W32 = theta[:4].reshape(2, 2).T.copy(), theta[4:6].copy()
    b1, b2 = theta[6:8].copy(), theta[8]
    queue, epoch = [], 0
    relu = isinstance(flow.activation, ReLU)
    for _ in range(steps):
        dW21, dW32, db1, db2 = np.zeros((2, 2)), np.zeros(2), np.zeros(2), 0.0
        for _ in range(size):
            if not queue:
                queue, epoch = order_of_an_epoch(seed, epoch, len(flow.X)), epoch + 1
            sample = queue.pop(0)
            x, y = flow.X[sample], flow.y[sample, 0]
            d = W21 @ x + b1
            s = np.maximum(d, 0.0) if relu else np.tanh(d)
            slope = (d > 0) * 1.0 if relu else 1 / np.cosh(d) ** 2
            outer = -2 * (y - W32 @ s - b2)
            dW21 += np.outer(outer * W32 * slope, x)
            dW32 += outer * s
            db1 += outer * W32 * slope
            db2 += outer
        rate = dt / size if flow.reduction == "mean" else dt
        W21, W32, b1, b2 = W21 - rate * dW21, W32 - rate * dW32, b1 - rate * db1, b2 - rate * db2
    return np.concatenate([W21.T.ravel(), W32, b1, [b2]])


def run(tangent, x0, intervals=50, steps=20, k=1):
    start = RunState.start(x0, 9, k, 0)
    return tangent.forward(start, intervals=intervals, steps_per_interval=steps, record="growth")


def alone(start, member):
    """One member of an ensemble as an ensemble of its own, which keeps its identity."""
    one = slice(member, member + 1)
    fields = {name: getattr(start, name)[one] for name in ("x", "Q", "status", "stopped", "members")}
    return attrs.evolve(start, **fields)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(
    ("kind", "reduction"), [(Tanh, "mean"), pytest.param(ReLU, "mean", marks=pytest.mark.slow), (Tanh, "sum")]
)
def test_euler_on_minibatches_is_stochastic_gradient_descent(kind, reduction, backend):
    """A thousand steps with batches of 4 out of 10: most epochs end within a batch."""
    flow = network(kind=kind, reduction=reduction)
    theta, dt = flow.initial(biases="random", seed=3), 0.02
    expected = sgd_by_loops(flow, theta, size=4, seed=6, dt=dt, steps=1000)
    end = run(flow.minibatches(size=4, seed=6).tangent(Euler(dt), backend=backend), theta).x[0]
    assert np.linalg.norm(expected - theta) > 0.1
    np.testing.assert_allclose(end, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


def test_steps_one_by_one_are_those_of_the_pass():
    tangent = network().minibatches(size=4, seed=6).tangent(Euler(0.02), backend="numpy")
    theta = network().initial(seed=3)
    x, V = theta, np.eye(9)
    for n in range(40):
        x, V = tangent.step(n, x, V)
    np.testing.assert_array_equal(x, run(tangent, theta, intervals=1, steps=40).x[0])


@counts
@given(samples=st.integers(1, 40), seed=st.integers(0, 2**40), data=st.data())
def test_every_epoch_uses_every_sample_exactly_once(samples, seed, data):
    size = data.draw(st.integers(1, samples))
    epochs = 5
    rows = network(samples).minibatches(size=size, seed=seed).rows(0, -(-epochs * samples // size))
    assert rows.shape[1] == size
    stream = rows.ravel()[: epochs * samples].reshape(epochs, samples)
    np.testing.assert_array_equal(np.sort(stream, axis=1), np.tile(np.arange(samples), (epochs, 1)))


@counts
@given(size=st.integers(1, 10), n=st.integers(0, 10**6), parts=st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_rows_are_the_same_however_the_steps_are_split(size, n, parts):
    sgd = network().minibatches(size=size, seed=2)
    starts = n + np.cumsum([0, *parts[:-1]])
    pieces = [sgd.rows(int(first), count) for first, count in reversed(list(zip(starts, parts, strict=True)))]
    np.testing.assert_array_equal(np.concatenate(pieces[::-1]), sgd.rows(n, sum(parts)))


def test_rows_handed_out_belong_to_the_caller():
    sgd = network().minibatches(size=4, seed=2)
    before = sgd.rows(3, 2).copy()
    sgd.rows(3, 2)[:] = 0
    np.testing.assert_array_equal(sgd.rows(3, 2), before)


def test_epochs_and_seeds_have_permutations_of_their_own():
    orders = [tuple(network(20).minibatches(size=20, seed=s).rows(n)[0]) for s in range(10) for n in range(10)]
    assert len(set(orders)) == 100


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_velocities_of_an_epoch_add_up_to_the_full_batch(reduction):
    flow = network(12, reduction=reduction)
    sgd, theta = flow.minibatches(size=4, seed=1), flow.initial(seed=2)
    total = sum(sgd.flow_at(n).vector_field(0.0, theta) for n in range(3, 6))
    full = flow.vector_field(0.0, theta) * (3 if reduction == "mean" else 1)
    np.testing.assert_allclose(total, full, rtol=0, atol=1e-14 * np.abs(full).max())


def test_members_share_their_batches_unless_told_otherwise():
    flow = network(20)
    shared, own = (flow.minibatches(size=20, seed=3, shared=shared) for shared in (True, False))
    same, different = ([tuple(s.for_member(m).rows(5)[0]) for m in range(50)] for s in (shared, own))
    assert len(set(same)) == 1
    assert len({*different, same[0]}) == 51


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("shared", [True, False])
def test_member_of_an_ensemble_equals_its_run_alone(shared, backend):
    sgd = network().minibatches(size=4, seed=6, shared=shared)
    tangent = sgd.tangent(Euler(0.02), backend=backend)
    x0 = np.tile(sgd.flow.initial(seed=3), (4, 1))  # only batches and frames tell the members apart
    start = RunState.start(x0, 9, 9, 0)
    options = {"intervals": 5, "steps_per_interval": 7, "record": "growth"}
    together = tangent.forward(start, **options)
    for member in range(4):
        single = tangent.forward(alone(start, member), **options)
        for name in ("x", "Q", "growth"):
            np.testing.assert_array_equal(getattr(single, name)[0], getattr(together, name)[member])
        expected = x0[member]
        for n in range(35):
            flow = sgd.for_member(member).flow_at(n)
            expected = expected + 0.02 * flow.vector_field(0.0, expected)
        np.testing.assert_allclose(together.x[member], expected, rtol=0, atol=1e-13)
    assert len(np.unique(together.x[:, 0])) == (1 if shared else 4)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_flow_of_one_member_runs_with_the_batches_of_that_member(backend):
    own = network().minibatches(size=4, seed=6, shared=False).for_member(3)
    tangent = own.tangent(Euler(0.02), backend=backend)
    theta = own.flow.initial(seed=3)
    x = theta
    for n in range(10):
        x = tangent.step(n, x, np.eye(9))[0]
    np.testing.assert_allclose(run(tangent, theta, intervals=1, steps=10).x[0], x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shared", [True, False])
def test_continued_run_goes_on_with_the_next_batch(shared, backend):
    sgd = network().minibatches(size=3, seed=6, shared=shared)
    tangent, x0 = sgd.tangent(Euler(0.02), backend=backend), sgd.flow.initial(members=2, seed=3)
    whole = run(tangent, x0, intervals=6, steps=5, k=2)
    first = run(tangent, x0, intervals=2, steps=5, k=2)
    second = tangent.forward(first.without_records(), intervals=4, steps_per_interval=5, record="growth")
    np.testing.assert_array_equal(second.x, whole.x)
    np.testing.assert_array_equal(second.growth, whole.growth[:, 2:])


def gradient_flows():
    """One of each kind, on ten samples, with a state."""
    x, z = np.random.default_rng(2).normal(size=(2, 10))
    logistic = GradientFlow.of("log(1 + exp(a)) - y*a", ["w", "b"], {"x": x, "y": x > z}, {"a": "w*x + b"})
    X, labels = np.stack([x, z], axis=1), np.arange(10) % 3
    deep = DeepNetworkFlow(X, labels, (3,), loss=CrossEntropy, activation=Tanh(), biases=True)
    three = network()
    return {
        "GradientFlow": (logistic, np.array([0.5, -0.3])),
        "ThreeLayerGradientFlow": (three, three.initial(seed=3)),
        "DeepNetworkFlow": (deep, deep.initial(seed=3)),
    }


FLOWS = gradient_flows()
MOMENTUM = {"heavy ball": HeavyBall(0.1, 0.8), "Nesterov": Nesterov(0.1, 0.8)}


@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("stepper", MOMENTUM.values(), ids=MOMENTUM)
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "numpy") for name in FLOWS),
        *(pytest.param(name, "numba", marks=pytest.mark.slow) for name in FLOWS),
    ],
)
def test_momentum_has_an_exact_tangent_on_every_gradient_flow(name, backend, stepper, size):
    flow, theta = FLOWS[name]
    tangent = (flow if size is None else flow.minibatches(size, seed=1)).tangent(stepper, backend=backend)
    check_tangent(tangent, np.concatenate([theta, 0.1 * np.cos(theta)]))


@pytest.mark.numba
@pytest.mark.slow
def test_momentum_on_batches_is_compiled():
    """One of those above that are slow."""
    flow, theta = FLOWS["DeepNetworkFlow"]
    tangent = flow.minibatches(4, seed=1).tangent(MOMENTUM["heavy ball"], backend="numba")
    check_tangent(tangent, np.concatenate([theta, 0.1 * np.cos(theta)]))
    volume_shrinks(tangent, theta)


def volume_shrinks(tangent, theta):
    """Whether every step of a heavy ball multiplies volume by mu^dim."""
    start = RunState.start(tangent.complete(theta), tangent.dimension, tangent.dimension, 0)
    growth = tangent.forward(start, intervals=25, steps_per_interval=1, record="growth").growth[0]
    np.testing.assert_allclose(growth.sum(axis=1), len(theta) * np.log(0.8), rtol=1e-11)


@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("name", FLOWS)
def test_every_step_of_a_heavy_ball_shrinks_volume_by_the_momentum_alone(name, size):
    flow, theta = FLOWS[name]
    driven = flow if size is None else flow.minibatches(size, seed=1)
    volume_shrinks(driven.tangent(MOMENTUM["heavy ball"], backend="numpy"), theta)


def test_momentum_on_batches_is_that_of_a_loop():
    """As torch.optim.SGD takes it: its buffer is -v / rate."""
    flow, theta = FLOWS["DeepNetworkFlow"]
    sgd = flow.minibatches(4, seed=1)
    for stepper, nesterov in zip(MOMENTUM.values(), (False, True), strict=True):
        x, buffer = theta, np.zeros_like(theta)
        for n in range(40):
            gradient = -sgd.flow_at(n).vector_field(0.0, x)
            buffer = 0.8 * buffer + gradient
            x = x - 0.1 * (gradient + 0.8 * buffer if nesterov else buffer)
        found = sgd.tangent(stepper, backend="numpy").trajectory(theta, intervals=40).states[-1]
        np.testing.assert_allclose(found, np.concatenate([x, -0.1 * buffer]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 11}, "batch of 11 samples .* there are 10"),
        ({"size": 0}, "size must be a whole number >= 1, got 0"),
        ({"size": 2.5}, "size must be .* got 2.5"),
        ({"size": True}, "size must be .* got True"),
        ({"size": 2, "seed": -1}, "seed must be .* got -1"),
        ({"size": 2, "seed": 0.5}, "seed must be .* got 0.5"),
    ],
)
def test_bad_batches_are_refused_by_name(options, message):
    with pytest.raises(InvalidInputError, match=message):
        network().minibatches(**options)


def test_permutations_are_the_same_with_and_without_the_compiler_and_uniform():
    count, samples = 6000, 5
    orders = permutations(np.random.default_rng(1), count, samples)
    plain = np.tile(np.arange(samples), (count, 1))
    shuffle_by_numpy(plain, np.random.default_rng(1).random((count, samples)))
    np.testing.assert_array_equal(orders, plain)
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 120  # all orders occur, each 50 times but for chance
    assert 70 < np.sum((counts - 50) ** 2 / 50) < 180  # chi-squared, 119 degrees of freedom: p > 1e-3 on both sides
