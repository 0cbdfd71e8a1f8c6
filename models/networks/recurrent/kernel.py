"""The step of a plain recurrent network, for the compiler: matrix products by BLAS, the rest in fused loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dynsys.compiled.kernel import Kernel, no_drive
from dynsys.models.activations import Activation

Array = np.ndarray


def recurrent_kernel(
    activation: Activation,
    W: Array,
    U: Array,
    b: Array,
    drive: Callable[[int, int, Array], Array] | None,
    numbers: tuple[float, float],
) -> Kernel | None:
    """The kernel of h -> (1 - a) h + a sigma(g W h + U u + b), numbers = (g, a); None without source of sigma.

    Without a drive u = 0. The data are W^T, U^T and b, one after the other.
    """
    if not activation.compiles:
        return None
    pieces = [W.T.ravel(), np.empty(0) if drive is None else U.T.ravel(), b]
    source = SOURCE.format(sigma=activation.kernel_source("sigma"))
    return Kernel(
        source,
        np.array(numbers),
        np.concatenate(pieces)[None],
        no_drive if drive is None else drive,
        scratch=2 * len(W),
    )


SOURCE = '''
@njit
{sigma}

@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = (1 - a) x + a sigma(g W x + U u + b) and F, its derivative along V."""
    gain, leak, units, size = parameters[0], parameters[1], x.size, rows.size
    flat = data[0]
    WT = flat[: units * units].reshape((units, units))
    UT = flat[units * units : units * (units + size)]
    b = flat[units * (units + size) :]
    z, slope = scratch[:units], scratch[units : 2 * units]
    np.dot(x, WT, z)
    for i in range(units):
        z[i] = gain * z[i] + b[i]
    for j in range(size):
        for i in range(units):
            z[i] += UT[j * units + i] * rows[j]
    for i in range(units):
        s, s1, s2 = sigma(z[i])
        f[i] = (1.0 - leak) * x[i] + leak * s
        slope[i] = leak * gain * s1
    if V.shape[1] > 0:
        np.dot(V.T, WT, F.T)
        for c in range(V.shape[1]):
            for i in range(units):
                F[i, c] = slope[i] * F[i, c] + (1.0 - leak) * V[i, c]

'''
