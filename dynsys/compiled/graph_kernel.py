"""The graph of a loss for the compiler: gradient and J V by one kernel for all losses, with nothing written out.

A loss of many weights as straight-line source would take the compiler minutes, and its Hessian more. Here its
operations are numbers in the data, and one kernel, compiled once and kept on disk, walks over them: forward for the
values, backward for the gradient, and for each tangent vector v the derivative of both along v (B. A. Pearlmutter,
Neural Comput. 6, 147 (1994)). Every operation is applied to a few samples at a time, `LANES`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dynsys.compiled.graph import ELEMENTARY, LossGraph
from dynsys.compiled.kernel import Kernel

Array = np.ndarray

LANES = 16  # samples that an operation is applied to at a time


def graph_kernel(graph: LossGraph, sigma: str, scale: float, data: Array, parameters: Sequence[float]) -> Kernel:
    """The kernel of theta' = scale * (sum over samples of the gradient of their loss), by the graph.

    The graph stands behind the data, from which the kernel reads it.
    """
    columns, nodes = data.shape[1], len(graph.kinds)
    head = [data.size, nodes, len(graph.factors), columns, graph.parameters]
    padding = -(graph.numbers.size + len(head)) % columns
    flat = np.concatenate([data.ravel(), graph.numbers, np.zeros(padding), head])
    return Kernel(
        (NO_SIGMA if not sigma else f"\n\n@njit\n{sigma.strip()}\n") + f"\n\nL = {LANES}\n{ELEMENTARY}{SOURCE}",
        np.array([scale, *parameters]),
        flat.reshape(-1, columns),
        scratch=(4 * (graph.inputs + nodes) + 2 * nodes) * LANES,
    )


NO_SIGMA = '''

@njit
def sigma(d):
    """There is none."""
    return d, 1.0, 0.0

'''

SOURCE = '''
@njit
def power(p, d):
    slope = 0.0 if p == 0.0 else p * d ** (p - 1.0)
    return d**p, slope, 0.0 if p == 0.0 or p == 1.0 else p * (p - 1.0) * d ** (p - 2.0)


@njit
def function(kind, p, d):
    """The same, or the nonlinearity, or a power."""
    if kind == 4:
        return sigma(d)
    if kind == 2 or kind == 3:
        return power(p, d)
    return elementary(kind, d)


@njit
def inner(a, b):
    """Sum of products of two rows, in a fixed order."""
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    for l in range(0, L, 4):
        s0 += a[l] * b[l]
        s1 += a[l + 1] * b[l + 1]
        s2 += a[l + 2] * b[l + 2]
        s3 += a[l + 3] * b[l + 3]
    return (s0 + s2) + (s1 + s3)


@njit
def values(x, Z, S1, S2, inputs, kinds, first, factors, left, right):
    """Rows Z of all operations, and the derivatives S1, S2 of the functions."""
    for n in range(kinds.size):
        kind, begin, end, z = int(kinds[n]), int(first[n]), int(first[n + 1]), Z[inputs + n]
        if kind == 0:
            for l in range(L):
                z[l] = 0.0
            for m in range(begin, end):
                a, b = int(left[m]), Z[int(right[m])]
                if a < 0:
                    w = factors[m] * x[-1 - a]
                    for l in range(L):
                        z[l] += w * b[l]
                else:
                    for l in range(L):
                        z[l] += factors[m] * Z[a, l] * b[l]
        elif kind == 1:
            yes, no = Z[int(right[begin])], Z[int(right[begin + 1])]
            for l in range(L):
                z[l] = yes[l] if Z[int(left[begin]), l] != 0.0 else no[l]
        else:
            d = Z[int(right[begin])]
            for l in range(L):
                p = Z[int(left[begin]), l] if kind == 3 else factors[begin]
                z[l], S1[n, l], S2[n, l] = function(kind, p, d[l])


@njit
def backward(x, f, Z, A, S1, inputs, kinds, first, factors, left, right):
    """Rows A, the derivatives of the loss by all rows, and what these samples add to the gradient f."""
    for n in range(kinds.size - 1, -1, -1):
        kind, begin, end, e = int(kinds[n]), int(first[n]), int(first[n + 1]), A[inputs + n]
        if kind == 0:
            for m in range(begin, end):
                a, b, c = int(left[m]), int(right[m]), factors[m]
                if a < 0:
                    f[-1 - a] += c * inner(e, Z[b])
                    w = c * x[-1 - a]
                    if b >= inputs:
                        for l in range(L):
                            A[b, l] += w * e[l]
                else:
                    for l in range(L):
                        A[a, l] += c * e[l] * Z[b, l]
                    if b >= inputs:
                        for l in range(L):
                            A[b, l] += c * e[l] * Z[a, l]
        elif kind == 1:
            yes, no = int(right[begin]), int(right[begin + 1])
            for l in range(L):
                A[yes if Z[int(left[begin]), l] != 0.0 else no, l] += e[l]
        else:
            b = int(right[begin])
            for l in range(L):
                A[b, l] += S1[n, l] * e[l]


@njit
def values_along(x, v, Z, D, S1, inputs, kinds, first, factors, left, right):
    """Rows D, the derivative of `values` along v."""
    for n in range(kinds.size):
        kind, begin, end, dz = int(kinds[n]), int(first[n]), int(first[n + 1]), D[inputs + n]
        if kind == 0:
            for l in range(L):
                dz[l] = 0.0
            for m in range(begin, end):
                a, b, c = int(left[m]), int(right[m]), factors[m]
                if a < 0:
                    w = c * v[-1 - a]
                    for l in range(L):
                        dz[l] += w * Z[b, l]
                    if b >= inputs:
                        w = c * x[-1 - a]
                        for l in range(L):
                            dz[l] += w * D[b, l]
                else:
                    for l in range(L):
                        dz[l] += c * (D[a, l] * Z[b, l] + Z[a, l] * D[b, l])
        elif kind == 1:
            yes, no = int(right[begin]), int(right[begin + 1])
            for l in range(L):
                dz[l] = D[yes if Z[int(left[begin]), l] != 0.0 else no, l]
        else:
            b = int(right[begin])
            for l in range(L):
                dz[l] = S1[n, l] * D[b, l]


@njit
def backward_along(x, v, F, Z, A, D, B, S1, S2, inputs, kinds, first, factors, left, right):
    """Rows B, the derivative of `backward` along v, and what these samples add to the product F."""
    for n in range(kinds.size - 1, -1, -1):
        kind, begin, end = int(kinds[n]), int(first[n]), int(first[n + 1])
        e, de = A[inputs + n], B[inputs + n]
        if kind == 0:
            for m in range(begin, end):
                a, b, c = int(left[m]), int(right[m]), factors[m]
                if a < 0:
                    total = inner(de, Z[b])
                    if b >= inputs:
                        total += inner(e, D[b])
                        w, dw = c * x[-1 - a], c * v[-1 - a]
                        for l in range(L):
                            B[b, l] += dw * e[l] + w * de[l]
                    F[-1 - a] += c * total
                else:
                    for l in range(L):
                        B[a, l] += c * (de[l] * Z[b, l] + e[l] * D[b, l])
                    if b >= inputs:
                        for l in range(L):
                            B[b, l] += c * (de[l] * Z[a, l] + e[l] * D[a, l])
        elif kind == 1:
            yes, no = int(right[begin]), int(right[begin + 1])
            for l in range(L):
                B[yes if Z[int(left[begin]), l] != 0.0 else no, l] += de[l]
        else:
            b = int(right[begin])
            for l in range(L):
                B[b, l] += S2[n, l] * D[b, l] * e[l] + S1[n, l] * de[l]


@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = scale gradient and F = scale Hessian V, summed over the samples in `rows`."""
    flat = data.reshape(data.size)
    at, nodes, terms, columns, numbers = flat[flat.size - 5 :].astype(np.int64)
    kinds, at = flat[at : at + nodes], at + nodes
    first, at = flat[at : at + nodes + 1], at + nodes + 1
    factors, at = flat[at : at + terms], at + terms
    left, at = flat[at : at + terms], at + terms
    right = flat[at : at + terms]
    inputs = 1 + columns + numbers
    room = (inputs + nodes) * L
    Z = scratch[:room].reshape(inputs + nodes, L)
    A = scratch[room : 2 * room].reshape(inputs + nodes, L)
    D = scratch[2 * room : 3 * room].reshape(inputs + nodes, L)
    B = scratch[3 * room : 4 * room].reshape(inputs + nodes, L)
    S1 = scratch[4 * room : 4 * room + nodes * L].reshape(nodes, L)
    S2 = scratch[4 * room + nodes * L : 4 * room + 2 * nodes * L].reshape(nodes, L)
    for i in range(x.size):
        f[i] = 0.0
        for c in range(V.shape[1]):
            F[i, c] = 0.0
    for begin in range(0, rows.size, L):
        for l in range(L):  # lanes without a sample repeat the last one, and count for nothing
            row = data[rows[min(begin + l, rows.size - 1)]]
            Z[0, l] = 1.0
            for j in range(columns):
                Z[1 + j, l] = row[j]
            for j in range(numbers):
                Z[1 + columns + j, l] = parameters[1 + j]
        values(x, Z, S1, S2, inputs, kinds, first, factors, left, right)
        A[:] = 0.0
        for l in range(L):
            A[inputs + nodes - 1, l] = 1.0 if begin + l < rows.size else 0.0
        backward(x, f, Z, A, S1, inputs, kinds, first, factors, left, right)
        D[:inputs] = 0.0
        for c in range(V.shape[1]):
            v, g = V.T[c], F.T[c]
            values_along(x, v, Z, D, S1, inputs, kinds, first, factors, left, right)
            B[:] = 0.0
            backward_along(x, v, g, Z, A, D, B, S1, S2, inputs, kinds, first, factors, left, right)
    scale = parameters[0]
    for i in range(x.size):
        f[i] *= scale
        for c in range(V.shape[1]):
            F[i, c] *= scale

'''
