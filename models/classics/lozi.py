"""The Lozi map."""

import attrs

from dynsys import SymbolicMap, parameter


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
