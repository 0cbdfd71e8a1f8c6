"""Which vectors are called determined: labels of made-up pairs of starts, and of systems whose answer is known."""

import numpy as np
import pytest

from dynsys import DiagnosticWarning
from dynsys.algorithms.checks.covariance import determined_subspaces, smallest_gap, verdict
from dynsys.models.classics import LinearMap

E = np.eye(4)


def labels(one, other=None, frames=(True, True, True, True)):
    other = one if other is None else other
    k = one.shape[1]
    return determined_subspaces(one[None], other[None], np.array([frames[:k]]), 1e-4)[0].tolist()


def mixed(*pairs, size=0.3):
    """E with a share of column i added to column j > i, as a start leaves it that has not yet decayed."""
    V = E.copy()
    for i, j in pairs:
        V[:, j] += size * E[:, i]
    return V / np.linalg.norm(V, axis=0)


def test_all_vectors_are_determined_where_starts_and_frames_agree():
    assert labels(E, mixed((0, 2), size=1e-5)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(1, 2)], [0, 1, 1, 3]),
        ([(0, 1)], [0, 0, 2, 3]),
        ([(0, 2)], [0, 0, 0, 3]),  # what contaminates lies two before: all between is joined
        ([(2, 3)], [0, 1, 2, 2]),
        ([(0, 1), (2, 3)], [0, 0, 2, 2]),
        ([(0, 3)], [-1, -1, -1, -1]),  # the whole space: nothing is learnt
        ([(0, 1), (1, 2), (2, 3)], [-1, -1, -1, -1]),
    ],
)
def test_runs_are_as_short_as_what_contaminates_them_allows(pairs, expected):
    assert labels(E, mixed(*pairs)) == expected


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ((True, False, True, True), [0, 1, 1, 3]),
        ((False, True, True, True), [0, 0, 2, 3]),
        ((True, True, False, True), [0, 1, 2, 2]),
        ((False, False, False, True), [-1, -1, -1, -1]),
    ],
)
def test_a_boundary_that_the_frames_do_not_know_is_none(frames, expected):
    assert labels(E, frames=frames) == expected


def test_of_fewer_vectors_than_dimensions_the_last_run_may_stay_open():
    assert labels(E[:, :3], frames=(True, True, False)) == [0, 1, -1]
    assert labels(E[:, :3], mixed((0, 2))[:, :3]) == [0, 0, 0]  # not the whole of space: something is learnt
    assert labels(E[:, :1], frames=(False,)) == [-1]


def test_lost_members_are_not_determined_and_the_others_are():
    V = np.stack([E, np.full((4, 4), np.nan)])
    assert determined_subspaces(V, V, np.ones((2, 4), bool), 1e-4).tolist() == [[0, 1, 2, 3], [-1] * 4]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([0, 1, 2], "reliable: vector(s) 1, 2, 3"),
        ([0, 1, 1, 3], "reliable: vector(s) 1, 4 and the common span of 2-3"),
        ([0, 0, 2, 2], "reliable: the common span of 1-2, 3-4"),
        ([-1, -1], "reliable: none"),
    ],
)
def test_labels_in_words(given, told):
    assert verdict(np.array(given)) == told


def test_gap_and_the_tail_that_it_asks_for():
    gap, tail = smallest_gap(np.array([[1.0, 0.5, -2.0], [1.0, 1.0, 0.0], [0.0, 1.0, -1.0], [np.nan] * 3]), 0.1)
    np.testing.assert_allclose(gap, [0.5, 0.0, -1.0, np.nan])
    np.testing.assert_array_equal(tail, [np.ceil(np.log(1e10) / 0.05), np.inf, np.inf, np.nan])
    assert smallest_gap(np.array([[0.3]]), 1.0)[1].tolist() == [0.0]  # one vector has no gap, and needs no tail


def test_equal_exponents_are_said_to_need_more_than_any_tail():
    with pytest.warns(DiagnosticWarning, match=r"a gap vanishes.*reliable: vector\(s\) 1 and the common span of 2-3"):
        LinearMap(np.array([[2.0, 0.0, 0.0], [0.3, 1.0, 0.0], [0.1, 0.0, 1.0]])).tangent().ginelli(
            np.zeros(3), intervals=5, warmup=80, tail=80
        )
