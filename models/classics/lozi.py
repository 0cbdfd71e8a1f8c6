"""The Lozi map."""

import attrs
import numpy as np

from dynsys import SymbolicMap, parameter
from dynsys.models.classics.reference import SPROTT, Known, Reference


@attrs.frozen(eq=False)
class Lozi(SymbolicMap):
    """The piecewise linear map x' = 1 - a |x| + y, y' = b x: Hénon's, with |x| in the place of x^2.

    Its strange attractor is hyperbolic off the kink: expanding and contracting directions never touch, where Hénon's
    do. The exponents sum to ln|b|. The derivative is that almost everywhere, with sign(0) = 0 at the kink.

    References
    ----------
    R. Lozi, J. Phys. Colloques 39, C5-9 (1978); M. Misiurewicz, Ann. N. Y. Acad. Sci. 357, 348 (1980).
    """

    a: float = parameter(1.7)
    b: float = parameter(0.5)

    equations = {
        "x": "1 - a*Abs(x) + y",
        "y": "b*x",
    }

    reference = Reference(
        start=(-0.1, 0.1),
        steps_per_interval=5,
        intervals=40_000_000,
        warmup=200,
        volume_rate=lambda system, x: np.log(np.abs(system.b)) + 0.0 * x[..., 0],
        known=(Known.printed("0.47023 ?", f"{SPROTT} A.2.2"),),
    )
