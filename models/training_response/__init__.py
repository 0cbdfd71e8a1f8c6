"""A simple theory for training response of deep neural networks (arXiv:2405.04074).

How the output at one input answers a step of training on another (`response`), under several ways to train (`methods`),
and how that ages (`law`); `study` measures, `claims` compare, `report` writes REPORT.md.
"""

from dynsys.models.training_response.response import response, tangent_kernel

__all__ = ["response", "tangent_kernel"]
