"""Data for classifiers: flowers and digits."""

from __future__ import annotations

import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import whole_number, whole_seed

Array = np.ndarray


def iris(samples: int = 120, seed: int = 0) -> tuple[Array, Array]:
    """Fisher's iris data, shuffled, as they are: four lengths in cm of three species.

    Returns
    -------
    X : ndarray, shape (samples, 4)
    labels : ndarray of int, shape (samples,)

    References
    ----------
    R. A. Fisher, Annals of Eugenics 7, 179 (1936).
    """
    from sklearn.datasets import load_iris

    X, labels = load_iris(return_X_y=True)
    return _some(X, labels, samples, seed)


def digits(samples: int = 1000, seed: int = 0) -> tuple[Array, Array]:
    """Handwritten digits, 8 x 8 pixels in [0, 1], shuffled.

    Returns
    -------
    X : ndarray, shape (samples, 64)
    labels : ndarray of int, shape (samples,)

    References
    ----------
    E. Alpaydin, C. Kaynak, UCI repository (1998), as in scikit-learn.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return _some(images / 16.0, labels, samples, seed)


def _some(X: Array, labels: Array, samples: int, seed: int) -> tuple[Array, Array]:
    if whole_number("samples", samples, 1) > len(X):
        raise InvalidInputError(f"samples must be at most {len(X)}, got {samples}")
    chosen = np.random.default_rng(whole_seed(seed)).permutation(len(X))[:samples]
    return X[chosen], labels[chosen]
