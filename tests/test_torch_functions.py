"""Systems from functions of PyTorch: the same numbers as NumPy's, exact derivatives, and errors that say what to do."""

import pickle
import subprocess
import sys
import warnings

import attrs
import numpy as np
import pytest

from dynsys import (
    RK4,
    ContractError,
    DiagnosticWarning,
    DormandPrince,
    Euler,
    FunctionFlow,
    FunctionMap,
    InvalidInputError,
    Midpoint,
    sweep,
)
from dynsys.models.classics import Lorenz63
from dynsys.storage.description import describe
from dynsys.testing import check_system, check_tangent

torch = pytest.importorskip("torch")
from dynsys.torch import TorchFlow, TorchMap  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


def lorenz(t, x, sigma, rho, beta):
    return torch.stack([sigma * (x[1] - x[0]), x[0] * (rho - x[2]) - x[1], x[0] * x[1] - beta * x[2]])


LORENZ = TorchFlow(lorenz, 3, args=(10.0, 28.0, 8 / 3))
X = np.array([1.0, 2.0, 20.0])


class NeuralODE(torch.nn.Module):
    """A right-hand side as torchdiffeq takes it: the time is a tensor."""

    def __init__(self, dtype=torch.float64, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(16, 3)
        ).to(dtype)

    def forward(self, t, y):
        return self.net(torch.cat([y, torch.cos(t).reshape(1)])) - y


def test_a_function_of_torch_is_the_system_that_it_computes():
    known = Lorenz63()
    many = X + np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_allclose(LORENZ.vector_field(0.0, many), known.vector_field(0.0, many), rtol=1e-14)
    np.testing.assert_allclose(LORENZ.jacobian(0.0, X), known.jacobian(0.0, X), rtol=1e-15)
    check_system(LORENZ, X)
    check_tangent(LORENZ.tangent(RK4(0.01)), X)
    run = {"intervals": 20, "steps_per_interval": 5, "warmup": 5}
    ours, theirs = (flow.tangent(RK4(0.01)).benettin(X, **run) for flow in (LORENZ, known))
    np.testing.assert_allclose(ours.rates, theirs.rates, atol=1e-9)
    assert ours.diagnostics.derivative == LORENZ.derivative == "forward mode"
    assert (LORENZ.vanishing_exponents, attrs.evolve(LORENZ, vanishing_exponents=0).vanishing_exponents) == (1, 0)


def test_a_map_is_given_the_number_of_its_step():
    inputs = torch.linspace(0.0, 1.0, 50, dtype=torch.float64)
    driven = TorchMap(lambda n, x: torch.tanh(2 * x.flip(0) + inputs[n]), 2)
    check_system(driven, np.array([0.3, -0.2]), t=7)
    np.testing.assert_allclose(driven.step(49, np.zeros(2)), np.tanh(1.0) * np.ones(2))
    assert driven.vanishing_exponents == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_module_as_torchdiffeq_takes_it(dtype):
    module = NeuralODE(dtype)
    flow = TorchFlow(module, 3)
    assert flow.rule_on_tensors.dtype == dtype
    assert flow.vanishing_exponents == 0  # driven
    t, y = torch.tensor(0.4, dtype=dtype), torch.tensor(X, dtype=dtype)
    np.testing.assert_array_equal(flow.vector_field(0.4, X), module(t, y).detach().numpy())
    J = torch.autograd.functional.jacobian(lambda y: module(t, y), y)
    np.testing.assert_allclose(flow.jacobian(0.4, X), J.numpy(), rtol=100 * torch.finfo(dtype).eps, atol=1e-7)
    run = {"intervals": 20, "steps_per_interval": 2, "warmup": 10}
    double = TorchFlow(module.double(), 3).tangent(RK4(0.05)).benettin(X, **run)  # float32 raises no false alarm
    np.testing.assert_allclose(flow.tangent(RK4(0.05)).benettin(X, **run).rates, double.rates, atol=3e-5)
    assert TorchFlow(NeuralODE(torch.float32).double(), 3, dtype=torch.float32).rule_on_tensors.dtype == torch.float32


def test_nothing_of_a_module_changes_and_nothing_that_happens_to_it_changes_the_system():
    module = torch.nn.Sequential(
        torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 3)), torch.nn.BatchNorm1d(3)
    ).double()
    module[1].eval()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    flow = TorchFlow(lambda t, x: module(x[None])[0], 3)  # as it is
    copy = TorchMap(Step(module), 3)  # as it was
    assert module.training
    before = copy.step(0, X)
    copy.jvp(0, X, np.eye(3))
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert module.training
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    np.testing.assert_array_equal(copy.step(0, X), before)
    with torch.no_grad():
        module[0].bias += 1.0
    np.testing.assert_array_equal(copy.step(0, X), before)
    assert not np.allclose(flow.vector_field(0.0, X), before)
    assert not np.allclose(TorchMap(Step(module), 3).step(0, X), before)


class Step(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, n, x):
        return self.module(x[None])[0]


def test_the_weights_of_a_recurrent_module_are_kept_too():
    cell = torch.nn.GRU(2, 3, batch_first=True, dtype=torch.float64)

    class Run(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, n, h):
            return self.cell(torch.zeros(1, 1, 2, dtype=h.dtype), h[None, None])[0][0, 0]

    kept = TorchMap(Run(), 3)
    before = kept.step(0, X)
    with torch.no_grad():
        cell.weight_hh_l0 += 0.3
    np.testing.assert_array_equal(kept.step(0, X), before)
    inputs = torch.ones(1, 4, 2, dtype=torch.float64)
    ours = cell(inputs)[0]
    fresh = torch.nn.GRU(2, 3, batch_first=True, dtype=torch.float64)
    fresh.load_state_dict(cell.state_dict())
    assert torch.equal(ours, fresh(inputs)[0])  # the user's module computes with its own weights
    assert not np.allclose(TorchMap(Run(), 3).step(0, X), before)
    check_system(kept, X)


def test_weights_of_another_time():
    module = NeuralODE()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    first = TorchFlow(module, 3)
    with torch.no_grad():
        for weight in module.parameters():
            weight *= 2.0
    now = TorchFlow(module, 3)
    v = first.vector_field(0.0, X)
    assert not np.allclose(v, now.vector_field(0.0, X))
    for same in (
        TorchFlow(module, 3, weights=before),
        attrs.evolve(first, vanishing_exponents=0),
        pickle.loads(pickle.dumps(first)),
    ):
        np.testing.assert_array_equal(same.vector_field(0.0, X), v)
    for name, wrong in (("net.1.weight", torch.ones(1)), ("net.0.bias", torch.ones(3)), ("net.0.bias", 1.0)):
        with pytest.raises(InvalidInputError, match=f"weights must be tensors of the module, '{name}'"):
            TorchFlow(module, 3, weights={name: wrong})
    with pytest.raises(InvalidInputError, match="among none"):
        attrs.evolve(LORENZ, weights=before)


def test_functions_that_cannot_be_vectorised_are_called_one_after_the_other():
    def branching(t, x, slope):
        return -x if float(x[0]) > 0 else -slope * x

    flow = TorchFlow(branching, 2, args=(4.0,))
    np.testing.assert_array_equal(flow.vector_field(0.0, [[1.0, 1.0], [-1.0, 1.0]]), [[-1.0, -1.0], [4.0, -4.0]])
    np.testing.assert_array_equal(flow.jacobian(0.0, np.array([-1.0, 1.0])), -4.0 * np.eye(2))
    np.testing.assert_array_equal(flow.vector_field(0.0, [[np.nan, 1.0], [1.0, 1.0]]), [[np.nan, np.nan], [-1.0, -1.0]])

    class Cube(torch.autograd.Function):  # without vmap
        @staticmethod
        def forward(x):
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx, v):
            return 3 * ctx.saved_tensors[0] ** 2 * v

    cube = TorchMap(lambda n, x: Cube.apply(x), 2)
    np.testing.assert_allclose(cube.jacobian(0, np.array([1.0, 2.0])), np.diag([3.0, 12.0]))


def test_functions_may_write_into_the_state():
    def impure(t, x):
        x *= 2.0
        return x

    x = np.array([1.0, 2.0])
    flow = TorchFlow(impure, 2)
    np.testing.assert_array_equal(flow.jacobian(0.0, x), 2.0 * np.eye(2))
    np.testing.assert_array_equal(flow.vector_field(0.0, x), [2.0, 4.0])
    on_device, tensor = flow.on_device(), torch.tensor(x)
    on_device.step(0.0, tensor)
    on_device.push(0.0, tensor, torch.eye(2, dtype=torch.float64))
    np.testing.assert_array_equal(tensor.numpy(), x)


def test_attention_has_a_derivative():
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(1, 1, dtype=torch.float64)

    def function(t, x):
        tokens = x[:, None]
        return attention(tokens, tokens, tokens)[0][:, 0]

    check_system(TorchFlow(function, 4), np.array([0.3, -0.1, 0.7, 1.1]))


def test_a_dropped_tangent_is_found_by_every_run():
    whole = TorchMap(lambda n, x: torch.tanh(2.0 * x.flip(0)) * (2.0 - x), 2)
    lossy = TorchMap(lambda n, x: torch.tanh(2.0 * x.flip(0)).detach() * (2.0 - x), 2)
    run = {"intervals": 10, "warmup": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert whole.tangent().benettin([0.5, 0.7], **run).diagnostics.derivative_defect == 0.0
    with pytest.warns(DiagnosticWarning, match="the derivative is not that of the function"):
        spectrum = lossy.tangent().benettin([0.5, 0.7], **run)
    assert spectrum.diagnostics.derivative_defect > 0.01


@pytest.mark.parametrize("stepper", [Euler, Midpoint, RK4])
def test_a_step_on_tensors_is_the_step_of_numpy(stepper):
    step = LORENZ.tangent(stepper(0.01), t0=0.3).time_step
    on_device = step.on_device()
    V = np.random.default_rng(1).normal(size=(3, 2))
    x, rows = torch.tensor(X), torch.tensor(V.T.copy())
    expected = step.step_tangent(5, X, V)
    moved, pushed = on_device.push(5, x, rows)
    np.testing.assert_allclose(moved.numpy(), expected[0], rtol=1e-15)
    np.testing.assert_allclose(pushed.numpy().T, expected[1], rtol=1e-13)
    np.testing.assert_allclose(on_device.step(5, x).numpy(), expected[0], rtol=1e-15)
    assert (on_device.dtype, on_device.device) == (torch.float64, torch.device("cpu"))
    assert not pushed.requires_grad


def test_other_steps_are_not_on_tensors():
    assert Lorenz63().tangent(RK4(0.01)).time_step.on_device() is None
    assert LORENZ.tangent(DormandPrince(0.01)).time_step.on_device() is None
    henon = TorchMap(lambda n, x: torch.stack([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]]), 2)
    x, V = henon.on_device().push(0, torch.ones(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    np.testing.assert_allclose(V.numpy().T, henon.jacobian(0, np.ones(2)))
    np.testing.assert_allclose(x.numpy(), henon.step(0, np.ones(2)))


def test_args_are_parameters():
    assert list(LORENZ.parameter_names) == ["sigma", "rho", "beta"]
    assert LORENZ.with_parameters({"rho": 1.0}).args == (10.0, 1.0, 8 / 3)
    with pytest.raises(InvalidInputError, match="no parameter 'r'; it has sigma, rho, beta"):
        LORENZ.with_parameters({"r": 1.0})
    runs = sweep(LORENZ.tangent(Euler(0.01)).benettin, {"rho": [0.5, 0.9]}, X, intervals=4, warmup=800, k=1)
    # the slow direction of the origin: an eigenvalue of [[-10, 10], [rho, -1]] under Euler's method
    slow = [np.linalg.eigvals([[-10.0, 10.0], [rho, -1.0]]).real.max() for rho in (0.5, 0.9)]
    np.testing.assert_allclose(runs.exponent_mean[:, 0], np.log1p(0.01 * np.array(slow)) / 0.01, atol=1e-4)
    W = np.array([[0.0, 2.0], [-2.0, 0.0]])
    rates = TorchFlow(lambda t, x, W: -x + W @ torch.tanh(x), 2, args=(W,))
    np.testing.assert_allclose(rates.jacobian(0.0, np.zeros(2)), W - np.eye(2))


def test_stores_tell_weights_apart():
    module = NeuralODE()
    first = describe(TorchFlow(module, 3))
    assert first == describe(TorchFlow(NeuralODE(), 3))
    with torch.no_grad():
        module.net[0].bias[0] += 1e-12
    assert first != describe(TorchFlow(module, 3))
    assert describe(LORENZ) != describe(attrs.evolve(LORENZ, args=(10.0, 27.0, 8 / 3)))


def refused(function, words, call="jvp", dimension=2, **options):
    system = TorchFlow(function, dimension, **options)
    vectors = [np.eye(dimension)] * (call == "jvp")
    with pytest.raises(InvalidInputError, match=words):
        getattr(system, call)(0.0, np.linspace(0.1, 0.2, dimension), *vectors)


@pytest.mark.parametrize("call", ["jvp", "vector_field"])
def test_answers_that_are_none_are_refused(call):
    refused(lambda t, x: [x[1], x[0]], r"must return a tensor of shape \(2,\), got (?s:.*)torch.stack", call)
    refused(lambda t, x: x[:1], r"of shape \(2,\), got one of torch.float64 of shape \(1,\)", call)
    refused(lambda t, x: x[None], r"of shape \(1, 2\)", call)
    refused(lambda t, x: (x > 0).long(), "got one of torch.int64", call)
    refused(lambda t, x: torch.complex(x, x), "got one of torch.complex128", call)


def test_functions_that_fail_say_what_to_do():
    refused(lambda t, x: x @ torch.zeros(3, 3), r"fails on a tensor of torch.float64 of shape \(2,\): RuntimeError")
    refused(lambda t, x: torch.zeros(2, 2) @ x, r"in one precision \(dtype=\)")
    refused(lambda t, x: torch.tensor(np.sin(x)), "leaves PyTorch, .* use those of torch, or dynsys.FunctionFlow")
    refused(lambda t, x: torch.cdist(x[None, :, None], x[None, :, None])[0, 0], "operation _cdist_forward has no")
    refused(lambda t, x: torch.nn.functional.dropout(x), "random numbers")
    norm = torch.nn.BatchNorm1d(2, dtype=torch.float64)
    refused(lambda t, x: norm(torch.stack([x, 2 * x]))[0], r"as BatchNorm does in training mode: call .eval\(\)")
    norm.eval()
    check_system(TorchFlow(lambda t, x: norm(torch.stack([x, 2 * x]))[0], 2), np.array([0.2, 0.3]))

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    refused(lambda t, x: Backward.apply(x), "without forward derivative: define its setup_context and jvp")
    refused(NeuralODE(dropout=0.5), "random numbers", dimension=3)
    check_system(TorchFlow(NeuralODE(dropout=0.5).eval(), 3), X)


def test_what_a_system_is_made_of_is_checked():
    with pytest.raises(InvalidInputError, match="function must be a function, got 3"):
        TorchFlow(3, 2)
    with pytest.raises(InvalidInputError, match="dimension must be a whole number"):
        TorchFlow(lorenz, 0)
    with pytest.raises(InvalidInputError, match="with 1 args, but its arguments are"):
        TorchFlow(lorenz, 3, args=(1.0,))
    with pytest.raises(InvalidInputError, match="called as function"):
        TorchFlow(torch.nn.Linear(2, 2), 2)
    with pytest.raises(InvalidInputError, match=r"dtype must be torch.float32 or torch.float64, got torch.int64"):
        TorchFlow(lorenz, 3, args=(1.0, 1.0, 1.0), dtype=torch.int64)
    with pytest.raises(InvalidInputError, match="device must be one of PyTorch"):
        TorchFlow(lorenz, 3, args=(1.0, 1.0, 1.0), device="nowhere")
    with pytest.raises(InvalidInputError, match=r"x must have shape \(..., 3\), got \(2,\)"):
        LORENZ.vector_field(0.0, [1.0, 2.0])
    with pytest.raises(InvalidInputError, match=r"V \(3, k\), got"):
        LORENZ.jvp(0.0, X, np.ones((2, 2)))
    assert np.isnan(LORENZ.jvp(0.0, np.full(3, np.nan), np.eye(3))).all()


def test_systems_of_numpy_functions_send_modules_and_tensors_here():
    for make in (FunctionFlow, FunctionMap):
        with pytest.raises(InvalidInputError, match=r"function is a module of PyTorch: use dynsys.torch.TorchFlow"):
            make(torch.nn.Linear(2, 2), 2)
        system = make(lambda t, x: torch.tanh(torch.as_tensor(x)), 2)
        with pytest.raises(InvalidInputError, match=r"function returns a tensor of PyTorch: use dynsys.torch"):
            system.rule(0, np.ones(2))
    assert FunctionFlow(lambda t, x: torch.tanh(torch.as_tensor(x)).numpy(), 2).vector_field(0.0, np.ones(2)).all()


def test_dynsys_alone_never_loads_torch():
    code = "import sys, dynsys, dynsys.models.networks; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code = """
import sys
sys.modules['torch'] = None
try:
    import dynsys.torch
except ImportError as problem:
    assert 'pip install' in str(problem), problem
else:
    raise AssertionError
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_single_precision_raises_no_false_alarm_and_hides_no_wrong_derivative():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(10, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10)
    )

    def right(t, x):
        return 3.0 * net(x) - x

    def lossy(t, x):
        return 3.0 * net(x).detach() - x

    x0, run = np.random.default_rng(0).normal(size=10), {"intervals": 6, "steps_per_interval": 2, "warmup": 0, "k": 2}
    single = TorchFlow(right, 10, dtype=torch.float32).tangent(RK4(0.5))
    assert single.time_step.precision == 2.0**-23
    rates = single.benettin(x0, **run)  # differences over short steps, where single precision sees no change, say 1
    assert rates.diagnostics.derivative_defect == 0.0
    with pytest.warns(DiagnosticWarning, match="the derivative is not that of the function"):
        TorchFlow(lossy, 10, dtype=torch.float32).tangent(RK4(0.5)).benettin(x0, **run)
    net.double()
    double = TorchFlow(right, 10).tangent(RK4(0.5))
    assert double.time_step.precision == 2.0**-52
    np.testing.assert_allclose(rates.exponents, double.benettin(x0, **run).exponents, atol=1e-5)


def test_contracts_know_single_precision_and_still_find_a_wrong_derivative():
    def right(t, x):
        return torch.stack([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    def lossy(t, x):  # a thousandth of one entry is dropped
        return right(t, x) + 1e-3 * torch.stack([x[1], x[0], x[0]]) * (x[2] - x[2].detach())

    x0 = np.array([1.0, 2.0, 20.0])
    single = TorchFlow(right, 3, dtype=torch.float32)
    check_system(single, x0)
    check_tangent(single.tangent(RK4(0.01)), x0)
    with pytest.raises(ContractError, match="jvp of TorchFlow against differences"):
        check_system(TorchFlow(lossy, 3, dtype=torch.float32), x0)
    with pytest.raises(ContractError, match="against differences of the step"):
        check_tangent(TorchFlow(lossy, 3, dtype=torch.float32).tangent(Euler(0.5)), x0)
