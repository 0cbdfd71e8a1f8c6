"""Parameter sweeps: the same as a loop by hand, on any number of workers, marked where a run stops."""

import attrs
import numpy as np
import pytest
from steps import step_of

from dynsys import (
    RK4,
    DiagnosticWarning,
    Ensemble,
    FallbackWarning,
    Flow,
    FunctionFlow,
    FunctionMap,
    GradientFlow,
    HeavyBall,
    InvalidInputError,
    Leapfrog,
    Map,
    NumbaTangent,
    NumpyTangent,
    PoincareMap,
    StoreError,
    SymbolicFlow,
    ftle_field,
    sweep,
    vary,
)
from dynsys.compiled.kernel import Kernel
from dynsys.ensembles import Varied
from dynsys.models.classics import Henon, LinearMap, Logistic, Lorenz63, Lorenz96

RUN = {"intervals": 40, "warmup": 10}


def assert_same(runs, point, alone, rtol=0.0):
    """As the last member of an ensemble of its own, whose frame has its key."""
    found = runs.isel(point)
    for name, value in (("exponent_mean", alone.exponents), ("rate", alone.rates)):
        np.testing.assert_allclose(found[name], value[-1], rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(found.time, alone.times)


def test_a_grid_of_two_parameters_is_a_loop_by_hand():
    henon = Henon()
    values = {"b": [0.1, 0.3], "a": np.array([1.0, 1.2, 1.4])}
    runs = sweep(henon.tangent(backend="numpy").benettin, values, [0.1, 0.2], seed=3, **RUN)
    assert runs.exponent_mean.dims == ("b", "a", "exponent")
    assert runs.rate.dims == ("b", "a", "time", "exponent")
    assert runs.rate.units == "1/time"
    assert runs.b.values.tolist() == values["b"]
    assert runs.a.values.tolist() == values["a"].tolist()
    assert runs.dt == 1.0
    assert (runs.status == 0).all()
    for i, b in enumerate(values["b"]):
        for j, a in enumerate(values["a"]):
            x0 = np.tile([0.1, 0.2], (3 * i + j + 1, 1))
            alone = attrs.evolve(henon, a=a, b=b).tangent(backend="numpy").benettin(x0, seed=3, **RUN)
            assert_same(runs, {"b": i, "a": j}, alone)


@pytest.mark.numba
def test_compiled_points_are_members_of_ensembles_and_are_compiled_once():
    from dynsys.compiled.build import load

    lorenz, options = Lorenz63(), {"intervals": 40, "steps_per_interval": 5, "k": 1}
    rhos = np.linspace(30.0, 60.0, 400)
    before = load.cache_info().currsize
    runs = sweep(lorenz.tangent(RK4(0.01)).benettin, {"rho": rhos}, np.ones(3), **options)
    assert load.cache_info().currsize - before <= 1
    for point in (0, 57, 399):
        x0 = np.ones((point + 1, 3))
        alone = attrs.evolve(lorenz, rho=rhos[point]).tangent(RK4(0.01)).benettin(x0, **options)
        assert_same(runs, {"rho": point}, alone, rtol=1e-9)  # constants are multiplied in another order
    assert len(np.unique(runs.exponent_mean)) == 400


def test_neither_workers_nor_blocks_change_a_bit_nor_what_stops_beside():
    benettin = Henon().tangent(backend="numpy").benettin
    a = [1.0, 3.0, 1.1, 1.4, 2.5]  # two of them escape
    options = RUN | {"k": 1}
    runs = sweep(benettin, {"a": a}, [0.1, 0.2], **options)
    assert runs.status.values.tolist() == [0, 1, 0, 0, 1]
    assert "diverged" in runs.status.flag_meanings
    assert np.isnan(runs.exponent_mean[[1, 4]]).all()
    assert np.isfinite(runs.exponent_mean[[0, 2, 3]]).all()
    for workers, block in ((1, 5), (3, 1), (2, 2)):
        assert runs.identical(sweep(benettin, {"a": a}, [0.1, 0.2], workers=workers, block=block, **options))


def test_a_store_goes_on_and_refuses_another_sweep(tmp_path):
    benettin, reports = Logistic().tangent(backend="numpy").benettin, []
    values = {"r": np.linspace(3.6, 4.0, 6)}

    def call(values, **options):
        return sweep(benettin, values, [0.3], path=tmp_path / "s.zarr", progress=reports.append, **options, **RUN)

    runs = call(values, workers=1, block=2)
    assert [report.done for report in reports] == [2, 4, 6]
    assert call(values).identical(runs)
    assert reports[-1].computed == 0
    with pytest.raises(StoreError, match=r"values\.r"):
        call({"r": [3.6]})


def test_parameters_that_are_called_like_variables_get_an_underscore():
    flow = SymbolicFlow.of({"x": "-rate*x + time"}, {"rate": 1.0, "time": 0.0})
    benettin = flow.tangent(RK4(0.1), backend="numpy").benettin
    runs = sweep(benettin, {"rate": [1.0, 2.0], "time": [1.0, 3.0, 5.0]}, [1.0], **RUN)
    assert runs.exponent_mean.dims == ("rate_", "time_", "exponent")
    assert runs.rate_.long_name == "rate"
    np.testing.assert_allclose(runs.exponent_mean[:, 1, 0], [-1.0, -2.0], rtol=1e-4)


@attrs.frozen(eq=False)
class Relaxation(Flow):
    gain: float = 1.0
    size: int = 1

    @property
    def dimension(self):
        return self.size

    def vector_field(self, t, x):
        return -self.gain * x

    def jacobian(self, t, x):
        return -self.gain * np.eye(self.size)


def test_systems_in_numpy_have_their_fields_for_parameters():
    tangent = Relaxation(size=2).tangent(RK4(0.01))
    runs = sweep(tangent.benettin, {"gain": [1, 2]}, [1.0, 2.0], **RUN)
    np.testing.assert_allclose(runs.exponent_mean, [[-1, -1], [-2, -2]], rtol=1e-6)
    with pytest.raises(InvalidInputError, match=r"keep the dimension 2; with {'size': 3} it is 3"):
        sweep(tangent.benettin, {"size": [2, 3]}, [1.0, 2.0], **RUN)


def test_functions_have_their_further_arguments_for_parameters():
    def function(n, x, r, shift, *rest):
        return [r * x[0] + shift]

    def jacobian(n, x, r, shift, *rest):
        return [[r]]

    system = FunctionMap(function, 1, jacobian, args=(2.0, 0.0, 7.0))
    assert system.with_parameters({"shift": 1.0}).args == (2.0, 1.0, 7.0)
    runs = sweep(system.tangent().benettin, {"r": [0.5, 0.25]}, [0.0], **RUN)
    np.testing.assert_allclose(runs.exponent_mean[:, 0], np.log([0.5, 0.25]), rtol=1e-14)
    with pytest.raises(InvalidInputError, match=r"no parameter 'args'; it has r, shift$"):
        sweep(system.tangent().benettin, {"args": [1.0]}, [0.0], **RUN)


@pytest.mark.numba
def test_arguments_of_compiled_functions_are_parameters():
    import numba

    @numba.njit
    def decay(t, x, gain):
        return -gain * x

    flow = FunctionFlow(decay, 1, args=(1.0,))
    assert flow.with_parameters({"gain": 3.0}).args == (3.0,)
    assert flow.args == (1.0,)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "parameters with their values"),
        ([1.0], "parameters with their values"),
        ({"c": [1.0]}, "Henon has no parameter 'c'; it has a, b"),
        ({"a": 1.4}, "the values of a must be a 1-D array"),
        ({"a": []}, "1-D"),
        ({"a": [[1.4]]}, "1-D"),
        ({"a": [1.4, np.inf]}, "finite"),
        ({"a": ["1.4"]}, "numbers"),
    ],
)
def test_wrong_values_are_refused(values, text):
    with pytest.raises(InvalidInputError, match=text):
        sweep(Henon().tangent(backend="numpy").benettin, values, [0.1, 0.2], **RUN)


def test_values_that_the_system_refuses_are_refused_before_anything_runs():
    @attrs.frozen(eq=False)
    class Fussy(Map):
        gain: float = attrs.field(default=1.0, validator=attrs.validators.lt(2.0))
        dimension = 1

        def step(self, n, x):
            raise AssertionError

        def jacobian(self, t, x):
            raise AssertionError

    with pytest.raises(ValueError, match="gain"):
        sweep(Fussy().tangent().benettin, {"gain": [1.0, 3.0]}, [1.0], **RUN)


@pytest.mark.parametrize("x0", [[[0.1, 0.2]], [0.1], [0.1, np.nan], ["a", "b"]])
def test_wrong_states_are_refused(x0):
    with pytest.raises(InvalidInputError, match=r"x0 must (be|have)"):
        sweep(Henon().tangent(backend="numpy").benettin, {"a": [1.0]}, x0, **RUN)


def test_what_is_no_algorithm_is_refused():
    with pytest.raises(InvalidInputError, match="must be a method of a tangent"):
        sweep(Henon().step, {"a": [1.0]}, [0.1, 0.2], **RUN)


def test_other_algorithms_and_a_map_with_a_field_that_is_an_array():
    matrices = LinearMap(np.diag([2.0, 0.5]))
    with pytest.raises(InvalidInputError, match="1-D"):
        sweep(matrices.tangent(backend="numpy").benettin, {"matrix": [np.eye(2)]}, np.ones(2), **RUN)
    ginelli = Henon().tangent(backend="numpy").ginelli
    runs = sweep(ginelli, {"a": [1.35, 1.4]}, [0.1, 0.2], intervals=50, warmup=20, tail=20)
    assert runs.covariant_vector.dims == ("a", "time", "state", "vector")
    alone = Henon(a=1.4).tangent(backend="numpy").ginelli([[0.1, 0.2]] * 2, intervals=50, warmup=20, tail=20)
    np.testing.assert_array_equal(runs.covariant_vector[1], alone.vectors[1])


@attrs.frozen(eq=False)
class Settling(Map):
    gain: float = 0.5
    dimension = 1
    vanishing_exponents = 1  # which is not true

    def step(self, n, x):
        return self.gain * x + np.sin(n)

    def jacobian(self, t, x):
        return np.array([[self.gain]])


def test_a_check_that_fails_warns_once_with_the_number_of_points():
    with pytest.warns(DiagnosticWarning) as caught:
        runs = sweep(Settling().tangent().benettin, {"gain": [0.2, 1.0, 0.5]}, [0.1], workers=2, block=1, **RUN)
    (message,) = [str(w.message) for w in caught]
    assert "should vanish and do not" in message
    assert message.endswith("(2 of 3 points)")
    assert caught[0].filename == __file__
    np.testing.assert_allclose(runs.exponent_mean[:, 0], np.log([0.2, 1.0, 0.5]), rtol=1e-14)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize("kind", ["map", "lattice", "function", "returns"])
def test_compiled_members_with_their_own_parameters_are_those_of_numpy(kind):
    """Written out in lanes, and one after the other: over sites, by functions, and returns of a flow."""
    import numba

    @numba.njit
    def decay(t, x, gain):
        return np.array([x[1], -gain * np.sin(x[0]) + 0.1 * np.cos(t)])

    @numba.njit
    def jacobian(t, x, gain):
        return np.array([[0.0, 1.0], [-gain * np.cos(x[0]), 0.0]])

    system, stepper, values = {
        "map": (Henon(), None, {"a": np.linspace(0.9, 1.3, 20), "b": np.linspace(0.1, 0.3, 20)}),
        "lattice": (Lorenz96(sites=20), RK4(0.02), {"forcing": [4.0, 8.0, 5.0]}),
        "function": (FunctionFlow(decay, 2, jacobian, args=(1.0,)), RK4(0.05), {"gain": [1.0, 2.0]}),
        "returns": (PoincareMap(Lorenz63(), RK4(0.01), [0.0, 0.0, 1.0], 20.0), None, {"offset": [20.0, 22.0]}),
    }[kind]
    varied = Varied(step_of(system, stepper), values)
    members = len(next(iter(values.values())))
    x0 = 0.1 + np.tile(0.1 * np.arange(system.dimension), (members, 1))
    options = {"intervals": 3, "steps_per_interval": 1, "warmup": 0, "k": 1}
    ours = vary(NumbaTangent(step_of(system, stepper)), values).benettin(x0, **options)
    theirs = NumpyTangent(varied).benettin(x0, **options)
    np.testing.assert_allclose(ours.rates, theirs.rates, rtol=1e-7, atol=1e-10)
    assert len(np.unique(ours.rates[:, -1])) == members
    for m in range(members):
        alone = NumpyTangent(varied.for_member(m)).benettin(x0, **options)
        np.testing.assert_array_equal(theirs.rates[m], alone.rates[m])


def test_members_need_one_value_each_and_without_a_member_it_is_the_first():
    with pytest.raises(InvalidInputError, match="one value for each member"):
        Varied(Henon(), {"a": [1.0, 1.1], "b": [0.1]})
    varied = Varied(Henon(), {"a": [1.0, 1.1]})
    x, V = np.array([0.3, 0.2]), np.eye(2)
    np.testing.assert_array_equal(varied.step(0, x), Henon(a=1.0).step(0, x))
    for found, expected in zip(varied.step_tangent(0, x, V), Henon(a=1.0).step_tangent(0, x, V), strict=True):
        np.testing.assert_array_equal(found, expected)


@attrs.frozen(eq=False)
class Written(Map):
    """x' = gain x, with the gain in the text of its kernel."""

    gain: float = 1.0
    dimension = 1

    def step(self, n, x):
        return self.gain * x

    def jacobian(self, t, x):
        return np.array([[self.gain]])

    def kernel(self):
        body = f"f[0] = {self.gain} * x[0]\n    F[0, 0] = {self.gain} * V[0, 0]"
        return Kernel(f"\n\n@njit\ndef linearise(t, x, V, f, F, parameters, data, rows, scratch):\n    {body}\n\n")


@pytest.mark.numba
def test_parameters_that_are_no_numbers_of_the_kernel_run_in_numpy_with_a_warning():
    with pytest.warns(FallbackWarning, match="cannot be compiled with these parameters"):
        runs = sweep(Written(2.0).tangent(backend="numba").benettin, {"gain": [2.0, 3.0]}, [1.0], **RUN)
    np.testing.assert_allclose(runs.exponent_mean[:, 0], np.log([2.0, 3.0]))


def test_every_member_needs_a_flow_for_which_the_stepper_is_made():
    oscillator = SymbolicFlow.of({"q": "p", "p": "-q - friction*p"}, {"friction": 0.0})
    tangent = oscillator.tangent(Leapfrog(0.1), backend="numpy")
    with pytest.raises(InvalidInputError, match=r"Leapfrog needs .* the rate of component 1 depends on component 1"):
        vary(tangent, {"friction": [0.0, 0.1]})


@pytest.mark.parametrize("x0", [[[0.3]], [[0.3], [0.3]], [0.3], [[0.3]] * 4])
def test_states_are_one_for_each_member(x0):
    varied = vary(Logistic().tangent(backend="numpy"), {"r": [3.5, 3.7, 3.9]})
    runs = [varied.benettin, varied.ginelli, varied.sharafi, varied.wolfe_samelson]
    for run in [*runs, varied.trajectory, lambda x, **rest: Ensemble.of(varied.benettin, x, **rest)]:
        with pytest.raises(InvalidInputError, match=r"x0 must have shape \(3, 1\), one state for each member, got"):
            run(x0, intervals=10)


def test_members_that_differ_are_neither_varied_again_nor_a_field():
    varied = vary(Henon().tangent(backend="numpy"), {"a": [1.0, 1.1]})
    with pytest.raises(InvalidInputError, match="give all values in one call"):
        vary(varied, {"b": [0.1, 0.2]})
    with pytest.raises(InvalidInputError, match="a field is of one system"):
        ftle_field(varied, {"x": [0.0, 0.1]}, at=[0.0, 0.0], steps=3)


def test_names_with_underscores_do_not_meet():
    flow = SymbolicFlow.of({"x": "-rate*rate_*x"}, {"rate": 1.0, "rate_": 1.0})
    benettin = flow.tangent(RK4(0.1), backend="numpy").benettin
    runs = sweep(benettin, {"rate": [1.0, 2.0], "rate_": [1.0, 1.5, 2.0]}, [1.0], **RUN)
    assert runs.exponent_mean.dims == ("rate__", "rate_", "exponent")
    np.testing.assert_allclose(-runs.exponent_mean[..., 0], np.outer([1.0, 2.0], [1.0, 1.5, 2.0]), rtol=2e-3)


BOWLS = GradientFlow.of(
    "(y - w*x)^2/2 + lam*w^2/2", ["w"], {"x": [1.0, 2.0, 3.0], "y": [1.0, 1.0, 2.0]}, parameters={"lam": 0.1}
)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.numba)])
@pytest.mark.parametrize("size", [None, 2])
def test_parameters_of_a_loss_and_of_an_optimiser_are_swept_side_by_side(size, backend):
    driven = BOWLS if size is None else BOWLS.minibatches(size, seed=1)
    tangent = driven.tangent(HeavyBall(0.05), backend=backend)
    grid = {"lam": [0.0, 1.0], "momentum": [0.5, 0.9]}
    runs = sweep(tangent.benettin, grid, [0.3], intervals=40, warmup=0)
    assert runs.exponent_mean.dims == ("lam", "momentum", "exponent")
    for i, lam in enumerate(grid["lam"]):
        for j, momentum in enumerate(grid["momentum"]):
            own = attrs.evolve(BOWLS, parameters=[lam])
            alone = (own if size is None else own.minibatches(size, seed=1)).tangent(
                HeavyBall(0.05, momentum), backend="numpy"
            )
            states = alone.trajectory([0.3], intervals=40).states
            np.testing.assert_allclose(runs.rate[i, j].sum("exponent"), np.log(momentum) / 0.05, rtol=1e-9)
            assert np.isfinite(states).all()
    if size is None:
        h = np.mean([1.0, 4.0, 9.0]) + np.array(grid["lam"])
        largest = [[np.abs(np.roots([1, -(1 + mu - 0.05 * a), mu])).max() for mu in grid["momentum"]] for a in h]
        long = sweep(tangent.benettin, grid, [0.3], intervals=4000, k=1)
        np.testing.assert_allclose(long.exponent_mean[..., 0], np.log(largest) / 0.05, atol=0.02)


def test_what_cannot_be_swept_says_what_can():
    tangent = BOWLS.minibatches(2, seed=1).tangent(HeavyBall(0.05), backend="numpy")
    with pytest.raises(InvalidInputError, match=r"no parameter 'momentun'; it has lam; HeavyBall has momentum"):
        vary(tangent, {"momentun": [0.1]})
    with pytest.raises(InvalidInputError, match="dt is one for all members: make a tangent for each"):
        vary(tangent, {"dt": [0.1]})
