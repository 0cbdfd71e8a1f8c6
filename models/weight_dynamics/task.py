"""The data: the paper's regression task."""

from __future__ import annotations

import numpy as np

from dynsys.errors import whole_number, whole_seed

Array = np.ndarray


def regression_task(samples: int = 1000, seed: int = 0) -> tuple[Array, Array]:
    """The paper's task: x1, x2 ~ N(0, 1) and y = 10 x1 - 2 x2^2.

    Returns
    -------
    X : ndarray, shape (samples, 2)
    y : ndarray, shape (samples,)

    References
    ----------
    arXiv:2405.00743, Sec. IV, with samples = 1000.
    """
    X = np.random.default_rng(whole_seed(seed)).normal(size=(whole_number("samples", samples, 1), 2))
    return X, 10.0 * X[:, 0] - 2.0 * X[:, 1] ** 2


def paper_task(samples: int) -> str:
    """What `regression_task` is, in a sentence."""
    return f"Task: y = 10 x1 - 2 x2^2, {samples} samples with x1, x2 ~ N(0, 1)."
