"""The backward sweep: the compiled loop against its NumPy twin and against solving one system after the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import solve_triangular

from dynsys.compiled.backward import sweep_back, sweep_by_numpy
from dynsys.passes.orthonormal import packed, unpacked


def factors(members, intervals, k, seed=0):
    rng = np.random.default_rng(seed)
    R = np.triu(rng.normal(size=(members, intervals, k, k)), 1)
    R[..., range(k), range(k)] = rng.uniform(0.2, 3.0, size=(members, intervals, k))
    C = np.triu(rng.normal(size=(members, k, k)))
    return R, C / np.linalg.norm(C, axis=1, keepdims=True)


def by_solving(R, C, first, last):
    """One task, one triangular solve after the other: C at all boundaries from `first` on, and the log growths."""
    found, grown = [C], []
    for i in reversed(range(first, last)):
        X = solve_triangular(R[i], found[0])
        lengths = np.linalg.norm(X, axis=0)
        found.insert(0, X / lengths)
        grown.insert(0, -np.log(lengths))
    return np.array(found), np.array(grown).reshape(last - first, len(C))


@given(st.integers(1, 6), st.integers(0, 2**16))
def test_packing_is_undone_and_leading_columns_come_first(k, seed):
    R = np.triu(np.random.default_rng(seed).normal(size=(2, 3, k, k)))
    np.testing.assert_array_equal(unpacked(packed(R)), R)
    for j in range(1, k + 1):
        np.testing.assert_array_equal(packed(R)[..., : j * (j + 1) // 2], packed(R[..., :j, :j]))


@pytest.mark.parametrize("k", [1, 2, 3, 9, 30])
def test_sweep_solves_and_counts_growth(k):
    R, C = factors(2, 12, k)
    member, first, last = np.array([0, 1, 1]), np.array([0, 3, 5]), np.array([12, 9, 5])
    starts = C[member]
    found, total = sweep_back(packed(R), member, first, last, starts)
    for t in range(3):
        exact, grown = by_solving(R[member[t]], starts[t], first[t], last[t])
        np.testing.assert_allclose(found[t], exact[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(total[t], grown.sum(axis=0), rtol=0, atol=1e-11)
        np.testing.assert_array_equal(np.tril(found[t], -1), 0.0)
    np.testing.assert_array_equal(starts, C[member])  # not changed


@pytest.mark.parametrize("stride", [1, 3])
def test_frames_become_vectors_and_growth_is_that_of_strides(stride):
    R, C = factors(2, 12, 3)
    Q = np.random.default_rng(1).normal(size=(2, 12 // stride, 5, 3))
    vectors, growth = Q.copy(), np.zeros((2, 12 // stride, 3))
    every = np.arange(2)
    sweep_back(packed(R), every, 0 * every, 0 * every + 12, C, stride=stride, Q=vectors, growth=growth)
    for m in range(2):
        exact, grown = by_solving(R[m], C[m], 0, 12)
        np.testing.assert_allclose(vectors[m], Q[m] @ exact[stride::stride], rtol=0, atol=1e-12)
        np.testing.assert_allclose(growth[m], grown.reshape(-1, stride, 3).sum(axis=1), rtol=0, atol=1e-12)


@pytest.mark.numba
@pytest.mark.parametrize(("k", "dim", "stride"), [(1, 1, 1), (3, 3, 2), (4, 7, 1), (30, 30, 5)])
def test_compiled_and_numpy_sweeps_agree(k, dim, stride):
    R, C = factors(3, 20, k)
    Q = np.random.default_rng(2).normal(size=(3, 20 // stride, dim, k))
    every = np.arange(3)
    first, last = np.array([0, 4, 7]), np.array([20, 20, 11])
    vectors, growth = Q.copy(), np.zeros((3, 20 // stride, k))
    found, total = sweep_back(packed(R), every, first, last, C, stride=stride, Q=vectors, growth=growth)
    C2, total2, Q2, growth2 = C.copy(), np.zeros((3, k)), Q.copy(), np.zeros_like(growth)
    sweep_by_numpy(packed(R), every, first, last, C2, total2, stride, Q2, growth2)
    for one, other in ((found, C2), (total, total2), (vectors, Q2), (growth, growth2)):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)
    assert k == 1 or (Q2 != Q).any()


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_lengths_beyond_the_square_root_of_the_range_neither_over_nor_underflow(size):
    R, C = factors(1, 1, 3)
    plain, growth = sweep_back(packed(R), [0], [0], [1], C)
    scaled, larger = sweep_back(packed(R * size), [0], [0], [1], C)
    np.testing.assert_allclose(scaled, plain, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(larger - growth, np.log(size), rtol=1e-12)


def test_a_lost_member_stays_lost_and_alone():
    R, C = factors(2, 6, 3)
    whole = sweep_back(packed(R), [0, 1], [0, 0], [6, 6], C)[0]
    R[0, 4:] = np.nan
    found = sweep_back(packed(R), [0, 1], [0, 0], [6, 6], C)[0]
    assert np.isnan(found[0, np.triu_indices(3)[0], np.triu_indices(3)[1]]).all()
    np.testing.assert_array_equal(found[1], whole[1])
