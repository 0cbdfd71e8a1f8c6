"""The backend torch: the runs of NumPy on tensors, for every optimiser and algorithm, in both precisions."""

import subprocess
import sys
import warnings

import attrs
import numpy as np
import pytest
from scipy.optimize import minimize

torch = pytest.importorskip("torch")

from optimiser_roots import exponents as at_minimum  # noqa: E402
from torch import nn  # noqa: E402
from torch_networks import PAIRS, data, mlp, squares  # noqa: E402

from dynsys import (  # noqa: E402
    RK4,
    Adam,
    AdamW,
    DivergenceError,
    Ensemble,
    Euler,
    HeavyBall,
    InvalidInputError,
    Nesterov,
    RMSprop,
    RunState,
    SingularTangentError,
)
from dynsys.models.classics import Henon  # noqa: E402
from dynsys.passes import run_state  # noqa: E402
from dynsys.testing import check_tangent  # noqa: E402
from dynsys.torch import TorchGradientFlow, TorchTangent, TrainingMonitor  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

X, y = data()
STEPPERS = {
    "Euler": Euler(0.05),
    "heavy ball": HeavyBall(0.05, 0.8),
    "Nesterov": Nesterov(0.05, 0.8),
    "Adam": Adam(0.01, eps=0.1),
    "AdamW": AdamW(0.01, eps=0.1, weight_decay=0.1),
    "RMSprop": RMSprop(0.01, eps=0.1),
}
STEPPER = pytest.mark.parametrize("stepper", STEPPERS.values(), ids=STEPPERS)
SIZE = pytest.mark.parametrize("size", [None, 5])


def flow(dtype=torch.float64, **options):
    return TorchGradientFlow(mlp(2, 3, 1, dtype=dtype), squares, X, y, **options)


def driven(whole, size):
    return whole if size is None else whole.minibatches(size, seed=1)


def twins(pair, size, stepper, k):
    """Tangents of the same network in NumPy and on tensors, and the same start of a run of each."""
    ours, theirs, order = pair()
    tangents = [driven(ours, size).tangent(stepper, backend="numpy"), driven(theirs, size).tangent(stepper)]
    dim = tangents[1].dimension
    order = np.concatenate([order + start for start in range(0, dim, len(order))])
    start = RunState.start(tangents[1].complete(theirs.initial()), dim, k, 0)
    x, Q = np.empty_like(start.x), np.empty_like(start.Q)
    x[:, order], Q[:, order] = start.x, start.Q
    return tangents, (attrs.evolve(start, x=x, Q=Q), start), order


@SIZE
@STEPPER
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_spectra_are_those_of_the_network_in_numpy(pair, stepper, size):
    tangents, starts, order = twins(pair, size, stepper, 6)
    assert type(tangents[1]) is TorchTangent
    one, other = (
        tangent.benettin(start, intervals=8, steps_per_interval=5, warmup=0)
        for tangent, start in zip(tangents, starts, strict=True)
    )
    np.testing.assert_allclose(other.rates * stepper.dt, one.rates * stepper.dt, rtol=0, atol=1e-12)
    np.testing.assert_allclose(other.end.x, one.end.x[:, order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(other.end.Q, one.end.Q[:, order], rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")  # of ends that are too near
@pytest.mark.parametrize("algorithm", ["ginelli", "sharafi"])
@SIZE
def test_covariant_vectors_are_those_of_the_network_in_numpy(size, algorithm):
    tangents, starts, order = twins(PAIRS["ThreeLayerGradientFlow"], size, STEPPERS["Adam"], 4)
    options = {"ginelli": {"tail": 15}, "sharafi": {"window": 5}}[algorithm]
    one, other = (
        getattr(tangent, algorithm)(start, intervals=20, steps_per_interval=5, warmup=15, **options)
        for tangent, start in zip(tangents, starts, strict=True)
    )
    np.testing.assert_allclose(np.abs(other.vectors), np.abs(one.vectors[:, order]), rtol=0, atol=1e-9)
    np.testing.assert_allclose(other.angles, one.angles, rtol=0, atol=1e-9)
    np.testing.assert_allclose(other.rates, one.rates, rtol=0, atol=1e-9)
    assert algorithm == "sharafi" or other.diagnostics.covariance_residual < 1e-12


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")
def test_angles_without_vectors_are_those_with_them():
    tangent = flow().minibatches(5, seed=1).tangent(HeavyBall(0.05, 0.8))
    options = {"intervals": 20, "steps_per_interval": 5, "warmup": 10, "tail": 10, "k": 5}
    full, alone = (tangent.ginelli(flow().initial(), vectors=v, **options) for v in (True, False))
    np.testing.assert_allclose(alone.angles, full.angles, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(alone.rates, full.rates)


@STEPPER
def test_the_tangent_keeps_its_contract_and_the_run_is_that_of_numpy(stepper):
    sgd = flow().minibatches(5, seed=1)
    tangent, plain = sgd.tangent(stepper), sgd.tangent(stepper, backend="numpy")
    check_tangent(tangent, tangent.complete(flow().initial()) + 0.1)
    one, other = (each.benettin(flow().initial(), intervals=8, warmup=2) for each in (tangent, plain))
    np.testing.assert_allclose(one.rates * stepper.dt, other.rates * stepper.dt, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(one.times, other.times)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 3, 13])
def test_first_frames_are_those_of_other_backends(dtype, k):
    tangent = flow(dtype).tangent(Euler(0.1))
    members = np.array([0, 5, 2])
    found = tangent.random_frames(13, k, 7, members)
    assert found.dtype == {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    assert found.transpose(0, 2, 1).flags.c_contiguous
    expected = RunState.start(np.zeros((3, 13)), 13, k, 7, members).Q
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-12)


OPTIMISERS = {
    "SGD": (Euler(0.05), lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": (HeavyBall(0.05, 0.8), lambda p: torch.optim.SGD(p, 0.05, momentum=0.8)),
    "Adam": (Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("stepper", "optimizer"), OPTIMISERS.values(), ids=OPTIMISERS)
def test_it_is_the_training_that_pytorch_does(stepper, optimizer, dtype):
    whole = flow(dtype)
    sgd = whole.minibatches(5, seed=1)
    run = sgd.tangent(stepper).trajectory(whole.initial(), intervals=30)
    model = mlp(2, 3, 1, dtype=dtype)
    training = optimizer(model.parameters())
    inputs, targets = (torch.as_tensor(part).to(dtype) for part in (X, y))
    for n in range(30):
        rows = torch.as_tensor(sgd.rows(n)[0])
        training.zero_grad()
        squares(model(inputs[rows]), targets[rows]).mean().backward()
        training.step()
    found = whole.initial(model)
    np.testing.assert_allclose(
        run.states[-1, : whole.dimension], found, rtol=0, atol=1e-13 if dtype.itemsize == 8 else 1e-5
    )


@pytest.mark.parametrize(("stepper", "optimizer"), OPTIMISERS.values(), ids=OPTIMISERS)
def test_a_monitor_of_the_training_finds_the_same_exponents(stepper, optimizer):
    """Per step, where these are per unit of time: two ways from the loss to the exponents."""
    sgd, k = flow().minibatches(5, seed=1), 4
    batch = sgd.tangent(stepper).benettin(flow().initial(), intervals=12, steps_per_interval=5, warmup=0, k=k, seed=3)
    model = mlp(2, 3, 1)
    monitor = TrainingMonitor(model, optimizer(model.parameters()), k=k, seed=3, steps_per_interval=5)
    for n in range(60):
        rows = torch.as_tensor(sgd.rows(n)[0])
        monitor.step(squares(model(torch.as_tensor(X)[rows]), torch.as_tensor(y)[rows]).mean())
    np.testing.assert_allclose(monitor.spectrum().rates, batch.rates * stepper.dt, rtol=0, atol=1e-10)


def test_it_is_taken_where_there_is_a_step_on_tensors_and_refused_with_the_reason_elsewhere():
    whole = flow()
    assert type(whole.tangent(Adam(0.1))) is type(whole.tangent(Adam(0.1), backend="torch")) is TorchTangent
    assert whole.minibatches(5).tangent(RK4(0.1)).name == "numpy"  # stages are for all samples
    with pytest.raises(InvalidInputError, match=r"backend torch cannot take the step of Henon: .*TorchGradientFlow"):
        Henon().tangent(backend="torch")


def test_steppers_with_stages_are_taken_on_all_samples():
    whole = flow()
    one, other = (
        whole.tangent(RK4(0.5), backend=backend).benettin(whole.initial(), intervals=5, k=3, warmup=0)
        for backend in ("torch", "numpy")
    )
    np.testing.assert_allclose(one.rates, other.rates, rtol=0, atol=1e-12)
    assert np.isfinite(one.diagnostics.step_error).all()


def test_dynsys_alone_never_imports_torch():
    code = "import sys, dynsys, dynsys.backends, dynsys.systems; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def noisy(dtype=torch.float64):
    model = nn.Sequential(mlp(2, 6, dtype=dtype), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.3), mlp(6, 1))
    return TorchGradientFlow(model.to(dtype), nn.MSELoss(), X, y, seed=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@SIZE
def test_a_run_that_is_continued_is_the_run(size, dtype, monkeypatch):
    """With dropout, momentum, in another number of calls: the same bits."""
    whole = noisy(dtype)
    tangent = driven(whole, size).tangent(HeavyBall(0.02, 0.8))
    options = {"steps_per_interval": 3, "warmup": 0, "seed": 5}
    run = tangent.benettin(whole.initial(), intervals=12, k=3, **options)
    monkeypatch.setattr(run_state, "FIRST_STEPS", 6)
    first = tangent.benettin(whole.initial(), intervals=4, k=3, **options)
    second = tangent.benettin(first.end, intervals=8, **options)
    np.testing.assert_array_equal(np.concatenate([first.rates, second.rates]), run.rates)
    np.testing.assert_array_equal(second.end.Q, run.end.Q)
    np.testing.assert_array_equal(second.end.x, run.end.x)
    torch.manual_seed(0)  # the process may draw what it likes
    again = tangent.benettin(whole.initial(), intervals=12, k=3, **options)
    np.testing.assert_array_equal(again.rates, run.rates)


@pytest.mark.parametrize("shared", [True, False])
def test_a_member_of_an_ensemble_is_its_run_alone(shared):
    whole = noisy()
    tangent = whole.minibatches(5, seed=1, shared=shared).tangent(Euler(0.05))
    x0 = np.tile(whole.initial(), (3, 1)) + 0.01 * np.arange(3)[:, None]
    start = RunState.start(x0, whole.dimension, 2, 0)
    together = tangent.forward(start, intervals=3, steps_per_interval=4, record="growth")
    for m in range(3):
        fields = {name: getattr(start, name)[m : m + 1] for name in ("x", "Q", "status", "stopped", "members")}
        alone = tangent.forward(attrs.evolve(start, **fields), intervals=3, steps_per_interval=4, record="growth")
        for name in ("x", "Q", "growth"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[m])


def test_an_ensemble_in_blocks_is_the_run_of_all_members(tmp_path):
    whole = noisy()
    tangent = whole.minibatches(5, seed=1, shared=False).tangent(HeavyBall(0.05, 0.8))
    x0 = np.tile(whole.initial(), (5, 1)) + 0.01 * np.arange(5)[:, None]
    options = {"intervals": 4, "steps_per_interval": 3, "k": 2, "warmup": 0}
    together = tangent.benettin(x0, **options)
    runs = Ensemble.of(tangent.benettin, x0, **options).run(tmp_path / "runs.zarr", block=2)
    np.testing.assert_array_equal(runs.exponent_mean, together.exponents)
    again = Ensemble.of(tangent.benettin, x0, **options).run(tmp_path / "runs.zarr", block=2)  # of the store
    np.testing.assert_array_equal(again.exponent_mean, together.exponents)


def test_nothing_that_is_handed_in_is_overwritten():
    whole = flow()
    tangent = whole.tangent(HeavyBall(0.05))
    start = RunState.start(tangent.complete(whole.initial()), 26, 3, 0).without_records()
    before = start.x.copy(), start.Q.copy()
    end = tangent.forward(start, intervals=2, steps_per_interval=2, record="frames")
    np.testing.assert_array_equal(start.x, before[0])
    np.testing.assert_array_equal(start.Q, before[1])
    np.testing.assert_array_equal(end.Qs[0, -1], end.Q[0])
    np.testing.assert_array_equal(end.xs[0, -1], end.x[0])


def test_a_run_that_diverges_keeps_what_was_finished_and_marks_members():
    whole = flow()
    tangent = whole.tangent(Euler(3.0))
    with pytest.raises(DivergenceError) as caught:
        tangent.benettin(whole.initial(), intervals=400, k=2, warmup=0)
    partial = caught.value.partial
    assert 0 < len(partial.rates) < 400
    assert np.isfinite(partial.rates).all()
    plain = whole.tangent(Euler(3.0), backend="numpy")
    with pytest.raises(DivergenceError) as other:
        plain.benettin(whole.initial(), intervals=400, k=2, warmup=0)
    assert other.value.time == caught.value.time
    start = RunState.start(np.stack([whole.initial(), 1e200 * whole.initial()]), 13, 2, 0)
    quiet = whole.tangent(Euler(0.01)).forward(start, intervals=3, steps_per_interval=2, record="growth")
    assert quiet.status.tolist() == [0, 1]
    assert np.isfinite(quiet.growth[0]).all()
    assert np.isnan(quiet.growth[1]).all()
    assert np.isnan(quiet.Q[1]).all()


def test_a_step_that_leaves_nothing_of_a_direction_is_singular():
    """One weight, quadratic: 1 - dt h = 0."""
    model = nn.Linear(1, 1, bias=False).double()
    whole = TorchGradientFlow(model, nn.MSELoss(), [[1.0], [1.0]], [[0.0], [0.0]])
    with pytest.raises(SingularTangentError):
        whole.tangent(Euler(0.5)).benettin(whole.initial(), intervals=5, warmup=0)


@STEPPER
def test_single_precision_is_double_precision_within_a_millionth_per_interval(stepper):
    """Ten steps in an interval, from the same weights; and no warning cries wolf (they are errors here)."""
    single, double = (flow(dtype) for dtype in (torch.float32, torch.float64))
    theta = single.initial()
    rates = [
        each.minibatches(5, seed=1)
        .tangent(stepper)
        .benettin(theta, intervals=10, steps_per_interval=10, k=3, warmup=0)
        .rates
        for each in (single, double)
    ]
    np.testing.assert_allclose(*(10 * stepper.dt * rate for rate in rates), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@SIZE
def test_checks_of_results_do_not_cry_wolf(size, dtype):
    """All vectors, so that determinants are compared; noise; warm-up. Warnings are errors."""
    for whole in (noisy(dtype), flow(dtype)):
        tangent = driven(whole, size).tangent(Euler(0.02))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the rates drift")  # it is a transient
            spectrum = tangent.benettin(whole.initial(), intervals=8, steps_per_interval=5, warmup=1)
            few = tangent.benettin(whole.initial(), intervals=20, steps_per_interval=5, warmup=0, k=2)
        assert spectrum.diagnostics.determinant_defect < (1e-4 if dtype == torch.float32 else 1e-10)
        assert few.diagnostics.derivative_defect == 0.0
        assert few.diagnostics.derivative == "double backward"


class Autoencoder(nn.Module):
    """A variational one."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 8), nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 64))

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return self.decoder(mean + torch.exp(log_variance / 2) * torch.randn_like(mean)), mean, log_variance


def bound(outputs, x):
    decoded, mean, log_variance = outputs
    return ((decoded - x) ** 2).sum(dim=1) + (mean**2 + log_variance.exp() - log_variance - 1).sum(dim=1) / 2


IMAGES = np.random.default_rng(0).normal(size=(600, 64))
CLASSES = np.random.default_rng(1).integers(0, 10, 600)
USUAL = {
    "perceptron of ReLU": (lambda: mlp(64, 100, 10, activation=nn.ReLU), nn.CrossEntropyLoss(), CLASSES),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 10),
        ),
        nn.CrossEntropyLoss(),
        CLASSES,
    ),
    "autoencoder": (Autoencoder, bound, IMAGES),
}  # fmt: skip


@pytest.mark.parametrize("stepper", [Euler(1e-4), Adam(1e-3)], ids=["Euler", "Adam"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("usual", USUAL.values(), ids=USUAL)
def test_usual_models_raise_no_false_alarm(usual, dtype, stepper):
    """Kinks by the thousand, noise that differs between precisions, steps that hardly move: warnings are errors."""
    make, loss, targets = usual
    whole = TorchGradientFlow(make().to(dtype), loss, IMAGES, targets)
    tangent = whole.minibatches(64, seed=1).tangent(stepper)
    spectrum = tangent.benettin(whole.initial(), intervals=5, steps_per_interval=5, k=2, warmup=0)
    assert spectrum.diagnostics.derivative_defect < 3e-4


def test_a_wrong_derivative_is_found():
    """Of a loss that is not what the gradient says: its second factor is detached."""

    def loss(outputs, targets):
        return ((outputs - targets) * (outputs - targets).detach()).mean()

    whole = TorchGradientFlow(mlp(2, 3, 1), loss, X, y)
    with pytest.warns(UserWarning, match="the derivative is not that of the function"):
        whole.tangent(Euler(0.05)).benettin(whole.initial(), intervals=5, k=2, warmup=0)


def minimum(whole):
    """Weights at a minimum with a definite Hessian, to rounding, and its eigenvalues, descending."""
    theta = minimize(whole.loss, whole.initial(), jac=lambda x: -whole.vector_field(0.0, x), options={"gtol": 1e-9}).x
    for _ in range(8):
        theta = theta - np.linalg.solve(whole.jacobian(0.0, theta), whole.vector_field(0.0, theta))
    assert np.abs(whole.vector_field(0.0, theta)).max() < 1e-14
    curvatures = np.linalg.eigvalsh(-whole.jacobian(0.0, theta))[::-1]
    assert curvatures[-1] > 1e-3
    return theta, curvatures


def closed_form(stepper, curvatures):
    if type(stepper) is Euler:
        return np.sort(np.log(np.abs(1.0 - stepper.dt * curvatures)) / stepper.dt)[::-1]
    return at_minimum(stepper, curvatures)


RATES = {
    "Euler": Euler(0.3),
    "heavy ball": HeavyBall(0.3, 0.5),
    "Nesterov": Nesterov(0.3, 0.5),
    "Adam": Adam(0.3, 0.5, 0.7, 1.0),
    "AdamW": AdamW(0.3, 0.5, 0.7, 1.0, weight_decay=0.0),
    "RMSprop": RMSprop(0.3, 0.4, 1.0),
}


@pytest.mark.parametrize("stepper", RATES.values(), ids=RATES)
def test_eigenvalues_of_a_step_at_a_minimum_are_those_of_the_closed_forms(stepper):
    whole = TorchGradientFlow(mlp(2, 1, 2, seed=3), nn.MSELoss(), X, np.hstack([y, X[:, 1:] + 0.3 * y]))
    theta, curvatures = minimum(whole)
    tangent = whole.tangent(stepper)
    x = torch.tensor(tangent.complete(theta))
    moved, pushed = tangent.time_step.on_device().push(10**6, x, torch.eye(len(x), dtype=torch.float64))
    np.testing.assert_allclose(moved, x, rtol=0, atol=1e-13)
    with np.errstate(divide="ignore"):
        rates = np.sort(np.log(np.abs(np.linalg.eigvals(pushed.numpy()))) / stepper.dt)[::-1]
    np.testing.assert_allclose(rates, closed_form(stepper, curvatures), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("stepper", "tolerance"), [(Euler(0.3), 1e-6), (HeavyBall(0.1, 0.02), 1e-6), (HeavyBall(0.3, 0.6), 0.05)]
)
def test_exponents_at_a_minimum_are_those_of_the_closed_forms(stepper, tolerance):
    """Real roots, and complex pairs, whose exponents converge as 1/T."""
    whole = TorchGradientFlow(mlp(2, 2), nn.MSELoss(), X, np.hstack([y, y**2]))
    theta, curvatures = minimum(whole)
    tangent = whole.tangent(stepper)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spectrum = tangent.benettin(tangent.complete(theta), intervals=100, steps_per_interval=4, warmup=300)
    expected = closed_form(stepper, curvatures)
    np.testing.assert_allclose(np.sort(spectrum.exponents)[::-1], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("stepper", [Euler(0.05), HeavyBall(0.05, 0.5)], ids=["gradient descent", "momentum"])
def test_scaling_of_a_relu_unit_is_neutral_at_a_minimum(stepper):
    """Weights into a unit times c, out of it over c, is the same function: 0, and under momentum {0, ln mu} / dt."""
    inputs = np.random.default_rng(3).normal(size=(60, 2))
    teacher = mlp(2, 2, 1, activation=nn.ReLU, seed=8)
    with torch.no_grad():
        targets = teacher(torch.as_tensor(inputs))
        assert (teacher[:2](torch.as_tensor(inputs)) > 0).any(dim=0).all()  # both units are active
    whole = TorchGradientFlow(teacher, nn.MSELoss(), inputs, targets)
    theta = whole.initial()
    scaling = np.zeros((2, 9))
    for j in range(2):
        into, out = [2 * j, 2 * j + 1, 4 + j], 6 + j
        scaling[j, into], scaling[j, out] = theta[into], -theta[out]
    np.testing.assert_allclose(whole.jvp(0.0, theta, scaling.T), 0.0, atol=1e-14)
    tangent = whole.tangent(stepper)
    x = torch.tensor(tangent.complete(theta))
    pushed = tangent.time_step.on_device().push(0, x, torch.eye(len(x), dtype=torch.float64))[1]
    rates = np.log(np.abs(np.linalg.eigvals(pushed.numpy()))) / stepper.dt
    assert np.count_nonzero(np.abs(rates) < 1e-10) == 2
    if type(stepper) is HeavyBall:
        assert np.count_nonzero(np.abs(rates - np.log(0.5) / 0.05) < 1e-10) == 2
    start = RunState.start(x.numpy(), len(x), 2, 0)
    Q = np.linalg.qr(np.vstack([scaling.T, np.zeros((len(x) - 9, 2))]))[0]
    spectrum = tangent.benettin(attrs.evolve(start, Q=Q[None]), intervals=50, steps_per_interval=5)
    np.testing.assert_allclose(spectrum.exponents, 0.0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_is_some_frames_whatever_the_number_of_vectors():
    """In another process, which tells its peak: of 200,000 weights, between 10 and 40 vectors, in frames."""
    code = """
import sys
import numpy as np, torch
from torch import nn
from dynsys import HeavyBall
from dynsys.torch import TorchGradientFlow

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024

torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(200, 900), nn.Tanh(), nn.Linear(900, 10))
X, labels = np.random.default_rng(0).normal(size=(64, 200)), np.arange(64) % 10
flow = TorchGradientFlow(model, nn.CrossEntropyLoss(), X, labels)
tangent, peaks = flow.minibatches(16, seed=1).tangent(HeavyBall(0.01)), []
for k in (10, 40):
    for algorithm, options in (("benettin", {}), ("ginelli", {"tail": 1, "vectors": False})):
        call = getattr(tangent, algorithm)
        call(flow.initial(), intervals=1, warmup=1, k=1, **options)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = status("VmRSS:")
        call(flow.initial(), intervals=2, steps_per_interval=2, warmup=1, k=k, **options)
        peaks.append(status("VmHWM:") - before)
frame = 4 * 2 * flow.dimension * 30
print((peaks[2] - peaks[0]) / frame, (peaks[3] - peaks[1]) / frame)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spectrum, angles = map(float, done.stdout.split())
    assert spectrum < 4.5  # the start, the end of an interval and the next one; what is freed may not be given back
    assert angles < 6.5


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_frames_stay_on_a_device(device):
    if not (torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()):
        pytest.skip(f"no {device}")
    model = nn.Sequential(mlp(2, 40, dtype=torch.float32), nn.Tanh(), nn.Dropout(0.5), mlp(40, 1, dtype=torch.float32))
    on_device = TorchGradientFlow(model.to(device), nn.MSELoss(), X, y)
    resting = TorchGradientFlow(model.to(device).eval(), nn.MSELoss(), X, y)
    step = on_device.tangent(Adam(0.01)).time_step.on_device()
    assert step.device.type == device
    x, V = (torch.ones(shape, device=device) for shape in ((step.parts * 161,), (2, step.parts * 161)))
    memory = V.data_ptr()
    moved, pushed = step.push(0, x, V)
    assert pushed.data_ptr() == memory
    assert moved.device.type == pushed.device.type == device
    run = on_device.tangent(Adam(0.01)).benettin(on_device.initial(), intervals=5, steps_per_interval=4, k=3, warmup=0)
    again = on_device.tangent(Adam(0.01)).benettin(
        on_device.initial(), intervals=5, steps_per_interval=4, k=3, warmup=0
    )
    np.testing.assert_array_equal(again.rates, run.rates)
    there, here = (
        TorchGradientFlow(resting.module(resting.initial()).to(where), nn.MSELoss(), X, y)
        .tangent(Adam(0.01))
        .benettin(resting.initial(), intervals=5, steps_per_interval=4, k=3, warmup=0)
        .rates
        for where in (device, "cpu")
    )
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-3)
