"""Lyapunov exponents and covariant Lyapunov vectors of flows, maps and learning networks."""

from dynsys.ensemble import Ensemble
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
from dynsys.functions import FunctionFlow, FunctionMap
from dynsys.gradient_flow import GradientFlow
from dynsys.passes import Pass
from dynsys.results import AlignmentIndices, CovariantVectors, LyapunovSpectrum, LyapunovVectors, Trajectory
from dynsys.scalar_function import ScalarFunction
from dynsys.steppers import RK4, Euler, Stepper
from dynsys.symbolic import SymbolicFlow, SymbolicMap, parameter, size
from dynsys.system import DrivenFlow, DynamicalSystem, Flow, Map
from dynsys.tangent import CompiledTangent, NumpyTangent, TangentSystem

__version__ = "0.1.0"

__all__ = [
    "RK4",
    "AlignmentIndices",
    "CompiledTangent",
    "ContractError",
    "CovariantVectors",
    "DiagnosticWarning",
    "DivergenceError",
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
    "IncompleteRunError",
    "InterruptedWarning",
    "InvalidInputError",
    "LyapunovSpectrum",
    "LyapunovVectors",
    "Map",
    "NumpyTangent",
    "Pass",
    "ScalarFunction",
    "SingularTangentError",
    "Stepper",
    "StoreError",
    "SymbolicFlow",
    "SymbolicMap",
    "TangentSystem",
    "Trajectory",
    "parameter",
    "size",
]
