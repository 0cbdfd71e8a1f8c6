"""The gradient of a loss, and its Hessian times vectors, by differentiating back-propagation (double backward).

The gradient is computed once with its graph, g(theta) = grad L; then each product is one pass back through that graph,

    H v = grad (g . v),

at about the cost of a training step, whatever the number of weights. It is exact, for the loss and the weights at which
the gradient was taken, dropout masks included. B. A. Pearlmutter, Neural Comput. 6, 147 (1994).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

Tensor = torch.Tensor


def pieces(flat: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Views of a vector (n,) in the shapes of the weights, one after the other."""
    sizes = [weight.numel() for weight in weights]
    return [part.view(weight.shape) for part, weight in zip(flat.split(sizes), weights, strict=True)]


def flattened(tensors: Sequence[Tensor | None], weights: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """Tensors in the shapes of the weights as one vector (n,), into `out` if that is given; None is zeros."""
    if out is None:
        out = torch.empty(sum(w.numel() for w in weights), dtype=weights[0].dtype, device=weights[0].device)
    for piece, tensor in zip(pieces(out, weights), tensors, strict=True):
        piece.zero_() if tensor is None else piece.copy_(tensor.detach())
    return out


def gradient(loss: Tensor, weights: Sequence[Tensor]) -> list[Tensor | None]:
    """Grad L with its graph, one tensor for each of the weights; None for those on which the loss does not depend."""
    with torch.enable_grad():
        return list(torch.autograd.grad(loss, list(weights), create_graph=True, allow_unused=True))


def hessian_products(
    slopes: Sequence[Tensor | None], weights: Sequence[Tensor], V: Tensor, *, keep: bool = False
) -> Iterator[Tensor]:
    """H v for each row v of V, shape (k, n) or (k, more than n), one after the other in one vector (n,).

    That vector is overwritten by the next product. `slopes` come from `gradient`; the last product frees their graph
    unless it is to be kept.
    """
    count = sum(weight.numel() for weight in weights)
    product = torch.zeros(count, dtype=weights[0].dtype, device=weights[0].device)
    parts = pieces(product, weights)
    for found in _products(slopes, weights, (pieces(row[:count], weights) for row in V), len(V), keep):
        _write(parts, found, add=False)
        yield product


def hessian_products_into(
    out: Sequence[Sequence[Tensor]],
    slopes: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    V: Sequence[Sequence[Tensor]],
    *,
    add: bool = False,
) -> None:
    """The same written or added to `out`, all vectors and products in `pieces`; frees the graph."""
    for parts, found in zip(out, _products(slopes, weights, V, len(V), False), strict=True):
        _write(parts, found, add=add)


def _products(
    slopes: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    vectors: Iterable[Sequence[Tensor]],
    k: int,
    keep: bool,
) -> Iterator[Sequence[Tensor | None]]:
    """The products in tensors of their own, None for zeros."""
    moving = [(i, g) for i, g in enumerate(slopes) if g is not None and g.requires_grad]  # else g is constant
    for j, parts in enumerate(vectors):
        if not moving:
            yield [None] * len(weights)
            continue
        yield torch.autograd.grad(
            [g for _, g in moving],
            list(weights),
            [parts[i] for i, _ in moving],
            retain_graph=keep or j + 1 < k,
            allow_unused=True,
        )


def _write(parts: Sequence[Tensor], found: Sequence[Tensor | None], *, add: bool) -> None:
    for part, tensor in zip(parts, found, strict=True):
        if tensor is not None:
            part.add_(tensor) if add else part.copy_(tensor)
        elif not add:
            part.zero_()
