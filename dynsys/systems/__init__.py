"""Systems, how they are defined, and their linearised step.

`system` has the contracts of maps and flows, `time_step` that of one step, `tangent` the linearised step.
Systems come from equations (`symbolic`), functions (`functions`) or a loss (`gradient_flow`, on `minibatches`); maps
are made of flows by `stroboscopic` and `poincare`.
"""

from dynsys.systems.minibatches import DataFlow, Minibatches
from dynsys.systems.system import DynamicalSystem, Flow, FlowStep, Map, PiecewiseFlow
from dynsys.systems.tangent import TangentSystem
from dynsys.systems.time_step import TimeStep

__all__ = [
    "DataFlow",
    "DynamicalSystem",
    "Flow",
    "FlowStep",
    "Map",
    "Minibatches",
    "PiecewiseFlow",
    "TangentSystem",
    "TimeStep",
]
