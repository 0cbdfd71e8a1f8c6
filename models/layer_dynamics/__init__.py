"""Layer dynamics of linearised neural nets (arXiv:1904.10689)."""

from models.layer_dynamics.flow import DeepNetworkFlow

__all__ = ["DeepNetworkFlow"]
