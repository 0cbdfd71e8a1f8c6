"""What users do in their loops that the monitor does not expect: it works, or is named, and the training goes on."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn, optim  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from dynsys import DiagnosticWarning  # noqa: E402
from dynsys.torch import TrainingMonitor  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def watched(model, k=2, steps_per_interval=5, **options):
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return TrainingMonitor(model, optimizer, k=k, steps_per_interval=steps_per_interval, **options)


def train(monitor, steps):
    for _ in range(steps):
        monitor.step(F.cross_entropy(monitor.model(X), Y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a whole number >= 1"),
        ({"k": 103}, "k must be a whole number >= 1 and at most 102"),
        ({"steps_per_interval": 0}, "steps_per_interval must be"),
        ({"seed": -1}, "seed must be"),
        ({"clip_norm": 0.0}, "clip_norm must be a positive finite number"),
        ({"clip_value": "much"}, "clip_value must be"),
    ],
)
def test_what_the_door_refuses(model, options, message):
    with pytest.raises(ValueError, match=message):
        watched(model, **options)


def test_a_model_and_an_optimizer_are_asked_for(model):
    with pytest.raises(ValueError, match=r"model must be a torch\.nn\.Module, got <function"):
        TrainingMonitor(train, optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match=r"optimizer must be a torch\.optim\.Optimizer"):
        TrainingMonitor(model, model)
    for weight in model.parameters():
        weight.requires_grad_(False)
    with pytest.raises(ValueError, match="none of which requires a gradient"):
        watched(model)


def test_what_a_step_refuses(model):
    monitor = watched(model)
    with pytest.raises(ValueError, match=r"loss must be one real number, got shape \(12,\)"):
        monitor.step(F.cross_entropy(model(X), Y, reduction="none"))
    with pytest.raises(ValueError, match=r"loss must be a tensor, got 0\.5"):
        monitor.step(0.5)
    with torch.no_grad(), pytest.raises(ValueError, match="one without a graph"):
        monitor.step(F.cross_entropy(model(X), Y))
    with pytest.raises(ValueError, match="step needs a loss"):
        monitor.step()
    monitor.backward(F.cross_entropy(model(X), Y))
    with pytest.raises(ValueError, match="must get no loss after backward"):
        monitor.step(F.cross_entropy(model(X), Y))
    monitor.step()
    with pytest.raises(ValueError, match="a spectrum needs a finished interval, got 1 steps"):
        monitor.spectrum()
    assert list(monitor.last) == ["step", "loss"]
    train(monitor, 4)
    assert monitor.spectrum().rates.shape == (1, 2)


def test_a_closure_is_called_once_with_gradients_on(model):
    calls = []

    def loss():
        calls.append(torch.is_grad_enabled())
        return F.cross_entropy(model(X), Y)

    monitor = watched(model)
    with torch.no_grad():
        value = monitor.step(loss)
    assert calls == [True]
    assert not value.requires_grad
    assert monitor.last["loss"] == value.item()


def test_nothing_of_the_graph_is_kept(model):
    import weakref

    monitor = watched(model)
    output = model(X)
    loss = F.cross_entropy(output, Y)
    alive = weakref.ref(output)
    monitor.step(loss)
    del output, loss
    assert alive() is None


def test_an_evaluation_between_steps_does_no_harm(model):
    monitor = watched(model)
    for _ in range(3):
        train(monitor, 2)
        model.eval()
        with torch.no_grad():
            model(X)
        model.train()
    assert monitor.spectrum().rates.shape == (1, 2)


@pytest.mark.parametrize("how", ["load_state_dict", "by hand", ".data", "NumPy"])
def test_weights_that_others_change_are_noticed_once(model, how):
    monitor = watched(model)

    def change():
        if how == "load_state_dict":
            model.load_state_dict({name: 0.5 * value for name, value in model.state_dict().items()})
        elif how == "by hand":
            with torch.no_grad():
                model[0].weight.mul_(0.5)
        elif how == ".data":  # moves no version
            model[0].weight.data.clamp_(-0.1, 0.1)
        else:
            model[0].weight.detach().numpy()[0, 0] += 1e-3

    def go():
        for steps in (5, 5, 1):
            train(monitor, steps)
            change()

    with pytest.warns(DiagnosticWarning, match=r"weights were changed by something else than monitor\.step") as caught:
        go()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert monitor.spectrum().rates.shape == (2, 2)


@pytest.mark.parametrize("at", [3, 5])
def test_averaged_weights_that_are_swapped_in_and_out_are_no_change(model, at):
    monitor = watched(model)
    train(monitor, at)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict({name: 0.5 * value for name, value in own.items()})
    model.load_state_dict(own)
    train(monitor, 10 - at)
    assert monitor.spectrum().rates.shape == (2, 2)


@pytest.mark.parametrize("how", ["step", "load_state_dict", "clear"])
def test_a_memory_that_others_change_stops_the_monitor_and_not_the_training(model, how):
    monitor = watched(model)
    optimizer = monitor.optimizer
    train(monitor, 7)
    if how == "step":
        optimizer.step()
    elif how == "load_state_dict":
        optimizer.load_state_dict(optimizer.state_dict() | {"state": {}})
    else:
        optimizer.state.clear()
    with pytest.warns(DiagnosticWarning, match="the optimizer's state was changed by something else.*step 7") as caught:
        train(monitor, 5)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert monitor.steps == 12
    assert monitor.spectrum().rates.shape == (1, 2)


@pytest.mark.parametrize("how", ["freeze", "add"])
def test_other_weights_stop_the_monitor_and_not_the_training(model, how):
    monitor = watched(model)
    train(monitor, 7)
    before = monitor.spectrum().rates
    if how == "freeze":
        model[0].weight.requires_grad_(False)
    else:
        monitor.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))]})
    weights = model[2].weight.clone()
    with pytest.warns(
        DiagnosticWarning, match=r"other weights are trained.*begin a new TrainingMonitor.*step 7"
    ) as caught:
        train(monitor, 6)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not torch.equal(weights, model[2].weight)
    assert np.array_equal(monitor.spectrum().rates, before)
    assert monitor.last["step"] == 13
    assert "other weights" in monitor.stopped


def test_a_training_that_diverges_is_kept_up_to_there_and_goes_on_to_its_end(model):
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    monitor = TrainingMonitor(model, optimizer, k=2, steps_per_interval=5)

    def go(factor):
        for _ in range(10):
            monitor.step(factor * model(X).square().mean())

    go(1.0)
    with pytest.warns(DiagnosticWarning, match="infinite or NaN, as where a training diverges"):
        go(1e30)
    spectrum = monitor.spectrum()
    assert spectrum.rates.shape == (2, 2)
    assert np.isfinite(spectrum.exponents).all()
    assert spectrum.regime == "diverging"
    assert monitor.steps == 20


def test_vectors_that_collapse_are_said_with_the_remedy():
    model = nn.Linear(3, 1, bias=False).double()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    monitor = TrainingMonitor(model, optimizer, k=3, steps_per_interval=1)

    def loss():  # along the first weight, of curvature 10, a step forgets where it came from
        return (torch.tensor([5.0, 0.5, 0.5]) * next(model.parameters()).square()).sum()

    with pytest.warns(DiagnosticWarning, match=r"became parallel.*lower k"):
        monitor.step(loss)
    with pytest.raises(ValueError, match=r"needs a finished interval, got 1 steps.*parallel"):
        monitor.spectrum()


class Product(torch.autograd.Function):
    """A product whose backward forgets that one of the factors moves."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient * weight.detach(), (gradient * x).sum(0)


def test_a_gradient_that_is_not_that_of_a_loss_is_noticed_once(model):
    scale = nn.Parameter(torch.ones(3))
    optimizer = optim.SGD([*model.parameters(), scale], lr=0.1, momentum=0.9)
    monitor = TrainingMonitor(model, optimizer, k=3, steps_per_interval=5)

    def train():
        for _ in range(20):
            monitor.step(F.cross_entropy(Product.apply(model(X), scale), Y))

    with pytest.warns(DiagnosticWarning, match="the gradient is not that of a loss") as caught:
        train()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    spectrum = monitor.spectrum()
    assert spectrum.diagnostics.derivative_defect > 0.05
    assert spectrum.diagnostics.doubtful == 1


class Gated(nn.Module):
    """A gate that is computed on the side."""

    def __init__(self, dropped):
        super().__init__()
        self.gate, self.dropped = nn.Linear(6, 6), dropped

    def forward(self, x):
        gate = torch.sigmoid(self.gate(x))
        return x * (gate.detach() + 0.1 * gate if self.dropped else gate)


@pytest.mark.parametrize("dropped", [True, False])
def test_tangents_that_a_model_drops_are_noticed_once(model, dropped):
    model = nn.Sequential(model[:2], Gated(dropped), model[2])
    monitor = watched(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(monitor, 120)  # there is a second look in step 100
    assert [str(w.message).startswith("tangents are dropped in silence in '1' (Gated)") for w in caught] == [
        True
    ] * dropped
    assert [w.filename for w in caught] == [__file__] * dropped
    assert monitor.spectrum().diagnostics.doubtful == dropped


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_on_gradients_are_named(model, kind):
    monitor = watched(model)
    handle = getattr(model[2].weight, kind)(lambda gradient: None)
    with pytest.raises(ValueError, match=r"no hooks on gradients, got one on 2\.weight.*clip_value"):
        train(monitor, 1)
    handle.remove()
    train(monitor, 5)
    assert monitor.spectrum().rates.shape == (1, 2)


def test_a_training_without_fault_makes_no_warning_and_prints_itself(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor = watched(model)
        train(monitor, 400)
        spectrum = monitor.spectrum()
        text = str(spectrum)
    assert "Lyapunov exponents (per step), 80 rates from t = 5 to 400" in text
    assert "derivative: double backward" in text
    assert spectrum.diagnostics.derivative_defect < 1e-4
    assert spectrum.regime == "undecided"
    assert np.isfinite(spectrum.standard_error).all()
    assert spectrum.finite_time_exponents(20).shape == (61, 2)
    np.testing.assert_array_equal(spectrum.running_mean[-1], spectrum.exponents)
    last = monitor.last
    assert list(last) == ["step", "loss", "lambda_1", "mean_lambda_1", "lambda_2", "mean_lambda_2"] or len(last) == 6
    np.testing.assert_allclose(last["mean_lambda_2"], spectrum.exponents[1], rtol=1e-12)
    assert last["lambda_1"] == spectrum.rates[-1, 0]
    assert all(type(value) is float for value in last.values())
    pytest.importorskip("xarray")
    data = monitor.to_xarray()
    assert data.sizes == {"time": 80, "exponent": 2}


def test_a_spectrum_of_a_training_is_saved_like_any_other(model, tmp_path):
    monitor = watched(model)
    train(monitor, 20)
    spectrum = monitor.spectrum()
    again = type(spectrum).load(spectrum.save(tmp_path / "spectrum.npz"))
    assert np.array_equal(again.rates, spectrum.rates)
    assert np.array_equal(again.end.x, spectrum.end.x)


def test_bfloat16_autocast_is_followed(model):
    monitor = watched(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(X), Y)
            monitor.step(loss)
    assert np.isfinite(monitor.spectrum().exponents).all()


def test_a_loss_that_was_back_propagated_before_is_named(model):
    monitor = watched(model)
    weights = model[0].weight.clone()
    loss = F.cross_entropy(model(X), Y)
    loss.backward()
    with pytest.raises(ValueError, match=r"back-propagated before; leave loss\.backward\(\) out"):
        monitor.step(loss)
    assert torch.equal(weights, model[0].weight)


def test_an_operator_without_a_second_derivative_is_named_and_later_stops_the_monitor_alone(model):
    def loss(margin):
        return F.multi_margin_loss(model(X), Y) if margin else F.cross_entropy(model(X), Y)

    with pytest.raises(ValueError, match="multi_margin_loss"):
        watched(model).step(loss(True))
    monitor = watched(model)
    train(monitor, 5)
    weights = model[0].weight.clone()
    with pytest.warns(DiagnosticWarning, match=r"multi_margin_loss.*from step 5 on") as caught:
        monitor.step(loss(True))
    assert caught[0].filename == __file__
    assert not torch.equal(weights, model[0].weight)
    train(monitor, 5)
    assert monitor.steps == 11
    assert monitor.spectrum().rates.shape == (1, 2)


def test_nothing_is_left_on_a_model_after_close_or_an_end(model):
    def hooks():
        return len(model._forward_pre_hooks) + len(model._forward_hooks)

    monitor = watched(model)
    assert hooks() == 3
    train(monitor, 5)
    monitor.close()
    assert hooks() == 0
    train(monitor, 5)
    assert monitor.spectrum().rates.shape == (1, 2)
    monitor = watched(model)
    train(monitor, 5)
    model[0].weight.requires_grad_(False)
    with pytest.warns(DiagnosticWarning):
        train(monitor, 1)
    assert hooks() == 0


def test_a_monitor_that_has_stopped_is_kept_as_such(model, tmp_path):
    monitor = watched(model)
    train(monitor, 5)
    monitor.close()
    train(monitor, 2)
    path = monitor.save(tmp_path / "monitor.npz")
    again = TrainingMonitor.load(path, model, monitor.optimizer)
    train(again, 5)
    assert (again.steps, again.stopped) == (12, "the monitor was closed")
    assert np.array_equal(again.spectrum().rates, monitor.spectrum().rates)


@pytest.mark.parametrize("start", [0.0, 0.1])
def test_a_rate_of_zero_at_the_start_is_no_obstacle(model, start):
    optimizer = optim.SGD(model.parameters(), lr=start, momentum=0.9)
    monitor = TrainingMonitor(model, optimizer, k=2, steps_per_interval=1)
    train(monitor, 1)
    optimizer.param_groups[0]["lr"] = 0.1
    train(monitor, 5)
    assert np.isfinite(monitor.spectrum().exponents).all()


@pytest.mark.parametrize(("before", "now", "stops"), [(0.0, 0.9, True), (0.9, 0.0, False), (0.9, 0.8, False)])
def test_a_momentum_that_comes_and_goes(model, before, now, stops):
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=before)
    monitor = TrainingMonitor(model, optimizer, k=2, steps_per_interval=5)
    train(monitor, 5)
    optimizer.param_groups[0]["momentum"] = now
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(monitor, 5)
    assert ["remembers more" in str(w.message) for w in caught] == [True] * stops
    assert len(monitor.spectrum().rates) == (1 if stops else 2)
    assert monitor.steps == 10


class Once(torch.autograd.Function):
    """A function with one derivative."""

    @staticmethod
    def forward(ctx, x):
        return 2.0 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2.0 * gradient


def test_a_function_with_one_derivative_is_named_and_later_stops_the_monitor_alone(model):
    with pytest.raises(ValueError, match="Once, marked once_differentiable"):
        watched(model).step(F.cross_entropy(Once.apply(model(X)), Y))
    monitor = watched(model)
    train(monitor, 5)
    with pytest.warns(DiagnosticWarning, match="Once, marked once_differentiable"):
        monitor.step(F.cross_entropy(Once.apply(model(X)), Y))
    train(monitor, 3)
    assert monitor.steps == 9
    with pytest.raises(ValueError, match="without a graph"):
        monitor.step(torch.tensor(1.0))
