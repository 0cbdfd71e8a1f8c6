"""Covariant vectors that do not fit into memory: their angles, from coefficients alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys.results.result import readonly
from dynsys.results.vectors import CovariantRecord

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


@attrs.frozen(eq=False, kw_only=True, repr=False)
class CovariantAngles(CovariantRecord):
    """Covariant Lyapunov vectors where they do not fit into memory: all that their coefficients say.

    The vectors are v_j = Q c_j with an orthonormal frame Q, which is not kept, so that

        v_i . v_j = c_i . c_j:

    angles, rates and exponents do not need it. Fields that are not described here are those of `CovariantVectors`.

    Attributes
    ----------
    coefficients : ndarray, shape (..., m, k, k)
        The c_j: unit columns, upper triangular; the sign of each is arbitrary.
    """

    _noun = "coefficients"

    coefficients: Array = readonly()

    @property
    def columns(self) -> Array:
        """The coefficients."""
        return self.coefficients

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time, frame_vector and vector."""
        return self._labelled({"coefficient": (("time", "frame_vector", "vector"), self.coefficients)})
