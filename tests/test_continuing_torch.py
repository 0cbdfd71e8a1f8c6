"""A run of a module of PyTorch goes on with the same module, wherever and however exactly it is computed."""

import copy

import numpy as np
import pytest

from dynsys import RK4, Euler, InvalidInputError

torch = pytest.importorskip("torch")
from dynsys.torch import TorchFlow, TorchGradientFlow, TorchMap  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]
X = np.linspace(-1.0, 1.0, 20)[:, None]


class Field(torch.nn.Module):
    """A velocity."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()

    def forward(self, t, x, gain=1.0):
        return gain * self.layers(x)


def ending(flow):
    return flow.tangent(RK4(0.1), backend="numpy").trajectory([0.1, 0.2], intervals=3).end


def goes_on(flow, end):
    return flow.tangent(RK4(0.1), backend="numpy").trajectory(end, intervals=2)


def test_a_module_is_its_class_its_text_and_its_weights():
    end = ending(TorchFlow(Field(0), 2))
    goes_on(TorchFlow(copy.deepcopy(Field(0)), 2), end)
    goes_on(TorchFlow(Field(0), 2, dtype=torch.float32), end)  # as with another stepper
    with pytest.raises(
        InvalidInputError, match=r"had weights\.layers\.0\.weight = \[\[.* and 1 more, and this has weights"
    ):
        goes_on(TorchFlow(Field(1), 2), end)
    relu = Field(0)
    relu.layers[1] = torch.nn.ReLU()
    with pytest.raises(InvalidInputError, match=r"function\.text"):
        goes_on(TorchFlow(relu, 2), end)
    with pytest.raises(InvalidInputError, match=r"args\[0\] = 1, and this has args\[0\] = 2"):
        goes_on(TorchFlow(Field(0), 2, args=(2.0,)), ending(TorchFlow(Field(0), 2, args=(1.0,))))


def test_a_module_that_a_function_calls_is_seen():
    net = Field(0)
    end = ending(TorchFlow(lambda t, x: net(t, x), 2))
    goes_on(TorchFlow(lambda t, x: net(t, x), 2), end)
    net = Field(1)
    with pytest.raises(InvalidInputError, match=r"function\.net\.layers"):
        goes_on(TorchFlow(lambda t, x: net(t, x), 2), end)


def test_arguments_are_seen():
    def henon(n, x, a, b):
        return torch.stack([1 - a * x[0] ** 2 + x[1], b * x[0]])

    end = TorchMap(henon, 2, args=(1.4, 0.3)).tangent(backend="numpy").trajectory([0.1, 0.1], intervals=3).end
    TorchMap(henon, 2, args=(torch.tensor(1.4, dtype=torch.float64), 0.3)).tangent(backend="numpy").trajectory(
        end, intervals=2
    )
    with pytest.raises(InvalidInputError, match=r"function\.a = 1\.4, and this has function\.a = 1\.2"):
        TorchMap(henon, 2, args=(1.2, 0.3)).tangent(backend="numpy").trajectory(end, intervals=2)


def gradient_flow(seed=0, y=None, activation=None, loss=None, **options):
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(1, 3), activation or torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(3, 1)]
    model = torch.nn.Sequential(*layers).double()
    return TorchGradientFlow(model, loss or torch.nn.MSELoss(), X, X**2 if y is None else y, **options)


def test_a_training_is_its_network_loss_and_data_not_its_weights():
    flow = gradient_flow()
    end = flow.minibatches(5, seed=1).tangent(Euler(0.1)).trajectory(flow.initial(), intervals=3).end

    def on(flow, size=5, seed=1, dt=0.1):
        return flow.minibatches(size, seed=seed).tangent(Euler(dt)).trajectory(end, intervals=2)

    on(gradient_flow())
    on(gradient_flow(seed=7), dt=0.05)  # other weights: they are the state
    on(gradient_flow(loss=torch.nn.MSELoss(reduction="mean")))
    for other, named in (
        (lambda: on(gradient_flow(y=X**3)), r"another flow\.y"),
        (
            lambda: on(gradient_flow(activation=torch.nn.ReLU())),
            r"flow\.model\.1 Tanh, and this has flow\.model\.1 ReLU",
        ),
        (lambda: on(gradient_flow(loss=torch.nn.L1Loss())), r"flow\.loss MSELoss, and this has flow\.loss L1Loss"),
        (lambda: on(gradient_flow(loss=torch.nn.HuberLoss(delta=2.0))), r"flow\.loss"),
        (lambda: on(gradient_flow(reduction="sum")), r"flow\.reduction = mean, .*flow\.reduction = sum"),
        (lambda: on(gradient_flow(seed=0, **{})._with(seed=3)), r"flow\.seed = 0, .*flow\.seed = 3"),
        (lambda: on(gradient_flow(), seed=2), r"had seed = 1, and this has seed = 2"),
        (lambda: on(gradient_flow(), size=4), r"had size = 5, and this has size = 4"),
    ):
        with pytest.raises(InvalidInputError, match=named):
            other()


def test_statistics_of_a_norm_count_where_they_act():
    def normed(mean, training):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)).double()
        model[1].running_mean.fill_(mean)
        return TorchGradientFlow(model.train(training), torch.nn.MSELoss(), X, X**2)

    for training in (True, False):
        flow = normed(0.0, training)
        end = flow.tangent(Euler(0.1)).trajectory(flow.initial(), intervals=3).end
        if training:
            normed(1.0, training).tangent(Euler(0.1)).trajectory(end, intervals=2)
        else:
            with pytest.raises(InvalidInputError, match="running_mean"):
                normed(1.0, training).tangent(Euler(0.1)).trajectory(end, intervals=2)
