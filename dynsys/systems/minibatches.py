"""Flows that sum over data, and the same flows driven by minibatches: stochastic gradient descent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, Self

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel
from dynsys.compiled.shuffle import permutations
from dynsys.errors import InvalidInputError, one_of, real_array, whole_number, whole_seed
from dynsys.steppers.stepper import Stepper
from dynsys.systems.system import Flow, PiecewiseFlow
from dynsys.systems.time_step import field_names

Array = np.ndarray


def table(name: str, value: Any) -> Array:
    """A read-only copy of data, shape (samples, columns), or an error that names them and what was given."""
    data = real_array(name, value)
    if data.ndim == 1:
        data = data[:, None]
    if data.ndim != 2 or data.size == 0:
        raise InvalidInputError(f"{name} must have shape (samples, columns), got {np.shape(value)}")
    if not np.isfinite(data).all():
        rows = np.flatnonzero(~np.isfinite(data).all(axis=1))
        raise InvalidInputError(
            f"{name} must be finite, got NaN or infinity in {len(rows)} row(s), first in row {rows[0]}"
        )
    data.flags.writeable = False
    return data


def _reduction(_: object, __: attrs.Attribute, value: Any) -> None:
    one_of("reduction", value, "mean", "sum")


@attrs.frozen(eq=False)
class DataFlow(Flow):
    """A flow whose velocity is a mean or sum over samples, as a gradient flow's is.

    Attributes
    ----------
    reduction : "mean" or "sum"
        Over the samples of a batch.
    """

    reduction: Literal["mean", "sum"] = attrs.field(default="mean", validator=_reduction, kw_only=True)

    @property
    def derives(self) -> bool:
        """Derivatives of losses are too dear to be asked for at several places of a run."""
        return True

    @property
    def descends(self) -> bool:
        """Under Euler's method it is gradient descent."""
        return True

    @property
    @abstractmethod
    def samples(self) -> int:
        """Number of samples."""

    @abstractmethod
    def on(self, rows: Array) -> DataFlow:
        """The flow on some of the samples."""

    @abstractmethod
    def batch_kernel(self, size: int) -> Kernel | None:
        """The equations as source for Numba, scaled for batches of `size` samples."""

    def drawn_for(self, n: int, member: int | None = None) -> DataFlow:
        """The flow with the random numbers of step n, and of a member if they differ, where it draws any: dropout."""
        return self

    def scale(self, samples: int) -> float:
        """Factor of the sum over some samples: 1/samples for the mean, 1 for the sum."""
        return 1.0 / samples if self.reduction == "mean" else 1.0

    def on_device_under(self, stepper: Stepper, flow_at: Callable[[int], DataFlow] | None = None) -> Any:
        """A step of its own under a stepper on tensors, where there is one.

        `flow_at` gives the flow in force throughout step n where that changes, as with minibatches.
        """
        return None

    def minibatches(self, size: int, seed: int = 0, *, shared: bool = True) -> Minibatches:
        """The same flow driven by minibatches; see `Minibatches`."""
        return Minibatches(self, size, seed, shared)

    def kernel(self) -> Kernel | None:
        """The equations as source for Numba, on all samples in every step."""
        kernel = self.batch_kernel(self.samples)
        return None if kernel is None else attrs.evolve(kernel, drive=AllRows(self.samples))


@attrs.frozen
class AllRows:
    """The drive of all samples in every step. Drives are compared: members with equal ones run side by side."""

    samples: int

    def __call__(self, n: int, steps: int, members: Array) -> Array:
        """Rows in force during some steps, (1, 1, samples)."""
        return np.arange(self.samples, dtype=np.int32)[None, None]


@attrs.frozen
class BatchRows:
    """The drive of minibatches; see `Minibatches` for its fields."""

    samples: int
    size: int
    seed: int
    shared: bool
    member: int | None

    def rows(self, n: int, steps: int, member: int) -> Array:
        """Samples used in steps n, ..., n + steps - 1, shape (steps, size)."""
        first, last = n * self.size, (n + steps) * self.size
        epochs = range(first // self.samples, (last - 1) // self.samples + 1)
        whose = None if self.shared else member if self.member is None else self.member
        order = np.concatenate([permutation(self.seed, epoch, self.samples, whose) for epoch in epochs])
        begin = first - epochs[0] * self.samples
        return order[begin : begin + steps * self.size].reshape(steps, self.size)

    def __call__(self, n: int, steps: int, members: Array) -> Array:
        """Rows in force during some steps, (1 or members, steps, size)."""
        if self.shared:
            return self.rows(n, steps, 0)[None]  # not copied: they are many
        return np.array([self.rows(n, steps, int(m)) for m in members])


EPOCHS_AT_ONCE, SAMPLES_AT_ONCE = 32, 2**18  # permutations are drawn for several epochs, if the data are few


def _draw(seed: int, block: int, epochs: int, samples: int, member: int | None) -> Array:
    """Orders of the samples in the epochs of a block."""
    rng = np.random.default_rng([seed, block] if member is None else [seed, block, 1 + member])
    return permutations(rng, epochs, samples)


_shared = lru_cache(maxsize=8)(_draw)  # few: fresh memory would take longer than the permutations
_own = lru_cache(maxsize=1024)(_draw)  # at most a gigabyte; for 1000 samples an eighth of it


def permutation(seed: int, epoch: int, samples: int, member: int | None) -> Array:
    """Order of the samples in an epoch: a pure function of its arguments (member None: shared by all)."""
    epochs = max(1, min(EPOCHS_AT_ONCE, SAMPLES_AT_ONCE // samples))
    drawn = _shared if member is None else _own
    return drawn(seed, epoch // epochs, epochs, samples, member)[epoch % epochs]


@attrs.frozen(eq=False)
class Minibatches(PiecewiseFlow):
    """A flow driven by minibatches: under `Euler(dt)`, stochastic gradient descent with learning rate dt.

    Step n uses `size` samples. Batches run on across the ends of epochs: sample number q of the run is number q mod
    samples of the permutation of epoch q // samples, so all batches are full. Every epoch has a new permutation, a
    pure function of (seed, epoch); with shared=False of (seed, epoch, member).

    Attributes
    ----------
    flow : DataFlow
        The flow on all samples.
    size, seed : int
    shared : bool
        Whether all members of an ensemble see the same batches.
    member : int or None
        Whose batches these are, if they differ. None: of member 0, until `for_member` says otherwise.
    """

    flow: DataFlow
    size: int
    seed: int = 0
    shared: bool = True
    member: int | None = None

    def __attrs_post_init__(self) -> None:
        samples = self.flow.samples
        if whole_number("size", self.size, 1) > samples:
            raise InvalidInputError(f"a batch of {self.size} samples needs at least as many data; there are {samples}")
        whole_seed(self.seed)

    @property
    def dimension(self) -> int:
        """That of the flow."""
        return self.flow.dimension

    @property
    def derives(self) -> bool:
        """As those of the flow."""
        return self.flow.derives

    @property
    def vanishing_exponents(self) -> int:
        """Those of the flow: its invariants hold for every sample."""
        return self.flow.vanishing_exponents

    def for_member(self, member: int) -> Minibatches:
        """The flow that a member of an ensemble obeys."""
        return self if self.shared or self.member is not None else attrs.evolve(self, member=member)

    @property
    def drive(self) -> BatchRows:
        """Which samples are used when."""
        return BatchRows(self.flow.samples, self.size, self.seed, self.shared, self.member)

    def rows(self, n: int, steps: int = 1) -> Array:
        """Samples used in steps n, ..., n + steps - 1, shape (steps, size)."""
        return self.drive.rows(n, steps, 0)

    @property
    def parameter_names(self) -> Sequence[str]:
        """Those of its flow, and its own fields."""
        return [*self.flow.parameter_names, *field_names(self)]

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same with other values of some of its fields or, for other names, of parameters of its flow."""
        own = field_names(self)
        of_flow = {name: value for name, value in values.items() if name not in own}
        flow = self.flow.with_parameters(of_flow) if of_flow else self.flow
        return attrs.evolve(self, **{"flow": flow} | {name: v for name, v in values.items() if name in own})

    def flow_at(self, n: int) -> DataFlow:
        """The flow on the batch of step n."""
        whose = None if self.shared else self.member or 0
        return self.flow.drawn_for(n, whose).on(self.rows(n)[0])

    def on_device_under(self, stepper: Stepper) -> Any:
        """A step under a stepper on tensors, if the flow has one."""
        return self.flow.on_device_under(stepper, self.flow_at)

    @property
    def fallback(self) -> str:
        """What the flow says."""
        return self.flow.fallback

    def kernel(self) -> Kernel | None:
        """The flow's equations as source for Numba, driven by rows of the data."""
        kernel = self.flow.batch_kernel(self.size)
        return None if kernel is None else attrs.evolve(kernel, drive=self.drive, shared=self.shared)
