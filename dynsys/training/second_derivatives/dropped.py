"""Tangents that were dropped in silence, found by one column of differences.

Where a model takes numbers out of the graph (`.detach()`, `.data`, `torch.no_grad()`, NumPy), or holds a function whose
backward is not differentiable, double backward lacks what went that way, and PyTorch says nothing. So the model's own
forward pass is tried alone: of a scalar S(theta) = sum_i c_i (y_i + y_i^2 / 2), y its outputs and c random, with every
random draw the same,

    H v  by double backward    against    (grad S(theta + h v) - grad S(theta - h v)) / (2 h)

along random v. The dropped share is |difference| / |larger of the two|: 0 to rounding where all is right. A kink (ReLU)
between the two points makes a difference, too, but not at all steps h and along all v: the smallest share counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from dynsys.errors import warn_of
from dynsys.training.second_derivatives.attention import differentiable_attention
from dynsys.training.second_derivatives.captured import each, tensors_in
from dynsys.training.second_derivatives.double import as_double, generators, in_double, same_draws
from dynsys.training.second_derivatives.operators import named
from dynsys.training.second_derivatives.padding import padding_rows

Tensor = torch.Tensor
Column = Sequence[Tensor | None]
Call = Callable[[list[Tensor], Callable[[Any], Any]], Any]

TOLERANCE = 1e-3  # a dropped share beyond which tangents are called dropped
STEPS = (1e-7, 1e-9, 1e-5, 1e-3)  # for weights of size 1; short ones cross no kinks, long ones no rounding inside
CANNOT = (RuntimeError, TypeError, ValueError)  # what models raise that cannot be copied, or run in float64
DIRECTIONS = 3
ROUNDING = 30 * float(np.finfo(float).eps)  # of a gradient, relative


def dropped_share(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], weights: Sequence[Tensor], seed: int
) -> float:
    """The share of second derivatives that a model's forward pass drops, at these arguments, along random directions.

    Computed on a copy, in float64, whatever the model's precision; neither the model nor any random state changes.

    Parameters
    ----------
    weights
        Those that are trained; which are not of the model are left out.
    seed
        Of the directions, and of the random draws of the model.

    Returns
    -------
    float
        0 to rounding where nothing is dropped, up to 2; NaN where it cannot be told: the model does not run in float64,
        or nothing in it can be differentiated.
    """
    return _share_of(model, args, kwargs, weights, False, seed)


def dropped_share_of(closure: Callable[[], Tensor], model: nn.Module, weights: Sequence[Tensor], seed: int) -> float:
    """The same for a closure that computes the loss by calling the model: S is that loss.

    Meanwhile other tensors stand in the places of the model's weights and buffers; nothing else is put back.
    """
    return _share_of(_Closure(closure, model), (), {}, weights, False, seed)


class _Closure(nn.Module):
    """A closure as a module that holds the model it calls, so that weights can be exchanged."""

    def __init__(self, closure: Callable[[], Tensor], model: nn.Module) -> None:
        super().__init__()
        self.closure, self.model = closure, model

    def forward(self) -> Tensor:
        return self.closure()

    def __deepcopy__(self, memo: Any) -> _Closure:
        return self  # the closure calls this model, and no copy


class _Within(nn.Module):
    """A module, and what is done with its outputs while other weights stand in their places: checkpoints run again."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, then: Callable[[Any], Any], args: Any, kwargs: Any) -> Any:
        return then(self.module(*args, **kwargs))


def dropped_in(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], weights: Sequence[Tensor], seed: int
) -> list[str]:
    """The modules that drop tangents, as "'path' (Class)": the innermost ones that do when they are called alone.

    Empty if none does: then they are lost outside of the model's forward pass.
    """
    calls: dict[str, tuple[Any, Any]] = {"": (args, kwargs)}

    def remember(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            calls.setdefault(path, each(torch.detach, (args, kwargs)))

        return hook

    copied = _copy(model)
    if copied is not model:
        for path, module in copied.named_modules():
            module.register_forward_pre_hook(remember(path), with_kwargs=True)
        with same_draws(generators(copied), seed) as rewind:
            rewind()
            copied(*args, **kwargs)
    modules = dict(model.named_modules())

    def guilty(path: str) -> list[str]:
        share = _share_of(modules[path], *calls[path], weights, path != "", seed)
        if not share > TOLERANCE:
            return []
        inside = [f"{path}.{name}".strip(".") for name, _ in modules[path].named_children()]
        found = [name for child in inside if child in calls for name in guilty(child)]
        return found or [named(path, modules[path])]

    return guilty("")


def warn_of_dropped(share: float, where: Sequence[str] = (), stacklevel: int = 1) -> None:
    """Warn if the dropped share is beyond the tolerance, with the modules where it happens, and what to do."""
    places = f" in {', '.join(where)}" if where else ""
    text = (
        f"tangents are dropped in silence{places}: double backward is {100 * share:.2g} % off differences of the "
        "gradient, and the exponents are not those of this training; look for .detach(), .data, torch.no_grad(), "
        "NumPy, padding_idx of tied weights or of F.embedding, or a torch.autograd.Function whose backward is not made "
        "of differentiable operations, and compute that part in the graph (gradients that are stopped or passed "
        "straight through on purpose cannot be followed); weights that are not to be trained must not be given to the "
        "optimizer"
    )
    warn_of([(share > TOLERANCE, text)], stacklevel + 1)


def _share_of(
    model: nn.Module, args: Any, kwargs: Any, weights: Sequence[Tensor], with_inputs: bool, seed: int
) -> float:
    """The dropped share of a module; along its inputs, too, if asked."""
    within, trained = _Within(_copy(model)), {id(weight) for weight in weights}
    moving = [f"module.{name}" for name, weight in model.named_parameters() if id(weight) in trained]
    start = {name: as_double(t.detach()) for name, t in (*within.named_parameters(), *within.named_buffers())}
    padding = [(moving.index(name), row) for name, row in _padding(model) if name in moving]
    given = each(as_double, (tuple(args), dict(kwargs)))
    inputs = list({id(t): t for t in tensors_in(given) if t.is_floating_point() and with_inputs}.values())

    plain = [(vars(module), _plain(module)) for module in within.modules()]

    def call(point: list[Tensor], then: Callable[[Any], Any]) -> Any:
        for attributes, values in plain:  # a model may count its calls
            attributes.update(values)
        at = dict(zip(moving, point, strict=False))
        at |= {name: t.clone() for name, t in start.items() if name not in at}
        moved = {id(old): new for old, new in zip(inputs, point[len(moving) :], strict=True)}
        args, kwargs = each(lambda t: moved.get(id(t), t.clone()), given)  # which a model may change in place
        with in_double(), differentiable_attention(), torch.enable_grad():
            return torch.func.functional_call(within, at, (then, args, kwargs))

    try:
        with same_draws(generators(within), seed) as rewind:
            return _share(call, [*(start[name] for name in moving), *inputs], seed, rewind, padding)
    except CANNOT:
        return float("nan")
    finally:
        for attributes, values in plain:
            attributes.update(values)


def _padding(model: nn.Module) -> list[tuple[str, int]]:
    """Names of weights with padding, as they stand among the moving ones, and its row."""
    names = {id(weight): f"module.{name}" for name, weight in model.named_parameters()}
    return [(names[id(weight)], row) for weight, row in padding_rows(model)]


def _plain(module: nn.Module) -> dict[str, Any]:
    """Attributes of a module that are numbers or words."""
    return {name: value for name, value in vars(module).items() if type(value) in (int, float, bool, str)}


def _share(
    call: Call,
    point: list[Tensor],
    seed: int,
    rewind: Callable[[], None],
    padding: Sequence[tuple[int, int]] = (),
) -> float:
    """The smallest share over steps and directions, of S at a point; `call(point, then)` gives `then(outputs)`.

    Rows that are padding do not move, if they have no gradient.
    """
    draws = torch.Generator().manual_seed(seed)
    scale: list[Tensor] = []

    def gradient(at: list[Tensor], along: list[Tensor] | None = None) -> tuple[Column, Column]:
        """Grad S, and H v by double backward if v is given; the point is the model's, to write into."""
        rewind()
        at = [t.detach().requires_grad_() for t in at]

        def then(outputs: Any) -> tuple[Column, Column]:
            S, none = _scalar(outputs, seed, scale), [None] * len(at)
            if S is None or not at:
                return none, none
            slopes = torch.autograd.grad(S, at, create_graph=along is not None, allow_unused=True)
            pairs = [(g, v) for g, v in zip(slopes, along or (), strict=False) if g is not None and g.requires_grad]
            if not pairs:
                return slopes, none
            return slopes, torch.autograd.grad([g for g, _ in pairs], at, [v for _, v in pairs], allow_unused=True)

        return call(at, then)

    slopes = gradient([t.clone() for t in point])[0] if padding else []
    still = [(i, row) for i, row in padding if (g := slopes[i]) is None or not bool(g[row].any())]
    smallest = float("nan")
    for _ in range(DIRECTIONS):
        v = [_direction(t, draws) for t in point]
        for i, row in still:
            v[i][row] = 0.0
        slopes, found = gradient([t.clone() for t in point], v)
        if all(g is None for g in slopes):
            break
        rounding, slopes = ROUNDING * _norm(slopes), []  # large, in double precision: kept no longer than needed
        for h in STEPS:
            up, down = (gradient([t + s * h * d for t, d in zip(point, v, strict=True)])[0] for s in (1, -1))
            column = [None if a is None or b is None else (a - b) / (2 * h) for a, b in zip(up, down, strict=True)]
            largest = max(_norm(found), _norm(column))
            off = _norm(_minus(a, b) for a, b in zip(found, column, strict=True)) - rounding / h
            share = max(0.0, off) / largest if largest > 0.0 else 0.0
            smallest = min(share, smallest) if smallest == smallest else share
            if smallest <= TOLERANCE:
                return smallest
    return smallest


def _scalar(outputs: Any, seed: int, scale: list[Tensor]) -> Tensor | None:
    """Sum of c (y + y^2 / 2) over all outputs that can be differentiated, each scaled to size 1; a loss as it is."""
    parts = [y for y in tensors_in(outputs) if y.is_floating_point() and y.requires_grad]
    if isinstance(outputs, Tensor) and outputs.numel() == 1:
        return outputs.sum() if parts else None
    draws, total = torch.Generator().manual_seed(seed), None
    for i, y in enumerate(parts):
        y = torch.where(torch.isfinite(y), y, 0.0)
        if len(scale) <= i:
            scale.append(y.detach().square().mean().sqrt().clamp(min=1e-30))
        c = torch.randn(y.shape, generator=draws, dtype=torch.float64).to(y)
        y = y / scale[i].to(y)
        part = (c * (y + 0.5 * y**2)).sum()
        total = part if total is None else total + part
    return total


def _direction(t: Tensor, draws: torch.Generator) -> Tensor:
    """Random, of the size of the tensor's entries."""
    size = t.square().mean().sqrt() if t.numel() else t.sum()
    return torch.randn(t.shape, generator=draws, dtype=torch.float64).to(t) * torch.where(size > 0, size, 1.0)


def _norm(tensors: Iterable[Tensor | None]) -> float:
    return float(np.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors if t is not None)))


def _minus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return a if b is None else b
    return a - b


def _copy(model: nn.Module) -> nn.Module:
    """A copy of a model, or itself where it cannot be copied."""
    memo: dict[int, Any] = {id(g): g.clone_state() for g in generators(model) if isinstance(g, torch.Generator)}
    try:
        return copy.deepcopy(model, memo)
    except CANNOT:
        return model
