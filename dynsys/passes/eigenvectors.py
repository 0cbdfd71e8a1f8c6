"""Eigenvectors of long products of triangular factors, from one backward pass through them."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def eigenvectors(C: Array, total: Array) -> Array:
    """Eigenvectors of the products P of triangular factors, from one backward pass through them, (tasks, k, k).

    A pass from the identity gives P^{-1} = C diag(w), w_j = exp(-total_j), so column j solves

        (C_jj w_j - C_ii w_i) v_i = sum_{i < m <= j} C_im w_m v_m,     i < j,     v_i = 0,     i > j.

    The w_m of a row are scaled by their largest, and a column by its own: nothing over- or underflows for long
    windows. Unit columns, upper triangular, in the order of the frame: column j belongs to the eigenvalue prod R_jj,
    whether or not these decrease (an order that is wrong by more than exp(700) is lost in C). Of equal eigenvalues it
    is the limit, one direction for both.
    """
    tasks, k = total.shape
    V = np.zeros_like(C)
    for j in range(k):
        v = np.zeros((tasks, k))
        v[:, j] = 1.0
        for i in reversed(range(j)):
            w = np.exp(np.min(total[:, i : j + 1], axis=1, keepdims=True) - total[:, i : j + 1])
            terms = C[:, i, i : j + 1] * w
            here, right = C[:, j, j] * w[:, -1], np.sum(terms[:, 1:] * v[:, i + 1 : j + 1], axis=1)
            gap = here - terms[:, 0]
            least = np.finfo(float).eps * (np.abs(here) + np.abs(terms[:, 0]))
            gap = np.where(np.abs(gap) < least, least, gap)
            gap = np.where((gap == 0) & (right == 0), 1.0, gap)
            v[:, i + 1 : j + 1] *= np.abs(gap)[:, None]  # homogeneous: no quotient that overflows
            v[:, i] = np.where(gap < 0, -right, right)
            v /= np.max(np.abs(v), axis=1, keepdims=True)
        V[:, :, j] = v / np.linalg.norm(v, axis=1, keepdims=True)
    return V
