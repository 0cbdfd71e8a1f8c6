"""The exact derivative of an optimiser's step, applied to tangent vectors in place.

The step is a map of weights, buffers and the gradient g,

    (theta, c_1, ..., c_b)' = U(theta, c_1, ..., c_b, g),

in which torch's own optimisers treat every weight alone: one step with a graph gives the derivatives of all, for any
number of vectors. An optimiser of somebody else is differentiated vector by vector, in dual numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.autograd.forward_ad as forward
from torch import optim

from dynsys.training.optimisers.combine import Coefficient, combine
from dynsys.training.optimisers.layout import RULES, Piece, Rule, places
from dynsys.training.optimisers.twin import step_of_twin

Tensor = torch.Tensor

BLOCK = 2**16  # weights that are differentiated at once: what that takes fits into a cache
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-8}  # share of a step that a copy's may differ from the optimiser's


def push(
    optimizer: optim.Optimizer, pieces: Sequence[Piece], V: Tensor, H: Tensor, *, predict: bool = False
) -> dict[Tensor, Tensor]:
    """Replace tangent vectors before a step of the optimiser by those after it, ahead of the step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        With gradients in `.grad` as its step will find them. A weight without one stays as it is, as torch has it.
    pieces : sequence of Piece
    V : Tensor, shape (k, dimension)
        Tangent vectors of weights and buffers as rows; overwritten.
    H : Tensor, shape (k, n)
        Those of the gradient: weights in the order of the pieces.
    predict : bool
        Whether to return the weights to which the step will lead, to be compared by `differs`.

    Returns
    -------
    dict, weight -> its next value
        Of all that move, if asked for.

    Raises
    ------
    InvalidInputError
        If the step has no derivative.
    """
    if type(optimizer) not in RULES:
        return _push_vectors(optimizer, pieces, V, H)
    rule, first = RULES[type(optimizer)], pieces[0].columns[0]
    found: dict[Tensor, Tensor] = {}
    for piece in pieces:
        for run in _runs(optimizer, piece, rule):
            slopes = H[:, run.columns[0] - first : run.columns[0] - first + run.count]
            found |= _push_run(optimizer, rule, run, V, slopes, predict)
    return found


def differs(found: dict[Tensor, Tensor], before: dict[Tensor, Tensor]) -> bool:
    """Whether weights are elsewhere than their step was predicted to lead, beyond rounding."""
    for weight, predicted in found.items():
        now = weight.detach()
        step, off = (now - before[weight]).abs().max(), (now - predicted).abs().max()
        rounding = 8 * torch.finfo(now.dtype).eps * now.abs().max()
        if bool(torch.isfinite(now).all()) and bool(off > CLOSE[now.dtype] * step + rounding):
            return True
    return False


def _runs(optimizer: optim.Optimizer, piece: Piece, rule: Rule) -> Iterator[Piece]:
    """Parts of a piece whose weights all have gradients, and the same numbers in their state."""
    keys = [_numbers(optimizer, weight, rule) for weight in piece.weights]
    first = 0
    for last in range(1, len(keys) + 1):
        if last == len(keys) or keys[last] != keys[first]:
            if keys[first] is not None:
                yield piece.between(first, last)
            first = last


def _numbers(optimizer: optim.Optimizer, weight: Tensor, rule: Rule) -> tuple[float, ...] | None:
    if weight.grad is None:
        return None
    state = optimizer.state.get(weight) or {}
    return (float(bool(state)), *(float(state.get(name, first)) for name, first in rule.scalars.items()))


def _push_run(
    optimizer: optim.Optimizer, rule: Rule, run: Piece, V: Tensor, H: Tensor, predict: bool
) -> dict[Tensor, Tensor]:
    """The same for weights of one kind."""
    options = dict(optimizer.param_groups[run.group])
    state = optimizer.state.get(run.weights[0]) or {}
    # torch's first momentum buffer is the first gradient, as it would be without dampening
    if type(optimizer) is optim.SGD and run.buffers and state.get("momentum_buffer") is None:
        options["dampening"] = 0.0
    scalars = {name: state.get(name, first) for name, first in rule.scalars.items()}
    if type(optimizer) is optim.ASGD and not state:
        scalars["eta"] = float(options["lr"])
    flat = [[weight.detach().reshape(-1) for weight in run.weights]]
    for name in run.buffers:
        flat.append([_buffer(optimizer, weight, name) for weight in run.weights])
    flat.append([weight.grad.detach().reshape(-1) for weight in run.weights if weight.grad is not None])

    def derivatives(values: list[Tensor]) -> tuple[list[list[Coefficient]], Tensor]:
        return _derivatives(optimizer, options, run.buffers, scalars, values)

    units = (*run.units, 1.0)
    slow = predict or not rule.linear
    if not slow:
        plain = tuple((name, _plain(options[name])) for name in optimizer.defaults)
        kept = tuple((name, _plain(value)) for name, value in scalars.items())
        kind: Any = type(optimizer)
        D = _in_units(_of_one_weight(kind, run.buffers, plain, kept), units)
    predicted = []
    for begin in range(0, run.count, BLOCK):
        end = min(begin + BLOCK, run.count)
        if slow:
            values = [_between(tensors, begin, end) for tensors in flat]
            D, theta = derivatives(values)
            D = _in_units(D, units)
            predicted.append(theta)
        parts = [V[:, column + begin : column + end] for column in run.columns]
        combine(D, parts, H[:, begin:end])
    if not predict:
        return {}
    sizes = [weight.numel() for weight in run.weights]
    split = torch.cat(predicted).split(sizes)
    return {weight: part.view(weight.shape) for weight, part in zip(run.weights, split, strict=True)}


def _buffer(optimizer: optim.Optimizer, weight: Tensor, name: str) -> Tensor:
    """A buffer as the optimiser has it or, before its first step, would make it."""
    value = (optimizer.state.get(weight) or {}).get(name)
    return torch.zeros_like(weight).reshape(-1) if value is None else value.detach().reshape(-1)


def _between(tensors: list[Tensor], begin: int, end: int) -> Tensor:
    """A copy of the entries from `begin` to `end` of tensors laid one after the other."""
    found, ahead = [], 0
    for tensor in tensors:
        first, last = max(begin - ahead, 0), min(end - ahead, len(tensor))
        if first < last:
            found.append(tensor[first:last])
        ahead += len(tensor)
    return torch.cat(found) if len(found) > 1 else found[0].clone()


def _derivatives(
    optimizer: optim.Optimizer,
    options: dict[str, Any],
    buffers: tuple[str, ...],
    scalars: dict[str, Any],
    values: list[Tensor],
) -> tuple[list[list[Coefficient]], Tensor]:
    """D[i][j], the derivative of weights and buffers i after a step by weights, buffers and gradient j; the weights.

    As every entry moves alone, the gradient of the sum of output i by input j has the derivatives of all entries.
    """
    inputs = [value.requires_grad_() for value in values]
    with torch.enable_grad():
        theta, *memory, slope = [value.clone() for value in inputs]
        state: dict[str, Any] = {name: _number(value) for name, value in scalars.items()}
        state |= dict(zip(buffers, memory, strict=True))
        if type(optimizer) is optim.ASGD:
            state["ax"] = torch.zeros_like(theta)
        theta.retain_grad()  # else torch warns when the step asks for its gradient
        after = step_of_twin(optimizer, [(options, [theta])], {theta: slope}, {theta: state})[theta]
        outputs = [theta, *(after[name] for name in buffers)]
    D: list[list[Coefficient]] = []
    ones = torch.ones_like(theta)
    for output in outputs:
        found = torch.autograd.grad(output, inputs, ones, retain_graph=output is not outputs[-1], allow_unused=True)
        D.append([0.0 if derivative is None else derivative for derivative in found])
    return D, theta.detach()


@lru_cache(maxsize=64)
def _of_one_weight(
    kind: Any,
    buffers: tuple[str, ...],
    options: tuple[tuple[str, Any], ...],
    scalars: tuple[tuple[str, float], ...],
) -> list[list[Coefficient]]:
    """The derivatives that all weights share under a linear rule, found on one."""
    values = [torch.zeros(1, dtype=torch.float64) for _ in range(2 + len(buffers))]
    D, _ = _derivatives(kind(values[:1]), dict(options), buffers, dict(scalars), values)
    return [[float(d) for d in row] for row in D]


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Tensor) else value


def _number(value: Any) -> Any:
    """A number of the state as torch keeps it: in float32, or in float64 where that is the default."""
    double = torch.get_default_dtype() == torch.float64
    return (
        value.clone()
        if isinstance(value, Tensor)
        else torch.tensor(value, dtype=torch.float64 if double else torch.float32)
    )


def _in_units(D: list[list[Coefficient]], units: tuple[float, ...]) -> list[list[Coefficient]]:
    if set(units) == {1.0}:
        return D
    return [[d * (units[i] / units[j]) for j, d in enumerate(row)] for i, row in enumerate(D)]


def _push_vectors(optimizer: optim.Optimizer, pieces: Sequence[Piece], V: Tensor, H: Tensor) -> dict[Tensor, Tensor]:
    """The same for an optimiser that may do anything, vector by vector: a step of a copy of all of it for each."""
    with warnings.catch_warnings(), forward.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, at the first dual number of a process
        forward.make_dual(torch.zeros(1), torch.zeros(1))
    predicted: dict[Tensor, Tensor] = {}
    first = pieces[0].columns[0]
    everywhere = list(places(pieces))
    for row, slopes in zip(V, H, strict=True):
        with forward.dual_level(), torch.no_grad():
            twins: dict[Tensor, Tensor] = {}
            replaced: dict[int, Any] = {}
            state: dict[Tensor, dict[str, Any]] = {}
            gradients: dict[Tensor, Tensor] = {}
            for piece, weight, columns in everywhere:
                twins[weight] = replaced[id(weight)] = twin = _dual(weight, row, columns[0])
                if weight.grad is not None:
                    gradients[twin] = _dual(weight.grad, slopes, columns[0] - first)
                known = optimizer.state.get(weight) or {}
                state[twin] = {name: v.clone() if isinstance(v, Tensor) else v for name, v in known.items()}
                for name, column in zip(piece.buffers, columns[1:], strict=True):
                    if isinstance(known.get(name), Tensor):
                        state[twin][name] = replaced[id(known[name])] = _dual(known[name], row, column)
            options = [
                (optimizer.param_groups[piece.group], [twins[weight] for weight in piece.weights]) for piece in pieces
            ]
            after = step_of_twin(optimizer, options, gradients, state, replaced)
            for piece, weight, columns in everywhere:
                twin = twins[weight]
                values = [twin, *(after[twin].get(name) for name in piece.buffers)]
                for value, column in zip(values, columns, strict=True):
                    derivative = None if value is None else forward.unpack_dual(value).tangent
                    target = row[column : column + weight.numel()].view(weight.shape)
                    target.zero_() if derivative is None else target.copy_(derivative)
                if weight.grad is not None:
                    predicted[weight] = forward.unpack_dual(twin).primal.clone()
    return predicted


def _dual(value: Tensor, row: Tensor, column: int) -> Tensor:
    """A copy of a tensor with its part of a tangent vector."""
    return forward.make_dual(value.detach().clone(), row[column : column + value.numel()].view(value.shape).clone())
