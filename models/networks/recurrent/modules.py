"""Weights of recurrent modules of PyTorch as arrays; PyTorch itself is not needed to read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsys import InvalidInputError


def weights_of(kind: str, module: Any) -> dict[str, Any]:
    """W, U, the biases b of the inputs and c of the state, and whether sigma is ReLU.

    Parameters
    ----------
    kind : str
        "RNN", "GRU" or "LSTM".
    module : torch.nn.Module
        Of that name, with one layer in one direction, or a cell.
    """
    names = {base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.nn.")}
    if not names & {kind, f"{kind}Cell"}:
        others = f"; {kind}.of reads those alone" if names else ", which is no module of PyTorch"
        raise InvalidInputError(
            f"{kind}.of takes a torch.nn.{kind} or torch.nn.{kind}Cell, got {type(module).__name__}{others}: take the "
            "part of your model that is one"
        )
    layer = kind in names
    if layer and (module.num_layers != 1 or module.bidirectional or module.proj_size):
        raise InvalidInputError(
            f"{kind}.of takes one layer in one direction without projection, got num_layers={module.num_layers}, "
            f"bidirectional={module.bidirectional}, proj_size={module.proj_size}: write such a state as a function for "
            "dynsys.torch.TorchMap"
        )
    end = "_l0" if layer else ""

    def array(name: str) -> Any:
        return getattr(module, name + end).detach().cpu().numpy().astype(float)

    W, U = array("weight_hh"), array("weight_ih")
    none = np.zeros(len(W))
    return {
        "W": W,
        "U": U,
        "b": array("bias_ih") if module.bias else none,
        "c": array("bias_hh") if module.bias else none,
        "relu": kind == "RNN" and module.nonlinearity == "relu",
    }
