"""The loss of one sample as a SymPy expression: what the SymPy-generated Jacobian is derived from."""

from __future__ import annotations

from functools import cache

from dynsys.scalar_function import SampleLoss, opaque_function
from models.weight_dynamics.layout import Layout


@cache
def sample_loss(layout: Layout) -> SampleLoss:
    """C = |y - W32 sigma(W21 x + b1) - b2|^2, Eqs. (1)-(2), with an opaque sigma, of a network."""
    import sympy

    n1, n2, n3 = layout.n1, layout.n2, layout.n3
    sigma = opaque_function("sigma")
    W21, W32 = (
        sympy.Matrix(n2, n1, lambda j, i: _real(f"w{j}_{i}")),
        sympy.Matrix(n3, n2, lambda k, j: _real(f"v{k}_{j}")),
    )
    b1, b2 = (
        sympy.Matrix(n2, 1, lambda j, _: _real(f"b{j}")),
        sympy.Matrix(n3, 1, lambda k, _: _real(f"c{k}")),
    )
    x, y = sympy.Matrix(n1, 1, lambda i, _: _real(f"x{i}")), sympy.Matrix(n3, 1, lambda k, _: _real(f"y{k}"))
    error = y - W32 * (W21 * x + b1).applyfunc(sigma) - b2
    state = [*W21.T, *W32.T, *b1, *b2]  # a SymPy matrix lists its rows; the state has the columns
    return SampleLoss(sum(e**2 for e in error), state, [*x, *y])


def _real(name: str):  # type: ignore[no-untyped-def]
    import sympy

    return sympy.Symbol(name, real=True)
