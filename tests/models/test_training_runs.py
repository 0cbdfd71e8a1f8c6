"""Windows, tails and predictions of a study, against the algorithms of dynsys and plain linear algebra."""

import attrs
import numpy as np
import pytest
import xarray

from dynsys import Euler, InvalidInputError, Pass
from models.weight_dynamics import regression_task
from models.weight_dynamics.study import Study

STUDY = Study(members=3, steps=1200, learning_rate=1e-3, seed=5, outputs=12, predictions=(12, 30), tail=100)
TASK = regression_task(samples=200, seed=STUDY.seeds["data"])
PAIRS = np.triu_indices(9, 1)


@pytest.fixture(scope="module")
def runs() -> xarray.Dataset:
    return STUDY.ensemble(*TASK).run()


@pytest.fixture(scope="module")
def plain() -> dict:
    """States and factors of the tanh runs over training and tail, interval by interval, with dense Jacobians."""
    flow = STUDY.network(*TASK, "tanh")
    sgd = flow.minibatches(32, STUDY.seeds["batches"])
    begun = Pass.start(flow.initial(members=3, seed=STUDY.seeds["weights"]), 9, None, STUDY.seeds["frames"])
    x, Q, states, factors, n = begun.x.copy(), begun.Q.copy(), [], [], 0
    for _ in range(60 + 100):
        for _ in range(20):
            now = sgd.during(n)
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
        np.testing.assert_allclose(now.cosine.sel(reading="lagged")[m], pairs(past), atol=1e-8)
        values, vectors = np.linalg.eig(past)  # upper triangular: in the order of the frame
        place_of = [int(np.argmin(np.abs(values - d))) for d in np.diagonal(past)]
        np.testing.assert_allclose(now.cosine.sel(reading="recycled")[m], pairs(vectors[:, place_of]), atol=1e-6)
    flow, x = plain["flow"], plain["x"][:, until - 1]
    np.testing.assert_allclose(now.window_loss, flow.loss(x), rtol=1e-10)
    np.testing.assert_allclose(now.gradient_norm, np.linalg.norm(flow.vector_field(0.0, x), axis=1), rtol=1e-8)
    largest = [np.max(np.linalg.eigvals(-flow.symbolic_jacobian(state)).real) for state in x]
    np.testing.assert_allclose(now.sharpness, largest, rtol=1e-8)


def test_estimates_are_those_of_sharafi(runs):
    flow = STUDY.network(*TASK, "relu")
    tangent = flow.minibatches(32, STUDY.seeds["batches"]).tangent(Euler(1e-3))
    x0 = flow.initial(members=3, seed=STUDY.seeds["weights"])
    for reading in ("lagged", "recycled"):
        clvs = tangent.sharafi(
            x0, intervals=30, steps_per_interval=20, warmup=0, window=10, reading=reading, seed=STUDY.seeds["frames"]
        )
        known = np.flatnonzero(np.isclose(clvs.available, 30 * 20e-3))[0]
        recorded = runs.cosine.sel(activation="relu", reading=reading).isel(prediction=1)
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


def test_every_run_is_the_same_whatever_is_recorded_of_it(runs):
    bare = attrs.evolve(STUDY, predictions=(), tail=0).ensemble(*TASK).run()
    np.testing.assert_array_equal(bare.final, runs.final)
    common = np.intersect1d(bare.time, runs.time)
    np.testing.assert_allclose(bare.exponent.sel(time=common), runs.exponent.sel(time=common), rtol=1e-12, atol=1e-12)


def test_after_the_tangent_the_state_goes_on_alone(runs):
    short = attrs.evolve(STUDY, tail=0, tangent_intervals=30).ensemble(*TASK).run()
    np.testing.assert_allclose(short.final, runs.final, rtol=1e-9)  # another kernel: not to the bit
    np.testing.assert_array_equal(short.cosine, runs.cosine)
    after = short.time > 30 * 20e-3 + 1e-9
    assert np.isnan(short.exponent.sel(time=short.time[after])).all()
    assert np.isfinite(short.exponent.sel(time=short.time[~after])).all()
    assert np.isfinite(short.loss).all()


def test_no_bit_depends_on_blocks(runs):
    xarray.testing.assert_identical(STUDY.ensemble(*TASK).run(block=2), runs)


def test_given_seeds_change_what_they_name_and_nothing_else(runs):
    other = attrs.evolve(STUDY, frame_seed=1).ensemble(*TASK).run()
    np.testing.assert_array_equal(other.final, runs.final)
    assert (other.exponent.isel(time=0) != runs.exponent.isel(time=0)).any()
    batches = attrs.evolve(STUDY, batch_seed=1).ensemble(*TASK).run()
    np.testing.assert_array_equal(batches.initial, runs.initial)
    assert (batches.final != runs.final).all()
    assert attrs.evolve(STUDY, data_seed=7).seeds["data"] == 7


def test_runs_that_diverge_have_no_angles():
    study = attrs.evolve(STUDY, activations=("relu",), members=8, learning_rate=0.02, weights="wide")
    data = study.ensemble(*TASK).run()
    stopped = data.status.values[0] > 0
    assert stopped.any()
    assert np.isnan(data.final_cosine.values[0][stopped]).all()
    assert (data.subspace.values[0][stopped] == -1).all()
    early = stopped & (data.stopped.values[0] <= 20 * 12)
    assert np.isnan(data.sharpness.values[0][early]).all()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"predictions": (5,)}, "10 intervals apart"),
        ({"predictions": (20, 25)}, "10 intervals apart"),
        ({"predictions": (55,)}, "10 intervals apart"),  # the window at the end begins at 50
        ({"predictions": (70,), "tail": 0}, "up to 60"),
        ({"predictions": (30,), "tail": 0, "tangent_intervals": 20}, "up to 20"),
        ({"tangent_intervals": 30}, "all of them with a tail"),
        ({"tangent_intervals": 61, "tail": 0}, "at most the 60"),
        ({"outputs": 0}, "outputs"),
        ({"frame_seed": -1}, "frame_seed"),
    ],
)
def test_bad_windows_say_what_came(wrong, word):
    with pytest.raises(InvalidInputError, match=word):
        attrs.evolve(STUDY, **wrong)
