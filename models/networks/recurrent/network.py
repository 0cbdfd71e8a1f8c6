"""What recurrent networks share: weights, inputs that drive them, and how both are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import attrs
import numpy as np

from dynsys import InvalidInputError, Map
from dynsys.errors import finite, real_array, whole_number, whole_seed
from dynsys.models.networks.recurrent.inputs import InputSeries, an_input_series
from dynsys.models.networks.recurrent.modules import weights_of
from dynsys.systems.array_parameters import checked_array

Array = np.ndarray


def short(array: Array) -> str:
    """An array in the text of a network."""
    return f"<array {array.shape}>"


def _weights(value: Any) -> Array:
    W = checked_array("W", value)
    if W.ndim != 2:
        raise InvalidInputError(f"W must be a matrix of weights, got an array of shape {W.shape}")
    return W


def of_shape(name: str, value: Any, shape: tuple[int | None, ...]) -> Array:
    """An array of some shape, zeros where nothing is given."""
    array = np.zeros([length or 0 for length in shape]) if value is None else real_array(name, value)
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("inputs" if length is None else str(length) for length in shape)
        raise InvalidInputError(f"{name} must have shape ({wanted}{',' * (len(shape) == 1)}), got {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    array.flags.writeable = False
    return array


def _input_weights(value: Any, network: Any) -> Array:
    return of_shape("U", value, (len(network.W), None))


def _bias(value: Any, network: Any) -> Array:
    return of_shape("b", value, (len(network.W),))


@attrs.frozen(eq=False)
class RecurrentNetwork(Map, ABC):
    """What recurrent networks share: their weights, and what drives them.

    Attributes
    ----------
    W : array_like, shape (gates units, units)
        From state to units; the gates, if there are several, one below the other, in the order of PyTorch.
    U : array_like, shape (gates units, inputs), optional
        From inputs to units.
    b : array_like, shape (gates units,), optional
        Biases; 0 by default.
    inputs : InputSeries, or array_like, shape (steps, inputs), optional
        u_0, u_1, ...; without them the network is autonomous, u = 0.

    Raises
    ------
    InvalidInputError
        For other shapes, or entries that are not finite.
    """

    gates: ClassVar[int] = 1

    W: Array = attrs.field(converter=_weights, repr=short)
    U: Array = attrs.field(default=None, converter=attrs.Converter(_input_weights, takes_self=True), repr=short)  # type: ignore[misc]
    b: Array = attrs.field(default=None, converter=attrs.Converter(_bias, takes_self=True), repr=short)  # type: ignore[misc]
    inputs: InputSeries | None = attrs.field(default=None, converter=an_input_series)

    def __attrs_post_init__(self) -> None:
        """Refuse weights and inputs that do not fit."""
        if len(self.W) != self.gates * self.units:
            raise InvalidInputError(
                f"W of {type(self).__name__} must have shape ({self.gates} units, units), got {self.W.shape}"
            )
        if self.inputs is not None and self.inputs.size != self.U.shape[1]:
            raise InvalidInputError(
                f"inputs of size {self.inputs.size} need input weights U of shape ({len(self.W)}, {self.inputs.size}), "
                f"got {self.U.shape}"
            )

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.W.shape[1])

    @property
    def dimension(self) -> int:
        """Number of components of the state."""
        return self.units

    def driven(self, n: int) -> Array:
        """U u_n + b of step n, shape (gates units,)."""
        return self.b if self.inputs is None else self.U @ self.inputs.at(n) + self.b

    @classmethod
    def of(cls, module: Any, inputs: Any = None) -> Self:
        """The network of a module of PyTorch: a cell, or one layer in one direction, with the weights it has now.

        Parameters
        ----------
        module : torch.nn.RNN, GRU or LSTM, or RNNCell, GRUCell or LSTMCell
            Of the kind of this class.
        inputs : InputSeries, or array_like, shape (steps, inputs), optional

        Raises
        ------
        InvalidInputError
            For what has several layers, two directions or a projection, saying so.
        """
        return cls(**cls._of(weights_of(cls.__name__, module)), inputs=inputs)

    @classmethod
    @abstractmethod
    def _of(cls, found: dict[str, Any]) -> dict[str, Any]:
        """Arguments from W, U, and the biases b of the inputs and c of the state."""


def drawn(gates: int, units: int, seed: int, inputs: Any, scale: float) -> tuple[Array, Array | None, Any]:
    """W and U of standard deviations 1/sqrt(units) and scale, and the inputs as a series."""
    units, rng = whole_number("units", units, 1), np.random.default_rng(whole_seed(seed))
    inputs = an_input_series(inputs)
    W = rng.normal(size=(gates * units, units)) / np.sqrt(units)
    U = None if inputs is None else finite("scale", scale) * rng.normal(size=(gates * units, inputs.size))
    return W, U, inputs
