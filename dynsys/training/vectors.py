"""Tangent vectors of a training, pushed along step by step beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import optim

from dynsys.errors import InvalidInputError, whole_number
from dynsys.passes.memory import ask_for_memory
from dynsys.training.clipping import clip
from dynsys.training.curvature import hessian_products_into, pieces
from dynsys.training.frames import orthonormalise_rows, random_rows
from dynsys.training.optimisers.layout import Piece, dimension, layout, places
from dynsys.training.optimisers.update import differs, push

Tensor = torch.Tensor
Array = np.ndarray


class TangentVectors:
    """k vectors of weights and buffers as rows on the device of the weights; overwritten by every step.

    Attributes
    ----------
    rows : Tensor, shape (k, dimension)
    weights : list of Tensor
        Those that are trained, in the order of the optimiser.
    curvature : float
        The largest |H v| / |v| that `asymmetry` has seen.
    """

    def __init__(
        self, optimizer: optim.Optimizer, k: int, seed: int, padding: Sequence[tuple[Tensor, int]] = ()
    ) -> None:
        self.optimizer = optimizer
        self.pieces = layout(optimizer)
        self.weights = [weight for piece in self.pieces for weight in piece.weights]
        if not self.weights:
            raise InvalidInputError("the optimizer must have weights that require a gradient, got none")
        self.dimension = dimension(self.pieces)
        count = sum(piece.count for piece in self.pieces)
        still = _still(self.pieces, padding)
        k = whole_number("k", k, 1, self.dimension - sum(end - begin for begin, end in still))
        like = self.weights[0]
        if like.device.type == "cpu":
            needed = k * (self.dimension + count) * like.element_size()
            ask_for_memory(f"k = {k} vectors and their products", needed, "follow fewer vectors (k)")
        self.rows = random_rows(k, self.dimension, count, (seed, 0), like.dtype, like.device, still)
        self.curvature = 0.0
        self._products = self.rows.new_zeros((k, count))
        self._row_parts = [pieces(row[:count], self.weights) for row in self.rows]
        self._product_parts = [pieces(row, self.weights) for row in self._products]

    def differentiate(self, slopes: Sequence[Tensor | None], *, add: bool) -> None:
        """The derivative of the gradient along the vectors, H v, in the place of what there was, or added to it."""
        hessian_products_into(self._product_parts, slopes, self.weights, self._row_parts, add=add)

    def asymmetry(self) -> float:
        """Largest |v.Hw - w.Hv| of the vectors, relative: 0 to rounding where the gradient is that of a loss.

        What is small beside the largest curvature seen so far is rounding: vectors may lie where a loss is flat.
        """
        V, H = self.rows[:, : self._products.shape[1]], self._products
        A, lengths = V @ H.T, V.norm(dim=1)
        curvature = float((H.norm(dim=1) / lengths.clamp(min=1e-30)).max())
        if not np.isfinite(curvature):
            return 0.0
        self.curvature = max(self.curvature, curvature)
        rounding = 1e3 * torch.finfo(A.dtype).eps * self.curvature * float(lengths.max()) ** 2
        found = float((A - A.T).abs().max() / (A.abs().max() + rounding))
        return found if np.isfinite(found) else 0.0

    def clip(self, order: Sequence[Tensor], clip_norm: float | None, clip_value: float | None) -> None:
        """Clip the gradients of the weights, and the derivatives of the gradient with them."""
        clip(self.weights, order, self._products, clip_norm, clip_value)

    def push(self, *, predict: bool = False) -> dict[Tensor, Tensor]:
        """Push the vectors, ahead of the step of the optimiser; where it will lead to, if asked.

        Raises
        ------
        InvalidInputError
            If the step has no derivative, or fails in a copy of the optimiser.
        """
        try:
            return push(self.optimizer, self.pieces, self.rows, self._products, predict=predict)
        except (InvalidInputError, torch.OutOfMemoryError):
            raise
        except Exception as problem:
            raise InvalidInputError(
                f"the optimiser must be one whose step a copy of it can take, got {type(self.optimizer).__name__}, "
                f"which fails: {type(problem).__name__}: {problem!s:.200}"
            ) from problem

    def compare(self, predicted: dict[Tensor, Tensor], before: dict[Tensor, Tensor]) -> None:
        """Refuse an optimiser whose step led elsewhere than that of its copy."""
        if differs(predicted, before):
            raise InvalidInputError(
                f"the optimiser must make the same step whenever it is asked to, got {type(self.optimizer).__name__}, "
                "a copy of which leads to other weights: follow a training with SGD, Adam or another of torch.optim"
            )

    def orthonormalise(self) -> Array | None:
        """Make them orthonormal: log R_ii, shape (k,), or None where that cannot be."""
        R = orthonormalise_rows(self.rows)
        return None if R is None else np.log(np.diag(R))


def _still(pieces: Sequence[Piece], padding: Sequence[tuple[Tensor, int]]) -> list[tuple[int, int]]:
    """Where rows of weights that never move, and their buffers, stand: first column, and that after the last."""
    found = []
    rows = {(id(weight), row) for weight, row in padding}
    for _, weight, columns in places(pieces):
        for row in sorted(row for known, row in rows if known == id(weight)):
            width = weight[row].numel()
            found += [(column + row * width, column + (row + 1) * width) for column in columns]
    return found
