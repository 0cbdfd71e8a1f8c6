"""Lorenz 1963 and its tangent to twenty digits, by the Taylor series of the solution: what methods are measured by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray

DIGITS, ORDER, STEP = 25, 30, 1 / 64


def lorenz63(x0: Sequence[float], time: float) -> tuple[Array, Array]:
    """State (3,) after some time, and its derivative by x0, (3, 3).

    With x = sum_n x_n t^n, and y, z, u, v, w likewise, the equations give the coefficients one from another, those of a
    product by (x z)_n = sum_m x_m z_{n-m}; u, v, w is one of the three tangent vectors. Thirty terms and steps of 1/64
    leave no error that a double shows: more terms and shorter steps give the same bits.
    """
    import mpmath

    with mpmath.workdps(DIGITS):
        sigma, rho, beta = mpmath.mpf(10), mpmath.mpf(28), mpmath.mpf(8) / 3
        count = round(time / STEP)
        h = mpmath.mpf(time) / count
        state = [mpmath.mpf(float(value)) for value in x0]
        columns = [[mpmath.mpf(int(i == c)) for i in range(3)] for c in range(3)]
        for _ in range(count):
            series = [[value] for value in state]
            vectors = [[[value] for value in column] for column in columns]
            x, y, z = series
            for n in range(ORDER):
                product = mpmath.fdot
                xz, xy = product(x, z[::-1]), product(x, y[::-1])
                slopes = sigma * (y[n] - x[n]), rho * x[n] - xz - y[n], xy - beta * z[n]
                for u, v, w in vectors:
                    uz, xw, uy, xv = (product(a, b[::-1]) for a, b in ((u, z), (x, w), (u, y), (x, v)))
                    tangent = sigma * (v[n] - u[n]), rho * u[n] - uz - xw - v[n], uy + xv - beta * w[n]
                    for row, slope in zip((u, v, w), tangent, strict=True):
                        row.append(slope / (n + 1))
                for row, slope in zip(series, slopes, strict=True):
                    row.append(slope / (n + 1))
            state = [mpmath.polyval(row[::-1], h) for row in series]
            columns = [[mpmath.polyval(row[::-1], h) for row in column] for column in vectors]
        return np.array(state, dtype=float), np.array(columns, dtype=float).T
