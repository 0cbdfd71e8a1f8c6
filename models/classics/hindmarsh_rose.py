"""The Hindmarsh-Rose neuron."""

import attrs

from dynsys import RK4, SymbolicFlow, parameter
from dynsys.models.classics.reference import OURS, Known, Reference


@attrs.frozen(eq=False)
class HindmarshRose(SymbolicFlow):
    """A neuron that fires in bursts: membrane potential x, recovery y, and a slow adaptation current z.

        dx/dt = y - a x^3 + b x^2 - z + current
        dy/dt = c - d x^2 - y
        dz/dt = r (s (x - x_rest) - z)

    With r << 1, z is slow: it climbs while the neuron fires, until the spikes stop, and falls while it rests, until
    they start again. For the default parameters the bursts follow each other chaotically. The trace of the Jacobian is
    2 b x - 3 a x^2 - 1 - r, and so is, on average along a run, the sum of the exponents; that of the direction of the
    flow vanishes. All quantities are dimensionless; a unit of time is the time constant of y.

    References
    ----------
    J. L. Hindmarsh, R. M. Rose, Proc. R. Soc. Lond. B 221, 87 (1984).
    """

    a: float = parameter(1.0)
    b: float = parameter(3.0)
    c: float = parameter(1.0)
    d: float = parameter(5.0)
    r: float = parameter(0.006)
    s: float = parameter(4.0)
    x_rest: float = parameter(-1.6)
    current: float = parameter(3.25)

    equations = {
        "x": "y - a*x**3 + b*x**2 - z + current",
        "y": "c - d*x**2 - y",
        "z": "r*(s*(x - x_rest) - z)",
    }
    vanishing_exponents = 1

    reference = Reference(
        start=(-1.0, -4.0, 3.2),
        stepper=RK4(0.02),
        steps_per_interval=50,
        intervals=4_000_000,
        warmup=2_000,
        axes=(2, 0),
        sampling=15,
        volume_rate=lambda system, x: 2 * system.b * x[..., 0] - 3 * system.a * x[..., 0] ** 2 - 1 - system.r,
        known=(Known.printed("0.013300(29) 0 -8.41378(50)", OURS),),
    )
