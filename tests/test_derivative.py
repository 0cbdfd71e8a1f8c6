"""Derivatives where there are none: at ties a slope is that of one of the branches, and all who compute agree on it."""

import itertools

import attrs
import numpy as np
import pytest
import sympy
from sympy import Abs, Heaviside, Max, Min, sign, sin

from dynsys import DivergenceError, GradientFlow, RunState, SymbolicFlow, SymbolicMap
from dynsys.equations.derivative import derivative
from dynsys.equations.finite.special import Largest, Least
from dynsys.models.activations import Activation
from dynsys.passes.orthonormal import unpacked

x, y, z = STATE = sympy.symbols("x y z", real=True)


def gradient(expression, *point):
    return [derivative(expression, s).subs(dict(zip(STATE, point, strict=False))) for s in STATE[: len(point)]]


@pytest.mark.parametrize(
    ("expression", "point", "expected"),
    [
        (Max(x, 0), [0], [0]),  # as a ReLU
        (Min(x, 0), [0], [0]),
        (Max(x, y), [2, 2], [1, 0]),
        (Min(x, y), [2, 2], [1, 0]),
        (Max(x, y, z), [2, 2, 2], [1, 0, 0]),
        (Max(x, y, z), [1, 2, 2], [0, 1, 0]),
        (Min(x, y, 0), [0, 0], [0, 0]),  # that of the branch 0
        (Max(x, y) * x**2, [3, 3], [9 + 2 * 3 * 3, 0]),
        (sin(Max(2 * x, x + y)), [0, 0], [2, 0]),
        (Max(Min(x, y), z), [1, 1, 1], [0, 0, 1]),
        (Abs(x), [0], [0]),
        (Abs(x - y), [2, 2], [0, 0]),
        (x * sign(x), [0], [0]),
        (Heaviside(x), [0], [0]),
        (x * sympy.floor(2 * x), [3], [6]),
        (sympy.ceiling(x) + sympy.Mod(x, 2), [1], [1]),
        (sympy.Mod(x, y), [7, 2], [1, -3]),
        (sympy.Mod(-x, y) * x, [1, 4], [2, 1]),
        (sympy.sqrt(x**2 + y**2), [0, 0], [0, 0]),
        (sympy.sqrt((x - y) ** 2 + 3 * z**2), [2, 2, 1], [0, 0, sympy.sqrt(3)]),
        (Largest.of([x, y, z, 2 * x, 1]), [1, 1, 1], [2, 0, 0]),
        (Largest.of([x, y, z, 2 * x, 1]), [0, 1, 1], [0, 0, 0]),
        (Least.of([x, y, z, x * y, 9]), [2, 1, 1], [0, 1, 0]),
    ],
)
def test_slopes_at_kinks_are_those_of_the_convention(expression, point, expected):
    assert gradient(expression, *point) == expected


@pytest.mark.parametrize(
    ("text", "points", "slopes"),
    [
        ("sqrt(Max(x, 0))", [-2, 0, 4], [0, 0, 0.25]),
        ("sqrt(Max(0, 1 - x^2))", [-2, 1, 0.6], [0, 0, -0.75]),
        ("sqrt(Min(1, Max(0, x)))", [-2, 0.25, 2], [0, 1, 0]),
        ("sqrt(Max(x, 0) + Max(y, 0))", [-2, 4], [0, 0.25]),
        ("Max(0, x - 1)^(1/3)", [-2, 0, 9], [0, 0, 1 / 12]),
        ("Max(x, 0)^k", [-2, 4], [0, 0.25]),
        ("k*x*Max(x, 0)^0.25", [-2, 16], [0, 1.25]),
        ("sqrt(Max(0, x, y, 2*x, x - 9))", [-2, 2], [0, 0.5]),
        ("acos(Max(-1, Min(1, x)))", [-2, 0.6, 2], [0, -1.25, 0]),
        ("asin(Min(x, 0.5)*2)", [1, 0.3], [0, 2.5]),
        ("sqrt(x*Heaviside(x))", [-2, 4], [0, 0.25]),
        ("sqrt((x + abs(x))/2)", [-2, 4], [0, 0.25]),
        ("sqrt(Piecewise((x, x > 0), (0, True)))", [-2, 0, 4], [0, 0, 0.25]),
        ("sqrt(1 + Max(x, 0))", [-2, 3], [0, 0.25]),
        ("sqrt(Max(x, 1))", [-2, 4], [0, 0.25]),
        ("sqrt(x)", [4, 0], [0.25, np.inf]),  # no constant: infinite it is
    ],
)
def test_the_root_of_what_is_constant_is_constant(text, points, slopes):
    flow = SymbolicFlow.of({"x": text, "y": "-y"}, {"k": 0.5} if "k" in text else None)
    with np.errstate(divide="ignore"):
        found = [flow.jacobian(0.0, np.array([x, -3.0]))[0, 0] for x in points]
    np.testing.assert_allclose(found, slopes, rtol=1e-14)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [Max, Min])
def test_slope_is_that_of_an_argument_that_is_the_largest(kind, seed):
    """On a small grid of whole numbers, where ties are common; Max and Min of linear forms."""
    forms = np.random.default_rng(seed).integers(-1, 2, size=(3, 3))
    slopes = sympy.lambdify(STATE, [derivative(kind(*(forms @ STATE)), s) for s in STATE])
    ties = 0
    for point in itertools.product((-1, 0, 1), repeat=3):
        values = forms @ point
        best = forms[values == (max(values) if kind is Max else min(values))]
        ties += len(np.unique(best, axis=0)) > 1
        assert [float(s) for s in slopes(*point)] in best.tolist()
    assert ties > 0


def test_away_from_kinks_it_is_the_derivative_of_sympy():
    expression = sin(Max(x * y, z, x) ** 2) * Min(x, y) + Abs(x - z) * Max(Min(x, z), y * Max(x, 1))
    for point in ([3, 2, 1], [-3, 1, 2], [sympy.Rational(1, 3), -5, 7]):
        at = dict(zip(STATE, point, strict=True))
        assert gradient(expression, *point) == [sympy.diff(expression, s).subs(at) for s in STATE]


KINKS = {x: 10 * x + Max(x, y) + Min(y, 0), y: 10 * y + Max(x, y, 0) * Min(x, 1) - Abs(y) / 2}


@pytest.mark.numba
def test_compiled_code_and_numpy_take_the_same_side():
    system = SymbolicMap.of(KINKS)
    points = np.array([*itertools.product((-1.0, 0.0, 1.0), repeat=2)])
    start = attrs.evolve(RunState.start(points, 2, None, 0), Q=np.tile(np.eye(2), (9, 1, 1)))
    passed = system.tangent(backend="numba").forward(start, intervals=1, steps_per_interval=1, record="frames")
    for point, Q, R in zip(points, passed.Qs[:, 0], unpacked(passed.R[:, 0]), strict=True):
        np.testing.assert_allclose(Q @ R, system.jacobian(0, point), rtol=0, atol=1e-13)


def test_losses_and_activations_take_the_same_side():
    leaky = Activation.from_expression("Max(d, d/10)")
    assert leaky.dsigma(0.0) in (1.0, 0.1)
    assert Activation.from_expression("Max(d, 0)").dsigma(0.0) == 0.0
    flow = GradientFlow.of("Max(w, v)*a", ["w", "v"], {"a": [2.0]})
    np.testing.assert_array_equal(np.sort(flow.vector_field(0.0, np.array([1.0, 1.0]))), [-2.0, 0.0])


@pytest.mark.numba
@pytest.mark.parametrize("text", ["Max(log(x), sqrt(y))", "Min(log(y), sqrt(x))"])
def test_nan_of_either_argument_is_passed_on_as_in_numpy(text):
    system = SymbolicMap.of({"x": text, "y": "y"})
    for backend in ("numpy", "numba"):
        with pytest.raises(DivergenceError):
            system.tangent(backend=backend).trajectory([-1.0, 4.0] if "log(x)" in text else [4.0, -1.0], intervals=1)
