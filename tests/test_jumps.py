"""Where equations jump: seen when they are defined, and nothing that is continuous is called a jump."""

import os
import subprocess
import sys

import numpy as np
import pytest
import sympy

from dynsys import RK4, FunctionFlow, SymbolicFlow, SymbolicMap
from dynsys.models.classics import Lorenz63
from dynsys.systems.system import FlowStep

THREE = "Piecewise((x, x < 1), (1, x < 2), (3, True))"


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("-x - 0.6*y + sign(y)", ["sign(y)"]),
        ("-x + k*sign(y - v)", ["sign(-v + y)"]),
        ("Heaviside(x - k) - x", ["Heaviside(-k + x)"]),
        ("Heaviside(x - 273.15)*exp(-x/100)", ["Heaviside(x - 273.15)"]),
        ("Heaviside(x^2 + y^2 - 1)*y", ["Heaviside(x**2 + y**2 - 1)"]),
        (THREE, ["Piecewise((x, x < 1), (1, x < 2), (3, True))"]),
        ("Piecewise((1, (x > 0) & (y > 0)), (0, True))", ["Piecewise((1, (x > 0) & (y > 0)), (0, True))"]),
        ("floor(x)*y", ["floor(x)"]),
        ("ceiling(y/2)", ["ceiling(y/2)"]),
        ("x % 3", ["Mod(x, 3)"]),
        ("sign(sin(v*t) - x)", ["sign(-x + sin(t*v))"]),
        ("Mod(x + t, k)", ["Mod(t + x, k)"]),
        ("Mod(x, 1)*Mod(t, 1)", ["Mod(x, 1)"]),
        ("sin(x) + tanh(Heaviside(y))^2", ["Heaviside(y)"]),
        ("1e-3*sign(x) + 1e4*y", ["sign(x)"]),
    ],
)
def test_jumps_are_named(equation, expected):
    flow = SymbolicFlow.of({"x": equation, "y": "-y"}, {"k": 1.0, "v": 2.0})
    assert list(flow.jumps) == expected
    assert FlowStep(flow, RK4(0.1)).jumps == flow.jumps


@pytest.mark.parametrize(
    "equation",
    [
        "x*sign(x) + abs(y) + Max(x, y, 0)",
        "sign(x)*sqrt(abs(x))",
        "(x - 1)*Heaviside(x - 1) + log(x)*Heaviside(x - 1)",
        "x^2*y*sign(y)",
        "sign(x) - 2*Heaviside(x) + y",
        "abs(sign(x)) - x",
        "sign(k) - x + floor(k)*Mod(v, 2)",
        "sin(2*pi*Mod(x, 1))",
        "cos(pi*floor(x))^2",
        "Piecewise((x, x > 0), (0, True))",
        "Piecewise((k*x, x > 0), (v*x, True))",
        "Piecewise((1, x > 1), (-1, x < -1), (x, True))",
        "Piecewise((k*(x - v) + 3, x > v), (3, True))",
        "Piecewise((x*y, (x > 0) & (y > 0)), (0, True))",
        "1/(1 + exp(-1000*x)) + tanh(1e4*y)",
        "floor(t) + x*sign(sin(v*t)) + y*Mod(t, k)",  # all states pass these at the same time
        "Piecewise((x, t < 3), (y^2, Mod(t, 2) < 1), (-x, True))",
    ],
)
def test_kinks_and_what_is_continuous_are_no_jumps(equation):
    assert SymbolicFlow.of({"x": equation, "y": "-y"}, {"k": 1.0, "v": 2.0}).jumps == ()


X, ZERO = sympy.Symbol("x"), sympy.Eq(sympy.Symbol("x"), 0)


@pytest.mark.parametrize(
    ("cases", "jumps"),
    [
        ([(1, ZERO), (sympy.sin(X) / X, True)], 0),
        ([(X / (1 - sympy.exp(-X)), sympy.Ne(X, 0)), (1, True)], 0),
        ([(0, ZERO), (1, X > 0), (-1, True)], 1),
        ([(5, ZERO), (X, True)], 0),  # almost no state meets a single point
    ],
)
def test_cases_of_single_points_have_no_borders(cases, jumps):
    flow = SymbolicFlow.of({"x": sympy.Piecewise(*cases), "y": "-y"})
    assert len(flow.jumps) == jumps
    assert flow.sides(0.0, np.zeros((3, 2))).shape == (3, jumps)


def test_sides_change_at_jumps_alone():
    flow = SymbolicFlow.of({"x": f"{THREE} + sign(y)", "y": "floor(x/2) + Heaviside(x*y*(t - 5))"})
    jumps = list(flow.jumps)
    states = np.array([[0.5, 1.0], [1.5, 1.0], [2.5, 1.0], [-0.5, -1.0]])
    sides = dict(zip(jumps, flow.sides(0.0, states).T, strict=True))
    cases = sides["Piecewise((x, x < 1), (1, x < 2), (3, True))"]
    assert cases[0] == cases[1] == cases[3] != cases[2]  # at x = 1 there is a kink
    assert sides["sign(y)"].tolist() == [1, 1, 1, 0]
    assert sides["floor(x/2)"].tolist() == [0, 0, 1, -1]
    assert flow.sides(0.0, states).dtype.kind == "i"
    assert flow.sides(0.0, states.reshape(2, 2, 2)).shape == (2, 2, len(jumps))
    later = dict(zip(jumps, flow.sides(6.0, states[0]) - flow.sides(0.0, states[0]), strict=True))
    assert {name for name, change in later.items() if change} == {"Heaviside(x*y*(t - 5))"}


def test_velocity_jumps_where_sides_change_and_nowhere_else():
    """On fine paths: steps of the velocity that do not shrink with those of the path are those of the sides."""
    flow = SymbolicFlow.of({"x": f"{THREE} + x*sign(x)", "y": "Mod(x + y, 2) + sin(pi*floor(x)) + sign(y)*y"})
    rng = np.random.default_rng(0)
    for _ in range(20):
        ends = rng.uniform(-4, 4, size=(2, 2))
        path = ends[0] + np.linspace(0.0, 1.0, 20_001)[:, None] * (ends[1] - ends[0])
        jump = np.abs(np.diff(flow.vector_field(0.0, path), axis=0)).max(axis=1) > 0.1
        crossed = (np.diff(flow.sides(0.0, path), axis=0) != 0).any(axis=1)
        np.testing.assert_array_equal(jump, crossed)


def test_lattice_is_looked_at_once():
    ring = {f"x{i}": f"x{(i + 1) % 300} - x{i} + Heaviside(x{i} - 1) + abs(x{i})*Heaviside(x{i})" for i in range(300)}
    flow = SymbolicFlow.of(ring)
    assert flow.jumps == tuple(f"Heaviside(x{i} - 1)" for i in range(300))
    state = np.zeros(300)
    state[[7, 9]] = 2.0
    assert np.flatnonzero(flow.sides(0.0, state)).tolist() == [7, 9]


def test_maps_may_jump_and_others_have_none():
    assert SymbolicMap.of({"x": "3*x % 1"}).jumps == ()
    assert Lorenz63().jumps == ()
    assert Lorenz63().sides(0.0, np.zeros((4, 3))).shape == (4, 0)
    assert "sides" not in Lorenz63().source


def test_plain_functions_that_are_traced_say_it_too():
    def relay(t, x, force):
        return np.stack([x[..., 1], -x[..., 0] + force * np.sign(x[..., 1]) + x[..., 0] * np.sign(x[..., 0])], axis=-1)

    flow = FunctionFlow(relay, 2, args=(0.5,))
    assert list(flow.jumps) == ["sign(x1)"]
    assert flow.sides(0.0, np.array([[1.0, 2.0], [1.0, -2.0]])).tolist() == [[1], [0]]
    assert FunctionFlow(lambda t, x: -x, 2).sides(0.0, np.zeros(2)).shape == (0,)


def test_a_second_process_needs_no_sympy(tmp_path):
    code = """
import sys, numpy as np
from dynsys import SymbolicFlow
flow = SymbolicFlow.of({"x": "y", "y": "sign(x)/(1 + exp(-y))"})
print(flow.jumps, flow.sides(0.0, np.array([1.0, 0.0])), flow.jacobian(0.0, np.zeros(2))[1], "sympy" in sys.modules)
"""
    printed, changed = [], {"DYNSYS_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | changed)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.split())
    assert (printed[0][-1], printed[1][-1]) == ("True", "False")
    assert printed[0][:-1] == printed[1][:-1]


@pytest.mark.parametrize(
    ("equations", "parameters"),
    [
        ({"NAME": f"{THREE} + sign(NAME)".replace("x", "NAME"), "y": "-y"}, {}),
        ({"x": f"-x + NAME*floor(x) + {THREE}", "y": "-y"}, {"NAME": 0.5}),
        ({f"{s}": f"Mod({s}, NAME) - {s}*floor(NAME*{s})" for s in ("x0", "x1", "x2")}, {"NAME": 0.5}),
        ({"NAME": "-NAME + W@sign(NAME)"}, {"W": np.eye(2) - 0.3}),
        ({"x": "-x + W@sign(x - NAME)"}, {"W": np.eye(2) - 0.3, "NAME": 0.5}),
    ],
    ids=["component", "parameter", "alike", "vector", "beside a vector"],
)
def test_no_name_of_a_user_meets_one_of_the_code_that_looks_for_jumps(equations, parameters):
    """Names that are not refused may stand beside jumps: `int` was called where a component hid it."""
    found = []
    for word in ("int", "u1x"):  # in the same order among the others
        flow = SymbolicFlow.of(
            {name.replace("NAME", word): text.replace("NAME", word) for name, text in equations.items()},
            {name.replace("NAME", word): value for name, value in parameters.items()},
        )
        x = np.random.default_rng(0).normal(size=(20, flow.dimension))
        found.append((len(flow.jumps), flow.sides(0.0, x).tolist()))
    assert found[0] == found[1]
    assert found[0][0]
