"""The kinds of `dynsys.systems.tangent.TangentSystem`: how the passes over a trajectory are computed.

Each is a file with one class, which says what a step lacks for it; `backend=` takes its name or itself, so that one may
come from outside. Which of them "auto" is, `dynsys.systems.tangent.make_tangent` says.
"""

from dynsys.backends.numba import NumbaTangent
from dynsys.backends.numpy import NumpyTangent

__all__ = ["NumbaTangent", "NumpyTangent"]
