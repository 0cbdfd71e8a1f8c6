"""The network's equations for the compiler, with the matrix J: loops, beside what is generated for a very small one.

Larger networks do without J, see `dynsys.models.networks.three_layer.matrix_free`.

Per sample and output q, with g_q the gradient of the output a_q by the state, C = sum_q e_q^2 gives

    -grad C = 2 sum_q e_q g_q,      J = 2 sum_q (e_q Hessian(a_q) - g_q g_q^T),

and Hessian(a_q) is sparse: sigma'' couples the weights into one hidden unit with each other, sigma' couples them with
the weights out of it. This is another derivation than Eqs. (8)-(23); the tests hold the two against each other.
"""

from __future__ import annotations

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel
from dynsys.compiled.sample_kernel import sample_kernel
from dynsys.models.activations import Activation
from dynsys.models.networks.three_layer.layout import Layout
from dynsys.models.networks.three_layer.loss import sample_loss

Array = np.ndarray

LINEARISE = '''
N1, N2, N3 = {n1}, {n2}, {n3}
W32, B1, B2, Q = {w32}, {b1}, {b2}, {dim}  # where the blocks of the state begin, and its length


@njit
{sigma}
@njit
def subtract_products(J, G, product):
    """Take G^T G from the lower triangle of J, and empty G."""
    np.dot(G.T, G, product)
    for i in range(Q):
        for j in range(i + 1):
            J[i, j] -= product[i, j]
    G[:] = 0.0


@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = -scale grad C and F = scale J V, summed over the samples in `rows`; matrix products by BLAS."""
    J = scratch[: Q * Q].reshape(Q, Q)
    product = scratch[Q * Q : 2 * Q * Q].reshape(Q, Q)
    G = scratch[2 * Q * Q : (2 * Q + {at_once}) * Q].reshape({at_once}, Q)
    s = scratch[(2 * Q + {at_once}) * Q : (2 * Q + {at_once}) * Q + N2]
    s1 = scratch[(2 * Q + {at_once}) * Q + N2 : (2 * Q + {at_once}) * Q + 2 * N2]
    s2 = scratch[(2 * Q + {at_once}) * Q + 2 * N2 : (2 * Q + {at_once}) * Q + 3 * N2]
    f[:] = 0.0
    J[:] = 0.0
    G[:] = 0.0
    filled = 0
    for row in rows:
        for j in range(N2):
            d = x[B1 + j]
            for i in range(N1):
                d += x[i * N2 + j] * data[row, i]
            s[j], s1[j], s2[j] = sigma(d)
        for q in range(N3):
            e = data[row, N1 + q] - x[B2 + q]
            for j in range(N2):
                e -= x[W32 + j * N3 + q] * s[j]
            g = G[filled]
            g[:] = 0.0
            g[B2 + q] = 1.0
            for j in range(N2):
                v = x[W32 + j * N3 + q]
                g[W32 + j * N3 + q] = s[j]
                g[B1 + j] = v * s1[j]
                for i in range(N1):
                    g[i * N2 + j] = v * s1[j] * data[row, i]
            for i in range(Q):
                f[i] += e * g[i]
            for j in range(N2):
                curvature = e * x[W32 + j * N3 + q] * s2[j]
                slope = e * s1[j]
                J[B1 + j, B1 + j] += curvature
                J[B1 + j, W32 + j * N3 + q] += slope
                for i in range(N1):
                    J[B1 + j, i * N2 + j] += curvature * data[row, i]
                    J[W32 + j * N3 + q, i * N2 + j] += slope * data[row, i]
                    for m in range(i + 1):
                        J[i * N2 + j, m * N2 + j] += curvature * data[row, i] * data[row, m]
            filled += 1
            if filled == {at_once}:
                subtract_products(J, G, product)
                filled = 0
    if filled > 0:
        subtract_products(J, G, product)
    scale = 2.0 * parameters[0]
    for i in range(Q):
        f[i] *= scale
        for j in range(i + 1):
            J[i, j] *= scale
            J[j, i] = J[i, j]
    np.dot(V.T, J, F.T)  # J is symmetric


'''


def network_kernel(layout: Layout, activation: Activation, x: Array, y: Array, scale: float) -> Kernel | None:
    """The kernel of a small network, or None for an activation without source; rows of [x y] drive it."""
    if not activation.compiles:
        return None
    parameters, data = np.array([scale]), np.hstack([x, y])
    if layout.dimension <= LARGEST_WRITTEN_OUT:
        sample = sample_loss(layout).statements(activation.piecewise_linear)
        return sample_kernel(sample, activation.kernel_source("sigma"), -scale, data)
    dim = layout.dimension
    source = LINEARISE.format(
        **attrs.asdict(layout),
        w32=layout.blocks["W32"].start,
        b1=layout.blocks["b1"].start,
        b2=layout.blocks["b2"].start,
        dim=dim,
        at_once=GRADIENTS_AT_ONCE,
        sigma=activation.kernel_source("sigma"),
    )
    return Kernel(source, parameters, data, scratch=(2 * dim + GRADIENTS_AT_ONCE) * dim + 3 * layout.n2)


GRADIENTS_AT_ONCE = 32  # rows of the matrix G whose G^T G is a part of J
LARGEST_WRITTEN_OUT = 13  # weights and biases: the source grows with their square, the time to compile it faster
LARGEST_WITH_MATRIX = 200  # beyond, J V by back-propagation is as fast with all vectors, with three ten times faster
