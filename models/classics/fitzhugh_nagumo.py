"""Two coupled FitzHugh-Nagumo neurons."""

import attrs

from dynsys import RK4, SymbolicFlow, parameter
from dynsys.models.classics.reference import Known, Reference


@attrs.frozen(eq=False)
class FitzHughNagumo(SymbolicFlow):
    """Two different excitable units, coupled by diffusion, that fire rare and irregular spikes on their own.

        dx1/dt = x1 (a - x1) (x1 - 1) - y1 + k (x2 - x1),   dy1/dt = b1 x1 - c y1
        dx2/dt = x2 (a - x2) (x2 - 1) - y2 + k (x1 - x2),   dy2/dt = b2 x2 - c y2

    x is the membrane potential and y the recovery; a is the threshold, b and c are the rates of recovery, much slower
    than those of x, and k is the coupling. The units differ in b only. Mostly they turn round their unstable rest with
    small amplitudes; spikes of both at once are extreme events. The trace of the Jacobian is the sum of
    -3 x^2 + 2 (1 + a) x - a - k - c over the units. All quantities are dimensionless.

    References
    ----------
    G. Ansmann, R. Karnatak, K. Lehnertz, U. Feudel, Phys. Rev. E 88, 052911 (2013).
    """

    a: float = parameter(-0.025794)
    b1: float = parameter(0.0065)
    b2: float = parameter(0.0135)
    c: float = parameter(0.02)
    k: float = parameter(0.128)

    equations = {
        "x1": "x1*(a - x1)*(x1 - 1) - y1 + k*(x2 - x1)",
        "y1": "b1*x1 - c*y1",
        "x2": "x2*(a - x2)*(x2 - 1) - y2 + k*(x1 - x2)",
        "y2": "b2*x2 - c*y2",
    }
    vanishing_exponents = 1

    reference = Reference(
        start=(-0.0034, -0.0022, 0.0152, -0.0061),
        stepper=RK4(0.25),
        steps_per_interval=40,
        intervals=5_000_000,
        warmup=2_000,
        axes=(0, 1),
        sampling=8,
        volume_rate=lambda system, x: sum(
            -3 * u**2 + 2 * (1 + system.a) * u - system.a - system.k - system.c for u in (x[..., 0], x[..., 2])
        ),
        known=(Known.printed("0.00710 0 -0.0513 -0.187", "the tests of JiTCODE (tests/scenarios.py, G. Ansmann)"),),
    )
