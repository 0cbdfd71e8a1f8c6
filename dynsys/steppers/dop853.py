"""The methods of order eight of Dormand and Prince, as in Hairer's code DOP853: with a fixed step, and adaptive."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from dynsys.steppers.embedded import EmbeddedPair
from dynsys.steppers.runge_kutta import ExplicitRungeKutta

# weights of the step minus those of embedded ones, of fifth and third order
FIFTH = (
    0.01312004499419488, 0.0, 0.0, 0.0, 0.0, -1.2251564463762044, -0.4957589496572502, 1.6643771824549864,
    -0.35032884874997366, 0.3341791187130175, 0.08192320648511571, -0.022355307863886294,
)  # fmt: skip
THIRD = (
    -0.18980075407240762, 0.0, 0.0, 0.0, 0.0, 4.450312892752409, 1.8915178993145003, -5.801203960010585,
    -0.4226823213237919, -0.1521609496625161, 0.20136540080403034, 0.02265179219836082,
)  # fmt: skip


@attrs.frozen(eq=False)
class RK8(ExplicitRungeKutta):
    """The eighth-order Runge-Kutta method of Dormand and Prince, with a fixed step: twelve evaluations of f.

    Its error is far below that of `RK4` at three times the step, which costs the same, wherever the flow is smooth
    within a step; where it has kinks, both are of low order. `DOP853` adapts its step.

    >>> RK8(dt=0.05).order
    8

    References
    ----------
    P. J. Prince, J. R. Dormand, J. Comput. Appl. Math. 7, 67 (1981); coefficients: E. Hairer, S. P. Norsett, G. Wanner,
    Solving Ordinary Differential Equations I, 2nd ed., Springer (1993), Sec. II.10 and the code DOP853.
    """

    order = 8
    a = (
        (),
        (0.05260015195876773,),
        (0.0197250569845379, 0.0591751709536137),
        (0.02958758547680685, 0.0, 0.08876275643042054),
        (0.2413651341592667, 0.0, -0.8845494793282861, 0.924834003261792),
        (0.037037037037037035, 0.0, 0.0, 0.17082860872947386, 0.12546768756682242),
        (0.037109375, 0.0, 0.0, 0.17025221101954405, 0.06021653898045596, -0.017578125),
        (
            0.03709200011850479, 0.0, 0.0, 0.17038392571223998, 0.10726203044637328, -0.015319437748624402,
            0.008273789163814023,
        ),
        (
            0.6241109587160757, 0.0, 0.0, -3.3608926294469414, -0.868219346841726, 27.59209969944671,
            20.154067550477894, -43.48988418106996,
        ),
        (
            0.47766253643826434, 0.0, 0.0, -2.4881146199716677, -0.590290826836843, 21.230051448181193,
            15.279233632882423, -33.28821096898486, -0.020331201708508627,
        ),
        (
            -0.9371424300859873, 0.0, 0.0, 5.186372428844064, 1.0914373489967295, -8.149787010746927,
            -18.52006565999696, 22.739487099350505, 2.4936055526796523, -3.0467644718982196,
        ),
        (
            2.273310147516538, 0.0, 0.0, -10.53449546673725, -2.0008720582248625, -17.9589318631188, 27.94888452941996,
            -2.8589982771350235, -8.87285693353063, 12.360567175794303, 0.6433927460157636,
        ),
    )  # fmt: skip
    b = (
        0.054293734116568765, 0.0, 0.0, 0.0, 0.0, 4.450312892752409, 1.8915178993145003, -5.801203960010585,
        0.3111643669578199, -0.1521609496625161, 0.20136540080403034, 0.04471061572777259,
    )  # fmt: skip
    c = (
        0.0, 0.05260015195876773, 0.0789002279381516, 0.1183503419072274, 0.2816496580927726, 0.3333333333333333, 0.25,
        0.3076923076923077, 0.6512820512820513, 0.6, 0.8571428571428571, 1.0,
    )  # fmt: skip


@attrs.frozen(eq=False)
class DOP853(EmbeddedPair):
    """The explicit Runge-Kutta method of order 8(5,3) of Dormand and Prince, with substeps of adapted length.

    As `DormandPrince` in all but the method: substeps are those of `RK8`, and two embedded steps, of fifth and third
    order, give the estimate of the error, e_5^2 / sqrt(e_5^2 + 0.01 e_3^2), for the state and for every tangent vector.
    At tolerances below some 1e-6 it needs less time than `DormandPrince`, at 1e-12 a fraction.

    Attributes
    ----------
    dt : float
        Length of a step, in the units of the model's time.
    rtol, atol : float
        Relative and absolute tolerance of a step.

    References
    ----------
    P. J. Prince, J. R. Dormand, J. Comput. Appl. Math. 7, 67 (1981); E. Hairer, S. P. Norsett, G. Wanner, Solving
    Ordinary Differential Equations I, 2nd ed., Springer (1993), Sec. II.10.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsys.models.classics import LinearFlow
    >>> stepper = DOP853(dt=1.0, rtol=1e-13, atol=1e-15)
    >>> x, V = stepper.step_tangent(LinearFlow([[-1.0]]), 0, 0.0, np.ones(1), np.ones((1, 1)))
    >>> bool(abs(V[0, 0] - np.exp(-1.0)) < 1e-13)
    True
    """

    order = 8

    @property
    def method(self) -> type[RK8]:
        """The eighth-order method."""
        return RK8

    @property
    def errors(self) -> Sequence[Sequence[float]]:
        """The differences from the fifth-order step and from that of third order."""
        return FIFTH, THIRD
