"""The paper's Figs. 10 to 13 and 15, and Table I: how well the outcome of a training run is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynsys.models.weight_dynamics.paper.figures import columns
from dynsys.models.weight_dynamics.paper.forecast import (
    ANGLES,
    COMBINED,
    EXPONENTS,
    LABELS,
    OUTCOMES,
    PLAIN,
    SUMS,
    Forecast,
)
from dynsys.models.weight_dynamics.paper.protocol import EARLY, LATE
from dynsys.plotting import grid, save_figure

Forecasts = dict[str, Forecast]

TABLE_I = {
    "best angle": (0.919201, 0.975243, 0.996333, 0.99861),
    "best exponent": (0.987756, 0.998141, 0.998909, 0.999476),
    COMBINED[1]: (0.951719, 0.997852, 0.998736, 0.998989),
    "C(t)": (0.960493, 0.97232, 0.97232, 0.98918),
}
ROWS = {
    "best angle": ANGLES["lagged"],
    "best exponent": EXPONENTS["start"],
    COMBINED[1]: COMBINED[1],
    "C(t)": "C(t)",
}  # of Table I: what they are here
SHOWN = {
    EXPONENTS["start"]: "best exponent",
    ANGLES["lagged"]: "best angle",
    SUMS["lagged"]: "sum of |cos|",
    "C(t)": "C(t)",
}
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "black", "marker": "o"},
    {"color": "0.25", "marker": "s", "linestyle": "--"},
    {"color": "0.5", "marker": "^", "linestyle": "-."},
    {"color": "0.65", "marker": "D", "linestyle": ":"},
)


def figure_10(forecasts: Forecasts, path: Path) -> Path:
    """AUC of low final loss from every exponent."""
    return _areas(forecasts, path, "Fig. 10", ("low", "low tanh"), EXPONENTS["start"])


def figure_11(forecasts: Forecasts, path: Path) -> Path:
    """AUC of low final loss from every angle of Sharafi's estimate."""
    return _areas(forecasts, path, "Fig. 11", ("low", "low tanh"), ANGLES["lagged"])


def figure_12(forecasts: Forecasts, path: Path) -> Path:
    """AUC of high final loss from every exponent."""
    return _areas(forecasts, path, "Fig. 12", ("high",), EXPONENTS["start"])


def figure_13(forecasts: Forecasts, path: Path) -> Path:
    """AUC of high final loss from every angle of Sharafi's estimate, and their sum."""
    return _areas(forecasts, path, "Fig. 13", ("high",), ANGLES["lagged"], SUMS["lagged"])


def figure_15(forecasts: Forecasts, path: Path) -> Path:
    """ROC curves of low final loss, by the indicators that are best on the training half, second to last time."""
    title = f"Fig. 15: {OUTCOMES['low']}, {_counts(forecasts['low'])}"
    figure, axes = grid(2, 3, title=title, size=(10, 7), sharex=True, sharey=True)
    rows: dict[str, list[Any]] = {"interval": [], "indicator": [], "false_positive_rate": [], "true_positive_rate": []}
    for panel, interval in zip(axes.ravel(), EARLY[1:] + LATE[1:], strict=True):
        for look, (kind, label) in zip(LOOKS, SHOWN.items(), strict=True):
            name, found = forecasts["low"].best(interval, kind)
            x, y = found.roc.T
            panel.plot(x, y, label=label, markersize=3, **look)
            for key, values in zip(rows, ([interval] * len(x), [f"{label}: {name}"] * len(x), x, y), strict=True):
                rows[key].extend(values)
        panel.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
        panel.set(title=f"t = {LABELS[interval]}")
    for panel in axes[1]:
        panel.set(xlabel="false positive rate (share of runs)")
    for panel in axes[:, 0]:
        panel.set(ylabel="true positive rate (share of runs)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=4, loc="outside lower center")
    return save_figure(figure, path, columns(**rows))


def table_1(forecasts: Forecasts) -> list[list[str]]:
    """Table I, AUC of high final loss, by both readings of the prediction times; rows of a table, the header first."""
    high = forecasts["high"]
    rows = [["AUC of c_f > 100", "", *(f"t = {LABELS[n]}" for n in EARLY), *(f"t = {LABELS[n]}" for n in LATE)]]
    for label, kind in ROWS.items():
        rows.append([label, "the paper", *map(str, TABLE_I[label]), *[""] * 4])
        rows.append(["", "here, binned", *(_area(high, n, kind, "binned") for n in EARLY + LATE)])
        if kind not in COMBINED:
            rows.append(["", "here, ranks", *(_area(high, n, kind, "ranks") for n in EARLY + LATE)])
    others = [
        *SUMS.values(),
        ANGLES["lagged, random start"],
        ANGLES["periodic window"],
        EXPONENTS["window"],
        EXPONENTS["interval"],
        COMBINED[0],
        *PLAIN[1:],
    ]
    for kind in others:
        rows.append([kind, "here, binned", *(_area(high, n, kind, "binned") for n in EARLY + LATE)])
    return rows


def rivals(forecasts: Forecasts) -> list[list[str]]:
    """Low losses: the best exponent, the best angle and what they must beat; rows of a table, the header first."""
    rows = [["AUC, binned", "", *(f"t = {label}" for label in LABELS.values())]]
    for outcome in ("low", "low tanh"):
        for kind in (EXPONENTS["start"], ANGLES["lagged"], SUMS["lagged"], *PLAIN):
            rows.append([OUTCOMES[outcome], kind, *(_area(forecasts[outcome], n, kind, "binned") for n in LABELS)])
    return rows


def beaten(forecasts: Forecasts) -> list[list[str]]:
    """Whether the best exponent beats what is known anyway, both binned; rows of a table, the header first."""
    rows = [["best exponent against the best of " + ", ".join(PLAIN), *(f"t = {label}" for label in LABELS.values())]]
    for outcome, forecast in forecasts.items():
        row = [OUTCOMES[outcome]]
        for interval in LABELS:
            ours = forecast.best(interval, EXPONENTS["start"])[1].auc
            rival = max((forecast.best(interval, kind)[1].auc for kind in PLAIN), key=lambda area: area.training)
            better = ours.exceeds(rival)
            verdict = {True: "better", False: "worse", None: "equal"}[better]
            row.append(f"{verdict}: {ours.test:.3f} against {rival.test:.3f}")
        rows.append(row)
    return rows


def contingencies(forecasts: Forecasts) -> list[list[str]]:
    """True and false positives, false and true negatives of the test half; rows of a table, the header first."""
    rows = [["tp, fp, fn, tn", "", *(f"t = {label}" for label in LABELS.values())]]
    for outcome, forecast in forecasts.items():
        for kind in (EXPONENTS["start"], ANGLES["lagged"], "C(t)"):
            tables = [forecast.best(n, kind)[1].table for n in LABELS]
            rows.append([OUTCOMES[outcome], kind, *(f"{t.tp}, {t.fp}, {t.fn}, {t.tn}" for t in tables)])
    return rows


def _area(forecast: Forecast, interval: int, kind: str, which: str) -> str:
    name, found = forecast.best(interval, kind)
    chosen = "" if kind in (*PLAIN, *COMBINED, *SUMS.values()) else f"{name}: "
    return f"{chosen}{found.auc if which == 'binned' else found.rank}"


def _areas(forecasts: Forecasts, path: Path, number: str, outcomes: Sequence[str], *kinds: str) -> Path:
    counts = "; ".join(f"{OUTCOMES[o]}, {_counts(forecasts[o])}" for o in outcomes)
    figure, axes = grid(len(outcomes), 2, title=f"{number}: {counts}", size=(11, 3.4 * len(outcomes)), sharey=True)
    rows: dict[str, list[Any]] = {k: [] for k in ("outcome", "interval", "indicator", "auc", "low", "high", "rank_auc")}
    for row, outcome in zip(axes, outcomes, strict=True):
        for panel, times, reading in zip(row, (EARLY, LATE), ("times as labelled", "times as counted"), strict=True):
            for shift, (interval, look) in enumerate(zip(times, LOOKS, strict=True)):
                scores = {n: s for kind in kinds for n, s in forecasts[outcome].scores(interval, kind).items()}
                values = np.array([s.auc.test for s in scores.values()])
                ends = np.array([(s.auc.low, s.auc.high) for s in scores.values()])
                places = np.arange(len(scores)) + 0.12 * (shift - 1.5)
                errors = np.abs(ends.T - values)
                panel.errorbar(
                    places,
                    values,
                    errors,
                    markersize=3,
                    linewidth=0.8,
                    elinewidth=0.6,
                    label=f"t = {LABELS[interval]}",
                    **look,
                )
                for name, s in scores.items():
                    entry = (outcome, interval, name, s.auc.test, s.auc.low, s.auc.high, s.rank.test)
                    for key, value in zip(rows, entry, strict=True):
                        rows[key].append(value)
            panel.axhline(0.5, color="black", linewidth=0.7, linestyle=":")
            panel.set_xticks(range(len(scores)), scores, rotation=90 if len(scores) > 9 else 0, fontsize=7)
            panel.set(
                title=f"{OUTCOMES[outcome]}, {reading}",
                xlabel="exponent" if len(scores) < 10 else "pair of vectors i,j",
            )
            panel.legend(fontsize=7, ncols=2, loc="best")
        row[0].set(ylabel="area under the ROC curve")
    return save_figure(figure, path, columns(**rows))


def _counts(forecast: Forecast) -> str:
    return f"{int(forecast.outcome.sum())} of {len(forecast.outcome):,} runs"
