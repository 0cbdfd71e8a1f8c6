"""Dense networks that are written out term by term: computed by products, the same numbers, soon compiled."""

import time

import numpy as np
import pytest
import sympy

from dynsys import RK4, SymbolicFlow, SymbolicMap
from dynsys.equations.definition import Definition
from dynsys.equations.vectors.dense import DenseDefinition
from dynsys.models.classics import Lorenz96
from dynsys.models.classics.catalogue import SYSTEMS
from dynsys.testing import check_system, check_tangent

N = 20
C = np.random.default_rng(0).normal(size=(N, N)).round(4) / 8


def total(term, i, n=N):
    return " + ".join(term(i, j) for j in range(n) if j != i)


def state(n=N):
    return np.random.default_rng(1).normal(size=n)


OFF = C * (1 - np.eye(N))  # no component is coupled to itself
ONES = np.ones((N, N)) / N
g, K = 0.8, 1.1
FORMS = {  # text of an equation, and the same in NumPy
    "linear": (
        lambda i: f"-x{i}^3 + " + total(lambda i, j: f"({C[i, j]})*x{j}", i),
        lambda x, t: -(x**3) + OFF @ x,
    ),
    "rates": (
        lambda i: f"-x{i} + " + total(lambda i, j: f"({C[i, j]})*tanh(g*x{j})", i),
        lambda x, t: -x + OFF @ np.tanh(g * x),
    ),
    "differences": (
        lambda i: f"{C[i, 0]} + K*(" + total(lambda i, j: f"x{j} - x{i}", i) + f")/{N} - x{i}^3",
        lambda x, t: C[:, 0] + K * (ONES @ x - x) - x**3,
    ),
    "oscillators": (
        lambda i: f"{C[0, i]} + K*(" + total(lambda i, j: f"sin(x{j} - x{i} + g)", i) + f")/{N}",
        lambda x, t: C[0] + K * (ONES * np.sin(x - x[:, None] + g)).sum(1) - K * np.sin(g) / N,
    ),
    "all kinds": (
        lambda i: (
            f"{C[0, i]}*sin(t) - x{i}*abs(x{i}) + x{i}*("
            + total(lambda i, j: f"{C[i, j]}*cos(2*x{j} - x{i})*g", i)
            + ") + "
            + total(lambda i, j: f"{C[j, i]}*K*x{j}^2*x{i}", i)
        ),
        lambda x, t: (
            C[0] * np.sin(t)
            - x * np.sqrt(x**2)
            + x * g * (OFF * np.cos(2 * x - x[:, None])).sum(1)
            + K * x * (OFF.T @ x**2)
        ),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_numbers_are_those_of_the_equations_written_out(form):
    text, exact = FORMS[form]
    flow = SymbolicFlow.of({f"x{i}": text(i) for i in range(N)}, {"g": g, "K": K})
    assert isinstance(flow.definition, DenseDefinition)
    x, t = state(), 0.4
    np.testing.assert_allclose(flow.vector_field(t, x), exact(x, t), rtol=1e-12, atol=1e-13)
    columns = [exact(x + 1e-200j * e, t).imag / 1e-200 for e in np.eye(N)]
    np.testing.assert_allclose(flow.jacobian(t, x), np.array(columns).T, rtol=1e-12, atol=1e-13)
    check_system(flow, x, t=t)
    assert list(flow.component_names) == [f"x{i}" for i in range(N)]
    assert flow.latex.startswith(r"\begin{aligned} \dot{x_{0}} &= ")


@pytest.mark.numba
@pytest.mark.slow
def test_they_compile_in_seconds_and_agree_with_numpy():
    equations = {f"x{i}": FORMS["oscillators"][0](i) for i in range(N)}
    flow = SymbolicFlow.of(equations, {"g": 0.0, "K": 1.1})
    kernel = flow.kernel()
    assert len(kernel.source) < 5000
    assert str(C[0, 3]) not in kernel.source
    start = time.process_time()
    check_tangent(flow.tangent(RK4(0.05)), state())
    assert time.process_time() - start < 30.0  # 60 and more where every entry is a statement
    np.testing.assert_allclose(flow.jvp(0.0, state(), np.ones((N, 1))), 0.0, atol=1e-13)


def test_expressions_of_sympy_and_maps_too():
    symbols = sympy.symbols(f"x:{N}")
    equations = {
        s: sympy.tanh(s) + sum(sympy.Float(C[i, j]) * q for j, q in enumerate(symbols)) for i, s in enumerate(symbols)
    }
    system = SymbolicMap.of(equations)
    assert isinstance(system.definition, DenseDefinition)
    np.testing.assert_allclose(system.step(0, state()), np.tanh(state()) + C @ state(), rtol=1e-12)


@pytest.mark.parametrize(
    "equation",
    {
        "a power of differences": lambda i: total(lambda i, j: f"{C[i, j]}*(x{j} - x{i})^3", i),
        "functions of differences": lambda i: total(lambda i, j: f"{C[i, j]}*tanh(x{j} - x{i})", i),
        "three components": lambda i: total(lambda i, j: f"{C[i, j]}*x{j}*x{(j + 1) % N}", i),
    }.values(),
)
def test_what_has_another_form_is_written_out(equation, monkeypatch):
    monkeypatch.setattr("dynsys.systems.symbolic.define", lambda *of: None)  # which would take a while
    system = SymbolicFlow.of({f"x{i}": equation(i) for i in range(N)})
    with pytest.raises(AttributeError):
        _ = system.source


def test_lattices_and_the_catalogue_are_as_they_were():
    for system in [*(kind() for kind in SYSTEMS if issubclass(kind, (SymbolicFlow, SymbolicMap))), Lorenz96(sites=40)]:
        assert isinstance(system.definition, Definition), system
    wide = {f"x{i}": " + ".join(f"x{(i + d) % 40}" for d in range(-10, 11)) + f" - x{i}^3" for i in range(40)}
    assert isinstance(SymbolicFlow.of(wide).definition, Definition)
