"""One step of a copy of a torch.optim optimiser, through which derivatives pass; the optimiser itself is untouched.

What enters the copy, weights, gradients and buffers, may carry tangents (forward mode) or a graph (reverse mode), and
goes through the optimiser's own `step`: what comes out has the derivative of all that it does, weight decay, bias
corrections and schedules included. The derivative of sqrt(v) at v = 0 is taken to be 0: where a gradient has always
vanished (dead units, unused rows of an embedding) its square moves only in second order.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.autograd.forward_ad as forward
from torch.overrides import TorchFunctionMode

from dynsys.errors import InvalidInputError

Tensor = torch.Tensor
State = Mapping[Tensor, dict[str, Any]]

OFF = {"foreach": False, "fused": False, "capturable": False}  # kernels without a derivative, or with another rounding
HOOKS = tuple(
    f"_optimizer_{what}_{when}_hooks" for what in ("step", "state_dict", "load_state_dict") for when in ("pre", "post")
)


def step_of_twin(
    optimizer: torch.optim.Optimizer,
    groups: Sequence[tuple[Mapping[str, Any], Sequence[Tensor]]],
    slopes: Mapping[Tensor, Tensor],
    state: State,
    replaced: Mapping[int, Any] | None = None,
) -> State:
    """Let a copy of the optimiser step these weights, in place; its state after the step, new buffers included.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its hooks are not called.
    groups : sequence of (options, weights)
        The param groups of the copy.
    slopes : mapping, weight -> gradient
    state : mapping, weight -> state
        The tensors in it are overwritten.
    replaced : mapping, id of a tensor of the optimiser -> tensor of the copy, optional
        With it, whatever else the optimiser holds is copied too, with these in the place of its own.
    """
    kind = type(optimizer)
    held = {name: value for name, value in vars(optimizer).items() if name not in (*HOOKS, "step")}
    held |= {"param_groups": [], "state": {}}
    if replaced is not None:
        held = copy.deepcopy(held, dict(replaced))
    twin = object.__new__(kind)
    vars(twin).update(held, **{name: OrderedDict() for name in HOOKS})
    twin.param_groups = [
        {**options, **{name: value for name, value in OFF.items() if name in options}, "params": list(weights)}
        for options, weights in groups
    ]
    twin.state = defaultdict(dict, state)
    for weight, slope in slopes.items():
        weight.grad = slope
    with _Differentiable(kind.__name__):
        inspect.unwrap(kind.step)(twin)  # without what switches derivatives off, profilers and hooks around it
    after: State = twin.state
    return after


class _Differentiable(TorchFunctionMode):
    """Lets derivatives through where torch would not, and refuses where there are none."""

    def __init__(self, optimiser: str) -> None:
        super().__init__()
        self.optimiser = optimiser

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in ROOTS or (func in POWERS and args[1:] == (0.5,) and not kwargs):
            return _root(args[0])
        if func in ROOTS_IN_PLACE:
            return args[0].copy_(_root(args[0]))
        if func is torch.maximum and "out" in kwargs:
            return kwargs["out"].copy_(torch.maximum(*(value.clone() for value in args)))
        if func in DETACHED:  # for the sake of memory: the numbers act on the step all the same
            return args[0].view_as(args[0])
        if func in SIGNS:
            raise self._refused("takes its sign: its steps jump where an entry of the gradient passes 0")
        if func in NUMBERS and forward.unpack_dual(args[0]).tangent is not None:
            raise self._refused("makes a plain number of weights or gradients, where derivatives end")
        return func(*args, **kwargs)

    def _refused(self, what: str) -> InvalidInputError:
        return InvalidInputError(
            f"the optimiser must be differentiable in the gradient, got {self.optimiser}, which {what}; follow a "
            "training with SGD, Adam or another of torch.optim"
        )


def _root(value: Any) -> Any:
    """Square root, with the derivative 0 at 0."""
    if not isinstance(value, Tensor):
        return value**0.5
    nothing = value == 0
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, value).sqrt())


METHODS: Any = torch.Tensor
ROOTS = {torch.sqrt, METHODS.sqrt}
ROOTS_IN_PLACE = {torch.sqrt_, METHODS.sqrt_}
POWERS = {torch.pow, METHODS.pow, METHODS.__pow__}
SIGNS = {torch.sign, METHODS.sign, METHODS.sign_, torch.sgn, METHODS.sgn, METHODS.sgn_}
DETACHED = {torch.detach, METHODS.detach, METHODS.data.__get__}
NUMBERS = {METHODS.item, METHODS.tolist, METHODS.numpy, METHODS.__float__, METHODS.__bool__}
