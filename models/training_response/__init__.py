"""A simple theory for training response of deep neural networks (arXiv:2405.04074)."""

from models.training_response.response import response, tangent_kernel

__all__ = ["response", "tangent_kernel"]
