"""Networks that learn, and how: layers, losses, data, and gradient flows of the weights."""

from dynsys.models.networks.deep_network import DeepNetworkFlow
from dynsys.models.networks.losses import CrossEntropy, HalfSquares, Loss
from dynsys.models.networks.perceptron import Perceptron
from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow

__all__ = ["CrossEntropy", "DeepNetworkFlow", "HalfSquares", "Loss", "Perceptron", "ThreeLayerGradientFlow"]
