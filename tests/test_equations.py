"""Equations as a user writes them: helpers, cases, formulas for notebooks, lattices, and what the errors say."""

import warnings

import attrs
import numpy as np
import pytest
import sympy
from matplotlib.mathtext import MathTextParser
from sympy import Symbol, symbols

from dynsys import RK4, DivergenceError, Euler, GradientFlow, InvalidInputError, SymbolicFlow, SymbolicMap, lattice_size
from dynsys.models.classics import HindmarshRose, Lorenz63, Lozi
from dynsys.testing import check_system, check_tangent

x, y, t = (Symbol(name, real=True) for name in "xyt")


# ---- helpers

HOPF = {"x": "x*g - y", "y": "y*g + x"}
HELPERS = {"r2": "x^2 + y^2", "g": "a - r2 + sin(t)"}


def test_helpers_are_put_into_the_equations():
    written = SymbolicFlow.of(
        {"x": "x*(a - x^2 - y^2 + sin(t)) - y", "y": "y*(a - x^2 - y^2 + sin(t)) + x"}, {"a": 0.5}
    )

    @attrs.frozen(eq=False)
    class Hopf(SymbolicFlow):
        a: float = 0.5
        equations = HOPF
        helpers = HELPERS

    r2, g = symbols("r2 g")
    given = [
        SymbolicFlow.of(HOPF, {"a": 0.5}, HELPERS),
        SymbolicFlow.of({x: x * g - y, y: y * g + x}, {"a": 0.5}, {r2: x**2 + y**2, "g": "a - r2 + sin(t)"}),
        Hopf(),
    ]
    for system in given:
        assert system.definition.expressions == written.definition.expressions
        assert system.source == written.source
    assert list(given[0].parameters) == [0.5]
    check_system(given[0], np.array([0.4, -0.3]), t=0.7)


@pytest.mark.parametrize(
    ("helpers", "culprit"),
    [
        ({"a1": "b1*x", "b1": "y"}, "helper a1 uses b1, which comes after it"),
        ({Symbol("a1"): Symbol("b1") * x, "b1": "y"}, "helper a1 uses b1, which comes after it"),
        ({"h": "x + h"}, "helper h uses itself"),
        ({"h": "rat*x"}, "helper h: unknown name 'rat' .did you mean 'rate'"),
        ({"x": "1"}, "several x"),
        ({"rate": "1"}, "several rate"),
        ({"sin": "1"}, "'sin' cannot name"),
        ({"t": "1"}, "'t' cannot name"),
        ({"h": [1]}, r"helper h must be text or an expression, got \[1\]"),
        (["h"], r"helpers must be a mapping .* got \['h'\]"),
    ],
)
def test_bad_helper_is_refused_and_named(helpers, culprit):
    with pytest.raises(InvalidInputError, match=culprit):
        SymbolicFlow.of({"x": "-rate*x", "y": "-y"}, {"rate": 1.0}, helpers)


def test_powers_of_helpers_stay_short():
    """Powers of powers, one helper after the other: integers of a billion digits, were they exact."""
    powers = {"h0": "3*x"} | {f"h{i + 1}": f"h{i}**1000" for i in range(4)}
    with pytest.raises(InvalidInputError, match=r"helper h1 contains .* which no floating-point number can hold"):
        SymbolicMap.of({"x": "h4"}, {}, powers)


# ---- cases

LEAKY = "Piecewise((sqrt(x) + 1/y, (x > 0) & (y > 0)), (log(-x), x < 0), (exp(-999*x), True))"
CASES = SymbolicFlow.of(
    {"x": LEAKY, "y": "-y + Piecewise((1/t, t > 1), (x/(x - 1), 0 <= x < 1 or y <= -3), (2, True))"}
)
STATES = [[4.0, 0.5], [-2.0, 1.0], [0.25, -1.0], [3.0, -4.0], [2.0, -1.0]]


def cases(t, x, y):
    """Value and derivatives by hand."""
    if x > 0 and y > 0:
        first = np.sqrt(x) + 1 / y, 0.5 / np.sqrt(x), -1 / y**2
    elif x < 0:
        first = np.log(-x), 1 / x, 0.0
    else:
        first = np.exp(-999 * x), -999 * np.exp(-999 * x), 0.0
    inside = t <= 1 and (0 <= x < 1 or y <= -3)
    second = 1 / t if t > 1 else x / (x - 1) if inside else 2.0
    return [first[0], second - y], [first[1:], [-1 / (x - 1) ** 2 if inside else 0.0, -1.0]]


@pytest.mark.parametrize("time", [0.0, 2.0])
def test_case_that_holds_is_computed_and_the_others_do_not_matter(time):
    expected = [cases(time, *state) for state in STATES]
    values = CASES.vector_field(time, np.array(STATES))  # warnings are errors
    np.testing.assert_allclose(values, [value for value, _ in expected], rtol=1e-14)
    for state, value, (_, slopes) in zip(STATES, values, expected, strict=True):
        np.testing.assert_array_equal(CASES.vector_field(time, np.array(state)), value)
        np.testing.assert_allclose(CASES.jacobian(time, np.array(state)), slopes, rtol=1e-14)


def test_text_and_sympy_mean_the_same_cases():
    condition = ((x >= 0) & (x < 1)) | (y <= -3)
    second = -y + sympy.Piecewise((1 / t, t > 1), (x / (x - 1), condition), (2, True))
    assert SymbolicFlow.of({x: second, y: x}).source == SymbolicFlow.of({"x": CASES.equations["y"], "y": "x"}).source


def test_negated_condition_is_computed_element_by_element():
    turned = SymbolicMap.of({x: sympy.Piecewise((x, ~((x > 0) & (y > 0))), (-x, True)), y: y})
    np.testing.assert_array_equal(turned.step(0, np.array([[1.0, 1.0], [1.0, -1.0]])), [[-1.0, 1.0], [1.0, -1.0]])


def lattice_of_cases(n):
    case = "Piecewise((sqrt(x{1}), x{1} > 0), (1/x{0}, x{0} > 0), (-x{0}, True)) - x{0}"
    return SymbolicFlow.of({f"x{i}": case.format(i, (i + 1) % n) for i in range(n)})


def signs_and_sizes(dim, seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], dim) * rng.uniform(0.5, 2.0, dim)


def test_cases_keep_the_contract():
    for flow in (CASES, lattice_of_cases(17)):
        check_system(flow, signs_and_sizes(flow.dimension))


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")  # the cases jump
@pytest.mark.parametrize("flow", [CASES, lattice_of_cases(17)], ids=["written out", "by sites"])
def test_kernels_compute_the_same_cases(flow):
    check_tangent(flow.tangent(RK4(dt=0.01)), signs_and_sizes(flow.dimension))
    members = np.array([signs_and_sizes(flow.dimension, seed) for seed in range(5)])
    compiled, plain = (
        flow.tangent(RK4(dt=0.01), backend=backend).benettin(members, intervals=3, k=2, warmup=0).rates
        for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(compiled, plain, rtol=1e-11, atol=1e-11)


def test_loss_may_have_cases():
    huber = "Piecewise(((y - a)^2/2, (y - a)^2 < 1), (abs(y - a) - 1/2, True))"
    data = {"x": [1.0, 2.0, 3.0], "y": [0.0, 5.0, 2.0]}
    check_system(GradientFlow.of(huber, ["w", "b"], data, {"a": "tanh(w*x) + b"}), np.array([0.3, 0.2]))


def test_cases_of_sympy_need_a_last_one_unless_one_always_holds():
    hole = sympy.Piecewise((x, x > 0), (-x, x < -1))
    for equation in (hole, 2 * hole + y, sympy.Piecewise((hole, y > 0), (1, True)), sympy.Piecewise((1, x * y > 1))):
        with pytest.raises(InvalidInputError, match=r"equation of x contains Piecewise\(.*\(expression, True\)"):
            SymbolicFlow.of({x: equation, y: 0})
    with pytest.raises(InvalidInputError, match=r"helper h contains Piecewise\(\(x, x > 0\), \(-x, x < -1\)\), which"):
        SymbolicFlow.of({"x": "h"}, helpers={"h": hole})
    whole = sympy.Piecewise((x, x > y), (-x, x < y), (3, sympy.Eq(x, y)))
    flow = SymbolicFlow.of({x: whole, y: sympy.Piecewise((1, x * y > 0), (2, x * y <= 0))})
    assert (
        flow.source
        == SymbolicFlow.of(
            {"x": "Piecewise((x, x > y), (-x, x < y), (3, True))", "y": "Piecewise((1, x*y > 0), (2, True))"}
        ).source
    )
    assert "nan" not in flow.source


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Piecewise((x, x > 0))", r"must end with a case \(expression, True\)"),
        ("Piecewise()", "must end with a case"),
        ("Piecewise(x, x > 0)", "'x' is no case"),
        ("Piecewise((x, x > 0, y), (0, True))", "'x, x > 0, y'|no case"),
        ("Piecewise((x, x == 0), (0, True))", "'x == 0' is no condition"),
        ("Piecewise((x, x), (0, True))", "'x' is no condition"),
        ("Piecewise((x, not x < 1), (0, True))", "'not x < 1' is no condition"),
        ("Piecewise((x, x > 0 & x < 1), (0, True))", "'0 & x' is not mathematics.*brackets"),
        ("Piecewise((x, open('f') > 0), (0, True))", "unknown function 'open'"),
        ("Piecewise((x, Piecewise((x, x > 0), (0, True)) > 0), (0, True))", "a Piecewise in a condition"),
        ("Piecewise((x, (-2)**(1/3) > x), (0, True))", "no finite real number"),
        ("Piecewise(" + "".join(f"(x, x > {i}), " for i in range(9)) + "(0, True))", "more than 8 comparisons"),
        ("Piecewise((x, " + "(" * 120 + "x > 0" + ") & (x > 1)" * 120 + "), (0, True))", "nested|cannot be read"),
        ("x > 0", "not mathematics"),
        ("x > 0 and x", "not mathematics"),
    ],
)
def test_bad_cases_are_refused_by_name(text, reason):
    with pytest.raises(InvalidInputError, match=reason):
        SymbolicFlow.of({"x": text, "y": "x"})


# ---- formulas


def test_latex_is_that_of_sympy_with_words_upright():
    neuron = HindmarshRose()
    lines = neuron.latex.removeprefix(r"\begin{aligned} ").removesuffix(r" \end{aligned}").split(r" \\ ")
    names = {"current": r"\mathrm{current}", "x_{rest}": r"x_{\mathrm{rest}}"}
    for line, name, expression in zip(lines, "xyz", neuron.definition.expressions, strict=True):
        plain = sympy.latex(expression, mul_symbol=r"\,")
        for old, new in names.items():
            plain = plain.replace(old, new)
        assert line.startswith(rf"\dot{{{name}}} &= ")
        assert sorted(line.split(" &= ")[1]) == sorted(plain)  # terms may stand in another order
        MathTextParser("path").parse(f"${line.replace('&', '')}$")
    assert neuron._repr_latex_() == rf"$\displaystyle {neuron.latex}$"


def test_latex_of_maps_and_matrices():
    assert Lozi().latex == r"\begin{aligned} x' &= - a\,\left|{x}\right| + y + 1 \\ y' &= b\,x \end{aligned}"
    assert Lorenz63().jacobian_latex == (
        r"\begin{pmatrix} - \sigma & \sigma & 0 \\ \rho - z & -1 & - x \\ y & x & - \beta \end{pmatrix}"
    )


def test_names_that_would_look_alike_show_their_underscore():
    parameters = dict.fromkeys(["b_c", "alpha1", "alpha_1", "x_12", "x_1_2"], 1.0)
    flow = SymbolicFlow.of({"x1": "x_1*b_c", "x_1": "alpha_1 - alpha1", "x_2": "x_12 + x_1_2"}, parameters)
    x_1, alpha_1 = r"\mathrm{x\_1}", r"\mathrm{alpha\_1}"
    lines = flow.latex.removeprefix(r"\begin{aligned} ").removesuffix(r" \end{aligned}").split(r" \\ ")
    assert lines[0] == rf"\dot{{x_{{1}}}} &= b_{{c}}\,{x_1}"
    assert lines[1].startswith(rf"\dot{{{x_1}}} &= ")
    assert lines[1].split("&= ")[1] in (rf"{alpha_1} - \alpha_{{1}}", rf"- \alpha_{{1}} + {alpha_1}")
    assert lines[2].startswith(r"\dot{x_{2}} &= ")
    assert {r"\mathrm{x\_12}", r"\mathrm{x\_1\_2}"} == set(lines[2].split("&= ")[1].split(" + "))
    for line in lines:
        MathTextParser("path").parse(f"${line.replace('&', '')}$")


def ring(n):
    return {f"x{i}": f"(x{(i + 1) % n} - x{(i - 2) % n})*x{(i - 1) % n} - x{i} + 8" for i in range(n)}


def test_latex_of_a_lattice_is_its_pattern():
    latex = SymbolicFlow.of(ring(40)).latex
    assert latex.count("&=") == 11
    assert r"\vdots \\ \dot{x_{39}} &= " in latex
    with pytest.raises(InvalidInputError, match=r"40 x 40 entries .* 12 x 12 at most: take a smaller system"):
        _ = SymbolicFlow.of(ring(40)).jacobian_latex


# ---- lattices by their neighbours


def test_lattice_times_vectors_never_forms_the_jacobian():
    n, rng = 60, np.random.default_rng(0)
    equations = ring(n) | {"x7": "sin(t)*x7*x50 + 1", "x8": "2"}  # a defect, and a row of zeros
    flow = SymbolicFlow.of(equations)
    state, V = rng.normal(size=n), rng.normal(size=(n, 4))
    np.testing.assert_allclose(flow.jvp(0.3, state, V), flow.jacobian(0.3, state) @ V, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(flow.jvp(0.3, state, V)[8], 0.0)
    whole = np.eye(n, dtype=int)
    np.testing.assert_array_equal(flow.jvp(0.3, state, whole), flow.jacobian(0.3, state))
    source = flow.source.split("def jvp")[1]
    assert "_J" not in source
    assert f"({n}, {n})" not in source
    assert "def jvp" not in Lorenz63().source


# ---- what the errors say

rate = Symbol("rate")


@pytest.mark.parametrize(
    ("equations", "parameters", "message"),
    [
        (
            {"x": "rat*x"},
            {"rate": 1.0},
            "equation of x: unknown name 'rat' .did you mean 'rate'. known names: rate, t, x",
        ),
        ({x: Symbol("rat") * x}, {rate: 1.0}, "equation of x uses an unknown name 'rat' .did you mean 'rate'"),
        ({"x": "tanhh(x)"}, {}, "equation of x: unknown function 'tanhh' .did you mean 'tanh'"),
        ({"x": "-w*x"}, {}, "unknown name 'w' .*every parameter needs a value"),
        ({"x": "cos(time)"}, {}, "unknown name 'time' .*the time, or step, is t"),
        ({x: sympy.gamma(x)}, {}, r"equation of x contains gamma\(x\).*: write it with sin, cos"),
        ({x: sympy.Function("f")(x)}, {}, r"contains f\(x\)"),
        ({x: sympy.Derivative(y * sympy.sin(x), x), y: x}, {}, r"contains Derivative.*doit\(\)"),
        ({x: sympy.Integral(1 / t, (t, 1, x))}, {}, r"contains Integral.*doit\(\)"),
        ({x: sympy.Product(x, (y, 1, 3))}, {}, r"contains Product.*doit\(\)"),
        ({x: sympy.ImmutableMatrix([x])}, {}, "equation of x must be text or an expression"),
        ({x: sympy.MatrixSymbol("M", 2, 2)[0, 0]}, {}, "unknown name 'M'"),
        ({x: x > 0}, {}, "equation of x must be text or an expression, got x > 0"),
        (["-x"], {}, r"equations must be a mapping such as .*, got \['-x'\]"),
        ({}, {}, "equations must be a mapping such as .*, got {}"),
        ({"x": "-rate*x"}, ["rate"], r"parameters must be a mapping such as .*, got \['rate'\]"),
        ({"x": "-rate*x"}, {"rate": "2"}, "parameter rate must be a finite number, got '2': give it a value"),
        ({"x": "-rate*x"}, {rate: rate}, "parameter rate must be a finite number, got rate: give it a value"),
        ({"x": "-rate*x"}, {"rate": None}, "parameter rate must be a finite number, got None"),
        (
            {"x": "-rate*x"},
            {"rate": [[1.0], [2.0, 3.0]]},
            r"parameter rate must be an array of real numbers, got \[\[1.0\], ",
        ),
        ({"x": "-rate*x"}, {"rate": np.inf}, "parameter rate must be a finite number, got inf"),
    ],
)
def test_error_names_the_culprit_and_the_remedy(equations, parameters, message):
    with pytest.raises(InvalidInputError, match=message):
        SymbolicFlow.of(equations, parameters)


def test_error_about_a_name_in_a_lattice_is_short():
    with pytest.raises(InvalidInputError, match="and 182 more") as problem:
        SymbolicFlow.of({f"x{i}": f"-x{i} + q" for i in range(201)})
    assert len(str(problem.value)) < 500


def test_parameter_that_is_not_used_is_allowed():
    assert SymbolicFlow.of({"x": "-x"}, {"spare": 2.0}).spare == 2.0


def test_class_without_its_decorator_is_refused():
    class Decay(SymbolicFlow):
        rate: float = 1.0
        equations = {"x": "-rate*x"}

    with pytest.raises(InvalidInputError, match=r"rate is no field of Decay: write @attrs.frozen\(eq=False\)"):
        _ = Decay().source


def test_plain_field_that_is_no_number_is_named():
    @attrs.frozen(eq=False)
    class Decay(SymbolicFlow):
        sites: int = lattice_size(1)
        rate: float = 1.0
        equations = {"x": "-rate*x"}

    with pytest.raises(InvalidInputError, match="parameter rate must be a finite number, got 'fast'"):
        Decay(rate="fast").vector_field(0.0, np.ones(1))


def test_blow_up_in_finite_time_is_explained():
    tangent = SymbolicFlow.of({"x": "x^2", "y": "-y"}).tangent(RK4(dt=0.01), backend="numpy")
    with pytest.raises(
        DivergenceError, match=r"by t = 1.0\d .step 10\d.*trajectory from the same x0.*x' = x\^2"
    ) as stopped:
        tangent.benettin([1.0, 1.0], intervals=40, steps_per_interval=4, warmup=0, k=1)
    assert 1.0 < stopped.value.time < 1.1  # the solution 1/(1 - t)
    with pytest.raises(DivergenceError, match=r"partial\.states show which component") as stopped:
        tangent.trajectory([1.0, 1.0], intervals=200)
    assert stopped.value.partial.states[-1].argmax() == 0


def test_wrong_number_of_initial_values_is_refused():
    tangent = Lorenz63().tangent(Euler(dt=0.01), backend="numpy")
    with pytest.raises(InvalidInputError, match=r"x0 must have shape \(3,\) or \(members, 3\), got \(2,\)"):
        tangent.benettin([1.0, 2.0], intervals=3)


def test_five_lines_define_an_ode_or_a_map():
    angle, velocity, damping = symbols("angle velocity damping")
    pendulum = SymbolicFlow.of({angle: velocity, velocity: -sympy.sin(angle) - damping * velocity}, {damping: 0.5})
    text = SymbolicFlow.of({"angle": "velocity", "velocity": "-sin(angle) - damping*velocity"}, {"damping": 0.5})
    logistic = SymbolicMap.of({"x": "r*x*(1 - x)"}, {"r": 4.0})
    assert pendulum.source == text.source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a short run warns of its error bars
        exponents = pendulum.tangent(RK4(dt=0.05), backend="numpy").benettin([0.1, 0.0], intervals=40).exponents
        lyapunov = logistic.tangent(backend="numpy").benettin([0.3], intervals=3000).exponents
    assert exponents.sum() == pytest.approx(-0.5, abs=1e-6)
    assert lyapunov[0] == pytest.approx(np.log(2), abs=0.03)
