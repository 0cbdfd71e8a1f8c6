"""Covariant Lyapunov vectors along a trajectory, or estimates of them, and the checks that they make on themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from dynsys import indicators
from dynsys.errors import InvalidInputError
from dynsys.passes.run_state import RunState
from dynsys.results.printing import joined, means, over, reliable, table, with_error, worst
from dynsys.results.result import PER_TIME, Result, labelled, readonly

if TYPE_CHECKING:
    import xarray

Array = np.ndarray


@attrs.frozen(eq=False, kw_only=True)
class VectorDiagnostics:
    """Checks that covariant vectors make on themselves.

    Attributes
    ----------
    derivative : str
        Where the tangent comes from: "jvp", "jacobian", "traced" or "finite differences".
    covariance_residual : ndarray, shape (...)
        Largest sine of the angle between a vector pushed to the next time and the vector there, over sampled times.
        Ginelli's vectors pass whether converged or not: any start that is pushed correctly does. For Sharafi's
        estimates, each of its own backward pass, it measures how covariant they are.
    start_agreement : ndarray, shape (..., k)
        Sine of the angle at the last time between the vectors from two starts of the backward pass. NaN for
        Sharafi's "periodic window" and "frozen" estimates, which have no start.
    frame_agreement : ndarray, shape (..., k)
        Sine of the largest angle, at the first time, between spans of the first j vectors of two forward frames.
    error : ndarray, shape (..., k)
        Estimate of the sine of the angle between a vector and that of the step, the largest over the whole window: what
        is left of the start of the backward pass and of the first frame, and rounding, carried along the vectors
        (docs/ginelli.md). Mostly several times too large. For Sharafi's estimates: what is left of their start.
    subspaces : ndarray of int, shape (..., k)
        Which vectors can be relied on at all times. A vector that bears its own index, counted from 0, and shares
        it with no other is determined; vectors of one label are determined as a common subspace only, as where
        exponents (nearly) coincide; -1: not even that is known, or there is no other start to tell. A vector whose
        `error` exceeds 2e-4 at some time is not determined.
    smallest_angle, closest_time : ndarray, shape (...)
        Smallest angle between two vectors, radians, and its time.
    closest_pair : ndarray of int, shape (..., 2)
        These two, counted from 0.
    near_tangencies : ndarray of int, shape (...)
        Number of times with two vectors closer than 1e-4 radians (of long records a sample is looked at).
    neutral_angle : ndarray, shape (...)
        Largest angle between the neutral vector and the velocity of an autonomous flow, radians, over sampled times; of
        a vector that is determined only together with others, between their span and it. The error of the step, if
        the vector is determined. NaN at rest, and where there is no velocity.
    neutral_vector : ndarray of int, shape (...)
        Which one that is, counted from 0; -1: none, or not known.
    smallest_gap : ndarray, shape (...)
        Smallest difference of successive exponents, 1/time.
    tail_needed : ndarray, shape (...)
        Intervals after which the smallest gap has shrunk a wrong start by 1e-10.
    growth_defect : ndarray, shape (..., k)
        Mean growth rate along each vector minus the exponent, 1/time; vanishes like 1/(length of the record).
    planned_bytes : int
        Memory for vectors and triangular factors, as planned before the run.
    step_error : ndarray, shape (..., k)
        Exponents under this step minus those of the flow, 1/time; as `SpectrumDiagnostics.step_error`.
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
    error: Array = readonly(default=np.nan)
    smallest_angle: Array = readonly(default=np.nan)
    closest_time: Array = readonly(default=np.nan)
    closest_pair: Array = readonly(int, default=-1)
    near_tangencies: Array = readonly(int, default=0)
    neutral_angle: Array = readonly(default=np.nan)
    neutral_vector: Array = readonly(int, default=-1)
    step_error: Array = readonly(default=np.nan)


@attrs.frozen(eq=False, kw_only=True)
class CovariantRecord(Result):
    """What covariant vectors and their angles alone share; see `CovariantVectors` for the fields."""

    _noun: ClassVar[str]

    method: str
    times: Array = readonly()
    available: Array = readonly()
    rates: Array = readonly()
    exponents: Array = readonly()
    dt: float
    steps_per_interval: int
    stride: int
    end: RunState
    diagnostics: VectorDiagnostics

    @property
    @abstractmethod
    def columns(self) -> Array:
        """The vectors as unit columns in orthonormal coordinates, (..., m, d, k): all that angles ask for."""

    @property
    def angles(self) -> Array:
        """Angles between all pairs of vectors, as lines, in radians; shape (..., m, k, k)."""
        return indicators.angles(self.columns)

    @property
    def cosines(self) -> Array:
        """|cos theta_ij| of all pairs of vectors; shape (..., m, k, k)."""
        return indicators.cosines(self.columns)

    def principal_angles(self, first: Sequence[int], second: Sequence[int]) -> Array:
        """Principal angles between the spans of two sets of vectors (indices from 0), such as unstable and stable.

        Radians, in ascending order, shape (..., m, p) with p the number of vectors in the smaller set.
        """
        return indicators.principal_angles(self.columns[..., list(first)], self.columns[..., list(second)])

    def finite_time_exponents(self, window: int | None = None) -> Array:
        """Finite-time exponents along the vectors, as `LyapunovSpectrum.finite_time_exponents`; shape (..., m, k)."""
        return indicators.finite_time_exponents(self.rates, window)

    def __str__(self) -> str:
        return _text(self)

    def __repr__(self) -> str:
        planned = self.diagnostics.planned_bytes / 2**20
        shape = f"{self._noun} {self.columns.shape}"
        return f"{type(self).__name__}({shape}, {self.method}, {planned:.3g} MiB planned)"

    def _labelled(self, variables: dict[str, Any]) -> xarray.Dataset:
        """A dataset of these variables and of what all records have."""
        checks = self.diagnostics
        return labelled(
            self,
            {
                **variables,
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
                "vector": np.arange(1, self.columns.shape[-1] + 1),
            },
            method=self.method,
        )


@attrs.frozen(eq=False, kw_only=True, repr=False)
class CovariantVectors(CovariantRecord):
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
    end : RunState
        Where the forward pass ended, with the status of every member.
    diagnostics : VectorDiagnostics
    """

    _noun = "vectors"

    states: Array = readonly()
    vectors: Array = readonly()

    @property
    def columns(self) -> Array:
        """The vectors."""
        return self.vectors

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

    def to_xarray(self) -> xarray.Dataset:
        """A labelled dataset with dimensions member (for ensembles), time, state and vector."""
        return self._labelled(
            {
                "x": (("time", "state"), self.states),
                "covariant_vector": (("time", "state", "vector"), self.vectors),
            }
        )


def _text(clvs: CovariantRecord) -> str:
    """Exponents, which of the vectors can be relied on, and the checks."""
    exponents, errors, members = means(clvs.exponents, np.full(clvs.exponents.shape, np.nan), clvs.end)
    checks = clvs.diagnostics
    rows = map(with_error, exponents, errors)
    if clvs.end.single:
        labels = checks.subspaces.tolist()
        rows = map("{}; its vector: {}".format, rows, (reliable(labels, j) for j in range(len(labels))))
    found = [f"derivative: {checks.derivative}"]
    found += worst("covariance residual", checks.covariance_residual)
    found += worst("two starts differ by", checks.start_agreement)
    found += worst("two frames differ by", checks.frame_agreement)
    same = checks.subspaces[..., None] == checks.subspaces[..., None, :]
    determined = (same.sum(axis=-1) == 1) & (checks.subspaces >= 0)
    found += worst("errors of reliable vectors up to", np.where(determined, checks.error, np.nan))
    found += worst("the step changes exponents by up to", checks.step_error, "/time")
    found += _closest(clvs) + _neutral(clvs)
    needed = checks.tail_needed[np.isfinite(checks.tail_needed)]
    found += [f"the gaps need a tail of {needed.max():.6g} intervals"] if needed.size else []
    head = f"Covariant vectors ({clvs.method}){members}, {over(clvs.times, 'times')}, and exponents (1/time)"
    return "\n".join([head, *table(rows), joined(found)])


def _closest(clvs: CovariantRecord) -> list[str]:
    """How near two vectors come to each other, and how often."""
    checks = clvs.diagnostics
    if not np.isfinite(checks.smallest_angle).any():
        return []
    m = np.nanargmin(checks.smallest_angle)
    i, j = checks.closest_pair.reshape(-1, 2)[m] + 1
    member = "" if clvs.end.single else f" of member {clvs.end.members[m]}"
    where = f"vectors {i} and {j}{member} at t = {checks.closest_time.flat[m]:.6g}"
    often = f", {checks.near_tangencies.max()} near tangencies (below 1e-4)" if checks.near_tangencies.any() else ""
    return [f"smallest angle {checks.smallest_angle.flat[m]:.2g} radians ({where}{often})"]


def _neutral(clvs: CovariantRecord) -> list[str]:
    """How far the neutral vector is off the flow, and why."""
    checks = clvs.diagnostics
    if not np.isfinite(checks.neutral_angle).any():
        return []
    m = np.nanargmax(checks.neutral_angle)
    j = checks.neutral_vector.flat[m]
    known = np.atleast_2d(checks.subspaces)[m, j] >= 0
    why = "by the step" if known else "not converged"
    off = np.degrees(checks.neutral_angle.flat[m])
    return [f"neutral vector ({j + 1}) at most {off:.2g} degrees off the flow ({why})"]
