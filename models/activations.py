"""Plug-in activation classes: sigma, sigma', sigma''.

An activation is a few statements that compute s, s1 = sigma', s2 = sigma'' from d. The same text is run by NumPy,
compiled into kernels, and stands for the opaque sigma of SymPy's Jacobian. A new one, by class or from an expression:

    class Sine(Activation):
        source = '''
            s = sin(d)
            s1 = cos(d)
            s2 = -s
        '''

    Activation.from_expression("log(1 + exp(d))")      # derivatives by SymPy, which do not overflow where d is large

`dynsys.testing.check_activation` finds a wrong derivative.
"""

from __future__ import annotations

import math

import numpy as np

from dynsys import InvalidInputError, ScalarFunction
from dynsys.errors import real_or_complex

Array = np.ndarray


class Activation(ScalarFunction):
    """An activation function sigma(d) with its first two derivatives."""

    @staticmethod
    def from_expression(expression: str) -> Activation:
        """An activation from one expression in d, with derivatives by SymPy.

        Examples
        --------
        >>> softplus = Activation.from_expression("log(1 + exp(d))")
        >>> float(softplus.dsigma(0.0)), float(softplus.d2sigma(0.0))
        (0.5, 0.25)
        """
        from dynsys.equations.expression import nesting_refused

        with nesting_refused():
            return type("FromExpression", (Activation,), {"source": _derived_source(expression)})()

    def sigma(self, d: Array) -> Array:
        """sigma(d), element by element."""
        return self.fused(real_or_complex("d", d))[0]

    def dsigma(self, d: Array) -> Array:
        """sigma'(d), element by element."""
        return self.fused(real_or_complex("d", d))[1]

    def d2sigma(self, d: Array) -> Array:
        """sigma''(d), element by element."""
        return self.fused(real_or_complex("d", d))[2]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _derived_source(expression: str) -> str:
    """`source` from one expression in d."""
    import sympy

    from dynsys.equations.derivative import derivative
    from dynsys.equations.expression import check_functions, parse
    from dynsys.equations.finite.rewriting import finite
    from dynsys.equations.source import assignments

    d = sympy.Symbol("d", real=True)
    value = finite(parse(expression, {"d": d}, derivatives=2))
    derivatives = [value, slope := derivative(value, d), derivative(slope, d)]
    for one in derivatives:
        check_functions(one, f"a derivative of {expression!r:.100}")
    # a constant derivative must still have the shape of d
    names = ["s", "s1", "s2"]
    constant = [f"{name} = {name} + 0.0 * d" for name, e in zip(names, derivatives, strict=True) if e.is_number]
    return "\n".join([*assignments(names, derivatives), *constant])


class Linear(Activation):
    """sigma(d) = d."""

    piecewise_linear = True
    source = """
        s = d
        s1 = 1.0 + 0.0 * d
        s2 = 0.0 * d
    """


class ReLU(Activation):
    """sigma(d) = max(0, d), with sigma'(0) = 0 and sigma'' = 0 almost everywhere."""

    kinks = (0.0,)
    piecewise_linear = True
    source = """
        s1 = where(d > 0.0, 1.0, 0.0)
        s = s1 * d
        s2 = 0.0 * s1
    """


class LeakyReLU(Activation):
    """sigma(d) = d for d > 0 and 0.1 d below, with sigma'(0) = 0.1 and sigma'' = 0 almost everywhere."""

    kinks = (0.0,)
    piecewise_linear = True
    source = """
        s1 = where(d > 0.0, 1.0, 0.1)
        s = s1 * d
        s2 = 0.0 * s1
    """


class Tanh(Activation):
    """sigma(d) = tanh d."""

    source = """
        s = tanh(d)
        s1 = 1.0 - s * s
        s2 = -2.0 * s * s1
    """


class Sigmoid(Activation):
    """sigma(d) = 1 / (1 + exp(-d)), computed as (1 + tanh(d/2)) / 2, which never overflows."""

    source = """
        s = 0.5 + 0.5 * tanh(0.5 * d)
        s1 = s * (1.0 - s)
        s2 = s1 * (1.0 - 2.0 * s)
    """


class Softplus(Activation):
    """sigma(d) = log(1 + exp(d)), computed by exp(-|d|), which never overflows."""

    source = """
        e = exp(where(d >= 0.0, -d, d))
        s = where(d >= 0.0, d, 0.0) + log(1.0 + e)
        s1 = where(d >= 0.0, 1.0, e) / (1.0 + e)
        s2 = e / ((1.0 + e) * (1.0 + e))
    """


class GELU(Activation):
    """sigma(d) = d Phi(d), Phi the normal distribution function (the exact form; Hendrycks & Gimpel 2016)."""

    source = f"""
        Phi = 0.5 + 0.5 * erf({math.sqrt(0.5)!r} * d)
        phi = {1 / math.sqrt(2 * math.pi)!r} * exp(-0.5 * d * d)
        s = d * Phi
        s1 = Phi + d * phi
        s2 = (2.0 - d * d) * phi
    """


BY_NAME: dict[str, type[Activation]] = {
    c.__name__.lower(): c for c in (ReLU, LeakyReLU, Tanh, GELU, Sigmoid, Softplus, Linear)
}
"""The activations that the command line knows."""


def named(name: str) -> Activation:
    """The activation with a name of `BY_NAME`, in any case.

    >>> named("tanh")
    Tanh()
    """
    if name.lower() not in BY_NAME:
        raise InvalidInputError(f"unknown activation {name!r}: choose among {', '.join(BY_NAME)}")
    return BY_NAME[name.lower()]()
