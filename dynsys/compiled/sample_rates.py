"""A gradient flow written out, in the language of `dynsys.compiled.llvm.translate`: gradient and Hessian of a batch.

One trajectory has the samples of its batch side by side, eight in a vector; members side by side have theirs one after
the other, each in its lane. The statements of a sample are the same, for vectors and for numbers.
"""

from __future__ import annotations

from functools import lru_cache

from dynsys.compiled.elementary import ELEMENTARY
from dynsys.compiled.equations import indented
from dynsys.compiled.kernel import RateSource, StepSource
from dynsys.compiled.llvm.translate import translate
from dynsys.compiled.samples import SampleSource, identifiers, renamed
from dynsys.errors import InvalidInputError

MEMBERS = 8  # side by side


@lru_cache(maxsize=64)  # every call of a pass asks
def in_language(sigma: str) -> bool:
    """Whether the nonlinearity, which people write, is in the language; Numba knows more functions of NumPy."""
    try:
        translate(ELEMENTARY + "\n" + sigma + "\n" + APPLIED, ("applied",))
    except InvalidInputError:
        return False
    return True


APPLIED = """
def applied(a: floats, b: vectors):
    sigma(a[0])
    sigma(b[0])
"""


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def sample_rates(sample: SampleSource, sigma: str) -> RateSource:
    """Slopes, and in J the entries of the Hessian's lower triangle that do not vanish."""
    dim, entries, columns = len(sample.state), len(sample.hessian), len(sample.columns)
    filled = {(i, j): e for e, (i, j, _) in enumerate(sample.hessian)}
    filled |= {(j, i): e for (i, j), e in filled.items()}
    terms = [[f"J[{filled[i, j]}] * Y[{j}]" for j in range(dim) if (i, j) in filled] for i in range(dim)]
    product = [f"F[{i}] = {' + '.join(sums) or '0.0 * Y[0]'}" for i, sums in enumerate(terms)]
    source = RATES.format(
        rows=dim + entries, columns=columns, at_once=sample.at_once, dim=dim, entries=entries,
        product="\n    ".join(product),
    )  # fmt: skip
    vectors = dim + entries + sample.at_once * columns
    scratch = 8 * vectors + dim + entries + columns
    return RateSource(_samples(sample, sigma) + source, dim, (entries,), scratch, driven_by="ints32")


RATES = '''
def gather(D, rows, count, data):
    """Columns of the data for `count` times eight samples."""
    F = as_floats(D)
    for s in range(count):
        for l in range(8):
            row = data[rows[8 * s + l] * {columns} :]
            for j in range({columns}):
                F[(s * {columns} + j) * 8 + l] = row[j]


def rates(t, x, f, J, p, data, rows, sizes, B):
    """Sums over the batch: eight samples at a time, those that are left one by one."""
    G = as_vectors(B)
    D, rest = G[{rows}:], B[8 * ({rows} + {at_once} * {columns}) :]
    for r in range({rows}):
        G[r] = 0.0
        rest[r] = 0.0
    size, done = sizes[0], 0
    while size - done >= {at_once} * 8:
        gather(D, rows[done:], {at_once}, data)
        samples_{at_once}(x, G, D, p)
        done += {at_once} * 8
    while size - done >= 8:
        gather(D, rows[done:], 1, data)
        samples_1(x, G, D, p)
        done += 8
    while done < size:
        samples_1(x, rest, data[rows[done] * {columns} :], p)
        done += 1
    for i in range({dim}):
        f[i] = p[0] * (total(G[i]) + rest[i])
    for e in range({entries}):
        J[e] = p[0] * (total(G[{dim} + e]) + rest[{dim} + e])


def product(J, Y, F, p, data, rows, sizes, B):
    """The symmetric matrix of the entries times Y."""
    {product}

'''


@lru_cache(maxsize=64)
def sample_lanes(sample: SampleSource, sigma: str) -> StepSource:
    """Euler steps of members side by side: sums over the batch, sample after sample, then column after column."""
    dim, columns, rows = len(sample.state), len(sample.columns), len(sample.state) + len(sample.hessian)
    filled = {(i, j): e for e, (i, j, _) in enumerate(sample.hessian)}
    filled |= {(j, i): e for (i, j), e in filled.items()}
    product = [
        " + ".join(f"J[{filled[i, j]}] * v{j}" for j in range(dim) if (i, j) in filled) or "0.0" for i in range(dim)
    ]
    source = LANES.format(
        rows=rows, columns=columns, at_once=sample.at_once, dim=dim,
        read="; ".join(f"v{j} = C[{j}]" for j in range(dim)).replace("; ", "\n            "),
        written="\n            ".join(f"C[{i}] = v{i} + scale * ({terms})" for i, terms in enumerate(product)),
    )  # fmt: skip
    return StepSource(_samples(sample, sigma) + source, rows + sample.at_once * columns, side_by_side=MEMBERS)


LANES = '''
def gather(D, rows, first, count, own, data):
    """Columns of the data for `count` samples of every lane."""
    F = as_floats(D)
    for s in range(count):
        if own[0] == own[1 if _WIDTH > 1 else 0]:  # one batch for all
            row = data[rows[own[0] + first + s] * {columns} :]
            for j in range({columns}):
                D[s * {columns} + j] = row[j]
        else:
            for l in range(_WIDTH):
                row = data[rows[own[l] + first + s] * {columns} :]
                for j in range({columns}):
                    F[(s * {columns} + j) * _WIDTH + l] = row[j]


def advance(n: int, steps: int, t0: float, dt: float, x: states, V: frame, k: int, p: numbers, data: floats,
            rows: ints32, sizes: ints, own: ints, B: floats):
    G = like(B, x)
    D, J = G[{rows}:], G[{dim}:]
    scale = dt * p[0]
    for m in range(steps):
        driven, size = rows[m * sizes[1] :], sizes[0]
        for r in range({rows}):
            G[r] = 0.0
        for first in range(0, size - {at_once} + 1, {at_once}):
            gather(D, driven, first, {at_once}, own, data)
            samples_{at_once}(x, G, D, p)
        for first in range(size // {at_once} * {at_once}, size):
            gather(D, driven, first, 1, own, data)
            samples_1(x, G, D, p)
        for c in range(k):
            C = V[c * {dim} :]
            {read}
            {written}
        for i in range({dim}):
            x[i] = x[i] + scale * G[i]
'''


def _samples(sample: SampleSource, sigma: str) -> str:
    """Functions that add several samples, or one, to gradient and Hessian."""
    return ELEMENTARY + "\n" + sigma + "\n" + "\n".join(_body(sample, count) for count in sorted({sample.at_once, 1}))


def _body(sample: SampleSource, count: int) -> str:
    """One of these functions. Names of the user begin with an underscore here, those of sample s with _s_."""
    common = {name: f"_{name}" for name in (*sample.state, *sample.parameters)}
    motion = sample.motion
    own = [*sample.columns, *(name for line in motion for name in identifiers(line.partition(" = ")[0]))]

    def written(source: str, s: int) -> str:
        return renamed(source, common | {name: f"_{s}_{name}" for name in own})

    lines = [f"_{name} = p[{i}]" for i, name in enumerate(sample.parameters, 1)]
    lines += [f"_{name} = x[{i}]" for i, name in enumerate(sample.state)]
    for s in range(count):
        lines += [f"_{s}_{name} = D[{s * len(sample.columns) + j}]" for j, name in enumerate(sample.columns)]
        lines += [written(line, s) for line in motion]
    for row, terms in enumerate(sample.entries):
        if terms:
            added = [f"a = a + ({written(term, s)})" for s in range(count) for term in terms]
            lines += [f"a = G[{row}]", *added, f"G[{row}] = a"]
    return "\n".join([f"\ndef samples_{count}(x, G, D, p):", *indented(lines or ["pass"]), ""])
