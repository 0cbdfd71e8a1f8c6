"""Responses to a step of training: the kernel in closed form, orders, laws, methods, features, the report."""

import numpy as np
import pytest

from dynsys import InvalidInputError
from dynsys.models.activations import ReLU, Tanh
from dynsys.models.networks.deep_network import DeepNetworkFlow
from dynsys.models.reporting.report import HOLDS
from dynsys.models.training_response import response, tangent_kernel
from dynsys.models.training_response.law import fit_law
from dynsys.models.training_response.methods import METHODS
from dynsys.models.training_response.report import write
from dynsys.models.training_response.response import first_order, participation_ratio, smallest_flip
from dynsys.models.training_response.study import RATES, Study
from dynsys.testing import check_tangent

STUDY = Study(networks=3, samples=6, width=12)


@pytest.mark.parametrize("activation", [Tanh(), ReLU()])
def test_the_tangent_kernel_has_its_closed_form(activation):
    flow = DeepNetworkFlow(np.linspace(-1, 1, 5)[:, None], np.zeros(5), hidden=(7,), activation=activation, biases=True)
    theta = np.random.default_rng(0).normal(size=flow.dimension)
    (w, b), (a, _) = flow.network.unpack(theta)
    x = np.linspace(-0.9, 0.8, 4)[:, None]
    s, s1, _ = activation.fused(flow.X @ w + b)
    r, r1, _ = activation.fused(x @ w + b)
    exact = s @ r.T + ((s1 * a[:, 0] ** 2) @ r1.T) * (flow.X @ x.T + 1.0) + 1.0
    np.testing.assert_allclose(tangent_kernel(flow.network, theta, flow.X, x), exact, rtol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
def test_a_step_is_the_kernel_times_the_error_to_second_order(activation):
    errors = np.median(STUDY.steps(activation), axis=1)
    assert np.polyfit(np.log(RATES), np.log(errors), 1)[0] == pytest.approx(2.0, abs=0.05)
    flow = STUDY.flow(activation)
    theta = STUDY.initial(flow)[0]
    found = response(flow, theta, 2, 1e-6, flow.X)
    np.testing.assert_allclose(found, first_order(flow, theta, 2, 1e-6, flow.X), rtol=1e-3)


def test_the_kernel_of_wide_scaled_networks_stays():
    drift = Study(networks=3, samples=6).widths()
    slope = np.polyfit(np.log(drift["width"]), np.log(drift["drift"].mean(axis=1)), 1)[0]
    assert -1.3 < slope < -0.45


def test_momentum_is_a_heavy_ball_whose_rate_is_smaller_and_begins_at_rest():
    flow = STUDY.flow("tanh")
    theta = STUDY.initial(flow)[0]
    (method,) = (method for method in METHODS if method.momentum)
    tangent = method.tangent(flow, 0.1, seed=1)
    check_tangent(tangent, np.concatenate([theta, 0.1 * theta]))
    x, v = theta, np.zeros_like(theta)
    for _ in range(5):
        v = 0.9 * v + (1 - 0.9) * 0.1 * flow.vector_field(0.0, x)
        x = x + v
    np.testing.assert_array_equal(tangent.trajectory(theta, intervals=5).states[-1], np.concatenate([x, v]))


def test_methods_move_the_same_network():
    flow = STUDY.flow("tanh")
    theta = STUDY.initial(flow)[0]
    ends = {}
    for method in METHODS:
        tangent = method.tangent(flow, 0.01, seed=1)
        ends[method.name] = tangent.trajectory(theta, intervals=60).states[-1, : flow.dimension]
    full = ends["full batch"]
    for name, end in ends.items():
        assert 0 <= np.linalg.norm(end - full) < 0.5 * np.linalg.norm(full - theta), name
    assert len({end.tobytes() for end in ends.values()}) == 4


@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_a_power_law_is_found_with_its_error(gamma):
    time = np.concatenate([[0.0], np.geomspace(0.1, 500, 30)])
    noise = np.random.default_rng(0).normal(scale=0.02, size=(8, 31))
    law = fit_law(time, (1 + time / 5) ** -gamma * np.exp(noise))
    assert law.preferred == "power law"
    assert abs(law.gamma - gamma) < 5 * law.gamma_error
    powers = np.random.default_rng(1).normal(gamma, 0.2, size=(8, 1))  # networks differ
    spread = fit_law(time, (1 + time / 5) ** -powers)
    assert spread.gamma == pytest.approx(powers.mean(), abs=0.02)
    assert spread.gamma_error == pytest.approx(powers.std(ddof=1) / 8**0.5, rel=0.2)
    walks = np.exp(np.cumsum(np.random.default_rng(2).normal(scale=0.02, size=(20, 12, 31)), axis=-1))
    assert sum(fit_law(time, each).ages for each in walks) <= 3
    constant = fit_law(time, np.exp(noise))
    assert constant.preferred == "constant"
    growing = fit_law(time, (1 + time / 5000) * np.exp(noise))
    assert growing.preferred != "constant"
    assert growing.gamma < 0  # it does not age
    with pytest.raises(InvalidInputError, match="alpha must be positive"):
        fit_law(time, -np.ones((2, 31)))


def test_participation_counts_dimensions():
    x = np.random.default_rng(0).normal(size=(4000, 6)) @ np.diag([1, 1, 1, 1e-6, 1e-6, 1e-6])
    assert participation_ratio(x) == pytest.approx(3.0, abs=0.02)
    assert participation_ratio(x[:, :1]) == pytest.approx(1.0)


def test_the_smallest_flip_of_a_linear_output_is_the_distance_from_its_plane():
    flow = DeepNetworkFlow(np.eye(3), np.ones(3), hidden=(), biases=True)
    theta = np.array([1.0, 2.0, -2.0, 0.7])
    x = np.array([0.3, 0.1, 0.4])
    exact = abs(theta[:3] @ x + 0.7) / 3.0
    assert smallest_flip(flow.network, theta, x) == pytest.approx(exact, rel=0.03)
    assert np.isnan(smallest_flip(flow.network, np.array([0.0, 0.0, 0.0, 1.0]), x))


def test_the_tangent_carries_a_response_on():
    found = Study(networks=3, samples=6).carried(steps=60)
    off = [np.abs(each / found["tangent"] - 1).max() for each in found["difference"]]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.02
    assert off[1] / off[2] == pytest.approx(10, rel=0.5)


def test_flowers_are_two_species():
    flow = Study(networks=3, samples=20, flowers=True).flow("tanh")
    assert flow.X.shape == (20, 4)
    assert set(flow.y[:, 0]) == {-1.0, 1.0}
    np.testing.assert_allclose(flow.X.std(axis=0), 1.0)


@pytest.mark.slow
def test_the_report_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("dynsys.models.training_response.study.TIME", 5.0)
    monkeypatch.setattr("dynsys.models.training_response.study.WIDTHS", (16, 64, 256))
    monkeypatch.setattr("dynsys.models.training_response.report.FOLLOWED", ("tanh",))
    told = []
    report = write(Study(networks=3, samples=6, width=8), tmp_path, "Made by hand.", told.append).read_text()
    assert "Of 9 claims" in report
    assert report.count(f"**{HOLDS}") >= 4
    assert len(list((tmp_path / "report").iterdir())) == 8
