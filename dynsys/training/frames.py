"""Tall orthonormal frames as rows on the device of a model: few vectors of very many components.

V^T = Q R by CholeskyQR: with the Gram matrix G = V V^T = L L^T, Q^T = L^{-1} V and R = L^T. Orthogonality is lost with
the condition of G, so that it is done twice where that is not small. G is summed in float64, whatever the frame:
float32 frames are orthonormal to 1e-7. Blocks of columns are overwritten in place, and no second frame is needed. Where
G is not safely positive definite, Householder reflections take over.

Y. Yamamoto, Y. Nakatsukasa, Y. Yanagisawa, T. Fukaya, Electron. Trans. Numer. Anal. 44, 306 (2015).
"""

from __future__ import annotations

import numpy as np
import torch

from dynsys.passes.orthonormal import SINGULAR_RATIO

Tensor = torch.Tensor
Array = np.ndarray

BLOCK = 65_536  # columns that are moved at once
LARGEST_CONDITION = 1e6  # ratio of the pivots of a scaled Gram matrix beyond which reflections are taken
ONCE = {torch.float32: 1e5, torch.float64: 100.0}  # condition of a Gram matrix within which one pass is enough
SAFE = (1e-200, 1e200)  # squares of lengths that have neither over- nor underflown


def orthonormalise_rows(V: Tensor) -> Array | None:
    """Make the rows of V orthonormal in place, and return R, shape (k, k), in float64, with R_ii > 0.

    As `dynsys.passes.orthonormal.orthonormalise` of the columns of V^T, V of shape (k, n), k <= n.

    Returns
    -------
    ndarray or None
        None if an R_ii vanishes, or V is not finite.
    """
    k = len(V)
    if k == 0:
        return np.zeros((0, 0))
    scale = torch.ones(k, dtype=torch.float64)
    G = _gram(V)
    squares = G.diagonal()
    if not bool(((squares > SAFE[0]) & (squares < SAFE[1])).all()):
        largest = torch.linalg.vector_norm(V, float("inf"), dim=1).double().cpu()
        if not bool(torch.isfinite(largest).all()) or bool((largest == 0).any()):
            return None
        scale = 1.0 / largest
        G = _gram(V, scale)
    lengths = G.diagonal().sqrt()
    R, scale = torch.diag(lengths / scale), scale / lengths
    G = G / torch.outer(lengths, lengths)
    for _ in range(2):
        L, failed = torch.linalg.cholesky_ex(G)
        pivots = L.diagonal()
        if failed or bool(pivots.max() > LARGEST_CONDITION * pivots.min()):
            return _by_reflections(V, R, scale)
        values = torch.linalg.eigvalsh(G)
        _solve(V, L, scale)
        R, scale = L.T @ R, torch.ones(k, dtype=torch.float64)
        if bool(values[-1] <= ONCE.get(V.dtype, 1.0) * values[0]):
            break
        G = _gram(V)
    return np.asarray(R.numpy())


def _gram(V: Tensor, scale: Tensor | None = None) -> Tensor:
    """diag(scale) V V^T diag(scale), summed in float64, on the CPU."""
    k = len(V)
    G = torch.zeros((k, k), dtype=torch.float64)
    for block in V.split(BLOCK, dim=1):
        wide = block.cpu().double() if _single(V) else block.double()
        if scale is not None:
            wide = wide * scale.to(wide.device)[:, None]
        G += (wide @ wide.T).cpu()
    return G


def _solve(V: Tensor, L: Tensor, scale: Tensor) -> None:
    """V <- L^{-1} diag(scale) V, in place."""
    inverse = torch.linalg.solve_triangular(L, torch.diag(scale), upper=False)
    for block in V.split(BLOCK, dim=1):
        if _single(V):
            block.copy_((inverse @ block.cpu().double()).to(V.dtype))
        else:
            block.copy_(inverse.to(V.device) @ block.double())


def _by_reflections(V: Tensor, R: Tensor, scale: Tensor) -> Array | None:
    """The same from where V stands by Householder reflections; another frame is needed."""
    scaled = (V.cpu().double() if _single(V) else V.double()) * scale.to("cpu" if _single(V) else V.device)[:, None]
    Q, S = torch.linalg.qr(scaled.T)
    signs = torch.where(S.diagonal() < 0, -1.0, 1.0)
    if bool((S.diagonal().abs() <= SINGULAR_RATIO * V.shape[1]).any()):  # rows are of length 1
        return None
    V.copy_((Q * signs).T.to(V.dtype))
    return np.asarray((signs.cpu()[:, None] * S.cpu() @ R).numpy())


def _single(V: Tensor) -> bool:
    """Whether the device has no float64: sums are made on the CPU then."""
    return V.device.type == "mps"
