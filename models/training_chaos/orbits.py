"""Orbital stability: how far networks that begin close to each other part while they learn."""

from __future__ import annotations

import attrs
import numpy as np

from dynsys import RunState, TangentSystem
from dynsys.errors import positive, whole_number, whole_seed
from dynsys.models.networks.deep_network import DeepNetworkFlow

Array = np.ndarray


def perturbed(flow: DeepNetworkFlow, theta: Array, size: float, replicas: int, seed: int, member: int = 0) -> Array:
    """Replicas of a state whose weights, not biases, are moved by U(-size, size), shape (replicas, dim).

    Keyed by (seed, member); the same directions for every size.
    """
    size, replicas = positive("size", size), whole_number("replicas", replicas, 1)
    random = np.random.default_rng([whole_seed(seed), member])
    return theta + size * flow.network.weights * random.uniform(-1.0, 1.0, size=(replicas, flow.dimension))


def orbits(tangent: TangentSystem, theta: Array, *, steps: int, every: int = 1) -> Array:
    """States of networks that begin at theta (members, dim), every so many steps from step 0 on.

    Returns
    -------
    ndarray, shape (members, 1 + steps // every, dim)
        NaN where a network has diverged.
    """
    later = tangent.trajectory(theta, intervals=steps // every, steps_per_interval=every).states
    return np.concatenate([theta[:, None], later], axis=1)


def distances(states: Array) -> Array:
    """L1 distances sum_k |w_k - w'_k| of all others from the first, (members - 1, times), of states as of `orbits`."""
    return np.abs(states[1:] - states[0]).sum(axis=-1)


def displacement(states: Array) -> Array:
    """How far networks have moved, |W_T - W_0|_1 / |W_0|_1, shape (members,), of states as of `orbits`."""
    return np.abs(states[:, -1] - states[:, 0]).sum(axis=-1) / np.abs(states[:, 0]).sum(axis=-1)


def tangent_distances(tangent: TangentSystem, theta: Array, *, steps: int) -> Array:
    """Distances to first order in the perturbation: |M_t (w' - w)|_1 with the derivative M_t of t steps.

    What the distances of networks that begin at theta (members, dim) from the first of them are while they are small,
    and what they would be if they stayed so.

    Returns
    -------
    ndarray, shape (members - 1, 1 + steps)
    """
    shifts = theta[1:] - theta[0]
    lengths = np.linalg.norm(shifts, axis=1)
    start = RunState.start(np.broadcast_to(theta[0], shifts.shape), tangent.dimension, 1, 0)
    start = attrs.evolve(start, Q=(shifts / lengths[:, None])[..., None])
    end = tangent.forward(start, intervals=steps, steps_per_interval=1, record="frames")
    growth = np.cumsum(np.log(end.R[..., 0]), axis=1)
    with np.errstate(over="ignore"):
        later = np.exp(growth + np.log(lengths)[:, None]) * np.abs(end.Qs[..., 0]).sum(axis=-1)
    return np.concatenate([np.abs(shifts).sum(axis=-1)[:, None], later], axis=1)
