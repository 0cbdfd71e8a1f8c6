"""What a network minimises: its loss on a batch, as a pure function of weights, rows and a key.

A module, its loss and its data are copied once and never changed. Weights are handed in from outside, in the order of
`model.parameters()`; buffers, such as the running statistics of BatchNorm, are copied for each call, so that nothing is
remembered; and random numbers, those of dropout, come from a key and not from the state of a generator.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from dynsys.errors import InvalidInputError
from dynsys.storage.description import Described
from dynsys.training.batch.randomness import ONE_AT_A_TIME, drawing, kept, states
from dynsys.training.batch.samples import as_samples, mean_loss
from dynsys.training.batch.settings import settings
from dynsys.training.curvature import flattened, gradient, hessian_products, pieces
from dynsys.training.second_derivatives.attention import FUSED, differentiable_attention
from dynsys.training.second_derivatives.obstacles import check, check_loss, explain
from dynsys.training.second_derivatives.padding import padding_rows

Array = np.ndarray
Tensor = torch.Tensor
Criterion = Callable[[Any, Tensor], Tensor]
Augmentation = Callable[[Tensor, torch.Generator], Tensor]

DTYPES = (torch.float32, torch.float64)
TRIED = 32  # samples on which a loss is tried before it is taken: of so many, normal numbers of two precisions differ
REPEATED = 100.0  # roundings by which a loss may differ from itself
SAME_LOSS = 1e-3  # relative difference of losses in float32 and float64 that rounding explains: noise is the same


def _shown(data: Tensor) -> str:
    return f"<{data.dtype} {tuple(data.shape)} on {data.device}>"


@attrs.frozen(eq=False)
class Task(Described):
    """A module, its loss and its data; made by `of`.

    Attributes
    ----------
    module : nn.Module
        In training or evaluation mode as it was given, each part of it.
    criterion : callable
        (outputs, targets) -> the mean over the samples of a batch, or one number for each of them.
    X, y : Tensor
        Inputs and targets; their first axis is that of the samples.
    augment : callable or None
        (inputs of a batch, generator) -> inputs.
    """

    module: nn.Module = attrs.field(repr=lambda module: type(module).__name__)
    criterion: Criterion
    X: Tensor = attrs.field(repr=_shown)
    y: Tensor = attrs.field(repr=_shown)
    augment: Augmentation | None = None

    @classmethod
    def of(cls, model: Any, criterion: Any, X: Any, y: Any, augment: Any = None) -> Task:
        """Copies of model and data, on the device of the model, real data in its precision; tried on a few samples.

        Raises
        ------
        InvalidInputError
            For what is no module or no loss, for data that do not fit, and where the loss cannot be computed.
        """
        if not isinstance(model, nn.Module):
            raise InvalidInputError(f"model must be a torch.nn.Module, got {model!r:.100}")
        for name, function in (("loss", criterion), ("augment", augment)):
            if not (callable(function) or (name == "augment" and function is None)):
                raise InvalidInputError(f"{name} must be a function of two arguments, got {function!r:.100}")
        if isinstance(criterion, nn.Module) and getattr(criterion, "reduction", "mean") == "sum":
            raise InvalidInputError(
                f"loss must be the mean over samples, got {criterion} with reduction='sum': leave that out there, and "
                "give reduction='sum' to the flow"
            )
        moving = [p for p in model.parameters() if p.requires_grad]
        kinds = {(p.dtype, p.device) for p in moving}
        if len(kinds) != 1 or moving[0].dtype not in DTYPES:
            found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds)) or "none that requires grad"
            raise InvalidInputError(
                "the trainable parameters of the model must be all float32 or all float64, on one device, got "
                f"{found}: convert it by model.to(...)"
            )
        inputs, targets = (as_samples(name, value, moving[0]) for name, value in (("X", X), ("y", y)))
        if len(inputs) != len(targets):
            raise InvalidInputError(f"X has {len(inputs)} samples but y has {len(targets)}")
        check(model, torch.optim.SGD(moving))
        _check_padding(model, inputs)
        try:
            own = copy.deepcopy(model)
            if isinstance(criterion, nn.Module):  # with weights of classes, for one
                criterion = copy.deepcopy(criterion).to(moving[0].device, moving[0].dtype)
        except Exception as problem:
            raise InvalidInputError(f"model and loss must be such that copy.deepcopy can copy: {problem}") from problem
        task = cls(own, criterion, inputs, targets, augment)
        weights, loss = task._repeated()
        check_loss(loss)
        slopes = gradient(loss, weights)
        for _ in task.explained(hessian_products(slopes, weights, flattened(slopes, weights)[None])):
            pass
        return task

    @property
    def described(self) -> dict[str, Any]:
        """What stands on the disk for it: code and settings of every module, all numbers, the loss."""
        numbers = {name: tensor.detach().cpu().numpy() for name, tensor in self.module.state_dict().items()}
        trained = {name: p.requires_grad for name, p in self.module.named_parameters()}
        criterion = settings(self.criterion) if isinstance(self.criterion, nn.Module) else self.criterion
        return {
            "torch": torch.__version__,
            "model": settings(self.module),
            "numbers": numbers,
            "trained": trained,
            "loss": criterion,
            "X": self.X.cpu().numpy(),
            "y": self.y.cpu().numpy(),
            "augment": self.augment,
        }

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the trainable parameters, each once, in the order of `module.parameters()`."""
        return tuple(name for name, p in self.module.named_parameters() if p.requires_grad)

    @cached_property
    def parameters(self) -> tuple[Tensor, ...]:
        """The trainable parameters as they were given: nothing changes them."""
        return tuple(p.detach() for p in self.module.parameters() if p.requires_grad)

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights."""
        return self.parameters[0].dtype

    @property
    def device(self) -> torch.device:
        """That of the weights."""
        return self.parameters[0].device

    @cached_property
    def dimension(self) -> int:
        """Number of trainable weights."""
        return sum(p.numel() for p in self.parameters)

    @property
    def initial(self) -> Tensor:
        """The trainable parameters as they were given, one after the other, (n,)."""
        return torch.cat([p.reshape(-1) for p in self.parameters])

    def weights(self, theta: Tensor) -> list[Tensor]:
        """The weights of a state (n,) in their shapes, to be differentiated: views of it."""
        return [piece.requires_grad_() for piece in pieces(theta.detach(), self.parameters)]

    def loss(self, weights: Sequence[Tensor], rows: Array | None = None, key: Sequence[int] = (0,)) -> Tensor:
        """Mean loss over some samples (default: all) of the module with these weights, with its graph.

        `key` is that of all random numbers that the module, its loss and `augment` draw.
        """
        if not self.draws:
            return self._loss(weights, rows, torch.default_generator)
        with drawing(self.device, key) as generator:
            return self._loss(weights, rows, generator)

    def _loss(self, weights: Sequence[Tensor], rows: Array | None, generator: torch.Generator) -> Tensor:
        if rows is None:
            X, y = self.X.clone(), self.y.clone()  # a model may write into its input
        else:
            index = torch.as_tensor(rows, dtype=torch.int64).to(self.device)
            X, y = self.X[index], self.y[index]
        with torch.enable_grad():
            if self.augment is not None:
                X = self.augment(X, generator)
            named = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
            named |= zip(self.names, weights, strict=True)
            with self.attention():
                outputs = functional_call(self.module, named, (X,))
            return mean_loss(self.criterion(outputs, y), len(X))

    @contextmanager
    def attention(self) -> Iterator[None]:
        """A context in which attention has a second derivative, for passes forward and back, one thread at a time."""
        with ONE_AT_A_TIME, differentiable_attention(*self._namespaces):
            yield

    @cached_property
    def _namespaces(self) -> list[dict[str, Any]]:
        """Those in which the classes of the module are written: they may have a name of their own for attention."""
        names = {base.__module__ for module in self.module.modules() for base in type(module).__mro__}
        spaces = [vars(sys.modules[name]) for name in sorted(names) if name in sys.modules]
        return [space for space in spaces if any(value is FUSED for value in space.values())]

    @cached_property
    def draws(self) -> bool:
        """Whether random numbers are drawn: by the module, by its loss, or by `augment`."""
        with kept(self.device):
            before = states(self.device)
            self._tried()
            return self.augment is not None or not torch.equal(before, states(self.device))

    def explained(self, products: Iterator[Tensor]) -> Iterator[Tensor]:
        """Products with the Hessian, or an error that names operator, module and remedy where there are none."""
        while True:
            try:
                with self.attention():  # checkpoints run forward once more
                    product = next(products, None)
            except RuntimeError as problem:
                raise explain(problem, self.module) from problem
            if product is None:
                return
            yield product

    def _tried(self) -> tuple[list[Tensor], Tensor]:
        """Weights and loss of a few samples, or an error that says why there is none."""
        rows = np.arange(min(TRIED, len(self.X)))
        weights = self.weights(self.initial)
        try:
            loss = self._loss(weights, rows, torch.Generator(self.device).manual_seed(0))
        except InvalidInputError:
            raise
        except Exception as problem:
            X, y = (f"{tuple(part.shape)} {part.dtype}" for part in (self.X[rows], self.y[rows]))
            raise InvalidInputError(
                f"loss(model(X), y) must work on the first samples, X {X} and y {y}, got an error: {problem}"
            ) from problem
        return weights, loss

    def _repeated(self) -> tuple[list[Tensor], Tensor]:
        """The same, if the loss is a function: equal whenever it is computed with the same random numbers."""
        found = []
        for _ in range(2):
            with drawing(self.device, (0,)):
                weights, loss = self._tried()
            found.append(loss.item())
        rounding = REPEATED * torch.finfo(self.dtype).eps  # sums on a GPU take any order
        if abs(found[0] - found[1]) > rounding * abs(found[0]):
            raise InvalidInputError(
                "loss(model(X), y) must be the same whenever it is computed with the same weights, got "
                f"{found[0]:.10g} and {found[1]:.10g}: draw random numbers by PyTorch, not by NumPy or random, and let "
                "the model remember nothing"
            )
        return weights, loss

    @cached_property
    def double(self) -> Task:
        """The same in float64, on the CPU where the device has none; itself where that cannot be computed.

        What is drawn may be other numbers, but for the masks of dropout.
        """
        if self.dtype == torch.float64:
            return self
        where = "cpu" if self.device.type == "mps" else self.device
        X, y = (part.to(where, torch.float64 if part.is_floating_point() else None) for part in (self.X, self.y))
        criterion = self.criterion
        if isinstance(criterion, nn.Module):
            criterion = copy.deepcopy(criterion).to(where, torch.float64)
        task = Task(copy.deepcopy(self.module).to(where, torch.float64), criterion, X, y, self.augment)
        try:
            with kept(task.device):
                task._tried()
        except (InvalidInputError, RuntimeError):  # it says float32 somewhere
            return self
        return task

    @cached_property
    def same_in_double(self) -> bool:
        """Whether the loss is the same function in float64, random numbers included."""
        if self.double is self or not self.draws:
            return True
        found = []
        for task in (self, self.double):
            with drawing(task.device, (0,)):
                found.append(task._tried()[1].item())
        return abs(found[0] - found[1]) <= SAME_LOSS * abs(found[0])


def _check_padding(model: nn.Module, X: Tensor) -> None:
    """Refuse samples with padding: its row is a part of the state by which no derivative is known."""
    for weight, row in padding_rows(model):
        if weight.requires_grad and (X.is_floating_point() or bool(X.eq(row).any())):
            raise InvalidInputError(
                f"samples must have no padding, got an embedding with padding_idx={row}, whose row has no gradient in "
                "PyTorch though the loss depends on it, so that the tangent is not that of the flow: leave padding_idx "
                "out (the row is then trained, too), or follow the training with a TrainingMonitor"
            )
