"""The monitor in a training loop: not a bit of the training changes, and the exponents are those of the training."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from dynsys import InvalidInputError  # noqa: E402
from dynsys.torch import TrainingMonitor  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

SCHEDULES = {
    "none": lambda optimizer: None,
    "one cycle": lambda optimizer: optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=20),
    "from zero": lambda optimizer: optim.lr_scheduler.LambdaLR(optimizer, lambda n: n / 10),
}


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


def test_frozen_weights_and_groups_change_by_no_bit():
    def model():
        made = MODELS["batch norm"]()
        made[0].weight.requires_grad_(False)
        return made

    def optimizer(weights):
        first, *others = weights
        return optim.SGD([{"params": [first, others[0]], "lr": 0.1}, {"params": others[1:], "momentum": 0.9}], lr=0.05)

    monitor = assert_same_bits(model, optimizer, clip_norm=0.5)
    assert monitor.dimension == 8 + 2 * (8 + 8 + 72 + 9)


def test_weight_norm_whose_second_derivative_is_wrong_in_torch_is_named():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.Tanh(), nn.Linear(8, 9))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"weight_norm.*parametriz"):
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


KEPT = """
import sys, torch
from torch import nn, optim
from torch.nn import functional as F
from dynsys.torch import TrainingMonitor

def begin():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 9))
    return model, optim.Adam(model.parameters(), lr=0.01)

def batch(n):
    generator = torch.Generator().manual_seed(n)
    return torch.randn(10, 6, generator=generator), torch.randint(0, 9, (10,), generator=generator)

def train(model, optimizer, monitor, begin, end):
    for n in range(begin, end):
        x, y = batch(n)
        monitor.step(F.cross_entropy(model(x), y))

def keep(folder, model, optimizer, monitor):
    torch.save((model.state_dict(), optimizer.state_dict(), torch.get_rng_state()), f"{folder}/state.pt")
    monitor.save(f"{folder}/monitor.npz")

def resume(folder):
    model, optimizer = begin()
    states = torch.load(f"{folder}/state.pt", weights_only=True)
    model.load_state_dict(states[0])
    optimizer.load_state_dict(states[1])
    torch.set_rng_state(states[2])
    return model, optimizer, TrainingMonitor.load(f"{folder}/monitor.npz", model, optimizer)
"""


@pytest.fixture
def kept():
    names = {}
    exec(KEPT, names)
    return names


def test_a_resumed_training_has_the_same_bits(kept, tmp_path):
    model, optimizer = kept["begin"]()
    whole = TrainingMonitor(model, optimizer, k=3, steps_per_interval=5)
    kept["train"](model, optimizer, whole, 0, 13)
    kept["keep"](tmp_path, model, optimizer, whole)  # in the midst of an interval
    kept["train"](model, optimizer, whole, 13, 30)

    model, optimizer, resumed = kept["resume"](tmp_path)
    assert resumed.steps == 13
    kept["train"](model, optimizer, resumed, 13, 30)
    a, b = whole.spectrum(), resumed.spectrum()
    assert np.array_equal(a.rates, b.rates)
    assert np.array_equal(a.times, b.times)
    assert np.array_equal(a.end.x, b.end.x)
    assert torch.equal(whole._vectors.rows, resumed._vectors.rows)
    assert whole.last == resumed.last


@pytest.mark.slow
def test_a_training_that_is_killed_resumes_with_the_same_bits(kept, tmp_path):
    script = KEPT + (
        "model, optimizer = begin()\n"
        "monitor = TrainingMonitor(model, optimizer, k=3, steps_per_interval=5)\n"
        "for n in range(0, 10_000, 7):\n"
        "    train(model, optimizer, monitor, n, n + 7)\n"
        "    if n == 14:\n"
        "        keep(sys.argv[1], model, optimizer, monitor)\n"
        "        print('kept', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "kept\n"
        process.kill()

    model, optimizer = kept["begin"]()
    whole = TrainingMonitor(model, optimizer, k=3, steps_per_interval=5)
    kept["train"](model, optimizer, whole, 0, 50)
    model, optimizer, resumed = kept["resume"](tmp_path)
    kept["train"](model, optimizer, resumed, 21, 50)
    assert np.array_equal(whole.spectrum().rates, resumed.spectrum().rates)


def damaged(path, change):
    """The file of a monitor with other parts of its header, or other arrays."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(str(arrays["header"]))
    found = change(header, arrays)
    header = found if isinstance(found, list) else header
    np.savez(path, **arrays | {"header": np.array(json.dumps(header))})


@pytest.mark.parametrize(
    "change",
    [
        lambda header, arrays: header["options"].update(k="two"),
        lambda header, arrays: header["options"].update(unknown=1),
        lambda header, arrays: header.update(options=[]),
        lambda header, arrays: header.update(steps=1.5),
        lambda header, arrays: header.update(loss=None),
        lambda header, arrays: header.update(gradient={"graphs": 3}),
        lambda header, arrays: header.update(units=[[]]),
        lambda header, arrays: header.pop("training"),
        lambda header, arrays: [header],
        lambda header, arrays: arrays.update(rates=arrays["rates"][:, :1]),
        lambda header, arrays: arrays.update(times=arrays["times"][None]),
        lambda header, arrays: arrays.update(rows=arrays["rows"][:, :1]),
        lambda header, arrays: arrays.update(rows=arrays["rows"].astype(complex)),
        lambda header, arrays: arrays.pop("rows"),
    ],
)
def test_a_damaged_file_is_refused_and_the_model_is_left_alone(kept, tmp_path, change):
    model, optimizer = kept["begin"]()
    monitor = TrainingMonitor(model, optimizer, k=2)
    kept["train"](model, optimizer, monitor, 0, 3)
    kept["keep"](tmp_path, model, optimizer, monitor)
    monitor.close()
    damaged(tmp_path / "monitor.npz", change)
    with pytest.raises(InvalidInputError, match=r"monitor\.npz|k must be"):
        kept["resume"](tmp_path)


def test_a_pipe_is_no_file_of_a_monitor(tmp_path):
    model = nn.Linear(2, 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="no regular file"):
        TrainingMonitor.load(tmp_path / "pipe", model, optim.SGD(model.parameters(), lr=0.1))


def test_a_file_of_another_training_is_refused(kept, tmp_path):
    model, optimizer = kept["begin"]()
    monitor = TrainingMonitor(model, optimizer, k=2)
    kept["train"](model, optimizer, monitor, 0, 3)
    kept["keep"](tmp_path, model, optimizer, monitor)
    path = tmp_path / "monitor.npz"

    fresh, other = kept["begin"]()
    with pytest.raises(ValueError, match="load the state_dict of model and optimizer"):
        TrainingMonitor.load(path, fresh, other)
    with pytest.raises(ValueError, match="an optimizer Adam, got SGD"):
        TrainingMonitor.load(path, fresh, optim.SGD(fresh.parameters()))
    wider = nn.Linear(6, 7)
    with pytest.raises(ValueError, match=r"with weights .* got \[\['weight', \[7, 6\]"):
        TrainingMonitor.load(path, wider, optim.Adam(wider.parameters()))
    assert not fresh._forward_pre_hooks
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="does not hold a dynsys training monitor"):
        TrainingMonitor.load(path, fresh, other)
    monitor.backward(model(torch.ones(2, 6)).sum())
    with pytest.raises(ValueError, match="save must come after step"):
        monitor.save(path)


class Block(nn.Module):
    """A residual block with BatchNorm."""

    def __init__(self, width):
        super().__init__()
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm_a, self.norm_b = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.norm_b(self.b(torch.relu(self.norm_a(self.a(x))))))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks, self.head = nn.Conv2d(1, 6, 3), nn.Sequential(Block(6), Block(6)), nn.Linear(6, 4)

    def loss(self, x, y):
        return F.cross_entropy(self(x), y, label_smoothing=0.1)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x.view(-1, 1, 8, 8))).mean((2, 3)))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def loss(self, x, y):
        return F.cross_entropy(self(x), y)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x.view(-1, 8, 8))).mean(1))


class Attending(Transformer):
    """Without dropout, attention is fused."""

    def __init__(self):
        super().__init__()
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 12, num_layers=2, dropout=0.1, batch_first=True), nn.Linear(12, 4)

    def loss(self, x, y):
        return F.cross_entropy(self(x), y)

    def forward(self, x):
        return self.head(self.lstm(x.view(-1, 8, 8))[0][:, -1])


class Autoencoder(nn.Module):
    """Variational, with its own random numbers."""

    def __init__(self):
        super().__init__()
        self.encode, self.mean, self.log_variance = nn.Linear(64, 20), nn.Linear(20, 3), nn.Linear(20, 3)
        self.decode = nn.Sequential(nn.Linear(3, 20), nn.SiLU(), nn.Linear(20, 64))

    def loss(self, x, y):
        output, mean, log_variance = self(x)
        target = torch.sigmoid(x)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        return (F.binary_cross_entropy_with_logits(output, target, reduction="sum") + divergence) / len(x)

    def forward(self, x):
        h = torch.relu(self.encode(x))
        mean, log_variance = self.mean(h), self.log_variance(h)
        return self.decode(mean + torch.randn_like(mean) * (0.5 * log_variance).exp()), mean, log_variance


STUDIES = {
    "resnet": (
        ResNet,
        lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "one cycle",
        None,
    ),
    "transformer": (Transformer, lambda p: optim.AdamW(p, lr=1e-3), "from zero", 1.0),
    "fused attention": (Attending, lambda p: optim.AdamW(p, lr=1e-3), "from zero", 1.0),
    "lstm": (Recurrent, lambda p: optim.RMSprop(p, lr=1e-3, momentum=0.9), "none", 0.5),
    "autoencoder": (Autoencoder, lambda p: optim.Adam(p, lr=1e-3), "one cycle", None),
}


@pytest.mark.parametrize("name", STUDIES)
def test_models_as_their_users_write_them(name):
    make, optimizer, schedule, clip_norm = STUDIES[name]
    results = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = make()
        used = optimizer(model.parameters())
        scheduled = SCHEDULES[schedule](used)
        monitor = TrainingMonitor(model, used, k=2, steps_per_interval=5, clip_norm=clip_norm) if watched else None
        losses = []
        for _ in range(10):
            loss = model.loss(torch.randn(16, 64), torch.randint(0, 4, (16,)))
            if monitor is not None:
                losses.append(monitor.step(loss))
            else:
                used.zero_grad()
                loss.backward()
                if clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
                used.step()
                losses.append(loss.detach())
            if scheduled is not None:
                scheduled.step()
        results.append([torch.stack(losses), torch.rand(2), *model.state_dict().values()])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    assert np.isfinite(monitor.spectrum().exponents).all()
    assert monitor.spectrum().diagnostics.derivative_defect < 1e-3


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.parametrize("name", ["momentum", "adam", "fused"])
def test_a_training_on_another_device_has_the_exponents_of_the_cpu(device, name):
    if not (torch.cuda if device == "cuda" else torch.backends.mps).is_available():
        pytest.skip(f"no {device}")
    rates = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        model = MODELS["tanh"]().to(place)
        monitor = TrainingMonitor(model, OPTIMIZERS[name](model.parameters()), k=3, clip_norm=1.0)
        for _ in range(40):
            x, y = torch.randn(16, 6).to(place), torch.randint(0, 9, (16,)).to(place)
            monitor.step(F.cross_entropy(model(x), y))
        assert monitor._vectors.rows.device.type == place
        rates.append(monitor.spectrum().rates)
    np.testing.assert_allclose(rates[1], rates[0], rtol=0, atol=1e-4)
