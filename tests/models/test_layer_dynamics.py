"""Layers of deep networks: what is conserved, closed forms, exponents at a minimum, the report."""

import attrs
import numpy as np
import pytest

from dynsys import RK4, Euler, InvalidInputError
from dynsys.models.activations import LeakyReLU, Linear, ReLU, Tanh
from dynsys.models.layer_dynamics import DeepNetworkFlow
from dynsys.models.layer_dynamics.closed_form import balanced_initial, mode_strength, singular_vectors, white
from dynsys.models.layer_dynamics.report import write
from dynsys.models.layer_dynamics.study import DEPTHS, KINDS, Study, moved
from dynsys.models.networks import CrossEntropy
from dynsys.models.reporting.report import HOLDS

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(20, 5)), RANDOM.normal(size=(20, 3))


def flow_of(activation, biases=False, hidden=(6, 6)):
    return DeepNetworkFlow(X, Y, hidden=hidden, activation=activation, biases=biases)


def test_what_is_conserved_is_so_for_any_loss_and_in_scaled_networks():
    flow = DeepNetworkFlow(X, np.arange(20) % 3, (6, 4), loss=CrossEntropy, biases=True, scaled=True)
    for activation in (Linear(), ReLU()):
        other = attrs.evolve(flow, activation=activation)
        x = other.initial(seed=1)
        v = other.vector_field(0.0, x)
        assert other.conserved(x).shape == ({Linear: 6 * 7 // 2 + 4 * 5 // 2, ReLU: 10}[type(activation)],)
        np.testing.assert_allclose(other.conserved(x + v) - other.conserved(x - v), 0.0, atol=1e-13)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize(
    ("activation", "expected"), [(Linear(), "all"), (ReLU(), "diagonal"), (LeakyReLU(), "diagonal"), (Tanh(), "none")]
)
def test_velocities_keep_what_is_conserved_exactly_and_nothing_else(activation, expected, biases):
    """d/dt G along the velocity, by the complex step: G is quadratic, so that differences are exact."""
    flow = flow_of(activation, biases)
    x = flow.initial(seed=1) + 0.05
    v = flow.vector_field(0.0, x)
    for plus, minus in zip(flow.balances(x + v), flow.balances(x - v), strict=True):
        slope = 0.5 * (plus - minus)
        size = np.abs(slope).max()
        off = np.abs(slope - np.diag(np.diag(slope))).max()
        if expected == "all":
            assert size < 1e-13
        else:
            assert off > 1e-3
            assert (np.abs(np.diag(slope)).max() < 1e-13) == (expected == "diagonal")
    assert flow.vanishing_exponents == {"all": 42, "diagonal": 12, "none": 0}[expected]


def test_conserved_quantities_are_counted_once():
    """Of a wide layer between narrow ones, G = W_2^T W_2 - W_1 W_1^T has a rank of inputs + outputs at most."""
    narrow = DeepNetworkFlow(X[:, :2], Y[:, :1], hidden=(6,))
    assert narrow.vanishing_exponents == 6 * 7 // 2 - 3 * 4 // 2
    assert narrow.conserved(narrow.initial(members=4)).shape == (4, 21)


@pytest.mark.parametrize(("kind", "power"), [("linear", 1), ("ReLU", 0), ("tanh", 0)])
def test_drift_under_gradient_descent_is_proportional_to_the_step_where_the_flow_has_none(kind, power):
    study = Study(networks=3, samples=20)
    drift = study.drift(kind)
    slope = np.polyfit(np.log([1e-2, 3e-3, 1e-3]), np.log(np.median(drift["all"], axis=1)), 1)[0]
    assert slope == pytest.approx(power, abs=0.1)
    diagonal = np.polyfit(np.log([1e-2, 3e-3, 1e-3]), np.log(np.median(drift["diagonal"], axis=1)), 1)[0]
    assert diagonal == pytest.approx(0 if kind == "tanh" else 1, abs=0.1)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_balanced_modes_follow_their_closed_form(depth):
    inputs = white(X)
    np.testing.assert_allclose(inputs.T @ inputs / 20, np.eye(5), atol=1e-12)
    y = inputs @ RANDOM.normal(size=(5, 3))
    flow = DeepNetworkFlow(inputs, y, hidden=(4,) * (depth - 1))
    start, ends = np.array([0.02, 0.03, 0.04]), np.linalg.svd(y.T @ inputs / 20)[1]
    x = balanced_initial(flow, start)
    assert all(np.abs(G).max() < 1e-14 for G in flow.balances(x))
    U, V = singular_vectors(flow)
    time, product = 1.5, np.eye(5)
    for W, _ in flow.network.unpack(moved(flow, RK4(0.01), x, 150)):
        product = product @ W
    modes = U.T @ product.T @ V
    exact = [mode_strength(np.array([time]), a, b, depth)[0] for a, b in zip(start, ends, strict=True)]
    np.testing.assert_allclose(np.diag(modes), exact, rtol=1e-5)
    np.testing.assert_allclose(modes - np.diag(np.diag(modes)), 0.0, atol=1e-12)


def test_the_closed_form_solves_its_equation():
    t = np.linspace(0.0, 3.0, 4001)
    for depth in (1, *DEPTHS):
        u = mode_strength(t, 0.05, 1.7, depth)
        slopes = np.gradient(u, t, edge_order=2)
        np.testing.assert_allclose(slopes[1:-1], (depth * u ** (2 - 2 / depth) * (1.7 - u))[1:-1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.numba
def test_exponents_at_a_minimum_are_those_of_the_hessian_and_enough_vanish():
    found = Study(networks=2, samples=40).minimum("linear")
    null, kept = found["counts"]
    assert (null, kept) == (69, 42)  # parameters minus rank: 84 - 15
    assert np.abs(found["exponents"] - found["exact"]).max() < 1e-3
    assert np.sum(np.abs(found["exact"]) < 1e-9) == np.sum(np.abs(found["exponents"]) < 0.01) == null
    assert found["angle"] < 1e-9


def test_strengths_must_be_positive():
    with pytest.raises(InvalidInputError, match="strengths must be positive"):
        balanced_initial(flow_of(Linear()), [0.1, -0.1])
    with pytest.raises(InvalidInputError, match="must be white"):
        balanced_initial(flow_of(Linear()), [0.1, 0.2])
    with pytest.raises(InvalidInputError, match="of a linear network"):
        balanced_initial(flow_of(ReLU()), [0.1, 0.2])


@pytest.mark.slow
def test_the_report_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(DeepNetworkFlow, "kernel", lambda self: None)  # compiling takes longer than these few steps
    monkeypatch.setattr("dynsys.models.layer_dynamics.study.GROWTH_TIME", 8.0)
    monkeypatch.setattr("dynsys.models.layer_dynamics.study.STEPS", (1e-2, 5e-3))
    monkeypatch.setattr("dynsys.models.layer_dynamics.claims.STEPS", (1e-2, 5e-3))
    monkeypatch.setattr("dynsys.models.layer_dynamics.figures.STEPS", (1e-2, 5e-3))
    monkeypatch.setattr("dynsys.models.layer_dynamics.study.INTERVALS", 20)
    monkeypatch.setattr("dynsys.models.layer_dynamics.report.AT_MINIMUM", ("linear",))
    told = []
    report = write(Study(networks=2, samples=20), tmp_path, "Made by hand.", told.append).read_text()
    assert "Of 14 claims" in report
    assert report.count(f"**{HOLDS}") >= 9
    assert len(told) == 2 * len(KINDS) + 3
    assert len(list((tmp_path / "report").iterdir())) == 10


def test_growth_is_that_of_the_derivative():
    flow = flow_of(ReLU(), biases=True)
    x = flow.initial(seed=3)
    course = attrs.evolve(Study(networks=2), samples=20).growth("linear", times=3)
    assert np.ptp(course["squares"][-1] - course["squares"][0]) < 1e-4
    fine = attrs.evolve(Study(networks=2), samples=20).growth("linear", times=401)
    slopes = np.gradient(fine["squares"], fine["time"], axis=0)
    np.testing.assert_allclose(fine["rate"][5:-5], slopes[5:-5], rtol=0.05, atol=1e-4)
    after = moved(flow, Euler(1e-6), x, 1)
    W, before = flow.network.unpack(after)[0][0], flow.network.unpack(x)[0][0]
    V = flow.network.unpack(flow.vector_field(0.0, x))[0][0]
    np.testing.assert_allclose((np.sum(W**2) - np.sum(before**2)) / 1e-6, 2 * np.sum(before * V), rtol=1e-4)
