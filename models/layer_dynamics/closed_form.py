"""A balanced mode of a deep linear network: its strength in closed form."""

from __future__ import annotations

import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import positive, real, whole_number
from dynsys.models.activations import Linear
from dynsys.models.networks.deep_network import DeepNetworkFlow

Array = np.ndarray


def balanced_initial(flow: DeepNetworkFlow, strengths: Array) -> Array:
    """A balanced state, G_l = 0, of a linear network, aligned with the data: W_m ... W_1 = U diag(u) V^T.

    With the singular vectors U, V of the correlation S_yx of outputs and inputs, which must be white (S_xx = 1), the
    modes do not see each other: u_i goes its own way (`mode_strength`).

    Parameters
    ----------
    flow : DeepNetworkFlow
        Of a linear network without biases, whose hidden layers are as wide as there are strengths.
    strengths : array_like, shape (modes,)
        u_i at the start, in the order of the singular values.
    """
    u = real("strengths", strengths)
    widths = flow.network.widths
    if u.ndim != 1 or (u <= 0).any() or len(u) > min(widths):
        raise InvalidInputError(f"strengths must be positive, at most {min(widths)} of them, got {strengths!r:.100}")
    if not isinstance(flow.activation, Linear) or flow.biases or flow.scaled:
        raise InvalidInputError(
            "flow must be of a linear network without biases and scaling: only that has balanced modes"
        )
    if np.abs(flow.X.T @ flow.X / len(flow.X) - np.eye(flow.X.shape[1])).max() > 1e-8:
        raise InvalidInputError("the data of flow must be white, or its modes see each other: take X = white(X)")
    left, right, modes = *singular_vectors(flow), len(u)
    depth = len(widths) - 1
    each = u ** (1.0 / depth)
    layers = []
    for place, (inputs, outputs) in enumerate(flow.network.layers):
        W = np.zeros((outputs, inputs))
        W[:modes, :modes] = np.diag(each)
        if place == 0:
            W = W[:, :modes] @ right[:, :modes].T
        if place == depth - 1:
            W = left[:, :modes] @ W[:modes]
        layers.append((W.T, np.zeros(outputs)))
    return flow.network.pack(layers)


def singular_vectors(flow: DeepNetworkFlow) -> tuple[Array, Array]:
    """Left and right singular vectors of S_yx = <y x^T>, (outputs, r) and (inputs, r)."""
    U, _, Vt = np.linalg.svd(flow.y.T @ flow.X / len(flow.X), full_matrices=False)
    return U, Vt.T


def mode_strength(t: Array, start: float, end: float, depth: int) -> Array:
    """Strength u(t) of a balanced mode, du/dt = depth u^(2 - 2 / depth) (end - u), from `start` to the singular value.

    Two layers: u = end / (1 + (end / start - 1) exp(-2 end t)). One: u = end + (start - end) exp(-t). More: the
    equation of the single mode, integrated to 1e-12.

    References
    ----------
    A. M. Saxe, J. L. McClelland, S. Ganguli, arXiv:1312.6120.

    Examples
    --------
    >>> mode_strength(np.array([0.0, 10.0]), 0.01, 1.0, depth=2).round(4)
    array([0.01, 1.  ])
    """
    t, depth = np.atleast_1d(real("t", t)), whole_number("depth", depth, 1)
    start, end = positive("start", start), positive("end", end)
    if depth == 1:
        return end + (start - end) * np.exp(-t)
    if depth == 2:
        return end / (1.0 + (end / start - 1.0) * np.exp(-2.0 * end * t))
    from scipy.integrate import solve_ivp

    order = np.argsort(t)
    found = solve_ivp(
        lambda _, u: depth * u ** (2.0 - 2.0 / depth) * (end - u),
        (0.0, float(t.max())), [start], t_eval=t[order], method="DOP853", rtol=1e-12, atol=1e-14,
    )  # fmt: skip
    u = np.empty(len(t))
    u[order] = found.y[0]
    return u


def white(X: Array) -> Array:
    """Data of the same span with <x x^T> = 1."""
    values, vectors = np.linalg.eigh(X.T @ X / len(X))
    return X @ (vectors / np.sqrt(values)) @ vectors.T
