"""A function of one state that PyTorch computes, and its derivative by forward mode, on tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import attrs
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dynsys.errors import InvalidInputError
from dynsys.systems.function_arguments import Function
from dynsys.training.batch.randomness import ONE_AT_A_TIME

Array = np.ndarray
Tensor = torch.Tensor


@attrs.frozen(eq=False)
class TorchRule:
    """A function of one state on tensors, and its derivative: see `dynsys.systems.on_device.OnDevice`."""

    function: Function
    dimension: int
    args: tuple[Any, ...]
    weights: Mapping[str, Tensor]
    dtype: Any
    device: Any
    counts: bool  # whether it is given the number of a step

    @property
    def repeatable(self) -> bool:
        """Always: NumPy is given the answers of the same function."""
        return True

    def tensor(self, array: Array) -> Tensor:
        """An array as a tensor of this kind, a copy."""
        return torch.tensor(array, dtype=self.dtype, device=self.device)

    def step(self, t: float, x: Tensor) -> Tensor:
        """The answer at one state (dim,): of a flow its velocity."""
        return self._computed(t, lambda of: of(x))

    def steps(self, t: float, x: Tensor) -> Tensor:
        """The answers at states (members, dim)."""
        try:
            return self._computed(t, lambda of: torch.func.vmap(of)(x))
        except Exception:  # it branches on its state, or an operation has no rule: one state after the other
            return torch.stack([self.step(t, one) for one in x])

    def push(self, t: float, x: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        """The answer at one state (dim,), and its derivative along the rows of V, (k, dim)."""

        def along(of: Callable[[Tensor], Tensor], v: Tensor) -> tuple[Tensor, Tensor]:
            found: Any = torch.func.jvp(of, (x,), (v,))
            return found

        def at_once(of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
            value_and_vectors: Any = (None, 0)  # the value is the same for all
            return torch.func.vmap(lambda v: along(of, v), out_dims=value_and_vectors)(V)

        def one_by_one(of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
            found = [along(of, v) for v in V]
            return found[0][0], torch.stack([pushed for _, pushed in found])

        try:
            return self._computed(t, at_once)
        except Exception as problem:
            if "random numbers" in str(problem):  # one vector alone would be given other numbers than the next
                raise
            return self._computed(t, one_by_one)

    def _computed(self, t: float, compute: Callable[[Callable[[Tensor], Tensor]], Any]) -> Any:
        """What is computed of x -> function(t, x), with errors that say what to do."""
        time = int(t) if self.counts else torch.tensor(float(t), dtype=self.dtype, device=self.device)

        def of(x: Tensor) -> Tensor:
            return self._checked(self._call(time, x.clone(), *self.args))

        with ExitStack() as stack:
            stack.enter_context(ONE_AT_A_TIME)
            stack.enter_context(torch.no_grad())
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            try:
                return compute(of)
            except InvalidInputError:
                raise
            except Exception as problem:
                raise InvalidInputError(self._explained(problem)) from problem

    def _call(self, *given: Any) -> Any:
        if not isinstance(self.function, torch.nn.Module):
            return self.function(*given)
        # copies of buffers, for modules that write into them, as spectral_norm; other weights as new objects, by which
        # nn.RNN, nn.GRU and nn.LSTM see that they are not their own
        buffers = {name for name, _ in self.function.named_buffers()}
        tensors = {name: w.clone() if name in buffers else w.detach() for name, w in self.weights.items()}
        return torch.func.functional_call(self.function, tensors, given)

    def _checked(self, answer: Any) -> Tensor:
        """The answer, if it is a real tensor of the right shape."""
        if not isinstance(answer, torch.Tensor):
            raise InvalidInputError(
                f"function must return a tensor of shape ({self.dimension},), got {answer!r:.100}: put numbers "
                "together by torch.stack"
            )
        if tuple(answer.shape) != (self.dimension,) or not answer.is_floating_point():
            raise InvalidInputError(
                f"function must return a real tensor of shape ({self.dimension},), got one of {answer.dtype} of shape "
                f"{tuple(answer.shape)}"
            )
        return answer.to(self.dtype)

    def _explained(self, problem: Exception) -> str:
        """What failed, and what to do."""
        text = str(problem)
        for pattern, explanation in REMEDIES:
            if found := re.search(pattern, text):
                return explanation.format(*found.groups())
        return (
            f"function fails on a tensor of {self.dtype} of shape ({self.dimension},): {type(problem).__name__}: "
            f"{text:.300}; it must be made of operations of PyTorch, for one state and in one precision (dtype=)"
        )


REMEDIES = (
    (
        r"forward AD with (mkldnn_rnn|_cudnn_rnn|miopen_rnn)",
        "the recurrent layer is computed by {0}, which has no forward derivative in PyTorch: call .double() of the "
        "module (on a CPU), or compute under torch.backends.mkldnn.flags(enabled=False) or torch.backends.cudnn.flags("
        "enabled=False)",
    ),
    (
        r"forward AD with (\S+) that does not",
        "the operation {0} has no forward derivative in PyTorch: write it with other operations (cdist as differences, "
        "say), or give dynsys.FunctionFlow or FunctionMap a jvp of your own",
    ),
    (
        r"randomness|random operation",
        "function draws random numbers, and the same state is answered differently every time: call .eval() of a "
        "module with dropout, or make the noise a function of t",
    ),
    (
        r"mutate a captured Tensor",
        "function writes into a tensor that it keeps, as BatchNorm does in training mode: call .eval() of the module, "
        "or let the function be without memory",
    ),
    (
        r"autograd\.Function|to vmap over (\w+)",
        "function calls a torch.autograd.Function without forward derivative: define its setup_context and jvp (see "
        "'Extending torch.func' of PyTorch)",
    ),
    (
        r"data pointer of Tensor|numpy\(\) on a|__array__",
        "function leaves PyTorch, as NumPy's functions do, and its derivative is lost: use those of torch, or "
        "dynsys.FunctionFlow or FunctionMap for a function of NumPy arrays",
    ),
)
