"""The monitor in a training loop: not a bit of the training changes, and the exponents are those of the training."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from dynsys.torch import TrainingMonitor  # noqa: E402

pytestmark = pytest.mark.torch

SCHEDULES = {
    "none": lambda optimizer: None,
    "one cycle": lambda optimizer: optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=20),
    "from zero": lambda optimizer: optim.lr_scheduler.LambdaLR(optimizer, lambda n: n / 10),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Tied(nn.Module):
    """An embedding whose weights are used again, rows of it never, and a layer that is not used in odd steps."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.mixed = nn.Linear(4, 4)
        self.now_and_then = nn.Linear(4, 4)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        h = torch.tanh(self.mixed(self.table((x[:, :3].abs() * 2).long().clamp(max=6)).mean(1)))
        if self.calls % 2:
            h = h + self.now_and_then(h)
        return h @ self.table.weight.T


MODELS = {
    "tanh": lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 9)),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 9)),
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 9)),
    "group norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.GroupNorm(2, 8), nn.SiLU(), nn.Linear(8, 9)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.Mish(), nn.Flatten(), nn.Linear(16, 9)
    ),
    "layer norm": lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 9)),
    "recurrent": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 2)), nn.LSTM(2, 4, batch_first=True), Last(), nn.Linear(4, 9)
    ),
    "tied": Tied,
}


class Last(nn.Module):
    """The last output of a recurrent layer."""

    def forward(self, outputs):
        return outputs[0][:, -1]


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2, dampening=0.1),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "foreach": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, foreach=True),
    "fused": lambda p: optim.AdamW(p, lr=0.01, fused=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=1e-2),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "adadelta": lambda p: optim.Adadelta(p),
    "nadam": lambda p: optim.NAdam(p),
    "radam": lambda p: optim.RAdam(p),
    "adamax": lambda p: optim.Adamax(p),
    "asgd": lambda p: optim.ASGD(p),
}


def train(model, optimizer, schedule=None, *, watched, steps=12, micro=1, clip_norm=None, clip_value=None, k=3):
    """Losses and weights of a training, with or without a monitor, and the monitor."""
    torch.manual_seed(3)
    options = {"clip_norm": clip_norm, "clip_value": clip_value}
    monitor = TrainingMonitor(model, optimizer, k=k, steps_per_interval=4, **options) if watched else None
    np.random.seed(5)  # noqa: NPY002
    losses = []
    for _ in range(steps):
        batches = []
        for _ in range(micro):
            x = torch.randn(10, 6, dtype=next(model.parameters()).dtype)
            batches.append((x, torch.randint(0, 9, (10,))))
        if monitor is not None and micro == 1:
            losses.append(monitor.step(F.cross_entropy(model(batches[0][0]), batches[0][1])))
        elif monitor is not None:
            for x, y in batches:
                monitor.backward(F.cross_entropy(model(x), y) / micro)
            losses.append(monitor.step())
        else:
            optimizer.zero_grad()
            total = []
            for x, y in batches:
                loss = F.cross_entropy(model(x), y) / micro
                loss.backward()
                total.append(loss.detach())
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            if clip_value is not None:
                nn.utils.clip_grad_value_(model.parameters(), clip_value)
            optimizer.step()
            losses.append(torch.stack(total).sum())
        if schedule is not None:
            schedule.step()
    randomness = [torch.rand(3), torch.as_tensor(np.random.rand(3))]  # noqa: NPY002
    return torch.stack(losses), [*model.state_dict().values(), *randomness], monitor


def assert_same_bits(model, optimizer, schedule="none", *, double=False, **options):
    results = []
    for watched in (False, True):
        torch.manual_seed(0)
        one = model().double() if double else model()
        used = optimizer(one.parameters())
        results.append(train(one, used, SCHEDULES[schedule](used), watched=watched, **options))
    (losses, weights, _), (watched_losses, watched_weights, monitor) = results
    assert torch.equal(losses, watched_losses)
    for a, b in zip(weights, watched_weights, strict=True):
        assert torch.equal(a, b)
    assert not monitor.stopped
    assert np.isfinite(monitor.spectrum().exponents).all()
    return monitor


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimiser_changes_by_a_bit(name):
    assert_same_bits(MODELS["tanh"], OPTIMIZERS[name])


@pytest.mark.parametrize("name", MODELS)
def test_no_model_changes_by_a_bit(name):
    assert_same_bits(MODELS[name], OPTIMIZERS["momentum"])
    assert_same_bits(MODELS[name], OPTIMIZERS["adam"], double=True)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("options", [{"micro": 3}, {"clip_norm": 0.5}, {"clip_value": 0.02}, {"clip_norm": 1e3}])
def test_no_loop_changes_by_a_bit(schedule, options):
    assert_same_bits(MODELS["dropout"], OPTIMIZERS["momentum"], schedule, **options)


def test_weight_norm_whose_second_derivative_is_wrong_in_torch_is_named():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.Tanh(), nn.Linear(8, 9))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"second derivatives, got weight_norm.*parametriz"):
        train(model, optim.SGD(model.parameters(), lr=0.1), watched=True)
    for a, b in zip(before.values(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


class Normed(nn.Module):
    """Weight norm as a parametrization of one's own."""

    def forward(self, v):
        return v / v.norm(dim=1, keepdim=True)


def test_weight_norm_of_ones_own_is_followed():
    def model():
        linear = nn.Linear(6, 8)
        nn.utils.parametrize.register_parametrization(linear, "weight", Normed())
        return nn.Sequential(linear, nn.Tanh(), nn.Linear(8, 9))

    assert_same_bits(model, OPTIMIZERS["momentum"])
