"""Losses of many weights: the graph of operations against SymPy's formulas, NumPy against the kernel, bounds."""

import math

import attrs
import numpy as np
import pytest

from dynsys import Euler, FallbackWarning, GradientFlow, HeavyBall, InvalidInputError, NumbaTangent
from dynsys.equations.loss_graph import loss_graph, summands
from dynsys.equations.source import numpy_functions
from dynsys.models.activations import ReLU, Tanh
from dynsys.models.networks import ThreeLayerGradientFlow
from dynsys.systems import gradient_flow as module

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 37))
COLUMNS = {"x": X, "y": Y}
LOSSES = {
    "products": "pi*w*u*b*x/7 - w^2*u*b + (w - u)^3*x - (y - w*u*x)^2/2 + 3*x - g*b/2",
    "functions": "sin(u*x)*cos(b) + tan(b/9) + asin(tanh(w)/2) + acos(tanh(b)/3) + atan(u) + erf(w) - exp(-u)/3",
    "roots": "sqrt(1 + b^2) + sinh(u)/cosh(w) + log(1 + exp(w*x)) - y*w + (2 + u)^(-1.5)*0 + 1/(1 + u^2)",
    "powers": "(1 + x^2)^g*u^3 + (1 + u^2)^w + (1 + b^2)^(g - 0.5) + (1 + w^2)^y + 2^u",
    "kinks": "Max(w*x, u, b) + Min(w, b*y)^2 + Abs(u - x)*w^2 + sign(w)*w*u",
    "cases": "Piecewise((w^3*u, (w > 0) & (u < 3*x)), (sin(b*x), (x >= 1) | (u > 0.2)), (b^2*w, True))",
    "network": "(y - a)^2 + (y - h)^2*g",
}
OUTPUTS = {"h": "sigma(w*x + b)", "a": "u*sigma(b - h^2) + w"}


def flow_of(loss, **options):
    return GradientFlow.of(loss, ["w", "u", "b"], COLUMNS, OUTPUTS, sigma=Tanh(), parameters={"g": 0.3}, **options)


def along_its_graph(flow, monkeypatch):
    """The same flow, with nothing derived by SymPy."""
    monkeypatch.setattr(module, "LARGEST_WITH_MATRIX", 0)
    flow = attrs.evolve(flow)
    assert flow.derivative == "jvp"
    monkeypatch.undo()
    return flow


def linearised(kernel, rows, x, V):
    """The kernel's numbers, from its source run by Python."""
    namespace = {**numpy_functions(), "njit": lambda function: function, "math": math}
    exec(compile(kernel.source, "<kernel>", "exec"), namespace)
    f, F = np.full(len(x), np.nan), np.full(V.T.shape, np.nan).T
    scratch = np.full(kernel.scratch, np.nan)
    namespace["linearise"](0.0, x, V, f, F, kernel.parameters, kernel.data, rows, scratch)
    return f, F


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_graph_and_kernel_equal_the_formulas(loss, reduction, monkeypatch):
    flow = flow_of(loss, reduction=reduction)
    assert flow.derivative == "jacobian"
    graph = along_its_graph(flow, monkeypatch)
    rows = np.array([7, 3, 3, 19, *range(17)])  # 16 samples, then 5 in lanes that are not full
    for x in RNG.normal(size=(3, 3)):
        V = RNG.normal(size=(3, 2))
        f, J = flow.vector_field(0.0, x), flow.jacobian(0.0, x)
        close = {"rtol": 0, "atol": 2e-14 * max(np.abs(J).max(), np.abs(f).max(), 1.0)}
        np.testing.assert_allclose(graph.loss(x), flow.loss(x), rtol=1e-13)
        np.testing.assert_allclose(graph.vector_field(0.0, x), f, **close)
        np.testing.assert_allclose(graph.jacobian(0.0, x), J, **close)
        batch = flow.on(rows)
        f, F = linearised(graph.batch_kernel(len(rows)), rows, x, V)
        close = {"rtol": 0, "atol": 2e-14 * max(np.abs(F).max(), np.abs(f).max(), 1.0)}
        np.testing.assert_allclose(f, batch.vector_field(0.0, x), **close)
        np.testing.assert_allclose(F, batch.jacobian(0.0, x) @ V, **close)
    many = RNG.normal(size=(2, 4, 3))
    np.testing.assert_allclose(graph.vector_field(0.0, many)[1, 2], graph.vector_field(0.0, many[1, 2]), rtol=0)
    assert graph.loss(many).shape == (2, 4)


def test_ties_have_the_slopes_of_the_formulas(monkeypatch):
    for loss in ("Max(w, u, b)*x", "Min(w, u)*b", "Max(w, 0)^2 + Max(0, u)", "Abs(w)*u"):
        flow = flow_of(loss)
        graph = along_its_graph(flow, monkeypatch)
        for x in (np.zeros(3), np.full(3, 2.0), np.array([1.0, 1.0, -1.0])):
            np.testing.assert_array_equal(graph.vector_field(0.0, x), flow.vector_field(0.0, x))


def test_a_sum_is_read_part_by_part():
    assert summands("-x^2 + (y - 1)*z") == [(1.0, "-x ** 2"), (1.0, "(y - 1) * z")]
    assert summands("x +") == [(1.0, "x +")]
    assert loss_graph(GradientFlow.of("w*x", ["w"], COLUMNS).sample).kinds == (0,)


def perceptron(inputs, hidden, loss="(y - a)^2", samples=50, **options):
    """A network with one output as text, and data."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(samples, inputs)), rng.normal(size=samples)
    state = [f"w{j}_{i}" for i in range(inputs) for j in range(hidden)] + [f"v{j}" for j in range(hidden)]
    state += [f"b{j}" for j in range(hidden)] + ["c"]
    layer = {f"d{j}": f"b{j} + " + " + ".join(f"w{j}_{i}*x{i}" for i in range(inputs)) for j in range(hidden)}
    layer["a"] = "c + " + " + ".join(f"v{j}*sigma(d{j})" for j in range(hidden))
    columns = {f"x{i}": column for i, column in enumerate(X.T)} | {"y": y}
    return GradientFlow.of(loss, state, columns, layer, sigma=Tanh(), **options), X, y


def test_networks_of_many_weights_have_products_with_the_hessian_and_no_hessian():
    flow, X, y = perceptron(20, 8)
    by_hand = ThreeLayerGradientFlow(X, y, hidden=8, activation=Tanh())
    x, V = by_hand.initial(seed=1), RNG.normal(size=(flow.dimension, 2))
    assert flow.derivative == "jvp"
    assert flow.fallback == ""
    np.testing.assert_allclose(flow.loss(x), by_hand.loss(x), rtol=1e-13)
    for rows in (np.arange(50), np.array([3, 49, 3])):
        f, F = linearised(flow.batch_kernel(len(rows)), rows, x, V)
        for numbers in ((f, F), (flow.on(rows).vector_field(0.0, x), flow.on(rows).jvp(0.0, x, V))):
            np.testing.assert_allclose(numbers[0], by_hand.on(rows).vector_field(0.0, x), rtol=0, atol=1e-13)
            np.testing.assert_allclose(numbers[1], by_hand.on(rows).jvp(0.0, x, V), rtol=0, atol=1e-12)


def test_kernels_of_all_losses_have_one_source():
    one, other = perceptron(20, 8)[0], perceptron(30, 5)[0]
    sources = {flow.batch_kernel(size).source for flow in (one, other) for size in (3, 7)}
    assert len(sources) == 1
    relu = attrs.evolve(one, sigma=ReLU())
    assert relu.batch_kernel(3).source not in sources


def test_what_no_graph_holds_is_said():
    flow = perceptron(20, 8, loss="(y - a)^2 + atan2(a, y)")[0]
    assert flow.derivative == "jacobian"
    with pytest.warns(FallbackWarning, match="NumPy steps GradientFlow.*holds a function.*write it with sin, cos"):
        flow.tangent(Euler(0.01))
    with pytest.raises(InvalidInputError, match=r"641 weights holds a function.*write it with sin"):
        assert perceptron(30, 20, loss="(y - a)^2 + atan2(a, y)")[0].derivative
    with pytest.raises(InvalidInputError, match="unknown name 'q'"):
        assert perceptron(20, 8, loss="(q - a)^2")[0].derivative
    with pytest.raises(InvalidInputError, match="the loss contains sigma"):
        attrs.evolve(perceptron(20, 8)[0], sigma=None)


@pytest.mark.numba
@pytest.mark.slow
@pytest.mark.parametrize("stepper", [Euler(1e-2), HeavyBall(1e-2, momentum=0.8)])
def test_many_named_weights_run_compiled_as_by_numpy(stepper):
    """One kernel for 37, 185 and 50,197 weights: those of 500 inputs are read in seconds."""
    for inputs, hidden in ((7, 4), (20, 8), (500, 100)):
        flow, X, y = perceptron(inputs, hidden)
        x = ThreeLayerGradientFlow(X, y, hidden=hidden, activation=Tanh()).initial(seed=1)
        compiled, numpy = (
            flow.minibatches(32, seed=2).tangent(stepper, backend=backend).benettin(x, k=3, intervals=5, warmup=1)
            for backend in ("auto", "numpy")
        )
        assert isinstance(flow.minibatches(32).tangent(stepper), NumbaTangent)
        np.testing.assert_allclose(compiled.exponents, numpy.exponents, rtol=0, atol=1e-10)
