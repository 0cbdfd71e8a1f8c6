"""The Hénon map."""

import attrs

from dynsys import SymbolicMap, parameter


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
