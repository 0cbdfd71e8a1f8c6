"""Data and losses at the door: what a network is trained on as tensors, and the mean loss of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dynsys.errors import LARGEST_COUNT, InvalidInputError, real

Tensor = torch.Tensor


def as_samples(name: str, value: Any, like: Tensor) -> Tensor:
    """Data as a tensor of its own on the device of the weights, real numbers in their precision."""
    if not isinstance(value, Tensor):
        array = real(name, value, "be an array or tensor of real or whole numbers")
        given = np.asarray(value)
        if given.dtype.kind in "iub" or given.dtype in (np.float16, np.float32):  # as they are: targets may be labels
            if given.dtype.kind == "u" and given.size and given.max() > LARGEST_COUNT:
                raise InvalidInputError(f"{name} must be whole numbers up to {LARGEST_COUNT}, got {given.max()}")
            array = given
        value = torch.as_tensor(np.array(array, dtype=array.dtype.newbyteorder("=")))
    if value.is_complex() or value.layout != torch.strided or not value.ndim or not value.numel():
        raise InvalidInputError(
            f"{name} must be a dense tensor of real or whole numbers, the first axis that of the samples, got "
            f"{value.dtype} of shape {tuple(value.shape)}"
        )
    if value.is_floating_point():
        if not torch.isfinite(value).all():
            raise InvalidInputError(f"{name} must be finite, got NaN or infinity")
        return value.detach().to(like.device, like.dtype, copy=True)
    return value.to(like.device, value.dtype if value.dtype == torch.bool else torch.int64, copy=True)


def mean_loss(value: Any, samples: int) -> Tensor:
    """The mean loss of a batch from what the criterion returned."""
    if not isinstance(value, Tensor) or value.shape not in ((), (1,), (samples,)) or not value.is_floating_point():
        what = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r:.100}"
        raise InvalidInputError(
            f"loss(outputs, targets) must be the mean over the {samples} samples of a batch, a number, or one number "
            f"for each of them, got {what}"
        )
    if not value.requires_grad:
        raise InvalidInputError(
            "loss(outputs, targets) must depend on the weights by operations that PyTorch records, without .detach(), "
            ".item() or NumPy on the way, got a loss that does not require grad"
        )
    return value.mean()
