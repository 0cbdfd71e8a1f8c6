"""A ring of coupled logistic maps."""

from typing import Any

import attrs
import numpy as np

from dynsys import SymbolicMap, lattice_size, parameter
from dynsys.models.classics.reference import OURS, Known, Reference

Array = np.ndarray
SITES, COUPLING = 20, 0.1


def _modes(sites: int, coupling: float) -> Array:
    """Eigenvalues of the coupling, 1 - coupling + coupling cos(2 pi k / sites), in descending order of modulus."""
    values = 1 - coupling + coupling * np.cos(2 * np.pi * np.arange(sites) / sites)
    return values[np.argsort(-np.abs(values))]


def _start(system: Any) -> Array:
    """States that fill the unit interval, different from site to site."""
    return np.modf(np.sqrt(2.0) * np.arange(1, system.sites + 1))[0]


def _volume_rate(system: Any, x: Array) -> Array:
    """Slopes of the maps, and the determinant of the coupling."""
    slopes = np.log(np.abs(system.r * (1 - 2 * x))).sum(axis=-1)
    return slopes + np.log(np.abs(_modes(system.sites, system.coupling))).sum()


@attrs.frozen(eq=False)
class CoupledMapLattice(SymbolicMap):
    """Logistic maps on a ring, each mixed with its two neighbours: the simplest model of chaos in space and time.

        x_i' = (1 - coupling) f(x_i) + coupling / 2 (f(x_{i-1}) + f(x_{i+1})),   f(x) = r x (1 - x)

    If all sites are equal, they stay so, but for rounding, and the exponents are lambda + ln|1 - coupling + coupling
    cos(2 pi k / sites)| with the exponent lambda of the logistic map: ln r at the fixed point 0, and ln 2 on average
    for r = 4. For r = 4 and a weak coupling that state is unstable, and others are chaotic in space as well as in time;
    from about 0.3 on, orderly patterns attract some starts. The sum of the exponents is the mean of sum ln|f'(x_i)|
    plus ln|det| of the coupling.

    References
    ----------
    K. Kaneko, Prog. Theor. Phys. 72, 480 (1984).
    """

    sites: int = lattice_size(SITES, least=3)
    r: float = parameter(4.0)
    coupling: float = parameter(COUPLING)

    @property
    def equations(self) -> dict[str, str]:
        """One equation for each site."""
        images = [f"r*x{i}*(1 - x{i})" for i in range(self.sites)]
        return {
            f"x{i}": f"(1 - coupling)*{images[i]} + coupling/2*({images[i - 1]} + {images[(i + 1) % self.sites]})"
            for i in range(self.sites)
        }

    reference = Reference(
        start=_start,
        steps_per_interval=1,
        intervals=1_000_000,
        warmup=10_000,
        axes=(0, 1),
        volume_rate=_volume_rate,
        latex=(
            r"x_i' &= (1 - \epsilon) f(x_i) + \frac{\epsilon}{2} \left( f(x_{i-1}) + f(x_{i+1}) \right)",
            r"f(x) &= r x (1 - x), \quad \epsilon = \mathrm{coupling}",
        ),
        known=(
            Known(
                exponents=tuple(np.log(4.0 * np.abs(_modes(SITES, COUPLING))).tolist()),
                error=(0.0,) * SITES,
                source="exact",
                start=(0.0,) * SITES,
                note="At the fixed point 0.",
            ),
            Known.printed("0.44763(10) 0.44201(10) 0.43649(9) 0.43090(9) " + "? " * 15 + "0.24046(28)", OURS),
        ),
    )
