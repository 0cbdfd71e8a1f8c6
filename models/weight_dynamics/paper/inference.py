"""Jacobians that are estimated from numbers: from differences of the velocity, or from a run alone.

The paper "tried to infer the entries of the Jacobian from data, as e.g. proposed in [36]", found the matrices of
candidate functions not sparse enough (`sparse_regression`), and "better results were achieved using weighted direct
numerical derivatives. For the shallow network [...] the numerically estimated Jacobians compared well to the rigorous
results" (end of Sec. III). How is not said. Two readings, both held against the exact Jacobian: `differences`, weighted
differences of the velocity at weights that are changed on purpose, and `local_fit`, weighted least squares on
neighbouring points of a run.

What to expect (the numbers are in the report). Differences give J to many digits, whatever the weighting; for ReLU only
with steps that do not reach across kinks, beyond which they estimate J with the kinks (see `kinks`). A full-batch run
is a curve and tells one direction of nine. Minibatches explore more, if the velocity there is that of all data: for
tanh all directions, for ReLU those that change neither of its invariants.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from dynsys import Euler, TangentSystem
from dynsys.models.activations import named
from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow
from dynsys.models.weight_dynamics.paper.kinks import with_kinks
from dynsys.systems.minibatches import Minibatches

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

STENCILS = {
    "central": {1.0: 1.0},
    "Richardson": {0.5: 4 / 3, 1.0: -1 / 3},
    "least squares": {0.25: 1 / 30, 0.5: 4 / 30, 0.75: 9 / 30, 1.0: 16 / 30},
}
"""Weights of central differences by their part of the largest step; "least squares" is the slope of a fitted line."""

STEPS = tuple(10.0**-k for k in range(8, 0, -1))
TIMES = (0.1, 1.0, 10.0)
BANDWIDTHS = (0.01, 0.03, 0.1, 0.3)
SOURCES = ("full batch", "minibatches", "minibatches, velocity of all data")
JACOBIANS = ("step", "with kinks")  # what estimates are held against: with sigma'' = 0, and with that of the kinks
TOLERANCE = 0.2  # relative error up to which a part of the Jacobian counts as identified


def differences(velocity: Callable[[Array], Array], x: Array, step: float, stencil: str = "central") -> Array:
    """Jacobians at states x (..., dim) from weighted central differences, shape (..., dim, dim).

    Column i is sum_k c_k [f(x + a_k h e_i) - f(x - a_k h e_i)] / (2 a_k h), with sum_k c_k = 1: see `STENCILS`.

    >>> differences(lambda x: x**2, np.array([1.0, 2.0]), 0.1).round(12)
    array([[2., 0.],
           [0., 4.]])
    """
    total = np.zeros((*x.shape, x.shape[-1]))
    for part, weight in STENCILS[stencil].items():
        changes = part * step * np.eye(x.shape[-1])
        change = velocity(x[..., None, :] + changes) - velocity(x[..., None, :] - changes)
        total += weight / (2 * part * step) * change
    return total.swapaxes(-1, -2)


def local_fit(states: Array, velocities: Array, at: int, bandwidth: float) -> tuple[Array, Array, Array]:
    """What points of a run (steps, dim) tell about the Jacobian at one of them: (directions, spread, images).

    Minimises sum_n w_n |(u_n - <u>) - J (x_n - <x>)|^2, with w_n Gaussian in the distance from x_at and weighted means
    <>. By the singular value decomposition of w_n^(1/2) (x_n - <x>): directions (dim, r), orthonormal, by falling
    standard deviation of the points along them, spread (r,); images (dim, r) = J directions as estimated. The estimate
    that uses the first k directions is images[:, :k] @ directions[:, :k].T.
    """
    weights = np.exp(-0.5 * (np.linalg.norm(states - states[at], axis=1) / bandwidth) ** 2)
    near = weights > 1e-4
    w = weights[near] / weights[near].sum()
    dx, du = (np.sqrt(w)[:, None] * (part[near] - w @ part[near]) for part in (states, velocities))
    left, spread, right = np.linalg.svd(dx, full_matrices=False)
    known = spread > spread[0] * np.finfo(float).eps
    return right[known].T, spread[known], du.T @ left[:, known] / spread[known]


def direct_derivatives(
    X: Array,
    y: Array,
    *,
    activations: tuple[str, ...] = ("relu", "tanh"),
    members: int = 32,
    times: tuple[float, ...] = TIMES,
    steps: tuple[float, ...] = STEPS,
    rate: float = 1e-3,
    seed: int = 0,
) -> xarray.Dataset:
    """Errors of `differences` along full-batch runs (He weights, zero biases).

    Returns
    -------
    xarray.Dataset
        error (activation, time, stencil, step, jacobian, member): |estimate - J| / |J| in the Frobenius norm, for J
        exact and for J with kinks. kinks (activation, time, member): |J with kinks - J| / |J|.
    """
    import xarray

    errors, shares = [], []
    for name in activations:
        flow = ThreeLayerGradientFlow(X, y, activation=named(name))
        states, _ = _runs(flow, SOURCES[0], members, max(times), rate, seed)
        for time in times:
            x = states[:, round(time / rate) - 1]
            exact, kinked = _jacobians(flow, x)
            shares.append(_relative(kinked, exact))
            for stencil, step in product(STENCILS, steps):
                estimate = differences(lambda z, f=flow: f.vector_field(0.0, z), x, step, stencil)  # type: ignore[misc]
                errors.append([_relative(estimate, J) for J in (exact, kinked)])
    labels = {"activation": activations, "time": times, "stencil": STENCILS, "step": steps, "jacobian": JACOBIANS}
    shape = [*map(len, labels.values()), members]
    return xarray.Dataset(
        {
            "error": ((*labels, "member"), np.reshape(errors, shape)),
            "kinks": (("activation", "time", "member"), np.reshape(shares, [*shape[:2], members])),
        },
        coords={name: list(values) for name, values in labels.items()},
        attrs={"rate": rate, "samples": len(X), "seed": seed},
    )


def fits_along_runs(
    X: Array,
    y: Array,
    *,
    activations: tuple[str, ...] = ("relu", "tanh"),
    members: int = 8,
    times: tuple[float, ...] = TIMES,
    bandwidths: tuple[float, ...] = BANDWIDTHS,
    batch: int = 32,
    rate: float = 1e-3,
    seed: int = 0,
) -> xarray.Dataset:
    """Errors of `local_fit` at some times of runs (He weights, zero biases), by the number of directions used.

    Returns
    -------
    xarray.Dataset
        Over activation, source, time, bandwidth, member, directions k = 1, ..., Q: spread, of the points along
        direction k relative to the first. share, |J P| / |J|, P being the projection on the first k directions. error
        (..., jacobian), |(estimate - J) P| / |J P|, in the Frobenius norm. NaN: fewer points than that.
    """
    import xarray

    found = []
    for name, source in product(activations, SOURCES):
        flow = ThreeLayerGradientFlow(X, y, activation=named(name))
        states, velocities = _runs(flow, source, members, 1.1 * max(times), rate, seed, batch)
        for time, bandwidth in product(times, bandwidths):
            at = round(time / rate) - 1
            jacobians = _jacobians(flow, states[:, at])
            for run, velocity, *both in zip(states, velocities, *jacobians, strict=True):
                found.append(_errors(*local_fit(run, velocity, at, bandwidth), both))
    labels = {"activation": activations, "source": SOURCES, "time": times, "bandwidth": bandwidths}
    shape = [*map(len, labels.values()), members]
    dims = (*labels, "member", "directions")
    spread, share, error = (np.reshape(values, [*shape, *np.shape(values)[1:]]) for values in zip(*found, strict=True))
    return xarray.Dataset(
        {"spread": (dims, spread), "share": (dims, share), "error": ((*dims, "jacobian"), error)},
        coords={name: list(values) for name, values in labels.items()}
        | {"directions": np.arange(1, flow.dimension + 1), "jacobian": list(JACOBIANS)},
        attrs={"rate": rate, "batch": batch, "samples": len(X), "seed": seed},
    )


def _errors(directions: Array, spread: Array, images: Array, jacobians: list[Array]) -> tuple[Array, Array, Array]:
    """Relative spread, share and error of the first 1, ..., Q directions; NaN for those that no point tells."""

    def norms(columns: Array) -> Array:
        missing = np.full(len(directions) - columns.shape[1], np.nan)
        return np.concatenate([np.sqrt(np.add.accumulate((columns**2).sum(axis=0))), missing])

    exact = [J @ directions for J in jacobians]
    errors = [norms(images - columns) / norms(columns) for columns in exact]
    return (
        np.concatenate([spread / spread[:1], np.full(len(directions) - len(spread), np.nan)]),
        norms(exact[0]) / np.linalg.norm(jacobians[0]),
        np.stack(errors, axis=-1),
    )


def identified(data: xarray.Dataset, tolerance: float = TOLERANCE) -> xarray.Dataset:
    """How much of J `fits_along_runs` identifies: the most directions with a median error up to the tolerance.

    Over activation, source, time, jacobian, each with the bandwidth that serves best: directions, their median error,
    and their share of |J|; without any, the error along the first.
    """
    middle = data.median("member")
    count = (middle.error <= tolerance).cumprod("directions").sum("directions")
    used = middle.sel(directions=np.maximum(count, 1))[["error", "share"]].assign(directions=count)
    best = (count + 1 / (1 + used.error)).argmax("bandwidth")  # of equal counts, that with the smallest error
    return used.isel(bandwidth=best)


def direct_table(data: xarray.Dataset) -> tuple[list[str], list[list[str]]]:
    """Header and rows, for Markdown: median errors of `direct_derivatives` by step, with the kinks' part of |J|."""
    middle = data.median("member")
    header = ["activation", "time", "stencil", "kinks", *(f"h = {h:.0e}" for h in data.step.values)]
    rows = []
    for name, time, stencil in product(data.activation.values, data.time.values, data.stencil.values):
        cell = middle.sel(activation=name, time=time, stencil=stencil)
        errors = [f"{v:.0e} ({w:.0e})" if cell.kinks else f"{v:.0e}" for v, w in cell.error.values]
        rows.append([str(name), f"{time:g}", str(stencil), f"{float(cell.kinks):.2g}", *errors])
    return header, rows


def fits_table(data: xarray.Dataset) -> tuple[list[str], list[list[str]]]:
    """Header and rows, for Markdown: what `identified` says, against both Jacobians."""
    found = identified(data)
    header = ["activation", "source", "time"]
    header += [f"{what}, {against}" for against in JACOBIANS for what in ("directions", "error", "share of J")]
    rows = []
    for name, source, time in product(data.activation.values, data.source.values, data.time.values):
        row = [str(name), str(source), f"{time:g}"]
        for against in JACOBIANS:
            cell = found.sel(activation=name, source=source, time=time, jacobian=against)
            row += [f"{int(cell.directions)}", f"{float(cell.error):.2g}", f"{float(cell.share):.2g}"]
        rows.append(row)
    return header, rows


def _runs(
    flow: ThreeLayerGradientFlow, source: str, members: int, time: float, rate: float, seed: int, batch: int = 32
) -> tuple[Array, Array]:
    """States of runs and the velocities there, (members, steps, Q) both: of the run itself, or on all data."""
    driven = flow if source == SOURCES[0] else flow.minibatches(min(batch, flow.samples), seed)
    steps = round(time / rate) + 1
    run = _tangent(driven, rate).trajectory(flow.initial(members=members, seed=seed), intervals=steps).states
    states, after = run[:, :-1], run[:, 1:]
    if source == SOURCES[2]:
        many = states.reshape(-1, flow.dimension)
        after = _tangent(flow, rate).trajectory(many, intervals=1).states.reshape(states.shape)
    return states, (after - states) / rate


def _tangent(system: ThreeLayerGradientFlow | Minibatches, rate: float) -> TangentSystem:
    return system.tangent(Euler(rate)).on_one_thread()


def _jacobians(flow: ThreeLayerGradientFlow, x: Array) -> Array:
    """J at states x (members, Q), without kinks and with them: (2, members, Q, Q)."""
    return np.array([[each.jacobian(0.0, state) for state in x] for each in (flow, with_kinks(flow))])


def _relative(estimate: Array, exact: Array) -> Array:
    return np.linalg.norm(estimate - exact, axis=(-2, -1)) / np.linalg.norm(exact, axis=(-2, -1))
