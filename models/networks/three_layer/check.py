"""The Jacobian of the learning network, held against itself: four independent ways, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys.models.networks.three_layer.jacobian import BLOCKS, block_slices

if TYPE_CHECKING:
    from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow

Array = np.ndarray

TOLERANCE = 1e-11  # of the largest entry of J: all four ways are exact up to rounding


@attrs.frozen
class BlockCheck:
    """Largest differences of one block from the paper's formula, relative to the largest entry of J."""

    equation: int
    row: str
    column: str
    symbolic: float
    jvp: float
    complex_step: float

    @property
    def agrees(self) -> bool:
        """Whether all differences are within `TOLERANCE`."""
        return max(self.symbolic, self.jvp, self.complex_step) <= TOLERANCE


def complex_step_jacobian(flow: ThreeLayerGradientFlow, theta: Array) -> Array:
    """J by the complex step, Im f(theta + i h e_j) / h, exact to rounding: no difference is taken.

    References
    ----------
    W. Squire, G. Trapp, SIAM Rev. 40, 110 (1998).
    """
    h = 1e-30
    return flow.vector_field(0.0, theta + 1j * h * np.eye(flow.dimension)).imag.T / h


def check_jacobian(flow: ThreeLayerGradientFlow, theta: Array) -> list[BlockCheck]:
    """Compare Eqs. (8)-(23) with SymPy's Jacobian, the matrix-free product and the complex step, at one state."""
    formulas = flow.jacobian(0.0, theta)
    others = (
        flow.symbolic_jacobian(theta),
        flow.jvp(0.0, theta, np.eye(flow.dimension)),
        complex_step_jacobian(flow, theta),
    )
    largest = np.max(np.abs(others[2]))

    def difference(other: Array, block: tuple[slice, slice]) -> float:
        return float(np.max(np.abs(formulas[block] - other[block])) / largest)

    return [
        BlockCheck(equation, *BLOCKS[equation], *(difference(other, block) for other in others))
        for equation, block in block_slices(flow.layout).items()
    ]
