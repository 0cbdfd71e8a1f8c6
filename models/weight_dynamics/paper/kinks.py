"""Is the tangent of a ReLU network the derivative of its flow? Kinks, replicas, and two exact invariants.

With sigma'' = 0 the Jacobian is the derivative of the *step* almost everywhere. Where one of n samples crosses the kink
of hidden unit j, at h = w_j x + b_j = 0, the velocity of the flow jumps: by (2/n) e v_j g, with g = grad h, when the
gate opens. The derivative of the *flow* is multiplied there by the saltation matrix (Aizerman & Gantmakher 1958,
Müller 1995),

    S = I + (f+ - f-) g^T / (g . f-) = I + (2/n) e v_j g g^T / |h'|,

which knows no dt. The jump is O(1/n), the crossings are O(n), a third of all pairs of sample and unit within T = 1:
together they vanish neither with dt nor with more data. The integral of delta(h(t)) is the sum of 1 / |h'| over
crossings, hence S is what sigma'' = delta gives. `relu_with_kinks` has a triangle of finite width for it: the same run,
bit for bit, with the tangent of the flow, up to third order in the jump of a single sample. (A jump that turns h' back
holds the sample at its kink; neither tangent is right then.)

What to expect (the numbers are in the report). A replica at distance d crosses a kink by about d / |h'| earlier or
later. As long as that is within the same step for all crossings, replicas follow the tangent of the step, to rounding.
From about one crossing apart in a run on they leave it: each throws the replica by dt (2/n) |e v g|, whatever d is.
From a mean delay of one step on they follow the tangent with kinks. So the tangent of the step describes replicas only
at distances that vanish with dt.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys import Euler, InvalidInputError, RunState, TangentSystem
from dynsys.errors import positive
from dynsys.models.activations import Activation, ReLU, named
from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow
from dynsys.passes.run_state import forward_in_chunks

if TYPE_CHECKING:
    import xarray

Array = np.ndarray

RATES = (1e-3, 2.5e-4)
DISTANCES = tuple(10.0**-k for k in range(9, 1, -1))
BIASES = ("zero", "random")
WIDTH = 0.03  # of the triangle
INTERVALS = 100  # of a run, at whose ends replicas are compared with it
ORTHONORMALISED = 20  # steps between orthonormalisations, the paper's


def relu_with_kinks(width: float = WIDTH) -> Activation:
    """A ReLU with sigma''(d) = (1 - |d| / width) / width about its kink, which is delta(d) as width vanishes.

    A network moves with it as with `ReLU`. Its tangent is that of the flow if a sample takes several steps through the
    triangle.

    >>> relu_with_kinks(0.5).d2sigma(np.array([-1.0, -0.25, 0.0, 0.25]))
    array([0., 1., 2., 1.])
    """
    width = positive("width", width)
    source = f"""
        s1 = where(d > 0.0, 1.0, 0.0)
        s = s1 * d
        s2 = where(abs(d) < {float(width)!r}, (1.0 - abs(d) / {float(width)!r}) / {float(width)!r}, 0.0)
    """
    return type("ReLUWithKinks", (ReLU,), {"source": source, "piecewise_linear": False})()


def with_kinks(flow: ThreeLayerGradientFlow, width: float = WIDTH) -> ThreeLayerGradientFlow:
    """The same flow with the kinks of ReLU in its tangent; any other flow as it is."""
    return attrs.evolve(flow, activation=relu_with_kinks(width)) if isinstance(flow.activation, ReLU) else flow


def tangent_growth(tangent: TangentSystem, x0: Array, v: Array, steps: int) -> Array:
    """The growth log |M v| of unit vectors v after some steps from x0, both (members, dim): shape (members,)."""
    start = attrs.evolve(RunState.start(x0, tangent.dimension, 1, 0), Q=np.array(v)[..., None])
    return tangent.forward(start, intervals=1, steps_per_interval=steps, record="growth").growth[:, 0, 0]


def gates(flow: ThreeLayerGradientFlow, x: Array) -> Array:
    """Whether sigma is beyond its kink, for each state (..., Q), hidden unit and sample: (..., N2, samples)."""
    w21, _, b1, _ = flow.layout.unpack(x)
    inputs = np.concatenate([w21, b1[..., None, :]], axis=-2).swapaxes(-1, -2)
    d = inputs.reshape(-1, inputs.shape[-1]) @ np.vstack([flow.X.T, np.ones(flow.samples)])  # one product, for speed
    return (d > flow.activation.kinks[0]).reshape(*inputs.shape[:-1], -1)


def delays(flow: ThreeLayerGradientFlow, runs: Array, others: Array) -> tuple[Array, Array]:
    """How often samples cross a kink along runs (members, steps, Q), and by how many steps replicas do so apart.

    The states of replicas, (members, replicas, intervals, Q), are those at the ends of equal intervals. Shapes
    (members,) and (members, replicas): the mean over all crossings of |delay|, NaN if there is none.
    """
    interval = runs.shape[1] // others.shape[2]
    crossings, apart = [], []
    for run, other in zip(runs, others, strict=True):  # one after the other: the gates of one fill the memory
        there = gates(flow, run)
        crossings.append(np.count_nonzero(there[1:] != there[:-1]))
        differ = gates(flow, other) != there[interval - 1 :: interval]
        apart.append(np.count_nonzero(differ, axis=(1, 2, 3)) * interval)
    with np.errstate(invalid="ignore"):
        return np.array(crossings), np.array(apart) / np.array(crossings)[:, None]


def replicas(
    X: Array,
    y: Array,
    *,
    activations: tuple[str, ...] = ("relu", "tanh"),
    members: int = 32,
    time: float = 1.0,
    rates: tuple[float, ...] = RATES,
    distances: tuple[float, ...] = DISTANCES,
    width: float = WIDTH,
    seed: int = 0,
) -> xarray.Dataset:
    """Growth of random unit vectors v by tangents, and of the distance of replicas x0 + d v, on full batches.

    Returns
    -------
    xarray.Dataset
        Over activation, biases, member, rate (and distance): tangent, log|M v| / T of the step; with_kinks, the same
        with the kinks; replica, log(|x'(T) - x(T)| / d) / T, 1/time. crossings: times that a sample crosses a kink of
        a hidden unit in a run. late: by how many steps a replica crosses it earlier or later, on average over all of
        them. NaN: no crossing, or a run that diverged.

    Raises
    ------
    InvalidInputError
        If time is not a multiple of 100 of each of the rates.
    """
    import xarray

    coordinates = {"activation": activations, "biases": BIASES, "rate": rates, "distance": distances}
    found = []
    for name, biases, rate in product(activations, BIASES, rates):
        flow = ThreeLayerGradientFlow(X, y, activation=named(name))
        x0 = flow.initial(biases=biases, members=members, seed=seed)  # type: ignore[arg-type]
        found.append(_compared(flow, x0, _unit_vectors(x0, seed), rate, time, np.array(distances), width))
    dims = ("activation", "biases", "rate", "member", "distance")
    shape = (len(activations), len(BIASES), len(rates))
    variables = {}
    for name in found[0]:
        values = np.stack([cell[name] for cell in found])
        variables[name] = (dims[: 2 + values.ndim], values.reshape(*shape, *values.shape[1:]))
    return xarray.Dataset(
        variables,
        coords={name: list(labels) for name, labels in coordinates.items()},
        attrs={"time": time, "width": width, "samples": len(X), "seed": seed},
    ).transpose("activation", "biases", "member", "rate", "distance")


def _unit_vectors(x0: Array, seed: int) -> Array:
    v = np.random.default_rng([seed, 1]).normal(size=x0.shape)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def _compared(
    flow: ThreeLayerGradientFlow, x0: Array, v: Array, rate: float, time: float, distances: Array, width: float
) -> dict[str, Array]:
    """Tangents, replicas and crossings at one learning rate."""
    interval = round(time / rate / INTERVALS)
    steps = interval * INTERVALS
    if not np.isclose(steps * rate, time) or steps == 0:
        raise InvalidInputError(f"time must be a multiple of {INTERVALS} of the rate {rate!r}, got {time!r}")
    tangent = flow.tangent(Euler(rate)).on_one_thread()
    displaced = x0[:, None] + distances[:, None] * v[:, None]
    others = tangent.trajectory(displaced.reshape(-1, flow.dimension), intervals=INTERVALS, steps_per_interval=interval)
    other = others.states.reshape(*displaced.shape[:2], INTERVALS, -1)
    run = tangent.trajectory(x0, intervals=steps).states
    distance = np.linalg.norm(other[:, :, -1] - run[:, None, -1], axis=-1)
    growth = tangent_growth(tangent, x0, v, steps) / time
    compared = {"tangent": growth, "replica": np.log(distance / distances) / time}
    if not flow.activation.kinks:
        nothing = {"crossings": np.zeros(len(x0), dtype=int), "late": np.full(distance.shape, np.nan)}
        return compared | nothing | {"with_kinks": growth}
    corrected = with_kinks(flow, width).tangent(Euler(rate)).on_one_thread()
    compared["with_kinks"] = tangent_growth(corrected, x0, v, steps) / time
    crossings, late = delays(flow, run, other)
    return compared | {"crossings": crossings, "late": late}


def exponents(
    X: Array,
    y: Array,
    *,
    members: int = 64,
    time: float = 22.0,
    rate: float = 1e-3,
    width: float = WIDTH,
    seed: int = 0,
) -> xarray.Dataset:
    """All finite-time exponents of ReLU networks (He, zero biases, full batch), without kinks and with them.

    Returns
    -------
    xarray.Dataset
        exponent (tangent, member, q), 1/time, with the tangents "step" and "with kinks" along the same runs.
    """
    import xarray

    flow = ThreeLayerGradientFlow(X, y, activation=ReLU())
    x0 = flow.initial(members=members, seed=seed)
    found = []
    for each in (flow, with_kinks(flow, width)):
        start = RunState.start(x0, flow.dimension, None, seed)
        intervals = round(time / rate / ORTHONORMALISED)
        tangent = each.tangent(Euler(rate)).on_one_thread()
        parts = forward_in_chunks(tangent, start, intervals, ORTHONORMALISED, "growth", stride=intervals)
        found.append(next(parts).growth[:, 0] / (intervals * ORTHONORMALISED * rate))
    return xarray.Dataset(
        {"exponent": (("tangent", "member", "q"), np.stack(found))},
        coords={"tangent": ["step", "with kinks"], "q": np.arange(1, flow.dimension + 1)},
        attrs={"time": time, "rate": rate, "width": width, "samples": len(X), "seed": seed},
    )


def invariant_drift(
    X: Array,
    y: Array,
    *,
    activations: tuple[str, ...] = ("relu", "tanh"),
    members: int = 32,
    time: float = 1.0,
    rates: tuple[float, ...] = (2e-3, 1e-3, 5e-4, 2.5e-4),
    seed: int = 0,
) -> xarray.Dataset:
    """How exactly Q_j = |w_j|^2 + b_j^2 - |v_j|^2 is kept on full batches, by learning rate.

    The flow of ReLU conserves Q_j, a quadratic form: an Euler step changes it by dt^2 Q_j(velocity) exactly, a run by
    O(dt).

    Returns
    -------
    xarray.Dataset
        drift (activation, rate, member): max_j |Q_j(T) - Q_j(0)|, in squared weights. slope (activation): of the log
        of its median against the log of the rate.
    """
    import xarray

    found = []
    for name, rate in product(activations, rates):
        flow = ThreeLayerGradientFlow(X, y, activation=named(name))
        x0 = flow.initial(biases="random", members=members, seed=seed)
        tangent = flow.tangent(Euler(rate)).on_one_thread()
        end = tangent.trajectory(x0, intervals=1, steps_per_interval=round(time / rate)).states[:, 0]
        found.append(np.abs(flow.invariants(end) - flow.invariants(x0)).max(axis=-1))
    drift = np.reshape(found, (len(activations), len(rates), members))
    slopes = [np.polyfit(np.log(rates), np.log(each), 1)[0] for each in np.nanmedian(drift, axis=-1)]
    return xarray.Dataset(
        {"drift": (("activation", "rate", "member"), drift), "slope": ("activation", slopes)},
        coords={"activation": list(activations), "rate": list(rates)},
        attrs={"time": time, "samples": len(X), "seed": seed},
    )
