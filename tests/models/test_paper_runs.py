"""The independent check of the paper's study: its runs again, by a plain loop that shares no code with the engine.

Of the package are the order of the samples, the data and the first frames; the mathematics is written out by hand.
"""

from itertools import pairwise
from math import ceil, tanh

import attrs
import numpy as np
import pytest

from dynsys import RunState
from dynsys.models.weight_dynamics import regression_task
from dynsys.models.weight_dynamics.paper.protocol import EARLY, SAMPLES, Protocol
from dynsys.models.weight_dynamics.runs import TrainingRuns
from dynsys.systems.minibatches import permutation

numba = pytest.importorskip("numba")

MEMBERS, DT, BATCH, INTERVAL = 8, 3e-5, 32, 20


@numba.njit
def add_sample(relu, theta, x, y, velocity, J, s, s1, s2):
    """Add Eqs. (3)-(6) and (8)-(23) of one sample: W21[j, i] stands at 2 i + j, W32[j] at 4 + j, b1[j] at 6 + j."""
    W = theta[4:6]
    a2 = theta[8]
    for j in range(2):
        d = theta[j] * x[0] + theta[2 + j] * x[1] + theta[6 + j]
        if relu:
            s[j], s1[j], s2[j] = max(d, 0.0), 1.0 if d > 0.0 else 0.0, 0.0
        else:
            s[j] = tanh(d)
            s1[j] = 1.0 - s[j] ** 2
            s2[j] = -2.0 * s[j] * s1[j]
        a2 += W[j] * s[j]
    e = y - a2
    velocity[8] += 2.0 * e  # (6)
    J[8, 8] -= 2.0  # (23)
    for j in range(2):
        velocity[4 + j] += 2.0 * e * s[j]  # (4)
        velocity[6 + j] += 2.0 * s1[j] * W[j] * e  # (5)
        J[4 + j, 8] -= 2.0 * s[j]  # (15)
        J[6 + j, 8] -= 2.0 * s1[j] * W[j]  # (19)
        J[8, 4 + j] -= 2.0 * s[j]  # (21)
        J[8, 6 + j] -= 2.0 * s1[j] * W[j]  # (22)
        for i in range(2):
            velocity[2 * i + j] += 2.0 * s1[j] * W[j] * e * x[i]  # (3)
            J[2 * i + j, 8] -= 2.0 * x[i] * s1[j] * W[j]  # (11)
            J[8, 2 * i + j] -= 2.0 * s1[j] * W[j] * x[i]  # (20)
        for l in range(2):  # noqa: E741
            same = 1.0 if j == l else 0.0
            inner = 2.0 * (same * s2[j] * W[j] * e - s1[j] * s1[l] * W[j] * W[l])
            cross = 2.0 * s1[j] * (same * e - s[l] * W[j])
            crossed = 2.0 * s1[l] * (same * e - s[j] * W[l])
            J[4 + j, 4 + l] -= 2.0 * s[j] * s[l]  # (13)
            J[4 + j, 6 + l] += crossed  # (14)
            J[6 + j, 4 + l] += cross  # (17)
            J[6 + j, 6 + l] += inner  # (18)
            for i in range(2):
                J[2 * i + j, 4 + l] += x[i] * cross  # (9)
                J[2 * i + j, 6 + l] += x[i] * inner  # (10)
                J[4 + j, 2 * i + l] += x[i] * crossed  # (12)
                J[6 + j, 2 * i + l] += x[i] * inner  # (16)
                for m in range(2):
                    J[2 * i + j, 2 * m + l] += x[i] * x[m] * inner  # (8)


@numba.njit
def orthonormalise(V, logs):
    """Gram and Schmidt, twice: V = Q R, log R_ii is added to logs and V becomes Q."""
    for _ in range(2):
        for q in range(9):
            for p in range(q):
                overlap = 0.0
                for i in range(9):
                    overlap += V[i, p] * V[i, q]
                for i in range(9):
                    V[i, q] -= overlap * V[i, p]
            norm = 0.0
            for i in range(9):
                norm += V[i, q] ** 2
            norm = np.sqrt(norm)
            logs[q] += np.log(norm)
            for i in range(9):
                V[i, q] /= norm


@numba.njit
def train(relu, X, y, batches, theta, V, logs):
    """Steps of Euler for the state and the tangent vectors, in place; logs grow by log R_ii."""
    velocity, J, change = np.empty(9), np.empty((9, 9)), np.empty(9)
    s, s1, s2 = np.empty(2), np.empty(2), np.empty(2)
    for n in range(len(batches)):
        velocity[:], J[:] = 0.0, 0.0
        for row in batches[n]:
            add_sample(relu, theta, X[row], y[row], velocity, J, s, s1, s2)
        for q in range(9):
            change[:] = 0.0
            for j in range(9):
                for i in range(9):
                    change[i] += J[i, j] * V[j, q]
            for i in range(9):
                V[i, q] += DT / BATCH * change[i]
        for i in range(9):
            theta[i] += DT / BATCH * velocity[i]
        if (n + 1) % INTERVAL == 0:
            orthonormalise(V, logs)


def loss(relu, X, y, theta):
    d = X @ theta[:4].reshape(2, 2) + theta[6:8]
    return np.mean((y - (np.maximum(d, 0.0) if relu else np.tanh(d)) @ theta[4:6] - theta[8]) ** 2)


@pytest.mark.parametrize(("weights", "deviation"), [("he", 1.0), ("wide", 20.0)])  # He's is sqrt(2 / fan-in)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(
    "length",
    [
        pytest.param({"steps": 4000, "predictions": EARLY, "tail": 20}, id="short"),
        pytest.param({}, id="whole", marks=pytest.mark.slow),  # 733 340 steps
    ],
)
def test_runs_of_the_paper_are_those_of_a_plain_loop(weights, deviation, activation, length):
    study = attrs.evolve(Protocol().studies[weights], activations=(activation,), **length)
    X, y = regression_task(SAMPLES, study.seeds["data"])
    engine = TrainingRuns(study, X, y)(np.arange(MEMBERS)).isel(activation=0)

    relu, ends = activation == "relu", INTERVAL * study.output_intervals
    epochs = range(ceil(ends[-1] * BATCH / SAMPLES))
    order = np.concatenate([permutation(study.seeds["batches"], epoch, SAMPLES, None) for epoch in epochs])
    batches = order[: ends[-1] * BATCH].reshape(-1, BATCH)
    deviations = np.repeat([deviation, 0.0], [6, 3])  # biases are zero
    theta = deviations * np.random.default_rng(study.seeds["weights"]).normal(size=(MEMBERS, 9))
    V = RunState.start(theta, 9, None, study.seeds["frames"]).Q.copy()
    logs = np.zeros((MEMBERS, 9))
    exponents, losses = [], []
    for begin, end in pairwise([0, *ends]):
        for m in range(MEMBERS):
            train(relu, X, y, batches[begin:end], theta[m], V[m], logs[m])
        exponents.append(logs / (end * DT))
        losses.append([loss(relu, X, y, each) for each in theta])

    # absolute, in units of 1 / time: many exponents tend to zero, where a relative difference says nothing
    np.testing.assert_allclose(engine.exponent, np.stack(exponents, axis=1), rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(engine.loss, np.stack(losses, axis=1), rtol=1e-9)
    np.testing.assert_allclose(engine.final, theta, rtol=0.0, atol=1e-9)
