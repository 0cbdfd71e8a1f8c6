"""Optimisers against PyTorch's: the same weights over training, and derivatives by dual numbers."""

import numpy as np
import pytest

from dynsys import Adam, AdamW, FlowStep, GradientFlow, HeavyBall, Nesterov, RMSprop

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

PAIRS = {
    "heavy ball": (HeavyBall(0.05, 0.8), lambda p: torch.optim.SGD(p, 0.05, momentum=0.8)),
    "Nesterov": (Nesterov(0.05, 0.8), lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True)),
    "heavy ball, decay": (
        HeavyBall(0.05, 0.8, weight_decay=0.2),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, weight_decay=0.2),
    ),
    "Nesterov, decay": (
        Nesterov(0.05, 0.8, weight_decay=0.2),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True, weight_decay=0.2),
    ),
    "Adam": (Adam(0.02), lambda p: torch.optim.Adam(p, 0.02)),
    "Adam, all numbers": (
        Adam(0.03, 0.7, 0.95, 0.1, weight_decay=0.2),
        lambda p: torch.optim.Adam(p, 0.03, betas=(0.7, 0.95), eps=0.1, weight_decay=0.2),
    ),
    "AdamW": (AdamW(0.02), lambda p: torch.optim.AdamW(p, 0.02)),
    "AdamW, all numbers": (
        AdamW(0.03, 0.7, 0.95, 0.1, weight_decay=0.2),
        lambda p: torch.optim.AdamW(p, 0.03, betas=(0.7, 0.95), eps=0.1, weight_decay=0.2),
    ),
    "RMSprop": (RMSprop(0.02), lambda p: torch.optim.RMSprop(p, 0.02)),
    "RMSprop, all numbers": (
        RMSprop(0.03, 0.8, 0.1, weight_decay=0.2),
        lambda p: torch.optim.RMSprop(p, 0.03, alpha=0.8, eps=0.1, weight_decay=0.2),
    ),
}
STEPPERS = pytest.mark.parametrize("stepper", [stepper for stepper, _ in PAIRS.values()], ids=PAIRS)
STATE = {  # what PyTorch keeps, as parts of ours
    HeavyBall: {"momentum_buffer": -0.05},  # minus the rate
    Nesterov: {"momentum_buffer": -0.05},
    Adam: {"exp_avg": 1.0, "exp_avg_sq": 1.0},
    AdamW: {"exp_avg": 1.0, "exp_avg_sq": 1.0},
    RMSprop: {"square_avg": 1.0},
}


def network():
    """A network of two units and a bias, on twelve samples."""
    x, z = np.random.default_rng(1).normal(size=(2, 12))
    outputs = {"h": "tanh(a*x + b)", "k": "tanh(c*x + d)"}
    data = {"x": x, "y": np.sin(2 * x) + 0.1 * z}
    return GradientFlow.of("(y - v*h - w*k)^2", ["a", "b", "c", "d", "v", "w"], data, outputs)


def loss(theta, data):
    a, b, c, d, v, w = theta
    x, y = torch.tensor(data).T
    return ((y - v * torch.tanh(a * x + b) - w * torch.tanh(c * x + d)) ** 2).mean()


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("size", [None, 5])
def test_weights_are_those_of_pytorch_over_a_training(pair, size):
    stepper, optimiser = pair
    flow = network() if size is None else network().minibatches(size, seed=3)
    step = FlowStep(flow, stepper)
    theta = torch.tensor(np.random.default_rng(2).normal(size=6), requires_grad=True)
    theirs, x = optimiser([theta]), step.complete(theta.detach().numpy().copy())
    for n in range(50):
        theirs.zero_grad()
        loss(theta, flow.flow_at(n).data).backward()
        theirs.step()
        x = step.step(n, x)
        carried = [scale * theirs.state[theta][name].numpy() for name, scale in STATE[type(stepper)].items()]
        np.testing.assert_allclose(x, np.concatenate([theta.detach().numpy(), *carried]), rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # by torch.func.jvp itself
@STEPPERS
@pytest.mark.parametrize("n", [0, 7])
def test_coefficients_are_the_derivatives_by_dual_numbers(stepper, n):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(2 + stepper.carried, 5, generator=generator, dtype=torch.float64) + 0.1
    tangents = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
    moved, coefficients = stepper.update(n, inputs[:-1].unbind(), inputs[-1])
    _, exact = torch.func.jvp(lambda *z: tuple(stepper.update(n, z[:-1], z[-1])[0]), inputs.unbind(), tangents.unbind())
    for row, dual in zip(coefficients, exact, strict=True):
        torch.testing.assert_close(sum(a * v for a, v in zip(row, tangents, strict=True)), dual, rtol=1e-13, atol=1e-13)
    numbers = stepper.update(n, list(inputs[:-1].numpy()), inputs[-1].numpy())
    for ours, theirs in zip([*numbers[0], *sum(numbers[1], ())], [*moved, *sum(coefficients, ())], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)


@STEPPERS
def test_tensors_keep_their_precision_and_their_shape(stepper):
    parts = [torch.rand(4, 3) for _ in range(1 + stepper.carried)]
    moved, coefficients = stepper.update(0, parts, torch.zeros(4, 3))
    for tensor in [*moved, *(a for row in coefficients for a in row if isinstance(a, torch.Tensor))]:
        assert tensor.dtype == torch.float32
        assert tensor.shape == (4, 3)
        assert tensor.isfinite().all()
    still = [torch.zeros(3) for _ in parts]  # dead units
    for tensor in [a for row in stepper.update(0, still, torch.zeros(3))[1] for a in row]:
        assert torch.as_tensor(tensor).isfinite().all()
