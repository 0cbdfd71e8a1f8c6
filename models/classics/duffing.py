"""The driven Duffing oscillator."""

import math

import attrs

from dynsys import RK4, SymbolicFlow, parameter
from dynsys.models.classics.reference import COMMON_SYSTEMS, SPROTT, Known, Reference


@attrs.frozen(eq=False)
class Duffing(SymbolicFlow):
    """A particle in the potential alpha x^2 / 2 + beta x^4 / 4, damped and driven.

        dx/dt = v,   dv/dt = -delta v - alpha x - beta x^3 + gamma cos(omega t)

    delta is the damping, gamma and omega are strength and frequency of the drive. By default there are two wells; with
    alpha = 0 it is the oscillator of Ueda. Time is explicit and the state two-dimensional, so that no exponent has to
    vanish; the two of them sum to -delta, exactly. All quantities are dimensionless.

    References
    ----------
    G. Duffing, Erzwungene Schwingungen bei veränderlicher Eigenfrequenz (Vieweg, 1918); Y. Ueda, J. Stat. Phys. 20,
    181 (1979).
    """

    alpha: float = parameter(-1.0)
    beta: float = parameter(1.0)
    delta: float = parameter(0.25)
    gamma: float = parameter(0.4)
    omega: float = parameter(1.0)

    equations = {
        "x": "v",
        "v": "-delta*v - alpha*x - beta*x**3 + gamma*cos(omega*t)",
    }

    reference = Reference(
        start=(0.2, 0.0),
        stepper=RK4(math.tau / 300),
        steps_per_interval=50,
        intervals=4_000_000,
        warmup=500,
        axes=(0, 1),
        sampling=300,  # the period of the drive
        dots=True,
        volume_rate=lambda system, x: -system.delta + 0.0 * x[..., 0],
        known=(
            Known.printed("0.1572 ?", f"{SPROTT} A.4.6"),
            Known.printed(
                "0.1034 -0.1534", f"{COMMON_SYSTEMS}; {SPROTT} A.4.5", {"alpha": 0.0, "delta": 0.05, "gamma": 7.5}
            ),
            Known.printed(
                "0.0999 -0.1499",
                "sites.google.com/view/lyapunov-spectrum (Duffing equations)",
                {"alpha": 0.0, "delta": 0.05, "gamma": 7.5},
                agrees=False,
                note="Four digits without an error bar. The sum is right, as it is after any time; it is no check of "
                "how far the exponents themselves have converged.",
            ),
        ),
    )
