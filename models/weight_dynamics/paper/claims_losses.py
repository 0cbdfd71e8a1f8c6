"""Claims 1 to 16: the set-up, and final losses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dynsys.models.reporting.report import FAILS, OPEN, UNDER, Claim, chosen, judged, listed, number
from dynsys.models.weight_dynamics.paper.findings import (
    BETWEEN,
    CHOICES,
    LOW,
    Findings,
    peaks,
)
from dynsys.models.weight_dynamics.paper.protocol import SAMPLES
from dynsys.models.weight_dynamics.study import WINDOW
from dynsys.models.weight_dynamics.task import regression_task

Array = np.ndarray

PEAK = 1.25 * LOW  # up to which a maximum counts as one of low losses
ZERO = 0.01  # a ten-thousandth of Var(y)


def setup(findings: Findings) -> Iterator[Claim]:
    """Claims 1 to 7, which are settings to be matched."""
    study = findings.protocol.studies["he"]
    X, y = regression_task(SAMPLES, study.seeds["data"])
    cell = findings.cell("he", "relu")
    q, interval, steps = cell.exponents.shape[1], study.interval * study.learning_rate, study.intervals * study.interval
    yield Claim(1, "Sec. IV", "dimension Q: 6 weights and 3 biases", "9", str(q), judged(q == 9))
    error = 1 / np.sqrt(SAMPLES)
    yield Claim(
        2,
        "Fig. 2",
        "n = 1000 samples, x1, x2 ~ N(0, 1), y = 10 x1 - 2 x2^2",
        "mean 0, deviation 1",
        f"means {listed(X.mean(axis=0))}, deviations {listed(X.std(axis=0))} (errors {number(error)}, "
        f"{number(error / np.sqrt(2))}); Var(y) = {number(y.var())}, expected 108",
        judged(np.abs(X.mean(axis=0)).max() < 4 * error and np.abs(X.std(axis=0) - 1).max() < 4 * error),
    )
    yield Claim(
        3,
        "Sec. V",
        "step dt = learning rate, orthonormalised every dtau",
        "3e-5, 6e-4",
        f"{study.learning_rate:g}, {interval:g}",
        judged(study.learning_rate == 3e-5 and np.isclose(interval, 6e-4)),
    )
    window = WINDOW * interval
    yield Claim(
        4,
        "Sec. V",
        "backward window",
        "0.006 = 10 dtau",
        f"{window:g}, one of five ways (Fig. 8)",
        judged(np.isclose(window, 0.006)),
    )
    epochs, short = steps * study.batch / SAMPLES, steps / np.ceil(SAMPLES / study.batch)
    yield Claim(
        5,
        "Sec. V",
        "length of a run: steps, orthonormalisations, epochs of batches of 32",
        "733,333, 36,667, 23,467",
        f"{steps:,}, {study.intervals:,}, {epochs:,.0f}",
        f"{UNDER}: batches run on across the ends of epochs (a short last batch would make {short:,.0f} epochs)"
        if abs(steps - 733_333) <= study.interval and abs(epochs - 23_467) < 2
        else FAILS,
    )
    sizes = [len(findings.cell(scheme, name).loss) for scheme in ("he", "wide") for name in ("relu", "tanh")]
    yield Claim(
        6,
        "Sec. IV",
        "runs: He ReLU, He tanh, wide ReLU, wide tanh",
        "4000 each",
        f"{', '.join(map(str, sizes))} finished, and {len(findings.cell('many', 'relu').loss):,} ReLU He for Table I",
        judged(min(sizes) >= 0.99 * 4000),
    )
    pairs = cell.final_cosines("ginelli").shape[1]
    yield Claim(7, "Sec. VI", "pairs of CLVs, exponents", "36, 9", f"{pairs}, {q}", judged((pairs, q) == (36, 9)))


def losses(findings: Findings) -> Iterator[Claim]:
    """Claims 8 to 16: the final loss c_f."""
    relu, tanh = (findings.cell("he", name).loss for name in ("relu", "tanh"))
    low, high = (findings.share("he", "relu", f"c_f {what}") for what in ("< 4", "> 100"))
    between = findings.share("he", "relu", "c_f between the clusters")
    yield Claim(
        8,
        "Fig. 3a",
        "He, ReLU: three attractors, low, intermediate, high (> 100)",
        "three peaks",
        f"c_f < 4: {low}; c_f > 100: {high}; between {BETWEEN[0]:g} and {BETWEEN[1]:g}: {between}",
        judged(
            low.count > 0
            and high.count > 0
            and between.value < high.value
            and len(peaks(np.log(relu[relu < BETWEEN[0]]))) > 1
        ),
    )
    none = findings.share("he", "tanh", "c_f > 100")
    yield Claim(9, "Fig. 3b", "He, tanh: no value above 100", "none", str(none), judged(none.count == 0))
    below = findings.share("he", "tanh", "c_f < 4")
    draws = {seed: findings.share(name, "tanh", "c_f < 4") for seed, name in _data_draws().items()}
    some = [str(seed) for seed, share in draws.items() if share.count]
    maxima = np.exp(peaks(np.log(tanh)))
    yield Claim(
        10,
        "Fig. 3b",
        "He, tanh: a distinct peak at low loss",
        "a peak",
        f"maxima at {listed(maxima)}, lowest loss {number(tanh.min())}; c_f < 4: {below}; of data seeds 0 to "
        f"{len(draws) - 1} these have runs below 4: {', '.join(some) or 'none'}",
        chosen(False, [f"draw of the data (seeds {', '.join(some)})"] if below.count and maxima.min() < PEAK else []),
    )
    middle = relu[(relu > LOW) & (relu < BETWEEN[0])]
    yield Claim(
        11,
        "Sec. V",
        "highest c_f of tanh lies in ReLU's intermediate range",
        "does",
        f"tanh: up to {number(tanh.max())}; ReLU, intermediate: "
        f"{listed(np.quantile(middle, [0, 1])) if len(middle) else 'none'}",
        judged(LOW < tanh.max() < BETWEEN[0]) if len(middle) else f"{OPEN}: no such run",
    )
    rare, random = (findings.share(name, "relu", "c_f > 100") for name in ("many", "many-drawn-biases"))
    yield Claim(
        12,
        "Sec. V",
        "He, ReLU: high losses rare, probability not zero",
        "not stated",
        f"{rare}; with random biases {random}",
        judged(0 < rare.value < 0.05),
    )
    spreads, tops = {}, {}
    for name in ("relu", "tanh"):
        for scheme in ("he", "wide"):
            loss = findings.cell(scheme, name).loss
            spreads[scheme, name], tops[scheme, name] = float(np.std(np.log(loss))), float(np.quantile(loss, 0.99))
    gaps = [findings.share("wide", name, "c_f between the clusters") for name in ("relu", "tanh")]
    yield Claim(
        13,
        "Fig. 4",
        "wide: flatter and wider, higher losses also with tanh, values between the peaks frequent",
        "described",
        "deviation of log c_f, He and wide: "
        + "; ".join(f"{n} {number(spreads['he', n])}, {number(spreads['wide', n])}" for n in ("relu", "tanh"))
        + f"; 99 % quantile of tanh {number(tops['he', 'tanh'])}, {number(tops['wide', 'tanh'])}; wide, between "
        f"{BETWEEN[0]:g} and {BETWEEN[1]:g}: ReLU {gaps[0]}, tanh {gaps[1]}",
        judged(
            all(spreads["wide", n] > spreads["he", n] for n in ("relu", "tanh"))
            and tops["wide", "tanh"] > tops["he", "tanh"]
            and max(g.value for g in gaps) > 0.05
        ),
    )
    span = (np.log(0.5), np.log(200.0))  # bins of the same width
    counts = {
        (s, n): len(peaks(np.log(findings.cell(s, n).loss), 80, span)) for s in ("he", "wide") for n in ("relu", "tanh")
    }
    yield Claim(
        14,
        "Fig. 4",
        "wide: new peaks",
        "described",
        "maxima of the distribution of log c_f, He and wide: "
        + "; ".join(f"{n} {counts['he', n]}, {counts['wide', n]}" for n in ("relu", "tanh")),
        judged(any(counts["wide", n] > counts["he", n] for n in ("relu", "tanh"))),
    )
    lowest = {f"{s} {n}": float(findings.cell(s, n).loss.min()) for s in ("he", "wide") for n in ("relu", "tanh")}
    yield Claim(
        15,
        "Sec. IV",
        "zero loss is never reached",
        "never",
        "lowest: " + "; ".join(f"{name} {number(value)}" for name, value in lowest.items()),
        judged(min(lowest.values()) > ZERO),
    )
    pairs = [
        (name, condition, findings.share(name, "gelu", condition), findings.share(like, "relu", condition))
        for name, like in (("gelu", "he"), ("gelu-wide", "wide"))
        for condition in ("c_f < 4", "c_f > 100", "l1 > 0")
    ]
    medians = [float(np.median(findings.cell(*cell).exponents[:, -1])) for cell in (("gelu", "gelu"), ("he", "relu"))]
    yield Claim(
        16,
        "Sec. IV",
        "GELU qualitatively like ReLU (not shown there)",
        "no difference",
        "; ".join(f"{name.replace('gelu', 'GELU')}, {what}: {one} (ReLU {other})" for name, what, one, other in pairs)
        + f"; median l9, He: {number(medians[0])} (ReLU {number(medians[1])})",
        judged(
            not any(one.differs(other, len(pairs)) for *_, one, other in pairs) and 0.5 < medians[0] / medians[1] < 2
        ),
    )


def _data_draws() -> dict[int, str]:
    return {int(name.removeprefix("data-")): name for name in CHOICES if name.startswith("data-")}
