"""The leapfrog method: symplectic, for separable Hamiltonians."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from dynsys.errors import InvalidInputError, real_array
from dynsys.steppers.stepper import Stepper, VectorField, Written

Array = np.ndarray

NEGLIGIBLE = 1e-9  # an entry of the Jacobian that should vanish, as a share of the largest one


@attrs.frozen(eq=False)
class Leapfrog(Stepper):
    """The leapfrog (Stoermer-Verlet) method for separable Hamiltonians, H(q, p, t) = T(p) + U(q, t).

    The state is (q, p), positions before momenta, dq/dt = T'(p), dp/dt = -U'(q, t). A step is half a kick, a drift,
    and half a kick:

        p* = p - dt/2 U'(q, t),   q' = q + dt T'(p*),   p' = p* - dt/2 U'(q', t + dt).

    Of second order, reversible and symplectic, as is its tangent: the exponents of a run come in pairs
    +lambda, -lambda to rounding, and the energy keeps within O(dt^2) for ever. It costs three evaluations of the vector
    field, of each of which one half is used.

    Raises
    ------
    InvalidInputError
        If the dimension is odd, or the flow does not have this form.

    References
    ----------
    L. Verlet, Phys. Rev. 159, 98 (1967); E. Hairer, C. Lubich, G. Wanner, Acta Numerica 12, 399 (2003).

    Examples
    --------
    >>> from dynsys.models.classics import LinearFlow
    >>> oscillator = LinearFlow([[0.0, 1.0], [-1.0, 0.0]])
    >>> _, M = Leapfrog(dt=0.1).step_tangent(oscillator, 0, 0.0, np.ones(2), np.eye(2))
    >>> bool(abs(np.linalg.det(M) - 1.0) < 1e-15)
    True
    """

    order = 2

    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State after step n, which begins at time t; x has shape (..., dim)."""
        x = real_array("x", x)
        for part, moved, weight in self._parts(x.shape[-1]):
            x[..., moved] += weight * flow.vector_field(t + part * self.dt, x)[..., moved]
        return x

    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which begins at time t."""
        x, V = real_array("x", x), real_array("V", V)
        for part, moved, weight in self._parts(len(x)):
            slope, tangent_slope = flow.vector_field(t + part * self.dt, x), flow.jvp(t + part * self.dt, x, V)
            x[moved] += weight * slope[moved]
            V[moved] += weight * tangent_slope[moved]
        return x, V

    def check(self, flow: VectorField) -> None:
        """Refuse a flow that is not dq/dt = g(p), dp/dt = h(q, t), judged by its Jacobian at some random state."""
        dimension = flow.dimension
        if dimension % 2:
            raise InvalidInputError(f"Leapfrog needs positions and as many momenta, got dimension {dimension}")
        x, half = np.random.default_rng(0).uniform(0.2, 0.8, size=dimension), dimension // 2
        J = np.asarray(flow.jvp(0.0, x, np.eye(dimension)))
        blocks = np.abs(np.concatenate([J[:half, :half], J[half:, half:]]))
        i, j = np.unravel_index(np.argmax(blocks), blocks.shape)
        if blocks[i, j] > NEGLIGIBLE * np.abs(J).max():
            j += half * (i >= half)
            raise InvalidInputError(
                "Leapfrog needs dq/dt = g(p) and dp/dt = h(q, t), with the state (q, p): the rate of component "
                f"{i} depends on component {j}. Reorder the state, or use ImplicitMidpoint for a Hamiltonian that is "
                "not separable, RK4 or DormandPrince for one with friction"
            )

    @property
    def source(self) -> str:
        """The same step, as source for Numba."""
        return SOURCE

    @property
    def written(self) -> Written:
        """The same steps, for equations that are written out: of positions, and of momenta."""

        def room(dim: int, entries: Sequence[int], blocks: int) -> tuple[int, int]:
            return dim + sum(entries), dim // 2 * (1 + blocks)

        return Written(WRITTEN, room, parts=2, side_by_side=True)

    def _parts(self, dimension: int) -> list[tuple[float, slice, float]]:
        """When, of what and by how much: kick, drift and kick."""
        positions, momenta = slice(dimension // 2), slice(dimension // 2, dimension)
        return [(0.0, momenta, 0.5 * self.dt), (0.5, positions, self.dt), (1.0, momenta, 0.5 * self.dt)]


SOURCE = '''
STAGES = 1


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """Kick, drift and kick."""
    half, k = V.shape[0] // 2, V.shape[1]
    for part in range(3):
        linearise(t + 0.5 * part * dt, x, V, f[0], F[0].T, parameters, data, rows, scratch)
        first = 0 if part == 1 else half
        weight = dt if part == 1 else 0.5 * dt
        for i in range(first, first + half):
            x[i] += weight * f[0, i]
        for c in range(k):
            for i in range(first, first + half):
                V[i, c] += weight * F[0, c, i]

'''

WRITTEN = '''

def moved(n, steps, t0, dt, x, V, blocks, p, data, rows, sizes, B, S, F):
    """Kick, drift and kick; the last kick of a step is the first of the next, as positions are the same."""
    half, first = _DIM // 2, 0.5 * dt
    f, g, J0, J1 = S, S[half:], S[_DIM:], S[_DIM + _ENTRIES_0 :]
    drift = F[blocks * half :]
    for m in range(n, n + steps):
        driven = rows[(m - n) * sizes[1] :]
        if m == n or sizes[1] > 0:  # else nothing that drives has changed
            rates_1(t0 + m * dt, x, g, J1, p, data, driven, sizes, B)
            for b in range(blocks):
                product_1(J1, V[b * _DIM :], F[b * half :], p, data, driven, sizes, B)
        for i in range(half):
            x[half + i] = x[half + i] + first * g[i]
        rates_0(t0 + m * dt + first, x, f, J0, p, data, driven, sizes, B)
        for i in range(half):
            x[i] = x[i] + dt * f[i]
        rates_1(t0 + (m + 1) * dt, x, g, J1, p, data, driven, sizes, B)
        for i in range(half):
            x[half + i] = x[half + i] + first * g[i]
        for b in range(blocks):
            v, kick = V[b * _DIM :], F[b * half :]
            for i in range(half):
                v[half + i] = v[half + i] + first * kick[i]
            product_0(J0, v, drift, p, data, driven, sizes, B)
            for i in range(half):
                v[i] = v[i] + dt * drift[i]
            product_1(J1, v, kick, p, data, driven, sizes, B)
            for i in range(half):
                v[half + i] = v[half + i] + first * kick[i]
'''
