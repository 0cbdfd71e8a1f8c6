"""Networks of many weights: products with the Hessian without it, in every algorithm, and little memory."""

import json
import math
import subprocess
import sys
import textwrap

import attrs
import numpy as np
import pytest

from dynsys import DiagnosticWarning, Euler, HeavyBall, Nesterov, NumbaTangent
from dynsys.equations.source import numpy_functions
from dynsys.models.activations import GELU, Linear, ReLU, Tanh
from dynsys.models.networks import ThreeLayerGradientFlow
from dynsys.models.networks.three_layer import network as module
from dynsys.models.networks.three_layer.matrix_free import Squares

RNG = np.random.default_rng(0)


def network(sizes, kind=Tanh, samples=20, **options):
    X, y = RNG.normal(size=(samples, sizes[0])), RNG.normal(size=(samples, sizes[2]))
    return ThreeLayerGradientFlow(X, y, hidden=sizes[1], activation=kind(), **options)


def linearised(kernel, rows, x, V):
    """The kernel's numbers, from its source run by Python."""
    namespace = {**numpy_functions(), "njit": lambda function: function, "math": math}
    exec(compile(kernel.source, "<kernel>", "exec"), namespace)
    f, F = np.full(len(x), np.nan), np.full(V.T.shape, np.nan).T
    scratch = np.full(kernel.scratch, np.nan)
    namespace["linearise"](0.0, x, V, f, F, kernel.parameters, kernel.data, rows, scratch)
    return f, F


@pytest.mark.parametrize("kind", [Linear, ReLU, Tanh, GELU])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_kernel_of_a_large_network_is_the_jacobian_of_the_paper_times_vectors(kind, reduction, monkeypatch):
    """At a size at which both kernels can be asked; on batches, and on all samples."""
    flow = network((3, 4, 2), kind, reduction=reduction)
    x, V = RNG.normal(size=flow.dimension), RNG.normal(size=(flow.dimension, 3))
    monkeypatch.setattr(module, "LARGEST_WITH_MATRIX", 10)
    rows = np.array([7, 3, 3, 19, 0])
    for part, kernel in ((flow.on(rows), flow.batch_kernel(5)), (flow, attrs.evolve(flow).kernel())):
        f, F = linearised(kernel, rows, x, V)
        J = part.jacobian(0.0, x)
        np.testing.assert_allclose(f, part.vector_field(0.0, x), rtol=0, atol=1e-13 * np.abs(J).max())
        np.testing.assert_allclose(F, J @ V, rtol=0, atol=1e-13 * np.abs(J).max())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_its_loss_is_that_of_the_flow(reduction):
    flow = network((3, 4, 2), reduction=reduction)
    x = RNG.normal(size=(5, flow.dimension))
    loss = Squares(flow.y, reduction)
    np.testing.assert_allclose(loss.value(flow.output(x)), flow.loss(x), rtol=1e-13)
    z, dz = RNG.normal(size=(2, 20, 2))
    slope = loss.value(z + 1e-30j * dz).imag / 1e-30
    np.testing.assert_allclose(np.sum(loss.errors(z) * dz), slope, rtol=1e-13)
    np.testing.assert_allclose(loss.errors(z + 1e-30j * dz).imag / 1e-30, loss.errors_along(z, dz), rtol=1e-13)


def test_memory_of_a_kernel_grows_with_the_weights_and_not_with_their_square():
    for sizes in ((784, 64, 10), (100, 500, 1), (10, 20, 10)):
        flow = network(sizes, samples=40)
        for kernel, samples in ((flow.batch_kernel(32), 32), (flow.kernel(), 40)):
            assert kernel.scratch < 2 * flow.dimension + 20 * samples * sum(sizes)


@pytest.mark.numba
@pytest.mark.slow
@pytest.mark.parametrize("stepper", [Euler(1e-2), HeavyBall(1e-2, momentum=0.8), Nesterov(1e-2, momentum=0.8)])
def test_every_algorithm_runs_a_network_of_ten_thousand_weights(stepper):
    flow = network((150, 64, 10), samples=200)
    tangents = [flow.minibatches(32, seed=1).tangent(stepper, backend=backend) for backend in ("auto", "numpy")]
    assert isinstance(tangents[0], NumbaTangent)
    x = flow.initial(members=2, seed=1)
    options = {"k": 2, "intervals": 6, "steps_per_interval": 2, "warmup": 3}
    found = []
    for tangent in tangents:
        numbers = [tangent.benettin(x, **options).exponents]
        numbers.append(tangent.trajectory(x, intervals=6, steps_per_interval=2, warmup=0).states)
        with pytest.warns(DiagnosticWarning, match="tail of 3 intervals is too short"):
            vectors = tangent.ginelli(x[0], **options, tail=3)
        assert vectors.diagnostics.covariance_residual < 1e-10
        early = tangent.sharafi(x[0], **options, window=2)
        numbers += [vectors.exponents, np.abs(vectors.vectors), np.abs(early.vectors)]
        found.append(numbers)
    for compiled, numpy in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, numpy, rtol=0, atol=1e-9)


@pytest.mark.numba
@pytest.mark.slow
def test_fifty_thousand_weights_take_less_than_a_gibibyte():
    code = """
    import json, resource
    import numpy as np
    from dynsys import Euler
    from dynsys.models.activations import Tanh
    from dynsys.models.networks import ThreeLayerGradientFlow

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2000, 784)), np.eye(10)[rng.integers(10, size=2000)]
    flow = ThreeLayerGradientFlow(X, y, hidden=64, activation=Tanh())
    x, sgd = flow.initial(seed=1), flow.minibatches(32, seed=2)
    runs = [
        sgd.tangent(Euler(1e-2), backend=backend).benettin(x, k=3, intervals=10, steps_per_interval=3, warmup=2)
        for backend in ("auto", "numpy")
    ]
    whole = flow.tangent(Euler(1e-2)).ginelli(x, k=2, intervals=3, warmup=2, tail=2)
    try:  # not that of the process which began this one, as in `ru_maxrss`
        (peak,) = (int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "dimension": flow.dimension,
        "exponents": [run.exponents.tolist() for run in runs],
        "residual": float(whole.diagnostics.covariance_residual),
        "gibibytes": peak / 2**20,
    }))
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    compiled, numpy = said["exponents"]
    assert said["dimension"] == 50_890
    assert said["gibibytes"] < 1.0
    assert said["residual"] < 1e-10
    np.testing.assert_allclose(compiled, numpy, rtol=0, atol=1e-9)
    assert len(set(np.round(compiled, 6))) == 3
