"""How far Sharafi's estimates are from Ginelli's vectors, by variant, window and system. Errors, not times."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from benchmarks.measure import table
from dynsys import RK4, DiagnosticWarning, Euler, RunState
from dynsys.indicators import line_distance
from dynsys.models.activations import ReLU, Tanh
from dynsys.models.classics import LinearCocycle, Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.passes.run_state import Tangent
from dynsys.plotting import grid, save_figure, style

Array = np.ndarray

CURVES = {  # what is plotted, and how
    "lagged, at the time it is valid for": {"color": "black", "linestyle": "-", "marker": "o"},
    "the same, random start": {"color": "black", "linestyle": ":", "marker": "."},
    "lagged, taken for the present": {"color": "0.45", "linestyle": "-.", "marker": "^"},
    "periodic window": {"color": "0.45", "linestyle": "--", "marker": "s"},
    "backward vectors": {"color": "0.7", "linestyle": "-", "marker": ""},
}
SHOWN = (  # system and vectors of the panels
    ("Lorenz 1963", "2"),
    ("random cocycle", "3"),
    ("tanh network, minibatches, early", "7-9"),
    ("tanh network, minibatches, late", "7-9"),
    ("tanh network, full batch, late", "7-9"),
    ("relu network, minibatches, late", "7-9"),
)
DT, EVERY, SIZE = 3e-5, 20, 32  # the paper's learning rate, steps of an interval, samples of a minibatch


@attrs.frozen(eq=False)
class Scene:
    """A system at the time at which its vectors are wanted.

    Attributes
    ----------
    name : str
    tangent : TangentSystem
    x0 : ndarray, shape (members, dim)
    steps : int
        Steps of an interval.
    reached : int
        Intervals before the times that are looked at, to align the frame or to train.
    times, stride, tail : int
        Number of those times, intervals between them, and the tail of Ginelli's pass.
    windows : sequence of int
    groups : mapping
        Name -> indices, from 0, of the vectors whose errors are put together.
    """

    name: str
    tangent: Any
    x0: Array
    steps: int
    reached: int
    times: int
    stride: int
    tail: int
    windows: Sequence[int]
    groups: dict[str, list[int]]


def errors(scene: Scene) -> tuple[dict[str, Array], Array, Array]:
    """Angles to Ginelli's vectors, in degrees; which vectors these determine; and gaps.

    Returns
    -------
    angles : name of the curve -> ndarray, shape (windows, members, times, k)
    determined : ndarray of bool, shape (members, k)
    gap : ndarray, shape (members, k)
        Smallest distance, 1/time, from an earlier exponent, of those of the longest window after the first time.
    """
    longest = max(scene.windows)
    tangent, steps = scene.tangent, {"steps_per_interval": scene.steps}
    block = {"intervals": scene.times * scene.stride, "stride": scene.stride, "warmup": 0, **steps}
    before = _after(tangent, scene.x0, scene.reached - longest, scene.steps)
    begin = _after(tangent, before, longest, scene.steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DiagnosticWarning)  # near-degenerate vectors are left out below
        truth = tangent.ginelli(begin, tail=scene.tail, **block)
        exponents = tangent.benettin(begin, intervals=longest, stride=longest, warmup=0, **steps).exponents
    labels = truth.diagnostics.subspaces
    determined = (labels == np.arange(labels.shape[1])) & (np.sum(labels[:, :, None] == labels[:, None], axis=1) == 1)
    earlier = exponents[:, :, None] - exponents[:, None]
    earlier[:, *np.tril_indices(exponents.shape[1])] = np.inf
    frames = tangent.forward(begin, intervals=block["intervals"], steps_per_interval=scene.steps, record="frames")

    def against(vectors: Array) -> Array:
        return np.degrees(np.arcsin(np.minimum(1.0, line_distance(vectors, truth.vectors))))

    def estimated(window: int, variant: str, **options: Any) -> Array:
        start, warmup = (begin, 0) if variant == "near-future" else (before, longest)
        clvs = tangent.sharafi(
            start, **block | {"warmup": warmup}, window=window, variant=variant, memory_limit=np.inf, **options
        )
        np.testing.assert_array_equal(clvs.available if variant == "lagged" else clvs.times, truth.times)
        return against(clvs.vectors)

    ways: list[Callable[[int], Array]] = [
        lambda window: estimated(window, "near-future"),  # the lagged vectors, by the time that they are valid for
        lambda window: estimated(window, "near-future", start="random"),
        lambda window: estimated(window, "lagged"),
        lambda window: estimated(window, "periodic window"),
        lambda window: against(frames.Qs[:, scene.stride - 1 :: scene.stride]),
    ]
    angles = {name: np.array([way(window) for window in scene.windows]) for name, way in zip(CURVES, ways, strict=True)}
    return angles, determined, earlier.min(axis=1)


def _after(tangent: Tangent, x0: Array | RunState, intervals: int, steps: int) -> RunState:
    """End of a pass with vectors."""
    if intervals == 0 and not isinstance(x0, RunState):
        return RunState.start(x0, tangent.dimension, None, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DiagnosticWarning)  # of exponents, which are not looked at
        run: Any = tangent
        return run.benettin(x0, intervals=intervals, steps_per_interval=steps, warmup=0, stride=intervals).end


def scenes(quick: bool) -> list[Scene]:
    """Lorenz 1963, a random cocycle, and the three-layer network early and late in its training."""
    few = [1, 10] if quick else None
    cocycle, _ = LinearCocycle.random(4, 1000, seed=1)
    found = [
        Scene("Lorenz 1963", Lorenz63().tangent(RK4(0.01)), np.array([[-1.2, -2.4, 13.1]]), 5,
              1000 if quick else 3000, 20 if quick else 400, 7, 200 if quick else 1500,
              few or [1, 3, 10, 30, 100, 200, 300, 500, 800], {"2": [1], "3": [2]}),
        Scene("random cocycle", cocycle.tangent(), np.zeros((1, 4)), 1, 200, 20 if quick else 300, 1, 200,
              few or [1, 2, 4, 8, 16, 32, 64, 128], {"2": [1], "3": [2], "4": [3]}),
    ]  # fmt: skip
    for activation in (Tanh(), ReLU()):
        for batches in ("minibatches",) if quick else ("minibatches", "full batch"):
            # a full batch of 100 samples, not of the paper's 1000: a tenth of the time
            X, y = regression_task(samples=100 if batches == "full batch" else 1000, seed=0)
            flow = ThreeLayerGradientFlow(X, y, hidden=2, activation=activation)
            system: Any = flow if batches == "full batch" else flow.minibatches(SIZE, seed=0)
            for epoch, reached in (("early", 1_000), ("late", 10_000)):
                kind = type(activation).__name__.lower()
                found.append(
                    Scene(f"{kind} network, {batches}, {epoch}", system.tangent(Euler(DT)),
                          flow.initial(members=2 if quick else 6, seed=1), EVERY, 100 if quick else reached, 10,
                          2 if quick else 7, 4000 if quick else 30_000, few or [1, 3, 10, 30, 100, 300, 1000],
                          {"4-6": [3, 4, 5], "7-9": [6, 7, 8]})
                )  # fmt: skip
    return found


def sharafi(rounds: int, quick: bool, folder: Path | None = None) -> None:
    """Print a table for every system, and draw all of them into `folder`, if there is one."""
    del rounds  # errors do not depend on the clock
    print(
        "## Sharafi's estimates against Ginelli's vectors\n\nMedian angle to Ginelli's vector in degrees, over times, "
        "initial states and the vectors that Ginelli's diagnostics call determined (in brackets: quartiles). Lagged "
        "vectors are compared twice: with the truth at the time they are valid for, and with that of the time when "
        "they are known. A periodic window of 1 is the frozen variant. Minibatches: the times are spread over "
        "epochs. Where whole epochs end (every 25 intervals) the errors of a trained network differ.\n"
    )
    rows: list[dict[str, Any]] = []
    for scene in scenes(quick):
        angles, determined, gaps = errors(scene)
        for group, vectors in scene.groups.items():
            chosen = np.zeros_like(determined)
            chosen[:, vectors] = determined[:, vectors]
            count = int(chosen.sum())
            gap = float(np.median(gaps[chosen])) if count else np.nan
            interval = scene.steps * scene.tangent.dt
            title = f"{scene.name}, vector{'s' if '-' in group else ''} {group}"
            print(
                f"### {title}\n\n{count} vectors, {scene.times} times; gap {gap:.3g} per unit of time (median), "
                f"{scene.reached} intervals of {interval:g} before.\n"
            )
            if not count:
                continue
            lines = []
            for w, window in enumerate(scene.windows):
                cells = []
                for name, angle in angles.items():
                    low, median, high = np.percentile(np.swapaxes(angle[w], 1, 2)[chosen], [25, 50, 75])
                    cells.append(f"{_short(median)} ({_short(low)}, {_short(high)})")
                    rows.append(
                        {"system": scene.name, "vectors": group, "count": count, "gap": gap,
                         "estimate": name, "window": window,
                         "window_time": window * interval, "window_times_gap": window * interval * gap,
                         "lower_quartile_deg": low, "median_deg": median, "upper_quartile_deg": high}
                    )  # fmt: skip
                lines.append([window, window * interval, f"{window * interval * gap:.2g}", *cells])
            table(["window", "time", "time x gap", *CURVES], lines)
    if folder is not None:
        print(f"Figure: {draw(rows, folder)}\n")


def _short(angle: float) -> str:
    return f"{angle:.0f}" if angle >= 9.95 else f"{angle:.2g}" if angle >= 1e-3 else f"{angle:.0e}"


def draw(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Error against window: a panel for each of the `SHOWN` systems; the data of all."""
    with style():
        figure, axes = grid(
            2, -(-len(SHOWN) // 2), size=(10.5, 6.2), sharey=True,
            title="Sharafi's estimates against Ginelli's vectors: median over times, initial states, vectors",
        )  # fmt: skip
        for panel, (system, vectors) in zip(axes.ravel(), SHOWN, strict=False):
            here = [row for row in rows if (row["system"], row["vectors"]) == (system, vectors)]
            if not here:
                panel.set_axis_off()
                continue
            for name, look in CURVES.items():
                points = [(row["window_time"], row["median_deg"]) for row in here if row["estimate"] == name]
                panel.plot(*zip(*points, strict=True), label=name, markersize=3.5, linewidth=1.2, **look)
            unit, per = ("steps", "step") if "cocycle" in system else ("units of time", "unit of time")
            panel.set(
                xscale="log", yscale="log", xlabel=f"window ({unit})", ylabel="error (degrees)", ylim=(1e-6, 150.0),
                title=f"{system}\nvector{'s' if '-' in vectors else ''} {vectors}, gap {here[0]['gap']:.2g} per {per}",
            )  # fmt: skip
        figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=len(CURVES), loc="outside lower center")
        folder.mkdir(parents=True, exist_ok=True)
        return save_figure(figure, folder / "sharafi", {name: [row[name] for row in rows] for name in rows[0]})
