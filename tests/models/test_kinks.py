"""Kinks of ReLU: jumps of the velocity, what they do to tangents and replicas, and what they leave alone."""

import attrs
import numpy as np
import pytest

from dynsys import Euler, InvalidInputError
from dynsys.models.activations import ReLU, Tanh
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.models.weight_dynamics.paper import kinks
from dynsys.models.weight_dynamics.paper.kinks_figure import draw, growth_ratios, table
from dynsys.testing import check_activation

TASK = regression_task(samples=20, seed=9)


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch):
    """NumPy, which is quicker here than a compiler."""
    monkeypatch.setattr(ThreeLayerGradientFlow, "batch_kernel", lambda *_: None)


@pytest.fixture(scope="module")
def few():
    return ThreeLayerGradientFlow(*regression_task(samples=4, seed=9), hidden=1, activation=ReLU())


@pytest.fixture(scope="module")
def crossing(few):
    """A state a millisecond or less before a sample crosses the kink of the only hidden unit: (x, sample)."""
    run = (
        few.tangent(Euler(1e-3), backend="numpy").trajectory(few.initial(biases="random", seed=3), intervals=200).states
    )
    gates = kinks.gates(few, run)[:, 0]
    ((step, sample),) = np.argwhere(gates[1:] != gates[:-1])
    return run[step], sample


def saltation(flow, x, sample):
    """Jump of the velocity and saltation matrix at the point of the kink that is nearest to x: (jump, S, f-, n)."""
    normal = np.zeros(flow.dimension)
    normal[[0, 1, 3]] = *flow.X[sample], 1.0  # W21, then W32, then b1
    h = flow.X[sample] @ x[:2] + x[3]
    on = x - h * normal / (normal @ normal)
    before, after = flow.vector_field(0.0, np.stack([on + side * 1e-12 * normal for side in np.sign([h, -h])]))
    return after - before, np.eye(5) + np.outer(after - before, normal) / (normal @ before), before, normal


def test_velocity_jumps_along_the_normal_of_the_kink_by_the_formula(few, crossing):
    x, sample = crossing
    jump, S, before, normal = saltation(few, x, sample)
    h = few.X[sample] @ x[:2] + x[3]
    error = few.y[sample, 0] - x[4]  # at the kink the hidden unit is silent
    np.testing.assert_allclose(jump, -np.sign(h) * 2 / 4 * error * x[2] * normal, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(S, S.T, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(S), normal @ (before + jump) / (normal @ before), rtol=1e-9)


def test_saltation_keeps_the_gradient_of_the_invariant(few, crossing):
    x, sample = crossing
    _, S, _, normal = saltation(few, x, sample)
    on = x - (normal @ x) * normal / (normal @ normal)
    gradient = 2 * on * [1, 1, -1, 1, 0]
    np.testing.assert_allclose(gradient @ S, gradient, atol=1e-9)


def test_across_one_kink_replicas_follow_the_saltation_matrix_and_so_does_the_tangent_with_kinks(few, crossing):
    x, sample = crossing
    dt = 2e-6
    tangent = few.tangent(Euler(dt), backend="numpy")
    run = tangent.trajectory(x, intervals=650).states
    gates = kinks.gates(few, run)[:, 0, sample]
    at = int(np.flatnonzero(gates[1:] != gates[:-1])[0]) + 1
    _, S, before, normal = saltation(few, run[at - 1], sample)
    assert normal @ S @ normal > 1.5 * normal @ normal
    v = np.vstack([normal, np.random.default_rng(0).normal(size=(3, 5))])
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    starts, d = np.broadcast_to(x, v.shape), 1e-3
    delay = d * abs(normal @ v[0] / (normal @ before)) / dt
    assert 20 < delay < min(at, len(run) - at)  # many steps, all within the run

    pushed = v.T
    for step, state in enumerate([x, *run[:-1]]):
        pushed = pushed + dt * few.jvp(0.0, state, pushed)
        pushed = S @ pushed if step == at else pushed
    flow = np.log(np.linalg.norm(pushed, axis=0))

    end = tangent.trajectory(starts + d * v, intervals=1, steps_per_interval=len(run)).states[:, 0]
    replica = np.log(np.linalg.norm(end - run[-1], axis=1) / d)
    step = kinks.tangent_growth(tangent, starts, v, len(run))
    corrected = kinks.tangent_growth(kinks.with_kinks(few, 1e-3).tangent(Euler(dt)), starts, v, len(run))
    np.testing.assert_allclose(replica, flow, atol=0.01)
    np.testing.assert_allclose(corrected[1:], flow[1:], atol=0.003)
    # in the triangle the velocity is the first half of the time that before, then that after: third order in the jump
    r = normal @ S @ normal / (normal @ normal)
    assert corrected[0] - flow[0] == pytest.approx((r - 1 / r) / 2 - np.log(r), abs=0.002)
    assert abs(step[0] - flow[0]) > 0.4
    # at a distance that one step bridges, the replica crosses with its reference, and follows the tangent of the step
    end = tangent.trajectory(starts + 1e-9 * v, intervals=1, steps_per_interval=len(run)).states[:, 0]
    np.testing.assert_allclose(np.log(np.linalg.norm(end - run[-1], axis=1) / 1e-9), step, atol=1e-5)


def test_the_activation_with_kinks_moves_as_relu_and_its_second_derivative_has_area_one():
    d = np.linspace(-1, 1, 20_001)
    s, s1, s2 = kinks.relu_with_kinks(0.3).fused(d)
    np.testing.assert_array_equal(s, ReLU().sigma(d))
    np.testing.assert_array_equal(s1, ReLU().dsigma(d))
    assert np.trapezoid(s2, d) == pytest.approx(1.0, abs=1e-6)
    check_activation(kinks.relu_with_kinks(1e-3), points=np.array([-1.0, -0.1, 0.1, 1.0]))
    flow = ThreeLayerGradientFlow(*TASK, activation=ReLU())
    x0 = flow.initial(seed=1)
    runs = [each.tangent(Euler(1e-3)).trajectory(x0, intervals=50).states for each in (flow, kinks.with_kinks(flow))]
    np.testing.assert_array_equal(*runs)
    smooth = attrs.evolve(flow, activation=Tanh())
    assert kinks.with_kinks(smooth) is smooth
    with pytest.raises(InvalidInputError, match="width must be a positive finite number, got 0"):
        kinks.relu_with_kinks(0)


def gaps(flow, x0, steps=100):
    """|growth of replica / growth of tangent - 1| at d = 1e-3, 1e-4, 1e-5, shape (members, 3)."""
    v = np.random.default_rng(1).normal(size=x0.shape)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    tangent = flow.tangent(Euler(1e-3))
    end = tangent.trajectory(x0, intervals=1, steps_per_interval=steps).states[:, 0]
    growth = np.exp(kinks.tangent_growth(tangent, x0, v, steps))
    found = []
    for d in (1e-3, 1e-4, 1e-5):
        other = tangent.trajectory(x0 + d * v, intervals=1, steps_per_interval=steps).states[:, 0]
        found.append(np.linalg.norm(other - end, axis=1) / d / growth - 1)
    return np.abs(found).T


@pytest.mark.parametrize(("activation", "bias"), [(Tanh(), 0.0), (ReLU(), 8.0)])
def test_where_no_kink_is_crossed_replicas_agree_with_the_tangent_to_first_order_in_their_distance(activation, bias):
    flow = ThreeLayerGradientFlow(*TASK, activation=activation)
    x0 = flow.initial(members=3, seed=2)
    x0[:, flow.layout.blocks["b1"]] += bias
    if activation.kinks:
        run = flow.tangent(Euler(1e-3)).trajectory(x0, intervals=100).states
        assert kinks.gates(flow, run).all()
    found = gaps(flow, x0)
    assert (found < 2e-2).all()
    np.testing.assert_allclose(found[:, 0] / found[:, 1], 10, rtol=0.1)
    np.testing.assert_allclose(found[:, 1] / found[:, 2], 10, rtol=0.1)


def test_a_dead_network_is_linear_and_replicas_agree_to_rounding():
    flow = ThreeLayerGradientFlow(*TASK, activation=ReLU())
    x0 = flow.initial(members=3, seed=2)
    x0[:, flow.layout.blocks["b1"]] -= 20.0
    assert (gaps(flow, x0)[:, 0] < 1e-11).all()


def test_gates_and_delays_are_those_counted_one_by_one():
    flow = ThreeLayerGradientFlow(*TASK, activation=ReLU())
    tangent = flow.tangent(Euler(1e-3))
    x0 = flow.initial(members=2, biases="random", seed=4)
    run = tangent.trajectory(x0, intervals=60).states
    other = tangent.trajectory(x0 + 0.05, intervals=12, steps_per_interval=5).states
    w21, _, b1, _ = flow.layout.unpack(run)
    by_hand = np.einsum("si,mtij->mtjs", flow.X, w21) + b1[..., None] > 0
    np.testing.assert_array_equal(kinks.gates(flow, run), by_hand)
    crossings, late = kinks.delays(flow, run, other[:, None])
    np.testing.assert_array_equal(crossings, (by_hand[:, 1:] != by_hand[:, :-1]).sum(axis=(1, 2, 3)))
    apart = (kinks.gates(flow, other) != by_hand[:, 4::5]).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(late[:, 0] * crossings, 5 * apart)
    assert (crossings > 0).all()
    assert late.any()


def test_an_euler_step_changes_the_invariants_of_relu_by_their_value_at_the_velocity_times_dt_squared():
    flow = ThreeLayerGradientFlow(*TASK, activation=ReLU())
    x = flow.initial(members=50, biases="random", seed=1)
    f, dt = flow.vector_field(0.0, x), 0.1
    np.testing.assert_allclose(flow.invariants(x + dt * f) - flow.invariants(x), dt**2 * flow.invariants(f), atol=1e-10)


def test_the_drift_of_the_invariants_is_first_order_for_relu_and_not_small_for_tanh():
    found = kinks.invariant_drift(*TASK, members=3, time=0.1)
    assert float(found.slope.sel(activation="relu")) == pytest.approx(1.0, abs=0.03)
    assert float(found.slope.sel(activation="tanh")) == pytest.approx(0.0, abs=0.03)
    assert (found.drift.sel(activation="tanh") > 10 * found.drift.sel(activation="relu")).all()


@pytest.fixture(scope="module")
def few_replicas():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ThreeLayerGradientFlow, "batch_kernel", lambda *_: None)
        return kinks.replicas(*TASK, members=3, time=0.1, rates=(1e-3, 5e-4), distances=(1e-8, 1e-2), seed=3)


def test_replicas_are_labelled_and_belong_to_their_starts(few_replicas):
    data = few_replicas
    assert dict(data.sizes) == {"activation": 2, "biases": 2, "member": 3, "rate": 2, "distance": 2}
    tanh = data.sel(activation="tanh")
    np.testing.assert_array_equal(tanh.tangent, tanh.with_kinks)
    assert not tanh.crossings.any()
    assert tanh.late.isnull().all()
    # nothing is crossed between a replica at 1e-8 and its reference: both follow the tangent of the step
    near = data.sel(distance=1e-8)
    np.testing.assert_allclose(near.replica, near.tangent, atol=1e-4)
    one = data.sel(activation="relu", biases="random", rate=5e-4)
    flow = ThreeLayerGradientFlow(*TASK, activation=ReLU())
    x0 = flow.initial(biases="random", members=3, seed=3)
    ends = [flow.tangent(Euler(5e-4)).trajectory(x, intervals=200).states for x in x0]
    np.testing.assert_array_equal(one.crossings, [np.diff(kinks.gates(flow, run), axis=0).sum() for run in ends])
    with pytest.raises(InvalidInputError, match="time must be a multiple of 100 of the rate"):
        kinks.replicas(*TASK, members=1, time=0.1, rates=(3e-4,))


def test_the_table_and_the_figure_show_the_quartiles(few_replicas, tmp_path):
    header, rows = table(few_replicas)
    assert len(rows) == 2 * 2 * 2
    assert {len(row) for row in rows} == {len(header)}
    ratio = np.exp(0.1 * (few_replicas.replica - few_replicas.tangent)).isel(activation=0, biases=0, rate=0, distance=1)
    low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
    assert rows[1][3] == f"{middle:.3f} ({low:.3f} to {high:.3f})"
    np.testing.assert_allclose(growth_ratios(few_replicas).tangent[:, 0, 0, 0, 1], [low, middle, high])
    path = draw(few_replicas, tmp_path / "kinks", "A title")
    assert path.stat().st_size > 10_000
    lines = path.with_suffix(".csv").read_text().splitlines()
    assert lines[0].startswith("panel,tangent,rate,x,y")
    assert sum(line.startswith('"ReLU, zero biases"') for line in lines) == 2 * 2 * 2


def test_exponents_without_kinks_are_those_of_benettin():
    found = kinks.exponents(*TASK, members=2, time=0.1, seed=1)
    flow = ThreeLayerGradientFlow(*TASK, activation=ReLU())
    spectrum = flow.tangent(Euler(1e-3)).benettin(
        flow.initial(members=2, seed=1), intervals=5, steps_per_interval=20, warmup=0, seed=1
    )
    np.testing.assert_allclose(found.exponent.sel(tangent="step"), spectrum.exponents, rtol=1e-12)
    assert (np.abs(found.exponent[1] - found.exponent[0]) > 1e-6).any()
