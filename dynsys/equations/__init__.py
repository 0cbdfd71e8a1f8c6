"""What becomes of equations: read as text, differentiated by SymPy, written as source for NumPy and the compiler."""

from dynsys.equations.sample_loss import SampleLoss
from dynsys.equations.scalar_function import ScalarFunction

__all__ = ["SampleLoss", "ScalarFunction"]
