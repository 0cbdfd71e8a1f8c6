"""The Lorenz system of 1963."""

import attrs

from dynsys import SymbolicFlow, parameter


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
