"""Rows of embeddings that are padding: PyTorch gives them no gradient, though the loss depends on them.

So the derivative of the gradient along such a row, which is not 0, is not that of back-propagation, where it is. The
rows never move: with 0 there, a tangent vector is exact, and stays 0 there.
"""

from __future__ import annotations

from torch import nn


def padding_rows(model: nn.Module) -> list[tuple[nn.Parameter, int]]:
    """The weights of embeddings with `padding_idx`, and the row that is padding."""
    found = []
    for module in model.modules():
        weight = module._parameters.get("weight")  # None if it is computed by a parametrization
        if isinstance(module, nn.Embedding) and module.padding_idx is not None and weight is not None:
            found.append((weight, module.padding_idx))
    return found
