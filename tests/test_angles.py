"""Angles and distances of vectors and of spans: closed forms to rounding, and what does not change them."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from dynsys.errors import InvalidInputError
from dynsys.indicators import angles, cosines, line_distance, principal_angles, subspace_distance

E = np.eye(4)
SMALL_AND_LARGE = [1e-12, 1e-5, 0.3, np.pi / 2 - 1e-5, np.pi / 2]
SEEDS = st.integers(0, 2**32 - 1)


def turned(angle, plane, dim=4):
    """Rotation by `angle` in the plane of two axes."""
    i, j = plane
    rotation = np.eye(dim)
    rotation[[i, j], [i, j]] = np.cos(angle)
    rotation[j, i], rotation[i, j] = np.sin(angle), -np.sin(angle)
    return rotation


def test_angles_of_vectors_in_a_plane_are_those_between_lines():
    directions = np.array([0.0, 0.4, 1.5, 2.0, 3.0])
    vectors = np.stack([np.cos(directions), np.sin(directions)])
    apart = np.abs(directions[:, None] - directions)
    found = angles(vectors)
    np.testing.assert_allclose(found, np.minimum(apart, np.pi - apart), rtol=0, atol=1e-15)
    np.testing.assert_allclose(cosines(vectors), np.abs(np.cos(apart)), rtol=0, atol=1e-15)
    for function in (angles, cosines):
        np.testing.assert_array_equal(function(vectors * [1, -1, 1, -1, -1]), function(vectors))
        np.testing.assert_array_equal(function(np.stack([vectors, -vectors])), [function(vectors)] * 2)


@pytest.mark.parametrize("angle", [1e-150, 1e-20, 1e-12, 1e-8, 1e-4, np.pi / 2 - 1e-12, np.pi / 2])
def test_angles_are_exact_to_rounding_however_small(angle):
    found = angles(np.array([[1.0, np.cos(angle), -np.cos(angle)], [0.0, np.sin(angle), np.sin(angle)]]))
    np.testing.assert_allclose(found[0, 1:], angle, rtol=3e-16)
    np.testing.assert_allclose(found[1, 2], min(2 * angle, np.pi - 2 * angle), rtol=3e-16, atol=2e-16)


@given(seed=SEEDS, dim=st.integers(1, 6), k=st.integers(1, 6), power=st.integers(-40, 40))
def test_angles_are_those_of_lines_in_any_basis(seed, dim, k, power):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(3, dim, k))
    found, cosine = angles(vectors), cosines(vectors)
    np.testing.assert_array_equal(found, np.swapaxes(found, -1, -2))
    np.testing.assert_array_equal(np.diagonal(found, axis1=-2, axis2=-1), 0.0)
    assert 0 <= found.min() <= found.max() <= np.pi / 2
    assert 0 <= cosine.min() <= cosine.max() <= 1
    np.testing.assert_allclose(np.cos(found), cosine, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(angles(-(2.0**power) * vectors), found)
    np.testing.assert_allclose(angles(rng.uniform(0.1, 9.0, size=k) * vectors), found, rtol=0, atol=2e-15)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    np.testing.assert_allclose(angles(rotation @ vectors), found, rtol=0, atol=1e-14)


@pytest.mark.parametrize("function", [angles, cosines])
def test_the_angle_to_a_vector_that_is_lost_is_unknown(function):
    for lost in (np.nan, np.inf, 0.0):
        found = function(np.stack([E[:, 0], np.full(4, lost), E[:, 1]], axis=1))
        assert np.isnan(found[1]).all()
        assert np.isnan(found[:, 1]).all()
        np.testing.assert_array_equal(found[::2, ::2], function(E[:, :2]))


@pytest.mark.parametrize("first", SMALL_AND_LARGE)
@pytest.mark.parametrize("second", SMALL_AND_LARGE)
def test_principal_angles_are_those_by_which_a_plane_was_turned(first, second):
    U = turned(first, (0, 2)) @ turned(second, (1, 3)) @ E[:, :2]
    found = principal_angles(U, E[:, :2])
    np.testing.assert_allclose(found, np.sort([first, second]), rtol=1e-12, atol=1e-16)
    # a line in that plane, at 45 degrees: both angles count by half
    line = U @ [[1.0], [1.0]]
    sine = np.sqrt((np.sin(first) ** 2 + np.sin(second) ** 2) / 2)
    for one, other in ((line, E[:, :2]), (E[:, :2], line)):
        np.testing.assert_allclose(np.sin(principal_angles(one, other)), [sine], rtol=1e-12)


@given(seed=SEEDS, dim=st.integers(1, 6), data=st.data())
def test_principal_angles_are_those_of_the_spans_and_agree_with_scipy(seed, dim, data):
    p, q = (data.draw(st.integers(1, dim)) for _ in "UV")
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.normal(size=(2, 3, dim, columns)))[0] for columns in (p, q))
    found = principal_angles(U, V)
    assert found.shape == (2, 3, min(p, q))
    assert 0 <= found.min() <= found.max() <= np.pi / 2
    assert (np.diff(found, axis=-1) >= 0).all()
    known = [scipy.linalg.subspace_angles(U[i], V[i])[::-1] for i in np.ndindex(2, 3)]
    np.testing.assert_allclose(found.reshape(6, -1), known, rtol=0, atol=5e-8)  # SciPy's arccos near 1
    np.testing.assert_allclose(principal_angles(V, U), found, rtol=0, atol=1e-14)
    np.testing.assert_allclose(principal_angles(U[0, 0], V), principal_angles(np.broadcast_to(U[0, 0], U.shape), V))
    basis = np.linalg.qr(rng.normal(size=(p, p)))[0] * rng.uniform(0.5, 2.0, size=p)  # far from singular
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    np.testing.assert_allclose(principal_angles(U @ basis, V), found, rtol=0, atol=1e-13)
    np.testing.assert_allclose(principal_angles(rotation @ U, rotation @ V), found, rtol=0, atol=1e-13)
    lines = np.concatenate([U[..., :1], V[..., :1]], axis=-1)
    np.testing.assert_allclose(
        principal_angles(*np.split(lines, 2, axis=-1))[..., 0], angles(lines)[..., 0, 1], atol=1e-14
    )
    if p == q:
        np.testing.assert_allclose(np.sin(found[..., -1]), subspace_distance(U, V)[..., -1], rtol=0, atol=1e-14)


def test_principal_angles_of_frames_that_span_less_are_unknown():
    good = turned(0.3, (0, 2)) @ E[:, :2]
    lost = [
        np.full((4, 2), np.nan),
        E[:, [0, 0]],
        np.stack([E[0], 0 * E[0]], axis=1),
        np.where(E[:, :2] > 0, np.inf, E[:, 2:]),
    ]
    U = np.stack([good, *lost, 1e-200 * good * [1.0, 1e150]])
    for found in (principal_angles(U, E[:, :2]), principal_angles(E[:, :2], U)):
        np.testing.assert_allclose(found[[0, -1]], [[0.0, 0.3]] * 2, rtol=0, atol=2e-16)
        assert np.isnan(found[1:-1]).all()


@pytest.mark.parametrize(
    ("U", "V"), [((4,), (4, 1)), ((4, 2), (3, 2)), ((4, 5), (4, 2)), ((4, 2), (4, 0)), ((2, 4, 1), (3, 4, 1))]
)
def test_principal_angles_refuse_shapes_that_do_not_fit(U, V):
    for one, other in ((U, V), (V, U)):
        with pytest.raises(InvalidInputError) as caught:
            principal_angles(np.ones(one), np.ones(other))
        assert str(caught.value).endswith(f"got {one} and {other}")


@pytest.mark.parametrize("angle", SMALL_AND_LARGE)
def test_line_distance_is_the_sine_of_the_angle_to_relative_rounding(angle):
    V = E[:, :2]
    U = turned(angle, (0, 2)) @ V
    np.testing.assert_allclose(line_distance(U, V), [np.sin(angle), 0.0], rtol=1e-14)
    np.testing.assert_allclose(line_distance(-7.0 * U, V), [np.sin(angle), 0.0], rtol=1e-14)  # length and sign of U


@pytest.mark.parametrize("angle", SMALL_AND_LARGE)
@pytest.mark.parametrize(
    ("plane", "expected"), [((0, 2), [1, 1]), ((0, 3), [1, 1]), ((1, 2), [0, 1]), ((2, 3), [0, 0]), ((0, 1), [1, 0])]
)
def test_subspace_distance_is_the_sine_of_the_largest_angle_between_spans(angle, plane, expected):
    U = turned(angle, plane) @ E[:, :2]
    for A, B in ((U, E[:, :2]), (E[:, :2], U)):
        found = subspace_distance(A, B)
        np.testing.assert_allclose(found, np.sin(angle) * np.array(expected), rtol=1e-12, atol=4e-16)


def test_subspace_distance_takes_the_larger_of_two_angles_and_no_account_of_the_basis():
    U = turned(0.2, (0, 2)) @ turned(0.7, (1, 3)) @ E[:, :2]
    basis = turned(1.1, (0, 1), dim=2)
    np.testing.assert_allclose(subspace_distance(U, E[:, :2])[1], np.sin(0.7), rtol=1e-14)
    np.testing.assert_allclose(subspace_distance(U @ basis, E[:, :2])[1], np.sin(0.7), rtol=1e-14)
    stacked = subspace_distance(np.stack([U, U]), np.stack([E[:, :2], U]))
    np.testing.assert_allclose(stacked, [[np.sin(0.2), np.sin(0.7)], [0.0, 0.0]], rtol=0, atol=1e-15)


@pytest.mark.parametrize("distance", [line_distance, subspace_distance])
def test_the_distance_of_a_frame_that_is_lost_is_unknown_not_zero(distance):
    frames = np.stack([E[:, :2], np.full((4, 2), np.nan)])
    found = distance(frames, frames)
    np.testing.assert_allclose(found[0], 0.0, atol=1e-15)
    assert np.isnan(found[1]).all()
