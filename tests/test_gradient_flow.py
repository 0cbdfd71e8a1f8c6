"""Gradient flows from the loss of one sample: the contract, the generated kernels, and what they are generated from."""

import json
import math
import os
import subprocess
import sys
import textwrap

import attrs
import numpy as np
import pytest
from steps import step_of

from dynsys import RK4, Euler, FallbackWarning, GradientFlow, InvalidInputError, NumpyTangent
from dynsys.equations.source import numpy_functions
from dynsys.models.activations import GELU, Activation, Linear, ReLU, Sigmoid, Tanh
from dynsys.models.networks.three_layer import compiled as loops
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
from dynsys.testing import check_system, check_tangent

RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(2, 45))  # for one trajectory 4 x 8 samples, 8 more, and 5 one by one
DEEP = GradientFlow.of(
    "(y - a)^2",
    ["w", "b", "u0", "u1", "c0", "c1", "v0", "v1", "e"],
    {"x": X, "y": np.sin(2 * X)},
    {"h": "sigma(w*x + b)", "k0": "sigma(u0*h + c0)", "k1": "sigma(u1*h + c1)", "a": "v0*k0 + v1*k1 + e"},
    sigma=Tanh(),
)
SOFTMAX = GradientFlow.of(
    "log(exp(p) + exp(q)) - (1 - y)*p - y*q + decay/2*(w^2 + u^2)",
    ["w", "u", "b", "v0", "v1", "c0", "c1"],
    {"x": X, "z": Z, "y": X > Z / 2},
    {"h": "sigma(w*x + u*z + b)", "p": "v0*h + c0", "q": "v1*h + c1"},
    sigma=Tanh(),
    parameters={"decay": 0.1},
)
LOGISTIC = GradientFlow.of("log(1 + exp(a)) - y*a", ["w", "b"], {"x": X, "y": X > Z}, {"a": "w*x + b"}, reduction="sum")
FLOWS = {"deep": DEEP, "softmax": SOFTMAX, "logistic": LOGISTIC}
COMPILED = [pytest.param(SOFTMAX, id="softmax"), pytest.param(LOGISTIC, id="logistic", marks=pytest.mark.slow)]


def state(flow, seed=1):
    return np.random.default_rng(seed).normal(size=flow.dimension)


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_gradient_flows_keep_the_contract(flow):
    check_system(flow, state(flow))
    check_system(flow.minibatches(7, seed=1), state(flow))


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_velocity_is_minus_the_complex_step_gradient_of_the_loss(flow):
    theta = state(flow)
    gradient = flow.loss(theta + 1e-30j * np.eye(flow.dimension)).imag / 1e-30
    np.testing.assert_allclose(flow.vector_field(0.0, theta), -gradient, rtol=0, atol=1e-13 * np.abs(gradient).max())


@pytest.mark.numba
@pytest.mark.parametrize("flow", [*COMPILED, pytest.param(DEEP, id="deep", marks=pytest.mark.slow)])
def test_kernel_agrees_with_numpy(flow):
    check_tangent(flow.tangent(Euler(0.01), backend="numba"), state(flow))
    check_tangent(flow.minibatches(7, seed=1).tangent(Euler(0.01), backend="numba"), state(flow))


@pytest.mark.slow
@pytest.mark.numba
def test_stages_of_another_stepper_agree_with_numpy():
    check_tangent(LOGISTIC.tangent(RK4(0.02), backend="numba"), state(LOGISTIC))


def test_logistic_regression_by_its_formula():
    theta, y = state(LOGISTIC), 1.0 * (X > Z)
    chance = 1 / (1 + np.exp(-theta[0] * X - theta[1]))
    design = np.column_stack([X, np.ones(45)])
    np.testing.assert_allclose(LOGISTIC.vector_field(0.0, theta), design.T @ (y - chance), rtol=1e-13)
    curvature = (design.T * chance * (1 - chance)) @ design
    np.testing.assert_allclose(LOGISTIC.jacobian(0.0, theta), -curvature, rtol=1e-13)


def test_mean_and_sum_and_batches_scale_the_sum_over_samples():
    theta, rows = state(DEEP), np.array([3, 1, 4])
    total = attrs.evolve(DEEP, reduction="sum")
    np.testing.assert_allclose(total.vector_field(0.0, theta), 45 * DEEP.vector_field(0.0, theta), rtol=1e-13)
    single = [DEEP.on(rows[i : i + 1]).jacobian(0.0, theta) for i in range(3)]
    np.testing.assert_allclose(DEEP.on(rows).jacobian(0.0, theta), np.mean(single, axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(total.on(rows).jacobian(0.0, theta), np.sum(single, axis=0), rtol=1e-12, atol=1e-15)


def test_function_of_sympy_and_nonlinearity_give_the_same_flow():
    outputs = {"h": "tanh(w*x + b)", "k0": "tanh(u0*h + c0)", "k1": "tanh(u1*h + c1)", "a": "v0*k0 + v1*k1 + e"}
    data = dict(zip(("x", "y"), DEEP.data.T, strict=True))
    named, theta = GradientFlow.of("(y - a)^2", DEEP.sample.state, data, outputs), state(DEEP)
    np.testing.assert_allclose(named.vector_field(0.0, theta), DEEP.vector_field(0.0, theta), rtol=0, atol=1e-14)
    np.testing.assert_allclose(named.jacobian(0.0, theta), DEEP.jacobian(0.0, theta), rtol=0, atol=1e-13)


def test_parameters_change_the_flow_but_not_the_kernel():
    other = attrs.evolve(SOFTMAX, parameters=(0.7,))
    difference = SOFTMAX.vector_field(0.0, state(SOFTMAX)) - other.vector_field(0.0, state(SOFTMAX))
    np.testing.assert_allclose(difference, [*(0.6 * state(SOFTMAX)[:2]), 0, 0, 0, 0, 0], rtol=0, atol=1e-15)
    assert other.kernel().source == SOFTMAX.kernel().source
    np.testing.assert_array_equal(other.kernel().parameters, [-1 / 45, 0.7])


def test_neither_samples_nor_batch_size_appear_in_the_source():
    few, many = DEEP.on(np.arange(3)), DEEP.minibatches(32)
    assert few.kernel().source == DEEP.kernel().source == many.kernel().source
    assert few.kernel().lanes(Euler(0.1).tableau, 9) == many.kernel().lanes(Euler(0.1).tableau, 9)


@pytest.mark.slow
@pytest.mark.numba
def test_any_names_will_do():
    """Those of the kernel itself, of its arguments, and of parts of numbers."""
    names = ["B", "l", "L", "a", "e", "nan", "H0_0", "v1", "scale", "range", "len", "data"]
    state = names[:6]
    outputs = {"f": "1e-1*B*H0_0 + l*v1 + L*a", "total": "e*scale + nan*range"}
    flow = GradientFlow.of("(f - data)^2 + total^2", state, {n: RNG.normal(size=9) for n in names[6:]}, outputs)
    check_tangent(flow.tangent(Euler(0.05), backend="numba"), np.linspace(-1, 1, 6))
    run = {"intervals": 2, "steps_per_interval": 3, "warmup": 0}
    x0 = np.linspace([-1.0] * 6, [1.0] * 6, 3)
    compiled, plain = (
        flow.tangent(Euler(0.05)).benettin(x0, **run),
        NumpyTangent(step_of(flow, Euler(0.05))).benettin(x0, **run),
    )
    np.testing.assert_allclose(compiled.rates, plain.rates, rtol=0, atol=1e-12)


@pytest.mark.numba
def test_large_losses_and_functions_without_source_run_by_numpy():
    class Own(Tanh):
        def fused(self, d):
            return super().fused(d)

    terms = {"a": " + ".join(f"v{j}*sigma(w{j}*x + b{j})" for j in range(16))}
    names = [f"{letter}{j}" for letter in "vwb" for j in range(16)]
    wide = GradientFlow.of("(y - a)^2 + atan2(a, y)", names, {"x": X, "y": Z}, terms, sigma=Tanh())
    cases = {"700 statements, and holds a function": wide, "Own has no source": attrs.evolve(DEEP, sigma=Own())}
    for text, flow in cases.items():
        assert flow.kernel() is None
        with pytest.warns(FallbackWarning, match=f"NumPy steps GradientFlow.*{text}.*backend='numpy'"):
            tangent = flow.tangent(Euler(0.01))
        assert isinstance(tangent, NumpyTangent)
        with pytest.raises(InvalidInputError, match=text):
            flow.minibatches(7).tangent(Euler(0.01), backend="numba")
        flow.tangent(Euler(0.01), backend="numpy")  # no warning
    assert DEEP.fallback == LOGISTIC.minibatches(7).fallback == ""


OWN_SOURCES = {
    "a condition times a number": ("s1 = 1.0 * (d > 0.0)", "s = d * (d > 0.0)", "s2 = 0.0 * d"),
    "a negated condition": ("s1 = where((d > 0.0) == False, 0.1, 1.0)", "s = s1 * d", "s2 = 0.0 * d"),
    "NumPy's name of a function": ("s = np.arctan(d)", "s1 = 1.0 / (1.0 + d * d)", "s2 = -2.0 * d * s1 * s1"),
    "a function that Numba alone knows": ("s = np.arcsinh(d)", "s1 = 1 / sqrt(1 + d * d)", "s2 = -d * s1**3"),
    "a statement that Numba alone knows": ("s: float = sin(d)", "s1 = cos(d)", "s2 = -s"),
}


@pytest.mark.numba
@pytest.mark.parametrize("source", OWN_SOURCES.values(), ids=OWN_SOURCES)
def test_own_nonlinearities_compile_however_they_are_written(source):
    own = type("Own", (Activation,), {"source": "\n".join(source)})()
    outputs = {"h": "sigma(w*x + b)", "a": "v*h"}
    flow = GradientFlow.of("(y - a)^2", ["w", "b", "v"], {"x": X, "y": Z}, outputs, sigma=own)
    run = {"intervals": 2, "steps_per_interval": 3, "warmup": 0}
    for system, x0 in (
        (flow, np.array([0.5, 0.3, 0.2])),
        (flow.minibatches(5, shared=False), np.tile([0.5, 0.3, 0.2], (9, 1))),
    ):
        compiled = system.tangent(Euler(0.01), backend="numba").benettin(x0, **run)
        plain = system.tangent(Euler(0.01), backend="numpy").benettin(x0, **run)
        np.testing.assert_allclose(compiled.rates, plain.rates, rtol=0, atol=1e-12)


GOOD = {"loss": "(y - w*x)^2", "state": ["w"], "data": {"x": X, "y": Z}}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "(y - sigma(w*x))^2"}, "contains sigma.*sigma=Tanh"),
        ({"sigma": Tanh}, "sigma must be an object such as Tanh"),
        ({"sigma": np.tanh}, "sigma must be an object such as Tanh"),
        ({"data": {"x": X, "y": Z[:-1]}}, r"one length.*x: \(45,\), y: \(44,\)"),
        ({"data": {"x": X[:, None], "y": Z}}, r"one length.*x: \(45, 1\)"),
        ({"data": {}}, "got none"),
        ({"data": {"x": X, "y": np.full(45, np.nan)}}, "data must be finite"),
        ({"data": {"x": X, "y": ["a"] * 45}}, "the column y must"),
        ({"reduction": "median"}, "reduction must be 'mean' or 'sum'"),
        ({"parameters": {"g": np.inf}}, "parameters must be finite"),
        ({"parameters": {"g": "one"}}, "parameters must be"),
        ({"loss": "(y - w*q)^2"}, "unknown name 'q'"),
    ],
)
def test_bad_flows_are_refused_by_name(wrong, message):
    with pytest.raises(InvalidInputError, match=message):
        GradientFlow.of(**(GOOD | wrong))


def test_data_and_parameters_must_fit_the_loss():
    with pytest.raises(InvalidInputError, match=r"the loss has 3 columns \(x, z, y\), got 2"):
        attrs.evolve(SOFTMAX, data=SOFTMAX.data[:, :2])
    with pytest.raises(InvalidInputError, match=r"the loss has 1 parameters \(decay\), got 2"):
        attrs.evolve(SOFTMAX, parameters=(1.0, 2.0))


def in_python(source, **literals):
    """The functions of a kernel's source, run by Python itself: its numbers without compiling it."""
    namespace = {**numpy_functions(), "njit": lambda function: function, "math": math, **literals}
    exec(compile(source, "<kernel>", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("kind", [Linear, ReLU, Tanh, Sigmoid, GELU])
@pytest.mark.parametrize("sizes", [(2, 2, 1), (1, 2, 3), (3, 1, 2)])
def test_generated_kernels_of_the_network_equal_the_loops_derived_by_hand(sizes, kind, monkeypatch):
    rng = np.random.default_rng(2)
    n1, n2, n3 = sizes
    for reduction in ("mean", "sum"):
        flow = ThreeLayerGradientFlow(
            rng.normal(size=(20, n1)), rng.normal(size=(20, n3)), n2, activation=kind(), reduction=reduction
        )
        dim, rows = flow.dimension, np.array([7, 3, 3, 19, *range(17)])  # 16 samples, then 4, then 1
        states, frames = rng.normal(size=(2, dim)), rng.normal(size=(2, dim, dim))
        written = flow.batch_kernel(21)
        monkeypatch.setattr(loops, "LARGEST_WRITTEN_OUT", 0)
        by_hand = flow.batch_kernel(21)
        monkeypatch.undo()
        assert written.source != by_hand.source
        rates = []
        for kernel in (by_hand, written):
            f, F = np.empty((2, dim)), np.empty((2, dim, dim)).swapaxes(1, 2)  # frames column by column
            linearise = in_python(kernel.source)["linearise"]
            for m in range(2):
                scratch = np.full(kernel.scratch, np.nan)
                linearise(0.0, states[m], frames[m], f[m], F[m], kernel.parameters, kernel.data, rows, scratch)
            rates.append((f, F))
        (f, F), (f_written, F_written) = rates
        np.testing.assert_allclose(f_written, f, rtol=0, atol=1e-13 * np.abs(f).max())
        np.testing.assert_allclose(F_written, F, rtol=0, atol=1e-13 * np.abs(F).max())


def test_without_tangent_vectors_the_hessian_is_not_computed():
    without, with_one = (DEEP.kernel().lanes(Euler(0.1).tableau, k) for k in (0, 1))
    assert without.scratch < with_one.scratch - 30
    assert "_s0_2*" not in without.source  # no product with sigma''


def test_another_process_derives_nothing_and_imports_no_sympy(tmp_path):
    code = """
    import json, sys
    import numpy as np
    from dynsys import Euler, GradientFlow
    from dynsys.models.activations import Tanh
    from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
    x = np.linspace(-1.0, 1.0, 9)
    outputs = {"h": "sigma(w*x + b)", "a": "v*h"}
    own = GradientFlow.of("(y - a)^2", ["w", "b", "v"], {"x": x, "y": x**2}, outputs, sigma=Tanh())
    net = ThreeLayerGradientFlow(np.stack([x, -x], axis=1), x, activation=Tanh())
    for flow in (own, net):
        flow.kernel().step(Euler(0.1).tableau, 2)
        flow.kernel().lanes(Euler(0.1).tableau, 2)
    numbers = own.jacobian(0.0, np.ones(3)), net.symbolic_jacobian(np.ones(9))
    print(json.dumps(["sympy" in sys.modules, [n.tolist() for n in numbers]]))
    """
    first, second = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", textwrap.dedent(code)],
                env={**os.environ, "DYNSYS_CACHE": str(tmp_path)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(2)
    )
    assert (first[0], second[0]) == (True, False)
    assert first[1] == second[1]
