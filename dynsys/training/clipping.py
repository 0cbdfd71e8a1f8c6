"""Clipped gradients, and the exact derivative of clipping.

By norm, as `torch.nn.utils.clip_grad_norm_`: with |g| over all weights, c = min(1, largest / (|g| + 1e-6)),

    g' = c g,      dg' = c dg - c / (|g| + 1e-6) (g . dg / |g|) g      where c < 1;

by value, as `clip_grad_value_`: entries beyond the limit stay there, whatever moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dynsys.training.curvature import flattened

Tensor = torch.Tensor

TINY = 1e-6  # that torch adds to the norm


def clip(
    weights: Sequence[Tensor], order: Sequence[Tensor], H: Tensor | None, norm: float | None, value: float | None
) -> None:
    """Clip the `.grad` of weights, by their norm and then by value, and tangent vectors of the gradient, in place.

    Parameters
    ----------
    weights : sequence of Tensor
        As they stand in the rows of H.
    order : sequence of Tensor
        Those whose gradients are clipped, in the order in which torch adds up their norms.
    H : Tensor, shape (k, n), or None
    norm, value : float or None
        The largest allowed; None: any.
    """
    if norm is not None:
        _clip_norm(weights, order, H, norm)
    if value is not None:
        if H is not None:
            _stop_beyond(weights, H, value)
        torch.nn.utils.clip_grad_value_(order, value)


def _clip_norm(weights: Sequence[Tensor], order: Sequence[Tensor], H: Tensor | None, largest: float) -> None:
    before = None if H is None else flattened([weight.grad for weight in weights], weights)
    norm = torch.nn.utils.clip_grad_norm_(order, largest)
    factor = largest / (norm + TINY)
    if H is not None and before is not None and bool(factor < 1.0):
        shares = (H @ before) * (factor / (norm * (norm + TINY)))
        H.mul_(factor)
        H.addr_(shares, before, alpha=-1.0)


def _stop_beyond(weights: Sequence[Tensor], H: Tensor, largest: float) -> None:
    begin = 0
    for weight in weights:
        end = begin + weight.numel()
        if weight.grad is not None:
            H[:, begin:end].mul_(weight.grad.detach().reshape(-1).abs() <= largest)
        begin = end
