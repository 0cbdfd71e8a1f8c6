"""Euler steps of a gradient flow written out: the statements of one sample inside a loop over the batch.

Two arrangements share the statements that add samples to the gradient and to the lower triangle of the Hessian:
members side by side, one in each lane of the vectors (or one alone, by numbers, with the same bits), and one
trajectory with eight samples of its batch in the lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dynsys.compiled.elementary import ELEMENTARY
from dynsys.compiled.equations import aligned
from dynsys.compiled.kernel import Kernel, StepSource
from dynsys.compiled.samples import (
    SampleSource,
    entry_name,
    hessian_times,
    linearise_samples,
    scratch_length,
    written_sample,
)
from dynsys.steppers.stepper import Tableau

Array = np.ndarray

BY_EULER = Tableau(a=((),), b=(1.0,), c=(0.0,))  # what steps are written out for


def sample_kernel(
    sample: SampleSource, sigma: str, scale: float, data: Array, parameters: Sequence[float] = ()
) -> Kernel | None:
    """The kernel of theta' = scale * (sum over samples of the gradient of their loss), written out.

    `sigma` is the source of the nonlinearity, or empty. None if there would be more than `LARGEST` statements.
    """
    if sample.at_once == 0:
        return None
    return Kernel(
        linearise_samples(sample, sigma),
        np.array([scale * sample.factor, *parameters]),
        data,
        scratch=scratch_length(sample),
        step=lambda tableau, k: euler_step(sample if k else sample.alone, sigma) if tableau == BY_EULER else None,
    )


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def euler_step(sample: SampleSource, sigma: str) -> StepSource:
    """Euler steps of members side by side, and of one trajectory alone."""
    sums = len(sample.state) + len(sample.hessian)
    gathered = sample.at_once * len(sample.columns)
    names = {"sums": sums, "columns": len(sample.columns), "at_once": sample.at_once, "dim": len(sample.state)}
    common = "\n".join([ELEMENTARY, sigma, *_samples(sample), *_columns(sample)])
    alone = StepSource(
        common + ALONE.format(signature=SIGNATURE, **names),
        8 * (2 * sums + gathered) + aligned(sums),
        layout="tiles",
    )
    return StepSource(
        common + LANES_OF_MEMBERS.format(signature=SIGNATURE, **names),
        sums + gathered,
        side_by_side=True,
        alone=alone,
    )


def _samples(sample: SampleSource) -> list[str]:
    """Functions that add several samples, or one, to the sums A."""
    lines = []
    for count in sorted({sample.at_once, 1}):
        begin, motion, terms = written_sample(sample, count)
        lines += ["", "", f"def samples_{count}(x, D, A, p):"]
        lines += [f"    _{name} = x[{i}]" for i, name in enumerate(sample.state)]
        lines += [f"    _{name} = p[{i}]" for i, name in enumerate(sample.parameters, 1)]
        lines += [f"    {name} = D[{place}]" for place, name in enumerate(begin)]
        lines += [f"    {line}" for line in motion]
        for row, added in enumerate(terms):
            if added:
                lines += [f"    a = A[{row}]", *(f"    a = a + ({term})" for term in added), f"    A[{row}] = a"]
        lines += ["    return"]
    return lines


def _columns(sample: SampleSource) -> list[str]:
    """The function that applies the Hessian H, the entries of its lower triangle, to the columns of a frame."""
    dims = range(len(sample.state))
    return [
        "",
        "",
        "def step_columns(H, scale, V, count):",
        *(f"    {entry_name(i, j)} = H[{e}]" for e, (i, j, _) in enumerate(sample.hessian)),
        "    for c in range(count):",
        f"        C = V[c * {len(sample.state)} :]",
        *(f"        v{i} = C[{i}]" for i in dims),
        *(f"        C[{i}] = v{i} + scale * ({terms})" for i, terms in enumerate(hessian_times(sample))),
    ]


SIGNATURE = """def advance(n: int, steps: int, t0: float, dt: float, x: states, V: frame, k: int, p: numbers,
            data: floats, rows: ints32, sizes: ints, own: ints, B: floats):"""

LANES_OF_MEMBERS = '''


def gather(D, count, batch, own, shared, data):
    """The columns of some samples, of the same for all members or of each its own."""
    F = as_floats(D)
    if shared == 1:
        for s in range(count):
            row = data[batch[own[0] + s] * {columns} :]
            for j in range({columns}):
                D[s * {columns} + j] = row[j]
    else:
        for s in range(count):
            for l in range(_WIDTH):
                row = data[batch[own[l] + s] * {columns} :]
                for j in range({columns}):
                    F[(s * {columns} + j) * _WIDTH + l] = row[j]


{signature}
    """Every member in a lane of its own."""
    A, D, shared = like(B, x), like(B[{sums} * _WIDTH :], x), 1
    for l in range(_WIDTH):
        if own[l] != own[0]:
            shared = 0
    size, scale = sizes[0], dt * p[0]
    whole = size - size % {at_once}
    for m in range(steps):
        batch = rows[m * sizes[1] :]
        for r in range({sums}):
            A[r] = 0.0
        for first in range(0, whole, {at_once}):
            gather(D, {at_once}, batch[first:], own, shared, data)
            samples_{at_once}(x, D, A, p)
        for first in range(whole, size):
            gather(D, 1, batch[first:], own, shared, data)
            samples_1(x, D, A, p)
        step_columns(A[{dim}:], scale, V, k)
        for i in range({dim}):
            x[i] = x[i] + scale * A[i]
'''

ALONE = '''


_LANE = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)


def gather(D, groups, batch, left, data):
    """The columns of `groups` times eight samples; lanes without a sample repeat the last one."""
    F = as_floats(D)
    for g in range(groups):
        for l in range(8):
            place = g * 8 + l
            row = data[batch[place if place < left else left - 1] * {columns} :]
            for j in range({columns}):
                F[(g * {columns} + j) * 8 + l] = row[j]


{signature}
    """Another sample in every lane, at the same state: in the end every sum is taken over its lanes, in fixed order."""
    A, E, D = as_vectors(B), as_vectors(B[8 * {sums} :]), as_vectors(B[16 * {sums} :])
    T = B[8 * (2 * {sums} + {at_once} * {columns}) :]
    size, scale = sizes[0], dt * p[0]
    for m in range(steps):
        batch, done = rows[own[0] + m * sizes[1] :], 0
        for r in range({sums}):
            A[r] = 0.0
        while size - done >= 8 * {at_once}:
            gather(D, {at_once}, batch[done:], size - done, data)
            samples_{at_once}(x, D, A, p)
            done += 8 * {at_once}
        while size - done >= 8:
            gather(D, 1, batch[done:], size - done, data)
            samples_1(x, D, A, p)
            done += 8
        if done < size:
            gather(D, 1, batch[done:], size - done, data)
            for r in range({sums}):
                E[r] = 0.0
            samples_1(x, D, E, p)
            within = as_vectors(_LANE)[0] < size - done
            for r in range({sums}):
                A[r] = A[r] + where(within, E[r], 0.0)
        for r in range({sums}):
            T[r] = total(A[r])
        step_columns(T[{dim}:], scale, V, (k + 7) // 8)
        for i in range({dim}):
            x[i] = x[i] + scale * T[i]
'''
