"""Exponents of the monitor: closed forms at fixed points, the networks of dynsys, differences of whole trainings."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from dynsys import Adam, AdamW, Euler, GradientFlow, HeavyBall, Nesterov, RMSprop  # noqa: E402
from dynsys.passes.orthonormal import random_frames  # noqa: E402
from dynsys.torch import TorchGradientFlow, TrainingMonitor  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


class Bowl(nn.Module):
    """Half of the sum of h w^2, started at its minimum."""

    def __init__(self, curvatures):
        super().__init__()
        self.h = torch.tensor(curvatures, dtype=torch.float64)
        self.w = nn.Parameter(torch.zeros(len(curvatures), dtype=torch.float64))

    def forward(self):
        return 0.5 * (self.h * self.w.square()).sum()


def moduli(trace, determinant):
    """Logarithms of the moduli of the roots of r^2 - trace r + determinant, descending."""
    return sorted(np.log(np.abs(np.roots([1.0, -trace, determinant]))), reverse=True)


def heavy_ball(h, eta, mu, damp=0.0, decay=0.0):
    return moduli(1 + mu - (1 - damp) * eta * (h + decay), mu)


def nesterov(h, eta, mu):
    return moduli((1 + mu) * (1 - eta * h), mu * (1 - eta * h))


def adamw(h, eta, b1, b2, eps, decay):
    a, c = eta * h / eps, 1 - eta * decay
    return [*moduli(c + b1 - (1 - b1) * a, c * b1), np.log(b2)]


def rmsprop(h, eta, alpha, eps):
    return [np.log(abs(1 - eta * h / eps)), np.log(alpha)]


RULES = {
    "sgd": (lambda p: optim.SGD(p, lr=0.3, weight_decay=0.1), lambda h: [np.log(1 - 0.3 * (h + 0.1))]),
    "heavy ball": (
        lambda p: optim.SGD(p, lr=0.02, momentum=0.5, dampening=0.2, weight_decay=0.1),
        lambda h: heavy_ball(h, 0.02, 0.5, 0.2, 0.1),
    ),
    "nesterov": (lambda p: optim.SGD(p, lr=0.02, momentum=0.5, nesterov=True), lambda h: nesterov(h, 0.02, 0.5)),
    "adam": (
        lambda p: optim.Adam(p, lr=0.02, betas=(0.5, 0.9), eps=1.0),
        lambda h: adamw(h, 0.02, 0.5, 0.9, 1.0, 0.0),
    ),
    "adamw": (
        lambda p: optim.AdamW(p, lr=0.02, betas=(0.5, 0.9), eps=1.0, weight_decay=0.3),
        lambda h: adamw(h, 0.02, 0.5, 0.9, 1.0, 0.3),
    ),
    "rmsprop": (lambda p: optim.RMSprop(p, lr=0.3, alpha=0.8, eps=1.0), lambda h: rmsprop(h, 0.3, 0.8, 1.0)),
}


@pytest.mark.parametrize("rule", RULES)
def test_closed_forms_at_a_minimum(rule):
    make, exponents = RULES[rule]
    curvatures = [0.5, 1.0, 2.0]
    model = Bowl(curvatures)
    expected = np.sort(np.concatenate([exponents(h) for h in curvatures]))[::-1]
    monitor = TrainingMonitor(model, make(model.parameters()), k=len(expected), steps_per_interval=2)
    for _ in range(800):
        monitor.step(model)
    rates = monitor.spectrum().rates[395:].mean(axis=0)  # the first ones align
    np.testing.assert_allclose(np.sort(rates)[::-1], expected, rtol=0, atol=1e-6)  # of RMSprop weights stay weights


@pytest.mark.parametrize("name", ["heavy ball", "nesterov"])
def test_complex_pairs_share_their_exponent(name):
    model = Bowl([1.0])
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.81, nesterov=name == "nesterov")
    monitor = TrainingMonitor(model, optimizer, k=2, steps_per_interval=2)
    for _ in range(1000):
        monitor.step(model)
    expected = (heavy_ball if name == "heavy ball" else nesterov)(1.0, 0.5, 0.81)
    assert abs(expected[0] - expected[1]) < 1e-12
    np.testing.assert_allclose(monitor.spectrum().exponents, expected, rtol=0, atol=5 / 1000)
    np.testing.assert_allclose(monitor.spectrum().exponents.sum(), sum(expected), rtol=0, atol=1e-12)


def test_the_edge_of_stability_of_gradient_descent_lies_at_two_over_the_rate():
    for rate, sign in ((1.99, -1), (2.01, 1)):
        model = Bowl([1.0])
        monitor = TrainingMonitor(model, optim.SGD(model.parameters(), lr=rate), k=1)
        for _ in range(10):
            monitor.step(model)
        assert np.sign(monitor.spectrum().exponents[0]) == sign


def network():
    """A network of nine tanh units and weights as GradientFlow and as a module, on the same data."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    y = x[:, 0] - 0.5 * x[:, 1] ** 2
    hidden = range(3)
    names = [f"w{i}{j}" for i in hidden for j in range(2)] + [f"b{i}" for i in hidden] + [f"v{i}" for i in hidden]
    outputs = {f"h{i}": f"tanh(w{i}0*x0 + w{i}1*x1 + b{i})" for i in hidden}
    outputs["a"] = "c + " + " + ".join(f"v{i}*h{i}" for i in hidden)
    data = {"x0": x[:, 0], "x1": x[:, 1], "y": y}
    flow = GradientFlow.of("(a - y)^2", [*names, "c"], data, outputs)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    return flow, model, torch.as_tensor(x), torch.as_tensor(y)


RATE = 0.05
STEPPERS = {
    "sgd": (Euler(dt=RATE), lambda p: optim.SGD(p, lr=RATE)),
    "heavy ball": (HeavyBall(dt=RATE, momentum=0.8), lambda p: optim.SGD(p, lr=RATE, momentum=0.8)),
    "nesterov": (Nesterov(dt=RATE, momentum=0.8), lambda p: optim.SGD(p, lr=RATE, momentum=0.8, nesterov=True)),
    "adam": (
        Adam(dt=RATE, beta1=0.8, beta2=0.9, eps=0.1, weight_decay=0.1),
        lambda p: optim.Adam(p, lr=RATE, betas=(0.8, 0.9), eps=0.1, weight_decay=0.1),
    ),
    "adamw": (
        AdamW(dt=RATE, eps=0.1, weight_decay=0.1),
        lambda p: optim.AdamW(p, lr=RATE, eps=0.1, weight_decay=0.1),
    ),
    "rmsprop": (RMSprop(dt=RATE, alpha=0.8, eps=0.1), lambda p: optim.RMSprop(p, lr=RATE, alpha=0.8, eps=0.1)),
}


@pytest.mark.parametrize("batches", [True, False])
@pytest.mark.parametrize("name", STEPPERS)
def test_the_networks_of_dynsys_have_the_same_exponents(name, batches):
    stepper, make = STEPPERS[name]
    flow, model, x, y = network()
    theta = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy().copy()
    module = TorchGradientFlow(model, lambda outputs, targets: F.mse_loss(outputs[:, 0], targets), x, y)
    driven, batched = (each.minibatches(8, seed=1) if batches else each for each in (flow, module))
    tangent = driven.tangent(stepper, backend="numpy")
    k = tangent.dimension
    monitor = TrainingMonitor(model, make(model.parameters()), k=k, seed=4, steps_per_interval=5)
    for n in range(60):
        rows = torch.as_tensor(driven.rows(n)).reshape(-1) if batches else slice(None)
        monitor.step(F.mse_loss(model(x[rows])[:, 0], y[rows]))
    found = monitor.spectrum()
    for other in (tangent, batched.tangent(stepper)):
        spectrum = other.benettin(theta, intervals=12, steps_per_interval=5, warmup=0, seed=4)
        off = np.abs(found.rates - RATE * spectrum.rates)
        assert off[:, :22].max() < 1e-10
        assert off.max() < 1e-2  # the last see the rounding of a frame that is nearly singular within an interval
        np.testing.assert_allclose(found.end.x, spectrum.end.x, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.times * RATE, spectrum.times)
    if name == "heavy ball":  # whatever the loss, a step shrinks volumes by mu^13
        np.testing.assert_allclose(found.exponents.sum(), 13 * np.log(0.8), rtol=0, atol=1e-10)


def test_float32_has_the_exponents_of_float64():
    rates = []
    for dtype in (torch.float64, torch.float32):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 20), nn.Tanh(), nn.Linear(20, 5)).double().to(dtype)
        x, y = torch.randn(200, 8, dtype=torch.float64).to(dtype), torch.randint(0, 5, (200,))
        monitor = TrainingMonitor(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), k=3)
        for n in range(200):
            rows = torch.arange(20 * n, 20 * n + 20) % 200
            monitor.step(F.cross_entropy(model(x[rows]), y[rows]))
        rates.append(monitor.spectrum().rates)
    np.testing.assert_allclose(rates[0], rates[1], rtol=0, atol=1e-6)


class OwnAdam(optim.Adam):
    """Nothing new, but no optimiser of torch: it might do anything."""


class Normalised(optim.Optimizer):
    """One that mixes the weights of a tensor: it divides by the length of its mean of gradients."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                mean = state.setdefault("mean", torch.zeros_like(weight))
                mean.mul_(0.9).add_(weight.grad, alpha=0.1)
                weight.add_(mean / (mean.norm() + 1e-3), alpha=-group["lr"])


WHOLE = {
    "a subclass": (lambda p: OwnAdam(p, lr=0.01), {}),
    "of one's own": (lambda p: Normalised(p, lr=0.01), {"clip_norm": 0.1}),
    "adam": (lambda p: optim.Adam(p, lr=0.01), {}),
    "clipped by norm": (lambda p: optim.SGD(p, lr=0.5, momentum=0.9), {"clip_norm": 0.05}),
    "hardly clipped": (lambda p: optim.SGD(p, lr=0.5, momentum=0.9), {"clip_norm": 50.0}),
    "clipped by value": (lambda p: optim.SGD(p, lr=0.5, momentum=0.9), {"clip_value": 0.01}),
    "clipped twice": (lambda p: optim.Adam(p, lr=0.01), {"clip_norm": 0.1, "clip_value": 0.01}),
    "groups": (
        lambda p: optim.SGD(
            [{"params": p[:1]}, {"params": p[1:3], "lr": 0.2, "momentum": 0.0}, {"params": p[3:]}], lr=0.1, momentum=0.9
        ),
        {},
    ),
}


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("case", WHOLE)
def test_the_push_is_the_difference_of_two_trainings(case, micro):
    make, options = WHOLE[case]
    torch.manual_seed(0)
    start = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(24, 4, dtype=torch.float64), torch.randint(0, 3, (24,))

    def trained(shift, steps=5):
        model = copy.deepcopy(start)
        monitor = TrainingMonitor(model, make(list(model.parameters())), k=1, steps_per_interval=100, **options)
        row = monitor._vectors.rows[0]
        count = sum(p.numel() for p in model.parameters())
        assert not row[count:].any()  # buffers begin at zero
        begin = 0
        with torch.no_grad():
            for p in model.parameters():
                p += shift * row[begin : begin + p.numel()].view(p.shape)
                begin += p.numel()
        for n in range(steps):
            rows = torch.arange(6 * n, 6 * n + 6) % 24
            for part in rows.chunk(micro):
                monitor.backward(F.cross_entropy(model(x[part]), y[part]) / micro)
            monitor.step()
        state = np.concatenate([p.detach().reshape(-1).numpy() for p in model.parameters()])
        return state, row.numpy()[:count].copy()

    plus, minus = trained(1e-5)[0], trained(-1e-5)[0]
    tangent = trained(0.0)[1]
    np.testing.assert_allclose((plus - minus) / 2e-5, tangent, rtol=0, atol=1e-6 * np.abs(tangent).max())


def test_the_first_vectors_lie_among_the_weights_and_are_those_of_other_systems():
    X, Y = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 5
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 5)).double()
    monitor = TrainingMonitor(model, optim.Adam(model.parameters()), k=2, seed=3)
    rows, weights = monitor._vectors.rows, sum(p.numel() for p in model.parameters())
    assert not rows[:, weights:].any()
    np.testing.assert_allclose(rows.numpy().T, random_frames(3 * weights, 2, 3, [0], 2 * weights)[0], atol=1e-14)
    for _ in range(10):
        monitor.step(F.cross_entropy(model(X.double()), Y))
    assert (
        abs(monitor.spectrum().rates[0, 0]) < 0.05
    )  # second moments are tiny: a unit vector along them is no small change


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_beyond_the_number_of_weights_vectors_lie_in_all_of_the_state(name):
    make, carried = {
        "sgd": (optim.SGD, 0),
        "momentum": (lambda p: optim.SGD(p, lr=0.1, momentum=0.9), 1),
        "adam": (optim.Adam, 2),
    }[name]
    model = nn.Linear(2, 2).double()
    monitor = TrainingMonitor(model, make(model.parameters()), k=6 * (1 + carried))
    rows = monitor._vectors.rows
    assert not rows[:6, 6:].any()
    dim = 6 * (1 + carried)
    np.testing.assert_allclose(rows.numpy().T, random_frames(dim, dim, 0, [0], dim - 6)[0], atol=1e-12)
