"""Activations: derivatives against differences and closed forms, NumPy against the compiler, kinks."""

import importlib.util

import numpy as np
import pytest
from scipy.special import expit, ndtr

from dynsys import ContractError, Euler, FallbackWarning, InvalidInputError, NumpyTangent
from dynsys.compiled.build import HEADER
from dynsys.compiled.functions import called_functions
from dynsys.models.activations import BY_NAME, GELU, Activation, Linear, ReLU, Sigmoid, Tanh, named
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.testing import check_activation, check_tangent

EPS = np.finfo(float).eps


class Sine(Activation):
    source = """
        s = sin(d)
        s1 = cos(d)
        s2 = -s
    """


class ArctanInNumpy(Activation):
    def fused(self, d):
        s1 = 1.0 / (1.0 + d * d)
        return np.arctan(d), s1, -2.0 * d * s1 * s1


COMPILABLE = [
    *(kind() for kind in BY_NAME.values()),
    Activation.from_expression("log(1 + exp(d))"),
    Activation.from_expression("Max(d, d/10)"),
    Sine(),
]


def points():
    return np.concatenate([np.linspace(-9.0, 9.0, 181) + 0.003, [-1e3, -30.0, 30.0]])


def network(activation):
    X, y = regression_task(samples=6, seed=1)
    return ThreeLayerGradientFlow(X, y, hidden=2, activation=activation)


@pytest.mark.parametrize("activation", [*COMPILABLE, ArctanInNumpy()], ids=repr)
def test_derivatives_agree_with_differences(activation):
    check_activation(activation)


@pytest.mark.parametrize("statement", ["s1 = 1.001 * cos(d)", "s2 = s", "s2 = -s + 1e-5 * d"])
def test_wrong_derivative_is_found_and_named(statement):
    class Wrong(Sine):
        source = f"s = sin(d)\ns1 = cos(d)\ns2 = -s\n{statement}"

    with pytest.raises(ContractError, match="sigma'' of Wrong" if "s2" in statement else "sigma' of Wrong"):
        check_activation(Wrong())


def test_derivative_without_the_shape_of_d_is_found():
    class Flat(Activation):
        source = "s = d\ns1 = 1.0\ns2 = 0.0"

    with pytest.raises(ContractError, match="shape"):
        check_activation(Flat())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The scalar function that Numba makes of every source, by index."""
    path = tmp_path_factory.mktemp("sources") / "compiled_sources.py"
    functions = [f"@njit\n{activation.kernel_source(f'sigma_{i}')}" for i, activation in enumerate(COMPILABLE)]
    text = "".join(functions)
    path.write_text(HEADER + called_functions(text) + "\n\n" + text)
    spec = importlib.util.spec_from_file_location("compiled_sources", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [getattr(module, f"sigma_{i}") for i in range(len(COMPILABLE))]


@pytest.mark.numba
@pytest.mark.parametrize("i", range(len(COMPILABLE)), ids=[repr(a) for a in COMPILABLE])
def test_compiled_source_equals_numpy_to_four_ulp(compiled, i):
    """Ulp of the largest term in a formula, max(1, |d|): differences of nearly equal terms lose the rest in both."""
    d = points()[:181]
    ours = np.array([compiled[i](p) for p in d]).T
    ulp = EPS * np.maximum(1.0, np.abs(d))
    assert np.all(np.abs(ours - COMPILABLE[i].fused(d)) <= 4 * ulp)


def closed_form(kind, d):
    phi = np.exp(-0.5 * d**2) / np.sqrt(2 * np.pi)
    p, q = expit(d), expit(-d)
    return {
        "Sigmoid": lambda: (p, p * q, p * q * (q - p)),
        "GELU": lambda: (d * ndtr(d), ndtr(d) + d * phi, (2 - d**2) * phi),
        "Tanh": lambda: (np.tanh(d), np.cosh(d) ** -2.0, -2 * np.tanh(d) * np.cosh(d) ** -2.0),
    }[kind.__name__]()


@pytest.mark.parametrize("kind", [Sigmoid, GELU, Tanh])
def test_values_and_derivatives_equal_closed_forms(kind):
    d = np.linspace(-40.0, 40.0, 1601)
    ulp = EPS * np.maximum(1.0, np.abs(d))
    for value, exact in zip(kind().fused(d), closed_form(kind, d), strict=True):
        assert np.all(np.abs(value - exact) <= 4 * ulp)


@pytest.mark.parametrize(
    ("kind", "left", "right"),
    [
        (Tanh, (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
        (Sigmoid, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)),
        (GELU, (0.0, 0.0, 0.0), (None, 1.0, 0.0)),  # None: sigma(d) = d
        (ReLU, (0.0, 0.0, 0.0), (None, 1.0, 0.0)),
        (Linear, (None, 1.0, 0.0), (None, 1.0, 0.0)),
    ],
)
def test_large_arguments_saturate_exactly_and_without_a_warning(kind, left, right):
    d = np.array([50.0, 800.0, 1e8, 1e100])
    for side, expected in ((-d, left), (d, right)):
        for value, limit in zip(kind().fused(side), expected, strict=True):
            np.testing.assert_array_equal(value, side if limit is None else np.full(4, limit))


@pytest.mark.parametrize("relu", [ReLU(), Activation.from_expression("Max(0, d)")], ids=["class", "expression"])
def test_relu_and_its_derivatives_vanish_at_the_kink(relu):
    np.testing.assert_array_equal(relu.fused(np.array([0.0, -0.0])), np.zeros((3, 2)))
    np.testing.assert_array_equal(relu.fused(points()), ReLU().fused(points()))


@pytest.mark.parametrize(
    ("expression", "derivatives"), [("2*d + 1", (2.0, 0.0)), ("7", (0.0, 0.0)), ("d^2", (None, 2.0))]
)
def test_constant_derivatives_of_an_expression_have_the_shape_of_d(expression, derivatives):
    d = np.arange(6.0).reshape(2, 3)
    activation = Activation.from_expression(expression)
    for value, constant in zip((activation.dsigma(d), activation.d2sigma(d)), derivatives, strict=True):
        np.testing.assert_array_equal(value, 2 * d if constant is None else np.full((2, 3), constant))


@pytest.mark.numba
def test_activation_in_numpy_only_runs_by_numpy_and_equals_its_source():
    flow = network(ArctanInNumpy())
    assert flow.kernel() is None
    with pytest.warns(FallbackWarning, match="NumPy steps ThreeLayerGradientFlow.*ArctanInNumpy has no source"):
        tangent = flow.tangent(Euler(0.01))
    assert isinstance(tangent, NumpyTangent)
    with pytest.raises(InvalidInputError, match="ArctanInNumpy has no source for the compiler"):
        flow.tangent(Euler(0.01), backend="numba")
    theta = flow.initial(seed=3)
    check_tangent(tangent, theta)
    same = network(Activation.from_expression("atan(d)"))
    options = {"intervals": 20, "steps_per_interval": 5, "warmup": 0}
    np.testing.assert_allclose(
        tangent.benettin(theta, **options).rates,
        same.tangent(Euler(0.01), backend="numpy").benettin(theta, **options).rates,
        rtol=0,
        atol=1e-10,
    )


def test_overridden_fused_is_not_bypassed_by_an_inherited_source():
    class Steeper(Tanh):
        def fused(self, d):
            s, s1, s2 = super().fused(2.0 * d)
            return s, 2.0 * s1, 4.0 * s2

    check_activation(Steeper())
    flow = network(Steeper())
    with pytest.warns(FallbackWarning, match="Steeper has no source for the compiler"):
        tangent = flow.tangent(Euler(0.01))
    check_tangent(tangent, flow.initial(seed=3))


def test_activation_with_neither_source_nor_fused_says_so():
    class Nothing(Activation):
        pass

    with pytest.raises(InvalidInputError, match="Nothing must define source or override fused"):
        Nothing().sigma(0.0)


def test_names_are_found_in_any_case_and_an_unknown_one_lists_the_known():
    assert all(type(named(name.upper())) is kind for name, kind in BY_NAME.items())
    with pytest.raises(InvalidInputError, match="unknown activation 'swish'") as error:
        named("swish")
    assert all(name in str(error.value) for name in ("relu", "tanh", "gelu", "sigmoid", "linear"))
