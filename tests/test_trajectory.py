"""Runs of the state alone: exact solutions, the states of a pass with vectors, and nothing differentiated."""

import attrs
import numpy as np
import pytest
from steps import step_of

from dynsys import (
    RK4,
    DivergenceError,
    Euler,
    FallbackWarning,
    Flow,
    InvalidInputError,
    Map,
    NumbaTangent,
    RunState,
    SymbolicFlow,
    Trajectory,
)
from dynsys.models.activations import ReLU, Tanh
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Logistic, Lorenz63, Lorenz96
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.passes.orthonormal import LONG_COLUMN

MATRIX = np.array([[0.9, 0.4, 0.0], [-0.3, 1.1, 0.2], [0.1, 0.0, 0.6]])
FLOW = ThreeLayerGradientFlow(*regression_task(samples=100), hidden=2, activation=Tanh())
SYSTEMS = {  # a system, its stepper, a state
    "Henon": (Henon(), [], [0.3, 0.2]),
    "LinearFlow": (LinearFlow(MATRIX), [RK4(0.05)], [1.0, 2.0, -1.0]),
    "Lorenz63": (Lorenz63(), [RK4(1 / 128)], [1.0, 2.0, 20.0]),
    "Pendulum": (  # depends on time
        SymbolicFlow.of({"x": "v", "v": "-(1 + cos(3*t))*sin(x) - 0.1*v**3"}),
        [RK4(1 / 16)],
        [0.9, -0.3],
    ),
    "SGD": (FLOW.minibatches(7, seed=1), [Euler(1e-3)], FLOW.initial(seed=3)),
    "SGD, own batches": (FLOW.minibatches(7, seed=1, shared=False), [Euler(1e-3)], FLOW.initial(seed=3)),
    "SGD, large": (
        attrs.evolve(FLOW, hidden=5, activation=ReLU()).minibatches(7, seed=1),
        [Euler(1e-3)],
        attrs.evolve(FLOW, hidden=5).initial(seed=3),
    ),
}
every_system = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "SGD, large")) for name in SYSTEMS]
)
both_backends = pytest.mark.parametrize("backend", ["numpy", "numba"])
one_and_many = pytest.mark.parametrize("members", [None, 3])
RUN = {"intervals": 6, "steps_per_interval": 5}


def tangent_of(name, backend="auto", t0=0.0):
    system, stepper, _ = SYSTEMS[name]
    return system.tangent(*stepper, t0=t0, backend=backend)


def states_of(name, members):
    state = np.array(SYSTEMS[name][2])
    noise = 1e-2 * np.random.default_rng(7).normal(size=(members or 1, len(state)))
    return state if members is None else state + noise


@both_backends
@one_and_many
def test_a_linear_map_is_its_powers(members, backend):
    x0 = np.array([1.0, 2.0, -1.0]) + np.zeros((3,) if members is None else (members, 1))
    run = LinearMap(MATRIX).tangent(t0=0.5, backend=backend).trajectory(x0, intervals=4, steps_per_interval=3)
    np.testing.assert_array_equal(run.times, [3.5, 6.5, 9.5, 12.5])
    powers = [np.linalg.matrix_power(MATRIX, n) for n in (3, 6, 9, 12)]
    expected = np.moveaxis([x0 @ power.T for power in powers], 0, -2)
    assert run.states.shape == (*x0.shape[:-1], 4, 3)
    np.testing.assert_allclose(run.states, expected, rtol=1e-13, atol=1e-13)


@both_backends
def test_a_linear_flow_follows_the_polynomial_of_its_stepper(backend):
    z = np.array([-0.5, 0.25]) * 0.1
    flow = LinearFlow(np.diag(z / 0.1)).tangent(RK4(0.1), backend=backend)
    run = flow.trajectory([2.0, -3.0], intervals=5, warmup=2)
    factor = 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
    np.testing.assert_allclose(run.states, [2.0, -3.0] * factor ** np.arange(3, 8)[:, None], rtol=1e-13)


@both_backends
@one_and_many
@every_system
def test_states_are_those_of_a_pass_with_vectors(name, members, backend):
    """To the bit; but kernels that compute no Jacobian are other source: to rounding, which chaos amplifies."""
    tangent, x0 = tangent_of(name, backend, t0=0.7), states_of(name, members)
    with_vectors = tangent.forward(RunState.start(x0, tangent.dimension, None, seed=0), record="frames", **RUN)
    run = tangent.trajectory(x0, **RUN)
    tolerance = 1e-9 if backend == "numba" and (members or "SGD" in name) else 0.0
    np.testing.assert_allclose(run.states, with_vectors.as_given(with_vectors.xs), rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(run.end.x, run.states[..., -1, :].reshape(run.end.x.shape))
    assert run.end.Q.shape == (*run.end.x.shape, 0)
    assert run.end.n == 30


@pytest.mark.numba
@one_and_many
@every_system
def test_compiled_and_numpy_agree_to_rounding(name, members):
    x0, short = states_of(name, members), {"intervals": 3, "steps_per_interval": 2}  # chaos amplifies rounding
    ours, reference = (tangent_of(name, b, t0=0.7).trajectory(x0, **short).states for b in ("numba", "numpy"))
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-12 * np.abs(reference).max())


@both_backends
@one_and_many
@every_system
def test_one_run_after_another_is_one_long_run_bit_for_bit(name, members, backend):
    tangent, x0 = tangent_of(name, backend, t0=0.7), states_of(name, members)
    long = tangent.trajectory(x0, intervals=11, steps_per_interval=2)
    first = tangent.trajectory(x0, intervals=4, steps_per_interval=2)
    second = tangent.trajectory(first.end, intervals=5, steps_per_interval=2, warmup=2)
    np.testing.assert_array_equal(first.states, long.states[..., :4, :])
    np.testing.assert_array_equal(second.states, long.states[..., 6:, :])
    np.testing.assert_array_equal(np.concatenate([first.times, second.times]), np.delete(long.times, [4, 5]))
    np.testing.assert_array_equal(second.end.x, long.end.x)


@both_backends
def test_the_tangent_can_stop_while_the_state_runs_on(backend):
    tangent, x0 = tangent_of("Lorenz63", backend), states_of("Lorenz63", 3)
    start = RunState.start(x0, 3, None, seed=0)
    expected = tangent.forward(start, intervals=20, steps_per_interval=5, record="frames")
    spectrum = tangent.benettin(x0, intervals=8, steps_per_interval=5, warmup=0)
    later = tangent.trajectory(spectrum.end, intervals=12, steps_per_interval=5)
    tolerance = 0.0 if backend == "numpy" else 1e-12  # other source without vectors
    np.testing.assert_allclose(later.states, expected.xs[:, 8:], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(later.times, np.arange(9, 21) * 5 / 128)
    assert spectrum.end.Q.shape == (3, 3, 3)  # the spectrum can still be continued


@both_backends
def test_the_tangent_can_begin_where_the_state_has_run_to(backend):
    tangent, x0 = tangent_of("Henon", backend), states_of("Henon", 3)
    reached = tangent.trajectory(x0, intervals=50).end
    later = tangent.benettin(reached, intervals=40, k=1, seed=4)
    np.testing.assert_array_equal(later.times, np.arange(55, 95))  # new frames are aligned first, as at a start
    anew = tangent.benettin(reached.x, intervals=40, k=1, seed=4)  # the map is autonomous
    np.testing.assert_array_equal(later.rates, anew.rates)
    with pytest.raises(InvalidInputError, match="k must be a whole number >= 1, got 0"):
        tangent.benettin(reached, intervals=4, k=0)
    vectors = tangent.ginelli(reached, intervals=10, warmup=60, tail=60)
    assert np.nanmax(vectors.diagnostics.frame_agreement) < 1e-8


class Untouchable(Flow):
    """A flow that counts evaluations and refuses to be differentiated."""

    dimension = 2
    calls = []

    def vector_field(self, t, x):
        self.calls.append(np.shape(x))
        return -x

    def jvp(self, t, x, V):
        raise AssertionError("nobody asked for derivatives")


class Plain(Map):
    """A map without derivatives: they would be finite differences."""

    dimension = 1
    calls = []

    def step(self, n, x):
        self.calls.append(np.shape(x))
        return 0.5 * x


def test_nothing_is_differentiated():
    Untouchable.calls.clear()
    Untouchable().tangent(RK4(0.1)).trajectory([1.0, 2.0], intervals=3, steps_per_interval=2, warmup=1)
    assert Untouchable.calls == [(2,)] * (4 * 4 * 2)  # four stages of each step
    Plain.calls.clear()
    with pytest.warns(FallbackWarning, match="finite-difference"):
        tangent = Plain().tangent()
    tangent.trajectory([1.0], intervals=5)
    assert Plain.calls == [(1,)] * 5


def test_members_side_by_side_compute_no_jacobian():
    kernel = Lorenz63().kernel()
    assert "_J" in kernel.step(RK4(0.01).tableau, 1).source
    assert "_J" not in kernel.step(RK4(0.01).tableau, 0).source
    rows = [FLOW.batch_kernel(7).lanes(Euler(0.1).tableau, k).source.count("a = G[") for k in (1, 0)]
    assert rows[1] == 2 * FLOW.dimension < rows[0]  # the velocity, for four samples and for one


@both_backends
def test_a_diverging_run_raises_with_its_finished_part(backend):
    tangent = Logistic().tangent(backend=backend)
    with pytest.raises(DivergenceError, match=r"the state became infinite or NaN.*check x0, or shorten dt") as caught:
        tangent.trajectory([-1e-12], intervals=60, warmup=2)
    partial = caught.value.partial
    assert isinstance(partial, Trajectory)
    finished = len(partial.times)
    assert 16 <= finished < 60
    assert caught.value.time == partial.times[-1] + 1
    shorter = tangent.trajectory([-1e-12], intervals=finished, warmup=2)
    np.testing.assert_array_equal(partial.states, shorter.states)
    np.testing.assert_array_equal(partial.times, shorter.times)
    with pytest.raises(DivergenceError) as caught:
        tangent.trajectory([-1e-12], intervals=60, warmup=60)
    assert caught.value.partial is None
    with pytest.raises(DivergenceError) as caught:
        tangent.trajectory([-1e200], intervals=60)
    assert caught.value.partial is None


@both_backends
def test_a_member_that_diverges_is_marked_and_the_others_do_not_change(backend):
    tangent = Henon().tangent(backend=backend)
    x0 = np.array([[0.1, 0.1], [5.0, 5.0], [0.3, 0.2]])
    together, others = tangent.trajectory(x0, intervals=30), tangent.trajectory(x0[[0, 2]], intervals=30)
    np.testing.assert_array_equal(together.states[[0, 2]], others.states)
    np.testing.assert_array_equal(together.end.status, [0, 1, 0])
    finished = together.end.stopped[1] - 1
    assert 0 < finished < 30
    assert np.isfinite(together.states[1, :finished]).all()
    assert np.isnan(together.states[1, finished:]).all()
    later = tangent.benettin(together.end, intervals=40)
    assert np.isnan(later.rates[1]).all()
    assert np.isfinite(later.rates[[0, 2]]).all()


@pytest.mark.numba
@every_system
def test_threads_do_not_change_a_bit(name):
    system, stepper, _ = SYSTEMS[name]
    one, two = (
        NumbaTangent(step_of(system, *stepper), threads=threads).trajectory(states_of(name, 5), **RUN)
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one.states, two.states)


def test_progress_comes_to_the_end():
    calls = []
    Henon().tangent().trajectory([0.1, 0.1], intervals=50, progress=lambda done, of: calls.append((done, of)))
    assert calls == sorted(calls)
    assert calls[-1] == (50, 50)


@pytest.mark.parametrize(
    ("name", "values"),
    {"intervals": [0, 2.5], "steps_per_interval": [0], "warmup": [-1, None], "x0": [[1.0], [np.nan, 1.0]]}.items(),
)
def test_bad_arguments_are_refused_by_name(name, values):
    for value in values:
        arguments = {"x0": [0.1, 0.1], "intervals": 5} | {name: value}
        with pytest.raises(InvalidInputError, match=rf"^{name} must"):
            Henon().tangent(backend="numpy").trajectory(arguments.pop("x0"), **arguments)


def test_a_run_of_another_system_is_not_continued():
    end = Henon().tangent().trajectory([0.1, 0.1], intervals=2).end
    with pytest.raises(InvalidInputError, match="must have dimension 1, got 2"):
        Logistic().tangent().trajectory(end, intervals=2)


@pytest.mark.numba
@pytest.mark.slow
def test_long_states_run_alone_in_a_kernel_too():
    """LAPACK, which orthonormalises long columns, refuses a frame without any."""
    wide = Lorenz96(sites=LONG_COLUMN)
    x0 = 8.0 + np.random.default_rng(0).normal(size=wide.sites)
    compiled, plain = (wide.tangent(RK4(0.01), backend=b).trajectory(x0, intervals=5) for b in ("numba", "numpy"))
    np.testing.assert_allclose(compiled.states, plain.states, rtol=1e-12)
