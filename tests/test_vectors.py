"""Equations in vectors: against closed forms and NumPy, by every stepper, compiled once for all values; refusals."""

import copy
import pickle
import time

import attrs
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

import dynsys
from dynsys import (
    RK4,
    DormandPrince,
    Euler,
    Flow,
    HeavyBall,
    ImplicitMidpoint,
    InvalidInputError,
    StroboscopicMap,
    SymbolicFlow,
    SymbolicMap,
    array_parameter,
    lattice_size,
    parameter,
    vary,
)
from dynsys.compiled.staged import TILE
from dynsys.storage.description import describe
from dynsys.testing import check_system, check_tangent

rng = np.random.default_rng(0)
SMALL, LARGE = 6, 4 * TILE + 1  # within a tile and a strip of a matrix, and over several


def coupling(rows, columns=None, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns or rows)) / np.sqrt(columns or rows)


def state(dim, seed=1):
    return np.random.default_rng(seed).normal(size=dim)


@attrs.frozen(eq=False)
class Rates(Flow):
    """The same network in NumPy."""

    W: np.ndarray
    g: float
    b: np.ndarray

    @property
    def dimension(self):
        return len(self.W)

    def vector_field(self, t, x):
        return -x + np.tanh(self.g * x + self.b) @ self.W.T + np.sin(t)

    def jvp(self, t, x, V):
        slope = self.g / np.cosh(self.g * x + self.b) ** 2
        return -V + self.W @ (slope[:, None] * V)


def rates(n, g=1.7):
    return SymbolicFlow.of({"x": "-x + W@tanh(g*x + b) + sin(t)"}, {"W": coupling(n), "g": g, "b": state(n, 7)})


# every kind of product and sum, of different lengths, with numbers beside vectors
A, B = coupling(3, 4, 2), coupling(2, 3, 3)
MIXED = SymbolicFlow.of(
    {
        "x": "-x^3 + 2*A@tanh(h)*mean(x^2) - A@A.T@x/5",
        "y": "-y + x@(A/3) + s*A.T@B.T@(B@x)",
        "s": "-s + sum(x)*c + x@b - mean(y*sin(s + t))/2 + sum(y)^2/50",
        "z[5]": "s - z + Piecewise((z/2, z > 0), (-z, True))",
    },
    {"A": A, "B": B, "b": [1, 0, -2], "c": 0.3},
    {"g": "A.T@x + s", "h": "y + g"},
)


def mixed(t, u):
    x, y, s, z = u[:3], u[3:7], u[7], u[8:]
    h = y + A.T @ x + s
    return np.concatenate(
        [
            -(x**3) + 2 * A @ np.tanh(h) * np.mean(x**2) - A @ A.T @ x / 5,
            -y + A.T @ x / 3 + s * A.T @ B.T @ B @ x,
            [-s + 0.3 * x.sum() + x[0] - 2 * x[2] - np.mean(y * np.sin(s + t)) / 2 + y.sum() ** 2 / 50],
            s - z + np.where(z > 0, z / 2, -z),
        ]
    )


def test_every_kind_of_product_is_that_of_numpy():
    u = state(13)
    np.testing.assert_allclose(MIXED.vector_field(0.7, u), mixed(0.7, u), rtol=1e-13, atol=1e-14)
    many = rng.normal(size=(2, 3, 13))
    np.testing.assert_allclose(
        MIXED.vector_field(0.7, many), [[mixed(0.7, v) for v in row] for row in many], rtol=1e-13, atol=1e-14
    )
    columns = [MIXED.vector_field(0.7, u + 1e-200j * e).imag / 1e-200 for e in np.eye(13)]
    np.testing.assert_allclose(MIXED.jacobian(0.7, u), np.array(columns).T, rtol=1e-13, atol=1e-14)
    check_system(MIXED, u, t=0.3)
    assert list(MIXED.component_names)[2:9] == ["x[2]", "y[0]", "y[1]", "y[2]", "y[3]", "s", "z[0]"]


@pytest.mark.numba
@pytest.mark.slow
def test_every_kind_of_product_compiles():
    check_tangent(MIXED.tangent(RK4(0.02)), state(13))


@pytest.mark.numba
@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_compiled_and_numpy_and_a_class_of_numpy_agree(n):
    flow, x = rates(n), state(n)
    check_system(flow, x)
    check_tangent(flow.tangent(RK4(0.05)), x)
    own = Rates(flow.W, flow.g, flow.b).tangent(RK4(0.05), backend="numpy")
    expected = own.benettin(x, intervals=20, steps_per_interval=5, warmup=2)
    for backend in ("numba", "numpy"):
        found = flow.tangent(RK4(0.05), backend=backend).benettin(x, intervals=20, steps_per_interval=5, warmup=2)
        np.testing.assert_allclose(found.rates, expected.rates, rtol=1e-11, atol=1e-12)


@pytest.mark.numba
@pytest.mark.parametrize("n", [pytest.param(5, marks=pytest.mark.slow), 30])
def test_linear_equations_have_the_real_parts_of_the_eigenvalues(n):
    S = coupling(n)
    W = S - S.T - np.diag(np.linspace(0.2, 2.0, n))  # far from degenerate
    exact = np.sort(np.linalg.eigvals(W).real)[::-1]
    flow = SymbolicFlow.of({"x": "W@x"}, {"W": W})
    np.testing.assert_array_equal(flow.jacobian(0.0, state(n)), W)
    M = RK4(0.01).step_tangent(flow, 0, 0.0, state(n), np.eye(n))[1]
    np.testing.assert_allclose(M, scipy.linalg.expm(0.01 * W), atol=1e-9)
    spectrum = flow.tangent(RK4(0.01)).benettin(np.zeros(n), intervals=600, steps_per_interval=10, warmup=300)
    assert spectrum.diagnostics is not None
    np.testing.assert_allclose(spectrum.exponents.sum(), np.trace(W), rtol=1e-8)
    pairs = np.abs(spectrum.exponents - exact)
    assert pairs[0] < 0.05  # complex pairs and close rates take turns
    assert np.abs(np.sort(spectrum.exponents)[::-1] - exact).max() < 0.05


@pytest.mark.numba
@pytest.mark.slow
@pytest.mark.parametrize(
    "stepper",
    [Euler(0.02), ImplicitMidpoint(0.05), DormandPrince(0.05), HeavyBall(0.05)],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_steppers(stepper, n):
    flow = rates(n)
    check_tangent(flow.tangent(stepper), state(n))


@pytest.mark.numba
@pytest.mark.slow
def test_maps():
    for n in (SMALL, LARGE):
        system = SymbolicMap.of(
            {"x": "x + tanh(W@x + t/100)/5 + A@y/9", "y": "y - A.T@x/7"}, {"W": coupling(n), "A": coupling(n, 3)}
        )
        check_system(system, state(n + 3))
        check_tangent(system.tangent(), state(n + 3))
    strobe = StroboscopicMap(rates(SMALL), RK4(0.05), 5)
    check_tangent(strobe.tangent(), state(SMALL))


def test_a_map_of_a_network_in_closed_form():
    W = 0.5 * scipy.linalg.orth(coupling(7))  # every exponent is ln 0.5 at the fixed point 0
    spectrum = SymbolicMap.of({"x": "tanh(W@x)"}, {"W": W}).tangent(backend="numpy").benettin(np.zeros(7), intervals=50)
    np.testing.assert_allclose(spectrum.exponents, np.log(0.5), rtol=1e-12)


@pytest.mark.numba
@pytest.mark.slow
def test_networks_of_fitzhugh_and_nagumo_are_the_same_written_out():
    n = 4
    L = coupling(n, seed=5)
    flow = SymbolicFlow.of(
        {"u": "u - u^3/3 - v + L@u", "v": "eps*(u + a - b*v)"}, {"L": L, "eps": 0.08, "a": np.full(n, 0.7), "b": 0.8}
    )
    written = {
        f"u{i}": f"u{i} - u{i}^3/3 - v{i} + " + " + ".join(f"({L[i, j]!r})*u{j}" for j in range(n)) for i in range(n)
    }
    written |= {f"v{i}": f"eps*(u{i} + 0.7 - b*v{i})" for i in range(n)}
    expected = SymbolicFlow.of({k: v.replace("np.float64", "") for k, v in written.items()}, {"eps": 0.08, "b": 0.8})
    x = state(2 * n)
    np.testing.assert_allclose(flow.vector_field(0.0, x), expected.vector_field(0.0, x), rtol=1e-13)
    np.testing.assert_allclose(flow.jacobian(0.0, x), expected.jacobian(0.0, x), rtol=1e-13, atol=1e-15)
    found = flow.tangent(RK4(0.1)).benettin(x, intervals=50, steps_per_interval=5, warmup=0)
    same = expected.tangent(RK4(0.1), backend="numpy").benettin(x, intervals=50, steps_per_interval=5, warmup=0)
    np.testing.assert_allclose(found.exponents, same.exponents, rtol=1e-9)


def test_phase_differences_are_two_products():
    n = 8
    A, omega = np.abs(coupling(n)), state(n)
    flow = SymbolicFlow.of(
        {"x": "omega + K*(cos(x)*(A@sin(x)) - sin(x)*(A@cos(x)))"}, {"A": A, "omega": omega, "K": 0.7}
    )
    x = state(n, 3)
    np.testing.assert_allclose(flow.vector_field(0, x), omega + 0.7 * (A * np.sin(x - x[:, None])).sum(1), rtol=1e-12)
    np.testing.assert_allclose(flow.jvp(0, x, np.ones((n, 1))), 0.0, atol=1e-14)  # all phases together


def test_the_time_is_seen_in_the_equations():
    assert rates(3).definition.driven
    assert MIXED.definition.driven  # in what is added up
    flow = SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": np.eye(3)})
    assert not flow.definition.driven
    assert flow.autonomous(state(3))
    assert not rates(3).autonomous(state(3))


def test_only_what_is_said_is_all_to_all():
    flow = SymbolicFlow.of({"x[50]": "K*(mean(x) - x) + c"}, {"K": 2.0, "c": 0.1})
    np.testing.assert_allclose(flow.jacobian(0.0, np.zeros(50)), 2.0 * (np.full((50, 50), 1 / 50) - np.eye(50)))


@pytest.mark.numba
def test_other_values_are_not_compiled_again(monkeypatch):
    flow, x = rates(SMALL), state(SMALL)
    flow.tangent(RK4(0.05)).benettin(x, intervals=5, warmup=0)
    other = attrs.evolve(flow, W=coupling(SMALL, seed=9), b=np.zeros(SMALL), g=0.4)
    monkeypatch.setattr("dynsys.storage.cache.write_whole", None)  # nothing new is written
    kernels = [f.tangent(RK4(0.05)).time_step.step_kernel() for f in (flow, other)]
    assert kernels[0].step(3) == kernels[1].step(3)
    assert not np.array_equal(kernels[0].data, kernels[1].data)
    assert repr(float(flow.W[0, 0])) not in kernels[0].step(3).source
    expected = Rates(other.W, 0.4, other.b).tangent(RK4(0.05), backend="numpy").benettin(x, intervals=5, warmup=0)
    found = other.tangent(RK4(0.05)).benettin(x, intervals=5, warmup=0)
    np.testing.assert_allclose(found.rates, expected.rates, rtol=1e-11)


@pytest.mark.numba
def test_members_and_numbers_that_vary():
    flow = rates(SMALL)
    x0 = rng.normal(size=(5, SMALL))
    tangent = flow.tangent(RK4(0.05))
    together = tangent.benettin(x0, intervals=10, steps_per_interval=4, warmup=0)
    for member in range(5):  # frames are keyed by the member
        alone = tangent.trajectory(x0[member], intervals=10, steps_per_interval=4, warmup=0)
        assert np.array_equal(alone.states[-1], together.end.x[member])
    gains = np.linspace(0.5, 2.0, 5)
    varied = vary(tangent, {"g": gains})
    kernel = varied.time_step.step_kernel()
    assert kernel.parameters.shape == (5, 1)  # matrices are there once
    found = varied.benettin(x0, intervals=10, steps_per_interval=4, warmup=0)
    np.testing.assert_allclose(
        found.exponents[1],
        vary(attrs.evolve(flow, g=gains[1]).tangent(RK4(0.05)), {"g": gains * 0 + gains[1]})
        .benettin(x0, intervals=10, steps_per_interval=4, warmup=0)
        .exponents[1],
        rtol=1e-12,
    )
    with pytest.raises(InvalidInputError, match=r"the parameter b must be a vector or a matrix"):
        vary(tangent, {"b": np.ones(5)})


@pytest.mark.numba
def test_source_does_not_grow_with_the_vectors():
    sources = [rates(n).kernel().source for n in (30, 300)]
    assert sources[0].count("\n") == sources[1].count("\n") < 80
    start = time.perf_counter()
    assert rates(2000).dimension == 2000
    assert time.perf_counter() - start < 5.0


def test_a_class_takes_matrices_as_fields():
    @attrs.frozen(eq=False)
    class Network(SymbolicFlow):
        W: np.ndarray = array_parameter()
        b: np.ndarray = array_parameter([0.5, 0.5])
        gain: float = parameter(2.0)
        equations = {"x": "-x + W@tanh(gain*x) + b"}

    network = Network(W=np.eye(2, dtype=int))
    assert network.parameters.tolist() == [1, 0, 0, 1, 0.5, 0.5, 2.0]
    check_system(network, state(2))
    larger = attrs.evolve(network, W=coupling(3), b=[1, 2, 3])
    assert (network.dimension, larger.dimension) == (2, 3)
    with pytest.raises(InvalidInputError, match=r"W@tanh\(gain\*x\) has 3 entries, b has 2|has 3 entries, b has 2"):
        _ = attrs.evolve(network, W=coupling(3)).dimension

    @attrs.frozen(eq=False)
    class Ring(SymbolicFlow):
        sites: int = lattice_size(4)
        K: float = parameter(1.0)

        @property
        def equations(self):
            return {f"x[{self.sites}]": "K*mean(x) - x"}

    assert attrs.evolve(Ring(), sites=9).jacobian(0.0, np.zeros(9)).shape == (9, 9)


def test_what_is_given_is_copied_and_kept():
    W = coupling(3)
    flow = SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": W})
    before = flow.vector_field(0.0, np.ones(3))
    W[:] = 0.0
    assert np.array_equal(flow.vector_field(0.0, np.ones(3)), before)
    assert not flow.W.flags.writeable
    for again in (pickle.loads(pickle.dumps(flow)), copy.deepcopy(flow), copy.copy(flow)):
        assert np.array_equal(again.vector_field(0.0, np.ones(3)), before)
        assert describe(again) == describe(flow)
    assert describe(attrs.evolve(flow, W=np.eye(3))) != describe(flow)
    assert "W=<array (3, 3)>" in repr(flow)
    assert "_product0 = (tanh(x)) @ W.T" in flow.source
    assert flow.latex == r"\begin{aligned} \dot{x} &= W\left(\tanh{\left(x \right)}\right) - x \end{aligned}"
    integers = SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": [[0, 1], [1, 0]]})
    assert integers.W.dtype == float
    assert attrs.evolve(flow, W=np.eye(3)).with_parameters({"W": np.zeros((3, 3))}).W.sum() == 0.0


W = np.eye(3)
REFUSED = {
    "a matrix by entries": ({"x": "-x + W*x"}, {"W": W}, r"W\*x.*use @: W@x"),
    "shapes of a product": ({"x": "-x + W@x"}, {"W": np.ones((3, 4))}, r"'W@x': the shapes \(3, 4\) and \(3,\)"),
    "two products": ({"x": "-x + W@A@x"}, {"W": W, "A": np.eye(2)}, r"\(3, 3\) and \(2, 2\) of W and A do not fit"),
    "lengths of a sum": ({"x": "-x + W@x + b"}, {"W": W, "b": np.ones(4)}, "has 3 entries, b has 4 entries"),
    "length of a variable": ({"x[2]": "W@y", "y": "-y"}, {"W": W}, "x has 2 entries, its right-hand side has 3"),
    "a number": ({"x": "W@(s*y)", "s": "-s", "y": "-y"}, {"W": W}, r"s\*y is a number.*say it: 'x\[5\]'"),
    "NaN": ({"x": "-x + W@x"}, {"W": W * np.nan}, r"the parameter W must be finite, got nan at \(0, 0\)"),
    "complex": ({"x": "-x + W@x"}, {"W": W * 1j}, "the parameter W must be an array of real numbers"),
    "rows": ({"x": "-x + W@x"}, {"W": [[1, 2], [3]]}, "the parameter W must be an array of real numbers"),
    "three axes": ({"x": "-x + W@x"}, {"W": np.ones((2, 2, 2))}, "must be a vector or a matrix.*(2, 2, 2)"),
    "nothing": ({"x": "-x + W@x"}, {"W": np.ones((0, 0))}, "must be a vector or a matrix with entries"),
    "masked": ({"x": "-x + W@x"}, {"W": np.ma.masked_array(W, W > 0)}, "masked entries"),
    "sparse": ({"x": "-x + W@x"}, {"W": scipy.sparse.eye(3)}, r"write \.toarray\(\)"),
    "no array": ({"x": "-x + W@x"}, {"W": 1.0}, "which is to be an array among the parameters"),
    "a name": ({"x": "-x + W@x + c"}, {"W": W}, "unknown name 'c'.*every parameter needs a value"),
    "a function": ({"x": "-x + W@foo(x)"}, {"W": W}, "the equation of x: unknown function 'foo'"),
    "a function of a matrix": ({"x": "-x + tanh(W)@x"}, {"W": W}, "W is a matrix"),
    "a sum of matrices": ({"x": "-x + (W + W)@x"}, {"W": W}, r"A@x \+ B@x for a sum"),
    "a row by entries": ({"x": "-x + x*W@x"}, {"W": W}, r"y\*\(W@x\) has a factor y for every row"),
    "a matrix alone": ({"x": "W"}, {"W": W}, "'W' is a matrix"),
    "an entry": ({"x": "-x + W@x*x[0]"}, {"W": W}, r"entries are not named"),
    "no entries": ({"x[0]": "-x"}, {}, "the vector x has 0 entries"),
    "equations of entries": ({"x[1]": "-x", "x[2]": "x"}, {}, "its one equation is that of them all"),
    "a word": ({"sum": "-sum + W@sum"}, {"W": W}, "'sum' cannot name"),
    "a sum of a number": ({"x": "-x + W@x + sum(3)"}, {"W": W}, "sum is of a vector, got a number"),
    "a helper that comes later": ({"x": "W@x + h"}, {"W": W}, "unknown name 'h'"),
    "helpers in another order": ({"x": "W@x"}, {"W": W}, "the helper h: it uses g, which comes after it"),
    "division by zero": ({"x": "-x + W@(x/0)"}, {"W": W}, "the equation of x: a division by zero"),
    "what is nested": ({"x": "-" * 3000 + "x"}, {"W": W}, "nested too deeply|at most"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_at_the_door(case):
    equations, parameters, message = REFUSED[case]
    helpers = {"h": "g*x", "g": "W@x"} if "order" in case else {}
    with pytest.raises(InvalidInputError, match=message):
        SymbolicFlow.of(equations, parameters, helpers)


@pytest.mark.parametrize("value", [np.eye(4), 1.0, None, "a", [[np.inf] * 3] * 3])
def test_other_shapes_are_another_system(value):
    flow = SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": W})
    with pytest.raises(InvalidInputError, match="the parameter W must"):
        attrs.evolve(flow, W=value)


def test_names_are_announced():
    assert "array_parameter" in dynsys.__all__
