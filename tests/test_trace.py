"""Plain functions called with symbols: their equations are the functions, or there are none, and the reason is told."""

import functools
import math
import time
from math import cos
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
from numpy import sin, zeros
from scipy import special
from scipy.optimize import brentq
from scipy.special import expit

from dynsys import RK4, FallbackWarning, FunctionFlow, FunctionMap, NumbaTangent, NumpyTangent, SymbolicFlow
from dynsys.algorithms.differences import differences
from dynsys.testing import check_system

X = np.array([0.31, -0.72, 1.3])
W = np.random.default_rng(0).normal(size=(3, 3))
HELD, RNG = SimpleNamespace(W=W), np.random.default_rng(0)
GAMMA, PARAMETERS, WORK = 0.3, {"a": 2.0, "b": [1.0, 3.0]}, np.empty(3)


def zero_like(t, x):
    d = np.zeros_like(x)
    d[0] = x[1]
    d[1:] = x[:-1] * np.sum(x)
    return d


def new_array(t, x):
    d = np.zeros(3)
    d[0] = x[1]
    d[1] = -GAMMA * x[0]
    d[2] += x[2] * math.exp(-(x[0] ** 2))
    return d


def own_zeros(t, x):
    d = zeros(3)
    d[:] = sin(x) + cos(x[0])
    return d


def in_place(t, x):
    x *= 2
    x += 1
    x[0] -= x[1]
    return x


def work_array(t, x):
    WORK[:] = W @ x
    return WORK


def unpacked(t, x):
    u, v, w = x
    return u * v, abs(w), -v


def loops(t, x):
    total = [0.0] * 3
    for i in range(3):
        for j in range(len(x)):
            total[i] += W[i, j] * math.sin(x[j] - x[i])
    return total


def mask(t, x):
    y = x.copy()
    y[y > 1] = 0
    return y


def selected(t, x):
    return np.select([x < 0, x > 1], [0 * x, x**2], x)


def nested(t, x):
    def f(z):
        return PARAMETERS["a"] * z + PARAMETERS["b"][1]

    return [f(z) for z in x]


def in_function_import(t, x):
    import math as m

    return [z * m.pi for z in x]


class Model:
    slope = 2.0

    def __init__(self):
        self.k, self.W = 3.0, W

    def rhs(self, t, x):
        return self.k * x + self.other(x)

    def other(self, x):
        z = np.zeros(3)
        z[:] = self.slope * np.tanh(self.W.dot(x))
        return z

    def __call__(self, t, x):
        return self.rhs(t, x)


class Child(Model):
    def rhs(self, t, x):
        return super().rhs(t, x) - x


def closure(a, matrix, settings):
    return lambda t, x: a * matrix @ x + settings.shift


TRACED = {
    "numbers": lambda t, x: [np.sin(x[0]), math.cos(x[1]), sin(x[2])],
    "vector": lambda t, x: np.sin(x) + np.cos(t),
    "tuple": lambda t, x: (x[1], 0, 1.5),
    "roll": lambda t, x: (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x,
    "products": lambda t, x: W @ np.tanh(x) + np.dot(W, x) + x.dot(W) + np.matmul(x, W) + np.inner(W, x),
    "tensor products": lambda t, x: np.outer(x, x).sum(axis=0) + np.einsum("ij,j->i", W, x) + np.tensordot(W, x, 1),
    "cross": lambda t, x: np.cross(x, [1.0, 0.0, 2.0]) + np.cross(np.outer(W[0], x), W, axis=0)[:, 1],
    "zeros_like": zero_like,
    "zeros": new_array,
    "imported names": own_zeros,
    "in place": in_place,
    "a work array": work_array,
    "unpacked": unpacked,
    "loops": loops,
    "mask": mask,
    "select": selected,
    "inner function": nested,
    "import inside": in_function_import,
    "joined": lambda t, x: np.concatenate([x[:1] * 2, np.diff(x)]) + np.hstack([x[0], x[1:]]) + np.stack([*x]),
    "where": lambda t, x: np.where(x > 0, x, 0.1 * x) + np.where((x < 1) & ~(x < -1), x**2, 1.0),
    "where of numbers": lambda t, x: [np.where(x[0] > 0, x[0], 0.0), x[1], (x[2] > 0) * x[2]],
    "clip": lambda t, x: np.clip(x, -1, 1) + x.clip(0, None),
    "max": lambda t, x: np.maximum(x, 0) - np.minimum(x[::-1], 0.5) + np.max(x) - x.min(),
    "max of numbers": lambda t, x: [max(x[0], 0.0), min(x[0], x[1], 2.0), abs(x[2])],
    "abs and sign": lambda t, x: np.abs(x) * np.sign(x[::-1]),
    "steps": lambda t, x: np.heaviside(x, 0.5) + np.floor(x) - np.ceil(2 * x) + x // 2,
    "mod": lambda t, x: np.mod(x, 2 * np.pi) + x % 1.0 + np.remainder(x, 3) + np.fmod(x, 0.7),
    "powers": lambda t, x: np.sqrt(1 + x**2) / np.power(1 + x * x, 2) + np.square(x) + x**2.0 + np.cbrt(x),
    "logarithms": lambda t, x: np.log(np.abs(x)) + np.log1p(x**2) + np.expm1(-x * x) + np.logaddexp(x, 0),
    "angles": lambda t, x: np.arctan2(x, 1) + np.hypot(x, 2) + np.arctan(x) + np.sinh(x) / np.cosh(x),
    "special": lambda t, x: expit(x) + special.erf(x),
    "any axis": lambda t, x: np.stack([x[..., 1], -np.sin(x[..., 0]), *np.moveaxis(x, -1, 0)[2:]], axis=-1),
    "blocks": lambda t, x: np.block([x[:1], x[1:]]) + np.pad(x, 1, mode="wrap")[2:] + np.tile(x, 2)[1:4],
    "matrices": lambda t, x: np.triu(W) @ x + np.diag(x) @ x + np.eye(3) @ x + np.trace(W) * x + x @ W @ x,
    "norm": lambda t, x: x / np.linalg.norm(x) + x.mean() + x.std() + np.prod(x) + np.cumsum(x),
    "real": lambda t, x: x.real * np.real(x) + x.imag + np.imag(x) + x[0].real + x[0].imag + np.conj(x).real,
    "solve": lambda t, x: np.linalg.solve(W, x) + np.linalg.inv(W) @ x + np.linalg.det(W) * np.exp(W[0]),
    "kernel": lambda t, x: np.gradient(x) + np.convolve(x, [1, 2, 1], "same"),
    "indices": lambda t, x: x[[1, 2, 0]] + np.take(x, [2, 1, 0]) + np.flip(x) + x.reshape(3, 1)[:, 0] + x.T,
    "filled": lambda t, x: np.full(3, x[0]) + np.ones(3) * x[1] + np.array([0.0, 1.0, 2.0]) + np.linspace(0, 1, 3),
    "as float": lambda t, x: np.asarray(x, dtype=float) + x.astype(float) + float(x[0]) + np.float64(x[1]),
    "vectorize": lambda t, x: np.vectorize(lambda z: z * 2)(x) + np.apply_along_axis(lambda z: z**2, 0, x),
    "map": lambda t, x: list(map(lambda z: z**3, x)),
    "sum": lambda t, x: [sum(x), sum(z**2 for z in x), math.fsum([x[0], 1.0])],
    "branch on a constant": lambda t, x: x if GAMMA > 0 else -x,
    "finite": lambda t, x: x if np.isfinite(x).all() else np.full(3, np.nan),
    "method": Model().rhs,
    "callable": Model(),
    "child": Child().rhs,
    "partial": functools.partial(lambda g, t, x: g * x**2, 2.0),
    "closure": closure(2, W, SimpleNamespace(shift=0.5)),
    "defaults": lambda t, x, a=2.0, n=2: a * x**n,
    "an object of arrays": lambda t, x, held=HELD: held.W @ x,
}


@pytest.mark.parametrize("function", TRACED.values(), ids=TRACED)
def test_a_traced_function_has_its_own_values_and_exact_derivatives(function):
    flow = FunctionFlow(function, 3)
    assert flow.untraced == ""
    assert flow.derivative == "traced"
    assert flow.fallback == ""
    for x in (X, 5.0 + X, -3.0 * X, 201.23 * X):
        slopes, errors = differences(lambda z: flow.vector_field(0.3, z), x, np.eye(3))
        exact = flow.jacobian(0.3, x)
        assert (np.abs(exact - slopes) <= 10 * errors + 1e-9 * np.abs(exact) + 1e-12).all()
    np.testing.assert_array_equal(flow.vector_field(0.3, X), np.array(function(0.3, X.copy()), dtype=float))


def branch(t, x):
    return [x[0] if x[0] > 0 else 2 * x[0], x[1], x[2]]


def solver(t, x):
    return [brentq(lambda z: z**3 + z - x[0], -1e3, 1e3), x[1], x[2]]


class Counter:
    calls = 0

    def rhs(self, t, x):
        self.calls += 1
        return self.calls * x


def counting():
    calls = [0]

    def function(t, x):
        calls[0] += 1
        return calls[0] * x

    return function


def swallowing(t, x):
    try:
        return np.array([float(z) for z in x]) if x[0] > 0 else -x
    except Exception:
        return x


NOT_TRACED = {
    "branch": (branch, "a branch of it, or a comparison, depends on the state"),
    "branch of a loop": (lambda t, x: [z if z == 0 else np.sin(z) / z for z in x], "a branch of it"),
    "chain of comparisons": (lambda t, x: [z * (0 < z < 1) for z in x], "a branch of it"),
    "while": (lambda t, x: [z - int(z) for z in x], "a whole number in it depends on the state"),
    "branch on time": (lambda t, x: x if t < 1 else -x, "a branch of it"),
    "index": (lambda t, x: [W[0, int(z) % 3] for z in x], "a whole number"),
    "solver": (solver, "depends on the state|fails"),
    "swallows errors": (swallowing, "a branch of it"),
    "object that counts": (Counter().rhs, "it keeps a state: it sets calls"),
    "closure that counts": (counting(), "it keeps a state, or is random|not the function"),
    "random numbers": (lambda t, x: x + np.random.normal(size=3), "random"),  # noqa: NPY002
    "random generator": (
        lambda t, x, rng=RNG: x + rng.normal(size=3),
        "it keeps a state, or is random|fails",
    ),
    "table": (lambda t, x: np.interp(x, [0.0, 1.0], [0.0, 1.0]), "numpy.interp of the state"),
    "derivative without a value": (
        lambda t, x: [math.sqrt(abs(x[0] + abs(x[0]))), x[1], x[2]],
        "its derivative has no value at",
    ),
    "sorted": (lambda t, x: np.sort(x), "a branch of it"),
    "rounded": (lambda t, x: [round(z, 3) for z in x], "it rounds"),
    "FFT": (lambda t, x: np.fft.fft(x).real, "fails|depends on the state"),
    "type": (lambda t, x: x if isinstance(x[0], float) else 2 * x, "not the function|fails"),
    "a complex part": (lambda t, x: (1j * x).imag, "fails|depends"),
}


@pytest.mark.parametrize(("function", "reason"), NOT_TRACED.values(), ids=NOT_TRACED)
def test_what_cannot_be_traced_has_differences_and_a_reason(function, reason):
    flow = FunctionFlow(function, 3)
    assert flow.derivative == "finite differences"
    assert flow.equations is None
    import re

    assert re.search(reason, flow.untraced), flow.untraced


def test_the_reason_stands_in_the_warning():
    with pytest.warns(FallbackWarning, match=r"could not be traced \(a branch of it.*finite-difference"):
        assert type(FunctionFlow(branch, 3).tangent(RK4(0.1))) is NumpyTangent


def test_nothing_that_the_user_holds_is_changed():
    held, out, seen = [1.0, 2.0], np.zeros(3), []

    def function(t, x):
        seen.append(1)
        out[:] = held[0] * x
        return out

    flow = FunctionFlow(function, 3)
    assert flow.derivative == "traced"
    assert held == [1.0, 2.0]
    assert out.dtype == float
    assert set(map(type, seen)) == {int}
    assert Counter.calls == 0


def all_kinds(t, x, rate, n, matrix, order, flag, name, f):
    y = matrix @ x**n
    y = y[order] if flag else y
    return rate * f(y) + (np.sin(t) if name == "driven" else 0.0)


ARGS = (0.7, 2, W, np.array([2, 0, 1]), True, "driven", np.tanh)


def test_numbers_are_parameters_and_the_rest_stays_what_it_is():
    flow = FunctionFlow(all_kinds, 3, args=ARGS)
    assert flow.untraced == ""
    check_system(flow, X, t=0.4)
    definition = flow.equations
    assert len(definition.parameters) == 1 + 9  # of 2, an exponent, the value was needed
    np.testing.assert_array_equal(flow.parameters, [0.7, *W.ravel()])
    for change in ({0: 0.1}, {2: W.T.copy()}, {0: 2, 2: 2 * W}):
        other = attrs.evolve(flow, args=tuple(change.get(i, value) for i, value in enumerate(ARGS)))
        assert other.equations is definition  # no new trace
        check_system(other, X, t=0.4)
    for change in ({1: 3}, {3: np.array([0, 1, 2])}, {4: False}, {5: "free"}, {6: np.sin}):
        other = attrs.evolve(flow, args=tuple(change.get(i, value) for i, value in enumerate(ARGS)))
        assert other.derivative == "traced"
        assert other.equations is not definition
        check_system(other, X, t=0.4)


def test_a_count_is_needed_as_it_is():
    def function(t, x, sites, force, label="x"):
        d = np.zeros(sites)
        for i in range(sites):
            d[i] = (x[(i + 1) % sites] - x[i - 2]) * x[i - 1] - x[i] + force
        return d * [1.0] * 1 if force < 0 else d

    for sites, force in ((4, 8), (5, 8.0), (5, 7.0)):
        flow = FunctionFlow(function, sites, args=(sites, force))
        assert flow.derivative == "traced"
        check_system(flow, np.linspace(-1, 2, sites))


def test_a_parameter_that_decides_a_branch_is_looked_at():
    flow = FunctionFlow(lambda t, x, a: a * x if a > 0 else x**2, 1, args=(0.5,))
    np.testing.assert_array_equal(flow.jacobian(0.0, np.array([3.0])), [[0.5]])
    np.testing.assert_array_equal(attrs.evolve(flow, args=(-0.5,)).jacobian(0.0, np.array([3.0])), [[6.0]])


def test_a_name_that_got_another_value_is_noticed():
    scope = {}
    exec("g = 2.0\ndef function(t, x): return g * x", scope)
    assert FunctionFlow(scope["function"], 1).jacobian(0.0, X[:1])[0, 0] == 2.0
    scope["g"] = 5.0
    again = FunctionFlow(scope["function"], 1)
    assert again.derivative == "traced"
    assert again.jacobian(0.0, X[:1])[0, 0] == 5.0


def test_time_of_a_map_is_a_whole_number():
    step = FunctionMap(lambda n, x: x * (1 + n % 3) + n, 2)
    assert step.derivative == "traced"
    np.testing.assert_array_equal(step.jacobian(5, X[:2]), 3.0 * np.eye(2))
    assert FunctionMap(lambda n, x: x * [1.0, 2.0][n % 2], 2).derivative == "finite differences"


def coupled(t, x, K):
    return 0.1 + K * np.sum(np.sin(x[None, :] - x[:, None]), axis=1) / len(x)


def test_what_is_too_large_is_given_up_quickly():
    strength = np.random.default_rng(1).normal(size=(100, 100))
    for function, dimension, args in (
        (coupled, 60, (0.5,)),
        (lambda t, x: strength @ np.tanh(x) - x, 100, ()),
        (lambda t, x, S: S @ np.tanh(x) - x, 100, (strength,)),
    ):
        started = time.thread_time()
        flow = FunctionFlow(function, dimension, args=args)
        assert flow.derivative == "finite differences"
        assert "too large" in flow.untraced
        assert time.thread_time() - started < 4.0


def test_minima_of_several_terms_are_traced():
    """As of species that need several resources each; and of which one cannot be less than nothing."""
    rng = np.random.default_rng(2)
    half, uptake = rng.uniform(0.1, 0.5, (5, 5)), rng.uniform(0.01, 0.1, (5, 5))

    def model(t, x):
        species, resources = x[:5], x[5:]
        growth = species * np.min(resources / (half + resources), axis=1)
        return np.hstack([growth - 0.25 * species, 1.0 - resources - uptake @ growth])

    started = time.thread_time()
    flow = FunctionFlow(model, 10)
    assert flow.untraced == ""
    assert time.thread_time() - started < 8.0
    again = SymbolicFlow.of(dict(zip(flow.equations.state, map(str, flow.equations.expressions), strict=True)))
    x, h = rng.uniform(0.2, 2.0, 10), 1e-6
    differences = np.stack([(model(0, x + h * e) - model(0, x - h * e)) / (2 * h) for e in np.eye(10)], axis=1)
    np.testing.assert_allclose(flow.jacobian(0.0, x), differences, atol=1e-9)
    np.testing.assert_allclose(again.jacobian(0.0, x), flow.jacobian(0.0, x), rtol=1e-13)  # as text, too


def test_roots_of_what_is_cut_off_are_traced():
    flow = FunctionFlow(lambda t, x: [np.sqrt(max(0, x[0])) - x[1], -np.arccos(np.clip(x[1], -1.0, 1.0))], 2)
    assert flow.untraced == ""
    np.testing.assert_array_equal(flow.jacobian(0.0, [-1.0, 2.0]), [[0.0, -1.0], [0.0, 0.0]])
    np.testing.assert_allclose(flow.jacobian(0.0, [4.0, 0.6]), [[0.25, -1.0], [0.0, 1.25]])


def test_a_ring_of_any_length_is_a_lattice():
    def lorenz96(t, x, force):
        return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + force

    flow = FunctionFlow(lorenz96, 120, args=(8.0,))
    assert flow.derivative == "traced"
    check_system(flow, 8.0 + np.random.default_rng(0).normal(size=120))


def lorenz(t, x, sigma, rho, beta):
    return np.array([sigma * (x[1] - x[0]), x[0] * (rho - x[2]) - x[1], x[0] * x[1] - beta * x[2]])


@pytest.mark.numba
def test_traced_systems_are_compiled():
    from numba import njit

    flow = FunctionFlow(lorenz, 3, args=(10, 28.0, 8.0 / 3.0))
    tangent = flow.tangent(RK4(0.01))
    assert type(tangent) is NumbaTangent
    compiled = tangent.benettin([1.0, 2.0, 20.0], intervals=40, warmup=0)
    by_numpy = flow.tangent(RK4(0.01), backend="numpy").benettin([1.0, 2.0, 20.0], intervals=40, warmup=0)
    np.testing.assert_allclose(compiled.rates, by_numpy.rates, atol=1e-9)
    assert compiled.diagnostics.derivative == "traced"
    marked = FunctionFlow(njit(lorenz), 3, args=(10, 28.0, 8.0 / 3.0))  # the same equations: nothing new is compiled
    assert marked.kernel().source == flow.kernel().source
    assert marked.kernel().functions == {}


def test_arguments_must_fit():
    from dynsys import InvalidInputError

    for args in ((10.0, 28.0), (10.0, 28.0, 8 / 3, 1.0)):
        with pytest.raises(InvalidInputError, match=rf"called as function\(t, x, \*args\) with {len(args)} args"):
            FunctionFlow(lorenz, 3, args=args)
    with pytest.raises(InvalidInputError, match=r"jacobian is called as jacobian\(t, x, \*args\) with 3 args"):
        FunctionFlow(lorenz, 3, lambda t, x: np.eye(3), args=(10.0, 28.0, 8 / 3))


@pytest.mark.numba
def test_a_compiled_function_that_reads_beyond_the_state_is_refused():
    from numba import njit

    from dynsys import InvalidInputError

    jacobian = njit(lambda t, x, a: np.zeros((2, 2)))
    beyond = njit(lambda t, x, a: np.array([a * x[0], x[5]]))
    with pytest.raises(InvalidInputError, match="function reads beyond its arguments where x has dimension 2"):
        FunctionFlow(beyond, 2, jacobian, args=(1.0,)).tangent(RK4(0.1))


@pytest.mark.numba
def test_what_numba_compiles_but_compiled_code_cannot_call_is_said():
    from numba import njit, vectorize

    inner = njit(lambda t, x, V, a: a * V)
    outer = njit(lambda t, x, a: a * x)
    with pytest.warns(FallbackWarning, match="function and jvp is a partial function or a ufunc"):
        FunctionFlow(functools.partial(outer, a=2.0), 2, jvp=functools.partial(inner, a=2.0)).tangent(RK4(0.1))
    ufunc = vectorize(["float64(float64, float64)"])(lambda t, x: -x)
    with pytest.warns(FallbackWarning, match="function is a partial function or a ufunc"):
        FunctionFlow(ufunc, 2, jvp=lambda t, x, V: -V).tangent(RK4(0.1))
