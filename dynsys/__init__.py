"""Lyapunov exponents and covariant Lyapunov vectors of flows, maps and learning networks.

A system (`systems`: from equations, from functions, from a loss) moves by a stepper (`steppers`). Its linearised step,
a tangent, is computed by a backend (`backends`) and runs the algorithms (`algorithms`), which return records
(`results`) that check themselves. Many runs at once are an ensemble, a sweep or a field (`ensembles`). What all this is
used on is in `dynsys.models`.
"""

from dynsys.algorithms.gali import GALI
from dynsys.algorithms.trajectory import Trajectory
from dynsys.algorithms.wolfe_samelson import LyapunovVectors
from dynsys.backends import NumbaTangent, NumpyTangent
from dynsys.ensembles.ensemble import Ensemble
from dynsys.ensembles.field import ftle_field
from dynsys.ensembles.parameters import vary
from dynsys.ensembles.sweep import sweep
from dynsys.equations.scalar_function import ScalarFunction
from dynsys.errors import (
    ContractError,
    DiagnosticWarning,
    DivergenceError,
    DynsysError,
    FallbackWarning,
    IncompleteRunError,
    InterruptedWarning,
    InvalidInputError,
    LongRunWarning,
    SingularTangentError,
    StoreError,
)
from dynsys.passes.run_state import RunState
from dynsys.results.covariant_angles import CovariantAngles
from dynsys.results.spectrum import LyapunovSpectrum
from dynsys.results.vectors import CovariantVectors
from dynsys.steppers.adaptive import Adam, AdamW, RMSprop
from dynsys.steppers.dop853 import DOP853, RK8
from dynsys.steppers.dormand_prince import DormandPrince
from dynsys.steppers.implicit_midpoint import ImplicitMidpoint
from dynsys.steppers.leapfrog import Leapfrog
from dynsys.steppers.momentum import HeavyBall, Nesterov
from dynsys.steppers.optimiser import Optimiser
from dynsys.steppers.runge_kutta import RK4, Euler, ExplicitRungeKutta, Midpoint
from dynsys.steppers.stepper import Stepper
from dynsys.storage.inspection import open_store
from dynsys.systems.array_parameters import array_parameter
from dynsys.systems.functions import FunctionFlow, FunctionMap
from dynsys.systems.gradient_flow import GradientFlow
from dynsys.systems.poincare import PoincareMap
from dynsys.systems.stroboscopic import StroboscopicMap
from dynsys.systems.symbolic import SymbolicFlow, SymbolicMap, lattice_size, parameter
from dynsys.systems.system import DynamicalSystem, Flow, FlowStep, Map, PiecewiseFlow
from dynsys.systems.tangent import TangentSystem
from dynsys.systems.time_step import TimeStep

__version__ = "0.1.0"

__all__ = [
    "DOP853",
    "GALI",
    "RK4",
    "RK8",
    "Adam",
    "AdamW",
    "ContractError",
    "CovariantAngles",
    "CovariantVectors",
    "DiagnosticWarning",
    "DivergenceError",
    "DormandPrince",
    "DynamicalSystem",
    "DynsysError",
    "Ensemble",
    "Euler",
    "ExplicitRungeKutta",
    "FallbackWarning",
    "Flow",
    "FlowStep",
    "FunctionFlow",
    "FunctionMap",
    "GradientFlow",
    "HeavyBall",
    "ImplicitMidpoint",
    "IncompleteRunError",
    "InterruptedWarning",
    "InvalidInputError",
    "Leapfrog",
    "LongRunWarning",
    "LyapunovSpectrum",
    "LyapunovVectors",
    "Map",
    "Midpoint",
    "Nesterov",
    "NumbaTangent",
    "NumpyTangent",
    "Optimiser",
    "PiecewiseFlow",
    "PoincareMap",
    "RMSprop",
    "RunState",
    "ScalarFunction",
    "SingularTangentError",
    "Stepper",
    "StoreError",
    "StroboscopicMap",
    "SymbolicFlow",
    "SymbolicMap",
    "TangentSystem",
    "TimeStep",
    "Trajectory",
    "array_parameter",
    "ftle_field",
    "lattice_size",
    "open_store",
    "parameter",
    "sweep",
    "vary",
]
