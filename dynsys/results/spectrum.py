"""Lyapunov exponents, with the rates behind them and the checks that they make on themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys import indicators
from dynsys.errors import warn_of
from dynsys.passes.run_state import RunState
from dynsys.results import dimensions
from dynsys.results.printing import joined, means, over, table, with_error, worst
from dynsys.results.result import PER_TIME, Result, labelled, readonly

if TYPE_CHECKING:
    import xarray

Array = np.ndarray
LARGEST_ERRORS = 6.0  # standard errors within which an exponent may be zero


@attrs.frozen(eq=False, kw_only=True)
class SpectrumDiagnostics:
    """Checks that a spectrum makes on itself.

    Attributes
    ----------
    derivative : str
        Where the tangent comes from: "jvp", "jacobian", "traced" or "finite differences".
    drift : ndarray, shape (..., k)
        Mean rate of the second half minus that of the first, in units of its standard error.
    determinant_defect : ndarray, shape (...)
        |sum_i log R_ii - log|det|| of the first interval, relative to 1 + |log|det||; NaN if k < dim (or unchecked).
    vanishing : ndarray, shape (..., v)
        The v exponents closest to zero, in standard errors, where the system declares that v of them vanish; v = 0 if
        k < dim, when the vanishing ones may not be among the k.
    derivative_defect : ndarray, shape (...)
        Tangent of a step against a difference of the step, at the start of the run, relative, of one member (NaN for
        the others); see `dynsys.algorithms.derivative_check.derivative_defect`.
    """

    derivative: str
    drift: Array = readonly()
    determinant_defect: Array = readonly()
    vanishing: Array = readonly()
    derivative_defect: Array = readonly(default=np.nan)


@attrs.frozen(eq=False, kw_only=True)
class LyapunovSpectrum(Result):
    """Lyapunov exponents of one trajectory or of an ensemble, with the rates behind them.

    Attributes
    ----------
    exponents : ndarray, shape (..., k)
        Natural-log rates, 1/time, in frame order. NaN for members that stopped.
    standard_error : ndarray, shape (..., k)
        By batch means; see `dynsys.indicators.batch_means_error`.
    rates : ndarray, shape (..., intervals // stride, k)
        log R_ii of every interval, summed over strides of `stride` intervals, over their length, 1/time.
    times : ndarray, shape (intervals // stride,)
        Absolute times at which the strides end.
    dt : float
        Length of a step; an interval has `steps_per_interval` of them.
    end : RunState
        Last step, states, frames and the status of every member: pass it as x0 to go on from here.
    diagnostics : SpectrumDiagnostics
    """

    exponents: Array = readonly()
    standard_error: Array = readonly()
    rates: Array = readonly()
    times: Array = readonly()
    dt: float
    steps_per_interval: int
    stride: int
    end: RunState
    diagnostics: SpectrumDiagnostics

    def finite_time_exponents(self, window: int | None = None) -> Array:
        """lambda_q(t) from the start of the record to each t, or over windows of `window` of its strides.

        Shape (..., m, k) for m rates, or (..., m - window + 1, k) for windows, which end at times[window - 1:].
        """
        return indicators.finite_time_exponents(self.rates, window)

    @property
    def running_mean(self) -> Array:
        """Estimate of the exponents after each rate, shape as that of `rates`."""
        return self.finite_time_exponents()

    def kaplan_yorke_dimension(self) -> tuple[Array, Array]:
        """The Kaplan-Yorke dimension D and its standard error, shape (...); see `dynsys.results.dimensions`.

        The error is that of the series sum_i dD/dlambda_i rate_i, by batch means: exponents are correlated. NaN for
        members that stopped. Refuses a spectrum that is truncated before its sums turn negative.

        Warns where D is 0 but the largest exponent zero within its error: on a limit cycle it vanishes, and D is 1.
        """
        dimension = self.end.x.shape[1]
        D = dimensions.kaplan_yorke_dimension(self.exponents, dimension)
        near_zero = (D == 0.0) & (self.exponents > -LARGEST_ERRORS * self.standard_error).any(axis=-1)
        text = (
            "the largest exponent is zero within its error: on a limit cycle it vanishes, and the dimension is 1, not 0"
        )
        warn_of([(near_zero, text)], stacklevel=2)
        return D, self._error_of(dimensions.kaplan_yorke_gradient(self.exponents, dimension))

    def entropy_bound(self) -> tuple[Array, Array]:
        """The sum of the positive exponents, 1/time, and its standard error, shape (...).

        An upper bound of the Kolmogorov-Sinai entropy. NaN for members that stopped. Refuses a truncated spectrum whose
        smallest exponent is still positive.
        """
        bound = dimensions.entropy_bound(self.exponents, self.end.x.shape[1])
        return bound, self._error_of(self.exponents > 0.0)

    def _error_of(self, gradient: Array) -> Array:
        """Standard error of a function of the exponents with this gradient, (..., k), to first order."""
        series = np.sum(self.rates * gradient[..., None, :], axis=-1, keepdims=True)
        return indicators.batch_means_error(series)[..., 0][()]  # a number for a single run

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time and exponent."""
        return labelled(
            self,
            {
                "exponent_mean": (("exponent",), self.exponents, PER_TIME),
                "standard_error": (("exponent",), self.standard_error, PER_TIME),
                "rate": (("time", "exponent"), self.rates, PER_TIME),
                "drift": (("exponent",), self.diagnostics.drift),
                "determinant_defect": ((), self.diagnostics.determinant_defect),
            },
            {"time": self.times, "exponent": np.arange(1, self.exponents.shape[-1] + 1)},
        )

    def __str__(self) -> str:
        return _text(self)

    def __repr__(self) -> str:
        return f"LyapunovSpectrum(exponents {self.exponents.shape}, {self.rates.shape[-2]} rates)"


def _text(spectrum: LyapunovSpectrum) -> str:
    """Exponents with their errors, in frame order; of an ensemble means over members, with the errors of the means."""
    exponents, errors, members = means(spectrum.exponents, spectrum.standard_error, spectrum.end)
    checks = spectrum.diagnostics
    found = [f"derivative: {checks.derivative}"]
    found += worst("drift", checks.drift, " standard errors")
    found += worst("defect of the determinants", checks.determinant_defect)
    found += worst("exponents that vanish", checks.vanishing, " standard errors from 0")
    head = f"Lyapunov exponents (1/time){members}, {over(spectrum.times, 'rates')}"
    return "\n".join([head, *table(map(with_error, exponents, errors)), joined(found)])
