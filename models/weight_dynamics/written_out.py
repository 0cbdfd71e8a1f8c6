"""The equations of a small network written out as scalar statements, and vectorised.

Two arrangements share the statements that add samples to the velocity and to the lower triangle of J: one network, with
the samples of its batch in the lanes of vector registers, and many networks, one in each lane.
"""

from __future__ import annotations

from functools import lru_cache

from dynsys.compiled.lanes import LANE_TANH, LaneSource
from models.activations import Activation
from models.weight_dynamics.layout import Layout


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def written_out(layout: Layout, activation: Activation) -> tuple[str, str, int]:
    """`linearise` and an Euler step of one network, vectorised over the samples of a batch; length of the work array.

    Lane l of the buffer holds another sample of the same network: 4 L, L or single samples are added at a time to the
    rows of velocity and Jacobian, and in the end each row is summed over its lanes, in a fixed order.
    """
    dim, columns = layout.dimension, layout.n1 + layout.n3
    rows = {"velocity": dim, "jacobian": 2 * dim, "samples": 2 * dim + dim * (dim + 1) // 2}
    accumulate = [
        f"\n\nL, Q = {SAMPLE_LANES}, {dim}",
        LANE_TANH,
        "\n@njit",
        activation.kernel_source("sigma").strip(),
        *_samples(layout, activation, rows, 4),
        *_samples(layout, activation, rows, 1),
        ACCUMULATE.format(columns=columns, **rows),
    ]
    entries = [(i, j) for i in range(dim) for j in range(i + 1)]
    product = [f"    J{i}_{j} = scale * total(scratch, {rows['jacobian'] + e})" for e, (i, j) in enumerate(entries)]
    product += ["    for c in range(V.shape[1]):", *(f"        v{j} = V[{j}, c]" for j in range(dim))]
    terms = [" + ".join(f"J{max(i, j)}_{min(i, j)} * v{j}" for j in range(dim)) for i in range(dim)]
    common = "\n".join(accumulate)
    linearise = [
        LINEARISE_WRITTEN_OUT.format(**rows),
        *product,
        *(f"        F[{i}, c] = {terms[i]}" for i in range(dim)),
        "\n",
    ]
    euler = [
        EULER_WRITTEN_OUT.format(**rows),
        *product,
        *(f"        V[{i}, c] = v{i} + {terms[i]}" for i in range(dim)),
    ]
    length = (rows["samples"] + 4 * columns) * SAMPLE_LANES
    return common + "\n".join(linearise), common + "\n".join([*euler, "\n"]), length


SAMPLE_LANES = 8

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
def total(B, row):
    b = row * L
    return ((B[b] + B[b + 4]) + (B[b + 2] + B[b + 6])) + ((B[b + 1] + B[b + 5]) + (B[b + 3] + B[b + 7]))


@njit
def accumulate(x, data, rows, scratch):
    """Velocity and Jacobian of a batch, still spread over the lanes."""
    for i in range(Q):
        for l in range(L):
            scratch[i * L + l] = x[i]
    scratch[{velocity} * L : {samples} * L] = 0.0
    size, lanes, done = rows.size, L, 0
    while size - done >= 4 * L:
        gather(scratch, done, 4, lanes, rows, data)
        samples_4(scratch, lanes)
        done += 4 * L
    while size - done >= L:
        gather(scratch, done, 1, lanes, rows, data)
        samples_1(scratch, lanes)
        done += L
    while done < size:
        gather(scratch, done, 1, 1, rows, data)
        samples_1(scratch, 1)
        done += 1


'''

LINEARISE_WRITTEN_OUT = '''
@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = -scale grad C and F = scale J V, summed over the samples in `rows`."""
    accumulate(x, data, rows, scratch)
    scale = 2.0 * parameters[0]
    for i in range(Q):
        f[i] = scale * total(scratch, {velocity} + i)'''

EULER_WRITTEN_OUT = '''
@njit
def push(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """An Euler step of one network and its tangent vectors."""
    accumulate(x, data, rows, scratch)
    scale = 2.0 * dt * parameters[0]
    for i in range(Q):
        x[i] += scale * total(scratch, {velocity} + i)'''


@lru_cache(maxsize=64)
def euler_lanes(layout: Layout, activation: Activation, k: int) -> LaneSource:
    """One Euler step of a block of networks, straight-line: the same formulas, written out for these sizes.

    The velocity and the lower triangle of J stand in rows of their own, summed over the batch four samples at a time
    (the inputs of which stand in fixed rows), and are applied to one tangent column after the other.
    """
    dim, columns = layout.dimension, layout.n1 + layout.n3
    velocity = dim + dim * k
    jacobian = velocity + dim
    samples = jacobian + dim * (dim + 1) // 2
    rows = {"velocity": velocity, "jacobian": jacobian, "samples": samples}
    matrix = [[f"J{max(i, j)}_{min(i, j)}" for j in range(dim)] for i in range(dim)]
    load_matrix = [f"J{i}_{j} = B[{jacobian + i * (i + 1) // 2 + j} * L + l]" for i in range(dim) for j in range(i + 1)]
    source = [
        "@njit",
        activation.kernel_source("sigma").strip(),
        *_samples(layout, activation, rows, 4, state_only=k == 0),
        *_samples(layout, activation, rows, 1, state_only=k == 0),
        "@njit",
        "def push_column(B, C, scale, lanes):",
        "    for l in range(lanes):",
        *(f"        v{i} = C[{i} * L + l]" for i in range(dim)),
        *(f"        {line}" for line in load_matrix),
        *(
            f"        C[{i} * L + l] = v{i} + scale * ({' + '.join(f'{matrix[i][j]} * v{j}' for j in range(dim))})"
            for i in range(dim)
        ),
        ADVANCE.format(columns=columns, **rows),
    ]
    return LaneSource("\n".join(source), dim + dim * (dim + 1) // 2 + 4 * columns)


ADVANCE = '''

@njit
def move(B, scale, lanes):
    for i in range(DIM):
        for l in range(lanes):
            B[i * L + l] += scale * B[({velocity} + i) * L + l]


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
    B[{velocity} * L : {samples} * L] = 0.0
    size = drive.shape[2]
    for first in range(0, size - size % 4, 4):
        gather(B, first, 4, done, own, data, drive, lanes)
        samples_4(B, lanes)
    for first in range(size - size % 4, size):
        gather(B, first, 1, done, own, data, drive, lanes)
        samples_1(B, lanes)
    scale = 2.0 * dt * parameters[0]
    for c in range(K):
        push_column(B, B[(DIM + c * DIM) * L : (DIM + (c + 1) * DIM) * L], scale, lanes)
    move(B, scale, lanes)

'''


def _samples(
    layout: Layout, activation: Activation, rows: dict[str, int], count: int, state_only: bool = False
) -> list[str]:
    """A function that adds `count` samples to the velocity and (unless `state_only`) the Jacobian of every lane."""
    n1, n2, n3 = layout.n1, layout.n2, layout.n3
    place = {name: block.start for name, block in layout.blocks.items()}
    w21 = {(j, i): i * n2 + j for i in range(n1) for j in range(n2)}
    w32 = {(q, j): place["W32"] + j * n3 + q for q in range(n3) for j in range(n2)}
    b1, b2 = [place["b1"] + j for j in range(n2)], [place["b2"] + q for q in range(n3)]
    lines = [f"w{i} = B[{i} * L + l]" for i in range(layout.dimension)]
    velocity: dict[int, list[str]] = {i: [] for i in range(layout.dimension)}
    jacobian: dict[tuple[int, int], list[str]] = {}
    for s in range(count):
        at = rows["samples"] + s * (n1 + n3)
        lines += [f"x{i} = B[{at + i} * L + l]" for i in range(n1)]
        lines += [f"x{i}x{m} = x{i} * x{m}" for i in range(n1) for m in range(i + 1)]
        for j in range(n2):
            inputs = "".join(f" + w{w21[j, i]} * x{i}" for i in range(n1))
            lines += [f"s{j}_{s}, p{j}_{s}, c{j}_{s} = sigma(w{b1[j]}{inputs})"]
        for q in range(n3):
            outputs = "".join(f" - w{w32[q, j]} * s{j}_{s}" for j in range(n2))
            lines += [f"e{q}_{s} = B[{at + n1 + q} * L + l] - w{b2[q]}{outputs}"]
            gradient = {b2[q]: "1.0"}
            for j in range(n2):
                gradient[w32[q, j]] = f"s{j}_{s}"
                lines += [f"u{q}_{j}_{s} = w{w32[q, j]} * p{j}_{s}"]
                gradient[b1[j]] = f"u{q}_{j}_{s}"
                for i in range(n1):
                    lines += [f"g{q}_{j}_{i}_{s} = u{q}_{j}_{s} * x{i}"]
                    gradient[w21[j, i]] = f"g{q}_{j}_{i}_{s}"
                lines += [f"h{q}_{j}_{s} = e{q}_{s} * p{j}_{s}"]
                _add(jacobian, b1[j], w32[q, j], f"+= h{q}_{j}_{s}")
                for i in range(n1):
                    lines += [f"k{q}_{j}_{i}_{s} = h{q}_{j}_{s} * x{i}"]
                    _add(jacobian, w32[q, j], w21[j, i], f"+= k{q}_{j}_{i}_{s}")
            for a, ga in gradient.items():
                velocity[a].append(f"+= {'' if ga == '1.0' else ga + ' * '}e{q}_{s}")
                for b, gb in gradient.items():
                    if b <= a:
                        factors = [g for g in (ga, gb) if g != "1.0"]
                        _add(jacobian, a, b, f"-= {' * '.join(factors) or '1.0'}")
        if not activation.piecewise_linear:
            for j in range(n2):
                back = " + ".join(f"e{q}_{s} * w{w32[q, j]}" for q in range(n3))
                lines += [f"c{j}_{s} *= {back}"]
                _add(jacobian, b1[j], b1[j], f"+= c{j}_{s}")
                for i in range(n1):
                    lines += [f"c{j}_{i}_{s} = c{j}_{s} * x{i}"]
                    _add(jacobian, b1[j], w21[j, i], f"+= c{j}_{i}_{s}")
                    for m in range(i + 1):
                        lines += [f"c{j}_{i}_{m}_{s} = c{j}_{s} * x{i}x{m}"]
                        _add(jacobian, w21[j, i], w21[j, m], f"+= c{j}_{i}_{m}_{s}")
    for i, terms in velocity.items():
        lines += _accumulate(rows["velocity"] + i, terms)
    for (i, j), terms in () if state_only else sorted(jacobian.items()):
        lines += _accumulate(rows["jacobian"] + i * (i + 1) // 2 + j, terms)
    return [
        "",
        "@njit",
        f"def samples_{count}(B, lanes):",
        "    for l in range(lanes):",
        *(f"        {x}" for x in lines),
        "",
    ]


def _add(jacobian: dict[tuple[int, int], list[str]], i: int, j: int, term: str) -> None:
    jacobian.setdefault((max(i, j), min(i, j)), []).append(term)


def _accumulate(row: int, terms: list[str]) -> list[str]:
    return [f"a = B[{row} * L + l]", *(f"a {term}" for term in terms), f"B[{row} * L + l] = a"]
