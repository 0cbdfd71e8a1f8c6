"""Networks: those that learn, with layers, losses, data and gradient flows of the weights; and recurrent ones."""

from dynsys.models.networks.deep_network import DeepNetworkFlow
from dynsys.models.networks.losses import CrossEntropy, HalfSquares, Loss
from dynsys.models.networks.perceptron import Perceptron
from dynsys.models.networks.recurrent import (
    GRU,
    LSTM,
    RNN,
    InputSeries,
    RecurrentNetwork,
    mean_field_exponent,
    mean_field_variance,
)
from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CrossEntropy",
    "DeepNetworkFlow",
    "HalfSquares",
    "InputSeries",
    "Loss",
    "Perceptron",
    "RecurrentNetwork",
    "ThreeLayerGradientFlow",
    "mean_field_exponent",
    "mean_field_variance",
]
