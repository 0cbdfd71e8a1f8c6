"""A study of training runs: what Benettin gives on the same run, on any blocks, with seeds of their own."""

import csv

import attrs
import numpy as np
import pytest
import xarray

from dynsys import Euler, InvalidInputError
from dynsys.models.weight_dynamics import regression_task
from dynsys.models.weight_dynamics.figures import draw_all
from dynsys.models.weight_dynamics.runs import TrainingRuns
from dynsys.models.weight_dynamics.study import PAPER_TIME, Study
from dynsys.models.weight_dynamics.summary import summary
from dynsys.passes import run_state
from dynsys.plotting import grid, save_figure, style

SMALL = Study(members=3, steps=100, learning_rate=1e-3, seed=5)
TASK = regression_task(samples=200, seed=SMALL.seeds["data"])


def run(study: Study) -> xarray.Dataset:
    return TrainingRuns(study, *TASK, "A task.").ensemble().run()


@pytest.fixture(scope="module")
def runs() -> xarray.Dataset:
    return run(SMALL)


def test_exponents_and_losses_are_those_of_benettin_on_the_same_run(runs):
    flow = SMALL.network(*TASK, "tanh")
    tangent = flow.minibatches(32, SMALL.seeds["batches"]).tangent(Euler(1e-3), backend="numpy")
    x0 = flow.initial(members=3, seed=SMALL.seeds["weights"])
    spectrum = tangent.benettin(x0, intervals=5, steps_per_interval=20, warmup=0, seed=SMALL.seeds["frames"])
    tanh = runs.sel(activation="tanh")
    np.testing.assert_allclose(tanh.time, spectrum.times, rtol=1e-14)
    np.testing.assert_allclose(tanh.exponent, spectrum.running_mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(tanh.final, spectrum.end.x, rtol=1e-12)
    np.testing.assert_allclose(tanh.loss[:, -1], flow.loss(spectrum.end.x), rtol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_no_bit_of_a_study_depends_on_its_blocks(shared):
    study = attrs.evolve(SMALL, shared_batches=shared)
    whole = TrainingRuns(study, *TASK).ensemble()
    for block in (1, 2):
        xarray.testing.assert_identical(whole.run(block=block), whole.run())


def test_what_a_study_finds_does_not_depend_on_how_its_passes_are_cut(runs, monkeypatch):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 1)  # one interval at a time
    again = run(Study(members=3, steps=100, learning_rate=1e-3, seed=5))
    np.testing.assert_array_equal(again.exponent, runs.exponent)
    np.testing.assert_array_equal(again.loss, runs.loss)


def test_fewer_members_are_the_first_of_many(runs):
    two = run(Study(members=2, steps=100, learning_rate=1e-3, seed=5))
    np.testing.assert_array_equal(two.exponent, runs.exponent[:, :2])


def test_one_seed_spawns_different_seeds_for_everything():
    assert len(set(SMALL.seeds.values())) == 4
    assert SMALL.seeds == Study(seed=5).seeds != Study(seed=6).seeds


@pytest.mark.parametrize("learning_rate", [3e-5, 3e-4, 1e-3])
def test_default_steps_cover_the_whole_time_of_the_paper(learning_rate):
    study = Study(learning_rate=learning_rate)
    time = study.intervals * study.interval * learning_rate
    assert PAPER_TIME - 1e-9 <= time < PAPER_TIME + study.interval * learning_rate


def test_own_batches_differ_from_shared_ones():
    own = run(attrs.evolve(SMALL, shared_batches=False))
    shared = run(SMALL)
    assert (own.final != shared.final).all()
    np.testing.assert_array_equal(own.initial, shared.initial)


def test_full_batches_use_all_data():
    full = run(Study(activations=("tanh",), members=2, steps=20, learning_rate=1e-3, batch=0, seed=5))
    flow = SMALL.network(*TASK, "tanh")
    theta = full.initial.values[0]
    for _ in range(20):
        theta = theta + 1e-3 * flow.vector_field(0.0, theta)
    np.testing.assert_allclose(full.final[0], theta, rtol=1e-12)


def test_a_run_that_diverges_is_marked_and_leaves_the_others_alone():
    # a learning rate between the stability limits of different runs; the sum over the batch makes it steep
    study = Study(activations=("relu",), members=8, steps=400, learning_rate=0.02, seed=5, weights="wide")
    data = run(study)
    stopped = data.status.values[0] > 0
    assert stopped.any()
    assert np.isnan(data.exponent.values[0][stopped][:, -1]).all()
    assert (data.stopped.values[0][stopped] > 0).all()


def test_bad_settings_say_what_came():
    for wrong, word in (
        ({"members": 0}, "members"),
        ({"steps": 0}, "steps"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"activations": ("softmax",)}, "softmax"),
        ({"activations": ("relu", "relu")}, "different"),
    ):
        with pytest.raises(InvalidInputError, match=word):
            Study(**wrong)


@pytest.mark.slow
def test_figures_are_saved_with_the_data_that_they_show(runs, tmp_path):
    files = draw_all(runs, tmp_path / "figures")
    assert [f.stem for f in files] == ["final_losses", "exponents", "exponents_against_loss", "single_runs"]
    for file in files:
        assert file.stat().st_size > 10_000
    with files[2].with_suffix(".csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [float(row["tanh_exponent_9"]) for row in rows] == list(runs.exponent.values[1, :, -1, 8])
    assert [float(row["relu_final_loss"]) for row in rows] == list(runs.loss.values[0, :, -1])


@pytest.mark.slow
def test_figures_of_a_large_network_show_nine_exponents(tmp_path):
    large = Study(activations=("tanh",), members=2, steps=40, hidden=4, learning_rate=1e-3)
    files = draw_all(run(large), tmp_path / "figures")
    with files[1].with_suffix(".csv").open() as table:
        header = next(csv.reader(table))
    assert header == ["member", *(f"tanh_exponent_{q}" for q in (1, 2, 3, 8, 9, 10, 15, 16, 17))]


def test_summary_counts_agree_with_the_data(runs):
    text = summary(runs, paper_task=True)
    positive = int((runs.exponent.values[0, :, -1, 0] > 0).sum())
    assert f"| relu | first exponent > 0 | {positive} of 3:" in text
    assert "learning rate 0.001 (the paper's: 3e-05)".lower() in text.lower()
    assert "the paper |" not in summary(runs, paper_task=False)


def test_a_figure_is_never_overwritten_and_its_columns_must_fit(tmp_path):
    with style():
        figure, axes = grid(1, 2, title="two", size=(4, 2))
    axes[0, 1].plot([0, 1], [1, 0])
    save_figure(figure, tmp_path / "one", {"x": [0, 1], "y": [1, 0]})
    with pytest.raises(InvalidInputError, match="exists already"):
        save_figure(figure, tmp_path / "one", {"x": [0, 1], "y": [1, 0]})
    with pytest.raises(InvalidInputError, match="one length"):
        save_figure(figure, tmp_path / "two", {"x": [0, 1], "y": [1]})
