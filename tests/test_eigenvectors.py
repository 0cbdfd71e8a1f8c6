"""Eigenvectors of products of triangular factors: those of the product itself, however long and however degenerate."""

import numpy as np
import pytest

from dynsys.compiled import backward
from dynsys.indicators import line_distance
from dynsys.passes.eigenvectors import eigenvectors
from dynsys.passes.orthonormal import packed


def window_of(factors):
    """C and total of a backward pass from the identity through triangular factors (window, k, k)."""
    w, k, _ = factors.shape
    one = [np.array([n]) for n in (0, 0, w)]
    return backward.sweep_back(packed(factors)[None], *one, np.eye(k)[None])


def triangles(seed, w, logarithms):
    """Random upper-triangular factors whose diagonals are exp(logarithms + noise)."""
    rng, k = np.random.default_rng(seed), len(logarithms)
    diagonals = np.exp(logarithms + 0.1 * rng.normal(size=(w, k)))
    return np.triu(rng.normal(size=(w, k, k)), 1) + diagonals[:, :, None] * np.eye(k)


@pytest.mark.parametrize("logarithms", [[1.0, 0.3, -0.5, -1.0], [0.1, -0.6, 0.7, 0.0]], ids=["ordered", "out of order"])
@pytest.mark.parametrize("w", [1, 2, 6])
def test_eigenvectors_are_those_of_the_product(w, logarithms):
    factors = triangles(3, w, np.array(logarithms))
    product = np.linalg.multi_dot([*factors[::-1], np.eye(4)])
    values, vectors = np.linalg.eig(product)
    order = [int(np.argmin(np.abs(values - entry))) for entry in np.diagonal(product)]
    found = eigenvectors(*window_of(factors))[0]
    assert line_distance(found, vectors[:, order]).max() < 1e-10
    np.testing.assert_array_equal(np.tril(found, -1), 0.0)
    assert (np.diagonal(found) > 0).all()


def test_eigenvectors_of_long_windows_are_what_the_repeated_window_converges_to():
    factors = triangles(4, 200, np.array([0.5, 0.2, 0.1, -0.8]))
    found = eigenvectors(*window_of(factors))[0]
    again, _ = window_of(np.concatenate([factors] * 4))
    assert line_distance(found, again[0]).max() < 1e-13


@pytest.mark.parametrize(
    ("spread", "sign"), [(10.0, 1.0), (1000.0, 1.0), (20_000.0, 1.0), (10.0, -1.0), (1000.0, -1.0)]
)
def test_eigenvectors_do_not_overflow_for_long_windows(spread, sign):
    R = np.triu(np.random.default_rng(5).normal(size=(4, 4)), 1) + np.diag(
        np.exp(sign * np.array([1.0, 0.4, 0.0, -1.0]))
    )
    exact = eigenvectors(*window_of(R[None]))  # those of any power
    found = eigenvectors(*window_of(np.repeat(R[None], int(spread / 2), axis=0)))
    assert np.isfinite(found).all()
    assert line_distance(found, exact).max() < 1e-12


@pytest.mark.parametrize(
    "R",
    [
        np.eye(3),
        [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]],
        [[2.0, 0.3, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 2.0]],
    ],
    ids=["identity", "Jordan", "first and last"],
)
@pytest.mark.parametrize("w", [1, 50])
def test_equal_eigenvalues_give_finite_unit_vectors(R, w):
    found = eigenvectors(*window_of(np.repeat(np.array(R)[None], w, axis=0)))[0]
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), 1.0, rtol=1e-14)
    if np.array_equal(R, np.eye(3)):
        np.testing.assert_array_equal(found, R)
