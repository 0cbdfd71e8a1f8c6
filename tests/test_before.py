"""Stores and saved results that 0.1.0 wrote: they open, are what they were, and go on where they were killed.

data/stores_of_0.1.0.zip holds what commit e836e1d wrote of the ensembles below, each killed after two of four members.
"""

import json
import zipfile
from pathlib import Path

import attrs
import numpy as np
import pytest
import xarray

from dynsys import (
    GALI,
    RK4,
    CovariantVectors,
    DormandPrince,
    Ensemble,
    Euler,
    GradientFlow,
    InvalidInputError,
    LyapunovSpectrum,
    LyapunovVectors,
    PoincareMap,
    StoreError,
    StroboscopicMap,
    SymbolicFlow,
    Trajectory,
    open_store,
    sweep,
)
from dynsys.models.activations import Activation, Tanh
from dynsys.models.classics import Duffing, Henon, Lorenz63, Roessler
from dynsys.models.training_chaos import Edge
from dynsys.models.weight_dynamics import Study, ThreeLayerGradientFlow, TrainingRuns, regression_task
from dynsys.storage.before import in_todays_words
from dynsys.storage.inspection import export, report

ARCHIVE = Path(__file__).parent / "data" / "stores_of_0.1.0.zip"
RUN = {"intervals": 5, "steps_per_interval": 2}
X, Y = regression_task(samples=40, seed=0)
SINE = {"x": "y", "y": "-sin(x) - g*y"}


def states(dimension):
    return np.random.default_rng(1).normal(size=(4, dimension))


def network():
    flow = ThreeLayerGradientFlow(X, Y, hidden=2, activation=Tanh())
    tangent = flow.minibatches(4, 3).tangent(Euler(1e-3))
    return Ensemble.of(tangent.benettin, flow.initial(members=4, seed=1), **RUN, warmup=0)


def gradient():
    data, outputs = {"x": X[:, 0], "y": X[:, 1]}, {"h": "sigma(w*x+b)"}
    flow = GradientFlow.of("(y - v*h)^2", ["w", "b", "v"], data, outputs, sigma=Activation.from_expression("atan(d)"))
    tangent = flow.minibatches(10, 1, shared=False).tangent(Euler(1e-2))
    return Ensemble.of(tangent.sharafi, states(3), **RUN, warmup=0, window=2, variant="periodic window")


def returns():
    tangent = PoincareMap(Roessler(), RK4(0.05), normal=[0.0, 1.0, 0.0]).tangent()
    return Ensemble.of(tangent.benettin, [[x, 0.03] for x in (-4.0, -5.0, -6.0, -3.0)], intervals=2, warmup=0)


def lorenz_by_numpy():
    tangent = Lorenz63().tangent(DormandPrince(0.05), backend="numpy")
    return Ensemble.of(tangent.ginelli, states(3), **RUN, warmup=2, tail=2)


def study():
    settings = Study(
        activations=("relu",), members=4, steps=600, outputs=5, predictions=(10,), tail=20, biases="random"
    )
    return TrainingRuns(settings, X, Y, "a task").ensemble()


def study_with_angles():
    settings = Study(activations=("relu", "tanh"), members=4, steps=400, outputs=5, angles=True)
    return TrainingRuns(settings, X, Y, "a task").ensemble()


NUMBA = pytest.mark.numba
SLOW = (pytest.mark.numba, pytest.mark.slow)
STORES = [
    pytest.param("lorenz_numba", lambda: Ensemble.of(
        Lorenz63(rho=30.0).tangent(RK4(0.01), t0=2.0).benettin, states(3), **RUN, k=2), marks=NUMBA),
    pytest.param("lorenz_numpy", lorenz_by_numpy),
    pytest.param("henon", lambda: Ensemble.of(Henon().tangent().trajectory, 0.1 * states(2), **RUN), marks=NUMBA),
    pytest.param("network", network, marks=NUMBA),
    pytest.param("gradient", gradient, marks=SLOW),
    pytest.param("poincare", returns, marks=SLOW),
    pytest.param("stroboscopic", lambda: Ensemble.of(
        StroboscopicMap(Duffing(), RK4(0.1), steps=3).tangent().gali, states(2), **RUN), marks=SLOW),
    pytest.param("study", study, marks=NUMBA),
    pytest.param("study_angles", study_with_angles, marks=SLOW),
    pytest.param("edge", lambda: Edge(members=4, steps=20, replicas=2).ensemble(), marks=SLOW),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("before")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(path)
    return path


def chunks(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("c/**/*") if file.is_file()}


def assert_close(found, expected):
    assert set(found.variables) == set(expected.variables)
    for name in found.variables:
        one, other = found[name].values, expected[name].values
        if one.dtype.kind in "fc":  # other processors round otherwise
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8, err_msg=name)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")  # other versions, and runs too short to converge
@pytest.mark.parametrize(("name", "ensemble"), STORES)
def test_a_store_opens_and_goes_on(name, ensemble, folder):
    path = folder / f"{name}.zarr"
    before, begun = chunks(path), open_store(path).load()
    assert sorted(np.unique(begun.status.values).tolist()) == [-1, 0]
    calls = []
    found = ensemble().run(path, progress=lambda now: calls.append(now.computed), workers=1).load()
    assert calls == [0, 2]  # two members are missing, and no more
    after = chunks(path)
    assert {chunk: after[chunk] for chunk in before} == before  # what was there is what it was
    assert len(after) > len(before)
    assert_close(found, ensemble().run(workers=1))


@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")
@pytest.mark.numba
def test_a_sweep_goes_on(folder):
    path = folder / "sweep.zarr"
    tangent = SymbolicFlow.of(SINE, {"g": 0.1}).tangent(RK4(0.1))
    calls, options = [], {"workers": 1, **RUN}
    grid = {"g": [0.1, 0.2, 0.3, 0.4]}
    found = sweep(tangent.benettin, grid, [1.0, 0.0], path=path, progress=lambda p: calls.append(p.computed), **options)
    assert calls == [0, 2]
    assert_close(found.load(), sweep(tangent.benettin, grid, [1.0, 0.0], **options))


def test_another_definition_is_still_refused(folder):
    tangent = Henon(a=1.3).tangent(backend="numpy")
    with pytest.raises(StoreError, match="another definition"):
        Ensemble.of(tangent.trajectory, 0.1 * states(2), **RUN).run(folder / "henon.zarr")
    other = attrs.evolve(Study(activations=("relu",), members=4, steps=600, outputs=5), predictions=(10,), tail=20)
    with pytest.raises(StoreError, match=r"biases: 'random' there, 'zero' here"):
        TrainingRuns(other, X, Y, "a task").ensemble().run(folder / "study.zarr")


def test_data_of_training_runs_are_in_todays_words_and_are_exported(folder, tmp_path):
    data = open_store(folder / "study.zarr")
    assert data.cosine.dims == ("activation", "member", "prediction", "variant", "pair")
    assert data.variant.values.tolist() == ["lagged", "lagged, random start", "periodic window"]
    assert data.attrs["biases"] == "random"
    assert "variant" not in report(folder / "study.zarr").split("definition")[0]  # that tells what is on the disk
    (target,) = export(folder / "study.zarr", tmp_path / "study.nc")
    with xarray.open_dataset(target, engine="scipy") as exported:
        assert exported.sizes["variant"] == 3
    assert [file.suffix for file in export(folder / "henon.zarr", tmp_path / "tables")] == [".csv"] * 2


@pytest.mark.parametrize(
    ("name", "kind", "field"),
    [
        ("benettin", LyapunovSpectrum, "rates"),
        ("members", LyapunovSpectrum, "exponents"),
        ("ginelli", CovariantVectors, "vectors"),
        ("sharafi", CovariantVectors, "vectors"),
        ("wolfe_samelson", LyapunovVectors, "covariant"),
        ("gali", GALI, "log_gali"),
        ("trajectory", Trajectory, "states"),
    ],
)
def test_saved_results_are_loaded(name, kind, field, folder, tmp_path):
    path = folder / "results" / f"{name}.npz"
    result = kind.load(path)
    with np.load(path) as file:
        np.testing.assert_array_equal(getattr(result, field), file[field])
    again = kind.load(result.save(tmp_path / "again.npz"))
    np.testing.assert_array_equal(getattr(again, field), getattr(result, field))
    with pytest.raises(InvalidInputError, match="does not hold a"):
        (GALI if kind is not GALI else Trajectory).load(path)
    later = Lorenz63().tangent(RK4(0.01), backend="numpy").trajectory(result.end, intervals=2)
    assert later.times[0] == pytest.approx((result.end.n + 1) * 0.01)


def test_what_is_written_today_goes_by_public_names():
    run = Ensemble.of(Henon().tangent(backend="numpy").benettin, 0.1 * states(2), intervals=3)
    assert json.loads(json.dumps(run.definition["compute"]["step"]))["class"] == "dynsys.models.classics.Henon"
    texts = json.dumps([run.definition, network().definition, study().definition, returns().definition])
    assert "dynsys.models.networks.ThreeLayerGradientFlow" in texts
    for name in ("henon.", "runs.", "three_layer", "run_state", "runge_kutta", "minibatches.", "poincare."):
        assert f".{name}" not in texts, name


def test_names_of_a_users_own_package_are_left_alone():
    mine = {"class": "mine.models.Net", "its code": "abc", "flow": {"class": "models.Net", "its code": "def"}}
    assert in_todays_words(mine) == mine
