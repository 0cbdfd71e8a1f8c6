"""The growth that was recorded along a training, and the spectrum made of it."""

from __future__ import annotations

import numpy as np

from dynsys.algorithms.checks.exponents import drift_of_halves
from dynsys.error_bars import batch_means_error
from dynsys.passes.run_state import RunState
from dynsys.passes.status import DIVERGED, RUNNING
from dynsys.results.spectrum import LyapunovSpectrum, SpectrumDiagnostics

Array = np.ndarray


class Record:
    """Rates of finished intervals, in frame order, and the steps at which they end."""

    def __init__(self, rates: Array | None = None, times: Array | None = None) -> None:
        self._rates: list[Array] = [] if rates is None else list(rates)
        self._times: list[int] = [] if times is None else [int(time) for time in times]
        self._sum: Array | float = sum(self._rates)  # in order: the same bits after a file as without it

    def __len__(self) -> int:
        return len(self._rates)

    def append(self, rates: Array, step: int) -> None:
        """The rates of an interval, shape (k,), which ended after a step."""
        self._rates.append(rates)
        self._times.append(step)
        self._sum = self._sum + rates

    def since(self, step: int, steps_per_interval: int) -> Record:
        """Those of the intervals that begin at or after a step."""
        first = sum(time - steps_per_interval < step for time in self._times)
        return self if first == 0 else Record(np.array(self._rates[first:]), np.array(self._times[first:]))

    @property
    def rates(self) -> Array:
        """All of them, shape (m, k)."""
        return np.array(self._rates)

    @property
    def times(self) -> Array:
        """Steps at the ends of the intervals, shape (m,)."""
        return np.array(self._times, dtype=float)

    @property
    def last(self) -> Array:
        """Those of the last interval, shape (k,)."""
        return self._rates[-1]

    @property
    def mean(self) -> Array:
        """Their mean, shape (k,)."""
        return np.asarray(self._sum) / len(self)

    def spectrum(
        self, *, steps: int, steps_per_interval: int, state: Array, defect: float, doubtful: bool
    ) -> LyapunovSpectrum:
        """The spectrum of what was recorded; `state` is that after `steps` steps."""
        rates = self.rates
        exponents = rates.mean(axis=0)
        error = np.maximum(batch_means_error(rates), np.finfo(float).eps)
        finite = bool(np.isfinite(state).all())
        end = RunState(
            n=steps,
            x=state[None],
            Q=np.empty((1, len(state), 0)),
            status=np.array([RUNNING if finite else DIVERGED], dtype=np.int8),
            stopped=np.array([-1 if finite else steps]),
            members=np.arange(1),
            single=True,
            growth=np.empty((1, 0, 0)),
            R=np.empty((1, 0, 0)),
            xs=np.empty((1, 0, len(state))),
            Qs=np.empty((1, 0, len(state), 0)),
            t0=0.0,
            dt=1.0,
        )
        return LyapunovSpectrum(
            exponents=exponents,
            standard_error=error,
            rates=rates,
            times=self.times,
            dt=1.0,
            steps_per_interval=steps_per_interval,
            stride=1,
            end=end.without_records(),
            diagnostics=SpectrumDiagnostics(
                derivative="double backward",
                drift=drift_of_halves(rates[None], exponents[None], error[None])[0][0],
                determinant_defect=np.array(np.nan),
                vanishing=np.empty(0),
                kind="data",
                derivative_defect=np.array(defect),
                doubtful=np.array(doubtful),
            ),
        )
