"""What a training has beside the weights of the monitor: other leaves, padding, options, hooks, several losses."""

import copy
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from dynsys import DiagnosticWarning, Euler  # noqa: E402
from dynsys.torch import TorchGradientFlow, TrainingMonitor  # noqa: E402
from dynsys.training import checkpoint  # noqa: E402
from dynsys.training.guard import bits  # noqa: E402
from dynsys.training.second_derivatives.dropped import dropped_share  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))


def watch(model, make=optim.SGD, k=2, steps_per_interval=5, **options):
    return TrainingMonitor(model, make(model.parameters(), lr=0.1, **options), k, 0, steps_per_interval)


def train(monitor, steps):
    for _ in range(steps):
        monitor.step(F.cross_entropy(monitor.model(X), Y))


# leaves of the loss that the optimiser does not have


@pytest.mark.parametrize("watched", ["body", "head"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_second_optimiser_on_the_same_loss_trains_to_the_bit(model, watched, closed):
    results = []
    for followed in (False, True):
        net = copy.deepcopy(model)
        body = optim.SGD(net[0].parameters(), lr=0.1, momentum=0.9)
        head = optim.Adam(net[2].parameters(), lr=0.01)
        first, second = (body, head) if watched == "body" else (head, body)
        monitor = TrainingMonitor(net, first, k=2, steps_per_interval=3) if followed else None
        for n in range(8):
            second.zero_grad()
            if monitor is None:
                first.zero_grad()
            if monitor is not None and closed and n == 4:
                monitor.close()
            for part in (slice(6), slice(6, 12)):  # micro-batches: gradients add up
                loss = F.cross_entropy(net(X[part]), Y[part]) / 2
                loss.backward() if monitor is None else monitor.backward(loss)
            first.step() if monitor is None else monitor.step()
            second.step()
        results.append([*net.state_dict().values(), *(p.grad for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(results[0][0], model[0].weight)
    assert not torch.equal(results[0][2], model[2].weight)


def test_inputs_and_weights_without_an_optimiser_get_the_gradient_of_backward(model):
    found = []
    for followed in (False, True):
        net, x = copy.deepcopy(model), X.clone().requires_grad_()
        optimizer = optim.SGD([net[0].weight, net[2].weight], lr=0.1)
        monitor = TrainingMonitor(net, optimizer, k=2) if followed else None
        for _ in range(3):  # of these nobody takes the gradient away: it adds up
            loss = F.cross_entropy(net(x), Y)
            if monitor is not None:
                monitor.step(loss)
            else:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        found.append([x.grad, net[0].bias.grad, net[2].bias.grad, net[0].weight])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_what_is_frozen_between_forward_and_backward_gets_none(model):
    monitor = TrainingMonitor(model, optim.SGD(model[0].parameters(), lr=0.1), k=2)
    loss = F.cross_entropy(model(X), Y)
    model[2].requires_grad_(False)
    monitor.step(loss)
    assert model[2].weight.grad is None
    assert monitor.steps == 1


def test_hooks_of_other_leaves_are_called_as_often_as_by_backward(model):
    x, calls = X.clone().requires_grad_(), []
    x.register_hook(lambda gradient: calls.append(1))
    monitor = watch(model, k=3)
    for _ in range(2):
        monitor.step(F.cross_entropy(model(x), Y))
    assert len(calls) == 2


# padding


class Text(nn.Module):
    """A mean of embedded words, some of which are padding."""

    def __init__(self, tied=False):
        super().__init__()
        self.embed, self.mix, self.tied = nn.Embedding(7, 3, padding_idx=2), nn.Linear(3, 3), tied
        self.head = nn.Linear(3, 7)
        with torch.no_grad():
            self.embed.weight[2] = 0.5  # not 0, as in pretrained ones

    def forward(self, words):
        h = torch.tanh(self.mix(self.embed(words))).sum(1)
        return h @ self.embed.weight.T if self.tied else self.head(h)


WORDS = torch.tensor([[0, 1, 2, 2], [3, 2, 2, 2], [4, 5, 6, 2], [6, 1, 0, 3]])
NEXT = torch.tensor([3, 1, 0, 5])


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.3, momentum=0.9, weight_decay=0.1),
        lambda p: optim.AdamW(p, lr=0.02, eps=1e-2, weight_decay=0.3),
    ],
    ids=["momentum", "adamw"],
)
def test_padding_is_followed_exactly_and_raises_no_alarm(make):
    def start(shift):
        torch.manual_seed(1)
        text = Text().double()
        optimizer = make(text.parameters())
        monitor = TrainingMonitor(text, optimizer, k=3, steps_per_interval=1000)
        rows = monitor._vectors.rows.clone()
        begin = 0
        with torch.no_grad():
            for p in text.parameters():
                p += shift * rows[0, begin : begin + p.numel()].view(p.shape)
                begin += p.numel()
        for _ in range(6):
            monitor.step(F.cross_entropy(text(WORDS), NEXT))
        state = torch.cat([p.detach().reshape(-1) for p in text.parameters()])
        return state, monitor._vectors.rows[0, : len(state)].clone(), rows, monitor

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, tangent, rows, monitor = start(0.0)
        difference = (start(1e-5)[0] - start(-1e-5)[0]) / 2e-5
    torch.testing.assert_close(difference, tangent, rtol=0, atol=1e-8 * float(tangent.abs().max()))
    weights = len(tangent)
    for part in range(rows.shape[1] // weights):
        assert not rows[:, part * weights + 6 : part * weights + 9].any()
    assert monitor._defect < 1e-6


def test_a_frame_has_no_more_vectors_than_directions_that_move():
    text = Text()
    free = sum(p.numel() for p in text.parameters()) - 3
    with pytest.raises(ValueError, match=f"k must be a whole number >= 1 and at most {free}, got {free + 1}"):
        TrainingMonitor(text, optim.SGD(text.parameters()), k=free + 1)
    monitor = TrainingMonitor(text.double(), optim.SGD(text.parameters()), k=free)
    Q = monitor._vectors.rows
    torch.testing.assert_close(Q @ Q.T, torch.eye(free, dtype=Q.dtype))


def test_padding_that_has_a_gradient_elsewhere_is_seen():
    for tied in (False, True):
        torch.manual_seed(1)
        text = Text(tied).double()
        share = dropped_share(text, (WORDS,), {}, list(text.parameters()), 0)
        assert (share > 1e-2) == tied


def test_the_gradient_flow_refuses_samples_with_padding_alone():
    with pytest.raises(ValueError, match="samples must have no padding, got an embedding with padding_idx=2"):
        TorchGradientFlow(Text(), nn.CrossEntropyLoss(), WORDS, NEXT)
    flow = TorchGradientFlow(Text().double(), nn.CrossEntropyLoss(), torch.where(WORDS == 2, 0, WORDS), NEXT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrum = flow.tangent(Euler(dt=0.1)).benettin(flow.initial(), intervals=10, k=2, warmup=0)
    assert spectrum.diagnostics.derivative_defect < 1e-6


# options, losses, hooks


def test_a_momentum_that_a_scheduler_switches_on_stops_the_monitor_with_the_remedy(model):
    monitor = watch(model)
    train(monitor, 5)
    optim.lr_scheduler.OneCycleLR(monitor.optimizer, max_lr=0.1, total_steps=20)
    weights = model[0].weight.clone()
    with pytest.warns(
        DiagnosticWarning, match=r"remembers more.*make the TrainingMonitor after the scheduler"
    ) as caught:
        train(monitor, 5)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (monitor.steps, len(monitor.spectrum().rates)) == (10, 1)
    assert not torch.equal(weights, model[0].weight)


class Late(optim.Optimizer):
    """An optimiser of one's own that begins to average the gradient in its tenth step."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["n"] = state.get("n", 0) + 1
                if state["n"] == 10:
                    state["mean"] = torch.zeros_like(p)
                if state["n"] >= 10:
                    state["mean"] = 0.9 * state["mean"] + p.grad
                p.sub_(group["lr"] * state.get("mean", p.grad))


def test_a_memory_that_an_optimiser_of_ones_own_begins_late_stops_the_monitor(model):
    monitor = watch(model, Late)
    with pytest.warns(DiagnosticWarning, match="remembers more") as caught:
        train(monitor, 15)
    assert len(caught) == 1
    assert (monitor.steps, len(monitor.spectrum().rates)) == (15, 2)


def test_a_scheduler_of_the_momentum_that_is_made_after_the_monitor_is_named(model):
    monitor = watch(model)
    optim.lr_scheduler.OneCycleLR(monitor.optimizer, max_lr=0.1, total_steps=20)
    with pytest.raises(ValueError, match="make the TrainingMonitor after the scheduler"):
        train(monitor, 1)


def test_whatever_fails_on_the_side_of_the_tangent_lets_the_training_go_on(model, monkeypatch):
    plain = copy.deepcopy(model)
    monitor = watch(model, momentum=0.9)
    train(monitor, 5)
    monkeypatch.setattr("dynsys.training.vectors.push", lambda *args, **kwargs: {}["momentum"])
    with pytest.warns(DiagnosticWarning, match="which fails: KeyError: 'momentum'.*from step 5 on") as caught:
        train(monitor, 5)
    assert len(caught) == 1
    optimizer = optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for _ in range(10):
        optimizer.zero_grad()
        F.cross_entropy(plain(X), Y).backward()
        optimizer.step()
    assert torch.equal(plain[0].weight, model[0].weight)


def test_losses_of_several_shapes_add_up(model):
    monitor = watch(model)
    monitor.backward(F.cross_entropy(model(X), Y))
    monitor.backward(model(X).square().mean().reshape(1))
    assert monitor.step().shape == ()
    train(monitor, 1)
    assert monitor.step(model(X).square().mean().reshape(1)).shape == (1,)
    assert monitor.steps == 3


def test_losses_that_share_a_graph_are_told_to_be_added_up(model):
    monitor, h = watch(model), model[:2](X)
    monitor.backward(F.cross_entropy(model[2](h), Y))
    with pytest.raises(ValueError, match=r"monitor\.backward\(a \+ b\)"):
        monitor.backward(model[2](h).square().mean())


def halve(optimizer, args, kwargs):
    """A hook on the step of an optimiser."""


@pytest.mark.parametrize("kind", ["register_step_post_hook", "register_step_pre_hook"])
def test_hooks_on_the_step_are_refused_by_name(model, kind):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    handle = getattr(optimizer, kind)(halve)
    with pytest.raises(ValueError, match=r"the optimizer's step must have no hooks.*got 'halve' on SGD"):
        TrainingMonitor(model, optimizer)
    assert not model._forward_pre_hooks
    handle.remove()
    monitor = TrainingMonitor(model, optimizer, k=2, steps_per_interval=5)
    train(monitor, 5)
    getattr(optimizer, kind)(halve)
    with pytest.warns(DiagnosticWarning, match="must have no hooks"):
        train(monitor, 2)
    assert monitor.steps == 7


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_backward_hooks_of_modules_are_refused_by_name(model, kind):
    handle = getattr(model[2], kind)(lambda *args: None)
    with pytest.raises(ValueError, match=r"no backward hooks, .* got '.*lambda>' on '2' \(Linear\)"):
        watch(model)
    handle.remove()
    monitor = watch(model)
    train(monitor, 5)
    getattr(model[2], kind)(lambda *args: None)
    with pytest.warns(DiagnosticWarning, match="no backward hooks"):
        train(monitor, 1)


def test_sums_of_bits_see_every_change_of_an_entry():
    for dtype in (torch.float32, torch.float64):
        weight = torch.randn(300, 300, dtype=dtype)
        before = bits([weight.T])
        for changed in (-weight[3, 4], torch.nextafter(weight[3, 4], weight.new_tensor(9.0))):
            old = weight[3, 4].clone()
            weight[3, 4] = changed
            assert not torch.equal(bits([weight.T]), before)
            weight[3, 4] = old
            assert torch.equal(bits([weight]), before)


# what it says of itself


def test_the_spectrum_since_a_step(model):
    monitor = watch(model)
    assert repr(monitor) == "TrainingMonitor: 2 vectors of 51 numbers, 0 steps"
    train(monitor, 23)
    whole = monitor.spectrum()
    for since, first in ((0, 0), (1, 1), (5, 1), (6, 2), (15, 3)):
        later = monitor.spectrum(since=since)
        assert np.array_equal(later.rates, whole.rates[first:])
        assert np.array_equal(later.times, whole.times[first:])
        np.testing.assert_allclose(later.exponents, whole.rates[first:].mean(axis=0), rtol=1e-12)
        assert later.end.n == 23
    with pytest.raises(ValueError, match="a spectrum needs a finished interval since step 16, got 23 steps"):
        monitor.spectrum(since=16)
    with pytest.raises(ValueError, match="since must be a whole number >= 0"):
        monitor.spectrum(since=-1)
    rate = whole.exponents[0]
    assert repr(monitor) == f"TrainingMonitor: 2 vectors of 51 numbers, 23 steps, lambda_1 = {rate:.3g} per step"
    monitor.close()
    assert repr(monitor).endswith("; the monitor was closed")
    assert "\n" not in repr(monitor)


def test_files_of_monitors_that_had_an_option_for_the_first_vectors_are_read(model, tmp_path):
    monitor = watch(model)
    train(monitor, 7)
    path = monitor.save(tmp_path / "monitor.npz")
    header, arrays = checkpoint.read(path, 1e9)
    del header["format"]
    header["options"]["perturbed"] = "state"
    checkpoint.write(path, header, arrays)
    again = TrainingMonitor.load(path, model, monitor.optimizer)
    assert torch.equal(again._vectors.rows, monitor._vectors.rows)
