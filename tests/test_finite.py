"""Where a function and its derivative are finite, so is what is computed: against mpmath with many digits."""

import mpmath
import numpy as np
import pytest
import sympy
from scipy.special import expit

from dynsys import RK4, GradientFlow, SymbolicFlow
from dynsys.equations.expression import parse
from dynsys.equations.finite.quotients import QUOTIENTS, U
from dynsys.equations.finite.rewriting import finite
from dynsys.equations.finite.special import lowered
from dynsys.models.activations import Activation, Softplus
from dynsys.models.classics import Lorenz63
from dynsys.testing import check_activation, check_tangent

PARAMETERS = {"a": 2.0, "b": 3.0, "c": 0.5, "n": 4.0, "K": 2.0, "m": 10.0}
POINTS = [
    0.0,
    2.0,
    10.0,
    25.0,
    -40.0,
    -54.0,
    *(s * 10.0**p for p in (-9, -3, -0.5, 0, 0.5, 1.6, 2, 2.9, 3.3) for s in (-1, 1)),
]

QUICK = [
    "-x + 1/(1 + exp(-50*(x - 20)))",
    "1/(1 + exp(-50.0*(x - 20.0)))",
    "a/(b + c*exp(x))",
    "exp(x)/(1 + exp(x))",
    "exp(-x)/(1 + exp(-x))^2",
    "log(1 + exp(-2*x))",
    "log(exp(x) + exp(-x))",
    "log(1 - 1/(1 + exp(-x)))",
    "0.1*(x + 40)/(1 - exp(-(x + 40)/10))",
    "(x - a)/(1 - exp(-(x - a)/b))",
    "x/(exp(x) - 1)",
    "(1 - exp(-a*x))/(a*x)",
    "sin(x)^2/x^2",
    "(1 - cos(x))/x",
    "1/tanh(x) - 1/x",
    "1/cosh(x - 800)^2",
    "sinh(x)/cosh(x)^2",
    "(exp(x) - 1)/(exp(x) + 1)",
    "exp(x)/(exp(x) + exp(3*x) + 2)",
    "x^n/(K^n + x^n)",
    "1/(1 + (x/K)^n)",
    "x/(1 + x^m)",
    "10/(1 + 10^(4 - x))",
    "exp(-3*exp(-2*x))",
    "(x^2 + 1)^2*log(x^2 + 1)*exp(-x^2)",
]  # fmt: skip
MORE = [
    "3/(2 + 5*exp(-x))", "exp(2*x)/(1 + exp(x))^2", "exp(x)/(1 + exp(x))^2", "exp(-x)/(1 + exp(-x))^3",
    "log(1 + exp(x))", "log(2 + 3*exp(x))", "log(cosh(x))", "-log(1/(1 + exp(-x)))", "x/(1 + exp(-x))",
    "x*exp(x)/(1 + exp(x))",
    "(x + 40)/(1 - exp(-(x + 40)/10))", "0.01*(10 - x)/(exp((10 - x)/10) - 1)", "0.1*(25 - x)/(exp((25 - x)/10) - 1)",
    "(0.1 - 0.01*x)/(exp(1 - 0.1*x) - 1)", "x/(exp(a*x) - 1)", "0.32*(x + 54)/(1 - exp(-(x + 54)/4))",
    "(exp(x) - 1)/x", "sin(a*x)/x", "x/sin(x)", "tanh(x)/x", "x/tanh(x)", "x/sinh(x)", "sinh(x)/x", "atan(x)/x",
    "erf(x)/x", "(1 - cos(x))/x^2", "log(1 + x)/x", "tan(x)/x", "x*cosh(x)/sinh(x)", "x^2*exp(x)/(exp(x) - 1)^2",
    "x^3/(exp(x) - 1)", "x/(exp(x/2) - exp(-x/2))", "(exp(x) - exp(-x))/x", "(cosh(x) - 1)/x^2", "1/(1 + cosh(x))",
    "x*(2 - 3*exp(-x/25))/(1 - exp(-x/25))", "1/(1 - exp(-x)) - 1/x", "cosh(x)/sinh(x) - 1/x + x", "1/sin(x) - 1/x",
    "sinh(x)/cosh(x)", "1 - tanh(x)^2", "(exp(x) - exp(-x))/(exp(x) + exp(-x))", "1/(exp(x) + exp(-2*x))",
    "x*exp(-x^2)", "sqrt(1 + exp(x))", "x^4/(16 + x^4)", "(x/K)^n/(1 + (x/K)^n)", "1/(1 + x^50)", "2^x/(1 + 2^x)",
    "exp(-exp(x))", "1/(1 + exp(x) + exp(2*x))", "1/(1 + exp(x)*exp(-3))", "(1 + exp(-x))^(-2)", "x/sqrt(1 + x^2)",
    "1/(1 + exp(x))^0.5", "a*exp(x)/(1 + a*exp(x))", "exp(-exp(x))*exp(x)", "1/(1 + x^2*exp(x))", "sin(x)/(x + x^3)",
    "x*(exp(x) + 1)/(exp(x) - 1)", "(1 - exp(-x^2))/x", "(x - 1)/log(x)", "(sqrt(4 + x) - 2)/x", "sin(2*x)/sin(x)",
    "x^2/(sqrt(1 + x^2) - 1)", "(exp(2*x) - 1)/(exp(x) - 1)", "sin(x)/tan(x)", "x^2/(1 - cos(x))", "log(2*cosh(x))",
    "log(exp(x)/2 + exp(-x)*5)", "exp(-x)*cosh(x)", "exp(x)/cosh(x)", "cosh(2*x)/cosh(x)^2", "tanh(x)/sinh(x)",
    "(exp(x) - 1)/log(1 + x)", "x*(2 - 3*exp(-2*x/25))/(1 - exp(-x/25))", "sin(x)/tanh(2*x)", "sinh(x)*x",
    "1/(exp(x) + 2 + exp(-x))", "1/(exp((30 - x)/10) + 1)", "1/(1 + exp(-(x - a)/b))*(x + 2)", "4*exp(-(x + 65)/18)",
]  # fmt: skip


def exact(text, points):
    """(x, value, derivative) with 150 digits, a little beside the points; where these are finite numbers."""
    symbols = {name: sympy.Symbol(name, real=True) for name in ("x", *PARAMETERS)}
    x = symbols["x"]
    raw = parse(text, symbols).subs({symbols[name]: sympy.Rational(value) for name, value in PARAMETERS.items()})
    raw = sympy.nsimplify(raw, rational=True) if raw.has(sympy.Float) else raw
    value, slope = (sympy.lambdify(x, e, "mpmath") for e in (raw, sympy.diff(raw, x)))
    with mpmath.workdps(150):
        for point in points:
            try:
                beside = mpmath.mpf(point) + mpmath.mpf(10) ** -30
                found = [complex(part(beside)) for part in (value, slope)]
            except (ArithmeticError, ValueError):
                continue
            if all(part.imag == 0.0 and abs(part) < 1e15 for part in found):
                yield point, *(part.real for part in found)


@pytest.mark.parametrize("text", [*QUICK, *(pytest.param(text, marks=pytest.mark.slow) for text in MORE)])
def test_value_and_derivative_are_those_of_many_digits(text):
    flow, count = SymbolicFlow.of({"x": text}, PARAMETERS), 0
    for point, value, slope in exact(text, POINTS):
        with np.errstate(all="ignore"):  # the user's function may overflow on its way to a finite value
            found, derivative = flow.vector_field(0.0, np.array([point])), flow.jacobian(0.0, np.array([point]))
        rounding = 1e-12 * max(1.0, abs(point))
        assert found[0] == pytest.approx(value, rel=0, abs=rounding * max(abs(value), abs(slope), 1e-3))
        assert derivative[0, 0] == pytest.approx(slope, rel=0, abs=rounding * max(abs(slope), abs(value) / 10, 1e-3))
        count += 1
    assert count > 5


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("kind", [QUOTIENTS["expm1", "u_by"], QUOTIENTS["tanh", "past"], QUOTIENTS["asin", "by_u"]])
def test_polynomial_and_formula_of_a_quotient_agree_where_they_meet(kind, k):
    switch = lowered(kind(U, k) if k else kind(U))
    _, radius, far, near = switch.args
    for at in (float(radius), -float(radius)):
        values = [complex(form.xreplace({U: sympy.Float(at, 40)}).doit().evalf(30)) for form in (_taken(far, at), near)]
        assert abs(values[0] - values[1]) < 1e-16


def _taken(form, at):
    return form.args[2 if at >= 0 else 3] if type(form).__name__ == "Switch" else form


@pytest.mark.parametrize(
    ("equations", "parameters", "state", "expected"),
    [
        ({"x": "-m*x + x^n"}, {"m": 0.5, "n": 3.0}, [0.0], [[-0.5]]),
        ({"x": "-m*x + x^n"}, {"m": 0.5, "n": 1.0}, [0.0], [[0.5]]),
        ({"x": "-x + x^1.5"}, {}, [0.0], [[-1.0]]),
        ({"x": "x^y", "y": "-y"}, {}, [0.0, 2.0], [[0.0, 0.0], [0.0, -1.0]]),
        ({"x": "-x + sqrt((x - y)^2)", "y": "-y"}, {}, [1.0, 1.0], [[-1.0, 0.0], [0.0, -1.0]]),
        ({"x": "-x + sqrt((x - y)^2 + k*z^2)", "y": "z", "z": "-z"}, {"k": 2.0}, [1.0, 1.0, 0.0],
         [[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]),
        ({"x": "-x + (x^2 + y^2)^p", "y": "-y"}, {"p": 0.75}, [0.0, 0.0], [[-1.0, 0.0], [0.0, -1.0]]),
        ({"x": "sin(sqrt(x^2 + y^2))/sqrt(x^2 + y^2)", "y": "-y"}, {}, [0.0, 0.0], [[0.0, 0.0], [0.0, -1.0]]),
        ({"x": "-x + exp(-1/x^2)"}, {}, [0.0], [[-1.0]]),
        ({"x": "-x + x^2*log(x)"}, {}, [0.0], [[-1.0]]),
        ({"x": "-x + b*(1 - x)^3*log((1 - x)/b)^2"}, {"b": 2.0}, [1.0], [[-1.0]]),
        ({"x": "0.01*(x + 54)/(1 - exp(-(x + 54)/7.8))"}, {}, [-54.0], [[0.005]]),
        ({"x": "x^n/(K^n + x^n)"}, {"n": 100.0, "K": 30.0}, [1e4], [[0.0]]),
        ({"x": "1/(1 + (K/x)^n)"}, {"n": 2.0, "K": 30.0}, [0.0], [[0.0]]),
    ],
)  # fmt: skip
def test_derivatives_that_were_nan(equations, parameters, state, expected):
    flow = SymbolicFlow.of(equations, parameters)
    with np.errstate(all="ignore"):
        assert np.isfinite(flow.vector_field(0.0, np.array(state))).all()
        np.testing.assert_allclose(flow.jacobian(0.0, np.array(state)), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("equation", "parameters", "start", "exponent"),
    [
        ("-x + 1/(1 + exp(-50*(x - 20)))", {}, 0.5, -1.0),
        ("-m*x + x^n", {"m": 0.5, "n": 3.0}, 0.0, -0.5),
        ("-2*x + 3*(x + 40)/(1 - exp(-(x + 40)/10)) - 110", {}, -40.0, -0.5),
        ("-x + 1/cosh(x - 800)^2", {}, 1.0, -1.0),
    ],
)
def test_exponents_that_were_divergence(equation, parameters, start, exponent):
    tangent = SymbolicFlow.of({"x": equation}, parameters).tangent(RK4(dt=0.01), backend="numpy")
    found = tangent.benettin([start], intervals=30, steps_per_interval=5, warmup=0)
    assert found.exponents[0] == pytest.approx(exponent, abs=1e-6)


def test_growth_of_gompertz_is_finite_and_its_slope_at_nothing_is_not():
    flow = SymbolicFlow.of({"x": "-a*x*log(x/K)"}, {"a": 2.0, "K": 3.0})
    with np.errstate(all="ignore"):
        assert flow.vector_field(0.0, np.zeros(1))[0] == 0.0
        assert flow.jacobian(0.0, np.zeros(1))[0, 0] == np.inf
    assert flow.jacobian(0.0, np.ones(1))[0, 0] == pytest.approx(-2 * np.log(1 / 3) - 2, rel=1e-15)


def test_what_has_none_of_the_forms_stays_as_it_is():
    x, y, n = sympy.symbols("x y n", real=True)
    for e in (
        x**2 * y - 3 * x / y,
        1 / (1 + x**2),
        (x**2 + y**2) ** sympy.Rational(-3, 2),
        sympy.exp(-(x**2)),
        x**n * y,
    ):
        assert finite(e) is e
    for e in Lorenz63().definition.expressions:
        assert finite(e) is e


def test_minima_of_many_terms_are_quick_and_keep_the_convention():
    names = [f"x{i}" for i in range(20)]
    terms = [f"{name}*{other} + {i}" for i, (name, other) in enumerate(zip(names, names[1:] + names[:1], strict=True))]
    equations = dict.fromkeys(names, "1") | {
        "x0": f"Min({', '.join(terms)})",
        "x1": f"Max({', '.join(names)})",
        "x2": f"Min(Min({', '.join(names[:9])}), {', '.join(names[9:])}, 0)",
    }
    flow, rng = SymbolicFlow.of(equations), np.random.default_rng(0)
    for state in rng.integers(-2, 3, size=(40, 20)).astype(float):  # ties are common
        products = state * np.roll(state, -1) + np.arange(20)
        np.testing.assert_array_equal(
            flow.vector_field(0.0, state)[:3], [products.min(), state.max(), min(0, state.min())]
        )
        J = flow.jacobian(0.0, state)
        ties = np.flatnonzero(state == state.max())
        order = sorted(ties, key=lambda i: sympy.default_sort_key(sympy.Symbol(names[i], real=True)))
        np.testing.assert_array_equal(np.flatnonzero(J[1]), order[:1])
        assert J[2].sum() == (state.min() < 0)


@pytest.mark.slow
@pytest.mark.numba
def test_kernels_compute_the_same():
    equations = {
        "x": "-x + 1/(1 + exp(-50*(y - 20))) + Min(x, y, z, 2*x, y - z) + floor(y)/4 + sech(z)",
        "y": "Heaviside(x) + Mod(y, -3) - y + 0.1*(x + 4)/(1 - exp(-(x + 4)/10)) + softplus(30*z)/30",
        "z": "-z + (y % 2) + x^n/(K^n + x^n) + exprel(x) - ceiling(z) + expit(y) + 1/tanh(y) - 1/y",
    }
    flow = SymbolicFlow.of(equations, {"n": 2.0, "K": 3.0})
    states = np.random.default_rng(1).uniform(-3.0, 3.0, size=(5, 3))
    for state in states:
        check_tangent(flow.tangent(RK4(dt=1e-3)), state)
    rates = [
        flow.tangent(RK4(dt=1e-3), backend=backend).benettin(states, intervals=4, warmup=0).rates
        for backend in ("numba", "numpy")
    ]
    np.testing.assert_allclose(*rates, rtol=1e-10, atol=1e-10)


def test_lattices_and_losses_are_finite_too():
    ring = SymbolicFlow.of({f"x{i}": f"-x{i} + 1/(1 + exp(-50*(x{(i + 1) % 20} - 20)))" for i in range(20)})
    np.testing.assert_array_equal(ring.jvp(0.0, np.zeros(20), np.eye(20)), -np.eye(20))
    logistic = GradientFlow.of("log(1 + exp(-y*(w*x + b)))", ["w", "b"], {"x": [1e3, -2e3], "y": [1.0, -1.0]})
    for state in ([1.0, 0.0], [-1.0, 0.0]):
        assert np.isfinite(logistic.vector_field(0.0, np.array(state))).all()
        assert np.isfinite(logistic.jacobian(0.0, np.array(state))).all()
    np.testing.assert_allclose(logistic.vector_field(0.0, np.array([-1.0, 0.0])), [1500.0, 0.0], rtol=1e-15)


def test_losses_of_many_weights_are_finite_too():
    """Logistic regression by large features, and a maximum of five weights, against closed forms."""
    rng, n = np.random.default_rng(0), 60
    X, y = 100.0 * rng.normal(size=(30, n)), rng.choice([-1.0, 1.0], 30)
    names = [f"w{i}" for i in range(n)]
    data = {f"x{i}": X[:, i] for i in range(n)} | {"y": y}
    output = " + ".join(f"w{i}*x{i}" for i in range(n))
    flow = GradientFlow.of("log(1 + exp(-y*a)) + Max(w0, w1, w2, w3, w4)^2", names, data, {"a": output})
    w = rng.normal(size=n)
    right = expit(-y * (X @ w))
    expected = (y * right) @ X / 30
    expected[np.argmax(w[:5])] -= 2.0 * w[:5].max()
    np.testing.assert_allclose(flow.vector_field(0.0, w), expected, rtol=0, atol=1e-12)
    curvature = -(X * (right * (1.0 - right))[:, None]).T @ X / 30
    curvature[np.argmax(w[:5]), np.argmax(w[:5])] -= 2.0
    np.testing.assert_allclose(flow.jvp(0.0, w, np.eye(n)), curvature, rtol=0, atol=1e-9 * np.abs(curvature).max())


@pytest.mark.parametrize("text", ["log(1 + exp(d))", "1/(1 + exp(-d))", "d/(1 + exp(-d))", "d*tanh(log(1 + exp(d)))"])
def test_activations_are_finite_on_large_features(text):
    activation = Activation.from_expression(text)
    check_activation(activation)
    assert np.isfinite(activation.fused(np.array([-1e3, -50.0, 0.0, 50.0, 1e3]))).all()


def test_softplus_has_a_name():
    d = np.array([-1e3, -2.0, 0.0, 3.0, 1e3])
    np.testing.assert_allclose(Softplus().sigma(d), np.logaddexp(0.0, d), rtol=1e-15, atol=1e-16)
    check_activation(Softplus())
