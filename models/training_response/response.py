"""The training response: how the output at one input answers a step of training on another."""

from __future__ import annotations

import numpy as np

from dynsys.models.networks.deep_network import DeepNetworkFlow
from dynsys.models.networks.perceptron import Perceptron

Array = np.ndarray


def tangent_kernel(network: Perceptron, theta: Array, X: Array, others: Array) -> Array:
    """Theta(x', x) = grad f(x') . grad f(x) of the first output, shape (len(X), len(others)).

    Of f(x) = sum_j a_j phi(h_j) + c with h_j = w_j x + b_j, it is

        sum_j [phi(h_j) phi(h_j') + a_j^2 phi'(h_j) phi'(h_j') (x x' + 1)] + 1.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, arXiv:1806.07572.
    """
    return gradients(network, theta, X) @ gradients(network, theta, others).T


def gradients(network: Perceptron, theta: Array, X: Array) -> Array:
    """Grad f(x) by the state for every input, shape (len(X), dim)."""
    return network.output_gradients(theta, X)[:, 0]


def response(flow: DeepNetworkFlow, theta: Array, sample: int, rate: float, X: Array) -> Array:
    """R(x' | x) = f_{t+1}(x') - f_t(x') after one step of gradient descent on one sample, shape (len(X),)."""
    after = theta + rate * flow.on(np.array([sample])).vector_field(0.0, theta)
    return (flow.network.outputs(after, X) - flow.network.outputs(theta, X))[:, 0]


def first_order(flow: DeepNetworkFlow, theta: Array, sample: int, rate: float, X: Array) -> Array:
    """The same to first order: -rate Theta(x', x) (f(x) - y), shape (len(X),)."""
    x, y = flow.X[[sample]], flow.y[sample, 0]
    error = flow.network.outputs(theta, x)[0, 0] - y
    return -rate * error * tangent_kernel(flow.network, theta, X, x)[:, 0]


def features(flow: DeepNetworkFlow, theta: Array) -> Array:
    """What the last hidden layer makes of the samples, shape (samples, width)."""
    return flow.network.forward(theta, flow.X)[0][-1][0]


def participation_ratio(values: Array) -> float:
    """Effective number of dimensions, (sum l)^2 / sum l^2, of the covariance of values (samples, width); 0: constant.

    Examples
    --------
    >>> round(participation_ratio(np.eye(5)), 9)
    4.0
    """
    centred = values - values.mean(axis=0)
    squares = np.linalg.svd(centred, compute_uv=False) ** 2
    return float(squares.sum() ** 2 / np.sum(squares**2)) if squares.any() else 0.0


def smallest_flip(network: Perceptron, theta: Array, x: Array, rounds: int = 200) -> float:
    """Length of an input change that flips the sign of the output at x, (inputs,), small if not the smallest.

    By steps against the gradient of the output, each to the plane where it would vanish if it were linear; then a
    bisection on the way. NaN if the sign does not flip within 200 steps.

    References
    ----------
    S.-M. Moosavi-Dezfooli, A. Fawzi, P. Frossard, arXiv:1511.04599.
    """

    def output(z: Array) -> float:
        return float(network.outputs(theta, z[None])[0, 0])

    sign, z = np.sign(output(x)), x.astype(float)
    for _ in range(rounds):
        h = 1e-5 * (1.0 + np.abs(z))
        slope = np.array([(output(z + d) - output(z - d)) for d in np.diag(h)]) / (2 * h)
        square = float(slope @ slope)
        if square == 0.0:
            return float("nan")
        step = -1.02 * output(z) / square * slope
        z = z + step * min(1.0, 0.2 / np.linalg.norm(step))  # short: the output is not linear far away
        if np.sign(output(z)) != sign:
            break
    else:
        return float("nan")
    inside, outside = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (inside + outside)
        inside, outside = (middle, outside) if np.sign(output(x + middle * (z - x))) == sign else (inside, middle)
    return float(outside * np.linalg.norm(z - x))
