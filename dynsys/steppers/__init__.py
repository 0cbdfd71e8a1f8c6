"""A step of a flow and its exact tangent: Runge-Kutta, adaptive, symplectic and implicit methods, and optimisers.

The contract is in `stepper`. Each other file is a method, or a few of one kind.
"""

from dynsys.steppers.dormand_prince import DormandPrince
from dynsys.steppers.implicit_midpoint import ImplicitMidpoint
from dynsys.steppers.leapfrog import Leapfrog
from dynsys.steppers.momentum import HeavyBall, Nesterov
from dynsys.steppers.runge_kutta import RK4, Euler, ExplicitRungeKutta, Midpoint
from dynsys.steppers.stepper import Stepper, Tableau

__all__ = [
    "RK4",
    "DormandPrince",
    "Euler",
    "ExplicitRungeKutta",
    "HeavyBall",
    "ImplicitMidpoint",
    "Leapfrog",
    "Midpoint",
    "Nesterov",
    "Stepper",
    "Tableau",
]
