"""Terms of pairs of components: in blocks of eight equations, and as sums over all components."""

from __future__ import annotations

import numpy as np

from dynsys.compiled.equations import indented
from dynsys.compiled.networks.layout import ROWS, Plan, RankOne
from dynsys.compiled.networks.network import COEFFICIENT, HERE, Terms
from dynsys.compiled.networks.room import Room, among


def split(plan: Plan, terms: Terms) -> tuple[dict[int, list[int]], list[int]]:
    """Terms of pairs that stand in blocks and fill them, by block; and the others, neighbours of different rows."""
    rank: dict[int, int] = {}
    ranked = []
    for e, row in enumerate(terms.rows):
        ranked.append((rank.get(row, 0), row, e))
        rank[row] = rank.get(row, 0) + 1
    every = [e for _, _, e in sorted(ranked)]
    pair = len(terms.slots) == 1 + (HERE in terms.slots) and terms.slots[-1] != HERE
    seen = set(zip(terms.rows, terms.components[-1] if terms.slots else (), strict=False))
    if not pair or len(seen) < len(every) or terms.parameters:
        return {}, every
    block_of = plan.layouts[not terms.inner].block_of
    blocks: dict[int, list[int]] = {}
    for e in every:
        if terms.rows[e] in block_of:
            blocks.setdefault(block_of[terms.rows[e]][0], []).append(e)
    full = {
        number: of for number, of in blocks.items() if 2 * len(of) >= ROWS * len({terms.components[-1][e] for e in of})
    }
    chosen = {e for of in full.values() for e in of}
    return full, [e for e in every if e not in chosen]


def blocks(room: Room, terms: Terms, chosen: dict[int, list[int]], alone: bool) -> list[str]:
    """Terms of pairs of components, those of eight equations side by side."""
    at = room.plan.layouts[not terms.inner]
    where, own = at.places, HERE in terms.slots
    starts, columns, entries, real = [0], list[int](), list[int](), list[int]()
    rows: list[int] = []
    given: dict[str, list[float]] = {name: [] for name, _ in terms.numbers}
    full = True
    for number, of in chosen.items():
        lanes, _ = at.blocks[number]
        terms_of: dict[int, dict[int, int]] = {}
        for e in of:
            terms_of.setdefault(terms.components[-1][e], {})[at.block_of[terms.rows[e]][1]] = e
        count = len(set(lanes))
        for column in sorted(terms_of):
            columns.append(column)
            entries.append((where[lanes[0], column] - at.first) // ROWS)
            full &= len(terms_of[column]) == count
            for name, values in terms.numbers:
                given[name] += [
                    0.0 if (one := terms_of[column].get(lane)) is None else values[one] for lane in range(ROWS)
                ]
        starts.append(len(columns))
        rows += lanes
        real.append(count)
    if not full and COEFFICIENT not in given:  # marks those that there are
        pairs = set(zip(terms.rows, terms.components[-1], strict=True))
        given[COEFFICIENT] = [
            float((rows[ROWS * b + lane], column) in pairs)
            for b in range(len(real))
            for column in columns[starts[b] : starts[b + 1]]
            for lane in range(ROWS)
        ]
    there = terms.slots[-1]
    texts = list(terms.alone) if alone else [*terms.shared, terms.value, *terms.slopes]
    numbers = {
        name: room.data.at(values) for name, values in given.items() if among(name, texts) or name == COEFFICIENT
    }
    *first, value = terms.alone if alone else [*terms.shared, terms.value]
    slopes = [] if alone else list(terms.slopes)
    # what is multiplied by a coefficient of 0 is 0 if it is finite
    if not full and not (terms.factors and COEFFICIENT in dict(terms.numbers)):
        value, *slopes = [f"where({COEFFICIENT} != 0.0, {text}, 0.0)" for text in (value, *slopes)]
    named = room.names(texts, HERE, "_row") if own else []
    inner = [f"_j = {room.tables.entry(columns, '_e')}"]
    inner += [f"{name} = {place}" for name, place in room.names(texts, there, "_j")]
    lane = "_e" if room.vectors else f"{ROWS} * _e + _l"
    inner += [
        f"{n} = " + (f"as_vectors(_data[{o}:])[_e]" if room.vectors else f"_data[{o} + {lane}]")
        for n, o in numbers.items()
    ]
    inner += [*first, f"_sum = _sum + ({value})"]
    if own and not alone:
        inner += [f"_own = _own + ({slopes[0]})"]
    if not alone:
        entry = room.tables.entry(entries, "_e")
        place = f"_M[{entry}]" if room.vectors else f"_J[{at.first} + {ROWS} * ({entry}) + _l]"
        inner += [f"{place} = {place} + ({slopes[-1]})"]
    loop = [
        f"for _e in _range({room.tables.entry(starts, '_g')}, {room.tables.entry(starts[1:], '_g')}):",
        *indented(inner),
    ]
    row, target = room.tables.entry(rows, f"{ROWS} * _g + _l"), "_B" if terms.inner else "_f"
    diagonal = room.tables.entry([where.get((r, r), 0) for r in rows], f"{ROWS} * _g + _l") if own else ""
    got = f"_B[{room.lanes} + _l]", f"_B[{room.lanes + ROWS} + _l]"
    result = [f"_row = {row}", f"{target}[_row] = {target}[_row] + " + (got[0] if room.vectors else "_sum")]
    if own and not alone:
        result += [f"_j = {diagonal}", "_J[_j] = _J[_j] + " + (got[1] if room.vectors else "_own")]
    lanes_of = room.tables.entry(real, "_g") if len(set(real)) > 1 else str(real[0])
    if not room.vectors:
        body = [
            f"_row = {row}",
            *(f"{n} = {place}" for n, place in named),
            "_sum = 0.0",
            "_own = 0.0",
            *loop,
            *result,
        ]
        return [f"for _g in _range({len(real)}):", f"    for _l in _range({lanes_of}):", *indented(indented(body))]
    gather = [f"_row = {row}", *(f"_B[{room.lanes + ROWS * i} + _l] = {p}" for i, (_, p) in enumerate(named))]
    body = [f"for _l in _range({ROWS}):", *indented(gather)] if named else []
    body += [f"{name} = _L[{i}]" for i, (name, _) in enumerate(named)]
    body += ["_sum = splat(0.0)", "_own = splat(0.0)", *loop, "_L[0] = _sum", "_L[1] = _own"]
    body += [f"for _l in _range({lanes_of}):", *indented(result)]
    return [
        f"_L = as_vectors(_B[{room.lanes}:])",
        f"_M = as_vectors(_J[{at.first}:])",
        f"for _g in _range({len(real)}):",
        *indented(body),
    ]


def mean_field(room: Room, number: int, terms: Terms, mean: RankOne, alone: bool) -> list[str]:
    """Sums over all components, each taken once for all equations."""
    there, places = terms.slots[-1], room.plan.layouts[not terms.inner].places
    count, fs = len(terms.factors), terms.factors
    v = "" if np.all(mean.v == 1.0) else f"_data[{room.data.at(mean.v)} + _e] * "
    lines = [f"_z{m} = 0.0" for m in range(count)]
    body = [f"_j = {room.tables.entry(mean.columns, '_e')}"]
    texts = [text for f in fs for text in (f.there, *[f.there_slope] * (not alone))]
    body += [f"{name} = {place}" for name, place in room.names(texts, there, "_j")]
    for m, f in enumerate(fs):
        body += [f"_z{m} = _z{m} + {v}({f.there})"]
        if not alone:
            body += [f"_J[{room.plan.kept[number, m][1]} + _e] = {v}({f.there_slope})"]
    lines += [f"for _e in _range({len(mean.columns)}):", *indented(body)]
    lost = bool(np.any(mean.missing))
    here = [text for f in fs for text in (f.here, *[f.here_slope] * (not alone))]
    body = [f"_row = {room.tables.entry(mean.rows, '_e')}"]
    body += [f"{name} = {place}" for name, place in room.names(here, HERE, "_row")]
    if lost:
        body += [f"{name} = {place}" for name, place in room.names(texts, there, "_row")]
        body += [f"_v = _data[{room.data.at(mean.missing)} + _e]"]
    constant = np.ptp(mean.u) == 0.0
    u = f"{float(mean.u[0])!r} * " if constant else f"_data[{room.data.at(mean.u)} + _e] * "
    u = "" if constant and mean.u[0] == 1.0 else u
    value, slope = "0.0", "0.0"
    for m, f in enumerate(fs):
        sum_ = f"(_z{m} - _v * ({f.there}))" if lost else f"_z{m}"
        body += [f"_a{m} = {u}({f.here})"]
        value += f" + _a{m} * {sum_}"
        if not alone:
            slope += f" + {u}({f.here_slope}) * {sum_}" if HERE in terms.slots else ""
            slope += f" - _a{m} * _v * ({f.there_slope})" if lost else ""
            body += [f"_J[{room.plan.kept[number, m][0]} + _e] = _a{m}"]
    target = "_B" if terms.inner else "_f"
    body += [f"{target}[_row] = {target}[_row] + {value.removeprefix('0.0 + ')}"]
    if slope != "0.0":
        at = [places.get((row, row), room.plan.spare) for row in mean.rows]
        body += [f"_j = {room.tables.entry(at, '_e')}", f"_J[_j] = _J[_j] + ({slope})"]
    return [*lines, f"for _e in _range({len(mean.rows)}):", *indented(body)]
