"""The order of the state of a three-layer network, as in the paper."""

from __future__ import annotations

import attrs
import numpy as np

Array = np.ndarray


@attrs.frozen
class Layout:
    """The state is the columns of W21 (N2 x N1), the columns of W32 (N3 x N2), b1 (N2), b2 (N3).

    With indices from 0, W21[j, i] stands at i N2 + j and W32[k, j] at N1 N2 + j N3 + k.

    >>> Layout(2, 2, 1).dimension
    9
    """

    n1: int
    n2: int
    n3: int

    @property
    def blocks(self) -> dict[str, slice]:
        """Where W21, W32, b1 and b2 stand in the state."""
        edges = np.cumsum([0, self.n1 * self.n2, self.n2 * self.n3, self.n2, self.n3])
        return {name: slice(*map(int, edges[i : i + 2])) for i, name in enumerate(("W21", "W32", "b1", "b2"))}

    @property
    def dimension(self) -> int:
        """Q, the number of weights and biases."""
        return self.n1 * self.n2 + self.n2 * self.n3 + self.n2 + self.n3

    def unpack(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """W21^T, W32^T, b1, b2 of states: (..., N1, N2), (..., N2, N3), (..., N2), (..., N3).

        States hold the matrices column by column, which makes their transposes contiguous.
        """
        w21, w32, b1, b2 = (theta[..., block] for block in self.blocks.values())
        lead = theta.shape[:-1]
        return w21.reshape(*lead, self.n1, self.n2), w32.reshape(*lead, self.n2, self.n3), b1, b2

    def pack(self, w21: Array, w32: Array, b1: Array, b2: Array) -> Array:
        """The state of given W21^T, W32^T, b1, b2: the inverse of `unpack`."""
        lead = b1.shape[:-1]
        return np.concatenate([w21.reshape(*lead, -1), w32.reshape(*lead, -1), b1, b2], axis=-1)
