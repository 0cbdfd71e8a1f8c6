"""Lyapunov exponents, with the rates behind them and the checks that they make on themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys import indicators
from dynsys.errors import warn_of
from dynsys.passes.run_state import RunState
from dynsys.results import dimensions
from dynsys.results.printing import joined, means, over, table, with_error, worst
from dynsys.results.regime import Motion, Regime, regime
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
    kind : str
        "flow" (autonomous), "driven flow", "map", or "data": what data drive.
    step_error : ndarray, shape (..., k)
        Exponents under this step minus those of the flow, 1/time, found by halving the step on intervals from all over
        the run: the estimate, or its own error where that is larger. NaN where the step is the system.
    divergence_defect : ndarray, shape (...)
        Rate at which single steps change volumes minus the divergence of the flow, 1/time; NaN if k < dim, or unknown.
    speed : ndarray, shape (...)
        ln(|f(end)| / |f(start)|) / T of an autonomous flow, 1/time: the exponent along it over the record. Of the first
        members.
    rest : ndarray, shape (..., dim)
        Where the run rests in the end: ln |eigenvalues of the step| / dt there, descending, 1/time. NaN if it moves.
    crossed : str
        Expressions with a jump that the run passed, where the velocity jumps; or empty.
    derivative_defect : ndarray, shape (...)
        Tangent of a step against a difference of the step, at the start of the run, relative, of one member (NaN for
        the others); see `dynsys.algorithms.checks.derivative.derivative_defect`.
    doubtful : ndarray of int, shape (...)
        1 if a check failed on which the kind of motion depends: the regime is undecided then.
    """

    derivative: str
    drift: Array = readonly()
    determinant_defect: Array = readonly()
    vanishing: Array = readonly()
    kind: str = ""
    step_error: Array = readonly(default=np.nan)
    divergence_defect: Array = readonly(default=np.nan)
    speed: Array = readonly(default=np.nan)
    rest: Array = readonly(default=np.nan)
    crossed: str = ""
    derivative_defect: Array = readonly(default=np.nan)
    doubtful: Array = readonly(int, default=0)


@attrs.frozen(eq=False, kw_only=True)
class LyapunovSpectrum(Result):
    """Lyapunov exponents of one trajectory or of an ensemble, with the rates behind them.

    Attributes
    ----------
    exponents : ndarray, shape (..., k)
        Natural-log rates, 1/time, in frame order. NaN for members that stopped.
    standard_error : ndarray, shape (..., k)
        See `dynsys.error_bars.batch_means_error`.
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

    @property
    def regime(self) -> Regime | tuple[Regime, ...]:
        """What the motion is, with the `reason`; of an ensemble a tuple, one for each member.

        "at rest", "periodic", "quasi-periodic on an n-torus", "chaotic", "hyperchaotic", "diverging" or "undecided",
        told by the exponents and all of their error: that of the mean over time and that of the step.
        """
        found = tuple(map(regime, self._motions()))
        return found[0] if self.end.single else found

    def _motions(self) -> Iterator[Motion]:
        """What the regime of each member is told by."""
        members, dim = self.end.x.shape
        checks, k = self.diagnostics, self.exponents.shape[-1]
        steps = np.nan_to_num(np.abs(checks.step_error))
        rows = [
            np.broadcast_to(array, shape) if np.ndim(array) == 0 or not self.end.single else array[None]
            for array, shape in (
                (self.exponents, (members, k)),
                (self.standard_error + steps, (members, k)),
                (steps, (members, k)),
                (self.rates.std(axis=-2), (members, k)),
                (checks.rest, (members, dim)),
                (checks.speed, (members,)),
                (checks.doubtful, (members,)),
            )
        ]
        time = self.rates.shape[-2] * self.stride * self.steps_per_interval * self.dt
        for exponents, error, step, spread, rest, speed, doubtful, status in zip(*rows, self.end.status, strict=True):
            yield Motion(
                exponents, error, step, spread, time, dim, checks.kind, bool(status), bool(doubtful), rest, float(speed)
            )

    def kaplan_yorke_dimension(self) -> tuple[Array, Array]:
        """The Kaplan-Yorke dimension D and its standard error, shape (...); see `dynsys.results.dimensions`.

        The error is that of the series sum_i dD/dlambda_i rate_i, by batch means: exponents are correlated. NaN for
        members that stopped. Refuses a spectrum that is truncated before its sums turn negative.

        Exponents that vanish as far as one can see (`regime`) count as 0: D is 1 on a limit cycle, 2 on a torus, 0 at
        rest. Warns where D is 0 but the largest exponent may vanish.
        """
        dimension, exponents = self.end.x.shape[1], np.atleast_2d(self.exponents).copy()
        for row, motion in zip(exponents, self._motions(), strict=True):
            row[list(regime(motion).vanishing)] = 0.0
        exponents = self.end.as_given(exponents)
        D = dimensions.kaplan_yorke_dimension(exponents, dimension)
        near_zero = (D == 0.0) & (self.exponents > -LARGEST_ERRORS * self.standard_error).any(axis=-1)
        near_zero &= ~np.isfinite(self.diagnostics.rest).any(axis=-1)
        text = (
            "the largest exponent is zero within its error: on a limit cycle it vanishes, and the dimension is 1, not "
            "0; run longer"
        )
        warn_of([(near_zero, text)], stacklevel=2)
        return D, self._error_of(dimensions.kaplan_yorke_gradient(exponents, dimension))

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
    if not np.isfinite(checks.rest).any():
        found += worst("exponents that should vanish off by", checks.vanishing, " errors")
    found += worst("volumes against the divergence", checks.divergence_defect, "/time")
    found += [f"jumps that were passed, without their saltation: {checks.crossed}"] * bool(checks.crossed)
    unit = "per step" if checks.kind in ("map", "data") and spectrum.dt == 1.0 else "1/time"
    head = f"Lyapunov exponents ({unit}){members}, {over(spectrum.times, 'rates')}"
    steps = means(checks.step_error, checks.step_error, spectrum.end)[0] if np.ndim(checks.step_error) else []
    rows = [
        with_error(value, error) + (f"   step: {steps[j]:+.1e}" if steps and np.isfinite(steps[j]) else "")
        for j, (value, error) in enumerate(zip(exponents, errors, strict=True))
    ]
    return "\n".join([_motion(spectrum.regime), head, *table(rows), joined(found)])


def _motion(found: Regime | tuple[Regime, ...]) -> str:
    """The regime, with the reason; of an ensemble the count of each."""
    if isinstance(found, Regime):
        word = "regime undecided" if found == "undecided" else str(found)
        return f"{word[:1].upper()}{word[1:]}: {found.reason}"
    if len({(str(one), one.reason) for one in found}) == 1:
        return f"All {len(found)} members {found[0]}: {found[0].reason}"
    counts = Counter(map(str, found)).most_common()
    return ", ".join(f"{count} of {len(found)} members {name}" for name, count in counts)
