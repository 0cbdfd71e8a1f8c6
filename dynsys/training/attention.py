"""Scaled dot-product attention that has a second derivative, and the same value and gradient to the bit.

PyTorch computes softmax(Q K^T / sqrt(d) + mask) V by fused kernels, which know their gradient but not its derivative;
only the plain formula ("math") has one, and rounds differently. So that the training does not change, value and
gradient stay those of the kernel that PyTorch chooses; the derivative of the gradient alone comes from the formula:

    a(Q, K, V)            fused
    g(Q, K, V, da)        fused: the gradient of <da, a>
    g'(Q, K, V, da) u     by differentiating the gradient of <da, formula(Q, K, V)>

The graph of the formula is built by the first product of a step and serves all of them. It holds one matrix (queries,
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
FORMULA = 0  # that choice, of `torch.nn.attention.SDPBackend`, where nothing is fused


@contextmanager
def differentiable_attention(*namespaces: dict[str, Any]) -> Iterator[None]:
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
    places = [
        (space, name)
        for space in (vars(torch.nn.functional), *namespaces)
        for name in [name for name, value in space.items() if value is FUSED]
    ]
    for space, name in places:
        space[name] = attention
    try:
        yield
    finally:
        for space, name in places:
            space[name] = FUSED


@attrs.frozen(eq=False)
class Handle:
    """What `on_forward` has put on a model; `remove` takes it off."""

    _namespaces: list[dict[str, Any]]
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
        return differentiable_attention(*self._namespaces)

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
    handle = Handle([vars(sys.modules[name]) for name in sorted(names) if name in sys.modules])
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
        if not torch._C._autograd._get_current_graph_task_keep_graph():
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
        keep = torch._C._autograd._get_current_graph_task_keep_graph()
        found = iter(torch.autograd.grad(fused.value, leaves, slope, retain_graph=keep))
        return tuple(next(found) if wanted else None for wanted in ctx.wanted)

    @staticmethod
    def backward(ctx: Any, *along: Any) -> Any:
        if ctx.formula is None:
            ctx.formula = _gradient_of_formula(ctx.saved_tensors, ctx.wanted, ctx.options)
        inputs, slopes = ctx.formula
        moved = [(g, u) for g, u in zip(slopes, along, strict=True) if g is not None and u is not None]
        asked = [leaf for leaf in inputs if leaf is not None and leaf.requires_grad]
        with torch.enable_grad():
            found = torch.autograd.grad(
                [g for g, _ in moved], asked, [u.to(g.dtype) for g, u in moved], retain_graph=True, allow_unused=True
            )
        if not torch._C._autograd._get_current_graph_task_keep_graph():
            ctx.formula = None
        if torch.is_grad_enabled():  # for a derivative of higher order
            found = _Last.apply(len(found), *found, *ctx.saved_tensors)
        of = dict(zip(map(id, asked), found, strict=True))
        return None, *(None if leaf is None else of.get(id(leaf)) for leaf in inputs)


class _Last(torch.autograd.Function):
    """The first `count` tensors, which depend on others in a way that has no derivative here."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor | None) -> Any:
        return tuple(t if t is None else t.clone() for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *along: Any) -> Any:
        raise InvalidInputError(
            "scaled_dot_product_attention must be differentiated at most twice here, got a third derivative: for that, "
            "call the model under torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH) instead"
        )


def _gradient_of_formula(saved: Any, wanted: Any, options: dict[str, Any]) -> Any:
    """Leaves (slope, Q, K, V, mask), and the gradient of <slope, formula> at those wanted, with its graph."""
    if options["dropout_p"] > 0.0:
        raise InvalidInputError(
            "scaled_dot_product_attention with dropout must run as plain operations for exact tangents, got a fused "
            "kernel, which keeps its mask to itself: call the model under "
            "torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), or set the attention's dropout to 0"
        )
    with torch.enable_grad():
        slope, *tensors = _leaves(saved, (True, *wanted))
        mask = tensors[3]
        if mask is not None and mask.dtype == torch.bool:  # the formula adds its mask, whatever it holds
            tensors[3] = torch.zeros_like(mask, dtype=tensors[0].dtype).masked_fill(~mask, -torch.inf)
        out, _ = torch.ops.aten._scaled_dot_product_attention_math(
            *tensors, 0.0, options["is_causal"], None, scale=options["scale"], enable_gqa=options["enable_gqa"]
        )
        leaves = [t for t, asked in zip(tensors, wanted, strict=True) if asked]
        found = iter(torch.autograd.grad(out, leaves, slope.to(out.dtype), create_graph=True))
    return (slope, *tensors), [next(found) if asked else None for asked in wanted]


def _leaves(tensors: Any, wanted: Any) -> list[Any]:
    """The same numbers as starting points of a graph of their own."""
    return [
        None if t is None else t.detach().requires_grad_(bool(asked)) for t, asked in zip(tensors, wanted, strict=True)
    ]
