"""One step of a system, whether it is a flow under a stepper or a map."""

from dynsys import FlowStep
from dynsys.compiled.kernel import map_kernel


def step_of(system, stepper=None, t0=0.0):
    """The step of a flow under a stepper; of a map, which has none, itself."""
    return system if stepper is None else FlowStep(system, stepper, t0)


def kernel_of(system, stepper=None):
    """The same for the compiler."""
    return map_kernel(system.kernel()) if stepper is None else FlowStep(system, stepper).step_kernel()
