"""Exponents of the network where they are known: dead networks, minima, and what the velocity conserves."""

import numpy as np
import pytest
from scipy.optimize import minimize, root

from dynsys import RK4, DiagnosticWarning, Euler
from dynsys.indicators import line_distance
from dynsys.models.activations import GELU, Linear, ReLU, Tanh
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.passes.orthonormal import orthonormalise, random_frames

pytestmark = pytest.mark.numba  # some take minutes without it


def dead_network(reduction, batch):
    """Both hidden units off on all data: J = -2 on b2 alone, times the batch for the sum."""
    flow = ThreeLayerGradientFlow(*regression_task(64, seed=0), hidden=2, activation=ReLU(), reduction=reduction)
    theta = np.array([0.0, 0.0, 0.0, 0.0, 3.0, -5.0, -1.0, -1.0, 0.0])
    return (flow if batch is None else flow.minibatches(batch, seed=1)), theta


def tanh_minimum():
    """A network, its weights at a full-batch minimum, and the Hessian's eigenvalues (rising) and eigenvectors."""
    rng = np.random.default_rng(2)
    X, teacher, noise = rng.normal(size=(40, 2)), 1.5 * rng.normal(size=9), 0.3 * rng.normal(size=40)
    y = ThreeLayerGradientFlow(X, np.zeros(40), activation=Tanh()).output(teacher)[:, 0] + noise
    flow = ThreeLayerGradientFlow(X, y, activation=Tanh())
    near = minimize(
        flow.loss,
        teacher,
        jac=lambda z: -flow.vector_field(0.0, z),
        hess=lambda z: -flow.symbolic_jacobian(z),
        method="trust-exact",
    )
    # rounding of the loss stops a minimiser at gradients of 1e-9; a root of the gradient has no such floor
    found = root(lambda z: flow.vector_field(0.0, z), near.x, jac=flow.symbolic_jacobian, tol=1e-15)
    assert np.abs(flow.vector_field(0.0, found.x)).max() < 1e-10
    return flow, found.x, *np.linalg.eigh(-flow.symbolic_jacobian(found.x))


def linear_minimum():
    """A linear network whose product of layers is the least-squares solution; it has six flat directions."""
    X, y = regression_task(30, seed=3)
    *slopes, offset = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), y, rcond=None)[0]
    v, b1 = np.array([1.5, -0.7]), np.array([0.4, -1.1])
    w_first = np.array([0.3, 0.9])
    w_second = (np.array(slopes) - v[0] * w_first) / v[1]
    theta = np.concatenate([np.stack([w_first, w_second]).T.ravel(), v, b1, [offset - v @ b1]])
    flow = ThreeLayerGradientFlow(X, y, activation=Linear())
    return flow, theta, *np.linalg.eigh(-flow.symbolic_jacobian(theta))


@pytest.mark.parametrize(
    ("reduction", "batch", "rate"),
    [pytest.param("mean", None, 2, marks=pytest.mark.slow), ("mean", 32, 2), ("sum", 32, 64)],
)
def test_dead_network_has_one_exponent_and_eight_zeros(reduction, batch, rate):
    system, theta = dead_network(reduction, batch)
    dt = 0.01
    spectrum = system.tangent(Euler(dt), backend="numba").benettin(
        theta, intervals=50, steps_per_interval=20, warmup=100
    )
    assert spectrum.exponents[8] == pytest.approx(np.log(1 - rate * dt) / dt, rel=1e-12)
    np.testing.assert_allclose(spectrum.exponents[:8], 0.0, atol=1e-12)
    np.testing.assert_array_equal(spectrum.end.x[0, :8], theta[:8])


def test_exponents_of_a_dead_network_die_out_like_one_over_time():
    """Without warm-up t lambda_q(t) tends to the log of what the first frame has in the neutral directions."""
    system, theta = dead_network("mean", None)
    dt = 0.01
    spectrum = system.tangent(Euler(dt), backend="numba").benettin(
        theta, intervals=800, steps_per_interval=10, warmup=0
    )
    exponents, times = spectrum.finite_time_exponents()[:, :8], spectrum.times[:, None]
    late = [199, 399, 799]
    slopes = np.diff(np.log(np.abs(exponents[late])), axis=0) / np.diff(np.log(times[late]), axis=0)
    np.testing.assert_allclose(slopes, -1.0, rtol=0, atol=1e-8)
    # and what they lose in T the last one gains: the sum is log det at all times
    total = spectrum.finite_time_exponents().sum(axis=1)
    np.testing.assert_allclose(total, np.log(1 - 2 * dt) / dt, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("reduction", "rate"), [("mean", 2.0), ("sum", 64.0)])
def test_dead_network_over_the_whole_training_of_the_paper(reduction, rate):
    """733 333 steps of 3e-5 with a factorisation every 20, from batches of 32 of 1000 samples, without warm-up."""
    flow = ThreeLayerGradientFlow(*regression_task(1000, seed=0), hidden=2, activation=ReLU(), reduction=reduction)
    _, theta = dead_network(reduction, 32)
    spectrum = (
        flow.minibatches(32, seed=1)
        .tangent(Euler(3e-5))
        .benettin(theta, intervals=36_666, steps_per_interval=20, warmup=0)
    )
    assert spectrum.exponents.sum() == pytest.approx(np.log(1 - rate * 3e-5) / 3e-5, rel=1e-10)
    # the tangent is diag(1, ..., 1, 0) by the end: it takes from the first frame what that had along b2
    factor = orthonormalise(np.diag([1.0] * 8 + [0.0]) @ random_frames(9, 9, 0, [0])[0][:, :8])[1]
    np.testing.assert_allclose(spectrum.exponents[:8], np.log(np.diagonal(factor)) / (36_666 * 6e-4), rtol=0, atol=1e-9)


@pytest.mark.parametrize("edge", [0.5, 1.7])
@pytest.mark.parametrize("minimum", [tanh_minimum, pytest.param(linear_minimum, marks=pytest.mark.slow)])
def test_exponents_at_a_minimum_are_those_of_the_hessian(minimum, edge):
    """ln|1 - dt h| / dt, in descending order: for dt h > 1 the stiffest direction is not the most stable one."""
    flow, theta, h, _ = minimum()
    dt = edge / h[-1]
    spectrum = flow.tangent(Euler(dt), backend="numba").benettin(
        theta, intervals=400, steps_per_interval=5, warmup=4000
    )
    exact = np.sort(np.log(np.abs(1 - dt * h)) / dt)[::-1]
    np.testing.assert_allclose(spectrum.exponents, exact, rtol=1e-11, atol=1e-13 / dt)


def test_leading_exponent_is_positive_above_the_edge_of_stability():
    """ln(dt h - 1) / dt for dt h = 2.2: rounding grows as fast as the frame aligns, both are at 1e-8 in the record."""
    flow, theta, h, _ = tanh_minimum()
    dt = 2.2 / h[-1]
    spectrum = flow.tangent(Euler(dt), backend="numba").benettin(theta, intervals=10, warmup=90, k=1)
    assert spectrum.exponents[0] == pytest.approx(np.log(1.2) / dt, rel=1e-6)


def test_covariant_vectors_at_a_minimum_are_the_orthogonal_eigenvectors_of_the_hessian():
    flow, theta, h, eigenvectors = tanh_minimum()
    clvs = flow.tangent(Euler(0.5 / h[-1]), backend="numba").ginelli(
        theta, intervals=5, steps_per_interval=20, warmup=1500, tail=1500
    )
    distance = line_distance(clvs.vectors, eigenvectors)
    assert distance.max() < 1e-12
    cosines = np.swapaxes(clvs.vectors, -1, -2) @ clvs.vectors
    np.testing.assert_allclose(np.abs(cosines), np.broadcast_to(np.eye(9), cosines.shape), rtol=0, atol=1e-12)


def test_of_a_dead_network_the_common_span_of_eight_vectors_is_reliable_and_not_one_of_them():
    system, theta = dead_network("mean", None)
    tangent, passes = system.tangent(Euler(0.01)), {"intervals": 5, "steps_per_interval": 10, "warmup": 200}
    with pytest.warns(DiagnosticWarning, match=r"a gap vanishes.* vector\(s\) 9 and the common span of 1-8"):
        one = tangent.ginelli(theta, tail=200, **passes)
    with pytest.warns(DiagnosticWarning):
        other = tangent.ginelli(theta, tail=200, seed=1, **passes)
    assert one.diagnostics.subspaces.tolist() == [0] * 8 + [8]
    assert line_distance(one.vectors, other.vectors)[:, 8].max() < 1e-12
    assert line_distance(one.vectors, other.vectors)[:, :8].min() > 0.05
    # the span of the eight is all that does not move the output: all axes but that of b2
    assert np.abs(one.vectors[:, 8, :8]).max() < 1e-12


def conserved_rates(flow, theta):
    """Time derivative of W W^T + b b^T - V^T V along the velocity, and the size of its terms."""
    w21, w32, b1, _ = flow.layout.unpack(theta)
    v21, v32, v1, _ = flow.layout.unpack(flow.vector_field(0.0, theta))
    half = w21.T @ v21 + np.outer(b1, v1) - w32 @ v32.T
    return half + half.T, np.linalg.norm(theta) * np.linalg.norm(flow.vector_field(0.0, theta))


@pytest.mark.parametrize("minibatch", [False, True])
@pytest.mark.parametrize(
    ("kind", "diagonal", "rest"), [(ReLU, True, False), (Linear, True, True), (Tanh, False, False)]
)
def test_velocity_conserves_what_the_activation_allows(kind, diagonal, rest, minibatch):
    """|w_j|^2 + b_j^2 - |v_j|^2 for ReLU, the whole matrix for linear networks, nothing for tanh."""
    rng = np.random.default_rng(4)
    flow = ThreeLayerGradientFlow(rng.normal(size=(9, 3)), rng.normal(size=(9, 2)), hidden=4, activation=kind())
    flow = flow.minibatches(4, seed=2).flow_at(3) if minibatch else flow
    rates, size = conserved_rates(flow, rng.normal(size=26))
    relative = np.abs(rates) / size
    on = np.eye(4, dtype=bool)
    for entries, conserved in ((relative[on], diagonal), (relative[~on], rest)):
        assert entries.max() < 1e-13 if conserved else entries.max() > 1e-3


def test_invariants_drift_in_proportion_to_the_step():
    """A step adds dt^2 times the same quadratic form of the velocity, exactly; a run at fixed T is O(dt)."""
    X, y = regression_task(50, seed=0)
    flow = ThreeLayerGradientFlow(X, y, activation=ReLU())
    theta = flow.initial(biases="random", seed=5)
    drifts = []
    for steps in (1000, 2000, 4000):
        dt = 2.0 / steps
        end = flow.tangent(Euler(dt), backend="numba").benettin(
            theta, intervals=1, steps_per_interval=steps, warmup=0, k=1
        )
        drifts.append(flow.invariants(end.end.x[0]) - flow.invariants(theta))
    # order one; kinks are crossed a step earlier or later, which is felt in the second digit
    np.testing.assert_allclose(drifts[0] / drifts[1], 2.0, rtol=0, atol=0.1)
    np.testing.assert_allclose(drifts[1] / drifts[2], 2.0, rtol=0, atol=0.1)
    x, dt, sum_of_forms = theta, 2.0 / 1000, 0.0
    for _ in range(1000):
        velocity = flow.vector_field(0.0, x)
        sum_of_forms = sum_of_forms + dt**2 * flow.invariants(velocity)
        x = x + dt * velocity
    np.testing.assert_allclose(drifts[0], sum_of_forms, rtol=1e-9)


@pytest.mark.parametrize("kind", [Tanh, GELU])
@pytest.mark.parametrize(("stepper", "order"), [(Euler, 1), (RK4, 4)])
def test_velocity_is_a_covariant_direction_to_the_order_of_the_stepper(stepper, order, kind):
    """The flow's derivative maps f(x_0) to f(x_t): the numerical one does at fixed t, up to O(dt^order)."""
    X, y = regression_task(20, seed=0)
    flow = ThreeLayerGradientFlow(X, y / 10, activation=kind())
    errors = []
    for steps in (40, 80, 160):
        tangent = flow.tangent(stepper(1.0 / steps), backend="numpy")
        x = flow.initial(seed=5)
        V = flow.vector_field(0.0, x)[:, None]
        for n in range(steps):
            x, V = tangent.step(n, x, V)
        after = flow.vector_field(0.0, x)[:, None]
        errors.append(np.linalg.norm(V - after) / np.linalg.norm(after))
    orders = -np.diff(np.log2(errors))
    np.testing.assert_allclose(orders, order, rtol=0, atol=0.15)
