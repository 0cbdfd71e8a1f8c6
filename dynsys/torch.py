"""The door for PyTorch: networks in training, and any torch function as a system.

It needs the extra `torch`; nothing else in dynsys imports it. The names are gathered here from where they belong.
"""

from __future__ import annotations

try:
    import torch as _  # noqa: F401
except ImportError as problem:
    raise ImportError(
        "dynsys.torch needs PyTorch 2.6 or later, got none: pip install 'dynsys-clv[torch]', or the build for your "
        "machine from https://pytorch.org"
    ) from problem

from dynsys.backends.torch import TorchTangent
from dynsys.systems.torch_functions import TorchFlow, TorchMap
from dynsys.systems.torch_gradient_flow import TorchGradientFlow
from dynsys.training.monitor import TrainingMonitor

__all__ = ["TorchFlow", "TorchGradientFlow", "TorchMap", "TorchTangent", "TrainingMonitor"]
