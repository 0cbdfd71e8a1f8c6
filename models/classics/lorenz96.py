"""The Lorenz system of 1996, on any number of sites."""

from typing import Any

import attrs
import numpy as np

from dynsys import RK4, SymbolicFlow, lattice_size, parameter
from dynsys.models.classics.reference import OURS, Known, Reference

Array = np.ndarray


def _start(system: Any) -> Array:
    """The uniform state, disturbed at one site."""
    return system.forcing + 0.01 * (np.arange(system.sites) == 0)


@attrs.frozen(eq=False)
class Lorenz96(SymbolicFlow):
    """A quantity of the atmosphere on a circle of latitude: advection, damping and a constant forcing.

        dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + forcing,   i = 0, ..., sites - 1, periodically

    The advection conserves sum x_i^2 and contributes nothing to the trace of the Jacobian: the exponents sum to -sites,
    exactly. Chaos is extensive: the number of positive exponents grows with the number of sites. For weak forcing
    (below 8/9) the uniform state is stable, and no exponent vanishes. A unit of time is that of the damping, about five
    days.

    References
    ----------
    E. N. Lorenz, in: Predictability (ECMWF, 1996); E. N. Lorenz, K. A. Emanuel, J. Atmos. Sci. 55, 399 (1998).
    """

    sites: int = lattice_size(40, least=4)
    forcing: float = parameter(8.0)

    @property
    def equations(self) -> dict[str, str]:
        """One equation for each site."""
        n = self.sites
        return {f"x{i}": f"(x{(i + 1) % n} - x{(i - 2) % n})*x{(i - 1) % n} - x{i} + forcing" for i in range(n)}

    vanishing_exponents = 1

    reference = Reference(
        start=_start,
        stepper=RK4(0.01),
        steps_per_interval=20,
        intervals=200_000,
        warmup=200,
        axes=(0, 1),
        sampling=4,
        volume_rate=lambda system, x: -system.sites + 0.0 * x[..., 0],
        latex=(r"\dot{x}_i &= (x_{i+1} - x_{i-2})\, x_{i-1} - x_i + \mathrm{forcing}",),
        known=(
            Known.printed(
                " ".join(["1.66", *["?"] * 34, "-4.87"]),
                "A. Carrassi et al., Model error and sequential data assimilation (2008), by DAPPER (explore_props.py)",
                {"sites": 36},
                note="First and last exponent.",
            ),
            Known.printed("1.6907(32) 1.4845(23) 1.3099(19) 1.1542(18) 1.0122(18) " + "? " * 34 + "-4.8991(33)", OURS),
        ),
    )
