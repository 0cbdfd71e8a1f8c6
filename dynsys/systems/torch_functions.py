"""Systems from functions of one state that PyTorch computes, such as the right-hand side of a neural ODE.

TorchFlow(function, 3, args=(10.0, 28.0))                        # function(t, x, sigma, rho) -> dx/dt, a tensor
TorchMap(cell, 64)                                               # a module, or cell(n, x) -> x'

Derivatives are exact, by forward mode: `torch.func.jvp`, over all vectors at once. Values and vectors come and go as
NumPy arrays; `on_device` is the same rule for tensors that stay where they are.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, Self

import attrs
import numpy as np
import torch

from dynsys.errors import InvalidInputError, real_array
from dynsys.storage.description import Described, describe
from dynsys.systems.function_arguments import (
    Function,
    check_arguments,
    further_arguments,
    how_many_vanish,
    is_function,
    taken_after,
    whole_dimension,
)
from dynsys.systems.identity.told import CLASS
from dynsys.systems.system import DifferentiableSystem, Flow, Map
from dynsys.systems.time_step import check_parameters
from dynsys.systems.torch_rule import TorchRule

Array = np.ndarray
Tensor = torch.Tensor


def _precision(value: Any) -> Any:
    if value not in (None, torch.float32, torch.float64):
        raise InvalidInputError(f"dtype must be torch.float32 or torch.float64, got {value!r:.100}")
    return value


def _place(value: Any) -> Any:
    try:
        return None if value is None else torch.device(value)
    except (RuntimeError, TypeError) as problem:
        raise InvalidInputError(
            f"device must be one of PyTorch such as 'cpu' or 'cuda', got {value!r:.100}: {problem}"
        ) from None


def _kept(given: Any, system: Any) -> dict[str, Tensor]:
    """Copies of the weights and buffers of a module: those that it has, and those that are given in their place."""
    module = system.function
    has = dict([*module.named_parameters(), *module.named_buffers()]) if isinstance(module, torch.nn.Module) else {}
    given = {} if given is None else dict(given)
    for name, tensor in given.items():
        if name not in has or not isinstance(tensor, torch.Tensor) or tensor.shape != has[name].shape:
            wanted = f"of shape {tuple(has[name].shape)}" if name in has else f"among {', '.join(has) or 'none'}"
            shape = f" of shape {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else f" {tensor!r:.50}"
            raise InvalidInputError(f"weights must be tensors of the module, {name!r} {wanted:.200}, got one{shape}")
    return {name: tensor.detach().clone() for name, tensor in (has | given).items()}


@attrs.frozen(eq=False)
class TorchSystem(DifferentiableSystem, Described, ABC):
    """What flows and maps from functions of PyTorch share.

    Attributes
    ----------
    function : callable (t, x, *args) -> tensor (dim,), or torch.nn.Module
        The rule for one state x, a tensor (dim,), by operations of PyTorch. A flow is given the time t as a tensor
        without axes, a map the whole number n. A module is a function, too: its weights and buffers are those that it
        had when the system was made, and nothing of it changes, neither here nor there. What a function reaches in
        another way, as a module that it calls, is what it is when the function is called.
    dimension : int
        Number of components of the state.
    args : tuple
        Further arguments: numbers, tensors, or arrays, which become tensors. `attrs.evolve(system, args=...)` is the
        same system with others.
    vanishing_exponents : int, optional
        How many exponents vanish, by symmetries and conserved quantities, the direction of the flow included. By
        default 1 for a flow whose velocity does not depend on t, else 0.
    dtype : torch.float32 or torch.float64, optional
        In which it is computed. By default that of the parameters of a module, else float64.
    device : str or torch.device, optional
        Where. By default where the parameters of a module are, else "cpu".
    weights : mapping, name -> tensor, optional
        Of a module, in the place of those that it has: the `state_dict()` of another time, say.

    Functions are given copies, and no graph of theirs is kept. A state that is not finite is not handed to them: the
    answer is NaN. Several states are computed at once by `torch.func.vmap`; a function that cannot be vectorised, as
    one that branches on its state, is called for one after the other. Attention is computed by its mathematical
    kernel, the only one that has a forward derivative.

    Raises
    ------
    InvalidInputError
        If a function cannot be called, or not with so many `args`, or dimension < 1; and, when it is called, if it
        fails on a tensor, if its answer is no real tensor of shape (dim,), or if it cannot be differentiated: naming
        the operation, and what to do.
    """

    function: Function = attrs.field(validator=is_function)
    dimension: int = attrs.field(converter=whole_dimension)
    args: tuple[Any, ...] = attrs.field(default=(), converter=further_arguments)
    _vanishing: int | None = attrs.field(
        default=None, converter=how_many_vanish, alias="vanishing_exponents", kw_only=True
    )
    _dtype: Any = attrs.field(default=None, converter=_precision, alias="dtype", kw_only=True)
    _device: Any = attrs.field(default=None, converter=_place, alias="device", kw_only=True)
    weights: Mapping[str, Tensor] = attrs.field(
        default=None,
        converter=attrs.Converter(_kept, takes_self=True),  # type: ignore[misc]
        kw_only=True,
        repr=lambda weights: f"<{len(weights)} tensors>",
    )

    _map: ClassVar[bool]  # whether functions are given the number of the step, not a time

    def __attrs_post_init__(self) -> None:
        """Refuse args that do not fit the function."""
        check_arguments("function", self._called, 2, self.args)

    @property
    def _called(self) -> Function:
        """What says which arguments there are."""
        return self.function.forward if isinstance(self.function, torch.nn.Module) else self.function

    @property
    def vanishing_exponents(self) -> int:
        """Number of Lyapunov exponents that vanish: as said, or that of the direction of the flow."""
        return super().vanishing_exponents if self._vanishing is None else self._vanishing

    @property
    def derivative(self) -> str:
        """Where derivatives come from: "forward mode"."""
        return "forward mode"

    @property
    def precision(self) -> float:
        """Relative rounding of an answer, that of `dtype`."""
        return float(torch.finfo(self.rule_on_tensors.dtype).eps)

    @property
    def parameter_names(self) -> Sequence[str]:
        """Names of the further arguments of `function`."""
        named = [one.name for one in taken_after(self._called, 2) if one.kind is not one.VAR_POSITIONAL]
        return named[: len(self.args)]

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same function with other values of some of `args`, named as `function` names its arguments.

        Raises
        ------
        InvalidInputError
            For a name that is not one of them, naming those that are.
        """
        names = self.parameter_names
        check_parameters(self, values, names)
        new = dict(zip(names, self.args, strict=False)) | dict(values)
        return attrs.evolve(self, args=(*new.values(), *self.args[len(names) :]))

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name, on whichever device and in whichever precision."""
        module = isinstance(self.function, torch.nn.Module)
        function: Any = {"its class": type(self.function), "text": repr(self.function)} if module else self.function
        bound = {"args": self.args} if module else {}
        function = function if module else partial(function, None, None, *self.args)
        return {CLASS: type(self), "function": function, "weights": self.weights, **bound}

    @property
    def described(self) -> dict[str, Any]:
        """For stores: a module by its class, its text and its weights."""
        is_module = isinstance(self.function, torch.nn.Module)
        arrays = [arg.detach().cpu().numpy() if isinstance(arg, torch.Tensor) else arg for arg in self.args]
        function = {"module": type(self.function), "text": repr(self.function)} if is_module else self.function
        weights = {name: tensor.cpu().numpy() for name, tensor in self.weights.items()}
        return {
            "class": type(self).__name__,
            "function": describe(function),
            "weights": weights,
            "args": arrays,
            "computed": [self.dimension, self._vanishing, str(self.rule_on_tensors.dtype)],
        }

    @cached_property
    def rule_on_tensors(self) -> TorchRule:
        """The rule and its derivative for tensors."""
        like = next((weight for weight in self.weights.values() if weight.is_floating_point()), torch.empty(0))
        known = like.dtype if self.weights and like.dtype in (torch.float32, torch.float64) else torch.float64
        dtype, device = self._dtype or known, self._device if self._device is not None else like.device

        def there(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                value = torch.from_numpy(value.copy())
            if not isinstance(value, torch.Tensor):
                return value
            return value.detach().to(device, dtype if value.is_floating_point() else value.dtype)

        args = tuple(there(value) for value in self.args)
        weights = {name: there(weight) for name, weight in self.weights.items()}
        return TorchRule(self.function, self.dimension, args, weights, dtype, device, self._map)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (dim, k)."""
        x, V = real_array("x", x), real_array("V", V)
        if x.shape != (self.dimension,) or V.ndim != 2 or len(V) != self.dimension:
            raise InvalidInputError(
                f"x must have shape ({self.dimension},) and V ({self.dimension}, k), got {x.shape} and {V.shape}"
            )
        if not (np.isfinite(x).all() and np.isfinite(V).all()):
            return np.full(V.shape, np.nan)
        if not V.shape[1]:
            return V
        rule = self.rule_on_tensors
        pushed = rule.push(t, rule.tensor(x), rule.tensor(np.ascontiguousarray(V.T)))[1]
        return pushed.cpu().numpy().astype(float).T

    def _values(self, t: float, x: Array) -> Array:
        """The rule for states (..., dim), those that are not finite apart."""
        states = real_array("x", x)
        if states.shape[-1:] != (self.dimension,):
            raise InvalidInputError(f"x must have shape (..., {self.dimension}), got {states.shape}")
        rows = states.reshape(-1, self.dimension)
        values, finite = np.full(rows.shape, np.nan), np.isfinite(rows).all(axis=-1)
        if finite.any():
            rule = self.rule_on_tensors
            given = rule.tensor(rows[finite])
            found = rule.step(t, given[0])[None] if len(given) == 1 else rule.steps(t, given)
            values[finite] = found.cpu().numpy()
        return values.reshape(states.shape)


@attrs.frozen(eq=False)
class TorchFlow(TorchSystem, Flow):
    """A flow dx/dt = function(t, x, *args) computed by PyTorch: a neural ODE as torchdiffeq takes it, for one state.

    See `TorchSystem` for the arguments. A module of another signature is called from a function:
    `TorchFlow(lambda t, x: module(x), 3)`; one that wants a batch by `lambda t, x: module(t, x[None])[0]`.

    Examples
    --------
    >>> import torch
    >>> from dynsys import RK4
    >>> def pendulum(t, x, damping):
    ...     return torch.stack([x[1], -torch.sin(x[0]) - damping * x[1]])
    >>> flow = TorchFlow(pendulum, 2, args=(0.1,))
    >>> flow.derivative, flow.jacobian(0.0, np.zeros(2)).tolist()
    ('forward mode', [[0.0, 1.0], [-1.0, -0.1]])
    >>> float(flow.tangent(RK4(0.05)).benettin([0.5, 0.0], intervals=400).exponents.sum().round(6))
    -0.1
    """

    _map = False

    def vector_field(self, t: float, x: Array) -> Array:
        """Velocity dx/dt at time t; x has shape (..., dim)."""
        return self._values(t, x)

    def on_device(self) -> TorchRule:
        """The velocity on tensors, and its derivative."""
        return self.rule_on_tensors


@attrs.frozen(eq=False)
class TorchMap(TorchSystem, Map):
    """A map x' = function(n, x, *args) computed by PyTorch, n the number of the step.

    See `TorchSystem` for the arguments.

    Examples
    --------
    >>> import torch
    >>> def henon(n, x, a, b):
    ...     return torch.stack([1 - a * x[0] ** 2 + x[1], b * x[0]])
    >>> TorchMap(henon, 2, args=(1.4, 0.3)).jacobian(0, [1.0, 0.0])
    array([[-2.8,  1. ],
           [ 0.3,  0. ]])
    """

    _map = True

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., dim)."""
        return self._values(n, x)

    def on_device(self) -> TorchRule:
        """The step on tensors."""
        return self.rule_on_tensors
