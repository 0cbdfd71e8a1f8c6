"""The Hénon-Heiles system."""

from typing import Any

import attrs
import numpy as np

from dynsys import Leapfrog, SymbolicFlow, parameter
from dynsys.models.classics.reference import SPROTT, Known, Reference

Array = np.ndarray


def energy(system: Any, x: Array) -> Array:
    """H = (p_x^2 + p_y^2 + x^2 + y^2) / 2 + coupling (x^2 y - y^3 / 3)."""
    q, r, p, s = np.moveaxis(x, -1, 0)
    return (p**2 + s**2 + q**2 + r**2) / 2 + system.coupling * (q**2 * r - r**3 / 3)


@attrs.frozen(eq=False)
class HenonHeiles(SymbolicFlow):
    """A star in the field of a galaxy: two oscillators, coupled by a cubic potential.

        H = (px^2 + py^2 + x^2 + y^2) / 2 + coupling (x^2 y - y^3 / 3)

        dx/dt = px,   dy/dt = py,   dpx/dt = -x - 2 coupling x y,   dpy/dt = -y - coupling (x^2 - y^2)

    The energy H is conserved, and motion stays bounded below H = 1/(6 coupling^2). Exponents come in pairs of opposite
    sign; two vanish, that of the direction of the flow and its partner, that of the energy. Regular islands lie beside
    the chaotic sea: exponents belong to the start, not to the system. All quantities are dimensionless.

    References
    ----------
    M. Hénon, C. Heiles, Astron. J. 69, 73 (1964).
    """

    coupling: float = parameter(1.0)

    equations = {
        "x": "px",
        "y": "py",
        "px": "-x - 2*coupling*x*y",
        "py": "-y - coupling*(x**2 - y**2)",
    }
    vanishing_exponents = 2

    reference = Reference(
        start=(0.499, 0.0, 0.0, 0.03160676),
        stepper=Leapfrog(0.02),
        steps_per_interval=100,
        intervals=5_000_000,
        warmup=1_000,
        axes=(0, 1),
        sampling=8,
        volume_rate=lambda system, x: 0.0 * x[..., 0],
        symplectic=True,
        conserved={"H": energy},
        known=(
            Known.printed(
                "0.0450 0 0 -0.0450", f"{SPROTT} A.6.5", note="Given is the first; the others are exact relations."
            ),
        ),
    )
