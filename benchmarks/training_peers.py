"""Other packages on the perceptron 784-100-10; each is optional, and a line says which are not there."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import Contestant, over, race, seconds, table
from benchmarks.training_models import Case, images, perceptron, plain, products
from dynsys.torch import TrainingMonitor

Tensor = torch.Tensor

RATE, BATCH = 0.1, 128


def peers(case: Case, rounds: int, quick: bool) -> None:
    """Both tables."""
    hessian_products(case, rounds, quick)
    first_exponent(case, quick)


def hessian_products(case: Case, rounds: int, quick: bool) -> None:
    """What a product with the Hessian costs."""
    unit = Contestant("plain", plain(case, "SGD", 20), 20)
    entrants = [Contestant("dynsys, five vectors", lambda: products(model, case, 5, 4), 20)]
    model = case.model()
    for make in (curvlinops, pyhessian):
        try:
            entrants += make(case)
        except ImportError as problem:
            print(f"Skipped {make.__name__}: {problem}.\n", flush=True)
    first, *timings = race([unit, *entrants], rounds, time.process_time)
    print(f"A product of the Hessian with a vector, {case.name}, in plain steps of SGD, the gradient included:\n")
    table(["", "steps per vector"], [[one.name, over(one, first) + 1.0] for one in timings])


def curvlinops(case: Case) -> list[Contestant]:
    """A linear operator, on a vector and on five at once."""
    from curvlinops import HessianLinearOperator

    model = case.model()
    weights, data = list(model.parameters()), [(case.inputs, case.targets)]
    operator = HessianLinearOperator(model, nn.CrossEntropyLoss(), weights, data, check_deterministic=False)
    name, n = f"curvlinops {version('curvlinops-for-pytorch')}", case.weights
    one, five = torch.randn(n), torch.randn(n, 5)
    return [
        Contestant(f"{name}, one vector", lambda: operator @ one, 1),
        Contestant(f"{name}, five vectors at once", lambda: operator @ five, 5),
    ]


def pyhessian(case: Case) -> list[Contestant]:
    """Power iterations on one batch, whose gradient it keeps, and through a data loader, as its page has it."""
    from pyhessian import hessian

    model, name, steps = case.model(), f"PyHessian {version('pyhessian')}", 4
    criterion, batch = nn.CrossEntropyLoss(), (case.inputs, case.targets)
    loaded = DataLoader(TensorDataset(*batch), batch_size=len(case.inputs))

    def power(**data: Any) -> Callable[[], Any]:
        return lambda: hessian(model, criterion, cuda=False, **data).eigenvalues(maxIter=steps, tol=0.0)

    return [
        Contestant(f"{name}, power iteration, one batch", power(data=batch), steps),
        Contestant(f"{name}, power iteration, data loader", power(dataloader=loaded), steps),
    ]


# the first exponent of a training


def first_exponent(case: Case, quick: bool) -> None:
    """How fast a random displacement of the weights grows over ten epochs of twenty batches, and at what cost."""
    epochs, samples = (5, 2 * BATCH) if quick else (10, 20 * BATCH)
    X, y = images(samples)
    unit = seconds(lambda: trained(network(), X, y, epochs), time.process_time)[0]
    rows: list[list[Any]] = []

    def entrant(name: str, run: Callable[[], float], how: str) -> None:
        taken, rate = seconds(run, time.process_time)
        rows.append([name, f"{rate:+.5f}", taken / unit, how])

    entrant("dynsys, float32, k = 1", lambda: by_monitor(network(), X, y, epochs), "exact tangent")
    entrant("dynsys, float64, k = 1", lambda: by_monitor(network().double(), X.double(), y, epochs), "the same")
    entrant("a pair, float64", lambda: by_pair(X.double(), y, epochs), "distance 1e-7, along the same first vector")
    try:
        name = f"deep-lyapunov {version('deep-lyapunov')}"
    except PackageNotFoundError:
        print("Skipped deep-lyapunov: it is not installed.\n", flush=True)
    else:
        for scale in (0.01, 1e-4):
            run = partial(by_replicas, X, y, epochs, scale)
            entrant(name, run, f"five replicas, {scale:g} apart, in three principal components")
    print(
        f"The first exponent of a training, MLP 784-100-10, {samples} samples in batches of {BATCH}, {epochs} epochs "
        f"of SGD at {RATE}: the mean growth of a displacement over all {epochs * (samples // BATCH)} steps. The unit "
        "is that training:\n"
    )
    table(["", "per step", "trainings", ""], rows)


def network() -> nn.Module:
    """The perceptron, the same every time."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return perceptron(784, 100, 10)


def trained(model: nn.Module, X: Tensor, y: Tensor, epochs: int) -> dict[str, list[float]]:
    """Plain SGD, batches in order."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=RATE), []
    for _ in range(epochs):
        for inputs, targets in zip(X.split(BATCH), y.split(BATCH), strict=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    return {"loss": losses}


def by_monitor(model: nn.Module, X: Tensor, y: Tensor, epochs: int) -> float:
    """The exponent, per step."""
    monitor = TrainingMonitor(model, torch.optim.SGD(model.parameters(), lr=RATE), k=1)
    for _ in range(epochs):
        for inputs, targets in zip(X.split(BATCH), y.split(BATCH), strict=True):
            monitor.step(F.cross_entropy(model(inputs), targets))
    return float(monitor.spectrum().exponents[0])


def by_pair(X: Tensor, y: Tensor, epochs: int, distance: float = 1e-7) -> float:
    """The same from two trainings, of which one begins a little beside the other."""
    pair = [network().double(), network().double()]
    weights = [nn.utils.parameters_to_vector(model.parameters()).detach() for model in pair]
    v = torch.from_numpy(np.random.default_rng([0, 0]).normal(size=len(weights[0])))  # the monitor's, of seed 0
    nn.utils.vector_to_parameters(weights[1] + distance * v / v.norm(), pair[1].parameters())
    for model in pair:
        trained(model, X, y, epochs)
    ends = [nn.utils.parameters_to_vector(model.parameters()).detach() for model in pair]
    return float(torch.log((ends[1] - ends[0]).norm() / distance)) / (epochs * (len(X) // BATCH))


def by_replicas(X: Tensor, y: Tensor, epochs: int, scale: float) -> float:
    """What the package calls the exponent, per step instead of per epoch."""
    from deep_lyapunov import StabilityAnalyzer

    analyzer = StabilityAnalyzer(network(), perturbation_scale=scale, device="cpu", verbose=False)
    with contextlib.redirect_stdout(io.StringIO()):
        found = analyzer.analyze(lambda model, _, times: trained(model, X, y, times), None, n_epochs=epochs)
    return float(found.lyapunov) / (len(X) // BATCH)
