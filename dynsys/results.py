"""What algorithms return: frozen, labelled, read-only records that check themselves and survive a disk.

Axes are member, time, dim, k; the member axis is there exactly when x0 had one. Exponent, rate and vector j belong
together: nothing is ever sorted or squeezed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys import dimensions, indicators
from dynsys.errors import InvalidInputError, warn_of
from dynsys.passes import Pass
from dynsys.printed import spectrum_text, vectors_text
from dynsys.record import Result, readonly

if TYPE_CHECKING:
    import xarray

Array = np.ndarray
PER_TIME = {"units": "1/time"}
LARGEST_ERRORS = 6.0  # standard errors within which an exponent may be zero


@attrs.frozen(eq=False, kw_only=True)
class SpectrumDiagnostics:
    """Checks that a spectrum makes on itself.

    Attributes
    ----------
    derivative : str
        Where the tangent comes from: "jvp", "jacobian" or "finite differences".
    drift : ndarray, shape (..., k)
        Mean rate of the second half minus that of the first, in units of its standard error.
    determinant_defect : ndarray, shape (...)
        |sum_i log R_ii - log|det|| of the first interval, relative to 1 + |log|det||; NaN if k < dim (or unchecked).
    vanishing : ndarray, shape (..., v)
        The v exponents closest to zero, in standard errors, where the system declares that v of them vanish; v = 0 if
        k < dim, when the vanishing ones may not be among the k.
    """

    derivative: str
    drift: Array = readonly()
    determinant_defect: Array = readonly()
    vanishing: Array = readonly()


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
    end : Pass
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
    end: Pass
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
        """The Kaplan-Yorke dimension D and its standard error, shape (...); see `dynsys.dimensions`.

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
        """The sum of the positive exponents, 1/time, and its standard error, shape (...); see `dynsys.dimensions`.

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
        return _labelled(
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
        return spectrum_text(self)

    def __repr__(self) -> str:
        return f"LyapunovSpectrum(exponents {self.exponents.shape}, {self.rates.shape[-2]} rates)"


@attrs.frozen(eq=False, kw_only=True)
class Trajectory(Result):
    """States along a trajectory, or those of an ensemble, without tangent vectors.

    Attributes
    ----------
    times : ndarray, shape (intervals,)
        Absolute times at which the intervals end.
    states : ndarray, shape (..., intervals, dim)
        States at those times; NaN after a member stopped.
    dt : float
        Length of a step; an interval has `steps_per_interval` of them.
    end : Pass
        Last step, states and the status of every member: pass it as x0 to go on from here.
    """

    times: Array = readonly()
    states: Array = readonly()
    dt: float
    steps_per_interval: int
    end: Pass

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time and state."""
        return _labelled(self, {"x": (("time", "state"), self.states)}, {"time": self.times})

    def __repr__(self) -> str:
        return f"Trajectory(states {self.states.shape})"


@attrs.frozen(eq=False, kw_only=True)
class VectorDiagnostics:
    """Checks that covariant vectors make on themselves.

    Attributes
    ----------
    derivative : str
        Where the tangent comes from: "jvp", "jacobian" or "finite differences".
    covariance_residual : ndarray, shape (...)
        Largest sine of the angle between a vector pushed to the next time and the vector there, over sampled times.
        Ginelli's vectors pass whether converged or not: any start that is pushed correctly does. For Sharafi's
        estimates, each of its own backward pass, it measures how covariant they are.
    start_agreement : ndarray, shape (..., k)
        Sine of the angle at the last time between the vectors from two starts of the backward pass. NaN for
        Sharafi's recycled and frozen estimates, which have no start.
    frame_agreement : ndarray, shape (..., k)
        Sine of the largest angle, at the first time, between spans of the first j vectors of two forward frames.
    subspaces : ndarray of int, shape (..., k)
        Which vectors can be relied on at the last time. A vector that bears its own index, counted from 0, and shares
        it with no other is determined; vectors of one label are determined as a common subspace only, as where
        exponents (nearly) coincide; -1: not even that is known, or there is no other start to tell.
    smallest_gap : ndarray, shape (...)
        Smallest difference of successive exponents, 1/time.
    tail_needed : ndarray, shape (...)
        Intervals after which the smallest gap has shrunk a wrong start by 1e-10.
    growth_defect : ndarray, shape (..., k)
        Mean growth rate along each vector minus the exponent, 1/time; vanishes like 1/(length of the record).
    planned_bytes : int
        Memory for vectors and triangular factors, as planned before the run.
    """

    derivative: str
    covariance_residual: Array = readonly()
    start_agreement: Array = readonly()
    frame_agreement: Array = readonly()
    subspaces: Array = readonly(int)
    smallest_gap: Array = readonly()
    tail_needed: Array = readonly()
    growth_defect: Array = readonly()
    planned_bytes: int


@attrs.frozen(eq=False, kw_only=True)
class CovariantVectors(Result):
    """Covariant Lyapunov vectors along a trajectory, or estimates of them.

    Attributes
    ----------
    method : str
        The algorithm, and what of it can be chosen.
    times : ndarray, shape (m,)
        Times for which the vectors are valid.
    available : ndarray, shape (m,)
        Times at which the trajectory was known far enough to give them.
    states : ndarray, shape (..., m, dim)
    vectors : ndarray, shape (..., m, dim, k)
        Unit columns; the sign of each is arbitrary.
    rates : ndarray, shape (..., m, k)
        Growth rate along each vector over the stride that ends at its time, 1/time (`sharafi`: over its last
        interval).
    exponents : ndarray, shape (..., k)
        Mean of log R_ii over the record, 1/time.
    dt, steps_per_interval, stride : float, int, int
    end : Pass
        Where the forward pass ended, with the status of every member.
    diagnostics : VectorDiagnostics
    """

    method: str
    times: Array = readonly()
    available: Array = readonly()
    states: Array = readonly()
    vectors: Array = readonly()
    rates: Array = readonly()
    exponents: Array = readonly()
    dt: float
    steps_per_interval: int
    stride: int
    end: Pass
    diagnostics: VectorDiagnostics

    @property
    def angles(self) -> Array:
        """Angles between all pairs of vectors, as lines, in radians; shape (..., m, k, k)."""
        return indicators.angles(self.vectors)

    @property
    def cosines(self) -> Array:
        """|cos theta_ij| of all pairs of vectors; shape (..., m, k, k)."""
        return indicators.cosines(self.vectors)

    @property
    def adjoint(self) -> Array:
        """Adjoint covariant vectors w_i, covariant under the transposed tangent: w_i . v_j = 0 for i != j.

        Unit columns of V^-T, shape (..., m, dim, dim). They need all k = dim vectors.

        References
        ----------
        P. V. Kuptsov, U. Parlitz, J. Nonlinear Sci. 22, 727 (2012).
        """
        dim, k = self.vectors.shape[-2:]
        if k < dim:
            raise InvalidInputError(f"adjoint vectors need all {dim} covariant vectors, got k = {k}")
        lost = ~np.isfinite(self.vectors).all(axis=(-2, -1), keepdims=True)  # LAPACK refuses NaN
        adjoint = np.linalg.inv(np.swapaxes(np.where(lost, np.eye(dim), self.vectors), -1, -2))
        return np.where(lost, np.nan, adjoint / np.linalg.norm(adjoint, axis=-2, keepdims=True))

    def principal_angles(self, first: Sequence[int], second: Sequence[int]) -> Array:
        """Principal angles between the spans of two sets of vectors (indices from 0), such as unstable and stable.

        Radians, in ascending order, shape (..., m, p) with p the number of vectors in the smaller set.
        """
        return indicators.principal_angles(self.vectors[..., list(first)], self.vectors[..., list(second)])

    def finite_time_exponents(self, window: int | None = None) -> Array:
        """Finite-time exponents along the vectors, as `LyapunovSpectrum.finite_time_exponents`; shape (..., m, k)."""
        return indicators.finite_time_exponents(self.rates, window)

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time, state and vector."""
        checks = self.diagnostics
        return _labelled(
            self,
            {
                "x": (("time", "state"), self.states),
                "covariant_vector": (("time", "state", "vector"), self.vectors),
                "rate": (("time", "vector"), self.rates, PER_TIME),
                "exponent_mean": (("vector",), self.exponents, PER_TIME),
                "covariance_residual": ((), checks.covariance_residual),
                "start_agreement": (("vector",), checks.start_agreement),
                "frame_agreement": (("vector",), checks.frame_agreement),
                "subspace": (("vector",), checks.subspaces),
                "growth_defect": (("vector",), checks.growth_defect, PER_TIME),
            },
            {
                "time": self.times,
                "available": ("time", self.available),
                "vector": np.arange(1, self.vectors.shape[-1] + 1),
            },
            method=self.method,
        )

    def __str__(self) -> str:
        return vectors_text(self)

    def __repr__(self) -> str:
        planned = self.diagnostics.planned_bytes / 2**20
        return f"CovariantVectors(vectors {self.vectors.shape}, {self.method}, {planned:.3g} MiB planned)"


@attrs.frozen(eq=False, kw_only=True)
class LyapunovVectors(Result):
    """Backward, forward and covariant Lyapunov vectors along a trajectory, all unit columns.

    Attributes
    ----------
    times, available : ndarray, shape (m,)
        Times for which the vectors are valid, and at which the trajectory was known far enough.
    states : ndarray, shape (..., m, dim)
    backward : ndarray, shape (..., m, dim, k)
        Orthonormal; the past determines them. Column j is that of the exponent j.
    forward : ndarray, shape (..., m, dim, k), or (..., m, dim, 0) if k < dim
        Orthonormal; the future determines them. They need the transposed tangent on all of R^dim.
    covariant : ndarray, shape (..., m, dim, k)
        The same as Ginelli's, up to signs, found another way.
    dt, steps_per_interval, stride : float, int, int
    end : Pass
        Where the forward pass ended, with the status of every member.
    """

    times: Array = readonly()
    available: Array = readonly()
    states: Array = readonly()
    backward: Array = readonly()
    forward: Array = readonly()
    covariant: Array = readonly()
    dt: float
    steps_per_interval: int
    stride: int
    end: Pass

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time, state and vector."""
        variables = {
            "x": (("time", "state"), self.states),
            "backward_vector": (("time", "state", "vector"), self.backward),
            "covariant_vector": (("time", "state", "vector"), self.covariant),
        }
        if self.forward.shape[-1]:
            variables["forward_vector"] = (("time", "state", "vector"), self.forward)
        vector = np.arange(1, self.covariant.shape[-1] + 1)
        return _labelled(self, variables, {"time": self.times, "available": ("time", self.available), "vector": vector})

    def __repr__(self) -> str:
        return f"LyapunovVectors(covariant {self.covariant.shape}, forward {self.forward.shape})"


@attrs.frozen(eq=False, kw_only=True)
class AlignmentIndices(Result):
    """Generalised alignment indices along a trajectory; see `dynsys.gali.gali`.

    Attributes
    ----------
    times : ndarray, shape (m,)
    log_gali : ndarray, shape (..., m, k)
        Column j - 1 is ln GALI_j; GALI_1 = 1.
    dt, steps_per_interval, stride : float, int, int
    end : Pass
        Last step, states, frames and the status of every member.
    """

    times: Array = readonly()
    log_gali: Array = readonly()
    dt: float
    steps_per_interval: int
    stride: int
    end: Pass

    @property
    def gali(self) -> Array:
        """GALI_1, ..., GALI_k themselves, shape (..., m, k); below 1e-308 they are 0."""
        return np.exp(self.log_gali)

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time and order (of the index, from 1)."""
        order = np.arange(1, self.log_gali.shape[-1] + 1)
        return _labelled(self, {"log_gali": (("time", "order"), self.log_gali)}, {"time": self.times, "order": order})

    def __repr__(self) -> str:
        return f"AlignmentIndices(log_gali {self.log_gali.shape})"


def _labelled(result: Any, variables: dict[str, Any], coords: dict[str, Any], **attributes: Any) -> xarray.Dataset:
    """A dataset of name -> (dims, values), for ensembles with the member dimension first, and the status of each."""
    import xarray

    end = result.end
    member = () if end.single else ("member",)
    status = {} if end.single else {"status": (member, end.status), "stopped": (member, end.stopped)}
    data = {name: ((*member, *dims), *rest) for name, (dims, *rest) in variables.items()}
    fields = {field.name for field in attrs.fields(type(result))}
    steps = {name: getattr(result, name) for name in ("dt", "steps_per_interval", "stride") if name in fields}
    return xarray.Dataset(data | status, coords, attributes | steps)
