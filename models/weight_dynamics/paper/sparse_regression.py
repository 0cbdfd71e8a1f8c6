"""Sparse regression of the equations of motion from data, which the paper tried first.

The velocity of every weight is regressed on a library of candidate functions, all monomials of the weights up to third
degree, by sequentially thresholded least squares (Brunton, Proctor & Kutz 2016), from states along training runs. For a
linear network the exact velocity is in the library. For ReLU it is as long as no sample crosses a kink: then it is a
polynomial whose coefficients are moments of the data over the open gates. For tanh it never is.

Found for the 2-2-1 network (`regressions`; the table is in the report): the exact equations are sparse, a twentieth of
all terms, and for a linear network they are found, to rounding. For ReLU a third of the gates change in a run, and for
tanh there is no polynomial: with as many terms as there are, the velocity is wrong by half and the Jacobian by more,
and every threshold that leaves few terms makes it worse. So what the paper met is confirmed; but the library is not too
dense, it does not hold the equations.
"""

from __future__ import annotations

from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys import Euler
from dynsys.models.activations import Activation, named
from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

DEGREE = 3
THRESHOLDS = (0.0, 1e-3, 1e-2, 0.1, 0.3, 1.0)
SWEEPS = 20  # of thresholding, at most
STATES = 40  # along a run


def monomials(dimension: int, degree: int = DEGREE) -> list[tuple[int, ...]]:
    """Factors of every monomial up to some degree, the constant first.

    >>> monomials(2, 2)
    [(), (0,), (1,), (0, 0), (0, 1), (1, 1)]
    """
    return [each for d in range(degree + 1) for each in combinations_with_replacement(range(dimension), d)]


def library(x: Array, degree: int = DEGREE) -> Array:
    """All `monomials` at states x (..., dim), shape (..., functions)."""
    return np.stack([x[..., list(factors)].prod(axis=-1) for factors in monomials(x.shape[-1], degree)], axis=-1)


def sparse_coefficients(candidates: Array, velocities: Array, threshold: float) -> Array:
    """Coefficients C, (functions, dim), of velocities ~ candidates C by sequentially thresholded least squares.

    Candidates (samples, functions) and velocities (samples, dim) are scaled to root mean square 1, the threshold is for
    the scaled coefficients: what is below it is left out, and the others are fitted again, until nothing changes.
    """
    scale, size = (np.sqrt(np.mean(np.abs(part) ** 2, axis=0)) for part in (candidates, velocities))
    Q, R = np.linalg.qr(candidates / scale)  # the same least squares, with few rows
    targets = Q.T @ (velocities / size)
    C = np.linalg.lstsq(R, targets, rcond=None)[0]
    for _ in range(SWEEPS):
        kept, C = (np.abs(C) >= threshold) & (C != 0), np.zeros_like(C)
        for column, keep in enumerate(kept.T):
            C[keep, column] = np.linalg.lstsq(R[:, keep], targets[:, column], rcond=None)[0]
        if np.array_equal(kept, (np.abs(C) >= threshold) & (C != 0)):
            break
    return C * size / scale[:, None]


class FixedGates(Activation):
    """sigma(d) = gate d, with the gate of every sample and hidden unit as it is given, (samples, N2)."""

    def __init__(self, gates: Array) -> None:
        self.gates = gates

    def fused(self, d: Array) -> tuple[Array, Array, Array]:
        """(s, s', s'')."""
        return self.gates * d, self.gates + 0.0 * d, 0.0 * d


def exact_coefficients(flow: ThreeLayerGradientFlow, x: Array) -> Array:
    """The velocity as a polynomial, (functions, Q), while every gate is as it is at the state x: ReLU or linear.

    Found from states without structure, where it is exact to rounding: coefficients below that are zero.
    """
    w21, _, b1, _ = flow.layout.unpack(x)
    fixed = attrs.evolve(flow, activation=FixedGates(flow.activation.dsigma(flow.X @ w21 + b1)))
    functions = len(monomials(flow.dimension))
    states = np.random.default_rng(0).normal(size=(2 * functions, flow.dimension))
    C = np.linalg.lstsq(library(states), fixed.vector_field(0.0, states), rcond=None)[0]
    return np.where(np.abs(C) > 1e-10 * np.abs(C).max(), C, 0.0)


def regressions(
    X: Array,
    y: Array,
    *,
    activations: tuple[str, ...] = ("linear", "relu", "tanh"),
    members: int = 512,
    held_out: int = 64,
    time: float = 2.0,
    thresholds: tuple[float, ...] = THRESHOLDS,
    rate: float = 1e-3,
    seed: int = 0,
) -> xarray.Dataset:
    """Sparse regression of velocities on monomials, from 40 states along each of many full-batch runs (random biases).

    Returns
    -------
    xarray.Dataset
        terms (activation, threshold): how many remain of functions x Q. fitted, held_out: root mean square error of the
        velocity relative to its root mean square, on the runs that are fitted and on others. jacobian: median over
        states of the latter of |J of the model - J| / |J|. condition (activation): condition number of the scaled
        library. exact (activation): terms of the exact velocity at the start of a run, while no gate changes; 0 where
        it is not in the library.
    """
    import xarray

    scores: list[tuple[float, ...]] = []
    conditions, exact = [], []
    for name in activations:
        flow = ThreeLayerGradientFlow(X, y, activation=named(name))
        x0 = flow.initial(biases="random", members=members + held_out, seed=seed)
        states, velocities = _along_runs(flow, x0, time, rate)
        x, other_x = (part.reshape(-1, flow.dimension) for part in np.split(states, [members]))
        f, other_f = (part.reshape(-1, flow.dimension) for part in np.split(velocities, [members]))
        candidates, others, some = library(x), library(other_x), other_x[:: max(1, len(other_x) // 64)]
        for threshold in thresholds:
            C = sparse_coefficients(candidates, f, threshold)
            errors = _error(candidates @ C, f), _error(others @ C, other_f), _jacobian_error(flow, C, some)
            scores.append((float(np.count_nonzero(C)), *errors))
        conditions.append(np.linalg.cond(candidates / np.sqrt(np.mean(candidates**2, axis=0))))
        exact.append(np.count_nonzero(exact_coefficients(flow, x0[0])) if flow.activation.piecewise_linear else 0)
    columns = np.array(scores).reshape(len(activations), len(thresholds), -1)
    names = ("terms", "fitted", "held_out", "jacobian")
    return xarray.Dataset(
        {name: (("activation", "threshold"), columns[..., i]) for i, name in enumerate(names)}
        | {"condition": ("activation", conditions), "exact": ("activation", exact)},
        coords={"activation": list(activations), "threshold": list(thresholds)},
        attrs={"members": members, "time": time, "functions": candidates.shape[1], "samples": len(X), "seed": seed},
    )


def _along_runs(flow: ThreeLayerGradientFlow, x0: Array, time: float, rate: float) -> tuple[Array, Array]:
    """States at equal intervals of runs and the velocities there, (members, STATES, Q) both."""
    tangent = flow.tangent(Euler(rate)).on_one_thread()
    states = tangent.trajectory(x0, intervals=STATES, steps_per_interval=round(time / rate / STATES)).states
    after = tangent.trajectory(states.reshape(-1, flow.dimension), intervals=1).states
    return states, (after.reshape(states.shape) - states) / rate


def _error(estimate: Array, exact: Array) -> float:
    """Root mean square over the components of their relative root mean square errors."""
    return float(np.sqrt(np.mean(np.mean((estimate - exact) ** 2, axis=0) / np.mean(exact**2, axis=0))))


def _jacobian_error(flow: ThreeLayerGradientFlow, coefficients: Array, x: Array) -> float:
    """Median over states x of the relative error of the Jacobian of a polynomial model."""
    slopes = library(x[:, None] + 1e-30j * np.eye(flow.dimension)).imag / 1e-30  # of the monomials: no cancellation
    model = (slopes @ coefficients).swapaxes(1, 2)
    exact = np.array([flow.jacobian(0.0, state) for state in x])
    return float(np.median(np.linalg.norm(model - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))))


def table(data: xarray.Dataset) -> tuple[list[str], list[list[str]]]:
    """Header and rows, for Markdown."""
    header = ["activation", "condition", "exact terms", "threshold", "terms left", "fitted", "held out", "Jacobian"]
    rows = []
    for name, threshold in product(data.activation.values, data.threshold.values):
        cell = data.sel(activation=name, threshold=threshold)
        errors = [f"{float(cell[which]):.2g}" for which in ("fitted", "held_out", "jacobian")]
        exact = f"{int(cell.exact)}" if cell.exact else "not in the library"
        rows.append([str(name), f"{float(cell.condition):.1e}", exact, f"{threshold:g}", f"{int(cell.terms)}", *errors])
    return header, rows
