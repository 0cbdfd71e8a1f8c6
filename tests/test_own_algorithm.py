"""An algorithm from outside: a function on a tangent, in ensembles, sweeps, stores and other processes."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from types import MethodType

import attrs
import numpy as np
import pytest
import xarray
from own_algorithm import as_dataset, as_mapping, as_result, growth_of_volume, reactivity

from dynsys import Ensemble, InvalidInputError, StoreError, open_store, sweep, vary
from dynsys.models.classics import Henon, LinearMap, Logistic

HENON = Henon().tangent(backend="numpy")
X0 = 0.1 * np.random.default_rng(0).normal(size=(10, 2))
RUN = {"intervals": 6, "steps_per_interval": 2}


def test_arrays_get_the_dimension_member_and_one_for_each_axis():
    runs = Ensemble.of(partial(reactivity, HENON), X0, **RUN).run(block=4)
    assert dict(runs.sizes) == {"member": 10, "reactivity_1": 6}
    np.testing.assert_array_equal(runs.reactivity, reactivity(HENON, X0, **RUN))
    assert (runs.status == 0).all()


def test_a_bound_function_is_a_method_and_options_may_be_bound():
    one = Ensemble.of(MethodType(reactivity, HENON), X0, **RUN).run()
    other = Ensemble.of(partial(reactivity, HENON, steps_per_interval=2), X0, intervals=6).run()
    xarray.testing.assert_equal(one, other)


def test_mappings_datasets_and_results_are_taken_as_they_are():
    mapping = Ensemble.of(partial(as_mapping, HENON), X0, **RUN).run(block=3)
    assert mapping.first.dims == ("member",)
    assert mapping.every.dims == ("member", "every_1", "every_2")
    data = Ensemble.of(partial(as_dataset, HENON), X0, **RUN).run(block=3)
    assert data.rate.dims == ("member", "time")
    result = Ensemble.of(partial(as_result, HENON), X0, **RUN).run(block=3)
    xarray.testing.assert_equal(result, Ensemble.of(HENON.benettin, X0, warmup=0, **RUN).run())


def test_frames_are_those_of_the_member_whatever_the_block():
    """The start that a function is given knows who its members are."""
    runs = [Ensemble.of(partial(growth_of_volume, HENON), X0, k=1, **RUN).run(block=block) for block in (1, 3, 10)]
    xarray.testing.assert_identical(runs[0], runs[1])
    xarray.testing.assert_identical(runs[0], runs[2])
    assert len(np.unique(runs[0].growth_of_volume)) == 10


def test_it_is_swept_over_parameters():
    tangent = Logistic().tangent(backend="numpy")
    runs = sweep(partial(growth_of_volume, tangent), {"r": [2.5, 3.2, 4.0]}, [0.3], intervals=200)
    assert runs.growth_of_volume.dims == ("r",)
    for m, r in enumerate((2.5, 3.2, 4.0)):
        alone = growth_of_volume(Logistic(r=r).tangent(backend="numpy"), np.array([[0.3]]), intervals=200)
        assert runs.growth_of_volume[m] == alone[0]


@pytest.mark.numba
def test_members_with_parameters_run_side_by_side_in_it():
    tangent = vary(Henon().tangent(), {"a": np.linspace(1.0, 1.4, 10)})
    runs = Ensemble.of(partial(growth_of_volume, tangent), X0, **RUN).run(block=4)
    np.testing.assert_allclose(runs.growth_of_volume, np.log(0.3), rtol=1e-12)  # the determinant is -b at every state


def test_a_store_goes_on_with_the_same_function_and_refuses_another(tmp_path):
    path = tmp_path / "runs.zarr"
    study = Ensemble.of(partial(reactivity, HENON), X0, **RUN)
    whole = study.run(path, block=4).load()
    xarray.testing.assert_identical(study.run(path).load(), whole)
    assert "own_algorithm.reactivity" in open_store(path).attrs["definition"]
    for other in (partial(growth_of_volume, HENON), partial(reactivity, LinearMap(np.eye(2)).tangent(backend="numpy"))):
        with pytest.raises(StoreError, match="another definition"):
            Ensemble.of(other, X0, **RUN).run(path)


@pytest.mark.slow
def test_other_processes_run_it():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = Ensemble.of(partial(reactivity, HENON), X0, **RUN).run(block=4, executor=pool, workers=2)
    np.testing.assert_array_equal(runs.reactivity, reactivity(HENON, X0, **RUN))


@pytest.mark.parametrize(
    "wrong",
    [
        reactivity,
        lambda x0: reactivity(HENON, x0, **RUN),
        partial(reactivity, Henon()),
        partial(reactivity, HENON, X0),
        partial(np.sin, 1.0),
        HENON,
        "benettin",
        attrs.evolve,
    ],
)
def test_what_is_bound_to_no_tangent_is_refused_with_the_remedy(wrong):
    for call in (lambda: Ensemble.of(wrong, X0, **RUN), lambda: sweep(wrong, {"a": [1.0]}, X0[0], **RUN)):
        with pytest.raises(
            InvalidInputError, match=r"functools.partial\(function, tangent\) for a function of your own"
        ):
            call()


@pytest.mark.parametrize("answer", [3.0, "text", None, {"a": 1.0}, ["a", "b"]])
def test_an_answer_of_another_kind_is_refused(answer):
    with pytest.raises(InvalidInputError, match=r"must return a Result, a dataset, or arrays \(members, ...\)"):
        Ensemble.of(partial(lambda tangent, start: answer, HENON), X0).run()


def test_an_answer_for_other_members_is_refused():
    with pytest.raises(InvalidInputError, match="was given 10 members"):
        Ensemble.of(partial(lambda tangent, start: np.ones(3), HENON), X0).run()
