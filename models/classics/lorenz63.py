"""The Lorenz system of 1963."""

import math

import attrs

from dynsys import RK4, SymbolicFlow, parameter
from dynsys.models.classics.reference import COMMON_SYSTEMS, Known, Reference


@attrs.frozen(eq=False)
class Lorenz63(SymbolicFlow):
    """Convection between two plates, reduced to three modes.

        dx/dt = sigma (y - x),   dy/dt = x (rho - z) - y,   dz/dt = x y - beta z

    The trace of the Jacobian is -(sigma + 1 + beta): so is the sum of the exponents. Off the fixed points one
    exponent vanishes, that of the direction of the flow. For the default parameters the exponents are 0.9056, 0 and
    -14.5723 (J. C. Sprott, Chaos and Time-Series Analysis, 2003). All quantities are dimensionless.

    References
    ----------
    E. N. Lorenz, J. Atmos. Sci. 20, 130 (1963).
    """

    sigma: float = parameter(10.0)
    rho: float = parameter(28.0)
    beta: float = parameter(8.0 / 3.0)

    equations = {
        "x": "sigma*(y - x)",
        "y": "x*(rho - z) - y",
        "z": "x*y - beta*z",
    }
    vanishing_exponents = 1

    reference = Reference(
        start=(0.0, -0.01, 9.0),
        stepper=RK4(0.005),
        steps_per_interval=20,
        intervals=20_000_000,
        warmup=500,
        axes=(0, 2),
        sampling=4,
        volume_rate=lambda system, x: -(system.sigma + 1 + system.beta) + 0.0 * x[..., 0],
        known=(
            Known.printed("0.9056 0 -14.5723", COMMON_SYSTEMS),
            Known.printed(
                "0.90563 0 -14.57219",
                "J. C. Sprott, sprott.physics.wisc.edu/chaos/lespec.htm (2010)",
                agrees=False,
                note="Each is within our error. But the sum is -13.66656, and that of the flow -13.66667, exactly: the "
                "last digits of the third are those of the numerical scheme.",
            ),
            Known(
                exponents=(2.16 * math.log(2), 0.0, -32.4 * math.log(2)),
                error=(0.005 * math.log(2), 0.0, 0.05 * math.log(2)),
                source="A. Wolf et al., Physica D 16, 285 (1985), by Sprott's lorenzle.htm",
                parameters={"sigma": 16.0, "rho": 45.92, "beta": 4.0},
                note="Published in bits per unit of time, as 2.16, 0 and -32.4.",
            ),
        ),
    )
