"""Scaled dot-product attention that has a second derivative, and the same value and gradient to the bit.

PyTorch computes softmax(Q K^T / sqrt(d) + mask) V by fused kernels, which know their gradient but not its derivative;
only the plain formula ("math") has one, and rounds differently. So that the training does not change, value and
gradient stay those of the kernel that PyTorch chooses; the derivative of the gradient alone comes from the formula:

    a(Q, K, V)            fused
    g(Q, K, V, da)        fused: the gradient of <da, a>
    g'(Q, K, V, da) u     by the formula: the gradient of <u, g> written out in matrix products

What the formula needs is computed by the first product of a step and serves all of them: three matrices (queries,
keys) for each head, which the fused kernels avoid.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import attrs
import torch

from dynsys.errors import InvalidInputError

Tensor = torch.Tensor

FUSED = torch.nn.functional.scaled_dot_product_attention  # as PyTorch has it: chooses a kernel
Places = list[tuple[dict[str, Any], str]]
FORMULA = 0  # that choice, of `torch.nn.attention.SDPBackend`, where nothing is fused


def differentiable_attention(*namespaces: dict[str, Any]) -> AbstractContextManager[None]:
    """Give attention a second derivative, as long as the context lasts.

    It takes the place of `torch.nn.functional.scaled_dot_product_attention`, which MultiheadAttention and the
    transformer layers call too, and of that function in other `namespaces` that have imported it by name.
    Computations are the same to the bit, gradients included; calls that need no gradient are passed on.

    >>> import torch
    >>> x = torch.ones((1, 1, 2, 3), requires_grad=True)
    >>> with differentiable_attention():
    ...     a = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    >>> g, = torch.autograd.grad((a**2).sum(), x, create_graph=True)
    >>> torch.autograd.grad(g.sum(), x)[0].norm().round()
    tensor(5.)
    """
    return _replaced(_places(*namespaces))


def _places(*namespaces: dict[str, Any]) -> Places:
    """Where PyTorch's function stands, by whatever name."""
    spaces = (vars(torch.nn.functional), *namespaces)
    return [(space, name) for space in spaces for name, value in space.items() if value is FUSED]


@contextmanager
def _replaced(places: Places) -> Iterator[None]:
    """Ours in these places, where PyTorch's still stands."""
    ours = [(space, name) for space, name in places if space.get(name) is FUSED]
    for space, name in ours:
        space[name] = attention
    try:
        yield
    finally:
        for space, name in ours:
            space[name] = FUSED


@attrs.frozen(eq=False)
class Handle:
    """What `on_forward` has put on a model; `remove` takes it off."""

    _places: Places
    _open: list[Any] = attrs.field(factory=list)  # contexts that are entered, of a model that calls itself many
    _hooks: list[Any] = attrs.field(factory=list)

    def _before(self, module: torch.nn.Module, args: Any) -> None:
        context = self.context()
        context.__enter__()
        self._open.append(context)

    def _after(self, module: torch.nn.Module, args: Any, outputs: Any) -> None:
        if self._open:  # not if a hook before ours has raised
            self._open.pop().__exit__(None, None, None)

    def __deepcopy__(self, memo: Any) -> Handle:
        return self  # of a copied model: its hooks, too, come in pairs

    def __reduce__(self) -> Any:
        return Handle, ([],)  # of a model that is saved as a whole

    def context(self) -> AbstractContextManager[None]:
        """The same for the passes back, in which checkpoints run forward once more."""
        return _replaced(self._places)

    def remove(self) -> None:
        """Take the hooks off, and put PyTorch's function back where an interrupt has left ours."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        while self._open:
            self._open.pop().__exit__(None, None, None)


def on_forward(model: torch.nn.Module) -> Handle:
    """Put `differentiable_attention` around each forward pass of a model, also one that raises.

    It covers the modules of Python in which the classes of the model are written, whatever name they gave the function.

    Returns
    -------
    Handle
        With the methods `context`, for the passes back, and `remove`, without which a model that is saved as a whole
        (not by `state_dict`) needs dynsys to be read.
    """
    names = {base.__module__ for module in model.modules() for base in type(module).__mro__}
    handle = Handle(_places(*(vars(sys.modules[name]) for name in sorted(names) if name in sys.modules)))
    handle._hooks.append(model.register_forward_pre_hook(handle._before, prepend=True))
    handle._hooks.append(model.register_forward_hook(handle._after, always_call=True))
    return handle


@functools.wraps(FUSED)
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention`, by a function that can be differentiated twice where the chosen kernel cannot."""
    tensors: tuple[Any, ...] = (query, key, value, attn_mask)
    options: dict[str, Any] = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
    if not _is_fused(tensors, options):
        return FUSED(*tensors, **options)
    return _Attention.apply(options, *tensors)


def _is_fused(tensors: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether a gradient is asked for, of a kernel that has no second derivative."""
    given = [t for t in tensors if t is not None]
    if not torch.is_grad_enabled() or not any(t.requires_grad for t in given):
        return False
    if torch._C._are_functorch_transforms_active() or any(
        type(t) not in (Tensor, torch.nn.Parameter) or t.is_nested for t in given
    ):
        return False  # torch.func, or a kind of its own, which PyTorch sends elsewhere
    device = tensors[0].device.type
    if torch.is_autocast_enabled(device):  # PyTorch chooses after the cast
        dtype = torch.get_autocast_dtype(device)
        tensors = tuple(t.to(dtype) if t is not None and t.is_floating_point() else t for t in tensors)
    return bool(torch._fused_sdp_choice(*tensors, **options) != FORMULA)


class _Attention(torch.autograd.Function):
    """Value by the fused kernel, whose graph from leaves of our own is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, options: dict[str, Any], *tensors: Tensor | None) -> Tensor:
        with torch.enable_grad():
            ctx.leaves = _leaves(tensors, ctx.needs_input_grad[1:])
            ctx.value = FUSED(*ctx.leaves, **options)
        ctx.options = options
        ctx.save_for_backward(*tensors)
        return ctx.value.detach()

    @staticmethod
    def backward(ctx: Any, slope: Any) -> Any:
        tensors = ctx.saved_tensors  # or the error of a graph that was freed
        if ctx.leaves is None:
            raise RuntimeError("Trying to backward through the graph a second time")
        found = _Gradient.apply(ctx, slope, *tensors)
        if not _graph_is_kept():
            ctx.leaves = ctx.value = None
        return None, *found


class _Gradient(torch.autograd.Function):
    """The gradient of attention by the fused kernel; its own derivative by the formula."""

    @staticmethod
    def forward(ctx: Any, fused: Any, slope: Tensor, *tensors: Tensor | None) -> Any:
        ctx.set_materialize_grads(False)
        ctx.wanted = fused.needs_input_grad[1:]
        ctx.options, ctx.formula = fused.options, None
        ctx.save_for_backward(slope, *tensors)
        leaves = [leaf for leaf, wanted in zip(fused.leaves, ctx.wanted, strict=True) if wanted]
        found = iter(torch.autograd.grad(fused.value, leaves, slope, retain_graph=_graph_is_kept()))
        return tuple(next(found) if wanted else None for wanted in ctx.wanted)

    @staticmethod
    def backward(ctx: Any, *along: Any) -> Any:
        formula = ctx.formula
        if formula is None or torch.is_grad_enabled():  # then for a derivative of higher order, with a graph of its own
            formula = _Formula.of(ctx.saved_tensors, ctx.options)
        found = formula.along(along, ctx.wanted[3])
        ctx.formula = formula if _graph_is_kept() and not torch.is_grad_enabled() else None
        wanted = (True, *ctx.wanted)
        return None, *(part if asked else None for part, asked in zip(found, wanted, strict=True))


def _graph_is_kept() -> bool:
    """Whether the pass back that is under way can be run again."""
    return bool(torch._C._autograd._get_current_graph_task_keep_graph())


@attrs.frozen(eq=False)
class _Formula:
    """The gradient of <A, P V>, P = softmax(s Q K^T + mask), to be differentiated; heads and batch along one axis.

    With dP = A V^T, D = rowsum(P dP), dS = P (dP - D), products of entries, the gradient is

        gQ = s dS K,   gK = s dS^T Q,   gV = P^T A,   g of the mask = dS.
    """

    Q: Tensor
    K: Tensor
    V: Tensor
    A: Tensor
    P: Tensor
    dP: Tensor
    D: Tensor
    dS: Tensor
    scale: float
    shapes: tuple[Any, ...]  # of A, Q, K, V and the mask, as they were given

    @classmethod
    def of(cls, saved: Any, options: dict[str, Any]) -> _Formula:
        """From A, Q, K, V, the mask, and the options of the call."""
        if options["dropout_p"] > 0.0:
            raise InvalidInputError(
                "scaled_dot_product_attention with dropout must run as plain operations for exact tangents, got a "
                "fused kernel, which keeps its mask to itself: call the model under "
                "torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), or set its dropout to 0"
            )
        slope, query, key, value, mask = saved
        shapes = tuple(None if t is None else t.shape for t in saved)
        Q = query.flatten(0, -3)
        K, V = (_for_all_heads(t, query.shape).flatten(0, -3) for t in (key, value))
        A = slope.to(Q.dtype).flatten(0, -3)
        scale = query.shape[-1] ** -0.5 if options["scale"] is None else options["scale"]
        scores = (Q @ K.mT) * scale
        if options["is_causal"]:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=Q.device).tril()
        if mask is not None:
            bias = (
                torch.zeros_like(mask, dtype=Q.dtype).masked_fill(~mask, -torch.inf)
                if mask.dtype == torch.bool
                else mask
            )
            scores = (scores.view(*query.shape[:-1], -1) + bias).flatten(0, -3)
        P = scores.softmax(-1)
        if mask is not None:
            P = P.masked_fill(scores.isneginf().all(-1, keepdim=True), 0.0)  # as PyTorch has it where all is masked
        dP = A @ V.mT
        D = (P * dP).sum(-1, keepdim=True)
        return cls(Q, K, V, A, P, dP, D, P * (dP - D), scale, shapes)

    def along(self, u: Any, mask_moves: bool) -> tuple[Tensor | None, ...]:
        """The gradient of <uQ, gQ> + <uK, gK> + <uV, gV> + <u, dS> with respect to A, Q, K, V and the mask."""
        Q, K, V, A, P, dP, D, dS, scale, (_, query, *_, mask) = attrs.astuple(self, recurse=False)
        uQ, uK, uV = (
            torch.zeros_like(t) if part is None else _for_all_heads(part, query).flatten(0, -3).to(t.dtype)
            for part, t in zip(u[:3], (Q, K, V), strict=True)
        )
        T = (torch.cat([uQ, Q], -1) @ torch.cat([K, uK], -1).mT).mul_(scale)  # goes with dS
        if u[3] is not None:
            T = (T.view(*query[:-1], -1) + u[3]).flatten(0, -3)
        t = (P * T).sum(-1, keepdim=True)
        M = P * (T - t)  # goes with dP
        G = torch.baddbmm(T * (dP - D) - t * dP, A, uV.mT)  # goes with P
        S = P * (G - (P * G).sum(-1, keepdim=True))  # goes with the scores
        parts = (
            torch.baddbmm(M @ V, P, uV),
            torch.baddbmm(S @ K, dS, uK).mul_(scale),
            torch.baddbmm(S.mT @ Q, dS.mT, uQ).mul_(scale),
            M.mT @ A,
        )
        found = [_from_all_heads(part, shape, query) for part, shape in zip(parts, self.shapes, strict=False)]
        return (*found, S.view(*query[:-1], -1).sum_to_size(mask) if mask_moves else None)


def _for_all_heads(t: Tensor, query: Any) -> Tensor:
    """Keys or values for each head of the queries, where groups of heads share them (`enable_gqa`)."""
    return t if t.shape[:-2] == query[:-2] else t.repeat_interleave(query[-3] // t.shape[-3], dim=-3)


def _from_all_heads(t: Tensor, shape: Any, query: Any) -> Tensor:
    """The sum over heads that share, in the shape given."""
    t = t.view(*query[:-2], *t.shape[-2:])
    return t if t.shape == shape else t.unflatten(-3, (shape[-3], -1)).sum(-3)


def _leaves(tensors: Any, wanted: Any) -> list[Any]:
    """The same numbers as starting points of a graph of their own."""
    return [
        None if t is None else t.detach().requires_grad_(bool(asked)) for t, asked in zip(tensors, wanted, strict=True)
    ]
