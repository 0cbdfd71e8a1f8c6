"""Plain recurrent networks, and echo states, which are leaky and sparse."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.compiled.kernel import Kernel
from dynsys.errors import finite, positive, real_or_complex, whole_number, whole_seed
from dynsys.models.activations import Activation, ReLU, Tanh
from dynsys.models.networks.recurrent.inputs import an_input_series
from dynsys.models.networks.recurrent.kernel import recurrent_kernel
from dynsys.models.networks.recurrent.network import RecurrentNetwork, drawn

Array = np.ndarray


def _gain(value: Any) -> float:
    return positive("gain", value)


def _leak(value: Any) -> float:
    if (leak := positive("leak", value)) > 1.0:
        raise InvalidInputError(f"leak must be above 0 and at most 1, got {value!r:.100}")
    return leak


@attrs.frozen(eq=False)
class RNN(RecurrentNetwork):
    """A plain recurrent network, leaky if a < 1; the state h has a component for each unit.

        h' = (1 - a) h + a sigma(g W h + U u_n + b)

    For a = 1 the tangents stretch by det = g^N det W prod_i sigma'_i, so that the exponents of tanh add up to

        sum lambda_i = N ln g + ln|det W| + < sum_i ln(1 - h_i^2) >.

    sigma' of tanh vanishes in double precision beyond arguments of 19: at large gains the last exponents are minus
    infinity, and a run that follows them all stops with SingularTangentError. Follow fewer: k = units // 2, say.

    Attributes
    ----------
    W, U, b, inputs
        See `RecurrentNetwork`: shapes (units, units), (units, inputs), (units,).
    activation : Activation
        sigma.
    gain : float
        g > 0, a factor of W: a sweep over it needs no other matrix.
    leak : float
        a, above 0 and at most 1.

    References
    ----------
    H. Sompolinsky, A. Crisanti, H. J. Sommers, Phys. Rev. Lett. 61, 259 (1988); R. Engelken, F. Wolf, L. F. Abbott,
    Phys. Rev. Research 5, 043044 (2023); H. Jaeger, GMD Report 148 (2001), for echo states.

    Examples
    --------
    >>> network = RNN.random(100, gain=2.0, seed=0)
    >>> h = np.random.default_rng(1).normal(size=100)
    >>> spectrum = network.tangent().benettin(h, intervals=200, warmup=100, k=30)
    >>> bool(0.1 < spectrum.exponents[0] < 0.2), bool(20 < spectrum.kaplan_yorke_dimension()[0] < 32)
    (True, True)
    """

    activation: Activation = attrs.field(factory=Tanh, kw_only=True)
    gain: float = attrs.field(default=1.0, converter=_gain, kw_only=True)
    leak: float = attrs.field(default=1.0, converter=_leak, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Refuse what does not fit."""
        super().__attrs_post_init__()
        if not isinstance(self.activation, Activation):
            raise InvalidInputError(f"activation must be an Activation such as Tanh(), got {self.activation!r:.100}")

    @classmethod
    def random(
        cls, units: int, gain: float, seed: int, *, inputs: Any = None, scale: float = 1.0, **further: Any
    ) -> Self:
        """Weights W ~ N(0, 1/units) and, for inputs, U ~ N(0, scale^2), from `numpy.random.default_rng(seed)`.

        `further` are `b`, `activation` and `leak`. Another gain changes no draw.
        """
        W, U, inputs = drawn(1, units, seed, inputs, scale)
        return cls(W, U, inputs=inputs, gain=gain, **further)

    @classmethod
    def echo_state(
        cls, units: int, radius: float, seed: int, *, inputs: Any = None, scale: float = 1.0, density: float = 0.1,
        **further: Any,
    ) -> Self:  # fmt: skip
        """A sparse random network whose matrix of weights g W has a given spectral radius: W has 1, g is the radius.

        A share `density` of the entries of W is uniform in (-1, 1) before it is divided by its spectral radius, the
        rest 0; U is uniform in (-scale, scale). `further` are `b`, `activation` and `leak`.

        Raises
        ------
        InvalidInputError
            If W is so sparse that its spectral radius vanishes.
        """
        units, rng = whole_number("units", units, 1), np.random.default_rng(whole_seed(seed))
        if not 0.0 < positive("density", density) <= 1.0:
            raise InvalidInputError(f"density must be above 0 and at most 1, got {density!r}")
        W = rng.uniform(-1.0, 1.0, size=(units, units)) * (rng.random((units, units)) < density)
        found = np.abs(np.linalg.eigvals(W)).max()
        if found < 1e-3:  # of a nilpotent matrix rounding makes some
            raise InvalidInputError(
                f"no loop is left among {units} units of density {density}, the spectral radius vanishes: take more of "
                "either, or another seed"
            )
        inputs = an_input_series(inputs)
        U = None if inputs is None else finite("scale", scale) * rng.uniform(-1.0, 1.0, size=(units, inputs.size))
        return cls(W / found, U, inputs=inputs, gain=radius, **further)

    @classmethod
    def _of(cls, found: dict[str, Any]) -> dict[str, Any]:
        activation = ReLU() if found["relu"] else Tanh()
        return {"W": found["W"], "U": found["U"], "b": found["b"] + found["c"], "activation": activation}

    def step(self, n: int, x: Array) -> Array:
        """State after step n; x has shape (..., units)."""
        x = real_or_complex("x", x)
        s = self.activation.sigma(self.gain * (x @ self.W.T) + self.driven(n))
        return (1.0 - self.leak) * x + self.leak * s

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Jacobian at one state times the columns of V, shape (units, k)."""
        x, V = real_or_complex("x", x), real_or_complex("V", V)
        slope = self.activation.dsigma(self.gain * (self.W @ x) + self.driven(int(t)))
        return (1.0 - self.leak) * V + (self.leak * self.gain * slope)[:, None] * (self.W @ V)

    def kernel(self) -> Kernel | None:
        """The same as source for Numba; see `fallback`."""
        drive = None if self.inputs is None else self.inputs.drive
        return recurrent_kernel(self.activation, self.W, self.U, self.b, drive, (self.gain, self.leak))

    @property
    def fallback(self) -> str:
        """What keeps it from being compiled: an activation without source; or empty."""
        return self.activation.fallback
