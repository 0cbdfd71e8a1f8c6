"""Operators of PyTorch that have no second derivative: their names, who uses them in a model, what to take instead."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import attrs
from torch import nn


@attrs.frozen
class Operator:
    """An operator of PyTorch without a second derivative: a word of its name, its modules, what to take instead."""

    word: str
    modules: tuple[type[nn.Module], ...]
    remedy: str
    trained: bool = False  # whether it needs no more than weights of its own to be in the way


OPERATORS = (
    Operator("embedding_bag", (nn.EmbeddingBag,), "take nn.Embedding, and the sum or mean of each bag", trained=True),
    Operator("ctc_loss", (nn.CTCLoss,), "sum over the alignments by torch.logsumexp, or watch another loss"),
    Operator("multi_margin", (nn.MultiMarginLoss,), "write out torch.clamp(margin - x_y + x, min=0)"),
    Operator("multilabel_margin", (nn.MultiLabelMarginLoss,), "write out torch.clamp(1 - x_y + x, min=0)"),
    Operator("hardsigmoid", (nn.Hardsigmoid,), "write torch.nn.functional.relu6(x + 3) / 6"),
    Operator("functions with out=", (nn.CrossMapLRN2d,), "take nn.LocalResponseNorm"),
    Operator("cdist", (), "write out (x[:, None] - y[None]).square().sum(-1).sqrt(), for rows that differ"),
    Operator("pdist", (), "write out the differences of the pairs, torch.triu_indices(n, n, 1)"),
    Operator("segment_reduce", (), "sum by index_add or scatter_reduce"),
    Operator("standard_gamma", (), "draw from another distribution: a draw from Gamma (StudentT) has one derivative"),
    Operator(
        "cudnn_rnn",
        (nn.RNNBase,),
        "set torch.backends.cudnn.enabled = False, or call the model under torch.backends.cudnn.flags(enabled=False)",
    ),
    Operator(
        "scaled_dot_product",
        (nn.MultiheadAttention,),
        "call it inside the forward of the model, or under "
        "torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)",
    ),
)


def named(path: str, module: nn.Module) -> str:
    """A module by its path and kind, for messages."""
    return f"'{path}' ({type(module).__name__})" if path else f"the model itself ({type(module).__name__})"


def operator_of(text: str) -> str:
    """The operator that an error speaks of, without its namespace: "derivative for aten::X is not implemented"."""
    words = text.replace("'", " ").replace("(", " ").split()
    named = [word for word in words if "::" in word or "_backward" in word or word.startswith("_")]
    return (named or words)[0].rpartition("::")[2].strip(".").strip("_").removesuffix("_backward")


def users_of(model: nn.Module, operator: Operator) -> Iterator[str]:
    """Modules that are of the operator's kind, or whose class speaks of it in its source."""
    for path, module in model.named_modules():
        if isinstance(module, operator.modules) or _speaks_of(type(module), operator.word):
            yield named(path, module)


def _speaks_of(kind: type, word: str) -> bool:
    if kind.__module__.startswith("torch."):
        return False
    try:
        return word in inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt
        return False
