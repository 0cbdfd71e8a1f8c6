"""One step as an object: what a tangent needs of it, backends and steps from outside, and what falls back to NumPy."""

import inspect
import subprocess
import sys
import warnings

import attrs
import numpy as np
import pytest
from steps import step_of

from dynsys import (
    RK4,
    Euler,
    ExplicitRungeKutta,
    FallbackWarning,
    Flow,
    FlowStep,
    FunctionFlow,
    HeavyBall,
    InvalidInputError,
    NumbaTangent,
    NumpyTangent,
    PiecewiseFlow,
    Stepper,
    TangentSystem,
    TimeStep,
    vary,
)
from dynsys.compiled.kernel import Kernel
from dynsys.models.classics import Henon, LinearFlow, Lorenz63
from dynsys.systems.tangent import make_tangent
from dynsys.testing import check_tangent

X3 = np.array([1.0, 2.0, 20.0])


def test_a_map_is_a_step_and_a_flow_under_a_stepper_is_another():
    for step, dimension, dt, time in ((Henon(), 2, 1.0, 3.0), (FlowStep(Lorenz63(), RK4(0.1), t0=2.0), 3, 0.1, 2.3)):
        assert isinstance(step, TimeStep)
        assert (step.dimension, step.dt, step.members) == (dimension, dt, None)
        assert step.time(3) == pytest.approx(time, rel=1e-15)
        np.testing.assert_allclose(step.time(np.arange(4))[3], time, rtol=1e-15)
        assert step.for_member(7) is step
    assert not isinstance(Lorenz63(), TimeStep)


def test_what_is_no_flow_or_no_stepper_is_refused_by_name():
    for wrong, message in (((Lorenz63(), 0.01), "a stepper such as RK4"), ((Henon(), RK4(0.1)), "a flow is needed")):
        with pytest.raises(InvalidInputError, match=message):
            FlowStep(*wrong)
    with pytest.raises(InvalidInputError, match="t0 must be a finite number, got nan"):
        FlowStep(Lorenz63(), RK4(0.1), t0=np.nan)


@attrs.frozen(eq=False)
class Kicked(TimeStep):
    """Half a turn by hand: a step that is neither a map nor a flow, with a time of its own."""

    strength: float = 0.7
    dimension = 2
    dt = 0.25

    def step(self, n, x):
        p = x[..., 1] + self.strength * np.sin(x[..., 0]) * (1 + n % 2)
        return np.stack([x[..., 0] + p, p], axis=-1)

    def step_tangent(self, n, x, V):
        slope = self.strength * np.cos(x[0]) * (1 + n % 2)
        return self.step(n, x), np.array([[1.0 + slope, 1.0], [slope, 1.0]]) @ V


def test_a_step_from_outside_runs_everything():
    tangent = make_tangent(Kicked())
    assert type(tangent) is NumpyTangent
    check_tangent(tangent, np.array([0.3, 0.1]))
    spectrum = tangent.benettin([0.3, 0.1], intervals=200)
    np.testing.assert_allclose(spectrum.rates.sum(axis=1), 0.0, atol=1e-12)  # it keeps areas
    np.testing.assert_allclose(spectrum.times[:2], 0.25 * np.array([21, 22]))
    assert spectrum.dt == 0.25
    runs = vary(tangent, {"strength": [0.0, 3.0]}).benettin([[0.3, 0.1], [0.3, 0.1]], intervals=200, warmup=0)
    assert runs.exponents[1, 0] > 1.0 > 10 * abs(runs.exponents[0, 0])
    with pytest.raises(InvalidInputError, match="Kicked has no parameter 'mass'; it has strength"):
        vary(tangent, {"mass": [1.0]})


class Counting(TangentSystem):
    """A backend from outside: it steps by NumPy, and counts."""

    name = "counting"
    steps = 0

    def step(self, n, x, V, *, member=0):
        Counting.steps += 1
        return self.time_step.for_member(member).step_tangent(n, x, V)

    def forward(self, start, **options):
        Counting.steps += options["intervals"] * options["steps_per_interval"] * len(start.x)
        return NumpyTangent(self.time_step, self.shift).forward(start, **options)


class OfMaps(NumpyTangent):
    """Another, which cannot take every step."""

    @classmethod
    def missing(cls, time_step):
        return "" if time_step.dt == 1.0 else "it takes steps of maps alone: take a Poincare map"


@pytest.mark.parametrize("backend", [Counting, "counting"])
def test_a_backend_may_come_from_outside(backend):
    tangent = Henon().tangent(backend=backend, t0=3.0)
    assert type(tangent) is Counting
    Counting.steps = 0
    run = {"intervals": 20, "steps_per_interval": 2, "warmup": 5}
    spectrum = tangent.benettin([[0.1, 0.1], [0.2, 0.1]], **run)
    checks = Counting.steps - 2 * (2 * 25 + 2)  # beside the run and the check of the determinants: of the derivative
    assert 1 <= checks <= 30
    expected = Henon().tangent(backend="numpy", t0=3.0).benettin([[0.1, 0.1], [0.2, 0.1]], **run)
    np.testing.assert_array_equal(spectrum.rates, expected.rates)
    np.testing.assert_array_equal(spectrum.times, expected.times)
    assert type(vary(tangent, {"a": [1.2, 1.4]})) is Counting
    check_tangent(tangent, np.array([0.1, 0.1]))


def test_the_class_of_a_backend_is_the_last_one_of_its_name():
    """attrs makes a class with slots anew, and the first one lives on until the garbage collector comes."""
    code = """
    import gc
    gc.disable()
    import attrs, numpy as np
    from dynsys import NumpyTangent, TangentSystem
    from dynsys.models.classics import Henon
    from dynsys.systems.tangent import kinds_of_tangents
    assert kinds_of_tangents()["numpy"] is NumpyTangent
    assert type(Henon().tangent(backend="numpy")) is NumpyTangent
    for version in (1, 2):  # as when a cell of a notebook is run again
        @attrs.frozen(eq=False)
        class Mine(NumpyTangent.__base__):
            name = "mine"
            own: int = version
            step = NumpyTangent.step
            def forward(self, start, **options):
                return NumpyTangent(self.time_step).forward(start, **options)
        assert type(Henon().tangent(backend="mine")) is Mine
        assert Henon().tangent(backend="mine").own == version
    class Numpy(TangentSystem):
        name = "numpy"
    assert type(Henon().tangent(backend="numpy")) is NumpyTangent
    """
    subprocess.run([sys.executable, "-c", inspect.cleandoc(code)], check=True)


def test_a_backend_says_what_it_misses_of_a_step():
    assert type(Henon().tangent(backend=OfMaps)) is OfMaps
    with pytest.raises(InvalidInputError, match=r"OfMaps.* cannot take the step of Lorenz63: .* take a Poincare map"):
        Lorenz63().tangent(RK4(0.01), backend=OfMaps)
    for wrong in ("fortran", int, None, NumpyTangent(Henon())):
        with pytest.raises(
            InvalidInputError,
            match=r"backend must be one of 'auto', .*'counting'.*'numba', 'numpy'(, 'torch')?, or a kind of .*, got",
        ):
            Henon().tangent(backend=wrong)


@attrs.frozen(eq=False)
class Sine(Stepper):
    """A stepper of one's own, in NumPy alone: x' = x + sin(dt) f(x)."""

    order = 1

    def step(self, flow, n, t, x):
        return x + np.sin(self.dt) * flow.vector_field(t, x)

    def step_tangent(self, flow, n, t, x, V):
        return self.step(flow, n, t, x), V + np.sin(self.dt) * flow.jvp(t, x, V)


@pytest.mark.numba
def test_a_stepper_that_has_no_compiled_form_is_one_warning():
    with pytest.warns(FallbackWarning, match="NumPy steps Lorenz63, more slowly: the stepper Sine has no") as caught:
        tangent = Lorenz63().tangent(Sine(0.01))
    assert len(caught) == 1
    assert type(tangent) is NumpyTangent
    check_tangent(tangent, X3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Lorenz63().tangent(Sine(0.01), backend="numpy")  # as asked for


@pytest.mark.numba
def test_a_tableau_of_ones_own_is_written_out_and_fills_the_lanes():
    class Heun(ExplicitRungeKutta):
        order = 2
        a = ((), (1.0,))
        b = (0.5, 0.5)

    tangent = Lorenz63().tangent(Heun(0.01))
    assert type(tangent) is NumbaTangent
    assert tangent.time_step.step_kernel().step(3).side_by_side > 1
    check_tangent(tangent, X3)


@attrs.frozen(eq=False)
class Adam(Stepper):
    """An optimiser of one's own, with two moments for each weight and a correction that depends on n."""

    b1: float = 0.9
    b2: float = 0.99
    epsilon: float = 1e-2
    order = 1

    def state_dimension(self, flow):
        return 2 * flow.dimension

    def step(self, flow, n, t, x):
        return self._moved(*np.split(x, 3, axis=-1), flow.vector_field(t, x[..., : flow.dimension]), n)[0]

    def _moved(self, w, m, s, g, n):
        m, s = self.b1 * m + (1 - self.b1) * g, self.b2 * s + (1 - self.b2) * g**2
        root = np.sqrt(s / (1 - self.b2 ** (n + 1)))
        return np.concatenate([w + self.dt * m / (1 - self.b1 ** (n + 1)) / (root + self.epsilon), m, s], axis=-1), root

    def step_tangent(self, flow, n, t, x, V):
        w, m, s = np.split(x, 3)
        dw, dm, ds = np.split(V, 3)
        g, dg = flow.vector_field(t, w), flow.jvp(t, w, dw)
        moved, root = self._moved(w, m, s, g, n)
        m = moved[len(w) : 2 * len(w)]
        dm, ds = self.b1 * dm + (1 - self.b1) * dg, self.b2 * ds + (1 - self.b2) * (2 * g)[:, None] * dg
        c1, c2 = 1 - self.b1 ** (n + 1), 1 - self.b2 ** (n + 1)
        droot = ds / (2 * c2 * root[:, None])
        bottom = (root + self.epsilon)[:, None]
        dw = dw + self.dt / c1 * (dm / bottom - m[:, None] * droot / bottom**2)
        return moved, np.concatenate([dw, dm, ds])


def test_an_optimiser_of_ones_own_carries_its_moments_and_is_told_the_step():
    flow = LinearFlow(-np.array([[2.0, 0.5], [0.5, 1.0]]))
    tangent = flow.tangent(Adam(0.05), backend="numpy")
    assert tangent.dimension == 6
    x = np.array([1.0, -2.0, 0.1, 0.2, 0.3, 0.4])
    check_tangent(tangent, x, steps=4)
    first, second = (tangent.step(n, x, np.eye(6))[0] for n in (0, 5))
    assert not np.array_equal(first, second)
    run = tangent.trajectory([1.0, -2.0], intervals=400)
    assert np.abs(run.states[-1, :2]).max() < 0.1 < np.abs(run.states[0, :2]).max()


@attrs.frozen(eq=False)
class Pushed(Flow):
    """dx/dt = -x + force: a linear flow with a force that is constant during a step."""

    force: float
    dimension = 1

    def vector_field(self, t, x):
        return -x + self.force + 0.1 * np.sin(x)

    def jvp(self, t, x, V):
        return (-1.0 + 0.1 * np.cos(x))[:, None] * V


@attrs.frozen(eq=False)
class Noisy(PiecewiseFlow):
    """Another force in each step, a pure function of (seed, n), and of the member if they differ."""

    seed: int = 0
    shared: bool = True
    member: int = 0
    dimension = 1

    def force(self, n):
        return np.random.default_rng([self.seed, n] if self.shared else [self.seed, n, self.member]).normal()

    def flow_at(self, n):
        return Pushed(self.force(n))

    def for_member(self, member):
        return self if self.shared else attrs.evolve(self, member=member)

    def kernel(self):
        def drive(n, steps, members):
            whose = [0] if self.shared else members.tolist()
            return np.array([[[self.for_member(m).force(n + s)] for s in range(steps)] for m in whose])

        source = """

@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    f[0] = -x[0] + rows[0] + 0.1 * sin(x[0])
    for c in range(V.shape[1]):
        F[0, c] = (-1.0 + 0.1 * cos(x[0])) * V[0, c]

"""
        return Kernel(source, drive=drive, shared=self.shared)


@pytest.mark.numba
@pytest.mark.parametrize("shared", [True, False])
def test_a_drive_may_carry_numbers(shared):
    compiled, plain = (Noisy(shared=shared).tangent(RK4(0.1), backend=b) for b in ("numba", "numpy"))
    x0, options = [[0.1], [0.2], [0.1]], {"intervals": 6, "steps_per_interval": 3, "warmup": 2}
    ours, theirs = compiled.benettin(x0, **options), plain.benettin(x0, **options)
    np.testing.assert_allclose(ours.end.x, theirs.end.x, rtol=1e-12)
    np.testing.assert_allclose(ours.rates, theirs.rates, rtol=1e-12)
    assert (ours.end.x[0] == ours.end.x[2]).all() == shared  # the same state, and the same force or not
    assert len(np.unique(ours.rates[0])) == 6
    check_tangent(compiled, np.array([0.3]))


def rated(t, x, W):
    return -x + W @ np.tanh(x)


def rated_jvp(t, x, V, W):
    return -V + W @ (V.T * (1.0 - np.tanh(x) ** 2)).T


def test_a_coupling_matrix_is_an_argument_of_compiled_functions():
    numba = pytest.importorskip("numba")
    W = np.asfortranarray(np.random.default_rng(0).normal(size=(4, 4)))
    kept = W.copy()
    compiled = FunctionFlow(numba.njit(rated), 4, jvp=numba.njit(rated_jvp), args=(W,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tangent = compiled.tangent(Euler(0.05))
    assert type(tangent) is NumbaTangent
    plain = FunctionFlow(rated, 4, jvp=rated_jvp, args=(W,)).tangent(Euler(0.05), backend="numpy")
    ours, theirs = (each.benettin(np.ones(4), intervals=5, warmup=0).rates for each in (tangent, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    other = attrs.evolve(compiled, args=(2 * W,))
    assert other.kernel().source == compiled.kernel().source  # other numbers do not compile again
    np.testing.assert_array_equal(W, kept)


def coupled(t, x, W, gain, on, order):
    return -x + gain * W @ np.tanh(x[order]) * on


def coupled_jvp(t, x, V, W, gain, on, order):
    slope = 1.0 - np.tanh(x[order]) ** 2
    return -V + gain * (on * (W @ (slope * V[order].T).T).T).T


@pytest.mark.slow
def test_arrays_of_all_kinds_are_arguments_of_compiled_functions():
    numba = pytest.importorskip("numba")
    rng, dim = np.random.default_rng(0), 6
    args = (rng.normal(size=(dim, dim)), 1.5, rng.normal(size=dim) > -1, rng.permutation(dim))
    compiled = FunctionFlow(numba.njit(coupled), dim, jvp=numba.njit(coupled_jvp), args=args)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tangent = compiled.tangent(RK4(0.05))
    assert type(tangent) is NumbaTangent
    check_tangent(tangent, rng.normal(size=dim))
    plain = FunctionFlow(coupled, dim, jvp=coupled_jvp, args=args).tangent(RK4(0.05), backend="numpy")
    x0 = rng.normal(size=(3, dim))
    ours, theirs = (each.benettin(x0, intervals=5, warmup=0).rates for each in (tangent, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_fallback_is_one_warning_with_the_cause():
    numba = pytest.importorskip("numba")
    marked = numba.njit(lambda t, x, text: -x)
    flow = FunctionFlow(marked, 1, jvp=numba.njit(lambda t, x, V, text: -V), args=("text",))
    with pytest.warns(FallbackWarning) as caught:
        tangent = flow.tangent(Euler(0.1))
    (text,) = [str(w.message) for w in caught]
    assert text.startswith("NumPy steps FunctionFlow, more slowly: to be compiled, further arguments must be")
    assert text.endswith("got 'text': convert it")
    assert type(tangent) is NumpyTangent
    np.testing.assert_allclose(tangent.benettin([1.0], intervals=3).exponents, np.log(0.9) / 0.1)


def test_a_system_that_is_written_in_numpy_is_no_fallback():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert type(Pushed(0.0).tangent(RK4(0.1))) is NumpyTangent
        assert type(make_tangent(step_of(Pushed(0.0), Euler(0.1)))) is NumpyTangent


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (((), (0.5,)), (0.5, 0.625), "the weights b of a tableau add up to 1, got 1.125"),
        (((1.0,),), (1.0,), r"rows a, of 0, 1, ..., 0 numbers, got rows of \[1\]"),
        (((), (0.5, 0.5)), (0.5, 0.5), r"got rows of \[0, 2\]"),
        (((),), (0.5, 0.5), r"an explicit tableau of 2 weights b needs as many rows a"),
    ],
)
def test_a_tableau_that_is_none_is_refused(a, b, message):
    method = type("Mine", (ExplicitRungeKutta,), {"order": 1, "a": a, "b": b})
    with pytest.raises(InvalidInputError, match=message):
        method(0.1)


def test_a_tableau_may_be_of_lists_and_arrays():
    heun = type("Heun", (ExplicitRungeKutta,), {"order": 2, "a": [[], np.array([1.0])], "b": np.array([0.5, 0.5])})
    step = FlowStep(Lorenz63(), heun(0.01))
    k1 = Lorenz63().vector_field(0.0, X3)
    k2 = Lorenz63().vector_field(0.0, X3 + 0.01 * k1)
    np.testing.assert_allclose(step.step(0, X3), X3 + 0.005 * (k1 + k2), rtol=1e-15)
    assert heun(0.1).tableau == heun(0.2).tableau


@pytest.mark.parametrize(
    "array", [np.ones(2, np.float32), np.ones(2, np.uint8), np.array(["a"]), np.ones(2, ">i8"), np.array([2**60])]
)
def test_arrays_that_would_compute_something_else_fall_back(array):
    """Small integers wrap in NumPy, and would not in a kernel."""
    numba = pytest.importorskip("numba")
    marked = numba.njit(lambda t, x, W: -x), numba.njit(lambda t, x, V, W: -V)
    flow = FunctionFlow(marked[0], 1, jvp=marked[1], args=(array,))
    with pytest.warns(FallbackWarning, match=f"got an array of {array.dtype}".replace("<", ".")):
        assert type(flow.tangent(Euler(0.1))) is NumpyTangent


@pytest.mark.numba
@pytest.mark.slow
def test_an_argument_may_be_a_work_array_and_vectors_more_than_dimensions():
    import numba

    def rule(t, x, out):
        for i in range(5):
            out[i] = -x[i] * (i + 1)
        return out

    @numba.njit
    def jvp(t, x, V, out):
        return -V * np.arange(1.0, 6.0).reshape((5, 1))

    flow = FunctionFlow(numba.njit(rule), 5, jvp=jvp, args=(np.zeros(5),))
    for stepper in (RK4(0.01), HeavyBall(0.1, 0.5)):
        x0 = np.random.default_rng(0).normal(size=(40, 5))
        one, many = (
            NumbaTangent(FlowStep(flow, stepper), threads=n).trajectory(
                FlowStep(flow, stepper).complete(x0), intervals=20, steps_per_interval=10
            )
            for n in (1, 3)
        )
        np.testing.assert_array_equal(one.states, many.states)
    tangent = flow.tangent(HeavyBall(0.1, 0.5))
    rates = tangent.benettin(np.ones(5), intervals=5, warmup=0).rates
    np.testing.assert_allclose(rates.sum(axis=1), 5 * np.log(0.5) / 0.1, rtol=1e-10)  # ten vectors of five dimensions


def test_a_name_that_flow_and_stepper_share_is_the_flows():
    def rule(t, x, momentum):
        return -momentum * x

    flow = FunctionFlow(rule, 1, lambda t, x, momentum: [[-momentum]], args=(0.5,))
    varied = vary(flow.tangent(HeavyBall(0.1, 0.3)), {"momentum": [0.6, 0.7]}).time_step
    assert [varied.for_member(m).flow.args for m in (0, 1)] == [(0.6,), (0.7,)]
    assert varied.for_member(1).stepper.momentum == 0.3


def test_what_is_no_step_has_no_tangent():
    for wrong in (Lorenz63(), RK4(0.1), None):
        with pytest.raises(InvalidInputError, match="a tangent is that of a TimeStep"):
            make_tangent(wrong)
        with pytest.raises(InvalidInputError, match="a tangent is that of a TimeStep"):
            NumpyTangent(wrong)
    with pytest.raises(InvalidInputError, match="TangentSystem itself computes nothing"):
        Henon().tangent(backend=TangentSystem)
