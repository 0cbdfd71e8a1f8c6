"""A gradient flow written out, for the compiler: what steppers are written out with, and the same for Numba.

Numba's function has the samples of a batch in the lanes of vector registers, and serves steppers that people write.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dynsys.compiled.equations import aligned
from dynsys.compiled.kernel import Kernel
from dynsys.compiled.sample_rates import in_language, sample_lanes, sample_rates
from dynsys.compiled.samples import SampleSource, identifiers, renamed
from dynsys.compiled.tanh import LANE_TANH
from dynsys.steppers.stepper import Tableau

Array = np.ndarray

SAMPLE_LANES = 4
BY_EULER = Tableau(a=((),), b=(1.0,), c=(0.0,))  # of members side by side


def sample_kernel(
    sample: SampleSource, sigma: str, scale: float, data: Array, parameters: Sequence[float] = ()
) -> Kernel | None:
    """The kernel of theta' = scale * (sum over samples of the gradient of their loss), written out.

    `sigma` is the source of the nonlinearity, or empty; with one that is not in the language Numba compiles all. None
    if there would be more than `LARGEST` statements.
    """
    if sample.at_once == 0:
        return None
    written = not sigma or in_language(sigma)

    def moving(k: int) -> SampleSource:
        return sample if k else sample.alone

    return Kernel(
        linearise_samples(sample, sigma),
        np.array([scale * sample.factor, *parameters]),
        data,
        scratch=_scratch(sample),
        rates=lambda parts, k: sample_rates(moving(k), sigma) if written and parts == 1 else None,
        lanes=lambda tableau, k: sample_lanes(moving(k), sigma) if written and tableau == BY_EULER else None,
    )


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def linearise_samples(sample: SampleSource, sigma: str) -> str:
    """The function `linearise` of one trajectory, vectorised over the batch."""
    lines = [f"    f[{i}] = scale * scratch[{_total(sample) + i}]" for i in range(len(sample.state))]
    lines += [*_matrix(sample), "    for c in range(V.shape[1]):"]
    lines += [f"        v{j} = V[{j}, c]" for j in range(len(sample.state))]
    lines += [f"        F[{i}, c] = {terms}" for i, terms in enumerate(_product(sample))]
    return _accumulate(sample, sigma) + LINEARISE + "\n".join([*lines, "", ""])


def _matrix(sample: SampleSource) -> list[str]:
    """The entries of the lower triangle, in scalars."""
    return [
        f"    {_entry(i, j)} = scale * scratch[{_total(sample) + len(sample.state) + e}]"
        for e, (i, j, _) in enumerate(sample.hessian)
    ]


def _accumulate(sample: SampleSource, sigma: str) -> str:
    """The function `accumulate`, which sums samples up."""
    dim = len(sample.state)
    rows = _rows(sample, dim)
    return "\n".join(
        [
            f"\n\nL, Q = {SAMPLE_LANES}, {dim}",
            LANE_TANH,
            _samples(sample, sigma, rows),
            ACCUMULATE.format(columns=len(sample.columns), at_once=sample.at_once, total=_total(sample), **rows),
        ]
    )


def _total(sample: SampleSource) -> int:
    """Where the sums over lanes stand in the work array, behind all rows."""
    rows = _rows(sample, len(sample.state))
    return (rows["samples"] + sample.at_once * len(sample.columns)) * SAMPLE_LANES


def _scratch(sample: SampleSource) -> int:
    """Length of the work array: a whole number of vector registers."""
    return aligned(_total(sample) + len(sample.state) + len(sample.hessian))


ACCUMULATE = '''

@njit
def gather(B, first, groups, width, rows, data):
    """Samples first, first + 1, ... of the batch: `groups` rows of `width` lanes."""
    for g in range(groups):
        for l in range(width):
            row = rows[first + g * width + l]
            for j in range({columns}):
                B[({samples} + g * {columns} + j) * L + l] = data[row, j]


@njit
def sum_lanes(B, count):
    """Sums of `count` rows over their lanes."""
    for r in range(count):
        b = {gradient} * L + r * L
        B[{total} + r] = (B[b] + B[b + 2]) + (B[b + 1] + B[b + 3])


@njit
def accumulate(x, parameters, data, rows, scratch):
    """Gradient and Hessian of a batch."""
    for i in range(Q):
        for l in range(L):
            scratch[i * L + l] = x[i]
    scratch[{gradient} * L : {samples} * L] = 0.0
    size, lanes, done = rows.size, L, 0
    while size - done >= {at_once} * L:
        gather(scratch, done, {at_once}, lanes, rows, data)
        samples_{at_once}(scratch, parameters, lanes)
        done += {at_once} * L
    while done < size:
        lanes = L if size - done >= L else 1
        gather(scratch, done, 1, lanes, rows, data)
        samples_1(scratch, parameters, lanes)
        done += lanes
    sum_lanes(scratch, {samples} - {gradient})


'''

LINEARISE = '''
@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = scale gradient and F = scale Hessian V, summed over the samples in `rows`."""
    accumulate(x, parameters, data, rows, scratch)
    scale = parameters[0]
'''


def _rows(sample: SampleSource, first: int) -> dict[str, int]:
    """Where the rows of the buffer begin, after those of state and tangent vectors."""
    hessian = first + len(sample.state)
    return {"gradient": first, "hessian": hessian, "samples": hessian + len(sample.hessian)}


def _entry(i: int, j: int) -> str:
    return f"H{max(i, j)}_{min(i, j)}"


def _product(sample: SampleSource) -> list[str]:
    """Source of every component of the symmetric matrix of the entries times the vector v0, v1, ..."""
    filled = {(i, j) for i, j, _ in sample.hessian}
    filled |= {(j, i) for i, j in filled}
    dims = range(len(sample.state))
    return [" + ".join(f"{_entry(i, j)} * v{j}" for j in dims if (i, j) in filled) or "0.0" for i in dims]


def _samples(sample: SampleSource, sigma: str, rows: dict[str, int]) -> str:
    """Functions that add several samples, or one, to the gradient and the Hessian of every lane."""
    head = ["\n@njit", sigma.strip()] if sigma else []
    return "\n".join([*head, *(_body(sample, rows, count) for count in sorted({sample.at_once, 1}))])


def _body(sample: SampleSource, rows: dict[str, int], count: int) -> str:
    """One of these functions. Names of the user begin with an underscore here, those of sample s with _s_."""
    common = {name: f"_{name}" for name in (*sample.state, *sample.parameters)}
    motion = sample.motion
    own = [*sample.columns, *(name for line in motion for name in identifiers(line.partition(" = ")[0]))]

    def written(source: str, s: int) -> str:
        return renamed(source, common | {name: f"_{s}_{name}" for name in own})

    lines = [f"_{name} = B[{i} * L + l]" for i, name in enumerate(sample.state)]
    for s in range(count):
        at = rows["samples"] + s * len(sample.columns)
        lines += [f"_{s}_{name} = B[{at + j} * L + l]" for j, name in enumerate(sample.columns)]
        lines += [written(line, s) for line in motion]
    for row, terms in enumerate(sample.entries, rows["gradient"]):
        if terms:
            added = [f"a += {written(term, s)}" for s in range(count) for term in terms]
            lines += [f"a = B[{row} * L + l]", *added, f"B[{row} * L + l] = a"]
    parameters = [f"    _{name} = parameters[{i}]" for i, name in enumerate(sample.parameters, 1)]
    begin = ["", "@njit", f"def samples_{count}(B, parameters, lanes):", *parameters, "    for l in range(lanes):"]
    return "\n".join([*begin, *(f"        {line}" for line in lines), ""])
