"""The gradient of a training step twice over: as the training would have it, to the bit, and with its graph.

Some operators (GELU, group norm, fused cells, ...) have another formula for a gradient that is to be differentiated
again, which rounds otherwise. Where one occurs, or where the two gradients were found to differ, the training gets the
plain one, and the tangent the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dynsys.training.curvature import gradient
from dynsys.training.second_derivatives.attention import _Attention
from dynsys.training.second_derivatives.obstacles import graph

Tensor = torch.Tensor

OTHER_FORMULA = (  # nodes of a graph whose gradient is computed in another way if it is to be differentiated
    "GeluBackward",
    "SiluBackward",
    "MishBackward",
    "LogitBackward",
    "NativeGroupNormBackward",
    "ThnnFusedLstmCellBackward",
    "ThnnFusedGruCellBackward",
    "MkldnnRnnLayerBackward",
    "CudnnRnnBackward",
)
OF_DYNSYS = {f"{_Attention.__name__}Backward"}  # the same to the bit
FIRST_LOOKS = 3  # occurrences of a graph at which both gradients are compared; then at every doubling


class TrainingGradient:
    """Gradients of one training.

    Attributes
    ----------
    different : bool
        Whether the two gradients have been found to differ: the plain one is computed too from then on.
    """

    def __init__(self, different: bool = False, graphs: Sequence[tuple[Sequence[str], int]] = ()) -> None:
        self.different = different
        self._seen = {frozenset(names): count for names, count in graphs}

    def seen(self) -> dict[str, Any]:
        """What it is made of again."""
        return {"different": self.different, "graphs": [(sorted(names), count) for names, count in self._seen.items()]}

    def __call__(self, loss: Tensor, weights: Sequence[Tensor]) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """The gradients of a loss for the training, and with their graph; None for weights that it does not use."""
        both = self._look(loss)
        slopes = gradient(loss, weights)
        if not both:
            return [None if g is None else g.detach() for g in slopes], slopes
        plain = torch.autograd.grad(loss, list(weights), retain_graph=True, allow_unused=True)
        self.different = self.different or any(
            g is not None and p is not None and not torch.equal(g.detach(), p)
            for g, p in zip(slopes, plain, strict=True)
        )
        return list(plain), slopes

    def _look(self, loss: Tensor) -> bool:
        """Whether the plain gradient is needed, or to be compared."""
        if self.different:
            return True
        names = node_names(loss)
        seen = self._seen[names] = self._seen.get(names, 0) + 1
        known = any(name.startswith(OTHER_FORMULA) or is_own(name) for name in names - OF_DYNSYS)
        return known or seen <= FIRST_LOOKS or seen & (seen - 1) == 0


def is_own(name: str) -> bool:
    """Whether a node of a graph is a function of somebody's own: torch numbers its operators."""
    return not name[-1].isdigit() and not name.startswith("torch::")


def node_names(loss: Tensor) -> frozenset[str]:
    """The kinds of operators in the graph of a loss."""
    return frozenset(node.name() for node in graph(loss))


def give_to_others(loss: Tensor, weights: Sequence[Tensor]) -> None:
    """Give all that the loss depends on, but for these weights, the gradient that `loss.backward()` would give it.

    Weights of another optimiser, say, or inputs that require a gradient. The graph is kept.
    """
    known = {id(weight) for weight in weights}
    leaves = [getattr(node, "variable", None) for node in graph(loss) if node.name().endswith("AccumulateGrad")]
    others = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad and id(leaf) not in known]
    if others:
        torch.autograd.backward(loss, inputs=others, retain_graph=True)


def accumulate(slopes: Sequence[Tensor | None], weights: Sequence[Tensor]) -> None:
    """Add gradients to the `.grad` of the weights as `backward` does: a first one in the memory layout of its weight.

    Sums over its entries, as that of a norm, follow the layout, and so do their bits.
    """
    for slope, weight in zip(slopes, weights, strict=True):
        if slope is None:
            continue
        if weight.grad is None:
            weight.grad = torch.empty_like(weight).copy_(slope)
        else:
            weight.grad.add_(slope)
