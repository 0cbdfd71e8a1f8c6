"""What dynsys does with PyTorch: functions and modules as systems.

    from dynsys.torch import TorchFlow, TorchMap

It is an extra, `pip install 'dynsys-clv[torch]'`; `import dynsys` alone never loads it.
"""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "dynsys.torch needs PyTorch: pip install 'dynsys-clv[torch]', or as https://pytorch.org says for your machine",
        name="torch",
    ) from missing

from dynsys.systems.torch_functions import TorchFlow, TorchMap

__all__ = ["TorchFlow", "TorchMap"]
