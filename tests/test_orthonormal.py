"""Orthonormal frames: the factorisation in its two forms, triangular solves, first frames, starts of runs."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_triangular
from steps import kernel_of

from dynsys import InvalidInputError, RunState
from dynsys.compiled.build import build
from dynsys.indicators import subspace_distance
from dynsys.models.classics import LinearMap
from dynsys.passes import orthonormal
from dynsys.passes.orthonormal import (
    GRAM_SCHMIDT,
    SINGULAR_RATIO,
    in_few_coordinates,
    is_singular,
    orthonormalise,
    random_frames,
    solve_upper,
)

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.integers(1, 7).flatmap(lambda dim: st.tuples(st.just(dim), st.integers(1, dim)))
LEADS = st.sampled_from([(), (1,), (4,), (2, 3)])


def factorise_as_python():
    namespace = {"njit": lambda function: function, "math": math, "SINGULAR_RATIO": SINGULAR_RATIO}
    exec(GRAM_SCHMIDT, namespace)
    return namespace["factorise"]


def factorise_as_compiled():
    forward = build(kernel_of(LinearMap(np.eye(1)), None).step(1), 1)
    return sys.modules[forward.__module__].factorise


def factorise_by_lapack():
    forward = build(kernel_of(LinearMap(np.eye(1)), None).step(1), 99)  # the form for long columns, whatever the system
    return sys.modules[forward.__module__].factorise


@pytest.fixture(
    scope="module",
    params=[
        factorise_as_python,
        pytest.param(factorise_as_compiled, marks=pytest.mark.numba),
        pytest.param(factorise_by_lapack, marks=pytest.mark.numba),
    ],
)
def factorise(request):
    """The factorisations of the kernels, as a function V -> (Q, R, full rank)."""
    inplace = request.param()

    def run(V):
        Q, R = V.copy(), np.full((V.shape[1],) * 2, np.nan)
        with np.errstate(over="ignore"):  # as in compiled code: seen afterwards, and divided out
            return Q, R, inplace(Q, R)

    return run


def with_condition(dim, k, condition, seed):
    rng = np.random.default_rng(seed)
    U, W = np.linalg.qr(rng.normal(size=(dim, k)))[0], np.linalg.qr(rng.normal(size=(k, k)))[0]
    return U @ np.diag(np.geomspace(1.0, 1.0 / condition, k)) @ W


def assert_factors(V, Q, R):
    k = V.shape[-1]
    scale = np.linalg.norm(V, axis=(-2, -1), keepdims=True)
    np.testing.assert_allclose(np.swapaxes(Q, -1, -2) @ Q, np.broadcast_to(np.eye(k), R.shape), atol=2e-14, rtol=0)
    np.testing.assert_allclose((Q @ R - V) / scale, 0.0, atol=2e-14)
    np.testing.assert_array_equal(np.tril(R, -1), 0.0)
    assert (np.diagonal(R, axis1=-2, axis2=-1) > 0).all()


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, lead=LEADS, scale=st.sampled_from([1e-100, 1.0, 1e100]), seed=SEEDS)
def test_factors_are_orthonormal_and_upper_triangular_with_positive_diagonal(shape, lead, scale, seed):
    V = scale * np.random.default_rng(seed).normal(size=(*lead, *shape))
    before = V.copy()
    assert_factors(V, *orthonormalise(V))
    np.testing.assert_array_equal(V, before)


@pytest.mark.parametrize(("dim", "k"), [(1, 1), (3, 3), (9, 4), (40, 40)])
def test_gram_schmidt_of_the_kernels_is_the_lapack_factorisation(factorise, dim, k):
    V = np.random.default_rng(dim).normal(size=(dim, k))
    Q, R, full_rank = factorise(V)
    assert full_rank
    # Q and R are determined to eps times the condition number of V
    tolerance = 1e-15 * dim * np.linalg.cond(V)
    for ours, lapack in zip((Q, R), orthonormalise(V), strict=True):
        np.testing.assert_allclose(ours, lapack, rtol=0, atol=tolerance)


@pytest.mark.parametrize("condition", [1e5, 1e10])
@pytest.mark.parametrize(("dim", "k"), [(3, 3), (9, 9), (30, 5)])
def test_ill_conditioned_frames_keep_full_orthogonality(factorise, dim, k, condition):
    V = with_condition(dim, k, condition, seed=dim)
    Q, R, full_rank = factorise(V)
    assert full_rank
    assert_factors(V, Q, R)
    for ours, lapack in zip((Q, R), orthonormalise(V), strict=True):
        np.testing.assert_allclose(ours, lapack, rtol=0, atol=1e-15 * condition)


@pytest.mark.parametrize(
    ("V", "full_rank"),
    [
        ([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]], False),  # the second column is twice the first
        ([[1.0, 0.0], [2.0, 0.0]], False),
        ([[0.0, 1.0], [0.0, 0.0]], False),
        ([[1.0, 1.0], [0.0, 1e-13]], True),  # small, but above rounding
    ],
)
def test_frame_is_singular_when_a_column_is_dependent_to_rounding(factorise, V, full_rank):
    V = np.array(V)
    assert factorise(V)[2] is full_rank
    assert is_singular(V, orthonormalise(V)[1]) is not full_rank


@pytest.mark.parametrize("scales", [(1e-200, 1.0), (1.0, 1e-200), (1e200, 1e200), (1e-300, 1e300)])
def test_squares_of_long_and_short_columns_neither_overflow_nor_underflow(factorise, scales):
    frame = random_frames(4, 2, 0, np.arange(1))[0]
    Q, R, full_rank = factorise(frame * scales)
    assert full_rank
    assert not is_singular(frame * scales, orthonormalise(frame * scales)[1])
    np.testing.assert_allclose(Q, frame, rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.diagonal(R), scales, rtol=1e-14)


@settings(deadline=None, max_examples=60)
@given(k=st.integers(1, 7), lead=LEADS, broadcast=st.booleans(), seed=SEEDS)
def test_back_substitution_is_the_triangular_solve(k, lead, broadcast, seed):
    rng = np.random.default_rng(seed)
    R = np.triu(rng.normal(size=(*lead, k, k))) + 3.0 * np.eye(k) * np.sign(rng.normal(size=k))
    C = rng.normal(size=(k, k) if broadcast else (*lead, k, k))
    X = solve_upper(R, C)
    for index in np.ndindex(*lead):
        expected = solve_triangular(R[index], C if broadcast else C[index])
        condition = np.linalg.cond(R[index])
        np.testing.assert_allclose(X[index], expected, rtol=0, atol=1e-15 * k * condition * np.abs(expected).max())
    np.testing.assert_array_equal(np.tril(solve_upper(R, np.triu(C)), -1), 0.0)


@settings(deadline=None, max_examples=40)
@given(shape=SHAPES, seed=SEEDS)
def test_first_frames_of_k_columns_are_the_first_columns_of_larger_frames(shape, seed):
    dim, k = shape
    members = np.arange(3)
    leading, full = random_frames(dim, k, seed, members), random_frames(dim, dim, seed, members)
    np.testing.assert_allclose(leading, full[..., :k], rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.swapaxes(full, 1, 2) @ full, np.broadcast_to(np.eye(dim), full.shape), atol=2e-14)


def test_first_frames_are_keyed_by_seed_and_member():
    frames = random_frames(5, 5, 7, np.arange(10))
    np.testing.assert_array_equal(random_frames(5, 5, 7, np.array([8, 3])), frames[[8, 3]])
    others = np.concatenate([frames, random_frames(5, 5, 8, np.arange(10))])
    assert len(np.unique(others[:, 0, 0])) == 20


@pytest.mark.parametrize("x0", [[1.0, 2.0, 3.0], [[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
def test_start_has_a_member_axis_exactly_when_many_states_come(x0):
    x0 = np.array(x0)
    start = RunState.start(x0, 3, None, 0)
    assert start.single is (x0.ndim == 1)
    assert (start.n, start.Q.shape) == (0, (len(np.atleast_2d(x0)), 3, 3))
    kept = x0.copy()
    x0[:] = np.nan  # the record has copies
    np.testing.assert_array_equal(start.x, np.atleast_2d(kept))


@pytest.mark.parametrize("k", [1, 2, 3, np.int64(2), None])
def test_start_follows_k_vectors_and_all_by_default(k):
    assert RunState.start(np.ones(3), 3, k, 0).Q.shape == (1, 3, 3 if k is None else k)


@pytest.mark.parametrize(
    ("x0", "k", "seed", "message"),
    [
        (np.ones(4), None, 0, r"x0 must have shape \(3,\) or \(members, 3\), got \(4,\)"),
        (np.ones((3, 4)), None, 0, r"x0 must have shape .* got \(3, 4\)"),
        (np.ones((2, 2, 3)), None, 0, r"x0 must have shape .* got \(2, 2, 3\)"),
        (np.ones((0, 3)), None, 0, r"x0 must have shape .* got \(0, 3\)"),
        (1.0, None, 0, r"x0 must have shape .* got \(\)"),
        ([[1.0, 2.0, 3.0], [4.0]], None, 0, "x0"),
        (["one", "two", "three"], None, 0, "x0"),
        ([1.0, np.nan, np.inf], None, 0, r"x0 must be finite, got NaN or infinity at \[\[1\], \[2\]\]"),
        ([[0.0, 0.0, 0.0], [0.0, 0.0, np.nan]], None, 0, r"x0 must be finite, got NaN or infinity at \[\[1, 2\]\]"),
        (np.ones(3), 4, 0, "k must be at most the dimension 3, got 4"),
        (np.ones(3), -1, 0, "k must be a whole number >= 0, got -1"),
        (np.ones(3), 2.0, 0, r"k must be a whole number >= 0, got 2\.0"),
        (np.ones(3), True, 0, "k must be a whole number >= 0, got True"),
        (np.ones(3), "2", 0, "k must be a whole number >= 0, got '2'"),
        (np.ones(3), 2, -1, "seed must be a whole number >= 0, got -1"),
        (np.ones(3), 2, 0.5, r"seed must be a whole number >= 0, got 0\.5"),
        (np.ones(3), 2, None, "seed must be a whole number >= 0, got None"),
    ],
)
def test_start_refuses_bad_input_and_says_what_came_and_what_was_expected(x0, k, seed, message):
    with pytest.raises(InvalidInputError, match=message):
        RunState.start(x0, 3, k, seed)


def test_tall_frames_in_few_coordinates_have_the_same_products_and_distances(monkeypatch):
    rng = np.random.default_rng(4)
    one = random_frames(500, 3, 0, np.arange(2))
    other = orthonormalise(one + 1e-9 * rng.normal(size=one.shape))[0]
    kept = in_few_coordinates(one, other)
    assert kept[0] is one
    assert kept[1] is other
    monkeypatch.setattr(orthonormal, "TALL", 60)  # the last block is not full
    few = in_few_coordinates(one, other)
    assert few[0].shape == few[1].shape == (2, 6, 3)
    for a, b in ((0, 0), (0, 1), (1, 1)):
        there, here = (np.swapaxes(pair[a], 1, 2) @ pair[b] for pair in ((one, other), few))
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-14)
    np.testing.assert_allclose(subspace_distance(*few), subspace_distance(one, other), rtol=1e-5)  # of about 1e-8
    one[1, 499, 0] = np.nan
    found = in_few_coordinates(one, other)
    assert np.isfinite(found[0][0]).all()
    assert np.isnan(found[0][1]).all()
    assert np.isnan(found[1][1]).all()


def test_first_vectors_leave_out_what_a_stepper_carries_as_long_as_others_last():
    few, all_of_them = (random_frames(6, k, 3, np.arange(2), carried=2) for k in (3, 6))
    np.testing.assert_allclose(all_of_them[:, :, :3], few, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(few[:, 4:], 0.0)
    np.testing.assert_allclose(all_of_them[:, 4:, :4], 0.0, atol=1e-15)
    np.testing.assert_allclose(np.swapaxes(all_of_them, 1, 2) @ all_of_them, [np.eye(6)] * 2, rtol=0, atol=1e-14)
