"""The hyperchaotic system of Rössler, 1979."""

import attrs

from dynsys import RK4, SymbolicFlow, parameter
from dynsys.models.classics.reference import OURS, Known, Reference


@attrs.frozen(eq=False)
class HyperchaoticRoessler(SymbolicFlow):
    """The first flow with two positive exponents: a Rössler band that a fourth variable w unfolds.

        dx/dt = -y - z,   dy/dt = x + a y + w,   dz/dt = b + x z,   dw/dt = -c z + d w

    w grows on its own (d > 0) and is drained by the bursts of z. The trace of the Jacobian is a + d + x, and so is, on
    average, the sum of the exponents. All quantities are dimensionless. Many states near the attractor
    escape to infinity: start on it.

    References
    ----------
    O. E. Rössler, Phys. Lett. A 71, 155 (1979).
    """

    a: float = parameter(0.25)
    b: float = parameter(3.0)
    c: float = parameter(0.5)
    d: float = parameter(0.05)

    equations = {
        "x": "-y - z",
        "y": "x + a*y + w",
        "z": "b + x*z",
        "w": "-c*z + d*w",
    }
    vanishing_exponents = 1

    reference = Reference(
        start=(-10.0, -6.0, 0.0, 10.0),
        stepper=RK4(0.005),
        steps_per_interval=10,  # in a burst of z, tangent vectors shrink like exp(-250 t)
        intervals=15_000_000,
        warmup=20_000,
        axes=(0, 3),
        sampling=30,
        volume_rate=lambda system, x: system.a + system.d + x[..., 0],
        known=(Known.printed("0.11203(21) 0.02142(13) 0 -24.943(53)", OURS),),
    )
