"""The implicit midpoint method: for stiff flows, and for Hamiltonians of any form."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from dynsys.errors import real
from dynsys.steppers.stepper import Stepper, VectorField, Written

Array = np.ndarray

NEWTON_STEPS = 50
CONVERGED = 1e-9  # size of a Newton step, as a share of the state: the next one is of the order of rounding


@attrs.frozen(eq=False)
class ImplicitMidpoint(Stepper):
    """The implicit midpoint method, x' = x + dt f(t + dt/2, (x + x') / 2).

    Of second order, A-stable, reversible, and symplectic for every Hamiltonian. The midpoint m = (x + x') / 2 solves

        m = x + dt/2 f(t + dt/2, m),

    by Newton's method to rounding, from an Euler step; then x' = 2 m - x. Differentiated, the tangent is

        M = (1 - dt/2 J(t + dt/2, m))^{-1} V,   V' = 2 M - V.

    A step for which Newton's method does not converge within 50 steps gives NaN, which ends the run: shorten dt. One
    costs about four Jacobians and as many solutions of dim linear equations, O(dim^3).

    References
    ----------
    E. Hairer, C. Lubich, G. Wanner, Geometric Numerical Integration, 2nd ed., Springer (2006), Secs. II.1, VI.4.

    Examples
    --------
    >>> from dynsys.models.classics import LinearFlow
    >>> print(f"{ImplicitMidpoint(dt=1.0).step(LinearFlow([[-1e6]]), 0, 0.0, np.ones(1))[0]:.9f}")  # RK4: 4e22
    -0.999996000
    """

    order = 2

    def step(self, flow: VectorField, n: int, t: float, x: Array) -> Array:
        """State after step n, which begins at time t; x has shape (..., dim)."""
        x = real("x", x)
        moved = np.empty(x.shape)
        for index in np.ndindex(x.shape[:-1]):
            moved[index] = 2.0 * self._midpoint(flow, t, x[index]) - x[index]
        return moved

    def step_tangent(self, flow: VectorField, n: int, t: float, x: Array, V: Array) -> tuple[Array, Array]:
        """One state (dim,) and its tangent vectors (dim, k) after step n, which begins at time t."""
        x, V = real("x", x), real("V", V)
        m = self._midpoint(flow, t, x)
        if not np.isfinite(m).all():
            return m, np.full_like(V, np.nan)
        return 2.0 * m - x, 2.0 * _solve(self._matrix(flow, t, m), V) - V

    def _midpoint(self, flow: VectorField, t: float, x: Array) -> Array:
        """The solution of m = x + dt/2 f(t + dt/2, m); NaN if there is none in reach."""
        half = 0.5 * self.dt
        with np.errstate(over="ignore", invalid="ignore"):
            m = x + half * flow.vector_field(t, x)
            for _ in range(NEWTON_STEPS):
                if not np.isfinite(m).all():
                    break
                step = _solve(self._matrix(flow, t, m), m - x - half * flow.vector_field(t + half, m))
                m = m - step
                if np.abs(step).max() <= CONVERGED * max(np.abs(m).max(), np.abs(x).max()):
                    return m
        return np.full_like(x, np.nan)

    def _matrix(self, flow: VectorField, t: float, m: Array) -> Array:
        """1 - dt/2 J at the midpoint."""
        half, identity = 0.5 * self.dt, np.eye(len(m))
        return identity - half * flow.jvp(t + half, m, identity)

    @property
    def source(self) -> str:
        """The same step, as source for Numba."""
        return SOURCE.format(newton_steps=NEWTON_STEPS, converged=CONVERGED)

    @property
    def written(self) -> Written:
        """The same steps, for equations that are written out."""

        def room(dim: int, entries: Sequence[int], blocks: int) -> tuple[int, int]:
            row = -(-dim // 8) * 8
            return dim * (row + dim + 5) + entries[0], 2 * dim

        return Written(WRITTEN.format(newton_steps=NEWTON_STEPS, converged=CONVERGED), room, implicit=True)


def _solve(A: Array, B: Array) -> Array:
    """A^{-1} B; NaN if A is singular or not finite."""
    if not np.isfinite(A).all():
        return np.full_like(B, np.nan)
    try:
        return np.linalg.solve(A, B)
    except np.linalg.LinAlgError:
        return np.full_like(B, np.nan)


SOURCE = '''
STAGES = 1


@njit
def solve(A, B):
    """A^-1 B in the place of B, by elimination with the largest pivot of every column; A is lost."""
    dim, columns = B.shape
    for p in range(dim):
        best = p
        for i in range(p + 1, dim):
            if abs(A[i, p]) > abs(A[best, p]):
                best = i
        for j in range(p, dim):
            A[p, j], A[best, j] = A[best, j], A[p, j]
        for c in range(columns):
            B[p, c], B[best, c] = B[best, c], B[p, c]
        for i in range(p + 1, dim):
            factor = A[i, p] / A[p, p]
            if factor != 0.0:
                for j in range(p + 1, dim):
                    A[i, j] -= factor * A[p, j]
                for c in range(columns):
                    B[i, c] -= factor * B[p, c]
    for p in range(dim - 1, -1, -1):
        for c in range(columns):
            for j in range(p + 1, dim):
                B[p, c] -= A[p, j] * B[j, c]
            B[p, c] /= A[p, p]


@njit
def matrix(t, half, m, f, A, identity, parameters, data, rows, scratch):
    """A = 1 - half J at the midpoint m, and f there."""
    linearise(t, m, identity, f, A, parameters, data, rows, scratch)
    for j in range(m.size):
        for i in range(m.size):
            A[i, j] = (1.0 if i == j else 0.0) - half * A[i, j]


@njit
def step_tangent(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch):
    """Newton's method for the midpoint X, then the vectors there."""
    dim, half = x.size, 0.5 * dt
    identity, A, step = np.eye(dim).T, np.empty((dim, dim)).T, np.empty((dim, 1))
    slope = np.empty(dim)
    matrix(t, half, x, slope, A, identity, parameters, data, rows, scratch)
    for i in range(dim):
        X[i] = x[i] + half * slope[i]
    converged = False
    for _ in range({newton_steps}):
        matrix(t + half, half, X, slope, A, identity, parameters, data, rows, scratch)
        for i in range(dim):
            step[i, 0] = X[i] - x[i] - half * slope[i]
        solve(A, step)
        largest = size = 0.0
        for i in range(dim):
            X[i] -= step[i, 0]
            largest, size = max(largest, abs(step[i, 0])), max(size, abs(X[i]), abs(x[i]))
        if not largest < math.inf:
            break
        converged = largest <= {converged!r} * size
        if converged:
            break
    if not converged:
        x[:] = np.nan
        V[:] = np.nan
        return
    matrix(t + half, half, X, slope, A, identity, parameters, data, rows, scratch)
    copy_matrix(W, V)
    solve(A, W)
    for i in range(dim):
        x[i] = 2.0 * X[i] - x[i]
        for c in range(V.shape[1]):
            V[i, c] = 2.0 * W[i, c] - V[i, c]

'''

WRITTEN = '''

def matrix(t, half, m, f, J, A, Y, F, p, data, rows, sizes, B):
    """A = 1 - half J at the midpoint m, row by row in whole blocks, and f there."""
    rates(t, m, f, J, p, data, rows, sizes, B)
    blocks, R, ones = (_DIM + _COLUMNS - 1) // _COLUMNS, like(A, Y), as_floats(Y)
    for b in range(blocks):
        for i in range(_DIM):
            Y[i] = 0.0
        for c in range(_COLUMNS):
            if b * _COLUMNS + c < _DIM:
                ones[(b * _COLUMNS + c) * _COLUMNS + c] = 1.0
        product(J, Y, F, p, data, rows, sizes, B)
        for i in range(_DIM):
            R[i * blocks + b] = -half * F[i]
    for i in range(_DIM):
        A[i * blocks * _COLUMNS + i] += 1.0


def eliminate(A, L, inverse, order, V):
    """A = LU by the largest pivot of every column: U stands in A, the factors of column c of L in L[c _DIM :]."""
    blocks, R = (_DIM + _COLUMNS - 1) // _COLUMNS, like(A, V)
    row = blocks * _COLUMNS
    for c in range(_DIM):
        best, largest = c, abs(A[c * row + c])
        for i in range(c + 1, _DIM):
            if abs(A[i * row + c]) > largest:
                best, largest = i, abs(A[i * row + c])
        order[c] = float(best)
        if best != c:
            for b in range(blocks):
                R[c * blocks + b], R[best * blocks + b] = R[best * blocks + b], R[c * blocks + b]
        inverse[c] = 1.0 / A[c * row + c]
        for i in range(c + 1, _DIM):
            factor = A[i * row + c] * inverse[c]
            L[c * _DIM + i] = factor
            if factor != 0.0:
                for b in range(c // _COLUMNS, blocks):
                    R[i * blocks + b] = R[i * blocks + b] - factor * R[c * blocks + b]


def solve(A, L, inverse, order, Z):
    """A^-1 Z in the place of Z, whose rows are numbers or vectors."""
    row = (_DIM + _COLUMNS - 1) // _COLUMNS * _COLUMNS
    for c in range(_DIM):
        best = int(order[c])
        Z[c], Z[best] = Z[best], Z[c]
        for i in range(c + 1, _DIM):
            Z[i] = Z[i] - L[c * _DIM + i] * Z[c]
    for c in range(_DIM - 1, -1, -1):
        Z[c] = Z[c] * inverse[c]
        for i in range(c):
            Z[i] = Z[i] - A[i * row + c] * Z[c]


def midpoint(t, half, x, m, z, f, J, A, L, inverse, order, Y, F, p, data, rows, sizes, B):
    """The solution m of m = x + half f(t + half, m), by Newton's method; 0 if there is none in reach."""
    rates(t, x, f, J, p, data, rows, sizes, B)
    for i in range(_DIM):
        m[i] = x[i] + half * f[i]
    for round in range({newton_steps}):
        matrix(t + half, half, m, f, J, A, Y, F, p, data, rows, sizes, B)
        eliminate(A, L, inverse, order, Y)
        for i in range(_DIM):
            z[i] = m[i] - x[i] - half * f[i]
        solve(A, L, inverse, order, z)
        largest, size, lost = 0.0, 0.0, 0.0
        for i in range(_DIM):
            m[i] = m[i] - z[i]
            largest, size = max(largest, abs(z[i])), max(size, abs(m[i]), abs(x[i]))
            lost += 0.0 * m[i]
        if lost != 0.0:
            return 0
        if largest <= {converged!r} * size:
            return 1
    return 0


def moved(n, steps, t0, dt, x, V, blocks, p, data, rows, sizes, B, S, F):
    """Newton's method for the midpoint, then the vectors there, all by one elimination."""
    half, room = 0.5 * dt, (_DIM + 7) // 8 * 8 * _DIM
    A, L, J = S, S[room:], S[room + _DIM * (_DIM + 5) :]
    rest = S[room + _DIM * _DIM :]
    m, z, f, inverse, order = rest, rest[_DIM:], rest[2 * _DIM :], rest[3 * _DIM :], rest[4 * _DIM :]
    Y, W = F, F[_DIM:]
    for step in range(n, n + steps):
        driven, t = rows[(step - n) * sizes[1] :], t0 + step * dt
        found = midpoint(t, half, x, m, z, f, J, A, L, inverse, order, Y, W, p, data, driven, sizes, B)
        if found == 0:
            for i in range(_DIM):
                x[i] = nan
            for i in range(blocks * _DIM):
                V[i] = nan
            return
        for i in range(_DIM):
            x[i] = 2.0 * m[i] - x[i]
        if blocks > 0:
            matrix(t + half, half, m, f, J, A, Y, W, p, data, driven, sizes, B)
            eliminate(A, L, inverse, order, Y)
            for b in range(blocks):
                v = V[b * _DIM :]
                for i in range(_DIM):
                    W[i] = v[i]
                solve(A, L, inverse, order, W)
                for i in range(_DIM):
                    v[i] = 2.0 * W[i] - v[i]
'''
