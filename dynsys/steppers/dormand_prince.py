"""The Dormand-Prince method of orders 5(4)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from dynsys.steppers.embedded import EmbeddedPair
from dynsys.steppers.runge_kutta import ExplicitRungeKutta

# the weights of the fifth-order step minus those of the embedded fourth-order one
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


@attrs.frozen(eq=False)
class FifthOrder(ExplicitRungeKutta):
    """The fifth-order method of Dormand and Prince with a fixed step: a substep of `DormandPrince`.

    Its seventh stage is the first of the next step.
    """

    order = 5
    a = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    )
    b = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0)

    c = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)


@attrs.frozen(eq=False)
class DormandPrince(EmbeddedPair):
    """The explicit Runge-Kutta method of orders 5(4) of Dormand and Prince, with substeps of adapted length.

    One step of length dt is divided into substeps h_1 + h_2 + ... = dt, so short that the estimated error of each is
    within the tolerance, for the state and for every tangent vector:

        |error of x_i| <= atol + rtol |x_i|  (root mean square over i),     |error of v| <= rtol |v|.

    The error estimated is that of the fourth-order step; the fifth-order one is taken, whose own error is smaller: that
    of a whole step of dt is of the order of the tolerance, and proportional to it. The tangent is the exact derivative
    of the substeps taken, their lengths held fixed (`held`). A step has no memory: every one begins with the trial
    h = dt. Choose dt as long as the intervals between two records, or two times of interest. Runs with other tangent
    vectors, or another number of them, agree to the tolerance, not to rounding.

    A state whose next substep would be lost in the rounding of dt has blown up, and becomes NaN, which ends the run.
    So does one for which 100,000 substeps are not enough: the flow is too stiff, or slides along a jump of f. A kink or
    jump that the flow passes is crossed by short substeps. The tangent is that of the numerical step: beyond a *jump*
    of f, that of the flow has another term (the saltation matrix), which no derivative of f contains.

    Attributes
    ----------
    dt : float
        Length of a step, in the units of the model's time.
    rtol, atol : float
        Relative and absolute tolerance of a step.

    References
    ----------
    J. R. Dormand, P. J. Prince, J. Comput. Appl. Math. 6, 19 (1980); E. Hairer, S. P. Norsett, G. Wanner, Solving
    Ordinary Differential Equations I, 2nd ed., Springer (1993), Sec. II.4.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsys.models.classics import LinearFlow
    >>> x, V = DormandPrince(dt=1.0, rtol=1e-10).step_tangent(LinearFlow([[-1.0]]), 0, 0.0, np.ones(1), np.ones((1, 1)))
    >>> bool(abs(V[0, 0] - np.exp(-1.0)) < 1e-10)
    True
    """

    order = 5

    @property
    def method(self) -> type[FifthOrder]:
        """The fifth-order method."""
        return FifthOrder

    @property
    def errors(self) -> Sequence[Sequence[float]]:
        """The difference from the fourth-order step."""
        return (ERROR,)
