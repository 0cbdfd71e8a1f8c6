"""Covariant vectors of Lorenz 1963: the same work for all packages, and how wrong each of them is."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.measure import Contestant, Timing, race, table
from benchmarks.peers import Peer, installed
from dynsys import RK4
from dynsys.indicators import line_distance
from dynsys.models.classics import Lorenz63
from dynsys.systems.tangent import TangentSystem

Array = np.ndarray

DT, WINDOW, SETTLE = 0.01, 100_000, 2_500  # steps; those before and after the window shrink a wrong start by 1e-10
PAIRS = 5_000  # of successive vectors, at most, whose residual is taken


def vectors(rounds: int, quick: bool) -> None:
    """All three vectors after every step of a window, by all packages; ours also after every ten."""
    window = SETTLE if quick else WINDOW
    tangent, x0 = Lorenz63().tangent(RK4(DT)), np.array([1.0, 1.0, 20.0])
    print(
        f"## Covariant vectors\n\nLorenz 1963, RK4, dt = {DT}, {SETTLE} steps of warm-up, {window} of the window and "
        f"{SETTLE} of the backward transient; three vectors after every step of the window (packages in NumPy: of a "
        "tenth of it), re-orthonormalised every step unless said otherwise. Neutral: angle between the second vector "
        "and the flow, degrees. Residual: sine of the angle between a vector, pushed by the exact tangent of the step, "
        "and the next one.\n"
    )
    peers = [peer for peer in installed() if peer.vectors]
    entrants = [_project(tangent, x0, window, every) for every in (1, 10)] + [_peer(one, x0, window) for one in peers]
    notes = ["", "re-orthonormalised, and vectors, every ten steps", *(peer.how for peer in peers)]
    timings = race(entrants, rounds, time.perf_counter)
    header = ["", "ns per step of the window", "time / dynsys", "first call, s"]
    errors = ["neutral, median", "neutral, largest", "residual, median", "residual, largest", ""]
    rows = [
        _row(tangent, one, timings[0], 10 if one is timings[1] else 1, note)
        for one, note in zip(timings, notes, strict=True)
    ]
    table([*header, *errors], rows)


def neutral_angles(states: Array, vectors: Array) -> Array:
    """Angles in degrees between the second vector, which is neutral, and the velocity of Lorenz 1963."""
    velocity = Lorenz63().vector_field(0.0, states)[..., None]
    return np.degrees(np.arcsin(np.minimum(line_distance(velocity, vectors[:, :, 1:2])[:, 0], 1.0)))


def residuals(tangent: TangentSystem, states: Array, vectors: Array, every: int = 1) -> Array:
    """Sines of the angles between vectors, pushed over `every` steps, and the next ones, (pairs, k).

    Of at most PAIRS pairs, evenly spread.

    The states, too, must lead to one another: whatever its clock says, a package is judged where it says it is.
    """
    found = []
    for i in range(0, len(states) - 1, -(-(len(states) - 1) // PAIRS)):
        x, V = states[i], vectors[i]
        for _ in range(every):
            x, V = tangent.step(0, x, V)
        np.testing.assert_allclose(x, states[i + 1], rtol=1e-9, atol=1e-9, err_msg="states do not meet")
        found.append(line_distance(V, vectors[i + 1]))
    return np.array(found)


def _project(tangent: TangentSystem, x0: Array, window: int, every: int) -> Contestant:
    intervals, settle = window // every, SETTLE // every

    def run() -> tuple[Array, Array]:
        clvs = tangent.ginelli(x0, intervals=intervals, steps_per_interval=every, warmup=settle, tail=settle)
        return clvs.states, clvs.vectors

    return Contestant("dynsys", run, window)


def _peer(peer: Peer, x0: Array, window: int) -> Contestant:
    window = max(SETTLE, window // 10) if peer.share < 0.05 else window  # those in NumPy run shorter
    return Contestant(peer.name, lambda: peer.vectors(x0, SETTLE, window, SETTLE, DT), window)


def _row(tangent: TangentSystem, one: Timing, own: Timing, every: int, note: str) -> list:
    states, V = one.answer
    V = V / np.linalg.norm(V, axis=1, keepdims=True)
    angles, sines = neutral_angles(states, V), residuals(tangent, states, V, every)
    errors = [float(value) for error in (angles, sines) for value in (np.median(error), error.max())]
    return [one.name, one.median, one.over(own), one.first, *errors, note]
