"""The gradient flow of a PyTorch model in training, and under an optimiser the training itself.

flow = TorchGradientFlow(model, torch.nn.CrossEntropyLoss(), X, labels)
flow.minibatches(128, seed=1).tangent(HeavyBall(dt=0.01)).benettin(flow.initial(), intervals=100, k=5)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import attrs
import numpy as np
import torch
from torch import nn

from dynsys.compiled.kernel import Kernel
from dynsys.errors import InvalidInputError, real, real_array, whole_seed
from dynsys.steppers.stepper import Stepper
from dynsys.systems.identity.told import CLASS
from dynsys.systems.minibatches import DataFlow
from dynsys.systems.time_step import check_parameters
from dynsys.systems.torch_descent import Descent, Velocity
from dynsys.training.batch.task import Augmentation, Criterion, Task
from dynsys.training.curvature import flattened, gradient, hessian_products

Array = np.ndarray
Tensor = torch.Tensor

PARAMETERS = ("reduction", "seed")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of BatchNorm, which in training nothing uses


@attrs.frozen(eq=False, init=False)
class TorchGradientFlow(DataFlow):
    """Gradient flow of the weights of a PyTorch model, theta' = -grad L(theta), with exact tangents by double backward.

    L is the mean loss over the samples of a batch, or all. The state is the trainable parameters, flattened one after
    the other in the order of `model.parameters()`. Under `Euler(dt)` a step is gradient descent with learning rate dt,
    on `minibatches` SGD; `HeavyBall`, `Adam` and others are the optimisers of torch.optim. The tangent needs products
    of the Hessian H with vectors alone, and each costs about as much as a training step.

    Model, loss and data are copied: nothing of what is given changes, and nothing that happens to it later matters.
    Each part of the model stays in training or evaluation mode as it was given. BatchNorm in training mode takes the
    statistics of the batch; running statistics, which do not act on the weights, are left as they are, and are no part
    of the state. Dropout, and whatever else draws random numbers of PyTorch, draws in step n by the key (seed, n): a
    pure function, the same whenever the step is computed. With `minibatches(..., shared=False)` the key is (seed, n,
    member).

    Tensors stay on the device of the model and in its precision. Methods that take NumPy arrays give float64, computed
    in float64 where the model can be converted: the independent way against which float32 is held.

    Parameters
    ----------
    model : torch.nn.Module
        Called with a batch of X. Its trainable parameters are all float32 or all float64, on one device.
    loss : callable
        loss(outputs, targets) -> the mean over the samples of the batch, as torch.nn.CrossEntropyLoss() and others
        give, or one number for each sample, whose mean is taken.
    X, y : array_like or Tensor
        Inputs and targets, samples along the first axis: numbers, labels, images, sequences of tokens.
    reduction : "mean" or "sum"
        Over the samples of a batch; "sum" multiplies the mean by their number.
    seed : int
        Of the random numbers that model, loss and `augment` draw.
    augment : callable, optional
        augment(inputs of a batch, generator) -> inputs; what it draws comes from the torch.Generator alone.

    Raises
    ------
    InvalidInputError
        If these do not fit together, saying how.

    References
    ----------
    B. A. Pearlmutter, Neural Comput. 6, 147 (1994).

    Examples
    --------
    >>> from dynsys import Euler
    >>> X = np.linspace(-1.0, 1.0, 20)[:, None]
    >>> model = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    >>> flow = TorchGradientFlow(model, nn.MSELoss(), X, X**2)
    >>> tangent = flow.minibatches(5, seed=1).tangent(Euler(dt=0.1))
    >>> flow.dimension, tangent.benettin(flow.initial(), intervals=10, k=2, warmup=0).exponents.shape
    (10, (2,))
    """

    task: Task
    seed: int = 0
    rows: Array | None = None
    drawn: tuple[int, ...] = (0,)

    def __init__(
        self,
        model: nn.Module,
        loss: Criterion,
        X: Any,
        y: Any,
        *,
        reduction: Literal["mean", "sum"] = "mean",
        seed: int = 0,
        augment: Augmentation | None = None,
    ) -> None:
        self.__attrs_init__(Task.of(model, loss, X, y, augment), whole_seed(seed), reduction=reduction)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name: the network, whatever the weights that are its state; loss and data."""
        task = self.task
        unused = {name for name, module in task.module.named_modules() if module.training}
        numbers = {
            name: tensor
            for name, tensor in task.module.state_dict().items()
            if name not in task.names and not (name.endswith(STATISTICS) and name.rpartition(".")[0] in unused)
        }
        return {
            CLASS: type(self),
            "model": {
                path: {CLASS: type(module), **{n: v for n, v in vars(module).items() if not n.startswith("_")}}
                for path, module in task.module.named_modules()
            },
            "numbers": numbers,
            "trained": list(task.names),
            "loss": task.criterion,
            **{
                name: data.float() if data.is_floating_point() else data
                for name, data in (("X", task.X), ("y", task.y))
            },
            "augment": task.augment,
            "seed": self.seed,
            "reduction": self.reduction,
            **({} if self.rows is None else {"rows": self.rows}),
        }

    def _with(self, **values: Any) -> Self:
        """The same flow with other values of some fields, of one copy of the model."""
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        changed = object.__new__(type(self))
        changed.__attrs_init__(**fields | values)
        return changed

    @property
    def dimension(self) -> int:
        """Number of trainable weights."""
        return self.task.dimension

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.task.X if self.rows is None else self.rows)

    @property
    def derivative(self) -> str:
        """Where derivatives come from: gradients of gradients."""
        return "double backward"

    @property
    def precision(self) -> float:
        """Relative rounding of answers to NumPy: that of float64, where the model can be converted."""
        return float(torch.finfo(self.task.double.dtype).eps)

    @property
    def parameter_names(self) -> Sequence[str]:
        """Names of what `with_parameters` changes."""
        return PARAMETERS

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same flow with another `reduction` or `seed`."""
        check_parameters(self, values, PARAMETERS)
        return self._with(**values)

    def on(self, rows: Array) -> Self:
        """The flow on some of the samples."""
        return self._with(rows=np.asarray(rows) if self.rows is None else self.rows[rows])

    def flow_at(self, n: int) -> Self:
        """The flow in force throughout step n, with what is drawn in it."""
        return self.drawn_for(n)

    def drawn_for(self, n: int, member: int | None = None) -> Self:
        """The flow with the random numbers of step n, and of a member if they differ; itself if none are drawn."""
        return self._with(drawn=(n,) if member is None else (n, 1 + member)) if self.task.draws else self

    def initial(self, model: nn.Module | None = None) -> Array:
        """The weights of the model, or of another of the same architecture, as a state, shape (dim,)."""
        if model is None:
            return self.task.initial.double().cpu().numpy()
        own = dict(zip(self.task.names, self.task.parameters, strict=True))
        other = dict(model.named_parameters()) if isinstance(model, nn.Module) else {}
        wrong = [name for name, p in own.items() if name not in other or other[name].shape != p.shape]
        if wrong:
            raise InvalidInputError(
                f"model must have the parameters of the flow's, got none of the name and shape of {', '.join(wrong)}"
            )
        return np.concatenate([other[name].detach().double().cpu().numpy().ravel() for name in own])

    def module(self, theta: Array) -> nn.Module:
        """A model with the weights of a state (dim,), of which it is the user's to do with as he likes."""
        state = self._state("theta", theta, self.task)
        module = copy.deepcopy(self.task.module)
        moving = [p for p in module.parameters() if p.requires_grad]
        with torch.no_grad():
            for parameter, values in zip(moving, self.task.weights(state), strict=True):
                parameter.copy_(values)
        return module

    def loss(self, theta: Array) -> Array:
        """Cost L(theta), the mean or sum over the samples, shape (...)."""
        return self._of_states("theta", theta, lambda task, state: self._loss(task, task.weights(state)).detach())

    def vector_field(self, t: float, x: Array) -> Array:
        """-grad L at the states x, shape (..., dim)."""
        return self._of_states("x", x, self._slope)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Minus the Hessian at the state x times the columns of V, shape (dim, k)."""
        task, V = self.task.double, real("V", V)
        vectors = torch.as_tensor(np.ascontiguousarray(V.T)).to(task.device, task.dtype)
        products = self._linearised(task, self._state("x", x, task), vectors)[1]
        return -np.stack([_array(product) for product in products], axis=1) if len(vectors) else np.zeros(V.shape)

    def batch_kernel(self, size: int) -> Kernel | None:
        """None: PyTorch computes it."""
        return None

    def on_device_under(self, stepper: Stepper, flow_at: Callable[[int], Any] | None = None) -> Descent | None:
        """A step of gradient descent, or of an optimiser, on tensors; None for other steppers.

        `flow_at` gives the flow in force throughout step n; default: `flow_at` of this.
        """
        return Descent.by(stepper, self.flow_at if flow_at is None else flow_at, self.task)

    def on_device(self) -> Velocity | None:
        """The velocity on tensors, for steppers with stages; None where each step draws random numbers."""
        return None if self.task.draws else Velocity(self)

    def slope(self, theta: Tensor) -> Tensor:
        """-grad L at a state (dim,) on the device."""
        return self._slope(self.task, theta)

    def linearised(self, theta: Tensor, V: Tensor) -> tuple[Tensor, Iterator[Tensor]]:
        """-grad L at a state (dim,) on the device, and H v for each row v of V, (k, dim) or longer, in one buffer."""
        return self._linearised(self.task, theta, V)

    def _loss(self, task: Task, weights: Sequence[Tensor]) -> Tensor:
        loss = task.loss(weights, self.rows, (self.seed, *self.drawn))
        return loss * self.samples if self.reduction == "sum" else loss

    def _slope(self, task: Task, theta: Tensor) -> Tensor:
        weights = task.weights(theta)
        loss = self._loss(task, weights)
        with task.attention():
            found = torch.autograd.grad(loss, weights, allow_unused=True)
        return -flattened(found, weights)

    def _linearised(self, task: Task, theta: Tensor, V: Tensor) -> tuple[Tensor, Iterator[Tensor]]:
        weights = task.weights(theta)
        loss = self._loss(task, weights)
        with task.attention():
            slopes = gradient(loss, weights)
        return -flattened(slopes, weights), task.explained(hessian_products(slopes, weights, V))

    def _state(self, name: str, x: Any, task: Task) -> Tensor:
        """A state (dim,) as a tensor of a task."""
        state = real_array(name, x)
        if state.shape != (self.dimension,):
            raise InvalidInputError(f"{name} must have shape ({self.dimension},), got {state.shape}")
        return torch.as_tensor(state).to(task.device, task.dtype)

    def _of_states(self, name: str, x: Any, function: Callable[[Task, Tensor], Tensor]) -> Array:
        """A function of one state after the other, over leading axes."""
        x, task = real_array(name, x), self.task.double
        if x.shape[-1:] != (self.dimension,):
            raise InvalidInputError(f"{name} must have shape (..., {self.dimension}), got {x.shape}")
        states = x.reshape(-1, self.dimension)
        found = [_array(function(task, self._state(name, state, task))) for state in states]
        return np.array(found).reshape((*x.shape[:-1], *np.shape(found)[1:]))


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.double().cpu().numpy())
