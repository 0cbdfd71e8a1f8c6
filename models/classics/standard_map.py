"""The standard map."""

from __future__ import annotations

import math

import attrs
import numpy as np

from dynsys import Map, parameter
from dynsys.compiled.kernel import Kernel
from dynsys.errors import real
from dynsys.models.classics.reference import COMMON_SYSTEMS, Known, Reference

Array = np.ndarray
TURN = 2.0 * math.pi

KERNEL = '''

@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """A kick that depends on the angle, then a free turn; both coordinates modulo 2 pi."""
    turn = 2.0 * math.pi
    f[1] = (x[1] + parameters[0] * math.sin(x[0])) % turn
    f[0] = (x[0] + f[1]) % turn
    slope = parameters[0] * math.cos(x[0])
    for c in range(V.shape[1]):
        F[1, c] = V[1, c] + slope * V[0, c]
        F[0, c] = V[0, c] + F[1, c]


'''


@attrs.frozen(eq=False)
class StandardMap(Map):
    """A rotor kicked once per turn, seen just before each kick.

        p' = p + k sin(theta),   theta' = theta + p'     (both modulo 2 pi)

    k is the strength of the kick. The map preserves areas: the exponents are of opposite sign. Below k = 0.9716 some
    invariant circles confine the momentum; above, most of the plane is one chaotic sea, with islands whose exponents
    vanish, so that they belong to the start. Orbits stick to the rims of the islands, and averages converge slowly.

    Both coordinates are taken modulo 2 pi in every step. That shift has the derivative 1 and no effect on later steps;
    without it theta would grow like the square of the time, and lose its digits.

    References
    ----------
    B. V. Chirikov, Phys. Rep. 52, 263 (1979).
    """

    k: float = parameter(1.0)
    dimension = 2

    def step(self, n: int, x: Array) -> Array:
        """State (theta, p) after step n; x has shape (..., 2)."""
        x = real("x", x)
        p = np.mod(x[..., 1] + self.k * np.sin(x[..., 0]), TURN)
        return np.stack([np.mod(x[..., 0] + p, TURN), p], axis=-1)

    def jacobian(self, t: float, x: Array) -> Array:
        """Jacobian at one state; its determinant is 1."""
        slope = self.k * np.cos(real("x", x)[0])
        return np.array([[1.0 + slope, 1.0], [slope, 1.0]])

    def kernel(self) -> Kernel:
        """The same, as source for Numba."""
        return Kernel(KERNEL, np.array([self.k]))

    reference = Reference(
        start=(0.1, 6.0),
        intervals=15_000_000,
        steps_per_interval=10,
        warmup=10_000,
        axes=(0, 1),
        sampling=97,
        volume_rate=lambda system, x: 0.0 * x[..., 0],
        symplectic=True,
        names=("theta", "p"),
        latex=(
            r"p' &= p + k \sin\theta \pmod{2\pi}",
            r"\theta' &= \theta + p' \pmod{2\pi}",
        ),
        known=(
            Known.printed(
                "0.10497 -0.10497",
                COMMON_SYSTEMS,
                note="Ours tests no more than two of these digits: orbits of ten million steps differ by 16 %.",
            ),
        ),
    )
