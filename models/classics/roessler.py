"""The Rössler system of 1976."""

import attrs

from dynsys import RK4, SymbolicFlow, parameter
from dynsys.models.classics.reference import COMMON_SYSTEMS, Known, Reference


@attrs.frozen(eq=False)
class Roessler(SymbolicFlow):
    """A spiral band that is stretched and folded once in every turn: one quadratic term is enough for chaos.

        dx/dt = -y - z,   dy/dt = x + a y,   dz/dt = b + z (x - c)

    a lets the spiral in the plane of x and y grow, c is the threshold of x above which z leaves that plane, and b keeps
    z > 0. The trace of the Jacobian is a - c + x, and so is, on average, the sum of the exponents: it is *not* a - c.
    All quantities are dimensionless.

    References
    ----------
    O. E. Rössler, Phys. Lett. A 57, 397 (1976).
    """

    a: float = parameter(0.2)
    b: float = parameter(0.2)
    c: float = parameter(5.7)

    equations = {
        "x": "-y - z",
        "y": "x + a*y",
        "z": "b + z*(x - c)",
    }
    vanishing_exponents = 1

    reference = Reference(
        start=(-9.0, 0.0, 0.0),
        stepper=RK4(0.01),
        steps_per_interval=50,
        intervals=5_000_000,
        warmup=2_000,
        axes=(0, 1),
        sampling=15,
        volume_rate=lambda system, x: system.a - system.c + x[..., 0],
        known=(
            Known.printed("0.0714 0 -5.3943", COMMON_SYSTEMS),
            Known.printed(
                "0.0729 0 -5.1450",
                "discourse.julialang.org/t/116523 (2024)",
                agrees=False,
                note="A user's run, with the default tolerances of a package. The sum is -5.072, which is not the mean "
                "trace a - c + (mean of x) = -5.323.",
            ),
        ),
    )
