"""Claims 34 to 42: angles between covariant vectors at the end of training, by every method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from dynsys.models.reporting.report import HOLDS, OPEN, Claim, chosen, listed, number
from dynsys.models.weight_dynamics.paper.area import rank_area
from dynsys.models.weight_dynamics.paper.findings import HIGH, LOW, Findings
from dynsys.models.weight_dynamics.runs import ENDINGS

Array = np.ndarray

PLACES = list(combinations(range(1, 10), 2))
TANGENT = [(1, 2), (1, 3), (2, 3), (3, 4), (4, 5), (5, 6)]
TO_SEPARATE = [(i, j) for j in (7, 8) for i in range(1, j) if (i, j) != (7, 8)] + [(7, 8)]
OF_DEAD, OF_LEADING = (37, 38, 40), (34, 36)  # claims that rest on dead networks, on vectors 1 to 3
OF_TANH = [(i, j) for i in (1, 2, 3, 4) for j in (5, 6)]
WAYS = dict(
    zip(
        ENDINGS,
        (
            "Ginelli with a backward transient after the end",
            "the same from another start",
            "backward window of ten intervals from the identity",
            "backward window of ten intervals from a random start",
            "eigenvectors of the last ten intervals",
        ),
        strict=True,
    )
)

Runs = tuple[Array, Array]  # |cos| (n, 36) and final loss (n,)
Rule = Callable[[Runs, Runs], tuple[str, bool]]  # of ReLU and tanh: what is found, and whether the claim holds


def angles(findings: Findings) -> Iterator[Claim]:
    """Every claim by Ginelli's vectors, with the other methods under which it holds."""
    by_way = {
        ending: [(cell.final_cosines(ending), cell.loss) for cell in (findings.cell("he", n) for n in ("relu", "tanh"))]
        for ending in ENDINGS
    }
    for place, (where, text, rule) in RULES.items():
        found = {ending: rule(relu, tanh) for ending, (relu, tanh) in by_way.items()}
        ours, another = found["ginelli"], found["ginelli, another start"]
        others = [
            WAYS[ending] for ending in ("lagged", "periodic window") if found[ending][1]
        ]  # random starts tell nothing
        said = ours[0] if ours[0] == another[0] else f"{ours[0]}. Another start: {another[0]}"
        verdict = chosen(ours[1] and another[1], others)
        if (verdict == HOLDS or place in OF_DEAD) and not _rests_on(findings, place):
            verdict = f"{OPEN}: single vectors are undetermined there, whatever the start"
        yield Claim(place, where, text, "described", ". ".join([said, *_determined(findings, place)]), verdict)


def table(findings: Findings) -> list[list[str]]:
    """Which method for vectors at the end reproduces which claim: rows of a table, the header first."""
    rows = [["vectors at the end of training from", *map(str, RULES)]]
    for ending, way in WAYS.items():
        runs = [(cell.final_cosines(ending), cell.loss) for cell in (findings.cell("he", n) for n in ("relu", "tanh"))]
        rows.append([way, *("yes" if rule(*runs)[1] else "no" for _, _, rule in RULES.values())])
    return rows


def tangencies(relu: Runs, tanh: Runs) -> tuple[str, bool]:
    """34: |cos| near 1 occurs in six pairs, both activations."""
    tops = [[float(np.nanquantile(_pair(runs, p), 0.99)) for p in TANGENT] for runs in (relu, tanh)]
    said = "; ".join(f"99 % quantile, {n}: {listed(v)}" for n, v in zip(("ReLU", "tanh"), tops, strict=True))
    return said, min(map(min, tops)) > 0.95


def ninth(relu: Runs, tanh: Runs) -> tuple[str, bool]:
    """35: vector 9 is mostly orthogonal to all."""
    found = [np.concatenate([_pair(runs, (i, 9)) for i in range(1, 9)]) for runs in (relu, tanh)]
    said = "; ".join(f"90 % quantile, {n}: {number(np.nanquantile(v, 0.9))}" for n, v in _named(found))
    return said, all(np.nanquantile(v, 0.9) < 0.2 for v in found)


def least_and_most_stable(relu: Runs, tanh: Runs) -> tuple[str, bool]:
    """36: tangencies among the least stable vectors, orthogonality among the most stable ones."""
    first = [np.nanmean([_pair(runs, p) for p in TANGENT[:3]]) for runs in (relu, tanh)]
    last = [np.nanmean([_pair(runs, p) for p in ((7, 8), (7, 9), (8, 9))]) for runs in (relu, tanh)]
    said = "mean |cos| among 1-3, among 7-9, " + "; ".join(
        f"{n}: {listed(v)}" for n, v in _named(zip(first, last, strict=True))
    )
    return said, min(first) > 0.3 and max(last) < 0.1


def tangencies_and_loss(relu: Runs, _: Runs) -> tuple[str, bool]:
    """37: ReLU, tangencies go with the highest losses."""
    high, rest = _split(relu)
    shares = [float(np.nanmean(cosines > 0.9)) for cosines in (high, rest)]
    said = f"pairs with |cos| > 0.9: {100 * shares[0]:.2g} % at high losses, {100 * shares[1]:.2g} % at others"
    return said, shares[0] > 2 * shares[1]


def separable(relu: Runs, _: Runs) -> tuple[str, bool]:
    """38: ReLU, pairs with 7 or 8 are orthogonal at low c_f and not at high; linearly separable."""
    low, high = ([_pair(relu, p)[chosen] for p in TO_SEPARATE] for chosen in (relu[1] < LOW, relu[1] > HIGH))
    if not low[0].size or not high[0].size:
        return "no such runs", False
    apart = sum(np.nanmax(one) < np.nanmin(other) for one, other in zip(low, high, strict=True))
    medians = [float(np.nanmedian(part)) for part in (low, high)]
    said = f"{apart} of {len(low)} pairs are separable; medians at low and at high c_f {listed(medians)}"
    return said, apart == len(low) and medians[0] < 0.1


def missed_optimum(_: Runs, tanh: Runs) -> tuple[str, bool]:
    """39: tanh, some pairs deviate from orthogonality when the optimum is missed."""
    cosines = np.mean([_pair(tanh, p) for p in OF_TANH], axis=0)
    low = tanh[1] <= np.quantile(tanh[1], 0.1)
    found = [float(np.nanmedian(part)) for part in (cosines[low], cosines[~low])]
    said = f"mean over these pairs: median {number(found[0])} in the lowest tenth of c_f, {number(found[1])} above"
    return said, found[1] > 0.1 and found[1] > 2 * found[0]


def mean_rises(relu: Runs, _: Runs) -> tuple[str, bool]:
    """40: ReLU, the mean |cos| rises distinctly at high c_f."""
    high, rest = (np.nanmean(cosines, axis=1) for cosines in _split(relu))
    found = [np.nanquantile(v, [0.05, 0.5, 0.95]) if len(v) else np.full(3, np.nan) for v in (high, rest)]
    said = f"mean over 36 pairs, quantiles 5, 50, 95 %: high c_f {listed(found[0])}; others {listed(found[1])}"
    return said, bool(found[0][0] > found[1][2])


def no_rise(_: Runs, tanh: Runs) -> tuple[str, bool]:
    """41: tanh, no such change."""
    mean, top = np.nanmean(tanh[0], axis=1), tanh[1] >= np.quantile(tanh[1], 0.9)
    found = [np.nanquantile(mean[part], [0.05, 0.5, 0.95]) for part in (top, ~top)]
    said = f"quantiles 5, 50, 95 %: highest tenth of c_f {listed(found[0])}; others {listed(found[1])}"
    return said, bool(found[0][0] < found[1][2])


def lowest_losses(relu: Runs, tanh: Runs) -> tuple[str, bool]:
    """42: more orthogonal at the lowest losses, both activations."""
    medians, shares = [], []
    for cosines, loss in (relu, tanh):
        mean, lowest = np.nanmean(cosines, axis=1), loss <= np.quantile(loss, 0.1)
        medians.append([float(np.median(mean[lowest])), float(np.median(mean[~lowest]))])
        shares.append(rank_area(mean, ~lowest))
    said = "median of the mean, lowest tenth of c_f and the others, "
    said += "; ".join(f"{n}: {listed(both)}" for n, both in _named(medians))
    return said, min(shares) > 0.55  # of pairs of runs in which the one with the lowest loss is more orthogonal


RULES: dict[int, tuple[str, str, Rule]] = {
    34: ("Fig. 8", "tangencies in (1,2), (1,3), (2,3), (3,4), (4,5), (5,6), both activations", tangencies),
    35: ("Fig. 8", "vector 9 mostly orthogonal to all others, both activations", ninth),
    36: ("Fig. 8", "tangencies among the least stable, orthogonality among the most stable", least_and_most_stable),
    37: ("Fig. 8a", "ReLU: tangencies go with the highest losses", tangencies_and_loss),
    38: (
        "Fig. 8a",
        "ReLU: pairs with 7 or 8, but not with 9: orthogonal at low c_f, not at high, linearly separable",
        separable,
    ),
    39: ("Fig. 8b", "tanh: (1-4, 5-6) deviate from orthogonality when the optimum is missed", missed_optimum),
    40: ("Fig. 9a", "ReLU: mean |cos| rises distinctly at high c_f", mean_rises),
    41: ("Fig. 9b", "tanh: no such change", no_rise),
    42: ("Fig. 9", "lowest losses: more orthogonal, both activations", lowest_losses),
}


def _determined(findings: Findings, place: int) -> list[str]:
    """How far the vectors of a claim are determined at all: those on which two backward starts agree."""
    relu, tanh = (findings.cell("he", name) for name in ("relu", "tanh"))
    if place in OF_DEAD:
        dead = _single(relu.data.subspace.values[relu.loss > HIGH])[:, :8]
        return [f"Of {len(dead)} dead networks {int(dead.any(axis=1).sum())} have any of the vectors 1 to 8 determined"]
    if place not in OF_LEADING:
        return []
    shares = [100 * _single(cell.data.subspace.values).mean(axis=0) for cell in (relu, tanh)]
    said = "; ".join(f"{n}: {', '.join(f'{s:.0f}' for s in values)} %" for n, values in _named(shares))
    spans = [_span_of_three(cell.data.subspace.values) for cell in (relu, tanh)]
    together = "; ".join(f"{n}: {100 * float(v.mean()):.0f} %" for n, v in _named(spans))
    return [f"Runs in which vectors 1 to 9 are determined singly, {said}; the span of 1 to 3, {together}"]


def _rests_on(findings: Findings, place: int) -> bool:
    """Whether what a claim rests on is determined, in half of the runs at least."""
    relu, tanh = (findings.cell("he", name) for name in ("relu", "tanh"))
    if place in OF_DEAD:
        dead = _single(relu.data.subspace.values[relu.loss > HIGH])[:, :8]
        return bool(len(dead)) and float(dead.mean()) > 0.5
    if place in OF_LEADING:
        return min(float(_single(cell.data.subspace.values)[:, :3].mean()) for cell in (relu, tanh)) > 0.5
    return True


def _single(labels: Array) -> Array:
    """Which vectors are alone in their run of `dynsys.algorithms.checks.covariance.determined_subspaces`, (n, 9)."""
    alone = (labels[:, :, None] == labels[:, None, :]).sum(axis=2) == 1
    return alone & (labels >= 0)


def _span_of_three(labels: Array) -> Array:
    """Whether the span of the vectors 1 to 3 is determined, with whatever is inside it, (n,)."""
    return np.logical_and((labels[:, :3] >= 0).all(axis=1), (labels[:, 3:] >= 3).all(axis=1))


def _split(runs: Runs) -> tuple[Array, Array]:
    high = runs[1] > HIGH
    return runs[0][high], runs[0][~high]


def _pair(runs: Runs, pair: tuple[int, int]) -> Array:
    return runs[0][:, PLACES.index(pair)]


def _named(found: Iterable[Any]) -> list[tuple[str, Any]]:
    return list(zip(("ReLU", "tanh"), found, strict=True))
