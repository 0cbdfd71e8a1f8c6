"""The logistic map."""

import math

import attrs
import numpy as np

from dynsys import SymbolicMap, parameter
from dynsys.models.classics.reference import Known, Reference


@attrs.frozen(eq=False)
class Logistic(SymbolicMap):
    """The map x' = r x (1 - x) of the unit interval. For r = 4 its exponent is ln 2, exactly.

    Orbits of floating-point numbers are periodic in the end. For r = 4 some reach the fixed point 0, by way of 1/2 and
    1, within some ten million steps; there the exponent is ln 4. Average over many starts, not over one long run.

    References
    ----------
    R. M. May, Nature 261, 459 (1976).
    """

    r: float = parameter(4.0)

    equations = {"x": "r*x*(1 - x)"}

    reference = Reference(
        start=(0.1,),
        steps_per_interval=10,
        intervals=500_000,
        axes=(0, 0),
        volume_rate=lambda system, x: np.log(np.abs(system.r * (1 - 2 * x[..., 0]))),
        known=(Known((math.log(2.0),), (0.0,), "exact"),),
    )
