"""Minibatches: the flow of a network driven by its data, batch after batch."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys import DrivenFlow, InvalidInputError
from dynsys.errors import whole_number

if TYPE_CHECKING:
    from dynsys.compiled.kernel import Kernel
    from models.weight_dynamics.network import ThreeLayerGradientFlow

Array = np.ndarray


@lru_cache(maxsize=4096)
def permutation(seed: int, epoch: int, samples: int, member: int | None) -> Array:
    """Order of the samples in an epoch: a pure function of its arguments (member None: shared by all)."""
    key = [seed, epoch] if member is None else [seed, epoch, 1 + member]
    return np.random.default_rng(key).permutation(samples)


@attrs.frozen(eq=False)
class Minibatches(DrivenFlow):
    """A network's gradient flow driven by minibatches: under `Euler(dt)`, stochastic gradient descent.

    Step n uses `size` samples. Batches run on across the ends of epochs: sample number q of the run is number q mod
    samples of the permutation of epoch q // samples, so all batches are full. Every epoch has a new permutation, a
    pure function of (seed, epoch); with shared=False of (seed, epoch, member).

    Attributes
    ----------
    flow : ThreeLayerGradientFlow
        The full-batch flow.
    size, seed : int
    shared : bool
        Whether all members of an ensemble see the same batches.
    member : int
        Whose batches `during` gives if they differ; see `for_member`.
    """

    flow: ThreeLayerGradientFlow
    size: int
    seed: int = 0
    shared: bool = True
    member: int = 0

    def __attrs_post_init__(self) -> None:
        samples = len(self.flow.X)
        if whole_number("size", self.size, 1) > samples:
            raise InvalidInputError(f"a batch of {self.size} samples needs at least as many data; there are {samples}")
        whole_number("seed", self.seed, 0)

    @property
    def dimension(self) -> int:
        """Number of weights and biases."""
        return self.flow.dimension

    @property
    def vanishing_exponents(self) -> int:
        """Those of the flow: its invariants hold for every sample."""
        return self.flow.vanishing_exponents

    def for_member(self, member: int) -> Minibatches:
        """The flow that a member of an ensemble obeys."""
        return self if self.shared else attrs.evolve(self, member=member)

    def rows(self, n: int, steps: int = 1) -> Array:
        """Samples used in steps n, ..., n + steps - 1, shape (steps, size)."""
        samples = len(self.flow.X)
        first, last = n * self.size, (n + steps) * self.size
        epochs = range(first // samples, (last - 1) // samples + 1)
        member = None if self.shared else self.member
        order = np.concatenate([permutation(self.seed, epoch, samples, member) for epoch in epochs])
        begin = first - epochs[0] * samples
        return order[begin : begin + steps * self.size].reshape(steps, self.size)

    def during(self, n: int) -> ThreeLayerGradientFlow:
        """The gradient flow of the batch of step n."""
        rows = self.rows(n)[0]
        return attrs.evolve(self.flow, X=self.flow.X[rows], y=self.flow.y[rows])

    def loss(self, theta: Array) -> Array:
        """Cost over all data."""
        return self.flow.loss(theta)

    def initial(self, **options) -> Array:  # type: ignore[no-untyped-def]
        """Initial states of the flow; see `ThreeLayerGradientFlow.initial`."""
        return self.flow.initial(**options)

    def kernel(self) -> Kernel | None:
        """The flow's kernel, driven by rows of the data."""
        kernel = self.flow.kernel()
        if kernel is None:
            return None
        scale = 1.0 / self.size if self.flow.reduction == "mean" else 1.0
        return attrs.evolve(kernel, parameters=np.array([scale]), drive=self._drive)

    def _drive(self, n: int, steps: int, members: Array) -> Array:
        if self.shared:
            return self.rows(n, steps)[None]
        return np.array([self.for_member(int(m)).rows(n, steps) for m in members])
