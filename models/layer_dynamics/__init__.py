"""Layer dynamics of linearised neural nets (arXiv:1904.10689)."""

from models.deep_network import DeepNetworkFlow

__all__ = ["DeepNetworkFlow"]
