"""Systems from plain functions: the same numbers as from equations, whoever calls the functions."""

import json
import os
import subprocess
import sys
import textwrap

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from steps import kernel_of, step_of

from dynsys import (
    RK4,
    FallbackWarning,
    FunctionFlow,
    FunctionMap,
    InvalidInputError,
    NumbaTangent,
    NumpyTangent,
    RunState,
    sweep,
)
from dynsys.algorithms.differences import finite_difference
from dynsys.compiled.build import build
from dynsys.models.classics import Henon, Lorenz63
from dynsys.testing import check_system, check_tangent

numba = pytest.importorskip("numba")

LORENZ_ARGS = (10, 28.0, 8.0 / 3.0)  # sigma is an int on purpose
HENON_ARGS = (1.4, 0.3)
X3, X2 = np.array([1.0, 2.0, 20.0]), np.array([0.1, 0.1])


def lorenz(t, x, sigma, rho, beta):
    return np.array([sigma * (x[1] - x[0]), x[0] * (rho - x[2]) - x[1], x[0] * x[1] - beta * x[2]])


def lorenz_jacobian(t, x, sigma, rho, beta):
    return np.array([[-sigma, sigma, 0.0], [rho - x[2], -1.0, -x[0]], [x[1], x[0], -beta]])


def lorenz_jvp(t, x, V, sigma, rho, beta):
    W = np.empty_like(V)
    W[0] = sigma * (V[1] - V[0])
    W[1] = (rho - x[2]) * V[0] - V[1] - x[0] * V[2]
    W[2] = x[1] * V[0] + x[0] * V[1] - beta * V[2]
    return W


def henon(n, x, a, b):
    return 1 - a * x[0] ** 2 + x[1], b * x[0]


def henon_jacobian(n, x, a, b):
    return (-2 * a * x[0], 1), (b, 0)


def henon_jvp(n, x, V, a, b):
    W = np.empty_like(V)
    W[0] = V[1] - 2 * a * x[0] * V[0]
    W[1] = b * V[0]
    return W


MARKS = [lambda function: function, numba.njit]
DERIVATIVES = ["jacobian", "jvp", "traced"]
FLOWS = {"function": lorenz, "jacobian": lorenz_jacobian, "jvp": lorenz_jvp}
MAPS = {"function": henon, "jacobian": henon_jacobian, "jvp": henon_jvp}
NJIT_FLOWS, NJIT_MAPS = ({name: numba.njit(f) for name, f in given.items()} for given in (FLOWS, MAPS))


def system(kind, functions, derivative):
    given = {name: functions[name] for name in ("function", derivative) if name in functions}
    dimension, args = (3, LORENZ_ARGS) if kind is FunctionFlow else (2, HENON_ARGS)
    return kind(dimension=dimension, args=args, **given)


def tangent_of(system, **options):
    """Its tangent; one of finite differences must say so."""
    stepper = [RK4(dt=0.01)] if isinstance(system, FunctionFlow | Lorenz63) else []
    if system.derivative != "finite differences":
        return system.tangent(*stepper, **options)
    with pytest.warns(FallbackWarning, match="neither jacobian nor jvp"):
        return system.tangent(*stepper, **options)


def run(tangent, x, k=None, steps=5):
    start = RunState.start(np.asarray(x), tangent.dimension, k, 0)
    return tangent.forward(start, intervals=4, steps_per_interval=steps, record="growth")


def agree(one, two, tolerance):
    for name in ("x", "Q", "growth"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=0, atol=tolerance)


CASES = {
    "Lorenz": (FunctionFlow, FLOWS, NJIT_FLOWS, Lorenz63(), X3),
    "Henon": (FunctionMap, MAPS, NJIT_MAPS, Henon(), X2),
}
SHOWN = [("Henon", "traced")]  # each of the six compiles for seconds


@pytest.mark.parametrize(
    ("kind", "functions", "njit", "same", "x", "derivative"),
    [
        pytest.param(*case, derivative, id=f"{name}, {derivative}", marks=[pytest.mark.slow] * (key not in SHOWN))
        for name, case in CASES.items()
        for derivative in DERIVATIVES
        for key in [(name, derivative)]
    ],
)
def test_functions_give_the_numbers_of_the_equations(kind, functions, njit, same, x, derivative):
    reference = run(tangent_of(same, backend="numpy"), [x, x + 0.1])
    tolerance = 1e-10
    for marked, tangent_kind in (
        (functions, NumbaTangent if derivative == "traced" else NumpyTangent),
        (njit, NumbaTangent),
    ):
        ours = system(kind, marked, derivative)
        assert ours.derivative == derivative
        check_system(ours, x)
        tangent = tangent_of(ours)
        assert type(tangent) is tangent_kind
        check_tangent(tangent, x)
        passed = run(tangent, [x, x + 0.1])
        agree(passed, reference, tolerance)
        leading = run(tangent, x, k=1)
        np.testing.assert_allclose(leading.growth[0, :, 0], passed.growth[0, :, 0], rtol=0, atol=1e-10)


@pytest.mark.slow
def test_threads_do_not_change_a_bit():
    flow = system(FunctionFlow, NJIT_FLOWS, "jacobian")
    states = X3 + np.random.default_rng(0).normal(size=(7, 3))
    one, many = (run(NumbaTangent(step_of(flow, RK4(dt=0.01)), threads=threads), states) for threads in (1, 3))
    np.testing.assert_array_equal(many.growth, one.growth)
    np.testing.assert_array_equal(run(tangent_of(flow), states[0]).growth[0], one.growth[0])


def test_jvp_is_used_where_a_jacobian_is_given_too():
    both = FunctionFlow(lorenz, 3, lorenz_jacobian, lorenz_jvp, LORENZ_ARGS)
    assert both.derivative == "jvp"
    check_system(both, X3)
    wrong = attrs.evolve(both, jacobian=lambda t, x, *args: 2.0 * lorenz_jacobian(t, x, *args))
    np.testing.assert_array_equal(wrong.jvp(0.0, X3, np.eye(3)), both.jacobian(0.0, X3))
    with pytest.raises(AssertionError, match="jacobian"):
        check_system(wrong, X3)


def test_function_of_a_solve_ivp_script_gives_its_trajectory_to_the_order_of_the_stepper():
    script = solve_ivp(lorenz, (0.0, 0.5), X3, args=LORENZ_ARGS, rtol=1e-13, atol=1e-13, method="DOP853")
    flow = FunctionFlow(lorenz, 3, args=LORENZ_ARGS)
    errors = []
    for dt in (0.0025, 0.00125):
        x = X3
        for n in range(round(0.5 / dt)):
            x = RK4(dt=dt).step(flow, n, n * dt, x)
        errors.append(np.linalg.norm(x - script.y[:, -1]))
    assert errors[0] < 1e-4
    assert 12 < errors[0] / errors[1] < 20  # 2^4


def test_time_is_that_of_the_step():
    seen = []

    def step(n, x):
        seen.append(n)
        return x + n

    map = FunctionMap(step, 1, lambda n, x: [[n + 1.0]])
    end = run(map.tangent(t0=5.0), [0.0], steps=1)
    np.testing.assert_array_equal(end.x, [[0 + 1 + 2 + 3]])
    np.testing.assert_allclose(end.growth[0, :, 0], np.log([1, 2, 3, 4]), atol=1e-14)
    assert seen == [0, 1, 2, 3]
    assert {type(n) for n in seen} == {int}

    # d ln V / dt = t: over [t0, t0 + T] the growth is t0 T + T^2 / 2
    tangent = FunctionFlow(lambda t, x: t * x, 1, lambda t, x: [[t]]).tangent(RK4(dt=0.01), t0=2.0)
    assert run(tangent, [1.0], steps=25).growth.sum() == pytest.approx(2.0 + 0.5, abs=1e-8)


# ---- arguments with defaults


def rotor(t, x, damping=2.0, turns=3, phase="cos"):
    return np.array([x[1] * turns, -damping * x[1]])


def rotor_jacobian(t, x, damping=-1.0, turns=-1):
    return np.array([[0.0, turns], [0.0, -damping]])


def rotor_jvp(t, x, V, *args):
    return rotor_jacobian(t, x, *args) @ V


@pytest.mark.parametrize("mark", MARKS, ids=["plain", "njit"])
def test_defaults_that_are_numbers_are_parameters(mark):
    rule, jacobian = mark(rotor), mark(rotor_jacobian)
    x = np.array([1.0, 2.0])
    for args, values in (((), (2.0, 3)), ((0.5,), (0.5, 3)), ((0.5, 4), (0.5, 4))):
        flow = FunctionFlow(rule, 2, jacobian, args=args)
        assert flow.args == args
        check_system(flow, x)
        np.testing.assert_array_equal(flow.vector_field(0.0, x), rotor(0.0, x, *values))
        np.testing.assert_array_equal(flow.jacobian(0.0, x), rotor_jacobian(0.0, x, *values))
        assert flow.with_parameters({"turns": 5}).args == (values[0], 5)
    kernel = flow.kernel()
    assert (kernel is None) == (rule is rotor)
    if kernel is not None:
        np.testing.assert_array_equal(kernel.parameters, [0.5, 4.0])
        assert FunctionFlow(rule, 2, jacobian).kernel().source == kernel.source


def test_defaults_reach_sweeps():
    tangent = FunctionFlow(rotor, 2, jvp=rotor_jvp).tangent(RK4(dt=0.01))
    runs = sweep(tangent.benettin, {"damping": [1.0, 3.0]}, [1.0, 0.0], intervals=40, warmup=0, k=2)
    np.testing.assert_allclose(runs.exponent_mean.sum("exponent"), [-1.0, -3.0], rtol=1e-8)


def test_defaults_that_the_derivative_does_not_take_stay_what_they_are():
    bound = FunctionMap(lambda n, x, a=0.5: a * x, 1, lambda n, x: [[0.5]])
    np.testing.assert_array_equal(bound.jvp(0, [2.0], np.eye(1)), [[0.5]])
    np.testing.assert_array_equal(bound.step(0, [2.0]), [1.0])
    with pytest.raises(InvalidInputError, match="FunctionMap has no parameter 'a'; it has none"):
        bound.with_parameters({"a": 1.0})
    table = np.array([3.0])
    held = FunctionMap(lambda n, x, table=table, a=2.0: table * x, 1)
    np.testing.assert_array_equal(held.step(0, [2.0]), [6.0])
    other = attrs.evolve(FunctionMap(lambda n, x, a=0.5: a * x, 1), function=lambda n, x: 4.0 * x)
    np.testing.assert_array_equal(other.step(0, [2.0]), [8.0])


@numba.njit
def ring(t, x, sites, force, mirrored):
    f = np.empty(sites)  # an int must come as an int
    for i in range(sites):
        f[i] = (x[(i + 1) % sites] - x[i - 2]) * x[i - 1] - x[i] + force * np.cos(t)
    return -f if mirrored else f


@numba.njit
def ring_jacobian(t, x, sites, force, mirrored):
    J = np.zeros((sites, sites))
    for i in range(sites):
        J[i, (i + 1) % sites] += x[i - 1]
        J[i, i - 2] -= x[i - 1]
        J[i, i - 1] += x[(i + 1) % sites] - x[i - 2]
        J[i, i] -= 1.0
    return (-J if mirrored else J).T.copy().T  # not contiguous, as an answer may be


@pytest.mark.parametrize("dim", [pytest.param(5, id="loops"), pytest.param(40, id="BLAS")])
@pytest.mark.slow
def test_numbers_of_all_kinds_travel_to_the_compiled_functions(dim):
    x = 8.0 + np.random.default_rng(0).normal(size=dim)
    for args in ((dim, 8.0, False), (np.int64(dim), np.float64(8.0), np.True_)):
        flow = FunctionFlow(ring, dim, ring_jacobian, args=args)
        check_system(flow, x, t=1.0)
        tangent = flow.tangent(RK4(dt=0.01), t0=1.0)
        assert type(tangent) is NumbaTangent
        check_tangent(tangent, x)
    assert len(ring.signatures) == len(ring_jacobian.signatures) == 1
    too_large = attrs.evolve(flow, args=(2**53 + 1, 8.0, False))
    with pytest.warns(FallbackWarning, match="got 9007199254740993: convert it"):
        assert type(tangent_of(too_large)) is NumpyTangent


@pytest.mark.slow
def test_other_arguments_steps_and_sizes_do_not_compile_again():
    flow = system(FunctionFlow, NJIT_FLOWS, "jacobian")
    kernel = kernel_of(flow, RK4(dt=0.01))
    forward = build(kernel.step(3), 3, tuple(kernel.functions.items()))
    for args, k, x in ((LORENZ_ARGS, 3, X3), ((16, 20.0, 4.0), 2, [X3] * 3)):
        other = attrs.evolve(flow, args=args)
        kernel = kernel_of(other, RK4(dt=0.5))
        assert build(kernel.step(k), 3, tuple(kernel.functions.items())) is forward
        agree(run(tangent_of(other), x, k), run(tangent_of(other, backend="numpy"), x, k), 1e-11)
    assert len(forward.signatures) == 1
    assert [len(NJIT_FLOWS[name].signatures) for name in ("function", "jacobian")] == [1, 1]


@pytest.mark.slow
def test_function_that_is_defined_anew_is_another_function():
    def henon(n, x, a, b):
        return 1 - 0.5 * a * x[0] ** 2 + x[1], b * x[0]

    old = system(FunctionMap, NJIT_MAPS, "jvp")
    for map in (old, attrs.evolve(old, function=numba.njit(henon)), old):
        agree(run(tangent_of(map), X2, steps=1), run(tangent_of(map, backend="numpy"), X2, steps=1), 1e-11)


@pytest.mark.slow
def test_nothing_is_kept_on_disk_and_numba_is_not_loaded_for_plain_functions(tmp_path):
    code = """
    import json, os, sys
    from pathlib import Path
    from dynsys import FunctionMap
    from dynsys.models.classics import LinearMap

    def files():
        return sorted(path.name.split("_")[0] for path in Path(os.environ["DYNSYS_CACHE"]).rglob("*") if path.is_file())

    def double(n, x):
        return 2.0 * x

    def jvp(n, x, V):
        return 2.0 * V

    FunctionMap(double, 1, jvp=jvp).tangent().benettin([0.0], intervals=2, warmup=0)
    loaded = "numba" in sys.modules

    import numba
    tangent = FunctionMap(numba.njit(double), 1, jvp=numba.njit(jvp)).tangent()
    exponents = tangent.benettin([0.0], intervals=2, warmup=0).exponents
    after = files()
    LinearMap([[2.0]]).tangent().benettin([0.0], intervals=2, warmup=0)
    print(json.dumps([loaded, type(tangent).__name__, exponents.tolist(), after, files()]))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore::dynsys.DiagnosticWarning", "-c", textwrap.dedent(code)],
        env={**os.environ, "DYNSYS_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    loaded, kind, exponents, ours, with_kernel = json.loads(done.stdout)
    assert not loaded
    assert kind == "NumbaTangent"
    assert exponents == pytest.approx([np.log(2.0)], rel=1e-14)
    assert ours == []
    assert "kernel" in with_kernel  # the folder was the right one


def untidy(n, x):
    """The Henon map, written by someone who spares memory."""
    x[0], x[1] = 1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]
    return x


def untidy_jvp(n, x, V):
    first = V[0].copy()
    V[0] = V[1] - 2.8 * x[0] * first
    V[1] = 0.3 * first
    x[:] = np.nan
    return V


@pytest.mark.parametrize(
    ("mark", "derivatives"),
    [
        (lambda f: f, {}),
        (lambda f: f, {"jvp": untidy_jvp}),
        pytest.param(numba.njit, {"jvp": untidy_jvp}, marks=pytest.mark.slow),
    ],
    ids=["plain, traced", "plain", "njit"],
)
def test_functions_may_write_into_what_they_are_given(mark, derivatives):
    map = FunctionMap(mark(untidy), 2, **{name: mark(function) for name, function in derivatives.items()})
    x = X2.copy()
    check_system(map, x)
    agree(run(tangent_of(map), x), run(tangent_of(Henon(), backend="numpy"), x), 1e-9 if derivatives else 1e-7)
    np.testing.assert_array_equal(x, X2)


def test_function_may_return_the_same_array_again():
    out = np.empty(3)

    def velocity(t, x):
        out[:] = lorenz(t, x, *LORENZ_ARGS)
        return out

    flow = FunctionFlow(velocity, 3)
    expected = RK4(dt=0.01).step(Lorenz63(), 0, 0.0, X3)
    np.testing.assert_allclose(RK4(dt=0.01).step(flow, 0, 0.0, X3), expected, rtol=1e-14)


def faulty(n, x, length, imaginary):
    """Complex, and short, as asked; n must be an int."""
    return (np.array([0.5, 2.0])[n % 2] * x + imaginary * 1j)[:length]


def faulty_jacobian(n, x, length, imaginary):
    return np.array([1, 2])[n % 2] * np.array([[1, 0], [0, 2]])  # whole numbers


@pytest.mark.slow
def test_answers_are_real_numbers_of_the_right_shape():
    plain, compiled = (FunctionMap(mark(faulty), 2, mark(faulty_jacobian), args=(2, 0.0)) for mark in MARKS)
    assert plain.step(0, X2).dtype == float
    agree(run(tangent_of(compiled), X2), run(tangent_of(plain), X2), 1e-14)
    np.testing.assert_array_equal(run(tangent_of(compiled), X2, steps=1).x, [X2])
    for args, what, which in (
        ((2, 1.0), "real numbers, got", "must return real numbers"),
        ((1, 0.0), r"numbers of shape \(2,\), got shape \(1,\)", r"numbers of shape .*backend='numpy' says"),
    ):
        for map, message in ((plain, what), (compiled, which)):
            with pytest.raises(InvalidInputError, match=message):
                run(tangent_of(attrs.evolve(map, args=args)), X2)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n, x: x.reshape((2, 1)), r"numbers of shape \(2,\), got shape \(2, 1\)"),
        (lambda n, x: x[0], r"numbers of shape \(2,\), got shape \(\): "),
        (lambda n, x: None, r"numbers of shape \(2,\), got shape \(\): None"),
        (lambda n, x: ["a", "b"], r"numbers of shape \(2,\), got \['a', 'b'\]"),
        (lambda n, x: [[1.0], [1.0, 2.0]], r"numbers of shape \(2,\), got \[\[1.0"),
    ],
    ids=["column", "number", "nothing", "text", "ragged"],
)
def test_answer_of_another_kind_is_refused(answer, message):
    with pytest.raises(InvalidInputError, match=message):
        FunctionMap(answer, 2).step(0, X2)


@pytest.mark.slow
def test_compiled_answer_with_another_number_of_axes_is_refused():
    column, jvp = numba.njit(lambda n, x: x.reshape((2, 1))), numba.njit(lambda n, x, V: V)
    with pytest.raises(InvalidInputError, match="backend='numpy' says"):
        run(FunctionMap(column, 2, jvp=jvp).tangent(), X2)


def test_wrong_derivatives_are_refused():
    with pytest.raises(InvalidInputError, match=r"jacobian must return .* \(2, 2\), got shape \(2,\)"):
        FunctionMap(henon, 2, lambda n, x, a, b: x, args=HENON_ARGS).jvp(0, X2, np.eye(2))
    with pytest.raises(InvalidInputError, match=r"jvp must return .* \(2, 1\), got shape \(2,\)"):
        FunctionMap(henon, 2, jvp=lambda n, x, V, a, b: x, args=HENON_ARGS).jvp(0, X2, np.ones((2, 1)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"function": 3}, "function must be a function, got 3"),
        ({"function": None}, "function must be a function, got None"),
        ({"jacobian": "J"}, "jacobian must be a function, got 'J'"),
        ({"jvp": np.eye(2)}, "jvp must be a function, got array"),
        ({"dimension": 0}, "dimension must be a whole number >= 1, got 0"),
        ({"dimension": 2.0}, "dimension must be a whole number >= 1, got 2.0"),
        ({"args": 0.1}, r"args must be a tuple .* got 0.1"),
        ({"args": "ab"}, r"args must be a tuple .* got 'ab'"),
    ],
)
def test_wrong_definitions_are_refused(given, message):
    with pytest.raises(InvalidInputError, match=message):
        FunctionMap(**{"function": henon, "dimension": 2, **given})


def test_wrong_states_are_refused():
    map = FunctionMap(henon, 2, henon_jacobian, args=HENON_ARGS)
    with pytest.raises(InvalidInputError, match=r"x must have shape \(..., 2\), got \(4, 3\)"):
        map.step(0, np.ones((4, 3)))
    with pytest.raises(InvalidInputError, match=r"x must have shape \(2,\), got \(3,\)"):
        map.jacobian(0, np.ones(3))


@numba.njit(parallel=True)
def in_parallel(n, x, a, b):
    return np.array([1 - a * x[0] ** 2 + x[1], b * x[0]])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"function": NJIT_MAPS["function"], "jacobian": henon_jacobian}, "jacobian must be marked @numba.njit"),
        ({"function": henon, "jacobian": NJIT_MAPS["jacobian"]}, "function must be marked @numba.njit"),
        ({"function": in_parallel, "jacobian": NJIT_MAPS["jacobian"]}, "parallel=True"),
        (
            {**NJIT_MAPS, "args": (1.4, np.array(0.3))},
            "with axes, got an array of float64 of shape",
        ),
    ],
    ids=["jacobian is plain", "function is plain", "parallel", "an argument of another kind"],
)
def test_what_cannot_be_compiled_runs_by_numpy_and_says_so_once(given, reason):
    map = FunctionMap(dimension=2, **{"args": HENON_ARGS, **given})
    with pytest.raises(InvalidInputError, match=f"numba cannot take the step of FunctionMap: .*{reason}"):
        map.tangent(backend="numba")
    with pytest.warns(FallbackWarning, match=f"NumPy steps FunctionMap, more slowly: .*{reason}") as caught:
        tangent = map.tangent()
    assert len(caught) == 1
    assert type(tangent) is NumpyTangent
    if given["function"] is not in_parallel:
        agree(run(tangent, X2), run(tangent_of(Henon(), backend="numpy"), X2), 1e-11)  # chaos amplifies how each rounds


@pytest.mark.parametrize("mark", [MARKS[0], pytest.param(MARKS[1], marks=pytest.mark.slow)], ids=["plain", "njit"])
def test_state_that_is_not_finite_is_not_handed_to_the_functions(mark):
    def square(n, x):
        if not np.isfinite(x[0]):
            raise ZeroDivisionError  # as indexing by int(x[0]) or math.sin(inf) would
        return x * x

    def jacobian(n, x):
        if not np.isfinite(x[0]):
            raise ZeroDivisionError
        return 2.0 * np.diag(x)

    tangent = FunctionMap(mark(square), 1, mark(jacobian)).tangent()
    spectrum = tangent.benettin([[1.0], [10.0]], intervals=2, steps_per_interval=6, warmup=0)
    np.testing.assert_allclose(spectrum.exponents[0], np.log(2.0), rtol=1e-14)
    assert np.isnan(spectrum.exponents[1])


@given(
    coefficients=st.lists(st.floats(-2.0, 2.0), min_size=20, max_size=20),
    x=st.lists(st.floats(-2.0, 2.0), min_size=2, max_size=2),
    shape=st.sampled_from([(2,), (1, 2), (3, 2), (2, 0, 2), (2, 3, 2)]),
    kind=st.sampled_from([list, tuple, np.array]),
)
def test_any_polynomial_is_differentiated_and_runs_over_leading_axes(coefficients, x, shape, kind):
    """Differences of fourth order are exact for polynomials up to degree 4: here x^i y^j of degree 3."""
    C = np.reshape(coefficients, (2, 10))
    powers = [(i, j) for i in range(4) for j in range(4 - i)]

    def rule(t, z, C):
        return kind([sum(c * z[0] ** i * z[1] ** j for c, (i, j) in zip(row, powers, strict=True)) for row in C])

    def jacobian(t, z, C):
        return [
            [
                sum(c * i * z[0] ** max(i - 1, 0) * z[1] ** j for c, (i, j) in zip(row, powers, strict=True)),
                sum(c * j * z[1] ** max(j - 1, 0) * z[0] ** i for c, (i, j) in zip(row, powers, strict=True)),
            ]
            for row in C
        ]

    exact, traced = FunctionFlow(rule, 2, jacobian, args=(C,)), FunctionFlow(rule, 2, args=(C,))
    np.testing.assert_allclose(traced.jacobian(0.0, x), exact.jacobian(0.0, x), rtol=0, atol=1e-9)
    states = np.array(x) + np.random.default_rng(0).normal(size=shape)
    values = exact.vector_field(0.0, states)
    assert values.shape == states.shape
    for index in np.ndindex(shape[:-1]):
        np.testing.assert_array_equal(values[index], rule(0.0, states[index], C))
    V = np.random.default_rng(1).normal(size=(2, 2))
    expected = finite_difference(lambda z: exact.vector_field(0.0, z), np.array(x), V)
    np.testing.assert_allclose(exact.jvp(0.0, x, V), expected, rtol=0, atol=1e-9)
