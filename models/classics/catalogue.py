"""The catalogue: exponents of every classic system, what holds for them exactly, and what was published."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
from scipy.integrate import simpson

from dynsys import Flow, Map, TangentSystem
from dynsys.errors import whole_seed
from dynsys.indicators import batch_means_error
from dynsys.models.classics.cat_map import CatMap
from dynsys.models.classics.coupled_map_lattice import CoupledMapLattice
from dynsys.models.classics.duffing import Duffing
from dynsys.models.classics.fitzhugh_nagumo import FitzHughNagumo
from dynsys.models.classics.henon import Henon
from dynsys.models.classics.henon_heiles import HenonHeiles
from dynsys.models.classics.hindmarsh_rose import HindmarshRose
from dynsys.models.classics.hyperchaotic_roessler import HyperchaoticRoessler
from dynsys.models.classics.josephson_junction import JosephsonJunction
from dynsys.models.classics.kuramoto_sivashinsky import KuramotoSivashinsky
from dynsys.models.classics.logistic import Logistic
from dynsys.models.classics.lorenz63 import Lorenz63
from dynsys.models.classics.lorenz96 import Lorenz96
from dynsys.models.classics.lozi import Lozi
from dynsys.models.classics.reference import Known, Reference
from dynsys.models.classics.roessler import Roessler
from dynsys.models.classics.standard_map import StandardMap

Array = np.ndarray
Progress = Callable[[int, int], None]

SYSTEMS: tuple[Any, ...] = (
    Logistic,
    Henon,
    Lozi,
    StandardMap,
    CatMap,
    CoupledMapLattice,
    Lorenz63,
    Lorenz96,
    Roessler,
    HyperchaoticRoessler,
    Duffing,
    HenonHeiles,
    FitzHughNagumo,
    HindmarshRose,
    JosephsonJunction,
    KuramotoSivashinsky,
)
"""Every class that bears a `reference`, in the order of the catalogue."""

MEMBERS = 16
PERTURBATION = 1e-6  # of the start states of the members: chaos and the warm-up make them independent
RATES = 512  # kept of a run
AGREES = 4.0  # combined standard errors
ROUNDING = 1e-12  # relative
IDENTITY_STEPS = 1_000  # of a check by NumPy
SETTLING = 500  # steps before it
PUSHES = 50  # tangent steps that are examined
LINE, DOTS = 400, 2_000  # points of a picture


@attrs.frozen(eq=False)
class Spectrum:
    """Exponents of a system with their standard errors, and the time behind them: of all members, and of each.

    The error of the sum is NaN if not all exponents are computed.

    An error is that of batch means within the members or of the spread between them, whichever is larger: orbits that
    stick to the rims of islands are longer correlated than a member is long.
    """

    exponents: Array
    error: Array
    sum_error: float
    time: float
    member_time: float


@attrs.frozen(eq=False)
class Comparison:
    """Known exponents beside ours."""

    known: Known
    spectrum: Spectrum

    @property
    def deviations(self) -> Array:
        """Known minus ours, in combined standard errors; NaN where nothing is given.

        What vanishes exactly may have the remainder ln T / T of a finite run: that of two directions, one of which
        grows linearly in time, as the other changes the frequency.
        """
        k = len(self.known.exponents)
        known, ours, error = np.array(self.known.exponents), self.spectrum.exponents[:k], self.spectrum.error[:k]
        remainder = math.log(self.spectrum.member_time) / self.spectrum.member_time
        vanishes = (known == 0.0) & (np.array(self.known.error) == 0.0)
        small = np.where(vanishes, remainder, ROUNDING * np.max(np.abs(ours)))
        return (known - ours) / np.hypot(np.hypot(error, self.known.error), small)

    @property
    def worst(self) -> float:
        """The largest deviation of an exponent, or of the sum if all are given, in combined standard errors."""
        off = self.deviations if self.sums is None else [*self.deviations, self.sums[1]]
        return float(np.nanmax(np.abs(off)))

    @property
    def agrees(self) -> bool:
        """Whether all that is given lies within four combined standard errors, and so does the sum."""
        return self.worst <= AGREES

    @property
    def sums(self) -> tuple[float, float] | None:
        """The sum of the known exponents, and how far it is from ours in combined errors; None if one is missing."""
        known = np.array(self.known.exponents)
        if len(known) < len(self.spectrum.exponents) or np.isnan([*known, self.spectrum.sum_error]).any():
            return None
        ours, error = self.spectrum.exponents.sum(), np.hypot(self.spectrum.sum_error, np.linalg.norm(self.known.error))
        rounding = ROUNDING * np.max(np.abs(self.spectrum.exponents))
        return float(known.sum()), float((known.sum() - ours) / np.hypot(error, rounding))


@attrs.frozen
class Identity:
    """How well something exact is kept along a short run: the defect at the usual step, and at half of it (flows)."""

    name: str
    defect: float
    halved: float | None = None

    @property
    def order(self) -> float | None:
        """log2 of the ratio of the two; None for maps, and where rounding is all that is left."""
        if self.halved is None or self.defect < 10 * ROUNDING:
            return None
        return float(np.log2(self.defect / max(self.halved, np.finfo(float).tiny)))


@attrs.frozen(eq=False)
class Entry:
    """What the catalogue says of a system."""

    system: Any
    spectrum: Spectrum
    identities: tuple[Identity, ...]
    comparisons: tuple[Comparison, ...]
    picture: Array  # (points, 2)

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self.system).__name__

    @property
    def reference(self) -> Reference:
        """What is known of it."""
        return type(self.system).reference


def tangent_of(system: Any, fraction: float = 1.0, **options: Any) -> TangentSystem:
    """The tangent of a system under the stepper of its reference, with its step shortened to a fraction."""
    if isinstance(system, Map):
        return system.tangent(**options)
    assert isinstance(system, Flow)
    stepper = type(system).reference.stepper  # type: ignore[attr-defined]
    return system.tangent(attrs.evolve(stepper, dt=fraction * stepper.dt), **options)


def measure(
    system: Any,
    start: Sequence[float] | None = None,
    *,
    effort: float = 1.0,
    members: int = MEMBERS,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Spectrum:
    """The spectrum by Benettin's algorithm, from members that start side by side and share the usual run.

    Parameters
    ----------
    system : one of the classic systems
    start : array_like, shape (dim,), optional
        Instead of that of the reference; then a single member starts there exactly.
    effort : float
        Length of the record in units of the usual one.
    members : int
    seed : int
        Perturbs the start states, and draws the frames.
    progress, options
        Handed on to `benettin` and to `tangent`.
    """
    reference = type(system).reference
    if start is None:
        rng = np.random.default_rng(whole_seed(seed))
        x0 = reference.state(system) + PERTURBATION * rng.normal(size=(members, system.dimension))
    else:
        members, x0 = 1, np.array([start], dtype=float)
    intervals = max(RATES, round(effort * reference.intervals / members))
    stride = intervals // RATES
    intervals -= intervals % stride
    tangent = tangent_of(system, **options)
    spectrum = tangent.benettin(
        x0,
        intervals=intervals,
        steps_per_interval=reference.steps_per_interval,
        warmup=reference.warmup,
        k=reference.vectors,
        stride=stride,
        seed=seed,
        progress=progress,
    )
    series = np.concatenate([spectrum.rates, spectrum.rates.sum(axis=-1, keepdims=True)], axis=-1)
    within = np.sqrt(np.sum(batch_means_error(series) ** 2, axis=0)) / members
    between = np.std(series.mean(axis=1), axis=0) / np.sqrt(max(1, members - 1))
    error = np.maximum(within, between)
    time = intervals * reference.steps_per_interval * tangent.dt
    sum_error = float(error[-1]) if reference.vectors is None else math.nan
    return Spectrum(spectrum.exponents.mean(axis=0), error[:-1], sum_error, members * time, time)


def identities(system: Any, steps: int = IDENTITY_STEPS) -> tuple[Identity, ...]:
    """Defects of everything exact, along a short run by NumPy, at the usual step and (flows) at half of it."""
    tangent = tangent_of(system, backend="numpy")
    start = type(system).reference.state(system)
    settled = tangent.trajectory(start, intervals=1, steps_per_interval=SETTLING).states[-1]
    whole = _defects(system, tangent, settled, steps)
    if isinstance(system, Map):
        return tuple(Identity(name, defect) for name, defect in whole.items())
    half = _defects(system, tangent_of(system, 0.5, backend="numpy"), settled, 2 * steps)
    return tuple(Identity(name, whole[name], half[name]) for name in whole)


def _defects(system: Any, tangent: TangentSystem, settled: Array, steps: int) -> dict[str, float]:
    """Defects by name: relative ones, but for conserved quantities."""
    reference = type(system).reference
    states = np.concatenate([[settled], tangent.trajectory(settled, intervals=steps).states])
    defects = {}
    if reference.vectors is None:
        growth = tangent.benettin(settled, intervals=steps, warmup=0).rates.sum() * tangent.dt
        defects["sum of the exponents = mean volume rate"] = _sum_defect(system, tangent, states, growth)
    pushed = range(0, steps, max(1, steps // PUSHES))
    frame = np.eye(system.dimension)
    if isinstance(system, Flow) and system.vanishing_exponents:
        defects["the tangent step carries f(x) to f(x')"] = max(
            _relative(tangent.step(n, states[n], system.vector_field(0.0, states[n])[:, None])[1][:, 0],
                      system.vector_field(0.0, states[n + 1]))
            for n in pushed
        )  # fmt: skip
    if reference.symplectic:
        J = np.kron([[0.0, 1.0], [-1.0, 0.0]], np.eye(system.dimension // 2))
        matrices = [tangent.step(n, states[n], frame)[1] for n in pushed]
        defects["the tangent step is symplectic"] = max(_relative(M.T @ J @ M, J) for M in matrices)
    for name, quantity in reference.conserved.items():
        values = quantity(system, states)
        defects[f"{name} is conserved"] = float(np.max(np.abs(values - values[0])))
    return defects


def _sum_defect(system: Any, tangent: TangentSystem, states: Array, growth: float) -> float:
    """Sum of log R_ii against the integral of the volume rate (Simpson), or its sum for a map, per unit of time."""
    rates = type(system).reference.volume_rate(system, states)
    total = rates[:-1].sum() if isinstance(system, Map) else simpson(rates, dx=tangent.dt)
    return float(abs(growth - total) / (tangent.dt * (len(states) - 1)))


def _relative(found: Array, exact: Array) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def picture(system: Any) -> Array:
    """Points (points, 2) of the two components that show the system best, along one orbit."""
    reference = type(system).reference
    tangent, sampling = tangent_of(system), reference.sampling
    warmup = -(-reference.warmup * reference.steps_per_interval // sampling)
    points = DOTS if reference.dots else LINE
    states = tangent.trajectory(
        reference.state(system), intervals=points, steps_per_interval=sampling, warmup=warmup
    ).states
    first, second = reference.axes
    if system.dimension == 1:
        return np.column_stack([states[:-1, 0], states[1:, 0]])
    return states[:, [first, second]]


def entry(
    kind: Any, *, effort: float = 1.0, seed: int = 0, progress: Callable[[int, int, str], None] | None = None
) -> Entry:
    """Everything that the catalogue says of a system of this class.

    `progress` is called as progress(done, intervals, what is run).
    """
    system = kind()
    runs: dict[tuple[Any, ...], Spectrum] = {}

    def run(changed: dict[str, Any], start: Sequence[float] | None) -> Spectrum:
        key = (*sorted(changed.items()), start)
        if key not in runs:
            what = ", ".join([kind.__name__, *(f"{name} = {value:.4g}" for name, value in changed.items())])
            show = None if progress is None else lambda done, total: progress(done, total, what)
            runs[key] = measure(kind(**changed), start, effort=effort, seed=seed, progress=show)
        return runs[key]

    spectrum = run({}, None)
    comparisons = tuple(Comparison(k, run(dict(k.parameters), k.start)) for k in kind.reference.known)
    return Entry(system, spectrum, identities(system), comparisons, picture(system))
