"""Optimisers at minima of networks: their exponents are those of the eigenvalues of the Hessian, one by one."""

import attrs
import numpy as np
import pytest
from optimiser_roots import exponents, largest_rate

from dynsys import Adam, AdamW, FlowStep, GradientFlow, HeavyBall, Nesterov, RMSprop
from dynsys.models.activations import ReLU, Tanh
from dynsys.models.networks import DeepNetworkFlow, ThreeLayerGradientFlow

RATE = 0.027  # all roots are real for the Hessians below
RULES = {
    "heavy ball": HeavyBall(RATE, 0.3),
    "Nesterov": Nesterov(RATE, 0.3),
    "Adam": Adam(RATE, 0.3, 0.5, 1.0),
    "AdamW": AdamW(RATE, 0.3, 0.5, 1.0, weight_decay=0.0),  # with decay its rest is elsewhere
    "RMSprop": RMSprop(RATE, 0.5, 1.0),
}
EVERY = pytest.mark.parametrize("stepper", RULES.values(), ids=RULES)


def minima():
    """Flows, each with a minimum: where a network is that which gave the data, or a convex loss is flat."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    x, y = X[:, 0], X.sum(axis=1) > 0.0
    found = {}
    for name, activation in (("tanh", Tanh()), ("ReLU", ReLU())):
        theta = np.random.default_rng(2).normal(size=9)
        flow = ThreeLayerGradientFlow(X, np.zeros(40), hidden=2, activation=activation)
        found[f"three layers, {name}"] = attrs.evolve(flow, y=flow.output(theta)), theta
        theta = np.random.default_rng(3 if name == "tanh" else 2).normal(size=13)
        flow = DeepNetworkFlow(X, np.zeros((40, 1)), (3,), activation=activation, biases=True)
        found[f"deep, {name}"] = attrs.evolve(flow, y=flow.network.outputs(theta, X)), theta
    logistic, theta = (
        GradientFlow.of("log(1 + exp(a)) - y*a", ["w", "b"], {"x": x, "y": y}, {"a": "w*x + b"}),
        np.zeros(2),
    )
    for _ in range(20):  # Newton's method
        theta = theta - np.linalg.solve(logistic.jacobian(0.0, theta), logistic.vector_field(0.0, theta))
    return found | {"logistic regression": (logistic, theta)}


MINIMA = minima()


def curvatures(flow, theta):
    assert np.abs(flow.vector_field(0.0, theta)).max() < 1e-16
    return np.linalg.eigvalsh(-flow.jacobian(0.0, theta))


@EVERY
@pytest.mark.parametrize("name", MINIMA)
def test_a_step_at_a_minimum_has_the_roots_of_its_hessian(stepper, name):
    flow, theta = MINIMA[name]
    step = FlowStep(flow, stepper)
    x = step.complete(theta)
    for n in (0, 1000):  # rates are those of a run that has been there for long
        found = step.linear_rates(n, x)
        np.testing.assert_allclose(found, exponents(stepper, curvatures(flow, theta)), rtol=0, atol=1e-11 / RATE)
    M = step.step_tangent(10**6, x, np.eye(x.size))[1]
    assert np.abs(np.sort(np.log(np.abs(np.linalg.eigvals(M))))[::-1] / RATE - found).max() < 1e-8


@pytest.mark.parametrize("name", ["three layers, ReLU", "deep, ReLU"])
def test_scales_of_a_relu_unit_give_zero_and_what_the_memory_keeps(name):
    """One direction for each active unit along which the loss does not change: 0, and ln mu or ln beta1 with it."""
    flow, theta = MINIMA[name]
    flat = int(np.sum(np.abs(curvatures(flow, theta)) < 1e-12))
    assert flat >= flow.vanishing_exponents >= 2
    for stepper, kept in ((RULES["heavy ball"], 0.3), (RULES["Adam"], 0.3), (RULES["RMSprop"], 0.5)):
        step = FlowStep(flow, stepper)
        rates = step.linear_rates(0, step.complete(theta))
        assert np.sum(np.abs(rates) < 1e-9) == flat
        assert np.sum(np.abs(rates - np.log(kept) / RATE) < 1e-9) >= flat


@EVERY
def test_the_largest_curvature_decides_what_is_stable(stepper):
    flow, theta = MINIMA["three layers, tanh"]
    sharpness = curvatures(flow, theta)[-1]
    for share, stable in ((0.999, True), (1.001, False)):
        at = attrs.evolve(stepper, dt=share * largest_rate(stepper) / sharpness)
        step = FlowStep(flow, at)
        assert (step.linear_rates(0, step.complete(theta))[0] < 0.0) == stable


@pytest.mark.numba
@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("name", ["three layers, tanh", "logistic regression"])
def test_the_spectrum_at_a_minimum_is_that_of_its_hessian(stepper, name):
    flow, theta = MINIMA[name]
    run = {"intervals": 20_000, "steps_per_interval": 10, "warmup": 10_000}
    spectrum = flow.tangent(stepper, backend="numba").benettin(theta, **run)
    exact = exponents(stepper, curvatures(flow, theta))
    np.testing.assert_allclose(np.sort(spectrum.exponents)[::-1], exact, rtol=0, atol=1e-6)
    np.testing.assert_allclose(spectrum.diagnostics.rest, exact, rtol=0, atol=1e-9)
