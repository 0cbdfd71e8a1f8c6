"""The linearised step and its passes: NumPy and compiled, single states and ensembles."""

import attrs
import numpy as np
import pytest
from steps import step_of

from dynsys import (
    RK4,
    DivergenceError,
    Euler,
    Flow,
    InvalidInputError,
    NumbaTangent,
    RunState,
    SingularTangentError,
    SymbolicFlow,
)
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Logistic, Lorenz63
from dynsys.passes.orthonormal import unpacked
from dynsys.passes.status import DIVERGED, RUNNING, SINGULAR
from dynsys.testing import check_tangent

MATRIX = np.array([[0.9, 0.4, 0.0], [-0.3, 1.1, 0.2], [0.1, 0.0, 0.6]])
SYSTEMS = {  # a system, its stepper, a state
    "Henon": (Henon(), None, [0.3, 0.2]),
    "Logistic": (Logistic(), None, [0.3]),
    "LinearMap": (LinearMap(MATRIX), None, [1.0, 2.0, -1.0]),
    "LinearFlow-Euler": (LinearFlow(MATRIX), Euler(0.05), [1.0, 2.0, -1.0]),
    "LinearFlow-RK4": (LinearFlow(MATRIX), RK4(0.05), [1.0, 2.0, -1.0]),
    "Lorenz63": (Lorenz63(), RK4(1 / 128), [1.0, 2.0, 20.0]),
    "Pendulum": (  # the only one that depends on time
        SymbolicFlow.of({"x": "v", "v": "-(1 + cos(3*t))*sin(x) - 0.1*v**3"}),
        RK4(1 / 16),
        [0.9, -0.3],
    ),
}
BACKENDS = ["numpy", "numba"]
RECORDS = ["growth", "R", "frames"]
both_backends = pytest.mark.parametrize("backend", BACKENDS)
every_system = pytest.mark.parametrize("name", SYSTEMS)


def tangent_of(name, backend, t0=0.0):
    system, stepper, _ = SYSTEMS[name]
    return system.tangent(*([stepper] if stepper else []), t0=t0, backend=backend)


def start_of(name, members=None):
    """The start of a run at the state of the system, or at states around it."""
    state = np.array(SYSTEMS[name][2])
    if members is not None:
        state = state + 1e-2 * np.random.default_rng(7).normal(size=(members, len(state)))
    return RunState.start(state, state.shape[-1], None, seed=5)


def only(start, members):
    """The same pass with these members alone."""
    rows = {f: getattr(start, f)[members] for f in ("x", "Q", "status", "stopped", "members")}
    return attrs.evolve(start, **rows)


def assert_same_bits(found, expected, rows=slice(None)):
    """All arrays of two passes agree bit for bit; `rows` are the members of `found` to compare."""
    assert found.n == expected.n
    for field in ("x", "Q", "status", "stopped", "members", "growth", "R", "xs", "Qs"):
        ours, theirs = getattr(found, field), getattr(expected, field)
        assert (ours is None) == (theirs is None), field
        if ours is not None:
            np.testing.assert_array_equal(ours[rows], theirs, err_msg=field)


def whole_intervals_before_overflow(system, x, steps):
    n = 0
    with np.errstate(over="ignore", invalid="ignore"):
        while np.isfinite(x).all():
            x, n = system.step(n, x), n + 1
    return (n - 1) // steps


@both_backends
@every_system
def test_the_tangent_is_the_derivative_of_its_step_and_its_pass_is_its_steps(name, backend):
    check_tangent(tangent_of(name, backend, t0=0.7), np.array(SYSTEMS[name][2]))


@pytest.mark.numba
@every_system
def test_compiled_and_numpy_passes_agree_to_rounding(name):
    options = {"intervals": 4, "steps_per_interval": 2, "record": "frames"}  # short: chaos amplifies rounding
    ours, reference = (tangent_of(name, b, t0=0.7).forward(start_of(name, members=3), **options) for b in BACKENDS)
    for field in ("xs", "Qs", "R"):
        expected = getattr(reference, field)
        np.testing.assert_allclose(getattr(ours, field), expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))


@both_backends
@every_system
def test_two_intervals_are_one_of_twice_the_length(name, backend):
    """The cocycle property: M(2m) = M(m, later) M(m), so R = R2 R1 for the unique factors with R_ii > 0."""
    tangent, start, m = tangent_of(name, backend), start_of(name), 3
    two = tangent.forward(start, intervals=2, steps_per_interval=m, record="R")
    one = tangent.forward(start, intervals=1, steps_per_interval=2 * m, record="R")
    np.testing.assert_array_equal(two.x, one.x)
    np.testing.assert_allclose(two.Q, one.Q, rtol=0, atol=1e-13)
    product, at_once = unpacked(two.R[0, 1]) @ unpacked(two.R[0, 0]), unpacked(one.R[0, 0])
    np.testing.assert_allclose(product, at_once, rtol=0, atol=1e-14 * np.abs(at_once).max())
    # The factorisation at once knows its small R_ii to rounding times the condition of the whole interval only.
    rounding = 4 * np.finfo(float).eps * np.linalg.cond(at_once)
    np.testing.assert_allclose(np.diagonal(product), np.diagonal(at_once), rtol=rounding)


@both_backends
@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("name", ["Henon", "Pendulum"])
def test_a_pass_in_chunks_is_one_pass_bit_for_bit(name, record, backend):
    tangent, start = tangent_of(name, backend, t0=0.3), start_of(name, members=2)
    options = {"steps_per_interval": 3, "record": record}
    whole = tangent.forward(start, intervals=9, **options)
    chunks, end = [], start
    for intervals in (4, 1, 4):
        end = tangent.forward(end, intervals=intervals, **options)
        chunks.append(end)
    joined = {
        f: np.concatenate([getattr(c, f) for c in chunks], axis=1)
        for f in ("growth", "R", "xs", "Qs")
        if getattr(end, f) is not None
    }
    assert_same_bits(attrs.evolve(end, **joined), whole)


@pytest.mark.parametrize("record", RECORDS)
@both_backends
def test_what_is_recorded_does_not_change_the_pass(record, backend):
    tangent, start = tangent_of("Henon", backend), start_of("Henon", members=2)
    bare = tangent.forward(start, intervals=5, steps_per_interval=2, record="nothing")
    assert_same_bits(tangent.forward(start, intervals=5, steps_per_interval=2, record=record).without_records(), bare)


@both_backends
@every_system
def test_each_member_equals_its_single_run_bit_for_bit(name, backend):
    tangent, start = tangent_of(name, backend), start_of(name, members=5)
    options = {"intervals": 6, "steps_per_interval": 2, "record": "frames"}
    together = tangent.forward(start, **options)
    for m in range(5):
        assert_same_bits(together, tangent.forward(only(start, [m]), **options), rows=[m])


@pytest.mark.numba
@every_system
def test_threads_do_not_change_a_bit(name):
    system, stepper, _ = SYSTEMS[name]
    start = start_of(name, members=5)
    options = {"intervals": 6, "steps_per_interval": 2, "record": "frames"}
    alone = NumbaTangent(step_of(system, stepper), threads=1).forward(start, **options)
    for threads in (2, 9):
        assert_same_bits(NumbaTangent(step_of(system, stepper), threads=threads).forward(start, **options), alone)


@both_backends
@pytest.mark.parametrize(
    ("name", "x"), [("Henon", [1e6, 0.0]), ("Henon", [1e200, 0.0]), ("Logistic", [5.0]), ("Logistic", [-1e-3])]
)
def test_a_member_that_diverges_is_marked_and_the_others_do_not_change(name, x, backend):
    tangent, others, steps = tangent_of(name, backend), [0, 2, 3], 2
    start = RunState.start(np.insert(start_of(name, members=3).x, 1, x, axis=0), len(x), 1, seed=5)
    options = {"intervals": 20, "steps_per_interval": steps, "record": "frames"}
    together = tangent.forward(start, **options)
    assert_same_bits(together, tangent.forward(only(start, others), **options), rows=others)
    np.testing.assert_array_equal(together.status, [RUNNING, DIVERGED, RUNNING, RUNNING])
    finished = whole_intervals_before_overflow(tangent.time_step, np.array(x), steps)
    np.testing.assert_array_equal(together.stopped, [-1, (finished + 1) * steps, -1, -1])
    for record in (together.xs, together.Qs, together.R):
        assert np.isfinite(record[1, :finished]).all()
        assert np.isnan(record[1, finished:]).all()
    assert np.isnan(together.x[1]).all()
    assert np.isnan(together.Q[1]).all()


@both_backends
def test_a_member_that_stopped_stays_stopped_when_the_pass_goes_on(backend):
    tangent = tangent_of("Logistic", backend)
    options = {"intervals": 20, "steps_per_interval": 1, "record": "growth"}
    end = tangent.forward(RunState.start(np.array([[0.3], [5.0]]), 1, None, seed=0), **options)
    later = tangent.forward(end, **options)
    np.testing.assert_array_equal(later.status, end.status)
    np.testing.assert_array_equal(later.stopped, end.stopped)
    assert np.isnan(later.growth[1]).all()
    assert np.isfinite(later.growth[0]).all()


@both_backends
def test_an_euler_step_that_annihilates_a_direction_is_singular(backend):
    tangent = LinearFlow(np.diag([-1.0, -4.0])).tangent(Euler(0.25), t0=2.0, backend=backend)  # 1 + dt mu = 0
    with pytest.raises(SingularTangentError, match=r"singular .* by t = 2\.75 \(step 3\).*fewer vectors") as caught:
        tangent.benettin([1.0, 1.0], intervals=5, steps_per_interval=3, warmup=0)
    assert caught.value.time == 2.75
    spectrum = tangent.benettin([[1.0, 1.0], [2.0, 1.0]], intervals=5, warmup=0)
    np.testing.assert_array_equal(spectrum.end.status, [SINGULAR, SINGULAR])
    np.testing.assert_array_equal(spectrum.end.stopped, [1, 1])
    assert np.isnan(spectrum.exponents).all()
    assert np.isnan(spectrum.rates).all()


@both_backends
def test_the_vectors_that_survive_an_annihilated_direction_can_be_followed(backend):
    tangent = LinearFlow(np.diag([-1.0, -4.0])).tangent(Euler(0.25), backend=backend)
    spectrum = tangent.benettin([1.0, 1.0], intervals=5, warmup=1, k=1)  # the remedy that the error names
    np.testing.assert_allclose(spectrum.rates, np.log(0.75) / 0.25, rtol=1e-14)


@both_backends
@pytest.mark.parametrize(
    ("name", "x"),
    [("Logistic", [0.5]), ("Henon", [1e9, 0.0])],  # the derivative vanishes; a step makes two vectors parallel
)
def test_a_singular_member_is_marked_and_the_others_do_not_change(name, x, backend):
    tangent, others = tangent_of(name, backend), [0, 2]
    start = RunState.start(np.insert(start_of(name, members=2).x, 1, x, axis=0), len(x), None, seed=0)
    options = {"intervals": 4, "steps_per_interval": 1, "record": "growth"}
    together = tangent.forward(start, **options)
    np.testing.assert_array_equal(together.status, [RUNNING, SINGULAR, RUNNING])
    np.testing.assert_array_equal(together.stopped, [-1, 1, -1])
    assert np.isnan(together.growth[1]).all()
    assert_same_bits(together, tangent.forward(only(start, others), **options), rows=others)


@both_backends
def test_overflow_between_factorisations_raises_with_time_and_remedy(backend):
    tangent = LinearMap(10.0 * np.eye(2)).tangent(t0=3.0, backend=backend)
    with pytest.raises(DivergenceError, match=r"by t = 403 \(step 400\).*fewer steps_per_interval") as caught:
        tangent.benettin([0.0, 0.0], intervals=2, steps_per_interval=400, warmup=0)
    assert caught.value.time == 403.0
    assert caught.value.partial is None
    remedied = tangent.benettin([0.0, 0.0], intervals=8, steps_per_interval=100, warmup=0)
    np.testing.assert_allclose(remedied.rates, np.log(10.0), rtol=1e-14)


@pytest.mark.parametrize("factor", [10.0, 0.1])
@both_backends
def test_growth_within_the_range_of_doubles_is_measured_though_its_square_is_not(factor, backend):
    tangent = LinearMap(factor * np.eye(2)).tangent(backend=backend)
    spectrum = tangent.benettin([0.0, 0.0], intervals=2, steps_per_interval=200, warmup=0)
    np.testing.assert_allclose(spectrum.rates, np.log(factor), rtol=1e-13)


@both_backends
def test_t0_shifts_the_time_that_the_field_sees(backend):
    steps, dt = 24, 1 / 16  # a power of two: both clocks are exact
    options = {"intervals": 8, "steps_per_interval": 3, "record": "frames"}
    end = tangent_of("Pendulum", backend).forward(start_of("Pendulum"), **options)
    expected = tangent_of("Pendulum", backend).forward(end.without_records(), **options)
    restarted = attrs.evolve(end.without_records(), n=0)
    shifted = tangent_of("Pendulum", backend, t0=steps * dt).forward(restarted, **options)
    assert_same_bits(attrs.evolve(shifted, n=2 * steps), expected)
    unshifted = tangent_of("Pendulum", backend).forward(restarted, **options)
    assert np.abs(unshifted.xs - expected.xs).max() > 1e-2


@both_backends
def test_t0_shifts_the_times_of_a_result_and_nothing_else_of_an_autonomous_system(backend):
    options = {"intervals": 5, "steps_per_interval": 4, "warmup": 2}
    plain, shifted = (
        tangent_of("Lorenz63", backend, t0=t0).benettin([1.0, 2.0, 20.0], **options) for t0 in (0.0, 50.0)
    )
    np.testing.assert_array_equal(plain.times, np.arange(3, 8) * 4 / 128)
    np.testing.assert_array_equal(shifted.times, 50.0 + plain.times)
    np.testing.assert_array_equal(shifted.rates, plain.rates)


def test_what_cannot_be_compiled_is_refused_and_steps_with_numpy():
    class NoKernel(Flow):
        dimension = 1

        def vector_field(self, t, x):
            return -x

        def jvp(self, t, x, V):
            return -V

    with pytest.raises(InvalidInputError, match=r"numba cannot take the step of NoKernel.*numpy"):
        NoKernel().tangent(Euler(0.1), backend="numba")
    with pytest.raises(InvalidInputError, match="backend must be"):
        NoKernel().tangent(Euler(0.1), backend="fortran")
    rates = NoKernel().tangent(Euler(0.1)).benettin([1.0], intervals=3).rates
    np.testing.assert_allclose(rates, np.log(0.9) / 0.1, rtol=1e-13)
