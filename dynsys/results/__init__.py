"""What algorithms return: frozen, labelled, read-only records that check, print and save themselves."""

from dynsys.results.result import Result
from dynsys.results.spectrum import LyapunovSpectrum, SpectrumDiagnostics
from dynsys.results.vectors import CovariantVectors, VectorDiagnostics

__all__ = ["CovariantVectors", "LyapunovSpectrum", "Result", "SpectrumDiagnostics", "VectorDiagnostics"]
