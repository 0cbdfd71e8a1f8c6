"""Networks of PyTorch beside the same ones in NumPy: flow, flow, and the order of one's weights in the other's."""

import itertools

import numpy as np
import torch
from torch import nn

from dynsys import GradientFlow
from dynsys.models.activations import Tanh
from dynsys.models.networks import CrossEntropy, DeepNetworkFlow
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
from dynsys.torch import TorchGradientFlow

SAMPLES = 12


def mlp(*widths, activation=nn.Tanh, seed=0, dtype=torch.float64):
    """A perceptron with biases; the random numbers of the process are left as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1]).to(dtype)


def squares(outputs, targets):
    """One number for each sample."""
    return ((outputs - targets) ** 2).sum(dim=1)


def data(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(SAMPLES, 2))
    return X, np.sin(2 * X[:, :1]) + 0.1 * rng.normal(size=(SAMPLES, 1))


def three_layer(**options):
    X, y = data()
    ours = ThreeLayerGradientFlow(X, y, hidden=3, activation=Tanh(), **options)
    w21, w32, b1, b2 = ours.layout.unpack(np.arange(ours.dimension))
    order = np.concatenate([w21.T.ravel(), b1, w32.T.ravel(), b2])
    return ours, TorchGradientFlow(mlp(2, 3, 1), squares, X, y, **options), order


def deep(**options):
    X, labels = data()[0], np.arange(SAMPLES) % 3
    ours = DeepNetworkFlow(X, labels, (3, 2), loss=CrossEntropy, activation=Tanh(), biases=True, **options)
    layers = ours.network.unpack(np.arange(ours.dimension))
    order = np.concatenate([part for W, b in layers for part in (W.T.ravel(), b.ravel())])
    return ours, TorchGradientFlow(mlp(2, 3, 2, 3), nn.CrossEntropyLoss(), X, labels, **options), order


def expression(**options):
    X, y = data()
    columns = {"x": X[:, 0], "z": X[:, 1], "y": y[:, 0]}
    outputs = {"h": "tanh(a*x + b*z + c)", "k": "tanh(d*x + e*z + f)"}
    ours = GradientFlow.of("(y - v*h - w*k - u)^2", [*"abcdefvwu"], columns, outputs, **options)
    order = np.array([0, 1, 3, 4, 2, 5, 6, 7, 8])
    return ours, TorchGradientFlow(mlp(2, 2, 1), nn.MSELoss(), X, y, **options), order


PAIRS = {"ThreeLayerGradientFlow": three_layer, "DeepNetworkFlow": deep, "GradientFlow": expression}
