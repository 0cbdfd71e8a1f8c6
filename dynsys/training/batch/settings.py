"""What a model computes, besides its numbers: kinds and settings of its modules, for stores on the disk."""

from __future__ import annotations

from typing import Any

from torch import nn

from dynsys.storage.description import code_of, public_name


def settings(model: nn.Module) -> dict[str, Any]:
    """Kind and public attributes of every module in a model; tensors and modules among these are listed elsewhere."""
    return {
        path: _kind(type(module)) | {name: v for name, v in vars(module).items() if not name.startswith("_")}
        for path, module in model.named_modules()
    }


def _kind(kind: Any) -> dict[str, str]:
    """Names of the classes of a module, with their code unless they are PyTorch's own."""
    own = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in ("torch", "builtins")]
    named = next(base for base in kind.__mro__ if base not in own)
    return {"a": f"{named.__module__}.{named.__qualname__}"} | {public_name(base): code_of(base) for base in own}
