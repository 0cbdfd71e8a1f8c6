"""Systems from equations: what SymPy writes against SymPy itself, complex steps, the compiler, and bad definitions."""

import ast
import builtins
import copy
import keyword
import math
import pickle
import subprocess
import sys
import textwrap

import attrs
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Abs, Max, Min, Piecewise, Symbol, atan2, cos, erf, exp, log, sign, sin, sqrt, tanh

from dynsys import (
    RK4,
    Euler,
    InvalidInputError,
    NumbaTangent,
    NumpyTangent,
    RunState,
    SymbolicFlow,
    SymbolicMap,
    lattice_size,
    parameter,
)
from dynsys.compiled.tiles import tile_step
from dynsys.equations.definition import RESERVED
from dynsys.models.classics import Henon, Lorenz63
from dynsys.storage.description import describe, differences
from dynsys.testing import check_system, check_tangent

x, y, z, t = (Symbol(name, real=True) for name in "xyzt")
a, b = Symbol("a", real=True), Symbol("b", real=True)
POINTS = st.lists(st.floats(-2.0, 2.0).filter(lambda v: abs(v) > 1e-3), min_size=3, max_size=3)

# every function of the language, divisions, powers, exact fractions
TEXTS = {
    "x": "sin(x*y) - a*cos(z)/(2 + tanh(x)) + pi/3*exp(-x**2) - atan(y) + 0.1*x",
    "y": "sqrt(1 + x**2)*log(2 + y**2) + tan(z/4) + 2/3*asin(x/4) - acos(y/5)",
    "z": "sinh(z/2) - cosh(x/3)**2 + erf(y) + (1 + z**2)**-1.5 + b*x*y*z",
}
SMOOTH = SymbolicFlow.of(TEXTS, {"a": 1.3, "b": -0.7})
DRIVEN = SymbolicFlow.of({"x": "y*cos(2*t)", "y": "-sin(x) - a*y + t**2/(1 + t)"}, {"a": 0.1})
KINKED = SymbolicFlow.of({x: Max(x, y, z / 2) - Min(x, 2 * y), y: Abs(x) * z + sign(y) * x, z: Max(x * y, 0) - Abs(z)})
CASES = SymbolicFlow.of(
    {x: Piecewise((x**2, x > 0), (-x, True)), y: y * Piecewise((x, x > 0), (sin(x), x > -1), (1, True))}
)
LOGICAL = SymbolicFlow.of(
    {
        x: Piecewise((y**2, (x > -1) & (y < 1)), (x, True)),
        y: Piecewise((x**2, (x > 1) | (y > 1)), (y, sympy.Ne(x, y)), (0, True)),
    }
)
SYSTEMS = {"smooth": SMOOTH, "driven": DRIVEN, "kinked": KINKED, "cases": CASES, "logical": LOGICAL}


def values(system, state, time):
    symbols = [Symbol(name, real=True) for name in (*system.definition.state, *system.definition.parameters, "t")]
    return dict(zip(symbols, [*map(float, state), *map(float, system.parameters), float(time)], strict=True))


def evaluated(expressions, at):
    """The same expressions by SymPy's own arithmetic, with 30 digits."""
    exact = {symbol: sympy.Rational(value) for symbol, value in at.items()}
    return np.array([float(e.subs(exact).evalf(30)) for e in expressions])


def complex_step(system, time, state):
    """Jacobian to rounding: Im f(x + i h e_j) / h, with h so small that its square vanishes."""
    columns = [system.vector_field(time, state + 1e-200j * e).imag / 1e-200 for e in np.eye(len(state))]
    return np.array(columns).T


def relative(difference, size):
    return np.abs(difference).max() / max(1.0, np.abs(size).max())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_source_computes_the_expressions_and_their_derivatives(system, seed):
    rng = np.random.default_rng(seed)
    state, time = rng.uniform(-2.0, 2.0, size=system.dimension), rng.uniform(0.0, 3.0)
    at, expressions = values(system, state, time), system.definition.expressions
    expected = evaluated(expressions, at)
    assert relative(system.vector_field(time, state) - expected, expected) < 1e-14
    names = [Symbol(name, real=True) for name in system.definition.state]
    slopes = evaluated(
        [sympy.diff(e, s).replace(sympy.DiracDelta, lambda *_: 0) for e in expressions for s in names], at
    )
    jacobian = system.jacobian(time, state)
    assert relative(jacobian - slopes.reshape(jacobian.shape), slopes) < 1e-14


@pytest.mark.parametrize("system", [SMOOTH, DRIVEN, Lorenz63()], ids=["smooth", "driven", "Lorenz"])
@settings(deadline=None, max_examples=25)
@given(point=POINTS, time=st.floats(0.0, 3.0))
def test_jacobian_is_the_complex_step_derivative(system, point, time):
    state = np.array(point[: system.dimension])
    jacobian = system.jacobian(time, state)
    assert relative(jacobian - complex_step(system, time, state), jacobian) < 1e-14


@pytest.mark.parametrize("system", [*SYSTEMS.values(), Henon()], ids=[*SYSTEMS, "Henon"])
def test_generated_systems_keep_the_contract(system):
    check_system(system, np.array([0.4, -0.3, 0.7])[: system.dimension], t=0.5)


def test_expressions_and_texts_define_the_same_system():
    mixed = {
        "x": sin(x * y) - a * cos(z) / (2 + tanh(x)),
        Symbol("y"): sqrt(1 + x**2) * log(2 + y**2) + atan2(y, 2 + z),
        z: erf(y) + (1 + z**2) ** sympy.Rational(-3, 2) + exp(-x),
    }
    texts = {
        "x": "sin(x*y) - a*cos(z)/(2 + tanh(x))",
        "y": "sqrt(1 + x^2)*log(2 + y^2) + atan2(y, 2 + z)",
        "z": "erf(y) + (1 + z**2)**(-3/2) + exp(-x)",
    }
    one, two = SymbolicFlow.of(mixed, {a: 1.3}), SymbolicFlow.of(texts, {"a": 1.3})
    assert one.source == two.source
    assert one.kernel().source == two.kernel().source
    np.testing.assert_array_equal(one.parameters, two.parameters)


def test_class_with_fields_and_object_from_expressions_are_the_same_system():
    assert SymbolicMap.of(Henon.equations, {"a": 1.4, "b": 0.3}).source == Henon().source


def test_evolved_system_has_the_new_parameter_and_the_old_one_is_unchanged():
    old, state = SymbolicFlow.of({"x": "-gamma*x + shift"}, {"gamma": 0.1, "shift": 1.0}), np.array([2.0])
    new = attrs.evolve(old, gamma=3.0)
    assert (old.gamma, new.gamma, new.shift) == (0.1, 3.0, 1.0)
    assert (old.vector_field(0.0, state)[0], new.vector_field(0.0, state)[0]) == (-0.2 + 1.0, -5.0)
    assert old.kernel().source == new.kernel().source
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        old.gamma = 1.0


@pytest.mark.parametrize("state", [np.array([1, 2, 3]), np.array([1, 2, 3], dtype=np.float32)], ids=["int", "float32"])
def test_type_of_the_state_does_not_spoil_the_numbers(state):
    lorenz = Lorenz63()
    np.testing.assert_allclose(
        lorenz.vector_field(0.0, state), lorenz.vector_field(0.0, state.astype(float)), rtol=1e-6
    )
    np.testing.assert_allclose(lorenz.jacobian(0.0, state), lorenz.jacobian(0.0, state.astype(float)), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "system"),
    [pytest.param(n, s, marks=[pytest.mark.slow] * (n != "kinked"), id=n) for n, s in SYSTEMS.items()],
)
def test_kernel_of_a_flow_agrees_with_numpy(name, system):
    check_tangent(system.tangent(RK4(dt=0.05), t0=0.5), np.array([0.4, -0.3, 0.7])[: system.dimension])


@pytest.mark.numba
def test_kernel_of_a_map_that_depends_on_the_step_agrees_with_numpy():
    # steps are whole numbers: integer powers of them must neither be cut off nor wrap around
    drives = ["2**(-t)", "(1 + t)**(-2)", "1/(1 + t)", "t**30*1e-25", "sqrt(t)*cos(t) + t/3"]
    tangent = SymbolicMap.of({f"x{i}": f"0.5*x{i} + {drive}" for i, drive in enumerate(drives)}).tangent()
    start = RunState.start(np.full(5, 0.3), 5, None, 0)
    compiled, plain = (
        kind.forward(start, intervals=1, steps_per_interval=12, record="growth")
        for kind in (tangent, NumpyTangent(tangent.time_step))
    )
    assert isinstance(tangent, NumbaTangent)
    np.testing.assert_allclose(compiled.x, plain.x, rtol=1e-14)
    np.testing.assert_allclose(compiled.growth, plain.growth, rtol=1e-14)


@pytest.mark.parametrize(
    "text", ["2.6666666666666665", "0.1", "1e-7", "123456789.12345678", "exp(1)", "pi", "2/3", "sqrt(2)"]
)
def test_constants_keep_all_their_digits(text):
    exact = float(sympy.sympify(text).evalf(30))
    system = SymbolicFlow.of({"x": f"x + {text}"})
    assert system.vector_field(0.0, np.zeros(1))[0] == pytest.approx(exact, rel=2e-16, abs=0)


def test_structural_zeros_take_no_work():
    chain = SymbolicFlow.of({f"x{i}": f"-x{i}" + (f" + sin(x{i - 1})" if i else "") for i in range(4)} | {"c": "1"})
    assert set(chain.definition.jacobian) == {(i, j) for i in range(4) for j in (i - 1, i) if j >= 0}
    assert chain.source.count("_J[") == 7
    assert chain.kernel().step(None, 5).source.count(" * _y") == 7  # one product for each, written out,
    many = tile_step(chain.definition.equations, None).source  # or in the form for many equations
    assert many.count(" * _C[") == 7


NAMES = ["l", "L", "K", "dt", "n", "B", "DIM", "math", "njit", "range", "copy", "STAGES", "V"]


@pytest.mark.parametrize(
    "flow",
    [
        pytest.param(SymbolicFlow.of({name: f"-{name}*q" for name in NAMES}, {"q": 2.0}), marks=pytest.mark.slow),
        SymbolicFlow.of({"q": "-q*(" + "+".join(NAMES) + ")"}, dict.fromkeys(NAMES, 2.0 / len(NAMES))),
    ],
    ids=["components", "parameters"],
)
def test_no_name_of_a_user_meets_one_of_the_generated_code(flow):
    for x0 in (np.ones(flow.dimension), np.ones((2, flow.dimension))):
        rates = flow.tangent(Euler(0.1)).benettin(x0, intervals=3).rates
        np.testing.assert_allclose(rates, np.log(0.8) / 0.1, rtol=1e-12)


@pytest.mark.parametrize(
    ("equations", "parameters", "culprit"),
    [
        ({"x": "sigm*x"}, {"sigma": 1.0}, "sigm.*sigma"),  # a typo: name it and the known names
        ({x: Symbol("sigm") * x}, {"sigma": 1.0}, "equation of x uses an unknown name .sigm.*did you mean .sigma"),
        ({"x": "y", "y": "-w*x"}, {}, "'w'.*x, y"),
        ({"x": "x", "lambda": "x"}, {}, "'lambda'"),
        ({"x": "-sin*x"}, {"sin": 1.0}, "'sin'"),
        ({"t": "-t"}, {}, "'t'"),
        ({"x": "x"}, {"pi": 3.0}, "'pi'"),
        ({"x y": "1"}, {}, "'x y'"),
        ({"2x": "1"}, {}, "'2x'"),
        ({"_x": "1"}, {}, "'_x'"),
        ({"x": "-x"}, {"x": 1.0}, "names .*differ.* x"),
        ({x: -x, "x": "2*x"}, {}, "names .*differ.* x"),  # the same component twice: neither may silently win
        ({x: sympy.gamma(x)}, {}, r"equation of x contains gamma\(x\)"),
        ({x: y, y: sympy.Function("f")(x)}, {}, r"equation of y contains f\(x\)"),
        ({x: sympy.Integral(sin(t) / t, (t, 1, x))}, {}, "equation of x contains Integral"),
        ({x: sympy.Derivative(sympy.Function("f")(x), x)}, {}, "equation of x"),
        ({x: sympy.I * x}, {}, "equation of x"),
        ({"x": "sqrt(-1)*x"}, {}, r"sqrt\(-1\)|equation of x"),
        ({x: sympy.oo * x}, {}, "equation of x"),
        ({x: x > 0}, {}, "equation of x"),
        ({"x": None}, {}, "equation of x"),
        ({"x": [1, 2]}, {}, "equation of x"),
    ],
)
def test_bad_definition_is_refused_and_the_culprit_named(equations, parameters, culprit):
    with pytest.raises(InvalidInputError, match=culprit):
        SymbolicFlow.of(equations, parameters)


@pytest.mark.parametrize(
    "name", ["dimension", "source", "jacobian", "tangent", "equations", "parameters", "kernel", "self"]
)
def test_parameter_that_would_hide_a_part_of_the_system_is_refused(name):
    with pytest.raises(InvalidInputError, match=f"'{name}'"):
        SymbolicFlow.of({"x": f"-{name}*x"}, {name: 2.0})


@pytest.mark.parametrize("name", ["range", "e", "E", "I", "beta", "A"])
def test_any_other_name_may_be_a_component(name):
    system = SymbolicFlow.of({name: f"-{name}*exp({name})"})
    assert system.vector_field(0.0, np.array([2.0]))[0] == pytest.approx(-2 * np.exp(2), rel=1e-15)
    assert system.jacobian(0.0, np.array([2.0]))[0, 0] == pytest.approx(-3 * np.exp(2), rel=1e-15)


def test_constant_of_nature_is_not_taken_for_a_component_of_the_same_name():
    assert SymbolicFlow.of({"e": "e*exp(1)"}).vector_field(0.0, np.array([3.0]))[0] == pytest.approx(
        3 * np.e, rel=1e-15
    )


@pytest.mark.slow
def test_names_that_kernels_use_themselves_may_be_components():
    names = ["range", "e", "A", "f", "push"]
    check_tangent(SymbolicFlow.of({name: f"-{name}" for name in names}).tangent(RK4(dt=0.1)), np.arange(1.0, 6.0))


@attrs.frozen(eq=False)
class Ring(SymbolicFlow):
    """Lorenz 96, of any size."""

    sites: int = lattice_size(40, least=4)
    forcing: float = parameter(8.0)
    plain: int = 0

    @property
    def equations(self):
        n = self.sites
        return {f"x{i}": f"(x{(i + 1) % n} - x{(i - 2) % n})*x{(i - 1) % n} - x{i} + forcing" for i in range(n)}

    @property
    def vanishing_exponents(self):
        return int(self.forcing > 6) + self.plain


def test_size_shapes_the_equations_and_is_no_parameter():
    ring = Ring(forcing=5.0)
    assert (ring.dimension, ring.definition.parameters, list(ring.parameters)) == (40, ("forcing", "plain"), [5.0, 0.0])
    assert (ring.vanishing_exponents, Ring().vanishing_exponents) == (0, 1)
    small = attrs.evolve(ring, sites=np.int64(4))
    assert (type(small.sites), small.dimension, small.forcing) == (int, 4, 5.0)
    np.testing.assert_array_equal(small.vector_field(0.0, np.array([1.0, 2.0, 4.0, 8.0])), [-12, -1, 15, -7])
    written = SymbolicFlow.of(ring.equations, {"forcing": 8.0, "plain": 0.0})
    assert written.source == ring.source
    assert written.kernel().step(RK4(0.1).tableau, 8).source == ring.kernel().step(RK4(0.1).tableau, 8).source
    check_system(small, np.array([1.0, 2.0, 4.0, 8.0]))


def test_definition_belongs_to_class_and_sizes():
    class Counted(Ring):
        asked = 0

        @property
        def equations(self):
            type(self).asked += 1
            return super().equations

    one, other = Counted(sites=300, forcing=1.0), Counted(sites=300, forcing=2.0)
    assert one.definition is other.definition
    assert one.definition is not Counted(sites=301).definition
    for _ in range(10):
        _ = one.dimension, one.source, one.vector_field(0.0, np.ones(300))
    assert Counted.asked == 2  # for 300 and for 301


def test_systems_of_different_sizes_are_told_apart_and_survive_pickling():
    small, large = Ring(sites=5), Ring(sites=6)
    assert list(differences(describe(small), describe(large))) == ["sites: 5 there, 6 here"]
    again = pickle.loads(pickle.dumps(large))
    assert (again.sites, again.dimension) == (6, 6)
    assert again.definition is large.definition


@pytest.mark.parametrize("sites", [3, 0, -5, 4.0, "4", True, None])
def test_size_must_be_a_whole_number_that_is_large_enough(sites):
    with pytest.raises(InvalidInputError, match=f"sites must be a whole number >= 4, got {sites!r}"):
        Ring(sites=sites)


def test_equations_that_ask_for_the_value_of_a_parameter_are_refused():
    @attrs.frozen(eq=False)
    class Chain(SymbolicFlow):
        sites: int = 5

        @property
        def equations(self):
            return {f"x{i}": "1" for i in range(self.sites)}

    with pytest.raises(InvalidInputError, match=r"equations of Chain .* value of sites.*sites: int = lattice_size"):
        _ = Chain().dimension


# ---- copies and pickles of what `of` makes

PARTS = (
    SymbolicFlow.of({x: -a * y, y: Symbol("h") + sin(t)}, {a: 2.0, "spare": -0.0}, {"h": "x*y"}),
    SymbolicMap.of({"x": "r*x*(1 - x)"}, {"r": 4.0}),
)


@attrs.frozen(eq=False)
class Counting(SymbolicMap):
    """A class with a field of its own, of which `of` makes others."""

    count: int = lattice_size(1)
    equations = {"x": "x"}

    @property
    def vanishing_exponents(self):
        return self.count


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda system: pickle.loads(pickle.dumps(system))])
@pytest.mark.parametrize("system", PARTS, ids=["flow", "map"])
def test_copies_and_pickles_keep_the_parameters_and_derive_nothing_anew(system, again):
    name = attrs.fields(type(system))[0].name
    changed = again(attrs.evolve(system, **{name: 0.3}))
    assert type(changed) is type(system)
    assert changed.definition is system.definition
    np.testing.assert_array_equal(changed.parameters, [0.3, *system.parameters[1:]])
    assert repr(changed) == repr(attrs.evolve(system, **{name: 0.3}))  # also the sign of zero
    stepper = [RK4(0.1)] if isinstance(system, SymbolicFlow) else []
    tangent = again(attrs.evolve(changed, **{name: 0.4}).tangent(*stepper, backend="numpy"))
    assert getattr(getattr(tangent.time_step, "flow", tangent.time_step), name) == 0.4
    assert getattr(changed, name) == 0.3


def test_copies_of_subclasses_keep_their_kind_and_their_fields():
    made = attrs.evolve(Counting.of({"x": "r*x"}, {"r": 2.0}), count=3, r=1.5)
    again = pickle.loads(pickle.dumps(made))
    assert (again.count, again.vanishing_exponents, again.r) == (3, 3, 1.5)

    class Special(type(made)):
        pass

    special = copy.copy(Special(r=2.5))
    assert type(special) is Special
    assert special.r == 2.5


def test_pickle_reads_in_a_process_that_has_never_seen_the_equations(tmp_path):
    system = attrs.evolve(PARTS[0], a=0.3)
    (tmp_path / "runs").write_bytes(pickle.dumps(system.tangent(RK4(0.1), backend="numpy").trajectory))
    code = """
    import pickle, sys
    trajectory = pickle.load(open(sys.argv[1], "rb"))
    print(trajectory([1.0, 2.0], intervals=3).states[-1].tolist())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "runs")], capture_output=True, text=True
    )
    expected = system.tangent(RK4(0.1), backend="numpy").trajectory([1.0, 2.0], intervals=3).states[-1]
    assert done.stdout == f"{expected.tolist()}\n", done.stderr


def test_numbers_of_numpy_are_numbers():
    given = {x: np.float64(2) * x + np.int64(3) * y, y: np.float64(1.5), z: np.int64(0), "w": np.float32(0.5)}
    system = SymbolicFlow.of(given, {a: np.int32(2)}, {"h": np.uint8(3)})
    np.testing.assert_array_equal(system.vector_field(0.0, np.array([1.0, 1.0, 1.0, 1.0])), [5.0, 1.5, 0.0, 0.5])
    assert system.source == SymbolicFlow.of({"x": "2.0*x + 3*y", "y": 1.5, "z": 0, "w": 0.5}, {"a": 2.0}).source
    with pytest.raises(InvalidInputError, match="equation of x must be text or an expression, got 1j"):
        SymbolicFlow.of({"x": np.complex128(1j)})


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64])
def test_size_may_be_a_whole_number_of_numpy(kind):
    for ring in (Ring(sites=kind(6)), Ring().with_parameters({"sites": kind(6)})):
        assert ring.definition is Ring(sites=6).definition
        assert repr(ring) == repr(Ring(sites=6))


# ---- names

WORDS = {*dir(builtins), *dir(math), "np", "math", "numba", "njit", "rule", "jvp", "rates"}
ALLOWED = sorted(word for word in WORDS - RESERVED if word[0] != "_" and not keyword.iskeyword(word))


def chain(names, parameters):
    """A ring of which all but the ends are one text."""
    forces = "+".join(["1", *(f"{i + 1}*{name}" for i, name in enumerate(parameters))])
    return {name: f"sin({names[(i + 1) % len(names)]}) - {name}**2*({forces})" for i, name in enumerate(names)}


def test_every_word_that_is_not_reserved_may_name_a_parameter_or_a_component_of_a_lattice():
    rng = np.random.default_rng(0)
    free = [word for word in ALLOWED if word not in (*dir(SymbolicFlow), *dir(SymbolicMap))]
    assert {"range", "len", "sum", "slice", "int", "e", "math"} <= set(free)
    sites, values = [f"x{i}" for i in range(17)], rng.normal(size=len(free))
    plain = [f"n{i:03}" for i in range(len(ALLOWED))]  # in the same order: sums are, too
    many = [
        SymbolicFlow.of(chain(sites, names), dict(zip(names, values, strict=True)))
        for names in (free, plain[: len(free)])
    ]
    for one, other in (many, [SymbolicFlow.of(chain(names, [])) for names in (ALLOWED, plain)]):
        state, V = rng.normal(size=one.dimension), rng.normal(size=(one.dimension, 2))
        np.testing.assert_array_equal(one.vector_field(0.0, state), other.vector_field(0.0, state))
        np.testing.assert_array_equal(one.jacobian(0.0, state), other.jacobian(0.0, state))
        np.testing.assert_array_equal(one.jvp(0.0, state, V), other.jvp(0.0, state, V))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_words_that_generated_code_calls_are_refused(name):
    with pytest.raises(InvalidInputError, match=f"'{name}' cannot name"):
        SymbolicFlow.of({"x": "-x"}, {name: 1.0})


def test_generated_code_calls_reserved_words_alone_where_names_of_users_stand():
    driven = {name: f"{e} + Max(x0, 1) + cos(t)" for name, e in chain([f"x{i}" for i in range(17)], ["q"]).items()}
    lattice = SymbolicMap.of(driven, {"q": 2.0})
    few = SymbolicFlow.of(TEXTS | {"w": "Min(w, q) + t"}, {"a": 1.0, "b": 1.0, "q": 1.0})
    sources = [lattice.source, few.source]
    for system, tableau in ((lattice, None), (few, RK4(0.1).tableau)):
        sources += [system.kernel().source, system.kernel().step(tableau, 2).source]
    called, users = set(), {"q", *lattice.definition.state, *few.definition.state}
    for function in (f for source in sources for f in ast.parse(source).body if isinstance(f, ast.FunctionDef)):
        words = [node for line in function.body for node in ast.walk(line) if isinstance(node, ast.Name)]
        stored = {word.id for word in words if isinstance(word.ctx, ast.Store)}
        if stored & users:
            called |= {word.id for word in words if not word.id.startswith("_")} - stored
    assert {"t", "np", "float", "where", "maximum", "minimum", "sin", "pi"} <= called <= RESERVED | {"njit"}
