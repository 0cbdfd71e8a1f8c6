"""Windows, tails and predictions of a study, against the algorithms of dynsys and plain linear algebra."""

import attrs
import numpy as np
import pytest
import xarray

from dynsys import Euler, InvalidInputError, RunState
from dynsys.indicators import principal_angles
from dynsys.models.weight_dynamics import regression_task
from dynsys.models.weight_dynamics.runs import SAME_SPAN, TrainingRuns, _unit_lower, vectors_along
from dynsys.models.weight_dynamics.study import Study
from dynsys.passes.orthonormal import random_frames

STUDY = Study(
    members=3, steps=1200, learning_rate=1e-3, seed=5, outputs=12, predictions=(12, 30), tail=100, angles=True
)
TASK = regression_task(samples=200, seed=STUDY.seeds["data"])
PAIRS = np.triu_indices(9, 1)


@pytest.fixture(scope="module")
def runs() -> xarray.Dataset:
    return TrainingRuns(STUDY, *TASK).ensemble().run()


@pytest.fixture(scope="module")
def plain() -> dict:
    """States and factors of the tanh runs over training and tail, interval by interval, with dense Jacobians."""
    flow = STUDY.network(*TASK, "tanh")
    sgd = flow.minibatches(32, STUDY.seeds["batches"])
    begun = RunState.start(flow.initial(members=3, seed=STUDY.seeds["weights"]), 9, None, STUDY.seeds["frames"])
    x, Q, states, factors, n = begun.x.copy(), begun.Q.copy(), [], [], 0
    for _ in range(60 + 100):
        for _ in range(20):
            now = sgd.flow_at(n)
            for m in range(3):
                Q[m] = Q[m] + 1e-3 * now.jacobian(0.0, x[m]) @ Q[m]
            x = x + 1e-3 * now.vector_field(0.0, x)
            n += 1
        Q, R = np.linalg.qr(Q)
        signs = np.sign(np.diagonal(R, axis1=1, axis2=2))
        Q, R = Q * signs[:, None, :], R * signs[:, :, None]
        states.append(x)
        factors.append(R)
    return {"flow": flow, "x": np.stack(states, axis=1), "R": np.stack(factors, axis=1)}


def units(C: np.ndarray) -> np.ndarray:
    return C / np.linalg.norm(C, axis=-2, keepdims=True)


def pairs(C: np.ndarray) -> np.ndarray:
    C = units(C)
    return np.abs(np.swapaxes(C, -1, -2) @ C)[(..., *PAIRS)]


def back(R: np.ndarray) -> np.ndarray:
    product = np.eye(9)
    for factor in R:
        product = factor @ product
    return np.linalg.inv(product)


@pytest.mark.parametrize("place", [0, 1])
def test_what_is_recorded_at_a_prediction_is_what_plain_linear_algebra_gives(runs, plain, place):
    until = STUDY.predictions[place]
    now = runs.sel(activation="tanh").isel(prediction=place)
    logs = np.log(np.diagonal(plain["R"], axis1=2, axis2=3))
    for span, first in (("start", 0), ("window", until - 10), ("interval", until - 1)):
        expected = logs[:, first:until].sum(axis=1) / ((until - first) * 20e-3)
        np.testing.assert_allclose(now.window_exponent.sel(span=span), expected, rtol=1e-8, atol=1e-8)
    for m in range(3):
        past = back(plain["R"][m, until - 10 : until])
        np.testing.assert_allclose(now.cosine.sel(variant="lagged")[m], pairs(past), atol=1e-8)
        values, vectors = np.linalg.eig(past)  # upper triangular: in the order of the frame
        place_of = [int(np.argmin(np.abs(values - d))) for d in np.diagonal(past)]
        np.testing.assert_allclose(now.cosine.sel(variant="periodic window")[m], pairs(vectors[:, place_of]), atol=1e-6)
    flow, x = plain["flow"], plain["x"][:, until - 1]
    np.testing.assert_allclose(now.window_loss, flow.loss(x), rtol=1e-10)
    np.testing.assert_allclose(now.gradient_norm, np.linalg.norm(flow.vector_field(0.0, x), axis=1), rtol=1e-8)
    largest = [np.max(np.linalg.eigvals(-flow.symbolic_jacobian(state)).real) for state in x]
    np.testing.assert_allclose(now.sharpness, largest, rtol=1e-8)


def test_estimates_are_those_of_sharafi(runs):
    flow = STUDY.network(*TASK, "relu")
    tangent = flow.minibatches(32, STUDY.seeds["batches"]).tangent(Euler(1e-3))
    x0 = flow.initial(members=3, seed=STUDY.seeds["weights"])
    for variant in ("lagged", "periodic window"):
        clvs = tangent.sharafi(
            x0, intervals=30, steps_per_interval=20, warmup=0, window=10, variant=variant, seed=STUDY.seeds["frames"]
        )
        known = np.flatnonzero(np.isclose(clvs.available, 30 * 20e-3))[0]
        recorded = runs.cosine.sel(activation="relu", variant=variant).isel(prediction=1)
        np.testing.assert_allclose(recorded, pairs(clvs.vectors[:, known]), atol=1e-9)


def test_final_vectors_come_back_through_the_tail(runs, plain):
    final = runs.final_cosine.sel(activation="tanh")
    for m in range(3):
        past = back(plain["R"][m, 50:60])
        np.testing.assert_allclose(final.sel(ending="lagged")[m], pairs(past), atol=1e-8)
        # a start that is pulled back through the tail: two of them agree as far as the gaps allow
        rng = np.random.default_rng(m)
        C = back(plain["R"][m, 60:]) @ np.triu(rng.normal(size=(9, 9)))
        labels = runs.subspace.sel(activation="tanh")[m].values
        single = [q for q in range(9) if (labels == q).sum() == 1]
        assert len(single) >= 3
        known = np.isin(PAIRS[0], single) & np.isin(PAIRS[1], single)
        for ending in ("ginelli", "ginelli, another start"):
            np.testing.assert_allclose(final.sel(ending=ending)[m, known], pairs(C)[known], atol=0.03)


@pytest.mark.numba
@pytest.mark.filterwarnings("ignore:.*two (starts|forward frames)")  # the run is short: that is what is tested
def test_angles_along_a_run_are_those_of_ginelli():
    study = Study(activations=("tanh",), members=2, steps=6000, learning_rate=1e-3, frame_seed=0, angles=True)
    data = TrainingRuns(study, *TASK).ensemble().run().sel(activation="tanh")
    flow = study.network(*TASK, "tanh")
    tangent = flow.minibatches(32, study.seeds["batches"]).tangent(Euler(1e-3))
    x0 = flow.initial(members=2, seed=study.seeds["weights"])
    # the same frames, and the same first start at the end of the run
    clvs = tangent.ginelli(x0, intervals=250, tail=50, steps_per_interval=20, warmup=0, seed=0)
    shown = study.output_intervals[study.output_intervals <= 250]
    expected = clvs.angles[:, shown - 1][(..., *PAIRS)]
    found = data.angle.values[:, : len(shown)]
    known = np.isfinite(found)
    assert 0.2 < known.mean() < 0.95
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-6, atol=1e-7)
    assert np.isnan(data.angle.values[:, -1]).all()  # at the end of the run starts are random


@pytest.fixture(scope="module")
def dead_and_alive() -> tuple[list[RunState], list[RunState]]:
    """Parts of the runs of two dead ReLU networks and of two that learn, from two random frames."""
    flow = STUDY.network(*TASK, "relu")
    x0 = flow.initial(members=4, seed=2)
    x0[:2, 6:8] = -50.0  # no sample gets through a hidden unit: one exponent is negative, eight vanish
    begun = RunState.start(x0, 9, None, 3)
    other = attrs.evolve(begun, Q=begun.Q @ random_frames(9, 9, 1, begun.members))
    runs: list[list[RunState]] = []
    for end in (begun, other):
        runs.append([])
        for _ in range(20):
            end = flow.tangent(Euler(1e-3)).forward(end, intervals=30, steps_per_interval=10, record="frames")
            runs[-1].append(end)
    return runs[0], runs[1]


def along(parts: list[RunState]) -> dict:
    factors = [(part.n // 10, part.R) for part in parts]
    return vectors_along(parts[-1], factors, {place for place, _ in factors})


@pytest.mark.numba
def test_vectors_of_equal_exponents_are_determined_by_nothing(dead_and_alive):
    parts, _ = dead_and_alive
    found = along(parts)
    angle, frames = found["angle"][:2], found["frame_distance"][:2]
    assert np.isnan(angle[..., (PAIRS[0] > 0) & (PAIRS[1] < 8)]).all()
    assert (frames[..., :7] > 0.1).all()  # also the first, in which two starts cannot differ
    assert np.isfinite(angle[:, 0, (PAIRS[0] == 0) & (PAIRS[1] == 8)]).all()
    assert (frames[:, -1, 7:] < SAME_SPAN).all()  # the vector of the negative exponent is known


@pytest.mark.numba
def test_distance_of_frames_is_that_of_a_second_forward_pass(dead_and_alive):
    parts, others = dead_and_alive
    found = along(parts)["frame_distance"]
    for m, place, j in np.ndindex(4, len(parts), 9):
        angles = principal_angles(parts[place].Q[m, :, : j + 1], others[place].Q[m, :, : j + 1])
        np.testing.assert_allclose(found[m, place, j], np.linalg.norm(np.sin(angles)), rtol=1e-4, atol=1e-7)
    assert ((found > 0.02) & (found < 0.9)).mean() > 0.1  # not all or nothing


def test_every_run_is_the_same_whatever_is_recorded_of_it(runs):
    bare = TrainingRuns(attrs.evolve(STUDY, predictions=(), tail=0, angles=False), *TASK).ensemble().run()
    np.testing.assert_array_equal(bare.final, runs.final)
    common = np.intersect1d(bare.time, runs.time)
    np.testing.assert_allclose(bare.exponent.sel(time=common), runs.exponent.sel(time=common), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_after_the_tangent_the_state_goes_on_alone(runs):
    short = TrainingRuns(attrs.evolve(STUDY, tail=0, angles=False, tangent_intervals=30), *TASK).ensemble().run()
    np.testing.assert_allclose(short.final, runs.final, rtol=1e-9)  # another kernel: not to the bit
    np.testing.assert_array_equal(short.cosine, runs.cosine)
    after = short.time > 30 * 20e-3 + 1e-9
    assert np.isnan(short.exponent.sel(time=short.time[after])).all()
    assert np.isfinite(short.exponent.sel(time=short.time[~after])).all()
    assert np.isfinite(short.loss).all()


def test_no_bit_depends_on_blocks(runs):
    xarray.testing.assert_identical(TrainingRuns(STUDY, *TASK).ensemble().run(block=2), runs)


def test_given_seeds_change_what_they_name_and_nothing_else(runs):
    other = TrainingRuns(attrs.evolve(STUDY, frame_seed=1), *TASK).ensemble().run()
    np.testing.assert_array_equal(other.final, runs.final)
    assert (other.exponent.isel(time=0) != runs.exponent.isel(time=0)).any()
    batches = TrainingRuns(attrs.evolve(STUDY, batch_seed=1), *TASK).ensemble().run()
    np.testing.assert_array_equal(batches.initial, runs.initial)
    assert (batches.final != runs.final).all()
    assert attrs.evolve(STUDY, data_seed=7).seeds["data"] == 7


def test_runs_that_diverge_have_no_angles():
    study = attrs.evolve(STUDY, activations=("relu",), members=8, learning_rate=0.02, weights="wide")
    data = TrainingRuns(study, *TASK).ensemble().run()
    stopped = data.status.values[0] > 0
    assert stopped.any()
    assert np.isnan(data.final_cosine.values[0][stopped]).all()
    assert (data.subspace.values[0][stopped] == -1).all()
    assert np.isnan(data.angle.values[0][stopped]).all()
    assert np.isnan(data.frame_distance.values[0][stopped]).all()
    assert np.isfinite(data.angle.values[0][~stopped][:, 0]).any(axis=1).all()
    xarray.testing.assert_identical(TrainingRuns(study, *TASK).ensemble().run(block=1), data)  # each alone
    early = stopped & (data.stopped.values[0] <= 20 * 12)
    assert np.isnan(data.sharpness.values[0][early]).all()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"predictions": (5,)}, "10 intervals apart"),
        ({"predictions": (20, 25)}, "10 intervals apart"),
        ({"predictions": (55,)}, "10 intervals apart"),  # the window at the end begins at 50
        ({"predictions": (70,), "tail": 0}, "up to 60"),
        ({"predictions": (30,), "tail": 0, "angles": False, "tangent_intervals": 20}, "up to 20"),
        ({"tangent_intervals": 30}, "all of them with a tail"),
        ({"tangent_intervals": 30, "tail": 0}, "or angles"),
        ({"tangent_intervals": 61, "tail": 0, "angles": False}, "at most the 60"),
        ({"outputs": 0}, "outputs"),
        ({"frame_seed": -1}, "frame_seed"),
    ],
)
def test_bad_windows_say_what_came(wrong, word):
    with pytest.raises(InvalidInputError, match=word):
        attrs.evolve(STUDY, **wrong)


def test_a_singular_block_is_not_known_and_leaves_the_others_alone():
    """The random start of the backward pass is exponentially ill-conditioned: whole runs were lost to it."""
    H = np.random.default_rng(0).normal(size=(3, 5, 5))
    H[1, :3, 0], H[1, :3, 1] = (1.0, 2.0, 3.0), (2.0, 4.0, 6.0)  # its second leading block is singular
    L = _unit_lower(H)
    assert np.isnan(L[1]).all()
    for m in (0, 2):
        np.testing.assert_allclose(np.diag(L[m]), 1.0, rtol=1e-12)
        U = np.linalg.solve(L[m], H[m])
        np.testing.assert_allclose(U, np.triu(U), atol=1e-12 * np.abs(U).max())


@pytest.mark.slow
def test_angles_of_a_large_network_cost_no_run():
    study = Study(activations=("tanh",), members=16, steps=4000, hidden=20, outputs=10)
    data = TrainingRuns(study, *regression_task(samples=1000, seed=study.seeds["data"])).ensemble().run()
    angles = (
        TrainingRuns(attrs.evolve(study, angles=True), *regression_task(1000, study.seeds["data"])).ensemble().run()
    )
    assert (angles.status == 0).all()
    np.testing.assert_array_equal(angles.loss, data.loss)
    assert angles.angle.shape == (1, 16, len(study.output_intervals), 81 * 80 // 2)
