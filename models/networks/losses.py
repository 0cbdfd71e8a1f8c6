"""Losses of networks: functions of the outputs z of all samples, each divided by their number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import real, whole_number
from dynsys.systems.minibatches import table

Array = np.ndarray


def _targets(value: Any) -> Array:
    return table("y", value)


@attrs.frozen(eq=False)
class Loss(ABC):
    """A mean over samples of a function of their outputs; z has shape (..., samples, outputs).

    A subclass gives `value`, `errors` and `errors_along`. A flow is given the class, and makes the loss of its own y.

    Attributes
    ----------
    y : array_like, shape (samples, outputs)
        What the outputs should be; a kind of loss may take something else, such as labels.
    """

    y: Array = attrs.field(converter=_targets)

    @property
    def targets(self) -> Array:
        """What the outputs should be, (samples, outputs)."""
        return self.y

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self.targets.shape[1])

    @property
    def kind(self) -> KindOfLoss:
        """What makes the same loss of the y of some of the samples: the class, with its other fields."""
        others = {field.alias: getattr(self, field.name) for field in attrs.fields(type(self)) if field.name != "y"}
        return partial(type(self), **others) if others else type(self)

    @abstractmethod
    def value(self, z: Array) -> Array:
        """L, shape (...)."""

    @abstractmethod
    def errors(self, z: Array) -> Array:
        """dL/dz, shape of z."""

    @abstractmethod
    def errors_along(self, z: Array, dz: Array) -> Array:
        """The derivative of dL/dz along dz, (..., samples, outputs)."""

    @property
    def source(self) -> str:
        """The last two for the compiler, or empty: then NumPy computes them.

        Python source that defines `errors(z, e, targets)`, which writes dL/dz into e and may overwrite z, and
        `errors_along(z, dz, de, targets)`, which is given that z and writes the derivative into de. All arrays have
        shape (outputs, samples): the mean is over z.shape[1] samples.
        """
        return ""


KindOfLoss = Callable[[Any], Loss]
"""A class of losses, or a function that makes one of y."""


def labels_of(value: Any) -> Array:
    """Labels as a read-only array of whole numbers, or an error that says what came."""
    wanted = "be whole numbers 0, 1, ..., one for each sample"
    real("labels", value, wanted)
    given = np.asarray(value)
    if given.ndim != 1 or given.dtype.kind not in "iu" or given.size == 0 or given.min() < 0:
        raise InvalidInputError(f"labels must {wanted}, got {value!r:.100}")
    labels = given.astype(np.int64)
    labels.flags.writeable = False
    return labels


@attrs.frozen(eq=False)
class CrossEntropy(Loss):
    """L = -mean over the samples of ln softmax(z)_label.

    Attributes
    ----------
    y : array_like of int, shape (samples,)
        Labels of the classes 0, 1, ...
    classes : int, optional
        Number of classes, and of outputs. Left out, each of 0, 1, ... must be there.
    """

    y: Array = attrs.field(converter=labels_of)
    classes: int | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse labels that are not those of the classes."""
        classes = self.outputs
        if self.classes is None and (len(np.unique(self.y)) != classes or classes < 2):
            found = np.unique(self.y)
            raise InvalidInputError(f"labels must have two classes at least and each of 0, 1, ..., got {found}")
        if self.y.max() >= whole_number("classes", classes, 2):
            raise InvalidInputError(f"labels of {classes} classes must be below {classes}, got {self.y.max()}")

    @property
    def targets(self) -> Array:
        """1 for the right class, 0 for the others."""
        return np.eye(self.outputs)[self.y]

    @property
    def outputs(self) -> int:
        """One for each class."""
        return int(self.y.max()) + 1 if self.classes is None else self.classes

    @property
    def kind(self) -> KindOfLoss:
        """Some of the samples may lack a class."""
        return partial(CrossEntropy, classes=self.outputs)

    def value(self, z: Array) -> Array:
        """L, shape (...)."""
        z = z - z.max(axis=-1, keepdims=True)
        right = z[..., np.arange(len(self.y)), self.y]
        return np.mean(np.log(np.exp(z).sum(axis=-1)) - right, axis=-1)

    def errors(self, z: Array) -> Array:
        """(softmax(z) - targets) / samples."""
        e = _softmax(z) / len(self.y)
        e[..., np.arange(len(self.y)), self.y] -= 1.0 / len(self.y)
        return e

    def errors_along(self, z: Array, dz: Array) -> Array:
        """P (dz - p . dz) / samples."""
        p = _softmax(z)
        return p * (dz - np.sum(p * dz, axis=-1, keepdims=True)) / len(self.y)

    @property
    def source(self) -> str:
        """The same for the compiler."""
        return CROSS_ENTROPY


def _softmax(z: Array) -> Array:
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p


@attrs.frozen(eq=False)
class HalfSquares(Loss):
    """L = 1/2 mean over the samples of |z - y|^2.

    Attributes
    ----------
    y : array_like, shape (samples,) or (samples, outputs)
    """

    def value(self, z: Array) -> Array:
        """L, shape (...)."""
        return 0.5 * np.mean(np.sum((z - self.y) ** 2, axis=-1), axis=-1)

    def errors(self, z: Array) -> Array:
        """(z - y) / samples."""
        return (z - self.y) / len(self.y)

    def errors_along(self, z: Array, dz: Array) -> Array:
        """The changes dz / samples."""
        return dz / len(self.y)

    @property
    def source(self) -> str:
        """The same for the compiler."""
        return HALF_SQUARES


CROSS_ENTROPY = '''
@njit
def errors(z, e, targets):
    """Outputs become probabilities p, and e the errors."""
    for s in range(z.shape[1]):
        largest = z[0, s]
        for q in range(1, z.shape[0]):
            largest = max(largest, z[q, s])
        total = 0.0
        for q in range(z.shape[0]):
            z[q, s] = exp(z[q, s] - largest)
            total += z[q, s]
        for q in range(z.shape[0]):
            z[q, s] /= total
            e[q, s] = (z[q, s] - targets[q, s]) / z.shape[1]


@njit
def errors_along(p, dz, de, targets):
    """The derivative of the errors."""
    for s in range(p.shape[1]):
        mean = 0.0
        for q in range(p.shape[0]):
            mean += p[q, s] * dz[q, s]
        for q in range(p.shape[0]):
            de[q, s] = p[q, s] * (dz[q, s] - mean) / p.shape[1]

'''

HALF_SQUARES = """
@njit
def errors(z, e, targets):
    for q in range(z.shape[0]):
        for s in range(z.shape[1]):
            e[q, s] = (z[q, s] - targets[q, s]) / z.shape[1]


@njit
def errors_along(z, dz, de, targets):
    for q in range(z.shape[0]):
        for s in range(z.shape[1]):
            de[q, s] = dz[q, s] / z.shape[1]

"""
