"""Where weights and the buffers of their optimiser stand in a tangent vector: all weights, then all first buffers, ...

The state of a training is what its next step depends on: the trainable weights theta of the optimiser, in its order,
and its own memory c_1, ..., c_b of them (momentum, second moments, ...). Counters are time, and no part of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import nn, optim

from dynsys.errors import InvalidInputError
from dynsys.training.optimisers.twin import step_of_twin

Tensor = torch.Tensor
Options = Mapping[str, Any]


@attrs.frozen(eq=False)
class Rule:
    """An optimiser of torch that treats every weight alone.

    Attributes
    ----------
    buffers : callable, options of a param group -> names
        Those in the state of a weight on which its next step depends.
    scalars : mapping, name -> first value
        Numbers there: counters, and what follows from them.
    linear : bool
        Whether a step has the same derivatives for all weights of a group.
    """

    buffers: Callable[[Options], tuple[str, ...]]
    scalars: Mapping[str, float]
    linear: bool = False


def _named(*names: str, **conditional: str) -> Callable[[Options], tuple[str, ...]]:
    """These names, and those whose option is set."""
    return lambda options: (*names, *(name for option, name in conditional.items() if options[option]))


STEP = {"step": 0.0}
RULES: dict[type[optim.Optimizer], Rule] = {  # by exact class: a subclass may do anything
    optim.SGD: Rule(_named(momentum="momentum_buffer"), {}, linear=True),
    optim.ASGD: Rule(_named(), {**STEP, "eta": 0.0, "mu": 1.0}, linear=True),  # no step depends on its average
    optim.Adam: Rule(_named("exp_avg", "exp_avg_sq", amsgrad="max_exp_avg_sq"), STEP),
    optim.AdamW: Rule(_named("exp_avg", "exp_avg_sq", amsgrad="max_exp_avg_sq"), STEP),
    optim.NAdam: Rule(_named("exp_avg", "exp_avg_sq"), {**STEP, "mu_product": 1.0}),
    optim.RAdam: Rule(_named("exp_avg", "exp_avg_sq"), STEP),
    optim.Adamax: Rule(_named("exp_avg", "exp_inf"), STEP),
    optim.Adadelta: Rule(_named("square_avg", "acc_delta"), STEP),
    optim.Adagrad: Rule(_named("sum"), STEP),
    optim.RMSprop: Rule(_named("square_avg", momentum="momentum_buffer", centered="grad_avg"), STEP),
}


@attrs.frozen(eq=False)
class Piece:
    """Weights that follow each other in a param group, and where they and their buffers stand.

    Attributes
    ----------
    group : int
        Index of the param group.
    weights : list of Tensor
    columns : tuple of int
        First component of the weights, of their first buffer, of the second, ...
    buffers : tuple of str
    units : tuple of float
        A component of the weights, and of each buffer, over the number that the optimiser has.
    """

    group: int
    weights: list[Tensor]
    columns: tuple[int, ...]
    buffers: tuple[str, ...]
    units: tuple[float, ...]

    @property
    def count(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.weights)

    def between(self, first: int, last: int) -> Piece:
        """The piece of the weights from one to before another."""
        ahead = sum(weight.numel() for weight in self.weights[:first])
        columns = tuple(column + ahead for column in self.columns)
        return attrs.evolve(self, weights=self.weights[first:last], columns=columns)


def layout(optimizer: optim.Optimizer) -> list[Piece]:
    """The pieces of the state, one for each param group with trainable weights.

    SGD's momentum counts in units of the learning rate at the start, v = -lr buffer, as that of `dynsys.HeavyBall`.
    """
    groups = trainable(optimizer)
    names = [_buffers(optimizer, i) if group else () for i, group in enumerate(groups)]
    columns: list[list[int]] = [[] for _ in groups]
    end = 0
    for part in range(1 + max(map(len, names), default=0)):
        for i, group in enumerate(groups):
            if part <= len(names[i]):
                columns[i].append(end)
                end += sum(weight.numel() for weight in group)
    return [
        Piece(i, group, tuple(columns[i]), names[i], (1.0, *(_unit(optimizer, i, name) for name in names[i])))
        for i, group in enumerate(groups)
        if group
    ]


def places(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Tensor, list[int]]]:
    """Every weight, and where it and its buffers stand."""
    for piece in pieces:
        ahead = 0
        for weight in piece.weights:
            yield piece, weight, [column + ahead for column in piece.columns]
            ahead += weight.numel()


def remembers_more(optimizer: optim.Optimizer, pieces: Sequence[Piece]) -> bool:
    """Whether options were changed so that there are buffers which had no place at the start."""
    rule = RULES.get(type(optimizer))
    if rule is not None:
        return any(set(rule.buffers(optimizer.param_groups[piece.group])) - set(piece.buffers) for piece in pieces)
    return any(
        name not in piece.buffers and isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0
        for piece in pieces
        for weight in piece.weights
        for name, value in (optimizer.state.get(weight) or {}).items()
    )


def trainable(optimizer: optim.Optimizer) -> list[list[Tensor]]:
    """The weights of each param group that require a gradient."""
    return [[weight for weight in group["params"] if weight.requires_grad] for group in optimizer.param_groups]


def in_model_order(model: nn.Module, optimizer: optim.Optimizer) -> list[Tensor]:
    """Weights of the optimiser as `model.parameters()` has them, as norms of the gradient are summed; then others."""
    weights = {id(w): w for group in optimizer.param_groups for w in group["params"]}
    first = [w for w in model.parameters() if weights.pop(id(w), None) is not None]
    return [*first, *weights.values()]


def memory(optimizer: optim.Optimizer, pieces: Sequence[Piece]) -> list[Tensor | None]:
    """The buffers of all weights; None for those that are not there yet."""
    return [
        (optimizer.state.get(weight) or {}).get(name)
        for piece in pieces
        for name in piece.buffers
        for weight in piece.weights
    ]


def dimension(pieces: Sequence[Piece]) -> int:
    """Number of weights and buffers."""
    return sum(piece.count * len(piece.columns) for piece in pieces)


def state_vector(optimizer: optim.Optimizer, pieces: Sequence[Piece]) -> Tensor:
    """Weights and buffers as one vector (dimension,), in float64 on the CPU; what is not there yet is 0."""
    x = torch.zeros(dimension(pieces), dtype=torch.float64)
    for piece in pieces:
        for column, name, unit in zip(piece.columns, (None, *piece.buffers), piece.units, strict=True):
            begin = column
            for weight in piece.weights:
                value = weight if name is None else optimizer.state.get(weight, {}).get(name)
                if value is not None:
                    x[begin : begin + weight.numel()] = unit * value.detach().reshape(-1).cpu().double()
                begin += weight.numel()
    return x


def _unit(optimizer: optim.Optimizer, group: int, name: str) -> float:
    if type(optimizer) is not optim.SGD:
        return 1.0
    options = optimizer.param_groups[group]
    rates = (float(options["lr"]), float(options.get("initial_lr", 0.0)))  # a schedule may begin with a rate of 0
    return next((-rate for rate in rates if rate > 0.0), -1.0)


OPEN = {"defaults", "param_groups", "state"}


def _holds_numbers(value: Any) -> bool:
    """Whether there are arrays of numbers, or an optimiser, in an attribute."""
    if isinstance(value, Mapping):
        return any(map(_holds_numbers, value.values()))
    if isinstance(value, list | tuple | set):
        return any(map(_holds_numbers, value))
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.dim() > 0
    return isinstance(value, optim.Optimizer)


def _buffers(optimizer: optim.Optimizer, group: int) -> tuple[str, ...]:
    """Names of the buffers of a param group, of an unknown optimiser found by a step of a copy."""
    options = optimizer.param_groups[group]
    if type(optimizer) in RULES:
        return RULES[type(optimizer)].buffers(options)
    hidden = next((name for name, value in vars(optimizer).items() if name not in OPEN and _holds_numbers(value)), None)
    if hidden is not None:
        raise InvalidInputError(
            f"an optimizer must keep all that it remembers in its state, got {type(optimizer).__name__}, which has "
            f"numbers in {hidden!r}: take one of torch.optim, or of a wrapper the one inside"
        )
    weights = trainable(optimizer)[group]
    twins = {weight: weight.detach().clone() for weight in weights}
    replaced = {id(weight): twin for weight, twin in twins.items()}
    slopes = {twin: torch.zeros_like(twin) for twin in twins.values()}
    known = {twins[weight]: copy.deepcopy(dict(optimizer.state.get(weight, {}))) for weight in weights}
    try:
        with torch.no_grad():
            after = step_of_twin(optimizer, [(options, list(twins.values()))], slopes, known, replaced)
    except InvalidInputError:
        raise
    except Exception as problem:
        raise InvalidInputError(
            f"the optimiser must be one whose step a copy of it can take, got {type(optimizer).__name__}, which fails: "
            f"{problem!s:.200}; take one of torch.optim"
        ) from problem
    states = [after.get(twin, {}) for twin in twins.values()]
    floating = [
        (name, value.shape == twin.shape)
        for twin, state in zip(twins.values(), states, strict=True)
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0  # else a counter
    ]
    other = sorted({str(name) for name, alike in floating if not alike})
    if other:
        raise InvalidInputError(
            f"the state of the optimiser must be numbers for each weight, got {type(optimizer).__name__}, whose "
            f"{other[0]!r} has another shape than its weights: take one of torch.optim such as Adam"
        )
    return tuple(dict.fromkeys(name for name, _ in floating))
