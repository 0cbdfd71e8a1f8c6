"""A small matrix of numbers, or of arrays over all weights, times the parts of tangent vectors, in place."""

from __future__ import annotations

import sys

import torch

Tensor = torch.Tensor
Coefficient = Tensor | float

LEAST = 0.01  # of a momentum by which one may divide


def combine(D: list[list[Coefficient]], parts: list[Tensor], H: Tensor) -> None:
    """parts_i <- sum_j D[i][j] inputs_j, the inputs being parts and H, in place; arrays of shape (k, m)."""
    inputs = [*parts, H]
    buffers = range(1, len(parts))
    through = _through_buffers(D)
    alone = [i for i in buffers if all(_nothing(D[i][j]) for j in buffers if j != i)]
    found = {i: _sum(D[i], inputs) for i in range(bool(through), len(parts)) if i not in alone}
    for i in alone:
        _replace(parts[i], i, D[i], inputs)
    for i, value in found.items():
        parts[i].copy_(value)
    if through:
        _replace(parts[0], 0, through, inputs)


def _nothing(coefficient: Coefficient) -> bool:
    return not isinstance(coefficient, Tensor) and coefficient == 0.0


def _through_buffers(D: list[list[Coefficient]]) -> list[Coefficient]:
    """The first row of D in terms of the buffers after the step, where that is less work: with one, of numbers.

    theta' = theta + mu v - eta H v is theta + v', after which there is nothing more to add up.
    """
    numbers = [[float(d) for d in row if not isinstance(d, Tensor)] for row in D]
    if len(D) != 2 or min(map(len, numbers)) < 3 or abs(numbers[1][1]) < LEAST:
        return []
    (a, b, c), (d, mu, e) = numbers
    share, rounding = b / mu, 4 * sys.float_info.epsilon
    rest = [first - share * second for first, second in ((a, d), (c, e))]
    sizes = [abs(first) + abs(share * second) for first, second in ((a, d), (c, e))]
    left, right = (0.0 if abs(r) <= rounding * size else r for r, size in zip(rest, sizes, strict=True))
    return [left, share, right]


def _sum(row: list[Coefficient], inputs: list[Tensor]) -> Tensor:
    total = row[0] * inputs[0]
    for coefficient, term in zip(row[1:], inputs[1:], strict=True):
        _add(total, coefficient, term)
    return total


def _replace(part: Tensor, i: int, row: list[Coefficient], inputs: list[Tensor]) -> None:
    """Part i, by itself and the others."""
    if isinstance(row[i], Tensor) or row[i] != 1.0:
        part.mul_(row[i])
    for j, term in enumerate(inputs):
        if j != i:
            _add(part, row[j], term)


def _add(total: Tensor, coefficient: Coefficient, term: Tensor) -> None:
    if isinstance(coefficient, Tensor):
        total.addcmul_(term, coefficient.expand_as(term))
    elif not _nothing(coefficient):
        total.add_(term, alpha=coefficient)
