"""A gradient flow written out: the statements of one sample, and the equations for Numba, vectorised over the batch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import attrs

from dynsys.compiled.equations import aligned

LARGEST = 700  # statements and products in a body: compiling takes time that grows faster than their number
AT_ONCE = 4  # samples of a body, between a load of an accumulator and its store; fewer if one takes many statements
SAMPLE_LANES = 4


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


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def linearise_samples(sample: SampleSource, sigma: str) -> str:
    """The function `linearise` of one trajectory, vectorised over the batch."""
    lines = [f"    f[{i}] = scale * scratch[{_total(sample) + i}]" for i in range(len(sample.state))]
    lines += [*_matrix(sample), "    for c in range(V.shape[1]):"]
    lines += [f"        v{j} = V[{j}, c]" for j in range(len(sample.state))]
    lines += [f"        F[{i}, c] = {terms}" for i, terms in enumerate(hessian_times(sample))]
    return _accumulate(sample, sigma) + LINEARISE + "\n".join([*lines, "", ""])


def _matrix(sample: SampleSource) -> list[str]:
    """The entries of the lower triangle, in scalars."""
    return [
        f"    {entry_name(i, j)} = scale * scratch[{_total(sample) + len(sample.state) + e}]"
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


def scratch_length(sample: SampleSource) -> int:
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


def entry_name(i: int, j: int) -> str:
    """The name of an entry of the Hessian."""
    return f"H{max(i, j)}_{min(i, j)}"


def hessian_times(sample: SampleSource) -> list[str]:
    """Source of every component of the symmetric matrix of the entries times the vector v0, v1, ..."""
    filled = {(i, j) for i, j, _ in sample.hessian}
    filled |= {(j, i) for i, j in filled}
    dims = range(len(sample.state))
    return [" + ".join(f"{entry_name(i, j)} * v{j}" for j in dims if (i, j) in filled) or "0.0" for i in dims]


def _samples(sample: SampleSource, sigma: str, rows: dict[str, int]) -> str:
    """Functions that add several samples, or one, to the gradient and the Hessian of every lane."""
    head = ["\n@njit", sigma.strip()] if sigma else []
    return "\n".join([*head, *(_body(sample, rows, count) for count in sorted({sample.at_once, 1}))])


def written_sample(sample: SampleSource, count: int) -> tuple[list[str], list[str], list[list[str]]]:
    """Names of the columns of several samples, their statements, and the terms of every sum.

    Names of the user begin with an underscore here, those of sample s with _s_.
    """
    common = {name: f"_{name}" for name in (*sample.state, *sample.parameters)}
    motion = sample.motion
    own = [*sample.columns, *(name for line in motion for name in identifiers(line.partition(" = ")[0]))]
    names = [common | {name: f"_{s}_{name}" for name in own} for s in range(count)]
    columns = [f"_{s}_{name}" for s in range(count) for name in sample.columns]
    statements = [renamed(line, one) for one in names for line in motion]
    return columns, statements, [[renamed(t, one) for one in names for t in terms] for terms in sample.entries]


def _body(sample: SampleSource, rows: dict[str, int], count: int) -> str:
    """One of these functions."""
    columns, statements, entries = written_sample(sample, count)
    lines = [f"_{name} = B[{i} * L + l]" for i, name in enumerate(sample.state)]
    lines += [f"{name} = B[{rows['samples'] + place} * L + l]" for place, name in enumerate(columns)]
    lines += statements
    for row, terms in enumerate(entries, rows["gradient"]):
        if terms:
            lines += [f"a = B[{row} * L + l]", *(f"a += {term}" for term in terms), f"B[{row} * L + l] = a"]
    parameters = [f"    _{name} = parameters[{i}]" for i, name in enumerate(sample.parameters, 1)]
    begin = ["", "@njit", f"def samples_{count}(B, parameters, lanes):", *parameters, "    for l in range(lanes):"]
    return "\n".join([*begin, *(f"        {line}" for line in lines), ""])


LANE_TANH = '''

MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to a whole number, which then stands in the lowest bits


@njit
def tanh(d):
    """tanh without branches, to a few units in the last place: expm1(2|d|) by range reduction and a polynomial."""
    y = 2.0 * min(abs(d), 20.0)
    shifted = y * 1.4426950408889634 + MAGIC
    whole = shifted - MAGIC
    r = (y - whole * 0.6931471803691238) - whole * 1.9082149292705877e-10
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    p = p * r + 0.5
    p = r + (r * r) * p
    power = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    e = power * p + (power - 1.0)
    t = e / (e + 2.0)
    return t if d >= 0.0 else (-t if d < 0.0 else d)
'''
