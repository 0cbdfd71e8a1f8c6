"""Lyapunov exponents and covariant Lyapunov vectors of flows, maps and learning networks.

A system (`system`; from equations: `symbolic`, from functions: `functions`, from a loss: `gradient_flow`) moves by a
stepper (`steppers`). Its linearised step (`tangent`) runs the algorithms (`benettin`, `ginelli`, `sharafi`), and they
return records (`results`) that check themselves. Many runs at once are an `ensemble`, a `sweep` or a `field`.
"""

from dynsys.dormand_prince import DormandPrince
from dynsys.ensemble import Ensemble
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
    SingularTangentError,
    StoreError,
)
from dynsys.field import finite_time_field
from dynsys.functions import FunctionFlow, FunctionMap
from dynsys.gradient_flow import GradientFlow
from dynsys.implicit_midpoint import ImplicitMidpoint
from dynsys.leapfrog import Leapfrog
from dynsys.passes import Pass
from dynsys.poincare import PoincareMap
from dynsys.results import AlignmentIndices, CovariantVectors, LyapunovSpectrum, LyapunovVectors, Trajectory
from dynsys.steppers import RK4, Euler, Midpoint, Stepper
from dynsys.storage.inspection import open_store
from dynsys.stroboscopic import StroboscopicMap
from dynsys.sweep import sweep
from dynsys.symbolic import SymbolicFlow, SymbolicMap, parameter, size
from dynsys.system import DrivenFlow, DynamicalSystem, Flow, Map
from dynsys.tangent import CompiledTangent, NumpyTangent, TangentSystem
from dynsys.varied import vary

__version__ = "0.1.0"

__all__ = [
    "RK4",
    "AlignmentIndices",
    "CompiledTangent",
    "ContractError",
    "CovariantVectors",
    "DiagnosticWarning",
    "DivergenceError",
    "DormandPrince",
    "DrivenFlow",
    "DynamicalSystem",
    "DynsysError",
    "Ensemble",
    "Euler",
    "FallbackWarning",
    "Flow",
    "FunctionFlow",
    "FunctionMap",
    "GradientFlow",
    "ImplicitMidpoint",
    "IncompleteRunError",
    "InterruptedWarning",
    "InvalidInputError",
    "Leapfrog",
    "LyapunovSpectrum",
    "LyapunovVectors",
    "Map",
    "Midpoint",
    "NumpyTangent",
    "Pass",
    "PoincareMap",
    "ScalarFunction",
    "SingularTangentError",
    "Stepper",
    "StoreError",
    "StroboscopicMap",
    "SymbolicFlow",
    "SymbolicMap",
    "TangentSystem",
    "Trajectory",
    "finite_time_field",
    "open_store",
    "parameter",
    "size",
    "sweep",
    "vary",
]
