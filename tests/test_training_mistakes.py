"""Loops that are half converted: what would be silently wrong is said, and what is right is let alone."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn, optim  # noqa: E402
from torch.nn.utils import clip_grad_norm_  # noqa: E402

from dynsys import DiagnosticWarning, InvalidInputError  # noqa: E402
from dynsys.training.monitor import TrainingMonitor  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

X = torch.randn((30, 4), generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))


def watched(kind=optim.SGD, **options):
    model = network()
    optimizer = kind(model.parameters(), **({"lr": 0.1} | options))
    return model, optimizer, TrainingMonitor(model, optimizer, k=2, steps_per_interval=2)


def test_gradients_that_are_clipped_by_hand_are_noticed():
    model, _, monitor = watched()
    monitor.backward(model(X).square().mean())
    clip_grad_norm_(model.parameters(), 1e-3)
    with pytest.raises(InvalidInputError, match="clip_norm and clip_value to the monitor"):
        monitor.step()

    model, _, monitor = watched()
    for _ in range(3):
        monitor.step(model(X).square().mean())
    monitor.backward(model(X).square().mean())
    clip_grad_norm_(model.parameters(), 1e-3)
    with pytest.warns(DiagnosticWarning, match="gradients must stay as they are.*the training goes on"):
        monitor.step()
    assert monitor.steps == 4
    assert len(monitor.spectrum().rates) == 1


def test_reading_gradients_and_several_backward_are_no_mistake():
    model, _, monitor = watched()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            for rows in (X[:10], X[10:]):
                monitor.backward(model(rows).square().mean() / 2)
                float(sum(weight.grad.norm() for weight in model.parameters()))
            monitor.step()
    assert len(monitor.spectrum().rates) == 2


def test_a_step_of_the_optimiser_after_backward_is_noticed():
    model, optimizer, monitor = watched()
    monitor.backward(model(X).square().mean())
    optimizer.step()
    with pytest.raises(InvalidInputError, match=r"call monitor\.step\(\) in the place of optimizer\.step\(\)"):
        monitor.backward(model(X).square().mean())


class Own(optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                weight.add_(weight.grad, alpha=-group["lr"])


def test_an_optimiser_of_ones_own_has_the_exponents_of_the_one_that_it_copies():
    found = []
    for kind in (Own, optim.SGD):
        model, _, monitor = watched(kind)
        for _ in range(10):
            monitor.step(model(X).square().mean())
        found.append(monitor.spectrum().rates)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [optim.NAdam, optim.ASGD, optim.RAdam, optim.Adagrad])
def test_optimisers_work_where_float64_is_the_default(kind):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model, _, monitor = watched(kind, lr=0.01)
        x = X.double()
        for _ in range(6):
            monitor.step(model(x).square().mean())
        assert np.isfinite(monitor.spectrum().rates).all()
        assert not monitor.stopped
    finally:
        torch.set_default_dtype(before)
