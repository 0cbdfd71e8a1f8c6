"""Gradient and Hessian of the loss of one sample: against complex steps, and what stands in the source."""

import numpy as np
import pytest
import sympy

from dynsys import InvalidInputError
from dynsys.equations.sample_loss import SampleLoss
from dynsys.equations.scalar_function import opaque_function
from dynsys.models.activations import GELU, ReLU, Sigmoid, Tanh
from dynsys.models.networks.three_layer.layout import Layout
from dynsys.models.networks.three_layer.loss import sample_loss

DEEP = SampleLoss(
    "(y - a)^2",
    ("w", "b", "u0", "u1", "c0", "c1", "v0", "v1", "e"),
    ("x", "y"),
    (("h", "sigma(w*x + b)"), ("k0", "sigma(u0*h + c0)"), ("k1", "sigma(u1*h + c1)"), ("a", "v0*k0 + v1*k1 + e")),
)
SOFTMAX = SampleLoss(
    "log(exp(p) + exp(q)) - (1 - y)*p - y*q + decay/2*(w^2 + u^2)",
    ("w", "u", "b", "v0", "v1", "c0", "c1"),
    ("x", "z", "y"),
    (("p", "v0*sigma(w*x + u*z + b) + c0"), ("q", "v1*sigma(w*x + u*z + b) + c1")),
    ("decay",),
)
DIRECT = SampleLoss("0.5*(y - v*sigma(w*x + b))^2 + w*sin(v*b)", ("w", "b", "v"), ("x", "y"))
TIED = SampleLoss("(y - a)^2/(1 + w^2)", ("w", "b"), ("x", "y"), (("a", "sigma(w*sigma(w*x + b) + b)"),))
LOSSES = {
    "deep": DEEP,
    "softmax": SOFTMAX,
    "direct": DIRECT,
    "tied": TIED,
    "three outputs": sample_loss(Layout(1, 2, 3)),
}


def problem(loss, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=len(loss.state)), rng.normal(size=(11, len(loss.columns))), [0.3] * len(loss.parameters)


@pytest.mark.parametrize("activation", [Tanh(), Sigmoid()], ids=repr)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_gradient_and_hessian_are_complex_step_derivatives_of_the_loss(loss, activation):
    state, data, parameters = problem(loss)
    steps = state + 1e-30j * np.eye(len(state))
    value, gradient, both = (loss.functions[name] for name in ("loss", "gradient", "sample"))
    slopes = value(steps, data, parameters, activation.fused).imag / 1e-30
    found, hessian = both(state, data, parameters, activation.fused)
    np.testing.assert_allclose(found, slopes, rtol=0, atol=1e-13 * np.abs(slopes).max())
    curvature = gradient(steps, data, parameters, activation.fused).imag / 1e-30
    np.testing.assert_allclose(hessian, curvature, rtol=0, atol=1e-13 * np.abs(curvature).max())
    np.testing.assert_array_equal(hessian, hessian.T)


def test_kinks_and_cases_are_differentiated_almost_everywhere():
    w, b, x, y = sympy.symbols("w b x y", real=True)
    d = w * x + b
    cases = sympy.Piecewise((d**2, d > 0), (-w, True)) + sympy.Max(d, w * y) * sympy.Min(d, 2 * b)
    loss = SampleLoss(sympy.Abs(d - y) * w + cases, ("w", "b"), ("x", "y"))
    state, data, _ = problem(loss)
    (w, b), (x, y) = state, data.T
    d, on = w * x + b, w * x + b > 0
    first, least, above = np.maximum(d, w * y), np.minimum(d, 2 * b), d > w * y
    by_w = np.abs(d - y) + w * np.sign(d - y) * x + np.where(on, 2 * d * x, -1.0)
    by_w += np.where(above, x, y) * least + first * np.where(d < 2 * b, x, 0.0)
    gradient, hessian = loss.functions["sample"](state, data, (), None)
    assert gradient[0] == pytest.approx(by_w.sum(), rel=1e-13)
    by_b = np.sign(d - y) + np.where(on, 2 * x, 0.0)
    by_b += np.where(above, x, y) * np.where(d < 2 * b, 1.0, 2.0) + np.where(above & (d < 2 * b), x, 0.0)
    assert hessian[1, 0] == pytest.approx(by_b.sum(), rel=1e-13)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_leading_axes_are_states_of_their_own(loss):
    _, data, parameters = problem(loss)
    states = np.random.default_rng(3).normal(size=(2, 3, len(loss.state)))
    for name in ("loss", "gradient"):
        function = loss.functions[name]
        values = function(states, data, parameters, Tanh().fused)
        one = [[function(s, data, parameters, Tanh().fused) for s in row] for row in states]
        np.testing.assert_allclose(values, one, rtol=1e-13)


def test_value_is_the_loss_itself():
    state, data, _ = problem(DIRECT)
    (w, b, v), (x, y) = state, data.T
    expected = np.sum(0.5 * (y - v * np.tanh(w * x + b)) ** 2 + w * np.sin(v * b))
    assert DIRECT.functions["loss"](state, data, (), Tanh().fused) == pytest.approx(expected, rel=1e-14)


def test_numbers_in_the_loss_keep_their_value():
    loss = SampleLoss("0.3*(y - w*x)^2 + 1e300*0.5*1e-300*w^2 + 123456789.125*w", ("w",), ("x", "y"))
    data = np.array([[0.7, -0.2]])
    gradient, hessian = loss.functions["sample"](np.array([1.1]), data, (), None)
    assert gradient[0] == pytest.approx(-0.6 * 0.7 * (-0.2 - 0.77) + 1.1 + 123456789.125, rel=1e-15)
    assert hessian[0, 0] == pytest.approx(0.6 * 0.49 + 1.0, rel=1e-14)
    assert loss.functions["loss"](np.array([0.0]), data, (), None) == pytest.approx(0.3 * 0.04, rel=1e-14)


def test_text_and_sympy_define_the_same():
    w, b, v, x, y, a = sympy.symbols("w b v x y a")
    sigma = opaque_function()
    text = SampleLoss("(y - a)^2", ("w", "b", "v"), ("x", "y"), (("h", "w*x + b"), ("a", "v*sigma(h)")))
    for nonlinearity in (sigma, sympy.Function("sigma")):
        expression = SampleLoss((y - a) ** 2, ("w", "b", "v"), ("x", "y"), (("a", v * nonlinearity(w * x + b)),))
        assert expression.source == text.source


def test_terms_with_the_second_derivative_vanish_for_piecewise_linear_functions():
    curved, flat = (sample_loss(Layout(2, 2, 1)).statements(which) for which in (False, True))
    assert any("_s0_2" in line.partition(" = ")[2] for line in curved.motion)
    assert not any("_s0_2" in line.partition(" = ")[2] for line in flat.motion)
    assert len(flat.motion) < len(curved.motion)
    assert sum(map(len, flat.entries)) < sum(map(len, curved.entries))
    assert ReLU().piecewise_linear
    assert not GELU().piecewise_linear


def test_source_shares_and_skips():
    """The work for one sample of the paper's network, counted by hand."""
    sample = sample_loss(Layout(2, 2, 1)).statements()
    places = [(i, j) for i, j, _ in sample.hessian]
    assert places == [(i, j) for i in range(9) for j in range(i + 1)]  # the lower triangle
    assert sample.factor == 2.0  # of the squared error, pulled out
    assert sum("= sigma(" in line for line in sample.motion) == 2  # one fused call for each hidden unit
    assert dict(((i, j), terms) for i, j, terms in sample.hessian)[8, 8] == ("1",)
    # per sample: 2 arguments, 2 calls, output, error; for each unit u, h, k and 2 each of g and c x
    assert len(sample.motion) == 6 + 2 * (3 + 4)
    assert max(term.count("*") for terms in sample.entries for term in terms) <= 2  # products of two names, or squares
    # of three outputs two have no weight in common: their blocks are structural zeros
    places = {(i, j) for i, j, _ in sample_loss(Layout(1, 2, 3)).statements().hessian}
    assert len(places) == 13 * 14 // 2 - 27
    assert (3, 2) not in places  # v1_0, v0_0


def test_number_of_statements_grows_with_the_network_and_bounds_what_is_written_out():
    assert sample_loss(Layout(2, 3, 1)).statements().at_once == 4
    assert 1 <= sample_loss(Layout(3, 4, 2)).statements().at_once < 4
    assert sample_loss(Layout(4, 6, 2)).statements().at_once == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "(y - a)^2 + q"}, "unknown name 'q'"),
        ({"loss": sympy.Symbol("q") ** 2}, "the loss uses an unknown name .q"),
        ({"loss": None}, "the loss must be text or an expression, got None"),
        ({"loss": "gamma(w)"}, "unknown function 'gamma'"),
        ({"loss": sympy.gamma(sympy.Symbol("w"))}, r"the loss contains gamma\(w\)"),
        ({"loss": "a + 0**(w + 1)"}, "derivatives of theirs, contain nan"),
        ({"loss": "sigma(w, b)"}, "unknown function 'sigma'|wrong use"),
        ({"outputs": (("a", "w*h"), ("h", "w*x"))}, "unknown name 'h'"),  # only those before
        ({"outputs": (("a", [1]),)}, r"the output a must be text or an expression, got \[1\]"),
        ({"state": ("w", "w")}, "names must differ"),
        ({"state": ("sigma",)}, "'sigma' cannot name"),
        ({"columns": ("_x", "y")}, "'_x' cannot name"),
        ({"parameters": ("x",)}, "names must differ"),
    ],
)
def test_bad_losses_are_refused_and_the_culprit_named(wrong, message):
    good = {"loss": "(y - a)^2", "state": ("w", "b"), "columns": ("x", "y"), "outputs": (("a", "w*x + b"),)}
    with pytest.raises(InvalidInputError, match=message):
        SampleLoss(**(good | wrong)).statements()
