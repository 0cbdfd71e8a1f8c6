"""Equations that are sums of many terms of few forms: the same numbers as written out, whatever the number of terms."""

import numpy as np
import pytest
import sympy

import dynsys.equations.networks.terms as terms_module
from dynsys import (
    DOP853,
    RK4,
    FunctionFlow,
    ImplicitMidpoint,
    InvalidInputError,
    PoincareMap,
    SymbolicFlow,
    SymbolicMap,
)
from dynsys.compiled.networks.kernel import NetworkSource
from dynsys.compiled.networks.layout import layout, rank_one
from dynsys.compiled.networks.tables import Data, Tables
from dynsys.compiled.staged import numba_linearise
from dynsys.equations.definition import Definition
from dynsys.equations.networks.definition import NetworkDefinition
from dynsys.equations.networks.forms import OtherForm
from dynsys.equations.networks.reader import Reader
from dynsys.equations.networks.terms import network
from dynsys.equations.source import numpy_functions
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
    assert isinstance(flow.definition, NetworkDefinition)
    x, t = state(), 0.4
    np.testing.assert_allclose(flow.vector_field(t, x), exact(x, t), rtol=1e-12, atol=1e-13)
    columns = [exact(x + 1e-200j * e, t).imag / 1e-200 for e in np.eye(N)]
    np.testing.assert_allclose(flow.jacobian(t, x), np.array(columns).T, rtol=1e-12, atol=1e-13)
    check_system(flow, x, t=t)
    assert list(flow.component_names) == [f"x{i}" for i in range(N)]
    assert flow.latex.startswith(r"\begin{aligned} \dot{x_{0}} &= ")


def sparse(i, n=N):
    """Three others of a component, with coefficients of their own."""
    rng = np.random.default_rng(i)
    return [(int(j), f"{rng.normal():.3f}") for j in rng.choice([j for j in range(n) if j != i], 3, replace=False)]


def matrix(row):
    return "".join(f" + ({c})*x{j}" for j, c in enumerate(row))


FREQUENCIES = {f"w{i}": C[0, i] for i in range(N)}
LINKS = {f"k{i}_{j}": C[i, j] for i in range(N) for j in range(N) if i != j}
SYNCHRONY = {
    what: "(" + " + ".join(f"{f}(x{j})" for j in range(N)) + f")/{N}" for what, f in (("S", "sin"), ("R", "cos"))
}
EQUATIONS = {  # equations, parameters, helpers
    "phases, frequencies with names": (
        lambda i: f"w{i} + K/{N}*(" + total(lambda i, j: f"sin(x{j}-x{i})", i) + ")",
        FREQUENCIES | {"K": K},
        {},
    ),
    "couplings with names": (lambda i: total(lambda i, j: f"k{i}_{j}*sin(x{j} - x{i})", i) + " - x0*x1", LINKS, {}),
    "lags of their own": (lambda i: total(lambda i, j: f"sin(x{j} - x{i} - {C[i, j]})", i), {}, {}),
    "swarm": (lambda i: total(lambda i, j: f"sin(x{j} - x{i}) + 0.3*cos(2*x{j} - x{i})", i), {}, {}),
    "one product of weights": (
        lambda i: f"-x{i} + " + total(lambda i, j: f"{1 + i}*{1 + j}/400*tanh(x{j})*x{i}", i),
        {},
        {},
    ),
    "triplets": (lambda i: total(lambda i, j: f"{C[i, j]}*sin(x{j} + x{(j + 3) % N} - 2*x{i})", i), {}, {}),
    "no products": (
        lambda i: f"-x{i}^3 + (" + total(lambda i, j: f"(x{j} - x{i})/(1 + (x{i} - x{j})^2)", i) + ")/7",
        {},
        {},
    ),
    "singular at itself": (lambda i: total(lambda i, j: f"0.01*log((x{j} - x{i})^2)", i), {}, {}),
    "powers of differences": (lambda i: total(lambda i, j: f"{C[i, j]}*(x{j} - x{i})^3", i), {}, {}),
    "predators": (lambda i: f"x{i}*(1.5 - x{i}{matrix(OFF[i])})", {}, {}),
    "neurons": (lambda i: f"-x{i} + tanh({matrix(C[i])[2:]})", {}, {}),
    "neurons with kinks": (lambda i: f"-x{i} + Max(0, {matrix(C[i])[2:]})*g", {"g": g}, {}),
    "sums in quotients": (lambda i: f"({matrix(C[i])[2:]})/(1 + ({matrix(C[:, i])[2:]})^2)", {}, {}),
    "links at random": (lambda i: f"-x{i}" + "".join(f" + ({c})*tanh(x{j})" for j, c in sparse(i)), {}, {}),
    "a lattice rewired": (lambda i: "{1}*(x{0} - x{2})*x{4} - x{6}*{3} + {5}".format(*sum(sparse(i), ()), i), {}, {}),
    "a drive": (
        lambda i: f"{C[0, i]}*cos(g*t) + " + total(lambda i, j: f"{C[i, j]}*sin(x{j} - x{i})", i),
        {"g": g},
        {},
    ),
    "order parameters": (lambda i: f"{C[0, i]} + K*(S*cos(x{i}) - R*sin(x{i}))", {"K": K}, SYNCHRONY),
    "a mean inside": (
        lambda i: f"tanh(m - x{i}) + m*x{i}",
        {},
        {"m": "(" + " + ".join(f"x{j}" for j in range(N)) + f")/{N}"},
    ),
    "short helpers": (
        lambda i: f"-a*x{i} + " + total(lambda i, j: f"{C[i, j]}*tanh(b*x{j})", i),
        {"g": g},
        {"a": "g*2", "b": "a/2"},
    ),
    "names that sources use": (
        lambda i: f"range*x{i}" + total(lambda i, j: f" + p*sin(x{j} - x{i})*B", i) + " + data + J*f",
        dict(p=0.3, range=0.5, data=0.1, B=0.2, J=0.3, f=0.4),
        {},
    ),
    "lines": (lambda i: f"(-x{i}\n " + "".join(f"\n + ({c})*x{j}**2" for j, c in enumerate(C[i])) + ")", {}, {}),
    "constants, and what cancels": (
        lambda i: "2*pi/3 - x3 + x3 + 0*x1" + total(lambda i, j: f" + 1e-1*x{j}*2^0.5/.5E1", i),
        {},
        {},
    ),
}


@pytest.fixture(scope="module", params=EQUATIONS)
def given(request):
    text, parameters, helpers = EQUATIONS[request.param]
    flow = SymbolicFlow.of({f"x{i}": text(i) for i in range(N)}, parameters, helpers=helpers)
    assert isinstance(flow.definition, NetworkDefinition)
    return flow


def test_values_and_jacobian_are_those_of_the_equations(given):
    x, t = state(), 0.4
    single = given.definition.numbers
    names = {name: getattr(np, name) for name in ("sin", "cos", "tanh", "log")} | {"Max": max, "pi": np.pi, "t": t}
    names |= dict(zip(single.state, x, strict=True)) | dict(zip(single.parameters, given.parameters, strict=True))
    for name, helper in single.helpers:
        names[name] = eval(helper, names)
    expected = [eval(text.replace("^", "**"), names) for text in single.right_sides]
    np.testing.assert_allclose(given.vector_field(t, x), expected, rtol=1e-12, atol=1e-13)
    check_system(given, x, t=t)  # derivatives against differences, leading axes
    V = np.random.default_rng(3).normal(size=(N, 3))
    np.testing.assert_allclose(given.jvp(t, x, V), given.jacobian(t, x) @ V, rtol=1e-12, atol=1e-12)


def test_the_source_for_the_compiler_is_python_that_gives_the_same(given):
    kernel, x, t = given.kernel(), state(), 0.4
    names = numpy_functions() | {"_range": range, "njit": lambda function: function}
    exec(kernel.source, names)
    V = np.random.default_rng(3).normal(size=(N, 2))
    f, F, B = np.zeros(N), np.zeros((N, 2)), np.full(kernel.scratch, np.nan)
    with np.errstate(all="ignore"):  # of what is not chosen
        names["linearise"](t, x, V, f, F, kernel.parameters, kernel.data, None, B)
    np.testing.assert_allclose(f, given.vector_field(t, x), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(F, given.jvp(t, x, V), rtol=1e-12, atol=1e-12)


@pytest.mark.numba
def test_compiled_steps_of_a_column_and_of_tiles_agree_with_numpy(given):
    tangent = given.tangent(RK4(0.01))
    assert tangent.name == "numba"
    check_tangent(tangent, state())
    x, t = state(), given.tangent(RK4(0.01), backend="numpy")
    for k in (1, 3, 10):  # a column alone; a tile; a tile and two columns
        found, exact = (one.benettin(x, intervals=3, steps_per_interval=2, k=k, warmup=0) for one in (tangent, t))
        np.testing.assert_allclose(found.exponents, exact.exponents, rtol=1e-9, atol=1e-9)


@pytest.mark.numba
@pytest.mark.slow
@pytest.mark.parametrize("stepper", [DOP853(0.05), ImplicitMidpoint(0.05)])
@pytest.mark.parametrize("name", ["swarm", "neurons", "a lattice rewired", "order parameters"])
def test_other_steppers(name, stepper):
    text, parameters, helpers = EQUATIONS[name]
    flow = SymbolicFlow.of({f"x{i}": text(i) for i in range(N)}, parameters, helpers=helpers)
    check_tangent(flow.tangent(stepper), 0.1 * state())


@pytest.mark.numba
@pytest.mark.parametrize("stepper", [DOP853(0.1), ImplicitMidpoint(0.05), RK4(0.05)], ids=repr)
def test_a_trajectory_without_vectors(stepper):
    flow = SymbolicFlow.of({f"x{i}": FORMS["rates"][0](i) for i in range(N)}, {"g": g})
    found, plain = (
        flow.tangent(stepper, backend=backend).trajectory(state(), intervals=3, warmup=0)
        for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(found.states, plain.states, rtol=1e-9, atol=1e-9)


@pytest.mark.numba
@pytest.mark.slow
def test_sections_and_members():
    """Ten oscillators, all-to-all, seen as the first passes a plane; and members one after the other."""
    ring = {
        f"x{i}": f"-y{i} + 0.1*x{i}*(1 - x{i}^2)" + "".join(f" + 0.0{1 + (i + j) % 9}*x{j}" for j in range(10))
        for i in range(10)
    }
    ring |= {f"y{i}": f"{1 + i / 50}*x{i} - 0.1*y{i}" for i in range(10)}
    flow = SymbolicFlow.of(ring)
    assert isinstance(flow.definition, NetworkDefinition)
    x = np.random.default_rng(2).normal(size=20)
    section = PoincareMap(flow, RK4(0.05), normal=np.eye(20)[0])
    for k in (2, 9):
        found, exact = (
            section.tangent(backend=backend).benettin(x[1:], intervals=3, k=k, warmup=0)
            for backend in ("numba", "numpy")
        )
        np.testing.assert_allclose(found.exponents, exact.exponents, rtol=1e-7, atol=1e-9)
    many = np.random.default_rng(3).normal(size=(19, 20))
    tangent = flow.tangent(RK4(0.05))
    together = tangent.benettin(many, intervals=3, steps_per_interval=4, k=9, warmup=0).exponents
    exact = flow.tangent(RK4(0.05), backend="numpy").benettin(many, intervals=3, steps_per_interval=4, k=9, warmup=0)
    np.testing.assert_allclose(together, exact.exponents, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [12, 30])
def test_derivatives_are_taken_of_one_term_of_every_form(n, monkeypatch):
    asked = []
    derivative = terms_module.derivative
    monkeypatch.setattr(terms_module, "derivative", lambda *of: asked.append(of) or derivative(*of))
    monkeypatch.setattr("dynsys.equations.definition.derivative", None)  # nobody else asks
    reader = Reader([f"x{i}" for i in range(n)], ["K"])
    for i in range(n):
        reader.read(i, f"{i}.5 + K*(" + total(lambda i, j: f"sin(x{j} - x{i})", i, n) + ")")
    found = network(n, 0, ["K"], list(reader.forms.values()))
    assert len(asked) == 6  # by each component of a term, and of each factor of two products
    assert [len(terms.rows) for terms in found.terms] == [n, n * (n - 1)]
    assert sum(len(sites.names) for sites in found.sites) == 2  # sine and cosine, of every phase once


def test_source_for_the_compiler_does_not_grow():
    def text(n):
        reader = Reader([f"x{i}" for i in range(n)], [])
        for i in range(n):
            reader.read(i, total(lambda i, j: f"{C[i % N, j % N]}*sin(x{j} - x{i})", i, n))
        source = numba_linearise(
            NetworkSource(network(n, 0, [], list(reader.forms.values())), Data(), False).written()
        )[0]
        return "\n".join(line for line in source.splitlines() if not line.startswith("_T"))  # tables grow

    assert len(text(41)) < 1.1 * len(text(17))


def test_a_mean_field_costs_its_sum():
    """Nothing of the Jacobian is formed but its diagonal, also where weights are a product."""
    for weight in (lambda i, j: "1", lambda i, j: f"{i + 1.5}*{j + 2.5}"):
        reader = Reader([f"x{i}" for i in range(40)], [])
        for i in range(40):
            reader.read(i, total(lambda i, j, weight=weight: f"{weight(i, j)}*sin(x{j} - x{i})", i, 40))
        source = NetworkSource(network(40, 0, [], list(reader.forms.values())), Data(), True)
        assert source.plan.entries < 6 * 40 + 64
    assert source.plan.layouts[1].blocks == []


def test_coefficients_of_rank_one():
    u, v = np.arange(1.0, 6.0), np.linspace(0.3, 2.0, 7)
    pairs = [(i, j) for i in range(5) for j in range(7) if i != j]
    rows, columns = zip(*pairs, strict=True)
    found = rank_one(rows, columns, [u[i] * v[j] for i, j in pairs])
    np.testing.assert_allclose(np.outer(found.u, found.v), np.outer(u, v), rtol=1e-15)
    np.testing.assert_allclose(found.missing * found.u, v[:5] * u, rtol=1e-15)  # of a component and itself
    assert rank_one(rows, columns, [u[i] * v[j] * (1 + 1e-13 * (i == 2 and j == 4)) for i, j in pairs]) is None
    assert rank_one(rows[:-1], columns[:-1], [u[i] * v[j] for i, j in pairs[:-1]]) is None
    assert rank_one([*rows, 0], [*columns, 1], [u[i] * v[j] for i, j in [*pairs, (0, 1)]]) is None


def test_entries_of_a_layout_stand_in_places_of_their_own():
    rng = np.random.default_rng(0)
    columns = {row: set(range(30)) if row % 3 else {row, int(rng.integers(30))} for row in range(30)}
    found = layout(columns, 8)
    assert len(found.blocks) == 3
    assert len(found.singles) == 6
    for row, some in columns.items():
        assert all((row, column) in found.places for column in some)
    assert len(set(found.places.values())) == len(found.places)
    assert min(found.places.values()) == 8
    assert max(found.places.values()) < found.end


def test_tables_are_written_by_what_is_in_them():
    tables = Tables(arrays=False)
    assert [tables.entry(of, "_e") for of in ([0, 1, 2], [3, 4], [1, 4, 7], [5, 5])] == [
        "_e",
        "3 + _e",
        "1 + 3 * (_e)",
        "5",
    ]
    assert tables.entry([3, 1, 4], "2 * _e") == tables.entry((3, 1, 4), "2 * _e") == "_T0[2 * _e]"
    assert tables.constants == ["_T0 = (3, 1, 4)"]


def test_expressions_of_sympy_maps_and_plain_functions_too():
    symbols = sympy.symbols(f"x:{N}")
    equations = {
        s: sympy.tanh(s) + sum(sympy.Float(C[i, j]) * q for j, q in enumerate(symbols)) for i, s in enumerate(symbols)
    }
    system = SymbolicMap.of(equations)
    assert isinstance(system.definition, NetworkDefinition)
    np.testing.assert_allclose(system.step(0, state()), np.tanh(state()) + C @ state(), rtol=1e-12)

    strength = sympy.Symbol("K")
    phases = {
        s: strength / N * sum(sympy.sin(q - s) for q in symbols) + sympy.tanh(C[0, 0] * sum(symbols)) for s in symbols
    }
    flow = SymbolicFlow.of(phases, {"K": K})
    assert isinstance(flow.definition, NetworkDefinition)
    exact = K / N * np.sin(state() - state()[:, None]).sum(1) + np.tanh(C[0, 0] * state().sum())
    np.testing.assert_allclose(flow.vector_field(0.0, state()), exact, rtol=1e-12)

    plain = FunctionFlow(lambda t, x, W: -x + W * np.sin(x - x[:, None]).sum(axis=1), N, args=(0.3,))
    assert plain.derivative == "traced"
    assert plain.equations.state == tuple(f"x{i}" for i in range(N))
    check_system(plain, state())


@pytest.mark.parametrize(
    "equation",
    {
        "a jump": lambda i: total(lambda i, j: f"{C[i, j]}*sign(x{j} - x{i})", i),
        "a text of its own for each": lambda i: total(lambda i, j: f"{C[i, j]}*x{j}^{2 + (7 * i + j) % 30}", i),
        "products of many": lambda i: "*".join(f"x{(i + d) % N}" for d in range(6)),
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
    chain = {f"x{i}": f"-x{i} + 0.5*x{i - 1}" if i else "1 - x0" for i in range(12)}  # few enough to be written out
    assert isinstance(SymbolicFlow.of(chain).definition, Definition)


@pytest.mark.parametrize(
    "bad",
    [
        "x1/0", "x1 + y", "_there1 + x1", "log(0.0)*x1", "1e400*x1", "x1 + (2", "0.5*x1 ! x2", "f(x1)", "x1 + x2 < 3",
        "1/(0.5 - 0.5)*x3", "(-1.0)^0.5*x2", "x1*sin", "1e-200*1e-200*x1", "x1%0", "nan*x2", "__import__('os')",
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_as_before(bad):
    texts = [total(lambda i, j: f"{C[i, j]}*tanh(x{j})", i) for i in range(N)]
    texts[7] += f" + {bad}"
    names = tuple(f"x{i}" for i in range(N))
    with pytest.raises(InvalidInputError) as before:
        _ = Definition(names, (), tuple(texts)).expressions
    with pytest.raises(InvalidInputError) as now:
        _ = SymbolicFlow.of(dict(zip(names, texts, strict=True))).source
    assert str(now.value) == str(before.value)


def test_texts_that_only_look_alike_are_of_several_forms():
    reader = Reader(["x0", "x1", "x2"], ["a"])
    for i, text in enumerate(["x1^2 + 2.5*x0", "x0^2.0 - 0.5*x1", "x2^3 + log(0.25)*a*x2"]):
        reader.read(i, text)
    found = [str(form.expression) for form in reader.forms.values()]
    assert found == ["_there1**2", "_here", "_there1**2.0", "_here**3", "_here*_p1"]
    with pytest.raises(OtherForm):
        reader.read(0, "x1*_n1")
