"""The Hénon map."""

import attrs
import numpy as np

from dynsys import SymbolicMap, parameter
from dynsys.models.classics.reference import COMMON_SYSTEMS, Known, Reference


@attrs.frozen(eq=False)
class Henon(SymbolicMap):
    """The quadratic map x' = 1 - a x^2 + y, y' = b x.

    It contracts areas by |b| in every step: the exponents sum to ln|b|. For the default parameters they are 0.419217
    and -1.623190 (J. C. Sprott, Chaos and Time-Series Analysis, 2003).

    References
    ----------
    M. Hénon, Commun. Math. Phys. 50, 69 (1976).
    """

    a: float = parameter(1.4)
    b: float = parameter(0.3)

    equations = {
        "x": "1 - a*x**2 + y",
        "y": "b*x",
    }

    reference = Reference(
        start=(0.1, 0.1),
        steps_per_interval=5,
        intervals=40_000_000,
        warmup=200,
        volume_rate=lambda system, x: np.log(np.abs(system.b)) + 0.0 * x[..., 0],
        known=(
            Known.printed("0.41922 -1.62319", COMMON_SYSTEMS),
            Known.printed("0.419217 -1.623190", "J. C. Sprott, sprott.physics.wisc.edu/chaos/lespec.htm (2010)"),
            Known.printed(
                "0.4204 -1.6244",
                "sites.google.com/view/lyapunov-spectrum (Hénon map)",
                agrees=False,
                note="Four digits without an error bar. The sum is ln b, as it is after any number of steps; it is no "
                "check of how far the exponents themselves have converged.",
            ),
        ),
    )
