"""Claims 17 to 33: exponents over the whole training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dynsys.models.reporting.report import FAILS, HOLDS, OPEN, Claim, chosen, judged, listed, number
from dynsys.models.weight_dynamics.paper.area import rank_area
from dynsys.models.weight_dynamics.paper.findings import (
    BETWEEN,
    CHOICES,
    HIGH,
    LOW,
    Findings,
    Share,
    exponential_tail,
    logarithmic,
    mutual_information,
    peaks,
)

Array = np.ndarray

NEAR_ZERO = 0.5  # 1/time: exponents smaller than that are called close to zero; ten fold in the whole training
STRONG = -10.0  # 1/time: strongly negative
STRUCTURE = 10.0  # standard scores of the mutual information from which a relation is called structured


def exponents(findings: Findings, with_kinks: Share) -> Iterator[Claim]:
    """Claims 17 to 29: exponents over the whole training, He initial weights.

    `with_kinks` is the share of positive first exponents of the flow of ReLU networks: see `kinks`.
    """
    relu, tanh = (findings.cell("he", name) for name in ("relu", "tanh"))
    for place, name, paper in ((17, "relu", 0.33), (18, "tanh", 0.62)):
        share, others = findings.share("he", name, "l1 > 0"), _choices(findings, name, "l1 > 0", paper)
        spread = findings.spread(name, "l1 > 0")
        said = f"{share}; noise-free {findings.share('full-batch', name, 'l1 > 0')}"
        if name == "relu":
            said += f"; noise-free, of the flow and not of the step (kinks) {with_kinks}"
            others += ["tangent of the flow, with kinks (full batch)"] * with_kinks.agrees(paper, spread)
        yield Claim(
            place,
            f"Sec. V, Fig. 5{'ab'[name == 'tanh']}",
            f"{name}: l1 > 0, called chaotic",
            f"{100 * paper:.0f} %",
            said,
            chosen(share.agrees(paper, spread), others),
        )
    some = (relu.exponents > 0).mean(axis=0)
    yield Claim(
        19,
        "Sec. V",
        "ReLU: l1 to l8 can be positive, l9 never",
        "l9 never",
        f"shares above zero, l1 to l9: {', '.join(f'{100 * s:.2g} %' for s in some)}; largest l9 "
        f"{number(relu.exponents[:, -1].max())}",
        FAILS if some[8] else HOLDS if (some[:8] > 0).all() else f"{OPEN}: too rare for so many runs",
    )
    three = findings.share("he", "relu", "l1, l2, l3 > 0")
    yield Claim(
        20,
        "Sec. V",
        "ReLU: three leading exponents positive",
        "3 %",
        f"{three}; any three: {findings.share('he', 'relu', 'three exponents > 0')}",
        chosen(three.agrees(0.03), _choices(findings, "relu", "l1, l2, l3 > 0", 0.03)),
    )
    none, positive = findings.share("he", "tanh", "three exponents > 0"), (tanh.exponents > 0).sum(axis=0)
    yield Claim(
        21,
        "Sec. V",
        "tanh: only l1, l2 sometimes positive, never three",
        "none",
        f"any three: {none}; runs above zero, l1 to l9: {', '.join(map(str, positive))}",
        judged(none.count == 0 and positive[1] > 0),
    )
    medians = np.median(relu.exponents, axis=0), np.median(tanh.exponents, axis=0)
    yield Claim(
        22,
        "Fig. 5",
        "tanh contracts more strongly than ReLU",
        "does",
        f"medians, ReLU: {listed(medians[0])}; tanh: {listed(medians[1])}",
        judged((medians[1][3:] < medians[0][3:]).all()),
    )
    several = {
        name: [len(peaks(logarithmic(v))) for v in cell.exponents.T] for name, cell in (("relu", relu), ("tanh", tanh))
    }
    yield Claim(
        23,
        "Fig. 5",
        "non-leading exponents: more than one maximum",
        "tend to",
        "; ".join(f"maxima of l1 to l9, {name}: {', '.join(map(str, found))}" for name, found in several.items()),
        judged(np.mean([found > 1 for counts in several.values() for found in counts[1:]]) > 0.5),
    )
    tails = {
        f"{scheme} {name} l{q + 1}": exponential_tail(v, side)
        for scheme in ("he", "wide")
        for name in ("relu", "tanh")
        for q, v in enumerate(findings.cell(scheme, name).exponents.T)
        for side in (-1, 1)
    }
    straight = sorted({name for name, r in tails.items() if r > 0.99})
    yield Claim(
        24,
        "Fig. 5",
        "several distributions decay almost exponentially",
        "several",
        f"log P falls linearly over a factor of 50 (R^2 > 0.99) in {len(straight)} of 36: {', '.join(straight)}",
        judged(len(straight) >= 3),
    )
    dead = relu.loss > HIGH
    three_of_dead = (relu.exponents[dead, :3] > 0).all(axis=1)
    any_three = (relu.exponents[dead] > 0).sum(axis=1) >= 3
    yield Claim(
        25,
        "Fig. 7a",
        "ReLU: c_f very high only if l1, l2, l3 > 0",
        "only if",
        f"{int(three_of_dead.sum())} of {int(dead.sum())} have all three positive, {int(any_three.sum())} any "
        "three; a dead network has eight zero exponents from then on, so the sign is decided by what came before",
        judged(three_of_dead.all()) if dead.any() else f"{OPEN}: no such run",
    )
    rest = relu.exponents[dead, 3:]
    low, top = (rest.min(axis=0), rest.max(axis=0)) if dead.any() else (np.full(6, np.nan),) * 2
    yield Claim(
        26,
        "Fig. 7a",
        "... and the other exponents, up to l8, are close to or above zero",
        "close to zero",
        f"lowest and highest, l4 to l8: {number(low[:5].min())} to {number(top[:5].max())}; l9: {number(low[5])} to "
        f"{number(top[5])}, where -2 is forced by the output bias",
        judged(low[:5].min() > -NEAR_ZERO) if dead.any() else f"{OPEN}: no such run",
    )
    alive = relu.loss < BETWEEN[0]
    scores = [rank_area(relu.exponents[alive, q], relu.loss[alive] < LOW) for q in range(9)]
    yield Claim(
        27,
        "Fig. 7a",
        "ReLU: l1 to l3 carry no relation to low or intermediate loss",
        "no clear association",
        f"rank AUC of low against intermediate, l1 to l9: {listed(scores)} (0.5: no relation; deviations to either "
        "side count)",
        judged(max(abs(s - 0.5) for s in scores[:3]) < 0.1),
    )
    found = {
        name: [mutual_information(v, cell.loss) for v in cell.exponents.T]
        for name, cell in (("relu", relu), ("tanh", tanh))
    }
    yield Claim(
        28,
        "Fig. 7",
        "l4 to l9: structured relation to c_f, more so than l1 to l3, both activations",
        "not random",
        "; ".join(
            f"mutual information, bits, l1 to l9, {name}: {listed([v for v, _ in bits])}"
            for name, bits in found.items()
        ),
        judged(
            all(
                min(z for _, z in bits[3:]) > STRUCTURE and min(v for v, _ in bits[3:]) > max(v for v, _ in bits[:3])
                for bits in found.values()
            )
        ),
    )
    near = [float((tanh.exponents[:, q] > -NEAR_ZERO).mean()) for q in range(3, 6)]
    yield Claim(
        29,
        "Sec. V",
        "tanh: l4 to l6 hardly ever close to zero, l7 to l9 always strongly negative",
        "highly unlikely; always",
        f"l4, l5, l6 above {-NEAR_ZERO:g}: {', '.join(f'{100 * v:.2g} %' for v in near)}; largest l7, l8, l9: "
        f"{listed(tanh.exponents[:, 6:].max(axis=0))}",
        judged(max(near) < 0.01 and tanh.exponents[:, 6].max() < STRONG),
    )


def wide_exponents(findings: Findings) -> Iterator[Claim]:
    """Claims 30 to 33: exponents with wide-range initial weights."""
    relu, tanh = (findings.cell("wide", name) for name in ("relu", "tanh"))
    strong = [float((cell.exponents < STRONG).mean()) for cell in (relu, tanh)]
    around = float((np.abs(relu.exponents) < 1).mean())
    yield Claim(
        30,
        "Fig. 6",
        "strongly negative exponents rare; ReLU: most of the mass around zero",
        "rare; around zero",
        f"below {STRONG:g}, of all: ReLU {100 * strong[0]:.2g} %, tanh {100 * strong[1]:.2g} %; ReLU within 1 of zero: "
        f"{100 * around:.2g} %; median l8, l9 of ReLU: {listed(np.median(relu.exponents[:, 7:], axis=0))}",
        judged(max(strong) < 0.1 and around > 0.5),
    )
    bits = {
        name: [mutual_information(v, cell.loss)[0] for v in cell.exponents.T]
        for name, cell in (("relu", relu), ("tanh", tanh))
    }
    he = [mutual_information(v, findings.cell("he", "relu").loss)[0] for v in findings.cell("he", "relu").exponents.T]
    middle = [float(np.median(cell.exponents[:, q])) for cell in (relu, tanh) for q in (3, 4, 5)]
    falls = {
        name: [_spread(cell.exponents[:, q], cell.loss) for q in (3, 4, 5)]
        for name, cell in (("relu", relu), ("tanh", tanh))
    }
    yield Claim(
        31,
        "Fig. 14",
        "l1 to l3 against c_f almost random; l4 to l6 slightly negative, lower at lower losses",
        "described",
        "; ".join(f"bits with c_f, l1 to l9, {name}: {listed(v)}" for name, v in bits.items())
        + f" (He, ReLU: {listed(he)}); medians of l4 to l6, ReLU then tanh: {listed(middle)}; 5 % quantile in the "
        f"lowest and the highest third of c_f: {_pairs(falls)}",
        judged(
            max(v for values in bits.values() for v in values[:3]) < 0.2
            and min(middle) > -2
            and all(low < high for values in falls.values() for low, high in values)
        ),
    )
    lows = [_spread(tanh.exponents[:, q], tanh.loss) for q in (6, 7, 8)]
    yield Claim(
        32,
        "Fig. 14b",
        "tanh, l7 to l9: more pronounced lows at low loss",
        "described",
        f"5 % quantile in the lowest and the highest third of c_f: {_pairs({'tanh': lows})}",
        judged(all(low < high for low, high in lows)),
    )
    ranges = [_spread(relu.exponents[:, q], relu.loss) for q in (6, 7, 8)]
    yield Claim(
        33,
        "Fig. 14a",
        "ReLU: the range of negative l7 to l9 grows as c_f falls",
        "grows",
        f"5 % quantile in the lowest and the highest third of c_f: {_pairs({'relu': ranges})}",
        judged(all(low < high for low, high in ranges)),
    )


def _choices(findings: Findings, activation: str, condition: str, paper: float) -> list[str]:
    """The choices that make a difference, and under which the share may be the paper's."""
    ours, spread = findings.share("he", activation, condition), findings.spread(activation, condition)
    shares = {label: findings.share(name, activation, condition) for name, label in CHOICES.items() if name != "he"}
    return [
        label
        for label, share in shares.items()
        if share.agrees(paper, spread) and share.differs(ours, comparisons=len(shares))
    ]


def _spread(values: Array, loss: Array) -> tuple[float, float]:
    """5 % quantile of an exponent in the lowest and in the highest third of the losses."""
    low, high = np.quantile(loss, [1 / 3, 2 / 3])
    return float(np.quantile(values[loss <= low], 0.05)), float(np.quantile(values[loss >= high], 0.05))


def _pairs(found: dict[str, list[tuple[float, float]]]) -> str:
    return "; ".join(
        f"{name} " + ", ".join(f"{number(low)} and {number(high)}" for low, high in values)
        for name, values in found.items()
    )
