"""The paper's closed formulas for the Jacobian, Eqs. (8)-(23), in corrected form, for any N1, N2, N3.

Every formula is one einsum over samples s, with inputs i, m; hidden units j, l; outputs k, n. The misprints that are
corrected here are listed in docs/misprints.md.
"""

from __future__ import annotations

import numpy as np

from dynsys.models.activations import Activation
from dynsys.models.networks.three_layer.layout import Layout

Array = np.ndarray

BLOCKS = {
    8: ("W21", "W21"), 9: ("W21", "W32"), 10: ("W21", "b1"), 11: ("W21", "b2"),
    12: ("W32", "W21"), 13: ("W32", "W32"), 14: ("W32", "b1"), 15: ("W32", "b2"),
    16: ("b1", "W21"), 17: ("b1", "W32"), 18: ("b1", "b1"), 19: ("b1", "b2"),
    20: ("b2", "W21"), 21: ("b2", "W32"), 22: ("b2", "b1"), 23: ("b2", "b2"),
}  # fmt: skip
"""Equation number -> (velocity that is differentiated, by what)."""


def jacobian(layout: Layout, activation: Activation, x: Array, y: Array, theta: Array) -> Array:
    """Sum over the samples x (samples, N1), y (samples, N3) of the Jacobian at one state, shape (Q, Q)."""
    w21, w32, b1, b2 = layout.unpack(theta)
    W = w32.T  # W[k, j] as in the paper
    s, s1, s2 = activation.fused(x @ w21 + b1)  # (s, j)
    e = y - (s @ w32 + b2)  # (s, k)
    I2, I3 = np.eye(layout.n2), np.eye(layout.n3)
    ones = np.ones(len(x))

    # What (8), (10), (16), (18) share: delta_jl sigma''(d_j) [W^T e]_j - sigma'(d_j) sigma'(d_l) [W^T W]_jl
    inner = np.einsum("jl,sj,sj->sjl", I2, s2, e @ W) - np.einsum("sj,sl,jl->sjl", s1, s1, W.T @ W)
    # What (9), (17) share: sigma'(d_j) (delta_jl e_n - sigma(d_l) W_nj)
    cross = np.einsum("sj,jl,sn->sjln", s1, I2, e) - np.einsum("sj,sl,nj->sjln", s1, s, W)
    # What (12), (14) share: sigma'(d_l) (delta_jl e_k - sigma(d_j) W_kl)
    crossed = np.einsum("sl,jl,sk->sjkl", s1, I2, e) - np.einsum("sl,sj,kl->sjkl", s1, s, W)

    # Columns of W21 come first: index i N2 + j, hence axes (i, j); of W32: j N3 + k, hence (j, k).
    blocks = {
        8: np.einsum("si,sm,sjl->ijml", x, x, inner),
        9: np.einsum("si,sjln->ijln", x, cross),
        10: np.einsum("si,sjl->ijl", x, inner),
        11: -np.einsum("si,sj,nj->ijn", x, s1, W),
        12: np.einsum("sm,sjkl->jkml", x, crossed),
        13: -np.einsum("kn,sj,sl->jkln", I3, s, s),
        14: np.einsum("sjkl->jkl", crossed),
        15: -np.einsum("kn,sj->jkn", I3, s),
        16: np.einsum("sm,sjl->jml", x, inner),
        17: np.einsum("sjln->jln", cross),
        18: np.einsum("sjl->jl", inner),
        19: -np.einsum("sj,nj->jn", s1, W),
        20: -np.einsum("sl,kl,sm->kml", s1, W, x),
        21: -np.einsum("kn,sl->kln", I3, s),
        22: -np.einsum("sl,kl->kl", s1, W),
        23: -np.einsum("kn,s->kn", I3, ones),
    }
    J = np.empty((layout.dimension, layout.dimension))
    for number, (rows, columns) in block_slices(layout).items():
        J[rows, columns] = 2.0 * blocks[number].reshape(J[rows, columns].shape)
    return J


def block_slices(layout: Layout) -> dict[int, tuple[slice, slice]]:
    """Equation number -> rows and columns of its block in the Jacobian."""
    place = layout.blocks
    return {number: (place[row], place[column]) for number, (row, column) in BLOCKS.items()}
