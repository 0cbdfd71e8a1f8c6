"""Recurrent networks with gates: GRU and LSTM."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
from scipy.special import expit

from dynsys.errors import positive, real_or_complex
from dynsys.models.networks.recurrent.network import RecurrentNetwork, drawn, of_shape, short

Array = np.ndarray


def _inner_bias(value: Any, network: Any) -> Array:
    return of_shape("c", value, (network.W.shape[1],))


@attrs.frozen(eq=False)
class GRU(RecurrentNetwork):
    """A network of gated recurrent units, as `torch.nn.GRU`; the state h has a component for each unit.

        r = s(W_r h + U_r u_n + b_r),   z = s(W_z h + U_z u_n + b_z),   q = tanh(U_q u_n + b_q + r (W_q h + c))
        h' = (1 - z) q + z h,                                           s(d) = 1/(1 + exp(-d))

    Attributes
    ----------
    W, U, b, inputs
        See `RecurrentNetwork`: the rows of r, z, q one below the other, 3 units of them.
    c : array_like, shape (units,), optional
        The bias that r multiplies; 0 by default.

    References
    ----------
    K. Cho et al., arXiv:1406.1078; K. Krishnamurthy, T. Can, D. J. Schwab, Phys. Rev. X 12, 011011 (2022).

    Examples
    --------
    >>> network = GRU.random(30, gain=4.0, seed=0)
    >>> h = np.random.default_rng(1).normal(size=30)
    >>> bool(network.tangent().benettin(h, intervals=300, warmup=100, k=3).exponents[0] > 0)
    True
    """

    gates = 3

    c: Array = attrs.field(
        default=None,
        converter=attrs.Converter(_inner_bias, takes_self=True),  # type: ignore[misc]
        repr=short,
    )

    @classmethod
    def random(
        cls, units: int, gain: float, seed: int, *, inputs: Any = None, scale: float = 1.0, **further: Any
    ) -> Self:
        """W ~ N(0, gain^2/units) for all gates, U ~ N(0, scale^2), as `RNN.random`; `further` are `b` and `c`."""
        W, U, inputs = drawn(3, units, seed, inputs, scale)
        return cls(positive("gain", gain) * W, U, inputs=inputs, **further)

    @classmethod
    def _of(cls, found: dict[str, Any]) -> dict[str, Any]:
        units = found["W"].shape[1]
        b = found["b"] + np.concatenate([found["c"][: 2 * units], np.zeros(units)])
        return {"W": found["W"], "U": found["U"], "b": b, "c": found["c"][2 * units :]}

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., units)."""
        x = real_or_complex("x", x)
        _, z, q, _ = self._parts(n, x)
        return (1.0 - z) * q + z * x

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (units, k)."""
        x, V = real_or_complex("x", x), real_or_complex("V", V)
        r, z, q, inner = (part[:, None] for part in self._parts(int(t), x))
        dr, dz, dq = np.split(self.W @ V, 3)
        dr, dz = r * (1.0 - r) * dr, z * (1.0 - z) * dz
        dq = (1.0 - q * q) * (dr * inner + r * dq)
        return (1.0 - z) * dq + (x[:, None] - q) * dz + z * V

    def _parts(self, n: int, x: Array) -> tuple[Array, Array, Array, Array]:
        """r, z, q, and W_q h + c."""
        (r, z, q), (ur, uz, uq) = np.split(x @ self.W.T, 3, axis=-1), np.split(self.driven(n), 3)
        r, inner = expit(r + ur), q + self.c
        return r, expit(z + uz), np.tanh(uq + r * inner), inner


@attrs.frozen(eq=False)
class LSTM(RecurrentNetwork):
    """A network of long short-term memory, as `torch.nn.LSTM`; the state is (h, c), twice as many components as units.

        i, f, o = s(W h + U u_n + b) of their rows,   q = tanh(W_q h + U_q u_n + b_q),   s(d) = 1/(1 + exp(-d))
        c' = f c + i q,   h' = o tanh(c')

    Attributes
    ----------
    W, U, b, inputs
        See `RecurrentNetwork`: the rows of i, f, q, o one below the other, 4 units of them.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, Neural Comput. 9, 1735 (1997); F. A. Gers, J. Schmidhuber, F. Cummins, Neural Comput.
    12, 2451 (2000), for f.

    Examples
    --------
    >>> network = LSTM.random(20, gain=5.0, seed=0)
    >>> network.dimension, network.component_names[19:21]
    (40, ['h[19]', 'c[0]'])
    """

    gates = 4

    @property
    def dimension(self) -> int:
        """Twice the number of units: h, then c."""
        return 2 * self.units

    @property
    def component_names(self) -> list[str]:
        """Names of the components of the state."""
        return [f"{part}[{i}]" for part in "hc" for i in range(self.units)]

    @classmethod
    def random(
        cls, units: int, gain: float, seed: int, *, inputs: Any = None, scale: float = 1.0, **further: Any
    ) -> Self:
        """W ~ N(0, gain^2/units) for all gates, U ~ N(0, scale^2), as `RNN.random`; `further` is `b`."""
        W, U, inputs = drawn(4, units, seed, inputs, scale)
        return cls(positive("gain", gain) * W, U, inputs=inputs, **further)

    @classmethod
    def _of(cls, found: dict[str, Any]) -> dict[str, Any]:
        return {"W": found["W"], "U": found["U"], "b": found["b"] + found["c"]}

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., 2 units)."""
        x = real_or_complex("x", x)
        i, f, q, o = self._parts(n, x[..., : self.units])
        c = f * x[..., self.units :] + i * q
        return np.concatenate([o * np.tanh(c), c], axis=-1)

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (2 units, k)."""
        x, V = real_or_complex("x", x), real_or_complex("V", V)
        i, f, q, o = (part[:, None] for part in self._parts(int(t), x[: self.units]))
        before = x[self.units :, None]
        di, df, dq, do = np.split(self.W @ V[: self.units], 4)
        dc = f * V[self.units :] + f * (1.0 - f) * df * before + i * (1.0 - i) * di * q + i * (1.0 - q * q) * dq
        s = np.tanh(f * before + i * q)
        return np.concatenate([o * (1.0 - o) * do * s + o * (1.0 - s * s) * dc, dc])

    def _parts(self, n: int, h: Array) -> tuple[Array, Array, Array, Array]:
        """i, f, q, o."""
        i, f, q, o = np.split(h @ self.W.T + self.driven(n), 4, axis=-1)
        return expit(i), expit(f), np.tanh(q), expit(o)
