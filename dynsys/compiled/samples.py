"""A gradient flow written out: the statements of one sample inside a loop over the batch, vectorised.

Two arrangements share the statements that add samples to the gradient and to the lower triangle of the Hessian: one
trajectory, with the samples of its batch in the lanes of vector registers, and many, one in each lane.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import attrs
import numpy as np

from dynsys.compiled.equations import aligned
from dynsys.compiled.kernel import Kernel, NumbaStep
from dynsys.compiled.lanes import LANE_TANH, LaneSource
from dynsys.steppers.stepper import Tableau

Array = np.ndarray

LARGEST = 700  # statements and products in a body: compiling takes time that grows faster than their number
AT_ONCE = 4  # samples of a body, between a load of an accumulator and its store; fewer if one takes many statements
SAMPLE_LANES = 4
BY_EULER = Tableau(a=((),), b=(1.0,), c=(0.0,))  # what steps are written out for


@attrs.frozen(cache_hash=True)
class SampleSource:
    """Gradient and Hessian of the loss of one sample, as source.

    Attributes
    ----------
    state, columns, parameters : tuple of str
        Names of the components, of the columns of the data, and of numbers.
    statements : tuple of str
        Assignments in order, with calls `s, s', s'' = sigma(d)` of a nonlinearity if there is one.
    loss : str
        Source of the loss.
    gradient : tuple of tuples of str
        For every component of the state the terms of its entry, which does not vanish if there are any.
    hessian : tuple of (i, j, tuple of str)
        The same for those entries of the lower triangle that do not vanish identically.
    factor : float
        Number by which loss, gradient and Hessian are to be multiplied.
    """

    state: tuple[str, ...]
    columns: tuple[str, ...]
    parameters: tuple[str, ...]
    statements: tuple[str, ...]
    loss: str
    gradient: tuple[tuple[str, ...], ...]
    hessian: tuple[tuple[int, int, tuple[str, ...]], ...]
    factor: float

    @property
    def entries(self) -> list[tuple[str, ...]]:
        """The terms of gradient and Hessian, entry by entry."""
        return [*self.gradient, *(terms for _, _, terms in self.hessian)]

    @property
    def motion(self) -> list[str]:
        """The statements that gradient and Hessian need."""
        return needed(self.statements, [term for terms in self.entries for term in terms])

    @property
    def alone(self) -> SampleSource:
        """The same without the Hessian: what moves the state alone."""
        return attrs.evolve(self, hessian=())

    @property
    def at_once(self) -> int:
        """Samples in a body of at most `LARGEST` statements; 0: this is not to be written out."""
        return min(AT_ONCE, LARGEST // max(1, len(self.motion) + sum(map(len, self.entries))))

    @property
    def calls_sigma(self) -> bool:
        """Whether a nonlinearity must be given."""
        return any("= sigma(" in line for line in self.statements)


def identifiers(source: str) -> list[str]:
    """The names that occur in some source."""
    return re.findall(_NAME, source)


def renamed(source: str, names: Mapping[str, str]) -> str:
    """Some source with other names."""
    return re.sub(_NAME, lambda found: names.get(found[0], found[0]), source)


_NAME = r"(?<![\w.])[^\W\d]\w*"


def needed(statements: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Those of some statements that the wanted expressions need."""
    names = {name for source in wanted for name in identifiers(source)}
    kept = []
    for line in reversed(statements):
        targets, _, source = line.partition(" = ")
        if not names.isdisjoint(identifiers(targets)):
            kept.append(line)
            names.update(identifiers(source))
    return kept[::-1]


def sample_kernel(
    sample: SampleSource, sigma: str, scale: float, data: Array, parameters: Sequence[float] = ()
) -> Kernel | None:
    """The kernel of theta' = scale * (sum over samples of the gradient of their loss), written out.

    `sigma` is the source of the nonlinearity, or empty. None if there would be more than `LARGEST` statements.
    """
    if sample.at_once == 0:
        return None

    def moving(k: int) -> SampleSource:
        return sample if k else sample.alone

    return Kernel(
        linearise_samples(sample, sigma),
        np.array([scale * sample.factor, *parameters]),
        data,
        scratch=_scratch(sample),
        step=lambda tableau, k: euler_step(moving(k), sigma, k) if tableau == BY_EULER else None,
        lanes=lambda tableau, k, varied: (
            euler_lanes(moving(k), sigma, k) if tableau == BY_EULER and not varied else None
        ),
    )


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def linearise_samples(sample: SampleSource, sigma: str) -> str:
    """The function `linearise` of one trajectory, vectorised over the batch."""
    lines = [f"    f[{i}] = scale * scratch[{_total(sample) + i}]" for i in range(len(sample.state))]
    lines += [*_matrix(sample), "    for c in range(V.shape[1]):"]
    lines += [f"        v{j} = V[{j}, c]" for j in range(len(sample.state))]
    lines += [f"        F[{i}, c] = {terms}" for i, terms in enumerate(_product(sample))]
    return _accumulate(sample, sigma) + LINEARISE + "\n".join([*lines, "", ""])


@lru_cache(maxsize=64)
def euler_step(sample: SampleSource, sigma: str, k: int) -> NumbaStep:
    """An Euler step of one trajectory, vectorised over the batch, then over the columns of the frame.

    Lane l of the buffer holds another sample at the same state: a few samples for each lane, one for each, or single
    ones are added at a time to the rows of gradient and Hessian, and in the end each row is summed over its lanes, in
    a fixed order. The frame stands in the work array row by row: its columns are the lanes of the last loop.
    """
    dim = len(sample.state)
    pitch = aligned(k)
    behind = _scratch(sample)  # the frame, every row padded to whole vector registers
    lines = [f"    x[{i}] += scale * scratch[{_total(sample) + i}]" for i in range(dim)]
    lines += [f"    step_columns(scratch, scale, {pitch})"]
    columns = ["", "@njit", "def step_columns(scratch, scale, columns):", *_matrix(sample)]
    columns += ["    for c in range(columns):"]
    columns += [f"        v{j} = scratch[{behind + j * pitch} + c]" for j in range(dim)]
    columns += [
        f"        scratch[{behind + i * pitch} + c] = v{i} + {terms}" for i, terms in enumerate(_product(sample))
    ]
    source = _accumulate(sample, sigma) + "\n".join([*columns, ""]) + EULER + "\n".join([*lines, "", ""])
    return NumbaStep(source, behind + dim * pitch, rows_at=behind)


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

EULER = '''
@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """An Euler step of one trajectory and its tangent vectors."""
    accumulate(x, parameters, data, rows, scratch)
    scale = dt * parameters[0]
'''


@lru_cache(maxsize=64)
def euler_lanes(sample: SampleSource, sigma: str, k: int) -> LaneSource:
    """One Euler step of a block of trajectories, straight-line.

    Gradient and Hessian stand in rows of their own, summed over the batch a few samples at a time (the data of which
    stand in fixed rows), and are applied to one tangent column after the other.
    """
    dim, columns = len(sample.state), len(sample.columns)
    rows = _rows(sample, dim + dim * k)
    source = [
        _samples(sample, sigma, rows),
        "@njit",
        "def step_column(B, C, scale, lanes):",
        "    for l in range(lanes):",
        *(f"        v{i} = C[{i} * L + l]" for i in range(dim)),
        *(f"        {_entry(i, j)} = B[{rows['hessian'] + e} * L + l]" for e, (i, j, _) in enumerate(sample.hessian)),
        *(f"        C[{i} * L + l] = v{i} + scale * ({terms})" for i, terms in enumerate(_product(sample))),
        ADVANCE.format(columns=columns, at_once=sample.at_once, **rows),
    ]
    return LaneSource("\n".join(source), dim + len(sample.hessian) + sample.at_once * columns)


ADVANCE = '''

@njit
def step_state(B, scale, lanes):
    for i in range(DIM):
        for l in range(lanes):
            B[i * L + l] += scale * B[({gradient} + i) * L + l]


@njit
def gather(B, first, count, done, own, data, drive, lanes):
    """Rows of the data for `count` samples of a batch, for every lane."""
    step = done if drive.shape[1] > 1 else 0
    for s in range(count):
        for j in range({columns}):
            base = ({samples} + s * {columns} + j) * L
            if drive.shape[0] > 1:
                for l in range(lanes):
                    B[base + l] = data[drive[own[l], step, first + s], j]
            else:
                value = data[drive[0, step, first + s], j]
                for l in range(lanes):
                    B[base + l] = value


@njit
def advance(B, n, t, dt, done, own, parameters, data, drive, lanes):
    B[{gradient} * L : {samples} * L] = 0.0
    size = drive.shape[2]
    for first in range(0, size - size % {at_once}, {at_once}):
        gather(B, first, {at_once}, done, own, data, drive, lanes)
        samples_{at_once}(B, parameters, lanes)
    for first in range(size - size % {at_once}, size):
        gather(B, first, 1, done, own, data, drive, lanes)
        samples_1(B, parameters, lanes)
    scale = dt * parameters[0]
    for c in range(K):
        step_column(B, B[(DIM + c * DIM) * L : (DIM + (c + 1) * DIM) * L], scale, lanes)
    step_state(B, scale, lanes)

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
