"""Where a right-hand side jumps: found when it is defined, by numbers, however it is written.

sign, Heaviside, floor, ceiling, Mod and Piecewise divide the states into regions. Whether the right-hand side jumps
where two of them meet is tried out: between states at random in both the border is found by bisection, as finely as
numbers allow. If the right-hand side is continuous, it differs there by nothing beside what it differs by a little
farther away. So x sign(x), sin(2 pi Mod(x, 1)) and cases that agree where they meet are no jumps.

Nor are the jumps of a drive, floor(t): on a border h(t, x) = 0 the tangent of the flow jumps by

    (f+ - f-) (grad h)^T / (dh/dt + f- . grad h),

which is 0 where the border is the same for all states: they all pass it at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dynsys.equations.source import to_source

if TYPE_CHECKING:
    import sympy

Array = np.ndarray
Point = tuple[Array, Array, Array]  # parameters, times (or one), states

DRAWS, POINTS, SEGMENTS = 12, 240, 6  # of parameters; of states for each; segments that are bisected
HALVINGS = 64  # of a segment: all digits of its ends
LARGEST_SCALE = 1e300  # of a state that is drawn
AWAY = 1e-3  # a little farther, as part of the segment
SMALL, ROUNDING = 1e-4, 1e-9  # a jump is more than this part of what is seen farther away, and of the values


def jumping_parts(expressions: Sequence[sympy.Expr], moving: set[str]) -> dict[sympy.Expr, int]:
    """Parts with borders that some names decide, each with the first equation in which it stands."""
    import sympy

    kinds = (sympy.sign, sympy.Heaviside, sympy.floor, sympy.ceiling, sympy.Mod, sympy.Piecewise)
    found: dict[sympy.Expr, int] = {}
    for i, expression in enumerate(expressions):
        if expression.has(*kinds):
            for part in sorted(expression.atoms(*kinds), key=sympy.default_sort_key):
                if moving.intersection(s.name for s in _borders_of(part)):
                    found.setdefault(part, i)
    return found


def _borders_of(part: sympy.Expr) -> set[sympy.Symbol]:
    """What the borders of a part depend on: of cases their conditions, not their values."""
    import sympy

    return sympy.Tuple(*[case.cond for case in part.args] if part.is_Piecewise else part.args).free_symbols


def region(part: sympy.Expr) -> str:
    """Source of the number of the region in which a part is continuous."""
    import sympy

    match part:
        case sympy.floor() | sympy.ceiling():
            return to_source(part)
        case sympy.Mod(args=(a, b)):
            return to_source(sympy.floor(a / b, evaluate=False))
        case sympy.Piecewise(args=cases):
            numbered = [(sympy.Float(i), cases[i].cond) for i in wide(part)]
            return to_source(sympy.Piecewise(*numbered, evaluate=False))
    return f"where({to_source(part.args[0])} > 0.0, 1.0, 0.0)"


def wide(part: sympy.Expr) -> list[int]:
    """Cases of a Piecewise that hold in a neighbourhood: not those of single points, as of sin(x)/x where x is 0."""
    import sympy

    found = []
    for i, case in enumerate(part.args):
        if not any(isinstance(one, sympy.Eq) for one in sympy.And.make_args(case.cond)):
            found.append(i)
        if any(isinstance(one, sympy.Ne) for one in sympy.Or.make_args(case.cond)):
            break  # single points are left
    return found


def merged(source: str, groups: Sequence[int]) -> str:
    """Source of the number of the group of a region: those between which nothing jumps are one."""
    if list(groups) == list(range(len(groups))):
        return source
    return f"np.array({list(map(float, groups))})[np.asarray({source}).astype(np.int64)]"


def jump_groups(
    parts: Sequence[sympy.Expr],
    rule: Callable[..., Array],
    regions: Callable[..., Array],
    draws: Sequence[tuple[Point, Point]],
) -> list[list[int] | None]:
    """For each part None, if nothing jumps, or the groups of the cases of a Piecewise; empty for other parts."""
    import sympy

    found: list[list[int] | None] = []
    for k, part in enumerate(parts):
        jumps = borders(k, rule, regions, draws)
        if isinstance(part, sympy.Piecewise):
            groups = grouped(len(part.args), jumps or {})
            found.append(groups if len({groups[i] for i in wide(part)}) > 1 else None)
        else:
            found.append([] if jumps is None or any(jumps.values()) else None)
    return found


def borders(
    k: int,
    rule: Callable[..., Array],
    regions: Callable[..., Array],
    draws: Sequence[tuple[Point, Point]],
) -> dict[tuple[int, int], bool] | None:
    """Pairs of regions of part k that meet, and whether the right-hand side jumps there; None if no border was found.

    `rule(t, x, p)` and `regions(t, x, p)` are over leading axes of x, and of t.
    """
    seen: dict[tuple[int, int], list[bool]] = {}
    with np.errstate(all="ignore"):
        for a, b in draws:
            for pair, jump in _meetings(k, rule, regions, a, b):
                seen.setdefault(pair, []).append(jump)
    return {pair: any(jumps) for pair, jumps in seen.items()} if seen else None


def grouped(count: int, jumps: dict[tuple[int, int], bool]) -> list[int]:
    """The group of each of some regions; those that meet without a jump are one, unless others of them jump."""
    groups = list(range(count))
    for (i, j), jump in jumps.items():
        kept, gone = sorted((groups[i], groups[j]))
        if jump or kept == gone:
            continue
        joined = [kept if group == gone else group for group in groups]
        if not any(other and joined[a] == joined[b] for (a, b), other in jumps.items()):
            groups = joined
    return groups


def random_states(dim: int, parameters: int, scales: Sequence[float], times: bool) -> list[tuple[Point, Point]]:
    """Pairs of states, each pair with the parameters of its draw; of many sizes, positive in every second draw."""
    rng, points = np.random.default_rng(0), max(24, min(POINTS, 200_000 // dim))

    def numbers(*shape: int, positive: bool) -> Array:
        scale = np.minimum(rng.choice(scales, size=shape), LARGEST_SCALE)
        size = scale * 10.0 ** rng.uniform(-1.5, 1.0, size=shape)
        return size if positive else size * rng.choice([-1.0, 1.0], size=shape)

    def point(p: Array, time: Array, positive: bool) -> Point:
        own = numbers(points, positive=True) if times else time
        return p, own, numbers(points, dim, positive=positive)

    draws = []
    for d in range(DRAWS):
        p, time = numbers(parameters, positive=d % 3 > 0), numbers(positive=True)
        draws.append((point(p, time, d % 2 == 0), point(p, time, d % 2 == 0)))
    return draws


def _meetings(
    k: int, rule: Callable[..., Array], regions: Callable[..., Array], a: Point, b: Point
) -> Iterator[tuple[tuple[int, int], bool]]:
    p = a[0]

    def side(t: Array, x: Array) -> Array:
        return regions(t, x, p)[..., k]

    differ = np.flatnonzero(side(*a[1:]) != side(*b[1:]))[:SEGMENTS]
    if not len(differ):
        return
    ends = [[np.broadcast_to(t, len(x))[differ] if np.ndim(t) else t, x[differ]] for _, t, x in (a, b)]
    (ta, xa), (tb, xb) = left, right = [list(end) for end in ends]
    first = side(ta, xa)
    for _ in range(HALVINGS):
        t, x = ta + (tb - ta) / 2, xa + (xb - xa) / 2
        stuck = np.all((x == xa) | (x == xb), axis=-1) & ((t == ta) | (t == tb))
        if np.all(stuck):
            break
        same = side(t, x) == first
        xa, xb = np.where(same[:, None], x, xa), np.where(same[:, None], xb, x)
        if np.ndim(t):
            ta, tb = np.where(same, t, ta), np.where(same, tb, t)
    at = [(int(i), int(j)) for i, j in zip(first, side(tb, xb), strict=True)]
    fa, fb = rule(ta, xa, p), rule(tb, xb, p)
    away = [
        rule(t + AWAY * (end[0] - t), x + AWAY * (end[1] - x), p) for t, x, end in ((ta, xa, left), (tb, xb, right))
    ]
    step, farther = np.abs(fa - fb), np.abs(away[0] - away[1])
    known = np.isfinite(step + farther).all(axis=-1)
    jump = ((step > SMALL * farther) & (step > ROUNDING * (np.abs(fa) + np.abs(fb)))).any(axis=-1)
    for pair, certain, found in zip(at, known, jump, strict=True):
        if certain:
            yield (min(pair), max(pair)), bool(found)
