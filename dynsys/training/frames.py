"""Tall orthonormal frames as rows on the device of a model: few vectors of very many components.

V^T = Q R by CholeskyQR2: with the Gram matrix G = V V^T = L L^T, Q^T = L^{-1} V and R = L^T; done twice, since the
first pass loses orthogonality with the square of the condition number. G is summed in float64, whatever the frame, so
that float32 frames are orthonormal to 1e-7, and most of them after a single pass. Blocks of columns are overwritten in
place: no second frame is needed. Where G is not safely positive definite, Householder reflections take over.

Y. Yamamoto, Y. Nakatsukasa, Y. Yanagisawa, T. Fukaya, Electron. Trans. Numer. Anal. 44, 306 (2015).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dynsys.passes.orthonormal import SINGULAR_RATIO

Tensor = torch.Tensor
Array = np.ndarray

LARGEST_CONDITION = 1e6  # ratio of the pivots of a scaled Gram matrix beyond which reflections are taken
ONCE = {torch.float32: 1e6, torch.float64: 100.0}  # condition of a Gram matrix within which one pass is enough
SAFE_SQUARES = 1e-200, 1e200  # of lengths in float64, which neither over- nor underflow


def random_rows(
    k: int,
    dim: int,
    own: int,
    key: Sequence[int],
    dtype: torch.dtype,
    device: Any,
    still: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """A random orthonormal frame as rows, (k, dim), keyed by (seed, member): that of `random_frames`, row by row.

    As many rows as can lie among the first `own` components, those of weights, not of what an optimiser carries.
    Columns from the first to before the second of each pair in `still` are 0.
    """
    rng = np.random.default_rng(key)
    V = torch.empty((k, dim), dtype=dtype, device=device)
    for row in V:  # one after the other: a frame of numbers in float64 is large
        row.copy_(torch.from_numpy(rng.normal(size=dim)).to(dtype))  # MPS has no float64
    for begin, end in still:
        V[:, begin:end] = 0.0
    V[: own - sum(end - begin for begin, end in still if end <= own), own:] = 0.0
    orthonormalise_rows(V)
    return V


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
    G = _gram(V, scale)
    least, most = SAFE_SQUARES
    if not bool(((G.diagonal() > least) & (G.diagonal() < most)).all()):
        largest = torch.linalg.vector_norm(V, float("inf"), dim=1).double().cpu()
        if not bool(torch.isfinite(largest).all()) or bool((largest == 0).any()):
            return None
        scale = 1.0 / largest
        G = _gram(V, scale)
    lengths = G.diagonal().sqrt()
    R, scale, G = torch.diag(lengths / scale), scale / lengths, G / torch.outer(lengths, lengths)
    for _ in range(2):
        L, failed = torch.linalg.cholesky_ex(G)
        pivots = L.diagonal()
        if failed or bool(pivots.max() > LARGEST_CONDITION * pivots.min()):
            return _by_reflections(V, R, scale)
        _multiply(V, torch.linalg.solve_triangular(L, torch.diag(scale), upper=False))
        R, scale = L.T @ R, torch.ones(k, dtype=torch.float64)
        values = torch.linalg.eigvalsh(G)
        if bool(values[-1] <= ONCE.get(V.dtype, 1.0) * values[0]):
            break
        G = _gram(V, scale)
    return np.asarray(R.numpy())


def _gram(V: Tensor, scale: Tensor) -> Tensor:
    """diag(scale) V V^T diag(scale), summed in float64, on the CPU."""
    k = len(V)
    G = torch.zeros((k, k), dtype=torch.float64, device=_place(V))
    unscaled, scale = bool((scale == 1.0).all()), scale.to(G.device)[:, None]
    for _, block in _blocks(V):
        scaled = block if unscaled else block * scale
        G.addmm_(scaled, scaled.T)
    return G.cpu()


def _multiply(V: Tensor, M: Tensor) -> None:
    """V <- M V, in place."""
    M = M.to(_place(V))
    for part, block in _blocks(V):
        part.copy_((M @ block).to(V.dtype))


def _blocks(V: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of V, some columns each, and the same in float64."""
    for part in V.split(_width(V), dim=1):
        yield part, part.to(_place(V)).double()


def _width(V: Tensor) -> int:
    """Columns that are moved at once: what stays in a cache of the CPU, or occupies another device."""
    return 8_192 if V.device.type == "cpu" else 262_144


def _place(V: Tensor) -> torch.device:
    """Where sums are made in float64: on the CPU, where the device has none."""
    return torch.device("cpu") if V.device.type == "mps" else V.device


def _by_reflections(V: Tensor, R: Tensor, scale: Tensor) -> Array | None:
    """The same from where V stands by Householder reflections; another frame is needed."""
    scaled = V.to(_place(V)).double() * scale.to(_place(V))[:, None]
    Q, S = torch.linalg.qr(scaled.T)
    signs = torch.where(S.diagonal() < 0, -1.0, 1.0)
    if bool((S.diagonal().abs() <= SINGULAR_RATIO * V.shape[1]).any()):  # rows are of length 1
        return None
    V.copy_((Q * signs).T.to(V.dtype))
    return np.asarray((signs.cpu()[:, None] * S.cpu() @ R).numpy())
