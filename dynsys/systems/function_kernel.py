"""Functions of users, marked `@numba.njit`, in a compiled pass: how their arguments travel, and what calls them."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from dynsys.algorithms.differences import BY_DIFFERENCES

Form = tuple[
    type, tuple[int, ...]
]  # of an argument that travels as float64 parameters: its type, or that of its entries

NUMBERS = {bool: "{} != 0.0", int: "int({})", float: "{}"}
ARRAYS = {bool: "({} != 0.0)", int: "{}.astype(np.int64)", float: "{}"}
LARGEST_INT = 2**53  # from there on float64 cannot tell integers apart


def is_number(value: Any) -> bool:
    """Whether a default of a function is one of its parameters."""
    return type(value) in NUMBERS and (type(value) is not int or abs(value) <= LARGEST_INT)


def form_of(value: Any) -> Form | None:
    """How an argument travels to compiled functions, or None for one that cannot."""
    if is_number(value):
        return type(value), ()
    if not isinstance(value, np.ndarray) or not value.ndim:
        return None
    kind = {np.dtype(bool): bool, np.dtype(np.int64): int, np.dtype(float): float}.get(value.dtype)
    exact = kind is not int or not (np.abs(value) > LARGEST_INT).any()
    return (kind, value.shape) if kind is not None and exact else None


@cache
def function_source(derivative: str, forms: tuple[Form, ...], large: bool) -> str:
    """Source of `linearise`; the kinds and shapes of the arguments are in it, their values are not."""
    args, at = "", 0
    for kind, shape in forms:
        size = math.prod(shape)
        if shape:
            args += ", " + ARRAYS[kind].format(f"parameters[{at}:{at + size}].reshape({shape})")
        else:
            args += ", " + NUMBERS[kind].format(f"parameters[{at}]")
        at += size
    body = {"jvp": BY_JVP, "jacobian": BY_JACOBIAN, "finite differences": BY_DIFFERENCES}[derivative]
    product = "copy_matrix(F, np.dot(J, np.ascontiguousarray(V)))" if large else "multiply(J, V, F)"
    return (EVALUATE + MULTIPLY + body).format(args=args, product=product)


EVALUATE = '''
from dynsys.errors import InvalidInputError


@njit
def write(answer, out):
    """out = the answer of a function."""
    if answer.ndim == out.ndim:  # Numba drops what follows where it is not so
        if answer.shape == out.shape:
            for index in np.ndindex(out.shape):
                if answer[index].imag != 0.0:
                    raise InvalidInputError("function, jacobian and jvp must return real numbers")
                out[index] = answer[index].real
            return
    raise InvalidInputError(
        "function, jacobian and jvp must return numbers of shape (dim,), (dim, dim) and (dim, k): the same run with "
        "backend='numpy' says which did not, and what came"
    )


@njit
def evaluate(t, x, f, parameters, state):
    """f = function(t, x), of a copy of x, into which it may write; NaN and False if x is not finite."""
    total = 0.0
    for i in range(len(x)):
        state[i] = x[i]
        total += 0.0 * x[i]
    if total != 0.0:
        f[:] = np.nan
        return False
    write(np.asarray(function(t, state{args})), f)
    return True
'''

MULTIPLY = '''

@njit
def multiply(J, V, F):
    """F = J V by loops: faster than BLAS for short columns."""
    dim, k = V.shape
    for i in range(dim):
        for c in range(k):
            F[i, c] = 0.0
        for j in range(dim):
            for c in range(k):
                F[i, c] += J[i, j] * V[j, c]
'''

BY_JACOBIAN = '''

@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = function(t, x) and F = jacobian(t, x) V."""
    dim = len(x)
    state, J = scratch[:dim], scratch[dim : dim + dim * dim].reshape((dim, dim))
    if not evaluate(t, x, f, parameters, state):
        F[:] = np.nan
        return
    copy(state, x)
    write(np.asarray(jacobian(t, state{args})), J)
    {product}
'''

BY_JVP = '''

@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = function(t, x) and F = jvp(t, x, V)."""
    dim, k = V.shape
    state, W = scratch[:dim], np.empty((0, 0))
    if dim + dim * k <= scratch.size:
        W = scratch[dim : dim + dim * k].reshape((dim, k))
    else:  # a stepper with a state of its own carries more vectors than the flow has dimensions
        W = np.empty((dim, k))
    if not evaluate(t, x, f, parameters, state):
        F[:] = np.nan
        return
    copy(state, x)
    copy_matrix(W, V)
    write(np.asarray(jvp(t, state, W{args})), F)
'''
