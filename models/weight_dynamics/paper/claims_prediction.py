"""Claims 43 to 57 and 60: predicting the final loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dynsys.models.reporting.report import OPEN, Claim, chosen, listed, number
from dynsys.models.weight_dynamics.paper.area import Area
from dynsys.models.weight_dynamics.paper.figures_prediction import ROWS, TABLE_I, Forecasts
from dynsys.models.weight_dynamics.paper.forecast import ANGLES, COMBINED, EXPONENTS, LABELS, SUMS, Forecast
from dynsys.models.weight_dynamics.paper.prediction import Score
from dynsys.models.weight_dynamics.paper.protocol import EARLY, LATE

READINGS_OF_TIME = {"times as labelled (t = 0.015 to 0.09)": EARLY, "times as counted (t = 0.3 to 1.8)": LATE}
WELL = 0.7  # AUC from which an indicator is said to perform well
PAPER_POSITIVES = 14  # in a test half of 4,000 ReLU runs, of which 0.35 % die; the paper gives no number
FIRST = 0.6  # of the lower end of the interval, from which an indicator is of use
EFFECTIVE = 0.8  # and to be quite effective, for high losses


def low_losses(forecasts: Forecasts) -> Iterator[Claim]:
    """Claims 43 to 47: c_f < 4."""
    nets = {"ReLU": forecasts["low"], "tanh": forecasts["low tanh"]}
    exponents = {
        reading: {net: _areas(f.scores(times[-1], EXPONENTS["start"])) for net, f in nets.items()}
        for reading, times in READINGS_OF_TIME.items()
    }
    said = _said(exponents)
    above = {
        reading: {
            net: sum(s.auc.low > 0.5 for n in times for s in f.scores(n, EXPONENTS["start"]).values())
            for net, f in nets.items()
        }
        for reading, times in READINGS_OF_TIME.items()
    }
    yield _by_reading(
        43,
        "Fig. 10",
        "low loss: most AUCs of exponents are above 0.5, both activations",
        "most",
        said + f". Interval above 0.5: {_listed(above)}",
        {reading: min(found.values()) > 18 for reading, found in above.items()},
    )
    yield _by_reading(
        44,
        "Fig. 10",
        "low loss: exponents 1, 6, 7 perform well, both activations",
        f"well (here: AUC > {WELL:g})",
        said,
        {reading: all(v[[0, 5, 6]].min() > WELL for v in found.values()) for reading, found in exponents.items()},
    )
    second = {
        reading: {net: f.best(times[1], EXPONENTS["start"]) for net, f in nets.items()}
        for reading, times in READINGS_OF_TIME.items()
    }
    yield _by_reading(
        45,
        "Fig. 10",
        "low loss predictable by exponents from t = 0.03, the second time, on",
        "is",
        "; ".join(
            f"best at t = {LABELS[READINGS_OF_TIME[reading][1]]}, {net}: {name}, {s.auc}"
            for reading, found in second.items()
            for net, (name, s) in found.items()
        ),
        {reading: all(s.auc.low > FIRST for _, s in found.values()) for reading, found in second.items()},
    )
    angles = {
        reading: {net: list(f.scores(times[-1], ANGLES["lagged"]).values()) for net, f in nets.items()}
        for reading, times in READINGS_OF_TIME.items()
    }
    counts = {
        reading: {
            net: (sum(s.auc.low > FIRST for s in scores), sum(s.auc.high < FIRST for s in scores))
            for net, scores in found.items()
        }
        for reading, found in angles.items()
    }
    yield _by_reading(
        46,
        "Fig. 11",
        "low loss: some angles effective, others not",
        "some",
        "; ".join(
            f"{reading}, {net}: {some} of 36 above {FIRST:g}, {none} below"
            for reading, found in counts.items()
            for net, (some, none) in found.items()
        ),
        {reading: all(some > 0 and none > 0 for some, none in found.values()) for reading, found in counts.items()},
    )
    leading = {
        reading: {net: _leading(f.scores(times[-1], EXPONENTS["start"])) for net, f in nets.items()}
        for reading, times in READINGS_OF_TIME.items()
    }
    yield _by_reading(
        47,
        "Sec. VI",
        "directions 5 to 8 most relevant for low loss",
        "5, 6, 7, 8",
        "; ".join(
            f"{reading}, {net}: the best four exponents are {', '.join(map(str, sorted(found)))}"
            for reading, nets_ in leading.items()
            for net, found in nets_.items()
        ),
        {reading: all(len(v & {5, 6, 7, 8}) >= 3 for v in found.values()) for reading, found in leading.items()},
    )


def high_losses(forecasts: Forecasts, choices: Forecasts) -> Iterator[Claim]:
    """Claims 48 to 57: c_f > 100, ReLU; `choices` are the same runs under other conventions, for Table I."""
    high = forecasts["high"]
    exponents = {
        reading: [_areas(high.scores(n, EXPONENTS["start"])) for n in times]
        for reading, times in READINGS_OF_TIME.items()
    }
    said = "; ".join(
        f"AUC of l1 to l9 at the first and the last time, {r}: {listed(v[0])}; {listed(v[-1])}"
        for r, v in exponents.items()
    )
    yield _by_reading(
        48,
        "Fig. 12",
        "high loss: all exponents are effective",
        f"quite effective (here: AUC > {EFFECTIVE:g} at the last time)",
        said,
        {reading: v[-1].min() > EFFECTIVE for reading, v in exponents.items()},
    )
    yield _by_reading(
        49,
        "Fig. 12",
        "high loss: the three most stable exponents already at t = 0.015",
        "high accuracy (here: AUC > 0.9)",
        "; ".join(f"{reading}, l7, l8, l9: {listed(v[0][6:])}" for reading, v in exponents.items()),
        {reading: v[0][6:].min() > 0.9 for reading, v in exponents.items()},
    )
    angles = {reading: _areas(high.scores(times[-1], ANGLES["lagged"])) for reading, times in READINGS_OF_TIME.items()}
    yield _by_reading(
        50,
        "Fig. 13",
        "high loss: all indicators, angles included",
        "all",
        "; ".join(
            f"36 angles at the last time, {r}: {number(v.min())} to {number(v.max())}" for r, v in angles.items()
        ),
        {reading: v.min() > EFFECTIVE for reading, v in angles.items()},
    )
    sums = {r: [high.best(n, SUMS["lagged"])[1].auc for n in times] for r, times in READINGS_OF_TIME.items()}
    tops = {r: [high.best(n, ANGLES["lagged"])[1].auc for n in times] for r, times in READINGS_OF_TIME.items()}
    yield _by_reading(
        51,
        "Fig. 13",
        "high loss: the sum of |cos| is the best of the angles",
        "best",
        "; ".join(f"{r}: sum {_tests(sums[r])}, best pair {_tests(tops[r])}" for r in sums),
        {r: _decided([a.exceeds(b) for a, b in zip(sums[r], tops[r], strict=True)]) for r in sums},
    )
    pairs = {
        (name, r): [[f.best(n, kind)[1].auc for n in times] for kind in (EXPONENTS["start"], ANGLES["lagged"])]
        for name, f in forecasts.items()
        for r, times in READINGS_OF_TIME.items()
    }
    yield _by_reading(
        52,
        "Sec. VI",
        "exponents predict earlier than angles, both cases",
        f"earlier (here: the larger AUC at the first time at which one of them has an interval above {FIRST:g})",
        "; ".join(f"{name}, {r}: exponents {_tests(e)}, angles {_tests(a)}" for (name, r), (e, a) in pairs.items()),
        {
            r: _decided([_earlier(*areas) for (_, reading), areas in pairs.items() if reading == r])
            for r in READINGS_OF_TIME
        },
    )
    for place, (label, kind) in enumerate(ROWS.items(), start=53):
        found = {r: [high.best(n, kind)[1] for n in times] for r, times in READINGS_OF_TIME.items()}
        agree = {r: _like_table_1(high, times, label, kind) for r, times in READINGS_OF_TIME.items()}
        yield _by_reading(
            place,
            "Table I",
            f"AUC of {label}",
            f"{', '.join(map(str, TABLE_I[label]))} (if {PAPER_POSITIVES} positives are behind them: errors "
            f"{listed([_hanley_mcneil(v) for v in TABLE_I[label]])})",
            "; ".join(
                f"{r}: {', '.join(str(s.auc) for s in scores)}; {sum(agree[r])} of 4 agree"
                for r, scores in found.items()
            ),
            {r: all(each) for r, each in agree.items()}
            | {
                f"{choice}, {r}": all(_like_table_1(forecast, times, label, kind))
                for choice, forecast in choices.items()
                for r, times in READINGS_OF_TIME.items()
            },
        )
    both = {
        r: [(high.best(n, COMBINED[1])[1].auc, high.best(n, "C(t)")[1].rank) for n in times[1:]]
        for r, times in READINGS_OF_TIME.items()
    }
    yield _by_reading(
        57,
        "Sec. VI",
        "SVM of nine exponents slightly better than C(t), last three times",
        "better (not at the first time, in its own table)",
        "; ".join(
            f"{r}: SVM {_tests([a for a, _ in v])}, C(t) by ranks {_tests([b for _, b in v])}" for r, v in both.items()
        ),
        {r: _decided([svm.exceeds(plain) for svm, plain in areas]) for r, areas in both.items()},
    )


def roc(forecasts: Forecasts) -> Iterator[Claim]:
    """Claim 60."""
    early, late = ([forecasts["low"].best(n, EXPONENTS["start"])[1].auc for n in times[1:]] for times in (EARLY, LATE))
    yield _by_reading(
        60,
        "Fig. 15",
        "low loss, ReLU: ROC curves at t = 0.03, 0.06, 0.09, an example, above the diagonal",
        "example",
        f"AUC of the best exponent: {_tests(early)}; times as counted: {_tests(late)}",
        {
            reading: all(area.low > 0.5 for area in areas)
            for reading, areas in zip(READINGS_OF_TIME, (early, late), strict=True)
        },
    )


def _like_table_1(forecast: Forecast, times: tuple[int, ...], label: str, kind: str) -> list[bool]:
    """Whether each AUC may be that of Table I, by the errors of both."""
    areas = [forecast.best(n, kind)[1].auc for n in times]
    return [
        abs(area.test - printed) <= 1.96 * float(np.hypot(area.error, _hanley_mcneil(printed)))
        for area, printed in zip(areas, TABLE_I[label], strict=True)
    ]


def _by_reading(
    place: int, where: str, text: str, paper: str, ours: str, holds: Mapping[str, bool | np.bool | None]
) -> Claim:
    """A claim that may hold by one reading of the time axis and not by the other; None: not decided by it."""
    if "nan" in ours:
        return Claim(place, where, text, paper, ours, f"{OPEN}: too few runs")
    if not any(holds.values()) and None in holds.values():
        failed = [reading for reading, yes in holds.items() if yes is not None]
        return Claim(place, where, text, paper, ours, f"{OPEN}: does not hold by {failed[0]}" if failed else OPEN)
    ours_hold = all(holds[reading] for reading in READINGS_OF_TIME)
    return Claim(place, where, text, paper, ours, chosen(ours_hold, [r for r, yes in holds.items() if yes]))


def _decided(answers: Sequence[bool | None]) -> bool | None:
    """Whether all are true: no if one is false, unknown if one is unknown."""
    return False if False in answers else None if None in answers else True


def _earlier(ours: Sequence[Area], others: Sequence[Area]) -> bool | None:
    """Whether ours are larger at the first time at which one of both is of use."""
    return next((a.exceeds(b) for a, b in zip(ours, others, strict=True) if max(a.low, b.low) > FIRST), None)


def _hanley_mcneil(area: float) -> float:
    """Standard error of an area under a ROC curve with few positives (Radiology 143, 29 (1982))."""
    return float(np.sqrt((area * (1 - area) + (PAPER_POSITIVES - 1) * (area / (2 - area) - area**2)) / PAPER_POSITIVES))


def _leading(scores: dict[str, Score]) -> set[int]:
    """The four exponents that are best on the training half."""
    return {int(q) for q in np.argsort([-s.auc.training for s in scores.values()])[:4] + 1}


def _tests(areas: Sequence[Area]) -> str:
    return "(" + listed([area.test for area in areas]) + ")"


def _areas(scores: dict[str, Score]) -> np.ndarray:
    return np.array([s.auc.test for s in scores.values()])


def _listed(found: dict[str, dict[str, int]]) -> str:
    return "; ".join(f"{r}, {net}: {count} of 36" for r, nets in found.items() for net, count in nets.items())


def _said(found: dict[str, dict[str, np.ndarray]]) -> str:
    return "; ".join(f"{r}, {net}, last time: {listed(v)}" for r, nets in found.items() for net, v in nets.items())
