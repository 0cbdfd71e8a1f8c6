"""The Kuramoto-Sivashinsky equation, in Fourier modes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs
import numpy as np

from dynsys import Flow, InvalidInputError
from dynsys.compiled.kernel import Kernel
from dynsys.errors import whole_number

Array = np.ndarray


def _length(value: Any) -> float:
    length = float(value)
    if not (np.isfinite(length) and length > 0):
        raise InvalidInputError(f"length must be a positive finite number, got {value!r}")
    return length


def _modes(value: Any) -> int:
    return whole_number("modes", value, 1)


KERNEL = '''

@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """J = growth + K(x), the velocity growth x + K(x) x / 2, and J times the columns of V, column by column of J."""
    modes, k = x.size // 2, V.shape[1]
    for l in range(modes):  # columns l and modes + l: by the real and the imaginary part of amplitude l + 1
        one, other = scratch[2 * l * modes :], scratch[2 * (modes + l) * modes :]
        for m in range(modes):
            q = parameters[m]
            p = i = 0.0  # amplitude m - l; that of a negative index is conjugate
            if m > l:
                p, i = x[m - l - 1], x[modes + m - l - 1]
            elif m < l:
                p, i = x[l - m - 1], -x[modes + l - m - 1]
            r = s = 0.0  # amplitude m + l
            if m + l + 1 < modes:
                r, s = x[m + l + 1], x[modes + m + l + 1]
            one[m], one[modes + m] = q * (i + s), -q * (p + r)
            other[m], other[modes + m] = q * (p - r), -q * (s - i)
    for i in range(2 * modes):
        f[i] = parameters[modes + i % modes] * x[i]
    for j in range(2 * modes):
        half = 0.5 * x[j]
        for i in range(2 * modes):
            f[i] += half * scratch[2 * j * modes + i]
    for c in range(k):
        for i in range(2 * modes):
            F[i, c] = parameters[modes + i % modes] * V[i, c]
        for j in range(2 * modes):
            v = V[j, c]
            for i in range(2 * modes):
                F[i, c] += v * scratch[2 * j * modes + i]


'''


@attrs.frozen(eq=False)
class KuramotoSivashinsky(Flow):
    """Flame fronts and thin films: u_t = -u u_x - u_xx - u_xxxx on a ring of the given length, in Fourier modes.

        u(x, t) = sum_{m=1}^{M} u_m exp(i q_m x) + c.c.,   q_m = 2 pi m / length,
        du_m/dt = (q_m^2 - q_m^4) u_m - (i q_m / 2) sum_l u_l u_{m-l},   u_{-m} = conj u_m,  u_0 = 0,

    the sum exact, over all |l|, |m - l| <= M (no aliasing). The state is (Re u_1, ..., Re u_M, Im u_1, ..., Im u_M).
    Short waves are damped, long ones grow, and the quadratic term carries energy from these to those. The mean of u is
    conserved and is left out: it would add one component that does not move, and one exponent that is exactly zero.

    The trace of the Jacobian is 2 sum_m (q_m^2 - q_m^4), a constant, and so is the sum of all exponents. Two exponents
    vanish, those of the translations in time and in space. The quadratic term does no work:
    d/dt sum |u_m|^2 = 2 sum_m (q_m^2 - q_m^4) |u_m|^2.

    The equations are stiff: RK4 is stable for dt < 2.78 / (q_M^4 - q_M^2). Twelve modes are enough for length 22, with
    dt = 0.02. Time and length are dimensionless.

    References
    ----------
    Y. Kuramoto, T. Tsuzuki, Prog. Theor. Phys. 55, 356 (1976); G. I. Sivashinsky, Acta Astronaut. 4, 1177 (1977);
    P. Cvitanovic, R. L. Davidchack, E. Siminos, SIAM J. Appl. Dyn. Syst. 9, 1 (2010), for length 22.
    """

    length: float = attrs.field(default=22.0, converter=_length)
    modes: int = attrs.field(default=12, converter=_modes)

    @property
    def dimension(self) -> int:
        """Real and imaginary parts of the amplitudes."""
        return 2 * self.modes

    @property
    def vanishing_exponents(self) -> int:
        """Translations in time and in space."""
        return 2

    @cached_property
    def wave_numbers(self) -> Array:
        """q_m, shape (modes,)."""
        return 2.0 * np.pi / self.length * np.arange(1, self.modes + 1)

    @cached_property
    def growth_rates(self) -> Array:
        """q_m^2 - q_m^4, shape (modes,)."""
        return self.wave_numbers**2 - self.wave_numbers**4

    def amplitudes(self, x: Array) -> Array:
        """The complex amplitudes u_m, shape (..., modes), of states (..., dim)."""
        x = np.asarray(x)
        return x[..., : self.modes] + 1j * x[..., self.modes :]

    def field(self, x: Array, points: int = 64) -> Array:
        """U on a grid, shape (..., points), points > 2 modes, of states (..., dim)."""
        padded = np.zeros((*np.shape(x)[:-1], points // 2 + 1), dtype=complex)
        padded[..., 1 : self.modes + 1] = self.amplitudes(x)
        return np.fft.irfft(padded, n=points, norm="forward")

    def vector_field(self, t: float, x: Array) -> Array:
        """Velocity dx/dt at time t; x has shape (..., dim)."""
        return self._velocity(x, 0.5 * self._products(x, x))

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (dim, k)."""
        return self._velocity(V.T, self._products(x, V.T)).T

    def _velocity(self, x: Array, products: Array) -> Array:
        """The linear terms of x, and the derivative -i q_m of the products."""
        slope = self.growth_rates * self.amplitudes(x) - 1j * self.wave_numbers * products
        return np.concatenate([slope.real, slope.imag], axis=-1)

    def _products(self, x: Array, y: Array) -> Array:
        """Amplitudes 1, ..., M of the product of two fields, on a grid that is fine enough for all their products."""
        points = 4 * self.modes
        product = np.fft.rfft(self.field(x, points) * self.field(y, points), norm="forward")
        return product[..., 1 : self.modes + 1]

    def kernel(self) -> Kernel:
        """The same for the compiler, by sums over modes in place of transforms."""
        return Kernel(KERNEL, np.concatenate([self.wave_numbers, self.growth_rates]), scratch=self.dimension**2)
