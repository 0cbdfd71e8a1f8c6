"""The logistic map."""

import attrs

from dynsys import SymbolicMap, parameter


@attrs.frozen(eq=False)
class Logistic(SymbolicMap):
    """The map x' = r x (1 - x) of the unit interval. For r = 4 its exponent is ln 2, exactly.

    References
    ----------
    R. M. May, Nature 261, 459 (1976).
    """

    r: float = parameter(4.0)

    equations = {"x": "r*x*(1 - x)"}
